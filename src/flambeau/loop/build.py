"""The builder: how kernels are written by hand. An axpy with a sum, in parts of multiples of 64 elements:

    b = Builder("axpy")
    n, alpha = b.integer("n"), b.num("alpha", "f64")
    x, y, out = b.buf("x", "f32"), b.buf("y", "f32", "rw"), b.buf("out", "f32", "w")
    lo, hi = b.partition(n, grain=64)
    acc = b.reg("acc", 0.0, "f32", lanes=16)
    a = b.let(alpha.cast("f32"))                # let: evaluated here, once
    with b.vfor("i", lo, hi, 16) as i:
        t = b.let(x[i] * a + y[i])            # numbers take the type of the other operand
        y[i] = t                              # = b.store(y, i, t); masked: b.store(y, i, t, mask=m), x.load(i, mask=m)
        acc.set(acc.get() + t)
    out[b.tid] = acc.reduce("add")
    with b.if_(b.tid.eq(0)):                    # with b.else_(): ... may follow
        ...
    with b.epilogue():                          # runs once, after all parts, with tid = -1
        ...
    kernel = b.kernel()

A `Value` wraps an `Expr` of the IR (`.expr`, `.type`); wherever a value is wanted, a Value, an Expr or a Python number
will do. A Value that is not a `let` is evaluated where (and each time) a statement uses it: `acc.get()` and `x[i]` read
when the statement runs. Operators: + - * / (floats) // % (integers, truncating as in C) & | ^ << >> - ~ abs < <= > >=;
equality is .eq(v), .ne(v); everything else is `op(name, ...)`. i64 index arithmetic folds: x*1, x+0, 2*3.
Names are made unique: let("t"), for_("i") give t, t_1, t_2. Parameters keep the order of b.buf, b.integer, b.num.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from . import algebra
from .ir import (
    COMPARE,
    FLOATS,
    Alloc,
    Buf,
    Check,
    Const,
    Expr,
    For,
    Get,
    HReduce,
    If,
    Int,
    Kernel,
    Let,
    Load,
    Num,
    Op,
    Prefetch,
    Reg,
    Set,
    Stmt,
    Store,
    Var,
    VFor,
    While,
)


class Value:
    """An expression with Python's operators."""

    __slots__ = ("expr",)

    def __init__(self, expr: Expr):
        self.expr = expr

    @property
    def type(self) -> str:
        """The type of the expression, as "f32"."""
        return self.expr.type

    def cast(self, type: str) -> Value:
        """The value converted to another type (no operation if it has that type)."""
        expr = self.expr
        if expr.type == type:
            return self
        if isinstance(expr, Const) and expr.type == "i64" and type in FLOATS and abs(expr.value) <= 256:
            return Value(Const(type, float(expr.value)))
        return Value(Op(type, "cast", expr))

    def bitcast(self, type: str) -> Value:
        """The same bits as another type of the same size."""
        return Value(Op(type, "bitcast", self.expr))

    def eq(self, other: Operand) -> Value:
        """Whether both are equal, as b1."""
        return op("eq", self, other)

    def ne(self, other: Operand) -> Value:
        """Whether the two differ, as b1; NaN differs from itself."""
        return op("ne", self, other)

    def __neg__(self) -> Value:
        return op("neg", self)

    def __invert__(self) -> Value:
        return op("not", self)

    def __abs__(self) -> Value:
        return op("abs", self)

    def __add__(self, other: Operand) -> Value:
        return op("add", self, other)

    def __radd__(self, other: Operand) -> Value:
        return op("add", other, self)

    def __sub__(self, other: Operand) -> Value:
        return op("sub", self, other)

    def __rsub__(self, other: Operand) -> Value:
        return op("sub", other, self)

    def __mul__(self, other: Operand) -> Value:
        return op("mul", self, other)

    def __rmul__(self, other: Operand) -> Value:
        return op("mul", other, self)

    def __truediv__(self, other: Operand) -> Value:
        return op("div", self, other)

    def __rtruediv__(self, other: Operand) -> Value:
        return op("div", other, self)

    def __floordiv__(self, other: Operand) -> Value:
        return op("idiv", self, other)

    def __rfloordiv__(self, other: Operand) -> Value:
        return op("idiv", other, self)

    def __mod__(self, other: Operand) -> Value:
        return op("irem", self, other)

    def __rmod__(self, other: Operand) -> Value:
        return op("irem", other, self)

    def __lshift__(self, other: Operand) -> Value:
        return op("shl", self, other)

    def __rlshift__(self, other: Operand) -> Value:
        return op("shl", other, self)

    def __rshift__(self, other: Operand) -> Value:
        return op("shr", self, other)

    def __rrshift__(self, other: Operand) -> Value:
        return op("shr", other, self)

    def __and__(self, other: Operand) -> Value:
        return op("and", self, other)

    def __or__(self, other: Operand) -> Value:
        return op("or", self, other)

    def __xor__(self, other: Operand) -> Value:
        return op("xor", self, other)

    def __lt__(self, other: Operand) -> Value:
        return op("lt", self, other)

    def __le__(self, other: Operand) -> Value:
        return op("le", self, other)

    def __gt__(self, other: Operand) -> Value:
        return op("gt", self, other)

    def __ge__(self, other: Operand) -> Value:
        return op("ge", self, other)

    def __bool__(self) -> bool:
        raise TypeError("a Value is a symbol of the kernel: use select, b.if_ or & and |")


