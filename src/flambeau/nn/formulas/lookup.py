"""Bags of embeddings, bilinear maps and shuffles, as formulas."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import flambeau as torch

from ..functional.table import ops

Tensor = Any


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x1^T W x2 + b."""
    if input1.shape[:-1] != input2.shape[:-1]:
        raise RuntimeError(
            "bilinear(): input batch dimensions do not match: got "
            f"{list(input1.shape[:-1])} and {list(input2.shape[:-1])}"
        )
    rows, width1, width2 = weight.shape
    x1, x2 = input1.reshape(-1, width1), input2.reshape(-1, width2)
    through = torch.matmul(x1, weight.permute(1, 0, 2).reshape(width1, rows * width2)).reshape(
        -1, rows, width2
    )
    result = (through * x2.unsqueeze(1)).sum(-1).reshape(*input1.shape[:-1], rows)
    return result if bias is None else result + bias


def bags_of_embeddings(
    weight: Tensor,
    input: Tensor,
    starts: Tensor,
    length: int,
    mode: str,
    scale_grad_by_freq: bool,
    per_sample_weights: Tensor | None,
    padding_idx: int | None,
    sparse: bool = False,
) -> Tensor:
    """The sum, mean or maximum of weight[input] over bags that begin at `starts`; length: of each, 0 if they differ."""
    count, size = starts.numel(), weight.size(1)
    last = 1
    direct = not (scale_grad_by_freq or sparse or weight.is_complex())
    plain = per_sample_weights is None and direct
    pad = -1 if padding_idx is None else padding_idx
    if direct and per_sample_weights is not None and per_sample_weights.dtype == weight.dtype:
        bag = _bags(input, starts, length)
        return ops._weighted_bag_sum(weight, input, starts, per_sample_weights, bag, pad)
    if length and mode != "max" and not plain:  # bags of one length are rows, which are added up in one pass
        input, last = input.view(count, length), 2
    if mode != "max" and plain:
        return ops._embedding_bag_sum(weight, input, starts, mode == "mean", pad)
    rows = ops.embedding(
        input, weight, padding_idx=padding_idx, scale_grad_by_freq=scale_grad_by_freq, sparse=sparse
    )
    kept = None if padding_idx is None else (input != padding_idx).unsqueeze(last)
    if mode == "max":
        return _bag_maxima(rows, _bags(input, starts, length), kept, count)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.view(input.shape).unsqueeze(last)
    if kept is not None:
        rows = torch.where(kept, rows, torch.zeros_like(rows))
    sizes: Any = length
    if length:
        total = rows.sum(1)
        if kept is not None:
            sizes = kept.sum(1).clamp(min=1)
    else:
        bag = _bags(input, starts, length)
        total = rows.new_zeros((count, size)).index_add(0, bag, rows)
        ones = torch.ones_like(input) if kept is None else kept.squeeze(1).to(input.dtype)
        sizes = torch.zeros_like(starts).index_add(0, bag, ones).clamp(min=1).unsqueeze(1)
    return total if mode == "sum" else total / sizes


def _bags(input: Tensor, starts: Tensor, length: int) -> Tensor:
    """The number of the bag of each index."""
    n = input.numel()
    if length:
        return torch.arange(n, device=input.device) // length
    marks = torch.zeros(n + 1, dtype=torch.long, device=input.device)
    return marks.index_add(0, starts, torch.ones_like(starts, dtype=torch.long))[:n].cumsum(0) - 1


def _bag_maxima(rows: Tensor, bag: Tensor, kept: Any, count: int) -> Tensor:
    """The first of the greatest rows of each bag, element by element; zero where there is none."""
    n, size = rows.shape
    if n == 0:
        return rows.new_zeros((count, size))
    with torch.no_grad():
        low = rows if kept is None else torch.where(kept, rows, torch.full_like(rows, float("-inf")))
        at = bag.unsqueeze(1).expand(n, size)
        best = rows.new_full((count, size), float("-inf")).scatter_reduce(0, at, low, "amax")
        found = (low == best.gather(0, at)) | (low != low)
        if kept is not None:
            found = found & kept
        position = torch.arange(n, device=rows.device).unsqueeze(1).expand(n, size)
        last = torch.full((count, size), n, dtype=torch.long, device=rows.device)
        first = last.scatter_reduce(0, at, torch.where(found, position, torch.full_like(position, n)), "amin")
    chosen = rows.gather(0, first.clamp(max=n - 1))
    return torch.where(first < n, chosen, torch.zeros_like(chosen))


