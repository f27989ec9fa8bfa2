"""The recipe of the node `ctc`: losses of sequences without alignment, and their gradient."""

from __future__ import annotations

from collections.abc import Sequence

from ..loop.ir import SIZE
from ..loop.recipes import alignment as kernels
from .contraction import named_launch, whole
from .nodes import PNode
from .program import Launch
from .recipes import recipe
from .rows import parts_of

SERIAL_WORK = 1000  # states of all steps below which one thread is faster


@recipe("ctc")
def ctc(node: PNode) -> Sequence[Launch]:
    """attrs: (backward, forgiving); operands are dense: log_probs, states, ends, lasts, and alpha, loss, grad."""
    backward, forgiving = node.attrs
    names = (
        "log_probs",
        "states",
        "ends",
        "lasts",
        *(("alpha", "loss", "grad", "out") if backward else ("loss", "alpha")),
    )
    bufs = dict(zip(names, (*node.ins, *map(whole, node.outs))))
    (steps, batch, classes), count = bufs["log_probs"].shape, bufs["states"].shape[1]
    ints = {"steps": steps, "batch": batch, "classes": classes, "count": count}
    parts = parts_of(batch, steps * batch * count, SERIAL_WORK)
    spec = kernels.Alignment(bufs["log_probs"].buf.dtype.short, backward, forgiving)
    work = {"work": 4 * parts * (count + kernels.PAD) * SIZE[spec.dtype]} if backward else {}
    launch = named_launch(spec, lambda: kernels.kernel(spec), parts, "ctc", bufs, ints, work)
    if not backward:
        launch.checks = {kernels.LABEL: ("an index", classes, node.form, 2)}
    return [launch]
