"""Special functions of one and two operands, elementwise (`torch.special`)."""

from __future__ import annotations

import math
from typing import Any

from ..dtypes import bool_, complex128, float32, float64, int16
from ..errors import fail
from ..stream import pairs
from ..stream.external import routine
from ..stream.graph import Val, cast, const, expand, map_, opaque
from .compare import _pow_tensor, _where, pow
from .elementwise import both, floats, into
from .entry import NONE, TN, T, composite, op
from .places import BUILTINS
from .rules import broken, check_cast, unsupported
from .structures import named
from .unary import as_float
from .widening import is_low

FACE = {"method": False, "function": False}


def special(name: str) -> dict[str, Any]:
    """The facts of an op that is public as torch.special.name alone."""
    return {"name": f"special_{name}", "faces": {"special": name}, **FACE}


def zero(x: Val) -> Val:
    """0 in the operand's dtype."""
    return const(0, x.dtype)


def test(symbol: str, x: Val, bound: float) -> Val:
    """A comparison with a number."""
    return map_(symbol, x, const(bound, x.dtype), out=bool_)


def choose(mask: Val, yes: Val, no: Val) -> Val:
    """One of two values by a test."""
    return map_("select", mask, yes, no)


# --- of one operand -----------------------------------------------------------------------------------------------


def _logit_back(grad: Any, self: Any, eps: Any) -> Any:
    slope = grad / (self * (1 - self))
    if eps is None or (isinstance(eps, float) and eps < 0):
        return _where((self < 0) | (self > 1), math.nan, slope)
    return _where((self < eps) | (self > 1 - eps), 0, slope)


@op(inplace=True, stepwise=True, faces={"special": "logit"}, grad={"self": _logit_back})
def logit(self: T, eps: float | None = None) -> Any:
    """log(x / (1 - x)); with eps, x is first held within [eps, 1 - eps]."""
    x = as_float(self)
    one = const(1, x.dtype)
    if eps is not None:
        x = map_("min", map_("max", x, const(eps, x.dtype)), const(1 - eps, x.dtype))
    return map_("log", map_("div", x, map_("sub", one, x)))


@op(inplace=True, grad={"self": lambda grad, self: _where(self.abs() < math.inf, grad, 0)})
def nan_to_num(
    self: T, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
) -> Any:
    """NaN replaced by a number (0), +inf and -inf by the largest and least finite ones, or those given."""
    if not self.dtype.is_floating_point:
        return map_("copy", self)
    from ..dtypes import finfo

    d, info = self.dtype, finfo(self.dtype)
    high, low = (info.max if posinf is None else posinf), (info.min if neginf is None else neginf)
    x = choose(map_("ne", self, self, out=bool_), const(nan or 0.0, d), self)
    x = choose(test("eq", x, math.inf), const(high, d), x) if nan != math.inf else x
    return choose(map_("eq", self, const(-math.inf, d), out=bool_), const(low, d), x)


@op(**special("entr"), grad={"self": lambda grad, self: grad * (-self.log() - 1)})
def entr(self: T) -> Any:
    """-x log(x); 0 at 0, -inf below."""
    x = as_float(self)
    value = map_("neg", map_("mul", x, map_("log", x)))
    value = choose(test("eq", x, 0), zero(x), value)
    return choose(test("lt", x, 0), const(-math.inf, x.dtype), value)


_ROOT_HALF, _ROOT_TAU = math.sqrt(0.5), math.sqrt(2 * math.pi)


@op(**special("ndtr"), grad={"self": lambda grad, self: grad * ((self * self * -0.5).exp() / _ROOT_TAU)})
def ndtr(self: T) -> Any:
    """The normal distribution function."""
    return map_("ndtr", as_float(self))


@op(
    **special("ndtri"), grad={"self": lambda grad, result: grad * ((result * result * 0.5).exp() * _ROOT_TAU)}
)
def ndtri(self: T) -> Any:
    """The inverse of `ndtr`."""
    return map_("ndtri", as_float(self))


