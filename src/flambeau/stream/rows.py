"""Recipes of the nodes that work on rows: `sort` (or the k first), `select` (the one of some rank), `runs`, `scan`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..loop.recipes import distances
from ..loop.recipes import runs as find_runs
from ..loop.recipes import scan as scans
from ..loop.recipes import select as selects
from ..loop.recipes import sort as sorts
from ..shapes import numel
from .backend import current
from .contraction import named_launch, whole
from .program import Launch
from .recipes import recipe
from .scatter import merged
from .schedule import PNode

RADIX = 128  # elements from which on a row is sorted by radix
SOME = 64  # elements for each of the first ones from which on a row is not sorted as a whole
LARGE = 1 << 20  # elements that no cache holds, with the results
SERIAL_WORK = 4000  # elements below which one thread is faster


def axes_of(x: Any, out: Any, dim: int) -> list[tuple[int, tuple[int, ...]]]:
    """The axes of the rows along dim, with the strides of input and result."""
    return merged([(n, (x.strides[d], out.strides[d])) for d, n in enumerate(out.shape) if d != dim])


def parts_of(rows: int, work: int, least: int = SERIAL_WORK) -> int:
    """How many parts rows are divided into for so much work; least: below which one thread is faster."""
    return 1 if work < least else max(1, min(rows, 4 * current().get_num_threads()))


def can_pack(dtype: Any, n: int) -> bool:
    """Whether key and place share an i64."""
    return dtype.itemsize <= 4 and dtype.short != "u32" and n < 2**31


@recipe("sort")
def sort(node: PNode) -> Sequence[Launch]:
    """attrs: (dim, descending, k): all of a row if k is its length, else the k first. Places may be left out."""
    dim, descending, k = node.attrs
    x, values = node.ins[0], whole(node.outs[0])
    n = x.shape[dim]
    if not numel(values.shape):
        return []
    axes = axes_of(x, values, dim)
    rows = numel([m for m, _ in axes])
    dtype = x.buf.dtype.short
    packed = can_pack(x.buf.dtype, n)
    way = "merge" if not RADIX <= n < 2**31 else "count" if dtype in ("u8", "i8") else "radix"
    if (k <= sorts.FEW and 4 * k <= n) or SOME * k <= n:
        way = "few" if k <= sorts.FEW else "some"
    digit = 8 if n < (2048 if packed else 512) else sorts.DIGIT  # so that counts are no more than elements
    dense = x.strides[dim] == 1
    spec = sorts.Sort(dtype, len(axes), descending, packed, way, len(node.outs) > 1, digit, dense)
    parts = parts_of(rows, rows * n)
    ints = {"n": n, "k": k, "xs": x.strides[dim], "vs": values.strides[dim]}
    for i, (m, (xs, vs)) in enumerate(axes):
        ints |= {f"a{i}": m, f"x_a{i}": xs, f"v_a{i}": vs}
    work = {"work": parts * n * 8 * (4 if spec.apart else 2)}
    bufs = {"x": x, "values": values}
    if spec.places:
        bufs["places"] = whole(node.outs[1])
    return [named_launch(spec, lambda: sorts.kernel(spec), parts, "sort", bufs, ints, work)]


@recipe("select")
def select(node: PNode) -> Sequence[Launch]:
    """attrs: (dim,); the ranks have the shape of the results."""
    (dim,) = node.attrs
    x, at = node.ins
    values, places = (whole(b) for b in node.outs)
    if not numel(values.shape):
        return []
    n, dims = x.shape[dim], [d for d in range(len(x.shape)) if d != dim]
    axes = merged(
        [
            (m, (x.strides[d], values.strides[k], at.strides[k]))
            for k, (d, m) in enumerate(zip(dims, values.shape))
        ]
    )
    rows, dtype = numel(values.shape), x.buf.dtype.short
    packed = can_pack(x.buf.dtype, n)
    spec = sorts.Sort(dtype, len(axes), False, packed, "select")
    digit = sorts.DIGIT if n >= 8192 else 8
    parts = parts_of(rows, rows * n)
    ints = {"n": n, "k": 1, "xs": x.strides[dim], "vs": 1}
    for i, (m, (xs, vs, rs)) in enumerate(axes):
        ints |= {f"a{i}": m, f"x_a{i}": xs, f"v_a{i}": vs, f"r_a{i}": rs}
    work = {"work": parts * n * 8 * (1 if packed else 2)}
    bufs = {"x": x, "values": values, "places": places, "at": at}
    make = lambda: selects.kernel(spec, digit)
    return [named_launch((spec, digit), make, parts, "select", bufs, ints, work)]


@recipe("runs")
def runs(node: PNode) -> Sequence[Launch]:
    """Of equal neighbours in a vector: the first, where they start, their number; attrs: (whether also ranks,)."""
    x, *places = node.ins
    (ranks,) = node.attrs
    names = ("first", "starts", "number", "ranks")
    bufs = {"x": x} | {n: whole(b) for n, b in zip(names, node.outs)}
    ints = {"n": x.shape[0], "xs": x.strides[0]}
    if places:
        bufs["places"], ints["ps"] = places[0], places[0].strides[0]
    dtype = x.buf.dtype.short
    spec = ("runs", dtype, ranks, bool(places))
    return [
        named_launch(spec, lambda: find_runs.kernel(dtype, ranks, bool(places)), 1, "runs", bufs, ints, {})
    ]


@recipe("scan")
def scan(node: PNode) -> Sequence[Launch]:
    """attrs: (kind, dim)."""
    kind, dim = node.attrs
    x, out = node.ins[0], whole(node.outs[0])
    if not numel(out.shape):
        return []
    axes = axes_of(x, out, dim)
    rows, n = numel([m for m, _ in axes]), out.shape[dim]
    lanes = bool(axes) and axes[-1][1][1] == 1 and axes[-1][0] >= 4
    dense = (axes[-1][1] if lanes else (x.strides[dim], out.strides[dim])) == (1, 1)
    spec = scans.Scan(kind, x.buf.dtype.short, len(axes), lanes, dense)
    ints = {"n": n, "xs": x.strides[dim], "os": out.strides[dim]}
    if lanes:  # a panel for each thread; two, where they are in the caches and a late thread counts
        across, lead = axes[-1][0], rows // axes[-1][0]
        share = -(-current().get_num_threads() * (1 if rows * n >= LARGE else 2) // lead)
        ints["panel"] = min(scans.PANEL, -(-across // (share * scans.LANES)) * scans.LANES)
        rows = lead * -(-across // ints["panel"])
    for i, (m, (xs, os)) in enumerate(axes):
        ints |= {f"a{i}": m, f"x_a{i}": xs, f"o_a{i}": os}
    bufs = {"x": x, "out": out}
    if len(node.outs) > 1:
        bufs["places"] = whole(node.outs[1])
    return [
        named_launch(
            spec, lambda: scans.kernel(spec), parts_of(rows, numel(out.shape)), f"cum{kind}", bufs, ints, {}
        )
    ]


@recipe("pdist")
def pdist(node: PNode) -> Sequence[Launch]:
    """attrs: (backward,); x (m, n) with points as columns, backward distances and their gradients too."""
    (backward,) = node.attrs
    bufs = dict(zip(("x", "dist", "grad") if backward else ("x",), node.ins)) | {"out": whole(node.outs[0])}
    m, n = bufs["x"].shape
    dtype = bufs["x"].buf.dtype.short
    parts = parts_of(n, m * n * n)
    work = {"row": parts * n * bufs["x"].buf.dtype.itemsize} if backward else {}
    make = lambda: distances.kernel(dtype, backward)
    key = ("pdist", dtype, backward)
    return [named_launch(key, make, parts, "pdist", bufs, {"m": m, "n": n}, work)]
