"""Running sums, products, extrema; differences; trapezoidal integration."""

from __future__ import annotations

from typing import Any

from ..dtypes import bool_, dtype, finfo, int64
from ..errors import fail
from ..shapes import numel, wrap_dim
from ..stream.graph import Val, cast, const, empty, map_, opaque
from .elementwise import into
from .entry import FUNCTIONS, T, composite, op
from .structures import named
from .unary import as_float
from .view import slice_

CummaxResult = named("cummax", ["values", "indices"])
CumminResult = named("cummin", ["values", "indices"])


def scanned(kind: str, x: Val, d: int) -> list[Val]:
    """The running combination along d (and its places)."""
    shape = tuple(x.shape)
    outs = [(shape, x.dtype)] + [(shape, int64)] * (kind in ("max", "min"))
    if not numel(shape):
        return [empty(s, t) for s, t in outs]
    return opaque("scan", (x,), outs, (kind, d))


def _typed(self: Val, d: Any) -> Val:
    return cast(self, d if d is not None else self.dtype if self.dtype.is_inexact else int64)


def _reversed_cumsum(grad: Any, dim: int) -> Any:
    if grad.ndim == 0 or grad.numel() <= 1:
        return grad
    return cumsum(grad.flip(dim), dim).flip(dim)


@op(inplace=True, grad={"self": lambda grad, dim: _reversed_cumsum(grad, dim)})
def cumsum(self: T, dim: int, *, dtype: dtype | None = None) -> Any:
    """The sum of the elements so far along a dimension."""
    x = _typed(self, dtype)
    d = wrap_dim(dim, x.ndim, "cumsum")
    return scanned("add", x, d)[0] if x.ndim else map_("copy", x)


def with_zeros(x: Any) -> bool:
    """Whether a formula that is itself differentiated stands at a zero of x: quotients have no second derivative there."""
    return type(x) is not Val and bool((x.detach() == 0).any())


def _cumprod_at_zeros(grad: Any, x: Any, d: int) -> Any:
    """The gradient of cumprod without a division, one element along d after the other."""
    n, slices = x.shape[d], []
    for k in range(n):
        before = x.narrow(d, 0, k).prod(d, True)
        later = before if k == n - 1 else before * x.narrow(d, k + 1, n - k - 1).cumprod(d)
        omitted = later if k == n - 1 else FUNCTIONS["cat"]([before, later], d)
        slices.append((grad.narrow(d, k, n - k) * omitted).sum(d, True))
    return FUNCTIONS["cat"](slices, d)


def _cumprod_back(grad: Any, self: Any, dim: int, result: Any) -> Any:
    if self.ndim == 0:
        return grad
    d = wrap_dim(dim, self.ndim)
    if self.shape[d] <= 1:
        return grad
    if with_zeros(self):
        return _cumprod_at_zeros(grad, self, d)
    # where no factor is zero, the sum over later products divided by the factor; else factor by factor
    where = FUNCTIONS["_where"]
    zero = self == 0
    first = cumsum(zero.to(int64), d)
    clean = _reversed_cumsum(where(first == 0, grad * result, 0), d) / where(zero, 1, self)
    before = (first == 0) | ((first == 1) & zero)  # the elements up to the first zero
    filled = where((first == 1) & zero, 1, self)  # the first zero replaced by 1
    partial = cumprod(filled, d)
    until = where((first == 1), grad * partial, 0)
    at_zero = _reversed_cumsum(until, d)
    return where(first == 0, clean, where(before, at_zero, 0))


@op(inplace=True, grad={"self": _cumprod_back})
def cumprod(self: T, dim: int, *, dtype: dtype | None = None) -> Any:
    """The product of the elements so far along a dimension."""
    x = _typed(self, dtype)
    d = wrap_dim(dim, x.ndim, "cumprod")
    return scanned("mul", x, d)[0] if x.ndim else map_("copy", x)


def _extreme_back(grads: Any, indices: Any, dim: int, form: Any) -> Any:
    grad = grads[0]
    if grad.ndim == 0:
        return grad
    zeros = FUNCTIONS["full"](tuple(grad.shape), 0, dtype=grad.dtype)
    return FUNCTIONS["scatter_add"](zeros, wrap_dim(dim, grad.ndim), indices, grad)


