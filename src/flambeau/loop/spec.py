"""The rules of the loop IR, one for each node kind: `verify(kernel)` raises LoopError for the first broken one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from . import ir
from .ir import (
    COMPARE,
    FLOATS,
    MATH1,
    MATH2,
    REDUCTIONS,
    SIGNED,
    SIZE,
    TYPES,
    UNSIGNED,
    Const,
    Expr,
    Get,
    HReduce,
    Kernel,
    Load,
    Op,
    Stmt,
    Var,
)

MAX_WIDTH = 256
MAX_SCRATCH = 64 * 1024
RESERVED = frozenset(
    ("true", "false", "inf", "nan", "for", "vfor", "if", "else", "while", "let", "reg", "alloc")
)
RESERVED |= {"check", "prefetch", "kernel", "epilogue"}

_INTS = frozenset(SIGNED + UNSIGNED)
_FLOATS = frozenset(FLOATS)
_NUMBERS = _INTS | _FLOATS
_BITS = _INTS | {"b1"}
_ALL = frozenset(TYPES)


class LoopError(Exception):
    """A kernel that breaks a rule of the loop IR: a bug of the code that made it."""


class Rule(NamedTuple):
    """The signature of an operation: number of operands, type of the first one, and how the other types follow."""

    arity: int
    types: frozenset[str]
    shape: str = "same"  # same | compare | cast | bitcast | select | ldexp


OPS: dict[str, Rule] = {name: Rule(1, _FLOATS) for name in ("sqrt", "floor", "ceil", "trunc", "rint")}
OPS |= {name: Rule(1, _NUMBERS) for name in ("neg", "abs", "sign")}
OPS |= {"not": Rule(1, _BITS), "cast": Rule(1, _ALL, "cast"), "bitcast": Rule(1, _NUMBERS, "bitcast")}
OPS |= {name: Rule(2, _NUMBERS) for name in ("add", "sub", "mul", "min", "max")}
OPS |= {name: Rule(2, _INTS) for name in ("idiv", "irem", "shl", "shr")}
OPS |= {name: Rule(2, _BITS) for name in ("and", "or", "xor")}
OPS |= {"div": Rule(2, _FLOATS), "copysign": Rule(2, _FLOATS), "ldexp": Rule(2, _FLOATS, "ldexp")}
OPS |= {name: Rule(2, _ALL, "compare") for name in COMPARE}
OPS |= {
    "fma": Rule(3, _FLOATS),
    "min2": Rule(2, frozenset(("i32",))),
    "dot2": Rule(3, frozenset(("f32",))),
    "select": Rule(3, frozenset(("b1",)), "select"),
}
OPS |= {name: Rule(1, _FLOATS) for name in MATH1} | {name: Rule(2, _FLOATS) for name in MATH2}
OPS["pow"] = Rule(2, _NUMBERS)  # of integers: modulo 2**bits, where the exponent is not negative

# What no instruction of a target computes, by operation and type: LLVM would call a library or end the process.
# "*": every target (mathematical functions must have been expanded before).
UNSELECTABLE: dict[str, dict[str, frozenset[str]]] = {"*": dict.fromkeys(MATH1 + MATH2, _ALL)}

_RANGE = {t: (0, 2 ** (8 * SIZE[t])) for t in UNSIGNED}
_RANGE |= {t: (-(2 ** (8 * SIZE[t] - 1)), 2 ** (8 * SIZE[t] - 1)) for t in SIGNED}


def verify(kernel: Kernel, target: str | None = None) -> None:
    """Check every rule; with a target's name also that it can compute every operation. Raises LoopError."""
    _Verifier(kernel, target).run()


class _Scope(NamedTuple):
    """What a name of the kernel is: kind is "var", "reg" or "buf"."""

    kind: str
    type: str
    varying: bool = False
    lanes: int = 0
    inside: bool = False  # declared inside a VFor
    mode: str = "rw"


