"""The base of schedules of the learning rate."""

from __future__ import annotations

import functools
import weakref
from typing import Any

import flambeau as torch

from ..errors import fail
from ..stream.capture import Repeated
from ..stream.value import LOCAL
from .optimizer import Optimizer

_EPOCH = (
    "The epoch parameter in `scheduler.step()` was not necessary and is being deprecated where possible. Please use "
    "`scheduler.step()` to step the scheduler. During the deprecation, if epoch is different from None, the closed "
    "form is used instead of the new chainable form, where available."
)
_ORDER = (
    "Detected call of `lr_scheduler.step()` before `optimizer.step()`. You should call them in the opposite order: "
    "`optimizer.step()` before `lr_scheduler.step()`. Failure to do this will result in skipping the first value of "
    "the learning rate schedule."
)
_OVERRIDDEN = (
    "Seems like `optimizer.step()` has been overridden after learning rate scheduler initialization. Please, make "
    "sure to call `optimizer.step()` before `lr_scheduler.step()`."
)


def _warn(text: str) -> None:
    import warnings

    warnings.warn(text, UserWarning, stacklevel=4)


def per_group(name: str, optimizer: Any, value: Any) -> list[Any]:
    """`value` for each group: itself, or its elements if it is a list."""
    groups = optimizer.param_groups
    if not isinstance(value, (list, tuple)):
        value = [value] * len(groups)
    elif len(value) != len(groups):
        fail(
            ValueError,
            f"{name} must have the same length as optimizer.param_groups. {name} has {len(value)} values, "
            f"param_groups has {len(groups)}.",
        )
    return [v.clone() if isinstance(v, torch.Tensor) else v for v in value]


def group_values(optimizer: Any, key: str) -> list[Any]:
    """The option of each group (tensors as copies)."""
    values = [group[key] for group in optimizer.param_groups]
    return [v.clone() if isinstance(v, torch.Tensor) else v for v in values]


def set_value(group: dict[str, Any], key: str, value: Any) -> None:
    """Set an option of a group; a tensor is filled in place."""
    if isinstance(group[key], torch.Tensor):
        group[key].fill_(value.squeeze() if isinstance(value, torch.Tensor) else value)
    else:
        group[key] = value


def check_optimizer(optimizer: Any) -> None:
    """Raise TypeError unless it is an Optimizer."""
    if not isinstance(optimizer, Optimizer):
        fail(TypeError, f"{type(optimizer).__name__} is not an Optimizer")


def warn_outside_step(scheduler: LRScheduler) -> None:
    """Warn that `get_lr` was called by the user."""
    if not scheduler._get_lr_called_within_step:
        _warn("To get the last learning rate computed by the scheduler, please use `get_last_lr()`.")


def _count_steps(optimizer: Any) -> None:
    """Make `optimizer.step` remember that it was called, once."""
    if hasattr(optimizer.step, "_wrapped_by_lr_sched"):
        return
    inner, reference = optimizer.step.__func__, weakref.ref(optimizer)

    @functools.wraps(inner)
    def step(*args: Any, **kwargs: Any) -> Any:
        owner = reference()
        owner._opt_called = True  # type: ignore[union-attr]
        return inner.__get__(owner, type(owner))(*args, **kwargs)

    step._wrapped_by_lr_sched = True  # type: ignore[attr-defined]
    optimizer.step = step


def _captured(step: Any) -> Any:
    """A `step` that, in a call under capture, is done again at each replay."""

    @functools.wraps(step)
    def wrapper(self: Any, *args: Any, **options: Any) -> Any:
        session = LOCAL.s.capture
        if session is None or session.busy:
            return step(self, *args, **options)
        if args or options:
            session.end("a schedule is given a value")
        session.act(Repeated(self.step))
        session.busy = True
        try:
            return step(self, *args, **options)
        finally:
            session.busy = False

    return wrapper


class LRScheduler:
    """Base of schedulers: `get_lr` gives the rate of each group for `last_epoch`; call `step` after the optimizer's."""

    _get_lr_called_within_step = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "step" in cls.__dict__:
            cls.step = _captured(cls.__dict__["step"])  # type: ignore[method-assign]

    _is_initial = False
    optimizer: Any
    last_epoch: int
    _hidden: tuple[str, ...] = ()

    def __init__(self, optimizer: Any, last_epoch: int = -1):
        check_optimizer(optimizer)
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                lr = group["lr"]
                group.setdefault("initial_lr", lr.clone() if isinstance(lr, torch.Tensor) else lr)
            elif "initial_lr" not in group:
                fail(
                    KeyError,
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming scheduler with "
                    "last_epoch >= 0; load the optimizer's state first, or begin with last_epoch=-1",
                )
        self.base_lrs = group_values(optimizer, "initial_lr")
        self.last_epoch = last_epoch
        _count_steps(optimizer)
        self._initial_step()

    def _initial_step(self) -> None:
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer (functions without a state are left out too)."""
        hidden = ("optimizer", *self._hidden)
        return {key: value for key, value in self.__dict__.items() if key not in hidden}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the state of a scheduler."""
        self.__dict__.update(state_dict)

    def get_last_lr(self) -> list[Any]:
        """The rate of each group."""
        return self._last_lr

    def get_lr(self) -> list[Any]:
        """The rate of each group for `last_epoch`, from those of the epoch before."""
        raise NotImplementedError

    @_captured
    def step(self, epoch: int | None = None) -> None:
        """Go to the next epoch (or to `epoch`, deprecated) and set the rates."""
        if self._step_count == 1:
            if not hasattr(self.optimizer.step, "_wrapped_by_lr_sched"):
                _warn(_OVERRIDDEN)
            elif not getattr(self.optimizer, "_opt_called", False):
                _warn(_ORDER)
        self._step_count += 1
        if epoch is not None:
            _warn(_EPOCH)
        self._update_lr(epoch)

    def _update_lr(self, epoch: int | None = None) -> None:
        self._get_lr_called_within_step = True
        try:
            self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
            closed = getattr(self, "_get_closed_form_lr", None)
            self._set(closed() if epoch is not None and closed is not None else self.get_lr())
        finally:
            self._get_lr_called_within_step = False

    def _set(self, values: list[Any]) -> None:
        for group, lr in zip(self.optimizer.param_groups, values):
            set_value(group, "lr", lr)
        self._last_lr = group_values(self.optimizer, "lr")


class _LRScheduler(LRScheduler):
    """The old name of LRScheduler."""
