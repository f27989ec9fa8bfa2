"""Convolutions of bfloat16 as products of matrices in bfloat16: processors have instructions for those.

Forward, k = (channel, taps): with one tap the image itself is a factor, with more of them a copy that has what each tap
sees, where it is small and Winograd's tiles do not serve, or save too little. The gradient of the weights is a product
with the same copy, k = (image, position); that of the data is one where there is one tap. The sums are not rounded:
they are float32."""

from __future__ import annotations

from ..dtypes import float32
from ..loop.recipes import conv_planning
from ..shapes import contiguous_strides, numel
from ..stream.graph import Val, blank, contiguous, opaque, permuted, store, turned

Sizes = tuple[int, ...]

LEAST = 16  # channels from which on it pays
PLANE = 512  # positions from which on each image is a product of its own
MADE = 64  # with several taps: channels made from which on,
ROOM = 1 << 23  # and elements up to which they are copied


def serve(
    kind: str, x: Sizes, w: Sizes, out: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> bool:
    """Whether a convolution of these shapes is done so."""
    if groups > 1 or min(w[:2]) < LEAST:
        return False
    if numel(w[2:]) == 1 and not any(padding):
        return kind != "data" or max(stride) == 1
    g = conv_planning.geometry(x, w, stride, padding, dilation, groups)
    if kind == "data" or w[0] < MADE or numel(w[1:]) * x[0] * numel(g.out) > ROOM:
        return False
    # with a stride Winograd's tiles of float32 take more than half of the multiplications
    return max(stride) > 1 or not conv_planning.by_winograd(kind, g, "f32")


def convolve(kind: str, a: Val, b: Val, out: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Val:
    """The result of a convolution that `serve` takes, in float32; its images may be strided."""
    if kind == "weight":  # one sum along all positions of all images
        taps = len(out) - 2
        seen = _seen(_padded(a, padding), out[2:], b.shape[2:], stride, dilation)
        x = _matrix(contiguous(_after_taps(seen, taps)), 1 + taps)
        y = _matrix(contiguous(_after_taps(b, 0)), 1)
        return _product(y, turned(x)).view_as(out, contiguous_strides(out), 0)
    sizes, plane, w = out[2:], numel(out[2:]), _matrix(contiguous(b), 1)
    if kind == "data":
        w, stride = turned(w), (1,) * len(sizes)
    taps = b.shape[2:]
    x = _seen(_padded(a, padding), taps, sizes, stride, dilation)
    if a.shape[0] == 1 or plane >= PLANE:
        dense = numel(taps) == 1 and x.strides[-len(sizes) :] == contiguous_strides(sizes)
        x = x if dense else contiguous(x)
        columns = x.view_as(
            (a.shape[0], w.shape[2], plane), (x.strides[0], plane if not dense else x.strides[1], 1), x.off
        )
        return _product(w, columns).view_as(out, contiguous_strides(out), 0)
    columns = _matrix(contiguous(_after_taps(x, len(taps))), 1 + len(taps))
    strides = (plane, out[0] * plane, *contiguous_strides(sizes))
    return _product(w, columns).view_as(out, strides, 0)


def _padded(x: Val, padding: Sizes) -> Val:
    """The images among zeros."""
    if not any(padding):
        return x
    grown = blank((*x.shape[:2], *(n + 2 * p for n, p in zip(x.shape[2:], padding))), x.dtype)
    start = sum(p * s for p, s in zip(padding, grown.strides[2:]))
    store(grown.view_as(x.shape, grown.strides, start), x)
    return grown


def _seen(x: Val, taps: Sizes, sizes: Sizes, stride: Sizes, dilation: Sizes) -> Val:
    """(images, channels, taps ..., positions ...): what each tap sees at each position."""
    inner = x.strides[2:]
    apart = (*(d * s for d, s in zip(dilation, inner)), *(n * s for n, s in zip(stride, inner)))
    return x.view_as((*x.shape[:2], *taps, *sizes), (*x.strides[:2], *apart), x.off)


def _after_taps(x: Val, taps: int) -> Val:
    """(images, channels, taps ..., positions ...) as (channels, taps ..., images, positions ...)."""
    return permuted(x, (*range(1, 2 + taps), 0, *range(2 + taps, x.ndim)))


def _matrix(x: Val, rows: int) -> Val:
    """What is dense as one matrix, whose rows are its first dimensions."""
    shape = (1, numel(x.shape[:rows]), numel(x.shape[rows:]))
    return x.view_as(shape, (0, shape[2], 1), x.off)


def _product(a: Val, b: Val) -> Val:
    shape = (b.shape[0], a.shape[1], b.shape[2])
    return opaque("contract", (a, b), [(shape, float32)])[0]
