"""The schedule "brief" of nest.py: reductions over few rows (or short ones) of simple elements, in registers.

The lanes of a column are added up one after the other (rows l, l+16, ... of lane l), each as soon as the tree over the
lanes comes to it: so that five sums are alive at the most, and none is in memory. The order is that of every schedule;
where it makes no difference (extrema, sums of integers) there is one lane.
"""

from __future__ import annotations

from ..build import Value, op, select
from ..ir import FLOATS
from .accumulate import LANES, Lanes, Total
from .columns import Columns

TOGETHER = 4  # rows in one round of a loop


class Brief(Columns):
    """One kernel."""

    def allocate(self, sweeps: list[list[int]]) -> None:
        """Nothing: the accumulators are registers."""

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

        def walk(first: Value, step: int, sums: dict[int, Lanes], stores: list[tuple[int, int]]) -> None:
            def point(row: Value) -> None:
                lower.enter(row)
                lower.scopes.append({})
                lower.element(list(sums), stores, p)
                for r, lanes in sums.items():
                    lanes.add(lower.get(nest.values[r][2]), row)
                lower.scopes.pop()

            with b.for_("ro", olo, ohi) as o:
                lower.outer_reduced(o)
                rest = first
                if step == 1:
                    rest = b.let(first + (hi - first) // TOGETHER * TOGETHER, "rest")
                    with b.for_("rs", first, rest, TOGETHER) as row:
                        for k in range(TOGETHER):
                            point(b.let(row + k, "rk"))
                with b.for_("r", rest, hi, step) as row:
                    point(row)
                lower.leave()
                for a in range(nest.kept, last):
                    lower.coords.pop(a, None)

        def tree(some: list[int], lane: int, apart: int) -> dict[int, Lanes]:
            """The tree over the lanes that are `apart` from this one on."""
            sums = {r: Lanes(b, nest.values[r], LANES) for r in some if apart == LANES}
            if sums:
                walk(lo + lane, LANES, sums, [])
                return sums
            sums, others = tree(some, lane, 2 * apart), tree(some, lane + apart, 2 * apart)
            for r, lanes in sums.items():
                lanes.acc.set(op(lanes.kind, lanes.acc.get(), others[r].acc.get()))
            return sums

        ordered = [r for r in totals if totals[r].kind in ("add", "mul") and totals[r].via in FLOATS]
        sums = tree(ordered, 0, 1) if ordered else {}
        free = {r: Lanes(b, nest.values[r], LANES) for r in totals if r not in ordered}
        if free or stores:
            walk(lo, 1, free, stores)
        for r, lanes in (sums | free).items():
            found = b.let(lanes.acc.get())
            if lanes.apart:
                nan = b.let(lanes.unordered.get())
                signed = op("copysign", found, lanes.signs.get().bitcast(lanes.work))
                found = b.let(select(nan.ne(nan), nan, signed))
            totals[r].fold(found)
