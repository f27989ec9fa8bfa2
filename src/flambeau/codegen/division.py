"""Truncating division of integers that cannot trap: x/0 = 0, x%0 = x, lowest/-1 wraps.

There is no instruction for vectors. A float quotient is exact after truncation if a float has enough bits for the sum
of the operands' sizes: then rounding cannot reach the next whole number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..loop.ir import SIZE, UNSIGNED
from . import whole
from .types import REGISTER, llvm_type

if TYPE_CHECKING:
    from .function import Function
    from .operations import Operations

_EXACT = whole.NEAR // 2  # below it the f64 quotient of two i64 is exact, and near


def divide(on: Operations, op: str, type: str, args: list[str], width: int, const: object) -> str:
    """op = "idiv" or "irem" of operands of a type; `const` is the divisor if it is known."""
    a, b = args
    if type == "i64" and not width:
        return _index(on.function, op, a, b, isinstance(const, int) and const not in (0, -1))
    if isinstance(const, int) and const not in (0, -1):
        return _vectors(on, op, type, a, b, width, True) if width else _plain(on, op, type, a, b, width)
    t, b1 = llvm_type(type, width), llvm_type("b1", width)
    zero, one = on.splat(0, type, width), on.splat(1, type, width)
    by_zero = on.line(f"icmp eq {t} {b}, {zero}")
    unsafe = by_zero
    if type not in UNSIGNED:
        lowest = on.splat(-(1 << (8 * SIZE[type] - 1)), type, width)
        minus = on.line(f"icmp eq {t} {b}, {on.splat(-1, type, width)}")
        least = on.line(f"icmp eq {t} {a}, {lowest}")
        unsafe = on.line(f"or {b1} {by_zero}, {on.line(f'and {b1} {minus}, {least}')}")
    safe = on.line(f"select {b1} {unsafe}, {t} {one}, {t} {b}")
    if width:
        result = _vectors(on, op, type, a, safe, width, False)
    else:
        result = _plain(on, op, type, a, safe, width)
    return on.line(f"select {b1} {by_zero}, {t} {zero if op == 'idiv' else a}, {t} {result}")


def _index(function: Function, op: str, a: str, b: str, known: bool) -> str:
    """Scalars: what depends on the divisor alone goes in front of the loops that do not change it. Instead of by 0 or
    -1 it is divided by 1, which gives the right remainder but for 0, and a quotient that needs a factor."""
    pure = function.pure
    if known:
        return pure(f"s{op[1:]} i64 {a}, {b}", a, b)
    zero = pure(f"icmp eq i64 {b}, 0", b)
    minus = pure(f"icmp eq i64 {b}, -1", b)
    either = pure(f"or i1 {zero}, {minus}", zero, minus)
    safe = pure(f"select i1 {either}, i64 1, i64 {b}", either, b)
    result = pure(f"s{op[1:]} i64 {a}, {safe}", a, safe)
    if op == "irem":
        return function.line(f"select i1 {zero}, i64 {a}, i64 {result}")
    sign = pure(f"select i1 {minus}, i64 -1, i64 1", minus)
    factor = pure(f"select i1 {zero}, i64 0, i64 {sign}", zero, sign)
    return pure(f"mul i64 {result}, {factor}", result, factor)


def _plain(on: Operations, op: str, type: str, a: str, b: str, width: int) -> str:
    name = ("u" if type in UNSIGNED else "s") + op[1:]
    return on.line(f"{name} {llvm_type(type, width)} {a}, {b}")


def _vectors(on: Operations, op: str, type: str, a: str, b: str, width: int, known: bool) -> str:
    """Vectors with a divisor that is not 0 (`known`: a constant, for which LLVM multiplies)."""
    if SIZE[type] < 8:
        return _plain(on, op, type, a, b, width) if known else _by_floats(on, op, type, a, b, width)
    t, b1 = llvm_type(type, width), llvm_type("b1", width)
    near = ""
    for x in (a,) if known and _small(b) else (a, b):
        moved = x if type in UNSIGNED else on.line(f"add {t} {x}, {on.splat(_EXACT, type, width)}")
        bound = on.splat(_EXACT if type in UNSIGNED else 2 * _EXACT, type, width)
        inside = on.line(f"icmp ult {t} {moved}, {bound}")
        near = on.line(f"and {b1} {near}, {inside}") if near else inside
    everywhere = on.call(f"llvm.vector.reduce.and.v{width}i1", "i1", [(b1, near)])
    # Outside of that range the quotient is not used; converting must not be undefined there.
    safe = on.line(f"select {b1} {near}, {t} {a}, {t} {on.splat(0, type, width)}")
    quick = _by_floats(on, op, type, safe, b, width)

    def slow() -> str:
        def one(x: str, y: str) -> str:
            return _plain(on, op, type, x, y, 0)

        return on.function.each_lane(REGISTER[type], t, [a, b], width, one)

    return on.function.unless(everywhere, quick, t, slow)


def _small(splat: str) -> bool:
    """Whether the text of a constant vector shows a number that is small enough."""
    number = splat.rpartition(" ")[2].rstrip(")")
    return number.lstrip("-").isdigit() and abs(int(number)) < _EXACT


def _by_floats(on: Operations, op: str, type: str, a: str, b: str, width: int) -> str:
    """For operands of 8 bytes: if both are near."""
    long = SIZE[type] == 8
    wide, short = ("f32", "i32") if SIZE[type] < 4 else ("f64", type)
    x, y = (whole.near_double(on, v, width) if long else on.cast(v, type, wide, width) for v in (a, b))
    quotient = on.line(f"fdiv {llvm_type(wide, width)} {x}, {y}")
    if long:
        q = whole.near_whole(on, quotient, width)
    else:
        q = on.convert("fptoui" if short == "u32" else "fptosi", quotient, wide, short, width)
        q = q if SIZE[type] >= 4 else on.convert("trunc", q, short, type, width)
    if op == "idiv":
        return q
    t = llvm_type(type, width)
    return on.line(f"sub {t} {a}, {on.line(f'mul {t} {q}, {b}')}")
