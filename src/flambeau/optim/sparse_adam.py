"""Adam for sparse gradients: moments and parameters change at the gradient's indices alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import flambeau as torch

from ..stream.capture import outside
from .apply import number
from .arguments import check, check_betas
from .optimizer import Optimizer
from .rows import at_rows, put_rows


class SparseAdam(Optimizer):
    """Adam (Kingma and Ba, 2015) whose moments, and parameters, stay as they are where the gradient has no value.

    RuntimeError in `step` for a gradient that is not sparse.
    """

    def __init__(
        self, params: Any, lr: Any = 1e-3, betas: Any = (0.9, 0.999), eps: float = 1e-8, maximize: bool = False,
    ):  # fmt: skip
        check("SparseAdam", lr=lr, eps=eps)
        check_betas("SparseAdam", betas)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize})
        places = [
            ([i, j], p) for i, group in enumerate(self.param_groups) for j, p in enumerate(group["params"])
        ]
        if wrong := [at for at, p in places if p.is_sparse]:
            raise ValueError(f"Sparse params at indices {wrong}: SparseAdam requires dense parameter tensors")
        if wrong := [at for at, p in places if p.is_complex()]:
            raise ValueError(
                f"Complex params at indices {wrong}: SparseAdam does not support complex parameters"
            )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have gradients once; returns the loss of `closure`, if given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            live = [p for p in group["params"] if p.grad is not None]
            if not all(p.grad.is_sparse for p in live):
                raise RuntimeError(
                    "SparseAdam does not support dense gradients, please consider Adam instead"
                )
            for p in live:
                outside("a gradient is sparse")
                self._update(p, self.state[p], group)
        return loss

    def _update(self, p: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["step"] = 0
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p).detach(), torch.zeros_like(p).detach()
        state["step"] += 1
        grad = (-p.grad if group["maximize"] else p.grad).coalesce()
        if not grad._nnz():
            return
        at, g = grad.indices(), grad.values()
        beta1, beta2 = group["betas"]
        means, squares = at_rows(state["exp_avg"], at), at_rows(state["exp_avg_sq"], at)
        means = (g - means) * (1 - beta1) + means
        squares = (g * g - squares) * (1 - beta2) + squares
        put_rows(state["exp_avg"], at, means)
        put_rows(state["exp_avg_sq"], at, squares)
        lr, t = number(group["lr"]), state["step"]
        size = lr * math.sqrt(1 - beta2**t) / (1 - beta1**t)
        put_rows(p, at, at_rows(p, at) - size * (means / (squares.sqrt() + group["eps"])))
