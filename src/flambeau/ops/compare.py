"""Comparison, selection, bounds, logic and powers."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable
from typing import Any

from ..dtypes import bool_, default_dtype, float32, float64
from ..errors import fail
from ..stream.graph import Val, as_val, cast, const, contiguous, map_, promote
from .calls import complex_number
from .elementwise import both, element, into
from .entry import NONE, OTN, TN, N, T, composite, op
from .rules import check_fits, fits, unsupported
from .widening import fixed


def comparison(name: str, doc: str, symbol: str, aliases: tuple[str, ...] = ()) -> Any:
    """Declare a comparison of two operands."""

    def body(self: T, other: TN) -> Any:
        a, b = both(self, other)
        return map_(symbol, a, b, out=bool_, name=name)

    body.__name__, body.__doc__ = name, doc
    return op(grad=NONE, inplace=True, aliases=aliases)(body)


eq = comparison("eq", "Whether self == other, for each element.", "eq")
ne = comparison("ne", "Whether self != other, for each element.", "ne", ("not_equal",))
lt = comparison("lt", "Whether self < other, for each element.", "lt", ("less",))
le = comparison("le", "Whether self <= other, for each element.", "le", ("less_equal",))
gt = comparison("gt", "Whether self > other, for each element.", "gt", ("greater",))
ge = comparison("ge", "Whether self >= other, for each element.", "ge", ("greater_equal",))


def truth(x: Val) -> Val:
    """Whether each element is nonzero."""
    return x if x.dtype is bool_ else map_("ne", x, const(0, x.dtype), out=bool_)


def logical(name: str, doc: str, symbol: str) -> Any:
    """Declare an op on the truth of two operands."""

    def body(self: T, other: T) -> Any:
        return map_(symbol, truth(self), truth(other), name=name)

    body.__name__, body.__doc__ = name, doc
    return op(grad=NONE, inplace=True)(body)


logical_and = logical("logical_and", "Whether both are nonzero.", "and")
logical_or = logical("logical_or", "Whether one is nonzero.", "or")
logical_xor = logical("logical_xor", "Whether exactly one is nonzero.", "xor")


def bitwise(name: str, doc: str, symbol: str) -> Any:
    """Declare an op on the bits of two integers."""

    def body(self: T, other: TN) -> Any:
        a, b = both(self, other)
        if a.dtype.is_inexact:
            fail(NotImplementedError, f"{name}: {unsupported(name, a.dtype)}")
        return map_(symbol, a, b, name=name)

    body.__name__, body.__doc__ = name, doc
    return op(grad=NONE, inplace=True)(body)


bitwise_and = bitwise("bitwise_and", "The bits set in both.", "and")
bitwise_or = bitwise("bitwise_or", "The bits set in one or both.", "or")
bitwise_xor = bitwise("bitwise_xor", "The bits set in exactly one.", "xor")
bitwise_left_shift = bitwise("bitwise_left_shift", "self * 2**other, in the bits that there are.", "shl")
bitwise_right_shift = bitwise("bitwise_right_shift", "floor(self / 2**other).", "shr")


@composite(function=False)
def __lshift__(input: Any, other: Any) -> Any:
    """input * 2**other."""
    return (
        input * _pow_tensor(2.0, other) if input.dtype.is_floating_point else bitwise_left_shift(input, other)
    )


@composite(function=False)
def __rshift__(input: Any, other: Any) -> Any:
    """input / 2**other, for integers floored."""
    return (
        input / _pow_tensor(2.0, other)
        if input.dtype.is_floating_point
        else bitwise_right_shift(input, other)
    )


@op(
    method=False,
    function=False,
    node="WhereBackward0",
    grad={
        "self": lambda grad, condition: _where(condition, grad, 0),
        "other": lambda grad, condition: _where(condition, 0, grad),
    },
)
def _where(condition: T, self: TN, other: TN) -> Any:
    """self where the condition is true, else other."""
    if condition.dtype is not bool_:
        if condition.dtype.name != "uint8":
            fail(
                RuntimeError,
                f"where expected condition to be a boolean tensor, but got a tensor with dtype {condition.dtype.name.capitalize()}",
            )
        condition = truth(condition)
    a, b = both(self, other)
    return map_("select", condition, a, b, name="where")


NUMBERS, FRACTIONS = {bool, int, float, complex}, {float, complex}


@composite(method=False)
def where(condition: Any, input: Any = None, other: Any = None, *, out: Any = None) -> Any:
    """input where condition is true, else other; with the condition alone: its nonzero positions."""
    if input is None and other is None:
        from .entry import FUNCTIONS

        return FUNCTIONS["nonzero"](condition, as_tuple=True)
    for number, beside in ((input, other), (other, input)):
        if type(number) is int and hasattr(beside, "dtype") and not beside.dtype.is_inexact:
            check_fits(beside.dtype, number)
    result = _where(condition, input, other)
    kinds = {type(input), type(other)}
    if kinds <= NUMBERS and kinds & FRACTIONS:
        d = default_dtype()
        result = result.to(d if not result.dtype.is_complex else d.to_complex())
    return result if out is None else into(out, result)


@composite(function=False, name="where")
def _where_method(input: Any, condition: Any, other: Any) -> Any:
    """input where condition is true, else other."""
    return where(condition, input, other)


@op(
    inplace=True,
    grad={
        "self": lambda grad, mask: _where(mask, 0, grad),
        "value": lambda grad, mask: _where(mask, grad, 0).sum(),
    },
    check=fits,
)
def masked_fill(self: T, mask: T, value: TN) -> Any:
    """value where mask is true, else self."""
    if mask.dtype is not bool_:
        fail(
            RuntimeError,
            f"masked_fill: masked_fill only supports boolean masks, but got mask with dtype {mask.dtype.name}",
        )
    if value.ndim:
        fail(
            RuntimeError,
            f"masked_fill_ only supports a 0-dimensional value tensor, but got tensor with {value.ndim} dimension(s).",
        )
    if value.level and value.dtype.is_complex and not self.dtype.is_complex and self.dtype is not bool_:
        kind = self.dtype.in_c
        fail(RuntimeError, f"masked_fill: value cannot be converted to type {kind} without overflow")
    return contiguous(map_("select", mask, element(value, self.dtype), self, name="masked_fill"))


# --- bounds -------------------------------------------------------------------------------------------------------


def _inside(x: Any, lo: Any, hi: Any) -> Any:
    if lo is None:
        return x <= hi
    if hi is None:
        return x >= lo
    return (x >= lo) & (x <= hi)


def _clamp_lo(grad: Any, self: Any, min: Any, max: Any) -> Any:
    low = self < min
    return _where(low & (min < max) if max is not None else low, grad, 0)


def _clamp_hi(grad: Any, self: Any, min: Any, max: Any) -> Any:
    high = (self > max) | (max < min) if min is not None else self > max
    return _where(high, grad, 0)


def _bounds_fit(self: Any, min: Any = None, max: Any = None) -> None:
    """RuntimeError for a bound that the result's dtype does not hold, where that is the dtype of what is clamped."""
    d = self._meta.dtype
    if d.is_inexact and _every_float(min) and _every_float(max):
        return
    if d.is_floating_point or _WHOLE.issuperset((type(min), type(max))):
        check_fits(d, min)
        check_fits(d, max)


