"""Recipes of the nodes `contract` (batched matrix product) and `convolve`: which kernel, which parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..loop.recipes import conv_planning, planning
from ..loop.recipes import tail as tails
from ..loop.recipes.planning import Strides
from .backend import current
from .fusion import nest_names
from .nodes import PNode, PVal
from .program import Launch
from .recipes import recipe

SEEN: dict[Any, set[int]] = {}  # layouts and what stays of the extents -> the numbers of rows met there
MANY = 4  # kernels of one layout, each for its number of rows
LONG = 6  # operations of a tail from which on its code is worth sharing among the rows of a tile
SMALL = 256  # numbers of rows up to which other ones met before end it that each has its kernel


def several_rows(layout: Any, m: int, n: int, k: int) -> bool:
    """Note a number of rows; whether others were met where it is all that changed (also as another extent).

    Many rows have few kernels of their own: their tiles are full, and they differ in whether the last one is."""
    if m > SMALL:
        return False
    met = SEEN.setdefault(layout, set())
    met.add(m)
    several = len(met) > MANY
    places: list[Any] = [(layout, n, k)]
    if m == n:
        places.append((layout, "rows", k))
    if m == k:
        places.append((layout, n, "rows"))
    for place in places:
        met = SEEN.setdefault(place, set())
        met.add(m)
        several = several or len(met) > 1
    return several


def whole(buf: Any) -> PVal:
    """All of a buffer as a value."""
    return PVal(buf, buf.shape, buf.strides, 0)


def named_launch(
    key: Any,
    make: Any,
    parts: int,
    title: str,
    bufs: dict[str, Any],
    ints: dict[str, int],
    work: dict[str, int],
) -> Launch:
    """A launch whose parameters are found by name; bufs: name -> PVal; work: name -> bytes of scratch."""
    launch = Launch(key, make, parts, title)
    launch.names = {n: i for i, n in enumerate((*bufs, *work))}
    launch.bufs = [(v.buf, v.off, v.offslot) for v in bufs.values()]
    launch.scratch = list(work.values())
    launch.values = ints
    return launch


def with_tail(launch: Launch, node: PNode, tail: Any, then: Any) -> list[Launch]:
    """The launch of a product, with what it needs to know of what follows in its kernel."""
    launch.product = (node, tail)
    if tail is None:
        return [launch]
    buffers = {n: (a.buf, a.off, a.offslot) for n, a in zip(tails.names(tail.tail), tail.bufs)}
    ints, numbers = dict(tail.ints), dict(tail.numbers)
    if then is not None:
        more, sizes, values = nest_names(then)
        buffers, ints, numbers = buffers | more, ints | sizes, numbers | values
        launch.checks = dict(then.checks.items())
    work = len(launch.scratch)
    count = len(launch.bufs)
    known = launch.names or {}
    names = sorted(known, key=known.__getitem__)
    names = names[:count] + list(buffers) + names[count : count + work]
    launch.names = {n: i for i, n in enumerate(names)}
    launch.bufs = launch.bufs + list(buffers.values())
    launch.values = launch.values | ints
    launch.numbers, launch.number_names = list(numbers.values()), tuple(numbers)
    launch.title += f"_{tail.title}" if tail.title else ""
    return [launch]


@recipe("contract")
def contract(node: PNode, tail: Any = None, then: Any = None) -> Sequence[Launch]:
    """C[b, i, j] = sum over k of A[b, i, k] B[b, k, j]; the extents of batch may be 1 in one operand, and batch may be
    two dimensions in both."""
    a, b = node.ins
    c = whole(node.outs[0])
    batch, m, n = c.shape
    k = a.shape[-1]
    if 0 in (batch, m, n):
        return []
    device = current()
    target = device.target()
    strides = Strides(*_abc(a, batch), *_abc(b, batch), *c.strides)
    if len(a.shape) == 4:
        strides = strides._replace(bn=a.shape[1], ab2=a.strides[1], bb2=b.strides[1])
    dtype = a.buf.dtype.short
    layout = (dtype, planning.layouts(m, n, k, strides), batch > 1, strides.bn > 1)
    p = planning.plan(
        m,
        n,
        k,
        batch,
        strides,
        dtype,
        target,
        device.get_num_threads(),
        plain=tail is None,
        generic=several_rows(layout, m, n, k),
        staged=tail is not None and tail.tail.weight > LONG,
    )
    spec = p.spec
    work = {"work": p.work * p.parts} if p.work else {}
    fixed = planning.fixed_ints(spec)
    bufs = {"a": a, "b": b} if tail is not None else {"a": a, "b": b, "c": c}
    hook = None if tail is None else tails.epilogue(tail.tail)
    key = spec if tail is None else (spec, tail.tail)
    launch = named_launch(
        key, lambda: planning.build(spec, hook), p.parts, "contract", bufs, p.ints | fixed, work
    )
    launch.work = 1 + batch * m * n * k // 8
    return with_tail(launch, node, tail, then)


def _abc(v: PVal, batch: int) -> tuple[int, int, int]:
    return (0 if v.shape[0] == 1 and batch != 1 else v.strides[0], v.strides[-2], v.strides[-1])


@recipe("convolve")
def convolve(node: PNode, tail: Any = None, then: Any = None) -> Sequence[Launch]:
    """attrs: (kind, x shape, w shape, stride, padding, dilation, groups); inputs and result as in conv_planning."""
    kind, x_shape, w_shape, stride, padding, dilation, groups = node.attrs
    device = current()
    g = conv_planning.geometry(x_shape, w_shape, stride, padding, dilation, groups)
    out = whole(node.outs[0])
    views = {"forward": ("x", "w", "y"), "data": ("y", "w", "x"), "weight": ("x", "y", "w")}[kind]
    by_name = dict(zip(views, (*node.ins, out)))
    strides = {n: five(v.strides) for n, v in by_name.items()}
    dtype = out.buf.dtype.short
    p = conv_planning.plan(
        kind,
        g,
        strides["x"],
        strides["w"],
        strides["y"],
        dtype,
        device.target(),
        device.get_num_threads(),
        plain=tail is None,
        staged=tail is not None and tail.tail.weight > LONG,
    )
    spec = p.spec
    if kind == "data":  # the kernel calls what it reads x and what it writes y
        by_name = {"x": by_name["y"], "w": by_name["w"], "y": by_name["x"]}
    if isinstance(spec, planning.Spec):
        by_name = {"a": by_name["w"], "b": by_name["x"], "c": by_name["y"]}
    fixed = conv_planning.constants(spec)
    scratch = {}
    if p.work:
        scratch["work"] = p.work * p.parts
    if p.table:
        scratch["table"] = p.table * p.parts
    if tail is not None:
        by_name.popitem()
    hook = None if tail is None else tails.epilogue(tail.tail)
    key = spec if tail is None else (spec, tail.tail)
    launch = named_launch(
        key,
        lambda: conv_planning.build(spec, hook),
        p.parts,
        f"conv_{kind}",
        by_name,
        p.ints | fixed,
        scratch,
    )
    return with_tail(launch, node, tail, then) if kind == "forward" else [launch]


def five(strides: Sequence[int]) -> tuple[int, ...]:
    """Strides (n, c, spatial...) with missing leading spatial dimensions as 0."""
    return (*strides[:2], *[0] * (5 - len(strides)), *strides[2:])
