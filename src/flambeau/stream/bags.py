"""The recipe of the node `bags`: sums of rows of a table over bags, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..loop.recipes import bags as kernels
from .contraction import named_launch, whole
from .program import Launch
from .recipes import recipe
from .schedule import PNode

SERIAL_WORK = 24000  # elements below which one thread is faster
PARTS = 64


def unit(stride: int) -> object:
    """A stride as part of the kernel, or "s"."""
    return stride if stride in (0, 1) else "s"


@recipe("bags")
def bags(node: PNode) -> Sequence[Launch]:
    """attrs: (writes, mean, padding, weighted); inputs: table, back: bags, if weighted: weights, indices, starts."""
    writes, mean, padding, weighted = node.attrs
    back = bool(writes)
    table, index, starts = node.ins[0], *node.ins[-2:]
    rows: Any = node.ins[1] if back else whole(node.outs[0])
    n, count, size = index.shape[0], starts.shape[0], table.shape[1]
    units = (unit(table.strides[1]), unit(rows.strides[1]), unit(index.strides[0]))
    types = (table.buf.dtype.short, index.buf.dtype.short, starts.buf.dtype.short)
    spec = kernels.Bags(*types, back, mean, padding >= 0, units, weighted)
    ints = {"n": n, "count": count, "size": size, "rows": table.shape[0], "pad": padding}
    ints |= {"i_s": index.strides[0], "s_s": starts.strides[0]}
    ints |= {"t_r": table.strides[0], "t_c": table.strides[1]} | {
        "b_r": rows.strides[0],
        "b_c": rows.strides[1],
    }
    bufs = {"table": table, "bags": rows, "index": index, "starts": starts}
    if weighted:
        bufs["weights"] = node.ins[-3]
    parts = PARTS if n * size > SERIAL_WORK else 1
    launch = named_launch(spec, lambda: kernels.kernel(spec), parts, "embedding_bag", bufs, ints, {})
    launch.checks = {
        kernels.INDEX: ("an index", table.shape[0], node.form, 0),
        kernels.START: ("an offset", n + 1, node.form, 0),
    }
    return [launch]
