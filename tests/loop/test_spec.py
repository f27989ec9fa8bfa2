"""The verifier: a kernel that breaks each rule, and the message that names it."""

from __future__ import annotations

import pytest

from flambeau.loop.ir import (
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
    i64,
)
from flambeau.loop.spec import OPS, LoopError, verify
from flambeau.loop.text import parse

PARAMS = [
    Int("n"),
    Num("alpha", "f64"),
    Buf("x", "f32"),
    Buf("y", "f32", "w"),
    Buf("z", "f32", "rw"),
    Buf("k", "i32"),
]
N, X, TRUE, ONE = Var("i64", "n"), Load("f32", "x", i64(0)), Const("b1", True), Const("f32", 1.0)
I = Var("i64", "i")


def vfor(*body: Stmt, width: int = 8) -> VFor:
    return VFor("i", i64(0), N, width, list(body))


def let(value: Expr) -> Let:
    return Let("t", value)


LANES = Reg("acc", ONE, 8)
SCALAR = Reg("s", ONE)
GET = Get("f32", "acc")
FIRST = Op("b1", "lt", I, i64(3))
TOTAL, SEEN = Op("f32", "neg", HReduce("f32", "add", "acc")), Op("i64", "neg", Var("i64", "t"))

BROKEN = {
    # types and operations
    "unknown operation": [let(Op("f32", "frob", X))],
    "takes 2 operands": [let(Op("f32", "add", X))],
    "no operation div on i64": [let(Op("i64", "div", N, N))],
    "no operation idiv on f32": [let(Op("f32", "idiv", X, X))],
    "no operation xor on f32": [let(Op("f32", "xor", X, X))],
    "no operation add on b1": [let(Op("b1", "add", TRUE, TRUE))],
    "no operation sqrt on i64": [let(Op("i64", "sqrt", N))],
    "no operation exp on i64": [let(Op("i64", "exp", N))],
    r"add: operands \(f32, i64\)": [let(Op("f32", "add", X, N))],
    r"add: operands \(f32, f32\) do not give f64": [let(Op("f64", "add", X, X))],
    r"lt: operands \(f32, f32\) do not give f32": [let(Op("f32", "lt", X, X))],
    "no operation select on f32": [let(Op("f32", "select", X, X, X))],
    r"select: operands \(b1, f32, i64\)": [let(Op("f32", "select", TRUE, X, N))],
    r"bitcast: operands \(f32\) do not give i64": [let(Op("i64", "bitcast", X))],
    r"ldexp: operands \(f32, i64\)": [let(Op("f32", "ldexp", X, N))],
    "256 is not a constant of type u8": [let(Const("u8", 256))],
    "-1 is not a constant of type u64": [let(Const("u64", -1))],
    "1 is not a constant of type f32": [let(Const("f32", 1))],
    "1 is not a constant of type b1": [let(Const("b1", 1))],
    "1.0 is not a constant of type i64": [let(Const("i64", 1.0))],
    # names
    "m is not a var that is visible": [let(Var("i64", "m"))],
    "n is i64, used as f32": [let(Var("f32", "n"))],
    "the name n is used twice": [Let("n", N)],
    "the name t is used twice": [For("j", i64(0), N, i64(1), [let(N)]), let(N)],
    "the name acc is used twice": [LANES, LANES],
    "'while' is not a name": [Let("while", N)],
    "t is not a var that is visible": [If(TRUE, [let(N)]), Let("u", Var("i64", "t"))],
    "t is not a var that is visible here; in `let v": [If(TRUE, [let(N), Let("u", SEEN)]), Let("v", SEEN)],
    "i is not a var that is visible": [vfor(), let(I)],
    "w is not a buf": [let(Load("f32", "w", i64(0)))],
    "n is not a reg": [Set("n", N)],
    # buffers
    "buffer y is write-only": [let(Load("f32", "y", i64(0)))],
    "buffer x is read-only": [Store("x", i64(0), ONE)],
    "buffer x is f32, loaded as f64": [let(Load("f64", "x", i64(0)))],
    "load from x: the index must be i64": [let(Load("f32", "x", Load("i32", "k", i64(0))))],
    "load from x: .* the mask b1": [let(Load("f32", "x", i64(0), N))],
    "the index must be i64, is f32": [Store("y", ONE, ONE)],
    "the value must be f32, is i64": [Store("y", i64(0), N)],
    "the mask must be b1, is i64": [Store("y", i64(0), ONE, N)],
    "all lanes store to one place": [vfor(Store("y", i64(0), ONE))],
    "a prefetch inside a vfor": [vfor(Prefetch("x", i64(0)))],
    "is read-only; in `prefetch": [Prefetch("x", i64(0), write=True)],
    "the index must be i64, is f32; in `prefetch": [Prefetch("x", ONE)],
    # registers and lanes
    "register acc has 8 lanes, read outside": [LANES, let(GET)],
    "register acc has 8 lanes, read in a vfor of 16": [LANES, vfor(let(GET), width=16)],
    "register acc has 8 lanes, assigned outside": [LANES, Set("acc", ONE)],
    "register acc has 8 lanes, assigned in a vfor of 4": [LANES, vfor(Set("acc", ONE), width=4)],
    "register acc has 8 lanes, declared in a vfor of 4": [vfor(LANES, width=4)],
    "12 lanes: must be a power of two": [Reg("r", ONE, 12)],
    "register acc is f32, used as f64": [LANES, vfor(let(Get("f64", "acc")))],
    "acc must be f32, is i64": [LANES, vfor(Set("acc", N))],
    "register s without lanes: assigned": [SCALAR, vfor(Set("s", ONE))],
    "register s without lanes: assigned per": [vfor(SCALAR, Set("s", Load("f32", "x", I)))],
    "register r without lanes gets a value that differs": [vfor(Reg("r", I))],
    "reduction of s: only of a register with lanes": [SCALAR, let(HReduce("f32", "add", "s"))],
    "reduction of acc: only of a register with lanes, outside": [
        LANES,
        vfor(let(HReduce("f32", "add", "acc"))),
    ],
    "reduction of acc: only of a register with lanes, outside any vfor; in `let v": [  # the same object again
        LANES,
        Let("u", TOTAL),
        vfor(Let("v", TOTAL)),
    ],
    "no reduction xor": [LANES, let(HReduce("f32", "xor", "acc"))],
    "no reduction and of type f32": [LANES, let(HReduce("f32", "and", "acc"))],
    "no reduction add of type f64": [LANES, let(HReduce("f64", "add", "acc"))],
    # loops and conditions
    "a vfor inside a vfor": [vfor(VFor("j", i64(0), N, 8, []))],
    "width 24: must be a power of two": [vfor(width=24)],
    "width 512: must be a power of two up to 256": [vfor(width=512)],
    "hi must be i64, is f32": [VFor("i", i64(0), X, 8, [])],
    "lo differs between lanes": [vfor(For("j", I, N, i64(1), []))],
    "the step must be positive": [For("j", i64(0), N, i64(0), [])],
    "hi of an unrolled loop must be a constant": [For("j", i64(0), N, i64(1), [], unroll=True)],
    "the condition must be b1, is i64": [If(N, [])],
    "a condition of lanes is for registers alone": [vfor(If(FIRST, [Store("y", i64(0), ONE)]))],
    "a condition of lanes is for registers alone, and has": [
        vfor(Let("m", FIRST), If(Var("b1", "m"), [], [let(N)]))
    ],
    "the condition differs between lanes; in `while": [vfor(While(FIRST, []))],
    # scratch and checks
    "more than 65536 bytes of scratch": [Alloc("a", "f64", 8000), Alloc("b", "f64", 200)],
    "constant positive size": [Alloc("a", "f64", 0)],
    "declared outside any vfor": [vfor(Alloc("a", "f64", 4))],
    "the code of a check": [Check(TRUE, 0, N, N)],
    "the position must be i64, is f32": [Check(TRUE, 1, N, ONE)],
    "is not a statement": [N],
    "is not an expression": [let(Op("f32", "add", X, SCALAR))],
}


