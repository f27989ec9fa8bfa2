"""Splitting a tensor into views: split, chunk, unbind and their kin.

The views of one call are outputs of one node, whose gradient puts all pieces together at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import fail
from ..shapes import wrap_dim
from ..stream.value import LOCAL, PLAIN, Node, Tensor, intern_meta
from . import record
from .entry import FUNCTIONS, composite
from .view import _select, slice_
from .viewing import VIEWED

Piece = tuple[tuple[int, ...], tuple[int, ...], int]


PART = 16  # pieces that are put together at once where their number is a new one each time
LENGTHS: dict[Any, dict[int, bool]] = {}  # (join, dim, metadata) -> how many pieces came -> whether by parts


def lengths_vary(join: str, dim: int, pieces: Sequence[Any]) -> bool:
    """Whether so many pieces are one of many numbers that came: each would be planned for by itself."""
    if len(LENGTHS) > 256:
        LENGTHS.clear()
    met = LENGTHS.setdefault((join, dim, pieces[0]._meta), {})
    if len(met) > 4096:
        met.clear()
    return met.setdefault(len(pieces), len(met) >= 4)


def joined_by_parts(join: str, pieces: Sequence[Any], dim: int) -> Any:
    """What `join` gives, part after part: the instructions are those of every other number of pieces."""
    shape = list(pieces[0].shape)
    counts = [1] * len(pieces) if join == "stack" else [t.shape[dim] for t in pieces]
    shape[dim : dim + (join == "cat")] = [sum(counts)]
    whole, at = FUNCTIONS["full"](tuple(shape), 0, dtype=pieces[0].dtype), 0
    for k in range(0, len(pieces), PART):
        n = sum(counts[k : k + PART])
        FUNCTIONS["copy_"](slice_(whole, dim, at, at + n, 1), FUNCTIONS[join](pieces[k : k + PART], dim))
        at += n
    return whole


class PiecesBackward(Node):
    """The node of several views that together are all of their base."""

    __slots__ = ("dim",)
    dim: int
    join = "cat"

    def apply(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        if all(g is None for g in grads):
            return (None,)
        full = [
            FUNCTIONS["full"](tuple(meta.shape), 0, dtype=meta.dtype) if g is None else g
            for g, meta in zip(grads, self.out)
        ]
        if len(full) > 2 * PART and not LOCAL.s.grad and lengths_vary(self.join, self.dim, full):
            return (joined_by_parts(self.join, full, self.dim),)
        return (FUNCTIONS[self.join](full, self.dim),)

    def release(self) -> None:
        pass


NODES = {
    name: type(
        name + "Backward0", (PiecesBackward,), {"__slots__": (), "__module__": "torch.autograd", "join": join}
    )
    for name, join in (("Split", "cat"), ("SplitWithSizes", "cat"), ("Unbind", "stack"))
}


def pieces(
    self: Any, name: str, dim: int, each: Sequence[Piece], single: Callable[[int], Any]
) -> tuple[Any, ...]:
    """Views of self, which cover it along dim; single(i) gives one of them where a mode must see the call."""
    S = LOCAL.s
    if S.depth or type(self) not in PLAIN:
        return tuple(single(i) for i in range(len(each)))
    meta = self._meta
    node = None
    if self._rg and S.grad and each:
        node = NODES[name]()
        node.edges, node.dim = (record.edge_of(self),), dim
    views: list[Any] = []
    out, last, viewed = meta, None, VIEWED[0]
    for i, (shape, strides, off) in enumerate(each):
        if shape is not last:
            out, last = intern_meta(shape, strides, meta.dtype, meta.device), shape
        t = viewed(S, self, out, self._off + off, "multi")
        if node is not None:
            t._gf, t._nr, t._rg = node, i, True
        views.append(t)
    if node is not None:
        node.out = tuple([t._meta for t in views])
    return tuple(views)


@composite()
def unbind(input: Any, dim: int = 0) -> tuple[Any, ...]:
    """The slices along a dimension, which disappears."""
    if input.ndim == 0:
        fail(IndexError, "Dimension specified as 0 but tensor has no dimensions")
    d = wrap_dim(dim, input.ndim, "unbind")
    shape, strides = tuple(input.shape), geometry(input)
    out, rest = (*shape[:d], *shape[d + 1 :]), (*strides[:d], *strides[d + 1 :])
    each = [(out, rest, i * strides[d]) for i in range(shape[d])]
    return pieces(input, "Unbind", d, each, lambda i: _select(input, d, i))


def geometry(x: Any) -> tuple[int, ...]:
    """The strides of a tensor or a traced value."""
    return x._meta.strides if isinstance(x, Tensor) else x.strides


def cut(self: Any, name: str, dim: int, lengths: Sequence[int]) -> tuple[Any, ...]:
    """Views of consecutive pieces of the given lengths along dim."""
    shape, strides = tuple(self.shape), geometry(self)
    each, starts, at = [], [], 0
    for n in lengths:
        each.append(((*shape[:dim], n, *shape[dim + 1 :]), strides, at * strides[dim]))
        starts.append(at)
        at += n
    return pieces(self, name, dim, each, lambda i: slice_(self, dim, starts[i], starts[i] + lengths[i], 1))


@composite()
def split_with_sizes(input: Any, split_sizes: Any, dim: int = 0) -> tuple[Any, ...]:
    """Consecutive pieces of the given lengths along a dimension."""
    d = dim_of(input, dim, "split_with_sizes")
    lengths = [int(n) for n in split_sizes]
    if any(n < 0 for n in lengths):
        fail(
            RuntimeError,
            f"split_with_sizes expects split_sizes have only non-negative entries, but got split_sizes={lengths}",
        )
    if sum(lengths) != input.shape[d]:
        fail(
            RuntimeError,
            f"split_with_sizes expects split_sizes to sum exactly to {input.shape[d]} (input tensor's size at dimension {d}), but got "
            f"split_sizes={lengths}",
        )
    return cut(input, "SplitWithSizes", d, lengths)


def dim_of(x: Any, dim: int, name: str) -> int:
    """A dimension counted from 0; RuntimeError for a tensor without dimensions."""
    if x.ndim == 0:
        fail(RuntimeError, f"{name} expects at least a 1-dimensional tensor")
    return wrap_dim(dim, x.ndim, name)


@composite(name="split")
def split(
    tensor: Any, split_size_or_sections: Any = None, dim: int = 0, *, split_size: Any = None
) -> tuple[Any, ...]:
    """Pieces of one length (the last may be shorter) or of the given lengths along a dimension."""
    given = split_size_or_sections if split_size_or_sections is not None else split_size
    if isinstance(given, (list, tuple)):
        return split_with_sizes(tensor, given, dim)
    d, size = dim_of(tensor, dim, "split"), int(given)
    n = tensor.shape[d]
    if size < 0 or (size == 0 and n):
        fail(
            RuntimeError,
            f"split expects split_size be non-negative, but got split_size={size}"
            if size < 0
            else f"split: split_size can only be 0 if dimension size is 0, but got dimension size of {n}",
        )
    count = max(1, -(-n // size)) if size else 1
    return cut(tensor, "Split", d, [min(size, n - i * size) if size else 0 for i in range(count)])


@composite()
def chunk(input: Any, chunks: int, dim: int = 0) -> tuple[Any, ...]:
    """At most `chunks` pieces of equal length (the last may be shorter) along a dimension."""
    d = dim_of(input, dim, "chunk")
    if chunks <= 0:
        fail(RuntimeError, f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    n = input.shape[d]
    size = -(-n // chunks)
    if size == 0:
        return cut(input, "Split", d, [0] * chunks)
    return split(input, size, d)


@composite(method=True)
def unsafe_split(input: Any, split_size: int, dim: int = 0) -> tuple[Any, ...]:
    """As split."""
    return split(input, split_size, dim)


@composite(method=True)
def unsafe_chunk(input: Any, chunks: int, dim: int = 0) -> tuple[Any, ...]:
    """As chunk."""
    return chunk(input, chunks, dim)


@composite()
def tensor_split(
    input: Any,
    indices_or_sections: Any = None,
    dim: int = 0,
    *,
    indices: Any = None,
    sections: Any = None,
    tensor_indices_or_sections: Any = None,
) -> tuple[Any, ...]:
    """Pieces at the given positions, or that many pieces as equal as possible; each is a view of its own."""
    ways = (indices_or_sections, indices, sections, tensor_indices_or_sections)
    given = next(v for v in ways if v is not None)
    if input.ndim == 0:
        fail(
            RuntimeError,
            f"tensor_split expected at least a 1-dimensional tensor, but got a tensor with {input.ndim} dims",
        )
    d = wrap_dim(dim, input.ndim, "tensor_split")
    n = input.shape[d]
    if isinstance(given, Tensor):
        given = given.tolist()  # type: ignore[attr-defined]
    if isinstance(given, int):
        if given <= 0:
            fail(RuntimeError, f"tensor_split: number of sections must be larger than 0, got {given}")
        small, extra = divmod(n, given)
        ends = [0]
        for i in range(given):
            ends.append(ends[-1] + small + (i < extra))
        return tuple(slice_(input, d, a, b, 1) for a, b in itertools.pairwise(ends))
    cuts = [0, *[int(i) for i in given], n]
    out = []
    for k in range(len(cuts) - 1):
        a, b = (max(v + n, 0) if v < 0 else min(v, n) for v in (cuts[k], cuts[k + 1]))
        out.append(slice_(input, d, a, max(a, b), 1))
    return tuple(out)


def _split_along(name: str, axis: Callable[[int], int], least: int) -> None:
    def fn(input: Any, indices_or_sections: Any = None, *, indices: Any = None, sections: Any = None) -> Any:
        given = next(v for v in (indices_or_sections, indices, sections) if v is not None)
        if input.ndim < least:
            fail(
                RuntimeError,
                f"torch.{name} requires a tensor with at least {least} dimension{'s' * (least > 1)}, but got a tensor with {input.ndim} dimensions!",
            )
        d = axis(input.ndim)
        if isinstance(given, str) or (
            isinstance(given, (list, tuple)) and any(isinstance(i, str) for i in given)
        ):
            fail(
                TypeError, f"{name}(): received an invalid combination of arguments; indices must be integers"
            )
        if isinstance(given, int) and (given == 0 or input.shape[d] % given):
            fail(
                RuntimeError,
                f"torch.{name} attempted to split along dimension {d}, but the size of the dimension {input.shape[d]} is not divisible by the "
                f"split_size {given}!",
            )
        return tensor_split(input, given, d)

    fn.__name__, fn.__doc__ = name, "Pieces along a dimension, as tensor_split."
    composite()(fn)


_split_along("hsplit", lambda rank: 0 if rank == 1 else 1, 1)
_split_along("vsplit", lambda rank: 0, 2)
_split_along("dsplit", lambda rank: 2, 3)
