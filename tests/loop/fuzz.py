"""Random valid kernels with inputs, to compare the interpreter and the machine to the last bit.

    kernel, inputs = random_kernel(seed)          # inputs: a numpy array or a number for each parameter
    expected = run(kernel, inputs)                # copies of the buffers afterwards, and the error record
    assert not differences(kernel, expected, run(kernel, inputs, my_machine))

Every kernel ends, touches only its own memory and follows all rules of loop/ir.py. Nothing depends on a NaN's bits.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from flambeau.loop import ir
from flambeau.loop.build import Buffer, Builder, Value, expr, select
from flambeau.loop.interp import interpret
from flambeau.loop.ir import FLOATS, SIGNED, SIZE, TYPES, UNSIGNED, Const, Expr, Kernel, Load, Op
from flambeau.loop.semantics import MEMORY, load_bf16, round_bf16
from flambeau.loop.spec import OPS

ROOM = 160  # elements of every buffer
MOST = 70  # the largest extent
INTS = SIGNED + UNSIGNED
Outcome = tuple[list[np.ndarray], list[int]]


def random_kernel(seed: int, math: Sequence[str] = ()) -> tuple[Kernel, list[Any]]:
    """A random kernel, and what it is called with: an array or number for each parameter.

    math: names of mathematical functions to use; codegen.math.expand must replace them before interpreting."""
    made = _Random(seed, math)
    return made.kernel(), made.inputs


def run(kernel: Kernel, inputs: list[Any], part: Callable[..., None] | None = None, nt: int = 3) -> Outcome:
    """Run all parts and the epilogue by part(kernel, table, where, tid, nt) on copies of the inputs.

    Without `part` they are interpreted, and every access to memory is checked."""
    part = part or partial(interpret, sizes=[np.size(x) for x in inputs])
    copies = {id(x): x.copy() for x in inputs if isinstance(x, np.ndarray)}
    arrays = [copies.get(id(x)) for x in inputs]
    record = np.zeros(4, np.int64)
    table = np.zeros(len(inputs) + 1, np.int64)
    table[0] = record.ctypes.data
    for k, (p, x, array) in enumerate(zip(kernel.params, inputs, arrays), 1):
        if array is not None:
            table[k] = array.ctypes.data
        else:
            table[k] = np.float64(x).view(np.int64) if getattr(p, "type", "") == "f64" else x
    where = np.arange(1, len(inputs) + 1, dtype=np.int32)
    for tid in range(nt):
        part(kernel, table, where, tid, nt)
        if record[0]:
            break
    if kernel.epilogue and not record[0]:
        part(kernel, table, where, -1, nt)
    return [a for a in arrays if a is not None], record.tolist()


def differences(kernel: Kernel, a: Outcome, b: Outcome) -> list[str]:
    """Where two outcomes differ; all NaNs are the same. After a failed check only the records count."""
    if a[1] != b[1]:
        return [f"record {a[1]} {b[1]}"]
    if a[1][0]:
        return []
    found = []
    for p, x, y in zip([p for p in kernel.params if isinstance(p, ir.Buf)], a[0], b[0]):
        same = x.view(f"u{x.itemsize}") == y.view(f"u{y.itemsize}")
        if p.type in FLOATS:
            x, y = (load_bf16(v) if p.type == "bf16" else v for v in (x, y))
            same |= np.isnan(x) & np.isnan(y)
        if not same.all():
            k = int(np.argmin(same))
            found.append(f"{p.name}[{k}] ({p.type}): {x[k]!r} {y[k]!r}, {int((~same).sum())} in all")
    return found


def values(rng: random.Random, type: str, size: int) -> np.ndarray:
    """An array as it lies in memory: ordinary numbers and the extremes of the type."""
    if type == "b1":
        return np.array([rng.random() < 0.5 for _ in range(size)])
    if type in FLOATS:
        special = [
            0.0,
            -0.0,
            float("inf"),
            float("-inf"),
            float("nan"),
            1.0,
            -1.0,
            0.5,
            1.5,
            2.5,
            1e-40,
            3e38,
            1e-310,
        ]
        special += [65504.0, 65520.0, 6e-8, 2.0**31, -(2.0**63), 2.0**63, 255.5]
        plain = [
            rng.choice(special)
            if rng.random() < 0.2
            else rng.gauss(0, 1) * 10 ** rng.choice((0, 0, 0, 2, -3))
            for _ in range(size)
        ]
        with np.errstate(all="ignore"):
            if type == "bf16":
                return (round_bf16(np.array(plain).astype(np.float32)).view(np.uint32) >> 16).astype(
                    np.uint16
                )
            return np.array(plain).astype(MEMORY[type])
    info = np.iinfo(MEMORY[type])
    special = [0, 1, 2, 3, 7, info.min, info.max, info.max - 1, -1 if info.min else 1]
    return np.array([_integer(rng, info, special) for _ in range(size)], MEMORY[type])


def _integer(rng: random.Random, info: np.iinfo, special: list[int]) -> int:
    kind = rng.random()
    if kind < 0.3:
        return rng.choice(special)
    return rng.randint(max(-20, info.min), 20) if kind < 0.8 else rng.randint(info.min, info.max)


class _Random:
    """Builds one kernel: a few sections, each with a buffer of its own for its results."""

    def __init__(self, seed: int, math: Sequence[str] = ()):
        self.math = math
        self.rng = random.Random(seed)
        self.b = Builder(f"fuzz_{seed}")
        self.inputs: list[Any] = []
        self.pool: dict[str, list[Expr]] = {}  # values that may be used here, by type
        self.uniform: dict[str, list[Expr]] = {}  # those equal in all lanes
        self.index: Value | None = None  # of the loop around, in range(0, MOST)
        self.readable: list[Buffer] = []
        self.masked = False

    def kernel(self) -> Kernel:
        rng, b = self.rng, self.b
        for _ in range(rng.randint(2, 4)):
            self.readable.append(self.buffer("x", rng.choice(TYPES), "r"))
        if self.math:
            self.readable.append(self.buffer("x", rng.choice(("f32", "f64")), "r"))
        self.types = tuple(dict.fromkeys([*(x.type for x in self.readable), rng.choice(TYPES), "i64"]))
        self.n = self.integer("n", rng.choice((0, 1, 15, 16, 33, rng.randint(0, MOST), MOST)))
        self.stride = self.integer("s", rng.randint(0, 2))
        number = b.num("alpha", rng.choice(("f64", "i64")))
        self.inputs.append(rng.choice((1.5, -0.1, 1e10)) if number.type == "f64" else rng.randint(-5, 5))
        self.places = self.buffer("places", "i32", "r", np.array(rng.sample(range(ROOM), ROOM), np.int32))
        self.partial = self.buffer("partial", "f32", "rw", np.zeros(ROOM, np.float32))
        for v in (number, b.tid, b.nt, self.n, self.stride):
            self.uniform.setdefault(v.type, []).append(v.expr)
        self.lo, self.hi = b.partition(self.n, rng.choice((1, 4, 16)))
        sections = (self.elementwise, self.elementwise, self.reduction, self.serial, self.scratch, self.rows)
        for _ in range(rng.randint(1, 3)):
            self.pool = {t: list(v) for t, v in self.uniform.items()}
            rng.choice(sections)()
        if rng.random() < 0.5:
            with b.epilogue():
                total = b.reg("total", self.partial[0])
                with b.for_("p", 1, 3) as p:
                    total.set(total.get() + self.partial[p])
                self.partial[9] = total.get()
        return b.kernel()

    def buffer(
        self, name: str, type: str, mode: str, data: np.ndarray | None = None, alias: bool = False
    ) -> Buffer:
        self.inputs.append(values(self.rng, type, ROOM) if data is None else data)
        return self.b.buf(name, type, mode, alias)

    def integer(self, name: str, value: int) -> Value:
        self.inputs.append(value)
        return self.b.integer(name)

    # sections

    def elementwise(self) -> None:
        """Lets, masks, uniform ifs and loops in a vfor; a contiguous or scattered store."""
        rng, b = self.rng, self.b
        mode = rng.choice(("w", "rw"))
        type, alias = rng.choice(self.types), rng.random() < 0.2
        out = self.buffer("out", type, mode, alias=alias)
        also = self.buffer("also", type, "r", self.inputs[-1], alias) if alias else None  # the same memory
        width = rng.choice((1, 2, 4, 8, 16, 16, 32, 64))
        scattered = rng.random() < 0.3 and mode == "w" and not alias
        with b.vfor("i", self.lo, self.hi, width) as i, self.scope(i):
            if mode == "rw":
                self.offer(out[i])
            if also is not None:
                self.offer(also[i])
            if rng.random() < 0.3:
                self.uniform_block(out.type, width)
            self.lets(rng.randint(0, 4))
            if rng.random() < 0.15:
                bound = i if rng.random() < 0.8 else i * 2
                b.check(bound < MOST * 2 - 1, 7, i, i + 3)
            mask = self.expr("b1", 2) if rng.random() < 0.3 else None
            index = self.places[i].cast("i64") if scattered else i
            b.store(out, index, self.expr(out.type, 4), mask)

    def uniform_block(self, type: str, width: int) -> None:
        """Control flow equal in all lanes, around registers of the vfor."""
        rng, b = self.rng, self.b
        acc = b.reg("v", self.expr(type, 2), lanes=width)
        kind = rng.randrange(3)
        if kind == 0:
            with b.if_(self.expr("b1", 2, uniform=True)), self.scope(None):
                acc.set(self.expr(type, 2))
            if rng.random() < 0.5:
                with b.else_(), self.scope(None):
                    acc.set(self.expr(type, 2))
        elif kind == 1:
            with b.for_("j", 0, rng.randint(0, 4), unroll=rng.random() < 0.5) as j, self.scope(None):
                self.offer(j, uniform=True)
                self.offer(acc.get())
                acc.set(self.expr(type, 3))
        else:
            count = b.reg("count", rng.randint(0, 3))
            with b.while_(count.get() > 0), self.scope(None):
                self.offer(acc.get())
                acc.set(self.expr(type, 2))
                count.set(count.get() - 1)
        self.offer(acc.get())

    def reduction(self) -> None:
        """A register with lanes filled in a vfor, then reduced."""
        rng, b = self.rng, self.b
        type = rng.choice(self.types)
        width = rng.choice((2, 4, 8, 16, 32))
        names = [n for n in ir.REDUCTIONS if type in OPS[n].types]
        name = rng.choice(names)
        acc = b.reg("acc", self.expr(type, 1), lanes=width)
        with b.vfor("i", self.lo, self.hi, width) as i, self.scope(i):
            self.lets(rng.randint(0, 2))
            acc.set(Value(Op(type, name, acc.get().expr, self.expr(type, 3))))
        out = self.buffer("red", type, "rw")
        out[b.tid] = acc.reduce(name)
        if type == "f32":
            self.partial[b.tid] = out[b.tid]

    def serial(self) -> None:
        """Scalar loops with registers and ifs."""
        rng, b = self.rng, self.b
        type = rng.choice(self.types)
        out = self.buffer("ser", type, "rw")
        acc = b.reg("acc", self.expr(type, 2))
        with b.for_("i", self.lo, self.hi, rng.randint(1, 3)) as i, self.scope(i):
            self.offer(acc.get())
            self.offer(out[i])
            self.lets(rng.randint(0, 3))
            with b.if_(self.expr("b1", 3)), self.scope(None):
                acc.set(self.expr(type, 3))
            if rng.random() < 0.5:
                with b.else_(), self.scope(None):
                    out[i] = self.expr(type, 2)
            out[i] = self.expr(type, 2)
        out[b.tid + MOST + 5] = acc.get()

    def scratch(self) -> None:
        """Scratch written by one loop and read by another."""
        rng, b = self.rng, self.b
        type = rng.choice(self.types)
        size = rng.choice((16, 33, 64))
        tmp = b.alloc("tmp", type, size)
        out = self.buffer("scr", type, "w")
        width = rng.choice((4, 8, 16))
        with b.vfor("i", 0, size, width, full=size % width == 0) as i, self.scope(i):
            tmp[i] = self.expr(type, 3)
        with b.vfor("k", self.lo, self.hi, rng.choice((4, 16))) as k, self.scope(k):
            self.offer(tmp[(k * rng.choice((1, 3)) + 1) % size])
            self.offer(tmp[rng.randrange(size)], uniform=True)
            out[k] = self.expr(type, 3)

    def rows(self) -> None:
        """A vfor inside a loop over rows."""
        rng, b = self.rng, self.b
        type = rng.choice(self.types)
        out = self.buffer("row", type, "rw")
        columns = rng.choice((5, 8, 16, 19))
        with b.for_("r", self.lo * 4 // MOST, self.hi * 4 // MOST, unroll=False) as r, self.scope(None):
            self.offer(r, uniform=True)
            base = b.let(r * columns)
            with b.vfor("c", 0, columns, rng.choice((4, 8, 16))) as c, self.scope(c):
                self.offer(out[base + c])
                self.offer(base + c)
                self.lets(rng.randint(0, 2))
                out[base + c] = self.expr(type, 3)

    # expressions

    def scope(self, index: Value | None) -> _Scope:
        return _Scope(self, index)

    def offer(self, value: Value, uniform: bool = False) -> None:
        self.pool.setdefault(value.type, []).append(value.expr)
        if uniform:
            self.uniform.setdefault(value.type, []).append(value.expr)

    def lets(self, count: int) -> None:
        for _ in range(count):
            self.offer(self.b.let(self.expr(self.rng.choice((*self.types, "b1")), 3)))

    def expr(self, type: str, depth: int, uniform: bool = False) -> Expr:
        """A random expression of a type."""
        rng = self.rng
        pool = self.uniform if uniform else self.pool
        if depth <= 0 or rng.random() < 0.1:
            return self.leaf(type, uniform)
        if self.math and type in FLOATS and rng.random() < 0.3:
            name = rng.choice(self.math)
            return Op(type, name, *(self.expr(type, depth - 1, uniform) for _ in range(OPS[name].arity)))
        names = [n for n, rule in OPS.items() if n not in ir.MATH1 + ir.MATH2 and _gives(rule, type)]
        name = rng.choice(names)
        if name in ("neg", "abs", "not", "cast") and rng.random() < 0.4:
            name = rng.choice(names)
        e = self.operation(name, type, depth, uniform)
        if rng.random() < 0.3:
            pool.setdefault(type, []).append(e) if not uniform else None
        return e

    def operation(self, name: str, type: str, depth: int, uniform: bool) -> Expr:
        rng, rule = self.rng, OPS[name]

        def sub(t: str) -> Expr:
            return self.expr(t, depth - 1, uniform)

        if name == "select":
            return Op(type, name, sub("b1"), sub(type), sub(type))
        if name == "cast":
            return Op(type, name, sub(rng.choice((*self.types, rng.choice(TYPES)))))
        if name == "bitcast":
            source = rng.choice([t for t in TYPES[1:] if SIZE[t] == SIZE[type]])
            return Op(type, name, self.known(sub(source)))
        if name == "ldexp":
            return Op(
                type,
                name,
                sub(type),
                sub("i32") if rng.random() < 0.3 else Const("i32", rng.randint(-40, 40)),
            )
        if rule.shape == "compare":
            operand = rng.choice(self.types)
            return Op("b1", name, sub(operand), sub(operand))
        args = [sub(type) for _ in range(rule.arity)]
        if name == "copysign":
            args[1] = self.known(args[1])
        return Op(type, name, *args)

    def known(self, e: Expr) -> Expr:
        """Zero instead of a NaN: its sign and bits are not defined."""
        if e.type not in FLOATS:
            return e
        return Op(e.type, "select", Op("b1", "eq", e, e), e, Const(e.type, 0.0))

    def leaf(self, type: str, uniform: bool) -> Expr:
        rng = self.rng
        choices = self.uniform.get(type, []) if uniform else self.pool.get(type, [])
        kind = rng.random()
        if choices and kind < 0.5:
            return rng.choice(choices)
        buffers = [x for x in self.readable if x.type == type]
        if buffers and kind < 0.85:
            return self.load(rng.choice(buffers), uniform)
        return self.constant(type)

    def constant(self, type: str) -> Const:
        rng = self.rng
        if type == "b1":
            return Const(type, rng.random() < 0.5)
        if type in FLOATS:
            return Const(type, rng.choice((0.0, -0.0, 1.0, 0.1, -2.5, 1e30, 3.0, float("inf"))))
        return Const(type, rng.randint(0 if type in UNSIGNED else -9, 9))

    def load(self, x: Buffer, uniform: bool) -> Expr:
        """A load at a random kind of index: contiguous, strided, reversed, gathered, uniform, masked."""
        rng, i = self.rng, self.index
        if i is None or uniform:
            return x[rng.randrange(ROOM)].expr
        kind = rng.randrange(8)
        if kind <= 1:
            index = i + rng.choice((0, 0, 1, 7))
        elif kind == 2:
            index = i * rng.choice((2, self.stride))
        elif kind == 3:
            index = MOST - 1 - i
        elif kind == 4:
            index = self.places[i].cast("i64")
        elif kind == 5:
            index = i % 5 if rng.random() < 0.5 else i // 3
        elif kind == 6:
            shifted = i * rng.choice((1, 3)) - rng.choice((5, 100))
            return x.load(shifted, (shifted >= 0) & (shifted < rng.choice((20, ROOM)))).expr
        else:
            wild = self.b.let(self.expr("i64", 2))
            inside = (wild >= 0) & (wild < ROOM)
            return (
                Load(x.type, x.name, select(inside, wild, 3).expr)
                if rng.random() < 0.5
                else x.load(wild, inside).expr
            )
        return expr(x[index])


class _Scope:
    """Values made inside a block are not used after it."""

    def __init__(self, made: _Random, index: Value | None):
        self.made, self.index = made, index

    def __enter__(self) -> None:
        made = self.made
        self.saved = made.pool, made.uniform, made.index
        made.pool = {t: list(v) for t, v in made.pool.items()}
        made.uniform = {t: list(v) for t, v in made.uniform.items()}
        if self.index is not None:
            made.index = self.index
            made.offer(self.index)

    def __exit__(self, *_: object) -> None:
        self.made.pool, self.made.uniform, self.made.index = self.saved


def _gives(rule: Any, type: str) -> bool:
    """Whether an operation can have this result."""
    if rule.shape == "compare":
        return type == "b1"
    if rule.shape == "bitcast":
        return type != "b1"
    return rule.shape in ("cast", "select") or type in rule.types
