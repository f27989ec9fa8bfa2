"""Products of bfloat16 by pairs: the bits of the product step by step, also where numbers become too small."""

from __future__ import annotations

import numpy as np
import pytest
from tests.loop.recipe_runner import WIDE, Machine, bits, elements, run

from flambeau.codegen import engine
from flambeau.codegen.target import Target
from flambeau.loop import semantics
from flambeau.loop.build import Builder, const, op
from flambeau.loop.recipes import planning
from flambeau.loop.recipes.pairs import Least
from flambeau.loop.recipes.planning import Plan, Strides

PAIRS, TINY = Machine(512, bf16=True), Machine(512, caches=(1 << 10, 8 << 10, 64 << 10), bf16=True)


def matrix(rng: np.random.Generator, rows: int, cols: int, how: str, scale: float) -> np.ndarray:
    """The bits of bfloat16 numbers, [1, rows, cols]; how: n, or t for transposed."""
    shape = (cols, rows) if how == "t" else (rows, cols)
    x = (rng.standard_normal(shape) * scale).astype(np.float32)
    found = (semantics.round_bf16(x).view(np.uint32) >> 16).astype(np.uint16)
    return (found.T if how == "t" else found)[None]


def product(a: np.ndarray, b: np.ndarray, on: Machine, interpreted: bool = False, **options: bool) -> bytes:
    """The bits of A B on a machine; threads are parts."""
    (_, m, k), n = a.shape, b.shape[2]
    c = np.zeros((1, m, n), np.uint16)
    strides = Strides(*elements(a), *elements(b), *elements(c))
    p: Plan = planning.plan(m, n, k, 1, strides, "bf16", on, 2, **options)
    assert p.spec.pairs == on.bf16
    work = np.full(p.work * p.parts + 64, 255, np.uint8)
    kernel = planning.build(p.spec)
    run(kernel, planning.args(kernel, p), {"a": a, "b": b, "c": c, "work": work}, p.parts, interpreted)
    return bits(c)


@pytest.mark.parametrize(
    ("m", "n", "k"), [(5, 16, 16), (13, 40, 18), (33, 70, 770), (150, 300, 1538), (64, 33, 50)]
)
@pytest.mark.parametrize("layout", ["nn", "nt", "tn", "tt"])
def test_bits(m: int, n: int, k: int, layout: str) -> None:
    rng = np.random.default_rng(m)
    for scale in (1.0, 1e-19, 1e-30):  # products of 1e-38 are about the least normal number
        a, b = matrix(rng, m, k, layout[0], scale), matrix(rng, k, n, layout[1], scale)
        want = product(a, b, WIDE)
        for on in (PAIRS, TINY):
            assert product(a, b, on) == want
        assert product(a, b, PAIRS, generic=True) == want


def test_four_rows_with_a_large_transposed_matrix() -> None:
    rng = np.random.default_rng(4)
    a, b = matrix(rng, 4, 800, "n", 1.0), matrix(rng, 800, 90, "t", 1.0)
    assert product(a, b, PAIRS) == product(a, b, WIDE)
    for m, n, way in ((3, 90, "t"), (4, 40, "t"), (4, 90, "n")):
        a, b = matrix(rng, m, 800, "n", 1.0), matrix(rng, 800, n, way, 1.0)
        strides = Strides(*elements(a), *elements(b), m * n, n, 1)
        assert not planning.plan(m, n, 800, 1, strides, "bf16", PAIRS).spec.pairs


def test_any_number_of_rows_with_a_large_matrix_has_one_of_two_kernels() -> None:
    def spec(m: int, n: int, on: Machine = PAIRS, dtype: str = "bf16") -> planning.Spec:
        strides = Strides(0, 1024, 1, 0, 1, 1024, 0, n, 1)
        return planning.plan(m, n, 1024, 1, strides, dtype, on, 2, generic=True).spec

    assert len({spec(m, 2048) for m in range(5, 257)}) == 2
    assert [spec(m, 2048).rows for m in (8, 14, 16, 28, 32, 257)] == [8, 14, 8, 14, 8, 14]
    assert {spec(m, 2047).rows for m in range(5, 257)} == {14}
    assert {spec(m, 2048, Machine(256), "f32").rows for m in range(5, 257)} == {6}
    rng = np.random.default_rng(5)
    a, b = matrix(rng, 9, 1024, "n", 1.0), matrix(rng, 1024, 2048, "t", 1.0)
    assert product(a, b, PAIRS, generic=True) == product(a, b, WIDE)