def _every_float(bound: Any) -> bool:
    """Whether a bound is a number that every dtype of floats holds, or none."""
    return bound is None or (type(bound) in _NUMBERS and -65504 <= bound <= 65504)


_WHOLE, _NUMBERS = frozenset((int, bool, type(None))), frozenset((float, int))


@op(
    inplace=True,
    check=_bounds_fit,
    aliases=("clip",),
    grad={
        "self": lambda grad, self, min, max: _where(_inside(self, min, max), grad, 0),
        "min": _clamp_lo,
        "max": _clamp_hi,
    },
)
def clamp(self: T, min: OTN = None, max: OTN = None) -> Any:
    """self held within [min, max] (numbers or tensors; None: no bound)."""
    if min is None and max is None:
        fail(RuntimeError, "clamp: At least one of 'min' or 'max' must not be None")
    d = promote(*[v for v in (self, min, max) if v is not None])
    x = cast(self, d)
    if d is bool_ and (min is None or max is None):
        bound = min if max is None else max
        if type(bound) is Val and bound.level:  # as in PyTorch: of one bound, which is a tensor
            return map_("and" if min is None else "or", x, cast(bound, d), name="clamp")
    for bound, kind, beyond in ((min, "max", "lt"), (max, "min", "gt")):
        if bound is None:
            continue
        to = cast(bound, d)
        if not d.is_floating_point:
            x = map_(kind, x, to, name="clamp")
            continue
        # a bound is mostly a number, whose NaN is looked for once: half of the instructions that `max` and `min` take
        taken = map_("or", map_(beyond, x, to, out=bool_, name="clamp"), map_("ne", to, to, out=bool_))
        x = map_("select", taken, to, x, name="clamp")
    return x


