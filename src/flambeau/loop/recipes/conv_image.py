"""What the convolution kernels share: their integers, and the padded copy of one image that they read.

The copy holds, for every channel and padded depth, one plane for each residue of (row, column) modulo the stride,
so that a tap reads neighbouring elements for neighbouring outputs whatever the stride. All planes have the same
pitch, and a run of outputs may continue from the end of a row into the next: what lies between is computed and
dropped. 1-d and 2-d convolutions are the case of depth (and height) 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..build import Buffer, Builder, Operand, Value, const, minimum, select
from ..ir import Const

AXES = "dhw"
INTS = (
    *("n", "g", "ci", "co"),
    *(f"{what}{axis}" for what in "sokjtpae" for axis in AXES),
    *(f"x{axis}" for axis in "nc" + AXES),
    *(f"y{axis}" for axis in "nc" + AXES),
    *(f"w{axis}" for axis in "goc" + AXES),
    *("go", "gk", "pg", "zero", "ws", "wp", "wb", "ts"),
)
"""n: images; g: groups; ci, co: channels of a group in the source and in the output. By axis, s: extents of the source,
o: of the output, k: taps, j: dilation, t: stride, p: zeros before the source in the copy, a: padding of the
convolution, e: extents of a plane of the copy. x, y, w: strides of source, output, weights (group, output channel,
source channel, taps). go, gk: pieces into which output channels (weight rows; by channels:
positions) are cut; pg: panels (by channels: images) at a time; zero: is there padding; ws, ts: elements of workspace
and table of a part; wp: where its second half begins; wb: where packed positions lie."""


class Window(NamedTuple):
    """Taps of a depthwise convolution, constants of its kernel: extents, strides and dilation of rows and columns."""

    high: int
    wide: int
    sh: int
    sw: int
    jh: int
    jw: int


class ConvSpec(NamedTuple):
    """What identifies a convolution kernel: the key for caching.

    kind: "forward", "data" (gradient of the input, transposed convolution), "weight" or "thin" (weights
    of groups of few channels). x, y: are columns of the
    source and the output contiguous. strided: is there a stride. narrow: as in contraction.Spec, for packing the
    output's gradient in blocks of `block` ("unit": weights of neighbouring output channels are neighbours). flat: no
    depth. grouped: more than one group. by: what the lanes of a forward or data tile are, "pixels", "channels" or
    "planes" (positions, several rows of them: depthwise, of this window), or "winograd" (tiles of `block` x `block`
    outputs; narrow: taps are not neighbours; "unit": output channels are, "turn": channels of the source are).
    direct (by channels): there is one tap and no padding; positions are packed as [tile][k][row] out of the source
    itself, which needs no copy. large (by channels): the positions of a few small images are one block. own (by
    pixels): weights, in the order of k, are read where they lie. last: images have their channels innermost, and their
    lanes are channels (by "channels" or "winograd")."""

    kind: str
    dtype: str
    rows: int
    lanes: int
    block: int = 16
    x: bool = True
    y: bool = True
    strided: bool = False
    narrow: str = "no"
    flat: bool = True
    grouped: bool = False
    by: str = "pixels"
    direct: bool = False
    large: bool = False
    own: bool = False
    window: Window | None = None
    last: bool = False

    def describe(self) -> str:
        """The choice in words: "tile 6x16, lanes are output channels"."""
        lanes = {
            "pixels": "positions",
            "planes": "positions",
            "channels": "output channels",
            "winograd": f"{self.block}x{self.block} outputs (Winograd)",
        }
        found = "output channels" if self.kind == "weight" else lanes[self.by]
        found += ", innermost" if self.last else ""
        return f"tile {self.rows}x{self.lanes}, lanes are {found}"


def integers(b: Builder, spec: ConvSpec, names: tuple[str, ...] = INTS) -> dict[str, Value]:
    """The integers as parameters, constants where the spec fixes them."""
    fixed = fixed_ints(spec)
    return {name: const("i64", fixed[name]) if name in fixed else b.integer(name) for name in names}


def fixed_ints(spec: ConvSpec) -> dict[str, int]:
    """The integers that are constants of the kernel."""
    fixed = {"xw": 1} if spec.x else {}
    fixed |= {"yw": 1} if spec.y else {}
    fixed |= {} if spec.grouped else {"g": 1, "wg": 0}
    fixed |= {name + "d": 1 for name in "sokjte"} | {name + "d": 0 for name in "paxyw"} if spec.flat else {}
    if spec.window is not None:
        fixed |= dict(zip(("kh", "kw", "th", "tw", "jh", "jw"), spec.window, strict=True))
    return fixed | ({} if spec.strided else {"td": 1, "th": 1, "tw": 1})


def by_steps(
    b: Builder,
    step: Value,
    two: Operand,
    x: tuple[Value, Value],
    width: int,
    each: Callable[[Value, Value], None],
) -> None:
    """each(k, step) for the elements of a row in whole vectors: a step known only at run time is a gather or a scatter,
    which takes several times as long as the constant 2, which is taken where it is `two`."""
    if isinstance(step.expr, Const):
        with b.vfor("x", *x, width) as k:
            each(k, step)
        return
    with b.if_(two), b.vfor("x", *x, width) as k:
        each(k, const("i64", 2))
    with b.else_(), b.vfor("x", *x, width) as k:
        each(k, step)


class Image:
    """The padded copy of one image, at `at` in the workspace."""

    def __init__(self, b: Builder, ints: dict[str, Value], spec: ConvSpec, work: Buffer, at: Value):
        self.b, self.ints, self.work, self.at = b, ints, work, at
        self.split = spec.strided and spec.kind != "data" and spec.by in ("pixels", "planes")
        one = const("i64", 1)
        self.fh, self.fw = (ints["th"], ints["tw"]) if self.split else (one, one)
        self.pitch = ints["ew"]
        self.plane = b.let(ints["eh"] * ints["ew"], "plane")
        self.slice = b.let(self.fh * self.fw * self.plane, "slice")  # from one depth to the next
        self.volume = b.let(ints["ed"] * self.slice, "volume")
        self.channel = self.volume  # from one channel to the next
        self.pixel: Value = const("i64", 1)  # from one column to the next

    def whole(self) -> Value:
        """Elements of the copy of an image."""
        return self.ints["ci"] * self.volume

    def clear(self, channels: Operand, slack: int) -> None:
        """Zero the copy of that many channels, if there is padding."""
        b = self.b
        with b.if_(self.ints["zero"].ne(0)), b.vfor("z", 0, self.volume * channels + slack, 16) as z:
            self.work[self.at + z] = 0

    def copy(self, src: Buffer, base: Value, channels: Operand, shift: Operand = 0) -> None:
        """Copy `channels` channels of the source image that begins at `base` (to `shift` elements further on)."""
        b, i = self.b, self.ints
        last = b.let(minimum(i["ed"], i["sd"] + i["pd"]))
        with b.for_("c", 0, channels) as c, b.for_("z", i["pd"], last) as z:
            row0 = b.let(base + c * i["xc"] + (z - i["pd"]) * i["xd"])
            to = b.let(self.at + shift + c * self.volume + z * self.slice)
            if not self.split:
                self._plane(src, row0, to, const("i64", 0), const("i64", 0))
                return
            with b.for_("ry", 0, self._residues("h")) as ry, b.for_("rx", 0, self._residues("w")) as rx:
                self._plane(src, row0, b.let(to + (ry * self.fw + rx) * self.plane), ry, rx)

    def _residues(self, axis: str) -> Value:
        """How many residues the taps read, from 0 on: with dilation, take all."""
        i = self.ints
        return select(i["j" + axis].eq(1), minimum(i["t" + axis], i["k" + axis]), i["t" + axis])

    def _plane(self, src: Buffer, row0: Value, to: Value, ry: Value, rx: Value) -> None:
        """One residue plane."""
        b, i, work = self.b, self.ints, self.work
        y0, y1 = self._range("h", ry, self.fh)
        x0, x1 = self._range("w", rx, self.fw)
        with b.for_("y", y0, y1) as y:
            line = b.let(row0 + (y * self.fh + ry - i["ph"]) * i["xh"] + (rx - i["pw"]) * i["xw"])
            put = b.let(to + y * self.pitch)

            def copy(x: Value, step: Value, line: Value = line, put: Value = put) -> None:
                work[put + x] = src[line + x * (step * i["xw"])]

            by_steps(b, self.fw, self.fw.eq(2), (x0, x1), 16, copy)

    def _range(self, axis: str, residue: Value, step: Value) -> tuple[Value, Value]:
        """The rows (columns) of a residue plane that hold elements of the source."""
        b, i = self.b, self.ints
        lo = b.let((i["p" + axis] - residue + step - 1) // step)
        hi = (i["s" + axis] + i["p" + axis] - residue + step - 1) // step
        return lo, b.let(minimum(i["e" + axis], hi))

    def tap(self, z: Value, y: Value, x: Value) -> Value:
        """Offset in the copy of a position of the padded source."""
        residue = (y % self.fh) * self.fw + x % self.fw if self.split else const("i64", 0)
        return z * self.slice + residue * self.plane + y // self.fh * self.pitch + x // self.fw
