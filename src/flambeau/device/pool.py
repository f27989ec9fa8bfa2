"""The thread pool: daemon threads that entered generated code for ever (see native.py), their start, number and end.

The threads are Python's own, started through ctypes, so that no thread is created from generated code, and they do
not hold the GIL. They begin when a program first has something to divide. A child process made by fork begins anew.
"""

from __future__ import annotations

import _thread
import atexit
import ctypes
import os
import threading
from collections.abc import Callable
from typing import Any

from .. import config
from . import cpython, limits, memory, native, threads


class Pool:
    """The native state, its functions and the threads that wait in them. One per process, `POOL`.

    ready: as many threads as asked for have been started; programs test it before each run and call `start` if not.
    run(frame address) -> see runner.py; busy pools make further forks run in the thread that asked.
    """

    def __init__(self) -> None:
        self.ready = False
        self.run: Callable[[int], int] = self._load_and_run
        self._loaded = False
        self.list = self.raw = 0  # the addresses of flambeau_list and flambeau_run, once loaded
        self._state = 0
        self._words: Any = None
        self._functions: dict[str, Any] = {}
        self._started = 1  # threads that exist or were asked to leave, the callers counted as one
        self._lock = threading.RLock()

    def expect(self) -> None:
        """`load` will be called soon: where the native part has to be compiled, another process begins with it."""
        if not self._loaded:
            from ..codegen.engine import compile_ir_ahead

            compile_ir_ahead(_text(), native.NAMES, limits.available_cores())

    def load(self) -> None:
        """Compile (or fetch) the native part and bind it to its state."""
        with self._lock:
            if self._loaded:
                return
            from ..codegen.engine import compile_ir  # LLVM is loaded only when something is to run

            found = dict(zip(native.NAMES, compile_ir(_text(), native.NAMES), strict=True))
            _, addresses = _sleep()
            self._functions = {
                "bind": ctypes.CFUNCTYPE(None, ctypes.c_void_p)(found["flambeau_bind"]),
                "worker": ctypes.CFUNCTYPE(None, ctypes.c_int64)(found["flambeau_worker"]),
                "kick": ctypes.CFUNCTYPE(None)(found["flambeau_kick"]),
                "pauses": ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(found["flambeau_pauses"]),
                "run": ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)(found["flambeau_run"]),
                "touch": ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int8)(
                    found["flambeau_touch"]
                ),
            }
            self._state = memory.alloc_ptr(native.STATE_BYTES)
            ctypes.memset(self._state, 0, native.STATE_BYTES)
            self._words = (ctypes.c_int64 * (native.STATE_BYTES // 8)).from_address(self._state)
            for i, address in enumerate(addresses):
                self._words[native.OS // 8 + i] = address
            self._set(native.THREADS, 1)
            self._functions["bind"](self._state)
            self._calibrate()
            self.list, self.raw = found["flambeau_list"], found["flambeau_run"]
            self.run = _builtin(self, found["flambeau_call"]) or self._functions["run"]
            self._loaded = True

    def function(self, name: str) -> Any:
        """A function of the native part."""
        self.load()
        return self._functions[name]

    def start(self) -> None:
        """Bring the number of threads to what is wanted."""
        with self._lock:
            self.load()
            wanted = threads.get_num_threads()
            self._set(native.KEPT, wanted)
            for tid in range(self._started, wanted):
                try:
                    _thread.start_new_thread(self._functions["worker"], (tid,))
                except RuntimeError:  # the system grants no more threads: go on with those that exist
                    wanted = tid
                    break
            self._set(native.THREADS, wanted)
            if wanted < self._started:
                self._functions["kick"]()  # those that are too many leave
            self._started = wanted
            self.ready = True

    def stop(self) -> None:
        """Ask all threads to leave; what runs later runs in its caller."""
        with self._lock:
            if self._loaded:
                self._set(native.THREADS, 1)
                self._set(native.KEPT, 0)
                self._functions["kick"]()
                self._started = 1
                self.ready = True

    def abandon(self) -> None:
        """Forget the threads: this is a child process, which has none of them, and locks may be held by ghosts."""
        self._lock = threading.RLock()
        if self._loaded:
            self._set(native.THREADS, 1)
            self._set(native.BUSY, 0)
            self._set(native.SLEEPERS, 0)
            for tid in range(1, self._started):
                self._set(native.THREAD_AT + 64 * tid, 0)
        self._started, self.ready = 1, False

    def _load_and_run(self, frame: int) -> int:
        self.load()
        return self.run(frame)

    def _set(self, offset: int, value: int) -> None:
        self._words[offset // 8] = value

    def _calibrate(self) -> None:
        """Turn microseconds into pauses of this processor and milliseconds into ticks of its clock."""
        from time import perf_counter

        pauses, best, ticks = 400, 1.0, 0
        for _ in range(5):
            start = perf_counter()
            spent = self._functions["pauses"](pauses)
            seconds = perf_counter() - start
            if seconds < best:
                best, ticks = seconds, spent
        self._pauses_per_us = pauses / (best * 1e6)
        self._ticks_per_ms = ticks / (best * 1e3)
        self.tune()

    def tune(self, _: object = None) -> None:
        """Take over config.spin_us and config.slice_ms."""
        if self._words is not None:
            self._set(native.PAUSES, int(config.spin_us * self._pauses_per_us) + 1)
            self._set(native.TICKS, int(config.slice_ms * self._ticks_per_ms) or 1 << 62)


def _text() -> str:
    return native.text(_machine(), _sleep()[0])


def _machine() -> str:
    if hasattr(os, "uname"):
        name = os.uname().machine.lower()
    else:
        import platform

        name = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(name, name)


def _sleep() -> tuple[str, list[int]]:
    from . import sleep

    return sleep.choose()


def _builtin(pool: Pool, function: int) -> Callable[[int], int] | None:
    """`flambeau_call` as a builtin function, cheaper than a ctypes call; None where Python is not CPython."""
    names = ("PyLong_AsVoidPtr", "PyEval_SaveThread", "PyEval_RestoreThread", "PyLong_FromLongLong")
    try:
        for i, name in enumerate(names):
            address = ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value
            pool._set(native.PYTHON + 8 * i, address or 0)
    except AttributeError:
        return None
    return cpython.builtin("run", function, cpython.ONE)


POOL = Pool()


def _resize(_: int) -> None:
    if POOL.ready:
        POOL.start()


threads.watch(_resize)
config.watch("spin_us", POOL.tune)
config.watch("slice_ms", POOL.tune)
atexit.register(POOL.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=POOL.abandon)
