"""What the devices that live in host memory have in common: memory, copies, threads."""

from __future__ import annotations

import ctypes
from typing import Any

from . import limits, memory, threads
from .base import Device


class HostDevice(Device):
    """A device whose addresses are the host's own. The functions of `memory` are its methods, with no call between."""

    alloc = staticmethod(memory.alloc)  # type: ignore[assignment]
    alloc_ptr = staticmethod(memory.alloc_ptr)  # type: ignore[assignment]
    free_ptr = staticmethod(memory.free_ptr)  # type: ignore[assignment]
    empty_cache = staticmethod(memory.empty_cache)  # type: ignore[assignment]
    memory_stats = staticmethod(memory.memory_stats)  # type: ignore[assignment]
    reset_peak = staticmethod(memory.reset_peak)  # type: ignore[assignment]
    get_num_threads = staticmethod(threads.get_num_threads)  # type: ignore[assignment]
    set_num_threads = staticmethod(threads.set_num_threads)  # type: ignore[assignment]

    def copy_in(self, ptr: int, source: Any) -> None:
        """Copy a C-contiguous buffer to ptr."""
        data = memoryview(source).cast("B")
        self.view(ptr, data.nbytes)[:] = data

    def copy_out(self, target: Any, ptr: int) -> None:
        """Fill a writable C-contiguous buffer from ptr."""
        data = memoryview(target).cast("B")
        data[:] = self.view(ptr, data.nbytes)

    def copy(self, to: int, source: int, nbytes: int) -> None:
        """Copy; the two may overlap."""
        ctypes.memmove(to, source, nbytes)

    def fill(self, ptr: int, nbytes: int, byte: int) -> None:
        """Set every byte."""
        ctypes.memset(ptr, byte, nbytes)

    def view(self, ptr: int, nbytes: int) -> memoryview:
        """The memory itself, writable. It does not keep the memory alive."""
        return memoryview((ctypes.c_char * nbytes).from_address(ptr)).cast("B")

    def synchronize(self) -> None:
        """Nothing runs behind the caller's back."""

    def properties(self) -> dict[str, Any]:
        """Name, memory that may be used, threads."""
        return {"name": self.name, "total_memory": limits.memory(), "threads": self.get_num_threads()}
