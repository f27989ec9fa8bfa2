"""Dropout of channels, and dropout that keeps mean and variance, as formulas."""

from __future__ import annotations

import math
from typing import Any

import flambeau as torch

Tensor = Any

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def feature_dropout(input: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """x mask / (1 - p), the mask drawn for each sample and channel."""
    return _masked(input, p, training, _per_channel(input))


def _per_channel(input: Tensor) -> tuple[int, ...]:
    if input.dim() < 2:
        raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
    return (*input.shape[:2], *(1,) * (input.dim() - 2))


def _masked(input: Tensor, p: float, training: bool, shape: Any) -> Tensor:
    if p == 0 or not training or input.numel() == 0:
        return input
    if p == 1:
        return input * torch.zeros((), dtype=input.dtype, device=input.device)
    mask = torch.empty(shape, dtype=input.dtype, device=input.device).bernoulli_(1 - p)
    return input * mask.div_(1 - p)


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False) -> Tensor:
    """Dropped elements become -scale alpha, then the whole is moved and scaled back to mean 0 and variance 1."""
    return _alpha(input, p, training, input.shape)


def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False) -> Tensor:
    """`alpha_dropout` of whole channels."""
    return _alpha(input, p, training, _per_channel(input) if training and p else input.shape)


def _alpha(input: Tensor, p: float, training: bool, shape: Any) -> Tensor:
    if p == 0 or not training or input.numel() == 0:
        return input
    if p == 1:
        return input * torch.zeros((), dtype=input.dtype, device=input.device)
    alpha = _SELU_ALPHA * _SELU_SCALE
    a = 1.0 / math.sqrt((alpha * alpha * p + 1) * (1 - p))
    mask = torch.empty(shape, dtype=input.dtype, device=input.device).bernoulli_(1 - p)
    shift = (mask - 1).mul_(alpha * a).add_(alpha * a * p)
    return input * mask.mul_(a) + shift
