"""Memory that is sure to be written soon gets its pages from a thread beside those that compute.

The first write to a page that was never used takes the system's time, up to milliseconds for a huge page in a virtual
machine whose host takes unused memory back: for the first step of a large net longer than all that it computes. The
thread adds 0 to a byte of each page, in one instruction that other threads' writes cannot come between.
"""

from __future__ import annotations

import _thread
import atexit
import ctypes
import os
import threading
from collections.abc import Callable, Container

from . import limits, memory
from .native import PAGE
from .pool import POOL

LEAST = 8 << 20  # bytes for which it is worth a thread

_stop = ctypes.c_int32(0)  # 1: the thread shall leave
_idle = threading.Lock()  # held while a thread is under way or prepared
_preparing = [0]  # the thread that looks for what shall be touched


def ahead(nbytes: int, written: Callable[[], Container[int]]) -> None:
    """So many bytes more will be in use, and written, before long: no more than are certain. written: the addresses
    where blocks that are in use begin that will be written as a whole."""
    if limits.available_cores() < 2 or not _idle.acquire(blocking=False):
        return
    started = False
    _preparing[0] = threading.get_ident()
    try:
        areas = memory.new_blocks(LEAST)
        if areas:
            begin = written()
            areas = [area for area in areas if area[0] in begin]
        areas = memory.unused(nbytes, LEAST) + areas
        if areas and not _stop.value:
            _thread.start_new_thread(_touch, (POOL.function("touch"), areas))
            started = True
    except RuntimeError:  # the system grants no more threads
        pass
    finally:
        _preparing[0] = 0
        if not started:
            _stop.value = 0
            _idle.release()


def _touch(function: object, areas: list[tuple[int, int]]) -> None:
    try:
        for start, end in reversed(areas):
            function(start & -PAGE, end & -PAGE, ctypes.addressof(_stop), 0)  # type: ignore[operator]
    finally:
        _idle.release()


def settle() -> None:
    """Memory is about to be unmapped: no thread touches any."""
    _stop.value = 1
    if _preparing[0] == threading.get_ident():
        return  # within `ahead`, which sees it
    with _idle:
        _stop.value = 0


def _leave() -> None:
    """The interpreter ends, and its memory goes: no thread touches any, and none begins to."""
    memory.BEFORE_UNMAPPING.clear()
    _stop.value = 1
    _idle.acquire()


def _abandon() -> None:
    """A child process has no such thread."""
    global _idle
    _idle = threading.Lock()
    _stop.value = _preparing[0] = 0


memory.BEFORE_UNMAPPING.append(settle)
atexit.register(_leave)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon)