@pytest.mark.parametrize("subnormal", [False, True])
def test_an_instruction_that_takes_small_numbers_as_zero(
    subnormal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One small number among others is enough for the steps to be done apart; interpreted, so on any processor."""
    plain, calls = semantics.dot2, []

    def flushing(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
        calls.append(1)
        with np.errstate(all="ignore"):
            total = plain(a, b, c)
            return np.where(np.abs(total) < np.finfo(np.float32).tiny, np.float32(0), total).astype(
                np.float32
            )

    monkeypatch.setattr(semantics, "dot2", flushing)
    rng = np.random.default_rng(1)
    a, b = matrix(rng, 6, 20, "n", 1.0), matrix(rng, 20, 18, "n", 1e-3)
    assert product(a, b, PAIRS, interpreted=True) == product(a, b, WIDE) and calls
    calls.clear()
    if subnormal:
        a[0, 2], b[0, :, 5] = 0, 0x7E00  # the only factors of their row and column
        a[0, 2, 7] = 0x0003
    else:
        a[0, 2, 7], a[0, 2, :7], a[0, 2, 8:] = 0x1FC0, 0, 0
        b[0, :, 5] = 0x1FC0
    want = product(a, b, WIDE)
    assert np.frombuffer(want, np.uint16).reshape(6, 18)[2, 5] & 0x7FFF
    assert product(a, b, PAIRS, interpreted=True) == want and not calls


def test_the_least_exponent() -> None:
    """That of both halves of all words, whatever their signs; zeros do not count, and without others there is none."""
    b = Builder("least")
    words, found = b.buf("words", "f32"), b.buf("found", "i64", "w")
    least = Least(b)
    least.look(words, const("i64", 0), const("i64", 40))
    least.settle()
    found[0] = least.exponent.get()
    kernel, rng = b.kernel(), np.random.default_rng(3)
    for place in (None, 0, 1, 37, 78):
        for size in (1, 0x7F, 0x80, 0x81, 0x3F80, 0x7F80):
            halves = rng.choice([0, 0x8000, 0x7F80, 0xFF80], 80).astype(np.uint16)
            halves[:] = halves if place is not None else halves & 0x8000
            if place is not None:
                halves[place] = size | rng.choice([0, 0x8000])
            sizes = halves[(halves & 0x7FFF) > 0].astype(int) & 0x7FFF
            want = (sizes.min() - 1) >> 7 if len(sizes) else 255
            for interpreted in (False, True):
                out = np.zeros(1, np.int64)
                run(
                    kernel,
                    [("words", None), ("found", None)],
                    {"words": halves, "found": out},
                    1,
                    interpreted,
                )
                assert out[0] == want


def test_odd_steps_and_strides_are_taken_one_by_one() -> None:
    rng = np.random.default_rng(2)
    for k, m in ((51, 20), (50, 3), (10, 20)):
        a, b = matrix(rng, m, k, "n", 1.0), matrix(rng, k, 32, "n", 1.0)
        strides = Strides(*elements(a), *elements(b), m * 32, 32, 1)
        assert not planning.plan(m, 32, k, 1, strides, "bf16", PAIRS).spec.pairs
    odd = Strides(0, 51, 1, 0, 32, 1, 0, 32, 1)
    assert not planning.plan(20, 32, 50, 1, odd, "bf16", PAIRS).spec.pairs


def test_the_instruction_is_used_where_there_is_one() -> None:
    b = Builder("two")
    x, y, z = b.buf("x", "f32"), b.buf("y", "f32"), b.buf("z", "f32", "rw")
    with b.vfor("i", 0, 32, 32, full=True) as i:
        z[i] = op("dot2", x[i], y[i], z[i])
    features = "+avx2,+fma,+f16c,+avx512f,+avx512vl,+avx512bw,+avx512dq,+avx512bf16"
    kernel, has = b.kernel(), frozenset(name[1:] for name in features.split(","))
    text = engine.emit(
        [kernel], Target("new", "x86_64-unknown-linux-gnu", "x86-64-v4", features, has), "assembly"
    )
    assert str(text).count("vdpbf16ps") == 2
    old = Target("old", "x86_64-unknown-linux-gnu", "x86-64-v4", "", has - {"avx512bf16"})
    text = str(engine.emit([kernel], old, "assembly"))
    assert "vdpbf16ps" not in text and text.count("vfmadd") >= 4
