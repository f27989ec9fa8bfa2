"""Schedules that set the learning rate by a formula of the epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any

from ..errors import fail
from .lr_base import LRScheduler, group_values, warn_outside_step


class FactorLR(LRScheduler):
    """A scheduler that multiplies every rate by `factor`, which is also known in closed form."""

    def _factor(self) -> float | None:
        """What this epoch multiplies the rates by (None: nothing)."""
        raise NotImplementedError

    def _closed(self) -> float:
        """The product of the factors up to this epoch."""
        raise NotImplementedError

    def get_lr(self) -> list[Any]:
        """The rates of the epoch before, times the factor."""
        warn_outside_step(self)
        factor = self._factor()
        if factor is None:
            return group_values(self.optimizer, "lr")
        return [group["lr"] * factor for group in self.optimizer.param_groups]

    def _get_closed_form_lr(self) -> list[Any]:
        closed = self._closed()
        return [lr * closed for lr in self.base_lrs]


class _FunctionsLR(LRScheduler):
    """A scheduler with a function for each group."""

    def __init__(self, optimizer: Any, lr_lambda: Any, last_epoch: int = -1):
        self.optimizer = optimizer
        groups = optimizer.param_groups
        if not isinstance(lr_lambda, (list, tuple)):
            lr_lambda = [lr_lambda] * len(groups)
        if len(lr_lambda) != len(groups):
            fail(ValueError, f"Expected {len(groups)} lr_lambdas, but got {len(lr_lambda)}")
        for function in lr_lambda:
            if not callable(function):
                fail(TypeError, f"lr_lambda should be a function, but got {type(function).__name__}")
        self.lr_lambdas: list[Callable[[int], float]] = list(lr_lambda)
        super().__init__(optimizer, last_epoch)

    def state_dict(self) -> dict[str, Any]:
        """As the base; of the functions only the attributes of callable objects."""
        state = super().state_dict()
        state["lr_lambdas"] = [
            None if isinstance(f, FunctionType) else f.__dict__.copy() for f in self.lr_lambdas
        ]
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state; the functions stay, callable objects get their attributes back."""
        self.__dict__.update({key: value for key, value in state_dict.items() if key != "lr_lambdas"})
        for function, attributes in zip(self.lr_lambdas, state_dict["lr_lambdas"]):
            if attributes is not None:
                function.__dict__.update(attributes)


class LambdaLR(_FunctionsLR):
    """initial rate * lr_lambda(epoch)."""

    def get_lr(self) -> list[Any]:
        """The rates of this epoch."""
        warn_outside_step(self)
        return [lr * f(self.last_epoch) for f, lr in zip(self.lr_lambdas, self.base_lrs)]


class MultiplicativeLR(_FunctionsLR):
    """The rate times lr_lambda(epoch) at each epoch."""

    def get_lr(self) -> list[Any]:
        """The rates of this epoch."""
        warn_outside_step(self)
        if self._is_initial:
            return group_values(self.optimizer, "lr")
        groups = self.optimizer.param_groups
        return [group["lr"] * f(self.last_epoch) for f, group in zip(self.lr_lambdas, groups)]


