"""Views: the same storage under another shape. No instruction is recorded; each is a node of its own."""

from __future__ import annotations

from typing import Any

from ..dtypes import dtype as dtype_
from ..errors import fail
from ..shapes import contiguous_strides, expand_strides, infer_shape, numel, view_strides, wrap_dim
from ..stream.graph import Val
from ..symbols import Whole
from .entry import FUNCTIONS, composite, view

Geometry = tuple[tuple[int, ...], tuple[int, ...], int]


def sizes(args: tuple[Any, ...]) -> tuple[int, ...]:
    """Sizes given as numbers or as one sequence."""
    if len(args) == 1 and isinstance(args[0], (tuple, list)):
        args = tuple(args[0])
    for a in args:
        if type(a) is not int:
            return tuple([a if type(a) is Whole else int(a) for a in args])
    return args


@view(
    grad=lambda grad, meta, dims: _permute(grad, tuple(dims.index(d) for d in range(len(dims)))),
    name="permute",
)
def _permute(shape: Any, strides: Any, dims: tuple[int, ...]) -> Geometry:
    """The dimensions in another order."""
    rank = len(shape)
    if len(dims) != rank:
        fail(
            RuntimeError,
            f"permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired ordering of "
            f"dimensions i.e. input.dim() = {rank} is not equal to len(dims) = {len(dims)}",
        )
    order = [wrap_dim(d, rank, "permute") for d in dims]
    if len(set(order)) != rank:
        fail(RuntimeError, "permute(): duplicate dims are not allowed.")
    return tuple(shape[d] for d in order), tuple(strides[d] for d in order), 0


def _positive(dims: Any, rank: int) -> tuple[int, ...]:
    return tuple(d + rank if d < 0 else d for d in dims)


@composite()
def permute(input: Any, *args: Any, dims: Any = None) -> Any:
    """The dimensions in another order: result.shape[i] = input.shape[dims[i]]."""
    return _permute(input, _positive(sizes(args if dims is None else (dims,)), input.ndim))


@view(grad=lambda grad, meta, a, b: transpose(grad, a, b))
def transpose(shape: Any, strides: Any, dim0: int, dim1: int) -> Geometry:
    """Dimensions dim0 and dim1 exchanged."""
    a, b = wrap_dim(dim0, len(shape), "transpose"), wrap_dim(dim1, len(shape), "transpose")
    order = list(range(len(shape)))
    if order:
        order[a], order[b] = order[b], order[a]
    return tuple(shape[d] for d in order), tuple(strides[d] for d in order), 0


@view(grad=lambda grad, meta: t(grad))
def t(shape: Any, strides: Any) -> Geometry:
    """The transpose of a matrix; vectors and numbers as they are."""
    if len(shape) > 2:
        fail(RuntimeError, f"t() expects a tensor with <= 2 dimensions, but self is {len(shape)}D")
    return tuple(shape[::-1]), tuple(strides[::-1]), 0


@view(grad=lambda grad, meta, shape: _sum_to(grad, meta), name="expand", node="ExpandBackward0")
def _expand(shape: Any, strides: Any, to: tuple[int, ...]) -> Geometry:
    lead = len(to) - len(shape)
    if lead < 0:
        fail(
            RuntimeError,
            f"expand: the number of sizes provided ({len(to)}) must be greater or equal to the number of dimensions in the tensor "
            f"({len(shape)})",
        )
    full = []
    for d, n in enumerate(to):
        m = shape[d - lead] if d >= lead else -1
        if n == -1:
            if d < lead:
                fail(
                    RuntimeError,
                    f"expand: The expanded size of the tensor (-1) isn't allowed in a leading, non-existing dimension {d}",
                )
            n = m
        elif d >= lead and m != n and m != 1:
            fail(
                RuntimeError,
                f"The expanded size of the tensor ({n}) must match the existing size ({m}) at non-singleton dimension {d}.  Target "
                f"sizes: {list(to)}.  Tensor sizes: {list(shape)}",
            )
        full.append(n)
    return tuple(full), expand_strides(shape, strides, full), 0


def _sum_to(grad: Any, meta: Any) -> Any:
    from .entry import FUNCTIONS

    return FUNCTIONS["sum_to_size"](grad, tuple(meta.shape))


@composite()
def expand(input: Any, *args: Any, size: Any = None, implicit: bool = False) -> Any:
    """A view with dimensions of extent 1 (or new leading ones) repeated to the given sizes; -1 keeps an extent."""
    return _expand(input, sizes(args if size is None else (size,)))


@view(grad=lambda grad, meta, shape: _reshape(grad, tuple(meta.shape)), name="view")
def _view(shape: Any, strides: Any, to: tuple[int, ...]) -> Geometry:
    to = infer_shape("view", to, numel(shape))
    found = view_strides(shape, strides, to)
    if found is None:
        fail(
            RuntimeError,
            "view size is not compatible with input tensor's size and stride (at least one dimension spans across two contiguous "
            "subspaces). Use .reshape(...) instead.",
        )
    return to, found, 0


@composite(name="view", function=False)
def view_(input: Any, *args: Any, size: Any = None, dtype: Any = None) -> Any:
    """The same elements under another shape, sharing memory; RuntimeError if that needs a copy. view(dtype) reinterprets."""
    if size is None and dtype is None and not (len(args) == 1 and isinstance(args[0], dtype_)):
        return _view(input, sizes(args))
    if size is None:
        return FUNCTIONS["view_dtype"](input, dtype or args[0])
    return _view(input, sizes((size,)))


