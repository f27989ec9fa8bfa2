"""The heap: giving free pages of the C library back, keeping objects that foreign code uses."""

from __future__ import annotations

import ctypes
import functools
from typing import Any


@functools.cache
def _trim() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library than glibc
        return None


def release() -> None:
    """Give the system the free pages that compiling and planning leave in pieces: 0.3 to 8 ms, 1 to 30 MB."""
    trim = _trim()
    if trim is not None:
        trim(0)


def for_ever(x: Any) -> None:
    """Keep an object alive until the process is gone: code may use it when the interpreter has cleared all modules."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(x))
