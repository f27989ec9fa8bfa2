"""Shapes and strides: broadcasting, contiguity, views. Pure functions of tuples of int."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .errors import fail

Shape = tuple[int, ...]


class Size(tuple):
    """The shape of a tensor: a tuple of int that prints as torch.Size([2, 3])."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"torch.Size({list(self)})"

    def numel(self) -> int:
        """The number of elements of a tensor of this shape."""
        return numel(self)

    def __getitem__(self, key):  # type: ignore[override]
        found = tuple.__getitem__(self, key)
        return Size(found) if isinstance(key, slice) else found

    def __add__(self, other):  # type: ignore[override]
        return Size(tuple.__add__(self, tuple(other)))

    def __radd__(self, other):
        return Size(tuple(other) + tuple(self))

    def __mul__(self, n):  # type: ignore[override]
        return Size(tuple.__mul__(self, n))

    def __reduce__(self):
        return (Size, (tuple(self),))


def numel(shape: Iterable[int]) -> int:
    """The product of the extents."""
    n = 1
    for extent in shape:
        n *= extent
    return n


def expandable(shape: Sequence[int], to: Sequence[int]) -> bool:
    """Whether a tensor of the first shape can be broadcast to the second."""
    lead = len(to) - len(shape)
    return lead >= 0 and all(n in (1, m) for n, m in zip(shape, to[lead:]))


def contiguous_strides(shape: Sequence[int]) -> Shape:
    """The strides of row-major order."""
    if len(shape) == 2:
        return (max(shape[1], 1), 1)
    strides, step = [], 1
    for extent in reversed(shape):
        strides.append(step)
        step *= max(extent, 1)
    return tuple(reversed(strides))


