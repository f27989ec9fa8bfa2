"""Writing slices at places along one dimension, and elements at flat places: index_add, index_copy, put, ..."""

from __future__ import annotations

from typing import Any

from ..dtypes import bool_, int32, int64
from ..errors import fail
from ..shapes import broadcast, numel, wrap_dim
from ..stream.graph import Val, cast, const, contiguous, expand, map_
from .elementwise import element
from .entry import FUNCTIONS, N, T, composite, op
from .gather import INDEX, index_select
from .index import copied, scatter_into
from .places import along, check
from .scatter import Places, _combine, _reduce_grads, both_forms, one


def _checked(name: str, dest: Val, dim: int, index: Val, source: Val | None) -> tuple[int, Val]:
    d = wrap_dim(dim, dest.ndim, name)
    if index.ndim > 1:
        fail(IndexError, f"{name}(): Index should have dimension 1 or 0 (got {index.ndim})")
    if index.dtype not in (int32, int64):
        fail(
            RuntimeError if name == "index_add" else IndexError,
            f"{name}(): Expected dtype int32/int64 for index but got: {index.dtype.name}",
        )
    index = one(index)
    if source is None:
        return d, index
    if source.dtype is not dest.dtype:
        fail(
            RuntimeError,
            f"{name}(): self and source expected to have the same dtype, but got (self) {dest.dtype.name} and (source) {source.dtype.name}",
        )
    if source.ndim and dest.ndim and source.ndim != dest.ndim and name != "index_fill":
        fail(
            RuntimeError if name == "index_add" else IndexError,
            f"{name}(): When source and destination are not scalars, their dimensionality must match. Source dimensionality ({source.ndim}), destination dimensionality ({dest.ndim})",
        )
    have = source.shape[d] if source.ndim else 1
    if have != index.shape[0]:
        fail(
            IndexError if name == "index_copy" else RuntimeError,
            f"{name}(): Number of indices ({index.shape[0]}) should be equal to source.size(dim): ({have}), for dim: {d}",
        )
    if source.ndim:
        for e in range(dest.ndim):
            if e != d and source.shape[e] != dest.shape[e]:
                fail(
                    RuntimeError,
                    f"{name}(): Source/destination tensor must have same slice shapes. Destination slice shape: {list(dest.shape)} at dimension {d} and source slice shape: {list(source.shape)} at dimension 0.",
                )
    return d, index


def write(dest: Val, d: int, index: Val, source: Val, mode: str, label: str = INDEX) -> None:
    """Combine rows of source into dest at the places of a vector along d; mode: "set", "add", ..."""
    dest = one(dest)
    n = index.shape[0]
    shape = tuple(n if e == d else m for e, m in enumerate(dest.shape))
    if not numel(shape):
        return
    if source.ndim:
        source = source.view_as(shape, tuple(source.strides), source.off)
    rank = dest.ndim
    at = index.view_as(
        (1,) * d + (n,) + (1,) * (rank - d - 1),
        (0,) * d + (index.strides[0],) + (0,) * (rank - d - 1),
        index.off,
    )
    scatter_into(
        dest, [(at, None) if e == d else (None, e) for e in range(rank)], source, shape, (d,), mode, label
    )


def _source_back(grad: Any, dim: int, index: Any, form: Any) -> Any:
    shape = tuple(form.trace.operands[2].shape)
    return (index_select(grad, dim, index) if grad.ndim else grad).reshape(shape)


def _index_add(self: T, dim: int, index: T, source: T, *, alpha: N = 1) -> Any:
    """self with alpha * source added to slices along dim, in the order of the index."""
    d, index = _checked("index_add", self, dim, index, source)
    if type(alpha) is Val or alpha != 1:
        source = map_(
            "and" if source.dtype is bool_ else "mul",
            source,
            cast(alpha, source.dtype) if type(alpha) is Val else const(alpha, source.dtype),
        )
    write(self, d, index, source, "add")
    return self


both_forms(
    "index_add",
    _index_add,
    {
        "self": lambda grad: grad,
        "source": lambda grad, dim, index, alpha, form: _source_back(grad, dim, index, form) * alpha,
    },
    check=along("index_add", RuntimeError),
)


def _index_copy(self: T, dim: int, index: T, source: T) -> Any:
    """self with source's slices written along dim."""
    d, index = _checked("index_copy", self, dim, index, source)
    write(self, d, index, source, "set")
    return self


