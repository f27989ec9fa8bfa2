"""Adagrad (Duchi et al., 2011)."""

from __future__ import annotations

from typing import Any

import flambeau as torch

from .apply import direction, number, plus_quotient
from .arguments import check, check_fused
from .per_tensor import PerTensorOptimizer, Values, is_set
from .rows import at_rows, put_rows


def adagrad_rule(
    p: Any, g: Any, total: Any, *, lr: Any, eps: Any, weight_decay: Any = 0, maximize: bool, decay: bool
) -> tuple[Any, ...]:
    """total += g²; p -= lr/(1 + (t-1) lr_decay) g / (sqrt(total) + eps)."""
    g = direction(p, g, weight_decay, decay, maximize)
    total = torch.addcmul(total, g, g, value=1)
    return plus_quotient(p, g, torch.sqrt(total) + eps, -lr), total


class Adagrad(PerTensorOptimizer):
    """Steps divided by the root of the sum of all squared gradients."""

    rule = adagrad_rule

    def __init__(
        self, params: Any, lr: Any = 1e-2, lr_decay: float = 0, weight_decay: float = 0,
        initial_accumulator_value: float = 0, eps: float = 1e-10, foreach: bool | None = None, *,
        maximize: bool = False, differentiable: bool = False, fused: bool | None = None,
    ):  # fmt: skip
        check("Adagrad", lr=lr, lr_decay=lr_decay, weight_decay=weight_decay, eps=eps)
        check("Adagrad", initial_accumulator_value=initial_accumulator_value)
        defaults = {"lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay}
        defaults |= {"initial_accumulator_value": initial_accumulator_value, "foreach": foreach}
        defaults |= {"maximize": maximize, "differentiable": differentiable, "fused": fused}
        super().__init__(params, defaults)
        check_fused("Adagrad", fused, foreach, differentiable)
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                state["step"] = torch.tensor(0.0)
                state["sum"] = self.new_state("sum", p, group)

    def tensor_state(self, group: dict[str, Any], p: Any) -> tuple[str, ...]:
        """The sum of squares."""
        return ("sum",)

    def new_state(self, name: str, p: Any, group: dict[str, Any]) -> Any:
        """The sum begins at initial_accumulator_value (in both parts of a complex parameter)."""
        if name in self.scalars:
            return 0.0
        value = group["initial_accumulator_value"]
        return torch.full_like(p, complex(value, value) if p.is_complex() else value).detach()

    def numbers(self, group: dict[str, Any], now: Values, p: Any) -> dict[str, Any]:
        """The decayed learning rate."""
        lr = number(group["lr"]) / (1 + (now["step"] - 1) * group["lr_decay"])
        return {"lr": lr, "eps": group["eps"], "weight_decay": group["weight_decay"]}

    def sparse_step(self, group: dict[str, Any], p: Any, grad: Any) -> None:
        """Only the rows of the gradient and of the sum change."""
        if is_set(group["weight_decay"]):
            raise RuntimeError("weight_decay option is not compatible with sparse gradients")
        state = self.state[p]
        step = float(state["step"]) + 1
        state["step"].fill_(step)
        grad = (-grad if group["maximize"] else grad).coalesce()
        at, g = grad.indices(), grad.values()
        total = at_rows(state["sum"], at) + g * g
        put_rows(state["sum"], at, total)
        root = total.sqrt() + group["eps"]
        lr = number(group["lr"]) / (1 + (step - 1) * group["lr_decay"])
        put_rows(p, at, at_rows(p, at) - lr * (g / root))

    def share_memory(self) -> None:
        """Move the sums to shared memory, for training in several processes."""
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["sum"].share_memory_()
