"""torch.jit: functions are compiled as they run, so scripting gives back what it is given."""

from __future__ import annotations

from typing import Any, NoReturn

from .errors import fail

__all__ = [
    "export",
    "freeze",
    "ignore",
    "is_scripting",
    "is_tracing",
    "load",
    "save",
    "script",
    "trace",
    "unused",
]


def is_scripting() -> bool:
    """Whether TorchScript compiles the caller: never."""
    return False


def is_tracing() -> bool:
    """Whether TorchScript traces the caller: never."""
    return False


def script(obj: Any, *args: Any, **options: Any) -> Any:
    """The function or module itself."""
    return obj


def trace(func: Any, example_inputs: Any = None, *args: Any, **options: Any) -> Any:
    """The function or module itself."""
    return func


def freeze(mod: Any, *args: Any, **options: Any) -> Any:
    """The module itself."""
    return mod


def ignore(fn: Any = None, **options: Any) -> Any:
    """The function itself, also as a decorator with options."""
    return fn if callable(fn) else lambda f: f


def unused(fn: Any) -> Any:
    """The function itself."""
    return fn


def export(fn: Any) -> Any:
    """The function itself."""
    return fn


def save(m: Any, f: Any, **options: Any) -> NoReturn:
    """Not there yet."""
    fail(
        NotImplementedError,
        "jit.save: TorchScript files are not supported",
        "use flambeau.save on a state_dict",
    )


def load(f: Any, **options: Any) -> NoReturn:
    """Not there yet."""
    fail(
        NotImplementedError,
        "jit.load: TorchScript files are not supported",
        "use flambeau.load on a state_dict",
    )
