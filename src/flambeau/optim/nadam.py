"""NAdam: Adam with Nesterov momentum (Dozat, 2016)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
else:
    from ..late import np

import flambeau as torch

from .apply import direction, number, plus_quotient
from .arguments import check, check_betas
from .per_tensor import PerTensorOptimizer, Values


def nadam_rule(
    p: Any, g: Any, exp_avg: Any, exp_avg_sq: Any, *, grad_size: Any, avg_size: Any, rest1: Any, beta2: Any,
    rest2: Any, bias2: Any, eps: Any, weight_decay: Any = 0, keep: Any = 1, maximize: bool, decay: bool,
    decoupled: bool,
) -> tuple[Any, ...]:  # fmt: skip
    """p -= (lr (1-mu_t)/(1-prod mu) g + lr mu_t+1/(1-prod mu) m) / (sqrt(v/(1-b2^t)) + eps)."""
    g = -g if maximize else g
    if decay and decoupled:
        p = p * keep
    g = direction(p, g, weight_decay, decay and not decoupled, False)
    exp_avg = torch.lerp(exp_avg, g, rest1)
    exp_avg_sq = torch.addcmul(exp_avg_sq * beta2, g, g, value=rest2)
    denom = torch.sqrt(exp_avg_sq / bias2) + eps
    p = plus_quotient(plus_quotient(p, g, denom, -grad_size), exp_avg, denom, -avg_size)
    return p, exp_avg, exp_avg_sq


class NAdam(PerTensorOptimizer):
    """Adam whose step looks ahead along the momentum, with a schedule of the momentum (momentum_decay)."""

    rule = nadam_rule
    of_decay = ("weight_decay", "keep")
    scalars = ("step", "mu_product")

    def __init__(
        self, params: Any, lr: Any = 2e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, momentum_decay: float = 4e-3, decoupled_weight_decay: bool = False, *,
        foreach: bool | None = None, maximize: bool = False, capturable: bool = False,
        differentiable: bool = False,
    ):  # fmt: skip
        check("NAdam", lr=lr, eps=eps, weight_decay=weight_decay, momentum_decay=momentum_decay)
        check_betas("NAdam", betas)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
        }
        defaults |= {
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
            "foreach": foreach,
        }
        super().__init__(params, defaults | {"capturable": capturable, "differentiable": differentiable})

    def tensor_state(self, group: dict[str, Any], p: Any) -> tuple[str, ...]:
        """Averages of the gradient and of its square."""
        return ("exp_avg", "exp_avg_sq")

    def new_state(self, name: str, p: Any, group: dict[str, Any]) -> Any:
        """The product of the momenta begins at 1."""
        return 1.0 if name == "mu_product" else super().new_state(name, p, group)

    def numbers(self, group: dict[str, Any], now: Values, p: Any) -> dict[str, Any]:
        """Step sizes along the gradient and along its average."""
        lr, (beta1, beta2), step = number(group["lr"]), group["betas"], now["step"]
        mu = beta1 * (1.0 - 0.5 * 0.96 ** (step * group["momentum_decay"]))
        mu_next = beta1 * (1.0 - 0.5 * 0.96 ** ((step + 1) * group["momentum_decay"]))
        product = now["mu_product"] = float(np.float32(now["mu_product"]) * np.float32(mu))
        numbers = {"grad_size": lr * (1.0 - mu) / (1.0 - product)}
        numbers |= {"avg_size": lr * mu_next / (1.0 - product * mu_next), "rest1": 1 - beta1, "beta2": beta2}
        numbers |= {"rest2": 1 - beta2, "bias2": 1 - beta2**step, "eps": group["eps"]}
        return numbers | {"weight_decay": group["weight_decay"], "keep": 1 - lr * group["weight_decay"]}

    def statics(self, group: dict[str, Any], now: Values, first: bool) -> dict[str, Any]:
        """Which terms the formula has."""
        return super().statics(group, now, first) | {"decoupled": group["decoupled_weight_decay"]}
