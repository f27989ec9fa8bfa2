"""Every mathematical function against an extended-precision reference, compiled for this machine."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import special

from flambeau.codegen import engine
from flambeau.codegen.math import expand
from flambeau.loop.build import Builder, op
from flambeau.loop.interp import interpret
from flambeau.loop.ir import Kernel

Array = np.ndarray
NUMPY = {"f32": np.float32, "f64": np.float64}
Long = np.longdouble


def kernel(name: str, dtype: str, arity: int) -> Kernel:
    """out[i] = name(x0[i], ...)."""
    b = Builder(f"{name}_{dtype}")
    n = b.integer("n")
    xs = [b.buf(f"x{k}", dtype) for k in range(arity)]
    out = b.buf("out", dtype, "w")
    with b.vfor("i", 0, n, 16 if dtype == "f32" else 8) as i:
        out[i] = op(name, *(x[i] for x in xs))
    return b.kernel()


def call(address: int, n: int, arrays: list[Array]) -> None:
    error = np.zeros(4, np.int64)
    table = np.array([error.ctypes.data, n, *(a.ctypes.data for a in arrays)], np.int64)
    where = np.arange(1, len(table), dtype=np.int32)
    native = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    native(address)(table.ctypes.data, where.ctypes.data, 0, 1)


def evaluate(name: str, dtype: str, *xs: Array) -> Array:
    """The function on arrays, by the machine."""
    xs = tuple(np.ascontiguousarray(x, NUMPY[dtype]) for x in np.broadcast_arrays(*xs))
    out = np.empty_like(xs[0])
    call(engine.compile_kernels([kernel(name, dtype, len(xs))])[0], out.size, [*xs, out])
    return out


def ulps(got: Array, reference: Array) -> Array:
    """|got - reference| in units of the last place of the reference; inf where only one is finite or NaN."""
    bits, least = (24, -149) if got.dtype == np.float32 else (53, -1074)
    reference = np.asarray(reference, Long)
    with np.errstate(all="ignore"):
        rounded = reference.astype(got.dtype)
        unit = np.ldexp(Long(1), np.maximum(np.frexp(reference)[1] - bits, least))
        distance = (np.abs(got.astype(Long) - reference) / unit).astype(np.float64)
    same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    near = np.isinf(rounded) & (np.abs(got) == np.finfo(got.dtype).max) & np.isfinite(reference)
    finite = np.isfinite(got) & np.isfinite(rounded)
    return np.where(finite, distance, np.where(same, 0.0, np.where(near, 1.0, np.inf)))


EDGES = [
    0.0,
    -0.0,
    np.inf,
    -np.inf,
    np.nan,
    1.0,
    -1.0,
    0.5,
    -0.5,
    0.55,
    2.0,
    3.92,
    709.78,
    709.79,
    -745.13,
    -745.14,
]
EDGES += [88.72283, 88.72284, -103.97, -103.98, 1e-5, -1e-5, 1.0000001, 0.9999999, -0.9999999]


def points(dtype: str, low: float, high: float, n: int = 20000) -> Array:
    """Every exponent, a range, its neighbourhood of zero, and the edges."""
    rng = np.random.default_rng(7)
    word = np.uint32 if dtype == "f32" else np.uint64
    every = rng.integers(0, np.iinfo(word).max, n, dtype=word, endpoint=True).view(NUMPY[dtype])
    tiny = np.finfo(NUMPY[dtype])
    limits = [tiny.tiny, tiny.smallest_subnormal, tiny.max, -tiny.max, np.nextafter(NUMPY[dtype](1), 2)]
    mixed = [rng.uniform(low, high, n), rng.normal(0, 1, n), np.array(EDGES + limits)]
    return np.concatenate([every, *(m.astype(NUMPY[dtype]) for m in mixed)])


def sigmoid(x: Array) -> Array:
    return np.where(x < 0, np.exp(x) / (1 + np.exp(x)), 1 / (1 + np.exp(-x)))


# name: reference, range, largest error in ulp (f32, f64) over every exponent
FUNCTIONS: dict[str, tuple[Callable[..., Array], tuple[float, float], tuple[float, float]]] = {
    "exp": (np.exp, (-110, 90), (1.1, 1.0)),
    "exp2": (np.exp2, (-150, 130), (1.0, 1.0)),
    "expm1": (np.expm1, (-20, 90), (1.5, 1.7)),
    "log": (np.log, (0.5, 1.5), (1.0, 1.0)),
    "log2": (np.log2, (0.5, 1.5), (0.51, 0.51)),
    "log10": (np.log10, (0.5, 1.5), (0.51, 0.51)),
    "log1p": (np.log1p, (-1, 1), (1.0, 1.0)),
    "tanh": (np.tanh, (-10, 10), (1.5, 1.5)),
    "sigmoid": (sigmoid, (-104, 90), (1.9, 1.9)),
    "sinh": (np.sinh, (-90, 90), (0.51, 1.7)),
    "cosh": (np.cosh, (-90, 90), (0.51, 1.5)),
    "asin": (np.arcsin, (-1, 1), (0.51, 1.5)),
    "acos": (np.arccos, (-1, 1), (0.51, 1.0)),
    "atan": (np.arctan, (-3, 3), (0.51, 1.9)),
    "asinh": (np.arcsinh, (-3, 3), (0.51, 1.5)),
    "acosh": (np.arccosh, (1, 5), (0.51, 1.0)),
    "atanh": (np.arctanh, (-1, 1), (0.51, 1.0)),
}


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_accuracy(name: str, dtype: str) -> None:
    reference, (low, high), bounds = FUNCTIONS[name]
    x = points(dtype, low, high)
    with np.errstate(all="ignore"):
        expected = reference(x.astype(Long))
    got = evaluate(name, dtype, x)
    distance = ulps(got, expected)
    worst = int(np.argmax(distance))
    assert distance[worst] <= bounds[dtype == "f64"], (x[worst], got[worst], expected[worst])
    zero = (got == 0) & (expected == 0)
    assert (np.signbit(got[zero]) == np.signbit(expected[zero])).all()


def test_circular() -> None:
    rng = np.random.default_rng(3)
    sizes = {"f32": (3.0, 1e4, 1e9, 1e20, 3e38), "f64": (3.0, 1e4, 1e9, 1e18)}
    for name in ("sin", "cos", "tan"):
        for dtype in ("f32", "f64"):
            parts = [rng.uniform(-size, size, 20000) for size in sizes[dtype]] + [[0.0, -0.0, np.inf, np.nan]]
            x = np.concatenate(parts).astype(NUMPY[dtype])
            with np.errstate(all="ignore"):
                distance = ulps(evaluate(name, dtype, x), getattr(np, name)(x.astype(Long)))
            assert distance.max() <= 1.9, (name, dtype, x[np.argmax(distance)], distance.max())
    assert np.signbit(evaluate("sin", "f32", np.float32(-0.0)))


@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_multiples_of_a_right_angle(name: str) -> None:
    """Next to the zeros and poles, on both sides of the size from which on an angle is reduced at more cost; what an
    element gives does not depend on its neighbours, of which some are as large."""
    n = np.concatenate([np.arange(-4000, 4000), np.arange(636_000, 637_200)])
    near = (n * (Long(np.pi) + Long(1.2246467991473532e-16)) / 2).astype(np.float64)
    x = np.concatenate([near, np.nextafter(near, np.inf), [1e6, np.nextafter(1e6, 2e6), -1e6, 5e-324, -0.0]])
    got = evaluate(name, "f64", x)
    assert ulps(got, getattr(np, name)(x.astype(Long))).max() <= (1.9 if name == "tan" else 0.8)
    among = np.stack([x, np.full_like(x, 1e200)], 1).reshape(-1)
    assert evaluate(name, "f64", among)[::2].tobytes() == got.tobytes()


SPECIAL = {
    "erf": (special.erf, np.linspace(-7, 7, 3001)),
    "erfc": (special.erfc, np.linspace(-7, 26, 3001)),
    "ndtr": (special.ndtr, np.linspace(-13, 9, 3001)),
    "erfinv": (special.erfinv, np.linspace(-1, 1, 3001)),
    "ndtri": (special.ndtri, np.concatenate([np.linspace(0, 1, 1001), 10.0 ** np.arange(-300, -1)])),
    "lgamma": (special.gammaln, np.concatenate([np.linspace(0.01, 30, 3000), 10.0 ** np.arange(2, 300)])),
    "digamma": (special.digamma, np.linspace(1.6, 30, 3000)),
    "trigamma": (lambda x: special.polygamma(1, x), np.linspace(0.01, 30, 3000)),
    "i0": (special.i0, np.linspace(-100, 100, 3001)),
    "i0e": (special.i0e, np.linspace(-100, 100, 3001)),
    "i1": (special.i1, np.linspace(-100, 100, 3001)),
    "i1e": (special.i1e, np.linspace(-100, 100, 3001)),
}


@pytest.mark.parametrize("name", SPECIAL)
def test_special(name: str) -> None:
    reference, x = SPECIAL[name]
    np.testing.assert_allclose(evaluate(name, "f64", x), reference(x), rtol=2e-13, atol=1e-15)
    with np.errstate(over="ignore"):
        x32 = x.astype(np.float32)
        expected = reference(x32.astype(np.float64)).astype(np.float32)
    np.testing.assert_allclose(evaluate(name, "f32", x32), expected, rtol=3e-7, atol=1e-37)


def test_single_functions() -> None:
    """float32 in float64 arithmetic: 0.52 ulp, but lgamma, which is right to 1e-14 near its zeros."""
    rng = np.random.default_rng(5)
    every = np.arange(0, 2**32, 300007, dtype=np.uint64).astype(np.uint32).view(np.float32)
    ends = 1 - np.float32(2.0) ** -np.arange(1, 25, dtype=np.float32)
    inside = np.concatenate([rng.uniform(-1, 1, 20000).astype(np.float32), ends, every[np.abs(every) <= 1]])
    near = np.concatenate([1 + rng.uniform(-1e-3, 1e-3, 3000), 2 + rng.uniform(-1e-3, 1e-3, 3000), [1, 2]])
    positive = np.concatenate([rng.uniform(0, 40, 20000), near, every[every > 0]]).astype(np.float32)
    cases = [
        ("erfinv", special.erfinv, inside, 0.52),
        ("ndtri", special.ndtri, np.abs(inside), 0.52),
        ("lgamma", special.gammaln, positive, 1.9),
    ]
    for name, reference, x, bound in cases:
        distance = ulps(evaluate(name, "f32", x), reference(x.astype(np.float64)))
        assert distance.max() <= bound, (name, x[np.argmax(distance)], distance.max())
    below = -positive[positive != np.floor(positive)]
    want = special.gammaln(below.astype(np.float64))
    np.testing.assert_allclose(evaluate("lgamma", "f32", below), want, rtol=1e-7, atol=1e-7)


def test_remainder_of_any_exponents_is_exact() -> None:
    rng = np.random.default_rng(6)
    every = np.arange(0, 2**32, 70001, dtype=np.uint64).astype(np.uint32).view(np.float32)
    x, other = rng.permutation(every), rng.permutation(every)
    with np.errstate(all="ignore"):
        near = (x * np.exp2(-rng.uniform(0, 60, x.size))).astype(np.float32)
        for y in (other, near):
            np.testing.assert_array_equal(evaluate("fmod", "f32", x, y), np.fmod(x, y))


def test_error_function_f32() -> None:
    normal = lambda x: (
        special.erfcx(-x / 2**0.5) * np.exp(-x * x / 2) / 2
    )  # below 0: special.ndtr rounds x / sqrt(2)
    below = lambda x: np.where(x < 0, normal(np.minimum(x, 0)), special.ndtr(x))
    for name, reference, bound in (
        ("erf", special.erf, 1.2),
        ("erfc", special.erfc, 1.9),
        ("ndtr", below, 5.9),
    ):
        x = np.concatenate([points("f32", -11, 11), np.linspace(-0.1, 10.2, 200000).astype(np.float32)])
        with np.errstate(all="ignore"):
            x = np.concatenate([x, -x * np.float32(1.4)]) if name == "ndtr" else x
            expected = reference(x.astype(np.float64))
        distance = ulps(evaluate(name, "f32", x), expected)
        assert distance.max() <= bound, (name, x[np.argmax(distance)], distance.max())


def test_special_edges() -> None:
    inf, nan = np.inf, np.nan
    x = np.array([0.0, -0.0, 1.0, -1.0, inf, -inf, nan, -2.5])
    edges = {
        "erf": [0, -0.0, None, None, 1, -1, nan, None],
        "erfc": [1, 1, None, None, 0, 2, nan, None],
        "ndtr": [0.5, 0.5, None, None, 1, 0, nan, None],
        "erfinv": [0, -0.0, inf, -inf, nan, nan, nan, nan],
        "lgamma": [inf, inf, 0, inf, inf, inf, nan, None],
        "digamma": [-inf, inf, None, nan, inf, None, nan, None],
        "i0": [1, 1, None, None, inf, inf, nan, None],
        "i1": [0, -0.0, None, None, inf, -inf, nan, None],
    }
    for name, wanted in edges.items():
        for dtype in ("f32", "f64"):
            for got, want, at in zip(evaluate(name, dtype, x), wanted, x):
                assert want is None or str(float(got)) == str(float(want)), (name, dtype, at, got)
    assert (evaluate("erf", "f32", np.float32([4, 10, 1e30])) == 1).all()


def test_pow() -> None:
    rng = np.random.default_rng(5)
    for dtype, bound in (("f32", 0.51), ("f64", 1.0)):
        x = np.concatenate([10 ** rng.uniform(-30, 30, 20000), rng.uniform(0.9, 1.1, 20000)]).astype(
            NUMPY[dtype]
        )
        limit = np.log(np.finfo(NUMPY[dtype]).max) * 1.05
        y = (rng.uniform(-1, 1, x.size) * limit / np.log(x.astype(np.float64))).astype(NUMPY[dtype])
        with np.errstate(all="ignore"):
            expected = x.astype(Long) ** y.astype(Long)
        assert ulps(evaluate("pow", dtype, x, y), expected).max() <= bound
        edges = np.array(
            [0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 2, -2, 3, -3, 0.5, -0.5, 1.5, 1e30, -1e30, 1e9 + 1]
        )
        a, b = (v.ravel() for v in np.meshgrid(edges.astype(NUMPY[dtype]), edges.astype(NUMPY[dtype])))
        with np.errstate(all="ignore"):
            expected = np.array([libm_pow(float(p), float(q)) for p, q in zip(a, b)]).astype(NUMPY[dtype])
        got = evaluate("pow", dtype, a, b)
        same = (got == expected) & (np.signbit(got) == np.signbit(expected)) | np.isnan(got) & np.isnan(
            expected
        )
        with np.errstate(all="ignore"):
            near = np.isfinite(expected) & (np.abs(got - expected) <= np.spacing(np.abs(expected)))
        assert (same | near).all(), (a[~same], b[~same], got[~same], expected[~same])


def libm_pow(x: float, y: float) -> float:
    """C's pow, infinities and all."""
    try:
        result = math.pow(x, y)
    except OverflowError:
        return math.copysign(math.inf, x) if y % 2 == 1 else math.inf
    except ValueError:
        if x != 0:
            return math.nan
        return math.copysign(math.inf, x) if y % 2 == 1 else math.inf
    return result


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_angles_of_octants_are_the_nearest_numbers(dtype: str) -> None:
    """pi / 4, pi / 2, 3 pi / 4 and pi are what users compare with."""
    y, x = (
        v.ravel().astype(NUMPY[dtype]) for v in np.meshgrid([0.0, -0.0, 2.5, -2.5], [0.0, -0.0, 2.5, -2.5])
    )
    expected = np.arctan2(y.astype(Long), x.astype(Long)).astype(y.dtype)
    np.testing.assert_array_equal(evaluate("atan2", dtype, y, x), expected)


