"""The device that compiles and runs nothing: it proves that every kernel can be made for CPUs that are not here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, final

from .base import Derived, Entry, Frame, Program
from .host import HostDevice

if TYPE_CHECKING:
    from ..codegen.target import Target
    from ..loop.ir import Kernel


class NullProgram(Program):
    """Does nothing, successfully: results are whatever their memory held."""

    __slots__ = ()

    def run(self, frame: Frame) -> int:
        """No entry runs, no check fails."""
        return -1


@final
class Null(HostDevice):
    """Handles are the sizes of the objects made for each of `targets`, in bytes."""

    name = "null"

    def __init__(self, targets: Sequence[str] = ("host", "x86-64-v3")):
        self.targets = tuple(targets)

    def target(self) -> Target:
        """The first target."""
        from ..codegen.target import named

        return named(self.targets[0])

    def load(self, kernels: Sequence[Kernel], texts: Sequence[str] = ()) -> list[tuple[int, ...]]:
        """Compile every kernel by itself for every target."""
        from ..codegen.engine import emit
        from ..codegen.target import named

        return [tuple(len(emit([kernel], named(name))) for name in self.targets) for kernel in kernels]

    def program(self, entries: Sequence[Entry], slots: int, derived: Sequence[Derived] = ()) -> NullProgram:
        """Prepare nothing."""
        return NullProgram(entries, slots, derived)
