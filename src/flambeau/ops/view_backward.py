"""Gradients of views: what the gradient of a view adds to that of its base."""

from __future__ import annotations

from typing import Any

from ..shapes import contiguous_strides, expand_strides, is_dense, numel, overlaps_itself
from ..stream.graph import Val, const, empty, expand, store
from ..stream.value import LOCAL
from . import modes
from .entry import NONE, T, composite, op
from .view import slice_


def blank(shape: tuple[int, ...], d: Any, strides: tuple[int, ...] | None = None) -> Val:
    """Zeros to be written into."""
    out = empty(shape, d, strides)
    if numel(shape):
        store(out, expand(const(0, d), shape))
    return out


@op(
    method=False,
    function=False,
    grad={"grad": lambda grad, dim, start, stop, step: slice_(grad, dim, start, stop, step)},
)
def slice_backward(grad: T, shape: tuple[int, ...], dim: int, start: int, stop: int, step: int) -> Any:
    """Zeros of a shape, with grad in the slice start:stop:step of dim."""
    out = blank(shape, grad.dtype)
    if numel(grad.shape):
        store(slice_(out, dim, start, stop, step), grad)
    return out
