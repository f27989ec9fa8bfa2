"""Public settings of the process: eager running, threads, determinism, default device; and flushing by hand."""

from __future__ import annotations

from . import config
from .device.threads import get_num_threads as get_num_threads
from .device.threads import set_num_threads as set_num_threads
from .errors import fail
from .stream import value
from .stream.access import synchronize as synchronize

_precision = "highest"
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
    global _deterministic
    _deterministic = bool(mode)


def are_deterministic_algorithms_enabled() -> bool:
    """What `use_deterministic_algorithms` was told last."""
    return _deterministic


def set_float32_matmul_precision(precision: str) -> None:
    """Remembered; float32 products are computed in float32 anyway."""
    global _precision
    if precision not in ("highest", "high", "medium"):
        fail(RuntimeError, "set_float32_matmul_precision: is highest, high or medium", precision=precision)
    _precision = precision


def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` was told last."""
    return _precision
