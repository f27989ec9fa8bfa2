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

from collections.abc import Callable, Iterator
from functools import partial, reduce
from operator import and_
from typing import Any

from ..build import Buffer, Register, Value, const, minimum
from ..ir import SIZE, Kernel
from . import packing, pairs
from .contraction import Epilogue, Frame, Made, Spec, muladd
from .panels import ASKS, FEW, Panels, a_pitch


def gemm(
    spec: Spec, epilogue: Epilogue | None = None, name: str = "gemm", made: dict[str, Made] | None = None
) -> Kernel:
    """The kernel of a "gemm" spec; see the top of the file."""
    f = Frame(spec, epilogue, name, made or {})
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


AHEAD = 4  # tiles in which the next panel of B is brought near; k steps that share one line of that
LONG = 64  # k steps in which it pays to have what an epilogue reads brought near


class _Nest(Panels):
    """The loops inside one unit."""

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
        with b.for_("pb", self.p0, self.p1, self.f["mp"]) as pb:
            self.pb, self.pe = pb, b.let(minimum(pb + self.f["mp"], self.p1), "pe")
            if spec.pack_a:
                with b.for_("p", pb, self.pe) as p:
                    self.pack_a(p)
            if spec.pack_a or spec.pack_b:
                self.columns(self.column)
            else:
                with b.for_("p", pb, self.pe) as p:
                    i0 = b.let(p * spec.rows, "i0")
                    rows = [b.let(row + self.kb * self.f["ak"], "ar") for row in self.a_rows(i0)]
                    self.columns(partial(self.tile, i0, rows))

    def in_blocks(self, do: Callable[[], None]) -> None:
        """do() for each k block of the group."""
        b = self.b
        if not self.spec.deep:
            do()
            return
        end = b.let(self.gb + self.gk, "end")
        with b.for_("kb", self.gb, end, self.spec.kc) as kb:
            self.kb, self.kc = kb, b.let(minimum(end - kb, self.spec.kc), "kc")
            do()
        self.kb, self.kc = self.gb, self.gk

    def columns(self, do: Callable[[Value], None]) -> None:
        """do(column) for each column panel, the last of which may not be whole."""
        b, spec = self.b, self.spec
        if spec.thin:
            do(self.jc)
            return
        with b.for_("jr", self.jc, self.je, spec.lanes) as jr:
            if spec.tail:
                self.whole = b.let(self.je - jr >= spec.lanes, "whole")
            do(jr)

    def column(self, j0: Value) -> None:
        """The tiles of a column panel with all row panels of a block."""
        b, f, spec = self.b, self.f, self.spec
        first = self.pb.eq(self.p0) & self.opening if spec.shared else self.pb.eq(self.p0)
        if spec.joined:
            self.enter(j0)
        if spec.pack_b:
            with b.if_(first):
                self.open_b(j0)

        def panels() -> None:
            with b.for_("p", self.pb, self.pe) as p:
                if spec.pack_b:
                    self.turn_b = b.let(minimum(p - self.pb, AHEAD - 1))
                    self.opens = b.let(
                        first & (p - self.pb < (min(ASKS, self.lines_a_step()) if self.asks_lines() else 1)),
                        "opens",
                    )
                    self.turn_p = p - self.pb
                i0 = b.let(p * spec.rows, "i0")
                if spec.pack_a:
                    start = b.let(self.a_panel(p) + (self.kb - self.gb) * a_pitch(spec), "ap")
                    a_rows = [start + r for r in range(spec.rows)]
                    self.fetch_a(p, j0)
                else:
                    a_rows = [b.let(row + self.kb * f["ak"], "ar") for row in self.a_rows(i0)]
                if spec.pack_b and spec.b == "col" and not spec.thin and not f.made("b") and not spec.pairs:
                    many = first & (self.p1 - self.p0 > FEW)
                    with b.if_(many & self.whole if spec.tail else many):
                        self.fetch_b(p, j0)
                self.tile(i0, a_rows, j0)

        self.in_blocks(panels)

    def fetch(self, i0: Value, j0: Value) -> None:
        """Have the sums of earlier groups, or the place of these, brought near while the tile is computed."""
        b, f, spec = self.b, self.f, self.spec
        if f.asks and f.partial is None:
            last = self.kb + self.kc >= f["k"]
            last = last if spec.far == "vast" else last & (self.kc >= LONG)
            with b.if_(last), b.for_("r", 0, spec.rows) as r:
                f.near(spec.lanes, self.batch, i0 + r, self.column_of(j0))
        if not spec.blocks or spec.c != "row":
            return
        if f.partial is None and not spec.groups:
            return
        store, place = (f.c, self.c_place) if f.partial is not None else (f.work, self.place)
        assert store is not None
        with b.for_("r", 0, spec.rows) as r:
            for line in range(0, spec.lanes, 64 // SIZE[spec.acc]):
                b.prefetch(store, place(i0 + r, j0) + line, write=True)

    def tile(self, i0: Value, a_rows: list[Value], j0: Value) -> None:
        """One register tile: the k loop, then what is done with its sums, for whole and for narrower panels; what is
        finished of tiles that do not exist as a whole is handed on in one place."""
        b, spec = self.b, self.spec
        self.j0 = j0
        self.fetch(i0, j0)
        if spec.deep:
            self.stage_at = b.let(self.scratch(i0), "sums")
        staged = _Tile(self, i0, j0, [], spec.lanes, bool(spec.tail))
        self.edge = None
        if not spec.late and self.stage is not None:
            self.edge = b.reg("edge", const("b1", False))

        def do(part: bool) -> None:
            acc, lanes = self.sums(a_rows, j0, part), spec.tail if part else spec.lanes
            if spec.late:
                if spec.deep:
                    with b.if_(self.kb > self.gb):
                        self.resume(acc, lanes)
                self.put(acc, lanes)
            else:
                self.finish(_Tile(self, i0, j0, acc, lanes, part or spec.padded))

        self.by_width(partial(do, False), partial(do, True), spec.padded)
        if spec.late:
            self.finish(staged)
        elif self.edge is not None:
            with b.if_(self.edge.get()):
                staged.give()

    def put(self, acc: list[Register], lanes: int) -> None:
        """The sums of a tile into scratch, whether its rows and columns exist or not."""
        stage = self.stage
        assert stage is not None
        with self.b.vfor("x", 0, lanes, lanes, full=True) as x:
            for r, sums in enumerate(acc):
                stage[self.stage_at + r * self.spec.lanes + x] = sums.get()

    def resume(self, acc: list[Register], lanes: int) -> None:
        """Add the sums of the earlier k blocks of the group."""
        stage = self.stage
        assert stage is not None
        with self.b.vfor("x", 0, lanes, lanes, full=True) as x:
            for r, sums in enumerate(acc):
                sums.set(stage[self.stage_at + r * self.spec.lanes + x] + sums.get())

    def sums(self, a_rows: list[Value], j0: Value, part: bool) -> list[Register]:
        """The sums of a tile over a k block. part: of the last panel, where B, if not packed, has fewer columns."""
        b, f, spec = self.b, self.f, self.spec
        lanes = spec.tail if part else spec.lanes
        mask = packing.live(b, self.je - j0, lanes, spec.dtype) if part and not spec.pack_b else None
        if spec.pack_b:
            base = b.let(self.panel_at(j0) + (self.kb - self.gb) * spec.lanes, "bp")
            step = const("i64", spec.lanes)
        else:
            base, step = b.let(self.b0 + self.kb * f["bk"] + j0 * f["bj"], "bp"), f["bk"]
        acc = [b.reg("acc", 0, spec.acc, lanes) for _ in range(spec.rows)]
        a, source = f.work if spec.pack_a else f.a, f.work if spec.pack_b else f.bm
        assert a is not None and source is not None
        a_step = const("i64", a_pitch(spec)) if spec.pack_a else f["ak"]

        def at(kk: Value, add: Any = muladd) -> None:
            row = b.let(base + kk * step)
            ka = b.let(kk * a_step)
            with b.vfor("x", 0, lanes, lanes, full=True) as x:
                index = row + x * (1 if spec.pack_b else f["bj"])
                value = b.let(source.load(index, mask).cast(spec.acc))
                for r in range(spec.rows):
                    acc[r].set(add(a[a_rows[r] + ka].cast(spec.acc), value, acc[r].get()))

        if self.least:
            with b.if_(pairs.safe(*(x.exponent.get() for x in self.least))):
                self.steps(partial(at, add=pairs.dot2), source, base, part)
            with b.else_(), b.for_("kk", 0, self.kc) as kk:
                at(kk, pairs.apart)
        else:
            self.steps(at, source, base, part)
        return acc

    def steps(self, at: Callable[[Value], None], source: Buffer, base: Value, part: bool) -> None:
        """at(kk) for all steps of the k block; the next panel of a packed B, whose steps begin at base in this one,
        is brought near meanwhile."""
        b, spec = self.b, self.spec
        unroll = spec.unroll if spec.thin or not part else 1
        near = spec.pack_b and not part and not spec.thin
        ahead = base
        if near:
            share = b.let((self.kc + (AHEAD - 1)) // AHEAD * spec.lanes)
            ahead = b.let(base + (self.kc + packing.SPARE) * spec.lanes + self.turn_b * share, "ahead")
        main = b.let(self.kc // unroll * unroll, "main") if unroll > 1 else self.kc
        ask = self.next_strip(self.j0) if near else None

        def packed(kk: Value) -> None:
            for line in range(0, max(1, spec.lanes * unroll // AHEAD), 64 // SIZE[spec.acc]):
                b.prefetch(source, ahead + kk * (spec.lanes // AHEAD) + line, far=True)

        with b.for_("kk", 0, main, unroll) as kk:
            if ask is not None:
                with b.if_(self.opens):
                    for u in range(unroll):
                        ask(kk + u)
                with b.else_():
                    packed(kk)
            elif near:
                packed(kk)
            for u in range(unroll):
                at(kk + u)
        if unroll > 1:
            with b.for_("kk", main, self.kc) as kk:
                at(kk)

    def finish(self, tile: _Tile) -> None:
        """Add the sums of earlier groups of k blocks; keep the sums, or hand them to the epilogue after the last one.

        Between the blocks of a group they are in scratch as they are, between groups in C or, where an epilogue will
        make C of them, in the workspace."""
        b, f, spec = self.b, self.f, self.spec
        if not spec.blocks:
            tile.give()
            return
        store, place = (f.c, self.c_place) if f.partial is not None else (f.work, self.place)

        def last() -> None:
            if f.partial is not None or not spec.groups:
                tile.give()
                return
            with b.if_(self.gb + self.gk >= f["k"]):
                tile.give()
            with b.else_():
                tile.keep(store, place)

        if spec.groups:
            with b.if_(self.kb.eq(self.gb) & (self.gb > 0)):
                tile.add(store, place)
        if not spec.deep:
            last()
            return
        with b.if_(self.kb + self.kc >= self.gb + self.gk):
            last()

    def pieces(self, cols: Value) -> Iterator[tuple[Value, Value]]:
        """The columns of a tile, batch after batch."""
        zero = const("i64", 0)
        if not self.spec.joined:
            yield zero, cols
            return
        first = self.b.let(minimum(self.room, cols))
        yield zero, first
        batch, shift = self.batch, self.shift
        self.batch, self.shift = batch + 1, shift + self.f["bn"]
        yield first, cols
        self.batch, self.shift = batch, shift

    def column_of(self, col: Value) -> Value:
        """The column of its batch."""
        return col - self.shift if self.spec.joined else col

    def give(self, value: Value, row: Value, col: Value) -> None:
        """Hand a finished element on."""
        self.f.emit(value, self.batch, row, self.column_of(col))

    def c_place(self, row: Value, col: Value) -> Value:
        """Where an element of C lies."""
        return self.f.c_index(self.batch, row, self.column_of(col))

    def place(self, row: Value, col: Value) -> Value:
        """Where the sum of an element is kept between k blocks, in the workspace."""
        return self.w0 + self.f["wp"] + (row - self.p0 * self.spec.rows) * self.f["nc"] + (col - self.jc)

    def scratch(self, row: Value) -> Value:
        """Where the sums of the tile whose first row this is are between the k blocks of a group."""
        return self.w0 + self.f["wt"] + (row - self.pb * self.spec.rows) * self.spec.lanes


class _Tile:
    """The sums of a tile in its registers, whose rows and columns may not all exist (part: the columns); acc: none if
    they are in scratch already, where they are taken row after row: less code, for what takes little of the time."""

    def __init__(self, nest: _Nest, i0: Value, j0: Value, acc: list[Register], lanes: int, part: bool):
        self.nest, self.i0, self.j0, self.acc, self.lanes, self.part = nest, i0, j0, acc, lanes, part
        self.b, self.spec, self.stage = nest.b, nest.spec, nest.stage

    def give(self) -> None:
        """Hand all on: at once, or later out of scratch."""
        nest, stage = self.nest, self.stage
        if not self.acc:
            assert stage is not None
            self.by_rows(lambda i, r, c: nest.give(stage[i], r, c))
            return

        def rows(stage: Buffer) -> None:
            assert nest.edge is not None
            nest.edge.set(const("b1", True))

        self.either(lambda: self.at_once(lambda t, r, c: nest.give(t.get(), r, c)), rows)

    def keep(self, store: Buffer | None, at: Callable[[Value, Value], Value]) -> None:
        """Store them."""
        b = self.b
        assert store is not None
        self.either(
            lambda: self.at_once(lambda t, r, c: b.store(store, at(r, c), t.get())),
            lambda stage: self.by_rows(lambda i, r, c: b.store(store, at(r, c), stage[i])),
        )

    def add(self, store: Buffer | None, at: Callable[[Value, Value], Value]) -> None:
        """Add what is stored."""
        b = self.b
        assert store is not None

        def rows(stage: Buffer) -> None:
            self.by_rows(lambda i, r, c: b.store(stage, i, store[at(r, c)] + stage[i]))
            if not self.acc:
                return
            with b.vfor("x", 0, self.lanes, self.lanes, full=True) as x:
                for place, sums in enumerate(self.acc):
                    sums.set(stage[self.nest.stage_at + place * self.spec.lanes + x])

        self.either(lambda: self.at_once(lambda t, r, c: t.set(store[at(r, c)] + t.get())), rows)

    def either(self, once: Callable[[], None], rows: Callable[[Buffer], None]) -> None:
        """once() for a whole tile, else rows(scratch with the sums)."""
        b, spec, nest = self.b, self.spec, self.nest
        whole = [] if spec.even else [self.i0 + spec.rows <= nest.f["m"]]
        whole += [nest.room >= self.lanes] if spec.joined else []
        if self.part and spec.padded and not spec.thin:
            whole.append(nest.whole)

        def staged() -> None:
            assert self.stage is not None
            if self.acc:
                nest.put(self.acc, self.lanes)
            rows(self.stage)

        if not self.acc or (self.part and not spec.padded):
            staged()
        elif not whole:
            once()
        else:
            with b.if_(reduce(and_, whole)):
                once()
            with b.else_():
                staged()

    def at_once(self, do: Callable[[Register, Value, Value], None]) -> None:
        """do(register, row, column) for all rows, out of the registers."""
        with self.b.vfor("x", 0, self.lanes, self.lanes, full=True) as x:
            for r, sums in enumerate(self.acc):
                do(sums, self.i0 + r, self.j0 + x)

    def by_rows(self, do: Callable[[Value, Value, Value], None]) -> None:
        """do(place in scratch, row, column) for what exists, row after row: less code, for what is long or rare."""
        b, spec, nest, part = self.b, self.spec, self.nest, self.part
        cols = b.let(minimum(nest.je - self.j0, self.lanes), "cols") if part else const("i64", self.lanes)
        lanes = spec.tail if part and spec.block * SIZE[spec.acc] < 64 else self.lanes  # masks are dear
        m = nest.f["m"]
        count = const("i64", spec.rows) if spec.even else b.let(minimum(m - self.i0, spec.rows), "count")
        with b.for_("r", 0, count) as r:
            first = b.let(nest.stage_at + r * spec.lanes, "first")
            row = b.let(self.i0 + r, "row")
            for lo, hi in nest.pieces(cols):
                with b.vfor("x", lo, hi, lanes, full=not part and not spec.joined) as x:
                    do(first + x, row, self.j0 + x)
