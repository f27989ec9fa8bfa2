"""Tiles of Winograd's convolutions: their transforms along one side, and how planes are read in tiles.

Without a stride a tile is F(4, 3) on each side, six products; the points are 0, +-sqrt(2), +-1/sqrt(2) and infinity,
whose rounding errors are a third of those of 0, +-1, +-2. With a stride of 2 the even elements of the source meet the
outer taps alone, the odd ones the middle tap: F(m, 2) of m + 1 products, and m products by that one tap, which is the
same for all of them. For m = 4 the points are +-1/2, +-5/4 and infinity, with the errors of the direct form; for m = 2
they are 0, 1 and infinity, which take additions alone. Backward to the data a gradient meets the middle tap for every
second element, and for those between them two gradients meet the outer ones: F(m, 2) again. With an odd padding the
first element is one of the middle tap's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..build import Buffer, Builder, Value, const, fma, maximum, minimum, select
from .contraction import round_up
from .conv_image import ConvSpec

WIDE = 8  # lanes of the transforms, and the pitch of a panel of filters
ROOT = 2**0.5
NEAR, FAR = 0.5, 1.25

Transform = Callable[[Builder, Sequence[Value]], list[Value]]


def points_of_source(b: Builder, d: Sequence[Value]) -> list[Value]:
    """B' d: six values at the six points."""
    even = [b.let(fma(d[2], -0.5, d[4])), b.let(fma(d[2], -2.0, d[4]))]
    odd = [b.let(fma(d[1], -0.5, d[3])), b.let(fma(d[1], -2.0, d[3]))]
    middle = [
        b.let(fma(o, by, e)) for e, o, s in zip(even, odd, (ROOT, 1 / ROOT), strict=True) for by in (s, -s)
    ]
    return [b.let(fma(d[2], -2.5, d[0] + d[4])), *middle, b.let(fma(d[3], -2.5, d[1] + d[5]))]


def points_of_filter(b: Builder, g: Sequence[Value]) -> list[Value]:
    """G g: three taps at the six points."""
    found = [g[0]]
    for square, scale in ((2.0, 1 / 6), (0.5, -2 / 3)):
        even = b.let(fma(g[2], square, g[0]) * scale)
        odd = b.let(g[1] * (scale * square**0.5))
        found += [b.let(even + odd), b.let(even - odd)]
    return [*found, g[2]]


def from_points(b: Builder, m: Sequence[Value]) -> list[Value]:
    """A' m: four outputs of six products."""
    s, t = b.let(m[1] + m[2]), b.let(m[1] - m[2])
    u, v = b.let(m[3] + m[4]), b.let(m[3] - m[4])
    return [
        b.let(m[0] + s + u),
        b.let(fma(t, ROOT, v * (1 / ROOT))),
        b.let(fma(s, 2.0, u * 0.5)),
        b.let(fma(t, 2 * ROOT, fma(v, 0.5 / ROOT, m[5]))),
    ]


def five_points(b: Builder, e: Sequence[Value]) -> list[Value]:
    """Five values at five points."""
    found = []
    for by, other in ((NEAR, FAR), (FAR, NEAR)):
        even, odd = b.let(fma(e[0], -(other**2), e[2]) * by), b.let(fma(e[1], -(other**2), e[3]))
        found += [b.let(even + odd), b.let(even - odd)]
    return [*found, b.let(fma(e[0], (NEAR * FAR) ** 2, fma(e[2], -(NEAR**2 + FAR**2), e[4])))]


def filter_of_four(b: Builder, g: Sequence[Value]) -> list[Value]:
    """The outer taps at five points, then the middle one."""
    found = []
    for by, other in ((NEAR, FAR), (FAR, NEAR)):
        scale = 1 / (2 * by * (by**2 - other**2))
        even, odd = b.let(g[0] * scale), b.let(g[2] * (scale * by))
        found += [b.let(even + odd), b.let(even - odd)]
    return [*found, g[2], g[1]]


def four_from_points(b: Builder, m: Sequence[Value]) -> list[Value]:
    """Four outputs of five products and four."""
    s, t = b.let(m[0] + m[1]), b.let(m[0] - m[1])
    u, v = b.let(m[2] + m[3]), b.let(m[2] - m[3])
    return [
        b.let(s + u + m[5]),
        b.let(fma(t, NEAR, fma(v, FAR, m[6]))),
        b.let(fma(s, NEAR**2, fma(u, FAR**2, m[7]))),
        b.let(fma(t, NEAR**3, fma(v, FAR**3, m[4] + m[8]))),
    ]


def four_from_points_back(b: Builder, m: Sequence[Value]) -> list[Value]:
    """Of five products four, between four others."""
    s, t = b.let(m[0] + m[1]), b.let(m[0] - m[1])
    u, v = b.let(m[2] + m[3]), b.let(m[2] - m[3])
    first, second = b.let(s + u), b.let(fma(t, NEAR, v * FAR))
    third, last = b.let(fma(s, NEAR**2, u * FAR**2)), b.let(fma(t, NEAR**3, fma(v, FAR**3, m[4])))
    return [m[5], first, m[6], second, m[7], third, m[8], last]


