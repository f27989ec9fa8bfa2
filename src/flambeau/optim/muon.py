"""Muon: momentum made orthogonal by Newton-Schulz iterations (Jordan et al., 2024)."""

from __future__ import annotations

import math
from typing import Any

import flambeau as torch

from ..errors import fail
from .apply import number
from .per_tensor import PerTensorOptimizer, Values


def _rounded(x: Any) -> Any:
    return x.bfloat16().float()


def orthogonal(g: Any, coefficients: tuple[float, float, float], steps: int, eps: float) -> Any:
    """About U V^T of the singular value decomposition of g: x <- a x + (b A + c A²) x, A = x x^T.

    Every intermediate result is rounded to bfloat16; products are summed in float32.
    """
    a, b, c = coefficients
    tall = g.size(0) > g.size(1)
    x = _rounded(g.T if tall else g)
    x = _rounded(x / torch.clamp(_rounded(torch.sqrt(torch.square(x).sum())), min=eps))
    for _ in range(steps):
        gram = _rounded(x @ x.T)
        gram = _rounded(gram * b + (gram @ gram) * c)
        x = _rounded(x * a + gram @ x)
    return (x.T if tall else x).bfloat16()


def muon_rule(
    p: Any, g: Any, buf: Any, *, rest: Any, momentum: Any, keep: Any, step_size: Any, nesterov: bool,
    coefficients: tuple[float, float, float], steps: int, eps: float,
) -> tuple[Any, ...]:  # fmt: skip
    """buf = momentum buf + (1 - momentum) g; p -= lr ratio orthogonal(g looked ahead by buf)."""
    buf = torch.lerp(buf, g, rest)
    update = torch.lerp(g, buf, momentum) if nesterov else buf
    return torch.add(p * keep, orthogonal(update, coefficients, steps, eps), alpha=-step_size), buf


class Muon(PerTensorOptimizer):
    """For the matrices of hidden layers; other parameters want AdamW."""

    rule = muon_rule
    elementwise = False
    scalars = ()

    def __init__(
        self, params: Any, lr: Any = 1e-3, weight_decay: float = 0.1, momentum: float = 0.95,
        nesterov: bool = True, ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        eps: float = 1e-7, ns_steps: int = 5, adjust_lr_fn: str | None = None,
    ):  # fmt: skip
        if isinstance(lr, torch.Tensor) and lr.numel() != 1:
            fail(ValueError, "Muon: Tensor lr must be 1-element", lr=lr)
        for name, value in (("Learning rate", lr), ("momentum", momentum), ("weight decay", weight_decay)):
            if not value >= 0.0:
                fail(ValueError, f"Muon: {name} should be >= 0 but is: {value}")
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            fail(ValueError, f"Muon: Adjust learning rate function {adjust_lr_fn} is not supported")
        if ns_steps >= 100 or len(ns_coefficients) != 3:
            fail(
                ValueError,
                "Muon: ns_steps must be less than 100 and ns_coefficients 3 numbers",
                ns_steps=ns_steps,
                ns_coefficients=ns_coefficients,
            )
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov}
        defaults |= {"ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps}
        super().__init__(params, defaults | {"adjust_lr_fn": adjust_lr_fn})
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim != 2:
                    fail(
                        ValueError,
                        "Muon: Muon only supports 2D parameters whereas we found a parameter with size: "
                        f"{p.size()}",
                    )

    def tensor_state(self, group: dict[str, Any], p: Any) -> tuple[str, ...]:
        """The momentum buffer."""
        return ("momentum_buffer",)

    def new_state(self, name: str, p: Any, group: dict[str, Any]) -> Any:
        """Zeros."""
        if p.is_complex():
            fail(RuntimeError, "Muon: Muon does not support complex parameters", param=p)
        return super().new_state(name, p, group)

    def numbers(self, group: dict[str, Any], now: Values, p: Any) -> dict[str, Any]:
        """The step size, adjusted to the shape of the matrix."""
        lr, (rows, columns) = number(group["lr"]), p.shape
        ratio = math.sqrt(max(1, rows / columns))
        if group["adjust_lr_fn"] == "match_rms_adamw":
            ratio = 0.2 * math.sqrt(max(rows, columns))
        numbers = {"rest": 1 - group["momentum"], "momentum": group["momentum"]}
        return numbers | {"keep": 1 - lr * group["weight_decay"], "step_size": lr * ratio}

    def statics(self, group: dict[str, Any], now: Values, first: bool) -> dict[str, Any]:
        """The iteration."""
        flags = {"nesterov": group["nesterov"], "coefficients": tuple(group["ns_coefficients"])}
        return flags | {"steps": group["ns_steps"], "eps": group["eps"]}

    def batch_key(self, p: Any) -> Any:
        """The step size depends on the shape."""
        return tuple(p.shape)
