"""Shapes seen otherwise: moved, flattened, broadcast dimensions, sliding windows. Views where that is possible."""

from __future__ import annotations

from typing import Any

from ..errors import fail
from ..shapes import broadcast, contiguous_strides, infer_shape, numel, wrap_dim
from .elementwise import into
from .entry import FUNCTIONS, composite, view
from .view import Geometry, _as_strided, _expand, _permute, _reshape, _view, sizes, slice_, transpose

FEW = 16  # elements of a window up to which each of them is added as a slice of all windows


def _unfold_back(grad: Any, meta: Any, dim: int, size: int, step: int) -> Any:
    from ..stream.value import intern_meta

    # The base's own strides may overlap (an unfold of an unfold): its gradient does not.
    base = intern_meta(tuple(meta.shape), contiguous_strides(tuple(meta.shape)), meta.dtype)
    shape, strides, off = _unfold_rule(tuple(base.shape), base.strides, dim, size, step)
    if meta.shape and step < size <= FEW:
        d = wrap_dim(dim, len(meta.shape))
        total, add_in = FUNCTIONS["full"](tuple(meta.shape), 0, dtype=grad.dtype), FUNCTIONS["slice_scatter"]
        for k in reversed(range(size)):  # the last element of a window is the first that comes to its place
            where = (d, k, k + (shape[d] - 1) * step + 1, step)
            total = add_in(total, slice_(total, *where) + FUNCTIONS["select"](grad, -1, k), *where)
        return total
    return FUNCTIONS["as_strided_backward"](
        grad, base, intern_meta(tuple(shape), tuple(strides), meta.dtype), off
    )


def _unfold_rule(shape: Any, strides: Any, dim: int, size: int, step: int) -> Geometry:
    d = wrap_dim(dim, len(shape), "unfold")
    n = shape[d] if shape else 1
    if step <= 0:
        fail(RuntimeError, f"unfold: step is {step} but must be > 0")
    if size < 0 or size > n:
        fail(RuntimeError, f"unfold: maximum size for tensor at dimension {d} is {n} but size is {size}")
    if not shape:
        return (size,), (1,), 0
    count = (n - size) // step + 1
    return (
        (*shape[:d], count, *shape[d + 1 :], size),
        (*strides[:d], strides[d] * step, *strides[d + 1 :], strides[d]),
        0,
    )


@view(grad=_unfold_back, name="unfold")
def _unfold(shape: Any, strides: Any, dim: int, size: int, step: int) -> Geometry:
    return _unfold_rule(shape, strides, dim, size, step)


@composite(function=False)
def unfold(input: Any, dimension: int, size: int, step: int) -> Any:
    """Windows of `size` elements, `step` apart, along a dimension; they form a new last dimension."""
    return _unfold(input, dimension, size, step)


@view(grad=lambda grad, meta: grad, name="alias")
def alias(shape: Any, strides: Any) -> Geometry:
    """The tensor as another tensor of the same memory."""
    return shape, strides, 0


@composite()
def narrow(input: Any, dim: int, start: Any, length: int) -> Any:
    """The `length` slices from `start` on along a dimension."""
    if input.ndim == 0:
        fail(RuntimeError, "narrow() cannot be applied to a 0-dim tensor.")
    if hasattr(start, "ndim") and (start.ndim or start.dtype.is_floating_point or start.dtype.name == "bool"):
        fail(RuntimeError, "start must be an 0-dim integral Tensor.")
    d, start = wrap_dim(dim, input.ndim, "narrow"), int(start)
    n = input.shape[d]
    if length < 0:
        fail(RuntimeError, "narrow(): length must be non-negative.")
    if not -n <= start <= n:
        fail(
            IndexError,
            f"narrow: start out of range (expected to be in range of [{-n}, {n}], but got {start})",
        )
    start = start + n if start < 0 else start
    if start + length > n:
        fail(RuntimeError, f"narrow: start ({start}) + length ({length}) exceeds dimension size ({n}).")
    return slice_(input, d, start, start + length, 1)


