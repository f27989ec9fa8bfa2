"""How the polynomials of ops/bessel.py were found: interpolation at Chebyshev's points in mpmath, in powers of the
variable that runs from -1 to 1. `python fit_bessel.py [name ...]` prints them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from mpmath import mp, mpf

mp.dps = 60
END, K_END, K_SHIFT, RIGHT_SHIFT = mpf(8), mpf(2), mpf("1.5"), mpf(1)
TURN, TURN_RIGHT = 2 * mp.sqrt(mpf(125)) / 3, 2 * mp.sqrt(mpf("1.5") ** 3) / 3
Real = Callable[[Any], Any]


def powers(f: Real, n: int) -> list[Any]:
    """The polynomial of n coefficients that is f at Chebyshev's points."""
    nodes = [mp.cos(mp.pi * (2 * k + 1) / (2 * n)) for k in range(n)]
    values = [f(x) for x in nodes]
    angle = lambda j, k: mp.cos(j * mp.pi * (2 * k + 1) / (2 * n))
    weights = [2 * sum(values[k] * angle(j, k) for k in range(n)) / n for j in range(n)]
    weights[0] /= 2
    t = [[mpf(1)], [mpf(0), mpf(1)]]
    for _ in range(2, n):
        rising = [mpf(0), *(2 * c for c in t[-1])]
        t.append([c - (t[-2][i] if i < len(t[-2]) else 0) for i, c in enumerate(rising)])
    return [sum(weights[j] * t[j][i] for j in range(i, n)) for i in range(n)]


def fit(f: Real, n: int) -> tuple[float, ...]:
    """The coefficients in float64; prints the error beside the largest value."""
    exact = powers(f, n)
    points = [mpf(i) / 40 - 1 + mpf("1e-6") for i in range(80)]
    error = max(abs(mp.polyval(exact[::-1], t) - f(t)) for t in points)
    print(f"    error {float(error):.1e} of {float(max(abs(f(t)) for t in points)):.3g}")
    return tuple(float(c) for c in exact)


def square_root(t: Any, end: Any) -> Any:
    """x, where t = 2 (x / end)^2 - 1."""
    return end * mp.sqrt((t + 1) / 2)


def first(order: int, t: Any) -> Any:
    """J without its first two zeros (and without x in order 1)."""
    x = square_root(t, END)
    a, b = (mp.besseljzero(order, k) for k in (1, 2))
    return mp.besselj(order, x) / ((x * x - a * a) * (x * x - b * b)) / (x if order else 1)


def second(order: int, t: Any) -> Any:
    """Y without its logarithm and pole."""
    x = square_root(t, END)
    rest = mp.bessely(order, x) - 2 / mp.pi * mp.log(x) * mp.besselj(order, x)
    return (rest + 2 / (mp.pi * x)) / x if order else rest


def amplitudes(order: int, which: int, t: Any) -> Any:
    """p, and q times x, of Hankel's form; t = 2 (8 / x)^2 - 1."""
    x = END / mp.sqrt((t + 1) / 2)
    c, size = x - (2 * order + 1) * mp.pi / 4, mp.sqrt(mp.pi * x / 2)
    j, y = mp.besselj(order, x) * size, mp.bessely(order, x) * size
    return (y * mp.cos(c) - j * mp.sin(c)) * x if which else j * mp.cos(c) + y * mp.sin(c)


def third(order: int, t: Any) -> Any:
    """K without its logarithm and pole."""
    x = square_root(t, K_END)
    sign = -1 if order else 1
    rest = mp.besselk(order, x) + sign * mp.log(x / 2) * mp.besseli(order, x)
    return (rest - 1 / x) / x if order else rest


def modified(order: int, t: Any) -> Any:
    """I, in order 1 over x."""
    x = square_root(t, K_END)
    return mp.besseli(order, x) / (x if order else 1)


def decay(order: int, t: Any) -> Any:
    """K e^x sqrt(x); t = 1 - 2 (2 + shift) / (x + shift)."""
    x = 2 * (K_END + K_SHIFT) / (1 - t) - K_SHIFT
    return mp.besselk(order, x) * mp.exp(x) * mp.sqrt(x)


def left(t: Any) -> Any:
    """Ai on [-5, -1] without its zeros."""
    x = 2 * t - 3
    return mp.airyai(x) / ((x - mp.airyaizero(1)) * (x - mp.airyaizero(2)))


def right(t: Any) -> Any:
    """Ai e^z x^(1/4), z = 2/3 x^(3/2)."""
    z = 2 * (TURN_RIGHT + RIGHT_SHIFT) / (1 - t) - RIGHT_SHIFT
    x = (1.5 * z) ** (mpf(2) / 3)
    return mp.airyai(x) * mp.exp(z) * mp.root(x, 4)


def airy_amplitudes(which: int, t: Any) -> Any:
    """p, and q times z, left of -5; t = 2 (TURN / z)^2 - 1."""
    z = TURN / mp.sqrt((t + 1) / 2)
    x = (1.5 * z) ** (mpf(2) / 3)
    c, size = z - mp.pi / 4, mp.sqrt(mp.pi) * mp.root(x, 4)
    a, b = mp.airyai(-x) * size, mp.airybi(-x) * size
    return (a * mp.sin(c) + b * mp.cos(c)) * z if which else a * mp.cos(c) - b * mp.sin(c)


FITS: dict[str, tuple[Real, int]] = {
    "AI_LEFT": (left, 25),
    "AI_MIDDLE": (lambda t: mp.airyai(mpf("0.25") + t * mpf("1.25")), 21),
    "AI_RIGHT": (right, 20),
    "AI_P": (partial(airy_amplitudes, 0), 13),
    "AI_Q": (partial(airy_amplitudes, 1), 14),
}
for _k in (0, 1):
    FITS |= {f"J{_k}_NEAR": (partial(first, _k), 15), f"Y{_k}_NEAR": (partial(second, _k), 16)}
    FITS |= {f"P{_k}": (partial(amplitudes, _k, 0), 12), f"Q{_k}": (partial(amplitudes, _k, 1), 14)}
    FITS |= {f"K{_k}_NEAR": (partial(third, _k), 10 - _k), f"K{_k}_I": (partial(modified, _k), 10 - _k)}
    FITS |= {f"K{_k}_FAR": (partial(decay, _k), 18 + _k)}

if __name__ == "__main__":
    for name in sys.argv[1:] or FITS:
        print(name, "=", fit(*FITS[name]))
