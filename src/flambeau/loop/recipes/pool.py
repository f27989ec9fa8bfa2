"""Pooling over windows of up to three dimensions: maximum (with indices), average, their adaptive forms, backwards.

Lanes run over the columns of one row of the output; the rows and depths of a window are loops whose bounds are cut to
the source, its columns are unrolled and masked only where windows reach over the edge. The last vector of a row of
maxima ends with the row and may compute some of them again: no lane is masked. Planes (image, channel) are shared among
the parts. The maximum keeps the first of equal elements and the last NaN, as PyTorch does; indices count
the source plane row-major."""

from __future__ import annotations

import math
from typing import NamedTuple

from ..build import Buffer, Builder, Register, Value, const, maximum, minimum, select
from ..ir import FLOATS, SIZE, Kernel
from .contraction import accumulator, ceil_div

AXES = "dhw"
UNROLLED = 8  # columns of a window whose code stands one after the other
INTS = ("n", "c", "sd", "sh", "sw", "od", "oh", "ow", "pd", "ph", "pw", "xn", "xc", "xd", "xh", "xw", "div")
MAXIMA = ("max", "most")
LOWEST = {f"i{bits}": -(2 ** (bits - 1)) for bits in (8, 16, 32, 64)}
LOWEST |= {f"u{bits}": 0 for bits in (8, 16, 32, 64)}


PIECES = 4  # of the channels of an image, among the parts that put gradients where an index says
FEW = 32  # windows that hold an element up to which each is asked whether its gradient goes there


class PoolSpec(NamedTuple):
    """What identifies a pooling kernel: the key for caching.

    kind: "max", "most" (without indices), "max_back", "avg" or "avg_back"; "mean", "mean_back" for averages of whole
    dense planes. taps, stride, dilation: by axis (depth, height, width). inside: no window reaches over the edge of a
    row. within: nor over the first and last rows and planes. small: the elements of a plane are numbered in 32 bits. x:
    columns of the source are contiguous. adaptive: windows are [o*s//n, ceil((o+1)*s/n)) of s elements for n outputs,
    and taps are ignored. divide: what an average is divided by: "taps" in the source and its padding, "inside" the
    source, or "given". last: channels are innermost in memory (pool_channels.py); whole: then, a window is all of a
    plane. collect: a gradient is made of what the windows that hold each element give to it."""

    kind: str
    dtype: str
    taps: tuple[int, int, int] = (1, 1, 1)
    stride: tuple[int, int, int] = (1, 1, 1)
    dilation: tuple[int, int, int] = (1, 1, 1)
    inside: bool = False
    within: bool = False
    small: bool = True
    x: bool = True
    adaptive: bool = False
    divide: str = "taps"
    lanes: int = 16
    last: bool = False
    whole: bool = False
    collect: bool = False


def pool(spec: PoolSpec, name: str = "pool") -> Kernel:
    """The kernel of a spec. Buffers: x, y, index (max); index, y, x (max_back); x, y (most, avg); y, x (avg_back); x is
    the source or its gradient, y the output or its gradient. All but a source read forward are dense."""
    b = Builder(name)
    return _KINDS[spec.kind](b, spec)


