"""All steps of a recurrent layer in one kernel: the time loop is inside, and parts divide the batch.

Rows of the batch do not meet: a part runs its rows (every nt-th one) through all steps without waiting for another.
The weights come in panels of `LANES` columns whose rows are the reduced axis, so that a panel stays in the first cache
while the rows of a part pass over it:

    forward, step t: gates from x_t and h W^T (recurrence_forward.py)
    backward, step t: da from dh; dh = da W (recurrence_backward.py)

Every element of a product is one chain over the reduced axis: parts and tiles never change a bit. Sequences of several
lengths (`packed`) come longest first, the rows of a step after those of the step before: step t concerns the first
sizes[t] rows of the batch, whose states are kept from there on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from ..build import Buffer, Builder, Value, const, fma, minimum, select

LANES = 16
GATES = {"lstm": 4, "gru": 3, "tanh": 1, "relu": 1}  # blocks of columns of a step's product
KEPT = {"lstm": 4, "gru": 4, "tanh": 0, "relu": 0}  # blocks of columns kept for the gradient


class Spec(NamedTuple):
    """What identifies a kernel: direction, kind of cell, dtype, units of the layer, rows of a tile, size of the
    projection (0: none), whether there are biases of the states (gru), several lengths, results kept for a gradient
    (forward), and a gradient of the output (backward)."""

    kind: str
    mode: str
    dtype: str
    size: int
    rows: int
    proj: int = 0
    bias: bool = False
    packed: bool = False
    keep: bool = False
    outer: bool = True

    @property
    def out(self) -> int:
        """The size of h."""
        return self.proj or self.size


def panels(columns: int) -> int:
    """Panels of so many columns."""
    return -(-columns // LANES)


def places(spec: Spec) -> dict[str, int]:
    """Where in a row's scratch the parts begin; "end" is its length."""
    at: dict[str, int] = {}
    place = 0
    cell = spec.size if spec.mode == "lstm" else 0
    if spec.kind == "forward":
        product = panels(GATES[spec.mode] * spec.size) * LANES
        sizes = {"product": product, "h": panels(spec.out) * LANES, "c": cell}
        sizes["inner"] = spec.size if spec.proj else 0
    else:
        sizes = {"h": panels(spec.out) * LANES, "c": cell}
        sizes["inner"] = panels(spec.size) * LANES if spec.proj else 0
        sizes["direct"] = spec.size if spec.mode == "gru" else 0
    for name, size in sizes.items():
        at[name] = place
        place += size
    return at | {"end": place}


