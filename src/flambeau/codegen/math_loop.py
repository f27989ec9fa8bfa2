"""Loops of fixed length inside an expansion: statements that go before the one that holds the function."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..loop.build import Builder, Register, Value
from ..loop.ir import For, If, Kernel, Let, Reg, Stmt, VFor, While


class Loops:
    """Makes registers and loops with names that the kernel does not use; `width` is that of the vfor around."""

    def __init__(self, kernel: Kernel):
        self.width = 0
        self._builder = Builder(kernel.name)
        for name in [p.name for p in kernel.params] + list(_names(kernel.body + kernel.epilogue)):
            self._builder.fresh(name)

    def let(self, value: Value) -> Value:
        """A name for a value, so that a loop does not compute it again."""
        return self._builder.let(value, "m")

    def reg(self, init: Value) -> Register:
        """A register for each lane."""
        return self._builder.reg("m", init, lanes=self.width)

    @contextmanager
    def loop(self, count: int) -> Iterator[Value]:
        """for k in range(count)."""
        with self._builder.for_("m", 0, count) as k:
            yield k

    @contextmanager
    def where(self, cond: Value) -> Iterator[None]:
        """Once, if cond holds in any lane: for what is then chosen in these alone."""
        with self._builder.if_(cond):
            yield

    def take(self) -> list[Stmt]:
        """The statements made since the last call."""
        made, self._builder._body[:] = list(self._builder._body), []
        return made


def _names(stmts: Sequence[Stmt]) -> Iterator[str]:
    for stmt in stmts:
        if isinstance(stmt, (Let, Reg)):
            yield stmt.name
        elif isinstance(stmt, (For, VFor)):
            yield stmt.var
            yield from _names(stmt.body)
        elif isinstance(stmt, While):
            yield from _names(stmt.body)
        elif isinstance(stmt, If):
            yield from _names(stmt.then + stmt.orelse)
