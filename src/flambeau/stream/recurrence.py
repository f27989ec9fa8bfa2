"""The recipe of the node `lstm`: all steps of a layer in one direction, and their gradient."""

from __future__ import annotations

from collections.abc import Sequence

from ..loop.ir import SIZE
from ..loop.recipes import recurrence as kernels
from .backend import current
from .contraction import named_launch, whole
from .nodes import PNode
from .program import Launch
from .recipes import recipe

SERIAL_WORK = 50_000  # multiplications of all steps below which one thread is faster


@recipe("lstm")
def lstm(node: PNode) -> Sequence[Launch]:
    """attrs: (kind, reverse, whether cells have a gradient); dense inputs in the order of the kernel's."""
    kind, reverse, cells = node.attrs
    if kind == "forward":
        names: tuple[str, ...] = ("x", "h0", "c0", "w", "out", "cells", "acts")
    else:
        names = ("grad", *(("of_cells",) if cells else ()), "cells", "acts", "c0", "w", "da", "dh0", "dc0")
    bufs = dict(zip(names, (*node.ins, *(whole(b) for b in node.outs))))
    steps, batch, size = bufs["cells"].shape
    dtype = bufs["cells"].buf.dtype.short
    threads = current().get_num_threads() if steps * batch * size * size * 4 > SERIAL_WORK else 1
    parts = max(1, min(threads, batch))
    share = -(-batch // parts)
    rows = -(-share // -(-share // 6))
    spec = kernels.Spec(kind, dtype, size, rows, cells)
    ints = {"steps": steps, "batch": batch, "first": steps - 1 if reverse else 0}
    ints["stride"] = -1 if reverse else 1
    scratch = {"work": batch * kernels.work(spec) * SIZE[dtype]}
    return [named_launch(spec, lambda: kernels.kernel(spec), parts, f"lstm_{kind}", bufs, ints, scratch)]
