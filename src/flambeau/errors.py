"""How flambeau says that something is wrong: one grammar, `op: what is wrong; got a=(2, 3) float32; hint`."""

from __future__ import annotations

import os.path
import sys
from types import CodeType
from typing import Any, NoReturn

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_inside: set[str] = set()  # files of the package met by `site`

Site = tuple[
    CodeType, int
]  # where an operation was called: the code object and the offset of the instruction in it


class OutOfMemoryError(RuntimeError, MemoryError):
    """No memory for a tensor, even after the cache was given back (as `torch.OutOfMemoryError`, a RuntimeError)."""


class TooLargeError(OutOfMemoryError):
    """A tensor that all of the memory could not hold: trying again is of no use."""


def fail(exc: type[BaseException], what: str, hint: str = "", /, **operands: Any) -> NoReturn:
    """Raise exc("{what}; got {operands}; {hint}"); `what` begins with the op: "add: shapes do not broadcast"."""
    raise exc(message(what, hint, **operands)) from None


def message(what: str, hint: str = "", /, **operands: Any) -> str:
    """The text of `fail`: what, the operands (if any) and the hint (if any), separated by "; "."""
    parts = [what]
    if operands:
        parts.append(got(**operands))
    if hint:
        parts.append(hint)
    return "; ".join(parts)


def got(**operands: Any) -> str:
    """The operands as "got a=(2, 3) float32, dim=2"."""
    return "got " + ", ".join(f"{name}={describe(value)}" for name, value in operands.items())


def describe(value: Any) -> str:
    """A value in an error message: "(2, 3) float32" for a tensor or array, a short repr for anything else."""
    if isinstance(value, type):
        return value.__name__
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is not None and dtype is not None:
        return f"{tuple(shape)} {str(dtype).rpartition('.')[2]}"
    if isinstance(value, (list, tuple)) and any(hasattr(item, "dtype") for item in value):
        items = [describe(item) for item in value[:4]] + ["..."] * (len(value) > 4)
        return f"{type(value).__name__} of {', '.join(items)}"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def site() -> Site | None:
    """The first caller outside the package, cheaply: its code object and instruction offset; None if there is none.

    (code, offset) names a place of the program for as long as the code lives; `place` makes it readable.
    """
    frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        file = code.co_filename
        if file not in _inside:
            if not file.startswith((_PACKAGE, "<flambeau op")):
                return code, frame.f_lasti
            _inside.add(file)
        frame = frame.f_back  # type: ignore[assignment]
    return None


def place(where: Site | None) -> str:
    """A site as "file:line" ("" if unknown)."""
    if where is None:
        return ""
    code, offset = where
    line = code.co_firstlineno
    for start, stop, number in code.co_lines():
        if start <= offset < stop and number is not None:
            line = number
            break
    return f"{code.co_filename}:{line}"


class LinAlgError(RuntimeError):
    """A matrix for which a routine has no answer (singular, not positive-definite)."""


class Deferred:
    """An error that can be found only when a recorded operation runs, or that was found then.

    `text` may hold {value} and {position}, which the error record of the kernel gives. `error` makes the exception, a
    new one for each use of a result that the failure made unavailable; it names the line that recorded the operation.
    """

    __slots__ = ("exc", "site", "text")

    def __init__(self, exc: type[Exception], text: str, site: Site | None = None):
        self.exc, self.text, self.site = exc, text, site

    def bind(self, value: int, position: int) -> Deferred:
        """The same error with the offending value and its position filled in."""
        text = self.text.replace("{value}", str(value)).replace("{position}", str(position))
        return Deferred(self.exc, text, self.site)

    def error(self) -> Exception:
        """The exception, to be raised by the caller."""
        where = place(self.site)
        return self.exc(f"{self.text} (recorded at {where})" if where else self.text)
