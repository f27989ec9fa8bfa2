"""Public settings of the process: eager running, threads, determinism, default device; and flushing by hand."""

from __future__ import annotations

from . import config
from .device.threads import get_num_threads as get_num_threads
from .device.threads import set_num_threads as set_num_threads
from .errors import fail
from .stream import value
from .stream.access import synchronize as synchronize

_precision = "highest"
_warn_only = _warn_always = False
_deterministic = False


def set_eager(on: bool = True) -> None:
    """Run each operation at once (True), or record and fuse (False, as at the start)."""
    synchronize()
    config.set("eager", bool(on))
    for stream in value.STREAMS[:]:
        stream.eager = config.eager


def memory_stats() -> dict[str, int]:
    """Bytes: live (in use), cached (free, kept), mapped (all); counted and peak: blocks from 64 KiB on, now and most.

    torch.synchronize() first, where work may be pending; `reset_peak_memory_stats` begins the peak anew.
    """
    from .device import memory

    return memory.memory_stats()


def reset_peak_memory_stats() -> None:
    """Begin the peak of `memory_stats` anew at what is in use now."""
    from .device import memory

    memory.reset_peak()


def get_num_interop_threads() -> int:
    """Threads that run operations side by side: one."""
    return 1


def set_num_interop_threads(count: int) -> None:
    """Nothing: operations of one thread run in order."""


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Remembered; every operation gives the same bits each time anyway."""
    global _deterministic, _warn_only
    _deterministic, _warn_only = bool(mode), bool(mode and warn_only)


def are_deterministic_algorithms_enabled() -> bool:
    """What `use_deterministic_algorithms` was told last."""
    return _deterministic


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """Whether `use_deterministic_algorithms` was told to warn only."""
    return _warn_only


def get_deterministic_debug_mode() -> int:
    """0: off, 1: warn, 2: error, as `use_deterministic_algorithms` was told."""
    return 0 if not _deterministic else 1 if _warn_only else 2


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """`use_deterministic_algorithms` by a number or name: 0 "default", 1 "warn", 2 "error"."""
    modes = ("default", "warn", "error")
    if debug_mode not in (*modes, *range(3)):
        fail(
            RuntimeError,
            "set_deterministic_debug_mode: is default, warn, error, or 0, 1, 2",
            debug_mode=debug_mode,
        )
    level = modes.index(debug_mode) if isinstance(debug_mode, str) else debug_mode
    use_deterministic_algorithms(level > 0, warn_only=level == 1)


def set_warn_always(always: bool, /) -> None:
    """Remembered: warnings are Python's, whose filters say how often they are shown."""
    global _warn_always
    _warn_always = bool(always)


def is_warn_always_enabled() -> bool:
    """What `set_warn_always` was told last."""
    return _warn_always


def set_flush_denormal(mode: bool) -> bool:
    """Whether subnormal numbers can be handled so: they are kept, and only that can be asked for."""
    return not mode


def set_float32_matmul_precision(precision: str) -> None:
    """Remembered; float32 products are computed in float32 anyway."""
    global _precision
    if precision not in ("highest", "high", "medium"):
        fail(RuntimeError, "set_float32_matmul_precision: is highest, high or medium", precision=precision)
    _precision = precision


def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` was told last."""
    return _precision
