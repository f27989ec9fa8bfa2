"""Order: sort, argsort, topk, kthvalue, median, mode. Sorting is stable; NaN counts as the largest value."""

from __future__ import annotations

from typing import Any

from ..dtypes import bool_, int64, uint8
from ..errors import fail
from ..shapes import numel, wrap_dim
from ..stream.graph import Val, cast, const, expand, index_, map_, opaque, reduce_, take
from ..stream.graph import empty as _empty
from .elementwise import into
from .entry import FUNCTIONS, T, composite, op
from .places import apart
from .reduction import kept
from .structures import named

SortResult = named("sort", ["values", "indices"])
TopkResult = named("topk", ["values", "indices"])
KthResult = named("kthvalue", ["values", "indices"])
MedianResult = named("median", ["values", "indices"])
NanMedianResult = named("nanmedian", ["values", "indices"])
ModeResult = named("mode", ["values", "indices"])


def ordered(x: Val, d: int, descending: bool, k: int | None = None) -> tuple[Val, Val]:
    """(values, places) of the rows along d in order, or of their k first."""
    n = x.shape[d]
    count = n if k is None else k
    shape = (*x.shape[:d], count, *x.shape[d + 1 :])
    if not numel(shape):
        return _empty(shape, x.dtype), _empty(shape, int64)
    if x.dtype is bool_:
        values, places = ordered(cast(x, uint8), d, descending, k)
        return cast(values, bool_), places
    values, places = opaque("sort", (x,), [(shape, x.dtype), (shape, int64)], (d, descending, count))
    return values, places


def ranked(x: Val, d: int, at: Val, keepdim: bool) -> tuple[Val, Val]:
    """(value, place) of the element of rank `at` in the rows along d; `at` has x's shape without d."""
    if x.dtype is bool_:
        v, p = ranked(cast(x, uint8), d, at, keepdim)
        return cast(v, bool_), p
    shape = tuple(at.shape)
    if not numel(shape):
        v, p = _empty(shape, x.dtype), _empty(shape, int64)
    else:
        v, p = opaque("select", (x, at), [(shape, x.dtype), (shape, int64)], (d,))
    whole = tuple(x.shape)
    return (kept(v, (d,), whole), kept(p, (d,), whole)) if keepdim else (v, p)


def _spread_back(grads: Any, indices: Any, dim: int, form: Any) -> Any:
    """The gradient of elements picked along dim at `indices`."""
    shape = tuple(form.trace.operands[0].shape)
    grad = grads[0]
    if not shape:
        return grad.reshape(())
    zeros = FUNCTIONS["full"](shape, 0, dtype=grad.dtype)
    return FUNCTIONS["scatter_add"](zeros, wrap_dim(dim, len(shape)), indices, grad)


@op(
    name="_sort",
    method=False,
    node="SortBackward0",
    results=("values", "indices"),
    grad={"self": _spread_back},
)
def _sort(self: T, dim: int, descending: bool) -> Any:
    if self.ndim == 0:
        wrap_dim(dim, 0, "sort")
        return SortResult(map_("copy", self), const(0, int64))
    return SortResult(*ordered(self, wrap_dim(dim, self.ndim, "sort"), descending))


def pair(result: Any, out: Any, input: Any = None) -> Any:
    """A pair of results, written into the tensors given as out=; RuntimeError if one of them lies over the input."""
    for o in out or ():
        apart("kthvalue", o, input)
    return result if out is None else type(result)(*[into(o, r) for o, r in zip(out, result)])


@op(method=False)
def _in_order(self: T) -> Any:
    """The elements of a vector in order, without their places."""
    if self.dtype is bool_:
        return cast(_in_order(cast(self, uint8)), bool_)
    if not numel(self.shape):
        return _empty(tuple(self.shape), self.dtype)
    return opaque("sort", (self,), [(tuple(self.shape), self.dtype)], (0, False, self.shape[0]))[0]


def _found_runs(x: Val, places: tuple[Val, ...], ranks: bool) -> Any:
    n = x.shape[0]
    outs = [((n,), x.dtype), ((n + 1,), int64), ((1,), int64), *([((n,), int64)] if ranks else [])]
    return tuple(opaque("runs", (x, *places), outs, (ranks,)))


