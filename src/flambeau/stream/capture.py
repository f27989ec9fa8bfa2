"""A call under capture: what it records is held back until it returns, and what cannot be replayed ends the capture.

The stream knows its session as `S.capture`; who reads a value, makes a tensor of outside data or counts in Python tells
it. compiler.py begins sessions, replay/ makes programs of them.
"""

from __future__ import annotations

import sys
from typing import Any

from ..errors import place, site
from .value import LOCAL, Storage, Stream

FLUSHES = ("flush", "flush_at_bound", "flush_for_other")
LONGEST = 1 << 20  # length of code up to which one call is captured


class Session:
    """One captured call. actions: what Python must do again at each replay, in order; ended: why it cannot be one;
    before: nodes of the graph that were there when it began."""

    def __init__(self, S: Stream):
        self.S = S
        self.actions: list[Any] = []
        self.ended = ""
        self.before: set[Any] = set()
        self.forget: Any = None  # lets go of what the call was given, once it goes on uncaptured
        self.code: list[Any] = []
        self.active = False
        self.busy = False  # within an action
        self.passing = False

    def __enter__(self) -> Session:
        S = self.S
        S.flush()
        self.code, self.bound, self.active = S.code, S.bound, True
        S.capture, S.bound = self, LONGEST
        for name in FLUSHES:
            setattr(S, name, self.interrupted)
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """The stream is as it was; what was recorded stays recorded."""
        self.forget = None
        if self.active:
            S, self.active = self.S, False
            S.capture, S.bound = None, self.bound
            for name in FLUSHES:
                del S.__dict__[name]

    def interrupted(self) -> None:
        """Something must run before the call has returned."""
        if LOCAL.s is not self.S:
            self.end("another thread needs a result")
        elif self.S.flush_after or self.S.eager:
            self.end("memory of others is read or written")
        elif sum(1 for _ in self.S.code) > LONGEST or self.S.pending_bytes > self.S.byte_bound:
            self.end("the call is too long")
        else:
            self.end("a value is read")
        self.S.flush()

    def end(self, why: str, passing: bool = False) -> None:
        """The call cannot be replayed: it goes on uncaptured. passing: the next one probably can."""
        if not self.ended:
            self.passing = passing
            line = place(site())
            self.ended = f"{why}{f' at {line}' if line else ''}"
        forget = self.forget
        self.close()
        self.before = set()
        if forget is not None:
            forget()

    def walked(self, nodes: Any) -> None:
        """A backward pass of the call reaches these nodes: those from before it have run then, and cannot again."""
        if not self.before.isdisjoint(nodes):
            self.end("a backward pass goes through a graph that was recorded before the call")

    def act(self, action: Any) -> None:
        """Python work of the framework's own that each replay does again: ready(), advance(), undo(), slots, values."""
        self.actions.append(action)


class Repeated:
    """An action that is one call, whose effects are Python's alone (a schedule of the learning rate)."""

    slots: tuple[int, ...] = ()

    def __init__(self, call: Any):
        self.call = call
        self.values: list[Any] = []

    def ready(self) -> bool:
        """Whether a replay may do it."""
        return True

    def advance(self) -> None:
        """Do it."""
        self.call()

    def undo(self) -> None:
        """A schedule cannot go back: what failed after it has moved it, as in an uncaptured call."""

    def same(self, other: Any) -> bool:
        """Whether another capture's action is this one."""
        return type(other) is Repeated and self.call == other.call


def outside(what: str, passing: bool = False) -> None:
    """A call under capture takes data that a replay would not see again."""
    session = LOCAL.s.capture
    if session is not None:
        session.end(what, passing)


def alive(slots: list[Any], sids: list[int]) -> list[int]:
    """Which of these slots hold storages that something besides the table refers to."""
    count = sys.getrefcount
    return [sid for sid in sids if count(slots[sid]) > _SPARE]


def _spare() -> int:
    table: list[Any] = [Storage()]
    count = sys.getrefcount
    return min([count(table[sid]) for sid in (0, 0)])


_SPARE = _spare()
