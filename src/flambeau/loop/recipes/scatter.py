"""Scatter: dest[places] op= src, in a fixed order, so that equal places give the same bits each time.

The iteration space has free axes (r), along which places never meet: parts share them; and serial axes (b), along which
they may: every part runs them in order. If the indices do not depend on the free axes, the last free axis is a vector.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from ..build import Buffer, Builder, Value, const, maximum, minimum, select
from ..ir import FLOATS, Kernel
from .accumulate import identity

COPIES = 8  # of dest, where parts share elements whose order makes no difference


@dataclass(frozen=True)
class Scatter:
    """What makes a kernel: types, numbers of axes and indices, how an element is combined.

    rows: the indices do not depend on the free axes; split: "outer" or "last" free axes are shared by parts;
    "copies": parts take stretches of the one serial axis, each into a copy of a small dest, where any order will do.
    unit: strides of dest and src along the last free axis where they are 0 or 1 ("s": any).
    line: the axis that is walked innermost where elements come one by one: the last "free" or the last "serial" one;
    ones: whether the stride of src and of each index along it, and of each indexed dimension, is 1.
    negative: whether negative indices count from the end.
    """

    dtype: str
    mode: str
    free: int
    serial: int
    indices: int
    rows: bool
    split: str
    unit: tuple[object, object]
    alias: tuple[bool, ...]
    line: str
    ones: tuple[bool, ...]
    negative: bool


def combine(mode: str, type: str, old: Value, new: Value) -> Value:
    """One element combined with one that comes: set, add, mul, min, max."""
    if mode == "set":
        return new
    if type == "b1":
        return old | new if mode in ("add", "max") else old & new
    if mode == "min":
        return minimum(old, new)
    if mode == "max":
        return maximum(old, new)
    return old + new if mode == "add" else old * new


class _Frame:
    """Parameters: dest, src, i0..; extents r0.., b0..; strides d_r0, s_r0, s_b0, i0_r0, i0_b0; e0, t0: extent, stride
    of the indexed dimensions."""

    def __init__(self, spec: Scatter):
        self.spec, b = spec, Builder("scatter")
        self.b = b
        self.dest = b.buf("dest", spec.dtype, "rw", spec.alias[0])
        self.src = b.buf("src", spec.dtype, "r", spec.alias[1])
        self.index = [b.buf(f"i{k}", "i64", "r", spec.alias[2 + k]) for k in range(spec.indices)]
        self.r = [b.integer(f"r{k}") for k in range(spec.free)]
        self.b_ = [b.integer(f"b{k}") for k in range(spec.serial)]
        self.d_r = [b.integer(f"d_r{k}") for k in range(spec.free)]
        self.s_r = [b.integer(f"s_r{k}") for k in range(spec.free)]
        self.s_b = [b.integer(f"s_b{k}") for k in range(spec.serial)]
        self.i_r = [[b.integer(f"i{j}_r{k}") for k in range(spec.free)] for j in range(spec.indices)]
        self.i_b = [[b.integer(f"i{j}_b{k}") for k in range(spec.serial)] for j in range(spec.indices)]
        self.extent = [b.integer(f"e{j}") for j in range(spec.indices)]
        self.step: list[Value] = [b.integer(f"t{j}") for j in range(spec.indices)]
        n = spec.indices
        self.step = [const("i64", 1) if x else t for x, t in zip(spec.ones[1 + n :], self.step)]
        self.last_step = self.step[-1]
        inner = [(self.s_r, *self.i_r), (self.s_b, *self.i_b)][spec.line == "serial"]
        if not spec.rows:
            for x, strides in zip(spec.ones, inner):
                strides[-1:] = [const("i64", 1)] if x else strides[-1:]

    def decode(
        self, flat: Value, extents: Sequence[Value], strides: Sequence[Sequence[Value]]
    ) -> list[Value]:
        """The offsets of a flat position, for several operands."""
        b = self.b
        totals: list[Value] = [const("i64", 0) for _ in strides]
        for k in range(len(extents) - 1, -1, -1):
            c = b.let(flat % extents[k], "c") if k else flat
            if k:
                flat = b.let(flat // extents[k], "f")
            totals = [t + c * s[k] for t, s in zip(totals, strides)]
        return [b.let(t, "o") for t in totals]

    @contextmanager
    def serial_loops(self, bases: list[Value]) -> Iterator[tuple[Value, list[Value]]]:
        """All serial axes; yields the offsets in src and in each index."""
        b = self.b
        with ExitStack() as stack:
            src, index = bases[0], bases[1:]
            for k in range(self.spec.serial):
                i = stack.enter_context(b.for_("b", 0, self.b_[k]))
                src = b.let(src + i * self.s_b[k], "s")
                index = [b.let(o + i * self.i_b[j][k], "p") for j, o in enumerate(index)]
            yield src, index

    def place(self, index: list[Value]) -> Value:
        b = self.b
        total: Value = const("i64", 0)
        for j, o in enumerate(index):
            k = b.let(self.index[j][o], "k")
            at = select(k < 0, k + self.extent[j], k) if self.spec.negative else k
            total = total + at * self.step[j]
        return b.let(total, "to")


def any_order(mode: str, type: str) -> bool:
    """Whether the order in which elements are combined makes no difference."""
    return type != "b1" and (mode in ("min", "max") or (mode in ("add", "mul") and type not in FLOATS))


def kernel(spec: Scatter) -> Kernel:
    """The kernel of a scatter; indices are in range (see `check`), negative ones count from the end."""
    f = _Frame(spec)
    if spec.split == "copies":
        copies(f)
    elif spec.rows and spec.free:
        rows(f)
    elif spec.line == "free":
        lines(f)
    else:
        each(f)
    return f.b.kernel()


def product(extents: Sequence[Value]) -> Value:
    """How many there are of all indices together."""
    count: Value = const("i64", 1)
    for n in extents:
        count = count * n
    return count


def shares(f: _Frame) -> tuple[Value, Value, Value, Value]:
    """A part's share: the first and last one of the outer free axes together, and of the last free axis."""
    b, split, count, zero = f.b, f.spec.split, product(f.r[:-1]), const("i64", 0)
    lo, hi = b.partition(count) if split == "outer" else (zero, count)
    first, last = b.partition(f.r[-1], 16) if split == "last" else (zero, f.r[-1])
    return lo, hi, first, last


