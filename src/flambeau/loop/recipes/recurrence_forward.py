"""The steps of a recurrent layer: what is done after a step's product, for each kind of cell.

lstm: i, f, o = sigmoid, g = tanh; c = f c + i g; h = o tanh(c), with a projection W_hr times that
gru: r, z = sigmoid; n = tanh(n_x + r n_h); h = n + z (h - n)
tanh, relu: h = tanh(a), max(a, 0)

Turn 0 brings the first states: h into both of its places in `work`, which turns write in alternation, c to `last_c`.
With a projection a step has two turns; between them `inner` holds what is projected.
"""

from __future__ import annotations

from collections.abc import Callable

from ..build import Value, const, maximum, op, select
from ..ir import Kernel
from .recurrence import GATES, Spec, Steps

Sums = Callable[[Value, int], Value]  # of a unit and a gate


def turns(spec: Spec, steps: int) -> int:
    """How often the kernel runs."""
    return 1 + spec.phases * steps


def scratch(spec: Spec, batch: int) -> dict[str, int]:
    """Elements of its scratch."""
    found = {"work": 2 * batch * spec.out} | ({"inner": batch * spec.size} if spec.proj else {})
    return {} if spec.short else found  # which would be read by words as well: the node has them as results


def kernel(spec: Spec) -> Kernel:
    """All steps: the output of each, the last states, and what the gradient wants."""
    lstm, keep = spec.mode == "lstm", spec.keep
    read = ("x", "h0", *(("c0",) if lstm else ()), "w", *(("bias",) if spec.bias else ()))
    read += (*(("wr",) if spec.proj else ()), *(("sizes",) if spec.packed else ()))
    written = ("out", "last_h", *(("last_c",) if lstm else ()), *(("cells",) if lstm and keep else ()))
    written += ("acts",) if keep and spec.mode in ("lstm", "gru") else ()
    s = Steps(spec, read, written, ("work", *(("inner",) if spec.proj else ())))
    b = s.b
    with b.if_(s.turn.eq(0)):
        with s.blocks(spec.out):
            for place in (const("i64", 0), b.let(s.batch * spec.out)):
                s.copy("work", "h0", spec.out, place)
        if lstm:
            with s.blocks(spec.size):
                s.copy("last_c", "c0", spec.size)
        for name, (_, units, gates) in spec.factors().items() if s.leasts else ():
            with s.blocks(units, gates) as block:
                s.look(name, block)
    with b.else_():
        number = b.let((s.turn - 1) // spec.phases)
        t = b.let(select(s.up.eq(1), number, s.steps - 1 - number), "t")
        _Step(s, t, b.let(number % 2)).run()
    return b.kernel()


class _Step:
    def __init__(self, s: Steps, t: Value, parity: Value):
        self.s = s
        self.count, self.place = s.rows_of(t, const("b1", True)), s.place_of(t)
        half = s.batch * s.spec.out
        self.before, self.after = s.b.let(parity * half), s.b.let(half - parity * half)

    def run(self) -> None:
        """One turn of a step."""
        s, spec, b = self.s, self.s.spec, self.s.b
        if not spec.proj:
            self.cells()
            return
        with b.if_((s.turn % 2).eq(1)):
            self.cells()
        with b.else_():
            rows = s.rows("inner", const("i64", 0), self.count, "wr")
            with s.blocks(spec.proj) as block:
                s.product(self.count, rows, spec.proj, block, self.projected, w="wr")

    def projected(self, i: Value, sums: Sums) -> None:
        """h of the block's units."""
        with self.s.units(self.s.spec.proj) as u:
            self.put(i, u, sums(u, 0))

    def put(self, i: Value, u: Value, h: Value) -> None:
        """A finished state."""
        s, out = self.s, self.s.spec.out
        at = s.b.let(i * out + u)
        s.bufs["work"][self.after + at] = h
        s.bufs["last_h"][at] = h
        s.bufs["out"][self.place * out + at] = h

    def cells(self) -> None:
        """The gates and the states of this part's units."""
        s, spec = self.s, self.s.spec
        gates, rows = GATES[spec.mode], s.rows("work", self.before, self.count)
        cell = {"lstm": self.lstm, "gru": self.gru}.get(spec.mode, self.plain)
        with s.blocks(spec.size, gates) as block:
            s.product(self.count, rows, spec.size, block, cell, gates)

    def lstm(self, i: Value, sums: Sums) -> None:
        """i, f, g, o."""
        s, b, spec, size = self.s, self.s.b, self.s.spec, self.s.spec.size
        to = b.let((self.place + i) * size)
        c0 = b.let(i * size)
        with s.units(size) as u:
            a = [s.bufs["x"][to * 4 + k * size + u] + sums(u, k) for k in range(4)]
            gates = [b.let(op("tanh" if k == 2 else "sigmoid", a[k])) for k in range(4)]
            c = b.let(gates[1] * s.bufs["last_c"][c0 + u] + gates[0] * gates[2])
            h = b.let(gates[3] * op("tanh", c))
            s.bufs["last_c"][c0 + u] = c
            if spec.proj:
                s.bufs["inner"][c0 + u] = h
            else:
                self.put(i, u, h)
            if spec.keep:
                s.bufs["cells"][to + u] = c
                for k in range(4):
                    s.bufs["acts"][to * 4 + k * size + u] = gates[k]

    def gru(self, i: Value, sums: Sums) -> None:
        """r, z, n."""
        s, b, size, x = self.s, self.s.b, self.s.spec.size, self.s.bufs["x"]
        to = b.let((self.place + i) * size)
        before = b.let(self.before + i * size)

        def own(u: Value, k: int) -> Value:
            return s.bufs["bias"][k * size + u] + sums(u, k) if s.spec.bias else sums(u, k)

        with s.units(size) as u:
            r, z = (b.let(op("sigmoid", x[to * 3 + k * size + u] + own(u, k))) for k in (0, 1))
            inner = b.let(own(u, 2))
            n = b.let(op("tanh", x[to * 3 + 2 * size + u] + r * inner))
            self.put(i, u, b.let(n + z * (s.bufs["work"][before + u] - n)))
            if s.spec.keep:
                for k, value in enumerate((r, z, n, inner)):
                    s.bufs["acts"][to * 4 + k * size + u] = value

    def plain(self, i: Value, sums: Sums) -> None:
        """tanh or relu."""
        s, b, size = self.s, self.s.b, self.s.spec.size
        to = b.let((self.place + i) * size)
        with s.units(size) as u:
            a = s.bufs["x"][to + u] + sums(u, 0)
            self.put(i, u, b.let(op("tanh", a) if s.spec.mode == "tanh" else maximum(a, 0)))
