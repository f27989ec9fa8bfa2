"""Convolution of 3 x 3 taps by Winograd's tiles: forward, with a stride of 2 too, and backward to the data.

A tile of outputs is A' [sum over channels of (G g G') * (B' d B)] A of tiles d of the source and filters g: without a
stride 36 products for 4 x 4 outputs instead of 144, with one 81 for 4 x 4 instead of 144 or 25 for 2 x 2 instead of 36
(`winograd_tiles.py`). Sums over channels are chains of `CHAIN`, added in order: errors stay within four times those of
the direct form. A unit is a piece of the output channels and of the tiles:

    for blocks of output channels:     transform their filters: U[point][panel][channel][row]
      for blocks of tiles:             transform their source, once: V[point][strip][channel][tile]
        for each of the points:        the register tile of `matmul`: M[point][strip][output channel][tile]
        for each output channel:       transform back, put in rows, hand on

Tiles are counted through rows and images; lanes are tiles. What the transformed source takes is bounded by a block, or
by the unit where several blocks of filters pass it."""

from __future__ import annotations

from typing import Any

from ..build import Buffer, Builder, Value, const, maximum, minimum, select
from ..ir import SIZE, Kernel
from . import packing
from .contraction import Epilogue, ceil_div, muladd, round_up
from .conv_image import ConvSpec, integers
from .winograd_tiles import WIDE, Plane, tiles_of

CHAIN = 32  # channels that are one chain of sums: part of the definition of the result
DEPTH = 256  # channels of a strip of transformed tiles that stay in the first cache
TOGETHER = 4  # channels that are transformed at a time
AHEAD = 16  # channels by which filters are asked for before they are transformed
KEPT = 8 << 20  # bytes that the transformed source of a unit may take
MORE, FOR_STRIDED = 1.04, 1.08  # of the multiply-adds, for less memory; with a stride there is more of it
INTS = (
    *("n", "ci", "co", "sh", "sw", "oh", "ow", "ph", "pw"),
    *(f"{a}{b}" for a in "xy" for b in "nchw"),
    *("wo", "wc", "wh", "ww"),
    *("nh", "nw", "go", "gp", "ob", "tb", "vs", "wv", "wm", "ws", "ts"),
)
"""As in conv_image; nh, nw: tiles of a map; go, gp: pieces of the output channels and of the tiles; ob, tb: panels and
tiles of a block; vs: from one block of the transformed source to the next (0: only one is kept); wv, wm: where the
transformed source and the products begin in the workspace."""


def chains(
    b: Builder,
    spec: ConvSpec,
    work: Buffer,
    at: tuple[Value, Value, Value],
    k0: Value,
    k1: Value,
    before: Value,
    step: tuple[int, Value | int, Value | int] = (WIDE, 1, 0),
) -> None:
    """One register tile, steps k0..k1-1: rows of a panel by lanes of a strip, `CHAIN` steps a sum, added in order to
    what `before` steps and those before k0 gave. at: where panel, strip and sums begin; step: from one k and from one
    row of the panel to the next, and from one row of the sums to the next, if they do not follow each other."""
    panel, strip, to = at
    along, across, down = step
    down = down if isinstance(down, Value) else spec.lanes
    with b.for_("kb", k0, k1, CHAIN) as kb:
        acc = [b.reg("acc", 0, spec.dtype, spec.lanes) for _ in range(spec.rows)]
        with b.for_("k", kb, minimum(kb + CHAIN, k1)) as k:
            one, many = b.let(panel + k * along), b.let(strip + k * spec.lanes)
            with b.vfor("x", 0, spec.lanes, spec.lanes, full=True) as x:
                value = b.let(work[many + x])
                for r, a in enumerate(acc):
                    a.set(muladd(work[one + r * across], value, a.get()))
        with b.vfor("x", 0, spec.lanes, spec.lanes, full=True) as x:
            for r, a in enumerate(acc):
                place = to + r * down + x
                work[place] = select(kb + before > 0, work[place] + a.get(), a.get())


def by_rows(spec: ConvSpec) -> bool:
    """Whether the rows of a register tile are tiles, not output channels."""
    return spec.last and spec.kind != "weight"


def outputs_of(spec: ConvSpec) -> int:
    """Output channels of a panel."""
    return spec.lanes if by_rows(spec) else spec.rows