def lines(f: _Frame) -> None:
    """Every element by itself, along the last free axis: those that may meet in one place come in order, too."""
    b, spec = f.b, f.spec
    lo, hi, first, last = shares(f)
    with b.for_("o", lo, hi) as o:
        starts = f.decode(o, f.r[:-1], [x[:-1] for x in (f.d_r, f.s_r, *f.i_r)])
        with f.serial_loops(starts[1:]) as (src, index), b.for_("v", first, last) as v:
            at = [b.let(i + v * s[-1], "p") for i, s in zip(index, f.i_r)]
            to = b.let(starts[0] + v * f.d_r[-1] + f.place(at), "to")
            f.dest[to] = combine(spec.mode, spec.dtype, f.dest[to], f.src[src + v * f.s_r[-1]])


def each(f: _Frame) -> None:
    """Every element by itself; those that may meet in one place come in order."""
    b, spec = f.b, f.spec
    lo, hi = b.partition(product(f.r))
    with b.for_("r", lo, hi) as r:
        d, s, *i = f.decode(r, f.r, [f.d_r, f.s_r, *f.i_r])
        with f.serial_loops([s, *i]) as (src, index):
            to = b.let(d + f.place(index), "to")
            f.dest[to] = combine(spec.mode, spec.dtype, f.dest[to], f.src[src])


def copies(f: _Frame) -> None:
    """Stretches of the elements, each combined in a copy of dest; the epilogue combines the copies with dest."""
    b, spec, size, n = f.b, f.spec, f.extent[0], f.b_[0]
    copy = b.buf("copies", spec.dtype, "rw")
    start = const(spec.dtype, identity(spec.mode, spec.dtype))
    lo, hi = b.partition(const("i64", COPIES))
    f.step = [const("i64", 1)]
    with b.for_("q", lo, hi) as q:
        base = b.let(q * size, "base")
        with b.vfor("v", 0, size, 16) as v:
            copy[base + v] = start
        with b.for_("b", b.let(q * n // COPIES, "first"), b.let((q + 1) * n // COPIES, "last")) as i:
            to = b.let(base + f.place([b.let(i * f.i_b[0][0], "p")]), "to")
            copy[to] = combine(spec.mode, spec.dtype, copy[to], f.src[i * f.s_b[0]])
    with b.epilogue(), b.vfor("v", 0, size, 16) as v:
        at = v * f.last_step
        total = b.let(f.dest[at], "old")
        for k in range(COPIES):
            total = b.let(combine(spec.mode, spec.dtype, total, copy[size * k + v]), "both")
        f.dest[at] = total


def stride(kind: object, given: Value) -> Value:
    """A stride: the argument, or the constant that the kernel was made for."""
    return given if kind == "s" else const("i64", kind)  # type: ignore[arg-type]


def rows(f: _Frame) -> None:
    """Rows of elements at a time: their indices do not depend on the free axes."""
    b, spec = f.b, f.spec
    lo, hi, first, last = shares(f)
    ds, ss = stride(spec.unit[0], f.d_r[-1]), stride(spec.unit[1], f.s_r[-1])
    with b.for_("o", lo, hi) as o:
        d, s = f.decode(o, f.r[:-1], [f.d_r[:-1], f.s_r[:-1]])
        with f.serial_loops([s, *[const("i64", 0) for _ in f.index]]) as (src, index):
            to = b.let(d + f.place(index), "to")
            with b.vfor("v", first, last, 16) as v:
                at = to + v * ds
                f.dest[at] = combine(spec.mode, spec.dtype, f.dest[at], f.src[src + v * ss])


def check(axes: int, negative: bool, dense: bool) -> Kernel:
    """Every index in range (from -extent if negative ones count from the end), else an error record; dense: those along
    the last axis lie side by side."""
    b = Builder("check_index")
    index: Buffer = b.buf("index", "i64")
    extents = [b.integer(f"n{k}") for k in range(axes)]
    strides: list[Value] = [b.integer(f"s{k}") for k in range(axes)]
    size = b.integer("size")
    low = b.let(const("i64", 0) - size if negative else const("i64", 0), "low")
    last, step = extents[-1], const("i64", 1) if dense else strides[-1]

    def line(first: Value, lo: Value, hi: Value, before: Value) -> None:
        with b.vfor("i", lo, hi, 16) as i:
            k = b.let(index[first + i * step], "k")
            b.check((k >= low) & (k < size), 1, k, before + i)

    if axes == 1:
        line(const("i64", 0), *b.partition(last, 16), const("i64", 0))
        return b.kernel()
    lo, hi = b.partition(product(extents[:-1]))
    with b.for_("o", lo, hi) as o:
        flat: Value = o
        at: Value = const("i64", 0)
        for d in range(axes - 2, -1, -1):
            at = at + (b.let(flat % extents[d], "c") if d else flat) * strides[d]
            if d:
                flat = b.let(flat // extents[d], "f")
        line(b.let(at, "at"), const("i64", 0), last, b.let(o * last, "before"))
    return b.kernel()