def test_two_operands() -> None:
    rng = np.random.default_rng(6)
    edges = np.array(
        [0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 2, -3, 0.5, 1e30, -1e-30, 5e-324, 1e308, -1e308]
    )
    for dtype in ("f32", "f64"):
        with np.errstate(all="ignore"):
            sides = edges.astype(NUMPY[dtype])
        a, b = (v.ravel() for v in np.meshgrid(sides, sides))
        wide = 10.0 ** rng.uniform(-30, 30, (2, 20000)) * rng.choice([-1, 1], (2, 20000))
        a = np.concatenate([a, wide[0].astype(a.dtype), rng.normal(0, 1, 20000).astype(a.dtype)])
        b = np.concatenate([b, wide[1].astype(a.dtype), rng.normal(0, 1, 20000).astype(a.dtype)])
        for name, reference, bound in (
            ("atan2", np.arctan2, 1.9),
            ("hypot", np.hypot, 0.51),
            ("nextafter", None, 0),
        ):
            with np.errstate(all="ignore"):
                expected = reference(a.astype(Long), b.astype(Long)) if reference else np.nextafter(a, b)
            got = evaluate(name, dtype, a, b)
            distance = ulps(got, expected)
            worst = int(np.argmax(distance))
            assert distance[worst] <= bound, (name, dtype, a[worst], b[worst], got[worst], expected[worst])
            zero = (got == 0) & (expected == 0)
            assert (np.signbit(got[zero]) == np.signbit(expected[zero])).all(), name
        with np.errstate(all="ignore"):
            expected = np.fmod(a, b)
        got = evaluate("fmod", dtype, a, b)
        np.testing.assert_array_equal(got, expected)
        zero = expected == 0
        assert (np.signbit(got[zero]) == np.signbit(expected[zero])).all()