@op(method=False)
def _runs(self: T, ranks: bool) -> Any:
    """Of equal neighbours in a vector that is not empty: (first, starts, number, rank of each element)."""
    return _found_runs(self, (), ranks)


@op(method=False)
def _runs_placed(self: T, places: T) -> Any:
    """The same, the ranks written to the given places."""
    return _found_runs(self, (places,), True)


@composite()
def sort(input: Any, dim: int = -1, descending: bool = False, stable: Any = None, *, out: Any = None) -> Any:
    """(values, indices) along a dimension in ascending (or descending) order; equal elements keep their order."""
    return pair(_sort(input, int(dim), bool(descending)), out)


@composite()
def argsort(
    input: Any, dim: int = -1, descending: bool = False, stable: Any = None, *, out: Any = None
) -> Any:
    """The places of the elements in order along a dimension."""
    result = _sort(input.detach() if hasattr(input, "detach") else input, int(dim), bool(descending))[1]
    return result if out is None else into(out, result)


@composite()
def msort(input: Any, *, out: Any = None) -> Any:
    """Sorted along the first dimension."""
    result = _sort(input, 0, False)[0]
    return result if out is None else into(out, result)


@op(
    name="_topk",
    method=False,
    node="TopkBackward0",
    results=("values", "indices"),
    grad={"self": _spread_back},
)
def _topk(self: T, k: int, dim: int, largest: bool) -> Any:
    d = wrap_dim(dim, self.ndim, "topk")
    n = self.shape[d] if self.ndim else 1
    if not 0 <= k <= n:
        fail(RuntimeError, f"topk: selected index k out of range; got k={k} for a dimension of {n} elements")
    if self.ndim == 0:
        return TopkResult(map_("copy", self), const(0, int64))
    return TopkResult(*ordered(self, d, largest, k))


@composite()
def topk(
    input: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True, *, out: Any = None
) -> Any:
    """(values, indices) of the k largest (or smallest) elements along a dimension, in order."""
    return pair(_topk(input, int(k), int(dim), bool(largest)), out)


def _picked_back(grads: Any, indices: Any, dim: int, keepdim: bool, form: Any) -> Any:
    shape = tuple(form.trace.operands[0].shape)
    grad = grads[0]
    if not shape:
        return grad.reshape(())
    d = wrap_dim(dim, len(shape))
    if not keepdim:
        grad, indices = grad.unsqueeze(d), indices.unsqueeze(d)
    zeros = FUNCTIONS["full"](shape, 0, dtype=grad.dtype)
    return FUNCTIONS["scatter_add"](zeros, d, indices, grad)


def pick(x: Val, d: int, at: Val) -> Val:
    """x[..., at, ...] where at has x's shape without d."""
    shape = tuple(at.shape)
    dims: list[int | None] = [e if e < d else e - 1 for e in range(x.ndim)]
    dims[d] = None
    return take(x, {d: at}, shape, dims)


def both_picked(
    values: Val, places: Val, d: int, at: Val, keepdim: bool, whole: tuple[int, ...]
) -> tuple[Val, Val]:
    """The value and its place at one position of sorted rows."""
    v, i = pick(values, d, at), pick(places, d, at)
    return (kept(v, (d,), whole), kept(i, (d,), whole)) if keepdim else (v, i)


def _one_of(name: str, x: Val, dim: int) -> int:
    d = wrap_dim(dim, x.ndim, name)
    if x.ndim and x.shape[d] == 0:
        fail(IndexError, f"{name}(): Expected reduction dim {d} to have non-zero size.")
    return d


@op(
    name="_kthvalue",
    method=False,
    node="KthvalueBackward0",
    results=("values", "indices"),
    grad={"self": _picked_back},
)
def _kthvalue(self: T, k: int, dim: int, keepdim: bool) -> Any:
    d = _one_of("kthvalue", self, dim)
    n = self.shape[d] if self.ndim else 1
    if not 1 <= k <= n:
        fail(RuntimeError, f"kthvalue(): selected number k out of range for dimension {d}; got k={k}")
    if self.ndim == 0:
        return KthResult(map_("copy", self), const(0, int64))
    return KthResult(*ranked(self, d, expand(const(k - 1, int64), without(self, d)), keepdim))