@composite()
def movedim(input: Any, source: Any, destination: Any) -> Any:
    """Dimensions moved to other places; the rest keep their order."""
    rank = input.ndim
    src, dst = ((v,) if isinstance(v, int) else tuple(v) for v in (source, destination))
    if len(src) != len(dst):
        fail(
            RuntimeError,
            f"movedim: Invalid source or destination dims: source ({src} dims) should contain the same number of dims as destination ({dst} dims)",
        )
    src, dst = (tuple([wrap_dim(d, rank, "movedim") for d in side]) for side in (src, dst))
    for name, dims in (("source", src), ("destination", dst)):
        if len(set(dims)) != len(dims):
            fail(RuntimeError, f"movedim: repeated dim in `{name}` ({dims})")
    if rank == 0:
        return alias(input)
    rest = iter([d for d in range(rank) if d not in src])
    place = dict(zip(dst, src))
    return _permute(input, tuple(place[d] if d in place else next(rest) for d in range(rank)))


@composite()
def moveaxis(input: Any, source: Any, destination: Any) -> Any:
    """Dimensions moved to other places; the rest keep their order."""
    return movedim(input, source, destination)


@composite()
def swapaxes(input: Any, axis0: int, axis1: int) -> Any:
    """Two dimensions exchanged."""
    return transpose(input, axis0, axis1)


@composite()
def swapdims(input: Any, dim0: int, dim1: int) -> Any:
    """Two dimensions exchanged."""
    return transpose(input, dim0, dim1)


@composite()
def adjoint(input: Any) -> Any:
    """The last two dimensions exchanged (conjugated, if complex)."""
    if input.ndim < 2:
        fail(
            RuntimeError,
            f"tensor.adjoint() is only supported on matrices or batches of matrices. Got {input.ndim}-D tensor.",
        )
    return transpose(input, -2, -1).conj()


@composite()
def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """Dimensions start_dim to end_dim as one: a view if possible."""
    rank = input.ndim
    a, b = wrap_dim(start_dim, rank, "flatten"), wrap_dim(end_dim, rank, "flatten")
    if a > b:
        fail(RuntimeError, "flatten() has invalid args: start_dim cannot come after end_dim")
    if rank == 0:
        return _reshape(input, (1,))
    if a == b:
        return input
    shape = input.shape
    return _reshape(input, (*shape[:a], numel(shape[a : b + 1]), *shape[b + 1 :]))


@composite()
def unflatten(input: Any, dim: int, sizes: Any) -> Any:
    """One dimension as several of the given sizes (one may be -1)."""
    d = wrap_dim(dim, input.ndim, "unflatten")
    sizes = (sizes,) if isinstance(sizes, int) else tuple(int(n) for n in sizes)
    if not sizes:
        fail(RuntimeError, "unflatten: sizes must be non-empty")
    n = input.shape[d] if input.ndim else 1
    known = numel([s for s in sizes if s != -1])
    if sizes.count(-1) > 1 or (-1 not in sizes and known != n) or (-1 in sizes and (known == 0 or n % known)):
        fail(
            RuntimeError,
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {d} ({n}) in the input tensor",
        )
    sizes = infer_shape("unflatten", sizes, n)
    return _view(input, (*input.shape[:d], *sizes, *input.shape[d + 1 :]))


@composite()
def ravel(input: Any) -> Any:
    """All elements in one dimension: a view if possible."""
    return _reshape(input, (-1,))


@composite(function=False)
def expand_as(input: Any, other: Any) -> Any:
    """Expanded to the shape of another tensor."""
    return _expand(input, tuple(other.shape))


@composite(function=False)
def view_as(input: Any, other: Any) -> Any:
    """A view in the shape of another tensor."""
    return _view(input, tuple(other.shape))


@composite(function=False)
def reshape_as(input: Any, other: Any) -> Any:
    """Reshaped to the shape of another tensor."""
    return _reshape(input, tuple(other.shape))


