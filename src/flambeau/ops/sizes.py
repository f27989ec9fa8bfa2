"""What constructors keep of a size they were called with: such a call is one look-up and one instruction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import dtypes
from ..shapes import Size
from ..stream.value import LOCAL
from . import record

MOST = 4096  # sizes that one constructor keeps


def instruction(made: Any, *values: Any) -> tuple[Any, tuple[Any, ...]]:
    """The form and the operands of the call of an op, all its parameters given in their order."""
    operands, _ = made.entry.split(values)
    return made.entry.form(values), tuple(operands)


def run(found: tuple[Any, tuple[Any, ...]]) -> Any:
    """Record such a call."""
    return record.commit(LOCAL.s, *found)


class Sizes:
    """By size (a tuple of ints): whatever makes the call short. look(arguments): that, or None.

    arguments: the tuple of the call's, all ints, or one tuple of ints."""

    __slots__ = ("found", "look")

    every: list[Sizes] = []

    def __init__(self) -> None:
        self.found: dict[Any, Any] = {}
        self.look: Callable[[Any], Any] = self.known
        Sizes.every.append(self)

    def known(self, arguments: Any) -> Any:
        """The definition of `look`."""
        size = arguments
        if len(size) == 1 and type(size[0]) in (tuple, Size):
            size = size[0]
        for n in size:
            if type(n) is not int:
                return None
        return None if LOCAL.s.depth else self.found.get(size)

    def keep(self, size: Any, what: Any) -> None:
        """Note what a size needs."""
        if len(self.found) >= MOST:
            self.found.clear()
        self.found[tuple(size)] = what

    @classmethod
    def forget(cls) -> None:
        """Begin anew: what was kept holds for another default dtype."""
        for table in cls.every:
            table.found.clear()


dtypes.AT_DEFAULT.append(Sizes.forget)
