"""Activation functions: each one kernel forward and one backward."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..dtypes import bool_
from ..errors import fail
from ..shapes import dense_strides_like, numel, wrap_dim
from ..stream.graph import Val, cast, const, contiguous, laid_out, map_
from .compare import _where
from .entry import FUNCTIONS, N, T, composite, op, publish
from .rules import fits, unsupported

SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def floating(name: str, x: Val) -> Val:
    """The operand, which must be floating point; PyTorch's NotImplementedError if it is not."""
    if not x.dtype.is_floating_point:
        fail(NotImplementedError, f"{name}: {unsupported(name, x.dtype)}")
    return x


def number(value: Any, x: Val) -> Val:
    """A number in the operand's dtype."""
    return cast(value, x.dtype) if type(value) is Val else const(value, x.dtype)


def above(x: Val, bound: Val) -> Val:
    """Whether each element is above a bound."""
    return map_("gt", x, bound, out=bool_)


def choose(test: Val, yes: Val, no: Val) -> Val:
    """One of two values by a test."""
    return map_("select", test, yes, no)


def written(
    name: str, gradient: Callable[..., Any], function: bool = False, method: bool = False
) -> Callable[..., Any]:
    """Declare `name_`: the in-place form of an op whose own gradient needs what is overwritten; this one uses the result."""

    def declare(body: Callable[..., Any]) -> Callable[..., Any]:
        title = "".join(w.capitalize() for w in name.split("_")) + "Backward1"
        op(name="_" + name, inplace=True, method=False, function=False, node=title, grad={"self": gradient})(
            body
        )
        facts = {"function": function, "method": method, "nn": True}
        publish(name + "_", FUNCTIONS[f"_{name}_"], facts)
        return body

    return declare


# --- piecewise linear ---------------------------------------------------------------------------------------------


@op(inplace=True, nn=True, grad={"self": lambda grad, result: _where(result <= 0, 0, grad)})
def relu(self: T) -> Any:
    """max(x, 0)."""
    if self.dtype is bool_:
        fail(RuntimeError, "relu: Boolean inputs not supported for relu")
    return map_("max", self, const(0, self.dtype))


def _hardtanh(self: Val, low: Any, high: Any) -> Val:
    return map_("min", map_("max", self, number(low, self)), number(high, self))


def _between(grad: Any, x: Any, low: Any, high: Any) -> Any:
    return _where((x > low) & (x < high), grad, 0)


@op(
    inplace=True,
    method=False,
    function=False,
    nn=True,
    grad={"self": lambda grad, result, min_val, max_val: _between(grad, result, min_val, max_val)},
)
def hardtanh(self: T, min_val: N = -1, max_val: N = 1) -> Any:
    """x cut to [min_val, max_val]."""
    return _hardtanh(self, min_val, max_val)


@op(
    inplace=True,
    method=False,
    function=False,
    nn=True,
    node="HardtanhBackward0",
    grad={"self": lambda grad, result: _between(grad, result, 0, 6)},
)
def relu6(self: T) -> Any:
    """x cut to [0, 6]."""
    return _hardtanh(self, 0, 6)


@op(
    method=False,
    function=False,
    nn=True,
    grad={"self": lambda grad, self, negative_slope: _where(self > 0, grad, grad * negative_slope)},
)
def leaky_relu(self: T, negative_slope: N = 0.01) -> Any:
    """x where x > 0, else negative_slope x."""
    x = floating("leaky_relu", self)
    return choose(above(x, const(0, x.dtype)), x, map_("mul", x, number(negative_slope, x)))


@written("leaky_relu", lambda grad, result, negative_slope: _where(result > 0, grad, grad * negative_slope))
def _leaky_relu_(self: T, negative_slope: N = 0.01) -> Any:
    return leaky_relu(self, negative_slope)


@op(
    inplace=True,
    nn=True,
    method=False,
    check=fits,
    grad={"self": lambda grad, self, threshold: _where(self <= threshold, 0, grad)},
)
def threshold(self: T, threshold: N, value: N) -> Any:
    """x where x > threshold, else value."""
    low = map_("le", self, number(threshold, self), out=bool_)
    return choose(low, number(value, self), self)


@op(nn=True, grad={"self": lambda grad, self, lambd: _where((self >= -lambd) & (self <= lambd), 0, grad)})
def hardshrink(self: T, lambd: N = 0.5) -> Any:
    """x where |x| > lambd, else 0."""
    x = floating("hardshrink", self)
    inside = map_("le", map_("abs", x), number(lambd, x), out=bool_)
    return choose(inside, const(0, x.dtype), x)


