"""Losses of two tensors of one shape."""

from __future__ import annotations

from typing import Any

from ..dtypes import bool_
from ..shapes import numel
from ..stream.graph import Val, cast, const, map_, reduce_
from .activation import log_sigmoid, number
from .compare import _where
from .elementwise import floats
from .entry import OT, N, T, composite, op
from .loss_class import legacy
from .rules import broken


def reduce_loss(x: Val, reduction: str) -> Val:
    """A loss as it is, its sum, or its mean."""
    if reduction == "none":
        return x
    total = reduce_("add", x, tuple(range(x.ndim)))
    if reduction == "sum":
        return total
    return map_("div", total, const(numel(x.shape), x.dtype))


def loss_scale(grad: Any, n: int, reduction: str) -> Any:
    """The gradient of each element's loss."""
    return grad / (n or float("nan")) if reduction == "mean" else grad


def warn_broadcast(name: str, input: Any, target: Any) -> None:
    """A warning if the two shapes differ."""
    if tuple(input.shape) != tuple(target.shape):
        import warnings

        warnings.warn(
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}). This will likely lead to incorrect "
            "results due to broadcasting. Please ensure they have the same size.",
            stacklevel=3,
        )


def _mse_back(grad: Any, self: Any, target: Any, reduction: str, sign: int) -> Any:
    d = self - target
    return loss_scale(grad, numel(d.shape), reduction) * (d * (2.0 * sign))


@op(
    method=False,
    function=False,
    node="MseLossBackward0",
    grad={
        "self": lambda grad, self, target, reduction: _mse_back(grad, self, target, reduction, 1),
        "target": lambda grad, self, target, reduction: _mse_back(grad, self, target, reduction, -1),
    },
)
def _mse_loss(self: T, target: T, reduction: str) -> Any:
    a, b = floats(self, target)
    d = map_("sub", a, b, name="mse_loss")
    return reduce_loss(map_("mul", d, d), reduction)


@composite(method=False, function=False, nn=True)
def mse_loss(
    input: Any,
    target: Any,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    weight: Any = None,
) -> Any:
    """(input - target)**2: its mean, its sum, or all of it."""
    warn_broadcast("mse_loss", input, target)
    reduction = legacy(size_average, reduce, reduction)
    if not input.dtype.is_inexact:
        broken("mse", input, target)
    if weight is not None:
        return _weighted_mse(input, target, weight, reduction)
    return _mse_loss(input, target, reduction)


def _weighted_mse(input: Any, target: Any, weight: Any, reduction: str) -> Any:
    loss = (input - target) ** 2 * weight
    if reduction == "none":
        return loss
    return loss.sum() if reduction == "sum" else loss.sum() / weight.sum()


# --- of pairs of elements -----------------------------------------------------------------------------------------


def _difference(name: str, self: Val, target: Val) -> Val:
    a, b = floats(self, target)
    return map_("sub", a, b, name=name)


def _each(grad: Any, like: Any, reduction: str) -> Any:
    return loss_scale(grad, numel(like.shape), reduction)


def _l1_back(grad: Any, self: Any, target: Any, reduction: str, sign: int) -> Any:
    d = self - target
    return _each(grad, d, reduction) * ((d.sgn().conj() if d.dtype.is_complex else d.sign()) * sign)


@op(
    method=False,
    function=False,
    nn=True,
    grad={
        "self": lambda grad, self, target, reduction: _l1_back(grad, self, target, reduction, 1),
        "target": lambda grad, self, target, reduction: _l1_back(grad, self, target, reduction, -1),
    },
)
def l1_loss(self: T, target: T, *, reduction: str = "mean") -> Any:
    """|x - y|."""
    return reduce_loss(map_("abs", _difference("l1_loss", self, target)), reduction)


def _capped_back(grad: Any, self: Any, target: Any, reduction: str, bound: Any, scale: Any) -> Any:
    """The gradient of a loss that is quadratic for |d| < bound: d / bound cut to [-1, 1], scaled."""
    d = self - target
    return _each(grad, d, reduction) * (d.clamp(-bound, bound) * scale)


@op(
    method=False,
    function=False,
    nn=True,
    grad={
        "self": lambda grad, self, target, reduction, beta: _capped_back(
            grad, self, target, reduction, beta, 1 / beta
        ),
        "target": lambda grad, self, target, reduction, beta: _capped_back(
            grad, self, target, reduction, beta, -1 / beta
        ),
    },
)
def smooth_l1_loss(self: T, target: T, *, reduction: str = "mean", beta: N = 1.0) -> Any:
    """0.5 d^2 / beta where d = |x - y| < beta, else d - 0.5 beta."""
    d = map_("abs", _difference("smooth_l1_loss", self, target))
    bound = number(beta, d)
    near = map_("div", map_("mul", map_("mul", d, d), const(0.5, d.dtype)), bound)
    far = map_("sub", d, number(0.5 * beta, d))
    return reduce_loss(map_("select", map_("lt", d, bound, out=bool_), near, far), reduction)