def _running(name: str, kind: str, result: Any) -> Any:
    def body(self: T, dim: int) -> Any:
        d = wrap_dim(dim, self.ndim, name)
        if self.ndim == 0:
            return result(map_("copy", self), const(0, int64))
        from ..dtypes import uint8

        x = cast(self, uint8) if self.dtype is bool_ else self
        values, places = scanned(kind, x, d)
        return result(cast(values, self.dtype), places)

    body.__name__ = name
    body.__doc__ = f"(values, indices) of the {'largest' if kind == 'max' else 'smallest'} element so far along a dimension."
    return op(results=("values", "indices"), grad={"self": _extreme_back})(body)


cummax = _running("cummax", "max", CummaxResult)
cummin = _running("cummin", "min", CumminResult)


def _lcse_back(grad: Any, self: Any, dim: int, result: Any) -> Any:
    if grad.ndim == 0:
        return grad
    where = FUNCTIONS["_where"]
    flipped = lambda g: logcumsumexp((g - result).flip(dim), dim).flip(dim)
    size, least = grad.abs().log(), finfo(grad.dtype).min
    pos, neg = where(grad > 0, size, least), where(grad < 0, size, least)
    total = (flipped(pos) + self).exp() - (flipped(neg) + self).exp()
    return total


@composite()
def logcumsumexp(self: Any, dim: int, *, out: Any = None) -> Any:
    """log of the running sum of exp(x), computed without overflow."""
    if not self.dtype.is_complex:
        return _logcumsumexp(self, dim, out=out)
    d = wrap_dim(dim, self.ndim, "logcumsumexp")
    rows = list(self.unbind(d)) if self.ndim else []
    for i in range(1, len(rows)):  # one after the other: the angle depends on the order
        rows[i] = FUNCTIONS["logaddexp"](rows[i], rows[i - 1])
    result = FUNCTIONS["stack"](rows, d) if rows else FUNCTIONS["clone"](self)
    return result if out is None else into(out, result)


@op(node="LogcumsumexpBackward0", method=False, function=False, grad={"self": _lcse_back})
def _logcumsumexp(self: T, dim: int) -> Any:
    """logcumsumexp of real numbers."""
    x = as_float(self)
    d = wrap_dim(dim, x.ndim, "logcumsumexp")
    return scanned("logaddexp", x, d)[0] if x.ndim else map_("copy", x)


# --- differences ------------------------------------------------------------------------------------------------------


@composite()
def diff(
    input: Any, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None, *, out: Any = None
) -> Any:
    """The n-th difference of neighbours along a dimension."""
    if input.ndim == 0:
        fail(RuntimeError, "diff expects input to be at least one-dimensional")
    if n < 0:
        fail(RuntimeError, f"order must be non-negative but got {n}")
    d = wrap_dim(dim, input.ndim, "diff")
    x = input
    if n and (prepend is not None or append is not None):
        x = FUNCTIONS["cat"]([v for v in (prepend, x, append) if v is not None], d)
    if n == 0:
        result = FUNCTIONS["clone"](x)
    else:
        n = min(n, x.shape[d])
        result = x
        for _ in range(n):
            m = result.shape[d]
            a, b = slice_(result, d, 1, m, 1), slice_(result, d, 0, m - 1, 1)
            result = a.logical_xor(b) if x.dtype is bool_ else a - b
    return result if out is None else into(out, result)


def _widths(y: Any, x: Any, dx: Any, dim: int) -> Any:
    if x is None:
        return dx
    if x.ndim == 1:
        if x.shape[0] != y.shape[dim]:
            fail(
                RuntimeError,
                f"trapezoid: There must be one `x` value for each sample point; got {x.shape[0]} for {y.shape[dim]}",
            )
        return diff(x).reshape((-1,) + (1,) * (y.ndim - dim - 1))
    d = dim - y.ndim
    return diff(x, dim=d)


def _slabs(y: Any, x: Any, dx: Any, dim: int) -> tuple[Any, int]:
    d = wrap_dim(dim, y.ndim, "trapezoid")
    if x is not None and not hasattr(x, "ndim"):
        x, dx = None, x
    n = y.shape[d]
    return (slice_(y, d, 1, n, 1) + slice_(y, d, 0, max(n - 1, 0), 1)) * _widths(y, x, dx, d), d


