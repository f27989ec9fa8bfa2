"""The innermost reduced axis of a nest, and the axes within it where not every access walks these as one.

Neighbouring reduced dimensions are one axis, in the order of the shape: so the order of additions says. What lies
otherwise in memory (channels innermost, a view, something broadcast) is read by the coordinates within."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..loop.recipes.stretches import TURNED, across
from ..shapes import numel
from .axes import as_one, orderless

if TYPE_CHECKING:
    from .nests import Access, Bound, NestBuilder

SIDES = (16, 8, 4)  # of blocks that are turned
FAR = 512 << 10  # bytes of turned rows that stay in the second cache
SMALL = 16 << 10  # bytes of turned rows that are turned anew for each chunk
SHARE = 8  # what is read is so many times what is turned at once
STRETCH = 8  # elements that are walked in vectors rather than looked up one by one

Axes = list[tuple[int, int]]  # (extent, axis of the group)


def reduced_axes(of: NestBuilder, reduced: list[int]) -> tuple[Axes, Axes]:
    """The reduced axes, and those within the innermost one (which is then -1) where not all walk it as one."""
    if not of.group.order or orderless(of.values):
        return of.merge(reduced), []
    *outer, inner = of.group.order
    axes, within = of.merge([a for some in outer for a in some]), of.merge(list(inner))
    if len(within) == 1:
        return axes + within, []
    return [*axes, (numel([n for n, _ in within]), -1)], within


def walk(strides: Sequence[int], axes: Axes, removed: Axes, within: Axes) -> list[int]:
    """The strides of an access along the axes of the nest."""
    row = [strides[a] if a >= 0 else 1 for _, a in axes]
    if not within:
        return row + [strides[a] for _, a in removed]
    row += [strides[a] for _, a in removed[:-1]]
    if as_one(strides, within):
        return [*row, strides[within[-1][1]], *[0] * len(within)]
    return [*row, 0, *[strides[a] for _, a in within]]


def ways(
    of: NestBuilder, extents: list[int], columns: list[list[int]], within: Axes
) -> tuple[bool, tuple[int, ...]]:
    """How a row is walked: whether in stretches, and what of it is turned (see `Nest`)."""
    looks = bool(of.take_ints) or any(a in of.pinned for _, a in within)
    return within[-1][0] >= STRETCH, () if looks else turned(of, extents, columns, within)


def turned(of: NestBuilder, extents: list[int], columns: list[list[int]], within: Axes) -> tuple[int, ...]:
    """How many rows of the last axis within are turned at a time, elements of each, and whether that takes scratch of
    the kernel; nothing if they do not lie side by side in memory."""
    size = 0
    for acc, strides in zip(of.accesses, columns):
        if any(strides[-len(within) :]):
            if strides[-2] != 1 or strides[-1] < 2 or acc.mode != "r" or acc.alias or acc.type == "b1":
                return ()
            size += acc.buf.dtype.itemsize
    (most, _), (n, _) = within[-2:]
    each, total = n * size, numel(extents) * size
    near = next((k for k in SIDES if k <= most and k * each <= TURNED), 0)
    far = next((k for k in SIDES if k <= most and k * each <= FAR and k * each * SHARE * 4 <= total), 0)
    rows = max(near, far)
    side = next((k for k in SIDES if k <= min(n, rows)), 0)
    return (rows, side, int(far >= near and rows * each > SMALL)) if side and size else ()


def touched(accesses: Sequence[Access], columns: Sequence[Sequence[int]], extents: Sequence[int]) -> int:
    """The bytes that accesses with these strides read and write, each of them once."""
    return sum(
        numel([n for n, s in zip(extents, strides) if s]) * acc.buf.dtype.itemsize
        for acc, strides in zip(accesses, columns)
    )


def give_turned(bound: Bound, within: Axes) -> None:
    """Scratch for turned rows, one for each part: no more parts than it is a small share of what is read for."""
    nest = bound.nest
    if nest.turned and nest.turned[-1]:
        each = nest.turned[0] * within[-1][0]
        bound.parts = min(bound.parts, numel(bound.extents) // (each * SHARE))
        bound.scratch.extend((nest.accesses[k][0], each * bound.parts) for k in across(nest))
