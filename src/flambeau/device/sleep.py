"""How an idle worker sleeps and is woken: the only part of the thread pool that differs between operating systems.

Each way is LLVM IR of six functions: @os_wait(address, expected) returns at once if the i32 there is not `expected`,
else when somebody wakes (or for no reason); @os_wake(address) wakes all who wait there; @os_yield() lets another thread
run; @os_cpu() is the processor that runs the caller, @os_thread() the caller's number, where they can be known (else -1
and 0); @os_apart(thread, cpu) moves a thread away from a processor if it may run on others (a virtual machine's idle
processors look busy to Linux, which then wakes a thread where its waker runs, for milliseconds). They call functions of
the system through addresses that `choose` finds and the pool keeps in its state: generated code names no external
symbol.
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
_APART = """
define internal i64 @os_cpu() nounwind {{
  %place = alloca i32
  store i32 -1, ptr %place
  %f = call ptr @os_function(i64 0)
  %r = call i64 (i64, ...) %f(i64 {getcpu}, ptr %place, ptr null, ptr null)
  %cpu = load i32, ptr %place
  %wide = sext i32 %cpu to i64
  ret i64 %wide
}}
define internal i64 @os_thread() nounwind {{
  %f = call ptr @os_function(i64 0)
  %r = call i64 (i64, ...) %f(i64 {gettid})
  ret i64 %r
}}
define internal void @os_apart(i64 %thread, i64 %cpu) nounwind {{
entry:
  %mask = alloca [128 x i8], align 8
  %f = call ptr @os_function(i64 0)
  %size = call i64 (i64, ...) %f(i64 {getaffinity}, i64 %thread, i64 128, ptr %mask)
  %byte.i = lshr i64 %cpu, 3
  %inside = icmp slt i64 %byte.i, %size ; an unknown processor is far outside
  br i1 %inside, label %leave, label %out
leave:
  %byte.p = getelementptr i8, ptr %mask, i64 %byte.i
  %byte = load i8, ptr %byte.p
  %low = trunc i64 %cpu to i8
  %bit.i = and i8 %low, 7
  %bit = shl i8 1, %bit.i
  %without = xor i8 %byte, %bit
  store i8 %without, ptr %byte.p
  %r = call i64 (i64, ...) %f(i64 {setaffinity}, i64 %thread, i64 %size, ptr %mask)
  %moved = icmp eq i64 %r, 0
  br i1 %moved, label %back, label %out
back:
  store i8 %byte, ptr %byte.p
  %again = call i64 (i64, ...) %f(i64 {setaffinity}, i64 %thread, i64 %size, ptr %mask)
  br label %out
out:
  ret void
}}
"""
_ANYWHERE = """
define internal i64 @os_cpu() nounwind {
  ret i64 -1
}
define internal i64 @os_thread() nounwind {
  ret i64 0
}
define internal void @os_apart(i64 %thread, i64 %cpu) nounwind {
  ret void
}
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
_GENERIC = {"number": 98, "getcpu": 168, "gettid": 178, "setaffinity": 122, "getaffinity": 123}
_CALLS = {  # the numbers of Linux' system calls
    "x86_64": {"number": 202, "getcpu": 309, "gettid": 186, "setaffinity": 203, "getaffinity": 204},
    "aarch64": _GENERIC,
    "riscv64": _GENERIC,
    "loongarch64": _GENERIC,
    "ppc64le": {"number": 221, "getcpu": 302, "gettid": 207, "setaffinity": 222, "getaffinity": 223},
}


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
        if found:
            return _WINDOWS + _YIELD + _ANYWHERE, [*found, switch[0]]
        return _POLL + _YIELD + _ANYWHERE, [switch[1], 0, switch[0]]
    switch = _find(None, "sched_yield") or [0]
    if sys.platform == "darwin":
        for text, names in (
            (_DARWIN, ("os_sync_wait_on_address", "os_sync_wake_by_address_all")),
            (_ULOCK, ("__ulock_wait", "__ulock_wake")),
        ):
            found = _find(None, *names)
            if found:
                return text + _YIELD + _ANYWHERE, found + switch
    calls = _CALLS.get(os.uname().machine) if sys.platform.startswith("linux") else None
    found = _find(None, "syscall")
    if calls and found:
        return (_LINUX + _APART).format(**calls) + _YIELD, [found[0], 0, switch[0]]
    return _POLL + _YIELD + _ANYWHERE, [*(_find(None, "usleep") or [0]), 0, switch[0]]


def all_texts() -> dict[str, str]:
    """The IR of every way, so that all of them can be compiled on one machine."""
    texts = {
        "linux": (_LINUX + _APART).format(**_CALLS["x86_64"]),
        "darwin": _DARWIN + _ANYWHERE,
        "ulock": _ULOCK + _ANYWHERE,
        "windows": _WINDOWS + _ANYWHERE,
        "poll": _POLL + _ANYWHERE,
    }
    return {name: text + _YIELD for name, text in texts.items()}
