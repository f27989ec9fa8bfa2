"""The recipe of the node `fourier`: discrete Fourier transforms along one dimension."""

from __future__ import annotations

from collections.abc import Sequence

from ..loop.ir import SIZE
from ..loop.recipes import fourier as kernels
from ..shapes import numel
from .backend import current
from .contraction import named_launch, whole
from .nodes import PNode
from .program import Launch
from .recipes import recipe
from .scatter import merged

SERIAL_WORK = 1000  # points below which one thread is faster


@recipe("fourier")
def fourier(node: PNode) -> Sequence[Launch]:
    """attrs: (kind, dim, n1, n2, sign, scale); complex operands are real numbers with a last dimension of two."""
    kind, dim, n1, n2, sign, scale = node.attrs
    x, out = node.ins[0], whole(node.outs[0])
    real_in, real_out = kind == "from_real", kind == "to_real"
    rank = len(x.shape) - (not real_in)
    step, im = (2 * x.strides[dim], x.strides[dim]) if real_in else (x.strides[dim], x.strides[-1])
    columns = kind == "columns"
    rest = [d for d in range(rank - columns) if d != dim]
    axes = merged([(x.shape[d], (x.strides[d], out.strides[d])) for d in rest])
    ints = {"step": step, "im": im, "ostep": 2 if real_out else out.strides[dim]}
    units, across = numel([n for n, _ in axes]), 1
    if columns:
        across = x.shape[-2]
        ints |= {"count": across, "xs": x.strides[-2], "os": out.strides[-2]}
        dense = (x.strides[-2], im, out.strides[-2]) == (2, 1, 2)
        units *= -(-across // kernels.lanes_of(x.buf.dtype.short))
    else:
        dense = (step, im) == (2, 1)
    spec = kernels.Fourier(kind, x.buf.dtype.short, n1, n2, sign, scale, dense, len(axes))
    for i, (n, (xs, os)) in enumerate(axes):
        ints |= {f"a{i}": n, f"x_a{i}": xs, f"o_a{i}": os}
    work = units * n1 * n2 * min(across, 16)
    parts = (
        1 if work < SERIAL_WORK else min(units, (2 if work < 1 << 18 else 4) * current().get_num_threads())
    )
    some, double = kernels.room(spec)
    scratch = {"space": parts * some * SIZE[spec.dtype], "wide": parts * double * 8}
    bufs = {"x": x, "out": out}
    return [named_launch(spec, lambda: kernels.kernel(spec), parts, f"fourier_{kind}", bufs, ints, scratch)]
