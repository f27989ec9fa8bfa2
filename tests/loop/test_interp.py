"""The interpreter: kernels on real memory against NumPy, and its shortcuts against running lane by lane."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from tests.loop.fuzz import differences, random_kernel, run

from flambeau.loop import interp
from flambeau.loop.build import Builder, select
from flambeau.loop.interp import call, interpret
from flambeau.loop.text import parse

rng = np.random.default_rng(0)


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 100])
@pytest.mark.parametrize("nt", [1, 3])
def test_elementwise_in_parts(n: int, nt: int) -> None:
    b = Builder("axpy")
    size, alpha = b.integer("n"), b.num("alpha")
    x, y = b.buf("x", "f32"), b.buf("y", "f32", "rw")
    lo, hi = b.partition(size, 8)
    with b.vfor("i", lo, hi, 16) as i:
        y[i] = x[i] * alpha.cast("f32") + y[i]
    p, q = rng.standard_normal((2, n + 3), np.float32)
    want = q.copy()
    want[:n] = p[:n] * np.float32(2.5) + q[:n]
    assert call(b.kernel(), n, 2.5, p, q, nt=nt) == [0, 0, 0, 0]
    assert (q == want).all()


def test_a_sum_has_the_order_of_its_lanes() -> None:
    b = Builder("total")
    n, x, out = b.integer("n"), b.buf("x", "f32"), b.buf("out", "f32", "w")
    acc = b.reg("acc", 0.0, "f32", lanes=16)
    with b.vfor("i", 0, n, 16) as i:
        acc.set(acc.get() + x[i])
    out[0] = acc.reduce("add")
    values, result = rng.standard_normal(1000).astype(np.float32), np.zeros(1, np.float32)
    call(b.kernel(), 1000, values, result)
    lanes = np.zeros(16, np.float32)
    for k, v in enumerate(values):
        lanes[k % 16] += v
    for half in (8, 4, 2, 1):
        lanes = lanes[:half] + lanes[half : 2 * half]
    assert result[0] == lanes[0]


def test_sixteen_bit_floats_and_booleans_in_memory() -> None:
    kernel = parse("""\
kernel k(x: bf16[r], h: f16[r], c: b1[r], y: bf16[w], g: f16[w], d: b1[w]):
    vfor i in range(0, 8) by 4:
        y[i] = select(c[i], (x[i] + x[i]), bf16(h[i]))
        g[i] = (h[i] * 3.0:f16)
        d[i] = not(c[i])
""")
    x, h = np.arange(0x3F80, 0x3F88, dtype=np.uint16), np.linspace(0, 1, 8).astype(np.float16)
    c, y, g, d = np.arange(8) % 2 == 0, np.zeros(8, np.uint16), np.zeros(8, np.float16), np.zeros(8, bool)
    call(kernel, x, h, c, y, g, d)
    assert (y[c] == x[c] + 0x80).all() and (g == h * np.float16(3)).all() and (d == ~c).all()
    assert abs((y[1].astype(np.uint32) << 16).view(np.float32) - h[1]) <= 2**-10


def test_masked_lanes_do_not_touch_memory() -> None:
    b = Builder("masked")
    x, y = b.buf("x", "f32"), b.buf("y", "f32", "w")
    with b.vfor("i", 0, 8, 8) as i:
        far = i * (1 << 50)
        b.store(y, far, x.load(far, i < 1) + 1, i < 1)
    b.store(y, 1 << 50, x.load(1 << 50, b.tid < 0), b.tid < 0)
    y1 = np.zeros(2, np.float32)
    call(b.kernel(), np.ones(1, np.float32), y1)
    assert y1.tolist() == [2, 0]


def test_control_flow() -> None:
    b = Builder("collatz")
    x, out = b.buf("x", "i64"), b.buf("out", "i64", "w")
    with b.for_("i", 0, 6) as i:
        v, steps = b.reg("v", x[i]), b.reg("steps", 0)
        with b.while_(v.get() > 1):
            with b.if_((v.get() % 2).eq(0)):
                v.set(v.get() // 2)
            with b.else_():
                v.set(v.get() * 3 + 1)
            steps.set(steps.get() + 1)
        out[i] = steps.get()
    result = np.zeros(6, np.int64)
    call(b.kernel(), np.array([1, 2, 3, 6, 7, 27]), result)
    assert result.tolist() == [0, 1, 7, 8, 16, 111]


@pytest.mark.parametrize("wide", [True, False])
def test_a_failed_check_leaves_the_kernel(wide: bool) -> None:
    b = Builder("check")
    x, y = b.buf("x", "i64"), b.buf("y", "i64", "w")
    with b.vfor("i", 0, 20, 8) if wide else b.for_("i", 0, 20) as i:
        b.check(x[i] < 100, 5, x[i], i * 2)
        y[i] = x[i]
    y[30] = 1
    values, result = np.arange(20), np.zeros(31, np.int64)
    values[[13, 15]] = 500, 600
    assert call(b.kernel(), values, result) == [5, 500, 26, 0]
    assert result[30] == 0
    assert call(b.kernel(), np.arange(20), result) == [0, 0, 0, 0]
    assert result[30] == 1


def test_the_epilogue_runs_once_with_tid_minus_one() -> None:
    b = Builder("ends")
    out = b.buf("out", "i64", "rw")
    out[b.tid] = b.tid + 1
    with b.epilogue():
        out[5] = out[0] + out[1] + out[2] + b.tid * 100
    result = np.zeros(6, np.int64)
    call(b.kernel(), result, nt=3)
    assert result.tolist() == [1, 2, 3, 0, 0, 6 - 100]


def test_the_table_is_an_address_a_pointer_or_an_array() -> None:
    b = Builder("fill")
    y, n = b.buf("y", "i32", "w"), b.integer("n")
    y[0] = n.cast("i32")
    result, record = np.zeros(1, np.int32), np.zeros(4, np.int64)
    table = np.array([record.ctypes.data, 0, 77, result.ctypes.data])
    pointer = table.ctypes.data_as(ctypes.POINTER(ctypes.c_int64))
    for form in (table, pointer, ctypes.c_void_p(table.ctypes.data), table.ctypes.data):
        result[0] = 0
        interpret(b.kernel(), form, [3, 2], 0, 1)
        assert result[0] == 77


def test_an_empty_buffer_may_be_at_address_zero() -> None:
    b = Builder("nothing")
    n, x, y = b.integer("n"), b.buf("x", "f32"), b.buf("y", "f32", "w")
    with b.vfor("i", 0, n, 8) as i:
        y[i] = x[i]
    interpret(b.kernel(), np.array([0, 0, 0, 0]), [1, 2, 3], 0, 1)


def test_later_lanes_win() -> None:
    b = Builder("collide")
    y = b.buf("y", "i64", "w")
    with b.vfor("i", 0, 16, 8) as i:
        y[i // 16 + i % 2] = i
    result = np.zeros(2, np.int64)
    call(b.kernel(), result)
    assert result.tolist() == [14, 15]


def test_rounds_see_what_earlier_rounds_wrote() -> None:
    b = Builder("shift")
    y = b.buf("y", "i64", "rw")
    with b.vfor("i", 8, 32, 8) as i:
        y[i] = y[i - 8] + 1
    result = np.zeros(32, np.int64)
    call(b.kernel(), result)
    assert result.tolist() == [k // 8 for k in range(32)]


def test_values_are_taken_when_a_let_runs() -> None:
    kernel = parse("""\
