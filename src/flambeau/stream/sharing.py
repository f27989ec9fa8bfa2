"""What a nest costs, and between how many parts it is shared out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..loop.recipes.analysis import expensive
from ..loop.recipes.nest import CHUNK
from ..shapes import numel

if TYPE_CHECKING:
    from .nests import Bound, NestBuilder

PARTS = 64  # the most parts worth making
SERIAL_WORK = 24000  # elements x weight of their values below which one thread is faster
LEAST, MOST = 32, 64  # columns whose rows are shared
SEAM = 1024  # elements of a row for each thread that writes it
SEAMS = 50 * SERIAL_WORK  # work that makes up for shorter ones
LONG, VECTOR = 8, 16  # what a mathematical function weighs; a row costs what so many elements cost


def rows_shared(nests: NestBuilder, extents: Sequence[int], kept: int) -> bool:
    """Whether columns that lie side by side are so few, and have so many rows, that parts share these."""
    few = kept == 1 and LEAST <= extents[0] <= MOST and numel(extents) > 2 * CHUNK
    plain = all(v[0] != "reduce" or v[3] != "b1" for v in nests.values)
    return few and plain and all(a.mode != "rw" for a in nests.accesses) and nests.single_pass()


def weight(values: Sequence[tuple[Any, ...]]) -> int:
    """Simple operations in the time that these values of an element take, about."""
    return max(1, sum([LONG if v[0] == "map" and expensive(v) else 1 for v in values]))


def work(extents: Sequence[int], axis: int, values: Sequence[tuple[Any, ...]]) -> int:
    """What a nest costs, in simple operations on one element. axis: the one whose elements are lanes."""
    inner = extents[axis] if extents else 1
    return numel(extents) // max(inner, 1) * (-(-inner // VECTOR) * VECTOR) * weight(values)


def share(bound: Bound, mode: str, columns: Sequence[Sequence[int]]) -> None:
    """Give a nest its parts, and each of them a row of scratch where that is kept row by row."""
    bound.parts = parts(bound, mode, columns)
    if bound.nest.apart:
        bound.parts = min(bound.parts, numel(bound.extents[: bound.nest.kept]))
        bound.scratch = [(kind, bound.parts * n) for kind, n in bound.scratch]


def parts(bound: Bound, mode: str, columns: Sequence[Sequence[int]]) -> int:
    """The most parts worth making. Threads that write pieces of the same rows disturb each other at each seam, unless a
    piece is long, or so much is done that it must be shared."""
    nest, most = bound.nest, PARTS
    if mode in ("col", "wide") and nest.split == "inner" and bound.work < SEAMS:
        written = [row for row, acc in zip(columns, nest.accesses) if acc[1] != "r" and any(row[nest.kept :])]
        if written:
            most = min(PARTS, bound.extents[nest.kept - 1] // SEAM)
    return max(1, most) if nest.split and bound.work >= SERIAL_WORK else 1
