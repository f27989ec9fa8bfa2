"""Regions of images as tensors of one size (torchvision.ops): bins of each region, sampled, averaged or maximised.

The pixels of a batch are the rows of a table, and each bin is a bag of its rows: one kernel gathers and sums them, and
its way back is the images' gradient. Where a region lies has no gradient, as in torchvision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flambeau as torch

from ...errors import fail

Size = int | tuple[int, int]


def pair(size: Any) -> tuple[int, int]:
    """Height and width, given as one number or two."""
    if isinstance(size, (tuple, list)):
        high, wide = size * 2 if len(size) == 1 else size
        return int(high), int(wide)
    return int(size), int(size)


def regions(op: str, boxes: Any) -> Any:
    """Boxes as rows (image, x1, y1, x2, y2), from such rows or from a list of (L, 4), one for each image."""
    if isinstance(boxes, torch.Tensor):
        if boxes.ndim != 2 or boxes.size(1) != 5:
            fail(AssertionError, f"{op}: boxes should be (K, 5)", boxes=boxes)
        return boxes.detach()
    if not isinstance(boxes, (list, tuple)):
        fail(AssertionError, f"{op}: boxes is a tensor (K, 5) or a list of (L, 4)", boxes=type(boxes))
    for each in boxes:
        if each.size(1) != 4:
            fail(AssertionError, f"{op}: each tensor of boxes should be (L, 4)", boxes=each)
    numbers = torch.cat([torch.full_like(each[:, :1], image) for image, each in enumerate(boxes)])
    return torch.cat([numbers, torch.cat(list(boxes))], dim=1).detach()


def _begin(op: str, input: Any, boxes: Any, output_size: Size) -> tuple[Any, int, int]:
    """The checked regions, and the bins of each."""
    rois = regions(op, boxes)
    if input.dtype != rois.dtype:
        fail(RuntimeError, f"{op}: input and boxes should have the same dtype", input=input, boxes=rois)
    return rois, *pair(output_size)


def _table(input: Any, rois: Any) -> tuple[Any, Any]:
    """The pixels of images (N, C, H, W) as rows of C values, and the first row of each region's image."""
    n, c, h, w = input.shape
    rows = input.permute(0, 2, 3, 1).reshape(n * h * w, c)
    return rows, (rois[:, 0].long() * (h * w))[:, None, None]


