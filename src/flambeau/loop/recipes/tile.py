"""The schedule "tile" of nest.py: maps that read along one axis and write along another, tile after tile.

Of what is read across the lanes, blocks as deep as a line of memory are turned in registers (codegen/transpose.py) and
kept in scratch; each row of the tile is then computed from there, in vectors, as in a map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..build import Buffer, Value, const, minimum
from ..ir import SIZE
from .accumulate import LANES

if TYPE_CHECKING:
    from .nest import _Lower

DEEP = 512  # elements of a tile along the axis that is read: long runs are fetched ahead
LINE = 64  # bytes of a cache line
ALIKE = 2048  # bytes between rows from which on 16 of them share too few places of the first cache
LARGE = 16 << 20  # bytes from which on what is read is out of memory
SCRATCH = 48 << 10  # bytes that the rows kept in scratch may take


def side(size: int) -> int:
    """Elements of a tile along the axis that is written: a few lines of memory."""
    return min(2 * LINE, max(LINE, 4 * LINE // size))


def lanes_of(size: int) -> int:
    """Elements that are turned with as many others: as a line has, or a vector of the schedules."""
    return min(LANES, LINE // size)


def room(types: list[str]) -> bool:
    """Whether scratch has place for what is turned of accesses of these types."""
    sizes = [SIZE[t] for t in types]
    size = max(sizes, default=1)
    buffers = 1 + (LINE // size > lanes_of(size))
    return sum(LINE // size * side(size) * s * buffers for s in sizes) <= SCRATCH


def across(accesses: tuple[Any, ...], kept: int) -> tuple[int, list[int]]:
    """(the axis along which they lie, the accesses that are read across the lanes); (-1, []) if there are none."""
    found: dict[int, list[int]] = {}
    for k, (type, mode, alias, classes) in enumerate(accesses):
        if (
            mode == "r"
            and not alias
            and type != "b1"
            and classes[kept - 1] == "s"
            and 1 in classes[: kept - 1]
        ):
            found.setdefault(classes.index(1), []).append(k)
    return max(found.items(), key=lambda item: len(item[1])) if found else (-1, [])


class Tile:
    """One kernel: `axis` is that along which the turned accesses lie."""

    def __init__(self, lower: _Lower):
        self.lower, self.b, self.nest = lower, lower.b, lower.nest
        self.inner = self.nest.kept - 1
        self.axis, chosen = across(self.nest.accesses, self.nest.kept)
        self.turned = {i: v[1] for i, v in enumerate(self.nest.values) if v[0] == "load" and v[1] in chosen}
        self.kept: dict[int, Buffer] = {}
        self.staged: dict[int, Buffer] = {}
        size = max((SIZE[self.nest.accesses[k][0]] for k in chosen), default=4)
        self.side, self.lanes, self.block = side(size), lanes_of(size), LINE // size
        moves = all(v[0] == "load" for v in self.nest.values)
        self.wide = self.block if moves else LANES  # whole lines can go around the caches

    def body(self, everything: set[int]) -> None:
        """All tiles of this part."""
        lower, b = self.lower, self.b
        for access in sorted(set(self.turned.values())):
            type, room = self.nest.accesses[access][0], self.block * self.side
            self.kept[access] = b.alloc("turned", type, room)
            if self.block > self.lanes:
                self.staged[access] = b.alloc("staged", type, room, loose=True)
        n, m = lower.extents[self.axis], lower.extents[self.inner]
        high, wide = (
            b.let((n + (DEEP - 1)) // DEEP, "high"),
            b.let((m + (self.side - 1)) // self.side, "wide"),
        )
        others = [a for a in range(self.inner) if a != self.axis]
        total = b.let(high * wide, "total")
        for a in others:
            total = b.let(total * lower.extents[a], "total")
        lo, hi = b.partition(total) if self.nest.split else (const("i64", 0), total)
        with b.for_("o", lo, hi) as o:
            i0 = b.let(o % wide * self.side, "i0")
            rest = b.let(o // wide, "rest")
            t0 = b.let(rest % high * DEEP, "t0")
            rest = b.let(rest // high, "rest")
            self.place(rest, others, m)
            self.tile(everything, (i0, b.let(minimum(i0 + self.side, m), "i1")), (t0, minimum(t0 + DEEP, n)))

    def place(self, rest: Value, others: list[int], m: Value) -> None:
        """Which tile of the other axes: the last of them fastest, so that pieces written lie side by side; but where
        whole lines are written, of what no cache holds, of two the one along which what is read lies closer."""
        lower, b = self.lower, self.b
        if len(others) != 2:
            for a in reversed(others[1:]):
                lower.coords[a] = b.let(rest % lower.extents[a], "i")
                rest = b.let(rest // lower.extents[a], "q")
            if others:
                lower.coords[others[0]] = rest
            return
        (first, last), access = others, min(self.kept)
        size, strides = SIZE[self.nest.accesses[access][0]], lower.strides[access]
        n, k = lower.extents[first], lower.extents[last]
        large = m * lower.extents[self.axis] * n * k * size > LARGE
        along = [b.reg("along", 0, "i64") for _ in others]
        with b.if_(large & (m * size % LINE).eq(0) & (b.let(strides[first]) < strides[last])):
            along[0].set(rest % n)
            along[1].set(rest // n)
        with b.else_():
            along[0].set(rest // k)
            along[1].set(rest % k)
        lower.coords[first], lower.coords[last] = (b.let(r.get(), "i") for r in along)

    def tile(self, everything: set[int], columns: tuple[Value, Value], rows: tuple[Value, Value]) -> None:
        """Whole blocks of rows, and the rest row by row."""
        b = self.b
        t0, t1 = rows[0], b.let(rows[1], "t1")
        for deep in sorted({self.block, self.lanes}, reverse=True):
            whole = b.let(t0 + (t1 - t0) // deep * deep, "whole")
            with b.for_("t", t0, whole, deep) as t:
                self.turn(t, columns, deep)
                with b.for_("u", 0, deep) as u:
                    self.row(everything, b.let(t + u, "tu"), columns, u)
            t0 = whole
        with b.for_("t", t0, t1) as t:
            self.row(everything, t, columns, None)

    def turn(self, t: Value, columns: tuple[Value, Value], deep: int) -> None:
        """A block of what is read across, into scratch."""
        b = self.b
        for access in self.kept:
            self.ahead(access, t + deep, columns)
            if deep == self.lanes:
                self.turned_from(None, access, t, columns, deep)
                continue
            step = self.lower.strides[access][self.inner] * SIZE[self.nest.accesses[access][0]]
            with b.if_((step % ALIKE).eq(0)):
                self.stage(access, t, columns)
                self.turned_from(self.staged[access], access, t, columns, deep)
            with b.else_():
                self.turned_from(None, access, t, columns, deep)

    def turned_from(
        self, staged: Buffer | None, access: int, t: Value, columns: tuple[Value, Value], deep: int
    ) -> None:
        """The same out of memory, or of its copy: the loads of one block stand together."""
        lower, b, kept = self.lower, self.b, self.kept[access]
        with b.vfor("i", *columns, self.lanes) as i:
            to = b.let(i - columns[0], "to")
            if staged is None:
                lower.coords[self.axis], lower.coords[self.inner] = t, i
                source, at = lower.bufs[access], b.let(lower.address(access, hoisted=False), "at")
            else:
                source, at = staged, b.let(to * self.block, "at")
            for first in range(0, deep, self.lanes):
                row = b.let(at + first, "row") if first else at
                found = [b.let(source[row + u], "x") for u in range(self.lanes)]
                for u, x in enumerate(found):
                    kept[to + (first + u) * self.side] = x
        lower.coords.pop(self.inner, None)

    def ahead(self, access: int, t: Value, columns: tuple[Value, Value]) -> None:
        """Ask for the lines of the next block: so many rows at once are more than the processor sees through."""
        lower, b = self.lower, self.b
        with b.for_("r", *columns) as r:
            lower.coords[self.axis], lower.coords[self.inner] = t, r
            b.prefetch(lower.bufs[access], lower.address(access, hoisted=False), far=True)
        del lower.coords[self.inner]

    def stage(self, access: int, t: Value, columns: tuple[Value, Value]) -> None:
        """A copy of what is read across, a line of each row: lines of such rows drive each other out of the cache
        before all blocks of lanes in them were read."""
        lower, b, stage = self.lower, self.b, self.staged[access]
        with b.for_("r", *columns) as r:
            lower.coords[self.axis], lower.coords[self.inner] = t, r
            at = b.let(lower.address(access, hoisted=False), "at")
            to = b.let((r - columns[0]) * self.block, "to")
            with b.vfor("c", 0, self.block, self.block) as c:
                stage[to + c] = lower.bufs[access][at + c]
        lower.coords.pop(self.inner, None)

    def row(self, everything: set[int], t: Value, columns: tuple[Value, Value], u: Value | None) -> None:
        """One row of a tile; u: which of the rows in scratch, if it is one of them."""
        lower, b = self.lower, self.b
        lower.coords[self.axis] = t
        lower.scopes.append({})
        lower.hoist_bases()
        lower.scope_values(everything - set(self.turned), 1, 0)
        with b.vfor("i", *columns, self.wide, past=self.nest.past) as i:
            lower.coords[self.inner] = i
            lower.scopes.append({})
            if u is not None:
                for v, access in self.turned.items():
                    lower.scopes[-1][v] = b.let(self.kept[access][u * self.side + (i - columns[0])], "x")
            for v in sorted(everything):
                lower.get(v)
            lower.put(self.nest.stores)
            lower.scopes.pop()
        del lower.coords[self.inner]
        lower.scopes.pop()
        lower.base, lower.based = {}, set()
