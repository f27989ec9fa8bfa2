"""Depthwise convolution (one input channel for each group), forward and backward to the data, a few rows at a time.

Lanes are neighbouring positions of a row, and a tile is as wide as a vector and several rows high: each vector of the
padded copy is read once for all rows of the tile that it has a tap of. The sums are those of `conv_pixels`, tap after
tap, so the bits are the same. Taps, strides and dilation are constants of the kernel, and weights are read where they
lie.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

from ..build import Buffer, Builder, Register, Value, const, minimum
from ..ir import Kernel
from .contraction import Epilogue, ceil_div, muladd
from .conv_image import ConvSpec, Image, integers

HELD = 9  # taps up to which a tile holds their weights and is written out
TAPS = 121  # up to which rows share what they read


def conv_planes(spec: ConvSpec, epilogue: Epilogue | None, name: str) -> Kernel:
    """As `conv.conv`; a unit is a group of an image."""
    b = Builder(name)
    x, w = b.buf("x", spec.dtype), b.buf("w", spec.dtype)
    y = b.buf("y", spec.dtype, "w") if epilogue is None else None
    work = b.buf("work", spec.dtype, "rw")
    i = integers(b, spec)
    image = Image(b, i, spec, work, b.let(b.tid * i["ws"], "at"))
    image.clear(1, spec.lanes)
    emit = epilogue(b) if epilogue else None
    lo, hi = b.partition(i["n"] * i["g"])
    with b.for_("u", lo, hi) as u:
        n, group = b.let(u // i["g"], "n"), b.let(u % i["g"], "group")
        image.copy(x, b.let(n * i["xn"] + group * i["xc"]), 1)
        with b.for_("o", 0, i["co"]) as o:
            taps = Taps(b, spec, w, b.let(group * i["wg"] + o * i["wo"]), i, work)
            channel = b.let(group * i["co"] + o)
            with b.for_("y", 0, i["oh"], spec.rows) as top:
                rows(b, spec, i, image, taps, top, _put(b, i, y, emit, n, channel))
    return b.kernel()


Put = Callable[[Value, Value, Value], None]


def _put(
    b: Builder, i: dict[str, Value], y: Buffer | None, emit: Callable[..., None] | None, *at: Value
) -> Put:
    """What takes (a sum, its row, its column) of an image and channel."""
    image, channel = at
    if y is None:
        assert emit is not None
        return lambda acc, row, x: emit(acc, image, channel, row * i["ow"] + x)
    plane = b.let(image * i["yn"] + channel * i["yc"])
    return lambda acc, row, x: b.store(y, plane + row * i["yh"] + x * i["yw"], acc)


class Taps:
    """The weights of a channel at `at`: few are held for all of its rows, more are copied one after the other."""

    def __init__(self, b: Builder, spec: ConvSpec, w: Buffer, at: Value, i: dict[str, Value], work: Buffer):
        window = spec.window
        assert window is not None
        self.window, self.work = window, work
        self.held: dict[tuple[int, int], Value] = {}
        if window.high * window.wide <= HELD:
            for y, x in product(range(window.high), range(window.wide)):
                self.held[y, x] = b.let(w[at + y * i["wh"] + x * i["ww"]], "w")
            return
        self.place = b.let(b.tid * i["ws"] + i["wp"], "place")
        for y in range(window.high):
            with b.vfor("k", 0, window.wide, 8) as k:
                work[self.place + y * window.wide + k] = w[at + y * i["wh"] + k * i["ww"]]

    def add(
        self, value: Value, met: Sequence[tuple[int, int]], tap: int | Value, acc: Sequence[Register]
    ) -> None:
        """To the sum of each (row, row of taps) that meets a vector, its product."""
        for row, y in met:
            if isinstance(tap, int):
                weight: Value = self.held[y, tap]
            else:
                weight = self.work[self.place + y * self.window.wide + tap]
            acc[row].set(muladd(value, weight, acc[row].get()))


def rows(
    b: Builder, spec: ConvSpec, i: dict[str, Value], image: Image, taps: Taps, top: Value, put: Put
) -> None:
    """`rows` rows of the output from row `top` on."""
    line = b.let(image.at + top * image.pitch, "line")
    with b.for_("x", 0, i["ow"], spec.lanes) as x:
        acc = [b.reg("acc", 0, spec.dtype, spec.lanes) for _ in range(spec.rows)]
        with b.vfor("v", 0, spec.lanes, spec.lanes, full=True) as v:
            tile(b, spec, image, taps, line + x + v, acc)
        with b.vfor("v", x, minimum(x + spec.lanes, i["ow"]), spec.lanes) as v:
            for r, a in enumerate(acc):
                with b.if_(top + r < i["oh"]):
                    put(a.get(), b.let(top + r), v)


def tile(
    b: Builder, spec: ConvSpec, image: Image, taps: Taps, corner: Value, acc: Sequence[Register]
) -> None:
    """The sums of a tile whose first tap lies at `corner` of the copy."""
    window, back = taps.window, spec.kind == "data"
    # the gradient's taps go backwards; the sums of both kinds are in the order of the weights
    high = [(window.high - 1 - k if back else k) * window.jh for k in range(window.high)]
    for down in sorted({r * window.sh + h for r in range(spec.rows) for h in high}, reverse=back):
        met = [(r, k) for r in range(spec.rows) for k, h in enumerate(high) if r * window.sh + h == down]

        def across(tap: int | Value, down: int = down, met: list[tuple[int, int]] = met) -> None:
            column = (window.wide - 1 - tap if back else tap) * window.jw
            place = image.tap(const("i64", 0), const("i64", down), _value(column))
            taps.add(b.let(image.work[corner + place]), met, tap, acc)

        if taps.held:
            for column in range(window.wide):
                across(column)
        else:  # written out, LLVM would hold all weights as vectors, in memory, and make one sum after the other
            with b.for_("tap", 0, window.wide) as tap:
                across(tap)


def _value(number: int | Value) -> Value:
    return const("i64", number) if isinstance(number, int) else number


def planes_tile(high: int, wide: int, taps: int, vector: int, registers: int) -> tuple[int, int]:
    """Rows of a tile, all tiles of a plane about equal, and lanes.

    Up to 8 rows of a vector. Where a weight is loaded for itself each time (not with its product, as with AVX-512, and
    not held), it serves two vectors, of as many rows as 16 registers hold."""
    pairs = registers == 16 and taps > HELD and wide > vector
    return ceil_div(high, ceil_div(high, 6 if pairs else 8)), 2 * vector if pairs else vector
