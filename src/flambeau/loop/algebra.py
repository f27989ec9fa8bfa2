"""Index algebra: folding of i64 (and b1) arithmetic, and the coefficient of a variable in an index.

Every rule is exact for wrapping 64-bit integers; nothing is folded for other types."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from .ir import COMPARE, Const, Expr, Get, HReduce, Load, Op, Var

ZERO = Const("i64", 0)
_IDENTITY = {"add": 0, "sub": 0, "mul": 1, "idiv": 1, "or": 0, "xor": 0, "shl": 0, "shr": 0}


def wrap(value: int) -> int:
    """The i64 that `value` is modulo 2**64."""
    return (value + 2**63) % 2**64 - 2**63


def _idiv(a: int, b: int) -> int:
    if b == 0:
        return 0
    return wrap(abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1))


_FOLD: dict[str, Callable[[int, int], int]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "idiv": _idiv,
    "irem": lambda a, b: a - b * _idiv(a, b),
    "min": min,
    "max": max,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "shl": lambda a, b: a << b if 0 <= b < 64 else 0,
    "shr": lambda a, b: a >> (b if 0 <= b < 64 else 63),
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
}


def children(expr: Expr) -> tuple[Expr, ...]:
    """The operands of an expression."""
    if isinstance(expr, Op):
        return expr.args
    if isinstance(expr, Load):
        return (expr.index,) if expr.mask is None else (expr.index, expr.mask)
    return ()


def postorder(roots: Iterable[Expr]) -> list[Expr]:
    """Every object below the roots once, operands before users; no recursion, so expressions may be deep."""
    order: list[Expr] = []
    seen: set[int] = set()
    for root in roots:
        stack: list[tuple[Expr, bool]] = [(root, False)]
        while stack:
            expr, ready = stack.pop()
            if ready:
                order.append(expr)
            elif id(expr) not in seen:
                seen.add(id(expr))
                below = children(expr)
                if below:
                    stack.append((expr, True))
                    stack.extend([(e, False) for e in reversed(below)])
                else:
                    order.append(expr)
    return order


def binary(name: str, a: Expr, b: Expr) -> Expr:
    """a op b, folded where both types are i64 (constants, x+0, x*1, x*0, (x+1)+2) or b1 with a constant."""
    if a.type == "b1":
        return _logical(name, a, b)
    if a.type != "i64" or name not in _FOLD:
        return Op("b1" if name in COMPARE else a.type, name, a, b)
    if isinstance(a, Const) and isinstance(b, Const):
        value = _FOLD[name](a.value, b.value)
        return Const("b1", value) if name in COMPARE else Const("i64", wrap(value))
    if name in COMPARE:
        return Op("b1", name, a, b)
    if isinstance(a, Const) and name in ("add", "mul", "min", "max", "and", "or", "xor"):
        a, b = b, a
    return _with_constant(name, a, b) if isinstance(b, Const) else Op("i64", name, a, b)


def _with_constant(name: str, a: Expr, b: Const) -> Expr:
    c = b.value
    if _IDENTITY.get(name) == c:
        return a
    if (name in ("mul", "and") and c == 0) or (name == "irem" and abs(c) == 1):
        return ZERO
    if name == "sub":
        name, b = "add", Const("i64", wrap(-c))
    if name in ("add", "mul") and isinstance(a, Op) and a.op == name and isinstance(a.args[1], Const):
        inner, constant = a.args
        return binary(name, inner, binary(name, constant, b))
    return Op("i64", name, a, b)


def _logical(name: str, a: Expr, b: Expr) -> Expr:
    if name in ("and", "or"):
        for known, other in ((a, b), (b, a)):
            if isinstance(known, Const):
                return other if bool(known.value) == (name == "and") else known
    return Op("b1", name, a, b)


def select(cond: Expr, a: Expr, b: Expr) -> Expr:
    """a where cond, else b; a constant condition chooses now."""
    if isinstance(cond, Const):
        return a if cond.value else b
    return a if a is b else Op(a.type, "select", cond, a, b)


def coefficient(expr: Expr, var: str, lets: Mapping[str, Expr | None] | None = None) -> int | Expr | None:
    """c such that expr = c * var + (something without var); None if there is no such c.

    0: uniform, 1: contiguous, another int or an Expr: a constant stride, None: a gather. `lets` gives what a `Let` name
    stands for; a name (of a `Let`, or of a register with lanes) mapped to None varies with var in an unknown way.
    A name that is not in `lets` does not depend on var. A Load is uniform if its index and mask are: the caller knows
    whether the loop writes that buffer."""
    return _coefficient(expr, var, lets or {}, {})


def _coefficient(
    expr: Expr, var: str, lets: Mapping[str, Expr | None], memo: dict[int, int | Expr | None]
) -> int | Expr | None:
    key = id(expr)
    if key not in memo:
        memo[key] = _compute(expr, var, lets, memo)
    return memo[key]


def _compute(expr: Expr, var: str, lets: Mapping[str, Expr | None], memo: dict) -> int | Expr | None:
    if isinstance(expr, (Const, HReduce)):
        return 0
    if isinstance(expr, (Var, Get)):
        if isinstance(expr, Var) and expr.name == var:
            return 1
        if expr.name not in lets:
            return 0
        meaning = lets[expr.name]
        return None if meaning is None else _coefficient(meaning, var, lets, memo)
    if isinstance(expr, Load):
        parts: tuple[Expr, ...] = (expr.index,) if expr.mask is None else (expr.index, expr.mask)
    else:
        assert isinstance(expr, Op)
        parts = expr.args
    found = [_coefficient(p, var, lets, memo) for p in parts]
    if all(type(c) is int and c == 0 for c in found):
        return 0
    if isinstance(expr, Load) or expr.type != "i64" or any(c is None for c in found):
        return None
    return _combine(expr.op, parts, found)  # type: ignore[arg-type]


def _combine(name: str, parts: tuple[Expr, ...], found: list[int | Expr]) -> int | Expr | None:
    if name == "neg":
        return plain(binary("sub", ZERO, _expr(found[0])))
    if name in ("add", "sub"):
        return plain(binary(name, _expr(found[0]), _expr(found[1])))
    if name == "mul":
        for c, other, factor in ((found[0], found[1], parts[1]), (found[1], found[0], parts[0])):
            if type(other) is int and other == 0:
                return plain(binary("mul", factor, _expr(c)))
    if name == "shl" and isinstance(parts[1], Const):
        return plain(binary("mul", _expr(found[0]), Const("i64", wrap(1 << (parts[1].value & 63)))))
    if name == "select" and type(found[1]) is int and found[:2] == [0, found[1]] and found[1] == found[2]:
        return found[1]
    return None


def plain(expr: Expr) -> int | Expr:
    """The int that a constant holds, or the expression."""
    return expr.value if isinstance(expr, Const) else expr


def _expr(c: int | Expr) -> Expr:
    return Const("i64", c) if isinstance(c, int) else c
