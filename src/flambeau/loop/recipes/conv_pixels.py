"""Convolution, forward and backward to the data, with neighbouring output positions as the lanes of a tile.

C[o, p] = sum_k W[o, k] * image[offs[k] + p], k = (channel, taps) and p a position in the padded image: the register
tile of `matmul`, its order of sums included, with no im2col buffer. The gradient of the data (a transposed
convolution) is the same with taps reversed; with a stride, once for every residue of the output position, which
decides which taps take part. Weights are packed once for each part; tiles are written to scratch and from there row
by row.
"""

from __future__ import annotations

from collections.abc import Callable

from ..build import Buffer, Builder, Register, Value, const, maximum, minimum, select
from . import packing
from .contraction import KC, muladd, round_up
from .conv_image import ConvSpec, Image, by_steps


def even_steps(
    b: Builder,
    y: Buffer,
    first: Value,
    step: Value,
    out: Buffer,
    at: Value,
    x: tuple[Value, Value],
    width: int,
) -> None:
    """Write a row of scratch to every step-th element; rows shorter than a vector are scattered."""

    def write(k: Value, by: Value) -> None:
        y[first + k * by] = out[at + k]

    by_steps(b, step, step.eq(2) & (x[1] - x[0] >= width), x, width, write)


def weight_pitch(spec: ConvSpec) -> int:
    """Elements from one k to the next in packed weights."""
    if spec.by == "channels":
        return spec.lanes
    return round_up(spec.rows, spec.block) if spec.narrow == "no" else spec.rows


