"""Quantiles, by sorting; numerical gradients; histograms."""

from __future__ import annotations

import math
from typing import Any

from ..dtypes import float64
from ..errors import fail
from ..shapes import wrap_dim
from .compare import _where
from .elementwise import into
from .entry import FUNCTIONS, composite
from .gather import values
from .structures import named
from .ternary import lerp

METHODS = ("linear", "lower", "higher", "midpoint", "nearest")


def _check(name: str, x: Any, q: Any, interpolation: str) -> None:
    if interpolation not in METHODS:
        fail(
            RuntimeError,
            f"{name}() interpolation must be one of linear, lower, higher, midpoint or nearest, but got {interpolation}",
        )
    if 0 in x.shape:
        fail(RuntimeError, f"{name}() input tensor must be non-empty")
    if x.dtype.name not in ("float32", "float64"):
        fail(RuntimeError, f"{name}() input tensor must be either float or double dtype; got {x.dtype.name}")
    if hasattr(q, "shape"):
        if q.ndim > 1:
            fail(RuntimeError, f"{name}() q must be a scalar or 1D tensor; got {q.ndim}D")
        if q.dtype is not x.dtype:
            fail(RuntimeError, f"{name}() q tensor must be same dtype as the input tensor")
    elif not 0 <= q <= 1:
        fail(RuntimeError, f"{name}() q must be in the range [0, 1] but got {q}")


def _quantile(
    name: str, input: Any, q: Any, dim: Any, keepdim: bool, interpolation: str, skip_nan: bool
) -> Any:
    _check(name, input, q, interpolation)
    ndim = input.ndim
    x = input.reshape([-1]) if dim is None else input if ndim else input.reshape([1])
    d = 0 if dim is None else wrap_dim(dim, max(ndim, 1), name)
    x = FUNCTIONS["sort"](x.transpose(d, -1), -1)[0]
    single = not hasattr(q, "shape") or q.ndim == 0
    qs = (
        FUNCTIONS["full"]((1,), float(q), dtype=input.dtype, device=input.device)
        if not hasattr(q, "shape")
        else q.reshape([-1])
    )
    found = (x == x).sum(-1, keepdim=True)
    n = x.shape[-1]
    if skip_nan:
        ranks = qs * (found - 1).clamp(min=0).to(input.dtype)
    else:
        ranks = _where(found < n, n - 1, qs * (n - 1))  # a NaN, which sorting puts last, wins
    values = _picked(x, ranks, interpolation)  # (..., q)
    values = values.movedim(-1, 0)
    rest = list(values.shape[1:])
    if dim is None:
        rest = [1] * ndim if keepdim else []
        values = values.reshape([values.shape[0], *rest])
    else:
        values = values.unsqueeze(-1).transpose(1 + d, -1) if ndim else values.unsqueeze(-1)
        if not keepdim or not ndim:
            values = values.squeeze(1 + d)
    return values.squeeze(0) if single else values


def _picked(x: Any, ranks: Any, interpolation: str) -> Any:
    """The elements of sorted rows at fractional positions."""
    ranks = ranks.expand([*x.shape[:-1], ranks.shape[-1]])
    low, high = ranks.floor(), ranks.ceil()
    if interpolation in ("nearest", "lower", "higher"):
        at = low if interpolation == "lower" else high if interpolation == "higher" else ranks.round()
        values = x.gather(-1, at.to(_int64()))
        return values + ranks * 0 if ranks.requires_grad else values
    weight = ranks * 0 + 0.5 if interpolation == "midpoint" else ranks - low
    return lerp(x.gather(-1, low.to(_int64())), x.gather(-1, high.to(_int64())), weight)


def _int64() -> Any:
    from ..dtypes import int64

    return int64


@composite()
def quantile(
    input: Any,
    q: Any,
    dim: Any = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
    out: Any = None,
) -> Any:
    """The q-th quantiles along a dimension (default: of all elements)."""
    result = _quantile("quantile", input, q, dim, keepdim, interpolation, False)
    return result if out is None else into(out, result)


@composite()
def nanquantile(
    input: Any,
    q: Any,
    dim: Any = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
    out: Any = None,
) -> Any:
    """The q-th quantiles of the elements that are not NaN."""
    result = _quantile("nanquantile", input, q, dim, keepdim, interpolation, True)
    return result if out is None else into(out, result)


# --- numerical gradients ------------------------------------------------------------------------------------------


def _slope(x: Any, d: int, spacing: Any, edge_order: int) -> Any:
    """Central differences inside, one-sided ones at the ends; spacing: a number, or the coordinates."""
    n = x.shape[d]
    if n < edge_order + 1:
        fail(
            RuntimeError, f"torch.gradient expected each dimension size to be at least edge_order+1; got {n}"
        )
    if hasattr(spacing, "shape") and spacing.ndim == 1:
        h = spacing[1:] - spacing[:-1]
        h = h.reshape([-1 if k == d else 1 for k in range(x.ndim)])
    else:
        h = None

    def part(start: int, count: int) -> Any:
        return x.narrow(d, start, count)

    def gap(start: int, count: int) -> Any:
        return spacing if h is None else h.narrow(d, start, count)

    pieces = []
    if edge_order == 1:
        first = (part(1, 1) - part(0, 1)) / gap(0, 1)
        last = (part(n - 1, 1) - part(n - 2, 1)) / gap(n - 2, 1)
    else:
        first = _one_sided(part(0, 1), part(1, 1), part(2, 1), gap(0, 1), gap(1, 1))
        last = -_one_sided(part(n - 1, 1), part(n - 2, 1), part(n - 3, 1), gap(n - 2, 1), gap(n - 3, 1))
    pieces.append(first)
    if n > 2:
        a, b = gap(0, n - 2), gap(1, n - 2)
        left, mid, right = part(0, n - 2), part(1, n - 2), part(2, n - 2)
        pieces.append(
            (right * a * a - left * b * b + mid * (b * b - a * a)) / (a * b * (a + b))
            if h is not None
            else (right - left) / (2 * a)
        )
    pieces.append(last)
    return FUNCTIONS["cat"](pieces, d)


