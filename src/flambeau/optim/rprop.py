"""Resilient backpropagation (Riedmiller and Braun, 1993)."""

from __future__ import annotations

from typing import Any

import flambeau as torch

from ..errors import fail
from .apply import number
from .arguments import check
from .per_tensor import PerTensorOptimizer, Values


def rprop_rule(
    p: Any, g: Any, prev: Any, step_size: Any, *, shrink: Any, grow: Any, low: Any, high: Any, maximize: bool
) -> tuple[Any, ...]:
    """The step of each element grows while the gradient keeps its sign and shrinks, without a move, when it turns."""
    g = -g if maximize else g
    sign = torch.sign(g * prev)
    factor = torch.where(sign > 0, grow, sign)
    factor = torch.where(sign < 0, shrink, factor)
    factor = torch.where(sign == 0, 1.0, factor)
    step_size = torch.clamp(step_size * factor, low, high)
    g = torch.where(sign < 0, 0.0, g)
    return torch.addcmul(p, torch.sign(g), step_size, value=-1), g, step_size


class Rprop(PerTensorOptimizer):
    """Steps by the sign of the gradient alone, for gradients of the whole data set."""

    rule = rprop_rule

    def __init__(
        self, params: Any, lr: Any = 1e-2, etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50), *, capturable: bool = False,
        foreach: bool | None = None, maximize: bool = False, differentiable: bool = False,
    ):  # fmt: skip
        check("Rprop", lr=lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            fail(ValueError, f"Rprop: Invalid eta values: {etas[0]}, {etas[1]}")
        defaults = {
            "lr": lr,
            "etas": etas,
            "step_sizes": step_sizes,
            "foreach": foreach,
            "maximize": maximize,
        }
        super().__init__(params, defaults | {"differentiable": differentiable, "capturable": capturable})

    def tensor_state(self, group: dict[str, Any], p: Any) -> tuple[str, ...]:
        """The last gradient and the step of each element."""
        return ("prev", "step_size")

    def new_state(self, name: str, p: Any, group: dict[str, Any]) -> Any:
        """Steps begin at lr."""
        if name != "step_size":
            return super().new_state(name, p, group)
        lr = float(group["lr"])
        return torch.full_like(p, complex(lr, lr) if p.is_complex() else lr).detach()

    def numbers(self, group: dict[str, Any], now: Values, p: Any) -> dict[str, Any]:
        """Factors and bounds of the steps."""
        (shrink, grow), (low, high) = map(number, group["etas"]), map(number, group["step_sizes"])
        return {"shrink": shrink, "grow": grow, "low": low, "high": high}

    def statics(self, group: dict[str, Any], now: Values, first: bool) -> dict[str, Any]:
        """Whether to ascend."""
        return {"maximize": group["maximize"]}
