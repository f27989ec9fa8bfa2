"""Bags of rows: the sum or mean of the rows of a table that each bag names, and the way back to the table.

The rows of a bag are added one after the other, in registers, so that nothing but the results is stored. Parts share
the bags; on the way back, where rows of several bags meet in one row of the table, they share the columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..build import Builder, Value, const, maximum, minimum, select
from ..ir import Kernel
from .contraction import accumulator

LANES, GROUPS = 16, 4  # columns of a vector; vectors that are added up at a time
AHEAD = 8  # rows that memory is asked for ahead
INDEX, START = 1, 2  # what is checked: an index is a row of the table; bags begin in order, the first at 0


@dataclass(frozen=True)
class Bags:
    """What makes a kernel. back: rows of bags are added to those of the table; mean: they are divided by how many a bag
    has; padded: one index does not count; units: column strides of table and bags and the stride of the indices, 0 or 1
    ("s": any)."""

    type: str
    index: str
    start: str
    back: bool
    mean: bool
    padded: bool
    units: tuple[object, object, object]
    weighted: bool = False  # each row is multiplied by a number of its own


def kernel(spec: Bags) -> Kernel:
    """bags[b, :] = sum of table[index[i], :] over the i of bag b, or table[index[i], :] += bags[b, :]."""
    f = _Frame(spec)
    b = f.b
    if not spec.back:
        lo, hi = b.partition(f.count)
        with b.for_("bag", lo, hi) as bag:
            first, last = f.bounds(bag)
            number = f.number(first, last)
            f.columns(
                const("i64", 0), f.size, lambda at, end, n: f.gather(bag, first, last, number, at, end, n)
            )
        return b.kernel()
    lo, hi = b.partition(f.size, LANES)
    with b.for_("bag", 0, f.count) as bag:
        first, last = f.bounds(bag)
        number = f.number(first, last)
        f.columns(lo, hi, lambda at, end, n: f.spread(bag, first, last, number, at, end, n))
    return b.kernel()


class _Frame:
    """Parameters: n indices (stride `is`), count bags that begin at starts (stride ss), a table of rows x size (strides
    tr, tc), bags of count x size (br, bc), pad: the index that does not count."""

    def __init__(self, spec: Bags):
        self.spec, b = spec, Builder("bags_back" if spec.back else "bags")
        self.b = b
        self.acc = accumulator(spec.type)
        self.table = b.buf("table", spec.type, "rw" if spec.back else "r")
        self.bags = b.buf("bags", spec.type, "r" if spec.back else "w")
        self.index, self.starts = b.buf("index", spec.index), b.buf("starts", spec.start)
        self.weights = b.buf("weights", spec.type) if spec.weighted else None
        self.n, self.count, self.size, self.rows = (b.integer(k) for k in ("n", "count", "size", "rows"))
        self.s_s, self.pad = b.integer("s_s"), b.integer("pad")
        self.t_r, self.b_r = b.integer("t_r"), b.integer("b_r")
        self.t_c, self.b_c, self.i_s = (
            b.integer(k) if unit == "s" else const("i64", unit)  # type: ignore[arg-type]
            for k, unit in zip(("t_c", "b_c", "i_s"), spec.units)
        )

    def bounds(self, bag: Value) -> tuple[Value, Value]:
        """Where a bag's indices begin and end."""
        b = self.b
        first = b.let(self.starts[bag * self.s_s].cast("i64"), "first")
        after = b.let(minimum(bag + 1, self.count - 1), "after")
        end = b.let(self.starts[after * self.s_s].cast("i64"), "end")
        last = b.let(select((bag + 1).eq(self.count), self.n, end), "last")
        zero = first.eq(0) | (bag > 0)
        b.check((first >= 0) & (last <= self.n) & (first <= last) & zero, START, first, bag)
        apart = self.spec.units[2] == "s"
        with b.for_("i", first, last) if apart else b.vfor("i", first, last, LANES) as i:
            k = self.row(i)
            b.check((k >= 0) & (k < self.rows), INDEX, k, i)
        return first, last

    def row(self, i: Value) -> Value:
        return self.b.let(self.index[i * self.i_s].cast("i64"), "k")

    def number(self, first: Value, last: Value) -> Value:
        """How many of a bag's indices count; at least 1."""
        b = self.b
        if not self.spec.mean:
            return const(self.acc, 1)
        if not self.spec.padded:
            return b.let(maximum(last - first, 1).cast(self.acc), "number")
        some = b.reg("some", const("i64", 0))
        with b.for_("i", first, last) as i:
            some.set(some.get() + self.row(i).ne(self.pad).cast("i64"))
        return b.let(maximum(some.get(), 1).cast(self.acc), "number")

    def columns(self, lo: Value, hi: Value, body: Callable[[Value, Value, int], None]) -> None:
        """body(first column, how many lanes, vectors): whole groups of vectors, then a vector at a time."""
        b, step = self.b, LANES * GROUPS
        wide = b.let(lo + (hi - lo) // step * step, "wide")
        with b.for_("c", lo, wide, step) as c:
            body(c, const("i64", LANES), GROUPS)
        with b.for_("c", wide, hi, LANES) as c:
            body(c, b.let(minimum(hi - c, LANES), "lanes"), 1)

    def each_row(self, first: Value, last: Value, at: Value, body: Callable[[Value, Any], None]) -> None:
        """body(where the columns from `at` of a row of the table lie, its weight) for the rows of a bag that count."""
        b = self.b
        with b.for_("i", first, last) as i:
            near = self.row(b.let(minimum(i + AHEAD, self.n - 1), "ahead"))
            b.prefetch(self.table, near * self.t_r + at * self.t_c, write=self.spec.back)
            k = self.row(i)
            weight = None if self.weights is None else b.let(self.weights[i].cast(self.acc), "weight")
            if not self.spec.padded:
                body(b.let(k * self.t_r + at * self.t_c, "base"), weight)
                return
            with b.if_(k.ne(self.pad)):
                body(b.let(k * self.t_r + at * self.t_c, "base"), weight)

    def gather(
        self, bag: Value, first: Value, last: Value, number: Value, at: Value, lanes: Value, groups: int
    ) -> None:
        """Some columns of a bag."""
        b, full = self.b, groups > 1
        total = [b.reg("total", 0, self.acc, LANES) for _ in range(groups)]

        def body(base: Value, weight: Any) -> None:
            with b.vfor("x", 0, LANES if full else lanes, LANES, full=full) as x:
                for g, t in enumerate(total):
                    value = self.table[base + (x + g * LANES) * self.t_c].cast(self.acc)
                    t.set(t.get() + (value if weight is None else value * weight))

        self.each_row(first, last, at, body)
        with b.vfor("x", 0, LANES if full else lanes, LANES, full=full) as x:
            for g, t in enumerate(total):
                found = t.get() / number if self.spec.mean else t.get()
                self.bags[bag * self.b_r + (at + x + g * LANES) * self.b_c] = found.cast(self.spec.type)

    def spread(
        self, bag: Value, first: Value, last: Value, number: Value, at: Value, lanes: Value, groups: int
    ) -> None:
        """Some columns of the rows of a bag."""
        b, full = self.b, groups > 1
        given = [b.reg("given", 0, self.acc, LANES) for _ in range(groups)]
        with b.vfor("x", 0, LANES if full else lanes, LANES, full=full) as x:
            for g, t in enumerate(given):
                value = self.bags[bag * self.b_r + (at + x + g * LANES) * self.b_c].cast(self.acc)
                t.set(value / number if self.spec.mean else value)

        def body(base: Value, weight: Any) -> None:
            with b.vfor("x", 0, LANES if full else lanes, LANES, full=full) as x:
                for g, t in enumerate(given):
                    to = base + (x + g * LANES) * self.t_c
                    value = t.get() if weight is None else t.get() * weight
                    self.table[to] = (self.table[to].cast(self.acc) + value).cast(self.spec.type)

        self.each_row(first, last, at, body)
