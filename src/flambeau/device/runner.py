"""Programs of native kernels: the entries in memory as generated code reads them, and the call into it."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from typing import Any

from . import native
from .base import Derived, Entry, Frame, Program
from .pool import POOL


def list_where(entry: Entry) -> Sequence[int]:
    """What flambeau_list reads: the number of calls, the parameters of each, the kernel's address, all parameters."""
    POOL.load()
    handle, where, _, _, count = entry
    return [count, len(where) // count, *struct.unpack("=2i", struct.pack("=q", handle)), *where]


class NativeProgram(Program):
    """A program whose handles are addresses of kernels. A call costs 0.1-0.3 us, an entry 3 ns, a fork 120-200 ns."""

    __slots__ = ("_turns", "_where", "forks")

    def __init__(self, entries: Sequence[Entry], slots: int, derived: Sequence[Derived] = ()):
        super().__init__(entries, slots, derived)
        lists = [list_where(entry) if len(entry) == 5 else entry[1] for entry in entries]
        self._where = array("i", [slot for where in lists for slot in where] or [0])
        address = self._where.buffer_info()[0]
        words: list[int] = []
        for entry, where in zip(entries, lists, strict=True):
            handle = POOL.list if len(entry) == 5 else entry[0]
            turn, turns = entry[5] if len(entry) > 5 else (0, 0)
            words += (handle, address, entry[2], bool(entry[3]) | turn << 1 | turns << 32)
            address += 4 * len(where)
        self._entries = array("q", words or [0])
        self.forks = any(entry[2] > 1 for entry in entries)
        self._turns = [entry[5][0] for entry in entries if len(entry) > 5]

    def packed(self) -> tuple[Any, ...]:
        """What `unpacked` makes this program of again, in any process that has its kernels."""
        words, base = self._entries[: 4 * self.count], self._where.buffer_info()[0]
        for at in range(0, len(words), 4):
            words[at], words[at + 1] = words[at] == POOL.list, words[at + 1] - base
        return self.slots, self.forks, self._turns, words.tobytes(), self._where.tobytes()

    @classmethod
    def unpacked(cls, packed: tuple[Any, ...], handles: Sequence[int]) -> NativeProgram:
        """The program whose entries call these kernels."""
        slots, forks, turns, entries, where = packed
        made = cls((), slots)
        words, made._where = array("q", entries), array("i", where)
        made.forks, made._turns, made.count, made._entries = forks, turns, len(words) // 4, words
        base = made._where.buffer_info()[0]
        for at in range(0, len(words), 4):
            handle, start = handles[at // 4], words[at + 1]
            if words[at]:  # see list_where
                POOL.load()
                made._where[start // 4 + 2 : start // 4 + 4] = array("i", struct.pack("=q", handle))
                handle = POOL.list
            words[at], words[at + 1] = handle, base + start
        return made

    def run(self, frame: Frame) -> int:
        """Run all entries; see Program.run."""
        if self.forks and not POOL.ready:
            POOL.start()
        result = POOL.run(frame.address)
        return result if result >= -1 else self.go_on(frame, result)

    def go_on(self, frame: Frame, result: int) -> int:
        """Go on after a time slice; Python serves signals between the slices."""
        if result >= -1:
            return result
        try:
            while result < -1:
                struct.pack_into("=q", frame.memory, native.FIRST, -2 - result)
                result = POOL.run(frame.address)
            return result
        finally:
            struct.pack_into("=q", frame.memory, native.FIRST, 0)
            for slot in self._turns:
                struct.pack_into("=q", frame.table, 8 * slot, 0)