def _one_sided(f0: Any, f1: Any, f2: Any, a: Any, b: Any) -> Any:
    return f0 * (-(2 * a + b) / (a * (a + b))) + f1 * ((a + b) / (a * b)) - f2 * (a / (b * (a + b)))


@composite(method=False)
def gradient(input: Any, *, spacing: Any = None, dim: Any = None, edge_order: int = 1) -> Any:
    """The derivative along each dimension, estimated from samples."""
    if edge_order not in (1, 2):
        fail(RuntimeError, f"torch.gradient only supports edge_order=1 and edge_order=2.; got {edge_order}")
    dims = list(range(input.ndim)) if dim is None else [dim] if isinstance(dim, int) else list(dim)
    dims = [wrap_dim(d, input.ndim, "gradient") for d in dims]
    if len(set(dims)) != len(dims):
        fail(RuntimeError, f"dim {dims[0]} appears multiple times in the list of dims")
    if spacing is None:
        spacing = 1.0
    steps = list(spacing) if isinstance(spacing, (list, tuple)) else [spacing] * len(dims)
    if len(steps) != len(dims):
        fail(
            RuntimeError,
            f"torch.gradient expected spacing to be unspecified, a scalar, or a list of length {len(dims)}; got {len(steps)}",
        )
    return tuple([_slope(input, d, s, edge_order) for d, s in zip(dims, steps)])


# --- histograms ---------------------------------------------------------------------------------------------------

Histogram = named("histogram", ["hist", "bin_edges"])
HistogramDD = named("histogramdd", ["hist", "bin_edges"])


def _edges(x: Any, bins: Any, range_: Any, k: int) -> Any:
    import numpy as np

    if not isinstance(bins, int):
        if bins.numel() == 0:
            fail(
                RuntimeError,
                "torch.histogramdd: bins tensor should have at least 1 element, but got 0 elements in the bins tensor for "
                f"dimension {k}",
            )
        return np.asarray(bins.numpy())
    if range_ is not None:
        low, high = range_[2 * k : 2 * k + 2]
    else:
        column = x[:, k]
        low, high = [values(v)[()] for v in (column.min(), column.max())] if len(x) else (0.0, 1.0)
    if not (math.isfinite(low) and math.isfinite(high)):
        fail(RuntimeError, f"histogram: range of [{low}, {high}] is not finite")
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, bins + 1, dtype=x.dtype.np)


def _histogram(input: Any, bins: Any, range_: Any, weight: Any, density: bool) -> tuple[Any, list[Any]]:
    import numpy as np

    x = input.detach().reshape(-1, input.shape[-1])
    edges = [_edges(x, b, range_, k) for k, b in enumerate(bins)]
    counts = tuple([len(e) - 1 for e in edges])
    for k, n in enumerate(counts):
        if n < 1:
            fail(RuntimeError, f"torch.histogram(): bins must be > 0, but got {n} for dimension {k}")
    total, cells, inside = math.prod(counts), 0, True
    for k, e in enumerate(edges):
        column = x[:, k]
        inside = inside & (column >= e[0].item()) & (column <= e[-1].item())
        cells = cells * counts[k] + (_places(e, column) - 1).clamp(0, max(counts[k] - 1, 0))
    cells = _where(inside, cells, total)  # a bin of what lies outside
    weight = FUNCTIONS["full"]((), 1.0) if weight is None else weight.detach().reshape(-1)
    found = FUNCTIONS["_count_at"](cells, weight.to(float64), total + 1)[:total]
    hist = values(found).reshape(counts).copy()
    if density:
        hist /= hist.sum()
        for k, e in enumerate(edges):
            hist /= np.diff(e).reshape([-1 if d == k else 1 for d in range(len(edges))])
    return hist.astype(x.dtype.np), edges


def _places(edges: Any, x: Any) -> Any:
    """How many edges are not greater than each x, by bisection: edges out of order give what they give in PyTorch."""
    import numpy as np

    sure = np.where(np.isnan(edges), -np.inf, edges).astype(
        edges.dtype
    )  # a bisection goes right at not-a-number
    return FUNCTIONS["searchsorted"](_tensor(sure), x, right=True)


def _tensor(a: Any) -> Any:
    return FUNCTIONS["from_numpy"](a.copy())


@composite()
def histogram(
    input: Any, bins: Any, *, range: Any = None, weight: Any = None, density: bool = False, out: Any = None
) -> Any:
    """(counts of the elements in each bin, the edges of the bins)."""
    hist, edges = _histogram(input.reshape([-1, 1]), [bins], range, weight, density)
    result = Histogram(_tensor(hist), _tensor(edges[0]))
    return result if out is None else Histogram(*[into(o, r) for o, r in zip(out, result)])


@composite(method=False)
def histogramdd(
    input: Any, bins: Any, *, range: Any = None, weight: Any = None, density: bool = False
) -> Any:
    """(counts of points in each cell, the edges along each dimension); the last dimension of input has the coordinates."""
    count = input.shape[-1]
    bins = [bins] * count if isinstance(bins, int) else list(bins)
    if len(bins) != count:
        fail(
            RuntimeError,
            f"histogramdd: expected {count} sequences of bin edges for a {count}-dimensional histogram but got {len(bins)}",
        )
    hist, edges = _histogram(input, bins, range, weight, density)
    return HistogramDD(_tensor(hist), tuple([_tensor(e) for e in edges]))
