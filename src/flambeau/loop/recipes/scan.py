"""Running sums, products, extrema along one axis. Each row is one chain, so the bits do not depend on the threads.

Sums and products of float32 run in float64, those of 16-bit floats in float32, and are rounded where they are stored.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..build import Builder, Register, Value, const, maximum, minimum, op, select
from ..ir import FLOATS, Kernel
from .sort import decode

LANES = 16
ROWS = 4


@dataclass(frozen=True)
class Scan:
    """kind: add, mul, max, min, logaddexp; type: of the elements; axes: of the rows; lanes: rows at once."""

    kind: str
    type: str
    axes: int
    lanes: bool


def wide(spec: Scan) -> str:
    """The type of the chain."""
    if spec.kind in ("add", "mul"):
        return {"f32": "f64", "f16": "f32", "bf16": "f32"}.get(spec.type, spec.type)
    return "f32" if spec.type in ("f16", "bf16") else spec.type


def kernel(spec: Scan) -> Kernel:
    """out[..., i] (and places[..., i] of extrema) of the rows of x; n along the axis with strides xs, os."""
    b = Builder(f"scan_{spec.kind}")
    x, out = b.buf("x", spec.type), b.buf("out", spec.type, "w")
    places = b.buf("places", "i64", "w") if spec.kind in ("max", "min") else None
    n, xs, os = b.integer("n"), b.integer("xs"), b.integer("os")
    extents = [b.integer(f"a{i}") for i in range(spec.axes)]
    x_a = [b.integer(f"x_a{i}") for i in range(spec.axes)]
    o_a = [b.integer(f"o_a{i}") for i in range(spec.axes)]
    lead = spec.axes - 1 if spec.lanes else spec.axes
    count: Value = const("i64", 1)
    for e in extents[:lead]:
        count = count * e
    blocks = b.let((extents[-1] + (LANES - 1)) // LANES, "blocks") if spec.lanes else const("i64", 1)
    lo, hi = b.partition(count * blocks)

    def step(chain: _Chain, i: Value, at: Value, to: Value) -> None:
        chain.take(i, b.let(x[at + i * xs].cast(chain.type), "x"))
        out[to + i * os] = chain.acc.get().cast(spec.type)
        if places is not None:
            places[to + i * os] = chain.at.get()

    def rows(first: Value, number: int) -> None:
        """Some rows at a time: their chains do not wait for each other."""
        begun: list[tuple[_Chain, Value, Value]] = []
        for k in range(number):
            x0, o0 = decode(b, b.let(first + k) if k else first, extents, (x_a, o_a))
            begun.append((_Chain(b, spec, 0), x0, o0))
        with b.for_("i", 0, n) as i:
            for chain, x0, o0 in begun:
                step(chain, i, x0, o0)

    if not spec.lanes:
        together = ROWS if spec.axes and spec.kind != "logaddexp" else 1
        middle = b.let(lo + (hi - lo) // together * together, "middle")
        if together > 1:
            with b.for_("row", lo, middle, together) as row:
                rows(row, together)
        with b.for_("row", middle if together > 1 else lo, hi) as row:
            rows(row, 1)
        return b.kernel()
    with b.for_("row", lo, hi) as row:
        flat = b.let(row // blocks, "flat")
        x0, o0 = decode(b, flat, extents[:lead], (x_a[:lead], o_a[:lead]))
        chain = _Chain(b, spec, LANES)
        first = b.let(row % blocks * LANES, "first")
        with b.for_("i", 0, n) as i, b.vfor("v", first, minimum(first + LANES, extents[-1]), LANES) as v:
            step(chain, i, x0 + v * x_a[-1], o0 + v * o_a[-1])
    return b.kernel()


class _Chain:
    """The running value (and the place where it was found)."""

    def __init__(self, b: Builder, spec: Scan, lanes: int):
        self.b, self.spec, self.type = b, spec, wide(spec)
        start = const(self.type, 1 if spec.kind == "mul" else 0)
        self.acc = b.reg("acc", start, self.type, lanes)
        self.at: Register = b.reg("at", 0, "i64", lanes)

    def take(self, i: Value, x: Value) -> None:
        b, kind, old = self.b, self.spec.kind, self.acc.get()
        if kind in ("max", "min"):
            better = x >= old if kind == "max" else x <= old
            if self.type in FLOATS:
                better = x.ne(x) | (old.eq(old) & better)
            better = b.let(better | i.eq(0), "better")
            self.at.set(select(better, i, self.at.get()))
            self.acc.set(select(better, x, self.acc.get()))
        elif kind == "logaddexp":
            low, high = b.let(minimum(x, old), "low"), b.let(maximum(x, old), "high")
            finite = abs(low) < float("inf")
            joined = op("log1p", op("exp", low - high)) + high
            total = select(low.ne(high) | finite, joined, x)
            self.acc.set(select(i.eq(0), x, total))
        elif self.type == "b1":
            self.acc.set(old | x if kind == "add" else old & x)
        else:
            self.acc.set(old + x if kind == "add" else old * x)
