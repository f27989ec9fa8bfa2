"""Rows of the schedule "row" of nest.py whose elements are no line in memory: `Nest.within` says what axes they have.

A lane is that of the row, wherever the elements lie: a vector that begins before they do goes without the lanes ahead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..build import Buffer, Value, const, maximum, minimum, op
from ..ir import SIZE
from .accumulate import LANES, Lanes
from .analysis import Nest

if TYPE_CHECKING:
    from .nest import _Lower

AHEAD = 2  # blocks that are asked for before they are turned
TURNED = 60 << 10  # bytes that turned rows may take

Point = Callable[[Value, dict[int, Value]], None]
Inside = Callable[[Value], None]


def vectors(lower: _Lower, first: Value, end: Value, inside: Inside) -> None:
    """inside(place) for the places first to end of a row, in vectors that begin at multiples of 16."""
    b = lower.b
    whole = b.let(op("and", first + (LANES - 1), const("i64", -LANES)), "whole")
    with b.if_(whole.ne(first)):
        ahead = b.let(whole - LANES, "ahead")
        with b.vfor("h", ahead, minimum(whole, end), LANES) as r:
            lower.only = b.let(r >= first, "only")
            inside(r)
            lower.only = None
    with b.vfor("r", whole, end, LANES) as r:
        inside(r)


def outer_within(lower: _Lower, flat: Value, last: int) -> None:
    """Coordinates of the axes within up to `last` from their flattened index."""
    b, first = lower.b, lower.nest.kept + lower.nest.reduced
    for a in range(last, first, -1):
        quotient = b.let(flat // lower.extents[a], "q")
        lower.coords[a] = b.let(flat - quotient * lower.extents[a], "i")
        flat = quotient
    lower.coords[first] = flat


def stretches(lower: _Lower, lo: Value, hi: Value, point: Point) -> None:
    """point(place in the row) for its elements from lo to hi, along the last axis within."""
    b, inner = lower.b, lower.nest.kept + lower.nest.reduced - 1
    last = inner + lower.nest.within
    n = lower.extents[last]
    with b.for_("s", lo // n, (hi + (n - 1)) // n) as s:
        outer_within(lower, s, last - 1)
        start = b.let(s * n, "start")
        before, based = dict(lower.base), lower.based
        lower.hoist_bases()

        def inside(r: Value) -> None:
            lower.coords[inner], lower.coords[last] = r, r - start
            point(r, {})
            del lower.coords[inner], lower.coords[last]

        vectors(lower, b.let(maximum(start, lo), "first"), b.let(minimum(start + n, hi), "end"), inside)
        lower.base, lower.based = before, based


def looked_up(lower: _Lower, lo: Value, hi: Value, point: Point) -> None:
    """The same where the last axis is short: each lane has its own coordinates. What is divided is the way from lo on,
    less than 1 << 23 even with what lo is ahead of the axis: float32 has its quotient, truncated, exactly."""
    b, inner = lower.b, lower.nest.kept + lower.nest.reduced - 1
    last = inner + lower.nest.within
    n = lower.extents[last]
    first = b.let(lo // n, "first")
    back, by = b.let(lo - first * n, "back"), b.let(n.cast("f32"), "by")
    with b.vfor("r", lo, hi, LANES) as r:
        way = b.let(r - lo + back, "way")
        quotient = b.let((way.cast("i32").cast("f32") / by).cast("i32").cast("i64"), "q")
        lower.coords[inner], lower.coords[last] = r, b.let(way - quotient * n, "i")
        outer_within(lower, b.let(first + quotient, "q"), last - 1)
        point(r, {})


def across(nest: Nest) -> list[int]:
    """The accesses that do not walk the innermost reduced axis as one."""
    rows = [row for _, _, _, row in nest.accesses]
    return [k for k, row in enumerate(rows) if nest.within and any(c != 0 for c in row[-nest.within :])]


def scratch(lower: _Lower) -> dict[int, Buffer]:
    """Where turned rows of each access are kept, if that is not scratch of the kernel."""
    types = {k: lower.nest.accesses[k][0] for k in across(lower.nest)}
    each = TURNED // sum(SIZE[type] for type in types.values())
    return {k: lower.b.alloc("turned", type, each) for k, type in types.items()}


class Turned:
    """The same where memory has the rows of the last axis side by side (channels are innermost): a few of them are
    turned in registers into scratch, and taken from there one after the other."""

    def __init__(self, lower: _Lower):
        self.lower, self.b = lower, lower.b
        nest = lower.nest
        self.rows, self.side, self.far = nest.turned
        self.inner = nest.kept + nest.reduced - 1
        self.last = self.inner + nest.within
        self.kept: dict[int, Buffer] = lower.turned
        self.values = {i: v[1] for i, v in enumerate(nest.values) if v[0] == "load" and v[1] in self.kept}

    def body(self, lo: Value, hi: Value, point: Point) -> None:
        """All elements from lo to hi."""
        self.blocks(lo, hi, point, lambda begin, end, inside: vectors(self.lower, begin, end, inside))

    def chunks(
        self, lo: Value, hi: Value, size: int, reduces: list[int], stores: list[tuple[int, int]]
    ) -> None:
        """The same for whole chunks of a reduction of everything: all that a turned row belongs to read it."""
        b, lower = self.b, self.lower
        lo, hi = b.let(lo, "begin"), b.let(hi, "end")
        lanes = {r: Lanes(b, lower.nest.values[r], LANES) for r in reduces}

        def run(begin: Value, end: Value, inside: Inside) -> None:
            with b.for_("q", begin // size, (end + (size - 1)) // size) as q:
                stop = b.let(minimum((q + 1) * size, hi), "stop")
                upto = b.let(minimum(stop, end), "upto")
                vectors(lower, b.let(maximum(q * size, begin), "from"), upto, inside)
                with b.if_(upto.eq(stop)):
                    lower.keep_chunk(q, lanes)
                    for mine in lanes.values():
                        mine.restart()

        self.blocks(lo, hi, lambda r, given: lower.point(0, lanes, stores, r, given), run, self.rows)

    def blocks(
        self, lo: Value, hi: Value, point: Point, run: Callable[[Value, Value, Inside], None], line: int = 1
    ) -> None:
        """run(begin, end, inside) for what is turned at once; rows begin at multiples of `line`."""
        lower, b, last = self.lower, self.b, self.last
        n, side = lower.extents[last], lower.extents[last - 1]
        self.home = b.let(b.tid * (n * self.rows), "home") if self.far else const("i64", 0)
        first, end = b.let(lo // n, "first"), b.let((hi + (n - 1)) // n, "end")
        with b.for_("p", first // side, (end + (side - 1)) // side) as plane:
            if lower.nest.within > 2:
                outer_within(lower, plane, last - 2)
            start = b.let(plane * side, "start")
            t1 = b.let(minimum(end - start, side), "t1")
            before, based = dict(lower.base), lower.based
            lower.hoist_bases()
            t0 = maximum(first - start, 0)
            with b.for_("t", t0 // line * line if line > 1 else t0, t1, self.rows) as t:
                at = b.let(minimum(t, side - self.rows), "at")
                self.turn(at)
                origin = b.let((start + at) * n - self.home, "origin")

                def inside(r: Value) -> None:
                    place = b.let(r - origin, "place")
                    kept = {i: self.kept[k].load(place, lower.only) for i, k in self.values.items()}
                    lower.coords[self.inner] = r
                    point(r, {i: b.let(x, "x") for i, x in kept.items()})
                    del lower.coords[self.inner]

                begin = b.let(maximum((start + t) * n, lo), "begin")
                stop = b.let(minimum((start + minimum(t + self.rows, t1)) * n, hi), "stop")
                run(begin, stop, inside)
            lower.base, lower.based = before, based

    def turn(self, at: Value) -> None:
        """The rows from `at` on into scratch: the loads of one block stand together (see codegen/transpose.py)."""
        lower, b, last = self.lower, self.b, self.last
        n = lower.extents[last]
        lower.coords[last - 1] = at
        with b.for_("z0", 0, n, self.side) as z0:
            first = b.let(minimum(z0, n - self.side), "first")
            for access in self.kept:
                if self.far:
                    self.ahead(access, first)
                with b.vfor("z", first, first + self.side, self.side, full=True) as z:
                    lower.coords[last] = z
                    self.block(access, b.let(lower.address(access), "row"), b.let(z + self.home, "to"))
                    del lower.coords[last]
        del lower.coords[last - 1]

    def ahead(self, access: int, first: Value) -> None:
        """Ask for the lines of a later block: the processor does not see through so many far apart."""
        lower, b, last = self.lower, self.b, self.last
        for k in range(AHEAD * self.side, (AHEAD + 1) * self.side):
            lower.coords[last] = b.let(minimum(first + k, lower.extents[last] - 1), "z")
            b.prefetch(lower.bufs[access], lower.address(access))
        del lower.coords[last]

    def block(self, access: int, row: Value, to: Value) -> None:
        """A vector of each of the rows."""
        b, kept, n = self.b, self.kept[access], self.lower.extents[self.last]
        for u0 in range(0, self.rows, self.side):
            at = b.let(row + u0, "row") if u0 else row
            found = [b.let(self.lower.bufs[access][at + u], "x") for u in range(self.side)]
            for u, x in enumerate(found):
                kept[to + (u0 + u) * n] = x
