"""How many threads one operation may use."""

from __future__ import annotations

from collections.abc import Callable

from .. import config
from ..errors import describe, fail
from . import limits
from .native import MAX_THREADS

_count = 0  # 0: not yet determined
_watchers: list[Callable[[int], None]] = []


def get_num_threads() -> int:
    """Threads in one operation: what was set, else FLAMBEAU_, MKL_ or OMP_NUM_THREADS, else the cores available."""
    global _count
    if not _count:
        _count = min(config.num_threads or limits.available_cores(), MAX_THREADS)
    return _count


def set_num_threads(count: int) -> None:
    """Use `count` threads (at most 256) from now on."""
    global _count
    if not isinstance(count, int) or isinstance(count, bool):
        fail(TypeError, f"set_num_threads: expects an int; got {describe(count)}")
    if count < 1:
        fail(RuntimeError, f"set_num_threads: expects a positive integer; got {count}")
    before, _count = _count, min(count, MAX_THREADS)
    for call in _watchers if before != _count else ():
        call(_count)


def watch(call: Callable[[int], None]) -> None:
    """Have `call(count)` made after each change."""
    _watchers.append(call)


def _flag_changed(count: int) -> None:
    if count:
        set_num_threads(count)


config.watch("num_threads", _flag_changed)
