"""Programs of single instructions, planned together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import program
from .backend import current
from .relief import lessen


def renumbered(form: Any, line: Sequence[int], slots: list[Any]) -> tuple[tuple[Any, ...], list[Any]]:
    """An instruction with its slots numbered from 0, and what they hold."""
    renumber: dict[int, int] = {}
    local: list[Any] = []
    key: list[int] = []
    for sid in line:
        real = ~sid if sid < 0 else sid
        n = renumber.get(real)
        if n is None:
            n = renumber[real] = len(local)
            local.append(slots[real])
        key.append(~n if sid < 0 else n)
    return (form, *key), local


def plan_units(codes: Sequence[tuple[Any, ...]], slots: Sequence[Sequence[Any]]) -> list[program.Program]:
    """The programs of single instructions (form, *slot numbers), whose kernels are compiled together."""
    made, launches = [], []
    for (form, *line), table in zip(codes, slots):
        outs = set(line[len(line) - len(form.outs) :]) if form.outs else set()
        found, builder = program.laid_out([(form, tuple(line))], table, outs.__contains__)
        for x in found:  # of the first steps, or of what never comes again
            lessen(x)
        made.append((found, builder, outs.__contains__, outs))
        launches += [x for x in found if x.call is None]
    program.kernels_of(current(), launches)
    program.STATS["planned"] += len(made)
    return [program.assemble(*parts) for parts in made]
