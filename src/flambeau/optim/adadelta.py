"""Adadelta (Zeiler, 2012)."""

from __future__ import annotations

from typing import Any

import flambeau as torch

from ..errors import fail
from .apply import direction, number, plus
from .arguments import check
from .per_tensor import PerTensorOptimizer, Values


def adadelta_rule(
    p: Any, g: Any, square_avg: Any, acc_delta: Any, *, lr: Any, rho: Any, rest: Any, eps: Any,
    weight_decay: Any = 0, maximize: bool, decay: bool,
) -> tuple[Any, ...]:  # fmt: skip
    """v = rho v + (1-rho) g²; d = sqrt(u + eps)/sqrt(v + eps) g; u = rho u + (1-rho) d²; p -= lr d."""
    g = direction(p, g, weight_decay, decay, maximize)
    square_avg = torch.addcmul(square_avg * rho, g, g, value=rest)
    delta = torch.sqrt(acc_delta + eps) / torch.sqrt(square_avg + eps) * g
    acc_delta = torch.addcmul(acc_delta * rho, delta, delta, value=rest)
    return plus(p, delta, -lr), square_avg, acc_delta


class Adadelta(PerTensorOptimizer):
    """Steps in the units of the parameter: scaled by the running size of earlier steps over that of gradients."""

    rule = adadelta_rule

    def __init__(
        self, params: Any, lr: Any = 1.0, rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0,
        foreach: bool | None = None, *, capturable: bool = False, maximize: bool = False,
        differentiable: bool = False,
    ):  # fmt: skip
        check("Adadelta", lr=lr, eps=eps, weight_decay=weight_decay)
        if not 0.0 <= rho <= 1.0:
            fail(ValueError, f"Adadelta: Invalid rho value: {rho}")
        defaults = {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        defaults |= {"capturable": capturable, "foreach": foreach, "differentiable": differentiable}
        super().__init__(params, defaults)

    def tensor_state(self, group: dict[str, Any], p: Any) -> tuple[str, ...]:
        """Averages of the squares of gradients and of steps."""
        return ("square_avg", "acc_delta")

    def numbers(self, group: dict[str, Any], now: Values, p: Any) -> dict[str, Any]:
        """The options, as numbers."""
        numbers = {name: number(group[name]) for name in ("lr", "rho", "eps", "weight_decay")}
        return numbers | {"rest": 1 - group["rho"]}
