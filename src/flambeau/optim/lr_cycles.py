"""Schedules of rate and momentum together (Smith, 2017; Smith and Topin, 2018)."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import FunctionType
from typing import Any

from ..errors import fail
from .lr_base import LRScheduler, check_optimizer, per_group, set_value, warn_outside_step


class _MomentumLR(LRScheduler):
    """A scheduler that also sets the momentum (or beta1) of each group."""

    cycle_momentum: bool
    use_beta1: bool

    def _begin_momentum(self, base: Any, top: Any, last_epoch: int) -> tuple[list[Any], list[Any]]:
        optimizer = self.optimizer
        if "momentum" not in optimizer.defaults and "betas" not in optimizer.defaults:
            fail(
                ValueError,
                "optimizer must support momentum or beta1 with `cycle_momentum` option enabled",
                optimizer=type(optimizer),
            )
        self.use_beta1 = "betas" in optimizer.defaults
        lows = per_group("base_momentum", optimizer, base)
        highs = per_group("max_momentum", optimizer, top)
        if last_epoch == -1:
            for low, high, group in zip(lows, highs, optimizer.param_groups):
                self._set_momentum(group, high)
                group["max_momentum"], group["base_momentum"] = high, low
        return lows, highs

    def _set_momentum(self, group: dict[str, Any], value: float) -> None:
        if self.use_beta1:
            group["betas"] = (value, *group["betas"][1:])
        else:
            group["momentum"] = value


class CyclicLR(_MomentumLR):
    """The rate goes from base_lr to max_lr in step_size_up steps and back; momentum the other way.

    mode: "triangular", "triangular2" (half the height each cycle) or "exp_range" (gamma^step); scale_fn replaces them.
    """

    _hidden = ("_scale_fn_custom",)

    def __init__(
        self, optimizer: Any, base_lr: Any, max_lr: Any, step_size_up: int = 2000,
        step_size_down: int | None = None, mode: str = "triangular", gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None, scale_mode: str = "cycle",
        cycle_momentum: bool = True, base_momentum: Any = 0.8, max_momentum: Any = 0.9, last_epoch: int = -1,
    ):  # fmt: skip
        check_optimizer(optimizer)
        self.optimizer = optimizer
        base_lrs = per_group("base_lr", optimizer, base_lr)
        if last_epoch == -1:
            for lr, group in zip(base_lrs, optimizer.param_groups):
                set_value(group, "lr", lr)
        self.max_lrs = per_group("max_lr", optimizer, max_lr)
        up = float(step_size_up)
        self.total_size = up + (float(step_size_down) if step_size_down is not None else up)
        self.step_ratio = up / self.total_size
        if mode not in ("triangular", "triangular2", "exp_range") and scale_fn is None:
            fail(ValueError, "CyclicLR: mode is invalid and scale_fn is None", mode=mode)
        self.mode, self.gamma, self._scale_fn_custom = mode, gamma, scale_fn
        self.scale_mode = scale_mode
        if scale_fn is None:
            self.scale_mode = "iterations" if mode == "exp_range" else "cycle"
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.base_momentums, self.max_momentums = self._begin_momentum(
                base_momentum, max_momentum, last_epoch
            )
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def scale_fn(self, x: float) -> float:
        """The height of cycle (or step) x."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        if self.mode == "triangular":
            return 1.0
        return 1 / (2.0 ** (x - 1)) if self.mode == "triangular2" else self.gamma**x

    def get_lr(self) -> list[Any]:
        """The rates of this step; sets the momenta."""
        warn_outside_step(self)
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1.0 + self.last_epoch / self.total_size - cycle
        height = x / self.step_ratio if x <= self.step_ratio else (x - 1) / (self.step_ratio - 1)
        scale = self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            bounds = zip(self.base_momentums, self.max_momentums)
            for group, (low, high) in zip(self.optimizer.param_groups, bounds):
                self._set_momentum(group, high - ((high - low) * height) * scale)
        return [low + ((high - low) * height) * scale for low, high in zip(self.base_lrs, self.max_lrs)]

    def state_dict(self) -> dict[str, Any]:
        """As the base; of a callable object as scale_fn its attributes."""
        state, scale = super().state_dict(), self._scale_fn_custom
        plain = scale is None or isinstance(scale, FunctionType)
        state["_scale_fn_custom"] = None if plain else scale.__dict__.copy()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state; the function stays."""
        attributes = state_dict["_scale_fn_custom"]
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "_scale_fn_custom"})
        if attributes is not None:
            self._scale_fn_custom.__dict__.update(attributes)


class OneCycleLR(_MomentumLR):
    """One cycle: from max_lr / div_factor up to max_lr, and down to that / final_div_factor; momentum the other way.

    The length is total_steps, or epochs * steps_per_epoch; pct_start of it goes up. Step it after every batch.
    """

    def __init__(
        self, optimizer: Any, max_lr: Any, total_steps: int | None = None, epochs: int | None = None,
        steps_per_epoch: int | None = None, pct_start: float = 0.3, anneal_strategy: str = "cos",
        cycle_momentum: bool = True, base_momentum: Any = 0.85, max_momentum: Any = 0.95,
        div_factor: float = 25.0, final_div_factor: float = 1e4, three_phase: bool = False,
        last_epoch: int = -1,
    ):  # fmt: skip
        check_optimizer(optimizer)
        self.optimizer = optimizer
        self.total_steps = _length(total_steps, epochs, steps_per_epoch)
        if not isinstance(pct_start, float) or pct_start < 0 or pct_start > 1:
            fail(ValueError, f"Expected float between 0 and 1 pct_start, but got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            fail(
                ValueError,
                f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}",
            )
        self._schedule_phases = _phases(float(pct_start * self.total_steps), self.total_steps, three_phase)
        self._anneal_func_type = anneal_strategy
        tops = per_group("max_lr", optimizer, max_lr)
        if last_epoch == -1:
            for top, group in zip(tops, optimizer.param_groups):
                group["initial_lr"], group["max_lr"] = top / div_factor, top
                group["min_lr"] = group["initial_lr"] / final_div_factor
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self._begin_momentum(base_momentum, max_momentum, last_epoch)
        super().__init__(optimizer, last_epoch)

    def _between(self, start: float, end: float, share: float) -> float:
        if self._anneal_func_type == "linear":
            return (end - start) * share + start
        return end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1)

    def get_lr(self) -> list[Any]:
        """The rates of this step; sets the momenta."""
        warn_outside_step(self)
        step, phases = self.last_epoch, self._schedule_phases
        if step > self.total_steps:
            fail(
                ValueError,
                f"Tried to step {step} times. The specified number of total steps is {self.total_steps}",
            )
        i = next((i for i, phase in enumerate(phases) if step <= phase["end_step"]), len(phases) - 1)
        start, phase = (phases[i - 1]["end_step"] if i else 0.0), phases[i]
        share = (step - start) / (phase["end_step"] - start)
        rates = []
        for group in self.optimizer.param_groups:
            rates.append(self._between(group[phase["start_lr"]], group[phase["end_lr"]], share))
            if self.cycle_momentum:
                low, high = group[phase["start_momentum"]], group[phase["end_momentum"]]
                self._set_momentum(group, self._between(low, high, share))
        return rates


def _length(total_steps: Any, epochs: Any, steps_per_epoch: Any) -> int:
    if total_steps is None and (epochs is None or steps_per_epoch is None):
        fail(ValueError, "You must define either total_steps OR (epochs AND steps_per_epoch)")
    sizes = {"total_steps": total_steps}
    if total_steps is None:
        sizes = {"epochs": epochs, "steps_per_epoch": steps_per_epoch}
    for name, value in sizes.items():
        if not isinstance(value, int) or value <= 0:
            fail(ValueError, f"Expected positive integer {name}, but got {value}")
    return math.prod(sizes.values())


def _phases(up: float, total: int, three: bool) -> list[dict[str, Any]]:
    def phase(end: float, lr: str, momentum: str) -> dict[str, Any]:
        start_lr, end_lr = (f"{name}_lr" for name in lr.split())
        start_momentum, end_momentum = (f"{name}_momentum" for name in momentum.split())
        return {
            "end_step": end,
            "start_lr": start_lr,
            "end_lr": end_lr,
            "start_momentum": start_momentum,
            "end_momentum": end_momentum,
        }

    first = phase(up - 1, "initial max", "max base")
    if not three:
        return [first, phase(total - 1, "max min", "base max")]
    back = phase(2 * up - 2, "max initial", "base max")
    return [first, back, phase(total - 1, "initial min", "max max")]
