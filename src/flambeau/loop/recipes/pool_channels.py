"""Pooling of images whose channels are innermost in memory: lanes are channels, and a window is cut to the source by
the bounds of its loops. Sums are in the order of `pool`, but for that of a whole plane, whose lines are
summed first."""

from __future__ import annotations

from collections.abc import Callable

from ..build import Buffer, Builder, Value, const, minimum, select
from ..ir import Kernel
from .contraction import accumulator
from .pool import LOWEST, Geometry, PoolSpec, compare, compared, first_of, quotient

PIECES = 4  # of the channels of an image, among the parts that make a gradient
At = tuple[Value, Value, Value]


def pool_channels(spec: PoolSpec, name: str = "pool") -> Kernel:
    """As `pool.pool`."""
    return _KINDS[spec.kind](Builder(name), spec)


def _positions(b: Builder, g: Geometry, body: Callable[[Value, At, Value], None]) -> None:
    """body(image, position, its number) for every position of the output of this part."""
    i = g.i
    lo, hi = b.partition(i["n"] * i["od"] * i["oh"])
    with b.for_("u", lo, hi) as u, b.for_("ox", 0, i["ow"]) as ox:
        rows = b.let(i["od"] * i["oh"])
        image, row = b.let(u // rows), b.let(u % rows)
        body(image, (b.let(row // i["oh"]), b.let(row % i["oh"]), ox), b.let(u * i["ow"] + ox, "at"))


def _window(
    b: Builder,
    g: Geometry,
    image: Value,
    at: At,
    body: Callable[[Value, Value], None],
    line: Callable[[], None] | None = None,
) -> None:
    """body(place in x, number in the source plane) for the elements of a window; line: after each of its lines."""
    i, d = g.i, g.spec.dilation
    z0, y0, x0 = (b.let(g.start(axis, o)) for axis, o in enumerate(at))
    (za, zb), (ya, yb), (xa, xb) = (g.taps(axis, o, s) for axis, (o, s) in enumerate(zip(at, (z0, y0, x0))))
    few = g.spec.within and g.spec.taps[0] * g.spec.taps[1] * g.spec.taps[2] <= 9
    with b.for_("kz", za, zb, unroll=few) as kz, b.for_("ky", ya, yb, unroll=few) as ky:
        z, y = b.let(z0 + kz * d[0]), b.let(y0 + ky * d[1])
        start = b.let(image * i["xn"] + z * i["xd"] + y * i["xh"])
        with b.for_("kx", xa, xb, unroll=few) as kx:
            x = b.let(x0 + kx * d[2])
            body(b.let(start + x * i["xw"]), b.let((z * i["sh"] + y) * i["sw"] + x))
        if line is not None:
            line()


def _max(b: Builder, spec: PoolSpec) -> Kernel:
    x, y = b.buf("x", spec.dtype), b.buf("y", spec.dtype, "w")
    index = b.buf("index", "i64", "w") if spec.kind == "max" else None
    g = Geometry(b, spec)
    lowest, count = LOWEST.get(spec.dtype, float("-inf")), "i32" if spec.small else "i64"

    def one(image: Value, at: At, number: Value) -> None:
        begin = b.let(number * g.i["c"])
        start = b.let(first_of(b, g, at[:2], g.start(2, at[2])).cast(count))
        with b.vfor("c", 0, g.i["c"], spec.lanes) as c:
            best = b.reg("best", const(compared(spec.dtype), lowest), lanes=spec.lanes)
            place = b.reg("place", start, lanes=spec.lanes)

            def element(source: Value, far: Value) -> None:
                value = b.let(x[source + c].cast(compared(spec.dtype)))
                compare(b, spec, value, far.cast(count), None, best, place if index else None)

            _window(b, g, image, at, element)
            y[begin + c] = best.get().cast(spec.dtype)
            if index:
                index[begin + c] = place.get().cast("i64")

    _positions(b, g, one)
    return b.kernel()


def _average(b: Builder, spec: PoolSpec) -> Kernel:
    x, y = b.buf("x", spec.dtype), b.buf("y", spec.dtype, "w")
    g = Geometry(b, spec)
    type = accumulator(spec.dtype)

    def one(image: Value, at: At, number: Value) -> None:
        begin = b.let(number * g.i["c"])
        starts = tuple(b.let(g.start(axis, o)) for axis, o in enumerate(at))
        count = b.let(g.divisor(starts, at).cast(type))  # type: ignore[arg-type]
        with b.vfor("c", 0, g.i["c"], spec.lanes) as c:
            total, some = (b.reg("total", 0, type, lanes=spec.lanes) for _ in range(2))
            sums = some if spec.whole else total

            def element(source: Value, _: Value) -> None:
                sums.set(sums.get() + x[source + c].cast(type))

            def line() -> None:
                total.set(total.get() + some.get())
                some.set(const(type, 0))

            _window(b, g, image, at, element, line if spec.whole else None)
            y[begin + c] = quotient(total.get(), count, type).cast(spec.dtype)

    _positions(b, g, one)
    return b.kernel()


def _pieces(b: Builder, g: Geometry, x: Buffer, body: Callable[[Value, Value, Value], None]) -> None:
    """body(image, channels c0..c1-1) for every piece of this part, whose gradient is cleared before."""
    channels = g.i["c"]
    size = b.let((channels + (16 * PIECES - 1)) // (16 * PIECES) * 16, "size")
    lo, hi = b.partition(g.i["n"] * PIECES)
    with b.for_("u", lo, hi) as u:
        image = b.let(u // PIECES, "image")
        c0 = b.let(minimum(u % PIECES * size, channels), "c0")
        c1 = b.let(minimum(c0 + size, channels), "c1")
        with b.for_("p", 0, g.area) as p:
            at = b.let((image * g.area + p) * channels)
            with b.vfor("c", c0, c1, 16) as c:
                x[at + c] = 0
        body(image, c0, c1)


def _max_back(b: Builder, spec: PoolSpec) -> Kernel:
    index, y, x = b.buf("index", "i64"), b.buf("y", spec.dtype), b.buf("x", spec.dtype, "rw")
    g = Geometry(b, spec)
    channels = g.i["c"]
    if spec.taps != (1, 1, 1):
        return _max_back_by_taps(b, g, index, y, x)

    def piece(image: Value, c0: Value, c1: Value) -> None:
        base = b.let(image * g.area * channels)
        with b.for_("o", 0, g.outputs) as o:
            from_ = b.let((image * g.outputs + o) * channels)
            with b.vfor("c", c0, c1, 8) as c:
                place = b.let(base + index[from_ + c] * channels + c)
                x[place] = x[place] + y[from_ + c]

    _pieces(b, g, x, piece)
    return b.kernel()


def _max_back_by_taps(b: Builder, g: Geometry, index: Buffer, y: Buffer, x: Buffer) -> Kernel:
    """Every tap of a window is given the gradient or 0: for few taps less than to write lanes one by one."""
    i, spec, count = g.i, g.spec, "i32" if g.spec.small else "i64"

    def piece(image: Value, c0: Value, c1: Value) -> None:
        with b.for_("z", 0, i["od"]) as z, b.for_("y", 0, i["oh"]) as oy, b.for_("x", 0, i["ow"]) as ox:
            number = ((image * i["od"] + z) * i["oh"] + oy) * i["ow"] + ox
            begin = b.let(number * i["c"])
            with b.vfor("c", c0, c1, spec.lanes) as c:
                place, share = b.let(index[begin + c].cast(count)), b.let(y[begin + c])

                def element(to: Value, far: Value) -> None:
                    part = select(place.eq(far.cast(count)), share, const(spec.dtype, 0))
                    x[to + c] = x[to + c] + part

                _window(b, g, image, (z, oy, ox), element)

    _pieces(b, g, x, piece)
    return b.kernel()


def _average_back(b: Builder, spec: PoolSpec) -> Kernel:
    y, x = b.buf("y", spec.dtype), b.buf("x", spec.dtype, "rw")
    g = Geometry(b, spec)
    i = g.i

    def piece(image: Value, c0: Value, c1: Value) -> None:
        def add(at: At, starts: At, line: Value, p: Value) -> None:
            number = ((image * i["od"] + at[0]) * i["oh"] + at[1]) * i["ow"] + at[2]
            from_, to = b.let(number * i["c"]), b.let((line + p) * i["c"])
            count = b.let(g.divisor(starts, at).cast(spec.dtype))
            with b.vfor("c", c0, c1, spec.lanes) as c:
                x[to + c] = x[to + c] + quotient(y[from_ + c], count, spec.dtype)

        with b.for_("z", 0, i["od"]) as z, b.for_("y", 0, i["oh"]) as oy:
            z0, y0 = b.let(g.start(0, z)), b.let(g.start(1, oy))
            (za, zb), (ya, yb) = g.taps(0, z, z0), g.taps(1, oy, y0)
            with b.for_("kz", za, zb) as kz, b.for_("ky", ya, yb) as ky:
                line = b.let(((image * i["sd"] + z0 + kz) * i["sh"] + y0 + ky) * i["sw"])
                if spec.adaptive:
                    with b.for_("x", 0, i["ow"]) as ox:
                        x0 = b.let(g.start(2, ox))
                        with b.for_("p", x0, g.end(2, ox)) as p:
                            add((z, oy, ox), (z0, y0, x0), line, p)
                    return
                # one tap of all windows of a row at a time: the order of `pool`
                with b.for_("t", 0, spec.taps[2]) as t, b.for_("x", 0, i["ow"]) as ox:
                    x0 = b.let(g.start(2, ox))
                    p = b.let(x0 + t)
                    with b.if_((p >= 0) & (p < i["sw"])):
                        add((z, oy, ox), (z0, y0, x0), line, p)

    _pieces(b, g, x, piece)
    return b.kernel()


_KINDS = {"max": _max, "most": _max, "avg": _average, "max_back": _max_back, "avg_back": _average_back}
