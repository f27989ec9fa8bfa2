"""Elementwise functions against PyTorch's: dtypes, layouts, gradients, in-place and out= forms, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import flambeau  # noqa: E402

from .conftest import close, mine  # noqa: E402


def sample(low: float, high: float, *shape: int, seed: int = 1) -> Any:
    x = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    return (x * (high - low) + low).requires_grad_()


UNARY = [
    *[
        (n, -2.0, 2.0)
        for n in [
            "exp",
            "exp2",
            "expm1",
            "sin",
            "cos",
            "tan",
            "atan",
            "sinh",
            "cosh",
            "tanh",
            "asinh",
            "erf",
            "erfc",
            "sigmoid",
            "abs",
            "neg",
            "sign",
            "floor",
        ]
    ],
    *[
        (n, 0.1, 3.0)
        for n in [
            "log",
            "log2",
            "log10",
            "log1p",
            "sqrt",
            "rsqrt",
            "reciprocal",
            "lgamma",
            "digamma",
            "square",
            "frac",
            "deg2rad",
            "rad2deg",
            "sinc",
        ]
    ],
    *[(n, -0.9, 0.9) for n in ["asin", "acos", "atanh", "erfinv"]],
    ("acosh", 1.2, 3.0),
    ("logit", 0.1, 0.9),
    ("i0", -2.0, 2.0),
]
SPECIAL = ["entr", "erfcx", "i0e", "i1", "i1e", "log_ndtr", "ndtr"]
BINARY = [
    "add",
    "sub",
    "mul",
    "div",
    "pow",
    "atan2",
    "hypot",
    "maximum",
    "minimum",
    "fmax",
    "fmin",
    "fmod",
    "remainder",
]
BINARY += ["copysign", "xlogy", "logaddexp", "logaddexp2", "float_power", "ldexp"]


@pytest.mark.parametrize(("name", "low", "high"), UNARY)
def test_unary(agree: Any, name: str, low: float, high: float) -> None:
    agree(lambda t, x: getattr(t, name)(x), sample(low, high, 5, 3), tolerance=1e-4)
    agree(lambda t, x: getattr(x.t(), name)(), sample(low, high, 5, 3), tolerance=1e-4)


@pytest.mark.parametrize("name", ["exp", "log", "sin", "tanh", "sqrt", "sigmoid", "reciprocal"])
def test_second_gradients(agree: Any, name: str) -> None:
    agree(lambda t, x: getattr(t, name)(x), sample(0.3, 2.0, 6), second=True)


@pytest.mark.parametrize("name", SPECIAL)
def test_special(agree: Any, name: str) -> None:
    agree(lambda t, x: getattr(t.special, name)(x), sample(0.1, 3.0, 7), tolerance=1e-4)


@pytest.mark.parametrize("n", [0, 1, 2, 4])
def test_polygamma(agree: Any, n: int) -> None:
    agree(lambda t, x: t.polygamma(n, x), sample(0.5, 4.0, 7), tolerance=1e-3)


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("shapes", [((4, 3), (4, 3)), ((4, 1), (1, 3)), ((), (3,)), ((0, 3), (1, 3))])
def test_binary(agree: Any, name: str, shapes: Any) -> None:
    x, y = sample(0.2, 2.0, *shapes[0]), sample(0.3, 1.7, *shapes[1], seed=2)
    agree(lambda t, x, y: getattr(t, name)(x, y), x, y, tolerance=1e-4)


DTYPES = [torch.float32, torch.float64, torch.int64, torch.int32, torch.uint8, torch.bool]


@pytest.mark.parametrize("name", ["add", "mul", "div", "true_divide", "maximum", "eq", "lt", "where"])
@pytest.mark.parametrize("left", DTYPES)
@pytest.mark.parametrize("right", [*DTYPES, 2, 2.5, True])
def test_promotion(name: str, left: Any, right: Any) -> None:
    x = torch.tensor([1, 0, 3]).to(left)
    y = torch.tensor([2, 1, 1]).to(right) if isinstance(right, torch.dtype) else right
    if name == "maximum" and not isinstance(right, torch.dtype):
        pytest.skip("tensors only")
    call = (
        (lambda t, x, y: t.where(x > 0, x, y))
        if name == "where"
        else (lambda t, x, y: getattr(t, name)(x, y))
    )
    close(call(flambeau, mine(x), mine(y)), call(torch, x, y))


@pytest.mark.parametrize("mode", [None, "floor", "trunc"])
def test_division(mode: Any) -> None:
    x, y = torch.tensor([7.0, -7, 7, -7, 0, 1]), torch.tensor([2.0, 2, -2, -2, 3, 0])
    close(flambeau.div(mine(x), mine(y), rounding_mode=mode), torch.div(x, y, rounding_mode=mode))
    i, j = x[:5].long(), y[:5].long()
    close(flambeau.div(mine(i), mine(j), rounding_mode=mode), torch.div(i, j, rounding_mode=mode))
    close(mine(i) % mine(j), i % j)
    close(mine(i) // mine(j), i // j)


def test_numbers_on_either_side() -> None:
    x = torch.tensor([1.0, 2, 4])
    for call in (
        lambda x: 2 - x,
        lambda x: 2 / x,
        lambda x: 2**x,
        lambda x: 7 // x,
        lambda x: 7 % x,
        lambda x: x**-1,
        lambda x: x**0.5,
    ):
        close(call(mine(x)), call(x))


def test_numpy_on_either_side() -> None:
    x = flambeau.tensor([1.0, 2.0])
    assert (np.float32(2) * x).tolist() == [2.0, 4.0]
    assert (x * np.float64(2)).dtype is flambeau.float32
    assert isinstance(np.float64(3) + x, flambeau.Tensor)


@pytest.mark.parametrize("name", ["exp_", "sin_", "sqrt_", "abs_", "tan_", "lgamma_", "square_"])
def test_in_place_keeps_what_the_gradient_needs(agree: Any, name: str) -> None:
    agree(lambda t, x: getattr(x * 1, name)(), sample(0.3, 2.0, 6), tolerance=1e-4)


def test_in_place_product_with_a_factor_that_needs_a_gradient(agree: Any) -> None:
    agree(lambda t, x, y: (x * 1).mul_(y), sample(0.3, 2.0, 6), sample(0.3, 2.0, 6, seed=4))


def test_out() -> None:
    x, out = flambeau.tensor([1.0, 4.0]), flambeau.empty(0)
    assert flambeau.sqrt(x, out=out) is out
    assert out.tolist() == [1.0, 2.0]
    with pytest.raises(RuntimeError, match="can't be cast"):
        flambeau.sqrt(x, out=flambeau.empty(2, dtype=flambeau.int64))


@pytest.mark.parametrize("bounds", [(-0.5, 0.5), (None, 0.2), (0.1, None), (0.5, -0.5)])
def test_clamp(agree: Any, bounds: Any) -> None:
    agree(lambda t, x: t.clamp(x, *bounds), sample(-1, 1, 9))


def test_clamp_of_tensors(agree: Any) -> None:
    agree(
        lambda t, x, a, b: t.clamp(x, a, b),
        sample(-1, 1, 4, 3),
        sample(-0.7, 0, 3, seed=5),
        sample(0, 0.7, 4, 1, seed=6),
    )


def test_special_values() -> None:
    x = torch.tensor([float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1.5])
    for name in ("isnan", "isinf", "isfinite", "signbit", "nan_to_num", "sign", "relu", "sgn"):
        close(getattr(flambeau, name)(mine(x)), getattr(torch, name)(x))
    for name in ("maximum", "fmax", "nextafter", "heaviside"):
        close(getattr(flambeau, name)(mine(x), mine(x.flip(0))), getattr(torch, name)(x, x.flip(0)))


def test_frexp() -> None:
    x = torch.tensor([0.0, 1.0, -3.7, 1e-40, 2.0**100, float("inf"), 0.5, 0.99999994])
    close(tuple(flambeau.frexp(mine(x))), tuple(torch.frexp(x)))


def test_whole_numbers() -> None:
    a, b = torch.tensor([12, -18, 0, 7]), torch.tensor([8, 12, 5, 0])
    close(flambeau.gcd(mine(a), mine(b)), torch.gcd(a, b))
    close(flambeau.lcm(mine(a), mine(b)), torch.lcm(a, b))
    close(mine(a) << 2, a << 2)
    close(mine(a) >> 1, a >> 1)


def test_equality() -> None:
    x = flambeau.tensor([1.0, float("nan")])
    assert flambeau.equal(x[:1], x[:1]) and not flambeau.equal(x, x)
    assert flambeau.allclose(x, x, equal_nan=True) and not flambeau.allclose(x, x)
    assert flambeau.isclose(x, x + 1e-9).tolist() == [True, False]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda t: t.ones(2, dtype=t.bool) - t.ones(2, dtype=t.bool), RuntimeError),
        (lambda t: -t.ones(2, dtype=t.bool), RuntimeError),
        (lambda t: ~t.ones(2), TypeError),
        (lambda t: t.ones(2) + t.ones(3), RuntimeError),
        (lambda t: t.ones(2, dtype=t.int64).add_(1.5), RuntimeError),
        (lambda t: t.ones(2, dtype=t.int64) ** -1, RuntimeError),
        (lambda t: t.clamp(t.ones(2)), (ValueError, RuntimeError)),
        (lambda t: t.polygamma(-1, t.ones(2)), RuntimeError),
    ],
)
def test_errors(call: Any, error: Any) -> None:
    for t in (torch, flambeau):
        with pytest.raises(error):
            call(t)


EDGES = [
    0,
    1,
    -1,
    2**24 + 1,
    2**40,
    2**50,
    -(2**50) - 1,
    2**51 - 1,
    -(2**51),
    2**53 + 1,
    -(2**53) - 1,
    2**62 + 1,
]


def wide_integers(seed: int) -> np.ndarray:
    """Numbers of every size, and those where a float begins to lose bits."""
    rng = np.random.default_rng(seed)
    some = rng.integers(-(2**63), 2**63 - 1, 600) >> rng.integers(0, 64, 600)
    every = np.concatenate([some, np.array([*EDGES, 2**63 - 1, -(2**63) + 1])])
    rng.shuffle(every)
    return every


@pytest.mark.parametrize("bits", [63, 50, 10])
def test_whole_division_of_i64(bits: int) -> None:
    """Quotients through floats where both numbers are near, one by one where a vector holds others."""
    a, b = (wide_integers(seed) >> (63 - bits) for seed in (0, 1))
    b[b == 0] = 3
    for name in ("floor_divide", "remainder", "fmod"):
        ours, theirs = getattr(flambeau, name), getattr(torch, name)
        for by in (b, 7, -3, 2**40 + 1, -(2**52)):
            other = (flambeau.tensor(by), torch.tensor(by)) if by is b else (by, by)
            want = theirs(torch.tensor(a), other[1]).numpy()
            np.testing.assert_array_equal(ours(flambeau.tensor(a), other[0]).numpy(), want)


def test_i64_and_floats() -> None:
    whole = wide_integers(2)
    for kind in ("float32", "float64"):
        want = torch.tensor(whole).to(getattr(torch, kind))
        np.testing.assert_array_equal(
            flambeau.tensor(whole).to(getattr(flambeau, kind)).numpy(), want.numpy()
        )
        rng = np.random.default_rng(3)
        real = rng.standard_normal(600) * 2.0 ** rng.integers(-4, 61, 600)
        edges = [2.0**51, -(2.0**51), 2.0**51 - 0.5, -(2.0**51) + 0.5, -0.0, 0.999, -0.5, 2.0**62]
        for numbers in (real, real % 1e6, np.array(edges)):
            given = numbers.astype(kind)
            np.testing.assert_array_equal(
                flambeau.tensor(given).long().numpy(), torch.tensor(given).long().numpy()
            )


@pytest.mark.parametrize("name", ["uint8", "uint16", "uint32", "uint64", "int8", "int64"])
def test_powers_of_integers_wrap_around(name: str) -> None:
    d = getattr(flambeau, name)
    bits = int(name.lstrip("uint"))
    base, exponent = [2, 255, 0, 3, 7, -1, 5, 9], [3, 2, 0, 5, 30, 101, 100, 127]
    made = (flambeau.tensor(base).to(d) ** flambeau.tensor(exponent).to(d)).tolist()
    signed = name[0] == "i"
    low = -(1 << bits - 1) if signed else 0
    expected = []
    for a, n in zip(flambeau.tensor(base).to(d).tolist(), exponent):
        expected.append((a**n - low) % (1 << bits) + low)
    assert made == expected


@pytest.mark.parametrize("kind", ["float32", "float64", "float16", "bfloat16"])
def test_clamp_of_what_is_no_number_and_between_odd_bounds(kind: str) -> None:
    """NaN in the input or in a bound, bounds in the wrong order, infinities; numbers and tensors as bounds."""
    a = np.array([-np.inf, -2, -0.0, 0.0, 1, 3, np.inf, np.nan] * 5)
    x = flambeau.tensor(a).to(getattr(flambeau, kind))
    nan = float("nan")
    for lo, hi in ((-1.0, 2.0), (nan, 2.0), (-1.0, nan), (5.0, -3.0), (0.0, None), (None, nan), (None, 0.5)):
        want = a if lo is None else np.maximum(a, lo)
        want = want if hi is None else np.minimum(want, hi)
        bounds = [None if v is None else flambeau.full((40,), v, dtype=x.dtype) for v in (lo, hi)]
        for got in (x.clamp(lo, hi), x.clamp(*bounds)):
            np.testing.assert_array_equal(got.double().numpy(), want)


def test_lerp_wants_one_dtype() -> None:
    x = flambeau.ones(2)
    assert flambeau.lerp(x, x * 3, flambeau.tensor(0.5, dtype=flambeau.float64)).tolist() == [2.0, 2.0]
    for end, weight, named in ((x.double(), 0.5, "end"), (x, x.double(), "weight")):
        with pytest.raises(RuntimeError, match=f"expected dtype float32 for `{named}` but got dtype float64"):
            flambeau.lerp(x, end, weight)
    with pytest.raises(NotImplementedError, match="not implemented for 'Long'"):
        flambeau.lerp(x.long(), x.long(), 0.5)


def test_where_of_numbers() -> None:
    """Two numbers have the default dtype, or an integer's."""
    mask = flambeau.tensor([True, False])
    kinds = [
        flambeau.where(mask, a, b).dtype for a, b in ((1.0, 2.0), (1, 2.5), (1, 2), (True, False), (1j, 1))
    ]
    assert kinds == [flambeau.float32, flambeau.float32, flambeau.int64, flambeau.bool, flambeau.complex64]
    assert flambeau.where(mask, 0.1, flambeau.ones(2, dtype=flambeau.float64)).dtype is flambeau.float64


