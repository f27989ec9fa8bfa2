"""The other side of the one interception point: what sees a call when it is not plain.

Ordered: functions being traced, __torch_function__ of subclasses and modes, then the modes of the thread
(vmap, autocast, meta, ...), innermost first.
"""

from __future__ import annotations

from typing import Any

from ..stream.value import PLAIN, Tensor

NOT_HANDLED = object()


def dispatch(S: Any, entry: Any, values: tuple[Any, ...], out: Any, inplace: bool) -> Any:
    for mode in reversed(S.modes):
        result = mode.call(entry, values, out, inplace)
        if result is not NOT_HANDLED:
            return result
    return NOT_HANDLED


def dispatch_view(S: Any, name: str, made: Any, self: Any, args: tuple[Any, ...]) -> Any:
    if not isinstance(self, Tensor):
        raise TypeError(f"{name}(): argument 'input' (position 1) must be Tensor, not {type(self).__name__}")
    for mode in reversed(S.modes):
        result = mode.call_view(name, made, self, args)
        if result is not NOT_HANDLED:
            return result
    return NOT_HANDLED


def plain(t: Any) -> bool:
    return type(t) in PLAIN
