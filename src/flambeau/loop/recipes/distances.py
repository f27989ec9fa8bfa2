"""Euclidean distances of all pairs of points, (0, 1), (0, 2), ..., (1, 2), ..., and their gradient; lanes: points."""

from __future__ import annotations

from ..build import Builder, Value, const, fma, maximum, minimum, op, select
from ..ir import SIZE, Kernel


def kernel(dtype: str, backward: bool) -> Kernel:
    """Buffers x (m, n: points are columns), out (pairs); backward: dist, grad (pairs), out (m, n), row (scratch)."""
    b = Builder("pdist_backward" if backward else "pdist")
    width = 64 // SIZE[dtype]
    x = b.buf("x", dtype)
    dist, grad = (b.buf("dist", dtype), b.buf("grad", dtype)) if backward else (None, None)
    out = b.buf("out", dtype, "w")
    row = b.buf("row", dtype, "rw") if backward else None
    m, n = b.integer("m"), b.integer("n")
    lo, hi = b.partition(n)

    def pair(i: Value, j: Value) -> Value:
        """Where the pair i < j stands."""
        return i * (n * 2 - i - 1) // 2 + j - i - 1

    with b.for_("point", lo, hi) as i:
        if dist is None or grad is None or row is None:
            start = b.let(pair(i, const("i64", 0)), "start")
            with b.for_("c", i + 1, n, width) as c, b.vfor("j", c, minimum(c + width, n), width) as j:
                total = b.reg("total", 0.0, dtype, width)
                with b.for_("d", 0, m) as d:
                    difference = b.let(x[d * n + i] - x[d * n + j], "difference")
                    total.set(fma(difference, difference, total.get()))
                out[start + j] = op("sqrt", total.get())
        else:
            at = b.let(b.tid * n, "at")
            with b.vfor("j", 0, n, width) as j:
                place = b.let(pair(minimum(j, i), maximum(j, i)), "place")
                there = b.let(j.ne(i), "there")
                size = b.let(dist.load(place, there), "size")
                factor = select(size.eq(0.0), const(dtype, 0.0), grad.load(place, there) / size)
                row[at + j] = factor
            with b.for_("d", 0, m) as d:
                own = b.let(x[d * n + i], "own")
                total = b.reg("total", 0.0, dtype, width)
                with b.vfor("j", 0, n, width) as j:
                    total.set(fma(row[at + j], own - x[d * n + j], total.get()))
                out[d * n + i] = total.reduce("add")
    return b.kernel()
