"""Depthwise convolution (one channel for each group) of images whose channels are innermost in memory: forward,
backward to the data, and to the weights.

Lanes are channels: a tap is a vector of the image times a vector of weights, and a few positions of a row share both.
No copy is made, no position wasted: taps that lie outside the image are left out. The sums of the first two kinds are
those of `conv_planes`, tap after tap. A gradient of weights is summed along a row, rows along an image, images one
after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..build import Builder, Register, Value, const, maximum, minimum
from ..ir import SIZE, Kernel
from .contraction import Epilogue, ceil_div, muladd, round_up
from .conv_image import Window
from .conv_planning import Geometry
from .planning import Vectors

TOGETHER = 4  # positions of a tile
WRITTEN_OUT = 7  # taps of a row up to which they are written out
INTS = (
    *("n", "c", "sh", "sw", "oh", "ow", "wc", "wh", "ww", "cp", "ws"),
    *(f"{a}{b}" for a in "xy" for b in "nhw"),
)


class DepthSpec(NamedTuple):
    """What identifies a kernel: kind "forward", "data" or "weight"; the taps of a window, and the zeros above and left
    of the image."""

    kind: str
    dtype: str
    lanes: int
    window: Window
    above: int
    left: int

    def describe(self) -> str:
        """The choice in words."""
        return f"tile {TOGETHER}x{self.lanes}, lanes are channels"


class DepthPlan(NamedTuple):
    """Kernel's key, run-time integers, number of parts, bytes of workspace for each."""

    spec: DepthSpec
    ints: dict[str, int]
    parts: int
    work: int
    table: int = 0


def depthwise(spec: DepthSpec, epilogue: Epilogue | None = None, name: str = "depthwise") -> Kernel:
    """The kernel of a spec. Buffers: x, w, y (without an epilogue), work; x is what is read: the image, or ("data") the
    gradient of the output. "weight": x, y, w, work. An epilogue is called as emit(acc, image, position, channel)."""
    b = Builder(name)
    if spec.kind == "weight":
        return _Weights(b, spec).kernel()
    return _Rows(b, spec, epilogue).kernel()