@op(
    nn=True,
    method=False,
    function=False,
    grad={"self": lambda grad, self, lambd: _where((self >= -lambd) & (self <= lambd), 0, grad)},
)
def _softshrink(self: T, lambd: N = 0.5) -> Any:
    x = floating("softshrink", self)
    bound, zero = number(lambd, x), const(0, x.dtype)
    inside = map_("le", map_("abs", x), bound, out=bool_)
    moved = map_("sub", x, map_("copysign", bound, x))
    return choose(inside, zero, moved)


@composite(method=False, function=False, nn=True)
def softshrink(input: Any, lambd: float = 0.5, *, out: Any = None) -> Any:
    """x moved towards 0 by lambd."""
    if lambd < 0:
        fail(RuntimeError, f"softshrink: lambda must be greater or equal to 0, but found to be {lambd}.")
    return _softshrink(input, lambd, out=out)


@op(
    inplace=True,
    method=False,
    function=False,
    nn=True,
    grad={"self": lambda grad, self: _where((self > -3) & (self < 3), grad / 6, 0)},
)
def hardsigmoid(self: T) -> Any:
    """relu6(x + 3) / 6."""
    x = floating("hardsigmoid", self)
    return map_("div", _hardtanh(map_("add", x, const(3, x.dtype)), 0, 6), const(6, x.dtype))


def _hardswish_back(grad: Any, x: Any) -> Any:
    return _where(x <= -3, 0, _where(x < 3, grad * (x / 3 + 0.5), grad))


@op(
    inplace=True,
    method=False,
    function=False,
    nn=True,
    grad={"self": lambda grad, self: _hardswish_back(grad, self)},
)
def hardswish(self: T) -> Any:
    """x relu6(x + 3) / 6."""
    x = floating("hardswish", self)
    inner = _hardtanh(map_("add", x, const(3, x.dtype)), 0, 6)
    return map_("div", map_("mul", x, inner), const(6, x.dtype))


def _check_prelu(input: Any, weight: Any) -> None:
    if weight.ndim > 1:
        fail(
            RuntimeError,
            f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight.ndim}",
        )
    count = numel(weight.shape)
    if count == 1:
        return
    if input.ndim == 0:
        fail(RuntimeError, "prelu: Not allow zero-dim input tensor.")
    channels = input.shape[1] if input.ndim > 1 else 1
    if count != channels:
        fail(
            RuntimeError,
            f"prelu: Mismatch of parameter numbers and input channel size. Found parameter numbers = {count} and channel size = {channels}.",
        )


@op(
    method=False,
    function=False,
    grad={
        "self": lambda grad, self, weight: _where(self > 0, grad, grad * weight),
        "weight": lambda grad, self: _where(self > 0, 0, grad * self),
    },
)
def _prelu_kernel(self: T, weight: T) -> Any:
    x, w = floating("prelu", self), weight
    if x.dtype is not w.dtype:
        fail(RuntimeError, f"prelu: Type promoting not supported. Got {x.dtype} and {w.dtype}")
    return choose(above(x, const(0, x.dtype)), x, map_("mul", w, x))


@composite(nn=True)
def prelu(input: Any, weight: Any) -> Any:
    """x where x > 0, else weight x; weight: one number, or one for each channel (dimension 1)."""
    _check_prelu(input, weight)
    if numel(weight.shape) != 1:
        weight = weight.reshape(
            [-1 if d == 1 else 1 for d in range(max(input.ndim, 2))][: max(input.ndim, 1)]
            if input.ndim > 1
            else [-1]
        )
    elif weight.ndim != input.ndim:
        weight = weight.reshape([1] * input.ndim)
    return _prelu_kernel(input, weight)


@op(
    method=False,
    function=False,
    node="RreluWithNoiseBackward0",
    grad={"self": lambda grad, noise: grad * noise},
)
def _scaled_by(self: T, noise: T) -> Any:
    return contiguous(map_("mul", self, noise))


def _rrelu_noise(x: Any, lower: float, upper: float, generator: Any) -> Any:
    """A slope for each element that is not positive, 1 for the others."""
    from .absent import placed
    from .random import fresh

    with placed(x.device):
        drawn = fresh("uniform", tuple(x.shape), x.dtype, (float(lower), float(upper)), generator)
    return _where(x.detach() <= 0, drawn, 1)


def _check_slopes(lower: float, upper: float) -> None:
    if lower > upper:
        fail(
            RuntimeError,
            f"rrelu: Lower bound should be less than or equal to the upper bound; got {lower} and {upper}",
        )