@composite()
def broadcast_to(input: Any, size: Any) -> Any:
    """Expanded to a shape."""
    return _expand(input, sizes((size,)) if not isinstance(size, int) else (size,))


def listed(tensors: tuple[Any, ...]) -> list[Any]:
    """Tensors given one by one or as one sequence."""
    return list(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else list(tensors)


@composite(method=False)
def broadcast_tensors(*tensors: Any) -> Any:
    """Tensors expanded to their common shape."""
    given = listed(tensors)
    shape = broadcast("broadcast_tensors", *[t.shape for t in given])
    return tuple(_expand(t, shape) for t in given)


@composite(method=False)
def broadcast_shapes(*shapes: Any) -> Any:
    """The common shape under broadcasting."""
    from ..shapes import Size

    return Size(broadcast("broadcast_shapes", *[(s,) if isinstance(s, int) else tuple(s) for s in shapes]))


def _atleast(rank: int) -> Any:
    def one(t: Any) -> Any:
        n = t.ndim
        if n >= rank:
            return t
        shape = tuple(t.shape)
        if rank == 3:
            return _reshape(t, (1, 1, 1) if n == 0 else (1, shape[0], 1) if n == 1 else (*shape, 1))
        return _reshape(t, (1,) * (rank - n) + shape)

    def fn(*tensors: Any) -> Any:
        if len(tensors) == 1 and not isinstance(tensors[0], (list, tuple)):
            return one(tensors[0])
        return tuple(one(t) for t in listed(tensors))

    fn.__name__, fn.__doc__ = f"atleast_{rank}d", f"With at least {rank} dimensions."
    return composite(method=False)(fn)


for _rank in (1, 2, 3):
    _atleast(_rank)


@composite()
def as_strided(input: Any, size: Any, stride: Any, storage_offset: Any = None) -> Any:
    """A view of the tensor's memory with any shape, strides and offset (in elements, from the start of the memory)."""
    size, stride = sizes((size,)), sizes((stride,))
    if len(size) != len(stride):
        fail(RuntimeError, "as_strided: mismatch in length of strides and shape")
    if any(s < 0 for s in stride):
        fail(
            RuntimeError,
            f"as_strided: Negative strides are not supported at the moment, got strides: {list(stride)}",
        )
    here = getattr(input, "_off", 0) if hasattr(input, "_st") else input.off
    off = 0 if storage_offset is None else int(storage_offset) - here
    last = here + off + sum((n - 1) * s for n, s in zip(size, stride))
    if hasattr(input, "_st") and 0 not in size and (last + 1) * input.dtype.itemsize > input._st.nbytes:
        fail(
            RuntimeError,
            f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {here + off}, and itemsize {input.dtype.itemsize} "
            f"requiring a storage size of {(last + 1) * input.dtype.itemsize} are out of bounds for storage of size {input._st.nbytes}",
        )
    return _as_strided(input, size, stride, off)


def _copying(name: str) -> None:
    def fn(input: Any, *args: Any, out: Any = None, **options: Any) -> Any:
        result = (
            FUNCTIONS[name](input, *args, **options)
            if name in FUNCTIONS
            else getattr(input, name)(*args, **options)
        )
        if out is not None:
            return (
                tuple(into(o, r) for o, r in zip(out, result))
                if isinstance(result, tuple)
                else into(out, result)
            )
        return tuple(r.clone() for r in result) if isinstance(result, tuple) else result.clone()

    fn.__name__, fn.__doc__ = name + "_copy", f"As {name}, in memory of its own."
    composite(method=name in ("narrow", "as_strided"))(fn)


for _name in (
    "expand",
    "permute",
    "squeeze",
    "t",
    "transpose",
    "unsqueeze",
    "view",
    "unfold",
    "alias",
    "select",
    "diagonal",
    "unbind",
    "split",
    "split_with_sizes",
    "narrow",
    "as_strided",
):
    _copying(_name)
