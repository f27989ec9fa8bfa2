"""What reads or writes a buffer of a program, found by where it lies.

Many pieces of one buffer (what is joined, rows that are written one by one) are each met by few others, and only these
are looked at."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence, Set
from typing import TYPE_CHECKING, Any

from ..shapes import extent_bytes

if TYPE_CHECKING:
    from .nodes import PVal

FEW = 8  # accesses up to which all are looked at
_NO_GROUPS: frozenset[int] = frozenset()
WIDE = 4  # cells of a level up to which their accesses are looked at, not those of the whole level


class Pile:
    """Accesses as they came, each with the latest group of those up to it: from the end, the rest need not be looked at
    where that group is too early."""

    __slots__ = ("items",)

    def __init__(self) -> None:
        self.items: list[tuple[int, int, int, Any]] = []  # (latest group so far, begin, end, access)

    def add(self, lo: int, hi: int, access: Any) -> None:
        """Put an access on top."""
        top = access[0].index
        if self.items and self.items[-1][0] > top:
            top = self.items[-1][0]
        self.items.append((top, lo, hi, access))


class Level:
    """Accesses of about one length: all of them, and those that touch each cell of that length (a few a cell)."""

    __slots__ = ("bits", "cells", "whole")

    def __init__(self, bits: int):
        self.bits, self.whole = bits, Pile()
        self.cells: dict[int, Pile] = {}

    def add(self, lo: int, hi: int, access: Any) -> None:
        """Enter an access; it touches two cells at the most."""
        self.whole.add(lo, hi, access)
        for cell in {lo >> self.bits, (hi - 1) >> self.bits}:
            self.cells.setdefault(cell, Pile()).add(lo, hi, access)

    def near(self, lo: int, hi: int) -> Iterator[Pile]:
        """Piles that hold all accesses between lo and hi; one may be in two of them."""
        first, last = lo >> self.bits, (hi - 1) >> self.bits
        if last - first >= WIDE:
            yield self.whole
            return
        for cell in range(first, last + 1):
            if cell in self.cells:
                yield self.cells[cell]


class Line:
    """Accesses by their ranges: of memory, or of columns in rows of one length."""

    __slots__ = ("levels", "whole")

    def __init__(self) -> None:
        self.whole = Pile()
        self.levels: dict[int, Level] = {}

    def add(self, lo: int, hi: int, access: Any) -> None:
        """Enter an access."""
        self.whole.add(lo, hi, access)
        bits = (hi - lo - 1).bit_length()
        if bits not in self.levels:
            self.levels[bits] = Level(bits)
        self.levels[bits].add(lo, hi, access)

    def near(self, lo: int, hi: int) -> Iterator[Pile]:
        """Piles that hold all accesses between lo and hi."""
        for level in self.levels.values():
            yield from level.near(lo, hi)


class Accesses:
    """The reads or the writes of a buffer: tuples of a group, a view and what else is known of them."""

    __slots__ = ("all", "groups", "latest", "lines", "ordered", "tops")

    def __init__(self) -> None:
        # Most buffers have an access or two: what more would need is made when it comes.
        self.all: Sequence[Any] = ()
        self.groups: Set[int] = _NO_GROUPS  # their numbers
        self.ordered: Sequence[int] = ()  # the same, sorted when somebody asked last
        self.latest: Any = None  # the latest of these groups
        self.lines: dict[int, dict[int, Line]] | None = None  # by slot of an offset and length of rows
        self.tops: dict[int, Any] | None = None  # the access of the latest group, for two slots at the most

    def __iter__(self) -> Iterator[Any]:
        return iter(self.all)

    def __len__(self) -> int:
        return len(self.all)

    def append(self, access: Any) -> None:
        """Enter an access."""
        group = access[0]
        if self.latest is None:
            self.all, self.groups = [access], {group.index}
        else:
            self.all.append(access)  # type: ignore[attr-defined]
            self.groups.add(group.index)  # type: ignore[attr-defined]
        if self.latest is None or group.index > self.latest.index:
            self.latest = group
        if self.lines is not None:
            self.enter(self.lines, access)

    def between(self, first: int, end: int) -> bool:
        """Whether one of the groups has a number from `first` on, before `end`."""
        if self.latest is None or self.latest.index < first:
            return False
        if len(self.ordered) != len(self.groups):
            self.ordered = sorted(self.groups)
        at = bisect_left(self.ordered, first)
        return at < len(self.ordered) and self.ordered[at] < end

    def enter(self, lines: dict[int, dict[int, Line]], access: Any) -> None:
        """Find the access by its place from now on."""
        slot, (row, lo, hi) = access[1].offslot, lying(access[1])
        by_row = lines.setdefault(slot, {})
        if row not in by_row:
            by_row[row] = Line()
        by_row[row].add(lo, hi, access)
        if self.tops is None:
            self.tops = {}
        tops = self.tops
        if slot not in tops or access[0].index > tops[slot][0].index:
            tops[slot] = access
        if len(tops) > 2:
            del tops[min(tops, key=lambda s: tops[s][0].index)]

    def meeting(self, v: PVal, least: int, rising: bool = False) -> Iterator[Any]:
        """Accesses by groups from number `least` on that may share memory with a view; one may come twice.

        rising: only later groups than those that have come. Where offsets are unknown, one of the latest group stands
        for all."""
        if self.latest is None or self.latest.index < least:
            return
        if len(self.all) <= FEW:
            piles: Any = ([(self.latest.index, 0, 1, access) for access in self.all],)
        else:
            piles = self.near(v)
        for items in piles:
            for top, _, _, access in reversed(items):
                if top < least:
                    break
                if access[0].index >= least and overlap(access[1], v):
                    if rising:
                        least = access[0].index + 1
                    yield access

    def near(self, v: PVal) -> Iterator[list[Any]]:
        """Lists of accesses, with those that may meet a view among them."""
        if self.lines is None:
            lines: dict[int, dict[int, Line]] = {}
            for access in self.all:
                self.enter(lines, access)
            self.lines = lines
        for slot, access in (self.tops or {}).items():
            if slot != v.offslot:
                yield [(access[0].index, 0, 1, access)]
        row, lo, hi = lying(v)
        for other, line in self.lines.get(v.offslot, {}).items():
            for pile in line.near(lo, hi) if other == row else (line.whole,):
                yield pile.items


def lying(v: PVal) -> tuple[int, int, int]:
    """Where a view lies: (0, begin, end), or (length of a row, first column, end), if that says more."""
    if 0 in v.shape:
        return 0, v.off, v.off + 1
    axes = sorted([(s, n) for n, s in zip(v.shape, v.strides) if n > 1 and s > 0])
    width, best = 1, (1, 2, (0, v.off, extent_bytes(v.shape, v.strides, v.off)))
    for k, (s, n) in enumerate(axes):
        rest = v.off % s
        if rest + width <= s and width * best[1] < s * best[0] and all(t % s == 0 for t, _ in axes[k:]):
            best = width, s, (s, rest, rest + width)
        width += s * (n - 1)
    return best[2]


def overlap(a: PVal, b: PVal) -> bool:
    """Whether two views of one buffer may share memory (by their ranges; offsets unknown at planning time: yes)."""
    if a.offslot != b.offslot:
        return True
    if a.off == b.off and a.shape == b.shape and a.strides == b.strides:
        return 0 not in a.shape
    lo_a, hi_a = a.off, extent_bytes(a.shape, a.strides, a.off)
    lo_b, hi_b = b.off, extent_bytes(b.shape, b.strides, b.off)
    if hi_a <= lo_b or hi_b <= lo_a:
        return False
    for s in a.strides:  # slices of one tensor along one dimension: disjoint columns of the same rows
        of_a = columns(a, s)
        of_b = columns(b, s) if of_a is not None else None
        if of_a is not None and of_b is not None and (of_a[1] <= of_b[0] or of_b[1] <= of_a[0]):
            return False
    return True


def columns(v: PVal, row: int) -> tuple[int, int] | None:
    """The columns of a view in rows of one length, from and to; None if it goes beyond them."""
    lo = v.off % row if row > 0 else 0
    hi = lo + 1
    for n, s in zip(v.shape, v.strides):
        if n > 1 and s < row:
            hi += s * (n - 1)
        elif n > 1 and s % max(row, 1):
            return None
    return (lo, hi) if hi <= row else None