class Nest:
    """The loops over one image, group and residue of the output position."""

    n: Value

    def __init__(
        self,
        b: Builder,
        spec: ConvSpec,
        ints: dict[str, Value],
        image: Image,
        w: Buffer,
        table: Buffer,
        out: Buffer,
        emit: Callable[..., None] | None,
        y: Buffer | None,
    ):
        self.b, self.spec, self.ints, self.image = b, spec, ints, image
        self.w, self.table, self.out, self.emit, self.y = w, table, out, emit, y
        self.all_taps = b.let(ints["kd"] * ints["kh"] * ints["kw"], "taps")
        self.t0 = b.let(b.tid * ints["ts"], "t0")
        self.t1 = b.let(self.t0 + self.all_taps * ints["ci"], "t1")
        self.count = b.reg("count", 0, "i64")
        self.pitch = weight_pitch(spec)
        self.packed = b.let(image.at + ints["wp"] + packing.SPARE * self.pitch, "packed")
        one = const("i64", 1)
        self.step = tuple(ints["t" + a] for a in "dhw") if spec.kind == "data" else (one, one, one)

    def panel_width(self) -> int:
        """Output channels of a panel of weights."""
        return self.spec.rows

    def place(self, phase: Value, cell: Value) -> Value:
        """Fix the residue and the cell; returns the group."""
        b, i = self.b, self.ints
        zero = const("i64", 0)
        self.phase = (zero, zero, zero)
        if self.spec.kind == "data" and self.spec.strided:
            self.phase = (
                b.let(phase // (i["th"] * i["tw"])),
                b.let(phase // i["tw"] % i["th"]),
                b.let(phase % i["tw"]),
            )
        self.extent = tuple(
            b.let((i["o" + a] - q + s - 1) // s) for a, q, s in zip("dhw", self.phase, self.step, strict=True)
        )
        self.group = b.let(cell // i["go"], "group")
        piece = b.let(cell % i["go"])
        width = self.panel_width()
        every = b.let((i["co"] + (width - 1)) // width)
        self.p0, self.p1 = b.let(every * piece // i["go"]), b.let(every * (piece + 1) // i["go"])
        return self.group

    def taps(self) -> None:
        """Fill the tables: offsets into the image, and into a row of weights, for every k."""
        b, i, image, table = self.b, self.ints, self.image, self.table
        self.count.set(0)
        with b.for_("kz", 0, i["kd"]) as kz, b.for_("ky", 0, i["kh"]) as ky, b.for_("kx", 0, i["kw"]) as kx:
            weight = kz * i["wd"] + ky * i["wh"] + kx * i["ww"]
            if self.spec.kind == "forward":
                self._put(image.tap(kz * i["jd"], ky * i["jh"], kx * i["jw"]), weight)
            else:
                self._reversed((kz, ky, kx), weight)
        count = b.let(self.count.get(), "taps")
        with b.for_("c", 1, i["ci"]) as c, b.vfor("t", 0, count, 16) as t:
            table[self.t0 + c * count + t] = table[self.t0 + t] + c * image.channel
            table[self.t1 + c * count + t] = table[self.t1 + t] + c * i["wc"]
        self.count.set(count * i["ci"])

    def _reversed(self, tap: tuple[Value, Value, Value], weight: Value) -> None:
        b, i = self.b, self.ints
        away = [
            b.let(q + i["a" + a] - k * i["j" + a]) for a, q, k in zip("dhw", self.phase, tap, strict=True)
        ]
        fits = None
        for d, s in zip(away, self.step, strict=True):
            own = (d % s).eq(0)
            fits = own if fits is None else fits & own
        assert fits is not None
        at = [d // s + i["p" + a] for a, d, s in zip("dhw", away, self.step, strict=True)]
        if not self.spec.strided:
            self._put(self.image.tap(*at), weight)
            return
        with b.if_(fits):
            self._put(self.image.tap(*at), weight)

    def _put(self, offset: Value, weight: Value) -> None:
        count = self.b.let(self.count.get())
        self.table[self.t0 + count] = offset
        self.table[self.t1 + count] = weight
        self.count.set(count + 1)

    def panel_size(self, k: Value) -> Value:
        """Elements from one packed panel to the next."""
        return (k + packing.SPARE) * self.pitch

    def pack(self) -> None:
        """Copy the weights of panels p0..p1-1 as [panel][k][row]."""
        b, i, spec, work = self.b, self.ints, self.spec, self.image.work
        k = b.let(self.count.get(), "k")
        w0 = b.let(self.group * i["wg"])
        zero = const("i64", 0)
        with b.for_("p", self.p0, self.p1) as p:
            at = b.let(self.packed + (p - self.p0) * self.panel_size(k))
            o0 = b.let(p * spec.rows)
            if spec.narrow == "no":
                window = packing.Window(o0, i["co"], zero, k, k)
                packing.transposed_panel(
                    b, self.w, w0, i["wo"], window, spec.block, work, at, self.pitch, self.pitch
                )
                return
            left = b.let(i["co"] - o0)
            with b.for_("kk", 0, k) as kk:
                source = b.let(w0 + o0 * i["wo"] + self.table[self.t1 + kk])
                with b.vfor("r", 0, spec.rows, spec.block) as r:
                    work[at + kk * self.pitch + r] = self.w.load(source + r * i["wo"], r < left)

    def panels(self) -> None:
        """All outputs of this image, group and residue."""
        b, i, spec = self.b, self.ints, self.spec
        self.k = b.let(self.count.get(), "k")
        length = b.let((self.extent[1] - 1) * self.image.pitch + self.extent[2], "length")
        depth = i["td"] * self.image.slice if spec.kind == "forward" else self.image.slice
        with b.for_("pa", self.p0, self.p1, i["pg"]) as pa:
            pb = b.let(minimum(pa + i["pg"], self.p1))
            with b.for_("z", 0, self.extent[0]) as z, b.for_("p", 0, length, spec.lanes) as p:
                base = b.let(self.image.at + z * depth + p)
                with b.for_("panel", pa, pb) as panel:
                    o0 = b.let(panel * spec.rows, "o0")
                    self.tile(o0, base)
                    self.finish(o0, z, p)

    def tile(self, o0: Value, base: Value) -> None:
        """Sums of `rows` channels at `lanes` positions, into scratch."""
        b, spec, table, work = self.b, self.spec, self.table, self.image.work
        weights, rows, pitch = self.scalars(o0)
        with b.if_(self.k.eq(0)), b.vfor("x", 0, spec.rows * spec.lanes, spec.lanes, full=True) as x:
            self.out[x] = 0
        with b.for_("kb", 0, self.k, KC) as kb:
            acc = [b.reg("acc", 0, spec.dtype, spec.lanes) for _ in range(spec.rows)]
            with b.for_("k", kb, minimum(kb + KC, self.k)) as k:
                at = b.let(base + table[self.t0 + k])
                step = b.let(k * pitch)
                with b.vfor("x", 0, spec.lanes, spec.lanes, full=True) as x:
                    value = b.let(work[at + x])
                    for a, row in zip(acc, rows, strict=True):
                        a.set(muladd(weights[row + step], value, a.get()))
            self._keep(acc, kb)

    def scalars(self, o0: Value) -> tuple[Buffer, list[Value], int]:
        """Where the weights of a tile's channels begin, and how far its k steps lie apart."""
        b, i, rows = self.b, self.ints, self.spec.rows
        if self.spec.own:
            w0, last = self.group * i["wg"], i["co"] - 1
            return self.w, [b.let(w0 + minimum(o0 + r, last) * i["wo"], "row") for r in range(rows)], 1
        panel = b.let(self.packed + (o0 // rows - self.p0) * self.panel_size(self.k))
        return self.image.work, [panel + r for r in range(rows)], self.pitch

    def _keep(self, acc: list[Register], kb: Value) -> None:
        b, lanes, out = self.b, self.spec.lanes, self.out
        with b.vfor("x", 0, lanes, lanes, full=True) as x:
            for r, a in enumerate(acc):
                out[x + r * lanes] = select(kb > 0, out[x + r * lanes] + a.get(), a.get())

    def finish(self, o0: Value, z: Value, p: Value) -> None:
        """Hand the positions of a tile that are outputs to the epilogue, row by row."""
        b, i, spec, pitch = self.b, self.ints, self.spec, self.image.pitch
        rows = b.let(minimum(i["co"] - o0, spec.rows))
        y0 = b.let(p // pitch)
        y1 = b.let(minimum((p + (spec.lanes - 1)) // pitch + 1, self.extent[1]))
        with b.for_("y", y0, y1) as y:
            start = b.let(y * pitch - p)
            x0 = b.let(maximum(-start, 0))
            x1 = b.let(minimum(-start + spec.lanes, self.extent[2]))
            with b.for_("r", 0, rows) as r:
                from_ = b.let(r * spec.lanes + start)
                channel = b.let(self.group * i["co"] + o0 + r)
                position = [v * s + q for v, s, q in zip((z, y), self.step, self.phase, strict=False)]
                line = self._line(channel, position)
                if self.y is not None:
                    first, step = b.let(line + self.phase[2] * i["yw"]), self.step[2] * i["yw"]
                    even_steps(b, self.y, first, step, self.out, from_, (x0, x1), spec.block)
                elif self.emit is not None:
                    with b.vfor("x", x0, x1, spec.block) as x:
                        self.emit(
                            self.out[from_ + x], self.n, channel, line + x * self.step[2] + self.phase[2]
                        )

    def _line(self, channel: Value, position: list[Value]) -> Value:
        """Where a row of the output begins: in y, or in the row-major plane."""
        b, i = self.b, self.ints
        z, y = position
        if self.y is None:
            return b.let((z * i["oh"] + y) * i["ow"])
        return b.let(self.n * i["yn"] + channel * i["yc"] + z * i["yd"] + y * i["yh"])
