"""The recipe of the node `pool`: windows of maxima and averages, forward and backward."""

from __future__ import annotations

from collections.abc import Sequence

from ..loop.recipes import pool as kernels
from ..loop.recipes.pool_channels import pool_channels
from ..shapes import channels_last_strides
from .backend import current
from .contraction import named_launch, whole
from .nodes import PBuf, PNode
from .program import Launch
from .recipes import recipe

BUFFERS = {
    "max": ("x", "y", "index"),
    "most": ("x", "y"),
    "avg": ("x", "y"),
    "max_back": ("index", "y", "x"),
    "avg_back": ("y", "x"),
}


def wanted(buf: PBuf) -> bool:
    """Whether anybody sees a result of a node."""
    return buf.kept or buf.bytes_exist or bool(buf.reads)


@recipe("pool")
def pool(node: PNode) -> Sequence[Launch]:
    """attrs: (kind, source shape, output extents, taps, stride, padding, dilation, what to divide by, divisor,
    last); last: channels are innermost, and results are (images, positions, channels)."""
    kind, x_shape, out, taps, stride, padding, dilation, count, divisor, last = node.attrs
    if kind == "max" and not wanted(node.outs[1]):
        kind = "most"  # as many bytes as twice the maxima
    values = [*node.ins, *[whole(b) for b in node.outs]]
    bufs = dict(zip(BUFFERS[kind], values))
    device = current()
    p = kernels.plan(
        kind,
        x_shape,
        bufs["x"].strides if not last or kind[-4:] != "back" else channels_last_strides(x_shape),
        out,
        bufs["x"].buf.dtype.short,
        taps,
        stride,
        padding,
        dilation,
        count,
        divisor,
        device.get_num_threads(),
        last,
    )
    fixed = {"xw": 1} if p.spec.x else {}
    spec, make = p.spec, pool_channels if last else kernels.pool
    return [named_launch(spec, lambda: make(spec), p.parts, f"pool_{kind}", bufs, p.ints | fixed, {})]
