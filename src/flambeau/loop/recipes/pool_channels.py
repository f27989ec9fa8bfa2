"""Pooling of images whose channels are innermost in memory: lanes are channels, and a window is cut to the source by
the bounds of its loops. Sums are in the order of `pool`, but for that of a whole plane, whose lines are
summed first."""

from __future__ import annotations

from collections.abc import Callable

from ..build import Buffer, Builder, Value, const, maximum, minimum, select
from ..ir import Kernel
from .contraction import accumulator
from .pool import AXES, LOWEST, PIECES, Geometry, PoolSpec, compare, compared, first_of, largest, quotient

At = tuple[Value, Value, Value]
Share = Callable[[At, Value, Value], Callable[[Value], Value]]


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
            odd = b.reg("odd", const("b1", False), lanes=spec.lanes)

            def element(source: Value, far: Value) -> None:
                value = b.let(x[source + c].cast(compared(spec.dtype)))
                compare(b, spec, value, far.cast(count), None, best, place if index else None, odd)

            _window(b, g, image, at, element)
            y[begin + c] = largest(spec, best, odd).cast(spec.dtype)
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
    index, y = b.buf("index", "i64"), b.buf("y", spec.dtype)
    x = b.buf("x", spec.dtype, "w" if spec.collect else "rw")
    g = Geometry(b, spec)
    channels = g.i["c"]
    if spec.collect:

        def share(at: At, from_: Value, far: Value) -> Callable[[Value], Value]:
            here = far.cast(count)
            return lambda c: select(index[from_ + c].cast(count).eq(here), y[from_ + c], const(spec.dtype, 0))

        count = "i32" if spec.small else "i64"
        _collected(b, g, x, share)
        return b.kernel()

    def piece(image: Value, c0: Value, c1: Value) -> None:
        base = b.let(image * g.area * channels)
        with b.for_("o", 0, g.outputs) as o:
            from_ = b.let((image * g.outputs + o) * channels)
            with b.vfor("c", c0, c1, 8) as c:
                place = b.let(base + index[from_ + c] * channels + c)
                x[place] = x[place] + y[from_ + c]

    _pieces(b, g, x, piece)
    return b.kernel()


def _holders(g: Geometry, axis: int, at: Value) -> tuple[Value, Value]:
    """The outputs o0..o1-1 whose windows reach from before a position of the source to behind it."""
    b, spec, a = g.b, g.spec, AXES[axis]
    if spec.adaptive:
        n, size = g.i["o" + a], g.i["s" + a]
        return b.let(at * n // size), b.let(((at + 1) * n + (size - 1)) // size)
    stride, reach = spec.stride[axis], (spec.taps[axis] - 1) * spec.dilation[axis]
    if not reach and stride == 1:
        return at, at + 1
    place = b.let(at + g.i["p" + a])
    return b.let(maximum(place - reach + (stride - 1), 0) // stride), b.let(
        minimum(place // stride + 1, g.i["o" + a])
    )


def _collected(b: Builder, g: Geometry, x: Buffer, share: Share) -> None:
    """Each element of the gradient is the sum of what the windows that hold it give, and is written once. share: what
    an output, whose channels begin there, gives to the element of that number, by channel. They are added in the order
    of `pool`: ascending, but for the columns of windows that are no adaptive ones."""
    i, spec = g.i, g.spec
    turned = spec.kind == "avg_back" and not spec.adaptive
    lo, hi = b.partition(i["n"] * i["sd"] * i["sh"])
    with b.for_("u", lo, hi) as u:
        image, row = b.let(u // (i["sd"] * i["sh"])), b.let(u % (i["sd"] * i["sh"]))
        (za, zb), (ya, yb) = _holders(g, 0, b.let(row // i["sh"])), _holders(g, 1, b.let(row % i["sh"]))
        with b.for_("p", 0, i["sw"]) as p:
            xa, xb = _holders(g, 2, p)
            far, to = b.let(row * i["sw"] + p), b.let((u * i["sw"] + p) * i["c"])
            with b.vfor("c", 0, i["c"], spec.lanes) as c:
                total = b.reg("total", 0, spec.dtype, lanes=spec.lanes)
                with b.for_("z", za, zb) as z, b.for_("y", ya, yb) as oy:
                    line = b.let(((image * i["od"] + z) * i["oh"] + oy) * i["ow"])
                    with b.for_("x", xa, xb) as ox:
                        at = b.let(xa + (xb - 1) - ox) if turned else ox
                        given = share((z, oy, at), b.let((line + at) * i["c"]), far)
                        total.set(total.get() + given(c))
                x[to + c] = total.get()


def _average_back(b: Builder, spec: PoolSpec) -> Kernel:
    y, x = b.buf("y", spec.dtype), b.buf("x", spec.dtype, "w")
    g = Geometry(b, spec)

    def share(at: At, from_: Value, far: Value) -> Callable[[Value], Value]:
        starts: At = tuple(g.start(axis, o) for axis, o in enumerate(at))  # type: ignore[assignment]
        count = b.let(g.divisor(starts, at).cast(spec.dtype))
        return lambda c: quotient(y[from_ + c], count, spec.dtype)

    _collected(b, g, x, share)
    return b.kernel()


_KINDS = {"max": _max, "most": _max, "avg": _average, "max_back": _max_back, "avg_back": _average_back}
