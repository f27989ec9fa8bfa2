"""The schedule "batch" of nest.py: short rows, each in vectors along it, and what is known of rows for 16 at a time.

The tree over the lanes of a row, its fold and what follows from it wait for each other, and take more than a short row.
Here the lanes of 16 rows go to scratch; that is turned in registers, so that one tree serves them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..build import Value, const, op, select
from ..ir import FLOATS
from .accumulate import LANES, Lanes, identity
from .wide import Wide

if TYPE_CHECKING:
    from .nest import _Lower


class Batch(Wide):
    """One kernel: its columns are rows, since they are the lanes of what is known of rows."""

    def __init__(self, lower: _Lower):
        super().__init__(lower)
        self.width = LANES

    def one_pass(self, p: int) -> None:
        """Walk each of the rows once, then all their trees."""
        lower, b, nest = self.lower, self.b, self.nest
        reduces, stores = lower.work(p)
        if not (reduces or stores or lower.stash_of(p)[1]):
            return
        wanted = {nest.values[r][2] for r in reduces} | {v for v, _ in stores + lower.stash_of(p)[1]}
        before, based = dict(lower.base), lower.based
        with b.for_("u", self.first, self.end) as u:
            lower.coords[self.inner] = u
            lower.hoist_bases()
            lower.scopes.append({})
            at = b.let(u - self.first, "at")
            self.known_of_row(wanted, p, at)
            zero, one = const("i64", 0), const("i64", 1)
            found = lower.row_chunk(p, reduces, stores, zero, one, zero, lower.extents[-1])
            for r, lanes in found.items():
                self.put_lanes(r, lanes, b.let(at * LANES, "to"))
            lower.scopes.pop()
            lower.base, lower.based = before, based
        del lower.coords[self.inner]
        if reduces:
            self.fold(reduces)

    def known_of_row(self, wanted: set[int], p: int, at: Value) -> None:
        """What the elements of a row need that is the same for all of them: out of scratch, or out of memory."""
        lower, todo, seen = self.lower, list(wanted), set()
        for i in self.frontier(wanted, p):
            lower.scopes[-1][i] = self.read(i, at)
        while todo:
            i = todo.pop()
            v = self.nest.values[i]
            if i in seen or i in lower.scopes[-1]:
                continue
            seen.add(i)
            if v[0] == "load" and self.facts.depth[i] < 2:
                lower.get(i)
            todo.extend(v[3:] if v[0] == "map" else ())

    def put_lanes(self, r: int, lanes: Lanes, to: Value) -> None:
        """The lanes of a row into scratch."""
        b = self.b
        with b.vfor("l", 0, LANES, LANES, full=True) as lane:
            found = lanes.acc.get()
            if lanes.apart:
                nan = b.let(lanes.unordered.get())
                signed = op("copysign", found, lanes.signs.get().bitcast(lanes.work))
                found = b.let(select(nan.ne(nan), nan, signed))
            b.store(self.lanes[r], to + lane, found.cast("u8") if lanes.work == "b1" else found)

    def fold(self, reduces: list[int]) -> None:
        """The trees of 16 rows; there is one chunk. Rows that do not exist have what was there before."""
        b = self.b
        with b.vfor("at", 0, LANES, LANES, full=True) as at:
            for r in reduces:
                v, type = self.nest.values[r], self.lane_type(r)
                first = b.let(at * LANES, "first")
                values = [b.let(self.lanes[r][first + k]) for k in range(LANES)]
                values = [b.let(x.ne(0)) for x in values] if type == "b1" else values
                step = LANES // 2
                while step:
                    values = [b.let(op(v[1], values[i], values[i + step])) for i in range(step)]
                    step //= 2
                total = values[0]
                if v[1] == "add" and type in FLOATS:  # the sum begins with 0: there is no other negative zero
                    total = op("add", const(type, identity("add", type)), total)
                self.keep(r, at, b.let(total.cast(v[3]), "total"))
