"""Contraction C[b,i,j] = sum_k A[b,i,k] * B[b,k,j]: the register-tiled kernel.

Vector lanes run over j, the rows of a tile are separate accumulators, and A is broadcast:

    for u in units of this part:            (a batch, a group of row panels, a group of columns)
      for jc in columns, nc at a time:
        for gb in 0..k, kg at a time:       [pack B[gb, jc] into panels of `lanes` columns: in the last cache]
          for pb in row panels, mp at a time:    [pack A[pb, gb] into panels of `rows` rows: in the second cache]
            for jr in column panels:
              for kb in gb..gb+kg, KC at a time: (a panel of B stays in the first cache)
                for p in row panels pb..: acc[rows][lanes] = fma chain over the k block; add to the earlier blocks

kg is a few KC where B is packed: the sums between blocks then stay in scratch, and C is written once for all of them.
Every element is a chain of its own, so tile, packing and number of parts never change a bit. Rows of the last panel
that do not exist repeat the last row and are not stored; the last column panel is masked.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..build import Register, Value, const, minimum, select
from ..ir import SIZE, Kernel
from . import packing
from .contraction import KC, Epilogue, Frame, Spec, muladd, round_up


def gemm(spec: Spec, epilogue: Epilogue | None = None, name: str = "gemm") -> Kernel:
    """The kernel of a "gemm" spec; see the top of the file."""
    f = Frame(spec, epilogue, name)
    b, rows, lanes = f.b, spec.rows, spec.lanes
    nest = _Nest(f)
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
        nest.opening = u.eq(lo)
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
    return spec.rows


STRIP = 8  # column panels of B that are packed at once, row after row: longer pieces of a row are read
AHEAD = 4  # tiles in which the next panel of B is brought near; k steps that share one line of that
LONG = 64  # k steps in which it pays to have what an epilogue reads brought near
DISTANCE = 16  # rows of B that are asked for before they are packed


class _Nest:
    """The loops inside one unit; attributes are what the enclosing loops have fixed so far."""

    opening: Value
    batch: Value
    p0: Value
    p1: Value
    a0: Value
    b0: Value
    w0: Value
    jc: Value
    je: Value
    pb: Value
    pe: Value
    gb: Value
    gk: Value
    kb: Value
    kc: Value
    j0: Value
    turn_b: Value

    def __init__(self, f: Frame):
        self.f, self.b, self.spec = f, f.b, f.spec
        self.stage = None
        if f.spec.staged or f.spec.tail or not f.spec.even:
            self.stage = f.b.alloc("stage", f.spec.acc, f.spec.rows * f.spec.lanes)

    def chunk(self, jc: Value, je: Value) -> None:
        """Columns jc..je-1, all groups of k blocks."""
        b, f, k = self.b, self.f, self.f["k"]
        self.jc, self.je = jc, je
        self.depth = b.let(minimum(k, f["kg"]), "depth") if self.spec.blocks else k
        if not self.spec.groups:
            self.gb = self.kb = const("i64", 0)
            self.gk = self.kc = k
            self.block()
            return
        with b.for_("gb", 0, k, f["kg"]) as gb:
            self.gb = self.kb = gb
            self.gk = self.kc = b.let(minimum(k - gb, f["kg"]), "gk")
            self.block()

    def block(self) -> None:
        """One group of k blocks of a chunk."""
        b, spec = self.b, self.spec
        whole = self.je
        if spec.tail:
            whole = b.let(self.jc + (self.je - self.jc) // spec.lanes * spec.lanes, "whole")
        with b.for_("pb", self.p0, self.p1, self.f["mp"]) as pb:
            self.pb, self.pe = pb, b.let(minimum(pb + self.f["mp"], self.p1), "pe")
            if spec.pack_a:
                with b.for_("p", pb, self.pe) as p:
                    self.pack_a(p)
            if spec.pack_a or spec.pack_b:
                self.columns(whole, self.column)
            else:
                with b.for_("p", pb, self.pe) as p:
                    i0 = b.let(p * spec.rows, "i0")
                    rows = [b.let(row + self.kb * self.f["ak"], "ar") for row in self.a_rows(i0)]
                    self.columns(whole, partial(self.tile, i0, rows))

    def in_blocks(self, do: Callable[[], None]) -> None:
        """do() for each k block of the group."""
        b = self.b
        if not self.spec.deep:
            do()
            return
        end = b.let(self.gb + self.gk, "end")
        with b.for_("kb", self.gb, end, KC) as kb:
            self.kb, self.kc = kb, b.let(minimum(end - kb, KC), "kc")
            do()
        self.kb, self.kc = self.gb, self.gk

    def columns(self, whole: Value, do: Callable[..., None]) -> None:
        """do(column, lanes, mask) for each column panel: the mask is there for the last one, which may not be whole."""
        b, spec = self.b, self.spec
        with b.for_("jr", self.jc, whole, spec.lanes) as jr:
            do(jr, spec.lanes, None)
        if spec.tail:
            with b.if_(whole < self.je):
                do(whole, spec.tail, packing.live(b, self.je - whole, spec.tail, spec.dtype))

    def panel_at(self, j: Value) -> Value:
        """Where the packed panel of column j begins in the workspace (after its spare rows)."""
        size = (self.depth + packing.SPARE) * self.spec.lanes
        return self.w0 + (j - self.jc) // self.spec.lanes * size + packing.SPARE * self.spec.lanes

    def pack_b(self, j: Value, part: bool) -> None:
        """One panel of B, `lanes` columns from j on. part: fewer exist."""
        f, b, spec, work = self.f, self.b, self.spec, self.f.work
        assert work is not None
        at = b.let(self.panel_at(j), "at")

        def blocks() -> None:
            window = packing.Window(j, f["n"], self.gb, self.gk, f["k"])
            packing.transposed_panel(
                b, f.bm, self.b0, f["bj"], window, spec.block, work, at, spec.lanes, spec.lanes
            )

        def rows() -> None:
            base = b.let(self.b0 + self.gb * f["bk"] + j * f["bj"])
            mask = packing.live(b, self.je - j, spec.lanes, spec.dtype) if part else None
            packing.rows_panel(b, f.bm, base, f["bk"], f["bj"], self.gk, mask, work, at, spec.lanes)

        self.choose(spec.b == "col", f["n"], blocks, rows)

    def pack_strip(self, j0: Value) -> None:
        """The next whole panels of B from column j0 on, STRIP at most."""
        f, b, spec, work = self.f, self.b, self.spec, self.f.work
        assert work is not None
        lanes, bk = spec.lanes, f["bk"]
        count = b.let(minimum((self.je - j0) // lanes, STRIP), "count")
        at, size = b.let(self.panel_at(j0), "at"), b.let((self.depth + packing.SPARE) * lanes)
        base = b.let(self.b0 + self.gb * bk + j0 * f["bj"])
        with b.for_("kk", 0, self.gk) as kk:
            row, put = b.let(base + kk * bk), b.let(at + kk * lanes)
            with b.for_("s", 0, count) as s:
                start = b.let(row + s * lanes)
                for line in range(0, lanes, 64 // SIZE[spec.dtype]):
                    b.prefetch(f.bm, start + DISTANCE * bk + line)
                with b.vfor("x", 0, lanes, lanes, full=True) as x:
                    work[put + s * size + x] = f.bm[start + x].cast(spec.acc)

    def a_panel(self, p: Value) -> Value:
        """Where the packed panel p of A begins in the workspace (after its spare rows)."""
        pitch = a_pitch(self.spec)
        first = self.w0 + self.f["wa"] + packing.SPARE * pitch
        return first + (p - self.pb) * ((self.depth + packing.SPARE) * pitch)

    def pack_a(self, p: Value) -> None:
        """The panel p of A, all rows of a tile."""
        f, b, spec, work = self.f, self.b, self.spec, self.f.work
        assert work is not None
        pitch = a_pitch(spec)
        i0, start = b.let(p * spec.rows, "i0"), b.let(self.a_panel(p), "at")

        def blocks() -> None:
            window = packing.Window(i0, f["m"], self.gb, self.gk, f["k"])
            room = round_up(spec.rows, spec.block)
            with b.if_(i0 + room <= f["m"]):
                packing.transposed_panel(
                    b, f.a, self.a0, f["ai"], window, spec.block, work, start, pitch, pitch
                )
            with b.else_():
                rows()

        def rows() -> None:
            places = self.a_rows(i0)
            with b.for_("kk", 0, self.gk) as kk:
                step = b.let((self.gb + kk) * f["ak"])
                for r, row in enumerate(places):
                    work[start + kk * pitch + r] = f.a[row + step].cast(spec.acc)

        def copy() -> None:  # a k step of a panel lies in a row
            base = b.let(self.a0 + i0 + self.gb * f["ak"])
            with b.for_("kk", 0, self.gk) as kk:
                row, put, r = b.let(base + kk * f["ak"]), b.let(start + kk * pitch), 0
                while r < spec.rows:
                    width = min(spec.block, 1 << ((spec.rows - r).bit_length() - 1))
                    with b.vfor("x", r, r + width, width, full=True) as x:
                        work[put + x] = f.a[row + x].cast(spec.acc)
                    r += width

        if spec.a != "col":
            self.choose(spec.a == "row", f["m"], blocks, rows)
        elif spec.even:
            copy()
        else:
            with b.if_(i0 + spec.rows <= f["m"]):
                copy()
            with b.else_():
                rows()

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

    def column(self, j0: Value, lanes: int, mask: Value | None) -> None:
        """The tiles of a column panel with all row panels of a block."""
        b, f, spec = self.b, self.f, self.spec
        first = self.pb.eq(self.p0) & self.opening if spec.shared else self.pb.eq(self.p0)
        if spec.pack_b and mask is None and spec.b == "row":
            with b.if_(first & ((j0 - self.jc) % (STRIP * lanes)).eq(0)):
                self.pack_strip(j0)
        elif spec.pack_b:
            with b.if_(first):
                self.pack_b(j0, mask is not None)

        def panels() -> None:
            with b.for_("p", self.pb, self.pe) as p:
                if spec.pack_b:
                    self.turn_b = b.let(minimum(p - self.pb, AHEAD - 1))
                i0 = b.let(p * spec.rows, "i0")
                if spec.pack_a:
                    start = b.let(self.a_panel(p) + (self.kb - self.gb) * a_pitch(spec), "ap")
                    a_rows = [start + r for r in range(spec.rows)]
                    self.fetch_a(p, j0)
                else:
                    a_rows = [b.let(row + self.kb * f["ak"], "ar") for row in self.a_rows(i0)]
                if spec.pack_b and spec.b == "col" and mask is None:
                    with b.if_(first):
                        self.fetch_b(p, j0)
                self.tile(i0, a_rows, j0, lanes, mask)

        self.in_blocks(panels)

    def fetch(self, i0: Value, j0: Value) -> None:
        """Have the sums of earlier groups, or the place of these, brought near while the tile is computed."""
        b, f, spec = self.b, self.f, self.spec
        near = getattr(f.emit, "near", None)
        if near is not None:
            with b.if_((self.kb + self.kc >= f["k"]) & (self.kc >= LONG)):
                for r in range(spec.rows):
                    near(spec.lanes, self.batch, i0 + r, j0)
        if not spec.blocks or spec.c != "row":
            return
        if f.partial is None and not spec.groups:
            return
        store, place = (f.c, f.c_index) if f.partial is not None else (f.work, self.place)
        assert store is not None
        for r in range(spec.rows):
            b.prefetch(store, place(self.batch, i0 + r, j0), write=True)

    def turns(self) -> Value:
        """How many k blocks there are in a group."""
        return (self.gk + (KC - 1)) // KC if self.spec.deep else const("i64", 1)

    def turn(self, j0: Value) -> Value:
        """How many tiles of a row panel came before this one in the group."""
        column = (j0 - self.jc) // self.spec.lanes
        return column * self.turns() + (self.kb - self.gb) // KC if self.spec.deep else column

    def fetch_a(self, p: Value, j0: Value) -> None:
        """Have a share of what is packed next brought near: each tile the lines of a few k steps of its panel."""
        f, b, spec = self.f, self.b, self.spec
        more = self.pe < self.p1
        row = (select(more, self.pe, self.p0) + (p - self.pb)) * spec.rows
        kb = select(more, self.gb, self.gb + self.gk)
        at = self.a0 + row * f["ai"] + kb * f["ak"]
        if spec.a == "row":
            step = b.let(self.turn(j0) * (64 // SIZE[spec.dtype]))
            with b.if_(step < self.gk):
                for r in range(spec.rows):
                    b.prefetch(f.a, at + step + r * f["ai"])
        elif spec.a == "col":
            share = b.let(self.gk * spec.lanes // ((self.je - self.jc) * self.turns()) + 1)
            first = b.let(self.turn(j0) * share)
            with b.for_("i", first, minimum(first + share, self.gk)) as i:
                b.prefetch(f.a, at + i * f["ak"])

    def fetch_b(self, p: Value, j0: Value) -> None:
        """The same for the next panel of B: each tile a share of the panel."""
        f, b, spec = self.f, self.b, self.spec
        line = 64 // SIZE[spec.dtype]
        tiles = (self.pe - self.pb) * self.turns()
        share = b.let((self.gk + tiles - 1) // tiles)
        turn = (self.kb - self.gb) // KC * (self.pe - self.pb) if spec.deep else const("i64", 0)
        first = b.let((turn + (p - self.pb)) * share)
        at = b.let(self.b0 + self.gb * f["bk"] + (j0 + spec.lanes) * f["bj"])
        with b.for_("i", first, minimum(first + share, self.gk)) as i:
            if spec.b == "col":
                b.prefetch(f.bm, at + i % spec.lanes * f["bj"] + i // spec.lanes * line)
            else:
                b.prefetch(f.bm, at + i * f["bk"])

    def tile(self, i0: Value, a_rows: list[Value], j0: Value, lanes: int, mask: Value | None) -> None:
        """One register tile: the k loop, then what is done with its sums. mask: of the columns that exist."""
        b, f, spec = self.b, self.f, self.spec
        self.j0 = j0
        self.fetch(i0, j0)
        if spec.pack_b:
            base = b.let(self.panel_at(j0) + (self.kb - self.gb) * spec.lanes, "bp")
            step, loaded = const("i64", spec.lanes), None
        else:
            base, step = b.let(self.b0 + self.kb * f["bk"] + j0 * f["bj"], "bp"), f["bk"]
            loaded = mask
        acc = [b.reg("acc", 0, spec.acc, lanes) for _ in range(spec.rows)]
        a, source = f.work if spec.pack_a else f.a, f.work if spec.pack_b else f.bm
        assert a is not None and source is not None
        a_step = const("i64", a_pitch(spec)) if spec.pack_a else f["ak"]

        def at(kk: Value) -> None:
            row = b.let(base + kk * step)
            ka = b.let(kk * a_step)
            with b.vfor("x", 0, lanes, lanes, full=True) as x:
                index = row + x * (1 if spec.pack_b else f["bj"])
                value = b.let(source.load(index, loaded).cast(spec.acc))
                for r in range(spec.rows):
                    acc[r].set(muladd(a[a_rows[r] + ka].cast(spec.acc), value, acc[r].get()))

        unroll = max(spec.unroll, AHEAD) if spec.pack_b else spec.unroll
        ahead = base
        if spec.pack_b:
            share = b.let((self.kc + (AHEAD - 1)) // AHEAD * spec.lanes)
            ahead = b.let(base + (self.kc + packing.SPARE) * spec.lanes + self.turn_b * share, "ahead")
        main = b.let(self.kc // unroll * unroll, "main")
        with b.for_("kk", 0, main, unroll) as kk:
            if spec.pack_b:
                for line in range(0, spec.lanes, 64 // SIZE[spec.acc]):
                    b.prefetch(source, ahead + kk // unroll * spec.lanes + line, far=True)
            for u in range(unroll):
                at(kk + u)
        if unroll > 1:
            with b.for_("kk", main, self.kc) as kk:
                at(kk)
        self.finish(i0, j0, acc, lanes, mask is not None)

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
        """What is to be done with the sums of this k block. add, keep: take the sums so far and their places.

        Between the blocks of a group they are in scratch, between groups in C or, where an epilogue will make C of
        them, in the workspace."""
        b, f, spec = self.b, self.f, self.spec
        if not spec.blocks:
            emit()
            return
        store, place = (f.c, f.c_index) if f.partial is not None else (f.work, self.place)
        opening = self.kb.eq(self.gb)

        def earlier() -> None:
            if spec.groups:
                with b.if_(self.gb > 0):
                    add(store, place)

        def last() -> None:
            if f.partial is not None or not spec.groups:
                emit()
                return
            with b.if_(self.gb + self.gk >= f["k"]):
                emit()
            with b.else_():
                keep(store, place)

        if not spec.deep:
            earlier()
            last()
            return
        with b.if_(opening):
            earlier()
        with b.else_():
            add(f.work, self.scratch)
        with b.if_(self.kb + self.kc >= self.gb + self.gk):
            last()
        with b.else_():
            keep(f.work, self.scratch)

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

    def scratch(self, batch: Value, row: Value, col: Value) -> Value:
        """Where it is kept between the k blocks of a group."""
        lanes = self.spec.lanes
        return self.w0 + self.f["wt"] + (row - self.pb * self.spec.rows) * lanes + (col - self.j0)
