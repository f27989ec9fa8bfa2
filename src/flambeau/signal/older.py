"""The window functions of the top namespace: periodic unless said otherwise."""

from __future__ import annotations

from typing import Any

from ..errors import fail
from ..tensor.factories import factory
from . import windows


def _made(name: str, make: Any, length: int, periodic: bool, options: dict[str, Any]) -> Any:
    if length < 0:
        fail(RuntimeError, f"{name}: requires non-negative window_length, got window_length={length}")
    return make(length, sym=not periodic, **options)


@factory
def hann_window(window_length: int, periodic: bool = True, **options: Any) -> Any:
    """sin^2 over one period (see signal.windows.hann)."""
    return _made("hann_window", windows.hann, window_length, periodic, options)


@factory
def hamming_window(
    window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, **options: Any
) -> Any:
    """alpha - beta cos over one period."""
    if alpha + beta == 1.0:
        made = lambda M, **rest: windows.general_hamming(M, alpha=alpha, **rest)
    else:
        made = lambda M, **rest: windows.general_cosine(M, a=[alpha, beta], **rest)
    return _made("hamming_window", made, window_length, periodic, options)


@factory
def blackman_window(window_length: int, periodic: bool = True, **options: Any) -> Any:
    """0.42 - 0.5 cos + 0.08 cos of twice the angle (see signal.windows.blackman)."""
    return _made("blackman_window", windows.blackman, window_length, periodic, options)


@factory
def bartlett_window(window_length: int, periodic: bool = True, **options: Any) -> Any:
    """A triangle (see signal.windows.bartlett)."""
    return _made("bartlett_window", windows.bartlett, window_length, periodic, options)


@factory
def kaiser_window(window_length: int, periodic: bool = True, beta: float = 12.0, **options: Any) -> Any:
    """Bessel functions of a circle (see signal.windows.kaiser)."""
    made = lambda M, **rest: windows.kaiser(M, beta=beta, **rest)
    return _made("kaiser_window", made, window_length, periodic, options)
