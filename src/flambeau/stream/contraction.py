"""Recipes of the nodes `contract` (batched matrix product) and `convolve`: which kernel, which parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..loop.recipes import conv_planning, planning
from ..loop.recipes import depthwise as kernels
from ..loop.recipes import tail as tails
from .backend import current
from .fusion import nest_names
from .nodes import PNode, PVal
from .products import LONG, planned
from .program import Launch
from .recipes import recipe


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
    turns: int | None = None,
) -> Launch:
    """A launch whose parameters are found by name; bufs: name -> PVal; work: name -> bytes of scratch. turns: how often
    it runs, with the number of the turn as its parameter "turn"."""
    launch = Launch(key, make, parts, title)
    launch.names = {n: i for i, n in enumerate((*bufs, *work))}
    launch.bufs = [(v.buf, v.off, v.offslot) for v in bufs.values()]
    launch.scratch = list(work.values())
    launch.values, launch.turns = ints, turns
    return launch


def with_tail(launch: Launch, node: PNode, tail: Any, then: Any) -> list[Launch]:
    """The launch of a product, with what it needs to know of what follows in its kernel."""
    launch.product = (node, tail)
    if tail is None:
        return [launch]
    buffers = {n: (a.buf, a.off, a.offslot) for n, a in zip(tails.names(tail.tail), tail.bufs)}
    ints, numbers = dict(tail.ints), dict(zip(launch.number_names, launch.numbers)) | tail.numbers
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
    two dimensions in both. Operands may be computed where they are packed (prologue.py)."""
    heads = node.heads or {}
    views = dict(zip("ab", node.views))
    c = whole(node.outs[0])
    if 0 in c.shape:
        return []
    p = planned(views["a"], views["b"], c, "".join(heads), tail=tail)
    spec = p.spec
    work = {"work": p.work * p.parts} if p.work else {}
    bufs: dict[str, Any] = {}
    ints = p.ints | planning.fixed_ints(spec)
    for which, v in views.items():
        if which in heads:
            bufs |= zip(tails.names(heads[which].head, f"made_{which}"), heads[which].ins)
            ints |= heads[which].ints
        else:
            bufs[which] = v
    if tail is None:
        bufs["c"] = c
    hook = None if tail is None else tails.epilogue(tail.tail)
    made = {which: h.head for which, h in heads.items()}
    key = (spec, *([] if tail is None else [tail.tail]), *made.items()) if made or tail is not None else spec
    hooks = {which: tails.computed(head, which) for which, head in made.items()}
    title = "contract" if not heads else "computed_contract"
    launch = named_launch(
        key, lambda: planning.build(spec, hook, made=hooks), p.parts, title, bufs, ints, work
    )
    numbers = {name: at for h in heads.values() for name, at in h.numbers.items()}
    launch.numbers, launch.number_names = list(numbers.values()), tuple(numbers)
    launch.work = 1 + c.shape[0] * c.shape[1] * c.shape[2] * views["a"].shape[-1] // 8
    target = current().target()
    launch.less = lambda: planning.tight(p, target, tail is None)
    return with_tail(launch, node, tail, then)


VIEWS = {"forward": ("x", "w", "y"), "data": ("y", "w", "x"), "weight": ("x", "y", "w")}


@recipe("convolve")
def convolve(node: PNode, tail: Any = None, then: Any = None) -> Sequence[Launch]:
    """attrs: (kind, x shape, w shape, stride, padding, dilation, groups); inputs and result as in conv_planning.

    Of images whose channels are innermost the strides of the result follow; they are made as (images, positions,
    channels)."""
    kind, x_shape, w_shape, stride, padding, dilation, groups, *made = node.attrs
    g = conv_planning.geometry(x_shape, w_shape, stride, padding, dilation, groups)
    out = whole(node.outs[0])
    lie = (*[v.strides for v in node.ins], made[0] if made else out.strides)
    strides = dict(zip(VIEWS[kind], [five(s) for s in lie]))
    p = conv_planning.plan(
        kind,
        g,
        strides["x"],
        strides["w"],
        strides["y"],
        out.buf.dtype.short,
        current().target(),
        current().get_num_threads(),
        plain=tail is None,
        staged=tail is not None and tail.tail.weight > LONG,
        last=bool(made),
    )
    return _convolution(node, tail, then, p, conv_planning.build, conv_planning.constants(p.spec))


@recipe("depthwise")
def depthwise(node: PNode, tail: Any = None, then: Any = None) -> Sequence[Launch]:
    """attrs: (kind, x shape, w shape, stride, padding, dilation, strides of the result); inputs as of `convolve`, with
    channels innermost. An image that is made is (images, positions, channels)."""
    kind, x_shape, w_shape, stride, padding, dilation, made = node.attrs
    g = conv_planning.geometry(x_shape, w_shape, stride, padding, dilation, x_shape[1])
    strides = dict(zip(VIEWS[kind], (*[v.strides for v in node.ins], made)))
    dtype, device = node.outs[0].dtype.short, current()
    given = (strides["x"], strides["w"], strides["y"], dtype)
    p = kernels.plan(kind, g, *given, device.target(), device.get_num_threads())
    return _convolution(node, tail, then, p, kernels.depthwise, {})


def _convolution(
    node: PNode, tail: Any, then: Any, p: Any, build: Any, constants: dict[str, int]
) -> Sequence[Launch]:
    """The launch of a convolution with a plan."""
    kind, spec = node.attrs[0], p.spec
    by_name = dict(zip(VIEWS[kind], (*node.ins, whole(node.outs[0]))))
    if kind == "data":  # the kernel calls what it reads x and what it writes y
        by_name = {"x": by_name["y"], "w": by_name["w"], "y": by_name["x"]}
    if isinstance(spec, planning.Spec):
        by_name = {"a": by_name["w"], "b": by_name["x"], "c": by_name["y"]}
    scratch = {}
    if p.work:
        scratch["work"] = p.work * p.parts
    if p.table:
        scratch["table"] = p.table * p.parts
    if tail is not None:
        by_name.popitem()
    hook = None if tail is None else tails.epilogue(tail.tail)
    key = spec if tail is None else (spec, tail.tail)
    title = f"{'conv' if node.op == 'convolve' else node.op}_{kind}"
    ints = p.ints | constants
    launch = named_launch(key, lambda: build(spec, hook), p.parts, title, by_name, ints, scratch)
    return with_tail(launch, node, tail, then) if kind == "forward" else [launch]


def five(strides: Sequence[int]) -> tuple[int, ...]:
    """Strides (n, c, spatial...) with missing leading spatial dimensions as 0."""
    return (*strides[:2], *[0] * (5 - len(strides)), *strides[2:])