def test_numbers_are_copied() -> None:
    x = flambeau.zeros(2, 2)
    assert x.copy_(3).tolist() == [[3, 3], [3, 3]]
    x[0].copy_(2.5)
    assert x.tolist() == [[2.5, 2.5], [3, 3]]
    assert flambeau.zeros(2, dtype=flambeau.int32).copy_(2.7).tolist() == [2, 2]
    y = flambeau.ones(2, requires_grad=True)
    z = y * 2
    z.copy_(1.0)
    z.sum().backward()
    assert y.grad.tolist() == [0, 0]


def test_the_sum_to_no_dimensions_is_a_sum() -> None:
    one = flambeau.tensor(3, dtype=flambeau.uint8)
    assert one.sum_to_size(()).dtype is flambeau.int64
    assert one.reshape(1).sum_to_size(1).dtype is flambeau.uint8


def test_membership_is_decided_in_the_common_dtype() -> None:
    x = flambeau.arange(5)
    assert flambeau.isin(x, 2.5).tolist() == [False] * 5 and not flambeau.isin(2.5, x).item()
    assert flambeau.isin(x.to(flambeau.uint8), 258).tolist() == [False, False, True, False, False]
    few, many = flambeau.tensor([1.5, 2.0]), flambeau.arange(40) / 2
    assert flambeau.isin(x, few).tolist() == [False, False, True, False, False]
    assert flambeau.isin(x.int(), many).all() and flambeau.isin(few, flambeau.arange(30)).tolist() == [
        False,
        True,
    ]
