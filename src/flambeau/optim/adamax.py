"""Adamax (Kingma and Ba, 2015, section 7.1)."""

from __future__ import annotations

from typing import Any

import flambeau as torch

from .apply import direction, number, plus_quotient
from .arguments import check, check_betas
from .per_tensor import PerTensorOptimizer, Values


def adamax_rule(
    p: Any, g: Any, exp_avg: Any, exp_inf: Any, *, step_size: Any, rest1: Any, beta2: Any, eps: Any,
    weight_decay: Any = 0, maximize: bool, decay: bool,
) -> tuple[Any, ...]:  # fmt: skip
    """m = b1 m + (1-b1) g; u = max(b2 u, |g| + eps); p -= lr/(1-b1^t) m / u."""
    g = direction(p, g, weight_decay, decay, maximize)
    exp_avg = torch.lerp(exp_avg, g, rest1)
    exp_inf = torch.maximum(exp_inf * beta2, torch.abs(g) + eps)
    return plus_quotient(p, exp_avg, exp_inf, -step_size), exp_avg, exp_inf


class Adamax(PerTensorOptimizer):
    """Adam with the infinity norm in place of the second moment."""

    rule = adamax_rule

    def __init__(
        self, params: Any, lr: Any = 2e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, foreach: bool | None = None, *, maximize: bool = False,
        differentiable: bool = False, capturable: bool = False,
    ):  # fmt: skip
        check("Adamax", lr=lr, eps=eps, weight_decay=weight_decay)
        check_betas("Adamax", betas)
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "foreach": foreach}
        defaults |= {"maximize": maximize, "differentiable": differentiable, "capturable": capturable}
        super().__init__(params, defaults)

    def tensor_state(self, group: dict[str, Any], p: Any) -> tuple[str, ...]:
        """Average of the gradient, running maximum of its size."""
        return ("exp_avg", "exp_inf")

    def numbers(self, group: dict[str, Any], now: Values, p: Any) -> dict[str, Any]:
        """Step size and decay rates."""
        lr, (beta1, beta2) = number(group["lr"]), group["betas"]
        numbers = {"step_size": lr / (1 - beta1 ** now["step"]), "rest1": 1 - beta1, "beta2": beta2}
        return numbers | {"eps": group["eps"], "weight_decay": group["weight_decay"]}
