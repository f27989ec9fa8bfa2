"""Adafactor (Shazeer and Stern, 2018)."""

from __future__ import annotations

from typing import Any

import flambeau as torch

from ..errors import fail
from .apply import number
from .per_tensor import PerTensorOptimizer, Values


def _rms(x: Any) -> Any:
    return torch.sqrt((x * x).mean())


def adafactor_rule(
    p: Any, g: Any, *variance: Any, rate: Any, rest: Any, keep: Any, eps1: Any, eps2: Any, d: Any,
    maximize: bool, decay: bool,
) -> tuple[Any, ...]:  # fmt: skip
    """p -= alpha u / max(1, rms(u)/d), u = g/sqrt(v), alpha = rate max(eps2, rms(p)); v of a matrix = row x column."""
    g = -g if maximize else g
    alpha = torch.clamp(_rms(p), min=eps2) * rate
    if decay:
        p = p * keep
    if len(variance) == 2:
        row, col = variance
        row = torch.lerp(row, (g * g).mean(-1, keepdim=True), rest)
        col = torch.lerp(col, (g * g).mean(-2, keepdim=True), rest)
        variance = (row, col)
        estimate = (row @ col) / torch.clamp(row.mean(dim=-2, keepdim=True), min=eps1)
    else:
        variance = (torch.lerp(variance[0], g * g, rest),)
        estimate = variance[0]
    update = torch.rsqrt(torch.clamp(estimate, min=eps1 * eps1)) * g
    denom = torch.clamp(_rms(update) / d, min=1.0)
    return p - update * (alpha / denom), *variance


class Adafactor(PerTensorOptimizer):
    """Steps relative to the size of the parameter; the second moment of a matrix is factored into row and column."""

    rule = adafactor_rule
    elementwise = False

    def __init__(
        self, params: Any, lr: Any = 1e-2, beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3), d: float = 1.0, weight_decay: float = 0.0, *,
        foreach: bool | None = None, maximize: bool = False,
    ):  # fmt: skip
        if isinstance(lr, torch.Tensor) and lr.numel() != 1:
            fail(ValueError, "Adafactor: Tensor lr must be 1-element", lr=lr)
        for name, value, wrong in (
            ("Learning rate should be >= 0", lr, not lr >= 0.0),
            ("beta2_decay should be <= 0", beta2_decay, not beta2_decay <= 0.0),
            ("epsilon1 should be >= 0", eps[0], eps[0] is not None and not eps[0] >= 0.0),
            ("epsilon2 should be >= 0", eps[1], not eps[1] >= 0.0),
            ("Clipping threshold d should be >= 1", d, not d >= 1.0),
            ("weight_decay should be >= 0", weight_decay, not weight_decay >= 0.0),
        ):
            if wrong:
                fail(ValueError, f"Adafactor: {name} but is: {value}")
        defaults = {"lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d, "weight_decay": weight_decay}
        super().__init__(params, defaults | {"foreach": foreach, "maximize": maximize})

    def tensor_state(self, group: dict[str, Any], p: Any) -> tuple[str, ...]:
        """A row and a column for a matrix, else the variance of each element."""
        return ("row_var", "col_var") if p.dim() > 1 else ("variance",)

    def new_state(self, name: str, p: Any, group: dict[str, Any]) -> Any:
        """Zeros of the state's shape."""
        if p.is_complex():
            fail(RuntimeError, "Adafactor: Adafactor does not support complex parameters", param=p)
        if name not in ("row_var", "col_var"):
            return super().new_state(name, p, group)
        shape = list(p.shape)
        shape[-1 if name == "row_var" else -2] = 1
        return torch.zeros(shape, dtype=p.dtype, device=p.device)

    def numbers(self, group: dict[str, Any], now: Values, p: Any) -> dict[str, Any]:
        """Relative step size, weight of the new variance, bounds."""
        lr, step, (eps1, eps2) = number(group["lr"]), now["step"], group["eps"]
        eps1 = torch.finfo(p.dtype).eps if eps1 is None else eps1
        numbers = {"rate": min(lr, 1 / step**0.5), "rest": step ** group["beta2_decay"], "d": group["d"]}
        return numbers | {"keep": 1 - lr * group["weight_decay"], "eps1": eps1, "eps2": eps2}
