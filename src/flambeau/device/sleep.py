"""How an idle worker sleeps and is woken: the only part of the thread pool that differs between operating systems.

Each way is LLVM IR of three functions: @os_wait(address, expected) returns at once if the i32 there is not `expected`,
else when somebody wakes (or for no reason); @os_wake(address) wakes all who wait there; @os_yield() lets another thread
run. They call functions of the system through addresses that `choose` finds and the pool keeps in its state: generated
code names no external symbol.
"""

from __future__ import annotations

import ctypes
import os
import sys

_LINUX = """
define internal void @os_wait(ptr %address, i32 %expected) nounwind {{
  %f = call ptr @os_function(i64 0)
  %r = call i64 (i64, ...) %f(i64 {number}, ptr %address, i64 128, i32 %expected, ptr null, ptr null, i32 0)
  ret void
}}
define internal void @os_wake(ptr %address) nounwind {{
  %f = call ptr @os_function(i64 0)
  %r = call i64 (i64, ...) %f(i64 {number}, ptr %address, i64 129, i32 2147483647, ptr null, ptr null, i32 0)
  ret void
}}
"""
_DARWIN = """
define internal void @os_wait(ptr %address, i32 %expected) nounwind {
  %f = call ptr @os_function(i64 0)
  %value = zext i32 %expected to i64
  %r = call i32 %f(ptr %address, i64 %value, i64 4, i32 0)
  ret void
}
define internal void @os_wake(ptr %address) nounwind {
  %f = call ptr @os_function(i64 1)
  %r = call i32 %f(ptr %address, i64 4, i32 0)
  ret void
}
"""
_ULOCK = """
define internal void @os_wait(ptr %address, i32 %expected) nounwind {
  %f = call ptr @os_function(i64 0)
  %value = zext i32 %expected to i64
  %r = call i32 %f(i32 1, ptr %address, i64 %value, i32 0)
  ret void
}
define internal void @os_wake(ptr %address) nounwind {
  %f = call ptr @os_function(i64 1)
  %r = call i32 %f(i32 257, ptr %address, i64 0)
  ret void
}
"""
_WINDOWS = """
define internal void @os_wait(ptr %address, i32 %expected) nounwind {
  %f = call ptr @os_function(i64 0)
  %compare = alloca i32
  store i32 %expected, ptr %compare
  %r = call i32 %f(ptr %address, ptr %compare, i64 4, i32 -1)
  ret void
}
define internal void @os_wake(ptr %address) nounwind {
  %f = call ptr @os_function(i64 1)
  call void %f(ptr %address)
  ret void
}
"""
_POLL = """
define internal void @os_wait(ptr %address, i32 %expected) nounwind {
  %f = call ptr @os_function(i64 0)
  %r = call i32 %f(i32 200)
  ret void
}
define internal void @os_wake(ptr %address) nounwind {
  ret void
}
"""
_YIELD = """
define internal void @os_yield() nounwind {
  %f = call ptr @os_function(i64 2)
  %r = call i32 %f()
  ret void
}
"""
_FUTEX = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "loongarch64": 98, "ppc64le": 221}


def _find(library: str | None, *names: str) -> list[int] | None:
    """The addresses of functions, or None if one of them does not exist."""
    try:
        opened = ctypes.CDLL(library)
        return [ctypes.cast(getattr(opened, name), ctypes.c_void_p).value or 0 for name in names]
    except (OSError, AttributeError):
        return None


def choose() -> tuple[str, list[int]]:
    """The IR of this system's way, and the addresses of the functions it calls (three words of the pool)."""
    if sys.platform == "win32":
        found = _find("api-ms-win-core-synch-l1-2-0.dll", "WaitOnAddress", "WakeByAddressAll")
        switch = _find("kernel32.dll", "SwitchToThread", "Sleep") or [0, 0]
        return (
            (_WINDOWS + _YIELD, [*found, switch[0]]) if found else (_POLL + _YIELD, [switch[1], 0, switch[0]])
        )
    switch = _find(None, "sched_yield") or [0]
    if sys.platform == "darwin":
        for text, names in (
            (_DARWIN, ("os_sync_wait_on_address", "os_sync_wake_by_address_all")),
            (_ULOCK, ("__ulock_wait", "__ulock_wake")),
        ):
            found = _find(None, *names)
            if found:
                return text + _YIELD, found + switch
    number = _FUTEX.get(os.uname().machine) if sys.platform.startswith("linux") else None
    found = _find(None, "syscall")
    if number and found:
        return _LINUX.format(number=number) + _YIELD, [found[0], 0, switch[0]]
    return _POLL + _YIELD, [*(_find(None, "usleep") or [0]), 0, switch[0]]


def all_texts() -> dict[str, str]:
    """The IR of every way, so that all of them can be compiled on one machine."""
    texts = {
        "linux": _LINUX.format(number=202),
        "darwin": _DARWIN,
        "ulock": _ULOCK,
        "windows": _WINDOWS,
        "poll": _POLL,
    }
    return {name: text + _YIELD for name, text in texts.items()}
