"""The recipe of the node `grid`: images read between their elements, and both gradients of that."""

from __future__ import annotations

from collections.abc import Sequence

from ..loop.recipes import grid as kernels
from ..shapes import numel
from .backend import current
from .contraction import named_launch, whole
from .nodes import PNode
from .program import Launch
from .recipes import recipe

SERIAL_WORK = 4000  # elements read below which one thread is faster
BUFFERS = {"forward": ("x", "grid"), "grid": ("x", "grid", "grad"), "image": ("grid", "grad")}


@recipe("grid")
def grid(node: PNode) -> Sequence[Launch]:
    """attrs: (kind, extents of the image, mode, padding, align); operands are dense."""
    kind, (n, c, *sizes), mode, padding, align = node.attrs
    bufs = dict(zip(BUFFERS[kind], node.ins)) | {"out": whole(node.outs[0])}
    places = numel(bufs["grid"].shape[1:-1])
    if not numel(bufs["out"].shape):
        return []
    index = "i32" if numel(sizes) < 1 << 31 else "i64"
    spec = kernels.Grid(kind, bufs["out"].buf.dtype.short, len(sizes), mode, padding, align, index)
    threads = current().get_num_threads()
    ints = {"n": n, "c": c, "p": places} | {f"s{d}": s for d, s in enumerate(sizes)}
    parts = 1
    if n * c * places * 4 > SERIAL_WORK:
        parts = min(n * -(-places // kernels.LANES), 4 * threads)
        if kind == "image":  # all of an image's channels at once, where there are enough images
            ints["each"] = c if n >= 4 * threads else -(-c * n // (4 * threads))
            parts = min(n * -(-c // ints["each"]), 4 * threads)
    elif kind == "image":
        ints["each"] = c
    title = f"grid_{mode}_{kind}"
    return [named_launch(spec, lambda: kernels.kernel(spec), parts, title, bufs, ints, {})]
