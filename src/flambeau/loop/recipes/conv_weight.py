"""Convolution backward to the weights: dW[o, r] = sum over images and positions of dY[o, p] * image[offs[r] + p].

Vector lanes are output channels (the gradient of the output is transposed, a few rows of the plane at a time), rows
of a tile are weights r = (channel, taps) of the source, and positions are summed. Order of each sum: a chain over the
positions of `KC // width` rows of a plane; the results of these, over the plane, the depth and the images, are added
in order. Parts share the weights among them, never the positions.

Groups of one or two output channels (depthwise convolutions) have their own kernel: lanes are 16 neighbouring positions
of a row, whose sums are combined at the end of each image."""

from __future__ import annotations

from ..build import Buffer, Builder, Operand, Register, Value, minimum, select
from ..ir import SIZE, Kernel
from . import packing
from .contraction import KC, Emit, Epilogue, ceil_div, muladd
from .conv_image import ConvSpec, Image, integers
from .packing import SPARE
from .winograd_channels import InnermostFilters
from .winograd_weight import winograd_weight


def conv_weight(
    spec: ConvSpec,
    epilogue: Epilogue | None = None,
    name: str = "conv_weight",
    made: tuple[type[Image], type[Weights]] | None = None,
) -> Kernel:
    """The kernel of a "weight" spec.

    Buffers: x, y (the gradient of the output), w (the result, without an epilogue), work, table, then the epilogue's.
    An epilogue is called as emit(acc, 0, output channel, weight of the channel counted row-major)."""
    if spec.kind == "thin":
        return _thin(spec, epilogue, name)
    if spec.by == "winograd":
        return winograd_weight(spec, epilogue, name, InnermostFilters if spec.last else None)
    b = Builder(name)
    x, y = b.buf("x", spec.dtype), b.buf("y", spec.dtype)
    w = b.buf("w", spec.dtype, "w") if epilogue is None else None
    work, table = b.buf("work", spec.dtype, "rw"), b.buf("table", "i64", "rw")
    i = integers(b, spec)
    copy, loops = made or (Image, Weights)
    image = copy(b, i, spec, work, b.let(b.tid * i["ws"], "at"))
    emit = epilogue(b) if epilogue else None
    nest = loops(b, spec, i, image, table, y)
    lo, hi = b.partition(i["g"] * i["gk"] * i["go"])
    with b.for_("u", lo, hi) as u:
        nest.place(u)
        image.clear(1 if spec.last else nest.channels, spec.lanes)
        nest.offsets()
        source = b.let((nest.group * i["ci"] + nest.c0) * i["xc"])
        with b.for_("n", 0, i["n"]) as n:
            image.copy(x, b.let(source + n * i["xn"]), nest.channels)
            with b.for_("z", 0, i["od"]) as z, b.for_("y0", 0, i["oh"], i["pg"]) as y0:
                nest.rows(n, z, y0)
        nest.results(w, emit)
    return b.kernel()


