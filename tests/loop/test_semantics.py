"""What operations compute: against Python's exact arithmetic, NumPy and the definitions."""

from __future__ import annotations

import math
import random
import struct
from fractions import Fraction

import numpy as np
import pytest
from tests.loop.fuzz import values

from flambeau.loop import semantics
from flambeau.loop.semantics import function

f32, f64 = np.float32, np.float64
EDGES = [
    0.0,
    -0.0,
    1.0,
    -1.5,
    2.5,
    -2.5,
    3.5,
    math.inf,
    -math.inf,
    math.nan,
    1e-310,
    2.0**63,
    -(2.0**63),
    1e20,
    0.5,
]


@pytest.fixture(autouse=True)
def quiet():
    with np.errstate(all="ignore"):
        yield


def compute(op: str, type: str, *args: object, source: str = "") -> object:
    return function(op, type, source or type)(*args)


def nearest(exact: Fraction, mantissa: int, least: int) -> Fraction:
    """Rounded to nearest even with so many bits and no unit below 2**least."""
    if exact == 0:
        return exact
    size = abs(exact)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    exponent -= size < Fraction(2) ** exponent
    unit = Fraction(2) ** max(exponent - mantissa + 1, least)
    return round(exact / unit) * unit


@pytest.mark.parametrize(("type", "mantissa", "least"), [("f32", 24, -149), ("f64", 53, -1074)])
def test_fma_rounds_once(type: str, mantissa: int, least: int) -> None:
    rng = random.Random(1)
    dtype = semantics.DTYPE[type].type
    a, b, c = (np.array([rng.gauss(0, 1) for _ in range(3000)], dtype) for _ in range(3))
    near = -(a[:1500] * b[:1500])  # cancels: only the product's low bits are left
    c[:1500] = near * np.array([rng.choice((1, 1, 1 + 2**-20, 2**-23, 2**30)) for _ in near], dtype)
    a[2000:2500] *= dtype(2.0 ** (least // 2))
    b[2000:2500] *= dtype(2.0 ** (least // 2))
    c[2000:2500] *= dtype(2.0 ** (least + 3))
    got = compute("fma", type, a, b, c)
    assert got.dtype == dtype
    for x, y, z, r in zip(a, b, c, got):
        assert nearest(
            Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z)), mantissa, least
        ) == Fraction(float(r))
    assert (a * b + c != got).any()
    assert compute("fma", type, a[3], b[3], c[3]) == got[3]


@pytest.mark.parametrize(("type", "mantissa", "least"), [("f32", 24, -149), ("f64", 53, -1074)])
@pytest.mark.parametrize("small", [False, True])
def test_fma_of_what_lies_half_way(type: str, mantissa: int, least: int, small: bool) -> None:
    """A product half-way between two numbers, alone and a little above and below; small: they have few bits."""
    rng, dtype, found = random.Random(small), semantics.DTYPE[type].type, 0
    little = (0.0,) if small else (0.0, 2.0 ** (least + 3), -(2.0 ** (least + 3)))
    for _ in range(1000):
        x, y = (rng.randrange(1, 1 << 3 if small else 1 << mantissa // 2 + 1, 2) for _ in range(2))
        if not small and (x * y).bit_length() != mantissa + 1:
            continue
        found += 1
        a, b = (
            (dtype(x * 2.0 ** (least // 2)), dtype(y * 2.0 ** (least - 1 - least // 2)))
            if small
            else (dtype(x), dtype(y))
        )
        for c in little:
            exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(c)
            want = nearest(exact, mantissa, least)
            assert Fraction(float(compute("fma", type, a, b, dtype(c)))) == want != exact, (x, y, c)
    assert found > 100


def test_fma_of_extremes() -> None:
    for type in ("f32", "f64"):
        dtype = semantics.DTYPE[type].type
        for x in EDGES:
            for y in EDGES:
                for z in EDGES:
                    a, b, c = dtype(x), dtype(y), dtype(z)
                    got = compute("fma", type, a, b, c)
                    if not (np.isfinite(a) and np.isfinite(b) and np.isfinite(c)):
                        assert np.array_equal(got, dtype(f64(a) * f64(b) + f64(c)), equal_nan=True)
                    elif a == 0 or b == 0:
                        assert struct.pack("d", got) == struct.pack("d", a * b + c)


def test_fma_of_many_doubles_is_the_librarys() -> None:
    rng = np.random.default_rng(6)
    library = np.frompyfunc(semantics._library_fma(), 3, 1)
    for spread in (0, 3, 40, 300, 1000):
        a, b, c = (
            rng.standard_normal(20_000) * 2.0 ** rng.integers(-spread, spread + 1, 20_000) for _ in range(3)
        )
        c[:5000] = -a[:5000] * b[:5000]
        c[5000:10_000] = a[5000:10_000] * b[5000:10_000] * 2.0 ** rng.integers(-110, 110, 5000)
        c[::7], a[::11], c[::13] = 0.0, EDGES[rng.integers(len(EDGES))], np.inf
        got, want = semantics.fma_f64(a, b, c), library(a, b, c).astype(np.float64)
        assert ((got.view(np.int64) == want.view(np.int64)) | (np.isnan(got) & np.isnan(want))).all()


def test_the_fallback_of_fma_is_the_librarys() -> None:
    rng = random.Random(2)
    numbers = [
        *EDGES,
        *(rng.gauss(0, 1) * 2.0 ** rng.choice((0, 0, -600, -520, 511, 1000)) for _ in range(40)),
    ]
    library = semantics._library_fma()
    for _ in range(4000):
        a, b, c = (rng.choice(numbers) for _ in range(3))
        if rng.random() < 0.3 and math.isfinite(a * b):
            c = -a * b
        x, y = library(a, b, c), semantics.exact_fma(a, b, c)
        assert struct.pack("d", x) == struct.pack("d", y) or (x != x and y != y)


@pytest.mark.parametrize("type", ["f16", "bf16", "f32", "f64"])
def test_min_and_max(type: str) -> None:
    dtype = semantics.DTYPE[type].type
    zeros = np.array([0.0, -0.0, -0.0, 0.0], dtype), np.array([-0.0, 0.0, -0.0, 0.0], dtype)
    assert np.signbit(compute("min", type, *zeros)).tolist() == [True, True, True, False]
    assert np.signbit(compute("max", type, *zeros)).tolist() == [False, False, True, False]
    assert np.signbit(compute("min", type, dtype(0.0), dtype(-0.0)))
    nan = dtype("nan")
    for a, b in ((nan, dtype(1)), (dtype(1), nan), (np.array([nan]), dtype(-math.inf))):
        assert np.isnan(compute("min", type, a, b)) and np.isnan(compute("max", type, a, b))
    assert compute("min", type, dtype(2), dtype(-3)) == -3


@pytest.mark.parametrize("type", ["i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64"])
def test_integers(type: str) -> None:
    rng = random.Random(3)
    a, b = values(rng, type, 400), values(rng, type, 400)
    bits = 8 * a.itemsize
    dtype = a.dtype.type
    low = int(np.iinfo(dtype).min)

    def wrap(n: int) -> int:
        return (n - low) % 2**bits + low

    def divide(x: int, y: int) -> int:
        return 0 if y == 0 else abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)

    def back(n: int) -> int:
        return n if 0 <= n < bits else bits

    wanted = {
        "add": lambda x, y: x + y,
        "sub": lambda x, y: x - y,
        "mul": lambda x, y: x * y,
        "idiv": divide,
        "irem": lambda x, y: x - y * divide(x, y),
        "shl": lambda x, y: x << back(y),
        "shr": lambda x, y: x >> back(y),
        "min": min,
        "max": max,
        "xor": lambda x, y: x ^ y,
    }
    for name, formula in wanted.items():
        want = [wrap(formula(x, y)) for x, y in zip(a.tolist(), b.tolist())]
        got = compute(name, type, a, b)
        assert got.dtype == a.dtype and got.tolist() == want, name
        for k in range(0, 400, 37):
            scalar = compute(name, type, a[k], b[k])
            assert scalar.dtype == a.dtype and scalar == want[k], name
    assert compute("neg", type, a).tolist() == [wrap(-x) for x in a.tolist()]
    assert compute("not", type, a).tolist() == [wrap(~x) for x in a.tolist()]
    assert compute("abs", type, a).tolist() == [wrap(abs(x)) for x in a.tolist()]
    assert compute("sign", type, a).tolist() == [(x > 0) - (x < 0) for x in a.tolist()]


def test_division_of_extremes() -> None:
    for type in ("i8", "i32", "i64"):
        least = np.iinfo(semantics.DTYPE[type]).min
        a, b = (semantics.DTYPE[type].type(v) for v in (least, -1))
        assert compute("idiv", type, a, b) == least and compute("irem", type, a, b) == 0
        assert compute("idiv", type, a, b * 0) == 0 and compute("irem", type, a, b * 0) == least


@pytest.mark.parametrize("type", ["i8", "i32", "i64", "u8", "u32", "u64", "b1"])
def test_floats_to_integers_saturate_to_i64_then_wrap(type: str) -> None:
    x = np.array([*EDGES, 255.9, -255.9, 2.0**31, 2.0**32 + 7, 1e10, -1e300, 2.0**62])
    got = compute("cast", type, x, source="f64")
    for v, r in zip(x.tolist(), got.tolist()):
        if type == "b1":
            assert r == (v != 0)
            continue
        whole = (
            0
            if v != v
            else min(max(math.trunc(v) if math.isfinite(v) else math.copysign(2**64, v), -(2**63)), 2**63 - 1)
        )
        assert r == int(np.array(int(whole)).astype(semantics.DTYPE[type])), v
        assert compute("cast", type, f64(v), source="f64") == r


def test_casts_to_halves_go_through_f32() -> None:
    tie = 1 + 2.0**-11 + 2.0**-40  # above the tie of f16 as f64, on the tie as f32
    assert compute("cast", "f16", f64(tie), source="f64") == 1
    tie = 1 + 2.0**-8 + 2.0**-40
    assert compute("cast", "bf16", f64(tie), source="f64") == 1
    assert compute("cast", "bf16", f32(1 + 2.0**-8 + 2.0**-20), source="f32") == 1 + 2.0**-7
    assert np.isinf(compute("cast", "f16", f32(65520), source="f32"))
    assert compute("cast", "f16", f32(65519), source="f32") == 65504
    assert np.isinf(compute("cast", "bf16", f32(3.4e38), source="f32"))
    assert np.isnan(compute("cast", "bf16", f32("nan"), source="f32"))
    assert semantics.constant("bf16", 0.1) == f32(0.10009765625)
    assert semantics.constant("f16", 1e6) == f32("inf")


def test_sixteen_bit_arithmetic_rounds_each_result() -> None:
    assert compute("add", "bf16", f32(256), f32(1)) == 256
    assert compute("add", "f16", f32(2048), f32(1)) == 2048
    assert compute("mul", "f16", f32(255), f32(258)) == np.inf
    x = values(random.Random(4), "f16", 300)
    y = values(random.Random(5), "f16", 300)
    for name, plain in (("add", np.add), ("mul", np.multiply), ("div", np.divide), ("sub", np.subtract)):
        assert np.array_equal(
            compute(name, "f16", x.astype(f32), y.astype(f32)), plain(x, y).astype(f32), equal_nan=True
        )


@pytest.mark.parametrize(
    ("source", "type"),
    [("f32", "i32"), ("f64", "u64"), ("bf16", "i16"), ("f16", "u16"), ("bf16", "f16"), ("i8", "u8")],
)
def test_bitcast_there_and_back(source: str, type: str) -> None:
    x = (
        np.array([0, 1, 2, 3, -1, 5], semantics.DTYPE[source])
        if source[0] in "iu"
        else np.array([0.0, -0.0, 1.5, -2, 64, 0.25], semantics.DTYPE[source])
    )
    y = compute("bitcast", type, x, source=source)
    assert y.dtype == semantics.DTYPE[type]
    back = compute("bitcast", source, y, source=type)
    assert back.tobytes() == x.tobytes()
    assert compute("bitcast", type, x[3], source=source) == y[3]
    if source == "bf16" and type == "i16":
        assert y.tolist()[2] == 0x3FC0


def test_rounding_functions_and_sign() -> None:
    x = np.array([-2.5, -0.5, 0.5, 1.5, 2.5, -0.0, math.inf], f32)
    assert compute("rint", "f32", x).tolist() == [-2, 0, 0, 2, 2, 0, math.inf]
    assert np.signbit(compute("rint", "f32", x))[1] and np.signbit(compute("ceil", "f32", x))[1]
    assert compute("trunc", "f32", x).tolist()[:4] == [-2, 0, 0, 1]
    signs = compute("sign", "f32", np.array([-0.0, -3, 4, math.nan], f32))
    assert signs.tolist()[:3] == [0, -1, 1] and np.isnan(signs[3]) and not np.signbit(signs[0])


def test_ldexp_rounds_once() -> None:
    x = f32(1 + 2.0**-23)
    assert compute("ldexp", "f32", x, np.int32(-149)) == f32(2.0**-149)
    assert compute("ldexp", "f32", f32(1.5), np.int32(-150)) == f32(2.0**-149)
    assert compute("ldexp", "f32", f32(1.0), np.int32(-150)) == 0
    assert compute("ldexp", "f64", f64(1.0), np.int32(5000)) == np.inf


def test_the_smaller_halves_of_words() -> None:
    a, b = np.array([0x00058000, -1], np.int32), np.array([-0x00010001, 0x7FFF7FFF], np.int32)
    assert compute("min2", "i32", a, b).tolist() == [-0x00010000 + 0x8000 - 0x10000, -1]
    assert compute("min2", "i32", np.int32(0x00050006), np.int32(0x00060005)) == 0x00050005


def test_a_tree_adds_halves() -> None:
    lanes = np.array([1, 1e8, -1e8, 1, 3, 4, 5, 6], f32)
    want = ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]))
    assert semantics.tree(lanes, np.add) == want


def test_an_unexpanded_function_is_an_error() -> None:
    with pytest.raises(NotImplementedError, match="exp of f32"):
        function("exp", "f32", "f32")
