"""Contraction with few rows: memory-bound kernels that read B once, in its own order, and pack nothing.

`rows_kernel`: B transposed (k contiguous); `block` columns at a time, transposed in registers.
`stream_kernel`: j contiguous; eight rows of B at a time are streamed through sums that stay in the first-level cache.
The order of every sum is that of `matmul.gemm`."""

from __future__ import annotations

from collections.abc import Callable

from ..build import Buffer, Builder, Register, Value, const, minimum, select
from ..ir import Kernel
from .contraction import KC, Epilogue, Frame, Spec, muladd

Steps = Callable[[list[Value], Value], None]

DEPTH = 8  # rows of B that `stream_kernel` reads at once
CHUNK = 2048  # columns x rows whose sums it keeps


def rows_kernel(spec: Spec, epilogue: Epilogue | None = None, name: str = "gemv") -> Kernel:
    """C[rows, n] with B[k, j] at k + j*bj; m = rows; n and k at least `block` unless narrow."""
    f = Frame(spec, epilogue, name)
    b, size = f.b, spec.block
    square, out = b.alloc("square", spec.acc, size * size), b.alloc("tile", spec.acc, size * spec.rows)
    blocks = b.let((f["n"] + (size - 1)) // size, "blocks")
    lo, hi = b.partition(f["batch"] * blocks)
    with b.for_("u", lo, hi) as u:
        batch = b.let(u // blocks, "batch") if spec.batched else const("i64", 0)
        first = b.let((u % blocks if spec.batched else u) * size, "first")
        j0 = first if spec.narrow == "yes" else b.let(minimum(first, f["n"] - size), "j0")
        total = _sums(f, batch, j0, square)
        with b.vfor("x", 0, size, size, full=True) as x:
            for r, t in enumerate(total):
                out[x + r * size] = t.get()
        with b.vfor("j", first, minimum(first + size, f["n"]), size) as j:
            for r in range(spec.rows):
                f.emit(out[j - j0 + r * size], batch, const("i64", r), j)
    return b.kernel()


def _sums(f: Frame, batch: Value, j0: Value, square: Buffer) -> list[Register]:
    """The finished sums of columns j0..j0+block-1."""
    b, spec, k = f.b, f.spec, f["k"]
    size = spec.block
    a0 = [b.let(batch * f["ab"] + r * f["ai"], "a0") for r in range(spec.rows)]
    b0 = b.let(batch * f["bb"] + j0 * f["bj"], "b0")
    total = [b.reg("total", 0, spec.acc, size) for _ in range(spec.rows)]
    live = None
    if spec.narrow == "yes":
        live = b.reg("live", False, "b1", size)
        with b.vfor("x", 0, size, size, full=True) as x:
            live.set(x + j0 < f["n"])
    with b.for_("kb", 0, k, KC) as kb:
        acc = [b.reg("acc", 0, spec.acc, size) for _ in range(spec.rows)]
        ke = b.let(minimum(kb + KC, k), "ke")

        def steps(values: list[Value], at: Value) -> None:
            for u, value in enumerate(values):
                for r in range(spec.rows):
                    acc[r].set(muladd(f.a[a0[r] + (at + u) * f["ak"]].cast(spec.acc), value, acc[r].get()))

        if spec.narrow == "yes":
            with b.for_("kk", kb, ke) as kk, b.vfor("x", 0, size, size, full=True) as x:
                steps([b.let(f.bm.load(b0 + kk + x * f["bj"], live.get()).cast(spec.acc))], kk)  # type: ignore[union-attr]
        else:
            _blocks(b, f, kb, ke, b0, square, steps)
        with b.vfor("x", 0, size, size, full=True) as x:
            for r in range(spec.rows):
                total[r].set(select(kb > 0, total[r].get() + acc[r].get(), acc[r].get()))
    return total


def _blocks(b: Builder, f: Frame, kb: Value, ke: Value, b0: Value, square: Buffer, steps: Steps) -> None:
    """The transposed blocks of a k block; the last one, if it is not whole, through a square of scratch."""
    size, k = f.spec.block, f["k"]
    with b.for_("kk", kb, ke, size) as kk:
        back = b.let(minimum(kk, k - size), "back")
        whole = b.let(ke - kk >= size, "whole")
        with b.vfor("x", 0, size, size, full=True) as x:
            row = b.let(b0 + back + x * f["bj"])
            columns = [b.let(f.bm[row + u]) for u in range(size)]
            with b.if_(whole):
                steps([v.cast(f.spec.acc) for v in columns], kk)
            with b.else_():
                for u, v in enumerate(columns):
                    square[x + u * size] = v.cast(f.spec.acc)
        with b.if_(~whole), b.for_("t", kk, ke) as t:
            at = b.let((t - back) * size)
            with b.vfor("x", 0, size, size, full=True) as x:
                steps([b.let(square[at + x])], t)


def stream_kernel(spec: Spec, epilogue: Epilogue | None = None, name: str = "gemv") -> Kernel:
    """C[rows, n] with B[k, j] at k*bk + j; m = rows, few."""
    f = Frame(spec, epilogue, name)
    b, rows, lanes = f.b, spec.rows, spec.lanes
    width = CHUNK // rows // lanes * lanes
    part, total = b.alloc("part", spec.acc, width * rows), b.alloc("total", spec.acc, width * rows)
    chunks = b.let((f["n"] + (f["nc"] - 1)) // f["nc"], "chunks")  # nc <= width
    lo, hi = b.partition(f["batch"] * chunks)
    with b.for_("u", lo, hi) as u:
        batch = b.let(u // chunks, "batch") if spec.batched else const("i64", 0)
        j0 = b.let((u % chunks if spec.batched else u) * f["nc"], "j0")
        cols = b.let(minimum(f["n"] - j0, f["nc"]), "cols")
        a0, b0 = b.let(batch * f["ab"], "a0"), b.let(batch * f["bb"] + j0, "b0")
        with b.for_("kb", 0, f["k"], KC) as kb:
            ke = b.let(minimum(kb + KC, f["k"]), "ke")
            main = b.let(kb + (ke - kb) // DEPTH * DEPTH, "main")
            with b.for_("kk", kb, main, DEPTH) as kk:
                _stream(f, a0, b0, kk, DEPTH, kk.eq(kb), part, width, cols)
            with b.for_("kk", main, ke) as kk:
                _stream(f, a0, b0, kk, 1, kk.eq(kb), part, width, cols)
            with b.vfor("x", 0, cols, lanes) as x:
                for r in range(rows):
                    p = part[x + r * width]
                    total[x + r * width] = select(kb > 0, total[x + r * width] + p, p)
        with b.vfor("x", 0, cols, lanes) as x:
            for r in range(rows):
                f.emit(total[x + r * width], batch, const("i64", r), j0 + x)
    return b.kernel()


def _stream(
    f: Frame, a0: Value, b0: Value, kk: Value, depth: int, first: Value, part: Buffer, width: int, cols: Value
) -> None:
    """part[:, :cols] += A[:, kk:kk+depth] B[kk:kk+depth, :cols]."""
    b, spec = f.b, f.spec
    a = [
        [b.let(f.a[a0 + r * f["ai"] + (kk + u) * f["ak"]].cast(spec.acc)) for u in range(depth)]
        for r in range(spec.rows)
    ]
    rows = [b.let(b0 + (kk + u) * f["bk"]) for u in range(depth)]
    with b.vfor("x", 0, cols, spec.lanes) as x:
        values = [b.let(f.bm[rows[u] + x].cast(spec.acc)) for u in range(depth)]
        for r in range(spec.rows):
            acc = b.let(select(first, 0, part[x + r * width]))
            for u in range(depth):
                acc = b.let(muladd(a[r][u], values[u], acc))
            part[x + r * width] = acc
