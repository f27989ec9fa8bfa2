"""Index algebra and the builder: folding is exact, coefficients are right, parts cover their range."""

from __future__ import annotations

import random

import numpy as np
import pytest

from flambeau.loop.algebra import coefficient, postorder
from flambeau.loop.build import Builder, Value, const, expr, op, select
from flambeau.loop.interp import call
from flambeau.loop.ir import Const, Expr, Get, Load, Op, Var, i64
from flambeau.loop.spec import verify
from flambeau.loop.text import show

i, j, n = (Value(Var("i64", name)) for name in "ijn")


def text(value: Value) -> str:
    b = Builder("k")
    for name in "ijn":
        b.integer(name)
    b.buf("x", "i64")
    b.let(value, "result")
    lines = show(b.kernel()).splitlines()
    return lines[1].partition(" = ")[2] if len(lines) > 1 else show_leaf(value.expr)


def show_leaf(e: Expr) -> str:
    return str(e.value) if isinstance(e, Const) else e.name


@pytest.mark.parametrize(
    ("value", "folded"),
    [
        (i * 1, "i"),
        (1 * i, "i"),
        (i + 0, "i"),
        (0 + i, "i"),
        (i - 0, "i"),
        (i * 0, "0"),
        (i // 1, "i"),
        (i % 1, "0"),
        (i + 1 + 2, "(i + 3)"),
        (i + 1 - 1, "i"),
        (2 * (3 * i), "(i * 6)"),
        (i - 5, "(i + -5)"),
        (Value(i64(7)) // -2, "-3"),
        (Value(i64(7)) % -2, "1"),
        (Value(i64(-7)) // 2, "-3"),
        (Value(i64(7)) // 0, "0"),
        (Value(i64(7)) % 0, "7"),
        (Value(i64(2**62)) * 4, "0"),
        (Value(i64(1)) << 65, "0"),
        (Value(i64(3)) < 4, "True"),
        ((i < 3) & True, "(i < 3)"),
        ((i < 3) | True, "True"),
        (select(True, i, j), "i"),
        (select(i < 3, j, j), "j"),
    ],
)
def test_folding(value: Value, folded: str) -> None:
    assert text(value) == folded


def test_folding_agrees_with_the_interpreter() -> None:
    rng = random.Random(7)
    names = ("add", "sub", "mul", "idiv", "irem", "min", "max", "and", "or", "xor", "shl", "shr")
    b, raw = Builder("folded"), Builder("raw")
    x, y = b.buf("x", "i64"), b.buf("y", "i64", "w")
    raw.buf("x", "i64"), raw.buf("y", "i64", "w")
    for k in range(400):
        folded: Value = rng.choice((x[rng.randrange(4)], const("i64", rng.choice((0, 1, -1, 5, 2**63 - 1)))))
        plain = folded.expr
        for _ in range(rng.randint(1, 4)):
            name, other = (
                rng.choice(names),
                rng.choice((x[rng.randrange(4)], const("i64", rng.choice((0, 1, 2, -1, -7, 63, 64))))),
            )
            first = rng.random() < 0.3
            folded = op(name, other, folded) if first else op(name, folded, other)
            plain = Op("i64", name, other.expr, plain) if first else Op("i64", name, plain, other.expr)
        y[k] = folded
        raw.store(y, k, plain)
    verify(b.kernel())
    values = np.array([3, -5, 2**62, -(2**63)])
    a, c = np.zeros(400, np.int64), np.zeros(400, np.int64)
    call(b.kernel(), values, a)
    call(raw.kernel(), values, c)
    assert (a == c).all()


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (i, 1),
        (i + 3, 1),
        (3 + i * 4, 4),
        ((i + j) * 4 - i, 3),
        (-i, -1),
        (i << 3, 8),
        (j * n, 0),
        (i - i, 0),
        (i * i, None),
        (i // 2, None),
        (i % 8, None),
        (select(n < 3, i + 1, i + j), 1),
        (select(n < 3, i, j), None),
        (select(i < 3, n, j), None),
        (Value(Load("i64", "x", j.expr)), 0),
        (Value(Load("i64", "x", i.expr)), None),
        (Value(Load("i64", "x", j.expr)) + i, 1),
        (i.cast("i32").cast("i64"), None),
        (Value(Get("i64", "r")) + i, 1),
        (Value(Get("i64", "lanes")) + i, None),
        (Value(Var("i64", "t")) * 2, 6),
        (Value(Var("i64", "unknown")), None),
        (Value(Op("b1", "lt", i.expr, n.expr)), None),
        (Value(Op("b1", "lt", j.expr, n.expr)), 0),
    ],
)
def test_coefficients(value: Value, wanted: int | None) -> None:
    lets = {"t": (i * 3 + j).expr, "unknown": None, "lanes": None}
    found = coefficient(value.expr, "i", lets)
    assert found == wanted and type(found) is type(wanted)


def test_a_coefficient_may_be_an_expression() -> None:
    stride = coefficient((i * n * 2 + j + i).expr, "i")
    assert isinstance(stride, Expr)
    assert text(Value(stride)) == "((n * 2) + 1)"


def test_postorder_visits_once_and_does_not_recurse() -> None:
    e: Expr = i.expr
    for _ in range(10_000):
        e = Op("i64", "mul", e, e)
    order = postorder([e, e])
    assert len(order) == 10_001 and order[0] is i.expr and order[-1] is e


@pytest.mark.parametrize("grain", [1, 16, 64])
def test_partition_covers_the_range_in_grains(grain: int) -> None:
    b = Builder("parts")
    size, out = b.integer("n"), b.buf("out", "i64", "w")
    lo, hi = b.partition(size, grain)
    out[b.tid * 2] = lo
    out[b.tid * 2 + 1] = hi
    kernel = b.kernel()
    for extent in (0, 1, 15, 16, 17, 63, 100, 1000):
        for nt in (1, 2, 3, 7):
            bounds = np.zeros(2 * nt, np.int64)
            call(kernel, extent, bounds, nt=nt)
            lows, highs = bounds[::2], bounds[1::2]
            assert lows[0] == 0 and highs[-1] == extent and (lows[1:] == highs[:-1]).all()
            assert (lows % grain == 0).all() and (lows <= highs).all()
            blocks = -(-extent // grain)
            assert max(highs - lows, default=0) <= -(-blocks // nt) * grain


def test_numbers_take_the_type_of_the_other_operand() -> None:
    x = Value(Load("u8", "x", i64(0)))
    assert (x + 1).expr.args[1].type == "u8"
    assert (2 * x).expr.args[0].type == "u8"
    assert op("ldexp", Value(Const("f32", 1.0)), 3).expr.args[1].type == "i32"
    assert select(x < 3, 1.5, Value(Const("bf16", 0.0))).type == "bf16"
    assert type((Value(Const("f32", 1.0)) * 2).expr.args[1].value) is float
    assert expr(True).type == "b1" and expr(3).type == "i64" and expr(0.5).type == "f64"


def test_names_are_made_unique() -> None:
    b = Builder("names")
    x = b.buf("t", "i64", "rw")
    for _ in range(2):
        with b.for_("i", 0, 2) as k:
            x[k] = b.let(x[k] + 1)
    verify(b.kernel())
    assert "for i_1 in range(0, 2, 1):" in show(b.kernel())


def test_a_value_has_no_truth() -> None:
    with pytest.raises(TypeError, match="symbol of the kernel"):
        bool(i < 3)


def test_else_needs_an_if() -> None:
    b = Builder("k")
    with pytest.raises(ValueError, match="else_ must follow an if_"), b.else_():
        pass