@composite()
def clamp_min(input: Any, min: Any, *, out: Any = None) -> Any:
    """input, at least min."""
    return clamp(input, min=min, out=out)


@composite()
def clamp_max(input: Any, max: Any, *, out: Any = None) -> Any:
    """input, at most max."""
    return clamp(input, max=max, out=out)


@composite(function=True)
def clamp_min_(input: Any, min: Any) -> Any:
    """input, at least min, in place."""
    from .entry import FUNCTIONS

    return FUNCTIONS["clamp_"](input, min=min)


@composite(function=True)
def clamp_max_(input: Any, max: Any) -> Any:
    """input, at most max, in place."""
    from .entry import FUNCTIONS

    return FUNCTIONS["clamp_"](input, max=max)


def _share(grad: Any, mine: Any, other: Any, better: Any) -> Any:
    return _where(mine == other, grad / 2, _where(better, grad, 0))


def extremum(name: str, doc: str, symbol: str, first: Callable[[Any, Any], Any]) -> Any:
    """Declare the larger or smaller of two, where NaN wins."""

    def body(self: T, other: T) -> Any:
        a, b = both(self, other)
        return map_(symbol if a.dtype is not bool_ else {"max": "or", "min": "and"}[symbol], a, b, name=name)

    body.__name__, body.__doc__ = name, doc
    grad = {
        "self": lambda grad, self, other: _share(grad, self, other, first(self, other)),
        "other": lambda grad, self, other: _share(grad, other, self, first(other, self)),
    }
    return op(grad=grad)(body)


maximum = extremum("maximum", "The larger of two; NaN wins.", "max", lambda a, b: a > b)
minimum = extremum("minimum", "The smaller of two; NaN wins.", "min", lambda a, b: a < b)


def quiet_extremum(name: str, doc: str, symbol: str) -> Any:
    """Declare the larger or smaller of two, where a number wins over NaN."""

    def body(self: T, other: T) -> Any:
        a, b = both(self, other)
        best = map_("select", map_(symbol, a, b, out=bool_, name=name), a, b)
        if not a.dtype.is_floating_point:
            return best
        return map_(
            "select", map_("ne", b, b, out=bool_), a, map_("select", map_("ne", a, a, out=bool_), b, best)
        )

    body.__name__, body.__doc__ = name, doc
    grad = {
        "self": lambda grad, self, result: _where(self == result, grad, 0),
        "other": lambda grad, self, result: _where(self == result, 0, grad),
    }
    return op(grad=grad)(body)


fmax = quiet_extremum("fmax", "The larger of two; a number wins over NaN.", "ge")
fmin = quiet_extremum("fmin", "The smaller of two; a number wins over NaN.", "le")


# --- powers -------------------------------------------------------------------------------------------------------


def _pow_self(grad: Any, self: Any, exponent: Any) -> Any:
    if isinstance(exponent, (int, float)):
        return grad * 0 if exponent == 0 else grad * (exponent * self.pow(exponent - 1))
    return _where(exponent == 0, 0, grad * (exponent * self.pow(exponent - 1)))


def _pow_exponent(grad: Any, self: Any, exponent: Any, result: Any) -> Any:
    if isinstance(self, (int, float)) and exponent.dtype.is_complex:
        return grad * (result * cmath.log(self)) if self else grad * 0
    if isinstance(self, (int, float)):
        log = math.log(self) if self > 0 else -math.inf if self == 0 else math.nan
        slope = grad * (result * log)
        return slope if self else _where(exponent >= 0, 0, slope)
    least = exponent.real if exponent.dtype.is_complex else exponent
    return _where((self == 0) & (least >= 0), 0, grad * (result * self.log()))


@op(method=False, function=False, inplace=True, node="PowBackward0", grad={"self": _pow_self})
def _pow_number(self: T, exponent: number) -> Any:  # type: ignore[name-defined]  # noqa: F821
    """self ** exponent for a number that is part of the structure."""
    d = self.dtype
    if d is bool_:
        d = promote(self, as_val(exponent))
    if not d.is_inexact and isinstance(exponent, float):
        d = default_dtype()
    x = cast(self, d)
    if not d.is_inexact and exponent < 0:
        fail(RuntimeError, "pow: Integers to negative integer powers are not allowed.")
    simple = {
        0: lambda: map_(
            "mul",
            map_("copy", const(1, d)),
            map_("select", map_("eq", x, x, out=bool_), const(1, d), const(1, d)),
        ),
        1: lambda: map_("copy", x),
        2: lambda: map_("mul", x, x),
        3: lambda: map_("mul", map_("mul", x, x), x),
        0.5: lambda: map_("sqrt", x),
        -0.5: lambda: map_("div", const(1, d), map_("sqrt", x)),
        -1: lambda: map_("div", const(1, d), x),
        -2: lambda: map_("div", const(1, d), map_("mul", x, x)),
    }
    if exponent in simple and (d.is_inexact or exponent >= 0):
        return simple[exponent]()
    return integer_power(x, int(exponent)) if not d.is_inexact else map_("pow", x, fixed(exponent, d))