class _Verifier:
    def __init__(self, kernel: Kernel, target: str | None):
        self.kernel = kernel
        self.names: dict[str, _Scope] = {}
        self.ever: set[str] = set()
        self.width = 0  # of the VFor around, 0 outside
        self.scratch = 0
        self.stmt: Stmt | None = None
        self.known: dict[Expr, bool] = {}  # whether what was checked in this block differs between lanes
        self.signatures = set() if target else _SIGNATURES
        self.banned = UNSELECTABLE["*"] | UNSELECTABLE.get(target, {}) if target else {}

    def run(self) -> None:
        kernel = self.kernel
        if not kernel.name.isidentifier():
            self.fail(f"{kernel.name!r} is not a name")
        self.declare("tid", _Scope("var", "i64"))
        self.declare("nt", _Scope("var", "i64"))
        for p in kernel.params:
            self.param(p)
        params, ever = dict(self.names), set(self.ever)
        self.block(kernel.body)
        self.names, self.ever, self.scratch = params, ever, 0
        self.block(kernel.epilogue)

    def fail(self, what: str) -> NoReturn:
        where = ""
        if self.stmt is not None:
            from .text import show_statement

            where = f"; in `{show_statement(self.stmt)}`"
        raise LoopError(f"kernel {self.kernel.name}: {what}{where}")

    # names

    def declare(self, name: str, scope: _Scope) -> None:
        if name in self.ever:
            self.fail(f"the name {name} is used twice")
        if not (name.isidentifier() and name.isascii()) or name in RESERVED:
            self.fail(f"{name!r} is not a name")
        self.ever.add(name)
        self.names[name] = scope

    def param(self, p: ir.Buf | ir.Int | ir.Num) -> None:
        if isinstance(p, ir.Int):
            self.declare(p.name, _Scope("var", "i64"))
        elif isinstance(p, ir.Num):
            if p.type not in ("f64", "i64"):
                self.fail(f"number {p.name} must be f64 or i64, is {p.type}")
            self.declare(p.name, _Scope("var", p.type))
        else:
            if p.type not in _ALL or p.mode not in ("r", "w", "rw"):
                self.fail(f"buffer {p.name} has type {p.type}, mode {p.mode}")
            self.declare(p.name, _Scope("buf", p.type, mode=p.mode))

    def find(self, name: str, kind: str) -> _Scope:
        scope = self.names.get(name)
        if scope is None or scope.kind != kind:
            self.fail(f"{name} is not a {kind} that is visible here")
        return scope

    # expressions

    def value(self, root: Expr, type: str, what: str) -> bool:
        """Check an expression that must have this type; true if it differs between lanes."""
        varying = self.known.get(root)
        if varying is None:
            varying = self.walk(root)
        if root.type != type:
            self.fail(f"{what} must be {type}, is {root.type}")
        return varying

    def walk(self, root: Expr) -> bool:
        """Check an expression and all below it, operands first; no recursion, so expressions may be deep."""
        known, signatures, stack = self.known, self.signatures, [root]
        while stack:
            top: Any = stack[-1]
            kind = top.__class__
            parts: tuple[Expr, ...] = ()
            if kind is Op:
                parts = top.args
            elif kind is Load:
                parts = (top.index,) if top.mask is None else (top.index, top.mask)
            elif kind not in _LEAVES:
                self.fail(f"{top!r} is not an expression")
            varying = False
            for part in parts:
                differs = known.get(part)
                if differs is None:
                    leaf = _LEAVES.get(part.__class__)
                    if leaf is None:
                        stack.append(part)
                        break
                    differs = known[part] = leaf(self, part)
                varying = varying or differs
            else:
                stack.pop()
                if kind is Op:
                    signature = (top.op, top.type, *[part.type for part in parts])
                    if signature not in signatures:
                        self.operation(top)
                        signatures.add(signature)
                elif kind is Load:
                    self.load(top)
                else:
                    varying = _LEAVES[kind](self, top)
                known[top] = varying
        return known[root]

    def uniform(self, root: Expr, type: str, what: str) -> None:
        """Check an expression that must be equal for all lanes."""
        if self.value(root, type, what):
            self.fail(f"{what} differs between lanes")

    def const(self, e: Const) -> bool:
        v, t = e.value, e.type
        if t == "b1":
            good = type(v) is bool
        elif t in _FLOATS:
            good = type(v) is float
        else:
            good = type(v) is int and t in _RANGE and _RANGE[t][0] <= v < _RANGE[t][1]
        if not good:
            self.fail(f"{v!r} is not a constant of type {t}")
        return False

    def var(self, e: Var) -> bool:
        scope = self.names.get(e.name)
        if scope is None or scope.kind != "var" or scope.type != e.type:
            self.fail(f"{e.name} is {self.find(e.name, 'var').type}, used as {e.type}")
        return scope.varying

    def get(self, e: Get) -> bool:
        scope = self.find(e.name, "reg")
        if scope.type != e.type:
            self.fail(f"register {e.name} is {scope.type}, used as {e.type}")
        if scope.lanes and scope.lanes != self.width:
            self.fail(f"register {e.name} has {scope.lanes} lanes, read {self.place()}")
        return scope.lanes > 0

    def load(self, e: Load) -> None:
        scope = self.find(e.buf, "buf")
        if scope.type != e.type:
            self.fail(f"buffer {e.buf} is {scope.type}, loaded as {e.type}")
        if "r" not in scope.mode:
            self.fail(f"buffer {e.buf} is write-only, but read")
        if e.index.type != "i64" or (e.mask is not None and e.mask.type != "b1"):
            self.fail(f"load from {e.buf}: the index must be i64, the mask b1")

    def hreduce(self, e: HReduce) -> bool:
        scope = self.find(e.name, "reg")
        if not scope.lanes or self.width:
            self.fail(f"reduction of {e.name}: only of a register with lanes, outside any vfor")
        if e.type != scope.type or e.op not in REDUCTIONS or e.type not in OPS[e.op].types:
            self.fail(f"no reduction {e.op} of type {e.type} on {e.name} of type {scope.type}")
        return False

    def operation(self, e: Op) -> None:
        rule = OPS.get(e.op)
        if rule is None:
            self.fail(f"unknown operation {e.op}")
        types = [a.type for a in e.args]
        if len(types) != rule.arity:
            self.fail(f"{e.op} takes {rule.arity} operands, not {len(types)}")
        if types[0] not in rule.types:
            self.fail(f"no operation {e.op} on {types[0]}")
        if not _SHAPES[rule.shape](e.type, types):
            self.fail(f"{e.op}: operands ({', '.join(types)}) do not give {e.type}")
        if e.op in self.banned and types[0] in self.banned[e.op]:
            self.fail(f"the target cannot compute {e.op} of {types[0]}: it must be expanded before")

    def place(self) -> str:
        return f"in a vfor of {self.width} lanes" if self.width else "outside any vfor"

    # statements

    def block(self, body: list[Stmt]) -> None:
        outer = self.names, self.known
        self.names, self.known = dict(self.names), {}
        for stmt in body:
            self.stmt = stmt
            rule = _STMT.get(type(stmt))
            if rule is None:
                self.fail(f"{stmt!r} is not a statement")
            rule(self, stmt)
        self.stmt = None
        self.names, self.known = outer

    def let(self, s: ir.Let) -> None:
        varying = self.value(s.value, s.value.type, s.name)
        self.declare(s.name, _Scope("var", s.value.type, varying))

    def reg(self, s: ir.Reg) -> None:
        if s.lanes and not _is_width(s.lanes):
            self.fail(f"{s.lanes} lanes: must be a power of two up to {MAX_WIDTH}")
        if s.lanes and self.width and s.lanes != self.width:
            self.fail(f"register {s.name} has {s.lanes} lanes, declared {self.place()}")
        if self.value(s.init, s.init.type, "init") and not s.lanes:
            self.fail(f"register {s.name} without lanes gets a value that differs between lanes")
        self.declare(s.name, _Scope("reg", s.init.type, bool(s.lanes), s.lanes, self.width > 0))

    def set(self, s: ir.Set) -> None:
        scope = self.find(s.name, "reg")
        varying = self.value(s.value, scope.type, s.name)
        if scope.lanes:
            if scope.lanes != self.width:
                self.fail(f"register {s.name} has {scope.lanes} lanes, assigned {self.place()}")
        elif self.width and (varying or not scope.inside):
            self.fail(
                f"register {s.name} without lanes: assigned per lane, or in a vfor that it is declared outside of"
            )

    def store(self, s: ir.Store) -> None:
        scope = self.find(s.buf, "buf")
        if "w" not in scope.mode:
            self.fail(f"buffer {s.buf} is read-only")
        varying = self.value(s.index, "i64", "the index")
        if self.width and not varying:
            self.fail("all lanes store to one place")
        self.value(s.value, scope.type, "the value")
        if s.mask is not None:
            self.value(s.mask, "b1", "the mask")

    def for_(self, s: ir.For) -> None:
        for e, what in ((s.lo, "lo"), (s.hi, "hi"), (s.step, "step")):
            self.uniform(e, "i64", what)
            if s.unroll and not isinstance(e, Const):
                self.fail(f"{what} of an unrolled loop must be a constant")
        if isinstance(s.step, Const) and s.step.value <= 0:
            self.fail("the step must be positive")
        self.loop(s.var, _Scope("var", "i64"), s.body)

    def vfor(self, s: ir.VFor) -> None:
        if self.width:
            self.fail("a vfor inside a vfor")
        if not _is_width(s.width):
            self.fail(f"width {s.width}: must be a power of two up to {MAX_WIDTH}")
        self.value(s.lo, "i64", "lo")
        self.value(s.hi, "i64", "hi")
        self.width = s.width
        self.loop(s.var, _Scope("var", "i64", varying=True), s.body)
        self.width = 0

    def loop(self, var: str, scope: _Scope, body: list[Stmt]) -> None:
        self.declare(var, scope)
        self.block(body)
        del self.names[var]

    def if_(self, s: ir.If) -> None:
        of_lanes = self.value(s.cond, "b1", "the condition")
        if of_lanes and (
            s.orelse or not all(isinstance(x, (ir.Let, ir.Reg, ir.Set, ir.For)) for x in s.then)
        ):
            self.fail("a condition of lanes is for registers alone, and has no other case")
        self.block(s.then)
        self.block(s.orelse)

    def while_(self, s: ir.While) -> None:
        self.uniform(s.cond, "b1", "the condition")
        self.block(s.body)

    def alloc(self, s: ir.Alloc) -> None:
        if s.type not in _ALL or type(s.size) is not int or s.size <= 0 or self.width:
            self.fail("scratch is of a known type and constant positive size, declared outside any vfor")
        self.scratch += s.size * SIZE[s.type]
        if self.scratch > MAX_SCRATCH:
            self.fail(f"more than {MAX_SCRATCH} bytes of scratch: {self.scratch}")
        self.declare(s.name, _Scope("buf", s.type))

    def check(self, s: ir.Check) -> None:
        if type(s.code) is not int or not 0 < s.code < 2**31:
            self.fail(f"the code of a check is a positive i32, not {s.code!r}")
        self.value(s.cond, "b1", "the condition")
        self.value(s.value, "i64", "the value")
        self.value(s.position, "i64", "the position")

    def prefetch(self, s: ir.Prefetch) -> None:
        if self.width:
            self.fail("a prefetch inside a vfor")
        scope = self.find(s.buf, "buf")
        if s.write and "w" not in scope.mode:
            self.fail(f"buffer {s.buf} is read-only")
        self.uniform(s.index, "i64", "the index")


