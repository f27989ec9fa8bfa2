"""torchvision.transforms.v2.functional: `transforms.functional` under more names, with some other defaults."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import flambeau as torch

from ....errors import fail
from ...images import InterpolationMode as InterpolationMode
from ...images import interpolation_mode, is_picture
from ..colour import adjust_brightness as adjust_brightness
from ..colour import adjust_contrast as adjust_contrast
from ..colour import adjust_hue as adjust_hue
from ..colour import adjust_saturation as adjust_saturation
from ..colour import invert as invert
from ..colour import rgb_to_grayscale as rgb_to_grayscale
from ..convert import convert_image_dtype
from ..convert import erase as erase
from ..convert import get_dimensions as get_dimensions
from ..convert import get_image_num_channels as get_num_channels
from ..convert import normalize as normalize
from ..convert import pil_to_tensor as pil_to_tensor
from ..convert import to_pil_image as to_pil_image
from ..geometry import center_crop as center_crop
from ..geometry import crop as crop
from ..geometry import five_crop as five_crop
from ..geometry import gaussian_blur as gaussian_blur
from ..geometry import hflip as hflip
from ..geometry import pad as _pad
from ..geometry import resize as _resize
from ..geometry import resized_size
from ..geometry import rotate as rotate
from ..geometry import ten_crop as ten_crop
from ..geometry import vflip as vflip

horizontal_flip, vertical_flip = hflip, vflip
# What the functions do to a tensor, by the names that programs use to skip their choice of a kernel.
crop_image, center_crop_image, normalize_image = crop, center_crop, normalize
horizontal_flip_image, vertical_flip_image, gaussian_blur_image = hflip, vflip, gaussian_blur


def resize(
    inpt: Any,
    size: int | Sequence[int] | None,
    interpolation: InterpolationMode | int | str = InterpolationMode.BILINEAR,
    max_size: int | None = None,
    antialias: bool | None = True,
) -> Any:
    """The image in another size; size None makes the longer edge max_size. Bytes are resized as bytes."""
    mode = interpolation_mode(interpolation)
    if size is None and max_size is None:
        fail(ValueError, "resize: max_size is needed if size is None")
    _, height, width = get_dimensions(inpt)
    if size is None:
        longer = max(height, width)
        size = [int(max_size * height / longer), int(max_size * width / longer)]  # type: ignore[operator]
    if is_picture(inpt) or mode not in (InterpolationMode.BILINEAR, InterpolationMode.BICUBIC):
        return _resize(inpt, size, mode, max_size, antialias)
    if inpt.dtype != torch.uint8:
        return _resize(inpt, size, mode, max_size, antialias)
    new = resized_size(height, width, [size] if isinstance(size, int) else list(size), max_size)
    if new == (height, width):
        return inpt
    batch = inpt.reshape(-1, *((1, *inpt.shape) if inpt.ndim == 2 else inpt.shape[-3:]))
    out = torch.nn.functional.interpolate(
        batch, size=list(new), mode=mode.value, align_corners=False, antialias=bool(antialias)
    )
    return out.reshape(*inpt.shape[:-2], *new)


resize_image = resize


def resized_crop(
    inpt: Any,
    top: int,
    left: int,
    height: int,
    width: int,
    size: Sequence[int],
    interpolation: InterpolationMode | int | str = InterpolationMode.BILINEAR,
    antialias: bool | None = True,
) -> Any:
    """A window of the image in another size."""
    return resize(crop(inpt, top, left, height, width), size, interpolation, antialias=antialias)


def pad(inpt: Any, padding: int | Sequence[int], fill: Any = None, padding_mode: str = "constant") -> Any:
    """The image with a border; fill is one number, or one for each channel."""
    several = isinstance(fill, (tuple, list)) and len(fill) > 1
    if several and isinstance(inpt, torch.Tensor) and padding_mode == "constant":
        # What is added is marked by a border of ones around zeros.
        border = _pad(torch.zeros_like(inpt[..., :1, :, :], dtype=torch.bool), padding, 1)
        values = torch.tensor(fill, dtype=inpt.dtype, device=inpt.device)[:, None, None]
        return torch.where(border, values, _pad(inpt, padding))
    return _pad(inpt, padding, 0 if fill is None else fill, padding_mode)


pad_image = pad


def grayscale_to_rgb(inpt: Any) -> Any:
    """An image of one channel with this channel three times; any other as it is."""
    if get_num_channels(inpt) >= 3:
        return inpt
    return rgb_to_grayscale(inpt, num_output_channels=3)


def to_dtype(inpt: Any, dtype: Any = torch.float, scale: bool = False) -> Any:
    """The tensor in another dtype; if `scale`, with the range of the one mapped to that of the other."""
    return convert_image_dtype(inpt, dtype) if scale else inpt.to(dtype)


to_dtype_image = to_dtype


def to_image(inpt: Any) -> Any:
    """A picture, an array (H, W, C) or a tensor as a tensor (C, H, W) of the same values."""
    if isinstance(inpt, torch.Tensor):
        return inpt
    if isinstance(inpt, np.ndarray):
        return torch.from_numpy(np.atleast_3d(inpt)).permute(2, 0, 1).contiguous()
    return pil_to_tensor(inpt)


def get_size(inpt: Any) -> list[int]:
    """[height, width]."""
    return get_dimensions(inpt)[1:]