def scaled_erfc(x: Val) -> Val:
    """exp(x^2) erfc(x) of a float64: the product up to 25, above it the asymptotic series."""
    square = map_("mul", x, x)
    product = map_("mul", map_("exp", square), map_("erfc", x))
    u = map_("div", const(0.5, x.dtype), square)
    one = const(1, x.dtype)
    series = one
    for k in (7, 5, 3, 1):
        series = map_("sub", one, map_("mul", map_("mul", u, const(k, x.dtype)), series))
    far = map_("div", map_("mul", series, const(1 / math.sqrt(math.pi), x.dtype)), x)
    return choose(test("gt", x, 25), far, product)


@op(
    **special("erfcx"),
    grad={"self": lambda grad, self, result: grad * (2 * self * result - 2 / math.sqrt(math.pi))},
)
def erfcx(self: T) -> Any:
    """exp(x^2) erfc(x)."""
    x = as_float(self)
    return cast(scaled_erfc(cast(x, float64)), x.dtype)


@op(
    **special("log_ndtr"),
    grad={"self": lambda grad, self: grad / erfcx(self * -_ROOT_HALF) * math.sqrt(2 / math.pi)},
)
def log_ndtr(self: T) -> Any:
    """log(ndtr(x)), accurate in the lower tail."""
    x = as_float(self)
    t = map_("mul", cast(x, float64), const(_ROOT_HALF, float64))
    half = const(0.5, float64)
    low = map_("sub", map_("log", map_("mul", scaled_erfc(map_("neg", t)), half)), map_("mul", t, t))
    high = map_("log1p", map_("neg", map_("mul", map_("erfc", t), half)))
    return cast(choose(test("lt", t, -_ROOT_HALF), low, high), x.dtype)


@op(**special("i0e"), grad={"self": lambda grad, self, result: grad * (i1e(self) - self.sign() * result)})
def i0e(self: T) -> Any:
    """exp(-|x|) i0(x)."""
    return map_("i0e", as_float(self))


def _i1e_slope(x: Any, y: Any) -> Any:
    safe = _where(x == 0, 1.0, x)
    return _where(x == 0, 0.5, i0e(x) - y * (x.sign() + 1 / safe))


@op(**special("i1e"), grad={"self": lambda grad, self, result: grad * _i1e_slope(self, result)})
def i1e(self: T) -> Any:
    """exp(-|x|) i1(x)."""
    return map_("i1e", as_float(self))


def _sinc_slope(x: Any, y: Any) -> Any:
    safe = _where(x == 0, 1.0, x)
    return _where(x == 0, 0, ((x * math.pi).cos() - y) / safe)


@op(
    inplace=True,
    faces={"special": "sinc"},
    grad={"self": lambda grad, self, result: grad * _sinc_slope(self, result)},
)
def sinc(self: T) -> Any:
    """sin(pi x) / (pi x), 1 at 0."""
    x = as_float(self)
    y = map_("mul", x, const(math.pi, x.dtype))
    return choose(test("eq", x, 0), const(1, x.dtype), map_("div", map_("sin", y), y))


@op(inplace=True, grad={"self": lambda grad: grad * (math.pi / 180)})
def deg2rad(self: T) -> Any:
    """Degrees as radians."""
    x = as_float(self)
    return map_("mul", x, const(math.pi / 180, x.dtype))


@op(inplace=True, grad={"self": lambda grad: grad * (180 / math.pi)})
def rad2deg(self: T) -> Any:
    """Radians as degrees."""
    x = as_float(self)
    return map_("mul", x, const(180 / math.pi, x.dtype))


def _angle_back(grad: Any, self: Any) -> Any:
    if not self.dtype.is_complex:
        return 0
    size = self.abs()
    return _where(size == 0, 0, grad * (self * 1j) / (size * size))


@op(wirtinger=True, grad={"self": _angle_back})
def angle(self: T) -> Any:
    """The argument of complex numbers; of real ones pi below 0, else 0 (NaN of NaN)."""
    if self.dtype.is_complex:
        return pairs.angle(pairs.parts(self))
    x = as_float(self)
    value = choose(test("lt", x, 0), const(math.pi, x.dtype), zero(x))
    return choose(map_("ne", x, x, out=bool_), x, value)