class _Rows:
    """The rows of the result."""

    def __init__(self, b: Builder, spec: DepthSpec, epilogue: Epilogue | None):
        self.b, self.spec = b, spec
        self.x, self.w = b.buf("x", spec.dtype), b.buf("w", spec.dtype)
        self.y = b.buf("y", spec.dtype, "w") if epilogue is None else None
        self.work = b.buf("work", spec.dtype, "rw")
        self.i = {k: b.integer(k) for k in INTS}
        self.emit: Callable[..., Any] | None = epilogue(b) if epilogue else None

    def kernel(self) -> Kernel:
        """All rows of this part."""
        b, i, window = self.b, self.i, self.spec.window
        at = b.let(b.tid * i["ws"], "at")
        for ky in range(window.high):
            for kx in range(window.wide):
                to, tap = b.let(at + (ky * window.wide + kx) * i["cp"]), b.let(ky * i["wh"] + kx * i["ww"])
                with b.vfor("c", 0, i["c"], 8) as c:
                    self.work[to + c] = self.w[tap + c * i["wc"]]
        lo, hi = b.partition(i["n"] * i["oh"])
        with b.for_("u", lo, hi) as u:
            image, row = b.let(u // i["oh"], "image"), b.let(u % i["oh"], "row")
            step = window.sw if self.spec.kind == "data" else 1
            for residue in range(step):
                self.columns(at, image, row, residue, step)
        return b.kernel()

    def taps(self, residue: int) -> list[tuple[int, int]]:
        """(tap, column of the source that it meets at the first position) for every tap of a row that takes part."""
        window, found = self.spec.window, []
        for k in range(window.wide):
            if self.spec.kind == "forward":
                found.append((k, k * window.jw - self.spec.left))
            elif (residue + self.spec.left - k * window.jw) % window.sw == 0:
                found.append((k, (residue + self.spec.left - k * window.jw) // window.sw))
        return found

    def columns(self, at: Value, image: Value, row: Value, residue: int, step: int) -> None:
        """A row, every step-th column: those whose taps all lie inside by tiles."""
        b, i, taps = self.b, self.i, self.taps(residue)
        by = self.spec.window.sw if self.spec.kind == "forward" else 1
        first, last = (min(d for _, d in taps), max(d for _, d in taps)) if taps else (0, 0)
        many = b.let((i["ow"] - residue + (step - 1)) // step, "many")
        lo = b.let(minimum(max(0, ceil_div(-first, by)), many), "lo")
        hi = b.let(maximum(lo, minimum((i["sw"] - 1 - last + by) // by, many)), "hi")
        whole = b.let(lo + (hi - lo) // TOGETHER * TOGETHER, "whole")

        def tile(t: Value, count: int, inside: bool) -> None:
            self.tile((at, image, row), t, count, taps, by, inside, lambda r: (t + r) * step + residue)

        with b.for_("t", 0, lo) as t:
            tile(t, 1, False)
        with b.for_("t", lo, whole, TOGETHER) as t:
            tile(t, TOGETHER, True)
        with b.for_("t", whole, hi) as t:
            tile(t, 1, True)
        with b.for_("t", hi, many) as t:
            tile(t, 1, False)

    def tile(
        self,
        at: tuple[Value, Value, Value],
        t: Value,
        count: int,
        taps: Sequence[tuple[int, int]],
        by: int,
        inside: bool,
        column: Callable[[int], Value],
    ) -> None:
        """`count` positions of a row, all channels."""
        b, i, spec = self.b, self.i, self.spec
        weights, image, row = at
        window, wide = spec.window, spec.window.wide
        base = b.let(image * i["xn"], "base")
        start = b.let(t * by)
        with b.vfor("c", 0, i["c"], spec.lanes) as c:
            acc = [b.reg("acc", 0, spec.dtype, spec.lanes) for _ in range(count)]
            with b.for_("ky", 0, window.high) as ky:
                if spec.kind == "forward":
                    y = b.let(row * window.sh + ky * window.jh - spec.above)
                    fits = (y >= 0) & (y < i["sh"])
                else:
                    far = b.let(row + spec.above - ky * window.jh)
                    y = b.let(far // window.sh)
                    fits = (far >= 0) & (y < i["sh"])
                    fits = fits if window.sh == 1 else fits & (far % window.sh).eq(0)
                with b.if_(fits):
                    line = b.let(base + y * i["xh"])
                    panel = b.let(weights + ky * (wide * i["cp"]))
                    self.row(line, panel, start, c, acc, taps, by, inside)
            for r, a in enumerate(acc):
                self.put(a.get(), image, row, b.let(column(r)), c)

    def row(
        self,
        line: Value,
        panel: Value,
        start: Value,
        c: Value,
        acc: Sequence[Register],
        taps: Sequence[tuple[int, int]],
        by: int,
        inside: bool,
    ) -> None:
        """Add the taps of a row."""
        b, i, seen = self.b, self.i, dict[int, Value]()

        def add(k: int, far: int, a: Register, value: Value) -> None:
            a.set(muladd(value, self.work[panel + k * i["cp"] + c], a.get()))

        for k, d in taps:
            if not inside:
                x = b.let(start + d)
                with b.if_((x >= 0) & (x < i["sw"])):
                    add(k, d, acc[0], self.x[line + x * i["xw"] + c])
                continue
            for r, a in enumerate(acc):
                far = r * by + d
                if far not in seen:
                    seen[far] = b.let(self.x[line + (start + far) * i["xw"] + c])
                add(k, far, a, seen[far])

    def put(self, acc: Value, image: Value, row: Value, column: Value, c: Value) -> None:
        """Hand a sum on."""
        i = self.i
        if self.y is not None:
            self.y[image * i["yn"] + row * i["yh"] + column * i["yw"] + c] = acc
        elif self.emit is not None:
            self.emit(acc, image, row * i["ow"] + column, c)


class _Weights:
    """The gradient of the weights: a part has some of the channels."""

    def __init__(self, b: Builder, spec: DepthSpec):
        self.b, self.spec = b, spec
        self.x, self.y = b.buf("x", spec.dtype), b.buf("y", spec.dtype)
        self.w, self.work = b.buf("w", spec.dtype, "w"), b.buf("work", spec.dtype, "rw")
        self.i = {k: b.integer(k) for k in INTS}

    def kernel(self) -> Kernel:
        """All taps of this part's channels."""
        b, i, spec, work = self.b, self.i, self.spec, self.work
        window = spec.window
        count = window.high * window.wide
        lo, hi = b.partition((i["c"] + (spec.lanes - 1)) // spec.lanes)
        c0, c1 = b.let(lo * spec.lanes, "c0"), b.let(minimum(hi * spec.lanes, i["c"]), "c1")
        every = b.let(b.tid * i["ws"], "every")
        one = b.let(every + count * i["cp"], "one")  # those of an image
        with b.vfor("z", 0, i["cp"] * count, 16) as z:
            work[every + z] = 0
        with b.for_("image", 0, i["n"]) as image:
            with b.vfor("z", 0, i["cp"] * count, 16) as z:
                work[one + z] = 0
            with b.for_("row", 0, i["oh"]) as row, b.for_("ky", 0, window.high) as ky:
                y = b.let(row * window.sh + ky * window.jh - spec.above)
                with b.if_((y >= 0) & (y < i["sh"])):
                    line, given = b.let(image * i["xn"] + y * i["xh"]), b.let(image * i["yn"] + row * i["yh"])
                    self.row(line, given, b.let(one + ky * (window.wide * i["cp"])), c0, c1)
            with b.for_("k", 0, count) as k, b.vfor("c", c0, c1, spec.lanes) as c:
                at = b.let(k * i["cp"])
                work[every + at + c] = work[every + at + c] + work[one + at + c]
        with b.for_("ky", 0, window.high) as ky, b.for_("kx", 0, window.wide) as kx:
            from_, to = b.let(every + (ky * window.wide + kx) * i["cp"]), b.let(ky * i["wh"] + kx * i["ww"])
            with b.vfor("c", c0, c1, 8) as c:
                self.w[to + c * i["wc"]] = work[from_ + c]
        return b.kernel()

    def row(self, line: Value, given: Value, to: Value, c0: Value, c1: Value) -> None:
        """Add what a row of the output's gradient gives a row of taps, a few taps at a time."""
        spec = self.spec
        for first in range(0, spec.window.wide, WRITTEN_OUT):
            self.some(line, given, to, c0, c1, range(first, min(first + WRITTEN_OUT, spec.window.wide)))

    def some(self, line: Value, given: Value, to: Value, c0: Value, c1: Value, taps: range) -> None:
        """The sums of a few taps of a row."""
        b, i, spec, work = self.b, self.i, self.spec, self.work
        by, apart, left = spec.window.sw, spec.window.jw, spec.left
        first, last = taps[0] * apart - left, taps[-1] * apart - left
        lo = b.let(minimum(max(0, ceil_div(-first, by)), i["ow"]))
        hi = b.let(maximum(lo, minimum((i["sw"] - 1 - last + by) // by, i["ow"])))
        with b.vfor("c", c0, c1, spec.lanes) as c:
            acc = [b.reg("acc", 0, spec.dtype, spec.lanes) for _ in taps]

            def column(t: Value, inside: bool) -> None:
                g = b.let(self.y[given + t * i["yw"] + c])
                for k, a in zip(taps, acc, strict=True):
                    x = b.let(t * by + (k * apart - left))
                    if inside:
                        a.set(muladd(self.x[line + x * i["xw"] + c], g, a.get()))
                        continue
                    with b.if_((x >= 0) & (x < i["sw"])):
                        a.set(muladd(self.x[line + x * i["xw"] + c], g, a.get()))

            for start, end, inside in ((const("i64", 0), lo, False), (lo, hi, True), (hi, i["ow"], False)):
                with b.for_("t", start, end) as t:
                    column(t, inside)
            for k, a in zip(taps, acc, strict=True):
                place = to + k * i["cp"] + c
                work[place] = work[place] + a.get()


def plan(
    kind: str,
    g: Geometry,
    x: Sequence[int],
    w: Sequence[int],
    y: Sequence[int],
    dtype: str,
    target: Vectors,
    threads: int = 1,
) -> DepthPlan:
    """The plan of a depthwise convolution: strides (n, c, h, w) of image and output (or gradients), of the weights
    (channel, -, h, w); those of channels are 1 but for the weights."""
    vector = target.vector_bits // 8 // SIZE[dtype]
    lanes = vector if target.vector_bits == 512 else 2 * vector
    window = Window(*(v[a] for v in (g.taps, g.stride, g.dilation) for a in (1, 2)))
    spec = DepthSpec(kind, dtype, lanes, window, *g.padding[1:])
    source, out, size, extent = (y, x, g.out, g.size) if kind == "data" else (x, y, g.size, g.out)
    channels = round_up(g.cin, 16)
    ints = {"n": g.images, "c": g.cin, "cp": channels, "wc": w[0], "wh": w[2], "ww": w[3]}
    ints |= {"sh": size[1], "sw": size[2], "oh": extent[1], "ow": extent[2]}
    for name, strides in (("x", source), ("y", out)):
        ints |= {name + "n": strides[0], name + "h": strides[2], name + "w": strides[3]}
    taps = window.high * window.wide
    ints["ws"] = taps * channels * (2 if kind == "weight" else 1) + 16
    units = ceil_div(g.cin, lanes) if kind == "weight" else g.images * extent[1]
    work = g.images * g.cin * g.out[1] * g.out[2] * taps
    parts = max(1, min(threads, units, work >> 16))
    return DepthPlan(spec, ints, parts, ints["ws"] * SIZE[dtype])


def args(kernel: Kernel, p: DepthPlan) -> list[tuple[str, int | None]]:
    """(name, value) of every parameter of a kernel of this plan; None for buffers."""
    return [(param.name, p.ints.get(param.name)) for param in kernel.params]
