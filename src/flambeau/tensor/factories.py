"""What all constructors have in common: modes see their calls, and device= says where the tensor is made."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ..dtypes import CPU, META, device
from ..ops import modes
from ..ops.absent import placed
from ..ops.sizes import MOST, Sizes
from ..ops.sizes import run as commit
from ..stream.host import check_device
from ..stream.value import LOCAL, PLAIN, Tensor

Short = Callable[
    [Any], Any
]  # what `run` needs for a size, or for the metadata of a tensor; None: nothing does


def factory(
    fn: Callable[..., Any],
    like: bool = False,
    short: Short | None = None,
    numbers: bool = False,
    run: Callable[[Any], Any] = commit,
) -> Callable[..., Any]:
    """A constructor as it is published. like: without device=, the tensor is made where the first argument is.

    short, run: what makes calls without options short (run: None where it may not be). numbers: a size is given as
    numbers only."""
    sizes, metas, name = Sizes(), dict[Any, Any](), fn.__name__

    @functools.wraps(fn)
    def made(*args: Any, **options: Any) -> Any:
        if short is not None and not options and args:
            if like:
                x = args[0]
                found = metas.get(x._meta) if type(x) in PLAIN and not LOCAL.s.depth else None
            else:
                found = sizes.look(args) if not numbers or type(args[0]) is int else None
            result = None if found is None else run(found)
            if result is not None:
                return result
        S = LOCAL.s
        if like and not args and "input" in options:
            args = (options.pop("input"),)
        if S.modes and S.trace is None:
            result = modes.offer(S, made, args, args, options)
            if result is not modes.NOT_HANDLED:
                return result
        where = options.get("device")
        if where is None and like and isinstance(args[0], Tensor):
            where = args[0]._meta.device
        if where is not None and check_device(where, name) is META:
            options["device"] = None
            with placed(META):
                return fn(*args, **options)
        result = fn(*args, **options)
        if like and type(args[0]) not in PLAIN and hasattr(args[0], "in_samples"):
            return args[0].in_samples(result)
        if short is not None and not (options or S.depth or S.place):
            keep(args[0]) if like else keep_size(result)
        return result

    def keep_size(result: Tensor) -> None:
        size = tuple(result._meta.shape)
        found = short(size) if short is not None else None
        if found is not None:
            sizes.keep(size, found)

    def keep(x: Tensor) -> None:
        found = short(x._meta) if short is not None and type(x) in PLAIN and x._meta.plain else None
        if found is not None:
            if len(metas) >= MOST:
                metas.clear()
            metas[x._meta] = found

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
