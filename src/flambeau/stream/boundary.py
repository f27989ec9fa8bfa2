"""Where a stream is cut: behind a loop's last whole iteration, and at the end of a module's call, if no gradient is
recorded and it is worth a flush.

An outermost call is where one program of an evaluation ends and the next begins, whatever the caller does with the
result; a small one waits for a value, as everything does."""

from __future__ import annotations

import sys
from types import CodeType
from typing import Any

from .value import Stream

WORTH = 512 << 10  # bytes that instructions read and write in about 50 us


class Looked:
    """How much of a stream's code was looked at, and what that much moves."""

    __slots__ = ("code", "length", "moved")

    def __init__(self, code: list[Any]):
        self.code, self.length, self.moved = code, 0, 0


def end_of_call(S: Stream, calls: frozenset[CodeType]) -> None:
    """Flush, if this is the end of an outermost call with enough work. calls: the code of the calls themselves."""
    if S.depth or S.capture is not None or S.backward or not S.code:
        return
    frame = sys._getframe(1).f_back
    while frame is not None:
        if frame.f_code in calls:
            return
        frame = frame.f_back
    if moved(S) > WORTH:
        S.flush()


def moved(S: Stream) -> int:
    """The bytes that the recorded instructions read and write; what was looked at before is not looked at again."""
    looked: Looked | None = S.looked
    if looked is None or looked.code is not S.code or looked.length > len(S.code):
        looked = S.looked = Looked(S.code)
    part = S.code[looked.length :]
    looked.length += len(part)
    looked.moved += sum([x.weight for x in part if type(x) is not int])
    return looked.moved


def last_repeat(forms: list[Any]) -> int:
    """Where to cut a sequence: behind its last whole period, else at the last recurrence of its first element; or 0.

    The period is what the longest end that is also a beginning leaves (Knuth, Morris and Pratt)."""
    n, ends, length = len(forms), [0], 0
    for form in forms[1:]:
        while length and forms[length] is not form:
            length = ends[length - 1]
        length += forms[length] is form
        ends.append(length)
    period = n - length
    if 2 * period <= n:
        return n - n % period if n % period else 0
    return next((i for i in range(n - 1, n // 2, -1) if forms[i] is forms[0]), 0)
