"""Normalisation functions: their checks, and the statistics they keep."""

from __future__ import annotations

from typing import Any

import flambeau as torch

Tensor = Any


def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """x / (k + alpha mean(x^2 over `size` neighbouring channels))^beta."""
    dims = input.dim()
    if dims < 3:
        raise ValueError(
            f"Expected 3D or higher dimensionality                          input (got {dims} dimensions)"
        )
    if input.numel() == 0:
        return input
    squares = input.mul(input)
    channels = input.size(1)
    padded = torch.cat(
        [_zero_channels(squares, size // 2), squares, _zero_channels(squares, (size - 1) // 2)], dim=1
    )
    total = padded.narrow(1, 0, channels)
    for i in range(1, size):
        total = total + padded.narrow(1, i, channels)
    return input / (total / size).mul(alpha).add(k).pow(beta)


def _zero_channels(like: Tensor, count: int) -> Tensor:
    return like.new_zeros((like.size(0), count, *like.shape[2:]))
