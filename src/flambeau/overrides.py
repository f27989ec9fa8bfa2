"""The protocol of __torch_function__ (torch.overrides): classes and modes that see every call."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .ops import modes
from .ops.modes import disabled
from .stream.value import LOCAL, Tensor


class DisableTorchFunctionSubclass(disabled):
    """Within it, __torch_function__ of classes is not called."""


class DisableTorchFunction(disabled):
    """Within it, neither classes nor modes are asked."""

    def __init__(self) -> None:
        super().__init__(all_modes=True)


class TorchFunctionMode:
    """A context whose __torch_function__(func, types, args, kwargs) sees every call made inside."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise NotImplementedError

    def __enter__(self) -> Any:
        S = LOCAL.s
        S.modes = [*S.modes, self]
        S.depth += 1
        return self

    def __exit__(self, *error: object) -> None:
        S = LOCAL.s
        S.modes = S.modes[:-1]
        S.depth -= 1


class BaseTorchFunctionMode(TorchFunctionMode):
    """A mode that changes nothing."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def has_torch_function(relevant_args: Iterable[Any]) -> bool:
    """Whether any of the arguments, or a mode, wants to see the call."""
    S = LOCAL.s
    return bool(S.modes) or (not getattr(S, "plain_classes", False) and bool(modes.overloaded(relevant_args)))


def has_torch_function_unary(t: Any) -> bool:
    """has_torch_function of one argument."""
    return has_torch_function((t,))


def has_torch_function_variadic(*args: Any) -> bool:
    """has_torch_function of the arguments given."""
    return has_torch_function(args)


def handle_torch_function(
    public_api: Callable[..., Any], relevant_args: Iterable[Any], *args: Any, **kwargs: Any
) -> Any:
    """Ask modes and classes for the result of a call; TypeError if none of them answers."""
    result = modes.offer(LOCAL.s, public_api, tuple(relevant_args), args, kwargs)
    if result is modes.NOT_HANDLED:
        raise TypeError(f"no implementation found for {public_api.__module__}.{public_api.__name__}")
    return result


def is_tensor_like(inp: Any) -> bool:
    """Whether inp is a tensor or has a __torch_function__."""
    return isinstance(inp, Tensor) or hasattr(inp, "__torch_function__")


def wrap_torch_function(dispatcher: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the function asks the arguments that dispatcher(*args) names first."""
    import functools

    def declare(fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            relevant = dispatcher(*args, **kwargs)
            if has_torch_function(relevant):
                return handle_torch_function(wrapped, relevant, *args, **kwargs)
            return fn(*args, **kwargs)

        return wrapped

    return declare


def is_tensor_method_or_property(func: Any) -> bool:
    """Whether func belongs to Tensor."""
    return getattr(Tensor, getattr(func, "__name__", ""), None) is func


def resolve_name(f: Any) -> str:
    """The public name of a function."""
    return f"torch.{f.__name__}"


get_default_nowrap_functions: Callable[[], set[Any]] = lambda: set()