class StepLR(FactorLR):
    """The rate times gamma every step_size epochs."""

    def __init__(self, optimizer: Any, step_size: int, gamma: float = 0.1, last_epoch: int = -1):
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def _factor(self) -> float | None:
        return None if self.last_epoch == 0 or self.last_epoch % self.step_size != 0 else self.gamma

    def _closed(self) -> float:
        return self.gamma ** (self.last_epoch // self.step_size)


class MultiStepLR(FactorLR):
    """The rate times gamma at each milestone."""

    def __init__(self, optimizer: Any, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1):
        from collections import Counter

        self.milestones, self.gamma = Counter(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def _factor(self) -> float | None:
        count = self.milestones.get(self.last_epoch)
        return None if count is None else self.gamma**count

    def _closed(self) -> float:
        return self.gamma ** sum(n for at, n in self.milestones.items() if at <= self.last_epoch)


class ConstantLR(FactorLR):
    """The rate times `factor` for total_iters epochs."""

    def __init__(self, optimizer: Any, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1):
        if factor > 1.0 or factor < 0:
            fail(ValueError, "Constant multiplicative factor expected to be between 0 and 1.", factor=factor)
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def _factor(self) -> float | None:
        if self.last_epoch == 0:
            return self.factor
        return None if self.last_epoch != self.total_iters else 1.0 / self.factor

    def _closed(self) -> float:
        return self.factor + (self.last_epoch >= self.total_iters) * (1 - self.factor)


class LinearLR(FactorLR):
    """The rate times a factor that goes from start_factor to end_factor in total_iters epochs."""

    def __init__(
        self,
        optimizer: Any,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ):
        if start_factor > 1.0 or start_factor <= 0:
            fail(
                ValueError,
                "Starting multiplicative factor expected to be greater than 0 and less or equal to 1.",
                start_factor=start_factor,
            )
        if end_factor > 1.0 or end_factor < 0:
            fail(
                ValueError,
                "Ending multiplicative factor expected to be between 0 and 1.",
                end_factor=end_factor,
            )
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def _factor(self) -> float | None:
        if self.last_epoch == 0:
            return self.start_factor
        if self._is_initial or self.last_epoch > self.total_iters:
            return None
        slope = self.end_factor - self.start_factor
        return 1.0 + slope / (self.total_iters * self.start_factor + (self.last_epoch - 1) * slope)

    def _closed(self) -> float:
        slope = self.end_factor - self.start_factor
        return self.start_factor + slope * min(self.total_iters, self.last_epoch) / self.total_iters


class ExponentialLR(FactorLR):
    """The rate times gamma at each epoch."""

    def __init__(self, optimizer: Any, gamma: float, last_epoch: int = -1):
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _factor(self) -> float | None:
        return None if self._is_initial else self.gamma

    def _closed(self) -> float:
        return self.gamma**self.last_epoch


class PolynomialLR(FactorLR):
    """initial rate * (1 - epoch / total_iters)^power."""

    def __init__(self, optimizer: Any, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1):
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def _factor(self) -> float | None:
        if self._is_initial or self.last_epoch > self.total_iters:
            return None
        now = 1.0 - self.last_epoch / self.total_iters
        return (now / (1.0 - (self.last_epoch - 1) / self.total_iters)) ** self.power

    def _closed(self) -> float:
        return (1.0 - min(self.total_iters, self.last_epoch) / self.total_iters) ** self.power


class CosineAnnealingLR(LRScheduler):
    """From the initial rate to eta_min along half a cosine of T_max epochs, and back (Loshchilov and Hutter, 2017)."""

    def __init__(self, optimizer: Any, T_max: int, eta_min: float = 0.0, last_epoch: int = -1):
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """The rates of this epoch, from those of the last."""
        warn_outside_step(self)
        if self._is_initial:
            return group_values(self.optimizer, "lr")
        groups, low = self.optimizer.param_groups, self.eta_min
        if self._step_count == 1 and self.last_epoch > 0:
            return [low + (b - low) * (1 + self._cos(self.last_epoch)) / 2 for b in self.base_lrs]
        if (self.last_epoch - 1 - self.T_max) % (2 * self.T_max) == 0:
            turn = 1 - math.cos(math.pi / self.T_max)
            return [group["lr"] + (b - low) * turn / 2 for b, group in zip(self.base_lrs, groups)]
        ratio = (1 + self._cos(self.last_epoch)) / (1 + self._cos(self.last_epoch - 1))
        return [ratio * (group["lr"] - low) + low for group in groups]

    def _cos(self, epoch: int) -> float:
        return math.cos(math.pi * epoch / self.T_max)

    def _get_closed_form_lr(self) -> list[Any]:
        low = self.eta_min
        return [low + (b - low) * (1 + self._cos(self.last_epoch)) / 2 for b in self.base_lrs]


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half a cosine of T_0 epochs from the initial rate to eta_min, again and again, each T_mult times as long."""

    def __init__(self, optimizer: Any, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1):
        if not isinstance(T_0, int) or T_0 <= 0:
            fail(ValueError, f"Expected positive integer T_0, but got {T_0}")
        if not isinstance(T_mult, int) or T_mult < 1:
            fail(ValueError, f"Expected integer T_mult >= 1, but got {T_mult}")
        if not isinstance(eta_min, (float, int)):
            fail(ValueError, f"Expected float or int eta_min, but got {eta_min} of type {type(eta_min)}")
        self.T_0, self.T_i, self.T_mult, self.eta_min = T_0, T_0, T_mult, eta_min
        self.T_cur = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """The rates of this epoch."""
        warn_outside_step(self)
        share = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (lr - self.eta_min) * share for lr in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:  # type: ignore[override]
        """Go to the next epoch, or to `epoch`, which may be a fraction."""
        if epoch is None and self.last_epoch < 0:
            epoch = 0
        if epoch is None:
            epoch = self.last_epoch + 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur, self.T_i = self.T_cur % self.T_i, self.T_i * self.T_mult
        else:
            self._restart(epoch)
        self.last_epoch = math.floor(epoch)
        self._get_lr_called_within_step = True
        try:
            self._set(self.get_lr())
        finally:
            self._get_lr_called_within_step = False

    def _restart(self, epoch: float) -> None:
        if epoch < 0:
            fail(ValueError, f"Expected non-negative epoch, but got {epoch}")
        if epoch < self.T_0:
            self.T_i, self.T_cur = self.T_0, epoch  # type: ignore[assignment]
        elif self.T_mult == 1:
            self.T_cur = epoch % self.T_0  # type: ignore[assignment]
        else:
            n = int(math.log(epoch / self.T_0 * (self.T_mult - 1) + 1, self.T_mult))
            before = self.T_0 * (self.T_mult**n - 1) / (self.T_mult - 1)
            self.T_cur, self.T_i = epoch - before, self.T_0 * self.T_mult**n  # type: ignore[assignment]
