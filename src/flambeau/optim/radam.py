"""RAdam: Adam with rectified variance (Liu et al., 2020)."""

from __future__ import annotations

from typing import Any

import flambeau as torch

from .apply import direction, number
from .arguments import check, check_betas
from .per_tensor import PerTensorOptimizer, Values


def radam_rule(
    p: Any, g: Any, exp_avg: Any, exp_avg_sq: Any, *, lr: Any, rest1: Any, bias1: Any, beta2: Any, rest2: Any,
    root2: Any, rect: Any, eps: Any, weight_decay: Any = 0, keep: Any = 1, maximize: bool, decay: bool,
    decoupled: bool, rectified: bool,
) -> tuple[Any, ...]:  # fmt: skip
    """p -= lr m/(1-b1^t) r sqrt(1-b2^t)/(sqrt(v) + eps), without the last two factors while the variance is unknown."""
    g = -g if maximize else g
    if decay and decoupled:
        p = p * keep
    g = direction(p, g, weight_decay, decay and not decoupled, False)
    exp_avg = torch.lerp(exp_avg, g, rest1)
    exp_avg_sq = torch.addcmul(exp_avg_sq * beta2, g, g, value=rest2)
    update = exp_avg / bias1 * lr
    if rectified:
        update = update * (torch.reciprocal(torch.sqrt(exp_avg_sq) + eps) * root2) * rect
    return torch.add(p, update, alpha=-1.0), exp_avg, exp_avg_sq


class RAdam(PerTensorOptimizer):
    """Adam that waits with the adaptive step until its second moment has a bounded variance."""

    rule = radam_rule
    of_decay = ("weight_decay", "keep")

    def __init__(
        self, params: Any, lr: Any = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, decoupled_weight_decay: bool = False, *, foreach: bool | None = None,
        maximize: bool = False, capturable: bool = False, differentiable: bool = False,
    ):  # fmt: skip
        check("RAdam", lr=lr, eps=eps, weight_decay=weight_decay)
        check_betas("RAdam", betas)
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        defaults |= {"foreach": foreach, "capturable": capturable}
        defaults |= {"decoupled_weight_decay": decoupled_weight_decay, "differentiable": differentiable}
        super().__init__(params, defaults)

    def tensor_state(self, group: dict[str, Any], p: Any) -> tuple[str, ...]:
        """Averages of the gradient and of its square."""
        return ("exp_avg", "exp_avg_sq")

    def numbers(self, group: dict[str, Any], now: Values, p: Any) -> dict[str, Any]:
        """Bias corrections and the rectification (1 where it does not apply)."""
        lr, (beta1, beta2), step = number(group["lr"]), group["betas"], now["step"]
        longest, rho = _lengths(beta2, step)
        rect = 1.0
        if rho > 5.0:
            rect = ((rho - 4) * (rho - 2) * longest / ((longest - 4) * (longest - 2) * rho)) ** 0.5
        numbers = {"lr": lr, "rest1": 1 - beta1, "bias1": 1 - beta1**step, "beta2": beta2, "rest2": 1 - beta2}
        numbers |= {"root2": (1 - beta2**step) ** 0.5, "rect": rect, "eps": group["eps"]}
        return numbers | {"weight_decay": group["weight_decay"], "keep": 1 - lr * group["weight_decay"]}

    def statics(self, group: dict[str, Any], now: Values, first: bool) -> dict[str, Any]:
        """Which terms the formula has."""
        rectified = _lengths(group["betas"][1], now["step"])[1] > 5.0
        flags = {"decoupled": group["decoupled_weight_decay"], "rectified": rectified}
        return super().statics(group, now, first) | flags


def _lengths(beta2: float, step: float) -> tuple[float, float]:
    """Length of the simple moving average that the second moment approximates: in the limit, and now."""
    longest = 2 / (1 - beta2) - 1
    return longest, longest - 2 * step * (beta2**step) / (1 - beta2**step)
