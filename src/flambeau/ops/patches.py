"""Patches of images, and patches added up into images; images enlarged, and made smaller by sums: each is the other's
gradient."""

from __future__ import annotations

import itertools
from typing import Any

from ..dtypes import float32
from ..shapes import image_strides, numel
from ..stream.graph import Val, blank, cast, const, empty, map_, ordered, store
from .elementwise import channels_innermost
from .entry import T, op
from .pooling import in_tiles

Pair = tuple[int, int]
FEW = 16  # elements of a patch up to which each is written by itself
Sizes = tuple[int, ...]


@op(
    method=False,
    node="Im2ColBackward0",
    grad={
        "self": lambda grad, self, kernel, step, dil: _added_patches(grad, tuple(self.shape[2:]), step, dil)
    },
)
def _patches(self: T, kernel: Pair, step: Pair, dil: Pair) -> Any:
    """(N, C, H, W) -> (N, C, kernel..., number of windows...)."""
    counts = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(self.shape[2:], kernel, step, dil)]
    (a, b), (y, x) = self.strides[:2], self.strides[2:]
    strides = (a, b, y * dil[0], x * dil[1], y * step[0], x * step[1])
    return map_("copy", self.view_as((*self.shape[:2], *kernel, *counts), strides, self.off))


@op(
    method=False,
    node="Col2ImBackward0",
    grad={
        "self": lambda grad, self, size, step, dil: _patches(grad, tuple(self.shape[2:4]), step, dil),
    },
)
def _added_patches(self: T, size: Pair, step: Pair, dil: Pair) -> Any:
    """(N, C, kernel..., number of windows...) -> (N, C, *size): at each place in the order of the kernel's elements."""
    image = blank((*self.shape[:2], *size), self.dtype)
    if not numel(self.shape):
        return image
    kernel = self.shape[2:4]
    if dil == (1, 1) and all(k <= s for k, s in zip(kernel, step)):  # no two of them meet
        put(image, self, step)
        return image
    for r, c in itertools.product(*map(range, step)):  # rows and columns that windows begin at, r and c after
        taps = [[k for k in range(n) if k * d % s == p] for n, d, s, p in zip(kernel, dil, step, (r, c))]
        if all(taps):
            phase(image, self, taps, (r, c), step, dil)
    return image


def put(image: Val, patches: Val, step: Pair) -> None:
    """Patches that do not meet, in their places: few elements of a patch one after the other, so that one kernel writes
    those of a row side by side."""
    (a, b, y, x), given, zero = image.strides, patches.strides, const(0, image.dtype)
    kernel, places = patches.shape[2:4], (*image.shape[:2], *patches.shape[4:])
    if numel(kernel) > FEW:
        where = image.view_as(tuple(patches.shape), (a, b, y, x, y * step[0], x * step[1]), 0)
        store(where, map_("add", zero, patches))
        return
    for r, c in itertools.product(*map(range, kernel)):
        where = image.view_as(places, (a, b, y * step[0], x * step[1]), r * y + c * x)
        tap = patches.view_as(places, (*given[:2], *given[4:]), patches.off + r * given[2] + c * given[3])
        store(where, map_("add", zero, tap))


def phase(image: Val, patches: Val, taps: list[list[int]], first: Pair, step: Pair, dil: Pair) -> None:
    """The elements of an image at first, first + step, ...: what some taps add to them, side by side in memory."""
    counts = patches.shape[4:]
    shape = [-(-(n - p) // s) for n, p, s in zip(image.shape[2:], first, step)]
    a, b, y, x = image.strides
    whole = (*image.shape[:2], *shape)
    into = image.view_as(whole, (a, b, y * step[0], x * step[1]), image.off + first[0] * y + first[1] * x)
    total = into if step == (1, 1) else blank(whole, image.dtype)
    a, b, y, x = total.strides
    s = patches.strides
    for r, c in itertools.product(*taps):
        at = [k * d // n for k, d, n in zip((r, c), dil, step)]
        part = (*image.shape[:2], *counts)
        where = total.view_as(part, (a, b, y, x), total.off + at[0] * y + at[1] * x)
        tap = patches.view_as(part, (*s[:2], *s[4:]), patches.off + r * s[2] + c * s[3])
        store(where, map_("add", where, tap))
    if total is not into:
        store(into, total)


@op(
    method=False,
    node="UpsampleNearest2DBackward0",
    grad={"self": lambda grad, factors: _added_tiles(grad, factors)},
)
def _enlarged(self: T, factors: Sizes) -> Any:
    """(N, C, ...) -> (N, C, ...): each element in place of a tile of elements."""
    shape = (*self.shape[:2], *[n * k for n, k in zip(self.shape[2:], factors)])
    result = empty(shape, self.dtype, image_strides(shape, channels_innermost(self)))
    if numel(shape):
        store(in_tiles(result, factors), in_tiles(self, (1,) * len(factors)))
    return result


@op(
    method=False,
    function=False,
    node="UpsampleNearest2DBackwardBackward0",
    grad={"grad": lambda grad, factors: _enlarged(grad, factors)},
)
def _added_tiles(grad: T, factors: Sizes) -> Any:
    """The sum of each tile: one dimension after the other from the last; halves in float32, rounded once."""
    last, wide = channels_innermost(grad), float32 if grad.dtype.itemsize < 4 else grad.dtype
    tiles = in_tiles(grad, factors)
    shape, strides = (*tiles.shape[:2], *tiles.shape[2::2]), (*tiles.strides[:2], *tiles.strides[2::2])
    steps = tiles.strides[3::2]

    def total(off: int, dim: int) -> Val:
        if dim == len(factors):
            return cast(tiles.view_as(shape, strides, off), wide)
        parts = [total(off + k * steps[dim], dim + 1) for k in range(factors[dim])]
        found = parts[0]
        for part in parts[1:]:
            found = map_("add", found, part)
        return found

    return ordered(cast(total(tiles.off, 0), grad.dtype), last)
