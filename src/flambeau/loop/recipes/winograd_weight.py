"""The gradient of a 3 x 3 filter by Winograd's tiles: F(3 x 3, 4 x 4), the transpose of `winograd.py`.

dW = G' [sum over tiles of (A dY A') * (B' d B)] G for tiles dY of 4 x 4 gradients and d of 6 x 6 inputs. Sums over
tiles are chains of `CHAIN`, added in order. A unit is a piece of the output and of the input channels, whose sums are
kept:

    for blocks of tiles:        transform their input: V[point][strip][tile][input channel]
                                and their gradient: P[point][panel][tile][output channel]
      for each of the 36 points:  the register tile of `matmul`: M[point][strip][output channel][input channel]
    for each output channel:    transform the sums back

Lanes are input channels. Parts share the filters, never the tiles."""

from __future__ import annotations

from collections.abc import Sequence

from ..build import Buffer, Builder, Value, const, fma, minimum
from ..ir import SIZE, Kernel
from .contraction import Epilogue, ceil_div, round_up
from .conv_image import ConvSpec, integers
from .winograd import CHAIN, Panels, chains
from .winograd_tiles import PLAIN, ROOT, WIDE, Plane, points_of_source

TAPS, OUT, IN, POINTS = 3, PLAIN.out, PLAIN.side, PLAIN.products
TILES = 64  # of a block: whole chains
SUMS = 4 << 20  # bytes that the sums of a unit may take
INTS = (
    *("n", "ci", "co", "sh", "sw", "oh", "ow", "ph", "pw"),
    *(f"{a}{b}" for a in "xy" for b in "nchw"),
    *("wo", "wh", "ww", "nh", "nw", "go", "gk", "tb", "ob", "cb", "wp", "wm", "ws", "ts"),
)
"""As in winograd; go, gk: pieces of the output and input channels; ob, cb: panels and strips of the largest one."""


def points_of_gradient(b: Builder, y: Sequence[Value]) -> list[Value]:
    """A y: four gradients at the six points."""
    found = [y[0]]
    for square in (2.0, 0.5):
        even, odd = b.let(fma(y[2], square, y[0])), b.let(fma(y[3], square, y[1]))
        found += [b.let(fma(odd, by, even)) for by in (square**0.5, -(square**0.5))]
    return [*found, y[3]]


def taps(b: Builder, m: Sequence[Value]) -> list[Value]:
    """G' m: three taps of six sums."""
    s, t = b.let((m[1] + m[2]) * (1 / 6)), b.let((m[1] - m[2]) * (ROOT / 6))
    u, v = b.let((m[3] + m[4]) * (-2 / 3)), b.let((m[3] - m[4]) * (-ROOT / 3))
    return [b.let(m[0] + s + u), b.let(t + v), b.let(fma(s, 2.0, fma(u, 0.5, m[5])))]


def winograd_weight(
    spec: ConvSpec, epilogue: Epilogue | None, name: str, made: type[Nest] | None = None
) -> Kernel:
    """As `conv_weight.conv_weight`."""
    b = Builder(name)
    x, y = b.buf("x", spec.dtype), b.buf("y", spec.dtype)
    w = b.buf("w", spec.dtype, "w") if epilogue is None else None
    work, table = b.buf("work", spec.dtype, "rw"), b.buf("table", "i64", "rw")
    ints = integers(b, spec, INTS)
    nest = (made or Nest)(b, spec, ints, (x, y, w, work, table), epilogue)
    lo, hi = b.partition(ints["go"] * ints["gk"])
    with b.for_("u", lo, hi) as u:
        nest.unit(u)
    return b.kernel()


