"""Printing and parsing: the same text again, for kernels written by hand and at random."""

from __future__ import annotations

import random

import pytest
from tests.loop.fuzz import random_kernel

from flambeau.loop.build import Builder, op, select
from flambeau.loop.ir import Const, Kernel, Let, Op, Var
from flambeau.loop.spec import LoopError, verify
from flambeau.loop.text import parse, show

EVERYTHING = """\
kernel everything(n: i64, alpha: num f64, count: num i64, x: f32[r], y: f32[rw, alias], flags: b1[w, alias]):
    alloc tmp: bf16[64]
    alloc sums: f32[32] loose
    reg acc: f32 x 16 = -0.0:f32
    reg left: i64 = n
    let big: u64 = 18446744073709551615:u64
    let tiny: f64 = -1.5e-300:f64
    let odd: f32 = select(true, nan:f32, -inf:f32)
    vfor i in range(0, n) by 16 full:
        %1 = (x[(i * 2) if (i < -5)] * f32(alpha))
        y[i if (%1 != odd)] = fma(%1, %1, 1e+30:f32)
        acc = (acc + bits.f32(i32(i)))
    for j in range(0, n, 2):
        if ((j % 3) == 0):
            check 7, (left > 0), left, j
            tmp[j] = bf16(x[j])
            prefetch x[(j + 64)]
            prefetch y[j] write
            prefetch x[j] far
        else:
            while (left > 0):
                left = (left - 1)
    for k in unroll(0, 4, 1):
        if (k >> 1 == 0):
            flags[k] = not((big < u64(count)))
    y[0] = reduce.max(acc)
epilogue:
    y[1] = tanh(y[0])
"""


def test_every_kind_of_line_is_read_and_printed() -> None:
    text = EVERYTHING.replace("k >> 1 == 0", "(k >> 1) == 0")
    kernel = parse(text)
    assert show(kernel) == text
    verify(kernel)


@pytest.mark.parametrize("seed", [*range(40), *random.Random().sample(range(1000, 10**6), 20)])
def test_random_kernels_come_back(seed: int) -> None:
    kernel, _ = random_kernel(seed)
    text = show(kernel)
    again = parse(text)
    verify(again)
    assert show(again) == text


def test_shared_values_do_not_blow_up() -> None:
    x: Op | Var = Var("i64", "n")
    for _ in range(200):
        x = Op("i64", "mul", x, x)
    text = show(Kernel("shared", Builder("p").params, [Let("y", x)]).__class__("shared", [], [Let("y", x)]))
    assert text.count("\n") < 210
    value = parse(text.replace("shared()", "shared(n: i64)")).body[0].value
    seen = {id(value)}
    while isinstance(value, Op):
        assert value.args[0] is value.args[1] or isinstance(value.args[0], Var)
        value = value.args[0]
        seen.add(id(value))
    assert len(seen) == 201


def test_deep_values_are_printed_in_linear_size_and_read_without_recursion_limits() -> None:
    b = Builder("deep")
    y = b.buf("y", "f32", "rw")
    value = y[0]
    for k in range(5000):
        value = value * 0.5 + float(k)
    y[0] = value
    text = show(b.kernel())
    assert len(text) < 400_000
    again = parse(text)
    verify(again)
    assert show(again) == text


def test_texts_differ_where_kernels_differ() -> None:
    def kernel(**change: object) -> str:
        what = {
            "const": 1.0,
            "op": "add",
            "mask": True,
            "type": "f32",
            "width": 8,
            "full": False,
            "alias": False,
        } | change
        b = Builder("k")
        x = b.buf("x", what["type"], "rw", alias=what["alias"])
        with b.vfor("i", 0, 64, what["width"], full=what["full"]) as i:
            b.store(x, i, op(what["op"], x[i], what["const"]), i < 3 if what["mask"] else None)
        return show(b.kernel())

    changes = [{"const": -0.0}, {"const": 0.0}, {"op": "mul"}, {"mask": False}, {"type": "f64"}]
    changes += [{"width": 16}, {"full": True}, {"alias": True}]
    texts = {kernel(), *(kernel(**change) for change in changes)}
    assert len(texts) == 1 + len(changes)
    assert kernel() == kernel()


def test_the_users_line_is_no_part_of_the_text() -> None:
    assert show(Kernel("k", [], [], where="a.py:1")) == show(Kernel("k", [], [], where="b.py:2"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("let t: i64 = (n ? 1)", "cannot read"),
        ("let t: i64 = (n + 1", r"expected '\)'"),
        ("let t: i65 = n", "unknown type"),
        ("let t: i64 = m", "m is not known"),
        ("let t: i64 = %4", "%4 is not known"),
        ("z[0] = n", "z is not known"),
        ("let t: i64 = n n", "unexpected 'n'"),
        ("    let t: i64 = n", "unexpected indentation"),
    ],
)
def test_parse_errors_name_the_line(line: str, message: str) -> None:
    with pytest.raises(LoopError, match=message) as caught:
        parse(f"kernel k(n: i64):\n    let a: i64 = n\n    {line}\n")
    assert "line 3" in str(caught.value)


def test_select_of_constants_keeps_types() -> None:
    b = Builder("s")
    x = b.buf("x", "u8", "w")
    x[0] = select(b.tid.eq(0), Const("u8", 255), 3)
    assert "select((tid == 0), 255:u8, 3:u8)" in show(b.kernel())
