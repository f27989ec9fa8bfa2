"""Triangular systems, Cholesky's factors and LU factors of real matrices: one matrix at a time, lanes are columns.

Rows come in blocks, so that what is known already is read once for several rows. The order of additions along a column
depends on the extents alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..build import Builder, Register, Value, const, fma, minimum, op, select
from ..ir import SIZE, Kernel
from .sort import decode

ROWS = 8  # rows of a block
TOGETHER = 4  # rows that take the products of a block at a time
FAILED = 1  # the code of a check: a pivot that is zero, or not positive


@dataclass(frozen=True)
class Elimination:
    """kind: triangular, cholesky or lu. unit: 1 instead of the diagonal; ordered: rows of b are taken in an order
    that is given; dense: whether elements of a row of b lie side by side; pivot: whether rows are exchanged; check:
    whether a pivot that fails is an error; axes: of the matrices; width: lanes."""

    kind: str
    dtype: str
    width: int
    axes: int
    unit: bool = False
    ordered: bool = False
    dense: bool = True
    pivot: bool = True
    check: bool = False


def width_of(dtype: str, columns: int) -> int:
    """Lanes for so many columns: one vector or two."""
    lanes = 64 // SIZE[dtype]
    return lanes if columns <= lanes else 2 * lanes


def kernel(spec: Elimination) -> Kernel:
    """The kernel of a factorisation or solution."""
    f = Frame(spec)
    {"triangular": f.triangular, "cholesky": f.cholesky, "lu": f.lu}[spec.kind]()
    return f.b.kernel()


class Frame:
    """Buffers a, b (right sides), out, order, pivots, info; extents m, n, k; strides ar, ac (of rows and columns of a),
    br, bc, orow; matrices a0.. with strides x_a0.. for every buffer x; what begins at the end has a negative stride."""

    def __init__(self, spec: Elimination):
        self.spec, self.b = spec, Builder(spec.kind)
        b = self.b
        given = {"triangular": ["a", "b"], "cholesky": ["a"], "lu": ["a"]}[spec.kind]
        made = {"triangular": [], "cholesky": ["info"], "lu": ["pivots", "order", "info"]}[spec.kind]
        self.bufs = {x: b.buf(x, spec.dtype) for x in given}
        if spec.ordered:
            self.bufs["order"] = b.buf("order", "i64")
        self.bufs["out"] = b.buf("out", spec.dtype, "rw")
        for x in made:
            self.bufs[x] = b.buf(x, "i64" if x == "order" else "i32", "rw")
        self.a, self.out = self.bufs["a"], self.bufs["out"]
        self.m, self.n = b.integer("m"), b.integer("n")
        self.ar, self.ac = b.integer("ar"), b.integer("ac")
        if spec.kind == "triangular":
            self.br, self.orow = b.integer("br"), b.integer("orow")
            self.bc = const("i64", 1) if spec.dense else b.integer("bc")
        self.extents = [b.integer(f"a{i}") for i in range(spec.axes)]
        self.strides = {x: [b.integer(f"{x}_a{i}") for i in range(spec.axes)] for x in self.bufs}
        self.first = {x: b.integer(f"{x}_0") for x in ("a", "b", "out") if x in self.bufs}

    def count(self) -> Value:
        """How many matrices there are."""
        total: Value = const("i64", 1)
        for e in self.extents:
            total = total * e
        return total

    def places(self, matrix: Value) -> dict[str, Value]:
        """Where a matrix begins in each buffer."""
        found = decode(self.b, matrix, self.extents, [self.strides[x] for x in self.bufs])
        at = dict(zip(self.bufs, found))
        for x, first in self.first.items():
            at[x] = self.b.let(at[x] + first, x)
        return at

    # --- triangular systems -------------------------------------------------------------------------------------------

    def triangular(self) -> None:
        """out = the solution of a x = b for a lower triangle a (an upper one runs backwards)."""
        b, spec = self.b, self.spec
        panels = b.let((self.n + (spec.width - 1)) // spec.width, "panels")
        lo, hi = b.partition(self.count() * panels)
        with b.for_("unit", lo, hi) as unit:
            at = self.places(b.let(unit // panels, "matrix"))
            start = b.let(unit % panels * spec.width, "start")
            with b.vfor("v", start, minimum(start + spec.width, self.n), spec.width) as v:
                whole = b.let(self.m // ROWS * ROWS, "whole")
                with b.for_("i", 0, whole, ROWS) as i:
                    self.rows_of(at, v, i, ROWS)
                with b.for_("i", whole, self.m) as i:
                    self.rows_of(at, v, i, 1)

    def rows_of(self, at: dict[str, Value], v: Value, i: Value, count: int) -> None:
        """Some rows of the solution: less those before, then each less those of the block."""
        b, spec = self.b, self.spec
        sums: list[Register] = []
        for r in range(count):
            row = b.let(i + r, "row")
            if spec.ordered:
                row = b.let(self.bufs["order"][at["order"] + row], "from")
            value = self.bufs["b"][at["b"] + row * self.br + v * self.bc]
            sums.append(b.reg("sum", b.let(value, "right"), spec.dtype, spec.width))
        rows = [b.let(at["a"] + (i + r) * self.ar, "line") for r in range(count)]
        with b.for_("j", 0, i) as j:
            x = b.let(self.out[at["out"] + j * self.orow + v], "x")
            for row, total in zip(rows, sums):
                total.set(fma(-self.a[row + j * self.ac], x, total.get()))
        done: list[Value] = []
        for r, (row, total) in enumerate(zip(rows, sums)):
            value = total.get()
            for s, x in enumerate(done):
                value = b.let(fma(-self.a[row + (i + s) * self.ac], x, value), "value")
            value = value if spec.unit else value / self.a[row + (i + r) * self.ac]
            done.append(b.let(value, "x"))
            self.out[at["out"] + (i + r) * self.orow + v] = done[-1]

    # --- Cholesky -----------------------------------------------------------------------------------------------------

    def cholesky(self) -> None:
        """out = the upper factor of the matrices whose lower triangles are those of a."""
        b, n, info = self.b, self.n, self.bufs["info"]
        lo, hi = b.partition(self.count())
        with b.for_("matrix", lo, hi) as matrix:
            at = self.places(matrix)
            o = at["out"]
            with b.for_("j", 0, n) as j:
                with b.vfor("v", 0, j, 16) as v:
                    self.out[o + j * n + v] = 0.0
                with b.vfor("v", j, n, 16) as v:
                    self.out[o + j * n + v] = self.a[at["a"] + v * self.ar + j * self.ac]
            failed = b.reg("failed", 0, "i64")
            whole = b.let(n // ROWS * ROWS, "whole")
            with b.for_("i", 0, whole, ROWS) as i:
                self.less(o, i, ROWS)
                self.finished(o, i, ROWS, failed)
            with b.for_("i", whole, n) as i:
                self.less(o, i, 1)
                self.finished(o, i, 1, failed)
            info[at["info"]] = failed.get().cast("i32")
            if self.spec.check:
                b.check(failed.get().eq(0), FAILED, failed.get(), matrix)

    def less(self, o: Value, i: Value, count: int) -> None:
        """Rows i.. less the products of the rows before them."""
        b, n, spec = self.b, self.n, self.spec
        rows = [b.let(o + (i + r) * n, "row") for r in range(count)]
        with b.for_("c", i, n, spec.width) as c, b.vfor("v", c, minimum(c + spec.width, n), spec.width) as v:
            sums = [b.reg("sum", b.let(self.out[row + v], "old"), spec.dtype, spec.width) for row in rows]
            with b.for_("k", 0, i) as k:
                line = b.let(o + k * n, "line")
                x = b.let(self.out[line + v], "x")
                for r, total in enumerate(sums):
                    total.set(fma(-self.out[line + i + r], x, total.get()))
            for row, total in zip(rows, sums):
                self.out[row + v] = total.get()

    def finished(self, o: Value, i: Value, count: int, failed: Register) -> None:
        """The rows of a block: each by the root of its first element, the later ones less their products with it."""
        b, n = self.b, self.n
        with b.for_("r", i, i + count) as r:
            row = b.let(o + r * n, "row")
            pivot = b.let(self.out[row + r], "pivot")
            failed.set(select((pivot > 0.0) | failed.get().ne(0), failed.get(), r + 1))
            root = b.let(op("sqrt", pivot), "root")
            with b.vfor("v", i, r, 16) as v:
                self.out[row + v] = 0.0
            with b.vfor("v", r + 1, n, 16) as v:
                self.out[row + v] = self.out[row + v] / root
            self.out[row + r] = root
            with b.for_("t", r + 1, i + count) as t:
                factor, other = b.let(self.out[row + t], "factor"), b.let(o + t * n, "other")
                with b.vfor("v", t, n, 16) as v:
                    self.out[other + v] = fma(-factor, self.out[row + v], self.out[other + v])

    # --- LU -----------------------------------------------------------------------------------------------------------

    def lu(self) -> None:
        """out = L below the diagonal and U; pivots from 1 on; order: of the rows; info: the first zero pivot."""
        b, m, n, bufs = self.b, self.m, self.n, self.bufs
        lo, hi = b.partition(self.count())
        least = b.let(minimum(m, n), "least")
        with b.for_("matrix", lo, hi) as matrix:
            at = self.places(matrix)
            o = at["out"]
            with b.for_("i", 0, m) as i:
                bufs["order"][at["order"] + i] = i
                with b.vfor("v", 0, n, 16) as v:
                    self.out[o + i * n + v] = self.a[at["a"] + i * self.ar + v * self.ac]
            failed = b.reg("failed", 0, "i64")
            with b.for_("j", 0, least, ROWS) as j:
                stop = b.let(minimum(j + ROWS, least), "stop")
                with b.for_("c", j, stop) as c:
                    self.column(at, c, stop, failed)
                with b.for_("r", j + 1, stop) as r, b.for_("s", j, r) as s:
                    factor, row, other = self.out[o + r * n + s], b.let(o + r * n), b.let(o + s * n)
                    factor = b.let(factor, "factor")
                    with b.vfor("v", stop, n, 16) as v:
                        self.out[row + v] = fma(-factor, self.out[other + v], self.out[row + v])
                whole = b.let(stop + (m - stop) // TOGETHER * TOGETHER, "whole")
                with b.for_("i", stop, whole, TOGETHER) as i:
                    self.trailing(o, i, TOGETHER, j, stop)
                with b.for_("i", whole, m) as i:
                    self.trailing(o, i, 1, j, stop)
            bufs["info"][at["info"]] = failed.get().cast("i32")
            if self.spec.check:
                b.check(failed.get().eq(0), FAILED, failed.get(), matrix)

    def column(self, at: dict[str, Value], c: Value, stop: Value, failed: Register) -> None:
        """One column of a block: its largest element comes to the diagonal, and the block's later columns lose it."""
        b, n, o = self.b, self.n, at["out"]
        best = b.reg("best", c, "i64")
        if self.spec.pivot:
            most = b.reg("most", abs(self.out[o + c * n + c]), self.spec.dtype)
            with b.for_("i", c + 1, self.m) as i:
                size = b.let(abs(self.out[o + i * n + c]), "size")
                better = b.let(size > most.get(), "better")
                best.set(select(better, i, best.get()))
                most.set(select(better, size, most.get()))
            with b.if_(best.get().ne(c)):
                self.exchanged(at, c, b.let(best.get(), "other"))
        self.bufs["pivots"][at["pivots"] + c] = (best.get() + 1).cast("i32")
        pivot = b.let(self.out[o + c * n + c], "pivot")
        failed.set(select(pivot.ne(0.0) | failed.get().ne(0), failed.get(), c + 1))
        safe = b.let(select(pivot.eq(0.0), 1.0, pivot), "safe")
        line = b.let(o + c * n, "line")
        with b.for_("i", c + 1, self.m) as i:
            row = b.let(o + i * n, "row")
            factor = b.let(self.out[row + c] / safe, "factor")
            self.out[row + c] = factor
            with b.vfor("v", c + 1, stop, ROWS) as v:
                self.out[row + v] = fma(-factor, self.out[line + v], self.out[row + v])

    def exchanged(self, at: dict[str, Value], one: Value, other: Value) -> None:
        """Two rows take each other's place."""
        b, n, order = self.b, self.n, self.bufs["order"]
        p, q = b.let(at["out"] + one * n), b.let(at["out"] + other * n)
        with b.vfor("v", 0, n, 16) as v:
            x, y = b.let(self.out[p + v]), b.let(self.out[q + v])
            self.out[p + v], self.out[q + v] = y, x
        p, q = b.let(at["order"] + one), b.let(at["order"] + other)
        x, y = b.let(order[p]), b.let(order[q])
        order[p], order[q] = y, x

    def trailing(self, o: Value, i: Value, count: int, first: Value, stop: Value) -> None:
        """Rows below a block, right of it, less the products of its rows."""
        b, n, spec = self.b, self.n, self.spec
        rows = [b.let(o + (i + r) * n, "row") for r in range(count)]
        with (
            b.for_("c", stop, n, spec.width) as c,
            b.vfor("v", c, minimum(c + spec.width, n), spec.width) as v,
        ):
            sums = [b.reg("sum", b.let(self.out[row + v], "old"), spec.dtype, spec.width) for row in rows]
            with b.for_("k", first, stop) as k:
                x = b.let(self.out[o + k * n + v], "x")
                for row, total in zip(rows, sums):
                    total.set(fma(-self.out[row + k], x, total.get()))
            for row, total in zip(rows, sums):
                self.out[row + v] = total.get()
