"""The tensors that hold memory, largest first: for the error when there is none left, and for memory_stats."""

from __future__ import annotations

import gc
import inspect
import os.path
import sys
from typing import Any

from ..device import memory
from .value import Storage, Tensor

SHOWN = 8
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def tensors() -> list[tuple[int, Tensor]]:
    """(bytes of the storage, tensor) of one tensor of each storage that has memory, largest first."""
    found: dict[int, Tensor] = {}
    for x in gc.get_objects():
        if issubclass(
            type(x), Tensor
        ):  # not isinstance: an object's __class__ may be a property of anybody's
            st = getattr(x, "_st", None)
            if isinstance(st, Storage) and st.block is not None:
                known = found.get(id(st))
                if known is None or x._meta.nbytes > known._meta.nbytes:
                    found[id(st)] = x
    return sorted(((t._st.nbytes, t) for t in found.values()), key=lambda item: -item[0])


def names() -> dict[int, str]:
    """Where the tensors that the calling functions hold are named: "x at file:line", by id of the storage."""
    found: dict[int, str] = {}
    frame: Any = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith((_PACKAGE, "<flambeau")):
            local = frame.f_locals
            for name, value in local.items():
                note(found, name, value, f"{code.co_filename}:{frame.f_lineno}")
            # Before 3.13 f_locals of a function is a copy that the frame keeps: it would hold what the user deletes.
            copied = sys.version_info < (3, 13) and code.co_flags & inspect.CO_OPTIMIZED
            if copied and frame.f_trace is None and sys.gettrace() is None:
                local.clear()
        frame = frame.f_back
    return found


def note(found: dict[int, str], name: str, value: Any, line: str) -> None:
    """The tensors of a variable: itself, the items of a list or dictionary, the parameters of a module."""
    parts: Any = ()
    if isinstance(value, Tensor):
        parts = ((name, value),)
    elif isinstance(value, (list, tuple)):
        parts = [(f"{name}[{i}]", v) for i, v in enumerate(value[:4096])]
    elif isinstance(value, dict):
        parts = [(f"{name}[{k!r}]", v) for k, v in list(value.items())[:4096]]
    elif hasattr(value, "named_parameters"):
        parts = [(f"{name}.{k}", v) for k, v in (*value.named_parameters(), *value.named_buffers())]
    for text, t in parts:
        if isinstance(t, Tensor):
            found.setdefault(id(t._st), f"{text} at {line}")
            if t._x is not None and t._x.grad is not None:
                found.setdefault(id(t._x.grad._st), f"{text}.grad at {line}")


def largest() -> str:
    """The largest tensors as lines of text, with the user's lines where a running function names them."""
    named = names()
    lines = []
    for nbytes, t in tensors()[:SHOWN]:
        made = "" if t._gf is None else f", result of {t._gf.name()}"
        where = named.get(id(t._st), "")
        lines.append(f"\n  {memory.readable(nbytes):>12}  {t._meta}{made}{', ' if where else ''}{where}")
    return "".join(["\nthe largest tensors:", *lines]) if lines else ""


memory.DESCRIBE.append(largest)