@op(
    results=("mantissa", "exponent"),
    grad={"self": lambda grads, exponent: grads[0] * (-exponent).to(grads[0].dtype).exp2()},
)
def frexp(self: T) -> Any:
    """(mantissa in [0.5, 1), exponent): self = mantissa * 2**exponent."""

    from ..dtypes import int32

    if not self.dtype.is_floating_point:
        fail(RuntimeError, "torch.frexp() only supports floating-point dtypes")
    x = self
    size = map_("abs", x)
    plain = map_("and", test("gt", size, 0), test("lt", size, math.inf))
    safe = choose(plain, size, const(1, x.dtype))
    guess = cast(map_("add", map_("floor", map_("log2", safe)), const(1, x.dtype)), int32)
    m = map_("ldexp", safe, map_("neg", guess), out=x.dtype)
    high, low = test("ge", m, 1), test("lt", m, 0.5)
    step = map_("sub", cast(high, int32), cast(low, int32))
    e = choose(plain, map_("add", guess, step), const(0, int32))
    mantissa = choose(plain, map_("ldexp", x, map_("neg", e), out=x.dtype), x)
    return named("frexp", ("mantissa", "exponent"))(mantissa, e)


@composite(faces={"special": "multigammaln"})
def mvlgamma(input: Any, p: int, *, out: Any = None) -> Any:
    """log of the multivariate gamma function of dimension p."""
    if p < 1:
        fail(RuntimeError, f"mvlgamma: p has to be greater than or equal to 1; got p={p}")
    total = p * (p - 1) / 4 * math.log(math.pi)
    result = input.lgamma()
    for j in range(1, p):
        result = result + (input - j / 2).lgamma()
    result = result + total
    return result if out is None else into(out, result)


@composite(function=False)
def mvlgamma_(input: Any, p: int) -> Any:
    """`mvlgamma`, in place."""
    result = mvlgamma(input.clone(), p)
    check_cast("mvlgamma_", result.dtype, input.dtype)
    return input.copy_(result)


# --- of two operands ----------------------------------------------------------------------------------------------


def binary(name: str, doc: str, symbol: str, **facts: Any) -> Any:
    """An op that is one function of the loop IR of two floats."""

    def body(self: T, other: T) -> Any:
        if symbol == "hypot":
            broken(name, self, other)
        a, b = floats(self, other)
        return map_(symbol, a, b, name=name)

    body.__name__, body.__doc__ = name, doc
    return op(inplace=True, **facts)(body)


atan2 = binary(
    "atan2",
    "The angle of the point (other, self).",
    "atan2",
    aliases=("arctan2",),
    grad={
        "self": lambda grad, self, other: grad * (other / (self * self + other * other)),
        "other": lambda grad, self, other: grad * (-self / (self * self + other * other)),
    },
)
hypot = binary(
    "hypot",
    "sqrt(self^2 + other^2).",
    "hypot",
    grad={
        "self": lambda grad, self, result: grad * (self / result),
        "other": lambda grad, other, result: grad * (other / result),
    },
)


def _next_low(a: Val, b: Val) -> Val:
    """nextafter in 16 bits: the bits as an integer count away from zero."""
    x, y = cast(a, float32), cast(b, float32)
    bits = map_("bitcast", a, out=int16)
    away = map_("eq", map_("gt", y, x, out=bool_), map_("gt", x, const(0, float32), out=bool_), out=bool_)
    step = choose(away, const(1, int16), const(-1, int16))
    moved = map_("bitcast", map_("add", bits, step), out=a.dtype)
    smallest = map_("copysign", map_("bitcast", expand(const(1, int16), tuple(x.shape)), out=a.dtype), b)
    moved = choose(map_("eq", x, const(0, float32), out=bool_), smallest, moved)
    moved = choose(map_("eq", x, y, out=bool_), b, moved)
    nan = map_("or", map_("ne", x, x, out=bool_), map_("ne", y, y, out=bool_))
    return choose(nan, cast(map_("add", x, y), a.dtype), moved)