kernel k(y: f32[rw]):
    reg acc: f32 x 4 = 1.0:f32
    vfor i in range(0, 8) by 4:
        let before: f32 = select(true, acc, 0.0:f32)
        acc = (acc + 1.0:f32)
        y[i] = before
""")
    y = np.zeros(8, np.float32)
    call(kernel, y)
    assert y.tolist() == [1] * 4 + [2] * 4


def test_index_arithmetic_wraps() -> None:
    b = Builder("wrap")
    n, y = b.integer("n"), b.buf("y", "i64", "w")
    y[0] = n * n * n
    result = np.zeros(1, np.int64)
    big = 3**25
    call(b.kernel(), big, result)
    assert result[0] == (big**3 + 2**63) % 2**64 - 2**63


@pytest.mark.parametrize("seed", range(200, 260))
def test_running_many_rounds_at_once_changes_nothing(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, inputs = random_kernel(seed)
    quick = run(kernel, inputs, interpret)
    monkeypatch.setattr(interp._Translator, "plain", lambda self, loop: False)
    interp._cache.clear()
    assert not differences(kernel, quick, run(kernel, inputs, interpret))
    interp._cache.clear()


def test_unexpanded_functions_are_refused() -> None:
    with pytest.raises(NotImplementedError, match="tanh of f32"):
        call(parse("kernel k(y: f32[rw]):\n    y[0] = tanh(y[0])\n"), np.zeros(1, np.float32))


def test_select_reads_both_sides_but_takes_one() -> None:
    b = Builder("sides")
    x, y = b.buf("x", "f64"), b.buf("y", "f64", "w")
    with b.vfor("i", 0, 4, 4) as i:
        y[i] = select(b.nt.eq(1), x[i], x[i] * 2) + select(i < 2, x[i], 0)
    result = np.zeros(4)
    call(b.kernel(), np.arange(4.0), result)
    assert result.tolist() == [0, 2, 2, 3]


@pytest.mark.parametrize(
    ("first", "message"), [(-1, r"x\[-1\]: it has 8"), (1, r"x\[8\]: it has 8"), (0, "")]
)
def test_accesses_are_checked_where_sizes_are_known(first: int, message: str) -> None:
    b = Builder("outside")
    x, y = b.buf("x", "f32"), b.buf("y", "f32", "w")
    with b.vfor("i", 0, 8, 4) as i:
        b.store(y, i * 100, x[i + first], i < 1)
    arrays = np.zeros(8, np.float32), np.zeros(1, np.float32)
    if message:
        with pytest.raises(IndexError, match=message):
            call(b.kernel(), *arrays)
    else:
        call(b.kernel(), *arrays)


@pytest.mark.parametrize("at", [-1, 4])
def test_scratch_is_checked(at: int) -> None:
    b = Builder("outside")
    b.alloc("tmp", "i16", 4)[b.tid + at] = 1
    with pytest.raises(IndexError, match="tmp"):
        call(b.kernel())
