"""What all constructors have in common: modes see their calls, and device= says where the tensor is made."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ..dtypes import CPU, META, device
from ..ops import modes
from ..ops.absent import placed
from ..stream.host import check_device
from ..stream.value import LOCAL, PLAIN, Tensor


def factory(fn: Callable[..., Any], like: bool = False) -> Callable[..., Any]:
    """A constructor as it is published. like: without device=, the tensor is made where the first argument is."""

    @functools.wraps(fn)
    def made(*args: Any, **options: Any) -> Any:
        S = LOCAL.s
        if S.trace is None and (S.modes or (like and type(args[0]) not in PLAIN)):
            result = modes.offer(S, made, args, args, options)
            if result is not modes.NOT_HANDLED:
                return result
        where = options.get("device")
        if where is None:
            if not like or not isinstance(args[0], Tensor) or args[0]._meta.device is CPU:
                return fn(*args, **options)
            where = args[0]._meta.device
        where = check_device(where, fn.__name__)
        options["device"] = None
        if where is not META:
            return fn(*args, **options)
        with placed(where):
            return fn(*args, **options)

    if not like:
        CONSTRUCTORS.add(made)
    return made


CONSTRUCTORS: set[Any] = set()


class DeviceMode:
    """Within it, constructors that are not told a device make their tensors on this one."""

    def __init__(self, where: device):
        self.where = check_device(where, "device")

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        if func in CONSTRUCTORS and options.get("device") is None:
            options = {**options, "device": self.where}
        return func(*args, **options)

    def __enter__(self) -> DeviceMode:
        S = LOCAL.s
        S.modes = [*S.modes, self]
        S.depth += 1
        return self

    @staticmethod
    def leave() -> None:
        """The end of the innermost one."""
        S = LOCAL.s
        at = max(i for i, mode in enumerate(S.modes) if isinstance(mode, DeviceMode))
        S.modes = S.modes[:at] + S.modes[at + 1 :]
        S.depth -= 1


device.mode = DeviceMode


def get_default_device() -> device:
    """The device of new tensors."""
    found = [mode.where for mode in LOCAL.s.modes if isinstance(mode, DeviceMode)]
    return found[-1] if found else CPU  # type: ignore[no-any-return]


def set_default_device(where: Any) -> None:
    """The device of this thread's new tensors from now on; None: the CPU again."""
    S = LOCAL.s
    mode = None if where is None else DeviceMode(where)
    before = getattr(S, "default_device", None)
    modes_ = [m for m in S.modes if m is not before]
    S.depth += len(modes_) - len(S.modes)
    if mode is not None and mode.where is not CPU:
        modes_, S.depth = [mode, *modes_], S.depth + 1
    S.modes, S.default_device = modes_, mode  # type: ignore[attr-defined]
