"""The processor of the host: kernels are compiled for it and run on its cores."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import TYPE_CHECKING, Any, final

from . import limits, paging
from .base import Derived, Entry
from .host import HostDevice
from .pool import POOL
from .runner import NativeProgram

if TYPE_CHECKING:
    from ..codegen.target import Target
    from ..loop.ir import Kernel


@final
class CPU(HostDevice):
    """Handles are addresses of compiled kernels."""

    name = "cpu"

    def target(self) -> Target:
        """The host as detected, unless FLAMBEAU_TARGET names another."""
        from ..codegen import target

        return target.chosen()

    def load(self, kernels: Sequence[Kernel], texts: Sequence[str] = ()) -> list[int]:
        """Compile kernels into one object; their addresses."""
        from ..codegen.engine import compile_kernels

        return compile_kernels(list(kernels), None, limits.available_cores(), texts)

    def recall(self, texts: Sequence[str]) -> list[Any]:
        """What the disk cache has of these launches."""
        from ..codegen.engine import recall

        return list(recall(texts, limits.available_cores()))

    def plans(self) -> Any:
        """The disk cache."""
        from ..codegen import engine

        return engine

    def expect(self) -> None:
        """Have the native part compiled, if it has to be."""
        POOL.expect()

    def ahead(self, nbytes: int, written: Callable[[], Container[int]]) -> None:
        """Have the pages of new memory made."""
        paging.ahead(nbytes, written)

    def program(self, entries: Sequence[Entry], slots: int, derived: Sequence[Derived] = ()) -> NativeProgram:
        """Prepare a sequence of kernel calls."""
        return NativeProgram(entries, slots, derived)