@view(
    grad=lambda grad, meta, shape: _reshape(grad, tuple(meta.shape)),
    name="_unsafe_view",
    node="UnsafeViewBackward0",
)
def _unsafe_view(shape: Any, strides: Any, to: tuple[int, ...]) -> Geometry:
    return to, contiguous_strides(to), 0


_RESHAPED: dict[Any, tuple[tuple[int, ...], bool]] = {}


def _reshape(self: Any, shape: tuple[int, ...]) -> Any:
    if type(self) is Val:
        to = infer_shape("reshape", shape, numel(self.shape))
        return _reshaped(self, to, view_strides(tuple(self.shape), self.strides, to) is not None)
    meta = self._meta
    known = _RESHAPED.get((meta, shape))
    if known is None:
        to = infer_shape("reshape", shape, numel(meta.shape))
        known = to, view_strides(tuple(meta.shape), meta.strides, to) is not None
        if len(_RESHAPED) > 4096:
            _RESHAPED.clear()
        _RESHAPED[meta, shape] = known
    return _reshaped(self, *known)


def _reshaped(self: Any, to: tuple[int, ...], viewed: bool) -> Any:
    if viewed:
        return _view(self, to)
    from .entry import FUNCTIONS

    return _unsafe_view(FUNCTIONS["clone"](self, memory_format="contiguous"), to)


@composite()
def reshape(input: Any, *args: Any, shape: Any = None) -> Any:
    """The same elements in row-major order under another shape: a view if possible, else a copy."""
    return _reshape(input, sizes(args if shape is None else (shape,)))


@view(grad=lambda grad, meta, dim: _squeeze_dim(grad, dim))
def unsqueeze(shape: Any, strides: Any, dim: int) -> Geometry:
    """A new dimension of extent 1 before `dim`."""
    d = wrap_dim(dim, len(shape) + 1, "unsqueeze")
    stride = strides[d] * shape[d] if d < len(shape) else 1
    return (*shape[:d], 1, *shape[d:]), (*strides[:d], stride, *strides[d:]), 0


def _squeeze_dim(grad: Any, dim: int) -> Any:
    return _squeeze(grad, (wrap_dim(dim, grad.ndim),))


@view(grad=lambda grad, meta, dims: _view_or_reshape(grad, meta), name="squeeze")
def _squeeze(shape: Any, strides: Any, dims: tuple[int, ...]) -> Geometry:
    keep = [d for d in range(len(shape)) if not (d in dims and shape[d] == 1)]
    return tuple(shape[d] for d in keep), tuple(strides[d] for d in keep), 0


def _view_or_reshape(grad: Any, meta: Any) -> Any:
    return _reshape(grad, tuple(meta.shape))


@composite()
def squeeze(input: Any, dim: Any = None, *, axis: Any = None) -> Any:
    """Without the dimensions of extent 1 (all, or those named)."""
    rank = input.ndim
    dim = axis if dim is None else dim
    if dim is None:
        dims = tuple(range(rank))
    else:
        given = (dim,) if isinstance(dim, int) else dim
        dims = tuple(wrap_dim(d, rank, "squeeze") for d in given)
    return _squeeze(input, dims)


@view(
    grad=lambda grad, meta, dim, start, stop, step: _slice_backward(grad, meta, dim, start, stop, step),
    name="slice",
)
def slice_(shape: Any, strides: Any, dim: int, start: int, stop: int, step: int) -> Geometry:
    """Elements start, start+step, ... before stop along dim (all already within bounds)."""
    n = max(0, -(-(stop - start) // step))
    return (
        (*shape[:dim], n, *shape[dim + 1 :]),
        (*strides[:dim], strides[dim] * step, *strides[dim + 1 :]),
        start * strides[dim],
    )


def _slice_backward(grad: Any, meta: Any, dim: int, start: int, stop: int, step: int) -> Any:
    from .entry import FUNCTIONS

    return FUNCTIONS["slice_backward"](grad, dim, step, (*meta.shape, start + 1, stop))


@view(
    grad=lambda grad, meta, dim, index: _slice_backward(unsqueeze(grad, dim), meta, dim, index, index + 1, 1),
    name="select",
)
def _select(shape: Any, strides: Any, dim: int, index: int) -> Geometry:
    return (*shape[:dim], *shape[dim + 1 :]), (*strides[:dim], *strides[dim + 1 :]), index * strides[dim]


@composite()
def select(input: Any, dim: int, index: int) -> Any:
    """The slice at `index` along `dim`, which disappears."""
    if input.ndim == 0:
        fail(IndexError, "select() cannot be applied to a 0-dim tensor.")
    d = wrap_dim(dim, input.ndim, "select")
    n = input.shape[d]
    if not -n <= index < n:
        fail(
            IndexError,
            f"select(): index {index} out of range for tensor of size {list(input.shape)} at dimension {d}",
        )
    return _select(input, d, index % n)


@view(
    grad=lambda grad, meta, size, stride, off: _as_strided_backward(grad, meta, size, stride, off),
    name="as_strided",
)
def _as_strided(
    shape: Any, strides: Any, size: tuple[int, ...], stride: tuple[int, ...], off: int
) -> Geometry:
    return size, stride, off


def _as_strided_backward(grad: Any, meta: Any, size: Any, stride: Any, off: int) -> Any:
    from ..stream.value import intern_meta
    from .entry import FUNCTIONS

    view_meta = intern_meta(tuple(size), tuple(stride), meta.dtype)
    return FUNCTIONS["as_strided_backward"](grad, meta, view_meta, off)
