"""Every operation on every type against NumPy, and the same bits from the code of every target."""

from __future__ import annotations

import warnings

import codegen_native as native
import numpy as np
import pytest

from flambeau.loop import ir, spec
from flambeau.loop.build import Builder, op

FLOAT_VALUES = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    1.5,
    2.5,
    -2.5,
    3.75,
    100.25,
    -7.0,
    65504.0,
    65520.0,
    1e-5,
    6e-8,
    2e-8,
]
FLOAT_VALUES += [
    1e-40,
    -3e-39,
    3.4e38,
    -3.4e38,
    2.0**31,
    -(2.0**31),
    2.0**32 + 512,
    2.0**62,
    2.0**63,
    -(2.0**63),
]
FLOAT_VALUES += [
    -(2.0**70),
    2.0**70,
    123456792.0,
    -4294967808.0,
    np.inf,
    -np.inf,
    np.nan,
    0.1,
    1 / 3,
    1e10,
    -1e19,
]
N = 333  # full vectors, then a masked round
UNARY = [n for n in ir.UNARY if n not in ("cast", "bitcast")]
BINARY = [*ir.BINARY, *ir.COMPARE]


def values(type: str, seed: int) -> np.ndarray:
    """N values of a type: special ones in pairs of all kinds, then random ones."""
    rng = np.random.default_rng(seed)
    if type == "b1":
        return rng.integers(0, 2, N).astype(bool)
    if type in ir.FLOATS:
        special = rng.permutation(np.array(FLOAT_VALUES * 4))
        wide = np.concatenate([special, rng.standard_normal(N) * 10.0 ** rng.integers(-6, 6, N)])[:N]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return native.to_bf16(wide.astype("f")) if type == "bf16" else wide.astype(native.NUMPY[type])
    info = np.iinfo(native.NUMPY[type])
    special = rng.permutation(
        np.array([0, 1, 2, 3, 5, 7, 31, 32, 33, info.max, info.min, info.max - 1, info.min // 2] * 4)
    )
    if type in ir.SIGNED:
        special[:26] = rng.permutation(np.array([-1, -2, -7, info.min, 0] * 6))[:26]
    return np.concatenate(
        [special.astype(native.NUMPY[type]), rng.integers(info.min, info.max, N, native.NUMPY[type], True)]
    )[:N]


def widened(type: str, x: np.ndarray) -> np.ndarray:
    """The values as NumPy computes with them: f32 for the 16-bit floats."""
    return native.from_bf16(x) if type == "bf16" else x.astype(np.float32) if type == "f16" else x


def narrowed(type: str, x: np.ndarray) -> np.ndarray:
    if type == "bf16":
        return native.to_bf16(x.astype(np.float32))
    return x.astype(native.NUMPY[type])


def same(type: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Where the bits agree, any NaN being equal to any other."""
    if type not in ir.FLOATS:
        return a == b
    x, y = widened(type, a), widened(type, b)
    bits = f"u{a.itemsize}"
    return (a.view(bits) == b.view(bits)) | (np.isnan(x) & np.isnan(y))


def reference(name: str, type: str, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """What the definition in loop/ir.py says, by NumPy."""
    x, y = widened(type, a), widened(type, b)
    floating = type in ir.FLOATS
    bits = 8 * a.itemsize
    if name in ("idiv", "irem"):
        p, q = x.astype(object), np.where(y == 0, 1, y).astype(object)
        whole = abs(p) // abs(q) * np.where((p < 0) == (q < 0), 1, -1)
        result = np.where(y == 0, 0, whole) if name == "idiv" else np.where(y == 0, p, p - whole * q)
        return (result & (2**bits - 1)).astype(f"u{a.itemsize}").view(a.dtype)
    if name in ("shl", "shr"):
        p, q = x.astype(object), y.astype(object)
        count = np.where((q < 0) | (q >= bits), bits, q)
        result = p << count if name == "shl" else p >> count
        return (result & (2**bits - 1)).astype(f"u{a.itemsize}").view(a.dtype)
    if name in ("min", "max") and floating:
        pick = np.minimum if name == "min" else np.maximum
        zero = (x == 0) & (y == 0)
        negative = np.signbit(x) | np.signbit(y) if name == "min" else np.signbit(x) & np.signbit(y)
        return narrowed(
            type, np.where(zero, np.where(negative, x.dtype.type(-0.0), x.dtype.type(0)), pick(x, y))
        )
    simple = {
        "neg": np.negative, "abs": np.abs, "not": np.logical_not if type == "b1" else np.invert, "sqrt": np.sqrt,
        "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "rint": np.rint, "add": np.add, "sub": np.subtract,
        "mul": np.multiply, "div": np.divide, "min": np.minimum, "max": np.maximum, "and": np.bitwise_and,
        "or": np.bitwise_or, "xor": np.bitwise_xor, "copysign": np.copysign, "lt": np.less, "le": np.less_equal,
        "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal,
    }  # fmt: skip
    if name == "sign":
        return narrowed(type, np.where(np.isnan(x), x, np.sign(x)) if floating else np.sign(x))
    if name == "min2":
        return np.minimum(x.copy().view(np.int16), y.copy().view(np.int16)).view(np.int32)
    if name == "ldexp":
        return narrowed(type, np.ldexp(x, c))
    result = simple[name](x, y) if name in BINARY else simple[name](x)
    return result if name in ir.COMPARE else narrowed(type, result)


def operations_kernel(type: str) -> tuple[ir.Kernel, list[tuple[str, str]]]:
    """One kernel with all operations of a type, each into its own buffer; (operation, type of the result)."""
    builder = Builder(f"operations_{type}")
    n = builder.integer("n")
    a, b, c = builder.buf("a", type), builder.buf("b", type), builder.buf("c", "i32")
    names = [name for name in [*UNARY, *BINARY] if type in spec.OPS[name].types]
    outs = [(name, "b1" if name in ir.COMPARE else type) for name in names]
    buffers = [builder.buf(f"out_{name}", t, "w") for name, t in outs]
    with builder.vfor("i", 0, n, 16) as i:
        for (name, _), out in zip(outs, buffers, strict=True):
            args = [a[i]] if name in UNARY else [a[i], c[i] if name == "ldexp" else b[i]]
            builder.store(out, i, op(name, *args))
    return builder.kernel(), outs


@pytest.mark.parametrize("type", ir.TYPES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_operations(type: str) -> None:
    kernel, outs = operations_kernel(type)
    a, b = values(type, 1), values(type, 2)
    exponents = np.random.default_rng(3).integers(-320, 320, N).astype(np.int32)
    exponents[:8] = [-(2**31), 2**31 - 1, 2200, -2200, 150, -150, 1000, -1074]
    for on in native.runnable():
        results = [np.zeros(N, native.NUMPY[t]) for _, t in outs]
        assert native.run(kernel, N, a, b, exponents, *results, on=on)[0] == 0
        for (name, t), got in zip(outs, results, strict=True):
            want = reference(name, type, a, b, exponents if name == "ldexp" else b)
            bad = ~same(t, got, want)
            where = np.flatnonzero(bad)[:4]
            assert not bad.any(), (
                f"{on}: {name} {type}: {a[where]}, {b[where]}, {exponents[where]}: {got[where]}, not {want[where]}"
            )


def cast_reference(source: str, type: str, a: np.ndarray) -> np.ndarray:
    if type == "b1":
        return widened(source, a) != 0
    if source not in ir.FLOATS or (type in ("f32", "f64") and source != type):
        x = widened(source, a)
        return narrowed(type, x.astype(np.float32) if type in ("f16", "bf16") else x)
    if type in ir.FLOATS:
        return a if source == type else narrowed(type, widened(source, a).astype(np.float32))
    x = [float(v) for v in widened(source, a)]
    whole = [0 if v != v else int(min(max(v, -(2.0**63)), 2.0**63)) for v in x]
    bits = 8 * ir.SIZE[type]
    wrapped = np.array([min(v, 2**63 - 1) & (2**bits - 1) for v in whole], dtype=f"u{ir.SIZE[type]}")
    return wrapped.view(native.NUMPY[type])


@pytest.mark.parametrize("source", ir.TYPES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_casts(source: str) -> None:
    builder = Builder(f"casts_{source}")
    n, a = builder.integer("n"), builder.buf("a", source)
    outs = [builder.buf(f"out_{type}", type, "w") for type in ir.TYPES]
    ones = [builder.buf(f"one_{type}", type, "w") for type in ir.TYPES]
    with builder.vfor("i", 0, n, 16) as i:
        for type, out in zip(ir.TYPES, outs, strict=True):
            builder.store(out, i, a[i].cast(type))
    with builder.for_("j", 0, n) as j:
        for type, out in zip(ir.TYPES, ones, strict=True):
            builder.store(out, j, a[j].cast(type))
    x = values(source, 5)
    for on in native.runnable():
        results = [np.zeros(N, native.NUMPY[type]) for type in ir.TYPES * 2]
        native.run(builder.kernel(), N, x, *results, on=on)
        for type, got in zip(ir.TYPES * 2, results, strict=True):
            want = cast_reference(source, type, x)
            bad = ~same(type, got, want)
            where = np.flatnonzero(bad)[:4]
            assert not bad.any(), f"{on}: {source} -> {type}: {x[where]}: {got[where]}, not {want[where]}"


def exact_fma(type: str, a: float, b: float, c: float) -> float:
    """a * b + c rounded once, by exact rational arithmetic."""
    from fractions import Fraction

    if not all(map(np.isfinite, (a, b, c))) or 0 in (a, b):
        return a * b + c
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:
        return a * b + c if c == 0 else 0.0
    if type == "f64":
        try:
            return float(exact)
        except OverflowError:
            return float("inf") if exact > 0 else float("-inf")
    sign, exact = (-1, -exact) if exact < 0 else (1, exact)
    exponent = max(len(bin(exact.numerator)) - len(bin(exact.denominator)) - 25, -149)
    while exact / Fraction(2) ** exponent >= 2**24:
        exponent += 1
    scaled = exact / Fraction(2) ** exponent
    if scaled < 2**23 and exponent > -149:
        exponent -= 1
        scaled *= 2
    return float(sign * round(scaled) * Fraction(2) ** exponent) if exponent < 105 else sign * float("inf")


@pytest.mark.parametrize("type", ["f32", "f64"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_fma_is_rounded_once_on_every_target(type: str) -> None:
    rng = np.random.default_rng(4)
    n, dtype = 3000, native.NUMPY[type]
    bits = f"u{np.dtype(dtype).itemsize}"
    x, y, z = (rng.integers(0, np.iinfo(bits).max, n, bits, True).view(dtype) for _ in range(3))
    near = rng.integers(-60, 60, n // 2)
    x[: n // 2] = rng.standard_normal(n // 2) * 2.0**near
    y[: n // 2] = rng.standard_normal(n // 2)
    z[: n // 2] = (
        -x[: n // 2] * y[: n // 2] * 2.0 ** rng.integers(-80, 80, n // 2) * rng.choice([1, -1], n // 2)
    )
    z[: n // 4] = -x[: n // 4] * y[: n // 4]
    with np.errstate(all="ignore"):
        tiny = slice(n // 2, n // 2 + 400)
        x[tiny] = rng.standard_normal(400) * np.finfo(dtype).tiny * 8
        y[tiny] = rng.standard_normal(400)
        z[tiny] = rng.standard_normal(400) * np.finfo(dtype).tiny
    x[-9:], y[-9:], z[-9:] = (
        [np.inf, 0, 1e-30, 0, -0.0, 1, 2, np.nan, 3],
        [0, -0.0, -1e-300, 3, 3, -1, 2, 1, 5],
        [1, 0, 0, -0.0, 0, 1, np.inf, 2, -15],
    )
    builder = Builder(f"fma_{type}")
    a, b, c, out = (builder.buf(k, type, "r" if k != "out" else "w") for k in ("a", "b", "c", "out"))
    with builder.vfor("i", 0, n, 16) as i:
        builder.store(out, i, op("fma", a[i], b[i], c[i]))
    want = np.array([exact_fma(type, *map(float, v)) for v in zip(x, y, z, strict=True)]).astype(dtype)
    for on in native.runnable():
        got = np.zeros(n, dtype)
        native.run(builder.kernel(), x, y, z, got, on=on)
        bad = ~same(type, got, want)
        where = np.flatnonzero(bad)[:4]
        assert not bad.any(), f"{on}: {x[where]} {y[where]} {z[where]}: {got[where]}, not {want[where]}"


@pytest.mark.parametrize("type", ["i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64"])
def test_division_next_to_whole_quotients(type: str) -> None:
    """Where a quotient that is computed in floats could be rounded to the next whole number."""
    rng = np.random.default_rng(9)
    info, n = np.iinfo(native.NUMPY[type]), 16 * 600
    high = min(info.max, 2**51 - 2)
    b = np.exp(rng.uniform(0, np.log(float(high)), n)).astype(np.int64)
    q = (high / b * rng.uniform(0, 1, n)).astype(np.int64)
    a = np.clip(q * b + rng.integers(-1, 2, n), 0, high)
    a[: n // 4] = high
    if info.min:
        a *= rng.choice([-1, 1], n)
        b *= rng.choice([-1, 1], n)
    x, y = a.astype(native.NUMPY[type]), b.astype(native.NUMPY[type])
    builder = Builder(f"divide_{type}")
    p, d = builder.buf("p", type), builder.buf("d", type)
    outs = [builder.buf(f"o{k}", type, "w") for k in range(4)]
    with builder.vfor("i", 0, n, 16) as i:
        for out, value in zip(outs, (p[i] // d[i], p[i] % d[i], p[i] // 7, p[i] % 100), strict=True):
            builder.store(out, i, value)
    for on in native.runnable():
        got = [np.zeros_like(x) for _ in outs]
        native.run(builder.kernel(), x, y, *got, on=on)
        for k, by in enumerate((y, y, np.full_like(x, 7), np.full_like(x, 100))):
            want = reference("irem" if k % 2 else "idiv", type, x, by, by)
            assert (got[k] == want).all(), f"{on}: {k}"


@pytest.mark.parametrize("lanes", [8, 16, 32, 64])
def test_one_lane_that_no_instruction_rounds(lanes: int) -> None:
    """To bfloat16, to the bit: numbers below the least normal one and NaNs of any bits among others, or alone."""
    rare = [1, 0x7FFFFF, 0x80000001, 0x807F8000, 0x00008000, 0x00018000, 0x7F800001, 0xFFC12345, 0x7FFFFFFF]
    usual = [
        0,
        0x80000000,
        0x7F800000,
        0xFF800000,
        0x00800000,
        0x7F7FFFFF,
        0x7F7F7FFF,
        0x3F808000,
        0x3F818000,
    ]
    bits = np.random.default_rng(6).integers(0x3F000000, 0x40000000, (1 + 18, lanes), np.uint32)
    bits[1 + np.arange(18), np.arange(18) % lanes] = rare + usual
    n = bits.size - 3  # the last vector is masked
    builder = Builder(f"round_{lanes}")
    a, out = builder.buf("a", "f32"), builder.buf("out", "bf16", "w")
    with builder.vfor("i", 0, n, lanes) as i:
        out[i] = a[i].cast("bf16")
    x = bits.reshape(-1)[:n].view(np.float32)
    for on in native.runnable():
        got = np.zeros(n, np.uint16)
        native.run(builder.kernel(), x, got, on=on)
        assert (got == native.to_bf16(x)).all(), f"{on}: {x[got != native.to_bf16(x)]}"
