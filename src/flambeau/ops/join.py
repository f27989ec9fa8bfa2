"""Joining tensors: cat, stack and their kin. Each input is written into its part of one fresh buffer."""

from __future__ import annotations

from typing import Any

from ..dtypes import result_type
from ..errors import fail
from ..shapes import (
    channels_last_strides,
    contiguous_strides,
    image_strides,
    is_channels_last,
    numel,
    view_strides,
    wrap_dim,
)
from ..stream.graph import Val, blank, empty, ordered, store
from .elementwise import into
from .entry import FUNCTIONS, TS, composite, op
from .places import apart
from .reshape import listed
from .view import slice_


def _is_legacy_empty(t: Any) -> bool:
    return t.ndim == 1 and t.shape[0] == 0


def _cat_back(grad: Any, form: Any, dim: int) -> list[Any]:
    shapes = [tuple(o.shape) for o in form.trace.operands]
    d = wrap_dim(dim, grad.ndim)
    out, at = [], 0
    for shape in shapes:
        if shape == (0,) and grad.ndim != 1:
            out.append(FUNCTIONS["full"](shape, 0, dtype=grad.dtype))
            continue
        part = slice_(grad, d, at, at + shape[d], 1)
        out.append(_own(part))
        at += shape[d]
    return out


def _own(part: Any) -> Any:
    """A part of a gradient as a result of a traced body, which copies it: images keep their order."""
    last = type(part) is Val and is_channels_last(part.shape, part.strides)
    return ordered(part, True) if last else part


@op(name="_cat", method=False, node="CatBackward0", grad={"tensors": _cat_back})
def _cat(tensors: TS, dim: int) -> Any:
    given = [t for t in tensors if not _is_legacy_empty(t)] or list(tensors[:1])
    first = given[0]
    if any(t.ndim == 0 for t in tensors):
        k = next(k for k, t in enumerate(tensors) if t.ndim == 0)
        fail(RuntimeError, f"cat: zero-dimensional tensor (at position {k}) cannot be concatenated")
    d = wrap_dim(dim, first.ndim, "cat")
    for k, t in enumerate(given):
        if t.ndim != first.ndim:
            fail(
                RuntimeError,
                f"cat: Tensors must have same number of dimensions: got {first.ndim} and {t.ndim}",
            )
        for e in range(first.ndim):
            if e != d and t.shape[e] != first.shape[e]:
                fail(
                    RuntimeError,
                    f"cat: Sizes of tensors must match except in dimension {d}. Expected size {first.shape[e]} but got size {t.shape[e]} for "
                    f"tensor number {k} in the list.",
                )
    dtype = result_type([(t.dtype, t.level) for t in tensors])
    total = sum(t.shape[d] for t in given)
    shape = (*first.shape[:d], total, *first.shape[d + 1 :])
    last = all(is_channels_last(t.shape, t.strides) for t in given)
    out = empty(shape, dtype, image_strides(shape, last))
    at = 0
    for t in given:
        if numel(t.shape):
            store(slice_(out, d, at, at + t.shape[d], 1), t)
        at += t.shape[d]
    return out


@composite(method=False)
def cat(tensors: Any, dim: int = 0, *, out: Any = None, axis: Any = None) -> Any:
    """Tensors one after another along a dimension; the other extents must be equal."""
    if out is axis is None and type(dim) is int:
        return _cat(as_list(tensors, "cat"), dim)
    given, d = as_list(tensors, "cat"), dim_of(dim, axis)
    if out is None:
        return _cat(given, d)
    apart("cat", out, *given)
    if any(t is out for t in given):
        fail(
            RuntimeError,
            "cat: unsupported operation: the input tensors and the written-to tensor refer to a single memory location",
        )
    return into(out, _cat(given, d))


def dim_of(dim: Any, axis: Any) -> int:
    """The dimension given, by PyTorch's name or NumPy's."""
    found = dim if axis is None else axis
    return found if type(found) is int else int(found)


