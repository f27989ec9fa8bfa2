"""Running sums, products, extrema along one axis. Each row is one chain, so the bits do not depend on the threads.

Sums and products of float32 run in float64, those of 16-bit floats in float32, and are rounded where they are stored.
In float64 there is room for four elements of float32 to be combined before the chain takes them: it then waits for one
operation where it waited for four.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..build import Buffer, Builder, Register, Value, const, maximum, minimum, op, select
from ..ir import FLOATS, Kernel
from .sort import decode

LANES = 16
ROWS, BLOCK = 4, 4  # rows at a time; elements of float32 at a time
PANEL = 512  # rows side by side that take an element each in turn: pages are read and written for some time
STRETCH = 64  # elements that may have no new extremum


@dataclass(frozen=True)
class Scan:
    """kind: add, mul, max, min, logaddexp; type: of the elements; axes: of the rows; lanes: rows at once; dense: what
    is walked innermost (such rows, or else elements) lies side by side, in the input and in the results."""

    kind: str
    type: str
    axes: int
    lanes: bool
    dense: bool


def wide(spec: Scan) -> str:
    """The type of the chain."""
    if spec.kind in ("add", "mul"):
        return {"f32": "f64", "f16": "f32", "bf16": "f32"}.get(spec.type, spec.type)
    return "f32" if spec.type in ("f16", "bf16") else spec.type


def kernel(spec: Scan) -> Kernel:
    """out[..., i] (and places[..., i] of extrema) of the rows of x; n along the axis with strides xs, os."""
    f = _Frame(spec)
    if spec.lanes or (spec.dense and spec.axes and spec.kind == "logaddexp"):
        (f.columns if spec.lanes else f.turned)()
        return f.b.kernel()
    b = f.b
    lo, hi = b.partition(f.count(f.extents))
    if f.places is not None and spec.dense:
        with b.for_("row", lo, hi) as row:
            f.extrema(row)
        return b.kernel()
    together = ROWS if spec.axes and spec.kind != "logaddexp" and f.block == 1 else 1
    middle = b.let(lo + (hi - lo) // together * together, "middle")
    if together > 1:
        with b.for_("row", lo, middle, together) as row:
            f.rows(row, together)
    with b.for_("row", middle if together > 1 else lo, hi) as row:
        f.rows(row, 1)
    return b.kernel()


class _Frame:
    """The parameters of a scan, and its loops."""

    def __init__(self, spec: Scan):
        self.spec, self.b = spec, Builder(f"scan_{spec.kind}")
        b = self.b
        self.x, self.out = b.buf("x", spec.type), b.buf("out", spec.type, "w")
        self.places = b.buf("places", "i64", "w") if spec.kind in ("max", "min") else None
        self.n = b.integer("n")
        near = spec.dense and not spec.lanes
        self.xs, self.os = (const("i64", 1) if near else b.integer(k) for k in ("xs", "os"))
        self.panel = b.integer("panel") if spec.lanes else const("i64", 0)
        self.extents = [b.integer(f"a{i}") for i in range(spec.axes)]
        self.x_a = [b.integer(f"x_a{i}") for i in range(spec.axes)]
        self.o_a = [b.integer(f"o_a{i}") for i in range(spec.axes)]
        self.joins = spec.type == "f32" and wide(spec) == "f64"
        self.block = BLOCK if self.joins or (spec.lanes and spec.kind != "logaddexp") else 1

    @staticmethod
    def count(extents: list[Value]) -> Value:
        """Their product."""
        total: Value = const("i64", 1)
        for e in extents:
            total = total * e
        return total

    def step(self, chain: _Chain, i: Value, at: Value, to: Value, count: int) -> None:
        """The elements i, i + 1, ... of a chain that begins at `at` and `to`."""
        b, x, out, type = self.b, self.x, self.out, self.spec.type
        if self.joins:
            new = [b.let(x[at + (i + k) * self.xs].cast(chain.type), "x") for k in range(count)]
            for k, y in enumerate(chain.joined(new)):
                out[to + (i + k) * self.os] = y.cast(type)
            return
        for k in range(count):
            j = b.let(i + k) if k else i
            chain.take(j, b.let(x[at + j * self.xs].cast(chain.type), "x"))
            out[to + j * self.os] = chain.acc.get().cast(type)
            if self.places is not None:
                self.places[to + j * self.os] = chain.at.get()

    def whole(self, body: Callable[[Value, int], None]) -> None:
        """body(first element, how many) for all elements."""
        b, n, block = self.b, self.n, self.block
        rest = b.let(n // block * block, "rest") if block > 1 else n
        with b.for_("i", 0, rest, block) as i:
            body(i, block)
        for k in range(1, block):
            with b.if_((n - rest).eq(k)):
                body(rest, k)

    def rows(self, first: Value, number: int) -> None:
        """Some rows at a time: their chains do not wait for each other."""
        b = self.b
        begun: list[tuple[_Chain, Value, Value]] = []
        for k in range(number):
            x0, o0 = decode(b, b.let(first + k) if k else first, self.extents, (self.x_a, self.o_a))
            begun.append((_Chain(b, self.spec, 0), x0, o0))

        def body(i: Value, count: int) -> None:
            for chain, x0, o0 in begun:
                self.step(chain, i, x0, o0, count)

        self.whole(body)

    def extrema(self, row: Value) -> None:
        """A row of extrema: a stretch without a new one is filled; elsewhere a jump is cheaper than to wait."""
        b, spec, n = self.b, self.spec, self.n
        chain = _Chain(b, spec, 0)
        x0, o0 = decode(b, row, self.extents, (self.x_a, self.o_a))
        with b.for_("s", 0, n, STRETCH) as s:
            end, old = b.let(minimum(s + STRETCH, n), "end"), b.let(chain.acc.get(), "old")
            hit = b.reg("hit", False, "b1", LANES)
            with b.vfor("v", s, end, LANES) as v:
                hit.set(hit.get() | chain.better(b.let(self.x[x0 + v].cast(chain.type), "x"), old))
            with b.if_(hit.reduce("or") | s.eq(0)), b.for_("i", s, end) as i:
                x = b.let(self.x[x0 + i].cast(chain.type), "x")
                with b.if_(chain.better(x, chain.acc.get()) | i.eq(0)):
                    chain.acc.set(x)
                    chain.at.set(i)
                self.put(o0 + i, chain)
            with b.else_(), b.vfor("v", s, end, LANES) as v:
                self.put(o0 + v, chain)

    def put(self, to: Value, chain: _Chain) -> None:
        """An extremum and its place."""
        self.out[to] = chain.acc.get().cast(self.spec.type)
        self.places[to] = chain.at.get()  # type: ignore[index]

    def columns(self) -> None:
        """Rows side by side are lanes: a panel of them takes a few elements at a time, its chains wait in scratch."""
        b, lead, panel = self.b, self.extents[:-1], self.panel
        x_last, o_last = (const("i64", 1),) * 2 if self.spec.dense else (self.x_a[-1], self.o_a[-1])
        panels = b.let((self.extents[-1] + (panel - 1)) // panel, "panels")
        kept = [b.alloc("kept", t, PANEL, loose=True) for t in self.chain_types()]
        lo, hi = b.partition(self.count(lead) * panels)
        with b.for_("row", lo, hi) as row:
            flat = b.let(row // panels, "flat")
            x0, o0 = decode(b, flat, lead, (self.x_a[:-1], self.o_a[:-1]))
            first = b.let(row % panels * panel, "first")
            x0, o0 = b.let(x0 + first * x_last), b.let(o0 + first * o_last)
            some = b.let(minimum(panel, self.extents[-1] - first), "some")
            with b.vfor("v", 0, some, LANES) as v:
                _Chain(b, self.spec, LANES).keep(kept, v)

            def body(i: Value, count: int) -> None:
                with b.vfor("v", 0, some, LANES) as v:
                    chain = _Chain(b, self.spec, LANES, kept, v)
                    self.step(chain, i, x0 + v * x_last, o0 + v * o_last, count)
                    chain.keep(kept, v)

            self.whole(body)

    def turned(self) -> None:
        """16 rows are lanes where memory runs along them: squares of 16 elements of each are turned, there and back."""
        b, lead, x_last, o_last = self.b, self.extents[:-1], self.x_a[-1], self.o_a[-1]
        blocks = b.let((self.extents[-1] + (LANES - 1)) // LANES, "blocks")
        tile = b.alloc("tile", self.spec.type, LANES * LANES)
        lo, hi = b.partition(self.count(lead) * blocks)
        with b.for_("row", lo, hi) as row:
            x0, o0 = decode(b, b.let(row // blocks, "flat"), lead, (self.x_a[:-1], self.o_a[:-1]))
            first = b.let(row % blocks * LANES, "first")
            x0, o0 = b.let(x0 + first * x_last), b.let(o0 + first * o_last)
            some = b.let(minimum(self.extents[-1] - first, LANES), "some")
            whole = b.let(select(some.eq(LANES), self.n // LANES * LANES, 0), "whole")
            chain = _Chain(b, self.spec, LANES)
            with b.for_("i", 0, whole, LANES) as i:
                with b.vfor("v", 0, LANES, LANES, full=True) as v:
                    at = b.let(x0 + i + v * x_last, "at")
                    found = [b.let(self.x[at + u], "x") for u in range(LANES)]
                    for k, y in enumerate(found):
                        tile[v + k * LANES] = y
                with b.for_("u", 0, LANES) as u, b.vfor("v", 0, LANES, LANES, full=True) as v:
                    chain.take(b.let(i + u), b.let(tile[u * LANES + v].cast(chain.type), "x"))
                    tile[u * LANES + v] = chain.acc.get().cast(self.spec.type)
                with b.vfor("v", 0, LANES, LANES, full=True) as v:
                    at = b.let(v * LANES, "at")
                    found = [b.let(tile[at + u], "y") for u in range(LANES)]
                    for k, y in enumerate(found):
                        self.out[o0 + k * o_last + i + v] = y
            with b.for_("i", whole, self.n) as i, b.vfor("v", 0, some, LANES) as v:
                self.step(chain, i, x0 + v * x_last, o0 + v * o_last, 1)

    def chain_types(self) -> list[str]:
        """What a chain holds, in memory."""
        value = wide(self.spec)
        return ["u8" if value == "b1" else value] + ["i64"] * (self.places is not None)


class _Chain:
    """The running value (and the place where it was found)."""

    def __init__(
        self, b: Builder, spec: Scan, lanes: int, kept: Sequence[Buffer] = (), v: Value | None = None
    ):
        self.b, self.spec, self.type = b, spec, wide(spec)
        start: Value = const(self.type, 1 if spec.kind == "mul" else 0)
        if v is not None:
            start = kept[0][v] if self.type != "b1" else kept[0][v].ne(0)
        self.acc = b.reg("acc", start, self.type, lanes)
        self.at: Register = b.reg("at", kept[1][v] if v is not None and len(kept) > 1 else 0, "i64", lanes)

    def keep(self, kept: Sequence[Buffer], v: Value) -> None:
        """Into scratch."""
        kept[0][v] = self.acc.get().cast(kept[0].type)
        if len(kept) > 1:
            kept[1][v] = self.at.get()

    def joined(self, xs: list[Value]) -> list[Value]:
        """The running values of the next elements, which are combined before the chain takes them."""
        b, kind, old = self.b, self.spec.kind, self.acc.get()
        sums = [xs[0]]
        for x in xs[1:]:
            sums.append(b.let(op(kind, sums[-1], x), "s"))
        found = [b.let(op(kind, old, s), "y") for s in sums]
        self.acc.set(found[-1])
        return found

    def better(self, x: Value, old: Value) -> Value:
        """Whether x takes the place of an extremum: equal ones do, and a NaN."""
        better = x >= old if self.spec.kind == "max" else x <= old
        return x.ne(x) | (old.eq(old) & better) if self.type in FLOATS else better

    def take(self, i: Value, x: Value) -> None:
        b, kind, old = self.b, self.spec.kind, self.acc.get()
        if kind in ("max", "min"):
            better = b.let(self.better(x, old) | i.eq(0), "better")
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
