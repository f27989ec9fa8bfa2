"""What a product is written as: elementwise work on it whose result needs memory in any case.

Such work is no part of a kernel that reduces: there the product would have memory, too, and be read again."""

from __future__ import annotations

from collections import Counter

from ..shapes import numel
from .lifetimes import LEAST, size_of
from .nodes import PBuf, PNode


def endings(nodes: list[PNode]) -> tuple[set[int], set[int]]:
    """The results, by buffer, of elementwise work on large products that other kernels read from memory; and large
    products that only a sum with another one reads, with these sums: (a b + c d) + e f."""
    over: set[int] = set()  # products, and what is computed of them for one reader
    single: set[int] = set()  # products that one node reads, and sums of two of them
    terms: set[int] = set()
    stored: set[int] = set()
    readers: Counter[int] = Counter()
    for node in nodes:
        for v in {v.buf.id: v for v in node.ins}.values():
            readers[v.buf.id] += 1
        if node.kind == "opaque":
            stored.update([v.buf.id for v in node.ins])
        elif node.kind == "take":
            stored.add(node.ins[0].buf.id)
    found: set[int] = set()
    for node in nodes:
        if node.kind == "opaque" and ends_in_work(node) and size_of(node.outs[0]) >= LEAST:
            over.add(node.outs[0].id)
            if readers[node.outs[0].id] == 1:
                single.add(node.outs[0].id)
        elif node.kind == "map":
            out = node.outs[0]
            if node.op == "add" and all(v.buf.id in single and readers[v.buf.id] == 1 for v in node.ins):
                single.add(out.id)
                terms |= {out.id, *[v.buf.id for v in node.ins]}
            if any(v.buf.id in over and alone(v.buf, out, readers) for v in node.ins):
                over.add(out.id)
                if out.kept or out.id in stored:
                    found.add(out.id)
    return found, terms


def ends_in_work(node: PNode) -> bool:
    """Whether a kernel of this product can take more: see fusion.py."""
    return node.op == "contract" or (node.op in ("convolve", "depthwise") and node.attrs[0] == "forward")


def alone(buf: PBuf, out: PBuf, readers: Counter[int]) -> bool:
    """Whether only one node reads a temporary, which has as many elements as the result."""
    return not buf.kept and readers[buf.id] == 1 and numel(buf.shape) == numel(out.shape)
