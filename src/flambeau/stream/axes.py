"""The axes of a nest: which of them are walked as one, and whether their order is free."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Any

from ..loop.ir import FLOATS

ANY_ORDER = ("min", "max", "and", "or")


def merged(
    given: Sequence[int], extents: Sequence[int], accesses: Sequence[Any], pinned: Collection[int]
) -> list[tuple[int, int]]:
    """Adjacent axes that every access walks as one: (extent, the axis whose strides count). pinned: those whose
    coordinates are wanted."""
    axes: list[tuple[int, int]] = []
    for a in given:
        n = extents[a]
        if axes and a not in pinned and axes[-1][1] not in pinned:
            m, b = axes[-1]
            if all(acc.strides[b] == acc.strides[a] * n for acc in accesses):
                axes[-1] = (m * n, a)
                continue
        axes.append((n, a))
    return axes


def removed(at: Sequence[int], dims: Collection[int]) -> tuple[tuple[int, ...], ...]:
    """The axes that a reduction over `dims` removes, outermost first; at: the axis of each dimension, -1 if it is 1.
    Dimensions that lie next to each other are one long one: they share a tuple."""
    found: list[list[int]] = []
    last = False
    for d, a in enumerate(at):
        if a < 0:
            continue
        if d in dims:
            if last:
                found[-1].append(a)
            else:
                found.append([a])
        last = d in dims
    return tuple(map(tuple, found))


def as_one(strides: Sequence[int], axes: Sequence[tuple[int, int]]) -> bool:
    """Whether these (extent, axis) are walked as one by an access with these strides."""
    return all(strides[a] == strides[b] * n for (_, a), (n, b) in pairwise(axes))


def orderless(values: Sequence[tuple[Any, ...]]) -> bool:
    """Whether there are reductions, and all come to the same in any order: their axes are those of memory."""
    kinds = [v for v in values if v[0] == "reduce"]
    exact = [v[1] in ANY_ORDER or (v[1] in ("add", "mul") and v[3] not in FLOATS) for v in kinds]
    return bool(exact) and all(exact)
