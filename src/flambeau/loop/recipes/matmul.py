"""Contraction C[b,i,j] = sum_k A[b,i,k] * B[b,k,j]: the register-tiled kernel.

Vector lanes run over j, the rows of a tile are separate accumulators, and A is broadcast:

    for u in units of this part:            (a batch, a group of row panels, a group of columns)
      for jc in columns, nc at a time:
        for kb in 0..k, 384 at a time:      [pack B[kb, jc] into panels of `lanes` columns]
          for p in row panels:              [pack A[p, kb], `rows` rows]
            for jr in column panels:        acc[rows][lanes] = fma chain over the k block; add to the earlier blocks

Every element is a chain of its own, so tile, packing and number of parts never change a bit. Rows of the last panel
that do not exist repeat the last row and are not stored; the last column panel is masked.
"""

from __future__ import annotations

from collections.abc import Callable

from ..build import Buffer, Register, Value, const, minimum
from ..ir import Kernel
from . import packing
from .contraction import KC, Epilogue, Frame, Spec, muladd, round_up


def gemm(spec: Spec, epilogue: Epilogue | None = None, name: str = "gemm") -> Kernel:
    """The kernel of a "gemm" spec; see the top of the file."""
    f = Frame(spec, epilogue, name)
    b, rows, lanes = f.b, spec.rows, spec.lanes
    a_size = (KC + packing.SPARE) * a_pitch(spec)
    nest = _Nest(f, b.alloc("ap", spec.acc, a_size) if spec.pack_a else None)
    nest.w0 = b.let(b.tid * f["ws"], "w0")
    panels = b.let((f["m"] + (rows - 1)) // rows, "panels")
    columns = b.let((f["n"] + (lanes - 1)) // lanes, "columns")
    if spec.single and not spec.batched:
        nest.a0 = nest.b0 = nest.batch = nest.p0 = const("i64", 0)
        nest.p1 = panels
        with b.if_(b.tid.eq(0)):
            nest.chunk(const("i64", 0), f["n"])
        return b.kernel()
    grid = b.let(f["gr"] * f["gc"])
    lo, hi = b.partition(f["batch"] * grid)
    with b.for_("u", lo, hi) as u:
        nest.batch = b.let(u // grid, "batch") if spec.batched else const("i64", 0)
        cell = u % grid if spec.batched else u
        r = b.let(cell // f["gc"])
        q = b.let(cell % f["gc"])
        nest.p0, nest.p1 = b.let(panels * r // f["gr"], "p0"), b.let(panels * (r + 1) // f["gr"], "p1")
        j0 = b.let(columns * q // f["gc"] * lanes, "j0")
        j1 = b.let(minimum(columns * (q + 1) // f["gc"] * lanes, f["n"]), "j1")
        nest.a0, nest.b0 = b.let(f.start("a", nest.batch), "a0"), b.let(f.start("b", nest.batch), "b0")
        if spec.single:
            nest.chunk(const("i64", 0), f["n"])
        else:
            with b.for_("jc", j0, j1, f["nc"]) as jc:
                nest.chunk(jc, b.let(minimum(jc + f["nc"], j1), "je"))
    return b.kernel()


def a_pitch(spec: Spec) -> int:
    """Elements from one k step to the next in a packed panel of A."""
    return round_up(spec.rows, spec.block) if spec.a == "row" and spec.narrow != "yes" else spec.rows


class _Nest:
    """The loops inside one unit; attributes are what the enclosing loops have fixed so far."""

    batch: Value
    p0: Value
    p1: Value
    a0: Value
    b0: Value
    w0: Value
    jc: Value
    je: Value
    kb: Value
    kc: Value

    def __init__(self, f: Frame, ap: Buffer | None):
        self.f, self.b, self.spec, self.ap = f, f.b, f.spec, ap
        self.stage = None
        if f.spec.staged or f.spec.tail or not f.spec.even:
            self.stage = f.b.alloc("stage", f.spec.acc, f.spec.rows * f.spec.lanes)

    def chunk(self, jc: Value, je: Value) -> None:
        """Columns jc..je-1, all k blocks."""
        b, k = self.b, self.f["k"]
        self.jc, self.je = jc, je
        self.depth = b.let(minimum(k, KC), "depth")
        if not self.spec.blocks:
            self.kb, self.kc = const("i64", 0), k
            self.block()
            return
        with b.for_("kb", 0, k, KC) as kb:
            self.kb, self.kc = kb, b.let(minimum(k - kb, KC), "kc")
            self.block()

    def block(self) -> None:
        """One k block of a chunk."""
        b, rows = self.b, self.spec.rows
        if self.spec.pack_b:
            with b.for_("jp", self.jc, self.je, self.spec.lanes) as jp:
                self.pack_b(jp)
        with b.for_("p", self.p0, self.p1) as p:
            self.panel(b.let(p * rows, "i0"))

    def panel_at(self, j: Value) -> Value:
        """Where the packed panel of column j begins in the workspace (after its spare rows)."""
        size = (self.depth + packing.SPARE) * self.spec.lanes
        return self.w0 + (j - self.jc) // self.spec.lanes * size + packing.SPARE * self.spec.lanes

    def pack_b(self, j: Value) -> None:
        """One panel of B, `lanes` columns from j on."""
        f, b, spec, work = self.f, self.b, self.spec, self.f.work
        assert work is not None
        at = b.let(self.panel_at(j), "at")

        def blocks() -> None:
            window = packing.Window(j, f["n"], self.kb, self.kc, f["k"])
            packing.transposed_panel(
                b, f.bm, self.b0, f["bj"], window, spec.block, work, at, spec.lanes, spec.lanes
            )

        def rows() -> None:
            base = b.let(self.b0 + self.kb * f["bk"] + j * f["bj"])
            left = self.je - j

            def panel(mask: Value | None) -> None:
                packing.rows_panel(b, f.bm, base, f["bk"], f["bj"], self.kc, mask, work, at, spec.lanes)

            if not spec.tail:
                panel(None)
                return
            with b.if_(left >= spec.lanes):
                panel(None)
            with b.else_():
                panel(packing.live(b, left, spec.lanes, spec.dtype))

        self.choose(spec.b == "col", f["n"], blocks, rows)

    def pack_a(self, i0: Value) -> Value:
        """The panel of A from row i0 on, into `ap`; returns where it begins."""
        f, b, spec, ap = self.f, self.b, self.spec, self.ap
        assert ap is not None
        pitch = a_pitch(spec)
        start = const("i64", packing.SPARE * pitch)

        def blocks() -> None:
            window = packing.Window(i0, f["m"], self.kb, self.kc, f["k"])
            packing.transposed_panel(b, f.a, self.a0, f["ai"], window, spec.block, ap, start, pitch, pitch)

        def rows() -> None:
            with b.for_("kk", 0, self.kc) as kk:
                step = b.let((self.kb + kk) * f["ak"])
                for r, row in enumerate(self.a_rows(i0)):
                    ap[start + kk * pitch + r] = f.a[row + step].cast(spec.acc)

        self.choose(spec.a == "row", f["m"], blocks, rows)
        return start

    def choose(self, transposed: bool, extent: Value, blocks, rows) -> None:
        """Pack by transposed blocks where the layout asks for it and there is room for them, else row by row."""
        b, narrow, size = self.b, self.spec.narrow, self.spec.block
        if not transposed or narrow == "yes":
            rows()
        elif narrow == "no":
            blocks()
        else:
            with b.if_((extent >= size) & (self.f["k"] >= size)):
                blocks()
            with b.else_():
                rows()

    def a_rows(self, i0: Value) -> list[Value]:
        """Where the rows of the panel begin in A (k = 0)."""
        f, b = self.f, self.b
        if self.spec.even:
            base = b.let(self.a0 + i0 * f["ai"])
            return [base + r * f["ai"] for r in range(self.spec.rows)]
        last = b.let(f["m"] - 1)
        return [b.let(self.a0 + minimum(i0 + r, last) * f["ai"], "ar") for r in range(self.spec.rows)]

    def panel(self, i0: Value) -> None:
        """All tiles of one row panel."""
        b, f, spec = self.b, self.f, self.spec
        if spec.pack_a:
            start = self.pack_a(i0)
            a_rows = [start + r for r in range(spec.rows)]
            a_step: Value = const("i64", a_pitch(spec))
        else:
            a_rows = [b.let(row + self.kb * f["ak"], "ar") for row in self.a_rows(i0)]
            a_step = f["ak"]
        whole = self.je
        if spec.tail:
            whole = b.let(self.jc + (self.je - self.jc) // spec.lanes * spec.lanes, "whole")
        with b.for_("jr", self.jc, whole, spec.lanes) as jr:
            self.tile(i0, jr, spec.lanes, a_rows, a_step)
        if spec.tail:
            with b.if_(whole < self.je):
                self.tile(i0, whole, spec.tail, a_rows, a_step, part=True)

    def tile(
        self, i0: Value, j0: Value, lanes: int, a_rows: list[Value], a_step: Value, part: bool = False
    ) -> None:
        """One register tile: the k loop, then what is done with its sums. part: fewer than `lanes` columns exist."""
        b, f, spec = self.b, self.f, self.spec
        mask = None
        if spec.pack_b:
            assert f.work is not None
            source = f.work
            base, step = b.let(self.panel_at(j0), "bp"), const("i64", spec.lanes)
        else:
            source = f.bm
            base, step = b.let(self.b0 + self.kb * f["bk"] + j0 * f["bj"], "bp"), f["bk"]
            mask = packing.live(b, self.je - j0, lanes, spec.dtype) if part else None
        acc = [b.reg("acc", 0, spec.acc, lanes) for _ in range(spec.rows)]
        a = self.ap or f.a

        def at(kk: Value) -> None:
            row = b.let(base + kk * step)
            ka = b.let(kk * a_step)
            with b.vfor("x", 0, lanes, lanes, full=True) as x:
                index = row + x * (1 if spec.pack_b else f["bj"])
                value = b.let(source.load(index, mask).cast(spec.acc))
                for r in range(spec.rows):
                    acc[r].set(muladd(a[a_rows[r] + ka].cast(spec.acc), value, acc[r].get()))

        main = b.let(self.kc // spec.unroll * spec.unroll, "main")
        with b.for_("kk", 0, main, spec.unroll) as kk:
            for u in range(spec.unroll):
                at(kk + u)
        if spec.unroll > 1:
            with b.for_("kk", main, self.kc) as kk:
                at(kk)
        self.finish(i0, j0, acc, lanes, part)

    def finish(self, i0: Value, j0: Value, acc: list[Register], lanes: int, part: bool) -> None:
        """Add the sums of earlier k blocks; keep the sums, or hand them to the epilogue after the last block."""
        b, f, spec = self.b, self.f, self.spec
        if part or spec.staged:
            self.by_rows(i0, j0, acc, lanes, part)
        elif spec.even:
            self.at_once(i0, j0, acc, lanes)
        else:
            with b.if_(i0 + spec.rows <= f["m"]):
                self.at_once(i0, j0, acc, lanes)
            with b.else_():
                self.by_rows(i0, j0, acc, lanes, part)

    def settle(self, add: Callable[..., None], emit: Callable[..., None], keep: Callable[..., None]) -> None:
        """What is to be done with the sums of this k block. add, keep: take the sums so far and their places."""
        b, f = self.b, self.f
        if not self.spec.blocks:
            emit()
            return
        store, place = (f.c, f.c_index) if f.partial is not None else (f.work, self.place)
        with b.if_(self.kb > 0):
            add(store, place)
        if f.partial is not None:
            emit()
            return
        with b.if_(self.kb + self.kc >= f["k"]):
            emit()
        with b.else_():
            keep(store, place)

    def at_once(self, i0: Value, j0: Value, acc: list[Register], lanes: int) -> None:
        """All rows of a whole tile, out of its registers."""
        b, f, batch = self.b, self.f, self.batch

        def rows(do: Callable[[Register, Value, Value], None]) -> None:
            with b.vfor("x", 0, lanes, lanes, full=True) as x:
                for r, sums in enumerate(acc):
                    do(sums, i0 + r, j0 + x)

        self.settle(
            lambda store, at: rows(lambda t, r, c: t.set(store[at(batch, r, c)] + t.get())),
            lambda: rows(lambda t, r, c: f.emit(t.get(), batch, r, c)),
            lambda store, at: rows(lambda t, r, c: b.store(store, at(batch, r, c), t.get())),
        )

    def by_rows(self, i0: Value, j0: Value, acc: list[Register], lanes: int, part: bool) -> None:
        """A loop over the rows that exist, through scratch: less code where it runs seldom or is long for a row."""
        b, f, spec, batch, stage = self.b, self.f, self.spec, self.batch, self.stage
        assert stage is not None
        with b.vfor("x", 0, lanes, lanes, full=True) as x:
            for place, sums in enumerate(acc):
                stage[x + place * spec.lanes] = sums.get()
        cols = b.let(minimum(self.je - j0, lanes), "cols") if part else const("i64", lanes)
        count = const("i64", spec.rows) if spec.even else b.let(minimum(f["m"] - i0, spec.rows), "count")
        with b.for_("r", 0, count) as r:
            first, row = b.let(r * spec.lanes, "first"), b.let(i0 + r, "row")

            def columns(do: Callable[[Value, Value], None]) -> None:
                with b.vfor("x", 0, cols, lanes, full=not part) as x:
                    do(first + x, j0 + x)

            self.settle(
                lambda store, at: columns(
                    lambda i, c: b.store(stage, i, store[at(batch, row, c)] + stage[i])
                ),
                lambda: columns(lambda i, c: f.emit(stage[i], batch, row, c)),
                lambda store, at: columns(lambda i, c: b.store(store, at(batch, row, c), stage[i])),
            )

    def place(self, batch: Value, row: Value, col: Value) -> Value:
        """Where the sum of an element is kept between k blocks, in the workspace."""
        return self.w0 + self.f["wp"] + (row - self.p0 * self.spec.rows) * self.f["nc"] + (col - self.jc)
