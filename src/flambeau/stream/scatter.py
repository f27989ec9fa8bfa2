"""The recipe of the node `scatter`: checks of its indices, then the writes, in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..loop.recipes import scatter as kernels
from ..shapes import numel
from .contraction import named_launch
from .program import Launch
from .recipes import recipe
from .schedule import PNode, PVal

SERIAL_WORK = 24000  # elements below which one thread is faster
PARTS = 64
MOST, MANY = 1 << 14, 16  # places of a dest that is copied; elements that come to each of them, at least


def merged(axes: list[tuple[int, tuple[int, ...]]]) -> list[tuple[int, tuple[int, ...]]]:
    """Axes (extent, strides of each operand) without those of extent 1; neighbours walked as one are joined."""
    out: list[tuple[int, tuple[int, ...]]] = []
    for n, strides in axes:
        if n == 1:
            continue
        if out and all(s == t * n for s, t in zip(out[-1][1], strides)):
            out[-1] = (out[-1][0] * n, strides)
        else:
            out.append((n, strides))
    return out


def check_launch(v: PVal, extent: int, label: str, dim: int, form: Any) -> Launch:
    """Every element of an index in range; negative ones count from the end if label is "index"."""
    axes = merged([(n, (s,)) for n, s in zip(v.shape, v.strides) if s]) or [(1, (0,))]
    ints = {"size": extent}
    for k, (n, (s,)) in enumerate(axes):
        ints |= {f"n{k}": n, f"s{k}": s}
    negative, count, dense = label == "index", len(axes), axes[-1][1][0] == 1
    total = numel([n for n, _ in axes])
    make = lambda: kernels.check(count, negative, dense)
    launch = named_launch(
        ("check_index", count, negative, dense),
        make,
        PARTS if total > SERIAL_WORK else 1,
        label,
        {"index": v},
        ints,
        {},
    )
    launch.checks = {1: (label, extent, form, dim)}
    return launch


def innermost(free: list[Any], ordered: list[Any]) -> str:
    """Along which axis elements that come one by one lie side by side: the last "free" or the last "serial" one."""
    if not free or not ordered:
        return "free" if free else "serial"
    return "free" if sum(map(abs, free[-1][1][1:])) < sum(map(abs, ordered[-1][1][1:])) else "serial"


def copied(dest: PVal, mode: str, work: int) -> int:
    """Bytes of copies of a dest that parts write into where their order makes no difference; 0: there are none."""
    size, type = dest.shape[0], dest.buf.dtype
    if work < SERIAL_WORK or size > MOST or size * MANY > work or not kernels.any_order(mode, type.short):
        return 0
    return kernels.COPIES * size * type.itemsize


def integers(free: list[Any], ordered: list[Any], indices: int) -> dict[str, int]:
    """Extents and strides of the axes, by their names in the kernel."""
    ints: dict[str, int] = {}
    for k, (n, s) in enumerate(free):
        ints |= {f"r{k}": n, f"d_r{k}": s[0], f"s_r{k}": s[1]}
        ints |= {f"i{j}_r{k}": s[2 + j] for j in range(indices)}
    for k, (n, s) in enumerate(ordered):
        ints |= {f"b{k}": n, f"s_b{k}": s[1]} | {f"i{j}_b{k}": s[2 + j] for j in range(indices)}
    return ints


@recipe("scatter")
def scatter(node: PNode) -> Sequence[Launch]:
    """attrs: (writes, mode, indexed dims of dest, the axis each other dim follows, shape, serial axes, label)."""
    _, mode, at, follows, shape, serial, label = node.attrs
    dest, src, *index = node.ins
    launches = [check_launch(i, dest.shape[d], label, d, node.form) for i, d in zip(index, at)]
    if not numel(shape):
        return []
    along = [0] * len(shape)
    for d, a in enumerate(follows):
        if a is not None and dest.shape[d] > 1:
            along[a] = dest.strides[d]
    columns = [(n, (along[a], src.strides[a], *[i.strides[a] for i in index])) for a, n in enumerate(shape)]
    free = merged([c for a, c in enumerate(columns) if a not in serial])
    ordered = merged([c for a, c in enumerate(columns) if a in serial])
    rows = bool(free) and not any(any(s[2:]) for _, s in free) and max(map(abs, free[-1][1][:2])) <= 1
    line = innermost(free, ordered)
    inner = (free if line == "free" else ordered)[-1][1] if free or ordered else (0,) * (2 + len(at))
    ones = tuple(s == 1 and not rows for s in (*inner[1:], *[dest.strides[d] for d in at]))
    work = numel(shape)
    outer = numel([n for n, _ in free[:-1]])
    lines = rows or line == "free"
    split = "" if work < SERIAL_WORK or not free else "outer" if not lines or outer >= 16 else "last"
    alias = tuple(any(v.buf is w.buf for w in node.ins if w is not v) for v in node.ins)
    bytes_ = (
        copied(dest, mode, work) if not free and len(ordered) == 1 and len(at) == 1 == len(dest.shape) else 0
    )
    split = "copies" if bytes_ and not any(alias) else split
    first, second = free[-1][1][:2] if rows else ("s", "s")
    unit = (first if first in (0, 1) else "s", second if second in (0, 1) else "s")
    spec = kernels.Scatter(
        dest.buf.dtype.short,
        mode,
        len(free),
        len(ordered),
        len(index),
        rows,
        split,
        unit,
        alias,
        line,
        ones,
        label == "index",
    )
    ints = integers(free, ordered, len(index)) | {f"e{j}": dest.shape[d] for j, d in enumerate(at)}
    ints |= {f"t{j}": dest.strides[d] for j, d in enumerate(at)}
    bufs = {"dest": dest, "src": src} | {f"i{j}": v for j, v in enumerate(index)}
    title = node.form.name if node.form is not None else "scatter"
    launches.append(
        named_launch(
            spec,
            lambda: kernels.kernel(spec),
            PARTS if split else 1,
            title,
            bufs,
            ints,
            {"copies": bytes_} if split == "copies" else {},
        )
    )
    return launches
