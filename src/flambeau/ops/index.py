"""Advanced indexing: elements at computed positions, and writing there."""

from __future__ import annotations

import itertools
from typing import Any

from ..dtypes import int64
from ..errors import fail
from ..shapes import dense_strides_like, numel
from ..stream.graph import Val, cast, empty, expand, laid_out, opaque, store, take
from .entry import FUNCTIONS, TS, T, composite, op
from .places import check


def index_shape(indices: list[Val], name: str = "index") -> tuple[int, ...]:
    """The broadcast shape of index tensors."""
    rank = max(i.ndim for i in indices)
    out = [1] * rank
    for i in indices:
        for d in range(1, i.ndim + 1):
            if i.shape[-d] != out[-d] and i.shape[-d] != 1:
                if out[-d] != 1:
                    got = ", ".join(str(list(v.shape)) for v in indices)
                    fail(
                        IndexError,
                        f"{name}: shape mismatch: indexing tensors could not be broadcast together with shapes {got}",
                    )
                out[-d] = i.shape[-d]
    return tuple(out)


def layout(rank: int, dims: tuple[int, ...]) -> tuple[int, list[int]]:
    """(where the index dimensions stand in the result, the dimensions that are not indexed)."""
    left = [d for d in range(rank) if d not in dims]
    together = all(b == a + 1 for a, b in itertools.pairwise(dims))
    return (dims[0] if together else 0), left


def spread(i: Val, rank: int, lead: int, trail: int) -> Val:
    """An index of `rank` dimensions among the result's: lead dimensions before it, trail behind."""
    i = (
        i
        if i.ndim == rank
        else i.view_as(
            (1,) * (rank - i.ndim) + tuple(i.shape), (0,) * (rank - i.ndim) + tuple(i.strides), i.off
        )
    )
    return i.view_as(
        (1,) * lead + tuple(i.shape) + (1,) * trail, (0,) * lead + tuple(i.strides) + (0,) * trail, i.off
    )


def _in_range(self: Any, indices: Any, *rest: Any) -> None:
    dims, shape = rest[0] if type(rest[0]) is tuple else rest[1], self._meta.shape
    for i, d in zip(indices, dims):
        check("index", i, shape[d], d, IndexError, True)


def _index_back(grad: Any, indices: Any, dims: Any, form: Any) -> Any:
    shape = tuple(form.trace.operands[0].shape)
    zeros = FUNCTIONS["full"](shape, 0, dtype=grad.dtype)
    return FUNCTIONS["_index_put"](zeros, indices, grad, dims, True)


@op(name="_index", check=_in_range, method=False, node="IndexBackward0", grad={"self": _index_back})
def _index(self: T, indices: TS, dims: tuple[int, ...]) -> Any:
    """The elements whose coordinates along dims are given by indices; the others run."""
    at, left = layout(self.ndim, dims)
    mid = index_shape(indices)
    shape = (*[self.shape[d] for d in left[:at]], *mid, *[self.shape[d] for d in left[at:]])
    where: list[int | None] = [None] * self.ndim
    for k, d in enumerate(left):
        where[d] = k if k < at else k + len(mid)
    if not numel(shape):
        return empty(shape, self.dtype)
    chosen = {d: spread(i, len(mid), at, len(left) - at) for d, i in zip(dims, indices)}
    order = [*[self.strides[d] for d in left[:at]], *[0] * len(mid), *[self.strides[d] for d in left[at:]]]
    return laid_out(take(self, chosen, shape, where), dense_strides_like(shape, order))


