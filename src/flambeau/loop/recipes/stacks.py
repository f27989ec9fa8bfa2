"""What elimination.py does, for stacks of many small matrices: lanes are matrices, which wait in scratch.

Each element meets the same operations in the same order as there, so that the bits are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..build import Buffer, Register, Value, const, fma, minimum, op, select
from ..ir import SIZE, Kernel
from .elimination import FAILED, Elimination, Frame

LARGEST = 16  # rows and columns


def lanes_of(dtype: str) -> int:
    """How many matrices are done at a time."""
    return 64 // SIZE[dtype]


def kernel(spec: Elimination) -> Kernel:
    """The kernel of a factorisation or solution of matrices that have one axis."""
    f = _Lanes(spec)
    {"triangular": f.triangular, "cholesky": f.cholesky, "lu": f.lu}[spec.kind]()
    return f.b.kernel()


class _Grid:
    """A matrix of each lane, in scratch."""

    lane: Value  # once the loop over lanes has begun

    def __init__(self, buf: Buffer, columns: Value, lanes: int):
        self.buf, self.columns, self.lanes = buf, columns, lanes

    def __getitem__(self, place: tuple[Value, Value]) -> Value:
        return self.buf[self._at(*place)]

    def __setitem__(self, place: tuple[Value, Value], value: Value) -> None:
        self.buf[self._at(*place)] = value

    def _at(self, i: Value, j: Value) -> Value:
        return (i * self.columns + j) * self.lanes + self.lane


class _Lanes(Frame):
    """The parts that differ."""

    @contextmanager
    def panels(self, *grids: _Grid) -> Iterator[dict[str, Value]]:
        """Where the matrices of all lanes begin in each buffer, panel after panel."""
        b, lanes = self.b, lanes_of(self.spec.dtype)
        lo, hi = b.partition(self.count(), lanes)
        with b.for_("start", lo, hi, lanes) as start:
            end = b.let(minimum(start + lanes, hi), "end")
            with b.vfor("v", start, end, lanes) as v:
                for grid in grids:
                    grid.lane = v - start
                yield self.places(v)
            if self.spec.check:
                with b.for_("matrix", start, end) as matrix:
                    code = self.bufs["info"][matrix * self.strides["info"][0]]
                    code = b.let(code.cast("i64"), "code")
                    b.check(code.eq(0), FAILED, code, matrix)

    def grid(self, name: str, columns: Value, kind: str = "", rows: int = LARGEST) -> _Grid:
        """Scratch for a matrix of each lane."""
        lanes = lanes_of(self.spec.dtype)
        return _Grid(self.b.alloc(name, kind or self.spec.dtype, LARGEST * rows * lanes), columns, lanes)

    def register(self, name: str, value: Value | float | int, kind: str) -> Register:
        """A register of all lanes."""
        return self.b.reg(name, value, kind, lanes_of(self.spec.dtype))

    def triangular(self) -> None:
        """As in elimination.py."""
        b, spec, bufs, m, n = self.b, self.spec, self.bufs, self.m, self.n
        a, x = self.grid("w", m), self.grid("x", n)
        with self.panels(a, x) as at:
            with b.for_("i", 0, m) as i, b.for_("j", 0, i + 1) as j:
                a[i, j] = self.a[at["a"] + i * self.ar + j * self.ac]
            with b.for_("i", 0, m) as i:
                row = i
                if spec.ordered:
                    row = b.let(bufs["order"][at["order"] + i], "row")
                with b.for_("c", 0, n) as c:
                    total = self.register("sum", bufs["b"][at["b"] + row * self.br + c * self.bc], spec.dtype)
                    with b.for_("j", 0, i) as j:
                        total.set(fma(-a[i, j], x[j, c], total.get()))
                    value = total.get() if spec.unit else total.get() / a[i, i]
                    value = b.let(value, "value")
                    x[i, c] = value
                    self.out[at["out"] + i * self.orow + c] = value

    def cholesky(self) -> None:
        """As in elimination.py."""
        b, n, bufs = self.b, self.n, self.bufs
        w = self.grid("w", n)
        with self.panels(w) as at:
            with b.for_("i", 0, n) as i, b.for_("j", i, n) as j:
                w[i, j] = self.a[at["a"] + j * self.ar + i * self.ac]
            failed = self.register("failed", 0, "i64")
            with b.for_("r", 0, n) as r:
                pivot = b.let(w[r, r], "pivot")
                failed.set(select((pivot > 0.0) | failed.get().ne(0), failed.get(), r + 1))
                root = b.let(op("sqrt", pivot), "root")
                w[r, r] = root
                with b.for_("j", r + 1, n) as j:
                    w[r, j] = w[r, j] / root
                with b.for_("t", r + 1, n) as t:
                    factor = b.let(w[r, t], "factor")
                    with b.for_("j", t, n) as j:
                        w[t, j] = fma(-factor, w[r, j], w[t, j])
            with b.for_("i", 0, n) as i:
                with b.for_("j", 0, i) as j:
                    self.out[at["out"] + i * n + j] = const(self.spec.dtype, 0.0)
                with b.for_("j", i, n) as j:
                    self.out[at["out"] + i * n + j] = w[i, j]
            bufs["info"][at["info"]] = failed.get().cast("i32")

    def lu(self) -> None:
        """As in elimination.py."""
        b, m, n, bufs = self.b, self.m, self.n, self.bufs
        least = b.let(minimum(m, n), "least")
        zero = const("i64", 0)
        w, order = self.grid("w", n), self.grid("ranks", const("i64", 1), "i64", 1)
        with self.panels(w, order) as at:
            with b.for_("i", 0, m) as i:
                order[i, zero] = i
                with b.for_("j", 0, n) as j:
                    w[i, j] = self.a[at["a"] + i * self.ar + j * self.ac]
            failed = self.register("failed", 0, "i64")
            with b.for_("c", 0, least) as c:
                best = self.register("best", c, "i64")
                if self.spec.pivot:
                    self.chosen(w, c, best)
                    with b.for_("i", c + 1, m) as i:
                        here = b.let(best.get().eq(i), "here")
                        self.exchange(order, here, (c, zero), (i, zero))
                        with b.for_("j", 0, n) as j:
                            self.exchange(w, here, (c, j), (i, j))
                bufs["pivots"][at["pivots"] + c] = (best.get() + 1).cast("i32")
                pivot = b.let(w[c, c], "pivot")
                failed.set(select(pivot.ne(0.0) | failed.get().ne(0), failed.get(), c + 1))
                safe = b.let(select(pivot.eq(0.0), 1.0, pivot), "safe")
                with b.for_("i", c + 1, m) as i:
                    factor = b.let(w[i, c] / safe, "factor")
                    w[i, c] = factor
                    with b.for_("j", c + 1, n) as j:
                        w[i, j] = fma(-factor, w[c, j], w[i, j])
            with b.for_("i", 0, m) as i:
                bufs["order"][at["order"] + i] = order[i, zero]
                with b.for_("j", 0, n) as j:
                    self.out[at["out"] + i * n + j] = w[i, j]
            bufs["info"][at["info"]] = failed.get().cast("i32")

    def chosen(self, w: _Grid, c: Value, best: Register) -> None:
        """The row of the largest element of a column, from the diagonal on."""
        b = self.b
        most = self.register("most", abs(w[c, c]), self.spec.dtype)
        with b.for_("i", c + 1, self.m) as i:
            size = b.let(abs(w[i, c]), "size")
            better = b.let(size > most.get(), "better")
            best.set(select(better, i, best.get()))
            most.set(select(better, size, most.get()))

    def exchange(self, w: _Grid, here: Value, p: tuple[Value, Value], q: tuple[Value, Value]) -> None:
        """Two elements take each other's place, in the lanes that say so."""
        x, y = self.b.let(w[p]), self.b.let(w[q])
        w[p], w[q] = select(here, y, x), select(here, x, y)
