"""Adam (Kingma and Ba, 2015), AMSGrad (Reddi et al., 2018)."""

from __future__ import annotations

from typing import Any

import flambeau as torch

from .apply import direction, number, plus_product, plus_quotient
from .arguments import check, check_betas, check_fused, check_tensor_options
from .per_tensor import PerTensorOptimizer, Values


def adam_rule(
    p: Any, g: Any, exp_avg: Any, exp_avg_sq: Any, max_exp_avg_sq: Any = None, *,
    step_size: Any, rest1: Any, beta2: Any, rest2: Any, root2: Any, eps: Any, weight_decay: Any = 0, keep: Any = 1,
    maximize: bool, decay: bool, decoupled: bool,
) -> tuple[Any, ...]:  # fmt: skip
    """m = b1 m + (1-b1) g; v = b2 v + (1-b2) g²; p -= lr/(1-b1^t) m / (sqrt(v)/sqrt(1-b2^t) + eps)."""
    if decay and decoupled:
        p = p * keep
    g = direction(p, g, weight_decay, decay and not decoupled, maximize)
    exp_avg = torch.lerp(exp_avg, g, rest1)
    exp_avg_sq = plus_product(exp_avg_sq * beta2, g, g, rest2)
    if max_exp_avg_sq is None:
        p = plus_quotient(p, exp_avg, torch.sqrt(exp_avg_sq) / root2 + eps, -step_size)
        return p, exp_avg, exp_avg_sq
    max_exp_avg_sq = torch.maximum(max_exp_avg_sq, exp_avg_sq)
    p = plus_quotient(p, exp_avg, torch.sqrt(max_exp_avg_sq) / root2 + eps, -step_size)
    return p, exp_avg, exp_avg_sq, max_exp_avg_sq


class Adam(PerTensorOptimizer):
    """Steps scaled by running averages of the gradient and of its square, each freed of its bias towards 0."""

    rule = adam_rule
    of_decay = ("weight_decay", "keep")

    def __init__(
        self, params: Any, lr: Any = 1e-3, betas: tuple[Any, Any] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, amsgrad: bool = False, *, foreach: bool | None = None,
        maximize: bool = False, capturable: bool = False, differentiable: bool = False,
        fused: bool | None = None, decoupled_weight_decay: bool = False,
    ):  # fmt: skip
        op = type(self).__name__
        check_tensor_options(op, lr, betas, foreach, capturable)
        check(op, lr=lr, eps=eps, weight_decay=weight_decay)
        check_betas(op, betas)
        if isinstance(betas[0], torch.Tensor):
            betas = (betas[0].squeeze(), betas[1].squeeze())
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
        defaults |= {"maximize": maximize, "foreach": foreach, "capturable": capturable}
        defaults |= {"differentiable": differentiable, "fused": fused}
        super().__init__(params, defaults | {"decoupled_weight_decay": decoupled_weight_decay})
        check_fused(op, fused, foreach, differentiable)

    def tensor_state(self, group: dict[str, Any], p: Any) -> tuple[str, ...]:
        """Averages of the gradient and of its square, and the largest of these for amsgrad."""
        return ("exp_avg", "exp_avg_sq", "max_exp_avg_sq") if group["amsgrad"] else ("exp_avg", "exp_avg_sq")

    def numbers(self, group: dict[str, Any], now: Values, p: Any) -> dict[str, Any]:
        """Step size and bias corrections."""
        lr, beta1, beta2 = number(group["lr"]), *map(number, group["betas"])
        weight_decay = number(group["weight_decay"])
        numbers = {"step_size": lr / (1 - beta1 ** now["step"]), "rest1": 1 - beta1, "beta2": beta2}
        numbers |= {"rest2": 1 - beta2, "root2": (1 - beta2 ** now["step"]) ** 0.5, "eps": group["eps"]}
        return numbers | {"weight_decay": weight_decay, "keep": 1 - lr * weight_decay}

    def statics(self, group: dict[str, Any], now: Values, first: bool) -> dict[str, Any]:
        """Which terms the formula has."""
        return super().statics(group, now, first) | {"decoupled": group["decoupled_weight_decay"]}