class Weights:
    """The loops over one unit: a group, a range of weights r0..r1-1 and panels q0..q1-1 of output channels."""

    group: Value
    c0: Value
    channels: Value
    r0: Value
    r1: Value
    height: Value
    q0: Value
    q1: Value

    def __init__(
        self, b: Builder, spec: ConvSpec, i: dict[str, Value], image: Image, table: Buffer, y: Buffer
    ):
        self.b, self.spec, self.i, self.image, self.table, self.y = b, spec, i, image, table, y
        self.taps = b.let(i["kd"] * i["kh"] * i["kw"], "taps")
        self.t0 = b.let(b.tid * i["ts"], "t0")
        self.packed = b.let(image.at + i["wp"] + SPARE * spec.lanes, "packed")
        self.depth = b.let(i["pg"] * i["ow"] + 2 * SPARE, "depth")

    def place(self, u: Value) -> None:
        """Fix the unit."""
        b, i, spec = self.b, self.i, self.spec
        pieces = b.let(i["gk"] * i["go"])
        self.group = b.let(u // pieces, "group")
        piece = b.let(u % pieces)
        k, o = b.let(piece // i["go"]), b.let(piece % i["go"])
        weights = b.let(i["ci"] * self.taps, "weights")
        every = b.let((weights + (spec.rows - 1)) // spec.rows)
        self.r0 = b.let(every * k // i["gk"] * spec.rows, "r0")
        self.r1 = b.let(minimum(every * (k + 1) // i["gk"] * spec.rows, weights), "r1")
        panels = b.let((i["co"] + (spec.lanes - 1)) // spec.lanes)
        self.q0, self.q1 = b.let(panels * o // i["go"], "q0"), b.let(panels * (o + 1) // i["go"], "q1")
        self.c0 = b.let(self.r0 // self.taps, "c0")
        self.height = b.let((self.r1 - self.r0 + (spec.rows - 1)) // spec.rows * spec.rows, "height")
        self.channels = b.let((self.r1 + self.taps - 1) // self.taps - self.c0, "channels")

    def whole(self) -> None:
        """The unit of a thin kernel: all weights of a group."""
        zero = self.b.let(0)
        self.r0 = self.c0 = zero
        self.r1, self.channels = self.b.let(self.i["ci"] * self.taps, "weights"), self.i["ci"]

    def thin_tile(self, n: Value, o: Value, r: Value, sums: Value) -> None:
        """Add the sums of one image for `rows` weights of channel o."""
        b, i, spec, image = self.b, self.i, self.spec, self.image
        last = b.let(self.r1 - 1)
        local = b.let(self.t0 + r)
        rows = [b.let(image.at + self.table[local + k], "row") for k in range(spec.rows)]
        acc = [b.reg("acc", 0, spec.dtype, LANES) for _ in rows]
        plane = b.let(n * i["yn"] + (self.group * i["co"] + o) * i["yc"])
        with b.for_("z", 0, i["od"]) as z, b.for_("y", 0, i["oh"]) as y:
            line = b.let(z * i["td"] * image.slice + y * image.pitch)
            from_ = b.let(plane + (z * i["oh"] + y) * i["ow"])
            with b.vfor("x", 0, i["ow"], LANES) as x:
                value = b.let(self.y[from_ + x])
                for a, row in zip(acc, rows, strict=True):
                    a.set(muladd(image.work[row + line + x], value, a.get()))
        for k, a in enumerate(acc):
            place = b.let(sums + o * self.r1 + minimum(r + k, last))
            with b.if_(r + k < self.r1):
                total = b.let(a.reduce("add"))
                image.work[place] = select(n.eq(0), total, image.work[place] + total)

    def offsets(self) -> None:
        """Fill the table: where in the image the source of each weight begins."""
        b, i, table, image = self.b, self.i, self.table, self.image
        count = b.reg("count", 0, "i64")
        with b.for_("kz", 0, i["kd"]) as kz, b.for_("ky", 0, i["kh"]) as ky, b.for_("kx", 0, i["kw"]) as kx:
            at = b.let(count.get())
            table[self.t0 + at] = image.tap(kz * i["jd"], ky * i["jh"], kx * i["jw"])
            count.set(at + 1)
        with b.for_("c", 1, self.channels) as c, b.vfor("t", 0, self.taps, 16) as t:
            table[self.t0 + c * self.taps + t] = table[self.t0 + t] + c * image.volume
        end = b.let(self.t0 + self.channels * self.taps)
        with b.for_("t", 0, self.spec.rows) as t:  # rows of the last tile that do not exist
            table[end + t] = table[self.t0]

    def sums(self, q: Value) -> Value:
        """Where the sums of panel q are kept in the workspace: [weight][lane]."""
        lanes = self.spec.lanes
        return self.packed + self.depth * lanes + (q - self.q0) * self.height * lanes

    def rows(self, n: Value, z: Value, y0: Value) -> None:
        """Rows y0.. of a plane of the output, all weights and channels of the unit."""
        b, i, spec = self.b, self.i, self.spec
        y1 = b.let(minimum(y0 + i["pg"], i["oh"]), "y1")
        first = b.let((n + z + y0).eq(0), "first")
        with b.for_("q", self.q0, self.q1) as q:
            self.pack(n, q, b.let((z * i["oh"] + y0) * i["ow"]), b.let((y1 - y0) * i["ow"]))
            sums = b.let(self.sums(q), "sums")
            with b.for_("r", self.r0, self.r1, spec.rows) as r:
                self.tile(r, sums, z, y0, y1, first)

    def pack(self, n: Value, q: Value, k0: Value, kc: Value) -> None:
        """Positions k0.. of the gradient of panel q's channels: [position][lane]."""
        b, i, spec, work = self.b, self.i, self.spec, self.image.work
        base = b.let(n * i["yn"] + self.group * i["co"] * i["yc"])
        o0 = b.let(q * spec.lanes)
        plane = b.let(i["od"] * i["oh"] * i["ow"])
        if spec.narrow == "no":
            window = packing.Window(o0, i["co"], k0, kc, plane)
            packing.transposed_panel(
                b, self.y, base, i["yc"], window, spec.block, work, self.packed, spec.lanes, spec.lanes
            )
            return
        live = b.reg("live", False, "b1", spec.lanes)
        with b.vfor("x", 0, spec.lanes, spec.lanes, full=True) as x:
            live.set(x + o0 < i["co"])
        row = b.let(base + o0 * i["yc"])
        if spec.narrow == "lanes":
            packing.masked_panel(b, self.y, row, i["yc"], k0, kc, plane, live, work, self.packed, spec.lanes)
        else:
            one = b.let(1)
            packing.rows_panel(
                b,
                lambda at, mask: self.y.load(at, mask).cast(work.type),
                b.let(row + k0),
                one,
                i["yc"],
                kc,
                live.get(),
                work,
                self.packed,
                spec.lanes,
            )

    def steps(self) -> tuple[Value, Operand]:
        """How far the rows and positions of the output lie apart in the copy of the image."""
        return self.image.pitch, 1

    def tile(self, r: Value, sums: Value, z: Value, y0: Value, y1: Value, first: Value) -> None:
        """Sums of `rows` weights times `lanes` channels over rows y0..y1-1."""
        b, i, spec, image = self.b, self.i, self.spec, self.image
        base = b.let(image.at + z * i["td"] * image.slice)
        local = b.let(self.t0 + r - self.c0 * self.taps)
        rows = [b.let(base + self.table[local + k], "row") for k in range(spec.rows)]
        acc = [b.reg("acc", 0, spec.dtype, spec.lanes) for _ in range(spec.rows)]
        down, across = self.steps()
        with b.for_("y", y0, y1) as y:
            line = b.let(y * down)
            packed = b.let(self.packed + (y - y0) * i["ow"] * spec.lanes)
            with b.for_("p", 0, i["ow"]) as p:
                at, from_ = b.let(line + p * across), b.let(packed + p * spec.lanes)
                with b.vfor("x", 0, spec.lanes, spec.lanes, full=True) as x:
                    value = b.let(image.work[from_ + x])
                    for a, row in zip(acc, rows, strict=True):
                        a.set(muladd(image.work[row + at], value, a.get()))
        self._add(acc, r, sums, first)

    def results(self, w: Buffer | None, emit: Emit | None) -> None:
        """Hand the sums of the unit on."""
        b, i, spec = self.b, self.i, self.spec
        with b.for_("q", self.q0, self.q1) as q:
            o0 = b.let(q * spec.lanes)
            with b.for_("o", o0, minimum(o0 + spec.lanes, i["co"])) as o:
                place = b.let(self.sums(q) + (o - o0))
                with b.vfor("r", self.r0, self.r1, spec.block) as r:
                    acc = self.image.work[place + (r - self.r0) * spec.lanes]
                    channel = self.group * i["co"] + o
                    if w is not None:
                        w[channel * i["wo"] + r] = acc
                    elif emit is not None:
                        emit(acc, b.let(0), channel, r)

    def _add(self, acc: list[Register], r: Value, sums: Value, first: Value) -> None:
        b, spec, work = self.b, self.spec, self.image.work
        at = b.let(sums + (r - self.r0) * spec.lanes)
        with b.vfor("x", 0, spec.lanes, spec.lanes, full=True) as x:
            for k, a in enumerate(acc):
                place = at + x + k * spec.lanes
                work[place] = select(first, a.get(), work[place] + a.get())


THIN = 2  # output channels of a group up to which positions, not channels, are lanes: fixes the order of sums
LANES = 16


def _thin(spec: ConvSpec, epilogue: Epilogue | None, name: str) -> Kernel:
    """As `conv_weight`, for groups of at most THIN output channels; a unit is a group."""
    b = Builder(name)
    x, y = b.buf("x", spec.dtype), b.buf("y", spec.dtype)
    w = b.buf("w", spec.dtype, "w") if epilogue is None else None
    work, table = b.buf("work", spec.dtype, "rw"), b.buf("table", "i64", "rw")
    i = integers(b, spec)
    emit = epilogue(b) if epilogue else None
    image = Image(b, i, spec, work, b.let(b.tid * i["ws"], "at"))
    nest = Weights(b, spec, i, image, table, y)
    nest.whole()
    lo, hi = b.partition(i["g"])
    image.clear(i["ci"], LANES)
    nest.offsets()
    sums = b.let(image.at + i["wp"], "sums")
    with b.for_("g", lo, hi) as g:
        nest.group = g
        with b.for_("n", 0, i["n"]) as n:
            image.copy(x, b.let(n * i["xn"] + g * i["ci"] * i["xc"]), i["ci"])
            with b.for_("o", 0, i["co"]) as o, b.for_("r", 0, nest.r1, spec.rows) as r:
                nest.thin_tile(n, o, r, sums)
        with b.for_("o", 0, i["co"]) as o, b.vfor("r", 0, nest.r1, LANES) as r:
            acc, channel = work[sums + o * nest.r1 + r], g * i["co"] + o
            if w is not None:
                w[channel * i["wo"] + r] = acc
            elif emit is not None:
                emit(acc, b.let(0), channel, r)
    return b.kernel()


def rows_at_once(width: int) -> int:
    """Rows of a plane whose positions are one chain."""
    return max(1, KC // width)


def thin_workspace(ints: dict[str, int], channel: int) -> dict[str, int]:
    """The sizes of a thin kernel."""
    weights = ints["ci"] * ints["kd"] * ints["kh"] * ints["kw"]
    image = ints["ci"] * channel + LANES
    return {"wp": image, "ws": image + ints["co"] * weights + 16, "ts": weights + 9}


def workspace(ints: dict[str, int], spec: ConvSpec, channel: int) -> dict[str, int]:
    """The sizes that depend on the tile: pg, wp, ws, ts."""
    taps = ints["kd"] * ints["kh"] * ints["kw"]
    rows = ceil_div(ceil_div(ints["ci"] * taps, spec.rows), ints["gk"]) * spec.rows
    panels = ceil_div(ceil_div(ints["co"], spec.lanes), ints["go"])
    channels = min(ints["ci"], ceil_div(rows, taps) + 1)
    image = channels * channel + spec.lanes
    if spec.last:
        channels, image = ints["ci"], channel + spec.lanes
    depth = rows_at_once(ints["ow"]) * ints["ow"] + 3 * SPARE
    total = image + (depth + panels * rows) * spec.lanes + 64 // SIZE[spec.dtype]
    return {"pg": rows_at_once(ints["ow"]), "wp": image, "ws": total, "ts": channels * taps + spec.rows}