def test_large_angles() -> None:
    """Values by 1,200 bits of pi."""
    x = np.array([1e22, 2.0**200, -1e300, 1.7976931348623157e308])
    sines = [-0.8522008497671888, -0.47889779970693525, 0.8178819121159085, 0.004961954789184062]
    np.testing.assert_allclose(evaluate("sin", "f64", x), sines, rtol=2e-16)
    cosines = [0.523214785395139, -0.877870660995033, -0.5753861119575491, -0.9999876894265599]
    np.testing.assert_allclose(evaluate("cos", "f64", x), cosines, rtol=2e-16)


def test_slope_of_gamma_variables() -> None:
    """A variable moves as its quantile does."""
    rng = np.random.default_rng(4)
    a = np.concatenate([10.0 ** rng.uniform(-2, 3, 3000), rng.uniform(0.1, 3, 1000)])
    x = rng.gamma(a)
    a, x = a[x > 1e-200], x[x > 1e-200]
    low = x < a
    step = 1e-4 * a
    below, above = special.gammainc(a, x), special.gammaincc(a, x)
    at = lambda b: np.where(low, special.gammaincinv(b, below), special.gammainccinv(b, above))
    expected = (8 * (at(a + step) - at(a - step)) - (at(a + 2 * step) - at(a - 2 * step))) / (12 * step)
    np.testing.assert_allclose(evaluate("gamma_slope", "f64", a, x), expected, rtol=1e-6)
    edges = evaluate("gamma_slope", "f64", np.array([1.0, 1.0, np.nan]), np.array([0.0, np.nan, 1.0]))
    np.testing.assert_array_equal(edges, [0.0, np.nan, np.nan])


