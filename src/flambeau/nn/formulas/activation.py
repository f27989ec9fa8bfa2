"""Activations and dropout, as formulas."""

from __future__ import annotations

import math
from typing import Any

import flambeau as torch

Tensor = Any

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def relu(input: Tensor) -> Tensor:
    """0 where x <= 0, else x."""
    return torch.where(input <= 0, torch.zeros_like(input), input)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """x cut to [min_val, max_val]."""
    return torch.clamp(input, min_val, max_val)


def relu6(input: Tensor) -> Tensor:
    """x cut to [0, 6]."""
    return torch.clamp(input, 0, 6)


def elu(input: Tensor, alpha: float = 1.0) -> Tensor:
    """x where x > 0, else alpha (exp(x) - 1)."""
    return torch.where(input > 0, input, alpha * torch.expm1(input))


def selu(input: Tensor) -> Tensor:
    """scale elu(x, alpha)."""
    return _SELU_SCALE * torch.where(input > 0, input, _SELU_ALPHA * torch.expm1(input))


def celu(input: Tensor, alpha: float = 1.0) -> Tensor:
    """x where x > 0, else alpha (exp(x / alpha) - 1)."""
    return torch.where(input > 0, input, alpha * torch.expm1(input / alpha))


def leaky_relu(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """x where x > 0, else negative_slope x."""
    return torch.where(input > 0, input, input * negative_slope)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x where x > 0, else weight x; weight is per channel (dimension 1)."""
    if weight.numel() != 1:
        if input.dim() == 0:
            raise RuntimeError("Not allow zero-dim input tensor.")
        channels = input.shape[1] if input.dim() > 1 else 1
        if weight.numel() != channels:
            raise RuntimeError(
                f"Mismatch of parameter numbers and input channel size. Found parameter numbers = {weight.numel()} "
                f"and channel size = {channels}."
            )
        weight = weight.view(1, channels, *(1,) * (input.dim() - 2))
    elif input.dim() != weight.dim():
        weight = weight.view((1,) * input.dim())
    return torch.where(input > 0, input, weight * input)


def rrelu(input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False) -> Tensor:
    """Leaky relu with a slope drawn from [lower, upper), or with their mean."""
    if lower > upper:
        raise RuntimeError(
            f"Lower bound should be less than or equal to the upper bound; got {lower} and {upper}"
        )
    if not training:
        return leaky_relu(input, (lower + upper) / 2)
    slope = torch.empty_like(input).uniform_(lower, upper).detach()
    return torch.where(input > 0, input, slope * input)


def threshold(input: Tensor, threshold: float, value: float) -> Tensor:
    """x where x > threshold, else value."""
    return torch.where(input > threshold, input, torch.full_like(input, value))


def hardsigmoid(input: Tensor) -> Tensor:
    """relu6(x + 3) / 6."""
    return torch.clamp(input + 3, 0, 6) / 6


def hardswish(input: Tensor) -> Tensor:
    """x relu6(x + 3) / 6."""
    return input * torch.clamp(input + 3, 0, 6) / 6


def silu(input: Tensor) -> Tensor:
    """x sigmoid(x)."""
    return input * torch.sigmoid(input)


def mish(input: Tensor) -> Tensor:
    """x tanh(softplus(x))."""
    return input * torch.tanh(softplus(input))


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """a sigmoid(b), a and b the halves along `dim`."""
    if input.size(dim) % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {dim} is size {input.size(dim)}")
    a, b = input.chunk(2, dim)
    return a * torch.sigmoid(b)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x Phi(x), Phi by erf or by tanh."""
    if approximate == "none":
        return input * 0.5 * (1.0 + torch.erf(input * math.sqrt(0.5)))
    if approximate == "tanh":
        inner = math.sqrt(2 / math.pi) * (input + 0.044715 * input * input * input)
        return 0.5 * input * (1.0 + torch.tanh(inner))
    raise RuntimeError("approximate argument must be either none or tanh.")


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta x)) / beta, x itself where beta x > threshold."""
    scaled = input * beta
    high = scaled > threshold
    safe = torch.where(high, torch.zeros_like(scaled), scaled)
    return torch.where(high, input, torch.log1p(torch.exp(safe)) / beta)


def logsigmoid(input: Tensor) -> Tensor:
    """min(x, 0) - log(1 + exp(-|x|))."""
    return torch.clamp(input, max=0) - torch.log1p(torch.exp(-torch.abs(input)))


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x where |x| > lambd, else 0."""
    return torch.where((input >= -lambd) & (input <= lambd), torch.zeros_like(input), input)


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x moved towards 0 by lambd."""
    if lambd < 0:
        raise RuntimeError(f"lambda must be greater or equal to 0, but found to be {lambd}.")
    zero = torch.zeros_like(input)
    return torch.where(input > lambd, input - lambd, torch.where(input < -lambd, input + lambd, zero))


def dropout(input: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """x mask / (1 - p), the mask drawn for each element."""
    return _masked(input, p, training, input.shape)


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