@op(inplace=True, stepwise=True, grad={"self": lambda grad: grad, "other": lambda grad: 0})
def nextafter(self: T, other: T) -> Any:
    """The float next to self towards other."""
    broken("nextafter", self, other)
    a, b = floats(self, other)
    return _next_low(a, b) if is_low(a.dtype) else map_("nextafter", a, b, name="nextafter")


def _igamma_slope(a: Any, x: Any) -> Any:
    return (-x + (a - 1) * x.log() - a.lgamma()).exp()


igamma = binary(
    "igamma",
    "The regularised lower incomplete gamma function.",
    "igamma",
    faces={"special": "gammainc"},
    grad={"other": lambda grad, self, other: grad * _igamma_slope(self, other)},
)
igammac = binary(
    "igammac",
    "The regularised upper incomplete gamma function.",
    "igammac",
    faces={"special": "gammaincc"},
    grad={"other": lambda grad, self, other: -grad * _igamma_slope(self, other)},
)


@op(
    inplace=True,
    grad={
        "self": lambda grad, self, result: _where(self == 0, 0, grad * (result / self)),
        "other": lambda grad: 0,
    },
)
def copysign(self: T, other: TN) -> Any:
    """|self| with the sign of other."""
    a, b = floats(self, other)
    return map_("copysign", a, b, name="copysign")


@op(inplace=True, grad=NONE)
def heaviside(self: T, values: T) -> Any:
    """0 below 0, 1 above, values at 0."""
    if self.dtype is not values.dtype:
        fail(
            RuntimeError,
            "heaviside is not yet implemented for tensors with different dtypes.",
            self=self,
            values=values,
        )
    up = cast(map_("gt", self, zero(self), out=bool_), self.dtype)
    return map_("select", map_("eq", self, zero(self), out=bool_), values, up, name="heaviside")


def one_tensor(name: str, a: Val, b: Val) -> None:
    """TypeError for two numbers."""
    if a.level == 0 and b.level == 0:
        raise TypeError(f"{name}(): one of the two arguments must be a Tensor, not two numbers")


def product_with(name: str, fn: str) -> Any:
    """The body of self * fn(other), 0 where self is 0."""

    def body(self: Any, other: Any) -> Any:
        one_tensor(name, self, other)
        x, y = floats(self, other)
        value = choose(map_("eq", x, zero(x), out=bool_), zero(x), map_("mul", x, map_(fn, y), name=name))
        return choose(map_("ne", y, y, out=bool_), y, value)

    return body


xlogy_body, xlog1py_body = product_with("xlogy", "log"), product_with("xlog1py", "log1p")


@op(
    inplace=True,
    stepwise=True,
    faces={"special": "xlogy"},
    grad={
        "self": lambda grad, self, other: _where((self == 0) & (other <= 0), 0, grad * _log_of(other)),
        "other": lambda grad, self, other: grad * (self / other),
    },
)
def xlogy(self: TN, other: TN) -> Any:
    """self * log(other); 0 where self is 0."""
    return xlogy_body(self, other)


def _log_of(x: Any) -> Any:
    return (
        math.log(x)
        if isinstance(x, (int, float)) and x > 0
        else x.log()
        if hasattr(x, "log")
        else -math.inf
        if x == 0
        else math.nan
    )


@op(
    **special("xlog1py"),
    grad={
        "self": lambda grad, self, other: _where((self == 0) & (other <= -1), 0, grad * _log_of(other + 1)),
        "other": lambda grad, self, other: grad * (self / (other + 1)),
    },
)
def xlog1py(self: TN, other: TN) -> Any:
    """self * log1p(other); 0 where self is 0."""
    return xlog1py_body(self, other)


