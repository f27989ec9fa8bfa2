"""Recipes of the nodes that work on rows: `sort` (also the k first), `scan`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..loop.recipes import scan as scans
from ..loop.recipes import sort as sorts
from ..shapes import numel
from .backend import current
from .contraction import named_launch, whole
from .program import Launch
from .recipes import recipe
from .scatter import merged
from .schedule import PNode

SERIAL_WORK = 4000  # elements below which one thread is faster


def axes_of(x: Any, out: Any, dim: int) -> list[tuple[int, tuple[int, ...]]]:
    """The axes of the rows along dim, with the strides of input and result."""
    return merged([(n, (x.strides[d], out.strides[d])) for d, n in enumerate(out.shape) if d != dim])


def parts_of(rows: int, work: int) -> int:
    """How many parts rows are divided into for so much work."""
    return 1 if work < SERIAL_WORK else max(1, min(rows, 4 * current().get_num_threads()))


@recipe("sort")
def sort(node: PNode) -> Sequence[Launch]:
    """attrs: (dim, descending, k): all of a row if k is its length, else the k first."""
    dim, descending, k = node.attrs
    x, values, places = node.ins[0], whole(node.outs[0]), whole(node.outs[1])
    n = x.shape[dim]
    if not numel(values.shape):
        return []
    axes = axes_of(x, values, dim)
    rows = numel([m for m, _ in axes])
    dtype = x.buf.dtype.short
    packed = x.buf.dtype.itemsize <= 4 and dtype != "u32" and n < 2**31
    way = "radix" if 512 <= n < 2**31 else "merge"
    if 4 * k <= n:
        way = "few" if k <= sorts.FEW else "some"
    spec = sorts.Sort(dtype, len(axes), descending, packed, way)
    parts = parts_of(rows, rows * n)
    ints = {"n": n, "k": k, "xs": x.strides[dim], "vs": values.strides[dim]}
    for i, (m, (xs, vs)) in enumerate(axes):
        ints |= {f"a{i}": m, f"x_a{i}": xs, f"v_a{i}": vs}
    work = {"work": parts * n * 8 * (2 if packed else 4)}
    bufs = {"x": x, "values": values, "places": places}
    return [named_launch(spec, lambda: sorts.kernel(spec), parts, "sort", bufs, ints, work)]


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
    spec = scans.Scan(kind, x.buf.dtype.short, len(axes), lanes)
    ints = {"n": n, "xs": x.strides[dim], "os": out.strides[dim]}
    for i, (m, (xs, os)) in enumerate(axes):
        ints |= {f"a{i}": m, f"x_a{i}": xs, f"o_a{i}": os}
    bufs = {"x": x, "out": out}
    if len(node.outs) > 1:
        bufs["places"] = whole(node.outs[1])
    return [
        named_launch(spec, lambda: scans.kernel(spec), parts_of(rows, rows * n), f"cum{kind}", bufs, ints, {})
    ]
