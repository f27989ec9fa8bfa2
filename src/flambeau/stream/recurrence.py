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

SERIAL_WORK = 50_000  # multiplications of a step below which one thread is faster


@recipe("recurrent")
def recurrent(node: PNode) -> Sequence[Launch]:
    """attrs: (kind, mode, reverse, steps, names); names: of the kernel's buffers, inputs (dense) and then results."""
    kind, mode, reverse, steps, names = node.attrs
    bufs = dict(zip(names, (*node.ins, *(whole(b) for b in node.outs))))
    batch, out = bufs["h0"].shape
    product = bufs["x" if kind == "forward" else "da"]
    width = product.shape[-1]
    size = width // kernels.GATES[mode]
    dtype = product.buf.dtype.short
    forward = kind == "forward"
    proj = out if "wr" in bufs else 0
    each = max(4, SIZE[dtype])  # bytes of a number that is computed with
    vectors, tile = _tile(batch, 1 if not forward else kernels.GATES[mode], each)
    blocks = kernels.blocks(size if forward else out, kernels.GATES[mode] if forward else 1)
    threads = current().get_num_threads() if batch * out * width > SERIAL_WORK else 1
    groups = 1 if blocks % threads == 0 else max(1, min(threads, batch // tile))
    spec = kernels.Spec(
        kind,
        mode,
        dtype,
        size,
        tile,
        vectors,
        groups,
        proj,
        "bias" in bufs,
        "sizes" in bufs,
        "acts" in bufs or "cells" in bufs,
        "grad" in bufs,
        pairs=dtype == "bf16" and current().target().bf16,
    )
    recipe = recurrence_forward if forward else recurrence_backward
    ints = {"turn": 0, "steps": steps, "batch": batch, "up": 0 if reverse else 1}
    work = {name: n * each for name, n in recipe.scratch(spec, batch).items()}
    work |= {name: n * SIZE["i64"] for name, n in spec.least().items()}
    parts, turns = min(threads, blocks * groups), recipe.turns(spec, steps)
    if spec.short:
        bufs |= {f"{n}_words": bufs[n] for n in kernels.WORDS[kind] if n in bufs}
    launch = named_launch(spec, lambda: recipe.kernel(spec), parts, f"{mode}_{kind}", bufs, ints, work, turns)
    if mode == "lstm" and "acts" in bufs:
        over = spec._replace(over=True)
        operand, result = [[*bufs].index(name) for name in kernels.OVER[kind]]
        launch.over = operand, result, over, lambda: recipe.kernel(over)
    return [launch]


def _tile(batch: int, gates: int, size: int) -> tuple[int, int]:
    """(vectors, rows) of a tile: sums of several vectors of weights where the registers hold them."""
    target = current().target()
    each = -(-kernels.LANES * size * 8 // target.vector_bits)  # registers of a vector of the kernel
    regs = registers(target)
    best, choice = 0.0, (1, 1)
    for vectors in (1, 2, 4) if gates == 1 else (1, gates):
        most = max(1, (regs - 2 - vectors * each) // (vectors * each))
        for rows in range(1, min(most, batch) + 1):
            step = max(rows * vectors * each, rows + vectors * each, 4) + 1
            cost = -(-batch // rows) * step / vectors
            if not best or cost <= best:
                best, choice = cost, (vectors, rows)
    return choice
