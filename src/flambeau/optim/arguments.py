"""Checks of the options that optimizers share."""

from __future__ import annotations

from typing import Any

import flambeau as torch

from ..errors import fail

_WORDS = {"lr": "learning rate", "eps": "epsilon value"}


def check(op: str, **options: Any) -> None:
    """Raise ValueError unless each option is at least 0; a tensor `lr` must have one element."""
    for name, value in options.items():
        if name == "lr" and isinstance(value, torch.Tensor) and value.numel() != 1:
            fail(ValueError, f"{op}: Tensor lr must be 1-element", lr=value)
        if not value >= 0.0:
            fail(ValueError, f"{op}: Invalid {_WORDS.get(name, name + ' value')}: {value}")


def check_betas(op: str, betas: tuple[Any, Any]) -> None:
    """Raise ValueError unless both are in [0, 1)."""
    for i, beta in enumerate(betas):
        if not 0.0 <= beta < 1.0:
            fail(ValueError, f"{op}: Invalid beta parameter at index {i}: {beta}")


def check_fused(op: str, fused: Any, foreach: Any, differentiable: Any) -> None:
    """Raise RuntimeError for `fused` together with `foreach` or `differentiable`."""
    if fused and differentiable:
        fail(RuntimeError, f"{op}: `fused` does not support `differentiable`")
    if fused and foreach:
        fail(RuntimeError, f"{op}: `fused` and `foreach` cannot be `True` together.")


def check_tensor_options(op: str, lr: Any, betas: tuple[Any, Any], foreach: Any, capturable: Any) -> None:
    """Raise ValueError for tensors as lr or betas where PyTorch takes none."""
    if isinstance(betas[0], torch.Tensor) != isinstance(betas[1], torch.Tensor) or not all(
        isinstance(beta, (float, torch.Tensor)) for beta in betas
    ):
        fail(ValueError, f"{op}: betas must be either both floats or both Tensors", betas=betas)
    for name, value in (("lr", lr), ("betas[0]", betas[0]), ("betas[1]", betas[1])):
        if isinstance(value, torch.Tensor):
            if foreach and not capturable:
                fail(
                    ValueError,
                    f"{op}: {name} as a Tensor is not supported for capturable=False and foreach=True",
                )
            if value.numel() != 1:
                fail(ValueError, f"{op}: Tensor {name} must be 1-element", value=value)