def without(x: Val, d: int) -> tuple[int, ...]:
    """The shape of x without a dimension."""
    return tuple(m for e, m in enumerate(x.shape) if e != d)


@composite()
def kthvalue(input: Any, k: int, dim: int = -1, keepdim: bool = False, *, out: Any = None) -> Any:
    """(values, indices) of the k-th smallest element along a dimension."""
    return pair(_kthvalue(input, int(k), int(dim), bool(keepdim)), out, input)


def is_nan(x: Val) -> Val:
    """Where x is NaN."""
    return map_("ne", x, x, out=bool_)


def middle(x: Val, d: int, skip_nan: bool) -> Val:
    """The rank of the lower median of each row. NaN is at the end: it wins, unless it is skipped."""
    n, shape = x.shape[d], without(x, d)
    if not x.dtype.is_floating_point:
        return expand(const((n - 1) // 2, int64), shape)
    nans = reduce_("add", cast(is_nan(x), int64), (d,))
    good = map_("sub", const(n, int64), nans)
    if skip_nan:
        half = map_("idiv", map_("sub", good, const(1, int64)), const(2, int64))
        return map_("max", half, const(0, int64))
    some = map_("gt", nans, const(0, int64), out=bool_)
    return map_("select", some, good, const((n - 1) // 2, int64))


def median_of(name: str, result: Any, skip_nan: bool) -> Any:
    """Declare a median along a dimension."""

    @op(
        name=f"_{name}_dim",
        method=False,
        node=f"{name.capitalize()}Backward1",
        results=("values", "indices"),
        grad={"self": _picked_back},
    )
    def along(self: T, dim: int, keepdim: bool) -> Any:
        d = _one_of(name, self, dim)
        if self.ndim == 0:
            return result(map_("copy", self), const(0, int64))
        return result(*ranked(self, d, middle(self, d, skip_nan), keepdim))

    @composite(name=name)
    def median(input: Any, dim: Any = None, keepdim: bool = False, *, out: Any = None) -> Any:
        """The lower median of all elements; with a dim: (values, indices)."""
        if dim is None:
            if not input.numel():
                flat = FUNCTIONS["full"](
                    (), float("nan") if input.dtype.is_floating_point else 0, dtype=input.dtype
                )
            else:
                flat = along(input.reshape(-1), 0, False)[0]
            return flat if out is None else into(out, flat)
        return pair(along(input, int(dim), bool(keepdim)), out)

    median.__name__ = name
    return median


median = median_of("median", MedianResult, False)
nanmedian = median_of("nanmedian", NanMedianResult, True)


@op(
    name="_mode",
    method=False,
    node="ModeBackward0",
    results=("values", "indices"),
    grad={"self": _picked_back},
)
def _mode(self: T, dim: int, keepdim: bool) -> Any:
    d = _one_of("mode", self, dim)
    if self.ndim == 0:
        return ModeResult(map_("copy", self), const(0, int64))
    values, places = ordered(self, d, False)
    shape = tuple(values.shape)
    at = index_(shape, d)
    before = take(
        values,
        {d: map_("max", map_("sub", at, const(1, int64)), const(0, int64))},
        shape,
        [None if e == d else e for e in range(len(shape))],
    )
    starts = map_("select", map_("ne", values, before, out=bool_), at, const(0, int64))
    since, _ = opaque("scan", (starts,), [(shape, int64), (shape, int64)], ("max", d))
    best = reduce_("argmax", map_("sub", at, since), (d,))
    return ModeResult(*both_picked(values, places, d, best, keepdim, tuple(self.shape)))


@composite()
def mode(input: Any, dim: int = -1, keepdim: bool = False, *, out: Any = None) -> Any:
    """(values, indices) of the most frequent element along a dimension (the smallest of several)."""
    return pair(_mode(input, int(dim), bool(keepdim)), out)
