"""Gradients of views: what the gradient of a view adds to that of its base, and in-place writes through views."""

from __future__ import annotations

from typing import Any

from ..dtypes import int64
from ..shapes import extent_bytes, numel, overlaps_itself
from ..stream.graph import Val, blank, const, empty, expand, index_, map_, once, store
from ..stream.value import intern_meta
from .entry import FUNCTIONS, OT, T, composite, op
from .places import distinct
from .view import slice_


@op(
    method=False,
    function=False,
    grad={"self": lambda grad, dim, step, room: slice_(grad, dim, room[-2] - 1, room[-1], step)},
    sized="room",
)
def slice_backward(self: T, dim: int, step: int, room: tuple[int, ...]) -> Any:
    """Zeros, with self in the slice start:stop:step of dim. room: their shape, then start + 1 and stop: other places
    are other extents (see kin.py, where 0 is none)."""
    *shape, start, stop = room
    out = blank(tuple(shape), self.dtype)
    if numel(self.shape):
        store(slice_(out, dim, start - 1, stop, step), self)
    return out


def laid_out(self: Val, base_meta: Any) -> Val:
    """A copy of self in the memory order of a base."""
    out = empty(tuple(base_meta.shape), self.dtype, base_meta.strides)
    if base_meta.numel:
        store(out, self)
    return out


def window(out: Val, view_meta: Any, offset: int) -> Val:
    """The part of a buffer that a view showed."""
    return out.view_as(tuple(view_meta.shape), view_meta.strides, offset)


@op(
    method=False,
    function=False,
    node="AsStridedBackward0",
    grad={
        "self": lambda grad, base_meta, view_meta, offset: as_strided_backward(
            grad, base_meta, view_meta, offset
        )
    },
)
def _window_of(self: T, base_meta: Any, view_meta: Any, offset: int) -> Any:
    """What a view of a base shows of self, a tensor of the base's shape."""
    return map_("copy", window(laid_out(self, base_meta), view_meta, offset))


@op(
    method=False,
    function=False,
    grad={
        "self": lambda grad, base_meta, view_meta, offset: _window_put(
            grad, None, base_meta, view_meta, offset
        ),
        "value": lambda grad, base_meta, view_meta, offset: _window_of(grad, base_meta, view_meta, offset),
    },
)
def _window_put(self: T, value: OT, base_meta: Any, view_meta: Any, offset: int) -> Any:
    """self with value (None: zeros) in the part that a view of a base shows."""
    out = laid_out(self, base_meta)
    if view_meta.numel:
        fresh = expand(const(0, self.dtype) if value is None else value, tuple(view_meta.shape))
        dest, fresh = once(window(out, view_meta, offset), fresh)
        distinct("backward", dest)
        store(dest, fresh)
    return out


@op(
    method=False,
    function=False,
    grad={"self": lambda grad, base_meta, view_meta, offset: _window_of(grad, base_meta, view_meta, offset)},
)
def _window_back(self: T, base_meta: Any, view_meta: Any, offset: int) -> Any:
    out = blank(tuple(base_meta.shape), self.dtype, base_meta.strides)
    if view_meta.numel:
        store(window(out, view_meta, offset), self)
    return out


@op(method=False, function=False)
def _positions(shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> Any:
    """The place in memory of every element of a view."""
    total = expand(const(offset, int64), shape)
    for d, s in enumerate(strides):
        if shape[d] > 1 and s:
            total = map_("add", total, map_("mul", index_(shape, d), const(s, int64)))
    return total


@composite(method=False, function=False)
def as_strided_backward(grad: Any, base_meta: Any, view_meta: Any, offset: int) -> Any:
    """The gradient of the base of a view: zeros, with grad where the view lies; overlapping elements add up."""
    if base_meta.dtype.is_complex is not view_meta.dtype.is_complex:  # offset counts real elements
        if base_meta.dtype.is_complex:
            back = as_strided_backward(grad, as_real_meta(base_meta), view_meta, offset)
            return FUNCTIONS["view_as_complex"](back.contiguous())
        return as_strided_backward(
            FUNCTIONS["view_as_real"](grad), base_meta, as_real_meta(view_meta), offset
        )
    if not overlaps_itself(view_meta.shape, view_meta.strides):
        return _window_back(grad, base_meta, view_meta, offset)
    span = max(
        extent_bytes(base_meta.shape, base_meta.strides),
        extent_bytes(view_meta.shape, view_meta.strides, offset),
        1,
    )
    places = _positions(tuple(view_meta.shape), view_meta.strides, offset).reshape(-1)
    flat = FUNCTIONS["full"]((span,), 0, dtype=grad.dtype)
    flat = FUNCTIONS["index_add"](flat, 0, places, grad.reshape(-1))
    return FUNCTIONS["as_strided"](flat, tuple(base_meta.shape), base_meta.strides, 0)


@composite(method=False, function=False)
def copy_slices_backward(node: Any, grad: Any) -> tuple[Any, ...]:
    """The gradients of the inputs of an in-place op on a view, from that of the view's base."""
    base_meta, view_meta = node.base_meta, node.view_meta
    mixed = base_meta.dtype.is_complex is not view_meta.dtype.is_complex
    as_real, as_complex = FUNCTIONS["view_as_real"], FUNCTIONS["view_as_complex"]
    if mixed:
        grad = as_real(grad) if base_meta.dtype.is_complex else grad
        base_meta, view_meta = as_real_meta(base_meta), as_real_meta(view_meta)
    geometry = (base_meta, view_meta, node.offset)
    seen = _window_of(grad, *geometry)
    inner = node.fn.apply((as_complex(seen) if mixed and node.view_meta.dtype.is_complex else seen,))
    first = None
    if node.edges[0] is not None:
        put = inner[0]
        if mixed and put is not None and put.dtype.is_complex:
            put = as_real(put)
        first = _window_put(grad, put, *geometry)
        first = as_complex(first.contiguous()) if mixed and node.base_meta.dtype.is_complex else first
    return (first, *inner[1:])


def as_real_meta(meta: Any) -> Any:
    """The metadata of complex memory seen as real; of real memory its own."""
    if not meta.dtype.is_complex:
        return meta
    strides = (*[2 * s for s in meta.strides], 1)
    return intern_meta((*meta.shape, 2), strides, meta.dtype.part, meta.device)