_SHAPES: dict[str, Callable[[str, list[str]], bool]] = {
    "same": lambda result, types: all(t == result for t in types),
    "compare": lambda result, types: result == "b1" and types[0] == types[1],
    "cast": lambda result, types: result in _ALL,
    "bitcast": lambda result, types: result in _NUMBERS and SIZE[result] == SIZE[types[0]],
    "select": lambda result, types: types[1] == result and types[2] == result,
    "ldexp": lambda result, types: types[0] == result and types[1] == "i32",
}
_LEAVES: dict[type, Callable[[_Verifier, Any], bool]] = {
    Const: _Verifier.const,
    Var: _Verifier.var,
    Get: _Verifier.get,
    HReduce: _Verifier.hreduce,
}
_SIGNATURES: set[tuple[str, ...]] = (
    set()
)  # operations, the types of their results and operands that were found good
_STMT: dict[type, Callable] = {
    ir.Let: _Verifier.let,
    ir.Reg: _Verifier.reg,
    ir.Set: _Verifier.set,
    ir.Store: _Verifier.store,
    ir.For: _Verifier.for_,
    ir.VFor: _Verifier.vfor,
    ir.If: _Verifier.if_,
    ir.While: _Verifier.while_,
    ir.Alloc: _Verifier.alloc,
    ir.Check: _Verifier.check,
    ir.Prefetch: _Verifier.prefetch,
}


def _is_width(n: int) -> bool:
    return type(n) is int and 1 <= n <= MAX_WIDTH and n & (n - 1) == 0