@composite(method=False)
def trapezoid(y: Any, x: Any = None, *, dx: Any = None, dim: int = -1) -> Any:
    """The integral along a dimension by the trapezoidal rule; x: the sample points, dx: their distance (default 1)."""
    d = wrap_dim(dim, y.ndim, "trapezoid")
    if y.shape[d] == 0:
        shape = tuple(n for e, n in enumerate(y.shape) if e != d)
        return FUNCTIONS["full"](shape, 0, dtype=y.dtype)
    total, d = _slabs(y, x, 1 if dx is None else dx, dim)
    return total.sum(d - y.ndim) / 2.0


@composite(method=False)
def trapz(y: Any, x: Any = None, *, dx: Any = None, dim: int = -1) -> Any:
    """As trapezoid."""
    return trapezoid(y, x, dx=dx, dim=dim)


@composite(method=False)
def cumulative_trapezoid(y: Any, x: Any = None, *, dx: Any = None, dim: int = -1) -> Any:
    """The running integral along a dimension by the trapezoidal rule."""
    total, d = _slabs(y, x, 1 if dx is None else dx, dim)
    return cumsum(total, d - y.ndim) / 2.0


# --- covariance -------------------------------------------------------------------------------------------------------


@composite()
def cov(input: Any, *, correction: int = 1, fweights: Any = None, aweights: Any = None) -> Any:
    """The covariance of variables (rows) over observations (columns)."""
    if input.ndim > 2:
        fail(
            RuntimeError,
            f"cov(): expected input to have two or fewer dimensions but got an input with {input.ndim} dimensions",
        )
    x = input.reshape((1, -1)) if input.ndim < 2 else input
    if x.dtype is bool_:
        fail(RuntimeError, "cov(): bool dtype is not supported for input")
    for name, w in (("fweights", fweights), ("aweights", aweights)):
        if w is None:
            continue
        if w.ndim > 1:
            fail(
                RuntimeError,
                f"cov(): expected {name} to have one or fewer dimensions but got {name} with {w.ndim} dimensions",
            )
        if (name == "fweights") == w.dtype.is_floating_point or w.dtype is bool_:
            kind = "integral" if name == "fweights" else "floating point"
            fail(
                RuntimeError,
                f"cov(): expected {name} to have {kind} dtype but got {name} with {w.dtype.name} dtype",
            )
        if w.numel() != x.shape[1]:
            fail(
                RuntimeError,
                f"cov(): expected {name} to have the same numel as there are observations in the input but got {w.numel()} != {x.shape[1]}",
            )
        if bool((w < 0).any()):
            fail(RuntimeError, f"cov(): {name} cannot be negative")
    weights = None
    count: Any = x.shape[1]
    if fweights is not None:
        weights = fweights
    if aweights is not None:
        weights = aweights if weights is None else fweights * aweights
    if weights is None:
        average = x.sum(1) / count if count else x.sum(1) * float("nan")
    else:
        count = weights.sum()
        average = (x * weights).sum(1) / count
    if weights is not None and aweights is not None and correction != 0:
        norm = count - correction * (weights * aweights).sum() / count
    else:
        norm = count - correction
    norm = norm.clamp(min=0) if hasattr(norm, "clamp") else max(norm, 0)
    x = x - average.unsqueeze(1)
    right = x if weights is None else x * weights
    product = FUNCTIONS["mm"](x, right.to(x.dtype).t().conj())
    if not hasattr(norm, "ndim"):
        norm = FUNCTIONS["full"]((), norm, dtype=product.dtype)
    c = product / norm
    return c.squeeze()


@composite()
def corrcoef(input: Any) -> Any:
    """The correlation coefficients of variables (rows) over observations (columns)."""
    if input.ndim > 2:
        fail(
            RuntimeError,
            f"corrcoef(): expected input to have two or fewer dimensions but got an input with {input.ndim} dimensions",
        )
    c = cov(input)
    if c.ndim == 0:
        return c / c
    deviation = c.diagonal().sqrt()
    c = c / deviation.unsqueeze(1) / deviation.unsqueeze(0)
    clamp = FUNCTIONS["clamp"]
    if c.is_complex():
        return FUNCTIONS["complex"](clamp(c.real, -1, 1), clamp(c.imag, -1, 1))
    return clamp(c, -1, 1)