def test_incomplete_gamma_and_zeta() -> None:
    rng = np.random.default_rng(8)
    a = 10 ** rng.uniform(-5, 3, 4000)
    x = np.abs(
        np.where(
            rng.random(4000) < 0.5, a + rng.normal(0, 2, 4000) * np.sqrt(a), 10 ** rng.uniform(-5, 3, 4000)
        )
    )
    for name, reference in (("igamma", special.gammainc), ("igammac", special.gammaincc)):
        expected = reference(a, x)
        np.testing.assert_allclose(evaluate(name, "f64", a, x), expected, rtol=1e-11, atol=1e-290)
        np.testing.assert_allclose(evaluate(name, "f32", a, x), expected, rtol=1e-4, atol=1e-37)
    edges = np.array([0.0, 1, -1, np.inf, 2])
    a, x = (v.ravel() for v in np.meshgrid(edges, edges))
    np.testing.assert_allclose(evaluate("igamma", "f64", a, x), special.gammainc(a, x), rtol=1e-14)
    s, q = 1 + 10 ** rng.uniform(-3, 2, 4000), 10 ** rng.uniform(-3, 4, 4000)
    np.testing.assert_allclose(evaluate("zeta", "f64", s, q), special.zeta(s, q), rtol=2e-13, atol=1e-300)
    s, q = np.array([2, 3, 4, 3, 2.5, 1, 0.5, 3]), np.array([-1.5, -2.5, -7.3, -2, -1.5, 3, 3, 0])
    expected = [9.37924663881218, 0.054102025822195, 128.16945610736, np.inf, np.nan, np.inf, np.nan, np.inf]
    np.testing.assert_allclose(evaluate("zeta", "f64", s, q), expected, rtol=1e-7)


