"""All steps of an LSTM layer in one kernel: the time loop is inside, and parts divide the batch.

Rows of the batch do not meet: a part runs its rows through all steps without waiting for another. The weights come in
panels of `LANES` columns whose rows are the reduced axis, so that a panel stays in the first cache while the rows of a
part pass over it:

    forward, step t: a = x_t + h W^T; i, f, o = sigmoid, g = tanh; c = f c + i g; h = o tanh(c)
    backward, step t: da from dh and dc; dc = dc f; dh = da W

Every element of a product is one chain over the reduced axis: parts and tiles never change a bit.
"""

from __future__ import annotations

from typing import NamedTuple

from ..build import Buffer, Builder, Value, const, fma, minimum, op
from ..ir import Kernel

LANES = 16


class Spec(NamedTuple):
    """What identifies a kernel: direction, dtype, units of the layer, rows of a tile, and whether cells have a
    gradient of their own."""

    kind: str
    dtype: str
    size: int
    rows: int
    cells: bool = False


def panels(columns: int) -> int:
    """Panels of so many columns."""
    return -(-columns // LANES)


def work(spec: Spec) -> int:
    """Elements of scratch for each row of the batch."""
    if spec.kind == "forward":
        return panels(4 * spec.size) * LANES + 2 * spec.size
    return panels(spec.size) * LANES + spec.size


def kernel(spec: Spec) -> Kernel:
    """The kernel of a spec."""
    return _forward(spec) if spec.kind == "forward" else _backward(spec)


class _Steps:
    """The parameters of both directions, and the product of a step."""

    def __init__(self, spec: Spec, read: tuple[str, ...], written: tuple[str, ...]):
        self.spec, self.b = spec, Builder(f"lstm_{spec.kind}")
        b = self.b
        self.bufs = {n: b.buf(n, spec.dtype) for n in read}
        self.bufs |= {n: b.buf(n, spec.dtype, "rw" if n == "da" else "w") for n in written}
        self.work = b.buf("work", spec.dtype, "rw")
        self.steps, self.batch = b.integer("steps"), b.integer("batch")
        self.first, self.stride = b.integer("first"), b.integer("stride")
        self.lo, self.hi = b.partition(self.batch)
        self.pitch = work(spec)

    def product(
        self, source: Buffer, base: Value, pitch: int, depth: int, columns: int, to: int, add: Value | None
    ):
        """work[i*pitch + to + j] = sum over k of source[base + i*pitch + k] * w[k, j] (+ x[add + i*columns + j])."""
        b, spec, w = self.b, self.spec, self.bufs["w"]
        with (
            b.for_("p", 0, panels(columns)) as p,
            b.for_("n0", self.lo, self.hi, spec.rows) as n0,
        ):
            rows = [b.let(minimum(n0 + r, self.hi - 1), "i") for r in range(spec.rows)]
            starts = [b.let(base + i * pitch, "row") for i in rows]
            acc = [b.reg("acc", 0, spec.dtype, LANES) for _ in rows]
            panel = b.let(p * (depth * LANES))

            def at(k: Value) -> None:
                place = b.let(panel + k * LANES)
                with b.vfor("x", 0, LANES, LANES, full=True) as x:
                    value = b.let(w[place + x])
                    for r in range(spec.rows):
                        acc[r].set(fma(source[starts[r] + k], value, acc[r].get()))

            with b.for_("kk", 0, depth // 4 * 4, 4) as kk:
                for u in range(4):
                    at(kk + u)
            for k in range(depth // 4 * 4, depth):
                at(const("i64", k))
            full = columns % LANES == 0
            count = LANES if full else b.let(minimum(columns - p * LANES, LANES))
            with b.vfor("x", 0, count, LANES, full=full) as x:
                for r, i in enumerate(rows):
                    value = acc[r].get()
                    if add is not None:
                        value = self.bufs["x"][add + i * columns + p * LANES + x] + value
                    self.work[i * self.pitch + to + p * LANES + x] = value


def _forward(spec: Spec) -> Kernel:
    s = _Steps(spec, ("x", "h0", "c0", "w"), ("out", "cells", "acts"))
    b, size, lanes = s.b, spec.size, LANES
    h_at = panels(4 * size) * LANES
    c_at = h_at + size
    with b.for_("i", s.lo, s.hi) as i, b.vfor("u", 0, size, lanes) as u:
        s.work[i * s.pitch + h_at + u] = s.bufs["h0"][i * size + u]
        s.work[i * s.pitch + c_at + u] = s.bufs["c0"][i * size + u]
    with b.for_("s", 0, s.steps) as step:
        base = b.let((s.first + step * s.stride) * s.batch, "base")
        s.product(s.work, const("i64", h_at), s.pitch, size, 4 * size, 0, b.let(base * (4 * size)))
        with b.for_("i", s.lo, s.hi) as i:
            at, to = b.let(i * s.pitch), b.let((base + i) * size)
            with b.vfor("u", 0, size, lanes) as u:
                a = [s.work[at + k * size + u] for k in range(4)]
                gates = [b.let(op("tanh" if k == 2 else "sigmoid", a[k])) for k in range(4)]
                c = b.let(gates[1] * s.work[at + c_at + u] + gates[0] * gates[2])
                h = b.let(gates[3] * op("tanh", c))
                s.work[at + c_at + u] = c
                s.work[at + h_at + u] = h
                s.bufs["out"][to + u] = h
                s.bufs["cells"][to + u] = c
                for k in range(4):
                    s.bufs["acts"][to * 4 + k * size + u] = gates[k]
    return b.kernel()


def _backward(spec: Spec) -> Kernel:
    more = ("of_cells",) if spec.cells else ()
    s = _Steps(spec, ("grad", *more, "cells", "acts", "c0", "w"), ("da", "dh0", "dc0"))
    b, size, lanes = s.b, spec.size, LANES
    c_at = panels(size) * LANES
    with b.for_("i", s.lo, s.hi) as i, b.vfor("u", 0, size, lanes) as u:
        s.work[i * s.pitch + u] = const(spec.dtype, 0)
        s.work[i * s.pitch + c_at + u] = const(spec.dtype, 0)
    with b.for_("s", 0, s.steps) as back:
        step = b.let(s.steps - 1 - back)
        base = b.let((s.first + step * s.stride) * s.batch, "base")
        before = b.let((s.first + (step - 1) * s.stride) * s.batch * size, "before")
        with b.for_("i", s.lo, s.hi) as i:
            at, to = b.let(i * s.pitch), b.let((base + i) * size)

            def gates(earlier: Buffer, place: Value, at: Value = at, to: Value = to) -> None:
                with b.vfor("u", 0, size, lanes) as u:
                    gi, f, g, o = (b.let(s.bufs["acts"][to * 4 + k * size + u]) for k in range(4))
                    t = b.let(op("tanh", s.bufs["cells"][to + u]))
                    dh = b.let(s.work[at + u] + s.bufs["grad"][to + u])
                    dc = s.work[at + c_at + u] + dh * (o * (1 - t * t))
                    dc = b.let(dc + s.bufs["of_cells"][to + u] if spec.cells else dc)
                    found = (
                        dc * g * (gi * (1 - gi)),
                        dc * earlier[place + u] * (f * (1 - f)),
                        dc * gi * (1 - g * g),
                        dh * t * (o * (1 - o)),
                    )
                    for k, value in enumerate(found):
                        s.bufs["da"][to * 4 + k * size + u] = value
                    s.work[at + c_at + u] = dc * f

            with b.if_(step > 0):
                gates(s.bufs["cells"], b.let(before + i * size))
            with b.else_():
                gates(s.bufs["c0"], b.let(i * size))
        s.product(s.bufs["da"], b.let(base * (4 * size)), 4 * size, 4 * size, size, 0, None)
    with b.for_("i", s.lo, s.hi) as i, b.vfor("u", 0, size, lanes) as u:
        s.bufs["dh0"][i * size + u] = s.work[i * s.pitch + u]
        s.bufs["dc0"][i * size + u] = s.work[i * s.pitch + c_at + u]
    return b.kernel()
