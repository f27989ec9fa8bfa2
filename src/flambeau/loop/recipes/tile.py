"""The schedule "tile" of nest.py: maps that read along one axis and write along another, in tiles of 64 x 256.

Of what is read across the lanes, 16 x 16 elements at a time are turned in registers (codegen/transpose.py) and kept in
scratch; each row of the tile is then computed from there, in vectors, as in a map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..build import Buffer, Value, const, minimum
from .accumulate import LANES

if TYPE_CHECKING:
    from .nest import _Lower

SIDE, DEEP = (
    64,
    256,
)  # elements of a tile along the axis written and along that read: long runs are fetched ahead
SCRATCH = 48 << 10  # bytes that the rows kept in scratch may take


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

    def body(self, everything: set[int]) -> None:
        """All tiles of this part."""
        lower, b = self.lower, self.b
        for access in sorted(set(self.turned.values())):
            self.kept[access] = b.alloc("turned", self.nest.accesses[access][0], LANES * SIDE)
        n, m = lower.extents[self.axis], lower.extents[self.inner]
        high, wide = b.let((n + (DEEP - 1)) // DEEP, "high"), b.let((m + (SIDE - 1)) // SIDE, "wide")
        others = [a for a in range(self.inner) if a != self.axis]
        total = b.let(high * wide, "total")
        for a in others:
            total = b.let(total * lower.extents[a], "total")
        lo, hi = b.partition(total) if self.nest.split else (const("i64", 0), total)
        with b.for_("o", lo, hi) as o:
            i0 = b.let(o % wide * SIDE, "i0")
            rest = b.let(o // wide, "rest")
            t0 = b.let(rest % high * DEEP, "t0")
            rest = b.let(rest // high, "rest")
            for a in reversed(others[1:]):
                lower.coords[a] = b.let(rest % lower.extents[a], "i")
                rest = b.let(rest // lower.extents[a], "q")
            if others:
                lower.coords[others[0]] = rest
            self.tile(everything, (i0, b.let(minimum(i0 + SIDE, m), "i1")), (t0, minimum(t0 + DEEP, n)))

    def tile(self, everything: set[int], columns: tuple[Value, Value], rows: tuple[Value, Value]) -> None:
        """Whole blocks of 16 rows, and the rest row by row."""
        b = self.b
        t0, t1 = rows[0], b.let(rows[1], "t1")
        whole = b.let(t0 + (t1 - t0) // LANES * LANES, "whole")
        with b.for_("t", t0, whole, LANES) as t:
            self.turn(t, columns)
            with b.for_("u", 0, LANES) as u:
                self.row(everything, b.let(t + u, "tu"), columns, u)
        with b.for_("t", whole, t1) as t:
            self.row(everything, t, columns, None)

    def turn(self, t: Value, columns: tuple[Value, Value]) -> None:
        """16 rows of what is read across, into scratch: the loads of one block stand together."""
        lower, b = self.lower, self.b
        for access, kept in self.kept.items():
            with b.vfor("i", *columns, LANES) as i:
                lower.coords[self.axis], lower.coords[self.inner] = t, i
                at = b.let(lower.address(access, hoisted=False), "at")
                found = [b.let(lower.bufs[access][at + u], "x") for u in range(LANES)]
                to = b.let(i - columns[0], "to")
                for u, x in enumerate(found):
                    kept[to + u * SIDE] = x
            del lower.coords[self.inner]

    def row(self, everything: set[int], t: Value, columns: tuple[Value, Value], u: Value | None) -> None:
        """One row of a tile; u: which of the rows in scratch, if it is one of them."""
        lower, b = self.lower, self.b
        lower.coords[self.axis] = t
        lower.scopes.append({})
        lower.hoist_bases()
        lower.scope_values(everything - set(self.turned), 1, 0)
        with b.vfor("i", *columns, LANES, past=self.nest.past) as i:
            lower.coords[self.inner] = i
            lower.scopes.append({})
            if u is not None:
                for v, access in self.turned.items():
                    lower.scopes[-1][v] = b.let(self.kept[access][u * SIDE + (i - columns[0])], "x")
            for v in sorted(everything):
                lower.get(v)
            lower.put(self.nest.stores)
            lower.scopes.pop()
        del lower.coords[self.inner]
        lower.scopes.pop()
        lower.base, lower.based = {}, set()
