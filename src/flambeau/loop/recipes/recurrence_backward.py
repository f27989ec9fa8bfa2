"""The gradient of a recurrent layer's steps: against time, da of each step from dh, and dh of the step before from da.

Results: da (of the gates from the inputs), dg (gru: of those from the state), dp (with a projection: of h), earlier
(the state before each step, for the weights' gradient), dh0 and dc0, which hold the gradients of the states meanwhile.

Turn s begins with dh of what the turn before has made, the last turn is no more than that. With a projection a step has
two turns: dh and dp, then da.
"""

from __future__ import annotations

from collections.abc import Callable

from ..build import Buffer, Value, const, op, select
from ..ir import Kernel
from .recurrence import GATES, Rows, Spec, Steps

Earlier = Callable[[str], tuple[Buffer, Value]]  # of "h" or "c": the memory and place of the state before


def turns(spec: Spec, steps: int) -> int:
    """How often the kernel runs."""
    return spec.phases * steps + 1


def scratch(spec: Spec, batch: int) -> dict[str, int]:
    """Elements of its scratch."""
    return {"inner": batch * spec.size} if spec.proj else {}


def kernel(spec: Spec) -> Kernel:
    """All steps against time."""
    lstm, gru = spec.mode == "lstm", spec.mode == "gru"
    read = (*(("grad",) if spec.outer else ()), "of_h", *(("of_c", "cells") if lstm else ()))
    read += (*(("acts",) if lstm or gru else ()), "out", "h0", *(("c0",) if lstm else ()), "w")
    read += (*(("wr",) if spec.proj else ()), *(("sizes",) if spec.packed else ()))
    written = ("da", *(("dg",) if gru else ()), *(("dp",) if spec.proj else ()), "earlier", "dh0")
    s = Steps(spec, read, (*written, *(("dc0",) if lstm else ())), ("inner",) if spec.proj else ())
    _Step(s).run()
    return s.b.kernel()


