"""Convolutions of images whose channels are innermost in memory, in that order from beginning to end.

With one tap they are products of matrices, (positions of all images) x (channels); other kernels have channels as lanes.
Groups of few channels, which fill no lanes, go by row-major copies."""

from __future__ import annotations

from typing import Any

from ..dtypes import bfloat16, float32
from ..shapes import channels_last_strides, numel
from ..stream.graph import Val, blank, cast, contiguous, opaque, ordered, store, turned

Sizes = tuple[int, ...]
TAPS = 121  # of a depthwise convolution, up to which its kernels serve
LEAST = 16  # channels of a group that are made, from which on they are lanes


def convolve(
    kind: str,
    a: Val,
    b: Val,
    out: Sizes,
    x_shape: Sizes,
    w_shape: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> Val | None:
    """As convolution.convolve; None if it is not for here."""
    if not a.dtype.is_floating_point:
        return None
    if groups == 1 and numel(w_shape[2:]) == 1 and not any(padding):
        if a.dtype.itemsize >= 4 or (a.dtype is bfloat16 and min(w_shape[:2]) >= 16):
            return cast(_product(kind, a, b, out, stride), a.dtype)
        return None
    if a.dtype.itemsize < 4:
        return None
    single = len(x_shape) == 4 and groups == x_shape[1] == w_shape[0] and groups > 1
    made = channels_last_strides(out)
    attrs = (kind, tuple(x_shape), tuple(w_shape), stride, padding, dilation)
    if single and numel(w_shape[2:]) <= TAPS:
        return _lanes("depthwise", kind, a, b, out, (*attrs, made))
    if (w_shape[1] if kind == "data" else w_shape[0] // groups) < LEAST:
        return None
    return _lanes("convolve", kind, a, b, out, (*attrs, groups, made))


def _lanes(name: str, kind: str, a: Val, b: Val, out: Sizes, attrs: Any) -> Val:
    """By a kernel whose lanes are channels; the last of attrs are the strides of the result."""
    if kind == "weight":
        b = ordered(b, True)
    elif 0 in b.strides:
        b = contiguous(b)
    images, channels, *sizes = out
    shape = tuple(out) if kind == "weight" else (images, numel(sizes), channels)
    result = opaque(name, (ordered(a, True), b), [(shape, a.dtype)], attrs)[0]
    return result.view_as(tuple(out), attrs[-1], 0)


def _product(kind: str, a: Val, b: Val, out: Sizes, stride: Sizes) -> Val:
    """The convolution of one tap; of numbers of 16 bits in float32."""
    made = channels_last_strides(out)
    if kind == "weight":
        x, y = _rows(ordered(_every(a, stride, b.shape[2:]), True)), _rows(ordered(b, True))
        return _times(turned(y), x).view_as(out, made, 0)
    w = b.view_as((1, *b.shape[:2]), (0, *b.strides[:2]), b.off)
    if kind == "forward":
        x = _rows(ordered(_every(a, stride, out[2:]), True))
        return _times(x, turned(w)).view_as(out, made, 0)
    shape = (*out[:2], *a.shape[2:])
    x = _times(_rows(ordered(a, True)), w).view_as(shape, channels_last_strides(shape), 0)
    if shape == tuple(out):
        return x
    whole = blank(out, x.dtype, made)  # between the elements that were read lie others
    store(_every(whole, stride, shape[2:]), x)
    return whole


def _every(x: Val, stride: Sizes, sizes: Sizes) -> Val:
    """The elements that are read with a stride."""
    steps = tuple(s * t for s, t in zip(x.strides[2:], stride))
    return x.view_as((*x.shape[:2], *sizes), (*x.strides[:2], *steps), x.off)


def _rows(x: Val) -> Val:
    """Images as one matrix, a row for each position."""
    channels = x.shape[1]
    return x.view_as((1, numel(x.shape) // channels, channels), (0, channels, 1), x.off)


def _times(a: Val, b: Val) -> Val:
    dtype = float32 if a.dtype is bfloat16 else a.dtype
    return opaque("contract", (a, b), [((1, a.shape[1], b.shape[2]), dtype)])[0]
