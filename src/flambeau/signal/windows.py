"""`torch.signal.windows`: window functions of M samples, symmetric or (sym=False) periodic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import flambeau as torch

__all__ = [
    "bartlett",
    "blackman",
    "cosine",
    "exponential",
    "gaussian",
    "general_cosine",
    "general_hamming",
    "hamming",
    "hann",
    "kaiser",
    "nuttall",
]


def _check(name: str, M: int, dtype: Any, layout: Any) -> Any:
    if M < 0:
        raise ValueError(f"{name} requires non-negative window length, got M={M}")
    if layout is not None and layout is not torch.strided:
        raise ValueError(f"{name} is implemented for strided tensors only, got: {layout}")
    dtype = torch.get_default_dtype() if dtype is None else dtype
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"{name} expects float32 or float64 dtypes, got: {dtype}")
    return dtype


def _made(window: Any, dtype: Any, requires_grad: bool) -> Any:
    window = window.to(dtype)
    return window.requires_grad_() if requires_grad else window


def _line(low: float, step: float, M: int) -> Any:
    return torch.arange(M, dtype=torch.float64) * step + low


def _period(M: int, sym: bool) -> int:
    return M - 1 if sym and M > 1 else M


def general_cosine(
    M: int,
    *,
    a: Sequence[float],
    sym: bool = True,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """sum over i of (-1)^i a[i] cos(2 pi i n / M)."""
    dtype = _check("general_cosine", M, dtype, layout)
    if not isinstance(a, Sequence):
        raise TypeError("Coefficients must be a list/tuple")
    if not a:
        raise ValueError("Coefficients cannot be empty")
    if M == 1:
        return _made(torch.ones(1), dtype, requires_grad)
    k = _line(0.0, 2 * math.pi / _period(M, sym) if M else 0.0, M)
    window = k * 0
    for i, c in enumerate(a):
        window = window + (-1) ** i * c * (k * i).cos()
    return _made(window, dtype, requires_grad)


def general_hamming(M: int, *, alpha: float = 0.54, sym: bool = True, **options: Any) -> Any:
    """alpha - (1 - alpha) cos(2 pi n / M)."""
    return general_cosine(M, a=[alpha, 1.0 - alpha], sym=sym, **options)


def hamming(M: int, *, sym: bool = True, **options: Any) -> Any:
    """0.54 - 0.46 cos(2 pi n / M)."""
    return general_hamming(M, sym=sym, **options)


def hann(M: int, *, sym: bool = True, **options: Any) -> Any:
    """0.5 - 0.5 cos(2 pi n / M)."""
    return general_hamming(M, alpha=0.5, sym=sym, **options)


def blackman(M: int, *, sym: bool = True, **options: Any) -> Any:
    """0.42 - 0.5 cos(2 pi n / M) + 0.08 cos(4 pi n / M)."""
    _check("blackman", M, options.get("dtype"), options.get("layout"))
    return general_cosine(M, a=[0.42, 0.5, 0.08], sym=sym, **options)


def nuttall(M: int, *, sym: bool = True, **options: Any) -> Any:
    """The 4-term Blackman-Harris window of Nuttall."""
    return general_cosine(M, a=[0.3635819, 0.4891775, 0.1365995, 0.0106411], sym=sym, **options)


def cosine(
    M: int,
    *,
    sym: bool = True,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """sin(pi (n + 0.5) / M)."""
    dtype = _check("cosine", M, dtype, layout)
    step = math.pi / (M + (0 if sym or M == 1 else 1)) if M else 0.0
    return _made(_line(0.5 * step, step, M).sin(), dtype, requires_grad)


def exponential(
    M: int,
    *,
    center: float | None = None,
    tau: float = 1.0,
    sym: bool = True,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """exp(-|n - center| / tau)."""
    dtype = _check("exponential", M, dtype, layout)
    if tau <= 0:
        raise ValueError(f"Tau must be positive, got: {tau} instead.")
    if sym and center is not None:
        raise ValueError("Center must be None for symmetric windows")
    middle = (M if not sym and M > 1 else M - 1) / 2 if center is None else center
    return _made((-(_line(-middle, 1.0, M) / tau).abs()).exp(), dtype, requires_grad)


def gaussian(
    M: int,
    *,
    std: float = 1.0,
    sym: bool = True,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """exp(-(n / (2 std))^2), n from the middle."""
    dtype = _check("gaussian", M, dtype, layout)
    if std <= 0:
        raise ValueError(f"Standard deviation must be positive, got: {std} instead.")
    step = 1 / (std * math.sqrt(2))
    k = _line(-(M if not sym and M > 1 else M - 1) / 2 * step, step, M)
    return _made((-(k * k)).exp(), dtype, requires_grad)


def kaiser(
    M: int,
    *,
    beta: float = 12.0,
    sym: bool = True,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """i0(beta sqrt(1 - (2 n / M - 1)^2)) / i0(beta)."""
    dtype = _check("kaiser", M, dtype, layout)
    if beta < 0:
        raise ValueError(f"beta must be non-negative, got: {beta} instead.")
    if M == 0:
        return _made(torch.empty(0), dtype, requires_grad)
    if M == 1:
        return _made(torch.ones(1), dtype, requires_grad)
    k = _line(-1.0, 2.0 / _period(M, sym), M)
    top = torch.i0(torch.tensor(float(beta), dtype=torch.float64))
    return _made(torch.i0(beta * (1 - k * k).clamp(min=0).sqrt()) / top, dtype, requires_grad)


def bartlett(
    M: int,
    *,
    sym: bool = True,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """1 - |2 n / M - 1|."""
    dtype = _check("bartlett", M, dtype, layout)
    if M <= 1:
        return _made(torch.ones(M), dtype, requires_grad)
    return _made(1 - _line(-1.0, 2.0 / _period(M, sym), M).abs(), dtype, requires_grad)
