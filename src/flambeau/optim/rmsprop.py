"""RMSprop (Hinton, 2012), its centered form (Graves, 2013)."""

from __future__ import annotations

from typing import Any

import flambeau as torch

from .apply import direction, number, plus, plus_quotient
from .arguments import check
from .per_tensor import PerTensorOptimizer, Values


def rmsprop_rule(
    p: Any, g: Any, square_avg: Any, *more: Any, lr: Any, alpha: Any, rest: Any, eps: Any, momentum: Any,
    weight_decay: Any = 0, maximize: bool, decay: bool, centered: bool, moving: bool,
) -> tuple[Any, ...]:  # fmt: skip
    """v = a v + (1-a) g²; s = sqrt(v - avg² if centered) + eps; p -= lr g/s, or buf = m buf + g/s; p -= lr buf."""
    g = direction(p, g, weight_decay, decay, maximize)
    square_avg = torch.addcmul(square_avg * alpha, g, g, value=rest)
    scale, states = square_avg, [square_avg]
    if centered:
        grad_avg = torch.lerp(more[-1], g, rest)
        scale = torch.addcmul(square_avg, grad_avg, grad_avg, value=-1)
        states.append(grad_avg)
    scale = torch.sqrt(scale) + eps
    if not moving:
        return plus_quotient(p, g, scale, -lr), *states
    buf = torch.addcdiv(more[0] * momentum, g, scale)
    return plus(p, buf, -lr), states[0], buf, *states[1:]


class RMSprop(PerTensorOptimizer):
    """Steps divided by the root of a running average of squared gradients, with momentum and centering as options."""

    rule = rmsprop_rule

    def __init__(
        self, params: Any, lr: Any = 1e-2, alpha: float = 0.99, eps: float = 1e-8, weight_decay: float = 0,
        momentum: float = 0, centered: bool = False, capturable: bool = False, foreach: bool | None = None,
        maximize: bool = False, differentiable: bool = False,
    ):  # fmt: skip
        check("RMSprop", lr=lr, eps=eps, momentum=momentum, weight_decay=weight_decay, alpha=alpha)
        defaults = {"lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered}
        defaults |= {"weight_decay": weight_decay, "capturable": capturable, "foreach": foreach}
        super().__init__(params, defaults | {"maximize": maximize, "differentiable": differentiable})

    def tensor_state(self, group: dict[str, Any], p: Any) -> tuple[str, ...]:
        """Average of squares; momentum buffer and average of the gradient where the options ask for them."""
        return (
            "square_avg",
            *(("momentum_buffer",) if group["momentum"] > 0 else ()),
            *(("grad_avg",) if group["centered"] else ()),
        )

    def numbers(self, group: dict[str, Any], now: Values, p: Any) -> dict[str, Any]:
        """The options, as numbers."""
        names = ("lr", "alpha", "eps", "momentum", "weight_decay")
        return {name: number(group[name]) for name in names} | {"rest": 1 - group["alpha"]}

    def statics(self, group: dict[str, Any], now: Values, first: bool) -> dict[str, Any]:
        """Which terms the formula has."""
        flags = {"centered": group["centered"], "moving": group["momentum"] > 0}
        return super().statics(group, now, first) | flags