@op(
    method=False,
    function=False,
    nn=True,
    grad={
        "self": lambda grad, self, target, reduction, delta: _capped_back(
            grad, self, target, reduction, delta, 1.0
        ),
        "target": lambda grad, self, target, reduction, delta: _capped_back(
            grad, self, target, reduction, delta, -1.0
        ),
    },
)
def huber_loss(self: T, target: T, *, reduction: str = "mean", delta: N = 1.0) -> Any:
    """0.5 d^2 where d = |x - y| < delta, else delta (d - 0.5 delta)."""
    d = map_("abs", _difference("huber_loss", self, target))
    near = map_("mul", map_("mul", d, d), const(0.5, d.dtype))
    bound = number(delta, d)
    far = map_("mul", map_("sub", d, number(0.5 * delta, d)), bound)
    return reduce_loss(map_("select", map_("lt", d, bound, out=bool_), near, far), reduction)


# --- of probabilities ---------------------------------------------------------------------------------------------


def _kl_target(grad: Any, self: Any, target: Any, reduction: str, log_target: bool) -> Any:
    scale = _each(grad, self, reduction)
    if log_target:
        return scale * (target.exp() * (target - self + 1))
    return _where(target == 0, scale * -self, scale * (target.log() + 1 - self))


@op(
    method=False,
    function=False,
    nn=True,
    grad={
        "self": lambda grad, self, target, reduction, log_target: (
            _each(grad, self * target, reduction) * -(target.exp() if log_target else target)
        ),
        "target": _kl_target,
    },
)
def kl_div(self: T, target: T, *, reduction: str = "mean", log_target: bool = False) -> Any:
    """y (log y - x), 0 where y = 0; x is a log-probability, and so is y if log_target."""
    x, y = floats(self, target)
    if log_target:
        return reduce_loss(map_("mul", map_("exp", y), map_("sub", y, x, name="kl_div")), reduction)
    zero = const(0, y.dtype)
    entropy = map_("select", map_("eq", y, zero, out=bool_), zero, map_("mul", y, map_("log", y)))
    return reduce_loss(map_("sub", entropy, map_("mul", y, x, name="kl_div")), reduction)


def _log_at_least(x: Val, fn: str) -> Val:
    return map_("max", map_(fn, x), const(-100, x.dtype))


def _bce_self(grad: Any, self: Any, target: Any, weight: Any, reduction: str) -> Any:
    slope = (self - target) / ((1 - self) * self).clamp(min=1e-12)
    return _each(grad, self, reduction) * (slope if weight is None else slope * weight)


def _bce_target(grad: Any, self: Any, target: Any, weight: Any, reduction: str) -> Any:
    slope = (-self).log1p().clamp(min=-100) - self.log().clamp(min=-100)
    return _each(grad, self, reduction) * (slope if weight is None else slope * weight)


@op(method=False, function=False, nn=True, grad={"self": _bce_self, "target": _bce_target})
def binary_cross_entropy(self: T, target: T, weight: OT = None, *, reduction: str = "mean") -> Any:
    """-(y log x + (1 - y) log(1 - x)), the logarithms at least -100."""
    one = const(1, self.dtype)
    y = cast(target, self.dtype)
    low = map_("mul", map_("sub", y, one), _log_at_least(map_("neg", self), "log1p"))
    loss = map_("sub", low, map_("mul", y, _log_at_least(self, "log")))
    return reduce_loss(loss if weight is None else map_("mul", loss, cast(weight, self.dtype)), reduction)


def _logits_parts(x: Any, y: Any, pos_weight: Any) -> Any:
    """The gradient of each element: (1 - y) s - y p (1 - s), s = sigmoid(x)."""
    s = x.sigmoid()
    if pos_weight is None:
        return s - y
    return (1 - y) * s - y * pos_weight * (1 - s)


def _logits_self(grad: Any, self: Any, target: Any, weight: Any, pos_weight: Any, reduction: str) -> Any:
    slope = _logits_parts(self, target, pos_weight)
    return _each(grad, self, reduction) * (slope if weight is None else slope * weight)


def _logits_target(grad: Any, self: Any, target: Any, weight: Any, pos_weight: Any, reduction: str) -> Any:
    slope = -self
    if pos_weight is not None:
        slope = slope + (pos_weight - 1) * _soft(-self)
    return _each(grad, self, reduction) * (slope if weight is None else slope * weight)


def _soft(x: Any) -> Any:
    return x.clamp(min=0) + (-x.abs()).exp().log1p()


def _logits_weight(grad: Any, self: Any, target: Any, pos_weight: Any, reduction: str) -> Any:
    soft = _soft(-self)
    loss = (1 - target) * self + (soft if pos_weight is None else ((pos_weight - 1) * target + 1) * soft)
    return _each(grad, self, reduction) * loss


def _logits_pos(grad: Any, self: Any, target: Any, weight: Any, reduction: str) -> Any:
    slope = target * _soft(-self)
    return _each(grad, self, reduction) * (slope if weight is None else slope * weight)


@op(
    method=False,
    function=False,
    nn=True,
    grad={
        "self": _logits_self,
        "target": _logits_target,
        "weight": _logits_weight,
        "pos_weight": _logits_pos,
    },
)
def binary_cross_entropy_with_logits(
    self: T, target: T, weight: OT = None, *, reduction: str = "mean", pos_weight: OT = None
) -> Any:
    """(1 - y) x - (1 + (pos_weight - 1) y) log sigmoid(x)."""
    d = self.dtype
    y, one = cast(target, d), const(1, d)
    log = log_sigmoid(self)
    if pos_weight is not None:
        log = map_("mul", log, map_("add", map_("mul", map_("sub", cast(pos_weight, d), one), y), one))
    loss = map_("sub", map_("mul", map_("sub", one, y), self), log)
    return reduce_loss(loss if weight is None else map_("mul", loss, cast(weight, d)), reduction)