def complex_log_add(a: Any, b: Any) -> Any:
    """log(exp(a) + exp(b)) of complex numbers, by the one whose real part is greater."""
    below = map_("lt", pairs.parts(a)[0], pairs.parts(b)[0], out=bool_)
    top, low = choose(below, b, a), choose(below, a, b)
    re, im = pairs.parts(map_("exp", map_("sub", low, top)))
    one, half = const(1, re.dtype), const(0.5, re.dtype)
    size = map_("add", map_("mul", re, map_("add", map_("add", re, one), one)), map_("mul", im, im))
    more = pairs.pair(map_("mul", map_("log1p", size), half), map_("atan2", im, map_("add", re, one)), 2)
    nothing = map_("eq", pairs.parts(top)[0], const(-math.inf, re.dtype), out=bool_)
    return choose(nothing, top, map_("add", top, more))


def log_add(name: str, doc: str, exp: str, log: str, base: float) -> Any:
    """Declare the logarithm of a sum of powers."""

    def body(self: T, other: T) -> Any:
        broken(name, self, other)
        a, b = floats(self, other)
        if a.dtype.is_complex and base == math.e:
            return complex_log_add(a, b)
        top = map_("max", a, b, name=name)
        gap = map_(exp, map_("neg", map_("abs", map_("sub", a, b))))
        if base == 2:
            value = map_("add", top, map_("mul", map_("log1p", gap), const(1 / math.log(2), a.dtype)))
        else:
            value = map_("add", top, map_(log, gap))
        same = map_(
            "and",
            map_("eq", a, b, out=bool_),
            map_("eq", map_("abs", a), const(math.inf, a.dtype), out=bool_),
        )
        return choose(same, a, value)

    body.__name__, body.__doc__ = name, doc
    grad = {
        "self": lambda grad, self, other: grad / (1 + getattr(other - self, exp)()),
        "other": lambda grad, self, other: grad / (1 + getattr(self - other, exp)()),
    }
    return op(grad=grad)(body)


logaddexp = log_add("logaddexp", "log(exp(self) + exp(other)), without overflow.", "exp", "log1p", math.e)
logaddexp2 = log_add("logaddexp2", "log2(2**self + 2**other), without overflow.", "exp2", "log1p", 2)


@composite()
def ldexp(input: Any, other: Any, *, out: Any = None) -> Any:
    """input * 2**other."""
    if not hasattr(input, "dtype"):
        raise TypeError(f"ldexp(): argument 'input' must be Tensor, not {type(input).__name__}")
    if not hasattr(other, "dtype"):
        raise TypeError(f"ldexp(): argument 'other' must be Tensor, not {type(other).__name__}")
    power = _pow_tensor(2.0, other)
    result = input * power
    return result if out is None else into(out, result)


@composite(function=False)
def ldexp_(input: Any, other: Any) -> Any:
    """`ldexp`, in place."""
    return input.mul_(_pow_tensor(2.0, other))


@op(**special("zeta"), grad={"other": lambda grad, self, other: grad * (-self * zeta(self + 1, other))})
def zeta(self: TN, other: TN) -> Any:
    """The Hurwitz zeta function: the sum of (k + other)**-self."""
    one_tensor("zeta", self, other)
    a, b = floats(self, other)
    return map_("zeta", a, b, name="zeta")


@op(
    method=False,
    function=False,
    inplace=True,
    node="PolygammaBackward0",
    grad={"self": lambda grad, self, n: grad * _polygamma(self, n + 1)},
)
def _polygamma(self: T, n: int) -> Any:
    """The derivative of order n of digamma."""
    x = as_float(self)
    if n < 2:
        return map_("trigamma" if n else "digamma", x)
    value = map_("zeta", const(n + 1, x.dtype), x)
    return map_("mul", value, const((1 if n % 2 else -1) * float(math.factorial(n)), x.dtype))


def _order(n: Any) -> None:
    if n < 0:
        fail(RuntimeError, f"polygamma(n, x) does not support negative n.; got n={n}")


@composite(method=False, faces={"special": "polygamma"})
def polygamma(n: int, input: Any, *, out: Any = None) -> Any:
    """The derivative of order n of digamma."""
    _order(n)
    result = _polygamma(input, n)
    return result if out is None else into(out, result)


@composite(function=False, name="polygamma")
def _polygamma_method(input: Any, n: int) -> Any:
    """The derivative of order n of digamma."""
    _order(n)
    return _polygamma(input, n)


