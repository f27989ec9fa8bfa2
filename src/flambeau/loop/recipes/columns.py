"""The schedule "col" of nest.py: reductions over rows of a few columns, 16 columns at a time.

The 16 accumulators of each column live in scratch, as there are not enough registers for them: so the rows are a loop,
in which an element's code stands once (four times, where it is short).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..build import Buffer, Value, const, minimum, op
from ..ir import SIZE
from .accumulate import LANES, Lanes, Place, Total
from .wide import together

if TYPE_CHECKING:
    from .nest import _Lower

LONG = 6  # operations from which code counts for more than masks cost: a bound with a name makes one round (llvm.py)
SCRATCH = 32 << 10  # bytes of accumulators for which the rows are walked once


class Columns:
    """One kernel: `scratch` is where the accumulators of each reduction are."""

    def __init__(self, lower: _Lower):
        self.lower, self.b, self.nest, self.facts = lower, lower.b, lower.nest, lower.facts
        self.inner = self.nest.kept - 1
        self.scratch: dict[int, list[Buffer]] = {}

    def body(self, everything: set[int]) -> None:
        """All columns of this part."""
        lower, b, nest = self.lower, self.b, self.nest
        passes = range(max(self.facts.pass_) + 1)
        sweeps = {p: self.sweeps(lower.work(p)[0]) for p in passes}
        self.allocate([sweep for p in passes for sweep in sweeps[p]])

        def inside() -> None:
            lower.hoist_bases()
            n = lower.extents[self.inner]
            lo, hi = b.partition(n, LANES) if nest.split == "inner" else (const("i64", 0), n)
            long = sum(v[0] == "map" for v in nest.values) >= LONG
            with b.for_("tile", lo, hi, LANES) as first:
                some = minimum(hi - first, LANES)
                with b.vfor("at", 0, b.let(some, "some") if long else some, LANES) as self.at:
                    lower.coords[self.inner] = first + self.at
                    before, based = dict(lower.base), lower.based
                    lower.hoist_bases()
                    lower.scopes.append({})
                    lower.scope_values(everything, 1, 0)
                    for p in passes:
                        self.one_pass(p, sweeps[p])
                    lower.store_rows()
                    lower.scopes.pop()
                    lower.base, lower.based = before, based
                del lower.coords[self.inner]

        lower.outer(list(range(self.inner)), nest.split == "outer", inside)

    def sweeps(self, reduces: list[int]) -> list[list[int]]:
        """The reductions of a pass, as many together as their accumulators may be."""
        parts: list[list[int]] = [[]]
        room = SCRATCH
        for r in reduces:
            need = sum(SIZE[type] for type in Lanes.types(self.nest.values[r])) * LANES * LANES
            if need > room:
                parts.append([])
                room = SCRATCH
            room -= need
            parts[-1].append(r)
        return parts

    def allocate(self, sweeps: list[list[int]]) -> None:
        """Scratch for the accumulators: one sweep takes that of another."""
        free: dict[str, list[Buffer]] = {}
        for sweep in sweeps:
            taken: dict[str, int] = {}
            for r in sweep:
                self.scratch[r] = []
                for type in Lanes.types(self.nest.values[r]):
                    k, have = taken.get(type, 0), free.setdefault(type, [])
                    taken[type] = k + 1
                    if k == len(have):
                        kind = "u8" if type == "b1" else type
                        have.append(self.b.alloc("lanes", kind, LANES * LANES, loose=True))
                    self.scratch[r].append(have[k])

    def lanes(self, r: int, lane: Value) -> Lanes:
        """The accumulators of a lane, `lane` rows into the scratch."""
        v = self.nest.values[r]
        flags = [type == "b1" for type in Lanes.types(v)]
        at = lane + self.at
        return Lanes(self.b, v, LANES, [Place(self.b, x, at, f) for x, f in zip(self.scratch[r], flags)])

    def one_pass(self, p: int, sweeps: list[list[int]]) -> None:
        """Walk the rows: the reductions of pass p, and with the last of them what is stored in it."""
        lower, nest = self.lower, self.nest
        reduces, stores = lower.work(p)
        if not (reduces or stores or lower.takes_of(p) or lower.stash_of(p)[1]):
            return
        lower.scope_values({nest.values[r][2] for r in reduces} | {v for v, _ in stores}, 1, p)
        found: dict[int, Value] = {}
        for sweep in sweeps:
            totals = {r: Total(self.b, nest.values[r], LANES) for r in sweep}
            last = sweep is sweeps[-1]
            lower.chunked(lambda *bounds: self.chunk(p, totals, stores if last else [], *bounds))  # noqa: B023
            found |= {r: total.result() for r, total in totals.items()}
        lower.scopes[-1].update(found)

    def chunk(
        self,
        p: int,
        totals: dict[int, Total],
        stores: list[tuple[int, int]],
        olo: Value,
        ohi: Value,
        lo: Value,
        hi: Value,
    ) -> None:
        """One chunk of rows."""
        lower, b, nest = self.lower, self.b, self.nest
        last = nest.kept + nest.reduced - 1
        if totals:
            with b.for_("l", 0, LANES * LANES, LANES) as lane:
                for r in totals:
                    self.lanes(r, lane).clear()

        def point(row: Value, o: Value, lane: Value) -> None:
            lower.enter(row)
            lower.scopes.append({})
            lower.element(list(totals), stores, p)
            for r in totals:
                position = o * lower.extents[last] + row if nest.reduced > 1 else row
                self.lanes(r, lane).add(lower.get(nest.values[r][2]), position)
            lower.scopes.pop()

        def lane_of(row: Value) -> Value:
            return b.let(op("and", row - lo, const("i64", LANES - 1)) * LANES, "lane")

        with b.for_("ro", olo, ohi) as o:
            lower.outer_reduced(o)
            rest, rows = lo, together(lower, p)
            if rows > 1:
                rest = b.let(lo + (hi - lo) // rows * rows, "rest")
                with b.for_("rs", lo, rest, rows) as row:
                    lane = lane_of(row)
                    for k in range(rows):
                        point(b.let(row + k, "rk"), o, lane + k * LANES)
            with b.for_("r", rest, hi) as row:
                point(row, o, lane_of(row))
            lower.leave()
            for a in range(nest.kept, last):
                lower.coords.pop(a, None)
        for r, total in totals.items():
            total.fold(Lanes.across([self.lanes(r, const("i64", k * LANES)) for k in range(LANES)]))
