"""Winograd's convolution of images whose channels are innermost in memory, with channels as lanes.

The sums of `winograd.py`, element by element in the same order, so the bits are the same; nothing is turned. A pixel is
a vector of channels, so transforms are those of whole vectors; a register tile has tiles as rows, whose elements are
broadcast, and output channels as lanes:

    V[point][tile][channel],  U[point][panel][channel][lane],  M[point][tile][output channel]"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..build import Buffer, Builder, Value, const, minimum
from . import winograd_weight
from .winograd import DEPTH, Nest, chains, source_pitch
from .winograd_tiles import WIDE, Transform, points_of_source
from .winograd_weight import IN, OUT, TAPS, points_of_gradient, taps


class Pixels(NamedTuple):
    """Images as tiles of `side` x `side` pixels, transformed to `points` values along each side, `lanes` channels at a
    time."""

    buf: Buffer
    h: Value
    w: Value
    high: Value
    wide: Value
    side: int
    points: int
    lanes: int
    transform: Transform
    step: int

    def tile(
        self,
        b: Builder,
        corner: tuple[Value, Value, Value],
        channels: tuple[Value, Value, Value],
        stage: Buffer,
        put: Callable[[Value, Value, int, Value, Value], None],
    ) -> None:
        """put(channel, row of points, column, lane, value) for channels first, ... of a tile; the last ones of `many`
        go back to fill a vector. The pixels of the next tile are asked for.

        corner: where the tile begins, its first row and column; channels: first, end, how many there are."""
        base, y, x = corner
        side, lanes = range(self.side), self.lanes
        first, end, many = channels

        def columns(c: Value, load: Callable[[Value, Value, int], Value]) -> None:
            with b.for_("k", 0, self.side) as k:
                at = b.let(base + k * self.w + c)
                for r in side:
                    b.prefetch(self.buf, at + self.step * self.w + r * self.h, far=True)
                with b.vfor("v", 0, lanes, lanes, full=True) as v:
                    self.keep(b, stage, [b.let(load(b.let(at + r * self.h) + v, k, r)) for r in side], k, v)

        inside = b.let(
            (y >= 0) & (x >= 0) & (y + self.side <= self.high) & (x + self.side <= self.wide), "inside"
        )
        rows = [b.let((y + r >= 0) & (y + r < self.high)) for r in side]
        with b.for_("c", first, end, lanes) as begin:
            c = b.let(minimum(begin, many - lanes), "c")
            with b.if_(inside):
                columns(c, lambda at, k, r: self.buf[at])
            with b.else_():
                columns(c, lambda at, k, r: self.buf.load(at, rows[r] & (x + k >= 0) & (x + k < self.wide)))
            with b.for_("r", 0, self.points) as r, b.vfor("v", 0, lanes, lanes, full=True) as v:
                at = b.let(r * (self.side * lanes))
                for k, value in enumerate(
                    self.transform(b, [b.let(stage[at + k * lanes + v]) for k in side])
                ):
                    put(c, r, k, v, value)

    def keep(self, b: Builder, stage: Buffer, d: Sequence[Value], k: Value, v: Value) -> None:
        """Transform a column."""
        for r, value in enumerate(self.transform(b, d)):
            stage[(r * self.side + k) * self.lanes + v] = value


class InnermostFilters(winograd_weight.Nest):
    """The loops over one unit of the gradient of the filters, whose input channels are innermost too."""

    def rooms(self) -> None:
        """Scratch."""
        b, spec = self.b, self.spec
        self.stage = b.alloc("stage", spec.dtype, IN * IN * spec.lanes)
        self.half = b.alloc("half", spec.dtype, TAPS * IN * spec.lanes)

    def input(self) -> None:
        """Transform the input of the block."""
        b, i, lanes = self.b, self.i, self.spec.lanes
        pixels = Pixels(
            *(self.x, i["xh"], i["xw"], i["sh"], i["sw"]), *(IN, IN, lanes, points_of_source, OUT)
        )
        first, last = b.let(self.s0 * lanes), b.let(minimum(self.s1 * lanes, i["ci"]))
        with b.for_("t", 0, self.t1 - self.t0) as t:

            def put(c: Value, r: Value, k: int, lane: Value, value: Value) -> None:
                strip = (c + (lanes - 1)) // lanes - self.s0
                to = self.v + (strip * i["tb"] + t) * lanes + (r * IN + k) * self.inputs
                self.work[to + lane] = value

            pixels.tile(b, self.corner(t, 0), (first, last, i["ci"]), self.stage, put)

    def gradient(self) -> None:
        """Transform the gradient of the block."""
        b, i = self.b, self.i
        pixels = Pixels(
            *(self.y, i["yh"], i["yw"], i["oh"], i["ow"]), *(OUT, IN, WIDE, points_of_gradient, OUT)
        )
        with b.for_("t", 0, self.t1 - self.t0) as t, b.for_("p", self.p0, self.p1) as p:
            to = b.let(self.p + ((p - self.p0) * i["tb"] + t) * WIDE)

            def put(c: Value, r: Value, k: int, lane: Value, value: Value) -> None:
                self.work[to + (r * IN + k) * self.gradients + lane] = value

            first = b.let(self.first(p))
            pixels.tile(b, self.corner(t, 3), (first, b.let(first + WIDE), i["co"]), self.stage, put)

    def corner(self, t: Value, tables: int) -> tuple[Value, Value, Value]:
        """Where a tile begins, its first row and column."""
        at, i = self.at + t, self.i
        y, x = (self.b.let(self.table[at + i["tb"] * (tables + k)]) for k in (1, 2))
        return self.b.let(self.table[at + i["tb"] * tables]), y, x

    def filters(self, o: Value, s: Value, at: Value) -> None:
        """The filters of an output channel and a strip."""
        b, i, lanes, half = self.b, self.i, self.spec.lanes, self.half
        with b.for_("k", 0, IN) as column, b.vfor("v", 0, lanes, lanes, full=True) as v:
            from_, to = b.let(at + column * self.sums), b.let(column * lanes)
            m = [b.let(self.work[b.let(from_ + r * IN * self.sums) + v]) for r in range(IN)]
            for r, value in enumerate(taps(b, m)):
                half[to + r * (IN * lanes) + v] = value
        c0 = b.let(o * i["wo"] + minimum(s * lanes, i["ci"] - lanes))
        with b.for_("r", 0, TAPS) as row, b.vfor("v", 0, lanes, lanes, full=True) as v:
            from_ = b.let(row * (IN * lanes))
            m = [b.let(half[from_ + k * lanes + v]) for k in range(IN)]
            for k, value in enumerate(taps(b, m)):
                assert self.w is not None
                self.w[c0 + row * i["wh"] + k * i["ww"] + v] = value


class WinogradChannels(Nest):
    """The loops over one unit."""

    def rooms(self) -> None:
        """Scratch."""
        b, spec, tiles = self.b, self.spec, self.tiles
        size = max(tiles.side * tiles.points * spec.lanes, 9 * WIDE * WIDE)
        self.stage = b.alloc("stage", spec.dtype, size)
        self.half = b.alloc("half", spec.dtype, tiles.out * tiles.points * spec.lanes)

    def source(self) -> None:
        """Transform the source of the block."""
        b, i, spec, tiles, table = self.b, self.i, self.spec, self.tiles, self.table
        pixels = Pixels(
            *(self.x, i["xh"], i["xw"], i["sh"], i["sw"]),
            *(tiles.side, tiles.points, spec.lanes, tiles.source, tiles.step),
        )
        plane = b.let(self.source_plane())
        channels = (const("i64", 0), i["ci"], i["ci"])
        with b.for_("t", 0, self.t1 - self.t0) as tile:
            at, y, x = (b.let(table[self.at + i["tb"] * k + tile]) for k in range(3))
            to = b.let(self.v + tile * source_pitch(spec, i["ci"]))

            def put(c: Value, r: Value, k: int, lane: Value, value: Value, to: Value = to) -> None:
                self.work[to + (r * tiles.points + k) * plane + c + lane] = value

            pixels.tile(b, (at, y, x), channels, self.stage, put)

    def point(self, filters: Value, q: Value) -> None:
        """The sums over channels at one point."""
        b, i, spec = self.b, self.i, self.spec
        pitch, down = source_pitch(spec, i["ci"]), b.let(i["ob"] * spec.lanes)
        source = b.let(self.v + q * self.source_plane())
        sums = b.let(self.m + q * self.products_plane())
        with b.for_("k0", 0, i["ci"], DEPTH) as k0:
            k1 = b.let(minimum(k0 + DEPTH, i["ci"]))
            with b.for_("p", self.p0, self.p1) as p:
                strip = b.let(filters + (p - self.p0) * i["ci"] * spec.lanes)
                with b.for_("t", 0, self.t1 - self.t0, spec.rows) as t:
                    at = (
                        b.let(source + t * pitch),
                        strip,
                        b.let(sums + t * down + (p - self.p0) * spec.lanes),
                    )
                    chains(b, spec, self.work, at, k0, k1, const("i64", 0), (1, b.let(pitch), down))

    def results(self) -> None:
        """Transform the products back and hand them on."""
        b, i, spec, out = self.b, self.i, self.spec, self.tiles.out
        down = b.let(i["ob"] * spec.lanes)
        with b.for_("t", 0, self.t1 - self.t0) as t:
            line = b.let((self.t0 + t) // i["nw"])
            place = (
                b.let(line // i["nh"], "image"),
                b.let(line % i["nh"] * out, "row"),
                b.let((self.t0 + t - line * i["nw"]) * out, "column"),
            )
            with b.for_("p", self.p0, self.p1) as p:
                begin = b.let(self.begin(p))
                self.products_of(b.let(self.m + t * down + (p - self.p0) * spec.lanes))
                lo = b.let(p * spec.lanes - begin)
                self.rows(place, begin, lo)

    def products_of(self, from_: Value) -> None:
        """Transform the columns of a tile of products."""
        b, lanes, points = self.b, self.spec.lanes, self.tiles.points
        plane = b.let(self.products_plane())
        with b.for_("k", 0, points) as column, b.vfor("v", 0, lanes, lanes, full=True) as v:
            at, to = b.let(from_ + column * plane), b.let(column * lanes)
            m = [b.let(self.work[b.let(at + r * points * plane) + v]) for r in range(points)]
            for r, value in enumerate(self.tiles.back(b, m)):
                self.half[to + r * (points * lanes) + v] = value

    def rows(self, place: tuple[Value, Value, Value], begin: Value, lo: Value) -> None:
        """Transform the rows of a tile and hand on channels lo.. from `begin` on."""
        b, i, lanes, points, out = self.b, self.i, self.spec.lanes, self.tiles.points, self.tiles.out
        image, y, x = place
        with b.for_("r", 0, minimum(i["oh"] - y, out)) as r:
            at, row = b.let(r * (points * lanes)), b.let(y + r)
            with b.vfor("v", lo, lanes, lanes) as v:
                m = [b.let(self.half[at + k * lanes + v]) for k in range(points)]
                for k, value in enumerate(self.tiles.back(b, m)):
                    with b.if_(x + k < i["ow"]):
                        self.put(value, image, row, b.let(x + k), begin + v)

    def put(self, value: Value, image: Value, row: Value, column: Value, channel: Value) -> None:
        """Hand a vector of results on."""
        i = self.i
        if self.y is not None:
            self.y[image * i["yn"] + row * i["yh"] + column * i["yw"] + channel] = value
        elif self.emit is not None:
            self.emit(value, image, row * i["ow"] + column, channel)
