"""The device that interprets the loop IR, one scalar at a time: slow, and the definition of what every kernel means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, final

import numpy as np

from . import native
from .base import Derived, Entry, Frame, Program
from .host import HostDevice

if TYPE_CHECKING:
    from ..codegen.target import Target
    from ..loop.ir import Kernel


class PythonProgram(Program):
    """Handles are the kernels themselves. Parts run one after the other."""

    __slots__ = ("calls", "parts")

    def __init__(self, entries: Sequence[Entry], slots: int, derived: Sequence[Derived], parts: int):
        super().__init__(entries, slots, derived)
        self.calls, self.parts = list(entries), parts

    def run(self, frame: Frame) -> int:
        """Interpret all entries; see Program.run."""
        from ..loop.interp import interpret

        table = np.frombuffer(frame.memory, np.int64)[native.FRAME_TABLE // 8 :]
        error = np.frombuffer(frame.memory, np.int64)[native.ERROR // 8 :]
        error[0] = 0
        for at in range(1, len(self._derived), native.DERIVED_WORDS):
            slot, base, offset, index, scale = self._derived[at : at + native.DERIVED_WORDS]
            table[slot] = table[base] + offset + table[index] * scale
        for i, (kernel, where, parts, epilogue, *more) in enumerate(self.calls):
            nt = max(min(parts, self.parts), 1)
            width = len(where) // (more[0] if more else 1)
            turn, turns = more[1] if len(more) > 1 else (0, 0)
            for number in range(table[turns] if turns else 1):
                if turns:
                    table[turn] = number
                for at in range(0, max(len(where), 1), max(width, 1)):
                    for tid in [*range(nt), *([-1] if epilogue else [])]:
                        interpret(kernel, table, where[at : at + width], tid, nt)
                if error[0]:
                    return i
        return -1


@final
class Python(HostDevice):
    """The reference. `parts`: how many parts it makes of kernels that may be divided; no result depends on it."""

    name = "python"

    def __init__(self, parts: int = 1):
        self.parts = parts

    def target(self) -> Target:
        """The host: kernels are the same as on the cpu device."""
        from ..codegen.target import host

        return host()

    def load(self, kernels: Sequence[Kernel], texts: Sequence[str] = ()) -> list[Any]:
        """The kernels with their mathematical functions expanded, as they are compiled."""
        from ..codegen.math import expand

        return [expand(kernel) for kernel in kernels]

    def program(self, entries: Sequence[Entry], slots: int, derived: Sequence[Derived] = ()) -> PythonProgram:
        """Prepare a sequence of kernel calls."""
        return PythonProgram(entries, slots, derived, self.parts)
