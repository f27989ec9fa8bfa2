"""Diagonals and triangles of matrices."""

from __future__ import annotations

from typing import Any

from ..dtypes import bool_, int64
from ..errors import fail
from ..shapes import numel, wrap_dim
from ..stream.graph import Val, blank, cast, const, empty, index_, map_, store
from .elementwise import into
from .entry import FUNCTIONS, N, T, composite, op, view
from .view import Geometry


def _diagonal_rule(shape: Any, strides: Any, offset: int, dim1: int, dim2: int) -> Geometry:
    rank = len(shape)
    a, b = wrap_dim(dim1, rank, "diagonal"), wrap_dim(dim2, rank, "diagonal")
    if a == b:
        fail(RuntimeError, f"diagonal: diagonal dimensions cannot be identical {dim1}, {dim2}")
    n = max(min(shape[a], shape[b] - offset) if offset >= 0 else min(shape[a] + offset, shape[b]), 0)
    start = (offset * strides[b] if offset >= 0 else -offset * strides[a]) if n else 0
    left = [d for d in range(rank) if d not in (a, b)]
    return (*[shape[d] for d in left], n), (*[strides[d] for d in left], strides[a] + strides[b]), start


@view(
    grad=lambda grad, meta, offset, a, b: diagonal_backward(grad, tuple(meta.shape), offset, a, b),
    name="diagonal",
)
def _diagonal(shape: Any, strides: Any, offset: int, dim1: int, dim2: int) -> Geometry:
    return _diagonal_rule(shape, strides, offset, dim1, dim2)


