"""torchvision.utils: many images in one, and to a file."""

from __future__ import annotations

import math
from typing import Any

import flambeau as torch

from ..errors import fail
from .transforms.functional import to_pil_image


def _scaled(image: Any, low: float, high: float) -> Any:
    """The image with low mapped to 0 and high to 1, cut off outside."""
    return (image.clamp(min=low, max=high) - low) / max(high - low, 1e-5)


def _spread(images: Any, value_range: tuple[float, float] | None, scale_each: bool) -> Any:
    """The batch with its values in [0, 1]."""

    def one(part: Any) -> Any:
        return _scaled(part, *(value_range or (float(part.min()), float(part.max()))))

    return torch.stack([one(image) for image in images]) if scale_each else one(images)


def _batch(tensor: Any) -> Any:
    """One image, several in a list, or a batch, as a batch (N, 3, H, W)."""
    if isinstance(tensor, (list, tuple)):
        tensor = torch.stack(list(tensor), dim=0)
    if not isinstance(tensor, torch.Tensor):
        fail(TypeError, "make_grid: a tensor or a list of tensors expected", tensor=type(tensor))
    if tensor.dim() == 2:
        tensor = tensor.unsqueeze(0)
    if tensor.dim() == 3:
        tensor = (tensor.expand(3, -1, -1) if tensor.size(0) == 1 else tensor).unsqueeze(0)
    if tensor.dim() == 4 and tensor.size(1) == 1:
        tensor = tensor.expand(-1, 3, -1, -1)
    if tensor.dim() != 4:
        fail(ValueError, "make_grid: images are (H, W), (C, H, W) or (N, C, H, W)", tensor=tensor)
    return tensor


def make_grid(
    tensor: Any,
    nrow: int = 8,
    padding: int = 2,
    normalize: bool = False,
    value_range: tuple[float, float] | None = None,
    scale_each: bool = False,
    pad_value: float = 0.0,
) -> Any:
    """Images (N, C, H, W) side by side, `nrow` in a row: (3, rows * (H + padding) + padding, ...)."""
    images = _batch(tensor)
    if normalize:
        images = _spread(images.clone(), value_range, scale_each)
    if images.size(0) == 1:
        return images.squeeze(0)
    count, channels = images.size(0), images.size(1)
    columns = min(nrow, count)
    rows = math.ceil(count / columns)
    high, wide = images.size(2) + padding, images.size(3) + padding
    grid = images.new_full((channels, high * rows + padding, wide * columns + padding), pad_value)
    for place in range(count):
        y, x = divmod(place, columns)
        top, left = y * high + padding, x * wide + padding
        grid[:, top : top + high - padding, left : left + wide - padding] = images[place]
    return grid


def save_image(tensor: Any, fp: Any, format: str | None = None, **kwargs: Any) -> None:
    """Write images in [0, 1] to a file, as `make_grid(tensor, **kwargs)` arranges them; needs Pillow."""
    grid = make_grid(tensor, **kwargs)
    pixels = grid.mul(255).add_(0.5).clamp_(0, 255).to(torch.uint8)
    to_pil_image(pixels).save(fp, format=format)