class Geometry:
    """The integers, and the window of each output."""

    def __init__(self, b: Builder, spec: PoolSpec):
        self.b, self.spec = b, spec
        fixed = {"xw": 1} if spec.x else {}
        self.i = {k: const("i64", fixed[k]) if k in fixed else b.integer(k) for k in INTS}
        i = self.i
        self.area = b.let(i["sd"] * i["sh"] * i["sw"], "area")
        self.outputs = b.let(i["od"] * i["oh"] * i["ow"], "outputs")
        self.planes = b.let(i["n"] * i["c"], "planes")

    def start(self, axis: int, o: Value) -> Value:
        """The first position of the window of output o; below zero in the padding."""
        a = AXES[axis]
        if self.spec.adaptive:
            return o * self.i["s" + a] // self.i["o" + a]
        return o * self.spec.stride[axis] - self.i["p" + a]

    def end(self, axis: int, o: Value) -> Value:
        """Past the last position of an adaptive window."""
        s, n = self.i["s" + AXES[axis]], self.i["o" + AXES[axis]]
        return ((o + 1) * s + n - 1) // n

    def taps(self, axis: int, o: Value, start: Value) -> tuple[Value, Value]:
        """The taps of a depth or row that lie in the source: t0, t1."""
        if self.spec.adaptive:
            return const("i64", 0), self.b.let(self.end(axis, o) - start)
        if self.spec.within:
            return const("i64", 0), const("i64", self.spec.taps[axis])
        d, k, s = self.spec.dilation[axis], self.spec.taps[axis], self.i["s" + AXES[axis]]
        t0 = self.b.let((maximum(-start, 0) + (d - 1)) // d)
        return t0, self.b.let(minimum((s - start + (d - 1)) // d, k))

    def edges(self, start: Value, inside: bool) -> list[Value] | None:
        """Whether each column of a window lies in the source; None: asked for where it is read, or known."""
        spec, b = self.spec, self.b
        if spec.adaptive or inside or spec.taps[2] > UNROLLED:
            return None
        places = [start + known * spec.dilation[2] for known in range(spec.taps[2])]
        return [b.let((at >= 0) & (at < self.i["sw"]), "edge") for at in places]

    def columns(self, start: Value, x: Value, inside: bool, edges: list[Value] | None, body) -> None:
        """body(position, mask or None, how far from the first one) for the columns of the window of output column x,
        inside a `vfor` or loop; inside: all are in the source; edges: see above."""
        b, i, spec = self.b, self.i, self.spec
        if spec.adaptive:
            end = b.let(self.end(2, x))
            with b.for_("t", 0, (i["sw"] + i["ow"] - 1) // i["ow"] + 1) as t:
                at = b.let(start + t)
                body(at, b.let(at < end), t)
            return

        def one(t: Value, edge: Value | None) -> None:
            far = t * spec.dilation[2]
            at = b.let(start + far)
            known = inside or edge is not None
            body(at, edge if known else b.let((at >= 0) & (at < i["sw"])), far)

        if spec.taps[2] <= UNROLLED:
            for known in range(spec.taps[2]):
                one(const("i64", known), edges[known] if edges else None)
        else:
            with b.for_("t", 0, spec.taps[2]) as t:
                one(t, None)

    def divisor(self, starts: tuple[Value, Value, Value], o: tuple[Value, Value, Value]) -> Value:
        """Elements by which the sum of a window is divided (per lane)."""
        if self.spec.divide == "given":
            return self.i["div"]
        product: Value = const("i64", 1)
        for axis, (start, place) in enumerate(zip(starts, o, strict=True)):
            a = AXES[axis]
            if self.spec.adaptive:
                product = product * (self.end(axis, place) - start)
                continue
            whole = minimum(start + self.spec.taps[axis], self.i["s" + a] + self.i["p" + a])
            if self.spec.divide == "taps":
                product = product * (whole - start)
            else:
                product = product * (minimum(whole, self.i["s" + a]) - maximum(start, 0))
        return product


def _rows(b: Builder, g: Geometry, body) -> None:
    """body(plane, base of the plane in x, (z, y), place of the row in y) for every row of the output of this part."""
    i = g.i
    lo, hi = b.partition(g.planes)
    with b.for_("u", lo, hi) as u:
        base = b.let(u // i["c"] * i["xn"] + u % i["c"] * i["xc"], "base")
        with b.for_("z", 0, i["od"]) as z, b.for_("y", 0, i["oh"]) as y:
            body(u, base, (z, y), b.let(u * g.outputs + (z * i["oh"] + y) * i["ow"], "row"))


def _columns(b: Builder, g: Geometry, body) -> None:
    """body(column, whether the columns of its window are known to lie in the source) for a row of the output. Vectors
    whose windows are all inside read without masks, which between lanes apart cost more than what they are for."""
    spec, lanes, wide = g.spec, g.spec.lanes, g.i["ow"]
    if lanes == 1:
        with b.for_("x", 0, wide) as ox:
            body(ox, spec.inside)
        return
    with b.for_("v", 0, wide, lanes) as v:
        first = b.let(minimum(v, wide - lanes))

        def vector(inside: bool) -> None:
            with b.vfor("x", first, first + lanes, lanes, full=True) as ox:
                body(ox, inside)

        reach = (spec.taps[2] - 1) * spec.dilation[2]
        if spec.inside or spec.adaptive:
            vector(spec.inside)
        else:
            with b.if_((g.start(2, first) >= 0) & (g.start(2, first + (lanes - 1)) + reach < g.i["sw"])):
                vector(True)
            with b.else_():
                vector(False)


def _window(b: Builder, g: Geometry, base: Value, z: Value, y: Value, body) -> tuple[Value, Value]:
    """body(place of a source row in x, number of its first element after that of the window's first row) for the rows
    of a window."""
    i, d = g.i, g.spec.dilation
    z0, y0 = b.let(g.start(0, z)), b.let(g.start(1, y))
    first = b.let(base + z0 * i["xd"] + y0 * i["xh"])
    za, zb = g.taps(0, z, z0)
    ya, yb = g.taps(1, y, y0)
    few = g.spec.within and g.spec.taps[0] * g.spec.taps[1] <= 9
    with b.for_("kz", za, zb, unroll=few) as kz, b.for_("ky", ya, yb, unroll=few) as ky:
        row, plane = ky * d[1], kz * d[0]
        body(b.let(first + plane * i["xd"] + row * i["xh"]), b.let((plane * i["sh"] + row) * i["sw"]))
    return z0, y0


def _max(b: Builder, spec: PoolSpec) -> Kernel:
    x, y = b.buf("x", spec.dtype), b.buf("y", spec.dtype, "w")
    index = b.buf("index", "i64", "w") if spec.kind == "max" else None
    g = Geometry(b, spec)
    lowest, lanes, count = LOWEST.get(spec.dtype, float("-inf")), spec.lanes, "i32" if spec.small else "i64"

    def columns(base: Value, zy: tuple[Value, Value], out: Value, ox: Value, inside: bool) -> None:
        start = b.let(g.start(2, ox))
        edges = g.edges(start, inside)
        best = b.reg("best", const(compared(spec.dtype), lowest), lanes=lanes if lanes > 1 else 0)
        at = b.reg("at", const(count, 0), lanes=lanes if lanes > 1 else 0)  # how far it is from the first one
        odd = b.reg("odd", const("b1", False), lanes=lanes if lanes > 1 else 0)
        corner = ((g.start(0, zy[0]) * g.i["sh"] + g.start(1, zy[1])) * g.i["sw"]).cast(count)
        if not spec.within and index:
            at.set(first_of(b, g, zy, start).cast(count) - corner - start.cast(count))

        def line(source: Value, number: Value) -> None:
            def one(p: Value, mask: Value | None, far: Value) -> None:
                value = b.let(x.load(source + p * g.i["xw"], mask).cast(compared(spec.dtype)))
                compare(b, spec, value, (number + far).cast(count), mask, best, at if index else None, odd)

            g.columns(start, ox, inside, edges, one)

        _window(b, g, base, *zy, line)
        y[out + ox] = largest(spec, best, odd).cast(spec.dtype)
        if index:
            index[out + ox] = (at.get() + (corner + start.cast(count))).cast("i64")

    def row(u: Value, base: Value, zy: tuple[Value, Value], out: Value) -> None:
        _columns(b, g, lambda ox, inside: columns(base, zy, out, ox, inside))

    _rows(b, g, row)
    return b.kernel()


def compared(dtype: str) -> str:
    """The type in which elements are compared: that of halves would be cast for each comparison."""
    return "f32" if dtype in ("bf16", "f16") else dtype


def first_of(b: Builder, g: Geometry, zy: tuple[Value, Value], start: Value) -> Value:
    """The number of the first element of a window: the index of a maximum that nothing exceeds."""
    starts = [g.start(0, zy[0]), g.start(1, zy[1]), start]
    if not g.spec.adaptive:
        starts = [
            s + (maximum(-s, 0) + (d - 1)) // d * d if d > 1 else maximum(s, 0)
            for s, d in zip(starts, g.spec.dilation, strict=True)
        ]
    return (starts[0] * g.i["sh"] + starts[1]) * g.i["sw"] + starts[2]


def compare(
    b: Builder,
    spec: PoolSpec,
    value: Value,
    far: Value,
    mask: Value | None,
    best: Register,
    at: Register | None,
    odd: Register,
) -> None:
    """Take an element for the best one so far if it is larger, or NaN. Where nobody asks which it was, that there is a
    NaN is noted apart (odd): the maximum is one instruction then."""
    better = value > best.get()
    if spec.dtype in FLOATS and at:
        better = better | value.ne(value)
    elif spec.dtype in FLOATS:
        odd.set(odd.get() | value.ne(value))
    better = b.let(better if mask is None else better & mask)
    best.set(select(better, value, best.get()))
    if at:
        at.set(select(better, far, at.get()))


def largest(spec: PoolSpec, best: Register, odd: Register) -> Value:
    """What came of comparing all elements."""
    if spec.dtype not in FLOATS:
        return best.get()
    return select(odd.get(), const(compared(spec.dtype), float("nan")), best.get())


def _adaptive_average(b: Builder, spec: PoolSpec) -> Kernel:
    """Windows of several widths lie in lines, but not side by side: one after the other, their bounds counted up."""
    x, y = b.buf("x", spec.dtype), b.buf("y", spec.dtype, "w")
    g = Geometry(b, spec)
    type, wide, n = accumulator(spec.dtype), g.i["sw"], g.i["ow"]
    step, more = b.let(wide // n, "step"), b.let(wide % n, "more")

    def row(u: Value, base: Value, zy: tuple[Value, Value], out: Value) -> None:
        at, rest = b.reg("at", const("i64", 0)), b.reg("rest", const("i64", 0))
        starts = [b.let(g.start(axis, o)) for axis, o in enumerate(zy)]
        lines = b.let((g.end(0, zy[0]) - starts[0]) * (g.end(1, zy[1]) - starts[1]), "lines")
        with b.for_("x", 0, n) as ox:
            start, left = b.let(at.get(), "start"), b.let(rest.get() + more)
            over = b.let(left >= n)
            rest.set(select(over, left - n, left))
            at.set(start + step + over.cast("i64"))
            end = b.let(at.get() + rest.get().ne(0).cast("i64"), "end")
            total = b.reg("total", 0, type)

            def line(source: Value, number: Value) -> None:
                with b.for_("p", start, end) as p:
                    total.set(total.get() + x[source + p * g.i["xw"]].cast(type))

            _window(b, g, base, *zy, line)
            count = g.i["div"] if spec.divide == "given" else lines * (end - start)
            y[out + ox] = quotient(total.get(), count, type).cast(spec.dtype)

    _rows(b, g, row)
    return b.kernel()


def _average(b: Builder, spec: PoolSpec) -> Kernel:
    if spec.adaptive:
        return _adaptive_average(b, spec)
    x, y = b.buf("x", spec.dtype), b.buf("y", spec.dtype, "w")
    g = Geometry(b, spec)
    type = accumulator(spec.dtype)

    def row(u: Value, base: Value, zy: tuple[Value, Value], out: Value) -> None:
        def column(ox: Value, inside: bool) -> None:
            start = b.let(g.start(2, ox))
            edges = g.edges(start, inside)
            total = b.reg("total", 0, type, lanes=spec.lanes if spec.lanes > 1 else 0)

            def tap(source: Value, p: Value, mask: Value | None) -> None:
                total.set(total.get() + x.load(source + p * g.i["xw"], mask).cast(type))

            def line(source: Value, number: Value) -> None:
                g.columns(start, ox, inside, edges, lambda p, mask, _: tap(source, p, mask))

            z0, y0 = _window(b, g, base, *zy, line)
            count = g.divisor((z0, y0, start), (*zy, ox))
            y[out + ox] = quotient(total.get(), count, type).cast(spec.dtype)

        _columns(b, g, column)

    _rows(b, g, row)
    return b.kernel()


def quotient(value: Value, count: Value, type: str) -> Value:
    """A mean from a sum."""
    return value / count.cast(type) if type in FLOATS else value // count.cast(type)


def _clear(b: Builder, x: Buffer, base: Value, area: Value) -> None:
    with b.vfor("i", 0, area, 16) as i:
        x[base + i] = 0


def _max_back(b: Builder, spec: PoolSpec) -> Kernel:
    index, y, x = b.buf("index", "i64"), b.buf("y", spec.dtype), b.buf("x", spec.dtype, "rw")
    g = Geometry(b, spec)
    lo, hi = b.partition(g.planes)
    with b.for_("u", lo, hi) as u:
        base, from_ = b.let(u * g.area), b.let(u * g.outputs)
        _clear(b, x, base, g.area)
        with b.for_("o", 0, g.outputs) as o:
            place = b.let(base + index[from_ + o])
            x[place] = x[place] + y[from_ + o]
    return b.kernel()


def _average_back(b: Builder, spec: PoolSpec) -> Kernel:
    y, x = b.buf("y", spec.dtype), b.buf("x", spec.dtype, "rw")
    g = Geometry(b, spec)
    dense = {"xw": const("i64", 1), "xh": g.i["sw"]}
    g.i |= dense | {"xd": b.let(g.i["sh"] * g.i["sw"]), "xc": g.area, "xn": b.let(g.area * g.i["c"])}
    lo, hi = b.partition(g.planes)
    with b.for_("u", lo, hi) as u:
        base = b.let(u * g.area)
        _clear(b, x, base, g.area)
        with b.for_("z", 0, g.i["od"]) as z, b.for_("y", 0, g.i["oh"]) as oy:
            row = b.let(u * g.outputs + (z * g.i["oh"] + oy) * g.i["ow"], "row")
            _spread(b, g, base, (z, oy), row, x, y)
    return b.kernel()


def _spread(
    b: Builder, g: Geometry, base: Value, zy: tuple[Value, Value], row: Value, x: Buffer, y: Buffer
) -> None:
    """Add the shares of one row of the output's gradient: one tap of all its columns at a time, so that no two lanes
    write to one element; adaptive windows, which may share their first column, one after the other."""
    spec = g.spec
    zyx = tuple(b.let(g.start(axis, o)) for axis, o in enumerate(zy))

    def share(ox: Value, start: Value) -> Value:
        count = g.divisor((*zyx, start), (*zy, ox))  # type: ignore[arg-type]
        return quotient(y[row + ox], count, spec.dtype)

    def line(source: Value, number: Value) -> None:
        if spec.adaptive:
            with b.for_("x", 0, g.i["ow"]) as ox:
                start = b.let(g.start(2, ox))
                part = b.let(share(ox, start))
                with b.for_("p", start, g.end(2, ox)) as p:
                    x[source + p] = x[source + p] + part
            return
        with b.for_("t", 0, spec.taps[2]) as t, b.vfor("x", 0, g.i["ow"], spec.lanes) as ox:
            start = b.let(g.start(2, ox))
            p = b.let(start + t)
            mask = None if spec.inside else b.let((p >= 0) & (p < g.i["sw"]))
            b.store(x, source + p, x.load(source + p, mask) + share(ox, start), mask)

    _window(b, g, base, *zy, line)


def _mean(b: Builder, spec: PoolSpec) -> Kernel:
    x, y = b.buf("x", spec.dtype), b.buf("y", spec.dtype, "w")
    g = Geometry(b, spec)
    type = accumulator(spec.dtype)
    lo, hi = b.partition(g.planes)
    with b.for_("u", lo, hi) as u:
        base = b.let(u // g.i["c"] * g.i["xn"] + u % g.i["c"] * g.i["xc"], "base")
        total = b.reg("total", 0, type, lanes=16)
        with b.vfor("p", 0, g.area, 16) as p:
            total.set(total.get() + x[base + p].cast(type))
        y[u] = quotient(total.reduce("add"), g.i["div"], type).cast(spec.dtype)
    return b.kernel()


def _mean_back(b: Builder, spec: PoolSpec) -> Kernel:
    y, x = b.buf("y", spec.dtype), b.buf("x", spec.dtype, "w")
    g = Geometry(b, spec)
    lo, hi = b.partition(g.planes)
    with b.for_("u", lo, hi) as u:
        base, share = b.let(u * g.area), b.let(quotient(y[u], g.i["div"], spec.dtype))
        with b.vfor("p", 0, g.area, 16) as p:
            x[base + p] = share
    return b.kernel()


_KINDS = {"max": _max, "most": _max, "avg": _average, "mean": _mean}
_KINDS |= {"max_back": _max_back, "avg_back": _average_back, "mean_back": _mean_back}


class PoolPlan(NamedTuple):
    """A kernel's key, its run-time integers and the number of parts."""

    spec: PoolSpec
    ints: dict[str, int]
    parts: int


def plan(
    kind: str,
    x: tuple[int, ...],
    strides: tuple[int, ...],
    out: tuple[int, ...],
    dtype: str,
    taps: tuple[int, ...] = (),
    stride: tuple[int, ...] = (),
    padding: tuple[int, ...] = (),
    dilation: tuple[int, ...] = (),
    count: str = "taps",
    divisor: int = 1,
    threads: int = 1,
    last: bool = False,
) -> PoolPlan:
    """The plan of a pooling of a source of shape x (images, channels, ...) with those strides to `out` (...).

    Without taps: adaptive (a plain window where the extents divide). kind and count (`divide`): see PoolSpec."""
    dims = len(out)
    adaptive = not taps
    if adaptive and all(s % o == 0 for s, o in zip(x[2:], out, strict=True)):
        taps = stride = tuple(s // o for s, o in zip(x[2:], out, strict=True))
        adaptive = False

    def three(values: tuple[int, ...], missing: int) -> tuple[int, int, int]:
        return (*([missing] * (3 - dims)), *(values or [missing] * dims))  # type: ignore[return-value]

    k, s, p, d = three(taps, 1), three(stride or taps, 1), three(padding, 0), three(dilation, 1)
    size, o = three(x[2:], 1), three(out, 1)
    inside = not adaptive and p[2] == 0 and (o[2] - 1) * s[2] + (k[2] - 1) * d[2] < size[2]
    holders = math.prod(m // n + 2 for m, n in zip(o, size)) if adaptive else math.prod(map(ceil_div, k, s))
    asked = (adaptive or k != (1, 1, 1)) and holders <= FEW  # windows of 1: anywhere
    collect = last and (kind == "avg_back" or (kind == "max_back" and asked))
    if kind == "max_back" and not collect:
        k, s, d, inside, adaptive = (1, 1, 1), (1, 1, 1), (1, 1, 1), True, False
    area = size[0] * size[1] * size[2]
    plane = k == size and not adaptive
    whole = last and plane
    if not last and kind[:3] == "avg" and plane and not any(p) and _whole(size, three(strides[2:], 0), kind):
        kind, k, s = kind.replace("avg", "mean"), (1, 1, 1), (1, 1, 1)
        divisor = divisor if count == "given" else area
    lanes = 16 if SIZE[dtype] <= 4 else 8
    if (collect or (last and kind == "avg")) and x[1] % (4 * lanes) == 0:
        lanes *= 4
    within = inside and all(
        p[a] == 0 and (o[a] - 1) * s[a] + (k[a] - 1) * d[a] < size[a] and kind in (*MAXIMA, "max_back")
        for a in (0, 1)
    )
    if not last and (kind in MAXIMA or (kind == "avg" and not adaptive)):
        while lanes > max(o[2], 1):
            lanes //= 2
        lanes = lanes if lanes >= 4 else 1
    if count == "taps" and kind[:3] == "avg" and not adaptive and _within_padding(size, o, k, s, p):
        count, divisor = "given", k[0] * k[1] * k[2]
    spec = PoolSpec(kind, dtype, k, s, d, inside, within, area < 1 << 31, strides[-1] == 1, adaptive, count)
    spec = spec._replace(lanes=lanes, last=last, whole=whole, collect=collect)
    ints = {"n": x[0], "c": x[1], "div": divisor, "xn": strides[0], "xc": strides[1]}
    for name, values in (("s", size), ("o", o), ("p", p), ("x", three(strides[2:], 0))):
        ints |= {name + axis: v for axis, v in zip(AXES, values, strict=True)}
    work = x[0] * x[1] * (o[0] * o[1] * o[2] * k[0] * k[1] * k[2] + size[0] * size[1] * size[2])
    rows = size[0] * size[1] if collect else PIECES if kind == "max_back" else o[0] * o[1]
    units = x[0] * (rows if last else x[1])
    return PoolPlan(spec, ints, max(1, min(threads, units, work >> (12 if kind in MAXIMA else 14))))


Three = tuple[int, int, int]


def _within_padding(size: Three, out: Three, taps: Three, stride: Three, padding: Three) -> bool:
    """Whether all windows lie in the source and its padding: each has all of its elements."""
    each = zip(size, out, taps, stride, padding, strict=True)
    return all((o - 1) * s + k <= n + 2 * p for n, o, k, s, p in each)


def _whole(size: tuple[int, int, int], strides: tuple[int, int, int], kind: str) -> bool:
    """Whether planes are dense (gradients are)."""
    dense = (size[1] * size[2], size[2], 1)
    return kind == "avg_back" or all(n == 1 or a == d for n, a, d in zip(size, strides, dense, strict=True))


def args(kernel: Kernel, p: PoolPlan) -> list[tuple[str, int | None]]:
    """(name, value) of every parameter of a kernel of this plan; None for buffers."""
    return [(param.name, p.ints.get(param.name)) for param in kernel.params]
