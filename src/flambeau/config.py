"""The one table of flags. Read a flag as an attribute (`config.debug`), change it with `set`, watch it with `watch`.

No other file reads or writes the environment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

debug: int
eager: bool
backend: str
num_threads: int
spin_us: int
huge_pages: bool
memory_limit: int
cache_dir: str
cache_size: int
no_cache: bool
max_instructions: int
max_pending_bytes: int
program_cache: int
target: str
verify: bool
slice_ms: int


def _switch(text: str) -> bool:
    """1, true, yes, on or 0, false, no, off."""
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("", "0", "false", "no", "off"):
        return False
    raise ValueError("is neither 1 nor 0")


def _whole(low: int, high: int) -> Callable[[str], int]:
    """A parser of whole numbers from low to high."""

    def parse(text: str) -> int:
        value = int(text, 0)
        if not low <= value <= high:
            raise ValueError(f"is not in {low}..{high}")
        return value

    return parse


def _size(text: str) -> int:
    """A number of bytes, as 4096, 64K, 512M or 2G."""
    scale = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:].upper(), 1)
    value = int(text[:-1] if scale > 1 else text, 0) * scale
    if value < 0:
        raise ValueError("is negative")
    return value


def _one_of(*names: str) -> Callable[[str], str]:
    """A parser that accepts these names only."""

    def parse(text: str) -> str:
        if text not in names:
            raise ValueError(f"is none of {', '.join(names)}")
        return text

    return parse


def _default_cache_dir() -> str:
    """The user's cache folder, by the custom of the operating system."""
    home = os.path.expanduser("~")
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.join(home, "AppData", "Local")
    elif sys.platform == "darwin":
        base = os.path.join(home, "Library", "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    return os.path.join(base, "flambeau")


def _default_num_threads() -> int:
    """MKL_NUM_THREADS, else OMP_NUM_THREADS, as PyTorch honours them; 0 if neither names a number."""
    for name in ("MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        first = os.environ.get(name, "").split(",")[0].strip()
        if first.isdigit() and int(first) > 0:
            return min(int(first), 256)
    return 0


class Flag:
    """One flag: its name, what it does, how its text is read, its default (a value or a function giving it)."""

    __slots__ = ("default", "doc", "name", "parse")

    def __init__(self, name: str, default: Any, parse: Callable[[str], Any], doc: str):
        self.name, self.default, self.parse, self.doc = name, default, parse, doc

    @property
    def env(self) -> str:
        """The environment variable, read once at import."""
        return "FLAMBEAU_" + self.name.upper()

    def read(self) -> Any:
        """The value that the environment gives, else the default."""
        text = os.environ.get(self.env)
        if text is not None:
            return self.check(text, self.env)
        return self.default() if callable(self.default) else self.default

    def check(self, value: Any, what: str) -> Any:
        """The value, parsed; a ValueError that names `what` if it is none of this flag's."""
        try:
            return self.parse(str(int(value)) if isinstance(value, bool) else str(value))
        except ValueError as error:
            reason = str(error) if str(error).startswith("is ") else "is not a number"
            raise ValueError(f"{what}: {value!r} {reason}; {self.doc}") from None


FLAGS = {
    flag.name: flag
    for flag in (
        Flag(
            "debug",
            0,
            _whole(0, 7),
            "Print 1: kernels run, 2: kernels fused, 3: loop IR, 5: LLVM IR, 7: assembly.",
        ),
        Flag("eager", False, _switch, "Run each operation at once instead of recording it."),
        Flag("backend", "cpu", _one_of("cpu", "python", "null"), "The device that `cpu` tensors live on."),
        Flag(
            "num_threads",
            _default_num_threads,
            _whole(0, 256),
            "Threads in one operation; 0: what is available.",
        ),
        Flag(
            "spin_us",
            5000,
            _whole(0, 1_000_000),
            "Microseconds an idle thread waits awake before it sleeps; after an eighth of them it lets others run.",
        ),
        Flag(
            "slice_ms", 100, _whole(1, 10_000), "Milliseconds of native code after which signals are served."
        ),
        Flag("huge_pages", True, _switch, "Ask for 2 MiB pages where a buffer is that large."),
        Flag(
            "memory_limit",
            0,
            _size,
            "Bytes that tensors may hold (K, M, G); 0: what the machine or container has.",
        ),
        Flag("cache_dir", _default_cache_dir, str, "Folder of compiled kernels and plans of programs."),
        Flag("cache_size", 256 << 20, _size, "Bytes of compiled kernels kept on disk (K, M, G)."),
        Flag("no_cache", False, _switch, "Neither read nor write compiled kernels on disk."),
        Flag("program_cache", 1024, _whole(1, 1 << 20), "Programs kept in memory."),
        Flag("max_instructions", 4096, _whole(1, 1 << 20), "Instructions recorded before a flush is forced."),
        Flag(
            "max_pending_bytes",
            1 << 30,
            _size,
            "Bytes of recorded results before a flush is forced (K, M, G).",
        ),
        Flag(
            "target",
            "host",
            str,
            "CPU that kernels are made for: host, x86-64-v2, x86-64-v3, x86-64-v4, aarch64.",
        ),
        Flag("verify", False, _switch, "Verify the intermediate representations after every pass."),
    )
}
_watchers: dict[str, list[Callable[[Any], None]]] = {}


def set(name: str, value: Any) -> None:
    """Change a flag (a value or its text); ValueError if there is no such flag or the value is none of its own."""
    flag = FLAGS.get(name)
    if flag is None:
        raise ValueError(f"config.set: there is no flag {name!r}; the flags are {', '.join(FLAGS)}")
    value = flag.check(value, f"config.set: {name}")
    globals()[name] = value
    for call in _watchers.get(name, ()):
        call(value)


def watch(name: str, call: Callable[[Any], None]) -> None:
    """Have `call(value)` made after each later change of a flag."""
    _watchers.setdefault(FLAGS[name].name, []).append(call)


def environment(name: str, default: str = "") -> str:
    """A variable of the environment that is not flambeau's own (RANK, COLUMNS, ...)."""
    return os.environ.get(name, default)


def export(name: str, value: str | None) -> None:
    """Set (None: remove) a variable in the environment of child processes."""
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


for _flag in FLAGS.values():
    globals()[_flag.name] = _flag.read()