def as_list(tensors: Any, name: str) -> list[Any]:
    """The tensors of an argument; TypeError for one tensor, an error if there are none."""
    if type(tensors) is list and tensors:
        return tensors
    if not isinstance(tensors, (list, tuple)):
        if hasattr(tensors, "ndim"):
            raise TypeError(f"{name}(): argument 'tensors' (position 1) must be tuple of Tensors, not Tensor")
        tensors = list(tensors)
    if not tensors:
        fail(ValueError if name == "cat" else RuntimeError, f"{name}: expected a non-empty list of Tensors")
    return list(tensors)


@composite(method=False)
def concat(tensors: Any, dim: int = 0, *, out: Any = None, axis: Any = None) -> Any:
    """As cat."""
    return cat(tensors, dim, out=out, axis=axis)


@composite(method=False)
def concatenate(tensors: Any, axis: int = 0, out: Any = None, *, dim: Any = None) -> Any:
    """As cat."""
    return cat(tensors, axis if dim is None else dim, out=out)


def _stack_back(grad: Any, form: Any, dim: int) -> list[Any]:
    d = wrap_dim(dim, grad.ndim)
    return [_own(grad.select(d, i)) for i in range(len(form.trace.operands))]


@op(name="_stack", method=False, node="StackBackward0", grad={"tensors": _stack_back})
def _stack(tensors: TS, dim: int) -> Any:
    first = tensors[0]
    d = wrap_dim(dim, first.ndim + 1, "stack")
    for k, t in enumerate(tensors):
        if tuple(t.shape) != tuple(first.shape):
            fail(
                RuntimeError,
                f"stack: stack expects each tensor to be equal size, but got {list(first.shape)} at entry 0 and {list(t.shape)} at entry {k}",
            )
    dtype = result_type([(t.dtype, t.level) for t in tensors])
    shape = (*first.shape[:d], len(tensors), *first.shape[d:])
    out = empty(shape, dtype, _stacked(tensors, shape, d))
    for k, t in enumerate(tensors):
        if numel(t.shape):
            store(FUNCTIONS["select"](out, d, k), t)
    return out


def _stacked(tensors: Any, shape: Any, d: int) -> Any:
    """The strides of a stack: as if the tensors were joined along d, which was then made two dimensions."""
    first = tensors[0]
    if d == first.ndim or not all(is_channels_last(t.shape, t.strides) for t in tensors):
        return contiguous_strides(shape)
    whole = [n * (len(tensors) if e == d else 1) for e, n in enumerate(first.shape)]
    return view_strides(whole, channels_last_strides(whole), shape)


@composite(method=False)
def stack(tensors: Any, dim: int = 0, *, out: Any = None, axis: Any = None) -> Any:
    """Tensors of one shape along a new dimension."""
    result = _stack(as_list(tensors, "stack"), dim_of(dim, axis))
    return result if out is None else into(out, result)


def _stacking(name: str, rank: int, axis: Any, doc: str) -> Any:
    def fn(tensors: Any, *, out: Any = None) -> Any:
        given = as_list(tensors, name)
        whole = [FUNCTIONS[f"atleast_{rank}d"](t) for t in given]
        result = cat(whole, axis(whole[0].ndim))
        return result if out is None else into(out, result)

    fn.__name__, fn.__doc__ = name, doc
    return composite(method=False)(fn)


hstack = _stacking(
    "hstack",
    1,
    lambda rank: 0 if rank == 1 else 1,
    "Tensors side by side (along dimension 1; vectors along 0).",
)
vstack = _stacking("vstack", 2, lambda rank: 0, "Tensors on top of each other; vectors are rows.")
row_stack = _stacking("row_stack", 2, lambda rank: 0, "As vstack.")
dstack = _stacking("dstack", 3, lambda rank: 2, "Tensors along the third dimension.")


@composite(method=False)
def column_stack(tensors: Any, *, out: Any = None) -> Any:
    """Tensors side by side; numbers and vectors are columns."""
    given = [t.reshape((t.numel(), 1)) if t.ndim <= 1 else t for t in as_list(tensors, "column_stack")]
    return hstack(given, out=out)


