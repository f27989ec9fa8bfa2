"""torch.compile and torch.compiler: capture and replay of a whole function is not there yet.

Every operation is recorded, fused and compiled without being asked, so a program that calls `compile` loses nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

__all__ = ["compile", "disable", "is_compiling", "reset"]


def compile(model: Any = None, **options: Any) -> Any:
    """The model (or function) itself, with a warning that says so; without one, a decorator."""
    if model is None:
        return lambda function: compile(function, **options)
    text = "torch.compile: capturing a function is not there yet; flambeau fuses and compiles what it records anyway"
    warnings.warn(text, stacklevel=2)
    return model


def disable(fn: Callable[..., Any] | None = None, recursive: bool = True, **options: Any) -> Any:
    """The function itself; without one, a decorator."""
    return fn if fn is not None else lambda function: function


def is_compiling() -> bool:
    """Whether a function is being captured: no."""
    return False


def reset() -> None:
    """Forget what was captured: nothing was."""
