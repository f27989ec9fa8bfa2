"""Patches of images, and patches added up into images: each is the other's gradient; images made larger by copies."""

from __future__ import annotations

import itertools
from typing import Any

from ..shapes import contiguous_strides, numel
from ..stream.graph import Val, blank, empty, map_, store
from .entry import FUNCTIONS, T, op

Pair = tuple[int, int]


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
        a, b, y, x = contiguous_strides(image.shape)
        where = image.view_as(tuple(self.shape), (a, b, y, x, y * step[0], x * step[1]), 0)
        store(where, map_("add", where, self))
        return image
    for r, c in itertools.product(*map(range, step)):  # rows and columns that windows begin at, r and c after
        taps = [[k for k in range(n) if k * d % s == p] for n, d, s, p in zip(kernel, dil, step, (r, c))]
        if all(taps):
            phase(image, self, taps, (r, c), step, dil)
    return image


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


def _shrunk(grad: Any, form: Any, dim: int, times: tuple[int, ...]) -> Any:
    """What the copies of each element add up to."""
    n = len(times)
    if dim == 1:  # channels innermost
        grad = grad.permute(0, n + 1, *range(1, n + 1))
    out = tuple([size // k for size, k in zip(grad.shape[2:], times)])
    total = FUNCTIONS["_avg_pool"](grad, out, times, times, (0,) * n, "given", 1)
    return total.permute(0, *range(2, n + 2), 1) if dim == 1 else total


@op(method=False, node="UpsampleNearest2DBackward0", grad={"self": _shrunk})
def _magnified(self: T, dim: int, times: tuple[int, ...]) -> Any:
    """Each element `times` over along as many dimensions as there are numbers, from `dim` on."""
    times = (*(1,) * dim, *times, *(1,) * (self.ndim - dim - len(times)))
    out = empty(tuple(n * k for n, k in zip(self.shape, times)), self.dtype)
    wide, steps, source = [], [], []
    for n, k, s, t in zip(self.shape, times, self.strides, out.strides):
        wide += [n, k] if k > 1 else [n]
        steps += [t * k, t] if k > 1 else [t]
        source += [s, 0] if k > 1 else [s]
    if numel(out.shape):
        store(out.view_as(tuple(wide), tuple(steps), 0), self.view_as(tuple(wide), tuple(source), self.off))
    return out