def three_points(b: Builder, e: Sequence[Value]) -> list[Value]:
    """Three values at three points."""
    return [b.let(e[0] - e[1]), e[1], b.let(e[2] - e[1])]


def filter_of_two(b: Builder, g: Sequence[Value]) -> list[Value]:
    """The outer taps at three points, then the middle one."""
    return [g[0], b.let(g[0] + g[2]), g[2], g[1]]


def two_from_points(b: Builder, m: Sequence[Value]) -> list[Value]:
    """Two outputs of three products and two."""
    return [b.let(m[0] + m[1] + m[3]), b.let(m[1] + m[2] + m[4])]


def two_from_points_back(b: Builder, m: Sequence[Value]) -> list[Value]:
    """Of three products two, between two others."""
    return [m[3], b.let(m[0] + m[1]), m[4], b.let(m[1] + m[2])]


def apart(points: Transform) -> Transform:
    """The even elements at their points, then the odd ones."""
    return lambda b, d: [*points(b, d[0::2]), *d[1::2]]


def again(points: Transform) -> Transform:
    """All elements at their points, then all but the last."""
    return lambda b, d: [*points(b, d), *d[:-1]]


class Tiles(NamedTuple):
    """Tiles of `out` x `out` outputs. Of a side: the elements of the source, from one tile to the next, the products,
    and the transformed taps, the last of which serves all products from its own on; the transforms, and what they cost
    in multiply-adds, as measured: of a filter, of a tile of one channel of the source and of the result. strips: of a
    block of the source, whose products are to stay in the second cache."""

    out: int
    side: int
    step: int
    points: int
    taps: int
    source: Transform
    filters: Transform
    back: Transform
    costs: tuple[int, int, int]
    strips: int = 1

    @property
    def width(self) -> int:
        """Lanes that hold a row of the source."""
        return round_up(self.side, WIDE)

    @property
    def products(self) -> int:
        """Products of a tile."""
        return self.points**2


PLAIN = Tiles(4, 6, 4, 6, 6, points_of_source, points_of_filter, from_points, (480, 750, 560), 2)
FOUR = Tiles(4, 9, 8, 9, 6, apart(five_points), filter_of_four, four_from_points, (330, 1600, 1000))
TWO = Tiles(2, 5, 4, 5, 4, apart(three_points), filter_of_two, two_from_points, (160, 520, 340))
FOUR_BACK = Tiles(8, 5, 4, 9, 6, again(five_points), filter_of_four, four_from_points_back, (330, 1000, 1400))
TWO_BACK = Tiles(4, 3, 2, 5, 4, again(three_points), filter_of_two, two_from_points_back, (160, 350, 450))


def ways(kind: str, strided: bool) -> tuple[Tiles, ...]:
    """The tiles by which a kind of convolution may go."""
    if not strided:
        return (PLAIN,)
    return {"forward": (FOUR, TWO), "data": (FOUR_BACK, TWO_BACK)}.get(kind, ())


def tiles_of(spec: ConvSpec) -> Tiles:
    """The tiles of a kernel."""
    return next(tiles for tiles in ways(spec.kind, spec.strided) if tiles.out == spec.block)


class Plane(NamedTuple):
    """The planes of a tensor as tiles of `side` x `side` elements: how many, the strides and extents."""

    buf: Buffer
    many: Value
    c: Value
    h: Value
    w: Value
    high: Value
    wide: Value
    side: int

    def columns(
        self,
        b: Builder,
        corner: tuple[Value, Value, Value],
        c0: Value,
        c1: Value,
        keep: Callable[[Value, Value, list[Value]], None],
        ahead: int = 0,
    ) -> None:
        """keep(channel, lane, rows) for channels c0..c1-1: the rows of a tile, columns in lanes, zero outside. Channels
        that do not exist repeat the last one.

        corner: where the tile begins in channel 0, its first row and column; ahead: by how many channels lines are
        asked for before they are read, if they are."""
        base, y, x0 = corner
        side, lanes = range(self.side), round_up(self.side, WIDE)

        def each(load: Callable[[Value, int], Value]) -> None:
            with b.for_("c", c0, c1) as c:
                at = b.let(base + minimum(c, self.many - 1) * self.c)
                for r in side if ahead else ():
                    b.prefetch(self.buf, at + ahead * self.c + r * self.h, far=True)
                with b.vfor("x", 0, lanes, lanes, full=True) as x:
                    keep(c, x, [b.let(load(b.let(at + r * self.h) + x * self.w, r)) for r in side])

        with b.if_((y >= 0) & (x0 >= 0) & (y + self.side <= self.high) & (x0 + lanes <= self.wide)):
            each(lambda at, r: self.buf[at])
        with b.else_():
            signs = b.reg("live", const("i32", 0), lanes=lanes)
            none, all_ = const("i32", 0), const("i32", -1)
            lo, hi = b.let(maximum(-x0, 0)), b.let(minimum(self.wide - x0, self.side))
            with b.vfor("x", 0, lanes, lanes, full=True) as x:
                signs.set(select((x >= lo) & (x < hi), all_, none))
            rows = [b.let(select((y + r >= 0) & (y + r < self.high), all_, none)) for r in side]
            each(lambda at, r: self.buf.load(at, (signs.get() & rows[r]) < 0))