@composite(method=False)
def block_diag(*tensors: Any) -> Any:
    """Matrices along the diagonal of one matrix, zeros elsewhere."""
    given = []
    for t in listed(tensors):
        if t.ndim > 2:
            fail(
                RuntimeError,
                f"torch.block_diag: Input tensors must have 2 or fewer dimensions. Input has {t.ndim} dimensions",
            )
        given.append(t if t.ndim == 2 else t.reshape((1, -1)) if t.ndim else t.reshape((1, 1)))
    return _block_diag(given) if given else FUNCTIONS["full"]((1, 0), 0.0)


def _block_back(grad: Any, form: Any) -> list[Any]:
    out, row, col = [], 0, 0
    for o in form.trace.operands:
        n, m = o.shape
        out.append(slice_(slice_(grad, 0, row, row + n, 1), 1, col, col + m, 1))
        row, col = row + n, col + m
    return out


@op(name="_block_diag", method=False, node="BlockDiagBackward0", grad={"tensors": _block_back})
def _block_diag(tensors: TS) -> Any:

    dtype = result_type([(t.dtype, t.level) for t in tensors])
    out = blank((sum(t.shape[0] for t in tensors), sum(t.shape[1] for t in tensors)), dtype)
    row = col = 0
    for t in tensors:
        n, m = t.shape
        if n * m:
            store(slice_(slice_(out, 0, row, row + n, 1), 1, col, col + m, 1), t)
        row, col = row + n, col + m
    return out


@composite(method=False)
def meshgrid(*tensors: Any, indexing: Any = None) -> Any:
    """The grids of coordinate vectors: views in the shape of their product."""
    given = listed(tensors)
    if not given:
        fail(RuntimeError, "meshgrid expects a non-empty TensorList")
    if any(t.ndim > 1 for t in given):
        bad = next(t for t in given if t.ndim > 1)
        fail(
            RuntimeError, f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: {bad.ndim}D"
        )
    if any(t.dtype is not given[0].dtype for t in given):
        fail(RuntimeError, "torch.meshgrid expects all tensors to have the same dtype")
    if indexing not in (None, "ij", "xy"):
        fail(RuntimeError, f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    swap = indexing == "xy" and len(given) >= 2
    if swap:
        given[0], given[1] = given[1], given[0]
    shape = tuple(t.numel() for t in given)
    grids = [
        t.reshape((1,) * k + (-1,) + (1,) * (len(given) - k - 1)).expand(shape) for k, t in enumerate(given)
    ]
    if swap:
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)


@composite(method=False)
def cartesian_prod(*tensors: Any) -> Any:
    """All tuples of one element of each vector, as rows."""
    given = listed(tensors)
    if any(t.ndim != 1 for t in given):
        bad = next(t for t in given if t.ndim != 1)
        fail(RuntimeError, f"cartesian_prod: Expect a 1D vector, but got shape {list(bad.shape)}")
    if len(given) == 1:
        return given[0]
    return stack([g.reshape(-1) for g in meshgrid(*given, indexing="ij")], 1)


@composite(method=False)
def combinations(input: Any, r: int = 2, with_replacement: bool = False) -> Any:
    """All ways to choose r elements of a vector, in order, as rows."""
    from itertools import combinations as choose
    from itertools import combinations_with_replacement as choose_again

    if input.ndim != 1:
        fail(RuntimeError, f"combinations: Expect a 1D vector, but got shape {list(input.shape)}")
    if r < 0:
        fail(RuntimeError, f"combinations: Expect a non-negative number, but got {r}")
    if r == 0:
        return input[:0].clone()
    rows = list((choose_again if with_replacement else choose)(range(input.shape[0]), r))
    if not rows:
        return input[:0].reshape((0, 1)).expand((0, r)).clone()
    from ..stream.host import from_data

    at = from_data([i for row in rows for i in row]).reshape((len(rows), r))
    return FUNCTIONS["_index"](input, [at], (0,))