class Steps:
    """The parameters of both directions, the walk over the steps, and the product of a step."""

    def __init__(self, spec: Spec, read: tuple[str, ...], written: tuple[str, ...]):
        self.spec, self.b = spec, Builder(f"{spec.mode}_{spec.kind}")
        b = self.b
        self.bufs = {n: b.buf(n, "i64" if n == "sizes" else spec.dtype) for n in read}
        self.bufs |= {
            n: b.buf(n, spec.dtype, "rw" if n in ("da", "dg", "dp", "out") else "w") for n in written
        }
        self.work = b.buf("work", spec.dtype, "rw")
        self.steps, self.batch, self.rows = b.integer("steps"), b.integer("batch"), b.integer("rows")
        self.up = b.integer("up")  # 1 if time goes forward, else 0
        self.at = places(spec)
        self.share = self.of_part(self.batch)

    def of_part(self, rows: Value) -> Value:
        """How many of the first `rows` rows are this part's."""
        b = self.b
        return b.let((rows + (b.nt - 1 - b.tid)) // b.nt, "share")

    @contextmanager
    def each(self, count: Value, start: Value | int = 0) -> Iterator[tuple[Value, Value]]:
        """Rows start..count of this part: (number in the batch, where its scratch begins)."""
        b = self.b
        with b.for_("j", start, count) as j:
            i = b.let(j * b.nt + b.tid)
            yield i, b.let(i * self.at["end"])

    @contextmanager
    def units(self, size: int) -> Iterator[Value]:
        """A row of so many units, in vectors."""
        with self.b.vfor("u", 0, size, LANES, full=size % LANES == 0) as u:
            yield u

    def states(self, into_work: bool, name: Callable[[str], str]) -> None:
        """Bring the states of this part's rows from their buffers, called name("h") and name("c"), or to them."""
        sizes = {"h": self.spec.out} | ({"c": self.spec.size} if self.spec.mode == "lstm" else {})
        with self.each(self.share) as (i, at):
            for state, size in sizes.items():
                with self.units(size) as u:
                    buf, place, mine = self.bufs[name(state)], i * size + u, at + self.at[state] + u
                    if into_work:
                        self.work[mine] = buf[place]
                    else:
                        buf[place] = self.work[mine]

    @contextmanager
    def walk(self, back: bool) -> Iterator[tuple[Value, Value, Value, Value]]:
        """The steps in the order of time, or against it: (place, rows) of the step and of the one before in time; the
        latter has no rows at the first step."""
        b, up = self.b, self.up
        down = b.let(1 - up)
        forth = b.let((down if back else up) * 2 - 1)  # of the position in memory
        t0 = b.let(select((forth > 0), 0, self.steps - 1))
        base = b.reg("base", select((forth > 0), 0, self.rows), "i64")
        with b.for_("s", 0, self.steps) as s:
            t = b.let(t0 + s * forth)
            first = s.eq(self.steps - 1) if back else s.eq(0)
            size, before = self.batch, b.let(select(first, 0, self.batch))
            if self.spec.packed:
                size = b.let(self.bufs["sizes"][t])
                t = b.let(select(first, t, t + 1 - up * 2))
                before = b.let(select(first, 0, self.bufs["sizes"][t]))
            place = b.let(base.get() - select((forth > 0), 0, size), "place")
            earlier = b.let(place - up * before + down * size, "earlier")
            yield place, size, earlier, before
            base.set(place + select((forth > 0), size, 0))

    def product(
        self,
        count: Value,
        source: Buffer,
        begin: Callable[[Value], Value],
        depth: int,
        columns: int,
        to: str,
        add: Callable[[Value, Value], Value] | None = None,
        w: str = "w",
    ) -> None:
        """For `count` rows i: work[to][j] = add(i, j) + sum over k of source[begin(i) + k] * w[k, j]."""
        b, spec, weights = self.b, self.spec, self.bufs[w]
        with (
            b.for_("p", 0, panels(columns)) as p,
            b.for_("n0", 0, count, spec.rows) as n0,
        ):
            rows = [b.let(minimum(n0 + r, count - 1) * b.nt + b.tid, "i") for r in range(spec.rows)]
            starts = [b.let(begin(i), "row") for i in rows]
            acc = [b.reg("acc", 0, spec.dtype, LANES) for _ in rows]
            panel = b.let(p * (depth * LANES))

            def at(k: Value) -> None:
                place = b.let(panel + k * LANES)
                with b.vfor("x", 0, LANES, LANES, full=True) as x:
                    value = b.let(weights[place + x])
                    for r in range(spec.rows):
                        acc[r].set(fma(source[starts[r] + k], value, acc[r].get()))

            with b.for_("kk", 0, depth // 4 * 4, 4) as kk:
                for u in range(4):
                    at(kk + u)
            for k in range(depth // 4 * 4, depth):
                at(const("i64", k))
            full = columns % LANES == 0
            width = LANES if full else b.let(minimum(columns - p * LANES, LANES))
            with b.vfor("x", 0, width, LANES, full=full) as x:
                for r, i in enumerate(rows):
                    value = acc[r].get()
                    if add is not None:
                        value = add(i, p * LANES + x) + value
                    self.work[i * self.at["end"] + self.at[to] + p * LANES + x] = value
