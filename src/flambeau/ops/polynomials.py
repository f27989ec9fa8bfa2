"""Orthogonal polynomials, by NumPy in float64 (`torch.special`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..shapes import broadcast
from ..stream.external import routine
from ..stream.graph import map_, opaque
from .elementwise import floats
from .entry import NONE, TN, op
from .special import one_tensor, special

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