@composite()
def diagonal(input: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """The diagonal of two dimensions, as a new last dimension."""
    return _diagonal(input, offset, dim1, dim2)


@composite(function=False)
def fill_diagonal_(self: Any, fill_value: Any, wrap: bool = False) -> Any:
    """Write a number onto the main diagonal; wrap: onto those of the further blocks of a tall matrix, a row apart, too."""
    shape = tuple(self.shape)
    if len(shape) < 2:
        fail(RuntimeError, "fill_diagonal_: dimensions must be larger than 1", self=self)
    if len(shape) > 2:
        if len(set(shape)) > 1:
            fail(RuntimeError, "fill_diagonal_: all dimensions of input must be of equal length", self=self)
        step = sum(self.stride())
        self.as_strided((shape[0],), (step,), self.storage_offset()).fill_(fill_value)
        return self
    rows, columns = shape
    for first in range(0, rows, columns + 1) if wrap else (0,):
        self[first : first + columns].diagonal().fill_(fill_value)
    return self


@op(
    method=False,
    function=False,
    grad={"self": lambda grad, offset, dim1, dim2: _diagonal(grad, offset, dim1, dim2)},
)
def diagonal_backward(self: T, shape: tuple[int, ...], offset: int, dim1: int, dim2: int) -> Any:
    """Zeros with self on a diagonal."""
    out = blank(shape, self.dtype)
    if numel(self.shape):
        store(_diagonal(out, offset, dim1, dim2), self)
    return out


@op(
    name="diagonal_scatter",
    grad={
        "self": lambda grad, offset, dim1, dim2: FUNCTIONS["diagonal_scatter"](
            grad, FUNCTIONS["zeros_like"](_diagonal(grad, offset, dim1, dim2)), offset, dim1, dim2
        ),
        "src": lambda grad, offset, dim1, dim2: _diagonal(grad, offset, dim1, dim2),
    },
)
def diagonal_scatter(self: T, src: T, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """A copy of self with src on a diagonal."""
    return _with(self, src, lambda out: _diagonal(out, offset, dim1, dim2), "diagonal_scatter")


def _with(self: Any, src: Any, part: Any, name: str) -> Any:
    out = empty(tuple(self.shape), self.dtype)
    if not numel(self.shape):
        return out
    store(out, self)
    where = part(out)
    if tuple(where.shape) != tuple(src.shape):
        fail(
            RuntimeError,
            f"{name}: expected src to have a size equal to the slice of self. src size = {list(src.shape)}, slice size = "
            f"{list(where.shape)}",
        )
    if numel(src.shape):
        store(where, src)
    return out


@op(
    method=True,
    grad={
        "self": lambda grad, dim, index: FUNCTIONS["select_scatter"](
            grad, FUNCTIONS["zeros_like"](grad.select(dim, index)), dim, index
        ),
        "src": lambda grad, dim, index: grad.select(dim, index),
    },
)
def select_scatter(self: T, src: T, dim: int, index: int) -> Any:
    """A copy of self with src at one index of a dimension."""
    return _with(self, src, lambda out: FUNCTIONS["select"](out, dim, index), "select_scatter")


def _slice_of(x: Any, dim: int, start: Any, end: Any, step: int) -> Any:
    d = wrap_dim(dim, x.ndim, "slice_scatter")
    return x[(slice(None),) * d + (slice(start, end, step),)]


def _slice_self(grad: Any, dim: int, start: Any, end: Any, step: int) -> Any:
    zeros = FUNCTIONS["zeros_like"](_slice_of(grad, dim, start, end, step))
    return FUNCTIONS["slice_scatter"](grad, zeros, dim, start, end, step)


@op(
    grad={
        "self": _slice_self,
        "src": lambda grad, dim, start, end, step: _slice_of(grad, dim, start, end, step),
    }
)
def slice_scatter(
    self: T, src: T, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Any:
    """A copy of self with src in a slice of a dimension."""
    return _with(self, src, lambda out: _slice_of(out, dim, start, end, step), "slice_scatter")


def _strided_part(out: Any, size: Any, stride: Any, storage_offset: Any) -> Any:
    return FUNCTIONS["as_strided"](out, size, stride, storage_offset)


@op(
    grad={
        "self": lambda grad, size, stride, storage_offset: FUNCTIONS["as_strided_scatter"](
            grad, FUNCTIONS["full"](size, 0, dtype=grad.dtype), size, stride, storage_offset
        ),
        "src": lambda grad, size, stride, storage_offset: _strided_part(
            grad.contiguous(), size, stride, storage_offset
        ),
    }
)
def as_strided_scatter(
    self: T, src: T, size: tuple[int, ...], stride: tuple[int, ...], storage_offset: int | None = None
) -> Any:
    """A copy of self with src where as_strided would read; RuntimeError if that is outside of self."""
    last = (storage_offset or 0) + sum((n - 1) * s for n, s in zip(size, stride)) + 1
    if numel(size) and last > numel(self.shape):
        width = self.dtype.itemsize
        fail(
            RuntimeError,
            f"as_strided_scatter: sizes {list(size)}, strides {list(stride)}, storage offset {storage_offset or 0}, and "
            f"itemsize {width} requiring a storage size of {last * width} are out of bounds for storage of size "
            f"{numel(self.shape) * width}",
        )
    return _with(
        self, src, lambda out: _strided_part(out, size, stride, storage_offset), "as_strided_scatter"
    )


@op(
    method=True,
    grad={"input": lambda grad, offset, dim1, dim2: _diagonal(grad, offset, dim1, dim2)},
)
def diag_embed(input: T, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """The last dimension as the diagonal of two new ones, zeros elsewhere."""
    rank = input.ndim + 1
    a, b = wrap_dim(dim1, rank, "diag_embed"), wrap_dim(dim2, rank, "diag_embed")
    if a == b:
        fail(RuntimeError, f"diag_embed: diagonal dimensions cannot be identical {dim1}, {dim2}")
    n = input.shape[-1] + abs(offset)
    rest = iter(input.shape[:-1])
    out = blank(tuple(n if d in (a, b) else next(rest) for d in range(rank)), input.dtype)
    if numel(input.shape):
        store(_diagonal(out, offset, a, b), input)
    return out


@composite()
def diag(input: Any, diagonal: int = 0, *, out: Any = None) -> Any:
    """A vector on the diagonal of a matrix, or the diagonal of a matrix as a vector."""
    if input.ndim not in (1, 2):
        fail(RuntimeError, f"diag(): Supports 1D or 2D tensors. Got {input.ndim}D")
    result = diag_embed(input, diagonal) if input.ndim == 1 else _diagonal(input, diagonal, 0, 1).clone()
    return result if out is None else into(out, result)


@composite()
def diagflat(input: Any, offset: int = 0) -> Any:
    """All elements on the diagonal of a matrix."""
    return diag_embed(input.reshape(-1), offset)


@op(grad={"self": lambda grad, form: diag_embed_of(grad, tuple(form.trace.operands[0].shape))})
def trace(self: T) -> Any:
    """The sum of a matrix's diagonal."""
    if self.ndim != 2:
        fail(RuntimeError, f"trace: expected a matrix, but got tensor with dim {self.ndim}")
    return _diagonal(self, 0, 0, 1).sum()


def diag_embed_of(grad: Any, shape: tuple[int, ...]) -> Any:
    """A number's gradient on the diagonal of a matrix of zeros."""
    return diagonal_backward(grad.expand((min(shape),)), shape, 0, 0, 1)


def _triangle(name: str, compare: str) -> None:
    def body(self: T, diagonal: N = 0) -> Any:
        if self.ndim < 2:
            fail(RuntimeError, f"{name}: input tensor must have at least 2 dimensions")
        shape = tuple(self.shape)
        by = cast(diagonal, int64) if type(diagonal) is Val else const(diagonal, int64)
        row = map_("add", index_(shape, self.ndim - 2), by)
        keep = map_(compare, index_(shape, self.ndim - 1), row, out=bool_)
        return map_("select", keep, self, const(0, self.dtype))

    body.__name__ = name
    body.__doc__ = f"The {'lower' if name == 'tril' else 'upper'} triangle, zeros elsewhere; diagonal: which one bounds it."
    op(inplace=True, grad={"self": lambda grad, diagonal: FUNCTIONS[name](grad, diagonal)})(body)


_triangle("tril", "le")
_triangle("triu", "ge")
