"""What is known of a sequence of instructions."""

from __future__ import annotations

from typing import Any

from ..shapes import numel
from .fragments import promised
from .program import Program

MET: dict[
    int, tuple[int, ...]
] = {}  # the `history` of those without a program, by hash: the code is not kept

_NONE = (0, 0, 0, 0, 0, 0)


class Known:
    """What is known of a key: how often it came, which slots it promises, the programs made for it.

    later: how often it must have come before it is worth another try, after one that found no kernels. first, last:
    the numbers of the flushes with which it came (0: never). size, calls: its instructions, and the programs that it
    took to run them. used: whether it came since it was last thought of being forgotten."""

    __slots__ = (
        *(
            "_lines",
            "_promised",
            "calls",
            "code",
            "first",
            "hash",
            "last",
            "later",
            "programs",
            "seen",
            "size",
            "used",
        ),
    )

    def __init__(self, code: tuple[Any, ...]):
        self.code = code
        self.hash = hash(code)  # a tuple does not keep it
        history = MET.get(self.hash, _NONE)
        self.seen, self.later, self.first, self.last, self.size, self.calls = history
        self.programs: list[Program] = []
        self.used = False
        self._lines: Any = None
        self._promised: Any = None

    @property
    def lines(self) -> list[tuple[Any, tuple[int, ...]]]:
        """The instructions: a form, and its slot numbers."""
        if self._lines is None:
            self._lines = split(self.code)
        return self._lines

    @property
    def promised(self) -> list[int]:
        """The slots of the storages that the sequence makes."""
        if self._promised is None:
            self._promised = promised(self.lines)
        return self._promised

    @property
    def single(self) -> bool:
        """Whether this is one instruction."""
        return len(self.code) <= 1 + 2 * self.code[0].slots and len(self.lines) == 1

    def note(self) -> None:
        """Keep what is known of a key that has no program."""
        MET[self.hash] = self.seen, self.later, self.first, self.last, self.size, self.calls


def split(code: tuple[Any, ...]) -> list[tuple[Any, tuple[int, ...]]]:
    """The flat code as (form, slot numbers) pairs."""
    lines = []
    i, n = 0, len(code)
    while i < n:
        form = code[i]
        start, i = i + 1, i + 1 + form.slots
        line = code[start:i]
        if line and min(line) < 0:  # offsets follow what they belong to
            i, left = start, form.slots
            while left:
                i += 2 if code[i] < 0 else 1
                left -= 1
            line = code[start:i]
        lines.append((form, line))
    return lines


def real(sid: int) -> int:
    """The slot that an operand of the code names."""
    return ~sid if sid < 0 else sid


def overwritten(known: Known, slots: list[Any]) -> set[int]:
    """The addresses of memory that exists and that a sequence writes from its beginning to its end."""
    found = set()
    for form, line in known.lines:
        if not form.writes or form.kin is not None:
            continue
        operands = [sid for i, sid in enumerate(line) if not (i and line[i - 1] < 0)]
        for part, row in form.trace.rows or [(form.trace, range(form.arity))]:
            for node in part.nodes:
                to = node.ins[0] if node.kind == "store" else None
                if to is not None and isinstance(to.buf.src, int):
                    st = slots[real(operands[row[to.buf.src]])]
                    if st.ptr and numel(to.shape) * to.buf.dtype.itemsize >= st.nbytes:
                        found.add(st.ptr)
    return found
