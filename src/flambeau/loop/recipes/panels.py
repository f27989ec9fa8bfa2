"""Where the panels of a product's operands lie, and how they are packed and brought near."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..build import Buffer, Register, Value, const, maximum, minimum, select
from ..ir import SIZE
from . import packing
from .contraction import Frame, Spec, round_up
from .pairs import Least

STRIP = 2  # column panels of B that are packed at once, row after row: longer pieces of a row are read
EDGE = 64  # k steps of a row that are packed at once where some rows do not exist
PIECE = 64  # k steps of a computed operand that lie in scratch until they are turned
DISTANCE = 16  # rows of B that are asked for before they are packed
ASKS = 2  # panels of A whose tiles have the lines of the next panel of B brought near that is read along k
FEW = 4  # panels of A up to which packing has the next panel of B brought near; with more of them tiles do it


def a_pitch(spec: Spec) -> int:
    """Elements from one k step to the next in a packed panel of A."""
    return spec.rows


class Panels:
    """What the loops around a product's tile know of its operands; attributes are what they have fixed so far."""

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
    depth: Value
    turn_b: Value
    opens: Value
    turn_p: Value
    shift: Value
    room: Value
    whole: Value
    edge: Register | None

    def __init__(self, f: Frame):
        self.f, self.b, self.spec = f, f.b, f.spec
        self.stage: Buffer | None = None
        self.least = (Least(f.b), Least(f.b)) if f.spec.pairs else None
        self.places = f.b.alloc("places", "i64", f.spec.lanes) if f.spec.spread else None
        self.stage_at = const("i64", 0)
        if f.spec.deep:
            self.stage = f.work
        elif f.spec.late or f.spec.tail or f.spec.joined or not f.spec.even:
            self.stage = f.b.alloc("stage", f.spec.acc, f.spec.rows * f.spec.lanes)
        self.square = None
        if along_k := [w for w in f.spec.made if (f.spec.a, f.spec.b)[w == "b"] == ("row", "col")[w == "b"]]:
            lines = max(f.spec.lanes if w == "b" else round_up(f.spec.rows, f.spec.block) for w in along_k)
            self.square = f.b.alloc("square", f.spec.acc, lines * PIECE + f.spec.block)

    def panel_at(self, j: Value) -> Value:
        """Where the packed panel of column j begins in the workspace (after its spare rows)."""
        size = (self.depth + packing.SPARE) * self.spec.lanes
        return self.w0 + (j - self.jc) // self.spec.lanes * size + packing.SPARE * self.spec.lanes

    def by_width(self, whole: Callable[[], None], part: Callable[[], None], one: bool = False) -> None:
        """What is done for a panel of columns that exist, or for one of which some do not; one: whole() does both."""
        if one or not self.spec.tail:
            whole()
        elif self.spec.thin:
            part()
        else:
            with self.b.if_(self.whole):
                whole()
            with self.b.else_():
                part()

    def open_b(self, j0: Value) -> None:
        """Pack the panel of B from column j0 on, or a strip of panels that begins there."""
        b, spec = self.b, self.spec

        def strip() -> None:
            with b.if_(((j0 - self.jc) % (STRIP * spec.lanes)).eq(0)):
                self.pack_strip(j0)

        if spec.b == "row" and not self.f.made("b"):
            self.by_width(strip, lambda: self.pack_b(j0, True))
        else:
            self.pack_b(j0)

    def enter(self, j0: Value) -> None:
        """Fix the batch that has column j0, the column with which it begins, and how many it has from j0 on."""
        b, each = self.b, self.f["bn"]
        self.batch = b.let(j0 // each, "batch")
        self.shift = b.let(self.batch * each, "shift")
        self.room = b.let(self.shift + each - j0, "room")

    def pack_b(self, j: Value, part: bool = False) -> None:
        """One panel of B, `lanes` columns from j on. part: fewer exist."""
        f, b, spec, work = self.f, self.b, self.spec, self.f.work
        assert work is not None
        at = b.let(self.panel_at(j), "at")
        if self.least and spec.tail:  # columns that do not exist would be looked at, too
            end = b.let(select(self.je - j < spec.lanes, at + self.gk * spec.lanes, at), "end")
            with b.vfor("x", at, end, spec.lanes) as x:
                work[x] = 0

        def blocks() -> None:
            window = packing.Window(j, f["n"], self.gb, self.gk, f["k"])
            packing.transposed_panel(
                b,
                f.bm,
                self.b0,
                f["bj"],
                window,
                spec.block,
                work,
                at,
                spec.lanes,
                spec.lanes,
                self.turned(1),
                None if self.asks_lines() else self.p1 - self.p0 <= FEW,
            )

        def by_rows() -> None:
            base = b.let(self.b0 + self.gb * f["bk"] + j * f["bj"])
            if spec.spread:
                self.pack_spread(j, at)
                return
            if spec.joined:
                base = b.let(base + self.batch * f["bb"] - self.shift)
                with b.for_("kk", 0, self.gk) as kk, b.vfor("x", 0, spec.lanes, spec.lanes, full=True) as x:
                    work[at + kk * spec.lanes + x] = 0
                with b.for_("kk", 0, self.gk) as kk:
                    cols = b.let(minimum(self.je - j, spec.lanes))
                    self.across(b.let(base + kk * f["bk"]), b.let(at + kk * spec.lanes), self.room, cols)
                return

            def panel(part: bool = True) -> None:
                mask = packing.live(b, self.je - j, spec.lanes, spec.dtype) if part else None
                packing.rows_panel(b, f.of_b, base, f["bk"], f["bj"], self.gk, mask, work, at, spec.lanes)

            if part:
                panel()
            else:
                self.by_width(lambda: panel(False), panel)

        def rows() -> None:
            by_rows()
            if self.least:
                self.least[1].look(work, at, self.gk * spec.lanes)

        if made := f.made("b"):
            self.compute(made, j, self.je, spec.b == "col", at, spec.lanes, spec.lanes)
            if self.least:
                self.least[1].look(work, at, self.gk * spec.lanes)
        else:
            self.choose("b", spec.b == "col", f["n"], blocks, rows)
        if self.least:
            self.least[1].settle()

    def pack_strip(self, j0: Value) -> None:
        """The next whole panels of B from column j0 on, STRIP at most."""
        f, b, spec, work = self.f, self.b, self.spec, self.f.work
        assert work is not None
        lanes, bk = spec.lanes, f["bk"]
        count = b.let(minimum((self.je - j0) // lanes, STRIP), "count")
        at, size = b.let(self.panel_at(j0), "at"), b.let((self.depth + packing.SPARE) * lanes)
        base = b.let(self.b0 + self.gb * bk + j0 * f["bj"])
        if spec.joined:
            self.pack_joined(b.let(base + self.batch * f["bb"] - self.shift), at, size, count)
            return
        with b.for_("kk", 0, self.gk) as kk:
            row, put = b.let(base + kk * bk), b.let(at + kk * lanes)
            with b.for_("s", 0, count) as s:
                start = b.let(row + s * lanes)
                self.ask(start + DISTANCE * bk)
                with b.vfor("x", 0, lanes, lanes, full=True) as x:
                    work[put + s * size + x] = f.of_b(start + x)
        if self.least:
            with b.for_("s", 0, count) as s:
                self.least[1].look(work, b.let(at + s * size), b.let(self.gk * lanes))
            self.least[1].settle()

    def ask(self, start: Value, far: bool = False) -> None:
        """Have a k step of a panel of B brought near, before it is packed."""
        f, b, spec = self.f, self.b, self.spec
        for row in (start, start + (f["bk"] >> 1)) if spec.pairs else (start,):
            for line in range(0, spec.lanes, 64 // SIZE[spec.read("b")]):
                b.prefetch(f.bm, row + line, far=far)

    def next_strip(self, j0: Value) -> Callable[[Value], None] | None:
        """What has a k step of what is packed with the next strip, and lies in it where this panel lies in its own,
        brought near: the first tile of each panel does. Along k, a line of the next panel, or a few."""
        f, b, spec = self.f, self.b, self.spec
        if self.asks_lines():
            return self.next_lines(j0)
        if spec.b != "row" or spec.joined or spec.spread or f.made("b"):
            return None
        raw = b.let(self.b0 + self.kb * f["bk"] + (j0 + STRIP * spec.lanes) * f["bj"], "raw")
        return lambda kk: self.ask(raw + kk * f["bk"], far=True)

    def asks_lines(self) -> bool:
        """Whether each step of a tile asks for a line of the next panel of B."""
        spec = self.spec
        return spec.pairs and spec.b == "col" and not spec.thin and not self.f.made("b")

    def next_lines(self, j0: Value) -> Callable[[Value], None]:
        """What asks for lines of the next panel of B: these tiles for every other column, or for all where there is one
        panel of A. While a column's line is walked along, the others have theirs asked for."""
        f, b, each, line = self.f, self.b, self.lines_a_step(), 64 // SIZE[self.spec.read("b")]
        alone = b.let((self.pe - self.pb).eq(1), "alone")
        lines = self.b0 + self.kb * f["bk"] + (j0 + self.spec.lanes + self.turn_p) * f["bj"]
        start = b.let(lines, "lines")

        def ask(kk: Value) -> None:
            at = b.let(start + kk + kk % line * each * f["bj"])
            for i in range(0, each, ASKS):
                b.prefetch(f.bm, at + i * f["bj"], far=True)
            if each > 1:
                with b.if_(alone):
                    for i in range(1, each, ASKS):
                        b.prefetch(f.bm, at + i * f["bj"], far=True)

        return ask

    def lines_a_step(self) -> int:
        """How many lines of a panel of B there are for each of its k steps."""
        return max(1, self.spec.lanes * SIZE[self.spec.read("b")] // 64)

    def pack_spread(self, j: Value, at: Value) -> None:
        """One panel of B whose columns lie in rows; the last one stands for those that do not exist."""
        f, b, spec, work, places = self.f, self.b, self.spec, self.f.work, self.places
        assert work is not None and places is not None
        with b.for_("x", 0, spec.lanes) as x:
            column = b.let(minimum(j + x, self.je - 1))
            inside = b.let(column % f["bn"])
            row = column // f["bn"] * f["bb"] + inside // f["bw"] * f["bh"]
            places[x] = row + inside % f["bw"] * f["bj"]
        with b.for_("kk", 0, self.gk) as kk:
            base = b.let(self.b0 + (self.gb + kk) * f["bk"])
            with b.vfor("x", 0, spec.lanes, spec.lanes, full=True) as x:
                work[at + kk * spec.lanes + x] = f.bm[base + places[x]].cast(spec.acc)

    def pack_joined(self, base: Value, at: Value, size: Value, count: Value) -> None:
        """The same where columns of several batches follow each other; base: of the first one."""
        f, b, lanes, work = self.f, self.b, self.spec.lanes, self.f.work
        assert work is not None
        left, start = b.reg("left", 0, "i64"), b.reg("start", 0, "i64")
        with b.for_("kk", 0, self.gk) as kk:
            put = b.let(at + kk * lanes)
            left.set(self.room)
            start.set(base + kk * f["bk"])
            with b.for_("s", 0, count) as s:
                from_, to = b.let(start.get()), b.let(put + s * size)
                for line in range(0, lanes, 64 // SIZE[self.spec.read("b")]):
                    b.prefetch(f.bm, from_ + DISTANCE * f["bk"] + line)
                with b.if_(left.get() >= lanes), b.vfor("x", 0, lanes, lanes, full=True) as x:
                    work[to + x] = f.bm[from_ + x].cast(self.spec.acc)
                with b.else_():
                    self.across(from_, to, b.let(left.get()), const("i64", lanes))
                    left.set(left.get() + f["bn"])
                    start.set(from_ + f["bb"] - f["bn"])
                start.set(start.get() + lanes)
                left.set(left.get() - lanes)

    def across(self, from_: Value, to: Value, room: Value, cols: Value) -> None:
        """Pack a k step of a panel: `room` columns of one batch, the others of the next."""
        f, b, lanes, work = self.f, self.b, self.spec.lanes, self.f.work
        assert work is not None
        first = b.let(minimum(room, cols))
        after = b.let(from_ + f["bb"] - f["bn"])
        for lo, hi, source in ((const("i64", 0), first, from_), (first, cols, after)):
            with b.vfor("x", lo, hi, lanes) as x:
                work[to + x] = f.bm[source + x].cast(self.spec.acc)

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
                    b, f.a, self.a0, f["ai"], window, spec.block, work, start, pitch, pitch, self.turned(0)
                )
            with b.else_():
                edge()

        def edge() -> None:  # what exists of a panel, a few lines of each row after the other
            last = b.let(f["m"] - 1)
            with b.for_("q", 0, self.gk, EDGE) as q, b.for_("r", 0, spec.rows) as r:
                row = b.let(self.a0 + minimum(i0 + r, last) * f["ai"] + self.gb * f["ak"])
                with b.for_("kk", q, minimum(q + EDGE, self.gk)) as kk:
                    work[start + r + kk * pitch] = f.of_a(row + kk * f["ak"])
            look()

        def look() -> None:
            if self.least:
                self.least[0].look(work, start, self.gk * pitch)

        def rows() -> None:
            places = self.a_rows(i0)
            with b.for_("kk", 0, self.gk) as kk:
                step = b.let((self.gb + kk) * f["ak"])
                for r, row in enumerate(places):
                    work[start + kk * pitch + r] = f.of_a(row + step)
            look()

        def copy() -> None:  # a k step of a panel lies in a row
            base = b.let(self.a0 + i0 + self.gb * f["ak"])
            with b.for_("kk", 0, self.gk) as kk:
                row, put, r = b.let(base + kk * f["ak"]), b.let(start + kk * pitch), 0
                while r < spec.rows:
                    width = min(spec.block, 1 << ((spec.rows - r).bit_length() - 1))
                    with b.vfor("x", r, r + width, width, full=True) as x:
                        work[put + x] = f.of_a(row + x)
                    r += width
            look()

        if made := f.made("a"):
            self.compute(made, i0, f["m"], spec.a == "row", start, spec.rows, pitch)
            look()
        elif spec.a != "col":
            self.choose("a", spec.a == "row", f["m"], blocks, rows)
        elif spec.even:
            copy()
        else:
            with b.if_(i0 + spec.rows <= f["m"]):
                copy()
            with b.else_():
                edge()
        if self.least:
            self.least[0].settle()

    def turned(self, which: int) -> packing.Turn | None:
        """What is made of a word of A (0) or B that is packed by blocks, if anything."""
        return self.least[which].turned if self.least else None

    def compute(
        self, made: Any, first: Value, limit: Value, along_k: bool, at: Value, lines: int, pitch: int
    ) -> None:
        """A panel of what is computed: `lines` rows or columns from `first` on, of those that exist; in vectors along k
        (a piece at a time, turned afterwards) or across."""
        b, work, square, size = self.b, self.f.work, self.square, self.spec.block
        assert work is not None
        element = made.word if self.least else made.at
        count = b.let(minimum(limit - first, lines), "count")
        if not along_k:
            width = min(size, 1 << (lines - 1).bit_length())
            if self.least:  # what does not exist would be looked at
                with b.if_(count < lines), b.vfor("x", at, at + self.gk * pitch, size) as x:
                    work[x] = 0
            with b.for_("kk", 0, self.gk) as kk, b.vfor("x", 0, count, width) as x:
                work[at + kk * pitch + x] = element(self.batch, first + x, self.gb + kk).cast(work.type)
            return
        assert square is not None
        with b.for_("q", 0, self.gk, PIECE) as q:
            k0 = b.let(minimum(q, maximum(self.gk - size, 0)), "k0")
            steps = b.let(minimum(self.gk - k0, PIECE), "steps")
            with b.for_("r", 0, lines if self.least else count) as r:
                line = b.let(minimum(first + r, limit - 1) if self.least else first + r, "line")
                with b.vfor("x", 0, steps, size) as x:
                    found = element(self.batch, line, self.gb + k0 + x)
                    square[size + r * PIECE + x] = found.cast(square.type)
            zero = const("i64", 0)
            window = packing.Window(zero, const("i64", round_up(lines, size)), zero, steps, steps)
            put, ld = b.let(at + k0 * pitch, "put"), const("i64", PIECE)
            packing.transposed_panel(b, square, const("i64", size), ld, window, size, work, put, pitch, lines)

    def choose(self, which: str, transposed: bool, extent: Value, blocks, rows) -> None:
        """Pack by transposed blocks where the layout asks for it and there is room for them, else row by row."""
        b, narrow, size = self.b, self.spec.narrow, self.spec.block
        if transposed and narrow == "maybe":
            with b.if_((extent >= size) & (self.f["k"] >= size)):
                blocks()
            with b.else_():
                rows()
        elif not transposed or which in narrow:
            rows()
        else:
            blocks()

    def a_rows(self, i0: Value) -> list[Value]:
        """Where the rows of the panel begin in A (k = 0)."""
        f, b = self.f, self.b
        if self.spec.even:
            base = b.let(self.a0 + i0 * f["ai"])
            return [base + r * f["ai"] for r in range(self.spec.rows)]
        last = b.let(f["m"] - 1)
        return [b.let(self.a0 + minimum(i0 + r, last) * f["ai"], "ar") for r in range(self.spec.rows)]

    def turns(self) -> Value:
        """How many k blocks there are in a group."""
        kc = self.spec.kc
        return (self.gk + (kc - 1)) // kc if self.spec.deep else const("i64", 1)

    def turn(self, j0: Value) -> Value:
        """How many tiles of a row panel came before this one in the group."""
        column = (j0 - self.jc) // self.spec.lanes
        return column * self.turns() + (self.kb - self.gb) // self.spec.kc if self.spec.deep else column

    def fetch_a(self, p: Value, j0: Value) -> None:
        """Have a share of what is packed next brought near: each tile the lines of a few k steps of its panel."""
        f, b, spec = self.f, self.b, self.spec
        more = self.pe < self.p1
        row = (select(more, self.pe, self.p0) + (p - self.pb)) * spec.rows
        kb = select(more, self.gb, self.gb + self.gk)
        if spec.a == "any" or f.made("a"):
            return
        at = b.let(self.a0 + row * f["ai"] + kb * f["ak"], "at")
        if spec.a == "row":
            step = b.let(self.turn(j0) * (64 // SIZE[spec.read("a")]))
            with b.if_(step < self.gk), b.for_("r", 0, spec.rows) as r:
                b.prefetch(f.a, at + step + r * f["ai"])
        else:
            share = b.let(self.gk * spec.lanes // ((self.je - self.jc) * self.turns()) + 1)
            first = b.let(self.turn(j0) * share)
            with b.for_("i", first, minimum(first + share, self.gk)) as i:
                b.prefetch(f.a, at + i * f["ak"])

    def fetch_b(self, p: Value, j0: Value) -> None:
        """The same for the next panel of B: each tile a share of the panel."""
        f, b, spec = self.f, self.b, self.spec
        line = 64 // SIZE[spec.read("b")]
        tiles = (self.pe - self.pb) * self.turns()
        share = b.let((self.gk + tiles - 1) // tiles)
        turn = (self.kb - self.gb) // spec.kc * (self.pe - self.pb) if spec.deep else const("i64", 0)
        first = b.let((turn + (p - self.pb)) * share)
        at = b.let(self.b0 + self.gb * f["bk"] + (j0 + spec.lanes) * f["bj"])
        with b.for_("i", first, minimum(first + share, self.gk)) as i:
            if spec.b == "col":
                b.prefetch(f.bm, at + i % spec.lanes * f["bj"] + i // spec.lanes * line, far=True)
            else:
                b.prefetch(f.bm, at + i * f["bk"])