def scatter_into(
    dest: Val, pairs: Any, source: Val, shape: tuple[int, ...], serial: tuple[int, ...], mode: str, label: str
) -> None:
    """dest op= source at computed places: the prim.

    pairs: for each dimension of dest (int64 index that broadcasts to shape, or None; the dimension of shape that it
    follows, or None). serial: the dimensions of shape along which places may meet: they run in order. mode: set, add,
    mul, min, max. label: as for take.
    """
    if not numel(shape):
        return
    at = tuple(d for d, (i, _) in enumerate(pairs) if i is not None)
    number = isinstance(source.buf.src, int) and not source.level
    if number or (isinstance(source.buf.parts, tuple) and not source.ndim):  # an argument has no memory
        held = empty((), dest.dtype)
        store(held, cast(source, dest.dtype))
        source = held
    ins = [dest, expand(cast(source, dest.dtype), shape)]
    ins += [expand(cast(pairs[d][0], int64), shape) for d in at]
    attrs = (("writes", (0,)), mode, at, tuple(follow for _, follow in pairs), shape, serial, label)
    opaque("scatter", ins, [], attrs)


def copied(x: Val) -> Val:
    """Memory of its own with the elements of x."""
    out = empty(tuple(x.shape), x.dtype)
    if numel(x.shape):
        store(out, x)
    return out


def _put(dest: Val, indices: list[Val], values: Val, dims: tuple[int, ...], accumulate: bool) -> Val:
    at, left = layout(dest.ndim, dims)
    mid = index_shape(indices, "index_put_")
    shape = (*[dest.shape[d] for d in left[:at]], *mid, *[dest.shape[d] for d in left[at:]])
    if values.dtype is not dest.dtype:
        fail(
            RuntimeError,
            f"index_put_: Index put requires the source and destination dtypes match, got {dest.dtype.name} for the destination and "
            f"{values.dtype.name} for the source.",
        )
    lead = values.ndim - len(shape)
    if lead > 0 and all(n == 1 for n in values.shape[:lead]):
        values = values.view_as(tuple(values.shape[lead:]), tuple(values.strides[lead:]), values.off)
    for d in range(1, values.ndim + 1):
        if d > len(shape) or values.shape[-d] not in (1, shape[-d]):
            fail(
                RuntimeError,
                f"index_put_: shape mismatch: value tensor of shape {list(values.shape)} cannot be broadcast to indexing result of shape "
                f"{list(shape)}",
            )
    pairs: list[Any] = [None] * dest.ndim
    for k, d in enumerate(left):
        pairs[d] = (None, k if k < at else k + len(mid))
    for d, i in zip(dims, indices):
        pairs[d] = (spread(i, len(mid), at, len(left) - at), None)
    serial = tuple(range(at, at + len(mid)))
    scatter_into(dest, pairs, values, shape, serial, "add" if accumulate else "set", "index")
    return dest


def _put_self(grad: Any, indices: Any, dims: Any, accumulate: bool) -> Any:
    if accumulate:
        return grad
    zero = FUNCTIONS["full"]((), 0, dtype=grad.dtype)
    return FUNCTIONS["_index_put"](grad, indices, zero, dims)


_PUT_GRADS = {
    "self": _put_self,
    "values": lambda grad, indices, dims: FUNCTIONS["_index"](grad, indices, dims),
}


@op(method=False, check=_in_range, node="IndexPutBackward0", grad=_PUT_GRADS)
def _index_put(self: T, indices: TS, values: T, dims: tuple[int, ...], accumulate: bool = False) -> Any:
    """A copy of self with values at the indexed positions (added there if accumulate)."""
    return _put(copied(self), indices, values, dims, accumulate)


@op(
    method=False,
    name="_index_put_direct",
    check=_in_range,
    inplace=True,
    node="IndexPutBackward0",
    grad=_PUT_GRADS,
)
def _index_put_direct(
    self: T, indices: TS, values: T, dims: tuple[int, ...], accumulate: bool = False
) -> Any:
    return _put(self, indices, values, dims, accumulate)


@composite(method=False)
def _index_put_(
    input: Any, indices: Any, values: Any, dims: tuple[int, ...], accumulate: bool = False
) -> Any:
    """Write values to the indexed positions of input."""
    return FUNCTIONS["_index_put_direct_"](input, indices, values, dims, accumulate)
