"""Which convolution kernel for which problem, and its run-time integers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..ir import SIZE, Kernel
from . import contraction, planning
from .contraction import Epilogue, Spec, ceil_div, round_up
from .conv import conv
from .conv_channels import BLOCK, LARGE, channels_workspace
from .conv_image import AXES, ConvSpec, Window, fixed_ints
from .conv_innermost import Innermost, InnermostWeights, pixel_pitch
from .conv_pixels import weight_pitch
from .conv_planes import TAPS, planes_tile
from .conv_weight import LANES, THIN, conv_weight, thin_workspace, workspace
from .packing import SPARE
from .planning import Vectors, balanced, even_rows, registers, tile
from .winograd import winograd_pieces, winograd_workspace
from .winograd_tiles import Tiles, ways
from .winograd_weight import weight_pieces

# Positions of a single image, padding included, up to which weights are read where they lie, if they are so many.
LONE, FILTERS = 128, 1 << 17
SMALL, VAST = 64, 1 << 20  # the same of one tap, which would be a product otherwise
PLANE = 512  # positions from which on a convolution of one tap is a product for each image, below it is one for all


class Geometry(NamedTuple):
    """A convolution of up to three dimensions; tuples are (depth, height, width), missing ones 1 (padding: 0).

    images, groups; cin, cout: all channels; size: of the input; taps, stride, dilation, padding; out: of the output."""

    images: int
    groups: int
    cin: int
    cout: int
    size: tuple[int, int, int]
    taps: tuple[int, int, int]
    stride: tuple[int, int, int]
    dilation: tuple[int, int, int]
    padding: tuple[int, int, int]
    out: tuple[int, int, int]


class ConvPlan(NamedTuple):
    """Kernel's key, run-time integers, number of parts; bytes of workspace and of table for each part.

    With the key of a matrix product the buffers w, x, y are named a, b, c."""

    spec: ConvSpec | Spec
    ints: dict[str, int]
    parts: int
    work: int
    table: int


def geometry(
    x: Sequence[int],
    w: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int = 1,
) -> Geometry:
    """From shapes (images, channels, ...) and (channels out, channels in / groups, ...)."""

    def three(values: Sequence[int], missing: int) -> tuple[int, int, int]:
        return tuple([missing] * (3 - len(values)) + list(values))  # type: ignore[return-value]

    size, taps, s = three(x[2:], 1), three(w[2:], 1), three(stride, 1)
    d, p = three(dilation, 1), three(padding, 0)
    out = tuple((size[a] + 2 * p[a] - d[a] * (taps[a] - 1) - 1) // s[a] + 1 for a in range(3))
    return Geometry(x[0], groups, x[1], w[0], size, taps, s, d, p, out)  # type: ignore[arg-type]


def _axes(name: str, values: Sequence[int]) -> dict[str, int]:
    return {name + axis: v for axis, v in zip(AXES, values, strict=True)}


def plan(
    kind: str,
    g: Geometry,
    x: Sequence[int],
    w: Sequence[int],
    y: Sequence[int],
    dtype: str,
    target: Vectors,
    threads: int = 1,
    plain: bool = True,
    staged: bool = False,
    last: bool = False,
) -> ConvPlan:
    """The plan of a convolution: x, w, y are the strides (n, c, d, h, w), (o, c, d, h, w), (n, c, d, h, w) of the
    input (or its gradient), the weights and the output (or its gradient).

    "forward": reads x and w, writes y. "data": reads y and w, writes x. "weight": reads x and y, writes w; the planes
    of y must be dense. plain, staged: as in planning.plan. last: images have their channels innermost; an epilogue is
    called as emit(acc, image, position, channel)."""
    if last:
        return _last(kind, g, x, w, y, dtype, target, threads)
    own = kind == "forward" and target.vector_bits == 512
    if (
        not (own and _vast(g, w))
        and SIZE[dtype] >= 4
        and (strides := _product(kind, g, x, w, y, 2 * target.vector_bits // 8 // SIZE[dtype]))
    ):
        m, k = (g.cout, g.cin) if kind == "forward" else (g.cin, g.cout)
        n = g.out[0] * g.out[1] * g.out[2]
        joined = strides.bh > 0 or (g.images > 1 and n < PLANE)
        p = planning.plan(
            m, n, k, g.images, strides, dtype, target, threads, plain=plain, staged=staged, joined=joined
        )
        return ConvPlan(p.spec, p.ints, p.parts, p.work, 0)
    if tiles := by_winograd(kind, g, dtype):
        return _winograd(kind, tiles, g, x, w, y, dtype, target, threads)
    if _by_planes(kind, g):
        return _planes(kind, g, x, w, y, dtype, target, threads)
    if kind == "data":
        return _data(g, x, w, y, dtype, target, threads)
    x, y, g = _flattened(*_read(x, y, g))
    own, by = own and _lone(g, w), "pixels"
    if kind == "forward" and not own and _by_channels(g.cout // g.groups, target, dtype, y, g.out):
        by = "channels"
    ints = _shared(g) | _axes("s", g.size) | _axes("o", g.out) | _axes("p", g.padding)
    ints |= {"ci": g.cin // g.groups, "co": g.cout // g.groups}
    steps = (1, 1, 1) if by == "channels" else (1, g.stride[1], g.stride[2])
    ints |= _axes("e", _apart(_copied(g, steps)))
    ints |= _strides(x, y) | _weights_lie(g, w)
    ints["zero"] = int(
        any(g.padding) or any(ints["e" + a] * s > n for a, s, n in zip(AXES, steps, g.size, strict=True))
    )
    channel = ints["ed"] * ints["eh"] * ints["ew"] * steps[1] * steps[2]
    how = _flags(g)
    if kind == "forward":
        return _tiles(
            ConvSpec("forward", dtype, 1, 1, 1, x[4] == 1, y[4] == 1, by=by, own=own, **how),
            ints,
            channel,
            target,
            threads,
        )
    spec = ConvSpec("weight", dtype, 1, 1, 1, x[4] == 1, y[4] == 1, **how)
    return _weights(spec, ints, channel, target, threads)


def _product(
    kind: str, g: Geometry, x: Sequence[int], w: Sequence[int], y: Sequence[int], least: int
) -> planning.Strides | None:
    """Of a convolution of one tap over planes of `least` positions: the product that sums in the same order.

    What is read may have steps, forward. The gradient of one image's small planes reads the weights in an order that
    the other recipe packs once."""
    if kind == "weight" or g.groups > 1 or min(g.cin, g.cout) < 16:
        return None
    if kind == "forward" and max(g.stride) > 1:
        return _stepping(g, x, w, y, least)
    x, y, flat = _flattened(x, y, g)
    source, out = (x, y) if kind == "forward" else (y, x)
    if flat is g:
        return None
    if flat.size[2] < (PLANE if kind == "data" and g.images == 1 else least):
        return None
    if source[4] != 1 or out[4] != 1:
        return None
    rows, columns = w[:2] if kind == "forward" else (w[1], w[0])
    return planning.Strides(0, rows, columns, source[0], source[1], 1, out[0], out[1], 1)


def _stepping(
    g: Geometry, x: Sequence[int], w: Sequence[int], y: Sequence[int], least: int
) -> planning.Strides | None:
    """The same where only every so many-th row and column is read."""
    plain = g.taps == (1, 1, 1) and g.padding == (0, 0, 0) and g.size[0] == 1 and y[4] == 1
    if not plain or not _dense(y, g.out) or g.out[1] * g.out[2] < least:
        return None
    across, down = x[4] * g.stride[2], x[3] * g.stride[1]
    return planning.Strides(0, w[0], w[1], x[0], x[1], across, y[0], y[1], 1, bw=g.out[2], bh=down)


def by_winograd(kind: str, g: Geometry, dtype: str) -> Tiles | None:
    """The tiles of Winograd's by which a convolution is done, if it is: a matter of its shape and type alone.

    Costs for each pair of channels in multiply-adds, the transforms (of filters and tiles) as measured. Over small
    planes the direct gradient of the weights sums so few at a time that its error is out of reach."""
    plain = g.taps == (1, 3, 3) and g.dilation == (1, 1, 1) and g.groups == 1
    if dtype != "f32" or not plain or g.size[0] > 1 or min(g.cin, g.cout) < 16:
        return None
    strided = g.stride == (1, 2, 2)
    if g.stride not in ((1, 1, 1), (1, 2, 2)):
        return None
    if strided and kind == "data" and not all(p % 2 for p in g.padding[1:]):
        return None
    _, high, wide = g.size if kind == "data" else g.out
    if kind == "weight" and high * wide < 192:
        return None
    positions = g.images * (g.out[1] * g.out[2] if strided else high * wide)
    # eighths: with a stride the direct form does less in a time
    worth = 10 if not strided else 6 if kind == "data" else 8
    cost, best = min(
        ((_cost(kind, tiles, g, high, wide), tiles) for tiles in ways(kind, strided)),
        key=lambda way: way[0],
        default=(0, None),
    )
    return best if 9 * positions * 8 >= cost * worth else None


def _cost(kind: str, tiles: Tiles, g: Geometry, high: int, wide: int) -> int:
    """Multiply-adds for each pair of channels."""
    many = g.images * ceil_div(high, tiles.out) * ceil_div(wide, tiles.out)
    filters, source, out = (900, 1200, 1200) if kind == "weight" else tiles.costs
    read, made = (g.cout, g.cin) if kind == "data" else (g.cin, g.cout)
    return tiles.products * round_up(many, 16) + filters + source * many // made + out * many // read


def _winograd(
    kind: str,
    tiles: Tiles,
    g: Geometry,
    x: Sequence[int],
    w: Sequence[int],
    y: Sequence[int],
    dtype: str,
    target: Vectors,
    threads: int,
    last: bool = False,
) -> ConvPlan:
    """By tiles of Winograd's; the gradient of the data is the convolution with taps reversed and padding 2 - p."""
    data = kind == "data"
    source, out, size, extent = _ends(kind, g, x, y)
    ci, co = (g.cout, g.cin) if data else (g.cin, g.cout)
    strided = max(g.stride) > 1
    before = [((1 - p) // 2 if strided else 2 - p) if data else p for p in g.padding]
    ints = _axes("s", size) | _axes("o", extent) | _axes("p", before) | _strides(source, out)
    ints |= {"n": g.images, "ci": ci, "co": co, "wh": w[3], "ww": w[4]}
    ints |= dict(zip(("wc", "wo") if data else ("wo", "wc"), w[:2], strict=True))
    ints |= {"nh": ceil_div(extent[1], tiles.out), "nw": ceil_div(extent[2], tiles.out)}
    vector = target.vector_bits // 8 // SIZE[dtype]
    many = ints["n"] * ints["nh"] * ints["nw"]
    few = kind != "weight" and many <= vector and not last
    # a vector of AVX-512 is a tile that the first cache holds with what is transformed; narrower ones go by two
    lanes = max(vector if few or target.vector_bits == 512 else 2 * vector, 8)
    turned = last and ints["wc"] == 1 and ci >= 8
    narrow = "no" if tuple(w[3:]) == (3, 1) else "unit" if ints["wo"] == 1 else "turn" if turned else "yes"
    rows = 6 if registers(target) == 16 else 8
    if last:
        lanes = 8 if min(ci, co) < lanes else lanes
        rows = rows if kind == "weight" else even_rows(many, rows, 1)
    spec = ConvSpec(
        kind,
        dtype,
        rows,
        lanes,
        tiles.out,
        source[4] == 1,
        out[4] == 1,
        strided=strided,
        narrow=narrow,
        by="winograd",
        last=last,
    )
    work = ints["n"] * ints["nh"] * ints["nw"] * ci * co
    parts = max(1, min(threads, work >> 11))
    if kind == "weight":
        ints |= weight_pieces(spec, ints, parts)
        parts = min(threads, ints["go"] * ints["gk"])
    else:
        ints |= winograd_pieces(spec, ints, target.caches, parts)
        parts = min(threads, ints["go"] * ints["gp"])
        ints |= winograd_workspace(spec, ints)
    return ConvPlan(spec, ints, parts, ints["ws"] * SIZE[dtype], ints["ts"] * 8)


def _ends(
    kind: str, g: Geometry, x: Sequence[int], y: Sequence[int]
) -> tuple[Sequence[int], Sequence[int], tuple[int, int, int], tuple[int, int, int]]:
    """Strides of the source and of the output of a kind, and the extents of their planes."""
    return (y, x, g.out, g.size) if kind == "data" else (x, y, g.size, g.out)


def _last(
    kind: str,
    g: Geometry,
    x: Sequence[int],
    w: Sequence[int],
    y: Sequence[int],
    dtype: str,
    target: Vectors,
    threads: int,
) -> ConvPlan:
    """Of images whose channels are innermost."""
    if tiles := by_winograd(kind, g, dtype):
        return _winograd(kind, tiles, g, x, w, y, dtype, target, threads, True)
    if kind == "data":
        return _data(g, x, w, y, dtype, target, threads, True)
    x, y, g = _flattened(*_read(x, y, g))
    ints = _shared(g) | _axes("s", g.size) | _axes("o", g.out) | _axes("p", g.padding)
    ints |= {"ci": g.cin // g.groups, "co": g.cout // g.groups}
    extent = _copied(g, (1, 1, 1))
    ints |= _axes("e", extent) | _strides(x, y)
    ints |= _weights_lie(g, w)
    ints["zero"] = int(any(g.padding) or any(e > n for e, n in zip(extent, g.size, strict=True)))
    spec = ConvSpec(kind, dtype, 1, 1, 1, False, False, by="channels", last=True, **_flags(g))
    if kind == "weight":
        return _weights(spec, ints, math.prod(extent) * pixel_pitch(ints["ci"]), target, threads)
    return _channel_tiles(spec, ints, math.prod(extent), target, threads)


def _by_planes(kind: str, g: Geometry) -> bool:
    """Whether a convolution is a depthwise one whose rows share what they read."""
    apart = [(g.taps[a] - 1) * g.dilation[a] for a in (1, 2)]
    plain = g.size[0] == g.taps[0] == g.stride[0] == 1 and g.padding[0] == 0
    if kind == "weight" or not plain or g.groups == 1 or g.cin > g.groups or g.cout > THIN * g.groups:
        return False
    if not (g.taps[1] > 1 and g.taps[1] * g.taps[2] <= TAPS and g.out[1] > 1 and max(g.stride) <= 4):
        return False
    back = max(g.stride) == 1 and g.cout == g.groups and all(g.padding[1 + k] <= apart[k] for k in (0, 1))
    return kind == "forward" or back


def _planes(
    kind: str,
    g: Geometry,
    x: Sequence[int],
    w: Sequence[int],
    y: Sequence[int],
    dtype: str,
    target: Vectors,
    threads: int,
) -> ConvPlan:
    """By rows of planes: see conv_planes."""
    window = Window(*(v[a] for v in (g.taps, g.stride, g.dilation) for a in (1, 2)))
    data = kind == "data"
    source, out, size, extent = _ends(kind, g, x, y)
    vector, taps = target.vector_bits // 8 // SIZE[dtype], g.taps[1] * g.taps[2]
    rows, lanes = planes_tile(extent[1], extent[2], taps, vector, registers(target))
    strided = max(g.stride) > 1
    spec = ConvSpec(
        kind, dtype, rows, lanes, vector, source[4] == 1, out[4] == 1, strided, grouped=True, by="planes"
    )
    apart = [(g.taps[a] - 1) * g.dilation[a] for a in range(3)]
    before = [n - p if data else p for n, p in zip(apart, g.padding, strict=True)]
    high = [1, round_up(extent[1], rows), extent[2]]
    copy = [ceil_div((high[a] - 1) * g.stride[a] + apart[a] + 1, g.stride[a]) for a in range(3)]
    ints = _shared(g) | _axes("s", size) | _axes("o", extent) | _axes("p", before) | _axes("e", copy)
    ints |= {"ci": 1, "co": g.cout // g.groups, "zero": 1} | _strides(source, out)
    ints |= _weights_lie(g, w)
    ints["wp"] = copy[1] * copy[2] * g.stride[1] * g.stride[2] + lanes
    ints["ws"] = ints["wp"] + taps + 64 // SIZE[dtype]
    parts = max(1, min(threads, g.images * g.groups, _units(spec, ints)[1] >> 16))
    return ConvPlan(spec._replace(window=window), ints, parts, ints["ws"] * SIZE[dtype], 0)


def _read(x: Sequence[int], y: Sequence[int], g: Geometry) -> tuple[Sequence[int], Sequence[int], Geometry]:
    """A convolution of one tap without padding, as one over those elements that it reads: every `stride`-th one."""
    if g.taps != (1, 1, 1) or any(g.padding) or g.stride == (1, 1, 1):
        return x, y, g
    steps = tuple(s * t for s, t in zip(x[2:], g.stride, strict=True))
    return (*x[:2], *steps), y, g._replace(size=g.out, stride=(1, 1, 1), dilation=(1, 1, 1))


def _flattened(
    x: Sequence[int], y: Sequence[int], g: Geometry
) -> tuple[Sequence[int], Sequence[int], Geometry]:
    """A convolution without neighbours over dense planes, as one over a single row."""
    plain = g.taps == (1, 1, 1) and g.padding == (0, 0, 0) and g.stride == (1, 1, 1)
    if not (plain and _dense(x, g.size) and _dense(y, g.size)):
        return x, y, g
    row = (1, 1, g.size[0] * g.size[1] * g.size[2])
    return (*x[:2], 0, 0, x[4]), (*y[:2], 0, 0, y[4]), g._replace(size=row, out=row)


def _flags(g: Geometry) -> dict[str, Any]:
    flat = g.size[0] == g.taps[0] == g.stride[0] == g.dilation[0] == 1 and g.padding[0] == 0
    return {"strided": max(g.stride) > 1, "grouped": g.groups > 1, "flat": flat}


def _shared(g: Geometry) -> dict[str, int]:
    ints = {"n": g.images, "g": g.groups, "go": 1, "gk": 1, "pg": 1, "ws": 0, "wp": 0, "wb": 0, "ts": 0}
    ints |= _axes("k", g.taps) | _axes("j", g.dilation) | _axes("t", g.stride) | _axes("a", g.padding)
    return ints


def _strides(x: Sequence[int], y: Sequence[int]) -> dict[str, int]:
    names = ("n", "c", *AXES)
    return {"x" + k: v for k, v in zip(names, x, strict=True)} | {
        "y" + k: v for k, v in zip(names, y, strict=True)
    }


def _weights_lie(g: Geometry, w: Sequence[int]) -> dict[str, int]:
    """Strides of the weights: of a group's, of output channels, of input channels, of taps."""
    return {"wg": g.cout // g.groups * w[0], "wo": w[0], "wc": w[1]} | _axes("w", w[2:])


def _copied(g: Geometry, steps: tuple[int, int, int]) -> tuple[int, int, int]:
    """Extents of a residue plane of the input's copy."""
    needed = [(g.out[a] - 1) * g.stride[a] + (g.taps[a] - 1) * g.dilation[a] + 1 for a in range(3)]
    return needed[0], ceil_div(needed[1], steps[1]), ceil_div(needed[2], steps[2])


def _apart(extent: tuple[int, int, int]) -> tuple[int, int, int]:
    """A row more where channels would lie a large power of two apart, and so share lines of the first cache."""
    d, h, w = extent
    return (d, h + 1, w) if d * h * w % 128 == 0 else extent


def _lone(g: Geometry, w: Sequence[int]) -> bool:
    """Whether weights lie in the order of k, there are many, and they are used for so few positions that it does not
    pay to pack them (AVX2 does it faster). With a stride the copy of the image costs more than that."""
    depth, high, wide = g.out
    length = depth * high * (wide + (g.taps[2] - 1) * g.dilation[2])
    inner = (*reversed(g.taps), g.cin // g.groups)
    many = g.images == 1 and math.prod(inner) * g.cout >= FILTERS and length <= LONE
    return many and g.stride == (1, 1, 1) and _follow(inner, (*reversed(w[2:]), w[1]))


def _vast(g: Geometry, w: Sequence[int]) -> bool:
    """Whether that holds for one tap too, for which a product packs the few positions and the many weights."""
    plain = g.taps == (1, 1, 1) and g.padding == (0, 0, 0) and g.groups == 1
    few = plain and math.prod(g.out) <= SMALL and g.cin * g.cout >= VAST
    return few and _lone(g._replace(size=g.out, stride=(1, 1, 1)), w)


def _by_channels(channels: int, target: Vectors, dtype: str, out: Sequence[int], size: Sequence[int]) -> bool:
    """Whether lanes shall be output channels: there are enough, and planes are written in one piece."""
    lanes = 2 * target.vector_bits // 8 // SIZE[dtype]
    full = channels * 5 >= ceil_div(channels, lanes) * lanes * 4
    return full and channels >= lanes and out[4] == 1 and _dense(out, (size[0], size[1], size[2]))


def _data(
    g: Geometry,
    x: Sequence[int],
    w: Sequence[int],
    y: Sequence[int],
    dtype: str,
    target: Vectors,
    threads: int,
    last: bool = False,
) -> ConvPlan:
    x, y, g = (x, y, g) if last else _flattened(x, y, g)
    before = [max(0, ceil_div((g.taps[a] - 1) * g.dilation[a] - g.padding[a], g.stride[a])) for a in range(3)]
    extent = [
        ceil_div(g.size[a], g.stride[a]) + (g.stride[a] - 1 + g.padding[a]) // g.stride[a] + before[a]
        for a in range(3)
    ]
    by = "channels" if last or _by_channels(g.cin // g.groups, target, dtype, x, g.size) else "pixels"
    extent = extent if last else list(_apart((extent[0], extent[1], extent[2])))
    ints = _shared(g) | _axes("s", g.out) | _axes("o", g.size) | _axes("p", before) | _axes("e", extent)
    ints |= {"ci": g.cout // g.groups, "co": g.cin // g.groups, "zero": 1}
    ints |= _strides(y, x) | {"wg": g.cout // g.groups * w[0], "wo": w[1], "wc": w[0]} | _axes("w", w[2:])
    strided = max(g.stride) > 1
    how = _flags(g)
    ends = (y[4] == 1, x[4] == 1 and not strided)
    spec = ConvSpec("data", dtype, 1, 1, 1, *ends, by=by, last=last, **how)
    return _tiles(spec, ints, extent[0] * extent[1] * extent[2], target, threads)


def _tiles(spec: ConvSpec, ints: dict[str, int], channel: int, target: Vectors, threads: int) -> ConvPlan:
    """Tile and parts of a forward or data kernel; channel: elements of one channel's copy."""
    if spec.by == "channels":
        return _channel_tiles(spec, ints, channel, target, threads)
    size = SIZE[spec.dtype]
    vector = target.vector_bits // 8 // size
    steps = [ints["t" + a] if spec.kind == "data" else 1 for a in AXES]
    plane = ceil_div(ints["oh"], steps[1]) * ints["ew"]
    most = _addressed(target) if spec.own else 24
    rows, nv = tile(ints["co"], plane, vector, registers(target), False, most=most)
    k = ints["ci"] * ints["kd"] * ints["kh"] * ints["kw"]
    panels = ceil_div(ints["co"], rows)
    units, work = _units(spec, ints)
    parts = max(1, min(threads, units * panels, work >> 16))
    ints["go"] = 1 if units % parts == 0 or units >= 4 * parts else min(panels, parts)
    rows = even_rows(ints["co"], rows, ints["go"])
    panels = ceil_div(ints["co"], rows)
    ints["pg"] = max(1, min(panels, 128 * 1024 // (rows * k * size)))
    narrow = "no" if _rowwise(spec, ints) and ints["co"] >= vector and k >= vector else "yes"
    spec = spec._replace(rows=rows, lanes=nv * vector, block=vector, narrow=narrow)
    ints["wp"] = ints["ci"] * channel + spec.lanes
    packed = 0 if spec.own else (ceil_div(panels, ints["go"]) * (k + SPARE) + SPARE) * weight_pitch(spec)
    ints["ws"] = ints["wp"] + packed + 64
    ints["ts"] = 2 * k
    return ConvPlan(spec, ints, parts, ints["ws"] * size, ints["ts"] * 8)


def _units(spec: ConvSpec, ints: dict[str, int]) -> tuple[int, int]:
    """How many (image, group, residue) there are, and multiply-adds in all."""
    phases = ints["td"] * ints["th"] * ints["tw"] if spec.kind == "data" else 1
    work = ints["n"] * ints["g"] * ints["co"] * ints["ci"] // phases
    for a in AXES:
        work *= ints["k" + a] * ints["o" + a]
    return ints["n"] * ints["g"] * phases, work


def _rowwise(spec: ConvSpec, ints: dict[str, int]) -> bool:
    """Whether the weights of an output channel follow each other in the order of k."""
    extents = [ints["k" + a] for a in reversed(AXES)] + [ints["ci"]]
    strides = [ints["w" + a] for a in reversed(AXES)] + [ints["wc"]]
    return spec.kind == "forward" and _follow(extents, strides)


def _follow(extents: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether elements lie one after the other, the first axis the fastest."""
    steps = zip(extents, strides, strict=True)
    return all(n == 1 or step == math.prod(extents[:axis]) for axis, (n, step) in enumerate(steps))


PIECE = 160 << 10  # bytes of packed weights that are not worth dividing
COPIED = 64  # multiply-adds beside which copying an element of an image costs little


def _addressed(target: Vectors) -> int:
    """Rows of a tile that have an address each. x86 has general registers for as many as leave the sums of AVX-512 half
    of the vector registers: with 14 of them addresses wait in memory, and a step takes half as long again."""
    return 8 if registers(target) == 32 and target.vector_bits == 512 else 24


def _channel_tiles(
    spec: ConvSpec, ints: dict[str, int], channel: int, target: Vectors, threads: int
) -> ConvPlan:
    """As `_tiles`, with output channels as lanes."""
    size = SIZE[spec.dtype]
    vector = target.vector_bits // 8 // size
    steps = [ints["t" + a] if spec.kind == "data" else 1 for a in AXES]
    area = 1
    for a, s in zip(AXES, steps, strict=True):
        area *= ceil_div(ints["o" + a], s)
    lanes = 2 * vector
    if spec.last:  # elements of a copy, as many for each channel
        channel = ceil_div(channel * pixel_pitch(ints["ci"]), ints["ci"])
        lanes = lanes if ints["co"] * 5 >= round_up(ints["co"], lanes) * 4 else vector
    panels, work = ceil_div(ints["co"], lanes), _units(spec, ints)[1]
    # the gradient of data that were padded has no zeros before it, but begins further on
    direct = (
        not spec.last
        and all(ints[n + a] == 1 for n in "kt" for a in AXES)
        and not any(ints[n + a] for n in "pa" for a in AXES)
    )
    k = ints["ci"] * ints["kd"] * ints["kh"] * ints["kw"]
    # each part copies the images of its channels, or packs the weights of its images: the larger is shared out
    heavy = ints["co"] * k > ints["n"] * ints["ci"] * channel
    ints["pg"] = max(1, min(ints["n"], (4 if direct else 2) * BLOCK // area))
    if heavy and not direct and area <= LARGE:
        # weights pass a block of positions, in as few turns as they fill
        ints["pg"] = balanced(ints["n"], LARGE // area)
    large = heavy and not direct and BLOCK < area * ints["pg"] <= LARGE
    top = 6 if registers(target) == 16 else 14 if direct else min(14, _addressed(target) - 1)
    rows = min(top, area * ints["pg"])
    units = ceil_div(ints["n"], ints["pg"]) * ints["g"]
    blocks = ceil_div(area, BLOCK)
    parts = max(1, min(threads, units * panels * blocks, work >> 16))
    uneven = units % parts and units < 4 * parts
    if uneven and panels % parts and not heavy and blocks >= 4 * parts:
        ints["gk"] = parts
    elif panels >= parts and (heavy or uneven):
        # pieces whose packed weights take little memory, where the images are copied once or that costs little
        images = 0 if ints["n"] <= ints["pg"] else ints["n"] * ints["ci"] * channel
        least = max(ceil_div(PIECE, lanes * k * size), ceil_div(COPIED * images * panels, max(work, 1)))
        ints["go"] = parts * max(1, panels // (parts * least)) if heavy else parts
    narrow = "unit" if ints["wo"] == 1 else "yes"
    if spec.kind == "forward" and ints["wc"] == 1 and min(ints["ci"], ints["co"]) >= vector:
        narrow = "turn"
    if _rowwise(spec, ints) and k >= vector:
        narrow = "no"
    spec = spec._replace(rows=rows, lanes=lanes, block=vector, narrow=narrow)
    spec = spec._replace(direct=direct, large=large)
    ints |= channels_workspace(spec, ints, channel, area)
    return ConvPlan(spec, ints, parts, ints["ws"] * size, ints["ts"] * 8)


def _weights(spec: ConvSpec, ints: dict[str, int], channel: int, target: Vectors, threads: int) -> ConvPlan:
    size = SIZE[spec.dtype]
    vector = target.vector_bits // 8 // size
    taps, plane = ints["kd"] * ints["kh"] * ints["kw"], ints["od"] * ints["oh"] * ints["ow"]
    weights = ints["ci"] * taps
    work = ints["n"] * ints["g"] * ints["co"] * weights * plane
    if ints["co"] <= THIN and ints["g"] > 1 and not spec.last:
        ints |= thin_workspace(ints, channel)
        most = (registers(target) - 2) // max(1, LANES // vector)  # a sum for each, and the gradient's vector
        spec = spec._replace(kind="thin", rows=even_rows(weights, max(1, min(9, most)), 1))
        return ConvPlan(
            spec, ints, max(1, min(threads, ints["g"], work >> 16)), ints["ws"] * size, ints["ts"] * 8
        )
    rows, nv = tile(weights, ints["co"], vector, registers(target), False, most=_addressed(target))
    narrow = "yes" if plane < vector else "lanes" if ints["co"] < vector else "no"
    spec = spec._replace(rows=rows, lanes=nv * vector, block=vector, narrow=narrow)
    high, wide = ceil_div(weights, rows), ceil_div(ints["co"], spec.lanes)
    parts = max(1, min(threads, ints["g"] * high * wide, work >> 16))
    ints |= {"gk": 1, "go": 1}
    if ints["g"] % parts and ints["g"] < 4 * parts:
        ints["gk" if high >= 2 * parts or high >= wide else "go"] = min(parts, max(high, wide))
    spec = spec._replace(rows=even_rows(weights, rows, ints["gk"]))
    ints |= workspace(ints, spec, channel)
    return ConvPlan(spec, ints, parts, ints["ws"] * size, ints["ts"] * 8)


def build(spec: ConvSpec | Spec, epilogue: Epilogue | None = None, name: str = "conv") -> Kernel:
    """The kernel of a spec."""
    if isinstance(spec, Spec):
        return planning.build(spec, epilogue, name)
    if spec.kind not in ("weight", "thin"):
        return conv(spec, epilogue, name)
    return conv_weight(spec, epilogue, name, (Innermost, InnermostWeights) if spec.last else None)


def constants(spec: ConvSpec | Spec) -> dict[str, int]:
    """The integers that are constants of the kernel."""
    return contraction.fixed_ints(spec) if isinstance(spec, Spec) else fixed_ints(spec)


def args(kernel: Kernel, p: ConvPlan) -> list[tuple[str, int | None]]:
    """(name, value) of every parameter of a kernel of this plan; None for buffers."""
    known = p.ints | constants(p.spec)
    return [(param.name, known.get(param.name)) for param in kernel.params]


def _dense(strides: Sequence[int], size: tuple[int, int, int]) -> bool:
    """Whether the positions of a plane lie at equal distances."""
    d, h, w = strides[2:]
    return (size[1] == 1 or h == w * size[2]) and (size[0] == 1 or d == w * size[1] * size[2])
