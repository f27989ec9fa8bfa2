"""Programs of single instructions, planned together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import program
from .backend import current
from .novelty import Novelty
from .relief import LARGE, lessen


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


def alone(known: Any, slots: list[Any]) -> program.Program | None:
    """The program that the one instruction of a sequence has already, if it is derived and nothing would be gained by
    planning it again: with a large workspace it was planned for a small one."""
    form = known.code[0]
    if form.kin is None or not known.single:
        return None
    code, _ = renumbered(form, known.code[1:], slots)
    if code != known.code:
        return None
    found = form.plain_unit if min(code[1:]) >= 0 and len(set(code)) == len(code) else None
    if found is None and form.unit is not None:
        found = form.unit.get(code)
    return found if found is not None and found.arena < LARGE and not found.parts else None


def prepare(lines: list[Any], slots: list[Any]) -> None:
    """Plan the instructions that nobody has planned yet, so that their kernels are compiled together."""
    new = [pair for pair in lines if pair[0].unit is None and pair[0].kin is None]
    if len(new) < 2:
        return
    found: dict[Any, list[Any]] = {}
    for form, line in new:
        code, local = renumbered(form, line, slots)
        found.setdefault(code, local)
    try:
        made = plan_units(list(found), list(found.values()))
    except Exception:
        return  # the instruction that it comes from raises it in its turn
    for code, unit in zip(found, made):
        keep_unit(code, unit)


def keep_unit(code: tuple[Any, ...], unit: program.Program) -> None:
    """The program of an instruction was made."""
    form = code[0]
    if form.unit is None:
        form.unit = {}
    form.unit[code] = unit
    Novelty.settled = 0
    if code == (form, *range(len(code) - 1)):
        form.plain_unit = unit


def unit_of(form: Any, line: tuple[int, ...], slots: list[Any]) -> tuple[program.Program, list[Any]]:
    """The program of one instruction, its slots renumbered from 0."""
    code, local = renumbered(form, line, slots)
    unit = form.unit.get(code) if form.unit is not None else None
    if unit is None:
        kin = form.kin
        unit = kin.family.program(form, code[1:]) if kin is not None and kin.family is not None else None
        if unit is None:
            (unit,) = plan_units([code], [local])
            if kin is not None and kin.family is not None:
                kin.family.planned(form, code[1:], local)
        keep_unit(code, unit)
    return unit, local