def strip_of(spec: ConvSpec) -> int:
    """Tiles of a strip: whole rows of register tiles where tiles are rows."""
    return max(1, 16 // spec.rows) * spec.rows if by_rows(spec) else spec.lanes


def filters_pitch(spec: ConvSpec) -> int:
    """From one channel of transformed filters to the next."""
    return spec.lanes if by_rows(spec) else WIDE


def source_pitch(spec: ConvSpec, channels: Any) -> Any:
    """From one tile of the transformed source to the next: not a power of two, whose lines would share places."""
    return channels + 16 if by_rows(spec) else channels


class Panels:
    """Panels of output channels, `rows` of them each."""

    spec: ConvSpec
    i: dict[str, Value]

    def begin(self, panel: Value) -> Value:
        """The first output channel of a panel: the last one goes back to be whole."""
        width = outputs_of(self.spec)
        return minimum(panel * width, self.i["co"] - width)

    def first(self, panel: Value) -> Value:
        """The first output channel that is read with a panel."""
        return minimum(panel * outputs_of(self.spec), self.i["co"] - filters_pitch(self.spec))


def winograd(spec: ConvSpec, epilogue: Epilogue | None, name: str, made: type[Nest] | None = None) -> Kernel:
    """As `conv.conv`."""
    b = Builder(name)
    x, w = b.buf("x", spec.dtype), b.buf("w", spec.dtype)
    y = b.buf("y", spec.dtype, "w") if epilogue is None else None
    work, table = b.buf("work", spec.dtype, "rw"), b.buf("table", "i64", "rw")
    ints = integers(b, spec, INTS)
    nest = (made or Nest)(b, spec, ints, (x, w, y, work, table), epilogue)
    lo, hi = b.partition(ints["go"] * ints["gp"])
    with b.for_("u", lo, hi) as u:
        nest.unit(u)
    return b.kernel()


class Nest(Panels):
    """The loops over one unit; attributes are what the enclosing loops have fixed so far."""

    p0: Value  # panels of the block of output channels
    p1: Value
    t0: Value  # tiles of the block
    t1: Value
    v: Value  # where the block's transformed source begins

    def __init__(
        self,
        b: Builder,
        spec: ConvSpec,
        ints: dict[str, Value],
        bufs: tuple[Buffer, Buffer, Buffer | None, Buffer, Buffer],
        epilogue: Epilogue | None,
    ):
        self.b, self.spec, self.i = b, spec, ints
        self.x, self.w, self.y, self.work, self.table = bufs
        self.emit = epilogue(b) if epilogue else None
        self.tiles = tiles = tiles_of(spec)
        # channels that are transformed at a time: their columns stay in the first cache
        self.together = TOGETHER * WIDE // tiles.width
        self.rooms()
        self.u = b.let(b.tid * ints["ws"], "u")
        self.at = b.let(b.tid * ints["ts"], "at")
        self.m = b.let(self.u + ints["wm"], "m")
        self.lines = b.let(self.m + self.products_plane() * tiles.products, "lines")
        self.pitch = b.let(ints["tb"] * tiles.out, "pitch")

    def rooms(self) -> None:
        """Scratch."""
        b, spec, tiles = self.b, self.spec, self.tiles
        self.stage = b.alloc("stage", spec.dtype, self.together * tiles.points * spec.lanes * tiles.width)
        self.half = b.alloc("half", spec.dtype, tiles.out * tiles.points * WIDE)
        self.tile = b.alloc("tile", spec.dtype, tiles.out * tiles.out * WIDE)

    # where things lie

    def filters_plane(self) -> Value:
        """Elements of the transformed filters of one point."""
        return self.i["ob"] * self.i["ci"] * filters_pitch(self.spec) + 16

    def source_plane(self) -> Value:
        """Elements of the transformed source of one point."""
        return self.i["tb"] * source_pitch(self.spec, self.i["ci"]) + 16

    def products_plane(self) -> Value:
        """Elements of the products of one point."""
        return self.i["tb"] * self.i["ob"] * outputs_of(self.spec) + 16

    # the loops

    def unit(self, u: Value) -> None:
        """A piece of the output channels and a piece of the tiles."""
        b, i, width, strip = self.b, self.i, outputs_of(self.spec), strip_of(self.spec)
        o, p = b.let(u // i["gp"]), b.let(u % i["gp"])
        panels = b.let((i["co"] + (width - 1)) // width)
        tiles = b.let(i["n"] * i["nh"] * i["nw"], "tiles")
        strips = b.let((tiles + (strip - 1)) // strip)
        first, last = b.let(panels * o // i["go"]), b.let(panels * (o + 1) // i["go"])
        begin = b.let(strips * p // i["gp"] * strip, "begin")
        end = b.let(minimum(strips * (p + 1) // i["gp"] * strip, tiles), "end")
        with b.for_("p", first, last, i["ob"]) as p0:
            self.p0, self.p1 = p0, b.let(minimum(p0 + i["ob"], last), "p1")
            self.filters()
            with b.for_("t0", begin, end, i["tb"]) as t0:
                self.t0, self.t1 = t0, b.let(minimum(t0 + i["tb"], end), "t1")
                self.v = b.let(self.u + i["wv"] + (t0 - begin) // i["tb"] * i["vs"], "v")
                with b.if_(p0.eq(first)):
                    self.places()
                    self.source()
                self.products()
                self.results()

    def filters(self) -> None:
        """Transform the filters of the block, eight at a time."""
        b, i, spec = self.b, self.i, self.spec
        pitch = filters_pitch(spec)
        with b.for_("p", self.p0, self.p1) as p:
            first = b.let(self.first(p))
            to = b.let(self.u + (p - self.p0) * i["ci"] * pitch)
            if spec.narrow == "turn":
                self.turned(first, to)
                return
            with b.for_("c", 0, i["ci"]) as c:
                for half in range(0, pitch, WIDE):
                    base = b.let((first + half) * i["wo"] + c * i["wc"])
                    self.ask(base)
                    step = 1 if spec.narrow == "unit" else i["wo"]
                    with b.vfor("t", 0, WIDE, WIDE, full=True) as t:
                        self.filter(self.taps(b.let(base + t * step)), b.let(to + c * pitch + half), t)

    def ask(self, base: Value) -> None:
        """Have the lines of eight filters `AHEAD` channels further on brought near."""
        b, i = self.b, self.i
        far = b.let(base + AHEAD * i["wc"])
        if self.spec.narrow == "unit":  # a line for each tap
            for k in range(9):
                b.prefetch(self.w, far + k // 3 * i["wh"] + k % 3 * i["ww"])
            return
        for o in range(WIDE):
            b.prefetch(self.w, far + o * i["wo"])

    def taps(self, row: Value) -> list[Value]:
        """The taps of a filter of each lane."""
        b, i = self.b, self.i
        if self.spec.narrow == "no":  # taps are neighbours
            found = [b.let(self.w[row + k]) for k in range(8)]
            row = b.let(row + 1)
            return [*found, [b.let(self.w[row + k]) for k in range(8)][-1]]
        return [b.let(self.w[row + k * i["wh"] + j * i["ww"]]) for k in range(3) for j in range(3)]

    def turned(self, first: Value, to: Value) -> None:
        """Filters whose channels of the source are neighbours: eight of those at a time are turned."""
        b, i, w, stage = self.b, self.i, self.w, self.stage
        pitch = filters_pitch(self.spec)
        with b.for_("c0", 0, i["ci"], WIDE) as begin, b.for_("half", 0, pitch, WIDE) as half:
            c0 = b.let(minimum(begin, i["ci"] - WIDE), "c0")
            with b.for_("k", 0, 3) as k, b.for_("j", 0, 3) as j:
                base = b.let((first + half) * i["wo"] + k * i["wh"] + j * i["ww"] + c0)
                for o in range(WIDE):
                    b.prefetch(w, base + o * i["wo"] + 2 * AHEAD)
                put = b.let((k * 3 + j) * (WIDE * WIDE))
                packing.transposed(b, w, base, i["wo"], WIDE, stage, put, WIDE)
            with b.for_("c", 0, WIDE) as c, b.vfor("t", 0, WIDE, WIDE, full=True) as t:
                taps = [b.let(stage[c * WIDE + t + k * (WIDE * WIDE)]) for k in range(9)]
                self.filter(taps, b.let(to + half + (c0 + c) * pitch), t)

    def filter(self, taps: list[Value], to: Value, t: Value) -> None:
        """Transform a filter in each lane."""
        if self.spec.kind == "data":
            taps.reverse()
        columns = [self.tiles.filters(self.b, taps[k::3]) for k in range(3)]
        for r in range(self.tiles.taps):
            for k, value in enumerate(self.tiles.filters(self.b, [column[r] for column in columns])):
                self.work[to + (r * self.tiles.taps + k) * self.filters_plane() + t] = value

    def places(self) -> None:
        """Tables: of each tile where it lies in the source, its first row and column."""
        b, i, table = self.b, self.i, self.table
        with b.for_("t", 0, i["tb"]) as t:
            tile = b.let(minimum(self.t0 + t, self.t1 - 1))
            line, column = b.let(tile // i["nw"]), b.let(tile % i["nw"])
            step = self.tiles.step
            y, x = b.let(line % i["nh"] * step - i["ph"]), b.let(column * step - i["pw"])
            table[self.at + t] = line // i["nh"] * i["xn"] + y * i["xh"] + x * i["xw"]
            table[self.at + i["tb"] + t] = y
            table[self.at + i["tb"] * 2 + t] = x

    def source(self) -> None:
        """Transform the source of the block: a few tiles and channels at a time."""
        b, i, stage, lanes, tiles = self.b, self.i, self.stage, self.spec.lanes, self.tiles
        wide = tiles.width
        with b.for_("g", 0, self.t1 - self.t0, lanes) as g, b.for_("c0", 0, i["ci"], self.together) as c0:
            c1 = b.let(minimum(c0 + self.together, i["ci"]))
            with b.for_("e", 0, lanes) as e:
                self.columns(g + e, b.let(e * wide), c0, c1)
            with b.for_("c", c0, c1) as c, b.for_("r", 0, tiles.points) as r:
                from_ = b.let(((c - c0) * tiles.points + r) * (lanes * wide))
                to = b.let(self.v + g * i["ci"] + c * lanes + r * tiles.points * self.source_plane())
                for half in range(0, lanes, WIDE):
                    with b.vfor("t", 0, WIDE, WIDE, full=True) as t:
                        row = b.let(from_ + half * wide + t * wide)
                        d = [b.let(stage[row + k]) for k in range(max(WIDE, tiles.side))]
                        for k, value in enumerate(tiles.source(b, d[: tiles.side])):
                            self.work[to + k * self.source_plane() + half + t] = value

    def columns(self, tile: Value, to: Value, c0: Value, c1: Value) -> None:
        """Transform the columns of one tile of a few channels."""
        b, i, table, lanes, tiles = self.b, self.i, self.table, self.spec.lanes, self.tiles
        at, y, x = (b.let(table[self.at + i["tb"] * k + tile]) for k in range(3))
        plane = Plane(self.x, i["ci"], i["xc"], i["xh"], i["xw"], i["sh"], i["sw"], tiles.side)
        pitch = lanes * tiles.width

        def keep(c: Value, lane: Value, d: list[Value]) -> None:
            put = to + (c - c0) * (tiles.points * pitch)
            for r, value in enumerate(tiles.source(b, d)):
                self.stage[put + r * pitch + lane] = value

        plane.columns(b, (at, y, x), c0, c1, keep, self.together)

    def products(self) -> None:
        """The sums over channels at each point."""
        b, taps = self.b, self.tiles.taps
        with b.for_("a", 0, taps) as row, b.for_("b", 0, taps) as column:
            filters = b.let(self.u + (row * taps + column) * self.filters_plane())
            with b.for_("r", row, self.last(row)) as r, b.for_("k", column, self.last(column)) as k:
                self.point(filters, b.let(r * self.tiles.points + k))

    def last(self, tap: Value) -> Value:
        """Behind the points of a transformed tap: the last one serves all that are left."""
        taps, points = self.tiles.taps, self.tiles.points
        return self.b.let(tap + 1 if points == taps else select(tap.eq(taps - 1), points, tap + 1))

    def point(self, filters: Value, q: Value) -> None:
        """The sums over channels at one point."""
        b, i, spec = self.b, self.i, self.spec
        strips = b.let((self.t1 - self.t0 + (spec.lanes - 1)) // spec.lanes)
        source = b.let(self.v + q * self.source_plane())
        sums = b.let(self.m + q * self.products_plane())
        with b.for_("k0", 0, i["ci"], DEPTH) as k0:
            k1 = b.let(minimum(k0 + DEPTH, i["ci"]))
            with b.for_("s", 0, strips) as s, b.for_("p", self.p0, self.p1) as p:
                begin = b.let(self.begin(p))
                to = sums + (s * i["ob"] + (p - self.p0)) * (spec.rows * spec.lanes)
                panel = filters + (p - self.p0) * i["ci"] * WIDE + (begin - self.first(p))
                strip = source + s * i["ci"] * spec.lanes
                at = (b.let(panel), b.let(strip), b.let(to))
                chains(b, spec, self.work, at, k0, k1, const("i64", 0))

    def results(self) -> None:
        """Transform the products back and hand them on."""
        b, i, rows = self.b, self.i, self.spec.rows
        count = self.runs()
        with b.for_("o", self.p0 * rows, minimum(self.p1 * rows, i["co"])) as o:
            panel = b.let(o // rows)
            place = b.let((panel - self.p0) * rows + (o - self.begin(panel)))
            with b.for_("g", 0, self.t1 - self.t0, WIDE) as g:
                self.back(place, g)
            with b.for_("run", 0, count) as run:
                self.hand_on(o, b.let(self.at + i["tb"] * 3 + run * 5))

    def back(self, o: Value, g: Value) -> None:
        """Eight tiles of a channel, as rows of outputs."""
        b, i, spec, half, tiles = self.b, self.i, self.spec, self.half, self.tiles
        out, points = tiles.out, tiles.points
        strip = b.let(g // spec.lanes)
        from_ = self.m + (strip * (i["ob"] * spec.rows) + o) * spec.lanes + (g - strip * spec.lanes)
        plane = b.let(self.products_plane())
        with b.for_("k", 0, points) as column:
            at, to = b.let(from_ + column * plane), b.let(column * WIDE)
            with b.vfor("t", 0, WIDE, WIDE, full=True) as t:
                m = [b.let(self.work[b.let(at + r * points * plane) + t]) for r in range(points)]
                for r, value in enumerate(tiles.back(b, m)):
                    half[to + r * (points * WIDE) + t] = value
        with b.for_("r", 0, out) as row:
            at, to = b.let(row * (points * WIDE)), b.let(row * (out * WIDE))
            with b.vfor("t", 0, WIDE, WIDE, full=True) as t:
                m = [b.let(half[at + k * WIDE + t]) for k in range(points)]
                for k, value in enumerate(tiles.back(b, m)):
                    self.tile[to + k * WIDE + t] = value
            for first in range(0, WIDE, out):
                put = b.let(self.lines + row * self.pitch + (g + first) * out)
                packing.transposed(
                    b, self.tile, b.let(to + first), const("i64", WIDE), out, self.work, put, out
                )

    def runs(self) -> Value:
        """A table of the runs of the block's tiles in one row: image, first row, columns, where they lie in a line."""
        b, i, table, out = self.b, self.i, self.table, self.tiles.out
        first, last = b.let(self.t0 // i["nw"]), b.let((self.t1 - 1) // i["nw"])
        with b.for_("line", first, last + 1) as line:
            at = b.let(self.at + i["tb"] * 3 + (line - first) * 5)
            start = b.let(line * i["nw"])
            table[at] = line // i["nh"]
            table[at + 1] = line % i["nh"] * out
            table[at + 2] = (maximum(self.t0, start) - start) * out
            table[at + 3] = minimum((minimum(self.t1, start + i["nw"]) - start) * out, i["ow"])
            table[at + 4] = (start - self.t0) * out
        return b.let(last - first + 1)

    def hand_on(self, o: Value, run: Value) -> None:
        """The rows of one run."""
        b, i, table = self.b, self.i, self.table
        image, row = b.let(table[run]), b.let(table[run + 1])
        lo, hi, start = (b.let(table[run + k]) for k in (2, 3, 4))
        with b.for_("r", 0, minimum(i["oh"] - row, self.tiles.out)) as r:
            from_ = b.let(self.lines + r * self.pitch + start)
            if self.y is not None:
                to = b.let(image * i["yn"] + o * i["yc"] + (row + r) * i["yh"])
                with b.vfor("x", lo, hi, WIDE) as x:
                    self.y[to + x * i["yw"]] = self.work[from_ + x]
            elif self.emit is not None:
                base = b.let((row + r) * i["ow"])
                with b.vfor("x", lo, hi, WIDE) as x:
                    self.emit(self.work[from_ + x], image, o, base + x)


def winograd_pieces(
    spec: ConvSpec, ints: dict[str, int], caches: tuple[int, int, int], parts: int
) -> dict[str, int]:
    """Blocks and pieces, tb, ob, go, gp: of the ways that cost little more than the cheapest the one that takes the
    least memory.

    Pieces of channels transform all of the source each, pieces of tiles all filters: multiply-adds as measured."""
    tiles, panels = ints["n"] * ints["nh"] * ints["nw"], ceil_div(ints["co"], outputs_of(spec))
    strips = ceil_div(tiles, strip_of(spec))
    of = tiles_of(spec)
    filters, source, out = of.costs
    sums = of.products * tiles * ints["co"] + out * tiles * ints["co"] // ints["ci"]
    found = []
    gp = 1
    while gp <= max(strips, 1):
        go = max(1, parts // gp)
        if go * gp % parts == 0 and go <= panels:
            blocks = winograd_blocks(spec, ints, caches, parts, go, gp)
            work = parts * winograd_workspace(spec, ints | blocks)["ws"]
            found.append((sums + blocks["gp"] * filters * ints["co"] + go * source * tiles, work, blocks))
        gp = gp + 1 if gp < parts else 2 * gp
    if not found:
        return winograd_blocks(spec, ints, caches, 1, 1, 1)
    most = min(cost for cost, _, _ in found) * (FOR_STRIDED if spec.strided else MORE)
    return min((way for way in found if way[0] <= most), key=lambda way: way[1])[2]


def winograd_blocks(
    spec: ConvSpec, ints: dict[str, int], caches: tuple[int, int, int], parts: int, go: int, gp: int
) -> dict[str, int]:
    """The blocks of pieces: filters are one block if they take up to eight times the second cache, else blocks that
    take it twice; then the source of a unit is kept, at most `KEPT` bytes."""
    size, of = SIZE[spec.dtype], tiles_of(spec)
    tiles, panels = ints["n"] * ints["nh"] * ints["nw"], ceil_div(ints["co"], outputs_of(spec))
    strips = ceil_div(tiles, strip_of(spec))
    each = of.taps**2 * ints["ci"] * filters_pitch(spec) * size
    ob = panels if panels * each <= 8 * caches[1] else max(2, 2 * caches[1] // each)
    least = 1 if ob >= panels else ceil_div(of.products * ints["ci"] * tiles * size, KEPT)
    gp = min(strips, round_up(least, gp))
    tb = min(of.strips, ceil_div(strips, gp)) * strip_of(spec)
    if ceil_div(strips, gp) <= of.strips:
        # the source of a unit is one block anyway: filters stay in half of the second cache
        ob = min(ob, max(2, caches[1] // (2 * each)))
    planes = ints["ci"] * ints["sh"] * ints["sw"] + ints["co"] * ints["oh"] * ints["ow"]
    if parts * min(ob, ceil_div(panels, go)) * each * 2 > 3 * planes * ints["n"] * size:
        # of one small image, to which blocks of the filters are large: as little as costs no time
        tb, ob = strip_of(spec), min(ob, 2)
    return {"tb": tb, "ob": min(ob, ceil_div(panels, go)), "go": go, "gp": gp}


def winograd_workspace(spec: ConvSpec, ints: dict[str, int]) -> dict[str, int]:
    """The sizes of a kernel, from what `winograd_pieces` found."""
    of, strip, width = tiles_of(spec), strip_of(spec), outputs_of(spec)
    strips = ceil_div(ints["n"] * ints["nh"] * ints["nw"], strip)
    blocks = ceil_div(ceil_div(strips, ints["gp"]) * strip, ints["tb"])
    filters = of.taps**2 * (ints["ob"] * ints["ci"] * filters_pitch(spec) + 16)
    source = of.products * (ints["tb"] * source_pitch(spec, ints["ci"]) + 16)
    products = of.products * (ints["tb"] * ints["ob"] * width + 16)
    kept = blocks if ceil_div(ceil_div(ints["co"], width), ints["go"]) > ints["ob"] else 1
    total = filters + kept * source + products + of.out**2 * ints["tb"]
    return {
        "vs": source if kept > 1 else 0,
        "wv": filters,
        "wm": filters + kept * source,
        "ws": round_up(total + 64, 16),
        "ts": 8 * ints["tb"] + 16,
    }
