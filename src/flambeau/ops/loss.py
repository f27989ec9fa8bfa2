"""Losses of two tensors of one shape."""

from __future__ import annotations

from typing import Any

from ..stream.graph import Val, const, map_, reduce_
from .elementwise import floats
from .entry import T, composite, op
from .loss_class import legacy


def reduce_loss(x: Val, reduction: str) -> Val:
    """A loss as it is, its sum, or its mean."""
    if reduction == "none":
        return x
    total = reduce_("add", x, tuple(range(x.ndim)))
    if reduction == "sum":
        return total
    n = 1
    for e in x.shape:
        n *= e
    return map_("div", total, const(n, x.dtype))


def loss_scale(grad: Any, n: int, reduction: str) -> Any:
    """The gradient of each element's loss."""
    return grad / n if reduction == "mean" else grad


def warn_broadcast(name: str, input: Any, target: Any) -> None:
    if tuple(input.shape) != tuple(target.shape):
        import warnings

        warnings.warn(
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}). This will likely lead to incorrect "
            "results due to broadcasting. Please ensure they have the same size.",
            stacklevel=3,
        )


def _mse_back(grad: Any, self: Any, target: Any, reduction: str, sign: int) -> Any:
    d = self - target
    n = 1
    for e in d.shape:
        n *= e
    return loss_scale(grad, n, reduction) * (d * (2.0 * sign))


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
    input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean", weight: Any = None
) -> Any:
    """(input - target)**2: its mean, its sum, or all of it."""
    warn_broadcast("mse_loss", input, target)
    reduction = legacy(size_average, reduce, reduction)
    if weight is not None:
        return _weighted_mse(input, target, weight, reduction)
    return _mse_loss(input, target, reduction)


def _weighted_mse(input: Any, target: Any, weight: Any, reduction: str) -> Any:
    loss = (input - target) ** 2 * weight
    if reduction == "none":
        return loss
    return loss.sum() if reduction == "sum" else loss.sum() / weight.sum()