@op(method=False, function=False, inplace=True, node="PowBackward0", grad={"self": _pow_self})
def _pow_argument(self: T, exponent: N) -> Any:
    """self ** exponent for a number that is an argument."""
    return map_("pow", self, cast(as_val(exponent), self.dtype), name="pow")


SIMPLE = frozenset((0, 1, 2, 3, 0.5, -0.5, -1, -2))  # exponents that are no powers to compute
FEW = 8
EXPONENTS: set[float] = set()  # others that are part of kernels, which then take a tenth less time


def _power(self: Any, exponent: Any, suffix: str = "") -> Any:
    """self ** exponent for a number: each of the first few has kernels of its own, all others share theirs."""
    from .entry import FUNCTIONS

    # The gradient's exponent is less by one: a square root has other bits than a power.
    baked = exponent in SIMPLE or exponent - 1 in SIMPLE or exponent in EXPONENTS
    if not baked and type(self) is not Val and self.dtype in (float32, float64):
        if len(EXPONENTS) >= FEW:
            return FUNCTIONS["_pow_argument" + suffix](self, exponent)
        EXPONENTS.add(exponent)
    return FUNCTIONS["_pow_number" + suffix](self, exponent)


def integer_power(x: Val, n: int) -> Val:
    """x ** n by squaring."""
    result = const(1, x.dtype)
    while n:
        if n & 1:
            result = map_("mul", result, x)
        n >>= 1
        if n:
            x = map_("mul", x, x)
    return result


@op(
    method=False,
    function=False,
    inplace=True,
    node="PowBackward1",
    grad={"self": _pow_self, "exponent": _pow_exponent},
)
def _pow_tensor(self: TN, exponent: T) -> Any:
    """self ** exponent for tensors."""
    a, b = both(self, exponent)
    if a.dtype.is_inexact:
        return map_("pow", a, b, name="pow")
    if a.dtype is bool_:
        return map_("or", a, map_("not", b))
    result = map_("pow", a, b, name="pow")
    if not a.dtype.is_signed:
        return result
    negative = map_("lt", b, const(0, b.dtype), out=bool_)
    one, minus = map_("eq", a, const(1, a.dtype), out=bool_), map_("eq", a, const(-1, a.dtype), out=bool_)
    odd = map_("ne", map_("and", b, const(1, b.dtype)), const(0, b.dtype), out=bool_)
    unit = map_("select", odd, const(-1, a.dtype), const(1, a.dtype))
    small = map_("select", one, const(1, a.dtype), map_("select", minus, unit, const(0, a.dtype)))
    return map_("select", negative, small, result)


@composite()
def pow(input: Any, exponent: Any, *, out: Any = None) -> Any:
    """input ** exponent, for tensors and numbers."""
    if hasattr(exponent, "_meta") or type(exponent) is Val:
        result = _pow_tensor(input, exponent)
    elif hasattr(input, "_meta") or type(input) is Val:
        if isinstance(exponent, complex):
            result = _pow_tensor(input, complex_number(exponent))
        elif not isinstance(exponent, (int, float)):
            return NotImplemented
        else:
            result = _pow_number(input, exponent) if exponent in SIMPLE else _power(input, exponent)
    else:
        fail(TypeError, "pow(): one of the two arguments must be a Tensor", input=input, exponent=exponent)
    return result if out is None else into(out, result)


@composite(function=False)
def pow_(input: Any, exponent: Any) -> Any:
    """input ** exponent, in place."""
    from .entry import FUNCTIONS

    if isinstance(exponent, complex):
        exponent = complex_number(exponent)
    return (
        FUNCTIONS["_pow_tensor_"](input, exponent)
        if hasattr(exponent, "_meta")
        else _power(input, exponent, "_")
    )


@composite(function=False)
def __rpow__(input: Any, other: Any) -> Any:
    """other ** input."""
    known = isinstance(other, (int, float, complex)) or hasattr(other, "_meta") or type(other) is Val
    return _pow_tensor(other, input) if known else NotImplemented