class Nest(Panels):
    """The loops over one unit; attributes are what the enclosing loops have fixed so far."""

    p0: Value  # panels of output channels
    p1: Value
    s0: Value  # strips of input channels
    s1: Value
    t0: Value  # tiles of the block
    t1: Value

    def __init__(
        self,
        b: Builder,
        spec: ConvSpec,
        ints: dict[str, Value],
        bufs: tuple[Buffer, Buffer, Buffer | None, Buffer, Buffer],
        epilogue: Epilogue | None,
    ):
        self.b, self.spec, self.i = b, spec, ints
        self.x, self.y, self.w, self.work, self.table = bufs
        self.emit = epilogue(b) if epilogue else None
        self.rooms()
        self.at = b.let(b.tid * ints["ts"], "at")
        self.v = b.let(b.tid * ints["ws"], "v")
        self.p = b.let(self.v + ints["wp"], "p")
        self.m = b.let(self.v + ints["wm"], "m")
        i = ints
        self.inputs = b.let(i["cb"] * i["tb"] * spec.lanes + 16)  # from one point to the next
        self.gradients = b.let(i["ob"] * i["tb"] * WIDE + 16)
        self.sums = b.let(i["cb"] * i["ob"] * (spec.rows * spec.lanes) + 16)

    def rooms(self) -> None:
        """Scratch."""
        b, spec = self.b, self.spec
        self.stage = b.alloc("stage", spec.dtype, WIDE * IN * WIDE * WIDE)
        self.half = b.alloc("half", spec.dtype, TAPS * IN * WIDE)
        self.found = b.alloc("found", spec.dtype, spec.lanes * TAPS * TAPS)

    def unit(self, u: Value) -> None:
        """A piece of the output and of the input channels."""
        b, i, spec = self.b, self.i, self.spec
        o, k = b.let(u // i["gk"]), b.let(u % i["gk"])
        panels = b.let((i["co"] + (spec.rows - 1)) // spec.rows)
        strips = b.let((i["ci"] + (spec.lanes - 1)) // spec.lanes)
        self.p0, self.p1 = b.let(panels * o // i["go"]), b.let(panels * (o + 1) // i["go"])
        self.s0, self.s1 = b.let(strips * k // i["gk"]), b.let(strips * (k + 1) // i["gk"])
        tiles = b.let(i["n"] * i["nh"] * i["nw"], "tiles")
        with b.for_("t0", 0, tiles, i["tb"]) as t0:
            self.t0, self.t1 = t0, b.let(minimum(t0 + i["tb"], tiles), "t1")
            self.places()
            self.input()
            self.gradient()
            self.products()
        self.results()

    def places(self) -> None:
        """Tables: of each tile where it lies in the input and in the gradient, its first row and column there."""
        b, i, table = self.b, self.i, self.table
        with b.for_("t", 0, i["tb"]) as t:
            tile = b.let(minimum(self.t0 + t, self.t1 - 1))
            line, column = b.let(tile // i["nw"]), b.let(tile % i["nw"])
            image, y, x = b.let(line // i["nh"]), b.let(line % i["nh"] * OUT), b.let(column * OUT)
            values = (
                image * i["xn"] + (y - i["ph"]) * i["xh"] + (x - i["pw"]) * i["xw"],
                y - i["ph"],
                x - i["pw"],
                image * i["yn"] + y * i["yh"] + x * i["yw"],
                y,
                x,
            )
            for k, value in enumerate(values):
                table[self.at + i["tb"] * k + t] = value

    def input(self) -> None:
        """Transform the input of the block: eight tiles and channels at a time."""
        b, i, lanes = self.b, self.i, self.spec.lanes
        plane = Plane(self.x, i["ci"], i["xc"], i["xh"], i["xw"], i["sh"], i["sw"], IN)
        first, last = b.let(self.s0 * lanes), b.let(self.s1 * lanes)
        with b.for_("g", 0, self.t1 - self.t0, WIDE) as g, b.for_("c0", first, last, WIDE) as c0:
            strip = b.let(c0 // lanes)
            to = self.v + ((strip - self.s0) * i["tb"] + g) * lanes + (c0 - strip * lanes)
            self.transform(plane, (g, c0, b.let(to)), 0, lanes, self.inputs)

    def gradient(self) -> None:
        """Transform the gradient of the block."""
        b, i = self.b, self.i
        plane = Plane(self.y, i["co"], i["yc"], i["yh"], i["yw"], i["oh"], i["ow"], OUT)
        with b.for_("g", 0, self.t1 - self.t0, WIDE) as g, b.for_("p", self.p0, self.p1) as p:
            to = self.p + ((p - self.p0) * i["tb"] + g) * WIDE
            self.transform(plane, (g, b.let(self.first(p)), b.let(to)), 3, WIDE, self.gradients)

    def transform(
        self, plane: Plane, at: tuple[Value, Value, Value], tables: int, pitch: int, apart: Value
    ) -> None:
        """Eight tiles of eight channels, columns first, then rows with channels in the lanes.

        at: the first tile and channel, and where the first point of the first tile goes; pitch, apart: from one tile
        and point to the next."""
        b, i, stage = self.b, self.i, self.stage
        g, c0, to = at
        points = points_of_source if plane.side == IN else points_of_gradient
        with b.for_("e", 0, WIDE) as e:
            table = b.let(self.at + g + e)
            corner = tuple(b.let(self.table[table + i["tb"] * (tables + k)]) for k in range(3))

            def keep(c: Value, lane: Value, d: list[Value]) -> None:
                put = (c - c0) * (IN * WIDE * WIDE) + e * WIDE
                for r, value in enumerate(points(b, d)):
                    stage[put + r * (WIDE * WIDE) + lane] = value

            plane.columns(b, (corner[0], corner[1], corner[2]), c0, c0 + WIDE, keep)
        with b.for_("e", 0, WIDE) as e, b.for_("r", 0, IN) as r:
            from_, put = b.let((r * WIDE + e) * WIDE), b.let(to + e * pitch + r * IN * apart)
            with b.vfor("x", 0, WIDE, WIDE, full=True) as x:
                row = b.let(from_ + x * (IN * WIDE * WIDE))
                d = [b.let(stage[row + k]) for k in range(WIDE)]
                for k, value in enumerate(points(b, d[: plane.side])):
                    self.work[put + k * apart + x] = value

    def products(self) -> None:
        """Add the block's products at each point."""
        b, i, spec = self.b, self.i, self.spec
        count = b.let(self.t1 - self.t0)
        with b.for_("q", 0, POINTS) as q, b.for_("s", self.s0, self.s1) as s:
            strip = b.let(self.v + q * self.inputs + (s - self.s0) * (i["tb"] * spec.lanes))
            with b.for_("p", self.p0, self.p1) as p:
                panel = self.p + q * self.gradients + (p - self.p0) * (i["tb"] * WIDE)
                panel = b.let(panel + (self.begin(p) - self.first(p)))
                to = b.let(self.m + q * self.sums + self.place(s, p))
                chains(b, spec, self.work, (panel, strip, to), const("i64", 0), count, self.t0)

    def place(self, s: Value, p: Value) -> Value:
        """Where the sums of a strip and a panel lie."""
        tile = self.spec.rows * self.spec.lanes
        return ((s - self.s0) * self.i["ob"] + (p - self.p0)) * tile

    def results(self) -> None:
        """Transform the sums back, channel by channel of the output."""
        b, i, rows, lanes = self.b, self.i, self.spec.rows, self.spec.lanes
        with (
            b.for_("o", self.p0 * rows, minimum(self.p1 * rows, i["co"])) as o,
            b.for_("s", self.s0, self.s1) as s,
        ):
            panel = b.let(o // rows)
            self.filters(o, s, b.let(self.m + self.place(s, panel) + (o - self.begin(panel)) * lanes))

    def filters(self, o: Value, s: Value, at: Value) -> None:
        """The filters of an output channel and a strip."""
        b, i, lanes = self.b, self.i, self.spec.lanes
        for first in range(0, lanes, WIDE):
            self.back(b.let(at + first), first)
        c0 = b.let(s * lanes)
        count = b.let(minimum(i["ci"] - c0, lanes) * (TAPS * TAPS))
        with b.vfor("x", 0, count, WIDE) as x:
            value, k = self.found[x], c0 * (TAPS * TAPS) + x
            if self.w is not None:
                self.w[o * i["wo"] + k] = value
            elif self.emit is not None:
                self.emit(value, const("i64", 0), o, k)

    def back(self, at: Value, first: int) -> None:
        """Eight filters of one output channel, taps side by side."""
        b, half = self.b, self.half
        with b.for_("k", 0, IN) as column:
            from_, to = b.let(at + column * self.sums), b.let(column * WIDE)
            with b.vfor("t", 0, WIDE, WIDE, full=True) as t:
                m = [b.let(self.work[b.let(from_ + r * IN * self.sums) + t]) for r in range(IN)]
                for r, value in enumerate(taps(b, m)):
                    half[to + r * (IN * WIDE) + t] = value
        with b.for_("r", 0, TAPS) as row:
            from_ = b.let(row * (IN * WIDE))
            with b.vfor("t", 0, WIDE, WIDE, full=True) as t:
                m = [b.let(half[from_ + k * WIDE + t]) for k in range(IN)]
                for k, value in enumerate(taps(b, m)):
                    self.found[(t + first) * (TAPS * TAPS) + row * TAPS + k] = value


def weight_pieces(spec: ConvSpec, ints: dict[str, int], parts: int) -> dict[str, int]:
    """Pieces and sizes: units whose sums take at most `SUMS` bytes, as many as there are parts, or a multiple.

    A piece of output channels transforms all of its input channels' tiles, and the other way round."""
    panels, strips = ceil_div(ints["co"], spec.rows), ceil_div(ints["ci"], spec.lanes)
    least = ceil_div(POINTS * panels * strips * spec.rows * spec.lanes * SIZE[spec.dtype], SUMS)
    units = round_up(least, parts)
    ways = []
    for go in range(1, min(units, panels) + 1):
        gk = ceil_div(units, go)
        if gk <= strips:
            ways.append((ceil_div(go * gk, parts) * (ints["ci"] // gk + ints["co"] * 4 // (3 * go)), go, gk))
    go, gk = min(ways)[1:] if ways else (panels, strips)
    tiles = ints["n"] * ints["nh"] * ints["nw"]
    tb = min(TILES, round_up(tiles, WIDE))
    ob, cb = ceil_div(panels, go), ceil_div(strips, gk)
    wp = POINTS * (cb * tb * spec.lanes + 16)
    wm = wp + POINTS * (ob * tb * WIDE + 16)
    total = wm + POINTS * (cb * ob * spec.rows * spec.lanes + 16)
    sizes = {"wp": wp, "wm": wm, "ws": round_up(total + 64, 16), "ts": 6 * tb + 16}
    return {"go": go, "gk": gk, "tb": tb, "ob": ob, "cb": cb} | sizes


assert TILES % CHAIN == 0
