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

Of bfloat16, what is in memory is rounded, but for the states of cells and the gradients of states; a step computes in
float32. Both factors of a product are read by words of two neighbours along the reduced axis if its length is even, the
chain takes the second of them first (see pairs.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from ..build import Buffer, Builder, Operand, Value, const, fma, maximum, minimum, select
from .pairs import Least, apart, dot2, safe

LANES = 16
WIDE = (64, 32)  # units of a block where each has one column
GATES = {"lstm": 4, "gru": 3, "tanh": 1, "relu": 1}  # blocks of columns of a step's product
KEPT = {"lstm": 4, "gru": 4, "tanh": 0, "relu": 0}  # blocks of columns kept for the gradient

# Of lstm an operand and a result that may share memory: each element is read once, by the part that then writes it.
OVER = {"forward": ("x", "acts"), "backward": ("acts", "da")}

# What is summed from step to step, or is read at once: float32 also where the layer is of bfloat16.
FINE = {"forward": ("last_c",), "backward": ("dh0", "dc0", "inner")}
# Factors of products, read by words as well.
WORDS = {"forward": ("work", "inner"), "backward": ("da", "dg", "dp")}


class Spec(NamedTuple):
    """What identifies a kernel: direction, kind of cell, dtype, units of the layer, rows and vectors of a tile, groups
    of rows, size of the projection (0: none), whether there are biases of the states (gru), several lengths, results
    kept for a gradient (forward), a gradient of the output, (lstm) what OVER names in one place, and (bf16) whether
    the processor takes two steps of a product at once."""

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
    pairs: bool = False

    @property
    def out(self) -> int:
        """The size of h."""
        return self.proj or self.size

    @property
    def phases(self) -> int:
        """Turns of a step."""
        return 2 if self.proj else 1

    @property
    def short(self) -> bool:
        """Whether memory holds bfloat16."""
        return self.dtype == "bf16"

    def factors(self) -> dict[str, tuple[int, int, int]]:
        """Of the weights: (length of the reduced axis, units, gates)."""
        gates = GATES[self.mode]
        forth = self.kind == "forward"
        found = {"w": (self.out, self.size, gates) if forth else (gates * self.size, self.out, 1)}
        if self.proj:
            found["wr"] = (self.size, self.proj, 1) if forth else (self.proj, self.size, 1)
        return found

    def by_words(self, name: str) -> bool:
        """Whether a product with these weights is read by words."""
        return self.short and self.factors()[name][0] % 2 == 0

    def least(self) -> dict[str, int]:
        """Scratch for the least exponent of each block of weights: how many elements of i64."""
        found = {n: blocks(units, gates) for n, (_, units, gates) in self.factors().items()}
        return {f"{n}_least": count for n, count in found.items() if self.pairs and self.by_words(n)}


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


class Rounded(Buffer):
    """A buffer of bfloat16 with whose elements one computes in float32."""

    def __getitem__(self, index: Operand) -> Value:
        return super().__getitem__(index).cast("f32")

    def __setitem__(self, index: Operand, value: Operand) -> None:
        self.builder.store(self, index, value.cast("bf16") if isinstance(value, Value) else value)


class Rows(NamedTuple):
    """A factor of a product: rows of so many elements or, of bfloat16, words, one after the other from `first` on; its
    least exponent, where it is wanted."""

    source: Buffer
    first: Value
    depth: int
    least: Value | None


class Steps:
    """The parameters of both directions, where a step's rows are, and the product of a step."""

    def __init__(self, spec: Spec, read: tuple[str, ...], written: tuple[str, ...], scratch: tuple[str, ...]):
        self.spec, self.b = spec, Builder(f"{spec.mode}_{spec.kind}")
        b = self.b
        over = (
            ("acts", "da") if spec.over else ()
        )  # each element is read, in the turn that writes it, before that
        self.made_of = "f32" if spec.short else spec.dtype
        words = [n for n in WORDS[spec.kind] if n in (*written, *scratch) and spec.short]
        self.bufs = {n: self._buffer(n, "r", n in over) for n in read}
        self.bufs |= {n: self._buffer(n, "rw", n in over or n in words) for n in (*written, *scratch)}
        self.words = {n: b.buf(f"{n}_words", "f32", alias=True) for n in words}
        self.leasts = {n: b.buf(n, "i64", "rw") for n in spec.least()}
        self.turn, self.steps = b.integer("turn"), b.integer("steps")
        self.batch, self.up = b.integer("batch"), b.integer("up")  # up: 1 if time goes forward, else 0
        self.lo, self.hi, self.group = const("i64", 0), const("i64", 0), const("i64", 0)
        lanes = max(GATES[spec.mode] * LANES, WIDE[0])
        self.made = b.alloc("made", self.made_of, spec.rows * lanes, True)

    def _buffer(self, name: str, mode: str, alias: bool) -> Buffer:
        spec = self.spec
        if name == "sizes":
            return self.b.buf(name, "i64", mode)
        words = name in spec.factors() and spec.by_words(name)
        type = "f32" if words or (spec.short and name in FINE[spec.kind]) else spec.dtype
        made = self.b.buf(name, type, mode, alias)
        return Rounded(self.b, made.name, type) if type == "bf16" else made

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

    def look(self, name: str, block: Value) -> None:
        """Note the least exponent of a block of weights, once for all steps."""
        depth, units, gates = self.spec.factors()[name]
        if (into := self.leasts.get(f"{name}_least")) is not None:
            words = depth // 2 * width(units, gates) * gates
            into[block] = self._least(self.bufs[name], self.b.let(block * words), words)

    def _least(self, words: Buffer, start: Value, count: Value | int) -> Value:
        least = Least(self.b)
        least.look(words, start, self.b.let(count))
        least.settle()
        return self.b.let(least.exponent.get())

    def rows(self, name: str, first: Value, count: Value, w: str = "w") -> Rows:
        """The first `count` rows of a buffer from the element `first` on, as a factor of the product with w."""
        b, depth = self.b, self.spec.factors()[w][0]
        if not self.spec.by_words(w):
            return Rows(self.bufs[name], first, depth, None)
        words, first, depth = self.words[name], b.let(first // 2), depth // 2
        return Rows(
            words, first, depth, self._least(words, first, b.let(count * depth)) if self.spec.pairs else None
        )

    def product(
        self,
        count: Value,
        rows: Rows,
        units: int,
        block: Value,
        then: Callable[[Value, Callable[[Value, int], Value]], None],
        gates: int = 1,
        w: str = "w",
    ) -> None:
        """For the group's rows i of the first `count`: then(i, sums), where sums(u, g) is that of unit u of the block
        and gate g: the sum over k of rows[i, k] * w[k, g, u]."""
        b, spec, made = self.b, self.spec, self.made
        lanes = width(units, gates) * gates
        tile = min(spec.vectors * LANES, lanes)
        mine = self.of_group(count)
        with b.for_("n0", 0, mine, spec.rows) as n0:
            starts = [
                b.let(rows.first + self.row(b.let(minimum(n0 + r, mine - 1))) * rows.depth, "row")
                for r in range(spec.rows)
            ]
            with b.for_("at", 0, lanes, tile) as at:
                self._tile(w, rows, starts, block, at, lanes, tile)
            with b.for_("j", n0, minimum(n0 + spec.rows, mine)) as j:
                place = b.let((j - n0) * lanes - self.lo)

                def sums(u: Value, g: int, place: Value = place) -> Value:
                    return made[place + g * (lanes // gates) + u]

                then(self.row(j), sums)

    def _tile(
        self, w: str, rows: Rows, starts: list[Value], block: Value, to: Value, lanes: int, tile: int
    ) -> None:
        """The sums of some lanes of a block for the rows that begin at `starts`, into `made`."""
        b, weights, count, depth = self.b, self.bufs[w], -(-tile // LANES), rows.depth
        panel = b.let(block * (depth * lanes) + to)
        if tile % LANES or lanes % tile:
            raise ValueError("recurrence: a tile is some whole vectors of a block")
        acc = [[b.reg("acc", 0, self.made_of, LANES) for _ in range(count)] for _ in starts]
        words = self.spec.by_words(w)

        def step(k: Value, add: Callable[[Value, Value, Value], Value] = apart if words else fma) -> None:
            place = b.let(panel + k * lanes)
            with b.vfor("x", 0, LANES, LANES, full=True) as x:
                values = [b.let(weights[place + (v * LANES) + x]) for v in range(count)]
                for start, sums in zip(starts, acc):
                    factor = b.let(rows.source[start + k])
                    for value, total in zip(values, sums):
                        total.set(add(factor, value, total.get()))

        def steps(**how: Any) -> None:
            with b.for_("kk", 0, depth // 4 * 4, 4) as kk:
                for u in range(4):
                    step(kk + u, **how)
            for k in range(depth // 4 * 4, depth):
                step(const("i64", k), **how)

        if rows.least is None:
            steps()
        else:
            with b.if_(safe(rows.least, self.leasts[f"{w}_least"][block])):
                steps(add=dot2)
            with b.else_(), b.for_("kk", 0, depth) as kk:
                step(kk)
        with b.vfor("x", 0, LANES, LANES, full=True) as x:
            for r, sums in enumerate(acc):
                for v, total in enumerate(sums):
                    self.made[to + (r * lanes + v * LANES) + x] = total.get()
