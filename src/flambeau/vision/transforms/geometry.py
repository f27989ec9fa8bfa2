"""Where the pixels of an image lie: size, windows, borders, mirrors, blur; for pictures and tensors (..., C, H, W)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import flambeau as torch

from ...errors import fail
from ..images import PIL_FILTERS, InterpolationMode, interpolation_mode, pillow
from .convert import check_image, get_dimensions, pil_to_tensor, to_pil_image


def resized_size(height: int, width: int, size: Sequence[int], max_size: int | None) -> tuple[int, int]:
    """(height, width) after a resize: both given, or the shorter edge given and the longer scaled, up to max_size."""
    if len(size) == 2:
        return size[0], size[1]
    short, long = min(height, width), max(height, width)
    new_short, new_long = size[0], int(size[0] * long / short)
    if max_size is not None:
        if max_size <= size[0]:
            fail(ValueError, "resize: max_size must be greater than size", max_size=max_size, size=size[0])
        if new_long > max_size:
            new_short, new_long = int(max_size * new_short / new_long), max_size
    return (new_long, new_short) if width <= height else (new_short, new_long)


def resize(
    img: Any,
    size: int | Sequence[int],
    interpolation: InterpolationMode | int | str = InterpolationMode.BILINEAR,
    max_size: int | None = None,
    antialias: bool | None = True,
) -> Any:
    """The image in another size: (h, w), or a whole number for the shorter edge."""
    mode = interpolation_mode(interpolation)
    wanted = [size] if isinstance(size, int) else list(size)
    if len(wanted) not in (1, 2):
        fail(ValueError, "resize: size is one number or two", size=size)
    _, height, width = get_dimensions(img)
    new = resized_size(height, width, wanted, max_size)
    if new == (height, width):
        return img
    if check_image("resize", img):
        return img.resize(new[::-1], PIL_FILTERS[mode])
    smooth = mode in (InterpolationMode.BILINEAR, InterpolationMode.BICUBIC)
    batch = img.reshape(-1, *((1, *img.shape) if img.ndim == 2 else img.shape[-3:]))
    values = batch if batch.is_floating_point() else batch.to(torch.float32)
    out = torch.nn.functional.interpolate(
        values,
        size=list(new),
        mode=mode.value,
        align_corners=False if smooth else None,
        antialias=bool(antialias) and smooth,
    )
    if not batch.is_floating_point():
        if mode is InterpolationMode.BICUBIC and img.dtype == torch.uint8:
            out = out.clamp(min=0, max=255)
        out = out.round().to(img.dtype)
    return out.reshape(*img.shape[:-2], *new)


def crop(img: Any, top: int, left: int, height: int, width: int) -> Any:
    """A window of the image; what lies outside of it is 0."""
    if check_image("crop", img):
        return img.crop((left, top, left + width, top + height))
    _, rows, columns = get_dimensions(img)
    bottom, right = top + height, left + width
    inside = img[..., max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if left < 0 or top < 0 or right > columns or bottom > rows:
        before = [max(min(right, 0) - left, 0), max(min(bottom, 0) - top, 0)]
        after = [max(right - max(columns, left), 0), max(bottom - max(rows, top), 0)]
        return torch.nn.functional.pad(inside, [before[0], after[0], before[1], after[1]])
    return inside


def center_crop(img: Any, output_size: int | Sequence[int]) -> Any:
    """The middle of the image; a smaller image is padded with 0 first."""
    size = list(output_size) if not isinstance(output_size, int) else [output_size]
    high, wide = size * 2 if len(size) == 1 else size
    _, height, width = get_dimensions(img)
    if wide > width or high > height:
        extra_w, extra_h = max(wide - width, 0), max(high - height, 0)
        img = pad(img, [extra_w // 2, extra_h // 2, (extra_w + 1) // 2, (extra_h + 1) // 2])
        _, height, width = get_dimensions(img)
        if (high, wide) == (height, width):
            return img
    return crop(img, round((height - high) / 2.0), round((width - wide) / 2.0), high, wide)


def pad(img: Any, padding: int | Sequence[int], fill: Any = 0, padding_mode: str = "constant") -> Any:
    """The image with a border: all sides, [left/right, top/bottom] or [left, top, right, bottom]."""
    sides = [padding] if isinstance(padding, int) else list(padding)
    if len(sides) not in (1, 2, 4):
        fail(ValueError, "pad: padding is 1, 2 or 4 numbers", padding=padding)
    left, top, right, bottom = sides * (4 // len(sides))
    if padding_mode not in ("constant", "edge", "reflect", "symmetric"):
        fail(
            ValueError, "pad: padding_mode is constant, edge, reflect or symmetric", padding_mode=padding_mode
        )
    if check_image("pad", img):
        return _pad_picture(img, (left, top, right, bottom), fill, padding_mode)
    if padding_mode == "symmetric":
        return _pad_symmetric(img, left, top, right, bottom)
    if padding_mode == "constant":
        value = fill[0] if isinstance(fill, (tuple, list)) else fill
        return torch.nn.functional.pad(img, [left, right, top, bottom], value=float(value or 0))
    kind = {"edge": "replicate"}.get(padding_mode, padding_mode)
    batch = img.reshape(-1, *((1, *img.shape) if img.ndim == 2 else img.shape[-3:]))
    values = batch if batch.is_floating_point() else batch.to(torch.float32)
    out = torch.nn.functional.pad(values, [left, right, top, bottom], mode=kind).to(img.dtype)
    return out.reshape(*img.shape[:-2], *out.shape[-2:])


def _pad_picture(img: Any, sides: tuple[int, int, int, int], fill: Any, padding_mode: str) -> Any:
    """`pad` for a picture."""
    left, top, right, bottom = sides
    if padding_mode == "constant":
        from PIL import ImageOps

        if isinstance(fill, (tuple, list)) and len(fill) == 1:
            fill = fill[0]
        if isinstance(fill, (int, float)) and len(img.getbands()) > 1:
            fill = (int(fill),) * len(img.getbands())
        return ImageOps.expand(img, border=sides, fill=tuple(fill) if isinstance(fill, list) else fill)
    pixels = np.asarray(img)
    inner = pixels[
        max(-top, 0) : pixels.shape[0] - max(-bottom, 0), max(-left, 0) : pixels.shape[1] - max(-right, 0)
    ]
    widths = [(max(top, 0), max(bottom, 0)), (max(left, 0), max(right, 0))] + [(0, 0)] * (pixels.ndim - 2)
    modes: dict[str, Any] = {"edge": "edge", "reflect": "reflect", "symmetric": "symmetric"}
    return _same_mode(np.pad(inner, widths, modes[padding_mode]), img)


def _same_mode(pixels: np.ndarray, img: Any) -> Any:
    """An array as a picture of the mode of another one, with its palette."""
    picture = pillow("pad").fromarray(pixels)
    if img.mode == "P":
        picture.putpalette(img.getpalette())
    return picture


def _pad_symmetric(img: Any, left: int, top: int, right: int, bottom: int) -> Any:
    """`pad` for a tensor whose border repeats the edge: d c b a | a b c d | d c b a."""
    height, width = img.shape[-2:]
    columns = torch.tensor([_mirror(x, width) for x in range(-left, width + right)])
    rows = torch.tensor([_mirror(y, height) for y in range(-top, height + bottom)])
    return img.index_select(-2, rows).index_select(-1, columns)


def _mirror(index: int, size: int) -> int:
    """The place inside [0, size) that a place outside shows when edges are repeated."""
    return index if 0 <= index < size else -1 - index if index < 0 else 2 * size - 1 - index


def hflip(img: Any) -> Any:
    """The image with left and right exchanged."""
    return img.transpose(0) if check_image("hflip", img) else img.flip(-1)


def vflip(img: Any) -> Any:
    """The image upside down."""
    return img.transpose(1) if check_image("vflip", img) else img.flip(-2)


def resized_crop(
    img: Any,
    top: int,
    left: int,
    height: int,
    width: int,
    size: int | Sequence[int],
    interpolation: InterpolationMode = InterpolationMode.BILINEAR,
    antialias: bool | None = True,
) -> Any:
    """A window of the image, resized."""
    return resize(crop(img, top, left, height, width), size, interpolation, antialias=antialias)


def five_crop(img: Any, size: int | Sequence[int]) -> tuple[Any, Any, Any, Any, Any]:
    """The four corners and the middle: top left, top right, bottom left, bottom right, centre."""
    sizes = [size] if isinstance(size, int) else list(size)
    high, wide = sizes * 2 if len(sizes) == 1 else sizes
    _, height, width = get_dimensions(img)
    if wide > width or high > height:
        fail(
            ValueError,
            "five_crop: the crop is larger than the image",
            size=(high, wide),
            image=(height, width),
        )
    corners = [(0, 0), (0, width - wide), (height - high, 0), (height - high, width - wide)]
    first, second, third, fourth = (crop(img, y, x, high, wide) for y, x in corners)
    return first, second, third, fourth, center_crop(img, [high, wide])


def ten_crop(img: Any, size: int | Sequence[int], vertical_flip: bool = False) -> tuple[Any, ...]:
    """`five_crop` of the image and of its mirror image."""
    return five_crop(img, size) + five_crop(vflip(img) if vertical_flip else hflip(img), size)


def rotate(
    img: Any,
    angle: float,
    interpolation: InterpolationMode = InterpolationMode.NEAREST,
    expand: bool = False,
    center: Sequence[int] | None = None,
    fill: Any = None,
) -> Any:
    """The picture turned by `angle` degrees, counter-clockwise. Pictures only: a tensor is a TypeError."""
    if not check_image("rotate", img):
        fail(TypeError, "rotate: only pictures of Pillow's are rotated", "place it before ToTensor", img=img)
    if isinstance(fill, (int, float)) and len(img.getbands()) > 1:
        fill = (int(fill),) * len(img.getbands())
    elif isinstance(fill, list):
        fill = tuple(fill)
    return img.rotate(angle, PIL_FILTERS[interpolation_mode(interpolation)], expand, center, fillcolor=fill)


def gaussian_blur(
    img: Any, kernel_size: int | Sequence[int], sigma: float | Sequence[float] | None = None
) -> Any:
    """The image smoothed with a Gaussian of odd size [x, y] and deviation [x, y]; edges are reflected."""
    sizes = [kernel_size] * 2 if isinstance(kernel_size, int) else list(kernel_size)
    if any(k % 2 == 0 or k < 1 for k in sizes):
        fail(ValueError, "gaussian_blur: kernel_size is odd and positive", kernel_size=kernel_size)
    if sigma is None:
        sigma = [k * 0.15 + 0.35 for k in sizes]
    sigmas = [float(sigma)] * 2 if isinstance(sigma, (int, float)) else [float(s) for s in sigma]
    if check_image("gaussian_blur", img):
        return to_pil_image(gaussian_blur(pil_to_tensor(img), sizes, sigmas), mode=img.mode)
    across, down = (_gaussian(k, s) for k, s in zip(sizes, sigmas))
    kernel = torch.mm(down[:, None], across[None, :])
    batch = img.reshape(-1, *img.shape[-3:])
    values = batch if batch.is_floating_point() else batch.to(torch.float32)
    kernel = kernel.to(values.dtype).expand(values.shape[1], 1, *kernel.shape)
    border = [sizes[0] // 2, sizes[0] // 2, sizes[1] // 2, sizes[1] // 2]
    values = torch.nn.functional.pad(values, border, mode="reflect")
    out = torch.nn.functional.conv2d(values, kernel, groups=values.shape[1])
    return (out if img.is_floating_point() else out.round().to(img.dtype)).reshape(img.shape)


def _gaussian(size: int, sigma: float) -> Any:
    """A Gaussian sampled at `size` whole places around 0, its sum 1."""
    half = (size - 1) * 0.5
    weights = torch.exp(-0.5 * (torch.linspace(-half, half, steps=size) / sigma).pow(2))
    return weights / weights.sum()
