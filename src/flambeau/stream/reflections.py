"""The recipe of the node `qr`: reflections of stacks of real matrices, and their product."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..loop.recipes import reflections as kernels
from ..shapes import numel
from .backend import current
from .contraction import named_launch, whole
from .nodes import PNode
from .program import Launch
from .recipes import recipe
from .scatter import merged

SERIAL_WORK = 8000  # multiplications below which one thread is faster


@recipe("qr")
def qr(node: PNode) -> Sequence[Launch]:
    """attrs: (kind,); factors of a: (R above the diagonal, vectors, tau); applied: vectors and tau to unit columns."""
    (kind,) = node.attrs
    first = kind == "factors"
    outs = [whole(b) for b in node.outs]
    names = ("a", "out", "v", "tau") if first else ("v", "tau", "out")
    found = dict(zip(names, (*node.ins, *outs)))
    bufs: dict[str, Any] = {x: found[x] for x in ("a", "v", "tau", "out") if x in found}
    out, v = found["out"], found["v"]
    (m, n), k = out.shape[-2:], v.shape[-2]
    count = len(out.shape) - 2
    axes = merged([(out.shape[d], tuple([x.strides[d] for x in bufs.values()])) for d in range(count)])
    ar, ac = found["a"].strides[-2:] if first else (0, 0)
    ints = {"m": m, "n": n, "k": k, "ar": ar, "ac": ac}
    for i, (extent, strides) in enumerate(axes):
        ints |= {f"a{i}": extent} | {f"{x}_a{i}": s for x, s in zip(bufs, strides)}
    dtype = out.buf.dtype.short
    spec = kernels.Reflections(kind, dtype, kernels.width_of(dtype, n), len(axes))
    units = numel(out.shape[:-2]) * (1 if first else -(-n // spec.width))
    parts = 1 if numel(out.shape) * k < SERIAL_WORK else min(units, 4 * current().get_num_threads())
    return [named_launch(spec, lambda: kernels.kernel(spec), parts, f"qr_{kind}", bufs, ints, {})]
