"""Contraction with few rows: memory-bound kernels that read B once, in its own order, and pack nothing.

`rows_kernel`: B transposed (k contiguous); `block` columns at a time, transposed in registers.
`stream_kernel`: j contiguous; eight rows of B at a time are streamed through sums that stay in the first-level cache.
The order of every sum is that of `matmul.gemm`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..build import Buffer, Register, Value, const, minimum, select
from ..ir import SIZE, Kernel
from .contraction import KC, Epilogue, Frame, Made, Spec, muladd

Steps = Callable[[int, list[Value], Value], None]

DEPTH = 8  # rows of B that `stream_kernel` reads at once
LINE = 64  # k steps of a computed B that lie in scratch
AHEAD = 2  # turns of columns that are brought near before they are read
SHORT = 1024  # bytes of a row of B up to which the processor does not foresee where the next rows are read
CHUNK = 2048  # columns x rows whose sums it keeps


def rows_kernel(
    spec: Spec, epilogue: Epilogue | None = None, name: str = "gemv", made: dict[str, Made] | None = None
) -> Kernel:
    """C[rows, n] with B[k, j] at k + j*bj; m = rows; n and k at least `block`. `lanes` columns at a time: several
    blocks, because the sums of one are a chain of dependent additions."""
    f = Frame(spec, epilogue, name, made or {})
    b, size, lanes = f.b, spec.block, spec.lanes
    out = b.alloc("tile", spec.acc, size * spec.rows)
    square = b.alloc("square", spec.acc, size * lanes)
    blocks = b.let((f["n"] + (lanes - 1)) // lanes, "blocks")
    lo, hi = b.partition(f["batch"] * blocks)
    with b.for_("u", lo, hi) as u:
        batch = b.let(u // blocks, "batch") if spec.batched else const("i64", 0)
        first = b.let((u % blocks if spec.batched else u) * lanes, "first")
        starts = [b.let(first + g, "start") for g in range(0, lanes, size)]
        moved = [b.let(minimum(j, f["n"] - size), "j0") for j in starts]
        for start, j0, total in zip(starts, moved, _sums(f, batch, moved, square)):
            with b.vfor("x", 0, size, size, full=True) as x:
                for r, t in enumerate(total):
                    out[x + r * size] = t.get()
            end = b.let(minimum(start + size, f["n"]), "end")
            if spec.staged:
                with b.for_("r", 0, spec.rows) as row, b.vfor("j", start, end, size) as j:
                    f.emit(out[j - j0 + row * size], batch, row, j)
                continue
            with b.vfor("j", start, end, size) as j:
                for r in range(spec.rows):
                    f.emit(out[j - j0 + r * size], batch, const("i64", r), j)
    return b.kernel()


def _sums(f: Frame, batch: Value, j0: list[Value], square: Buffer) -> list[list[Register]]:
    """The finished sums of the blocks of columns that begin at j0."""
    b, spec, k = f.b, f.spec, f["k"]
    a0 = [b.let(f.start("a", batch) + r * f["ai"], "a0") for r in range(spec.rows)]
    blocks = _Blocks(f, batch, j0, square)

    def registers(name: str) -> list[list[Register]]:
        return [[b.reg(name, 0, spec.acc, spec.block) for _ in range(spec.rows)] for _ in j0]

    total = registers("total")
    with b.for_("kb", 0, k, KC) as kb:
        acc = registers("acc")
        ke = b.let(minimum(kb + KC, k), "ke")

        def steps(g: int, values: list[Value], at: Value) -> None:
            for u, value in enumerate(values):
                for r in range(spec.rows):
                    factor = f.a[a0[r] + (at + u) * f["ak"]].cast(spec.acc)
                    acc[g][r].set(muladd(factor, value, acc[g][r].get()))

        blocks.walk(kb, ke, steps)
        with b.vfor("x", 0, spec.block, spec.block, full=True):
            for group, sums in zip(total, acc):
                for t, x in zip(group, sums):
                    t.set(select(kb > 0, t.get() + x.get(), x.get()))
    return total


class _Blocks:
    """The transposed blocks of B whose columns begin at j0: steps(number of a block's columns, k steps, first k)."""

    def __init__(self, f: Frame, batch: Value, j0: list[Value], square: Buffer):
        self.f, self.b, self.batch, self.j0, self.square = f, f.b, batch, j0, square
        self.made = f.made("b")
        size = f.spec.block
        self.line = LINE if self.made else max(size, 64 // SIZE[f.spec.dtype])
        if self.made:
            self.piece = f.b.alloc("piece", f.spec.acc, size * self.line)
        else:
            self.b0 = [f.b.let(f.start("b", batch) + j * f["bj"], "b0") for j in j0]

    def compute(self, g: int, at: Value, count: int) -> None:
        """Columns of block g for `count` k steps from `at` on, into scratch."""
        b, size = self.b, self.f.spec.block
        with b.for_("r", 0, size) as r, b.vfor("x", 0, count, size, full=True) as x:
            found = self.made.at(self.batch, self.j0[g] + r, at + x)
            self.piece[r * self.line + x] = found.cast(self.piece.type)

    def block(self, g: int, at: Value, past: int, do: Callable[[Value, list[Value]], None]) -> None:
        """do(lane, k steps) in lanes over the columns of block g, for the steps from `at` and `past` more on."""
        b, f, size = self.b, self.f, self.f.spec.block
        with b.vfor("x", 0, size, size, full=True) as x:
            row = b.let(x * self.line + past if self.made else self.b0[g] + at + past + x * f["bj"])
            source = self.piece if self.made else f.bm
            do(x, [b.let(source[row + u]).cast(f.spec.acc) for u in range(size)])

    def fetch(self, g: int, at: Value) -> None:
        """Have the lines at `at` of the next columns brought near, where rows are short."""
        b, f = self.b, self.f
        with b.if_(f["k"] * SIZE[f.spec.dtype] <= SHORT), b.for_("r", 0, f.spec.block, unroll=True) as r:
            b.prefetch(f.bm, self.b0[g] + at + (r + AHEAD * f.spec.lanes) * f["bj"])

    def walk(self, kb: Value, ke: Value, steps: Steps) -> None:
        """All of a k block; the last ones, if they are not whole, through squares of scratch."""
        b, f, square, line = self.b, self.f, self.square, self.line
        size, lanes, groups = f.spec.block, f.spec.lanes, range(len(self.j0))
        main = b.let(kb + (ke - kb) // size * size, "main")
        lines = b.let(kb + (ke - kb) // line * line, "lines")
        for low, high, step in (
            ((kb, lines, line), (lines, main, size)) if line > size else ((kb, main, size),)
        ):
            with b.for_("kk", low, high, step) as kk:
                for g in groups:
                    if self.made:
                        self.compute(g, kk, step)
                    else:
                        self.fetch(g, kk)
                    for past in range(0, step, size):
                        self.block(g, kk, past, partial(_step, steps, g, kk + past))
        with b.if_(main < ke):
            back = b.let(minimum(main, f["k"] - size), "back")
            for g in groups:

                def keep(x: Value, found: list[Value], g: int = g) -> None:
                    for u, v in enumerate(found):
                        square[x + (u * lanes + g * size)] = v

                if self.made:
                    self.compute(g, back, size)
                self.block(g, back, 0, keep)
            with b.for_("t", main, ke) as t:
                at = b.let((t - back) * lanes)
                for g in groups:
                    with b.vfor("x", 0, size, size, full=True) as x:
                        steps(g, [b.let(square[at + x + g * size])], t)


def _step(steps: Steps, g: int, at: Value, lane: Value, found: list[Value]) -> None:
    steps(g, found, at)


def stream_kernel(
    spec: Spec, epilogue: Epilogue | None = None, name: str = "gemv", made: dict[str, Made] | None = None
) -> Kernel:
    """C[rows, n] with B[k, j] at k*bk + j; m = rows, few."""
    f = Frame(spec, epilogue, name, made or {})
    b, rows, lanes = f.b, spec.rows, spec.lanes
    width = CHUNK // rows // lanes * lanes
    part, total = b.alloc("part", spec.acc, width * rows), b.alloc("total", spec.acc, width * rows)
    chunks = b.let((f["n"] + (f["nc"] - 1)) // f["nc"], "chunks")  # nc <= width
    lo, hi = b.partition(f["batch"] * chunks)
    with b.for_("u", lo, hi) as u:
        batch = b.let(u // chunks, "batch") if spec.batched else const("i64", 0)
        j0 = b.let((u % chunks if spec.batched else u) * f["nc"], "j0")
        cols = b.let(minimum(f["n"] - j0, f["nc"]), "cols")
        a0 = b.let(f.start("a", batch), "a0")
        value = _streamed(f, batch, j0)
        with b.for_("kb", 0, f["k"], KC) as kb:
            ke = b.let(minimum(kb + KC, f["k"]), "ke")
            main = b.let(kb + (ke - kb) // DEPTH * DEPTH, "main")
            with b.for_("kk", kb, main, DEPTH) as kk:
                _stream(f, a0, value, kk, DEPTH, kk.eq(kb), part, width, cols)
            with b.for_("kk", main, ke) as kk:
                _stream(f, a0, value, kk, 1, kk.eq(kb), part, width, cols)
            with b.vfor("x", 0, cols, lanes) as x:
                for r in range(rows):
                    p = part[x + r * width]
                    total[x + r * width] = select(kb > 0, total[x + r * width] + p, p)
        with b.vfor("x", 0, cols, lanes) as x:
            for r in range(rows):
                f.emit(total[x + r * width], batch, const("i64", r), j0 + x)
    return b.kernel()


def _streamed(f: Frame, batch: Value, j0: Value) -> Callable[[Value], Callable[[Value], Value]]:
    """The elements of a row of B, k steps down, as a function of the column from j0 on."""
    b, made = f.b, f.made("b")
    if made:
        return lambda k: lambda x: made.at(batch, j0 + x, k)
    b0 = b.let(f.start("b", batch) + j0, "b0")

    def row(k: Value) -> Callable[[Value], Value]:
        start = b.let(b0 + k * f["bk"])
        return lambda x: f.bm[start + x]

    return row


def _stream(
    f: Frame,
    a0: Value,
    value: Callable[[Value], Callable[[Value], Value]],
    kk: Value,
    depth: int,
    first: Value,
    part: Buffer,
    width: int,
    cols: Value,
) -> None:
    """part[:, :cols] += A[:, kk:kk+depth] B[kk:kk+depth, :cols]."""
    b, spec = f.b, f.spec
    a = [
        [b.let(f.a[a0 + r * f["ai"] + (kk + u) * f["ak"]].cast(spec.acc)) for u in range(depth)]
        for r in range(spec.rows)
    ]
    rows = [value(kk + u) for u in range(depth)]
    with b.vfor("x", 0, cols, spec.lanes) as x:
        values = [b.let(row(x).cast(spec.acc)) for row in rows]
        for r in range(spec.rows):
            acc = b.let(select(first, 0, part[x + r * width]))
            for u in range(depth):
                acc = b.let(muladd(a[r][u], values[u], acc))
            part[x + r * width] = acc
