"""The C library's heap: compiling and planning free much of it in pieces that it would keep."""

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
    """Give free pages back to the system: 0.3 to 8 ms, for 1 to 30 MB after a large plan."""
    trim = _trim()
    if trim is not None:
        trim(0)
