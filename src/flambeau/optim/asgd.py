"""Averaged stochastic gradient descent (Polyak and Juditsky, 1992)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
else:
    from ..late import np

from .apply import direction, number, plus
from .arguments import check
from .per_tensor import PerTensorOptimizer, Values


def asgd_rule(
    p: Any, g: Any, ax: Any, *, eta: Any, keep: Any, mu: Any, weight_decay: Any = 0, maximize: bool, decay: bool,
    averaging: bool,
) -> tuple[Any, ...]:  # fmt: skip
    """p = (1 - lambd eta) p - eta g; the average ax follows: ax += mu (p - ax), or ax = p before t0."""
    g = direction(p, g, weight_decay, decay, maximize)
    p = plus(p * keep, g, -eta)
    return p, ax + (p - ax) * mu if averaging else p


class ASGD(PerTensorOptimizer):
    """Gradient descent that keeps the average of the parameters from step t0 on in state[p]["ax"]."""

    rule = asgd_rule
    scalars = ("step", "eta", "mu")

    def __init__(
        self, params: Any, lr: Any = 1e-2, lambd: float = 1e-4, alpha: float = 0.75, t0: float = 1e6,
        weight_decay: float = 0, foreach: bool | None = None, maximize: bool = False,
        differentiable: bool = False, capturable: bool = False,
    ):  # fmt: skip
        check("ASGD", lr=lr, weight_decay=weight_decay)
        defaults = {
            "lr": lr,
            "lambd": lambd,
            "alpha": alpha,
            "t0": t0,
            "weight_decay": weight_decay,
            "foreach": foreach,
        }
        defaults |= {"maximize": maximize, "differentiable": differentiable, "capturable": capturable}
        super().__init__(params, defaults)

    def tensor_state(self, group: dict[str, Any], p: Any) -> tuple[str, ...]:
        """The average of the parameter."""
        return ("ax",)

    def new_state(self, name: str, p: Any, group: dict[str, Any]) -> Any:
        """eta begins at lr, mu at 1."""
        if name == "eta":
            return float(np.float32(float(group["lr"])))
        return 1.0 if name == "mu" else super().new_state(name, p, group)

    def numbers(self, group: dict[str, Any], now: Values, p: Any) -> dict[str, Any]:
        """This step's eta and mu; sets the next step's."""
        lr, lambd, eta, mu = number(group["lr"]), group["lambd"], now["eta"], now["mu"]
        now["eta"] = float(np.float32(lr / (1 + lambd * lr * now["step"]) ** group["alpha"]))
        now["mu"] = float(np.float32(1 / max(1, now["step"] - group["t0"])))
        return {"eta": eta, "keep": 1 - lambd * eta, "mu": mu, "weight_decay": group["weight_decay"]}

    def statics(self, group: dict[str, Any], now: Values, first: bool) -> dict[str, Any]:
        """Which terms the formula has."""
        return super().statics(group, now, first) | {"averaging": now["mu"] != 1}