Operand = Value | Expr | float | bool


def const(type: str, value: float) -> Value:
    """A constant of a given type."""
    return Value(Const(type, float(value) if type in FLOATS else bool(value) if type == "b1" else int(value)))


def expr(value: Operand, type: str | None = None) -> Expr:
    """The IR expression of an operand; a Python number becomes a constant of `type` (without: b1, i64 or f64)."""
    if isinstance(value, Value):
        return value.expr
    if isinstance(value, Expr):
        return value
    if type is None:
        type = "b1" if isinstance(value, bool) else "f64" if isinstance(value, float) else "i64"
    return const(type, value).expr


def op(name: str, *args: Operand) -> Value:
    """Any operation of ir.py by name, also the mathematical functions: op("exp", x); numbers take the others' type."""
    if name == "select":
        return select(*args)
    first = args[:1] if name == "ldexp" else args
    type = next((a.type for a in first if isinstance(a, (Value, Expr))), None)
    exprs = [expr(a, "i32" if name == "ldexp" and k == 1 else type) for k, a in enumerate(args)]
    if len(exprs) == 2:
        return Value(algebra.binary(name, *exprs))
    if name == "neg" and exprs[0].type == "i64":
        return Value(algebra.binary("sub", algebra.ZERO, exprs[0]))
    return Value(Op("b1" if name in COMPARE else exprs[0].type, name, *exprs))


def select(cond: Operand, a: Operand, b: Operand) -> Value:
    """a where cond, else b (both are evaluated)."""
    type = next((v.type for v in (a, b) if isinstance(v, (Value, Expr))), None)
    return Value(algebra.select(expr(cond, "b1"), expr(a, type), expr(b, type)))


def fma(a: Operand, b: Operand, c: Operand) -> Value:
    """a * b + c with one rounding."""
    return op("fma", a, b, c)


def minimum(a: Operand, b: Operand) -> Value:
    """The smaller one; NaN wins, -0 < +0."""
    return op("min", a, b)


def maximum(a: Operand, b: Operand) -> Value:
    """The larger one; NaN wins, -0 < +0."""
    return op("max", a, b)


class Buffer:
    """A buffer of the kernel (a parameter or scratch): x[i] is a load, x[i] = v a store, indices in elements."""

    __slots__ = ("builder", "name", "type")

    def __init__(self, builder: Builder, name: str, type: str):
        self.builder, self.name, self.type = builder, name, type

    def __getitem__(self, index: Operand) -> Value:
        return Value(Load(self.type, self.name, expr(index, "i64")))

    def load(self, index: Operand, mask: Operand | None = None) -> Value:
        """self[index], zero where the mask is false (memory is not touched there)."""
        return Value(
            Load(self.type, self.name, expr(index, "i64"), None if mask is None else expr(mask, "b1"))
        )

    def __setitem__(self, index: Operand, value: Operand) -> None:
        self.builder.store(self, index, value)


