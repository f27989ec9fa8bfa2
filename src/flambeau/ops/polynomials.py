"""Orthogonal polynomials and Bessel functions, by NumPy in float64 (`torch.special`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..shapes import broadcast
from ..stream.external import routine
from ..stream.graph import map_, opaque
from .elementwise import floats
from .entry import NONE, TN, T, op
from .special import one_tensor, special
from .unary import as_float

# name: (first, second as functions of x, then p[k+1] from k, x, p[k], p[k-1])
RULES: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "chebyshev_polynomial_t": (lambda x: x, lambda k, x, p, q: 2 * x * p - q),
    "chebyshev_polynomial_u": (lambda x: 2 * x, lambda k, x, p, q: 2 * x * p - q),
    "chebyshev_polynomial_v": (lambda x: 2 * x - 1, lambda k, x, p, q: 2 * x * p - q),
    "chebyshev_polynomial_w": (lambda x: 2 * x + 1, lambda k, x, p, q: 2 * x * p - q),
    "hermite_polynomial_h": (lambda x: 2 * x, lambda k, x, p, q: 2 * x * p - 2 * k * q),
    "hermite_polynomial_he": (lambda x: x, lambda k, x, p, q: x * p - k * q),
    "laguerre_polynomial_l": (lambda x: 1 - x, lambda k, x, p, q: ((2 * k + 1 - x) * p - k * q) / (k + 1)),
    "legendre_polynomial_p": (lambda x: x, lambda k, x, p, q: ((2 * k + 1) * x * p - k * q) / (k + 1)),
}


@routine
def recurrence(x: Any, n: Any, name: str) -> Any:
    """The polynomial of degree n (truncated; 0 below 0) at x, by its three-term recurrence."""
    import numpy as np

    if name.startswith("shifted_"):
        name, x = name[8:], 2.0 * x.astype(np.float64) - 1.0
    start, step = RULES[name]
    x, degree = np.broadcast_arrays(x.astype(np.float64), np.trunc(n.astype(np.float64)))
    result = np.where(degree == 0, 1.0, 0.0)
    before, now = np.ones_like(x), start(x)
    last = int(degree.max(initial=0.0))
    with np.errstate(all="ignore"):
        for k in range(1, last + 1):
            result = np.where(degree == k, now, result)
            before, now = now, step(k, x, now, before)
    return result


def polynomial(name: str, doc: str) -> Any:
    """Declare a family of polynomials by its recurrence."""

    def body(x: TN, n: TN) -> Any:
        one_tensor(name, x, n)
        a, b = floats(x, n)
        shape = broadcast(name, tuple(a.shape), tuple(b.shape))
        return opaque("external", [_memory(a), _memory(b)], [(shape, a.dtype)], ("recurrence", (name,)))[0]

    body.__name__, body.__doc__ = name, doc
    return op(grad=NONE, **special(name))(body)


def _memory(v: Any) -> Any:
    """A number as a tensor of no dimensions."""
    return map_("copy", v) if v.level == 0 else v


for _name in RULES:
    polynomial(_name, f"The {_name.replace('_', ' ')} of degree n at x.")
    if _name.startswith("chebyshev"):
        polynomial("shifted_" + _name, f"The {_name.replace('_', ' ')} of degree n at 2 x - 1.")


# --- Bessel functions, by their integrals -------------------------------------------------------------------------


def _nodes(low: Any, high: Any, count: int = 160) -> tuple[Any, Any]:
    """Gauss-Legendre points and weights of [low, high], along a new last dimension."""
    import numpy as np

    t, w = np.polynomial.legendre.leggauss(count)
    half = (np.asarray(high) - low)[..., None] / 2
    return low + half * (t + 1), half * w


def _oscillating(x: Any, nu: float, sine: bool) -> Any:
    """1/pi times the integral of cos (sin: of sin, other way round) of (nu t - x sin t) over [0, pi]."""
    import numpy as np

    t, w = _nodes(0.0, np.full(x.shape, np.pi))
    phase = x[..., None] * np.sin(t) - nu * t
    return (w * (np.sin(phase) if sine else np.cos(phase))).sum(-1) / np.pi


def _decaying(x: Any, weight: Callable[[Any], Any]) -> Any:
    """1/pi times the integral of exp(-x sinh t) weight(t) over t > 0."""
    import numpy as np

    t, w = _nodes(0.0, np.arcsinh(45.0 / np.maximum(x, 1e-300)))
    return (w * weight(t) * np.exp(-x[..., None] * np.sinh(t))).sum(-1) / np.pi


def _far(x: Any, nu: float) -> tuple[Any, Any]:
    """Hankel's expansion for x > 25: (J, Y)."""
    import numpy as np

    mu, p, q, term = 4 * nu * nu, np.ones_like(x), np.zeros_like(x), np.ones_like(x)
    for k in range(1, 15):
        term = term * (mu - (2 * k - 1) ** 2) / (k * 8 * x)
        if k % 2:
            q = q + (-1) ** (k // 2) * term
        else:
            p = p + (-1) ** (k // 2) * term
    phase, size = x - (nu / 2 + 0.25) * np.pi, np.sqrt(2 / (np.pi * x))
    return size * (np.cos(phase) * p - np.sin(phase) * q), size * (np.sin(phase) * p + np.cos(phase) * q)


def _first_kind(x: Any, nu: int) -> Any:
    import numpy as np

    a = np.abs(x)
    near = _oscillating(np.minimum(a, 25.0), nu, False)
    value = np.where(a > 25, _far(np.maximum(a, 25.0), nu)[0], near)
    return np.sign(x) * value if nu else value


def _second_kind(x: Any, nu: int) -> Any:
    import numpy as np

    a = np.clip(x, 1e-300, 25.0)
    near = _oscillating(a, nu, True) - _decaying(a, lambda t: np.exp(nu * t) + (-1) ** nu * np.exp(-nu * t))
    value = np.where(x > 25, _far(np.maximum(x, 25.0), nu)[1], near)
    return np.where(x > 0, value, np.where(x == 0, -np.inf, np.nan))


def _third_kind(x: Any, nu: float, scaled: bool) -> Any:
    """K: the integral of exp(-x cosh t) cosh(nu t), or exp(x) times it."""
    import numpy as np

    a = np.maximum(x, 1e-300)
    t, w = _nodes(0.0, np.arccosh(1 + 45.0 / a))
    value = (w * np.cosh(nu * t) * np.exp(-a[..., None] * (np.cosh(t) - 1))).sum(-1)
    value = value if scaled else value * np.exp(-a)
    return np.where(x > 0, value, np.where(x == 0, np.inf, np.nan))


def _power_of(v: float) -> Callable[[Any], Any]:
    import numpy as np

    return lambda t: np.exp(-v * t)


def _airy(x: Any) -> Any:
    import numpy as np

    z = 2 / 3 * np.abs(x) ** 1.5
    right = np.sqrt(np.abs(x) / 3) / np.pi * _third_kind(z, 1 / 3, False)
    nu, s = 1 / 3, np.minimum(z, 25.0)
    first = [_oscillating(s, v, False) - np.sin(v * np.pi) * _decaying(s, _power_of(v)) for v in (nu, -nu)]
    far = [_far(np.maximum(z, 25.0), v)[0] for v in (nu, -nu)]
    j = [np.where(z > 25, f, n) for f, n in zip(far, first)]
    left = np.sqrt(np.abs(x)) / 3 * (j[0] + j[1])
    return np.where(x > 0, right, np.where(x == 0, 0.3550280538878172, left))


def _spherical(x: Any) -> Any:
    import numpy as np

    safe = np.where(x == 0, 1.0, x)
    return np.where(np.isinf(x), 0.0, np.where(x == 0, 1.0, np.sin(safe) / safe))


CURVES: dict[str, Callable[[Any], Any]] = {
    "bessel_j0": lambda x: _first_kind(x, 0),
    "bessel_j1": lambda x: _first_kind(x, 1),
    "bessel_y0": lambda x: _second_kind(x, 0),
    "bessel_y1": lambda x: _second_kind(x, 1),
    "modified_bessel_k0": lambda x: _third_kind(x, 0, False),
    "modified_bessel_k1": lambda x: _third_kind(x, 1, False),
    "scaled_modified_bessel_k0": lambda x: _third_kind(x, 0, True),
    "scaled_modified_bessel_k1": lambda x: _third_kind(x, 1, True),
    "spherical_bessel_j0": _spherical,
    "airy_ai": _airy,
}


@routine
def curve(x: Any, name: str) -> Any:
    """A function of `CURVES` at x."""
    import numpy as np

    with np.errstate(all="ignore"):
        return CURVES[name](x.astype(np.float64))


def bessel(name: str, doc: str) -> Any:
    """Declare a function of one operand by its routine."""

    def body(self: T) -> Any:
        x = as_float(self)
        return opaque("external", [x], [(tuple(x.shape), x.dtype)], ("curve", (name,)))[0]

    body.__name__, body.__doc__ = name, doc
    return op(grad=NONE, **special(name))(body)


for _name in CURVES:
    bessel(_name, f"The function {_name.replace('_', ' ')}.")


@op(grad=NONE, **special("modified_bessel_i0"))
def modified_bessel_i0(self: T) -> Any:
    """The modified Bessel function of order 0."""
    return map_("i0", as_float(self))


@op(grad=NONE, **special("modified_bessel_i1"))
def modified_bessel_i1(self: T) -> Any:
    """The modified Bessel function of order 1."""
    return map_("i1", as_float(self))
