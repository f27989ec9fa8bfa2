"""QR factors of real matrices by Householder's reflections I - tau v v^T, one matrix at a time; lanes are columns."""

from __future__ import annotations

from typing import NamedTuple

from ..build import Builder, Value, const, fma, maximum, minimum, op, select
from ..ir import SIZE, Kernel
from .sort import decode


class Reflections(NamedTuple):
    """kind: factors (of a), or applied (to unit columns, the last one first); axes: of the matrices; width: lanes."""

    kind: str
    dtype: str
    width: int
    axes: int


def width_of(dtype: str, columns: int) -> int:
    """Lanes for so many columns: up to four vectors, whose sums do not wait for each other."""
    lanes = 64 // SIZE[dtype]
    return lanes * min(4, 1 << max(0, (columns - 1).bit_length() - lanes.bit_length() + 1))


def kernel(spec: Reflections) -> Kernel:
    """The kernel of a factorisation, or of its orthogonal factor."""
    f = _Frame(spec)
    (f.factors if spec.kind == "factors" else f.applied)()
    return f.b.kernel()


class _Frame:
    """Buffers a, out (m, n), v (k, m: the vectors, whose element on the diagonal is 1), tau (k)."""

    def __init__(self, spec: Reflections):
        self.spec, self.b = spec, Builder(f"qr_{spec.kind}")
        b, t, first = self.b, spec.dtype, spec.kind == "factors"
        self.bufs = {"a": b.buf("a", t)} if first else {}
        mode = "rw" if first else "r"
        self.bufs |= {"v": b.buf("v", t, mode), "tau": b.buf("tau", t, mode), "out": b.buf("out", t, "rw")}
        self.v, self.tau, self.out = self.bufs["v"], self.bufs["tau"], self.bufs["out"]
        self.m, self.n, self.k = (b.integer(x) for x in ("m", "n", "k"))
        self.ar, self.ac = b.integer("ar"), b.integer("ac")
        self.extents = [b.integer(f"a{i}") for i in range(spec.axes)]
        self.strides = {x: [b.integer(f"{x}_a{i}") for i in range(spec.axes)] for x in self.bufs}
        self.count: Value = const("i64", 1)
        for e in self.extents:
            self.count = self.count * e

    def places(self, matrix: Value) -> dict[str, Value]:
        """Where a matrix begins in each buffer."""
        found = decode(self.b, matrix, self.extents, [self.strides[x] for x in self.bufs])
        return dict(zip(self.bufs, found))

    def factors(self) -> None:
        """out = R above its diagonal; reflections column by column, each applied to the columns after it."""
        b, m, n = self.b, self.m, self.n
        lo, hi = b.partition(self.count)
        with b.for_("matrix", lo, hi) as matrix:
            at = self.places(matrix)
            with b.for_("i", 0, m) as i, b.vfor("j", 0, n, 16) as j:
                self.out[at["out"] + i * n + j] = self.bufs["a"][at["a"] + i * self.ar + j * self.ac]
            with b.for_("c", 0, self.k) as c:
                self.reflection(at, c)
                with b.for_("p", c + 1, n, self.spec.width) as p:
                    self.apply(at, c, p)

    def reflection(self, at: dict[str, Value], c: Value) -> None:
        """The vector that takes the rest of a column to its first element; nothing to do where the rest is zero."""
        b, m, n, t = self.b, self.m, self.n, self.spec.dtype
        row, first = b.let(at["v"] + c * m, "row"), b.let(at["out"] + c * n + c, "first")
        most = b.reg("most", 0.0, t, 16)
        with b.vfor("i", 0, c, 16) as i:
            self.v[row + i] = 0.0
        with b.vfor("i", c + 1, m, 16) as i:
            x = b.let(self.out[at["out"] + i * n + c], "x")
            self.v[row + i] = x
            most.set(maximum(most.get(), abs(x)))
        self.v[row + c] = 1.0
        large = b.let(most.reduce("max"), "large")
        with b.if_(large.eq(0.0)):
            self.tau[at["tau"] + c] = 0.0
        with b.else_():
            total = b.reg("total", 0.0, "f64", 16)
            with b.vfor("i", c + 1, m, 16) as i:
                x = b.let((self.v[row + i] / large).cast("f64"), "x")
                total.set(fma(x, x, total.get()))
            alpha = b.let(self.out[first], "alpha")
            rest = b.let((op("sqrt", total.reduce("add")) * large.cast("f64")).cast(t), "rest")
            length = b.let(op("hypot", alpha, rest), "length")
            beta = b.let(select(alpha < 0.0, length, -length), "beta")
            self.tau[at["tau"] + c] = (beta - alpha) / beta
            below = b.let(alpha - beta, "below")
            self.out[first] = beta
            with b.vfor("i", c + 1, m, 16) as i:
                self.v[row + i] = self.v[row + i] / below

    def apply(self, at: dict[str, Value], c: Value, p: Value) -> None:
        """A panel of columns from p on, less tau v (v^T the panel)."""
        b, m, n, width = self.b, self.m, self.n, self.spec.width
        row, o = b.let(at["v"] + c * m, "row"), at["out"]
        tau = b.let(self.tau[at["tau"] + c], "tau")
        with b.vfor("j", p, minimum(p + width, n), width) as j:
            total = b.reg("total", 0.0, self.spec.dtype, width)
            with b.for_("i", c, m) as i:
                total.set(fma(self.v[row + i], self.out[o + i * n + j], total.get()))
            total.set(total.get() * tau)
            with b.for_("i", c, m) as i:
                to = o + i * n + j
                self.out[to] = fma(-self.v[row + i], total.get(), self.out[to])

    def applied(self) -> None:
        """out = the first n columns of the product of all reflections; parts share panels of columns."""
        b, n, width = self.b, self.n, self.spec.width
        panels = b.let((n + (width - 1)) // width, "panels")
        lo, hi = b.partition(self.count * panels)
        with b.for_("unit", lo, hi) as unit:
            at = self.places(b.let(unit // panels, "matrix"))
            p = b.let(unit % panels * width, "p")
            with b.for_("i", 0, self.m) as i, b.vfor("j", p, minimum(p + width, n), width) as j:
                one = const(self.spec.dtype, 1.0)
                self.out[at["out"] + i * n + j] = select(i.eq(j), one, const(self.spec.dtype, 0.0))
            with b.for_("back", 0, self.k) as back:
                self.apply(at, b.let(self.k - 1 - back, "c"), p)