@pytest.mark.parametrize(("message", "body"), BROKEN.items(), ids=list(BROKEN))
def test_a_broken_kernel_is_refused(message: str, body: list[Stmt]) -> None:
    with pytest.raises(LoopError, match=message) as caught:
        verify(Kernel("broken", PARAMS, body))
    assert str(caught.value).startswith("kernel broken: ")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ([Int("n"), Int("n")], "the name n is used twice"),
        ([Int("tid")], "the name tid is used twice"),
        ([Num("a", "f32")], "number a must be f64 or i64"),
        ([Buf("x", "f32", "x")], "buffer x has type f32, mode x"),
        ([Buf("x", "f31")], "buffer x has type f31"),
        ([Int("a b")], "'a b' is not a name"),
    ],
)
def test_broken_parameters_are_refused(params: list, message: str) -> None:
    with pytest.raises(LoopError, match=message):
        verify(Kernel("broken", params, []))


def test_the_epilogue_does_not_see_the_body() -> None:
    verify(Kernel("fine", PARAMS, [let(N)], [let(N), Let("u", Var("i64", "t"))]))
    with pytest.raises(LoopError, match="t is not a var"):
        verify(Kernel("broken", PARAMS, [let(N)], [Let("u", Var("i64", "t"))]))


def test_mathematical_functions_must_be_expanded_for_a_target() -> None:
    kernel = Kernel("k", PARAMS, [let(Op("f32", "exp", X))])
    verify(kernel)
    with pytest.raises(LoopError, match="the target cannot compute exp of f32"):
        verify(kernel, target="x86-64-v3")


def test_the_message_shows_the_statement() -> None:
    with pytest.raises(LoopError) as caught:
        verify(Kernel("k", PARAMS, [vfor(While(FIRST, [let(N)]))]))
    assert str(caught.value) == "kernel k: the condition differs between lanes; in `while (i < 3):`"


def test_what_is_allowed() -> None:
    verify(
        parse("""\
kernel fine(n: i64, x: f32[r], y: f32[w]):
    reg acc: f32 x 8 = 0.0:f32
    reg s: i64 = 0
    alloc tmp: f64[8192]
    vfor i in range(0, n) by 8:
        reg count: i64 = 3
        reg own: f32 x 8 = x[i]
        while (count > s):
            count = (count - 1)
            own = (own * own)
        if (i < 3):
            own = (own * own)
        let uniform: f32 = x[n]
        if (uniform > 0.0:f32):
            acc = own
        y[(i * n) if (x[i] > 0.0:f32)] = uniform
    s = i64(reduce.add(acc))
""")
    )


def test_every_operation_of_the_ir_has_a_rule() -> None:
    from flambeau.loop import ir

    named = {*ir.UNARY, *ir.BINARY, *ir.COMPARE, *ir.TERNARY, *ir.MATH1, *ir.MATH2}
    assert named == set(OPS)
    for names, arity in (
        (ir.UNARY, 1),
        (ir.BINARY, 2),
        (ir.COMPARE, 2),
        (ir.TERNARY, 3),
        (ir.MATH1, 1),
        (ir.MATH2, 2),
    ):
        assert {OPS[n].arity for n in names} == {arity}
