"""The recipe of the node `recurrent`: all steps of a layer in one direction, and their gradient."""

from __future__ import annotations

from collections.abc import Sequence

from ..loop.ir import SIZE
from ..loop.recipes import recurrence as kernels
from ..loop.recipes import recurrence_backward, recurrence_forward
from ..loop.recipes.planning import registers
from .backend import current
from .contraction import named_launch, whole
from .nodes import PNode
from .program import Launch
from .recipes import recipe

SERIAL_WORK = 50_000  # multiplications of all steps below which one thread is faster


@recipe("recurrent")
def recurrent(node: PNode) -> Sequence[Launch]:
    """attrs: (kind, mode, reverse, steps, names); names: of the kernel's buffers, inputs (dense) and then results."""
    kind, mode, reverse, steps, names = node.attrs
    bufs = dict(zip(names, (*node.ins, *(whole(b) for b in node.outs))))
    batch, out = bufs["h0"].shape
    product = bufs["x" if kind == "forward" else "da"]
    width = product.shape[-1]
    size = width // kernels.GATES[mode]
    rows = 1
    for n in product.shape[:-1]:
        rows *= n
    dtype = product.buf.dtype.short
    device = current()
    threads = device.get_num_threads() if rows * out * width > SERIAL_WORK else 1
    parts = max(1, min(threads, batch))
    share = -(-batch // parts)
    most = (12 if registers(device.target()) == 32 else 6) * 4 // SIZE[dtype]
    tile = -(-share // -(-share // most))
    spec = kernels.Spec(
        kind,
        mode,
        dtype,
        size,
        tile,
        out if "wr" in bufs else 0,
        "bias" in bufs,
        "sizes" in bufs,
        "acts" in bufs or "cells" in bufs,
        "grad" in bufs,
    )
    make = recurrence_forward.kernel if kind == "forward" else recurrence_backward.kernel
    ints = {"steps": steps, "batch": batch, "rows": rows, "up": 0 if reverse else 1}
    scratch = {"work": batch * kernels.places(spec)["end"] * SIZE[dtype]}
    return [named_launch(spec, lambda: make(spec), parts, f"{mode}_{kind}", bufs, ints, scratch)]