@composite(method=False, nn=True)
def rrelu(
    input: Any, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, generator: Any = None
) -> Any:
    """Leaky relu whose slope is drawn from [lower, upper) for each element, their mean when not training."""
    _check_slopes(lower, upper)
    if not training:
        return leaky_relu(input, (lower + upper) / 2)
    return _scaled_by(input, _rrelu_noise(input, lower, upper, generator))


@composite(method=False, nn=True)
def rrelu_(
    input: Any, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, generator: Any = None
) -> Any:
    """`rrelu`, in place."""
    _check_slopes(lower, upper)
    if not training:
        return FUNCTIONS["_leaky_relu_"](input, (lower + upper) / 2)
    return input.mul_(_rrelu_noise(input, lower, upper, generator))


# --- exponential --------------------------------------------------------------------------------------------------


def exponential_unit(x: Val, alpha: Val, scale: Val | None = None, rate: Val | None = None) -> Val:
    """x where x > 0, else alpha (exp(x rate) - 1); all times scale."""
    low = map_("mul", alpha, map_("expm1", x if rate is None else map_("mul", x, rate)))
    out = choose(above(x, const(0, x.dtype)), x, low)
    return out if scale is None else map_("mul", out, scale)


@op(
    method=False,
    function=False,
    nn=True,
    grad={"self": lambda grad, self, alpha: _where(self > 0, grad, grad * (self.exp() * alpha))},
)
def elu(self: T, alpha: N = 1.0) -> Any:
    """x where x > 0, else alpha (exp(x) - 1)."""
    x = floating("elu", self)
    return exponential_unit(x, number(alpha, x))


@written("elu", lambda grad, result, alpha: _where(result > 0, grad, grad * (result + alpha)))
def _elu_(self: T, alpha: N = 1.0) -> Any:
    return elu(self, alpha)


_SELU = SELU_ALPHA * SELU_SCALE


@op(
    inplace=True,
    method=False,
    nn=True,
    node="EluBackward0",
    grad={"self": lambda grad, result: _where(result > 0, grad * SELU_SCALE, grad * (result + _SELU))},
)
def selu(self: T) -> Any:
    """1.0507 elu(x, 1.6733)."""
    x = floating("elu", self)
    return exponential_unit(x, const(SELU_ALPHA, x.dtype), const(SELU_SCALE, x.dtype))


@op(
    method=False,
    nn=True,
    grad={"self": lambda grad, self, alpha: _where(self > 0, grad, grad * (self / alpha).exp())},
)
def celu(self: T, alpha: N = 1.0) -> Any:
    """x where x > 0, else alpha (exp(x / alpha) - 1)."""
    x = floating("elu", self)
    if type(alpha) is not Val:
        if alpha == 0:
            fail(RuntimeError, "celu: ZeroDivisionError: alpha cannot be 0 for CELU")
        return exponential_unit(
            x, const(alpha, x.dtype), rate=None if alpha == 1 else const(1 / alpha, x.dtype)
        )
    a = number(alpha, x)
    return exponential_unit(x, a, rate=map_("div", const(1, x.dtype), a))


@written(
    "celu", lambda grad, result, alpha: _where(result > 0, grad, grad * (result / alpha + 1)), function=True
)
def _celu_(self: T, alpha: N = 1.0) -> Any:
    return celu(self, alpha)


def _silu_back(grad: Any, x: Any) -> Any:
    s = x.sigmoid()
    return grad * (s * (1 + x * (1 - s)))


@op(
    inplace=True,
    method=False,
    function=False,
    nn=True,
    grad={"self": lambda grad, self: _silu_back(grad, self)},
)
def silu(self: T) -> Any:
    """x sigmoid(x)."""
    x = self if self.dtype.is_complex else floating("silu", self)
    return map_("mul", x, map_("sigmoid", x))


@op(method=False, function=False)
def _tanh_softplus(self: T) -> Any:
    """tanh(log(1 + exp(x))) = n / (n + 2), where n = exp(x) (exp(x) + 2)."""
    e = map_("exp", map_("min", self, const(20, self.dtype)))
    n = map_("mul", e, map_("add", e, const(2, self.dtype)))
    return map_("div", n, map_("add", n, const(2, self.dtype)))


def _mish_back(grad: Any, x: Any) -> Any:
    t = _tanh_softplus(x) if type(x) is Val or not x.requires_grad else FUNCTIONS["log1p"](x.exp()).tanh()
    return grad * (t + x * x.sigmoid() * (1 - t * t))


@op(
    inplace=True,
    method=False,
    function=False,
    nn=True,
    grad={"self": lambda grad, self: _mish_back(grad, self)},
)
def mish(self: T) -> Any:
    """x tanh(log(1 + exp(x)))."""
    x = floating("mish", self)
    return map_("mul", x, _tanh_softplus(x))