both_forms(
    "index_copy",
    _index_copy,
    {"self": lambda grad, dim, index: FUNCTIONS["index_fill"](grad, dim, index, 0), "source": _source_back},
    check=along("index_copy", IndexError),
)


def _filled(grad: Any, dim: int, index: Any) -> Any:
    """The sum of the gradient over the slices that were filled, each once."""
    zeros = FUNCTIONS["full"](tuple(grad.shape), 0, dtype=grad.dtype)
    return (FUNCTIONS["index_fill"](zeros, dim, index, 1) * grad).sum()


def _index_fill(self: T, dim: int, index: T, value: TN) -> Any:  # type: ignore[name-defined]  # noqa: F821
    """self with a number written to slices along dim."""
    d, index = _checked("index_fill", self, dim, index, None)
    if value.ndim:
        fail(
            RuntimeError,
            f"index_fill_ only supports a 0-dimensional value tensor, but got tensor with {value.ndim} dimension(s).",
        )
    write(self, d, index, element(value, self.dtype), "set", "index")
    return self


both_forms(
    "index_fill",
    _index_fill,
    {
        "self": lambda grad, dim, index: FUNCTIONS["index_fill"](grad, dim, index, 0),
        "value": lambda grad, dim, index: _filled(grad, dim, index),
    },
    check=along("index_fill", IndexError, True, number=True),
)


def _index_reduce(self: T, dim: int, index: T, source: T, reduce: str, *, include_self: bool = True) -> Any:
    """self combined with source's slices along dim: prod, mean, amax, amin."""
    if reduce not in ("prod", "mean", "amax", "amin"):
        fail(
            RuntimeError,
            f"index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got {reduce}.",
        )
    d, index = _checked("index_reduce", self, dim, index, source)
    if numel(index.shape) and numel(self.shape):
        _combine(
            self, lambda dest, src, mode: write(dest, d, index, src, mode), (), source, reduce, include_self
        )
    return self


def _index_reduce_back(
    grad: Any, self: Any, dim: int, index: Any, source: Any, result: Any, reduce: str, include_self: bool
) -> Any:
    return _reduce_grads(grad, self, source, result, reduce, include_self, Places(dim, index, True))


both_forms(
    "index_reduce",
    _index_reduce,
    {"self, source": _index_reduce_back},
    check=along("index_reduce", IndexError),
)


def _index_prod(self: T, dim: int, index: T, source: T) -> Any:
    write(self, wrap_dim(dim, self.ndim), one(index), source, "mul")
    return self


both_forms("_index_prod", _index_prod, None)  # type: ignore[arg-type]


# --- index_put, put, masked_scatter -----------------------------------------------------------------------------------


def _resolve(self: Any, indices: Any) -> tuple[tuple[int, ...], list[Any]]:
    from ..tensor.indexing import expand_masks

    picks, dim = [], 0
    for i in indices:
        if i is None:
            dim += 1
            continue
        picks.append((dim, i))
        dim += i.ndim if i.dtype.name in ("bool", "uint8") else 1
    if dim > self.ndim:
        fail(IndexError, f"too many indices for tensor of dimension {self.ndim} (got {dim})")
    return expand_masks(self, picks)


