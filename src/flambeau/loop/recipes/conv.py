"""Convolution, forward and backward to the data, as a contraction that reads the image through a table of offsets.

C[o, p] = sum_k W[o, k] * image[offs[k] + p], k = (channel, taps) and p a position in the padded image: the register
tile of `matmul`, its order of sums included, with no im2col buffer. The gradient of the data (a transposed
convolution) is the same with taps reversed; with a stride, once for every residue of the output position, which
decides which taps take part. Weights are packed once for each part; tiles are written to scratch and from there row
by row.
"""

from __future__ import annotations

from ..build import Builder, const
from ..ir import Kernel
from .contraction import Epilogue
from .conv_channels import conv_channels
from .conv_image import ConvSpec, Image, integers
from .conv_innermost import Innermost, InnermostChannels
from .conv_pixels import Nest
from .conv_planes import conv_planes
from .winograd import winograd
from .winograd_channels import WinogradChannels


def conv(spec: ConvSpec, epilogue: Epilogue | None = None, name: str = "conv") -> Kernel:
    """The kernel of a "forward" or "data" spec.

    Buffers: x, w, y (without an epilogue), work, table, then the epilogue's. An epilogue is called as
    emit(acc, image, channel, position in the output plane, counted row-major)."""
    if spec.by == "channels":
        return conv_channels(spec, epilogue, name, (Innermost, InnermostChannels) if spec.last else None)
    if spec.by == "planes":
        return conv_planes(spec, epilogue, name)
    if spec.by == "winograd":
        return winograd(spec, epilogue, name, WinogradChannels if spec.last else None)
    b = Builder(name)
    x, w = b.buf("x", spec.dtype), b.buf("w", spec.dtype)
    y = b.buf("y", spec.dtype, "w") if epilogue is None else None
    work, table = b.buf("work", spec.dtype, "rw"), b.buf("table", "i64", "rw")
    ints = integers(b, spec)
    image = Image(b, ints, spec, work, b.let(b.tid * ints["ws"], "at"))
    out = b.alloc("tile", spec.dtype, spec.rows * spec.lanes)
    nest = Nest(b, spec, ints, image, w, table, out, epilogue(b) if epilogue else None, y)
    image.clear(ints["ci"], spec.lanes)
    cells = b.let(ints["go"] * ints["g"], "cells")
    phases = ints["td"] * ints["th"] * ints["tw"] if spec.kind == "data" else const("i64", 1)
    lo, hi = b.partition(phases * cells * ints["n"])
    before = b.reg("before", -1, "i64")
    with b.for_("u", lo, hi) as u:
        cell = b.let(u // ints["n"], "cell")
        nest.n = b.let(u % ints["n"], "n")
        group = nest.place(b.let(cell // cells), b.let(cell % cells))
        with b.if_(cell.ne(before.get())):
            before.set(cell)
            nest.taps()
            if not spec.own:
                nest.pack()
        image.copy(x, b.let(nest.n * ints["xn"] + group * ints["ci"] * ints["xc"]), ints["ci"])
        nest.panels()
    return b.kernel()
