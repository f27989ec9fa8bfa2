"""Elementwise functions of one operand. Integers are computed in the default floating-point type."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..dtypes import bool_, default_dtype, int64
from ..errors import fail
from ..stream import gradient, pairs
from ..stream.graph import Val, cast, const, map_
from .entry import NONE, T, composite, op
from .rules import unsupported


def as_float(x: Any) -> Val:
    """The operand in a floating-point dtype."""
    return x if x.dtype.is_inexact else cast(x, default_dtype())


def declare(
    name: str, doc: str, gradient: Callable[..., Any] | str, special: str = "", aliases: tuple[str, ...] = ()
) -> Any:
    """An op that is one mathematical function of the loop IR."""

    def body(self: T) -> Any:
        return map_(name, as_float(self))

    body.__name__, body.__doc__ = name, doc
    faces = {"special": special.split()} if special else {}
    grad = {"self": gradient} if callable(gradient) else gradient
    return op(inplace=True, grad=grad, faces=faces, aliases=aliases)(body)


exp = declare("exp", "e raised to each element.", lambda grad, result: grad * result)
exp2 = declare("exp2", "2 raised to each element.", lambda grad, result: grad * result * math.log(2), "exp2")
expm1 = declare("expm1", "exp(x) - 1, accurate near 0.", lambda grad, result: grad * (result + 1), "expm1")
log = declare("log", "The natural logarithm.", lambda grad, self: grad / self)
log2 = declare("log2", "The logarithm to base 2.", lambda grad, self: grad / (self * math.log(2)))
log10 = declare("log10", "The logarithm to base 10.", lambda grad, self: grad / (self * math.log(10)))
log1p = declare("log1p", "log(1 + x), accurate near 0.", lambda grad, self: grad / (self + 1), "log1p")
sqrt = declare("sqrt", "The square root.", lambda grad, result: grad / (2 * result))
sin = declare("sin", "The sine.", lambda grad, self: grad * self.cos())
cos = declare("cos", "The cosine.", lambda grad, self: grad * -self.sin())
tan = declare("tan", "The tangent.", lambda grad, result: grad * (1 + result * result))
asin = declare(
    "asin", "The arc sine.", lambda grad, self: grad * (1 - self * self).rsqrt(), aliases=("arcsin",)
)
acos = declare(
    "acos", "The arc cosine.", lambda grad, self: grad * -((1 - self * self).rsqrt()), aliases=("arccos",)
)
atan = declare("atan", "The arc tangent.", lambda grad, self: grad / (self * self + 1), aliases=("arctan",))
sinh = declare("sinh", "The hyperbolic sine.", lambda grad, self: grad * self.cosh())
cosh = declare("cosh", "The hyperbolic cosine.", lambda grad, self: grad * self.sinh())
asinh = declare(
    "asinh",
    "The inverse hyperbolic sine.",
    lambda grad, self: grad * (self * self + 1).rsqrt(),
    aliases=("arcsinh",),
)
acosh = declare(
    "acosh",
    "The inverse hyperbolic cosine.",
    lambda grad, self: (
        grad
        * ((self - 1).rsqrt() * (self + 1).rsqrt() if self.dtype.is_complex else (self * self - 1).rsqrt())
    ),
    aliases=("arccosh",),
)
atanh = declare(
    "atanh",
    "The inverse hyperbolic tangent.",
    lambda grad, self: grad / (1 - self * self),
    aliases=("arctanh",),
)
erf = declare(
    "erf",
    "The error function.",
    lambda grad, self: grad * (2 / math.sqrt(math.pi)) * (-(self * self)).exp(),
    "erf",
)
erfc = declare(
    "erfc",
    "1 - erf(x).",
    lambda grad, self: grad * (-2 / math.sqrt(math.pi)) * (-(self * self)).exp(),
    "erfc",
)
erfinv = declare(
    "erfinv",
    "The inverse of erf.",
    lambda grad, result: grad * (math.sqrt(math.pi) / 2) * (result * result).exp(),
    "erfinv",
)
lgamma = declare("lgamma", "log |Gamma(x)|.", lambda grad, self: grad * self.digamma(), "gammaln")
digamma = declare(
    "digamma", "The derivative of lgamma.", lambda grad, self: grad * _trigamma(self), "digamma psi"
)
i0 = declare("i0", "The modified Bessel function of order 0.", lambda grad, self: grad * i1(self), "i0")


@op(
    inplace=True,
    nn=True,
    faces={"special": "expit"},
    grad={"self": lambda grad, result: grad * (1 - result) * result},
)
def sigmoid(self: T) -> Any:
    """1 / (1 + exp(-x))."""
    return map_("sigmoid", as_float(self))


@op(inplace=True, nn=True, grad={"self": lambda grad, result: grad * (1 - result * result)})
def tanh(self: T) -> Any:
    """The hyperbolic tangent."""
    return map_("tanh", as_float(self))


@op(
    method=False,
    function=False,
    grad={"self": lambda grad, self: grad * gradient.BOOK["_polygamma"](self, 2)},
)
def _trigamma(self: T) -> Any:
    """The derivative of digamma."""
    return map_("trigamma", as_float(self))


@op(
    method=False,
    function=False,
    faces={"special": "i1"},
    grad={"self": lambda grad, self, result: grad * _i1_slope(self, result)},
)
def i1(self: T) -> Any:
    """The modified Bessel function of order 1."""
    return map_("i1", as_float(self))


def _i1_slope(x: Any, y: Any) -> Any:
    from .entry import FUNCTIONS

    return FUNCTIONS["where"](x == 0, 0.5, x.i0() - y / FUNCTIONS["where"](x == 0, 1.0, x))


@op(inplace=True, grad={"self": lambda grad, result: grad * (result * result * result) * -0.5})
def rsqrt(self: T) -> Any:
    """1 / sqrt(x)."""
    x = as_float(self)
    return map_("div", const(1, x.dtype), map_("sqrt", x))


@op(inplace=True, grad={"self": lambda grad, result: -grad * (result * result)})
def reciprocal(self: T) -> Any:
    """1 / x."""
    x = as_float(self)
    return map_("div", const(1, x.dtype), x)


@op(inplace=True, aliases=("negative",), grad={"self": lambda grad: -grad})
def neg(self: T) -> Any:
    """-x."""
    if self.dtype is bool_:
        fail(
            RuntimeError,
            "neg: Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, use the `~` or "
            "`logical_not()` operator instead.",
        )
    return map_("neg", self)


@op(inplace=True, wirtinger=True, aliases=("absolute",), grad={"self": lambda grad, self: grad * self.sgn()})
def abs(self: T) -> Any:
    """The absolute value."""
    return map_("copy" if not self.dtype.is_signed else "abs", self)


@op(inplace=True, grad={"self": lambda grad: 0})
def sign(self: T) -> Any:
    """-1, 0 or 1 (0 for NaN)."""
    if self.dtype.is_complex:
        fail(
            NotImplementedError,
            "Unlike NumPy, torch.sign is not intended to support complex numbers. Please use torch.sgn instead.",
        )
    if not self.dtype.is_signed:
        return cast(map_("ne", self, const(0, self.dtype), out=bool_), self.dtype)
    if self.dtype.is_floating_point:
        zero = const(0, self.dtype)
        up, down = map_("gt", self, zero, out=bool_), map_("lt", self, zero, out=bool_)
        return map_("sub", cast(up, self.dtype), cast(down, self.dtype))
    return map_("sign", self)


def _sgn_back(grad: Any, self: Any, result: Any) -> Any:
    if not self.dtype.is_complex:
        return 0
    size = self.abs()
    where = gradient.BOOK["_where"]
    return where(size == 0, 0, (grad - (grad * result.conj()).real * result) / size)


@op(inplace=True, wirtinger=True, grad={"self": _sgn_back})
def sgn(self: T) -> Any:
    """The sign of real numbers; z / |z| of complex ones (0 of 0)."""
    if not self.dtype.is_complex:
        return sign(self)
    size = map_("abs", self)
    zero = const(0, size.dtype)
    none = map_("eq", size, zero, out=bool_)
    re, im = (map_("select", none, zero, map_("div", v, size)) for v in pairs.parts(self))
    return pairs.pair(re, im)


@op(inplace=True, grad={"self": lambda grad, self: grad * (2 * self)}, node="PowBackward0")
def square(self: T) -> Any:
    """x * x."""
    x = cast(self, int64) if self.dtype is bool_ else self
    return map_("mul", x, x)


def rounding(name: str, doc: str, aliases: tuple[str, ...] = ()) -> Any:
    """floor, ceil, trunc: integers stay as they are."""

    def body(self: T) -> Any:
        if self.dtype.is_complex:
            fail(NotImplementedError, f"{name} is not supported for complex inputs")
        if self.dtype is bool_:
            fail(NotImplementedError, unsupported(f"{name}_vml", bool_))
        if not self.dtype.is_floating_point:
            return map_("copy", self)
        return map_(name, self)

    body.__name__, body.__doc__ = name, doc
    return op(inplace=True, grad={"self": lambda grad: 0}, aliases=aliases)(body)


floor = rounding("floor", "The largest integer not above x.")
ceil = rounding("ceil", "The smallest integer not below x.")
trunc = rounding("trunc", "x without its fraction.", aliases=("fix",))


@op(inplace=True, grad={"self": lambda grad: grad})
def frac(self: T) -> Any:
    """x - trunc(x)."""
    if not self.dtype.is_floating_point:
        fail(NotImplementedError, unsupported("frac", self.dtype))
    return map_("sub", self, map_("trunc", self))


@op(inplace=True, grad={"self": lambda grad: 0}, faces={"special": "round"})
def round(self: T, *, decimals: int = 0) -> Any:
    """The nearest integer (ties to even), or the nearest multiple of 10**-decimals."""
    if self.dtype.is_complex or self.dtype is bool_:
        fail(NotImplementedError, unsupported("round_vml", self.dtype))
    if not self.dtype.is_floating_point:
        return map_("copy", self)
    if decimals == 0:
        return map_("rint", self)
    scale = const(10.0 ** builtin_abs(decimals), self.dtype)
    if decimals > 0:
        return map_("div", map_("rint", map_("mul", self, scale)), scale)
    return map_("mul", map_("rint", map_("div", self, scale)), scale)


def builtin_abs(n: int) -> int:
    """The absolute value of a number."""
    return n if n >= 0 else -n


@composite()
def positive(input: Any) -> Any:
    """+x: x itself."""
    if input.dtype is bool_:
        fail(RuntimeError, "positive: The `+` operator, on a bool tensor is not supported.")
    return input


def predicate(name: str, doc: str, test: Callable[[Val], Val]) -> Any:
    """A bool of each element; false (or what the test says) for integers."""

    def body(self: T) -> Any:
        return test(self)

    body.__name__, body.__doc__ = name, doc
    return op(grad=NONE)(body)


def _infinite(x: Val) -> Val:
    if x.dtype.is_complex:
        return map_("or", *map(_infinite, pairs.parts(x)))
    if not x.dtype.is_floating_point:
        return map_("ne", x, x, out=bool_)
    return map_("eq", map_("abs", x), const(math.inf, x.dtype), out=bool_)


def _finite(x: Val) -> Val:
    if x.dtype.is_complex:
        return map_("and", *map(_finite, pairs.parts(x)))
    if not x.dtype.is_floating_point:
        return map_("eq", x, x, out=bool_)
    return map_("lt", map_("abs", x), const(math.inf, x.dtype), out=bool_)


def _signed_infinity(x: Val, sign: float) -> Val:
    if not x.dtype.is_floating_point:
        return map_("ne", x, x, out=bool_)
    return map_("eq", x, const(sign * math.inf, x.dtype), out=bool_)


isnan = predicate("isnan", "Whether each element is NaN.", lambda x: map_("ne", x, x, out=bool_))
isinf = predicate("isinf", "Whether each element is infinite.", _infinite)
isfinite = predicate("isfinite", "Whether each element is finite.", _finite)
isposinf = predicate("isposinf", "Whether each element is +inf.", lambda x: _signed_infinity(x, 1))
isneginf = predicate("isneginf", "Whether each element is -inf.", lambda x: _signed_infinity(x, -1))


@op(grad=NONE)
def signbit(self: T) -> Any:
    """Whether the sign bit of each element is set."""
    if not self.dtype.is_floating_point:
        return map_("lt", self, const(0, self.dtype), out=bool_)
    return map_("lt", map_("copysign", const(1, self.dtype), self), const(0, self.dtype), out=bool_)


@op(inplace=True, grad=NONE)
def logical_not(self: T) -> Any:
    """Whether each element is zero."""
    return map_("eq", self, const(0, self.dtype), out=bool_)


@op(inplace=True, grad=NONE)
def bitwise_not(self: T) -> Any:
    """The complement of each element's bits (of a bool: logical not)."""
    if self.dtype.is_inexact:
        fail(
            TypeError,
            "bitwise_not: ~ (operator.invert) is only implemented on integer and Boolean-type tensors",
        )
    return map_("not", self)
