"""Brightness, contrast, saturation, hue and grey, of pictures and of tensors (..., 3, H, W)."""

from __future__ import annotations

from typing import Any

import numpy as np

import flambeau as torch

from ...errors import fail
from ..images import pillow
from .convert import check_image, get_image_num_channels


def _blend(first: Any, second: Any, ratio: float) -> Any:
    """ratio * first + (1 - ratio) * second, kept in the range of the dtype."""
    bound = 1.0 if first.is_floating_point() else torch.iinfo(first.dtype).max
    return (ratio * first + (1.0 - ratio) * second).clamp(0, bound).to(first.dtype)


def _enhance(kind: str, img: Any, factor: float) -> Any:
    """One of Pillow's enhancers."""
    from PIL import ImageEnhance

    return getattr(ImageEnhance, kind)(img).enhance(factor)


def _check_factor(op: str, factor: float) -> None:
    if factor < 0:
        fail(ValueError, f"{op}: the factor is not negative", factor=factor)


def rgb_to_grayscale(img: Any, num_output_channels: int = 1) -> Any:
    """0.2989 R + 0.587 G + 0.114 B, once or three times."""
    if num_output_channels not in (1, 3):
        fail(
            ValueError,
            "rgb_to_grayscale: num_output_channels is 1 or 3",
            num_output_channels=num_output_channels,
        )
    if check_image("rgb_to_grayscale", img):
        grey = img.convert("L")
        if num_output_channels == 1:
            return grey
        return pillow("rgb_to_grayscale").fromarray(np.dstack([np.array(grey, dtype=np.uint8)] * 3))
    if get_image_num_channels(img) == 1:
        return img.expand(*img.shape[:-3], num_output_channels, *img.shape[-2:])
    red, green, blue = img.unbind(dim=-3)
    grey = (0.2989 * red + 0.587 * green + 0.114 * blue).to(img.dtype).unsqueeze(-3)
    return grey.expand(img.shape) if num_output_channels == 3 else grey


def to_grayscale(img: Any, num_output_channels: int = 1) -> Any:
    """`rgb_to_grayscale` for pictures."""
    if not check_image("to_grayscale", img):
        fail(
            TypeError, "to_grayscale: img should be a PIL image", "use rgb_to_grayscale for a tensor", img=img
        )
    return rgb_to_grayscale(img, num_output_channels)


def adjust_brightness(img: Any, brightness_factor: float) -> Any:
    """0 is black, 1 the image itself, 2 twice as bright."""
    _check_factor("adjust_brightness", brightness_factor)
    if check_image("adjust_brightness", img):
        return _enhance("Brightness", img, brightness_factor)
    return _blend(img, torch.zeros_like(img), brightness_factor)


def adjust_contrast(img: Any, contrast_factor: float) -> Any:
    """0 is a flat grey, 1 the image itself."""
    _check_factor("adjust_contrast", contrast_factor)
    if check_image("adjust_contrast", img):
        return _enhance("Contrast", img, contrast_factor)
    grey = rgb_to_grayscale(img) if get_image_num_channels(img) == 3 else img
    dtype = img.dtype if img.is_floating_point() else torch.float32
    return _blend(img, grey.to(dtype).mean(dim=(-3, -2, -1), keepdim=True), contrast_factor)


def adjust_saturation(img: Any, saturation_factor: float) -> Any:
    """0 is black and white, 1 the image itself."""
    _check_factor("adjust_saturation", saturation_factor)
    if check_image("adjust_saturation", img):
        return _enhance("Color", img, saturation_factor)
    if get_image_num_channels(img) == 1:
        return img
    return _blend(img, rgb_to_grayscale(img), saturation_factor)


def adjust_hue(img: Any, hue_factor: float) -> Any:
    """Turn the circle of hues by hue_factor, in [-0.5, 0.5]."""
    if not -0.5 <= hue_factor <= 0.5:
        fail(ValueError, "adjust_hue: hue_factor is in [-0.5, 0.5]", hue_factor=hue_factor)
    if check_image("adjust_hue", img):
        if img.mode in {"L", "1", "I", "F"}:
            return img
        hue, saturation, value = img.convert("HSV").split()
        turned = (np.array(hue, dtype=np.int32) + int(hue_factor * 255)).astype(np.uint8)
        merged = (pillow("adjust_hue").fromarray(turned), saturation, value)
        return pillow("adjust_hue").merge("HSV", merged).convert(img.mode)
    if get_image_num_channels(img) == 1:
        return img
    kept = img.dtype
    values = img if img.is_floating_point() else img.to(torch.float32) / torch.iinfo(kept).max
    hue, saturation, value = _to_hsv(values)
    out = _from_hsv((hue + hue_factor) % 1.0, saturation, value)
    return out if kept == out.dtype else out.mul(torch.iinfo(kept).max + 1 - 1e-3).to(kept)


def _to_hsv(img: Any) -> tuple[Any, Any, Any]:
    """Hue, saturation and value in [0, 1], each (..., H, W)."""
    red, green, blue = img.unbind(dim=-3)
    high = torch.maximum(torch.maximum(red, green), blue)
    low = torch.minimum(torch.minimum(red, green), blue)
    flat = high == low
    ones = torch.ones_like(high)
    chroma = high - low
    saturation = chroma / torch.where(flat, ones, high)
    divisor = torch.where(flat, ones, chroma)
    r, g, b = ((high - colour) / divisor for colour in (red, green, blue))
    is_red = high == red
    is_green = (high == green) & ~is_red
    hue = is_red * (b - g) + is_green * (2.0 + r - b) + (~is_red & ~is_green) * (4.0 + g - r)
    return torch.fmod(hue / 6.0 + 1.0, 1.0), saturation, high


def _from_hsv(hue: Any, saturation: Any, value: Any) -> Any:
    """The RGB image (..., 3, H, W): channel c is value * (1 - saturation * clamp of its distance on the circle)."""
    sixth = torch.floor(hue * 6.0)
    part = hue * 6.0 - sixth
    low = (value * (1.0 - saturation)).clamp(0.0, 1.0)
    falling = (value * (1.0 - saturation * part)).clamp(0.0, 1.0)
    rising = (value * (1.0 - saturation * (1.0 - part))).clamp(0.0, 1.0)
    sector = sixth.to(torch.int32) % 6
    table = (
        (value, falling, low, low, rising, value),
        (rising, value, value, falling, low, low),
        (low, low, rising, value, value, falling),
    )
    channels = []
    for row in table:
        channel = row[0]
        for number in range(1, 6):
            channel = torch.where(sector == number, row[number], channel)
        channels.append(channel)
    return torch.stack(channels, dim=-3)


def invert(img: Any) -> Any:
    """The negative."""
    if check_image("invert", img):
        from PIL import ImageOps

        return ImageOps.invert(img)
    return (1 if img.is_floating_point() else torch.iinfo(img.dtype).max) - img
