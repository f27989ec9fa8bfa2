"""Casts from few bits, once for each of their readers: a kernel that needs one again reads the few bits again, half of
the traffic that storing float32 takes for the first reader alone."""

from __future__ import annotations

from ..dtypes import bfloat16, float16, float32
from ..shapes import numel
from .nodes import PBuf, PNode, PVal

LARGE = 1 << 14  # elements


def repeated(nodes: list[PNode]) -> list[PNode]:
    """The nodes, each such cast of many elements as many times as scalar operations and reductions read it. Those that
    meet in one kernel are one again there."""
    casts = {node.outs[0].id: node for node in nodes if is_cast(node)}
    if not casts:
        return nodes
    memory = {
        b.id for node in nodes if node.kind == "opaque" for b in (*node.outs, *(v.buf for v in node.ins))
    }
    casts = {
        out: node for out, node in casts.items() if is_there(node.ins[0].buf, memory) and out not in memory
    }
    again: dict[int, list[PNode]] = {}
    seen: set[int] = set()
    last = max(buf.id for node in nodes for buf in (*node.outs, *(v.buf for v in node.ins)))
    for node in nodes:
        if node.kind not in ("map", "reduce"):
            continue
        for k, v in enumerate(node.ins):
            cast = casts.get(v.buf.id)
            if cast is None:
                continue
            if v.buf.id in seen:
                last += 1
                old = v.buf
                made = PBuf(last, old.shape, old.strides, old.dtype)
                copy = made.node = PNode("map", "cast", list(cast.ins), cast.attrs, [made], cast.shape)
                copy.form = cast.form
                again.setdefault(old.id, []).append(copy)
                node.ins[k] = PVal(made, v.shape, v.strides, v.off, v.offslot)
            seen.add(v.buf.id)
    return [one for node in nodes for one in (node, *(again.get(node.outs[0].id, ()) if node.outs else ()))]


def is_cast(node: PNode) -> bool:
    """Whether a node casts many elements of few bits to float32."""
    if node.kind != "map" or node.op != "cast" or numel(node.shape) < LARGE:
        return False
    out = node.outs[0]
    return node.ins[0].buf.dtype in (bfloat16, float16) and out.dtype is float32 and not out.kept


def is_there(source: PBuf, memory: set[int]) -> bool:
    """Whether a buffer is in memory in any case."""
    return source.bytes_exist or source.kept or source.id in memory
