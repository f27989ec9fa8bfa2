"""Mathematical functions as arithmetic: `expand(kernel)` replaces every MATH1 and MATH2 operation of ir.py.

What is left are operations that every target and the interpreter compute with the same bits. float16 and bfloat16 go
through float32 and are rounded once. float32 functions that are not in math_float.py go through float64.

Largest errors in units of the last place, measured against 64-bit mantissas (float32: every 67th of all numbers, so
every exponent, subnormals and both signs; float64: some millions of numbers, every exponent and the usual range):

    float32  exp 1.02  exp2 0.83  expm1 1.42  log 0.78  log1p 0.81  tanh 1.45  sigmoid 1.94  erf 1.14  erfc 1.88
             ndtr 5.9 (3.3 from -1 on)  sin 1.57  cos 1.58  atan2 1.5  tan 0.51 (every angle up to 3.4e38)
             fmod exact; 0.52: all others, but lgamma (1e-14 near its zeros), digamma near its zeros
    float64  exp 0.75  exp2 0.80  expm1 1.57  log log2 log10 hypot 0.51  log1p 0.66  tanh 1.43  sigmoid 1.79
             sinh 1.60  cosh 1.29  sin cos 0.74  tan 0.85 (every angle; up to 120 where the result is below 1e-15)
             asin 1.13  acos 0.77  atan 1.84  atan2 1.85  asinh 1.22  acosh 0.81  atanh 0.82  pow 0.99  erf 0.81
             erfc 2.6  erfinv 1.5  ndtri 2.6  trigamma 4; fmod exact
             relative 5e-15: i0 i0e i1 i1e; 1e-13: zeta gamma_slope; 3e-13: igamma igammac; lgamma and digamma 1e-13
             but absolute 1e-15 near their zeros

pow has the special cases of C. zeta(x, q) is NaN for q < -20. A result that is subnormal may be rounded twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from ..loop.algebra import children, postorder
from ..loop.build import Value
from ..loop.ir import (
    FLOATS,
    MATH1,
    MATH2,
    Expr,
    Kernel,
    Load,
    Op,
    Stmt,
    VFor,
    While,
    cast,
)
from . import (
    math_double,
    math_error,
    math_exact,
    math_float,
    math_gamma,
    math_single,
    math_special,
    math_trig,
)
from .math_loop import Loops

Function = Callable[..., Value]
_MATH = frozenset(MATH1 + MATH2)

FLOAT: dict[str, Function] = {
    name: getattr(math_float, name)
    for name in (
        "exp",
        "exp2",
        "expm1",
        "log",
        "log1p",
        "tanh",
        "sigmoid",
        "erf",
        "erfc",
        "ndtr",
        "sin",
        "cos",
        "atan2",
    )
} | {"hypot": math_exact.hypot_f32, "nextafter": math_exact.nextafter, "fmod": math_exact.fmod_f32}
FLOAT |= {"tan": math_trig.tan_f32, "pow": math_double.pow_f32}
FLOAT |= {name: getattr(math_single, name) for name in ("log2", "log10", "erfinv", "ndtri", "lgamma")}
DOUBLE: dict[str, Function] = {
    name: getattr(module, name)
    for module, names in (
        (math_double, "exp exp2 expm1 log log2 log10 log1p tanh sigmoid sinh cosh pow"),
        (math_error, "erf erfc erfinv ndtr ndtri"),
        (math_exact, "hypot nextafter"),
        (math_special, "lgamma digamma trigamma i0 i0e i1 i1e"),
        (math_trig, "sin cos tan asin acos atan atan2 asinh acosh atanh"),
    )
    for name in names.split()
}


# Functions of float64 that need a loop of fixed length: it is put before the statement.
LOOPED: dict[str, Function] = {
    "fmod": math_exact.fmod,
    "zeta": math_gamma.zeta,
    "igamma": math_gamma.igamma,
    "igammac": math_gamma.igammac,
    "gamma_slope": math_gamma.gamma_slope,
}
# Functions of float64 of which a part is left out where no lane needs it, if that can be asked.
SOMETIMES = ("sin", "cos", "tan")


def expand(kernel: Kernel) -> Kernel:
    """The kernel without mathematical functions; what was one object in a statement is one object afterwards."""
    if not _has_math(kernel.body + kernel.epilogue, set()):
        return kernel
    expander = _Expander(kernel)
    body, epilogue = expander.statements(kernel.body), expander.statements(kernel.epilogue)
    return replace(kernel, body=body, epilogue=epilogue)


def expansion(name: str, *args: Expr) -> Expr:
    """A function of given operands (all f16, bf16, f32 or f64) as arithmetic, where it needs no loop."""
    return _expansion(name, args, None)


def _expansion(name: str, args: tuple[Expr, ...], loops: Loops | None) -> Expr:
    type = args[0].type
    if type in ("f16", "bf16"):
        return cast(type, _expansion(name, tuple(cast("f32", a) for a in args), loops))
    if type == "f32" and name not in FLOAT:
        return cast(type, _expansion(name, tuple(cast("f64", a) for a in args), loops))
    values = [Value(a) for a in args]
    whole = type not in FLOATS
    if name in SOMETIMES and type == "f64" and loops is not None:
        return DOUBLE[name](loops.let(values[0]), loops).expr
    if whole or (name in LOOPED and type == "f64"):
        if loops is None:
            raise ValueError(f"{name} needs a loop: not in the condition of a while")
        return (math_exact.power if whole else LOOPED[name])(loops, *values).expr
    return (FLOAT if type == "f32" else DOUBLE)[name](*values).expr


def _has_math(stmts: Iterable[Stmt], seen: set[Expr]) -> bool:
    """Whether an expression in statements holds a mathematical function; `seen`: those that are known not to."""
    for stmt in stmts:
        expressions, blocks = _parts(stmt)
        stack = list(expressions.values())
        while stack:
            e: Any = stack.pop()
            if e.__class__ is Op:
                if e.op in _MATH:
                    return True
                if e not in seen:
                    seen.add(e)
                    stack += e.args
            elif e.__class__ is Load:
                stack += children(e)
        if any(_has_math(block, seen) for block in blocks.values()):
            return True
    return False


def _parts(stmt: Stmt) -> tuple[dict[str, Expr], dict[str, list[Stmt]]]:
    """The fields of a statement that are expressions, and those that are lists of statements."""
    expressions: dict[str, Expr] = {}
    blocks: dict[str, list[Stmt]] = {}
    names: tuple[str, ...] = stmt.__class__.__slots__
    for name in names:
        value = getattr(stmt, name)
        if isinstance(value, Expr):
            expressions[name] = value
        elif isinstance(value, list):
            blocks[name] = value
    return expressions, blocks


class _Expander:
    """Rewrites the statements of one kernel; `width` is that of the vfor around."""

    def __init__(self, kernel: Kernel):
        self.kernel = kernel
        self.loops: Loops | None = None

    def statements(self, stmts: list[Stmt], width: int = 0) -> list[Stmt]:
        result: list[Stmt] = []
        for stmt in stmts:
            own, blocks = _parts(stmt)
            inside = stmt.width if isinstance(stmt, VFor) else width
            changed: dict[str, Any] = {k: self.statements(v, inside) for k, v in blocks.items()}
            order = postorder(own.values())
            if any(isinstance(e, Op) and e.op in _MATH for e in order):
                loops = self.begin(width)
                new: dict[int, Expr] = {}
                for e in order:
                    new[id(e)] = _rewrite(e, new, None if isinstance(stmt, While) else loops)
                changed |= {k: new[id(v)] for k, v in own.items()}
                result += loops.take()
            result.append(replace(stmt, **changed) if changed else stmt)  # type: ignore[type-var]
        return result

    def begin(self, width: int) -> Loops:
        if self.loops is None:
            self.loops = Loops(self.kernel)
        self.loops.width = width
        return self.loops


def _rewrite(e: Expr, new: dict[int, Expr], loops: Loops | None) -> Expr:
    below = children(e)
    parts = tuple(new[id(c)] for c in below)
    if isinstance(e, Op) and e.op in _MATH:
        return _expansion(e.op, parts, loops)
    if all(a is b for a, b in zip(below, parts)):
        return e
    if isinstance(e, Load):
        return Load(e.type, e.buf, *parts)
    assert isinstance(e, Op)
    return Op(e.type, e.op, *parts)