class _Step:
    def __init__(self, s: Steps):
        self.s, b = s, s.b
        forward, number = s.up.eq(1), b.let(s.turn // s.spec.phases, "number")
        t = b.let(select(forward, s.steps - 1 - number, number), "t")
        later, earlier = b.let(select(forward, t + 1, t - 1)), b.let(select(forward, t - 1, t + 1))
        self.first = b.let(s.turn.eq(0), "first")
        self.count = s.rows_of(t, number < s.steps)
        self.had = s.rows_of(later, number > 0)
        before = s.rows_of(earlier, number < s.steps - 1)
        self.before = b.let(select(before < self.count, before, self.count))
        self.place = s.place_of(t)
        self.later = b.let(select(forward, self.place + self.count, self.place - self.had))
        self.earlier = b.let(select(forward, self.place - before, self.place + self.count))

    def run(self) -> None:
        """One turn."""
        s, spec = self.s, self.s.spec
        if not spec.proj:
            rows = self.of_gates()
            with s.blocks(spec.out) as block:
                self.of_states(block, rows)
                self.cells()
            return
        with s.b.if_((s.turn % 2).eq(0)):
            rows = self.of_gates()
            with s.blocks(spec.out) as block:
                self.of_states(block, rows)
                self.of_projected()
        with s.b.else_():
            inner, rows = s.bufs["inner"], s.rows("dp", s.b.let(self.place * spec.proj), self.count, "wr")

            def keep(i: Value, sums: Callable[[Value, int], Value]) -> None:
                with s.units(spec.size) as u:
                    inner[i * spec.size + u] = sums(u, 0)

            with s.blocks(spec.size) as block:
                if "wr_least" in s.leasts:
                    with s.b.if_(s.turn.eq(1)):
                        s.look("wr", block)
                s.product(self.count, rows, spec.size, block, keep, w="wr")
                self.cells()

    def of_gates(self) -> Rows:
        """da of the step done before."""
        s, spec = self.s, self.s.spec
        first = s.b.let(self.later * (GATES[spec.mode] * spec.size))
        return s.rows("dg" if spec.mode == "gru" else "da", first, self.had)

    def of_states(self, block: Value, rows: Rows) -> None:
        """dh of the block's units: what the last states have in the first turn, then da W of the step done before."""
        s, spec, out, dh = self.s, self.s.spec, self.s.spec.out, self.s.bufs["dh0"]
        with s.b.if_(self.first):
            s.look("w", block)
            s.copy("dh0", "of_h", out)
            if spec.mode == "lstm" and not spec.proj:
                s.copy("dc0", "of_c", out)

        def add(i: Value, sums: Callable[[Value, int], Value]) -> None:
            at = s.b.let(i * out)
            with s.units(out) as u:
                direct = spec.mode == "gru"
                dh[at + u] = dh[at + u] + sums(u, 0) if direct else sums(u, 0)

        s.product(self.had, rows, out, block, add)

    def of_projected(self) -> None:
        """dp of this step, and the h before it."""
        s, proj = self.s, self.s.spec.proj
        with s.each(self.count) as i:
            to = s.b.let((self.place + i) * proj)
            with s.units(proj) as u:
                s.bufs["dp"][to + u] = self.of_output(i, to, u)
        self.states_before()

    def states_before(self, cell: Callable[[Value, Earlier], None] | None = None) -> None:
        """For each row of this step its h before, into `earlier`, and what the cell does; rows that have no step before
        this one begin here."""
        s, spec, b = self.s, self.s.spec, self.s.b
        for lo, hi, begun in ((const("i64", 0), self.before, True), (self.before, self.count, False)):
            with s.each(hi, lo) as i:

                def state(name: str, i: Value = i, begun: bool = begun) -> tuple[Buffer, Value]:
                    size = spec.out if name == "h" else spec.size
                    if not begun:
                        return s.bufs[name + "0"], b.let(i * size)
                    return s.bufs["out" if name == "h" else "cells"], b.let((self.earlier + i) * size)

                if cell is None or not spec.proj:
                    source, start = state("h")
                    to = b.let((self.place + i) * spec.out)
                    with s.units(spec.out) as u:
                        s.bufs["earlier"][to + u] = source[start + u]
                if cell is not None:
                    cell(i, state)

    def cells(self) -> None:
        """da of the block's units."""
        s, spec = self.s, self.s.spec
        if spec.proj:
            with s.b.if_((s.turn).eq(1)):
                s.copy("dc0", "of_c", spec.size)
        self.states_before({"lstm": self.lstm, "gru": self.gru}.get(spec.mode, self.plain))

    def of_output(self, i: Value, to: Value, u: Value) -> Value:
        """The gradient of h as the layer gives it."""
        s = self.s
        dh = s.bufs["dh0"][i * s.spec.out + u]
        return dh + s.bufs["grad"][to + u] if s.spec.outer else dh

    def of_h(self, i: Value, to: Value, u: Value) -> Value:
        """The gradient of what leaves the cell."""
        s = self.s
        inner = s.bufs["inner"][i * s.spec.size + u] if s.spec.proj else self.of_output(i, to, u)
        return s.b.let(inner)

    def lstm(self, i: Value, state: Earlier) -> None:
        """i, f, g, o."""
        s, b, size = self.s, self.s.b, self.s.spec.size
        to, own = b.let((self.place + i) * size), b.let(i * size)
        cells, start = state("c")
        with s.units(size) as u:
            i_, f, g, o = (b.let(s.bufs["acts"][to * 4 + k * size + u]) for k in range(4))
            t = b.let(op("tanh", s.bufs["cells"][to + u]))
            dh = self.of_h(i, to, u)
            dc = b.let(s.bufs["dc0"][own + u] + dh * (o * (1 - t * t)))
            found = (
                dc * g * (i_ * (1 - i_)),
                dc * cells[start + u] * (f * (1 - f)),
                dc * i_ * (1 - g * g),
                dh * t * (o * (1 - o)),
            )
            for k, value in enumerate(found):
                s.bufs["da"][to * 4 + k * size + u] = value
            s.bufs["dc0"][own + u] = dc * f

    def gru(self, i: Value, state: Earlier) -> None:
        """r, z, n."""
        s, b, size = self.s, self.s.b, self.s.spec.size
        to, own = b.let((self.place + i) * size), b.let(i * size)
        h, start = state("h")
        with s.units(size) as u:
            r, z, n, inner = (b.let(s.bufs["acts"][to * 4 + k * size + u]) for k in range(4))
            dh = self.of_h(i, to, u)
            dn = b.let(dh * (1 - z) * (1 - n * n))
            dr = b.let(dn * inner * (r * (1 - r)))
            dz = b.let(dh * (h[start + u] - n) * (z * (1 - z)))
            for k, (outer, inside) in enumerate(((dr, dr), (dz, dz), (dn, dn * r))):
                s.bufs["da"][to * 3 + k * size + u] = outer
                s.bufs["dg"][to * 3 + k * size + u] = inside
            s.bufs["dh0"][own + u] = dh * z

    def plain(self, i: Value, state: Earlier) -> None:
        """tanh or relu."""
        s, b, size = self.s, self.s.b, self.s.spec.size
        to = b.let((self.place + i) * size)
        with s.units(size) as u:
            h = b.let(s.bufs["out"][to + u])
            dh = self.of_h(i, to, u)
            if s.spec.mode == "tanh":
                s.bufs["da"][to + u] = dh * (1 - h * h)
            else:
                s.bufs["da"][to + u] = select(h > 0, dh, const(s.made_of, 0))
