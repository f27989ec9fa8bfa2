"""Bags of embeddings, bilinear maps and shuffles, as formulas."""

from __future__ import annotations

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
    offsets: Tensor,
    mode: str,
    scale_grad_by_freq: bool,
    per_sample_weights: Tensor | None,
    include_last_offset: bool,
    padding_idx: int | None,
) -> Tensor:
    """The sum, mean or maximum of weight[input] over bags that begin at `offsets`."""
    starts = offsets[:-1] if include_last_offset else offsets
    count, size = starts.numel(), weight.size(1)
    position = torch.arange(input.numel(), device=input.device)
    bag = (position.unsqueeze(1) >= starts.unsqueeze(0)).sum(1) - 1
    rows = ops.embedding(input, weight, padding_idx=padding_idx, scale_grad_by_freq=scale_grad_by_freq)
    kept = torch.ones_like(input, dtype=torch.bool) if padding_idx is None else input != padding_idx
    if mode == "max":
        return _bag_maxima(rows, bag, kept, count)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.unsqueeze(1)
    rows = torch.where(kept.unsqueeze(1), rows, torch.zeros_like(rows))
    total = rows.new_zeros((count, size)).index_add(0, bag, rows)
    if mode == "sum":
        return total
    sizes = rows.new_zeros(count).index_add(0, bag, kept.to(rows.dtype))
    return total / sizes.clamp(min=1).unsqueeze(1)


def _bag_maxima(rows: Tensor, bag: Tensor, kept: Tensor, count: int) -> Tensor:
    if rows.size(0) == 0:
        return rows.new_zeros((count, rows.size(1)))
    member = (bag.unsqueeze(0) == torch.arange(count, device=bag.device).unsqueeze(1)) & kept.unsqueeze(0)
    low = torch.full((), float("-inf"), dtype=rows.dtype, device=rows.device)
    best = torch.where(member.unsqueeze(2), rows.unsqueeze(0), low).max(1)[0]
    return torch.where(member.any(1).unsqueeze(1), best, torch.zeros_like(best))


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
    x = input.reshape(input.shape[0], groups, channels // groups, *input.shape[2:])
    return x.transpose(1, 2).reshape(input.shape)


native_channel_shuffle = channel_shuffle