class Register:
    """A mutable register; with lanes, one value per lane of the `vfor` that uses it."""

    __slots__ = ("builder", "name", "type")

    def __init__(self, builder: Builder, name: str, type: str):
        self.builder, self.name, self.type = builder, name, type

    def get(self) -> Value:
        """The value at the time the statement runs that uses this."""
        return Value(Get(self.type, self.name))

    def set(self, value: Operand) -> None:
        """Assign (in a `vfor`: the active lanes)."""
        self.builder.emit(Set(self.name, expr(value, self.type)))

    def reduce(self, name: str) -> Value:
        """All lanes combined by add, mul, min, max, and, or: only after the `vfor`."""
        return Value(HReduce(self.type, name, self.name))


class Builder:
    """Collects the statements of one kernel; see the top of the file."""

    def __init__(self, name: str, where: str = ""):
        self.name, self.where = name, where
        self.params: list[Buf | Int | Num] = []
        self.tid, self.nt = Value(Var("i64", "tid")), Value(Var("i64", "nt"))
        self._names: dict[str, int] = {"tid": 0, "nt": 0}
        self._body: list[Stmt] = []
        self._epilogue: list[Stmt] = []
        self._at = self._body

    # parameters

    def buf(self, name: str, type: str, mode: str = "r", alias: bool = False) -> Buffer:
        """A buffer parameter; mode "r", "w" or "rw"; alias: may overlap with other alias buffers."""
        name = self.fresh(name)
        self.params.append(Buf(name, type, mode, alias))
        return Buffer(self, name, type)

    def integer(self, name: str) -> Value:
        """An i64 parameter: an extent or a stride."""
        name = self.fresh(name)
        self.params.append(Int(name))
        return Value(Var("i64", name))

    def num(self, name: str, type: str = "f64") -> Value:
        """A number parameter of type f64 or i64."""
        name = self.fresh(name)
        self.params.append(Num(name, type))
        return Value(Var(type, name))

    def argument(self, number: Value, type: str) -> Value:
        """A number parameter in the type of the value that it stands for."""
        if type == "b1":
            return self.let(number.ne(0))
        return number if type in ("f64", "i64") else self.let(number.cast(type))

    # statements

    def emit(self, stmt: Stmt) -> None:
        """Append a statement at the present place."""
        self._at.append(stmt)

    def fresh(self, name: str) -> str:
        """A name not yet used in this kernel: `name`, or `name_1`, `name_2`, ..."""
        while name in self._names:
            self._names[name] += 1
            name = f"{name}_{self._names[name]}"
        self._names[name] = 0
        return name

    def let(self, value: Operand, name: str = "t") -> Value:
        """Evaluate now and name the result; constants and names stay as they are."""
        e = expr(value)
        if isinstance(e, (Const, Var)):
            return Value(e)
        name = self.fresh(name)
        self.emit(Let(name, e))
        return Value(Var(e.type, name))

    def reg(self, name: str, init: Operand, type: str | None = None, lanes: int = 0) -> Register:
        """A mutable register, with one value (lanes = 0) or one for each lane; `type` is that of init if not given."""
        e = expr(init, type)
        name = self.fresh(name)
        self.emit(Reg(name, e, lanes))
        return Register(self, name, e.type)

    def alloc(self, name: str, type: str, size: int, loose: bool = False) -> Buffer:
        """Scratch of `size` elements, private to this part; contents undefined. loose: see ir.py."""
        name = self.fresh(name)
        self.emit(Alloc(name, type, size, loose))
        return Buffer(self, name, type)

    def store(self, buf: Buffer, index: Operand, value: Operand, mask: Operand | None = None) -> None:
        """buf[index] = value, where the mask is true."""
        m = None if mask is None else expr(mask, "b1")
        self.emit(Store(buf.name, expr(index, "i64"), expr(value, buf.type), m))

    def check(self, cond: Operand, code: int, value: Operand, position: Operand) -> None:
        """Leave the kernel with an error record (code, value, position) if cond is false."""
        self.emit(Check(expr(cond, "b1"), code, expr(value, "i64"), expr(position, "i64")))

    def prefetch(self, buf: Buffer, index: Operand, write: bool = False, far: bool = False) -> None:
        """Have the line of buf[index] brought near, for an access that comes soon; far: into the second cache (not
        inside a vfor)."""
        self.emit(Prefetch(buf.name, expr(index, "i64"), write, far))

    # blocks

    @contextmanager
    def _block(self, body: list[Stmt]) -> Iterator[None]:
        outer, self._at = self._at, body
        try:
            yield
        finally:
            self._at = outer

    @contextmanager
    def for_(
        self, name: str, lo: Operand, hi: Operand, step: Operand = 1, unroll: bool = False
    ) -> Iterator[Value]:
        """for name in range(lo, hi, step); yields the loop variable."""
        name = self.fresh(name)
        body: list[Stmt] = []
        self.emit(For(name, expr(lo, "i64"), expr(hi, "i64"), expr(step, "i64"), body, unroll))
        with self._block(body):
            yield Value(Var("i64", name))

    @contextmanager
    def vfor(
        self, name: str, lo: Operand, hi: Operand, width: int, full: bool = False, past: int = 0
    ) -> Iterator[Value]:
        """for name in range(lo, hi), `width` lanes at a time; full: hi - lo is a multiple of width; past: see ir.py."""
        name = self.fresh(name)
        body: list[Stmt] = []
        self.emit(VFor(name, expr(lo, "i64"), expr(hi, "i64"), width, body, full, past))
        with self._block(body):
            yield Value(Var("i64", name))

    @contextmanager
    def if_(self, cond: Operand) -> Iterator[None]:
        """Run the block if cond is true."""
        body: list[Stmt] = []
        self.emit(If(expr(cond, "b1"), body))
        with self._block(body):
            yield

    @contextmanager
    def else_(self) -> Iterator[None]:
        """The other case of the `if_` just before."""
        last = self._at[-1] if self._at else None
        if not isinstance(last, If) or last.orelse:
            raise ValueError(f"{self.name}: else_ must follow an if_")
        with self._block(last.orelse):
            yield

    @contextmanager
    def while_(self, cond: Operand) -> Iterator[None]:
        """Run the block as long as cond (evaluated before each round, from registers or memory) is true."""
        body: list[Stmt] = []
        self.emit(While(expr(cond, "b1"), body))
        with self._block(body):
            yield

    @contextmanager
    def epilogue(self) -> Iterator[None]:
        """Statements of the one call with tid = -1 after all parts; names of the body are not visible there."""
        with self._block(self._epilogue):
            yield

    # whole

    def partition(
        self, extent: Operand, grain: Operand = 1, tid: Operand | None = None, nt: Operand | None = None
    ) -> tuple[Value, Value]:
        """(lo, hi) of this part of range(extent): multiples of grain (but for the end), sizes differ by one grain."""
        n, g = Value(expr(extent, "i64")), Value(expr(grain, "i64"))
        t = self.tid if tid is None else Value(expr(tid, "i64"))
        parts = self.nt if nt is None else Value(expr(nt, "i64"))
        blocks = self.let((n + (g - 1)) // g, "blocks")
        lo = self.let(t * blocks // parts * g, "lo")
        return lo, self.let(minimum((t + 1) * blocks // parts * g, n), "hi")

    def kernel(self, name: str | None = None, params: Sequence[Buf | Int | Num] | None = None) -> Kernel:
        """The finished kernel."""
        return Kernel(name or self.name, params or self.params, self._body, self._epilogue, self.where)
