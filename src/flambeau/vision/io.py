"""torchvision.io: files of pictures as tensors (C, H, W) of uint8 and back, by Pillow; no video."""

from __future__ import annotations

import enum
import io
import os
from typing import Any

import numpy as np

import flambeau as torch

from ..errors import fail
from .images import checked_size, pillow
from .transforms.functional import pil_to_tensor, to_pil_image


class ImageReadMode(enum.Enum):
    """Which channels a picture is read as."""

    UNCHANGED = 0
    GRAY = 1
    GRAY_ALPHA = 2
    RGB = 3
    RGB_ALPHA = 4
    RGBA = RGB_ALPHA


MODES = {
    ImageReadMode.GRAY: "L",
    ImageReadMode.GRAY_ALPHA: "LA",
    ImageReadMode.RGB: "RGB",
    ImageReadMode.RGB_ALPHA: "RGBA",
}


def read_file(path: Any) -> Any:
    """The bytes of a file as a tensor of uint8."""
    with open(path, "rb") as file:
        return torch.from_numpy(np.frombuffer(bytearray(file.read()), np.uint8))


def write_file(filename: Any, data: Any) -> None:
    """Write a tensor of uint8 to a file, byte by byte."""
    if data.ndim != 1 or data.dtype != torch.uint8:
        fail(RuntimeError, "write_file: data should be one-dimensional, of uint8", data=data)
    with open(filename, "wb") as file:
        file.write(data.numpy().tobytes())


def _mode(mode: ImageReadMode | str) -> ImageReadMode:
    """A mode given as itself or by name."""
    return ImageReadMode[mode.upper()] if isinstance(mode, str) else mode


def decode_image(
    input: Any,
    mode: ImageReadMode | str = ImageReadMode.UNCHANGED,
    apply_exif_orientation: bool = False,
    formats: tuple[str, ...] = ("PNG", "JPEG", "GIF", "WEBP"),
) -> Any:
    """The picture in a file, or in a tensor of its bytes, as (C, H, W); RuntimeError if it is none."""
    wanted = _mode(mode)
    source: Any = input
    if isinstance(input, torch.Tensor):
        if input.ndim != 1 or input.dtype != torch.uint8 or input.numel() == 0:
            fail(
                RuntimeError,
                "decode_image: input should be one-dimensional, of uint8, not empty",
                input=input,
            )
        source = io.BytesIO(input.numpy().tobytes())
    elif not os.path.isfile(input):
        fail(RuntimeError, f"decode_image: there is no file {str(input)!r}")
    Image = pillow("decode_image")
    try:
        with Image.open(source, formats=formats) as picture:
            checked_size("decode_image", picture)
            if apply_exif_orientation:
                from PIL import ImageOps

                picture = ImageOps.exif_transpose(picture)
            if wanted is not ImageReadMode.UNCHANGED:
                picture = picture.convert(MODES[wanted])
            elif picture.mode not in ("L", "LA", "RGB", "RGBA"):
                grey = picture.mode in ("1", "I", "I;16")
                clear = "transparency" in picture.info
                picture = picture.convert("L" if grey else "RGBA" if clear else "RGB")
            return pil_to_tensor(picture)
    except Image.UnidentifiedImageError:
        fail(RuntimeError, f"decode_image: is no picture of {', '.join(formats)}")


def read_image(
    path: Any,
    mode: ImageReadMode | str = ImageReadMode.UNCHANGED,
    apply_exif_orientation: bool = False,
) -> Any:
    """The picture in a file as (C, H, W)."""
    return decode_image(str(path), mode, apply_exif_orientation)


def decode_png(
    input: Any, mode: ImageReadMode | str = ImageReadMode.UNCHANGED, apply_exif_orientation: bool = False
) -> Any:
    """The PNG picture in a tensor of bytes as (C, H, W)."""
    return decode_image(input, mode, apply_exif_orientation, ("PNG",))


def decode_jpeg(
    input: Any,
    mode: ImageReadMode | str = ImageReadMode.UNCHANGED,
    device: Any = "cpu",
    apply_exif_orientation: bool = False,
) -> Any:
    """The JPEG picture in a tensor of bytes (or those in a list of such) as (C, H, W)."""
    if isinstance(input, list):
        return [decode_jpeg(each, mode, device, apply_exif_orientation) for each in input]
    return decode_image(input, mode, apply_exif_orientation, ("JPEG",)).to(device)


def _encode(op: str, input: Any, kind: str, **options: Any) -> Any:
    """A picture (1 or 3, H, W) of uint8 as the bytes of a file."""
    if input.dtype != torch.uint8 or input.ndim != 3 or input.shape[0] not in (1, 3):
        fail(RuntimeError, f"{op}: input should be (1 or 3, H, W) of uint8", input=input)
    buffer = io.BytesIO()
    to_pil_image(input).save(buffer, kind, **options)
    return torch.from_numpy(np.frombuffer(bytearray(buffer.getvalue()), np.uint8))


def encode_png(input: Any, compression_level: int = 6) -> Any:
    """The bytes of a PNG file."""
    if not 0 <= compression_level <= 9:
        fail(RuntimeError, "encode_png: compression_level is in [0, 9]", compression_level=compression_level)
    return _encode("encode_png", input, "PNG", compress_level=compression_level)


def encode_jpeg(input: Any, quality: int = 75) -> Any:
    """The bytes of a JPEG file (of each picture of a list)."""
    if not 1 <= quality <= 100:
        fail(ValueError, "encode_jpeg: quality is in [1, 100]", quality=quality)
    if isinstance(input, list):
        return [encode_jpeg(each, quality) for each in input]
    return _encode("encode_jpeg", input, "JPEG", quality=quality)


def write_png(input: Any, filename: Any, compression_level: int = 6) -> None:
    """Write a picture as a PNG file."""
    write_file(filename, encode_png(input, compression_level))


def write_jpeg(input: Any, filename: Any, quality: int = 75) -> None:
    """Write a picture as a JPEG file."""
    write_file(filename, encode_jpeg(input, quality))
