"""torch.profiler: recorded profiles are not there yet; regions can be named, at no cost."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ContextDecorator
from enum import Enum
from typing import Any

from .absent import classes, functions

_WHAT = "recording profiles (FLAMBEAU_DEBUG shows the kernels that run)"
globals().update(classes("profiler", _WHAT, "profile"))
globals().update(functions("profiler", _WHAT, "tensorboard_trace_handler"))


class ProfilerActivity(Enum):
    """What a profile would watch."""

    CPU, CUDA, XPU = 0, 1, 2


class ProfilerAction(Enum):
    """What a schedule says of a step."""

    NONE, WARMUP, RECORD, RECORD_AND_SAVE = 0, 1, 2, 3


def schedule(
    *, wait: int, warmup: int, active: int, repeat: int = 0, skip_first: int = 0
) -> Callable[[int], ProfilerAction]:
    """The action of each step: `wait` idle ones, `warmup`, `active`, and so on, `repeat` times (0: for ever)."""

    def action(step: int) -> ProfilerAction:
        step -= skip_first
        length = wait + warmup + active
        if step < 0 or (repeat and step // length >= repeat) or step % length < wait:
            return ProfilerAction.NONE
        at = step % length
        if at < wait + warmup:
            return ProfilerAction.WARMUP
        return ProfilerAction.RECORD if at < length - 1 else ProfilerAction.RECORD_AND_SAVE

    return action


class record_function(ContextDecorator):
    """A named region of the program (a context or a decorator); nothing is recorded yet."""

    def __init__(self, name: str, args: str | None = None):
        self.name, self.args = name, args

    def __enter__(self) -> record_function:
        return self

    def __exit__(self, *reason: Any) -> None:
        pass
