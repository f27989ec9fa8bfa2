"""torch.jit: functions are compiled as they run, so scripting gives back what it is given."""

from __future__ import annotations

import builtins
import types
import typing
from typing import Any, Final, Generic, NamedTuple, NoReturn, TypeVar

from ..absent import classes
from ..errors import fail

__all__ = [
    "Attribute",
    "Final",
    "Future",
    "annotate",
    "export",
    "fork",
    "freeze",
    "ignore",
    "interface",
    "is_scripting",
    "is_tracing",
    "isinstance",
    "load",
    "optimize_for_inference",
    "save",
    "script",
    "script_if_tracing",
    "trace",
    "trace_module",
    "unused",
    "wait",
]

Result = TypeVar("Result")


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


_overload = _overload_method = unused


class TracerWarning(Warning):
    """What tracing warns of; nothing is traced."""


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


# Objects of these are never made, so that a test for them is False.
globals().update(classes("jit", "TorchScript", "ScriptModule", "ScriptFunction", "CompilationUnit"))


class Attribute(NamedTuple):
    """A value and the type that TorchScript would take it for."""

    value: Any
    type: Any


class Future(Generic[Result]):
    """The result of `fork`, which has run already."""

    def __init__(self, result: Any):
        self._result = result

    def wait(self) -> Any:
        """The result."""
        return self._result

    value = wait

    def done(self) -> bool:
        """True."""
        return True


def fork(func: Any, *args: Any, **options: Any) -> Future:
    """Call the function now."""
    return Future(func(*args, **options))


def wait(future: Any) -> Any:
    """The result of `fork`."""
    return future.wait()


def annotate(the_type: Any, the_value: Any) -> Any:
    """The value itself."""
    return the_value


def isinstance(obj: Any, target_type: Any) -> bool:
    """Whether an object is of a type; of a generic one (`List[int]`) also whether its elements are."""
    if builtins.isinstance(target_type, tuple):
        return any(isinstance(obj, t) for t in target_type)
    origin, inner = typing.get_origin(target_type), typing.get_args(target_type)
    if origin is None:
        return target_type is Any or builtins.isinstance(obj, target_type)
    if origin in (typing.Union, types.UnionType):
        return any(isinstance(obj, t) for t in inner)
    if not builtins.isinstance(obj, origin):
        return False
    if origin is dict:
        return all(isinstance(k, inner[0]) and isinstance(v, inner[1]) for k, v in obj.items())
    if origin is tuple and inner[-1] is not Ellipsis:
        return len(obj) == len(inner) and all(isinstance(v, t) for v, t in zip(obj, inner))
    return all(isinstance(v, inner[0]) for v in obj)


def interface(obj: Any) -> Any:
    """The class itself."""
    return obj


def script_if_tracing(fn: Any) -> Any:
    """The function itself."""
    return fn


def optimize_for_inference(mod: Any, other_methods: Any = None) -> Any:
    """The module itself."""
    return mod


def trace_module(mod: Any, inputs: Any, *args: Any, **options: Any) -> Any:
    """The module itself."""
    return mod
