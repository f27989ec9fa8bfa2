"""Programs of single instructions, planned together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import kept, program
from .backend import current
from .novelty import Novelty
from .relief import LARGE, lessen
from .value import Storage


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


def clashing(form: Any, line: Sequence[int]) -> bool:
    """Whether an instruction writes, and two of its operands are views of one storage."""
    return bool(form.writes) and len({~sid if sid < 0 else sid for sid in line}) < len(line)


def placed(form: Any, line: Sequence[int], slots: list[Any]) -> tuple[tuple[Any, ...], list[Any]]:
    """As `renumbered`, but the same for all instructions of a form, so that they have one program: each operand has a
    number of its own, whether its storage is that of another or not, and if one has an offset, all tensors have.

    Only what is written may be no other operand."""
    if clashing(form, line):
        return renumbered(form, line, slots)
    if not line or min(line) >= 0:
        return (form, *range(len(line))), [slots[sid] for sid in line]
    key: list[int] = []
    local: list[Any] = []
    at = 0
    for k in range(form.slots):
        sid = line[at]
        st = slots[~sid if sid < 0 else sid]
        if k < form.arity and type(st) is Storage:
            key += (~len(local), len(local) + 1)
            local += (st, slots[line[at + 1]] if sid < 0 else 0)
        else:
            key.append(len(local))
            local.append(st)
        at += 2 if sid < 0 else 1
    return (form, *key), local


def plan_units(codes: Sequence[tuple[Any, ...]], slots: Sequence[Sequence[Any]]) -> list[program.Program]:
    """The programs of single instructions (form, *slot numbers), whose kernels are compiled together."""
    found: list[Any] = kept.recall(codes) if len(codes) >= kept.FEWEST else [None] * len(codes)
    new = [n for n, made in enumerate(found) if made is None]
    for n, made in zip(new, planned([codes[n] for n in new], [slots[n] for n in new])):
        found[n] = made
    if len(codes) == len(new) >= kept.FEWEST:
        kept.keep(codes, found)
    return found


def planned(codes: Sequence[tuple[Any, ...]], slots: Sequence[Sequence[Any]]) -> list[program.Program]:
    """The same, anew."""
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
    code, _ = placed(form, known.code[1:], slots)
    found = known_unit(code) if code == known.code else None
    return found if found is not None and found.arena < LARGE and not found.parts else None


def prepare(lines: list[Any], slots: list[Any]) -> None:
    """Plan the instructions that nobody has planned yet, so that their kernels are compiled together."""
    new = [pair for pair in lines if unplanned(pair[0])]
    if len(new) < 2:
        return
    found: dict[Any, list[Any]] = {}
    for form, line in new:
        code, local = placed(form, line, slots)
        found.setdefault(code, local)
    try:
        made = plan_units(list(found), list(found.values()))
    except Exception:
        return  # the instruction that it comes from raises it in its turn
    for code, unit in zip(found, made):
        keep_unit(code, unit)


def unplanned(form: Any) -> bool:
    """Whether no instruction of this form has a program yet, and none can be derived."""
    return form.kin is None and form.plain_unit is form.moved_unit is form.unit is None


def known_unit(code: tuple[Any, ...]) -> program.Program | None:
    """The program of an instruction, if it was made."""
    form = code[0]
    if not clashing(form, code[1:]):
        found: program.Program | None = form.plain_unit if min(code[1:], default=0) >= 0 else form.moved_unit
        return found
    return None if form.unit is None else form.unit.get(code)


def keep_unit(code: tuple[Any, ...], unit: program.Program) -> None:
    """The program of an instruction was made."""
    form = code[0]
    Novelty.settled = 0
    if clashing(form, code[1:]):
        if form.unit is None:
            form.unit = {}
        form.unit[code] = unit
    elif min(code[1:], default=0) >= 0:
        form.plain_unit = unit
    else:
        form.moved_unit = unit


def unit_of(form: Any, line: tuple[int, ...], slots: list[Any]) -> tuple[program.Program, list[Any]]:
    """The program of one instruction, and what its slots hold."""
    code, local = placed(form, line, slots)
    unit = known_unit(code)
    if unit is None:
        kin = form.kin
        unit = kin.program(form, code[1:]) if kin is not None else None
        if unit is None:
            (unit,) = plan_units([code], [local])
            if kin is not None and kin.family is not None:
                kin.family.planned(form, code[1:], local)
        keep_unit(code, unit)
    return unit, local
