"""Convolution, forward and backward to the data, with output channels as the lanes of a tile.

The sums of `conv_pixels`, element by element in the same order, so the bits are the same; rows of a tile are output
positions, whose elements of the image are broadcast. No position is wasted, however narrow the map, several small
images make one run of positions, and strides need no split image. One k block of a panel of weights ([k][lanes]) stays
in the first cache while a block of positions passes, the positions in the second while a few panels pass; the sums of
a block are transposed in scratch and handed on channel by channel. A convolution of one tap without padding reads its
source directly: a block of positions is packed as [tile][k][row], and the image is not copied.
"""

from __future__ import annotations

from ..build import Buffer, Builder, Value, const, minimum, select
from ..ir import SIZE, Kernel
from . import packing
from .contraction import KC, Epilogue, ceil_div, muladd, round_up
from .conv_image import ConvSpec, Image, integers
from .conv_pixels import Nest, even_steps

BLOCK, LARGE = 96, 200  # positions whose sums are kept at a time; where weights are most of what is read


def block_size(spec: ConvSpec) -> int:
    """Positions of a block: whole tiles."""
    return ceil_div(LARGE if spec.large else BLOCK, spec.rows) * spec.rows


def panels_at_once(spec: ConvSpec) -> int:
    """Panels that pass a block of positions: their sums take 48 KiB."""
    return max(1, 48 * 1024 // (round_up(block_size(spec), spec.block) * spec.lanes * SIZE[spec.dtype]))


TOGETHER = 4  # tiles that are packed at a time: their positions are neighbours and share lines


def positions_pitch(spec: ConvSpec) -> int:
    """Elements from one k to the next in packed positions: those of a vector, which may be several registers."""
    return 1 << (max(spec.rows, spec.block) - 1).bit_length()


def block_room(spec: ConvSpec, k: int) -> int:
    """Elements of a block of packed positions."""
    tiles = round_up(block_size(spec) // spec.rows, TOGETHER)
    return tiles * (k * positions_pitch(spec) + 16) if spec.direct else 0


def conv_channels(
    spec: ConvSpec,
    epilogue: Epilogue | None,
    name: str,
    made: tuple[type[Image], type[Channels]] | None = None,
) -> Kernel:
    """As `conv.conv`; a unit is a few images (or a piece of the positions) of a group and piece of the output
    channels, with all residues."""
    copy, loops = made or (Image, Channels)
    b = Builder(name)
    x, w = b.buf("x", spec.dtype), b.buf("w", spec.dtype)
    y = b.buf("y", spec.dtype, "w") if epilogue is None else None
    work, table = b.buf("work", spec.dtype, "rw"), b.buf("table", "i64", "rw")
    ints = integers(b, spec)
    image = copy(b, ints, spec, work, b.let(b.tid * ints["ws"], "at"))
    out = b.alloc(
        "sums", spec.dtype, round_up(block_size(spec), spec.block) * spec.lanes * panels_at_once(spec)
    )
    nest = loops(b, spec, ints, image, w, table, out, epilogue(b) if epilogue else None, y)
    nest.source = x if spec.direct else work
    size = b.let(image.whole(), "size")
    if not spec.direct:
        image.clear(ints["pg"] if spec.last else ints["ci"] * ints["pg"], 16)
    cells = b.let(ints["go"] * ints["g"], "cells")
    turns = b.let((ints["n"] + ints["pg"] - 1) // ints["pg"], "turns")
    lo, hi = b.partition(cells * turns * ints["gk"])
    before, held = b.reg("before", -1, "i64"), b.reg("held", -1, "i64")
    with b.for_("unit", lo, hi) as unit:
        nest.piece, u = b.let(unit % ints["gk"], "piece"), b.let(unit // ints["gk"], "u")
        cell = b.let(u // turns, "cell")
        nest.first = b.let(u % turns * ints["pg"], "n")
        nest.images = b.let(minimum(ints["n"] - nest.first, ints["pg"]), "images")
        nest.cell(cell)
        with b.if_(unit.eq(lo)):
            nest.note()
        with b.if_(cell.ne(before.get())):
            before.set(cell)
            nest.prepare()
        if spec.direct:
            nest.base = b.let(nest.first * ints["xn"] + nest.group * ints["ci"] * ints["xc"], "base")
        else:  # pieces of the channels of a group that is one turn find its images there
            here = b.let(nest.group * turns + u % turns)
            with b.if_(here.ne(held.get())), b.for_("m", 0, nest.images) as m:
                held.set(here)
                base = (nest.first + m) * ints["xn"] + nest.group * ints["ci"] * ints["xc"]
                image.copy(x, b.let(base), ints["ci"], b.let(m * size))
        with b.for_("residue", 0, nest.residues) as residue:
            nest.enter(residue)
            nest.panels()
    return b.kernel()


class Channels(Nest):
    """The loops over a unit; `out` holds [panel][position][lane]."""

    first: Value
    images: Value
    piece: Value
    source: Buffer
    base: Value = const("i64", 0)

    def __init__(self, b: Builder, spec: ConvSpec, ints: dict[str, Value], image: Image, *others: object):
        super().__init__(b, spec, ints, image, *others)  # type: ignore[arg-type]
        self.size = block_size(spec)
        self.wide = round_up(self.size, spec.block)
        if not spec.last:
            self.turned = b.alloc("turned", spec.dtype, self.wide * spec.lanes)
        self.split = spec.kind == "data" and spec.strided
        self.residues = b.let(ints["td"] * ints["th"] * ints["tw"]) if self.split else const("i64", 1)
        self.every = b.let(self.all_taps * ints["ci"], "every")
        self.tables = (self.t0, b.let(self.t0 + self.every), b.let(self.t0 + 2 * self.every, "starts"))
        self.places = b.let(self.tables[2] + self.residues + 1, "places")
        self.weights = self.packed
        area = const("i64", 1)
        for a, s in zip("dhw", self.step, strict=True):
            area = area * ((ints["o" + a] + s - 1) // s)
        self.area = b.let(area, "area")  # positions of the largest residue

    def panel_width(self) -> int:
        """Output channels of a panel."""
        return self.spec.lanes

    def cell(self, cell: Value) -> None:
        """Fix the group and the panels."""
        self.place(const("i64", 0), cell)

    def enter(self, residue: Value) -> None:
        """Fix the residue of the output position, its tables and its packed weights."""
        b, i = self.b, self.ints
        zero = const("i64", 0)
        self.phase = (zero, zero, zero)
        if self.split:
            self.phase = (
                b.let(residue // (i["th"] * i["tw"])),
                b.let(residue // i["tw"] % i["th"]),
                b.let(residue % i["tw"]),
            )
        self.extent = tuple(
            b.let((i["o" + a] - q + s - 1) // s) for a, q, s in zip("dhw", self.phase, self.step, strict=True)
        )
        start = b.let(self.table[self.tables[2] + residue], "start")
        self.k = b.let(self.table[self.tables[2] + residue + 1] - start, "k")
        self.t0, self.t1 = b.let(self.tables[0] + start, "t0"), b.let(self.tables[1] + start, "t1")
        self.t2 = b.let(self.places + residue * self.area * i["pg"], "t2")
        before = (start + residue * packing.SPARE) * self.spec.lanes
        self.packed = b.let(self.weights + (self.p1 - self.p0) * before, "packed")

    def prepare(self) -> None:
        """Pack the weights of all residues."""
        with self.b.for_("residue", 0, self.residues) as residue:
            self.enter(residue)
            self.fill(self.k)

    def note(self) -> None:
        """The tables of all residues, which are those of every group."""
        b = self.b
        self.table[self.tables[2]] = 0
        with b.for_("residue", 0, self.residues) as residue:
            self.table[self.tables[2] + residue + 1] = self.table[self.tables[2] + residue]
            self.enter(residue)
            self.taps()
            if self.spec.direct:
                with b.vfor("c", 0, self.ints["ci"], 16) as c:
                    self.table[self.t0 + c] = c * self.ints["xc"]
            k = b.let(self.count.get(), "k")
            self.table[self.tables[2] + residue + 1] = self.table[self.tables[2] + residue] + k
            self.positions()

    def positions(self) -> None:
        """A table: where in the copies an output's first tap lies, for each output of all images."""
        b, i, image = self.b, self.ints, self.image
        one = const("i64", 1)
        step = tuple(i["t" + a] for a in "dhw") if self.spec.kind == "forward" else (one, one, one)
        depth, high, wide = self.extent
        with b.for_("m", 0, i["pg"]) as m, b.for_("z", 0, depth) as z, b.for_("y", 0, high) as y:
            line = b.let(self.t2 + ((m * depth + z) * high + y) * wide)
            across = step[2]
            if self.spec.direct:
                from_ = b.let(m * i["xn"] + z * i["xd"] + y * i["xh"])
                across = i["xw"]
            else:
                from_ = m * image.whole() + z * step[0] * image.slice + y * step[1] * image.pitch
                from_ = b.let(image.at + from_)
                across = across * image.pixel
            with b.vfor("x", 0, wide, 8) as x:
                self.table[line + x] = from_ + x * across

    def fill(self, k: Value) -> None:
        """Copy the weights of panels p0..p1-1 as [panel][k][lane]."""
        b, i, spec, work = self.b, self.ints, self.spec, self.image.work
        w0 = b.let(self.group * i["wg"])
        with b.for_("p", self.p0, self.p1) as p:
            at = b.let(self.packed + (p - self.p0) * self.panel_size(k))
            o0 = b.let(p * spec.lanes)
            if spec.narrow == "turn":
                self.turned_panel(b.let(w0 + o0 * i["wo"]), o0, at)
                return
            if spec.narrow == "no":
                window = packing.Window(o0, i["co"], const("i64", 0), k, k)
                packing.transposed_panel(
                    b, self.w, w0, i["wo"], window, spec.block, work, at, spec.lanes, spec.lanes
                )
                return
            left = b.let(i["co"] - o0)
            step = const("i64", 1) if spec.narrow == "unit" else i["wo"]
            with b.for_("kk", 0, k) as kk:
                source = b.let(w0 + o0 * step + self.table[self.t1 + kk])
                with b.vfor("r", 0, minimum(left, spec.lanes), spec.block) as r:
                    work[at + kk * spec.lanes + r] = self.w[source + r * step]

    def turned_panel(self, from_: Value, o0: Value, at: Value) -> None:
        """A panel of weights whose channels are neighbours, in blocks of `block` channels in and out."""
        b, i, size, lanes = self.b, self.ints, self.spec.block, self.spec.lanes
        taps = b.let(self.all_taps, "taps")
        with b.for_("v", 0, minimum(lanes, i["co"] - o0), size) as v, b.for_("t", 0, taps) as t:
            first = b.let(minimum(v, i["co"] - o0 - size))
            tap = b.let(from_ + first * i["wo"] + self.table[self.t1 + t])
            with b.for_("c", 0, i["ci"], size) as begin:
                c = b.let(minimum(begin, i["ci"] - size))
                to = b.let(at + (c * taps + t) * lanes + first)
                packing.transposed(
                    b, self.w, b.let(tap + c), i["wo"], size, self.image.work, to, taps * lanes
                )

    def panels(self) -> None:
        """All outputs of this unit and residue."""
        b, lanes, many = self.b, self.spec.lanes, panels_at_once(self.spec)
        length = b.let(self.images * self.extent[0] * self.extent[1] * self.extent[2], "length")
        last = b.let(length - 1)
        blocks, pieces = b.let((length + (self.size - 1)) // self.size), self.ints["gk"]
        first, end = (
            blocks * self.piece // pieces * self.size,
            blocks * (self.piece + 1) // pieces * self.size,
        )
        with b.for_("p", b.let(first), b.let(minimum(end, length)), self.size) as p:
            stop = b.let(minimum(p + self.size, length))
            if self.spec.direct:
                with b.for_("q", p, stop, self.spec.rows * TOGETHER) as q:
                    self.gather(b.let(self.packed_tile(p, q)), q, last)
            with b.for_("pa", self.p0, self.p1, many) as pa:
                pb = b.let(minimum(pa + many, self.p1))
                with b.if_(self.k.eq(0)), b.vfor("x", 0, self.wide * lanes * many, lanes, full=True) as x:
                    self.out[x] = 0
                with b.for_("kb", 0, self.k, KC) as kb, b.for_("panel", pa, pb) as panel:
                    weights = b.let(self.packed + (panel - self.p0) * self.panel_size(self.k))
                    sums = b.let((panel - pa) * (self.wide * lanes))
                    with b.for_("q", p, stop, self.spec.rows) as q:
                        to = b.let(sums + (q - p) * lanes)
                        self.rows(weights, kb, to, q, last, b.let(self.packed_tile(p, q)))
                with b.for_("panel", pa, pb) as panel:
                    self.finish_block(
                        b.let((panel - pa) * (self.wide * lanes)), b.let(panel * lanes, "o0"), p, stop
                    )

    def tile_size(self) -> Value:
        """Elements from one packed tile to the next: not a power of two, whose lines would share places."""
        return self.k * positions_pitch(self.spec) + 16

    def packed_tile(self, p: Value, q: Value) -> Value:
        """Where the tile of positions q.. of the block from p on is packed."""
        return self.image.at + self.ints["wb"] + (q - p) // self.spec.rows * self.tile_size()

    def gather(self, to: Value, q: Value, last: Value) -> None:
        """Pack a few tiles of positions, each as [k][row]."""
        b, spec, table, work = self.b, self.spec, self.table, self.image.work
        rows, pitch = spec.rows, positions_pitch(spec)
        first = b.let(table[self.t2 + q] + self.base, "at")
        run = b.reg("run", q + rows * TOGETHER <= last + 1, "b1")
        with b.if_(run.get()), b.for_("r", 1, rows * TOGETHER) as r:
            run.set(run.get() & (table[self.t2 + q + r] + self.base - r).eq(first))
        with b.if_(run.get()), b.for_("k", 0, self.k) as k:
            from_, put = b.let(first + table[self.t0 + k]), b.let(to + k * pitch)
            with b.vfor("x", 0, pitch, pitch, full=True) as x:
                for tile in range(TOGETHER):
                    source = self.source.load(from_ + tile * rows + x, x < rows)
                    work[put + tile * self.tile_size() + x] = source
        with b.else_(), b.for_("t", 0, TOGETHER) as t:
            at = [
                b.let(table[self.t2 + minimum(q + t * rows + o, last)] + self.base, "at") for o in range(rows)
            ]
            with b.for_("k", 0, self.k) as k:
                tap, put = b.let(table[self.t0 + k]), b.let(to + t * self.tile_size() + k * pitch)
                for offset, row in enumerate(at):
                    work[put + offset] = self.source[row + tap]

    def rows(self, panel: Value, kb: Value, to: Value, q: Value, last: Value, packed: Value) -> None:
        """One tile, one k block."""
        b, spec, table, work = self.b, self.spec, self.table, self.image.work
        at = [packed + r for r in range(spec.rows)]
        if not spec.direct:
            at = [b.let(table[self.t2 + minimum(q + r, last)], "at") for r in range(spec.rows)]
        acc = [b.reg("acc", 0, spec.dtype, spec.lanes) for _ in at]
        with b.for_("k", kb, minimum(kb + KC, self.k)) as k:
            tap = b.let(k * positions_pitch(spec) if spec.direct else table[self.t0 + k])
            weight = b.let(panel + k * spec.lanes)
            with b.vfor("x", 0, spec.lanes, spec.lanes, full=True) as x:
                value = b.let(work[weight + x])
                for a, row in zip(acc, at, strict=True):
                    a.set(muladd(work[row + tap], value, a.get()))
        with b.vfor("x", 0, spec.lanes, spec.lanes, full=True) as x:
            for r, a in enumerate(acc):
                place = to + r * spec.lanes + x
                self.out[place] = select(kb > 0, self.out[place] + a.get(), a.get())

    def finish_block(self, sums: Value, o0: Value, p: Value, stop: Value) -> None:
        """Turn the sums of a panel and hand them on."""
        self.turn(sums, self.b.let(stop - p))
        self.lines(sums, o0, p, stop)

    def turn(self, sums: Value, count: Value) -> None:
        """Transpose the sums of a panel: [lane][position]."""
        b, spec = self.b, self.spec
        with b.for_("q", 0, count, spec.block) as q:
            for v in range(0, spec.lanes, spec.block):
                from_, to = b.let(sums + q * spec.lanes + v), b.let(q + v * self.wide)
                ld = const("i64", spec.lanes)
                packing.transposed(b, self.out, from_, ld, spec.block, self.turned, to, self.wide)

    def lines(self, sums: Value, o0: Value, p: Value, stop: Value) -> None:
        """Hand positions p.. to the epilogue: plane by plane, or row by row where the output is made by residues."""
        b, i = self.b, self.ints
        depth, high, wide = self.extent
        line_size = wide if self.split else b.let(depth * high * wide)
        with b.for_("line", p // line_size, (stop + line_size - 1) // line_size) as line:
            start = b.let(line * line_size - p)
            lo, hi = b.let(-minimum(start, 0)), b.let(minimum(line_size, stop - p - start))
            image, base, step = self.first + line, const("i64", 0), const("i64", 1)
            if self.split:
                image = self.first + line // (depth * high)
                z, y = line // high % depth * i["td"] + self.phase[0], line % high * i["th"] + self.phase[1]
                base, step = (z * i["oh"] + y) * i["ow"] + self.phase[2], i["tw"]
            self.hand_on((sums, o0, start), b.let(image), b.let(base), step, (lo, hi))

    def hand_on(
        self,
        block: tuple[Value, Value, Value],
        image: Value,
        base: Value,
        step: Value,
        ends: tuple[Value, Value],
    ) -> None:
        """Positions `ends` of a line, which is at `start` in the block: channel by channel."""
        b, i = self.b, self.ints
        _, o0, start = block
        with b.for_("r", 0, minimum(i["co"] - o0, self.spec.lanes)) as r:
            channel = b.let(self.group * i["co"] + o0 + r)
            from_ = b.let(r * self.wide + start)
            if self.y is not None:
                plane = b.let(image * i["yn"] + channel * i["yc"] + base)
                even_steps(b, self.y, plane, step, self.turned, from_, ends, self.spec.block)
            elif self.emit is not None:
                with b.vfor("x", *ends, self.spec.block) as x:
                    self.emit(self.turned[from_ + x], image, channel, base + x * step)


def channels_workspace(spec: ConvSpec, ints: dict[str, int], channel: int, area: int) -> dict[str, int]:
    """The sizes of a kernel; channel: elements of one channel's copy, area: positions of the largest residue."""
    residues = ints["td"] * ints["th"] * ints["tw"] if spec.kind == "data" else 1
    k = ints["ci"] * ints["kd"] * ints["kh"] * ints["kw"]
    panels = ceil_div(ceil_div(ints["co"], spec.lanes), ints["go"])
    image = 0 if spec.direct else ints["pg"] * ints["ci"] * channel + 16
    total = image + (panels * (k + residues * packing.SPARE) + packing.SPARE) * spec.lanes + 64
    return {
        "wp": image,
        "wb": total,
        "ws": total + block_room(spec, k),
        "ts": 2 * k + residues * (area * ints["pg"] + 1) + 17,
    }
