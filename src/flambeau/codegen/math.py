"""Mathematical functions as arithmetic: `expand(kernel)` replaces every MATH1 and MATH2 operation of ir.py.

What is left are operations that every target and the interpreter compute with the same bits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields, replace

from ..loop.algebra import children, postorder
from ..loop.build import Value
from ..loop.ir import (
    MATH1,
    MATH2,
    Expr,
    Kernel,
    Load,
    Op,
    Stmt,
    cast,
)
from . import math_double, math_float, math_trig

Function = Callable[..., Value]
_MATH = frozenset(MATH1 + MATH2)

FLOAT: dict[str, Function] = {
    name: getattr(math_float, name)
    for name in ("exp", "exp2", "expm1", "log", "log1p", "tanh", "sigmoid", "erf", "sin", "cos")
}
DOUBLE: dict[str, Function] = {
    name: getattr(module, name)
    for module, names in (
        (math_double, "exp exp2 expm1 log log2 log10 log1p tanh sigmoid sinh cosh pow"),
        (math_trig, "sin cos tan asin acos atan atan2 asinh acosh atanh"),
    )
    for name in names.split()
}


def expand(kernel: Kernel) -> Kernel:
    """The kernel without mathematical functions; an expression that was one object is one object afterwards."""
    order = postorder(_roots(kernel.body + kernel.epilogue))
    if not any(isinstance(e, Op) and e.op in _MATH for e in order):
        return kernel
    new: dict[int, Expr] = {}
    for e in order:
        new[id(e)] = _rewrite(e, new)
    body, epilogue = _statements(kernel.body, new), _statements(kernel.epilogue, new)
    return replace(kernel, body=body, epilogue=epilogue)


def expansion(name: str, *args: Expr) -> Expr:
    """One function of given operands (all f16, bf16, f32 or f64) as arithmetic; float32 may go through float64."""
    type = args[0].type
    if type in ("f16", "bf16"):
        return cast(type, expansion(name, *(cast("f32", a) for a in args)))
    if type == "f32" and name not in FLOAT:
        return cast(type, expansion(name, *(cast("f64", a) for a in args)))
    table = FLOAT if type == "f32" else DOUBLE
    return table[name](*(Value(a) for a in args)).expr


def _roots(stmts: Iterable[Stmt]) -> Iterable[Expr]:
    """Every expression that a statement holds, also in nested statements."""
    for stmt in stmts:
        for f in fields(stmt):  # type: ignore[arg-type]
            value = getattr(stmt, f.name)
            if isinstance(value, Expr):
                yield value
            elif isinstance(value, list):
                yield from _roots(value)


def _rewrite(e: Expr, new: dict[int, Expr]) -> Expr:
    below = children(e)
    parts = tuple(new[id(c)] for c in below)
    if isinstance(e, Op) and e.op in _MATH:
        return expansion(e.op, *parts)
    if all(a is b for a, b in zip(below, parts)):
        return e
    if isinstance(e, Load):
        return Load(e.type, e.buf, *parts)
    assert isinstance(e, Op)
    return Op(e.type, e.op, *parts)


def _statements(stmts: list[Stmt], new: dict[int, Expr]) -> list[Stmt]:
    result = []
    for stmt in stmts:
        changed = {}
        for f in fields(stmt):  # type: ignore[arg-type]
            value = getattr(stmt, f.name)
            if isinstance(value, Expr):
                if new[id(value)] is not value:
                    changed[f.name] = new[id(value)]
            elif isinstance(value, list):
                changed[f.name] = _statements(value, new)
        result.append(replace(stmt, **changed) if changed else stmt)  # type: ignore[type-var]
    return result