def innermost(x: Tensor) -> bool:
    """Whether the channels of images lie side by side in memory, and shall in what is made of them."""
    if x.dim() not in (4, 5) or x.is_contiguous() or x.stride(1) == 0 or 0 in x.shape:
        return False
    order = (1, *range(x.dim() - 1, 1, -1), 0)
    return all(x.stride(e) >= x.stride(d) * x.size(d) for d, e in pairwise(order))


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(..., C r^2, H, W) -> (..., C, H r, W r)."""
    r = upscale_factor
    if input.dim() < 3:
        raise RuntimeError(
            f"pixel_shuffle expects input to have at least 3 dimensions, but got input with {input.dim()} dimension(s)"
        )
    if r <= 0:
        raise RuntimeError(f"pixel_shuffle expects a positive upscale_factor, but got {r}")
    *lead, channels, height, width = input.shape
    if channels % (r * r):
        raise RuntimeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of upscale_factor, "
            f"but input.size(-3)={channels} is not divisible by {r * r}"
        )
    n = len(lead)
    if n == 1 and innermost(input):
        x = input.permute(0, 2, 3, 1).reshape(*lead, height, width, channels // (r * r), r, r)
        x = x.permute(0, 1, 4, 2, 5, 3).reshape(*lead, height * r, width * r, channels // (r * r))
        return x.permute(0, 3, 1, 2)
    x = input.reshape(*lead, channels // (r * r), r, r, height, width)
    x = x.permute(*range(n), n, n + 3, n + 1, n + 4, n + 2)
    return x.reshape(*lead, channels // (r * r), height * r, width * r)


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(..., C, H r, W r) -> (..., C r^2, H, W)."""
    r = downscale_factor
    if input.dim() < 3:
        raise RuntimeError(
            f"pixel_unshuffle expects input to have at least 3 dimensions, but got input with {input.dim()} "
            "dimension(s)"
        )
    if r <= 0:
        raise RuntimeError(f"pixel_unshuffle expects a positive downscale_factor, but got {r}")
    *lead, channels, height, width = input.shape
    for name, extent, at in (("height", height, -2), ("width", width, -1)):
        if extent % r:
            raise RuntimeError(
                f"pixel_unshuffle expects {name} to be divisible by downscale_factor, but input.size({at})={extent} is "
                f"not divisible by {r}"
            )
    n = len(lead)
    if n == 1 and innermost(input):
        x = input.permute(0, 2, 3, 1).reshape(*lead, height // r, r, width // r, r, channels)
        x = x.permute(0, 1, 3, 5, 2, 4).reshape(*lead, height // r, width // r, channels * r * r)
        return x.permute(0, 3, 1, 2)
    x = input.reshape(*lead, channels, height // r, r, width // r, r)
    x = x.permute(*range(n), n, n + 2, n + 4, n + 1, n + 3)
    return x.reshape(*lead, channels * r * r, height // r, width // r)


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """(N, g n, ...) read as (N, g, n, ...), written as (N, n, g, ...)."""
    if input.dim() < 3:
        raise RuntimeError(
            f"channel_shuffle expects input with > 2 dims, but got input with sizes {list(input.shape)}"
        )
    channels = input.shape[1]
    if groups <= 0:
        raise RuntimeError(
            f"Number of groups to divide channels in must be positive. Value of groups:{groups}"
        )
    if channels % groups:
        raise RuntimeError(
            f"Number of channels must be divisible by groups. Got {channels} channels and {groups} groups."
        )
    if innermost(input):
        x = input.movedim(1, -1)
        x = x.unflatten(-1, (groups, channels // groups)).transpose(-1, -2)
        return x.flatten(-2).movedim(-1, 1)
    x = input.reshape(input.shape[0], groups, channels // groups, *input.shape[2:])
    return x.transpose(1, 2).reshape(input.shape)


native_channel_shuffle = channel_shuffle
