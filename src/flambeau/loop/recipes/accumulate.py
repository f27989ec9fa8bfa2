"""The accumulators of reductions: the lanes of a chunk, and the fold of chunk results."""

from __future__ import annotations

from typing import Any

from ..build import Buffer, Builder, Value, const, op, select
from ..ir import FLOATS

LANES = 16

IDENTITY: dict[str, Any] = {"add": 0, "mul": 1, "or": 0, "and": -1}


def identity(kind: str, type: str) -> Any:
    """The neutral element of a reduction in a loop-IR type."""
    if kind in ("min", "argmin"):
        return float("inf") if type in FLOATS else True if type == "b1" else 2 ** _bits(type) - 1
    if kind in ("max", "argmax"):
        return (
            float("-inf")
            if type in FLOATS
            else False
            if type == "b1"
            else -(2 ** _bits(type))
            if type[0] == "i"
            else 0
        )
    if type == "b1":
        return kind == "and"
    return IDENTITY[kind]


def _bits(type: str) -> int:
    return int(type[1:]) - (type[0] == "i")


def fold_type(kind: str, type: str) -> str:
    """The type in which chunk results are folded."""
    return "f64" if kind in ("add", "mul") and type in FLOATS else type


class Place:
    """An element of scratch, used as a register; flag: a b1, kept as a byte."""

    __slots__ = ("b", "buf", "flag", "index")

    def __init__(self, b: Builder, buf: Buffer, index: Value, flag: bool):
        self.b, self.buf, self.index, self.flag = b, buf, index, flag

    def get(self) -> Value:
        """What it holds now."""
        value = self.b.let(self.buf[self.index], "acc")
        return self.b.let(value.ne(0)) if self.flag else value

    def set(self, value: Value) -> None:
        """Write it."""
        self.b.store(self.buf, self.index, value.cast("u8") if self.flag else value)


class Lanes:
    """The accumulators of one reduction within a chunk: in registers of their own, or in `places` of scratch.

    `max` and `min` of floats heed NaN and the sign of zero, for which machines take many instructions that wait for
    each other. In registers a plain comparison finds the extremum, beside it run the signs (a maximum is negative if
    all elements are, a minimum if any is) and the last NaN."""

    def __init__(self, b: Builder, v: tuple[Any, ...], lanes: int, places: list[Place] | None = None):
        self.b, self.kind = b, v[1]
        self.arg = v[1] in ("argmax", "argmin")
        self.work = Lanes.types(v)[0]
        self.start = const(self.work, identity(self.kind, self.work))
        self.acc: Any = places[0] if places else b.reg("acc", self.start, lanes=lanes)
        self.apart = places is None and self.kind in ("max", "min") and self.work in FLOATS
        if self.arg:
            self.at: Any = places[1] if places else b.reg("at", const("i64", 2**62), lanes=lanes)
        if self.apart:
            self.bits = "i64" if self.work == "f64" else "i32"
            self.signs = b.reg("signs", const(self.bits, -1 if self.kind == "max" else 0), lanes=lanes)
            self.unordered = b.reg("unordered", const(self.work, 0), lanes=lanes)

    def clear(self) -> None:
        """The neutral element into scratch."""
        self.acc.set(self.start)
        if self.arg:
            self.at.set(const("i64", 2**62))

    def restart(self) -> None:
        """The neutral element into registers."""
        with self.b.vfor("l", 0, LANES, LANES, full=True):
            self.acc.set(self.start)
            if self.arg:
                self.at.set(const("i64", 2**62))
            if self.apart:
                self.signs.set(const(self.bits, -1 if self.kind == "max" else 0))
                self.unordered.set(const(self.work, 0))

    @staticmethod
    def types(v: tuple[Any, ...]) -> tuple[str, ...]:
        """The types of a chunk's result: of the value, and for argmax of its position."""
        arg = v[1] in ("argmax", "argmin")
        type = v[4] if arg else v[3]
        return ("f32" if type in ("f16", "bf16") else type, *(["i64"] if arg else []))

    def add(self, x: Value, position: Value, only: Value | None = None) -> None:
        """Take one more element; position: where it stands, for argmax and argmin; only: the lanes that do."""
        b = self.b

        def put(register: Any, value: Value) -> None:
            register.set(value if only is None else select(only, value, register.get()))

        if self.apart:
            x, old = b.let(x.cast(self.work)), self.acc.get()
            put(self.acc, select(x > old if self.kind == "max" else x < old, x, old))
            join = "and" if self.kind == "max" else "or"
            put(self.signs, op(join, self.signs.get(), x.bitcast(self.bits)))
            put(self.unordered, select(x.ne(x), x, self.unordered.get()))
            return
        if not self.arg:
            put(self.acc, op(self.kind, self.acc.get(), x.cast(self.work)))
            return
        x = x.cast(self.work)
        old, at = self.acc.get(), self.at.get()
        better = b.let(beats(self.kind, x, old) | at.eq(const("i64", 2**62)))
        put(self.at, select(better, position, at))
        put(self.acc, select(better, x, old))

    def tree(self) -> Any:
        """The lanes of this register as one value (two for argmax: value and position)."""
        b = self.b
        if self.apart:
            with b.vfor("l", 0, LANES, LANES, full=True):
                nan = b.let(self.unordered.get())
                found = op("copysign", self.acc.get(), self.signs.get().bitcast(self.work))
                self.acc.set(select(nan.ne(nan), nan, found))
        if not self.arg:
            return b.let(self.acc.reduce(self.kind), "h")
        best = b.let(self.acc.reduce("max" if self.kind == "argmax" else "min"), "h")
        with b.vfor("l", 0, LANES, LANES, full=True):
            mine = self.acc.get()
            same = mine.eq(best) | (mine.ne(mine) & best.ne(best)) if self.work in FLOATS else mine.eq(best)
            self.at.set(select(same, self.at.get(), const("i64", 2**62)))
        return best, b.let(self.at.reduce("min"), "hp")

    @staticmethod
    def across(all_lanes: list[Lanes]) -> Any:
        """The same tree over 16 accumulators, each of which holds that lane for 16 columns."""
        first = all_lanes[0]
        b = first.b
        if not first.arg:
            values = [x.acc.get() for x in all_lanes]
            step = len(values) // 2
            while step:
                values = [b.let(op(first.kind, values[i], values[i + step])) for i in range(step)]
                step //= 2
            return values[0]
        pairs = [(x.acc.get(), x.at.get()) for x in all_lanes]
        step = len(pairs) // 2
        while step:
            pairs = [better_pair(b, first.kind, pairs[i], pairs[i + step]) for i in range(step)]
            step //= 2
        return pairs[0]


