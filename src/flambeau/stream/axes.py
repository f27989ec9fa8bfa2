"""The axes of a nest: which of them are walked as one, and whether their order is free."""

from __future__ import annotations

from collections.abc import Collection, Sequence
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


def orderless(values: Sequence[tuple[Any, ...]]) -> bool:
    """Whether there are reductions, and all come to the same in any order: their axes are those of memory."""
    kinds = [v for v in values if v[0] == "reduce"]
    exact = [v[1] in ANY_ORDER or (v[1] in ("add", "mul") and v[3] not in FLOATS) for v in kinds]
    return bool(exact) and all(exact)
