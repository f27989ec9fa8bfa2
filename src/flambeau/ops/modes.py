"""The other side of the one interception point: what sees a call when it is not plain.

Ordered: functions being traced, modes of the thread (innermost first), then __torch_function__ of the arguments' classes
(subclasses before their bases, else from left to right).
"""

from __future__ import annotations

from typing import Any

from ..stream.value import LOCAL, PLAIN, Tensor

NOT_HANDLED = object()


class disabled:
    """Within it, __torch_function__ of classes (and, if `all_modes`, of modes) is not called."""

    def __init__(self, all_modes: bool = False):
        self.all_modes = all_modes

    def __enter__(self) -> None:
        S = LOCAL.s
        self.before = getattr(S, "plain_classes", False), S.modes, S.depth
        S.plain_classes = True  # type: ignore[attr-defined]
        if self.all_modes:
            S.depth -= len(S.modes)
            S.modes = []

    def __exit__(self, *error: object) -> None:
        S = LOCAL.s
        S.plain_classes, S.modes, S.depth = self.before  # type: ignore[attr-defined]


def disabled_torch_function(func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    """The __torch_function__ of classes that want none, such as Parameter."""
    with disabled():
        return func(*args, **(kwargs or {}))


def default_torch_function(cls: type, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    """The __torch_function__ of Tensor: subclasses keep their class through operations."""
    if not all(issubclass(cls, t) for t in types):
        return NotImplemented
    with disabled():
        return converted(func(*args, **(kwargs or {})), cls)


def converted(value: Any, cls: type) -> Any:
    """Tensors in a result as tensors of class `cls`."""
    if cls is Tensor:
        return value
    if isinstance(value, Tensor):
        if not isinstance(value, cls):
            value.__class__ = cls  # a result is nobody else's yet
        return value
    if isinstance(value, (tuple, list)):
        made = [converted(v, cls) for v in value]
        return type(value)(*made) if hasattr(value, "_fields") else type(value)(made)
    return value


def overloaded(values: Any) -> list[Any]:
    """The arguments whose class has a __torch_function__ of its own, in the order in which they are asked."""
    found: list[Any] = []
    todo: list[Any] = []
    for v in values:
        todo.extend(v if type(v) in (list, tuple) else (v,))
    for v in todo:
        kind = type(v)
        if kind in PLAIN or any(type(f) is kind for f in found):
            continue
        method = getattr(kind, "__torch_function__", None)
        if method is None or method is disabled_torch_function:
            continue
        at = next((i for i, f in enumerate(found) if issubclass(kind, type(f))), len(found))
        found.insert(at, v)
    return found


def offer(S: Any, func: Any, values: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Ask the modes, then the classes of the arguments; NOT_HANDLED if there is nobody to ask."""
    if S.trace is not None:
        return NOT_HANDLED
    asked = [] if getattr(S, "plain_classes", False) else overloaded(values)
    types = tuple([type(v) for v in asked])
    modes = S.modes
    if modes:
        mode = modes[-1]
        S.modes = modes[:-1]
        S.depth -= 1
        try:
            result = mode.__torch_function__(func, types, args, kwargs)
        finally:
            S.modes = modes
            S.depth += 1
        if result is not NotImplemented:
            return result
    for v in asked:
        result = type(v).__torch_function__(func, types, args, kwargs)
        if result is not NotImplemented:
            return result
    if asked or modes:
        names = ", ".join(t.__name__ for t in types)
        raise TypeError(
            f"Multiple dispatch failed for 'torch.{func.__name__}'; all __torch_function__ handlers returned "
            f"NotImplemented: {names}"
        )
    return NOT_HANDLED


def dispatch(S: Any, entry: Any, values: tuple[Any, ...], out: Any, inplace: bool) -> Any:
    """Offer a call of an entry to modes and classes, with the arguments as the user gave them."""
    if not S.modes and S.trace is not None:
        return NOT_HANDLED
    func = entry.wrapper_inplace if inplace and hasattr(entry, "wrapper_inplace") else entry.wrapper
    if inplace and func is entry.wrapper:
        from .registry import FUNCTIONS, METHODS

        name = entry.name + "_"
        func = METHODS.get(name) or FUNCTIONS.get(name, func)
    n = len(entry.positional)
    args = list(values[:n])
    while (
        args
        and entry.positional[len(args) - 1] in entry.defaults
        and args[-1] is entry.defaults[entry.positional[len(args) - 1]]
    ):
        args.pop()
    kwargs = {p: v for p, v in zip(entry.keyword, values[n:]) if v is not entry.defaults.get(p, NOT_HANDLED)}
    if out is not None:
        kwargs["out"] = out
    return offer(S, func, values if out is None else (*values, out), tuple(args), kwargs)


def dispatch_view(S: Any, name: str, made: Any, self: Any, args: tuple[Any, ...]) -> Any:
    """Offer a call of a view to modes and classes."""
    if not isinstance(self, Tensor) and not hasattr(type(self), "__torch_function__"):
        raise TypeError(f"{name}(): argument 'input' (position 1) must be Tensor, not {type(self).__name__}")
    return offer(S, made, (self,), (self, *args), {})


def for_product(*tensors: Any) -> Any:
    """The tensors of a function that compares dtypes before its product, as autocast will give them to that."""
    S = LOCAL.s
    lower = getattr(S.modes[0], "autocast_lower", None) if S.modes and not S.backward else None
    return tensors if lower is None else [t if t is None else lower(t) for t in tensors]


def plain(t: Any) -> bool:
    """Whether a tensor's class takes no part in dispatch."""
    return type(t) in PLAIN