@composite(function=False)
def polygamma_(input: Any, n: int) -> Any:
    """`polygamma`, in place."""
    from .entry import FUNCTIONS

    _order(n)
    return FUNCTIONS["_polygamma_"](input, n)


@composite()
def float_power(input: Any, exponent: Any, *, out: Any = None) -> Any:
    """input ** exponent in float64, or complex128."""
    two = (input, exponent)
    whole = any(x.dtype.is_complex if hasattr(x, "to") else isinstance(x, complex) for x in two)
    wide, number = (complex128, complex) if whole else (float64, float)
    a, b = [x.to(wide) if hasattr(x, "to") else number(x) for x in two]
    result = pow(a, b)
    return result if out is None else into(out, result)


@composite(function=False)
def float_power_(input: Any, exponent: Any) -> Any:
    """`float_power` in place, of a float64 or complex128 tensor."""
    if input.dtype is not float64 and input.dtype is not complex128:
        fail(
            RuntimeError,
            f"float_power_: the base given to float_power_ has dtype {input.dtype.name} but the operation's result requires dtype Double",
        )
    return input.pow_(exponent)


# --- whole numbers ------------------------------------------------------------------------------------------------


@routine
def greatest_divisor(a: Any, b: Any) -> Any:
    """The greatest common divisors."""
    import numpy as np

    return np.gcd(a, b)


@routine
def least_multiple(a: Any, b: Any) -> Any:
    """The least common multiples."""
    import numpy as np

    return np.lcm(a, b)


def whole_numbers(name: str, doc: str, fn: str) -> Any:
    """Declare an op on two integers by its routine."""

    def body(self: T, other: T) -> Any:
        from ..shapes import broadcast

        a, b = both(self, other)
        if a.dtype.is_inexact or a.dtype is bool_:
            fail(NotImplementedError, f"{name}: {unsupported(name, a.dtype)}")
        shape = broadcast(name, tuple(a.shape), tuple(b.shape))
        return opaque("external", [a, b], [(shape, a.dtype)], (fn, ()))[0]

    body.__name__, body.__doc__ = name, doc
    return op(inplace=True, grad=NONE)(body)


gcd = whole_numbers("gcd", "The greatest common divisor.", "greatest_divisor")
lcm = whole_numbers("lcm", "The least common multiple.", "least_multiple")


# --- comparison up to rounding ------------------------------------------------------------------------------------


@op(grad=NONE)
def isclose(self: T, other: T, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Any:
    """Whether |self - other| <= atol + rtol |other|."""
    if self.dtype is not other.dtype:
        fail(RuntimeError, f"isclose: {self.dtype.name} did not match {other.dtype.name}")
    if rtol < 0 or atol < 0:
        fail(
            RuntimeError,
            f"isclose: rtol and atol must be greater than or equal to zero, but got rtol={rtol}, atol={atol}",
        )
    a, b = both(self, other)
    same = map_("eq", a, b, out=bool_, name="isclose")
    if not a.dtype.is_inexact:
        if not rtol and not atol:
            return same
        a, b = cast(a, float64), cast(b, float64)
    elif equal_nan:
        same = map_("or", same, map_("and", map_("ne", a, a, out=bool_), map_("ne", b, b, out=bool_)))
    gap = map_("abs", map_("sub", a, b))
    allowed = map_("add", map_("abs", map_("mul", b, const(rtol, b.dtype))), const(atol, gap.dtype))
    near = map_(
        "and", map_("le", gap, allowed, out=bool_), map_("lt", gap, const(math.inf, gap.dtype), out=bool_)
    )
    return map_("or", same, near)


@composite()
def allclose(
    input: Any, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> bool:
    """Whether all elements are close."""
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


@composite()
def equal(input: Any, other: Any) -> bool:
    """Whether two tensors have the same shape and elements."""
    if tuple(input.shape) != tuple(other.shape):
        return False
    same = BUILTINS["same"](input, other) if "same" in BUILTINS else None
    return bool((input == other).all()) if same is None else same
