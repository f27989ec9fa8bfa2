"""Reading images at the places of a grid, between their elements, and both gradients of that.

Images are (N, C, *sizes), places (N, P, dims) with the last dimension of the image named first, results (N, C, P); all
dense. Lanes are places: what one needs (which elements, with which weights) is worked out once for all channels.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from ..build import Buffer, Builder, Value, const, maximum, minimum, op, select
from ..ir import Kernel

LANES = 16
CUBIC = -0.75


@dataclass(frozen=True)
class Grid:
    """kind: forward, grid (the gradient of the places) or image (that of the image); index: i32 or i64, for a plane."""

    kind: str
    dtype: str
    dims: int
    mode: str
    padding: str
    align: bool
    index: str


@dataclass(frozen=True)
class Tap:
    """One element in one dimension: where, whether it is there, its weight (None: 1) and the derivative of that."""

    at: Value
    valid: Value
    weight: Value | None
    slope: Value | None


def cubic(t: Any) -> list[tuple[int, Any, Any]]:
    """(offset, weight, its derivative) of the four elements around; t: the distance from the second. Keys (1981)."""
    a = CUBIC
    near = lambda x: ((x * (a + 2) - (a + 3)) * x) * x + 1.0
    far = lambda x: ((x * a - 5 * a) * x + 8 * a) * x - 4 * a
    near_slope = lambda x: (x * (3 * (a + 2)) - 2 * (a + 3)) * x
    far_slope = lambda x: (x * (3 * a) - 10 * a) * x + 8 * a
    u, v, w = t + 1.0, 1.0 - t, 2.0 - t
    found = [(-1, far(u), far_slope(u)), (0, near(t), near_slope(t))]
    return [*found, (1, near(v), -near_slope(v)), (2, far(w), -far_slope(w))]


def kernel(spec: Grid) -> Kernel:
    """The kernel of a reading, or of one of its gradients."""
    f = _Frame(spec)
    {"forward": f.forward, "grid": f.of_grid, "image": f.of_image}[spec.kind]()
    return f.b.kernel()


class _Frame:
    """Buffers x, grid, grad, out (what is computed); extents n, c, p, s0, s1, ...; groups: parts of the channels."""

    def __init__(self, spec: Grid):
        self.spec, self.b = spec, Builder(f"grid_{spec.kind}")
        b, self.type = self.b, spec.dtype
        if spec.kind != "image":
            self.x = b.buf("x", spec.dtype)
        self.grid = b.buf("grid", spec.dtype)
        if spec.kind != "forward":
            self.grad = b.buf("grad", spec.dtype)
        self.out = b.buf("out", spec.dtype, "rw" if spec.kind == "image" else "w")
        self.n, self.c, self.p = b.integer("n"), b.integer("c"), b.integer("p")
        self.sizes = [b.integer(f"s{d}") for d in range(spec.dims)]
        plane: Value = const("i64", 1)
        for s in self.sizes:
            plane = plane * s
        self.plane = b.let(plane, "plane")
        self.each = b.integer("each") if spec.kind == "image" else const("i64", 0)

    # --- where --------------------------------------------------------------------------------------------------------

    def inside(self, at: Value, size: Value) -> tuple[Value, Value | None]:
        """A coordinate brought into the image by clipping or reflection, and its derivative (None: 1)."""
        b, spec, t = self.b, self.spec, self.type
        last, turn = b.let((size - 1).cast(t), "last"), None
        if spec.padding == "zeros":
            return at, None
        if spec.padding == "reflection":
            low: float = 0.0 if spec.align else -0.5
            span = last if spec.align else b.let(size.cast(t), "span")
            away = b.let(at - low, "away")
            offset = b.let(abs(away), "offset")
            flips = b.let(op("floor", offset / span), "flips")
            rest = b.let(offset - flips * span, "rest")
            even = b.let((flips - op("floor", flips * 0.5) * 2.0).eq(0.0), "even")
            turn = b.let(select((away < 0.0) ^ ~even, const(t, -1.0), const(t, 1.0)), "turn")
            at = b.let(select(even, rest + low, span - rest + low), "folded")
            if spec.align:
                at = b.let(select(span.eq(0.0), const(t, 0.0), at), "folded")
        slope = select((at > 0.0) & (at < last), const(t, 1.0) if turn is None else turn, const(t, 0.0))
        return b.let(minimum(maximum(at, 0.0), last), "clipped"), b.let(slope, "slope")

    def tap(self, place: Value, size: Value, weight: Value | None, slope: Value | None) -> Tap:
        """The element at a whole coordinate."""
        b = self.b
        weight, slope = (None if x is None else b.let(x, "weight") for x in (weight, slope))
        valid = b.let((place >= 0.0) & (place <= (size - 1).cast(self.type)), "valid")
        at = b.let(select(valid, place, const(self.type, 0.0)).cast(self.spec.index), "at")
        return Tap(at, valid, weight, slope)

    def taps(self, g: Value, size: Value) -> tuple[list[Tap], Value]:
        """The elements that take part in one dimension, and the derivative of the coordinate by that of the grid."""
        b, spec, t = self.b, self.spec, self.type
        length = size.cast(t)
        at = (g + 1.0) / 2.0 * (length - 1.0) if spec.align else ((g + 1.0) * length - 1.0) / 2.0
        scale: Value = (length - 1.0) * 0.5 if spec.align else length * 0.5
        at = b.let(at, "at")
        if spec.mode == "bicubic":
            low = b.let(op("floor", at), "low")
            found = [
                self.tap(self.inside(low + float(k), size)[0], size, w, s)
                for k, w, s in cubic(b.let(at - low, "t"))
            ]
            return found, scale
        at, slope = self.inside(at, size)
        scale = scale if slope is None else scale * slope
        if spec.mode == "nearest":
            return [self.tap(b.let(op("rint", at), "low"), size, None, None)], scale
        low = b.let(op("floor", at), "low")
        more = b.let(at - low, "t")
        less, one = b.let(1.0 - more, "u"), const(t, 1.0)
        return [self.tap(low, size, less, -one), self.tap(b.let(low + 1.0), size, more, one)], scale

    def corners(self, n: Value, p: Value) -> tuple[list[tuple[Tap, ...]], list[Value]]:
        """All elements that take part at a place, and the derivatives of its coordinates."""
        b, dims = self.b, self.spec.dims
        start = b.let((n * self.p + p) * dims, "start")
        found, scales = [], []
        for d, size in enumerate(self.sizes):
            taps, scale = self.taps(b.let(self.grid[start + (dims - 1 - d)], "g"), size)
            found.append(taps)
            scales.append(scale)
        return list(itertools.product(*found)), scales

    def place(self, corner: tuple[Tap, ...]) -> tuple[Value, Value]:
        """(offset in a plane, whether it is there) of an element."""
        b = self.b
        at, valid = corner[0].at, corner[0].valid
        for tap, size in zip(corner[1:], self.sizes[1:]):
            at, valid = at * size.cast(self.spec.index) + tap.at, valid & tap.valid
        return b.let(at.cast("i64"), "offset"), b.let(valid, "there")

    def product(self, factors: list[Value | None]) -> Value | None:
        """Of those that are there."""
        found: Value | None = None
        for x in factors:
            if x is not None:
                found = x if found is None else found * x
        return None if found is None else self.b.let(found, "w")

    # --- the three kernels --------------------------------------------------------------------------------------------

    def blocks(self, body: object) -> None:
        """body(image, place) with places as lanes, for all of this part."""
        b = self.b
        count = b.let((self.p + (LANES - 1)) // LANES, "count")
        lo, hi = b.partition(self.n * count)
        with b.for_("block", lo, hi) as block:
            n = b.let(block // count, "image")
            first = b.let(block % count * LANES, "first")
            with b.vfor("place", first, minimum(first + LANES, self.p), LANES) as p:
                body(n, p)  # type: ignore[operator]

    def forward(self) -> None:
        """out = the sum over elements of their weights times them."""
        b = self.b

        def body(n: Value, p: Value) -> None:
            corners, _ = self.corners(n, p)
            found = [(*self.place(k), self.product([t.weight for t in k])) for k in corners]
            with b.for_("channel", 0, self.c) as c:
                row = b.let(n * self.c + c, "row")
                base, total = b.let(row * self.plane, "base"), None
                for at, valid, weight in found:
                    x = self.x.load(base + at, valid)
                    x = x if weight is None else x * weight
                    total = x if total is None else total + x
                self.out[row * self.p + p] = total  # type: ignore[assignment]

        self.blocks(body)

    def of_grid(self) -> None:
        """Elements times gradients are added up over channels before they meet the weights' derivatives."""
        b, dims = self.b, self.spec.dims

        def body(n: Value, p: Value) -> None:
            corners, scales = self.corners(n, p)
            found = [self.place(k) for k in corners]
            sums = [b.reg("sum", 0.0, self.type, LANES) for _ in found]
            with b.for_("channel", 0, self.c) as c:
                row = b.let(n * self.c + c, "row")
                base, g = b.let(row * self.plane, "base"), b.let(self.grad[row * self.p + p], "g")
                for (at, valid), total in zip(found, sums):
                    total.set(total.get() + self.x.load(base + at, valid) * g)
            for d, scale in enumerate(scales):
                slope: Value = const(self.type, 0.0)
                for corner, total in zip(corners, sums):
                    w = self.product([t.slope if e == d else t.weight for e, t in enumerate(corner)])
                    slope = slope + total.get() * w  # type: ignore[operator]
                self.out[(n * self.p + p) * dims + (dims - 1 - d)] = slope * scale

        self.blocks(body)

    def of_image(self) -> None:
        """Gradients times weights go where the elements stand, place by place: a part has channels of its own."""
        b, c = self.b, self.c
        groups = b.let((c + (self.each - 1)) // self.each, "groups")
        many = {"bilinear": 2, "nearest": 1, "bicubic": 4}[self.spec.mode] ** self.spec.dims
        offsets, there = b.alloc("offsets", "i64", many * LANES), b.alloc("there", "i64", many * LANES)
        to, source = b.alloc("to", "i64", many * LANES), b.alloc("source", "i64", many * LANES)
        weights, made = (b.alloc(k, self.type, many * LANES) for k in ("weights", "made"))
        lo, hi = b.partition(self.n * groups)
        with b.for_("unit", lo, hi) as unit:
            n, first = b.let(unit // groups, "image"), b.let(unit % groups * self.each, "low")
            last = b.let(minimum(first + self.each, c), "high")
            begin = b.let((n * c + first) * self.plane, "begin")
            with b.vfor("e", begin, begin + (last - first) * self.plane, LANES) as e:
                self.out[e] = 0.0
            with b.for_("at", 0, self.p, LANES) as start:
                end = b.let(minimum(start + LANES, self.p), "end")
                self.planned(n, start, end, offsets, there, weights)
                count = self.listed(offsets, there, to, source, b.let(end - start), many)
                with b.for_("channel", first, last) as channel:
                    row = b.let(n * c + channel, "row")
                    base, line = b.let(row * self.plane, "base"), b.let(row * self.p + start, "line")
                    with b.vfor("v", 0, end - start, LANES) as v:
                        g = b.let(self.grad[line + v], "g")
                        for k in range(many):
                            made[v + k * LANES] = g * weights[v + k * LANES]
                    with b.for_("e", 0, count) as e:
                        at = b.let(base + to[e], "place")
                        self.out[at] = self.out[at] + made[source[e]]

    def planned(
        self, n: Value, start: Value, end: Value, offsets: Buffer, there: Buffer, weights: Buffer
    ) -> None:
        """Which elements some places read, and their weights, into scratch."""
        with self.b.vfor("place", start, end, LANES) as p:
            corners, _ = self.corners(n, p)
            for k, corner in enumerate(corners):
                at, valid = self.place(corner)
                weight = self.product([t.weight for t in corner])
                to = p - start + k * LANES
                offsets[to], there[to] = at, select(valid, const("i64", 1), const("i64", 0))
                weights[to] = const(self.type, 1.0) if weight is None else weight

    def listed(
        self, offsets: Buffer, there: Buffer, to: Buffer, source: Buffer, some: Value, many: int
    ) -> Value:
        """Those that are there, one after the other; how many."""
        b = self.b
        count = b.reg("count", 0, "i64")
        with b.for_("k", 0, many) as k, b.for_("lane", 0, some) as lane:
            at = b.let(k * LANES + lane, "from")
            to[count.get()], source[count.get()] = offsets[at], at
            count.set(count.get() + there[at])
        return b.let(count.get(), "all")
