"""All steps of a recurrent layer as turns of one kernel: the runner begins it for each step, parts divide the units.

Blocks of units do not meet within a turn: a part computes the gates of its units for all rows of the batch and then
these units' states, which all parts read in the next turn. So each thread reads its share of the weights alone, step
after step, and keeps that in a cache of its own. Where there are fewer blocks than threads, rows are divided, too.

    forward, turn 1 + s: gates from x_t and h W^T, then the states (recurrence_forward.py)
    backward, turn s: dh = da W of the step done before, then da of this one (recurrence_backward.py)

The weights come in blocks: (blocks of units, reduced axis, gates, units of a block), read in order. Every element of a
product is one chain over the reduced axis: parts, blocks and tiles never change a bit. Sequences of several lengths
(`packed`) come longest first, the rows of a step after those of the step before: step t concerns the first sizes[t]
rows of the batch, whose states are kept from there on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from ..build import Buffer, Builder, Value, const, fma, maximum, minimum, select

LANES = 16
WIDE = (64, 32)  # units of a block where each has one column
GATES = {"lstm": 4, "gru": 3, "tanh": 1, "relu": 1}  # blocks of columns of a step's product
KEPT = {"lstm": 4, "gru": 4, "tanh": 0, "relu": 0}  # blocks of columns kept for the gradient

# Of lstm an operand and a result that may share memory: each element is read once, by the part that then writes it.
OVER = {"forward": ("x", "acts"), "backward": ("acts", "da")}


class Spec(NamedTuple):
    """What identifies a kernel: direction, kind of cell, dtype, units of the layer, rows and vectors of a tile, groups
    of rows, size of the projection (0: none), whether there are biases of the states (gru), several lengths, results
    kept for a gradient (forward), a gradient of the output, and (lstm) what OVER names in one place."""

    kind: str
    mode: str
    dtype: str
    size: int
    rows: int
    vectors: int
    groups: int = 1
    proj: int = 0
    bias: bool = False
    packed: bool = False
    keep: bool = False
    outer: bool = True
    over: bool = False

    @property
    def out(self) -> int:
        """The size of h."""
        return self.proj or self.size

    @property
    def phases(self) -> int:
        """Turns of a step."""
        return 2 if self.proj else 1


def width(units: int, gates: int = 1) -> int:
    """Units of a block: the most that leave an even number of blocks."""
    if gates > 1:
        return LANES
    return next(
        (w for w in WIDE if units > w and -(-units // w) % 2 == 0), LANES if units <= LANES else WIDE[1]
    )


def blocks(units: int, gates: int = 1) -> int:
    """Blocks of so many units."""
    return -(-units // width(units, gates))


class Steps:
    """The parameters of both directions, where a step's rows are, and the product of a step."""

    def __init__(self, spec: Spec, read: tuple[str, ...], written: tuple[str, ...], scratch: tuple[str, ...]):
        self.spec, self.b = spec, Builder(f"{spec.mode}_{spec.kind}")
        b = self.b
        over = (
            ("acts", "da") if spec.over else ()
        )  # each element is read, in the turn that writes it, before that
        self.bufs = {n: b.buf(n, "i64" if n == "sizes" else spec.dtype, alias=n in over) for n in read}
        self.bufs |= {n: b.buf(n, spec.dtype, "rw", n in over) for n in (*written, *scratch)}
        self.turn, self.steps = b.integer("turn"), b.integer("steps")
        self.batch, self.up = b.integer("batch"), b.integer("up")  # up: 1 if time goes forward, else 0
        self.lo, self.hi, self.group = const("i64", 0), const("i64", 0), const("i64", 0)
        lanes = max(GATES[spec.mode] * LANES, WIDE[0])
        self.made = b.alloc("made", spec.dtype, spec.rows * lanes, True)

    def rows_of(self, t: Value, there: Value) -> Value:
        """Rows of the step at position t; none where it is not `there`."""
        if not self.spec.packed:
            return self.b.let(select(there, self.batch, 0))
        at = maximum(minimum(t, self.steps - 1), 0)
        return self.b.let(select(there, self.bufs["sizes"][at], 0))

    def place_of(self, t: Value) -> Value:
        """Where the rows of the step at position t begin."""
        b = self.b
        if not self.spec.packed:
            return b.let(maximum(t, 0) * self.batch)
        sum_ = b.reg("place", 0, "i64")
        with b.for_("i", 0, t) as i:
            sum_.set(sum_.get() + self.bufs["sizes"][i])
        return b.let(sum_.get())

    @contextmanager
    def blocks(self, units: int, gates: int = 1) -> Iterator[Value]:
        """The blocks of units (lo..hi, cut at their end) and the groups of rows that are this part's."""
        b, groups, wide = self.b, self.spec.groups, width(units, gates)
        first, last = b.partition(const("i64", blocks(units, gates) * groups))
        with b.for_("u", first, last) as u:
            block = b.let(u // groups if groups > 1 else u, "block")
            self.group = b.let(u % groups) if groups > 1 else const("i64", 0)
            self.lo = b.let(block * wide, "lo")
            self.hi = b.let(minimum(self.lo + wide, units), "hi")
            yield block

    def of_group(self, count: Value) -> Value:
        """How many of the first `count` rows are the group's: every groups-th one."""
        groups = self.spec.groups
        return self.b.let((count + (groups - 1) - self.group) // groups) if groups > 1 else count

    def row(self, j: Value) -> Value:
        """The number in the batch of the group's row j."""
        return self.b.let(j * self.spec.groups + self.group) if self.spec.groups > 1 else j

    @contextmanager
    def each(self, count: Value, start: Value | int = 0) -> Iterator[Value]:
        """Rows start..count of the batch that are the group's."""
        first = self.of_group(start) if isinstance(start, Value) else start
        with self.b.for_("j", first, self.of_group(count)) as j:
            yield self.row(j)

    @contextmanager
    def units(self, units: int) -> Iterator[Value]:
        """The units of the block, of so many, in vectors."""
        with self.b.vfor("u", self.lo, self.hi, LANES, full=units % LANES == 0) as u:
            yield u

    def copy(self, to: str, source: str, size: int, place: Value | int = 0) -> None:
        """The block's units of all rows of a state."""
        with self.each(self.batch) as i, self.units(size) as u:
            self.bufs[to][place + i * size + u] = self.bufs[source][i * size + u]

    def product(
        self,
        count: Value,
        source: Buffer,
        begin: Callable[[Value], Value],
        depth: int,
        units: int,
        block: Value,
        then: Callable[[Value, Callable[[Value, int], Value]], None],
        gates: int = 1,
        w: str = "w",
    ) -> None:
        """For the group's rows i of the first `count`: then(i, sums), where sums(u, g) is that of unit u of the block
        and gate g: the sum over k of source[begin(i) + k] * w[k, g, u]."""
        b, spec, made = self.b, self.spec, self.made
        lanes = width(units, gates) * gates
        tile = min(spec.vectors * LANES, lanes)
        mine = self.of_group(count)
        with b.for_("n0", 0, mine, spec.rows) as n0:
            starts = [
                b.let(begin(self.row(b.let(minimum(n0 + r, mine - 1)))), "row") for r in range(spec.rows)
            ]
            with b.for_("at", 0, lanes, tile) as at:
                self._tile(w, source, starts, depth, b.let(block * (depth * lanes) + at), lanes, tile, at)
            with b.for_("j", n0, minimum(n0 + spec.rows, mine)) as j:
                place = b.let((j - n0) * lanes - self.lo)

                def sums(u: Value, g: int, place: Value = place) -> Value:
                    return made[place + g * (lanes // gates) + u]

                then(self.row(j), sums)

    def _tile(
        self,
        w: str,
        source: Buffer,
        starts: list[Value],
        depth: int,
        panel: Value,
        lanes: int,
        tile: int,
        to: Value,
    ) -> None:
        """The sums of some lanes of a block for the rows that begin at `starts`, into `made`."""
        b, weights, count = self.b, self.bufs[w], -(-tile // LANES)
        if tile % LANES or lanes % tile:
            raise ValueError("recurrence: a tile is some whole vectors of a block")
        acc = [[b.reg("acc", 0, self.spec.dtype, LANES) for _ in range(count)] for _ in starts]

        def step(k: Value) -> None:
            place = b.let(panel + k * lanes)
            with b.vfor("x", 0, LANES, LANES, full=True) as x:
                values = [b.let(weights[place + (v * LANES) + x]) for v in range(count)]
                for start, sums in zip(starts, acc):
                    factor = b.let(source[start + k])
                    for value, total in zip(values, sums):
                        total.set(fma(factor, value, total.get()))

        with b.for_("kk", 0, depth // 4 * 4, 4) as kk:
            for u in range(4):
                step(kk + u)
        for k in range(depth // 4 * 4, depth):
            step(const("i64", k))
        with b.vfor("x", 0, LANES, LANES, full=True) as x:
            for r, sums in enumerate(acc):
                for v, total in enumerate(sums):
                    self.made[to + (r * lanes + v * LANES) + x] = total.get()