@pytest.mark.parametrize("name", [*FUNCTIONS, *SPECIAL, "sin", "cos", "tan", "pow", "atan2", "fmod", "hypot"])
def test_interpreter_agrees(name: str) -> None:
    """The same bits from the interpreter."""
    arity = 2 if name in ("pow", "atan2", "fmod", "hypot") else 1
    for dtype in ("f32", "f64"):
        xs = [points(dtype, -5, 5, 300)] + [points(dtype, -5, 5, 300)[::-1].copy()] * (arity - 1)
        out, error = np.empty_like(xs[0]), np.zeros(4, np.int64)
        table = np.array([error.ctypes.data, out.size, *(a.ctypes.data for a in [*xs, out])], np.int64)
        interpret(expand(kernel(name, dtype, arity)), table, np.arange(1, len(table), dtype=np.int32), 0, 1)
        np.testing.assert_array_equal(out, evaluate(name, dtype, *xs))
        zero = out == 0
        np.testing.assert_array_equal(np.signbit(out[zero]), np.signbit(evaluate(name, dtype, *xs)[zero]))


def test_shared_argument_is_computed_once() -> None:
    b = Builder("k")
    x, out = b.buf("x", "f32"), b.buf("out", "f32", "w")
    value = x[0]
    out[0] = op("tanh", value) + op("exp", value)
    store = expand(b.kernel()).body[0]
    from flambeau.loop.algebra import postorder
    from flambeau.loop.ir import Load

    assert sum(isinstance(e, Load) for e in postorder([store.value])) == 1
