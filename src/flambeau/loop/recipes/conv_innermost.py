"""Convolution of images whose channels are innermost in memory: what differs from `conv_channels` and `conv_weight`.

The padded copies keep that order, so that rows are copied as they lie, and what is made is handed on position by
position: nothing is turned. Sums are those of the other kernels, element by element in the same order."""

from __future__ import annotations

from typing import Any

from ..build import Buffer, Builder, Operand, Value, maximum, minimum, select
from .contraction import Emit
from .conv_channels import Channels
from .conv_image import ConvSpec, Image
from .conv_weight import Weights

RUN = 16  # channels of a block


def pixel_pitch(channels: Any) -> Any:
    """From one pixel of a copy to the next (of numbers or values): more than channels, where neighbours would share
    places of the first cache."""
    return channels + 16 * (1 - (channels % 32 + 31) // 32)


class Innermost(Image):
    """The padded copy of one group's channels of an image."""

    def __init__(self, b: Builder, ints: dict[str, Value], spec: ConvSpec, work: Buffer, at: Value):
        super().__init__(b, ints, spec, work, at)
        self.pixel = b.let(pixel_pitch(ints["ci"]), "pixel")
        self.pitch = b.let(ints["ew"] * self.pixel, "pitch")
        self.slice = b.let(ints["eh"] * self.pitch, "slice")
        self.volume = b.let(ints["ed"] * self.slice, "volume")
        self.channel = b.let(1)

    def whole(self) -> Value:
        """Elements of the copy of an image."""
        return self.volume

    def copy(self, src: Buffer, base: Value, channels: Operand, shift: Operand = 0) -> None:
        """Copy the source image that begins at `base` (to `shift` elements further on)."""
        b, i = self.b, self.ints
        last = [b.let(minimum(i["e" + a], i["s" + a] + i["p" + a])) for a in "dhw"]
        wide = b.let(last[2] - i["pw"])
        with b.for_("z", i["pd"], last[0]) as z, b.for_("y", i["ph"], last[1]) as y:
            line = b.let(base + (z - i["pd"]) * i["xd"] + (y - i["ph"]) * i["xh"])
            put = b.let(self.at + shift + z * self.slice + y * self.pitch + i["pw"] * self.pixel)
            with b.if_(self.pixel.eq(i["xw"])), b.vfor("k", 0, wide * self.pixel, 16) as k:
                self.work[put + k] = src[line + k]
            with b.else_(), b.for_("x", 0, wide) as x:
                from_, to = b.let(line + x * i["xw"]), b.let(put + x * self.pixel)
                with b.vfor("c", 0, channels, 16) as c:
                    self.work[to + c] = src[from_ + c]

    def tap(self, z: Value, y: Value, x: Value) -> Value:
        """Offset in the copy of a position of the padded source."""
        return z * self.slice + y * self.pitch + x * self.pixel


class InnermostChannels(Channels):
    """The loops over a unit; an epilogue is called as emit(acc, image, position, channel)."""

    def finish_block(self, sums: Value, o0: Value, p: Value, stop: Value) -> None:
        """Hand the sums of a panel on as they are."""
        self.lines(sums, o0, p, stop)

    def hand_on(
        self,
        block: tuple[Value, Value, Value],
        image: Value,
        base: Value,
        step: Value,
        ends: tuple[Value, Value],
    ) -> None:
        """Positions `ends` of a line, which is at `start` in the block."""
        b, i, lanes = self.b, self.ints, self.spec.lanes
        sums, o0, start = block
        channel = b.let(self.group * i["co"] + o0)
        count = b.let(minimum(i["co"] - o0, lanes))
        with b.for_("x", *ends) as x:
            from_, position = b.let(sums + (start + x) * lanes), b.let(base + x * step)
            to = b.let(image * i["yn"] + position * i["yw"] + channel)
            with b.vfor("r", 0, count, lanes) as r:
                if self.y is not None:
                    self.y[to + r] = self.out[from_ + r]
                elif self.emit is not None:
                    self.emit(self.out[from_ + r], image, position, channel + r)


class InnermostWeights(Weights):
    """The loops over one unit of the gradient of the weights, which are in the order (block of channels, taps,
    channel): what is read of a pixel is a line, which stays near for all taps."""

    def place(self, u: Value) -> None:
        """Fix the unit."""
        b, i = self.b, self.i
        super().place(u)
        self.c0, self.channels = b.let(0), i["ci"]
        self.run = b.let(select((i["ci"] % RUN).eq(0), RUN, i["ci"]), "run")

    def offsets(self) -> None:
        """Fill the table: where in the image the source of each weight begins."""
        b, i, table, image = self.b, self.i, self.table, self.image
        with b.for_("kz", 0, i["kd"]) as kz, b.for_("ky", 0, i["kh"]) as ky, b.for_("kx", 0, i["kw"]) as kx:
            to = b.let(self.t0 + ((kz * i["kh"] + ky) * i["kw"] + kx) * self.run)
            tap = b.let(image.tap(kz * i["jd"], ky * i["jh"], kx * i["jw"]))
            with b.for_("first", 0, i["ci"], self.run) as first, b.vfor("c", 0, self.run, 16) as c:
                table[to + first * self.taps + c] = tap + first + c
        end = b.let(self.t0 + i["ci"] * self.taps)
        with b.for_("t", 0, self.spec.rows) as t:  # rows of the last tile that do not exist
            table[end + t] = table[self.t0]

    def results(self, w: Buffer | None, emit: Emit | None) -> None:
        """Hand the sums of the unit on, run by run."""
        assert w is not None and emit is None
        b, i, spec, run = self.b, self.i, self.spec, self.run
        with (
            b.for_("q", self.q0, self.q1) as q,
            b.for_("s", self.r0 // run, (self.r1 + run - 1) // run) as s,
        ):
            o0, start = b.let(q * spec.lanes), b.let(s * run)
            lo, hi = b.let(maximum(self.r0, start)), b.let(minimum(self.r1, start + run))
            tap = s % self.taps * i["ci"] + s // self.taps * run - start
            base = b.let((self.group * i["co"] + o0) * i["wo"] + tap)
            sums = b.let(self.sums(q) - self.r0 * spec.lanes)
            with b.for_("o", 0, minimum(spec.lanes, i["co"] - o0)) as o, b.vfor("r", lo, hi, spec.block) as r:
                w[base + o * i["wo"] + r] = self.image.work[sums + r * spec.lanes + o]

    def steps(self) -> tuple[Value, Operand]:
        """How far the rows and positions of the output lie apart in the copy of the image."""
        i, image, b = self.i, self.image, self.b
        return b.let(i["th"] * image.pitch), b.let(i["tw"] * image.pixel)

    def pack(self, n: Value, q: Value, k0: Value, kc: Value) -> None:
        """Positions k0.. of the gradient of panel q's channels: [position][lane]."""
        b, i, lanes = self.b, self.i, self.spec.lanes
        o0 = b.let(q * lanes)
        base = b.let(n * i["yn"] + self.group * i["co"] + o0 + k0 * i["yw"])
        left = b.let(minimum(i["co"] - o0, lanes))
        with b.for_("k", 0, kc) as k:
            from_, to = b.let(base + k * i["yw"]), b.let(self.packed + k * lanes)
            with b.vfor("x", 0, left, lanes) as x:
                self.image.work[to + x] = self.y[from_ + x]