@composite()
def index_put(input: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    """A copy with values at indexed positions (added there if accumulate)."""
    dims, at = _resolve(input, indices)
    return FUNCTIONS["_index_put"](input, at, values, dims, accumulate)


@composite()
def index_put_(input: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    """Values written to indexed positions (added there if accumulate)."""
    dims, at = _resolve(input, indices)
    return FUNCTIONS["_index_put_direct_"](input, at, values, dims, accumulate)


def flat_places(index: Val, shape: tuple[int, ...]) -> list[Val]:
    """The coordinates of flat places; negative ones count from the end."""
    count = numel(shape)
    at = map_(
        "select",
        map_("lt", index, const(0, int64), out=bool_),
        map_("add", index, const(count, int64)),
        index,
    )
    out: list[Val] = []
    for n in reversed(shape):
        out.append(map_("irem", at, const(n, int64)))
        at = map_("idiv", at, const(n, int64))
    return out[::-1]


@op(
    method=True,
    check=lambda self, index, *rest: check("put: out of range", index, self.numel(), 0, IndexError, True),
    grad={
        "self": lambda grad, index, accumulate: (
            grad
            if accumulate
            else FUNCTIONS["put"](grad, index, FUNCTIONS["full"](tuple(index.shape), 0, dtype=grad.dtype))
        ),
        "source": lambda grad, index, form: FUNCTIONS["take"](grad, index).reshape(
            tuple(form.trace.operands[2].shape)
        ),
    },
)
def put(self: T, index: T, source: T, accumulate: bool = False) -> Any:
    """A copy with source at places of the flattened tensor."""
    return _put(copied(self), index, source, accumulate)


def _put(out: Val, index: Val, source: Val, accumulate: bool) -> Val:
    if index.dtype is not int64:
        fail(RuntimeError, f"put_(): Expected a long tensor for index, but got {index.dtype.name}")
    if out.dtype is not source.dtype:
        fail(
            RuntimeError,
            f"put_(): self and source expected to have the same dtype, but got self.dtype = {out.dtype.name} and source.dtype = {source.dtype.name}",
        )
    if numel(index.shape) != numel(source.shape):
        fail(
            RuntimeError,
            f"put_(): Expected source and index to have the same number of elements, but got source.numel() = {numel(source.shape)}, index.numel() = {numel(index.shape)}",
        )
    n, total = numel(index.shape), numel(out.shape)
    if not n:
        return out
    if not total:
        fail(IndexError, "put_(): tried to put elements into an empty tensor")
    i, s = contiguous(index), contiguous(source)
    flat = out.view_as((total,), (1,), 0)
    scatter_into(
        flat,
        [(i.view_as((n,), (1,), i.off), None)],
        s.view_as((n,), (1,), s.off),
        (n,),
        (0,),
        "add" if accumulate else "set",
        "index",
    )
    return out


@composite(function=False)
def put_(input: Any, index: Any, source: Any, accumulate: bool = False) -> Any:
    """Source written to places of the flattened tensor."""
    if input.is_contiguous():
        flat = input.view(-1)
        FUNCTIONS["_index_put_direct_"](flat, [index.reshape(-1)], source.reshape(-1), (0,), accumulate)
        return input
    return FUNCTIONS["copy_"](input, put(input, index, source, accumulate))


@op(
    inplace=True,
    grad={
        "self": lambda grad, mask: FUNCTIONS["_where"](mask, 0, grad),
        "source": lambda grad, mask, form: _masked_source(grad, mask, tuple(form.trace.operands[2].shape)),
    },
)
def masked_scatter(self: T, mask: T, source: T) -> Any:
    """self with the elements of source, in order, where the mask is true."""
    if mask.dtype is not bool_:
        fail(
            RuntimeError,
            f"masked_scatter_ only supports boolean masks, but got mask with dtype {mask.dtype.name}",
        )
    if self.dtype is not source.dtype:
        fail(
            RuntimeError,
            f"masked_scatter: expected self and source to have same dtypes but got {self.dtype.name} and {source.dtype.name}",
        )
    from ..stream.graph import take

    shape = broadcast("masked_scatter", self.shape, mask.shape)
    m, x = expand(mask, shape), expand(self, shape)
    if not numel(shape):
        return map_("copy", x)
    places = _ranks(m)
    s = contiguous(source)
    n = numel(source.shape)
    s = s.view_as((n,), (1,), s.off)
    if not n:
        return map_("copy", x)
    at = map_("select", m, places, const(0, int64))
    return contiguous(map_("select", m, take(s, {0: at}, shape, [None], "source of the mask:"), x))


def _ranks(mask: Any) -> Any:
    """How many elements of the mask are true before each."""
    flat = mask.reshape(-1).to(int64)
    return (FUNCTIONS["cumsum"](flat, 0) - 1).reshape(tuple(mask.shape))


def _masked_source(grad: Any, mask: Any, shape: tuple[int, ...]) -> Any:
    m = mask.expand(tuple(grad.shape))
    at = FUNCTIONS["_where"](m, _ranks(m), 0).reshape(-1)
    g = FUNCTIONS["_where"](m, grad, 0).reshape(-1)
    flat = FUNCTIONS["full"]((numel(shape),), 0, dtype=grad.dtype)
    return FUNCTIONS["index_add"](flat, 0, at, g).reshape(shape)
