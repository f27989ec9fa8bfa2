"""The recipe of the node `attend`: attention and its gradient, in tiles."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from ..loop.ir import SIZE
from ..loop.recipes import attention as kernels
from ..loop.recipes.planning import registers
from .backend import current
from .contraction import named_launch, whole
from .nodes import PNode
from .program import Launch
from .recipes import recipe

BUFFERS = {
    "forward": (("q", "k", "v"), ("out", "lse")),
    "backward": (("q", "k", "v", "grad", "lse", "delta"), ("dq", "dk", "dv")),
}


@recipe("attend")
def attend(node: PNode) -> Sequence[Launch]:
    """attrs: (kind, scale, causal, group, dropped). Inputs (batch, heads, rows, size) or (batch, heads, rows), then
    perhaps the mask, and what is kept of the weights; results (batch, rows, heads, size) and (batch, heads, rows). The
    gradients of keys and values have a second dimension: segments of the queries, which are added."""
    kind, scale, causal, group, dropped = node.attrs
    read, written = BUFFERS[kind]
    masked = len(node.ins) > len(read) + dropped
    order = [*read, *["mask"] * masked, *["kept"] * dropped, *written]
    bufs: dict[str, Any] = dict(zip(order, node.ins))
    bufs |= {name: whole(buf) for name, buf in zip(written, node.outs)}
    batch, heads, length, d = bufs["q"].shape
    source, e = bufs["v"].shape[2:]
    device = current()
    target, threads = device.target(), device.get_num_threads()
    dtype = bufs["q"].buf.dtype.short
    lanes = 2 * target.vector_bits // 8 // SIZE[dtype]
    rows = 12 if registers(target) == 32 else 6
    extent, groups = (length, batch * heads) if kind == "forward" else (source, batch * heads // group)
    panels = kernels.PANELS if kind == "forward" else kernels.SHARED // (lanes * SIZE[dtype])
    if extent <= lanes or (kind == "forward" and groups * extent < 2 * threads * lanes * panels):
        panels = 1
    segments = 1 if kind == "forward" else bufs["dk"].shape[1]
    units = groups * (-(-length // (lanes * panels)) if kind == "forward" else segments)
    parts = max(1, min(units, 4 * threads)) if length * source * groups * (d + e) > 60_000 else 1
    unit = tuple(bufs[n].strides[3] == 1 for n in ("q", "k", "v", "grad") if n in bufs)
    mask = bufs["mask"].buf.dtype.short if "mask" in bufs else ""
    spec = kernels.Spec(kind, dtype, rows, lanes, d, e, mask, causal, dropped, panels, unit)
    ints = {"batch": batch, "heads": heads, "group": group, "length": length, "source": source}
    ints |= {"scale": struct.unpack("q", struct.pack("d", scale))[0], "ws": kernels.work(spec)}
    if kind == "backward":
        each = -(-length // (segments * kernels.QUERIES)) * kernels.QUERIES
        ints |= {"segments": segments, "queries": each}
    for name, v in bufs.items():
        strides = v.strides if len(v.strides) > 3 else (*v.strides, 0)
        if len(strides) == 5:
            ints[name + "_s"] = strides[1]
            strides = (strides[0], *strides[2:])
        if name in ("out", "dq", "dk", "dv"):
            strides = (strides[0], strides[2], strides[1], strides[3])
        ints |= {name + axis: s for axis, s in zip(("_b", "_h", "_l", "_d"), strides)}
    scratch = {"work": parts * kernels.work(spec) * SIZE[dtype]}
    return [
        named_launch(
            spec,
            lambda: kernels.kernel(spec),
            parts,
            f"attention_{kind}",
            {n: bufs[n] for n in order},
            ints,
            scratch,
        )
    ]
