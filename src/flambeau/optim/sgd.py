"""Stochastic gradient descent, with momentum and Nesterov's variant (Sutskever et al., 2013)."""

from __future__ import annotations

from typing import Any

import flambeau as torch

from ..errors import fail
from .apply import direction, number, plus
from .arguments import check, check_fused
from .per_tensor import PerTensorOptimizer, Values, is_set


def sgd_rule(
    p: Any, g: Any, buf: Any = None, *, lr: Any, momentum: Any, rest: Any, weight_decay: Any = 0,
    maximize: bool, decay: bool, nesterov: bool, first: bool,
) -> tuple[Any, ...]:  # fmt: skip
    """buf = momentum buf + (1 - dampening) g (g at first); p -= lr (g + momentum buf if nesterov else buf)."""
    g = direction(p, g, weight_decay, decay, maximize)
    if buf is None:
        return (plus(p, g, -lr),)
    buf = g if first else plus(buf * momentum, g, rest)
    return plus(p, plus(g, buf, momentum) if nesterov else buf, -lr), buf


class SGD(PerTensorOptimizer):
    """p -= lr * g, or with momentum p -= lr * buf, buf = momentum * buf + (1 - dampening) * g."""

    rule = sgd_rule
    scalars = ()

    def __init__(
        self, params: Any, lr: Any = 1e-3, momentum: float = 0, dampening: float = 0, weight_decay: Any = 0,
        nesterov: bool = False, *, maximize: bool = False, foreach: bool | None = None,
        differentiable: bool = False, fused: bool | None = None,
    ):  # fmt: skip
        check("SGD", lr=lr, momentum=momentum, weight_decay=weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            fail(
                ValueError,
                "SGD: Nesterov momentum requires a momentum and zero dampening",
                momentum=momentum,
                dampening=dampening,
            )
        defaults = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        defaults |= {"nesterov": nesterov, "maximize": maximize, "foreach": foreach}
        super().__init__(params, defaults | {"differentiable": differentiable, "fused": fused})
        check_fused("SGD", fused, foreach, differentiable)

    def tensor_state(self, group: dict[str, Any], p: Any) -> tuple[str, ...]:
        """The momentum buffer, if there is momentum."""
        return ("momentum_buffer",) if group["momentum"] != 0 else ()

    def new_state(self, name: str, p: Any, group: dict[str, Any]) -> Any:
        """A buffer that the first step fills."""
        return torch.empty_like(p.grad).detach()

    def numbers(self, group: dict[str, Any], now: Values, p: Any) -> dict[str, Any]:
        """The options, as numbers."""
        names = ("lr", "momentum", "weight_decay")
        return {name: number(group[name]) for name in names} | {"rest": 1 - group["dampening"]}

    def sparse_step(self, group: dict[str, Any], p: Any, grad: Any) -> None:
        """Only the rows of the gradient change; with momentum the buffer is sparse, too."""
        g = -grad if group["maximize"] else grad
        if is_set(group["weight_decay"]):
            g = g.add(p, alpha=group["weight_decay"])
        momentum = group["momentum"]
        if momentum != 0:
            state = self.state[p]
            buf = state.get("momentum_buffer")
            if buf is None:
                buf = state["momentum_buffer"] = g.clone().detach()
            else:
                buf.mul_(momentum).add_(g, alpha=1 - group["dampening"])
            g = g.add(buf, alpha=momentum) if group["nesterov"] else buf
        p.add_(g, alpha=-number(group["lr"]))

    def statics(self, group: dict[str, Any], now: Values, first: bool) -> dict[str, Any]:
        """Which terms the formula has."""
        return super().statics(group, now, first) | {"nesterov": group["nesterov"], "first": first}