def _gelu_erf_back(grad: Any, x: Any) -> Any:
    # First what the forward pass has as well: the factor is then computed there, and neither x nor cdf is kept.
    cdf = FUNCTIONS["special_ndtr"](x) * math.sqrt(2 * math.pi)
    return grad * ((cdf + x * (x * x * -0.5).exp()) * (1 / math.sqrt(2 * math.pi)))


def _gelu_tanh_back(grad: Any, x: Any) -> Any:
    square = x * x
    t = (x * (square * 0.044715 + 1) * math.sqrt(2 / math.pi)).tanh()
    slope = (square * (3 * 0.044715) + 1) * math.sqrt(2 / math.pi)
    return grad * ((t + 1) * 0.5 + x * 0.5 * (1 - t * t) * slope)


@op(
    inplace=True,
    method=False,
    function=False,
    nn=True,
    grad={
        "self": lambda grad, self, approximate: (
            _gelu_tanh_back if approximate == "tanh" else _gelu_erf_back
        )(grad, self)
    },
)
def gelu(self: T, *, approximate: str = "none") -> Any:
    """x Phi(x), Phi the normal distribution function (whose lower tail keeps its digits) or its tanh approximation."""
    if approximate not in ("none", "tanh"):
        fail(RuntimeError, "gelu: approximate argument must be either none or tanh.")
    x = floating("gelu", self)
    if approximate == "none":
        return map_("mul", x, map_("ndtr", x))
    half = map_("mul", x, const(0.5, x.dtype))
    cube = map_("add", map_("mul", map_("mul", x, x), const(0.044715, x.dtype)), const(1, x.dtype))
    inner = map_("mul", map_("mul", x, cube), const(math.sqrt(2 / math.pi), x.dtype))
    return map_("mul", half, map_("add", map_("tanh", inner), const(1, x.dtype)))


def _softplus_back(grad: Any, self: Any, beta: Any, threshold: Any) -> Any:
    z = self * beta
    return _where(z > threshold, grad, grad * z.sigmoid())


@op(method=False, function=False, nn=True, grad={"self": _softplus_back})
def softplus(self: T, beta: N = 1, threshold: N = 20) -> Any:
    """log(1 + exp(beta x)) / beta; x itself where beta x > threshold."""
    x = floating("softplus", self)
    b, z = number(beta, x), x
    plain = type(beta) is not Val and beta == 1
    if not plain:
        z = map_("mul", x, b)
    soft = map_("log1p", map_("exp", z))
    return choose(above(z, number(threshold, x)), x, soft if plain else map_("div", soft, b))


@op(
    method=False,
    function=False,
    nn=True,
    node="LogSigmoidBackward0",
    grad={"self": lambda grad, self: grad * (-self).sigmoid()},
)
def logsigmoid(self: T) -> Any:
    """log(1 / (1 + exp(-x))) = min(x, 0) - log(1 + exp(-|x|))."""
    return contiguous(log_sigmoid(floating("log_sigmoid", self)))


def log_sigmoid(x: Val) -> Val:
    """log(sigmoid(x)), without overflow."""
    low = map_("min", x, const(0, x.dtype))
    return map_("sub", low, map_("log1p", map_("exp", map_("neg", map_("abs", x)))))


# --- gates --------------------------------------------------------------------------------------------------------


def halves(x: Any, dim: int) -> tuple[Any, Any]:
    """The two halves along a dimension."""
    n = x.shape[dim] // 2
    return x.narrow(dim, 0, n), x.narrow(dim, n, n)


def _glu_back(grad: Any, self: Any, dim: int) -> Any:
    a, b = halves(self, wrap_dim(dim, self.ndim))
    s = b.sigmoid()
    return FUNCTIONS["cat"]([grad * s, grad * a * (s * (1 - s))], wrap_dim(dim, self.ndim))


@op(method=False, function=False, nn=True, grad={"self": _glu_back})
def glu(self: T, dim: int = -1) -> Any:
    """a sigmoid(b), where a and b are the halves of x along dim."""
    x = floating("glu", self)
    if x.ndim == 0:
        fail(RuntimeError, "glu does not support 0-dimensional tensors")
    d = wrap_dim(dim, x.ndim, "glu")
    if x.shape[d] % 2:
        fail(RuntimeError, f"glu: Halving dimension must be even, but dimension {d} is size {x.shape[d]}")
    a, b = halves(x, d)
    return laid_out(map_("mul", a, map_("sigmoid", b)), dense_strides_like(tuple(a.shape), a.strides))
