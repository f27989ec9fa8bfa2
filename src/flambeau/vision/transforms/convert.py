"""Between pictures of Pillow's, arrays (H, W, C) and tensors (..., C, H, W)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import flambeau as torch

from ...errors import fail
from ..images import is_picture, pillow


def check_image(op: str, image: Any) -> bool:
    """True for a picture, False for a tensor; TypeError for anything else."""
    if is_picture(image):
        return True
    if not isinstance(image, torch.Tensor):
        fail(
            TypeError, f"{op}: img should be a PIL image or a tensor", "apply ToTensor first", img=type(image)
        )
    if image.ndim < 2:
        fail(TypeError, f"{op}: a tensor image is (..., H, W)", img=image)
    return False


def get_dimensions(img: Any) -> list[int]:
    """[channels, height, width]."""
    if check_image("get_dimensions", img):
        return [len(img.getbands()), img.height, img.width]
    return [1 if img.ndim == 2 else img.shape[-3], img.shape[-2], img.shape[-1]]


def get_image_size(img: Any) -> list[int]:
    """[width, height]."""
    _, height, width = get_dimensions(img)
    return [width, height]


def get_image_num_channels(img: Any) -> int:
    """How many channels the image has."""
    return get_dimensions(img)[0]


def _channels_first(pixels: np.ndarray) -> Any:
    """An array (H, W) or (H, W, C) as a contiguous tensor (C, H, W)."""
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def _pixels(picture: Any) -> np.ndarray:
    """A copy of a picture's pixels in the dtype of its mode."""
    kinds = {"I": np.int32, "I;16": np.int16, "F": np.float32}
    return np.array(picture, kinds.get(picture.mode, np.uint8), copy=True)


def to_tensor(pic: Any) -> Any:
    """A picture or an array (H, W, C) as a tensor (C, H, W); 8-bit values are scaled to [0, 1] in the default dtype."""
    if is_picture(pic):
        pixels = _pixels(pic)
        if pic.mode == "1":
            pixels = 255 * pixels
    elif isinstance(pic, np.ndarray):
        pixels = pic
        if pixels.ndim not in (2, 3):
            fail(ValueError, "to_tensor: pic should have 2 or 3 dimensions", pic=pixels)
    else:
        fail(TypeError, "to_tensor: pic should be a PIL image or an array", pic=type(pic))
    image = _channels_first(pixels)
    return image.to(torch.get_default_dtype()).div(255) if image.dtype == torch.uint8 else image


def pil_to_tensor(pic: Any) -> Any:
    """A picture as a tensor (C, H, W) of its own values."""
    if not is_picture(pic):
        fail(TypeError, "pil_to_tensor: pic should be a PIL image", pic=type(pic))
    return _channels_first(_pixels(pic))


def convert_image_dtype(image: Any, dtype: Any = None) -> Any:
    """The image in another dtype, its range scaled from that of the old to that of the new."""
    dtype = torch.float if dtype is None else dtype
    if not isinstance(image, torch.Tensor):
        fail(
            TypeError,
            "convert_image_dtype: img should be a tensor",
            "apply PILToTensor first",
            img=type(image),
        )
    if image.dtype == dtype:
        return image
    if image.is_floating_point():
        if dtype.is_floating_point:
            return image.to(dtype)
        return image.mul(torch.iinfo(dtype).max + 1 - 1e-3).to(dtype)
    top = torch.iinfo(image.dtype).max
    if dtype.is_floating_point:
        return image.to(dtype) / top
    wanted = torch.iinfo(dtype).max
    if top > wanted:
        return torch.div(image, (top + 1) // (wanted + 1), rounding_mode="floor").to(dtype)
    return image.to(dtype) * ((wanted + 1) // (top + 1))


def to_pil_image(pic: Any, mode: str | None = None) -> Any:
    """A tensor (C, H, W) or array (H, W, C) as a picture; floats are taken to be in [0, 1]."""
    Image = pillow("to_pil_image")
    if isinstance(pic, torch.Tensor):
        if pic.ndim == 2:
            pic = pic.unsqueeze(0)
        if pic.ndim != 3 or pic.shape[0] > 4:
            fail(ValueError, "to_pil_image: pic should be (C, H, W) with 1 to 4 channels", pic=pic)
        if pic.is_floating_point() and mode != "F":
            pic = pic.mul(255).byte()
        pixels = pic.detach().cpu().numpy().transpose(1, 2, 0)
    elif isinstance(pic, np.ndarray):
        pixels = pic if pic.ndim == 3 else pic[:, :, None]
    else:
        fail(TypeError, "to_pil_image: pic should be a tensor or an array", pic=type(pic))
    one = pixels.shape[2] == 1
    natural = {"uint8": "L", "int16": "I;16", "int32": "I", "float32": "F"}.get(pixels.dtype.name)
    if not one:
        natural = {2: "LA", 3: "RGB", 4: "RGBA"}.get(pixels.shape[2]) if pixels.dtype == np.uint8 else None
    if natural is None:
        fail(TypeError, "to_pil_image: no mode of Pillow's holds such pixels", pic=pixels)
    picture = Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if one else pixels))
    same_pixels = {"LAB", "HSV", "YCbCr", "CMYK", "RGBX"}
    if mode is None or mode == picture.mode:
        return picture
    return (
        Image.frombytes(mode, picture.size, picture.tobytes())
        if mode in same_pixels
        else picture.convert(mode)
    )


def normalize(tensor: Any, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> Any:
    """(tensor - mean) / std by channel; tensor is (..., C, H, W) of a floating dtype."""
    if not isinstance(tensor, torch.Tensor):
        fail(TypeError, "normalize: img should be a tensor", "apply ToTensor first", img=type(tensor))
    if not tensor.is_floating_point():
        fail(TypeError, "normalize: img should have a floating dtype", img=tensor)
    if tensor.ndim < 3:
        fail(ValueError, "normalize: img should be (..., C, H, W)", img=tensor)
    if not inplace:
        tensor = tensor.clone()
    centre = torch.as_tensor(mean, dtype=tensor.dtype)
    scale = torch.as_tensor(std, dtype=tensor.dtype)
    if bool((scale == 0).any()):
        fail(ValueError, f"normalize: std has a zero, or became one in {tensor.dtype}", std=tuple(std))
    if centre.ndim == 1:
        centre = centre.view(-1, 1, 1)
    if scale.ndim == 1:
        scale = scale.view(-1, 1, 1)
    return tensor.sub_(centre).div_(scale)


def erase(img: Any, i: int, j: int, h: int, w: int, v: Any, inplace: bool = False) -> Any:
    """A tensor image whose window (rows from i, columns from j, h x w) holds v."""
    if not isinstance(img, torch.Tensor):
        fail(TypeError, "erase: img should be a tensor", "apply ToTensor first", img=type(img))
    out = img if inplace else img.clone()
    out[..., i : i + h, j : j + w] = v
    return out
