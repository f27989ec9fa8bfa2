"""The loop IR: every kernel of flambeau is one `Kernel` of the node kinds below.

A kernel is scalar code over buffers. Vectors appear in exactly one form: the body of a `VFor` runs once per lane, and
whatever depends on the lane becomes a vector of `width` lanes. LLVM splits a vector that is wider than the host's
registers, so `width` is a property of the kernel (it fixes the order of reductions), not of the machine.

Types: b1 i8 i16 i32 i64 u8 u16 u32 u64 f16 bf16 f32 f64. In memory a b1 is one byte, 0 or 1. Indices and loop
variables are i64, counted in elements. Arithmetic never contracts: a*b+c is two roundings, `fma` is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

FLOATS = ("f16", "bf16", "f32", "f64")
SIGNED = ("i8", "i16", "i32", "i64")
UNSIGNED = ("u8", "u16", "u32", "u64")
TYPES = ("b1", *SIGNED, *UNSIGNED, *FLOATS)
SIZE = {"b1": 1, "i8": 1, "u8": 1, "i16": 2, "u16": 2, "f16": 2, "bf16": 2} | {"i32": 4, "u32": 4, "f32": 4}
SIZE |= {"i64": 8, "u64": 8, "f64": 8}

# Scalar operations, by arity. Floats follow IEEE 754; integers wrap; the bits of a NaN are not defined.
#   div: floats only. idiv, irem: integers, truncating as in C (x/0 = 0, x%0 = x; callers check where it must raise).
#   min, max: a NaN operand wins, and -0 < +0: min(-0, +0) = -0, max(-0, +0) = +0 (llvm.minimum, llvm.maximum).
#   shl, shr: an amount below 0, or not below the width of the type, shifts all bits out. shr keeps signs.
#   cast float -> int: saturates to i64 (NaN -> 0), then wraps to the narrower type (also u64 is the wrapped i64);
#   to b1: x != 0 (NaN: true). f16 and bf16 compute in f32 and round each result; their casts from and to anything but
#   f32 go through f32.
#   rint: to even. ldexp(x, n: i32): rounded once. sign: -1, +0, 1 (NaN stays NaN). not: logical on b1, else bitwise.
#   dot2(a, b, c): f32 whose bits a and b are two bf16 each, fma(low a, low b, fma(high a, high b, c)); whether numbers
#   below the least normal one count as zero is not defined.
#   min2(a, b): i32 words of two i16 each, the smaller ones of both halves.
#   abs of the least integer is itself. and, or, xor, not: integers and b1. select(c: b1, a, b). b1 compares as 0, 1.
UNARY = ("neg", "abs", "not", "sqrt", "floor", "ceil", "trunc", "rint", "sign", "cast", "bitcast")
_ARITHMETIC = ("add", "sub", "mul", "div", "idiv", "irem", "min", "max", "ldexp", "copysign")
BINARY = (*_ARITHMETIC, "and", "or", "xor", "shl", "shr", "min2")
COMPARE = ("lt", "le", "gt", "ge", "eq", "ne")
TERNARY = ("fma", "select", "dot2")
# Mathematical functions of floats (f16, bf16: of f32, rounded): codegen/math.py replaces each by the operations above
# before a kernel is interpreted or compiled, so that the interpreter and the machine agree to the last bit.
_ONE_OPERAND = """
    exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh
    erf erfc erfinv sigmoid lgamma digamma trigamma i0 i0e i1 i1e ndtr ndtri"""
MATH1 = tuple(_ONE_OPERAND.split())
MATH2 = ("pow", "atan2", "fmod", "hypot", "nextafter", "zeta", "igamma", "igammac", "gamma_slope")
REDUCTIONS = ("add", "mul", "min", "max", "and", "or")


class Expr:
    """A pure scalar (or, inside a `VFor`, per-lane) value. One object used twice in a statement is computed once."""

    __slots__ = ("type",)
    type: str


class Const(Expr):
    """A Python bool (b1), int or float, rounded to the type (f16, bf16: through f32). Integers must be in range."""

    __slots__ = ("value",)

    def __init__(self, type: str, value: Any):
        self.type, self.value = type, value


class Var(Expr):
    """An immutable name: a loop variable, a `Let`, an `Int` or `Num` parameter, or the implicit i64 `tid` and `nt`."""

    __slots__ = ("name",)

    def __init__(self, type: str, name: str):
        self.type, self.name = type, name


class Get(Expr):
    """The present value of a register (of this lane, if the register has lanes)."""

    __slots__ = ("name",)

    def __init__(self, type: str, name: str):
        self.type, self.name = type, name


class Op(Expr):
    """An operation of `spec.OPS` on expressions."""

    __slots__ = ("args", "op")

    def __init__(self, type: str, op: str, *args: Expr):
        self.type, self.op, self.args = type, op, args


class Load(Expr):
    """buf[index]; with a mask that is false: zero, and memory is not touched."""

    __slots__ = ("buf", "index", "mask")

    def __init__(self, type: str, buf: str, index: Expr, mask: Expr | None = None):
        self.type, self.buf, self.index, self.mask = type, buf, index, mask


class HReduce(Expr):
    """All lanes of a register combined as a balanced tree: step w/2, w/4, ..., 1; lane i with lane i+step.

    The width is a power of two. Only outside the `VFor` that fills the register."""

    __slots__ = ("name", "op")

    def __init__(self, type: str, op: str, name: str):
        self.type, self.op, self.name = type, op, name


class Stmt:
    """The base of statements."""

    __slots__ = ()


@dataclass(slots=True, eq=False)
class Let(Stmt):
    """Give an expression a name, once."""

    name: str
    value: Expr


@dataclass(slots=True, eq=False)
class Reg(Stmt):
    """Declare a mutable register with an initial value; lanes = 0: one scalar, else one value for each lane."""

    name: str
    init: Expr
    lanes: int = 0


@dataclass(slots=True, eq=False)
class Set(Stmt):
    """Assign a register. One with lanes is assigned inside a `VFor` of that width, active lanes only."""

    name: str
    value: Expr


@dataclass(slots=True, eq=False)
class Store(Stmt):
    """Write an element of a buffer."""

    buf: str
    index: Expr
    value: Expr
    mask: Expr | None = None


@dataclass(slots=True, eq=False)
class For(Stmt):
    """for var in range(lo, hi, step), step > 0; unroll = True: lo, hi, step are constants and the body is repeated."""

    var: str
    lo: Expr
    hi: Expr
    step: Expr
    body: list[Stmt]
    unroll: bool = False


@dataclass(slots=True, eq=False)
class VFor(Stmt):
    """for var in range(lo, hi), `width` lanes at a time; lanes past hi are inactive in the last round.

    No lane may read what another lane of the same loop writes. If, While and loop bounds inside must be equal for all
    lanes (they may not depend on the lane): use select and masks instead. Not nested. full = True promises that
    hi - lo is a multiple of width. A register without lanes that is assigned inside is declared inside too, and gets
    values equal for all lanes. The index of a Store inside depends on the lane; if two lanes hit one place, the later
    lane wins. past > 0 is advice: if there are so many elements, counted over all parts, what is stored along the
    lanes may go around the caches."""

    var: str
    lo: Expr
    hi: Expr
    width: int
    body: list[Stmt]
    full: bool = False
    past: int = 0


@dataclass(slots=True, eq=False)
class If(Stmt):
    """Run one of two blocks. A condition of a `VFor`'s lanes: the first if it holds in any of them. That block then
    changes nothing that matters in the others: it declares and sets registers, and has no other effect."""

    cond: Expr
    then: list[Stmt]
    orelse: list[Stmt] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class While(Stmt):
    """Repeat a block as long as a condition holds."""

    cond: Expr
    body: list[Stmt]


@dataclass(slots=True, eq=False)
class Alloc(Stmt):
    """A scratch buffer of constant size (at most 64 KiB in all), private to this part; contents undefined.

    loose = True promises that what lies beside the active lanes of a vfor, where one uses it lane by lane, is part of
    it and holds nothing: whole vectors of it may be read and written."""

    name: str
    type: str
    size: int
    loose: bool = False


@dataclass(slots=True, eq=False)
class Check(Stmt):
    """If cond is false (on any active lane): write (code, value, position) to the error record, return from the kernel.

    value and position are those of the first such lane. What the kernel had to write is undefined afterwards."""

    cond: Expr
    code: int
    value: Expr
    position: Expr


@dataclass(slots=True, eq=False)
class Prefetch(Stmt):
    """Advice: the line of buf[index] is wanted soon, to be written if `write`, or not so soon if `far`: the second
    cache is near enough. The index may lie outside the buffer."""

    buf: str
    index: Expr
    write: bool = False
    far: bool = False


@dataclass(slots=True, eq=False)
class Buf:
    """A buffer parameter; mode is "r", "w" or "rw". Two buffers never overlap unless both have alias = True."""

    name: str
    type: str
    mode: str = "r"
    alias: bool = False


@dataclass(slots=True, eq=False)
class Int:
    """An i64 parameter: an extent or a stride."""

    name: str


@dataclass(slots=True, eq=False)
class Num:
    """A number of the program (a learning rate): type f64 or i64."""

    name: str
    type: str


@dataclass(slots=True, eq=False)
class Kernel:
    """The native function is void name(i64* table, i32* where, i64 tid, i64 nt).

    Parameter p is table[where[p]]: an address (of the first element, offset included), an i64, or the bits of an f64.
    table[0] is the address of the error record: i64[4] = code (0: none), value, position, reserved.
    The kernel is called once for every tid in 0..nt-1, in any order, perhaps at once: parts share nothing.
    After them comes one call with tid = -1 if `epilogue` is not empty: it runs `epilogue` instead of `body`.
    """

    name: str
    params: Sequence[Buf | Int | Num]
    body: list[Stmt]
    epilogue: list[Stmt] = field(default_factory=list)
    where: str = ""  # the user's line that led to it


def i64(value: int) -> Const:
    """A constant of type i64."""
    return Const("i64", value)


def op(name: str, *args: Expr) -> Op:
    """An operation whose type follows from its operands (all of one type, except select, ldexp and comparisons)."""
    if name in COMPARE:
        return Op("b1", name, *args)
    return Op(args[1].type if name == "select" else args[0].type, name, *args)


def cast(type: str, value: Expr) -> Expr:
    """A value in another type; itself if it has that type."""
    return value if value.type == type else Op(type, "cast", value)