def beats(kind: str, x: Value, old: Value) -> Value:
    """Whether x replaces old as the extremum: strictly better, or the first NaN."""
    better = x > old if kind == "argmax" else x < old
    if x.type in FLOATS:
        better = better | (x.ne(x) & old.eq(old))
    return better


def better_pair(b: Builder, kind: str, p: Any, q: Any) -> Any:
    """The better of two (value, position); of equal ones that with the smaller position."""
    (x, i), (y, j) = p, q
    same = x.eq(y)
    if x.type in FLOATS:
        same = same | (x.ne(x) & y.ne(y))
    empty = const("i64", 2**62)
    take = b.let(((beats(kind, y, x) | (same & (j < i))) & j.ne(empty)) | i.eq(empty))
    return b.let(select(take, y, x)), b.let(select(take, j, i))


class Total:
    """The fold of chunk results; lanes > 0: one for each column."""

    def __init__(self, b: Builder, v: tuple[Any, ...], lanes: int = 0):
        self.b, self.kind, self.out = b, v[1], v[3]
        self.arg = v[1] in ("argmax", "argmin")
        source = v[4] if self.arg else v[3]
        work = "f32" if source in ("f16", "bf16") else source
        self.work = work if self.arg else fold_type(self.kind, work)
        self.via = work
        self.acc = b.reg("total", const(self.work, identity(self.kind, self.work)), lanes=lanes)
        if self.arg:
            self.at = b.reg("where", const("i64", 2**62), lanes=lanes)

    def fold(self, x: Any) -> None:
        """Combine what the lanes of a chunk came to with the chunks before."""
        b = self.b
        if not self.arg:
            self.acc.set(op(self.kind, self.acc.get(), x.cast(self.work)))
            return
        value, at = better_pair(b, self.kind, (b.let(self.acc.get()), b.let(self.at.get())), x)
        self.acc.set(value)
        self.at.set(at)

    def result(self) -> Value:
        """The combination of all chunks, in the type of the result."""
        if self.arg:
            return self.b.let(self.at.get(), "arg")
        return self.b.let(self.acc.get().cast(self.via).cast(self.out), "sum")
