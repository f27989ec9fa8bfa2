"""Stochastic weight averaging (Izmailov et al., 2018) and exponential moving averages of models."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import flambeau as torch

from ..errors import fail
from .lr_base import LRScheduler, per_group, warn_outside_step

__all__ = [
    "SWALR",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]


def _check_decay(op: str, decay: float) -> None:
    if decay < 0.0 or decay > 1.0:
        fail(
            ValueError,
            f"{op}: Invalid decay value {decay} provided. Please provide a value in [0,1] range.",
        )


def get_ema_avg_fn(decay: float = 0.999) -> Callable[..., Any]:
    """f(average, current, n) = decay * average + (1 - decay) * current."""
    _check_decay("get_ema_avg_fn", decay)

    @torch.no_grad()
    def ema_update(ema_param: Any, current_param: Any, num_averaged: Any) -> Any:
        return decay * ema_param + (1 - decay) * current_param

    return ema_update


def get_swa_avg_fn() -> Callable[..., Any]:
    """f(average, current, n) = average + (current - average) / (n + 1)."""

    @torch.no_grad()
    def swa_update(averaged_param: Any, current_param: Any, num_averaged: Any) -> Any:
        return averaged_param + (current_param - averaged_param) / (num_averaged + 1)

    return swa_update


def get_ema_multi_avg_fn(decay: float = 0.999) -> Callable[..., Any]:
    """As `get_ema_avg_fn`, in place over lists."""
    _check_decay("get_ema_multi_avg_fn", decay)

    @torch.no_grad()
    def ema_update(ema_param_list: list[Any], current_param_list: list[Any], _: Any) -> None:
        for average, current in zip(ema_param_list, current_param_list):
            if average.is_floating_point() or average.is_complex():
                average.lerp_(current, 1 - decay)
            else:
                average.copy_(average * decay + current * (1 - decay))

    return ema_update


def get_swa_multi_avg_fn() -> Callable[..., Any]:
    """As `get_swa_avg_fn`, in place over lists."""

    @torch.no_grad()
    def swa_update(averaged_param_list: list[Any], current_param_list: list[Any], num_averaged: Any) -> None:
        weight = 1 / (float(num_averaged) + 1)
        for average, current in zip(averaged_param_list, current_param_list):
            if average.is_floating_point() or average.is_complex():
                average.lerp_(current, weight)
            else:
                average.copy_(average + (current - average) * weight)

    return swa_update


def __getattr__(name: str) -> Any:
    """`AveragedModel` is made when it is first asked for: it is an nn.Module."""
    if name != "AveragedModel":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .averaged_model import AveragedModel

    globals()[name] = AveragedModel
    return AveragedModel


@torch.no_grad()
def update_bn(loader: Iterable[Any], model: Any, device: Any = None) -> None:
    """Set the running statistics of the batch norm layers of `model` to averages over one pass of `loader`."""
    kinds = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d, torch.nn.SyncBatchNorm)
    momenta = {}
    for module in model.modules():
        if isinstance(module, kinds):
            module.reset_running_stats()
            momenta[module] = module.momentum
    if not momenta:
        return
    was_training = model.training
    model.train()
    for module in momenta:
        module.momentum = None
    for batch in loader:
        x = batch[0] if isinstance(batch, (list, tuple)) else batch
        model(x if device is None else x.to(device))
    for module, momentum in momenta.items():
        module.momentum = momentum
    model.train(was_training)


class SWALR(LRScheduler):
    """Anneals each group's rate to `swa_lr` in `anneal_epochs` steps ("cos" or "linear") and keeps it there."""

    def __init__(
        self,
        optimizer: Any,
        swa_lr: Any,
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ):
        for rate, group in zip(per_group("swa_lr", optimizer, swa_lr), optimizer.param_groups):
            group["swa_lr"] = rate
        if anneal_strategy not in ("cos", "linear"):
            fail(
                ValueError,
                "SWALR: anneal_strategy must be one of 'cos' or 'linear', instead got "
                + str(anneal_strategy),
            )
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            fail(ValueError, f"SWALR: anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self._anneal_strategy, self.anneal_epochs = anneal_strategy, anneal_epochs
        super().__init__(optimizer, last_epoch)

    def anneal_func(self, t: float) -> float:
        """How far the rate has come at t in [0, 1]."""
        return t if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * t)) / 2

    def get_lr(self) -> list[Any]:
        """The rates of this step, from those of the last."""
        warn_outside_step(self)
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        length = max(1, self.anneal_epochs)
        before = self.anneal_func(max(0, min(1, (step - 1) / length)))
        now = self.anneal_func(max(0, min(1, step / length)))
        rates = []
        for group in self.optimizer.param_groups:
            lr, target = group["lr"], group["swa_lr"]
            start = target if before == 1 else (lr - before * target) / (1 - before)
            rates.append(target * now + start * (1 - now))
        return rates