def _bins_table(op: str, input: Any, rois: Any, high: int, wide: int) -> tuple[Any, Any]:
    """`_table` for images that have channels of their own for each of high x wide bins."""
    n, c, h, w = input.shape
    if c % (high * wide):
        fail(RuntimeError, f"{op}: channels must be a multiple of the number of bins", input=input)
    split = input.reshape(n, c // (high * wide), high, wide, h, w)
    rows = split.permute(0, 2, 3, 4, 5, 1).reshape(n * high * wide * h * w, -1)
    bins = torch.arange(high * wide, device=input.device).reshape(high, wide)
    return rows, (rois[:, 0].long()[:, None, None] * (high * wide) + bins) * (h * w)


def _bags(rows: Any, index: Any, weight: Any) -> Any:
    """Sums of weighted rows for index and weight (K, P, Q, entries): (K, C, P, Q)."""
    k, p, q, entries = index.shape
    if k * entries == 0:
        return rows.sum(0)[:, None, None] * rows.new_zeros((k, 1, p, q))
    index, weight = index.reshape(-1, entries), weight.reshape(-1, entries)
    summed = torch.nn.functional.embedding_bag(index, rows, mode="sum", per_sample_weights=weight)
    return summed.reshape(k, p, q, -1).permute(0, 3, 1, 2).contiguous()


def _taps(start: Any, length: Any, bins: int, ratio: int, extent: int) -> tuple[Any, Any]:
    """Along one axis: the two places that each sample lies between, and their weights, as (K, bins, 2 * samples)."""
    step = length / bins
    count = torch.full_like(step, ratio) if ratio > 0 else torch.ceil(step).clamp(min=0)
    most = ratio if ratio > 0 else max(int(count.max()), 1) if count.numel() else 1
    sample = torch.arange(most, dtype=start.dtype, device=start.device)
    bin_ = torch.arange(bins, dtype=start.dtype, device=start.device)
    count = count[:, None, None]
    whole = count.clamp(min=1)
    at = start[:, None, None] + bin_[:, None] * step[:, None, None]
    at = at + (sample + 0.5) * step[:, None, None] / whole
    used = (at >= -1.0) & (at <= extent) & (sample < count)
    at = torch.where(used, at.clamp(min=0, max=extent - 1), 0.0)
    low = at.floor()
    part = at - low
    share = torch.where(used, 1.0 / whole, 0.0)
    low = low.long()
    places = torch.stack((low, (low + 1).clamp(max=extent - 1)), dim=-1)
    weights = torch.stack(((1 - part) * share, part * share), dim=-1)
    return places.flatten(2), weights.flatten(2)


def _outer(high: Any, wide: Any, combine: Callable[[Any, Any], Any]) -> Any:
    """(K, P, a) and (K, Q, b) combined to (K, P, Q, a * b)."""
    return combine(high[:, :, None, :, None], wide[:, None, :, None, :]).flatten(3)


def _align(rows: Any, first: Any, y: tuple[Any, Any], x: tuple[Any, Any], width: int) -> Any:
    """The mean of each bin's samples, by what `_taps` gave for both axes."""
    index = first[..., None] + _outer(y[0], x[0], lambda a, b: a * width + b)
    return _bags(rows, index, _outer(y[1], x[1], torch.mul))


def roi_align(
    input: Any,
    boxes: Any,
    output_size: Size,
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Any:
    """The means of bilinear samples in bins of regions (arXiv:1703.06870): (N, C, H, W) -> (K, C, *output_size)."""
    rois, high, wide = _begin("roi_align", input, boxes, output_size)
    corners = rois[:, 1:] * spatial_scale - (0.5 if aligned else 0.0)
    size = corners[:, 2:] - corners[:, :2]
    if not aligned:
        size = size.clamp(min=1.0)
    y = _taps(corners[:, 1], size[:, 1], high, sampling_ratio, input.shape[2])
    x = _taps(corners[:, 0], size[:, 0], wide, sampling_ratio, input.shape[3])
    return _align(*_table(input, rois), y, x, input.shape[3])


def ps_roi_align(
    input: Any, boxes: Any, output_size: Size, spatial_scale: float = 1.0, sampling_ratio: int = -1
) -> Any:
    """`roi_align` from channels of its own for each bin (arXiv:1711.07264): (N, C * bins, H, W) -> (K, C, ...)."""
    rois, high, wide = _begin("ps_roi_align", input, boxes, output_size)
    corners = rois[:, 1:] * spatial_scale - 0.5
    size = corners[:, 2:] - corners[:, :2]
    y = _taps(corners[:, 1], size[:, 1], high, sampling_ratio, input.shape[2])
    x = _taps(corners[:, 0], size[:, 0], wide, sampling_ratio, input.shape[3])
    return _align(*_bins_table("ps_roi_align", input, rois, high, wide), y, x, input.shape[3])


def _spans(first: Any, last: Any, bins: int, least: int, extent: int) -> tuple[Any, Any]:
    """Along one axis: the whole places of each bin (K, bins, most), clipped to the extent, and which of them count."""
    first, last = (torch.trunc(v + torch.copysign(torch.full_like(v, 0.5), v)) for v in (first, last))
    step = (last - first + least).clamp(min=1) / bins
    bin_ = torch.arange(bins, dtype=step.dtype, device=step.device)
    start = (torch.floor(bin_ * step[:, None]) + first[:, None]).clamp(min=0, max=extent).long()
    end = (torch.ceil((bin_ + 1) * step[:, None]) + first[:, None]).clamp(min=0, max=extent).long()
    most = max(int((end - start).max()), 1) if step.numel() else 1
    place = start[..., None] + torch.arange(most, device=step.device)
    return place.clamp(max=max(extent - 1, 0)), place < end[..., None]


def roi_pool(input: Any, boxes: Any, output_size: Size, spatial_scale: float = 1.0) -> Any:
    """The greatest values in bins of regions (arXiv:1504.08083): (N, C, H, W) -> (K, C, *output_size)."""
    rois, high, wide = _begin("roi_pool", input, boxes, output_size)
    corners = rois[:, 1:] * spatial_scale
    y, y_used = _spans(corners[:, 1], corners[:, 3], high, 1, input.shape[2])
    x, x_used = _spans(corners[:, 0], corners[:, 2], wide, 1, input.shape[3])
    rows, first = _table(input, rois)
    index = first[..., None] + _outer(y, x, lambda a, b: a * input.shape[3] + b)
    used = _outer(y_used, x_used, torch.logical_and)[..., None]
    found = torch.where(used, rows[index], float("-inf"))
    best = torch.where(used.any(dim=3), found.max(dim=3)[0], 0.0)  # an empty bin is 0
    return best.permute(0, 3, 1, 2).contiguous()


def ps_roi_pool(input: Any, boxes: Any, output_size: Size, spatial_scale: float = 1.0) -> Any:
    """The means in bins of regions, from channels of its own for each bin (arXiv:1605.06409).

    As in torchvision's forward, the last row and the last column of an image are in no bin.
    """
    rois, high, wide = _begin("ps_roi_pool", input, boxes, output_size)
    corners = rois[:, 1:] * spatial_scale
    y, y_used = _spans(corners[:, 1], corners[:, 3], high, 0, input.shape[2] - 1)
    x, x_used = _spans(corners[:, 0], corners[:, 2], wide, 0, input.shape[3] - 1)
    rows, first = _bins_table("ps_roi_pool", input, rois, high, wide)
    index = first[..., None] + _outer(y, x, lambda a, b: a * input.shape[3] + b)
    used = _outer(y_used, x_used, torch.logical_and).to(input.dtype)
    return _bags(rows, index, used / used.sum(dim=-1, keepdim=True).clamp(min=1))


class _Regions(torch.nn.Module):
    """What the modules share: their arguments, and the printed form that names them."""

    names: tuple[str, ...] = ("output_size", "spatial_scale")

    def _options(self) -> list[Any]:
        return [getattr(self, name) for name in self.names]

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={getattr(self, name)}" for name in self.names)
        return f"{type(self).__name__}({given})"


class RoIAlign(_Regions):
    """`roi_align` as a module."""

    names = ("output_size", "spatial_scale", "sampling_ratio", "aligned")

    def __init__(self, output_size: Size, spatial_scale: float, sampling_ratio: int, aligned: bool = False):
        super().__init__()
        self.output_size, self.spatial_scale = output_size, spatial_scale
        self.sampling_ratio, self.aligned = sampling_ratio, aligned

    def forward(self, input: Any, rois: Any) -> Any:
        """(N, C, H, W) and K regions -> (K, C, *output_size)."""
        return roi_align(input, rois, *self._options())


class PSRoIAlign(_Regions):
    """`ps_roi_align` as a module."""

    names = ("output_size", "spatial_scale", "sampling_ratio")

    def __init__(self, output_size: Size, spatial_scale: float, sampling_ratio: int):
        super().__init__()
        self.output_size, self.spatial_scale = output_size, spatial_scale
        self.sampling_ratio = sampling_ratio

    def forward(self, input: Any, rois: Any) -> Any:
        """(N, C * bins, H, W) and K regions -> (K, C, *output_size)."""
        return ps_roi_align(input, rois, *self._options())


class RoIPool(_Regions):
    """`roi_pool` as a module."""

    def __init__(self, output_size: Size, spatial_scale: float):
        super().__init__()
        self.output_size, self.spatial_scale = output_size, spatial_scale

    def forward(self, input: Any, rois: Any) -> Any:
        """(N, C, H, W) and K regions -> (K, C, *output_size)."""
        return roi_pool(input, rois, *self._options())


class PSRoIPool(RoIPool):
    """`ps_roi_pool` as a module."""

    def forward(self, input: Any, rois: Any) -> Any:
        """(N, C * bins, H, W) and K regions -> (K, C, *output_size)."""
        return ps_roi_pool(input, rois, *self._options())