def is_contiguous(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether strides are those of row-major order; extents of 1 do not count."""
    step = 1
    for extent, stride in zip(reversed(shape), reversed(strides)):
        if extent == 0:
            return True
        if extent != 1 and stride != step:
            return 0 in shape
        step *= extent
    return True


def channels_last_strides(shape: Sequence[int]) -> Shape:
    """The strides of (N, C, ...) with the channels innermost."""
    order = [0, *range(2, len(shape)), 1]
    strides, step = [0] * len(shape), 1
    for d in reversed(order):
        strides[d] = step
        step *= max(shape[d], 1)
    return tuple(strides)


def is_channels_last(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether images (N, C, ...) of two or three dimensions are taken to have their channels innermost: as PyTorch
    decides it, also where extents of 1 leave it open."""
    if len(shape) not in (4, 5) or strides[1] == 0:
        return False
    least = 0
    for d in (1, *range(len(shape) - 1, 1, -1), 0):
        if shape[d] == 0 or strides[d] < least or (d == 0 and least == strides[1]):
            return False
        least = strides[d] * max(shape[d], 1)
    return True


def same_order(shape: Sequence[int], strides: Sequence[int], others: Sequence[int]) -> bool:
    """Whether strides are the same, those of extents of 1 aside."""
    return all(n == 1 or s == t for n, s, t in zip(shape, strides, others))


def image_strides(shape: Sequence[int], last: bool) -> Shape:
    """The strides of fresh images, with the channels innermost or row-major."""
    return channels_last_strides(shape) if last else contiguous_strides(shape)


def dense_strides_like(shape: Sequence[int], strides: Sequence[int]) -> Shape:
    """The strides of a fresh result that keeps the memory order of an operand."""
    if is_contiguous(shape, strides):
        return contiguous_strides(shape)
    result, step = [0] * len(shape), 1
    for d in reversed(memory_order(shape, strides)):
        result[d] = step
        step *= max(shape[d], 1)
    return tuple(result)


def memory_order(shape: Sequence[int], strides: Sequence[int]) -> list[int]:
    """The dimensions from the slowest to the fastest in memory; a broadcast one is as fast as any (PyTorch's order)."""
    order = [*reversed(range(len(shape)))]  # fastest first
    for k in range(1, len(order)):
        for i in reversed(range(k)):
            d, e = order[i], order[k]
            if not strides[d] or not strides[e] or (strides[d] == strides[e] and shape[d] <= shape[e]):
                continue
            if strides[d] < strides[e]:
                break
            order[i], order[k], k = e, d, i
    return order[::-1]


def is_dense(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether the elements fill their memory range without gaps or overlap."""
    step = 1
    for stride, extent in sorted((s, n) for n, s in zip(shape, strides) if n != 1):
        if stride != step:
            return False
        step *= extent
    return True


def overlaps_itself(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether two elements may share memory (exact for expanded views, conservative otherwise)."""
    reach = 0
    for stride, extent in sorted((s, n) for n, s in zip(shape, strides) if n > 1):
        if stride <= reach:
            return True
        reach += stride * (extent - 1)
    return False


def extent_bytes(shape: Sequence[int], strides: Sequence[int], offset: int = 0) -> int:
    """One past the last element that a view touches, in elements."""
    if 0 in shape:
        return 0
    return offset + sum((n - 1) * s for n, s in zip(shape, strides)) + 1


def broadcast(name: str, *shapes: Sequence[int]) -> Shape:
    """The common shape under broadcasting; RuntimeError naming both shapes and the dimension if there is none."""
    rank = max((len(s) for s in shapes), default=0)
    out = [1] * rank
    for shape in shapes:
        for i in range(1, len(shape) + 1):
            n, m = shape[-i], out[-i]
            if n != m:
                if m == 1:
                    out[-i] = n
                elif n != 1:
                    at = rank - i
                    got = ", ".join(str(tuple(s)) for s in shapes)
                    fail(
                        RuntimeError,
                        f"{name}: The size of tensor a ({m}) must match the size of tensor b ({n}) at non-singleton "
                        f"dimension {at}; got shapes {got}; extents must be equal or 1 to broadcast",
                    )
    return tuple(out)


def expand_strides(shape: Sequence[int], strides: Sequence[int], to: Sequence[int]) -> Shape:
    """Strides of `shape` seen as the broadcast shape `to` (0 along broadcast dimensions)."""
    lead = len(to) - len(shape)
    return (0,) * lead + tuple(0 if n == 1 and m != 1 else s for n, s, m in zip(shape, strides, to[lead:]))


def wrap_dim(dim: int, rank: int, name: str = "op") -> int:
    """A dimension in 0..rank-1 from one that may be negative; IndexError if out of range."""
    bound = max(rank, 1)
    if not -bound <= dim < bound:
        fail(
            IndexError,
            f"{name}: Dimension out of range (expected to be in range of [{-bound}, {bound - 1}], but got {dim})",
        )
    return dim + bound if dim < 0 else dim


def wrap_dims(
    dims: int | Sequence[int] | None, rank: int, name: str = "op", empty_is_all: bool = True
) -> Shape:
    """Dimensions to reduce, sorted; None (and, as in PyTorch, an empty list) means all."""
    if dims is None or (empty_is_all and not isinstance(dims, int) and len(dims) == 0):
        return tuple(range(rank))
    if isinstance(dims, int):
        dims = (dims,)
    if isinstance(dims, str) or any(isinstance(d, str) for d in dims):
        fail(
            TypeError,
            f"{name}(): argument 'dim' must be int or tuple of ints, not str; got {dims!r}; dimensions have no names",
        )
    wrapped = [wrap_dim(int(d), rank, name) for d in dims]
    if len(set(wrapped)) != len(wrapped):
        twice = next(d for d in wrapped if wrapped.count(d) > 1)
        fail(RuntimeError, f"{name}: dim {twice} appears multiple times in the list of dims")
    return tuple(d for d in sorted(wrapped) if rank)


def infer_shape(name: str, shape: Sequence[int], count: int) -> Shape:
    """Replace the one -1 of a requested shape; RuntimeError if the element counts cannot agree."""
    unknown, known = -1, 1
    for d, n in enumerate(shape):
        if n == -1:
            if unknown >= 0:
                fail(RuntimeError, f"{name}: only one dimension can be inferred; got {tuple(shape)}")
            unknown = d
        elif n < 0:
            fail(RuntimeError, f"{name}: invalid shape dimension {n}; got {tuple(shape)}")
        else:
            known *= n
    if unknown >= 0 and known and count % known == 0:
        return (*shape[:unknown], count // known, *shape[unknown + 1 :])
    if unknown >= 0 and known == 0:
        fail(
            RuntimeError,
            f"{name}: cannot reshape tensor of {count} elements into shape {list(shape)} because the unspecified "
            "dimension size -1 can be any value and is ambiguous",
        )
    if unknown >= 0 or known != count:
        fail(RuntimeError, f"{name}: shape '{list(shape)}' is invalid for input of size {count}")
    return tuple(shape)


def view_strides(shape: Sequence[int], strides: Sequence[int], to: Sequence[int]) -> Shape | None:
    """Strides that show the same elements under another shape, or None if that needs a copy."""
    if 0 in shape:
        return contiguous_strides(to)
    result = [0] * len(to)
    at = len(to) - 1
    chunk_stride, chunk, seen = 1, 1, 1
    for d in range(len(shape) - 1, -1, -1):
        if chunk == 1 and seen == 1:
            chunk_stride = strides[d]
        chunk *= shape[d]
        last = d == 0
        if not (last or (shape[d - 1] != 1 and strides[d - 1] != chunk * chunk_stride)):
            continue
        while at >= 0 and (seen < chunk or to[at] == 1):
            result[at] = seen * chunk_stride
            seen *= to[at]
            at -= 1
        if seen != chunk:
            return None
        chunk, seen = 1, 1
    while at >= 0 and to[at] == 1:
        result[at] = 1
        at -= 1
    return tuple(result) if at == -1 else None
