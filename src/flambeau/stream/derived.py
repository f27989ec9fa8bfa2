"""Programs of instructions for ever new extents, from one that was planned for symbols.

An instruction whose graph has symbols for extents (symbols.py) is planned once more. What planning computes of them
(extents, strides, blocks of a product, where temporaries lie) becomes a function, and what it decided by them the
conditions of that function. The kernels are those of the plan, so that other extents take a few microseconds.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ..device.memory import free_list
from ..device.pool import POOL
from ..device.runner import NativeProgram
from ..symbols import Record, plain
from . import program as programs
from .backend import current
from .filling import HEAD, POINTER, interpreted, specification
from .kernels import exists
from .placing import place_memory
from .program import Launch, Program
from .relief import lessen
from .sharing import SERIAL_WORK
from .value import new_object


class Proof:
    """For which extents what was computed with symbols was seen to agree with what is computed without: its own, and
    those that differ from these where some did that agreed. (A number may lose its symbol on its way.)"""

    __slots__ = ("extents", "same", "varied")

    def __init__(self, extents: Sequence[int]):
        self.extents = list(extents)
        self.varied: set[int] = set()
        self.same = list(enumerate(extents))  # the extents that have not been seen to differ

    def differs(self, extents: Sequence[int]) -> set[int]:
        """Which extents, by number, are not those that the symbols stood for."""
        return {k for k, (a, b) in enumerate(zip(extents, self.extents)) if a != b}

    def serves(self, extents: Sequence[int]) -> bool:
        """Whether it is proven for these."""
        return not self.same or all(extents[k] == n for k, n in self.same)

    def note(self, extents: Sequence[int], agrees: bool) -> bool:
        """Both were computed for these."""
        self.varied |= self.differs(extents)
        self.same = [(k, n) for k, n in enumerate(self.extents) if k not in self.varied]
        return agrees


class Plan:
    """A program without its integers. of: these (the arena, offsets of pointers, bytes of the results, extents that
    checks name, constants); checks: for each of those extents the launch, the code of the check, and its other parts;
    all: all numbers of the launches. Of a program whose memory comes and goes: ends: where its calls end; lives:
    of each block; ending, born: as in `Program`."""

    __slots__ = (
        *(
            "all",
            "bases",
            "born",
            "checks",
            "cuts",
            "ending",
            "ends",
            "fill",
            "fixed",
            "floats",
            "kept",
            "launches",
            "lives",
            "named",
            "of",
            "packed",
            "pointers",
        ),
        *("proof", "quick", "run", "segments", "sids", "wholes", "words"),
    )

    of: Callable[..., list[int] | None]
    all: Callable[..., list[Any] | None]
    proof: Proof
    bases: list[int]
    pointers: list[tuple[int, int]]
    sids: list[int]
    checks: list[tuple[int, int, Any]]
    floats: list[int]
    wholes: list[int]
    launches: list[Launch]
    segments: list[Any]
    fill: str
    fixed: Any
    kept: frozenset[int]
    quick: bool
    named: bool
    packed: Callable[..., bytes]
    run: Any
    words: list[int] | None
    cuts: frozenset[int]
    ends: list[int]
    lives: list[tuple[int, int]]
    ending: dict[int, int]
    born: dict[int, int]

    def program(self, form: Any, extents: Sequence[int]) -> Program | None:
        """The program of a form with these extents; None if its conditions do not hold."""
        numbers = self.of(*extents) if self.proof.serves(extents) else None
        if numbers is None:
            return None
        made: Derived = new_object(Derived)
        made.plan, made.numbers, made.kept, made.ready = self, array("q", numbers), self.kept, None
        made.form = form if self.named else None
        if self.words is not None:
            made.ready = self.readied(numbers)
        else:
            for name, of in SHARED.items():
                setattr(made, name, getattr(self, of))
        return made

    def readied(self, numbers: list[int]) -> tuple[Any, ...]:
        """What the builtins run the program by, as `filling.readied` has it."""
        words, first = list(self.words or ()), 1 + len(self.pointers)
        at = HEAD + 1
        for off in numbers[1:first]:
            words[at] = off
            at += POINTER
        second = first + len(self.sids)
        text = self.packed(*words, *numbers[second + len(self.lives) + len(self.checks) :])
        wanted = tuple([(sid, n, free_list(n)) for sid, n in zip(self.sids, numbers[first:second])])
        arena = numbers[0]
        memory = (arena, free_list(arena)) if arena else (None, None)
        return (text, self.segments[0][1], self.run, wanted, *memory)

    def check(self, form: Any, line: Sequence[int], slots: Sequence[Any], extents: Sequence[int]) -> bool:
        """Whether this is what planning gives for a form with these extents, if its conditions hold."""
        numbers = None if self.proof.serves(extents) else self.all(*extents)
        if numbers is None:
            return True
        found = numbers_of(laid_out(form, line, slots)[0])
        return self.proof.note(extents, repr(numbers) == repr(found))

    def checked(self, form: Any, numbers: array[int]) -> list[Launch]:
        """The launches with the checks of a form."""
        made = list(self.launches)
        extents = numbers[1 + len(self.pointers) + len(self.sids) + len(self.lives) :]
        for extent, (at, code, (label, named, *dim)) in zip(extents, self.checks):
            if made[at] is self.launches[at]:
                x = made[at]
                made[at] = Launch(x.key, x.make, x.parts, x.title)
                made[at].settle()
            made[at].checks[code] = (label, extent, form if named else None, *dim)
        return made


class Derived(Program):
    """The program of a plan: there are many, so that what Python alone asks for is made when it does."""

    __slots__ = ("form", "numbers", "plan")

    form: Any  # what its checks name, if they name anything
    plan: Plan
    numbers: array[int]  # what `Plan.of` gave

    def __getattr__(self, name: str) -> Any:
        plan, numbers = self.plan, self.numbers
        count, results = len(plan.pointers), len(plan.sids)
        first = 1 + count + results
        if name in SHARED:
            found: Any = getattr(plan, SHARED[name])
        elif name in UNUSED:
            found = UNUSED[name]
        elif name == "arena":
            found = numbers[0]
        elif name == "launches":
            found = plan.checked(self.form, numbers) if plan.checks else plan.launches
        elif name == "outputs":
            found = list(zip(plan.sids, numbers[1 + count : first]))
        elif name == "wanted":
            found = tuple([(sid, n, free_list(n)) for sid, n in self.outputs])
        elif name == "pointers":
            found = [(base, off, slot) for (base, slot), off in zip(plan.pointers, numbers[1 : 1 + count])]
        elif name == "blocks":
            found = [(n, *life) for n, life in zip(numbers[first:], plan.lives)]
        elif name == "parts":
            found = programs.parts_of(self, plan.ends) if plan.ends else _NONE
        elif name == "constants":
            found = numbers[first + len(plan.lives) + len(plan.checks) :].tolist()
        else:
            raise AttributeError(name)
        setattr(self, name, found)
        return found


_NONE: list[Any] = []


def whole_table(slots: list[Any], arena: int, program: Program, temps: Sequence[int] = ()) -> list[Any]:
    """What is written into the table: `interpreted`, then the integers."""
    return [*interpreted(slots, arena, program, temps), *program.constants]


# What a derived program has of its plan, by the plan's name, and what it has before it ran.
SHARED = {name: name for name in ("born", "cuts", "ending", "fill", "fixed", "floats", "segments", "wholes")}
SHARED["externals"] = "bases"
UNUSED = {"native": None, "filler": whole_table, "quick": False, "runs": 0}


def laid_out(form: Any, line: Sequence[int], slots: Sequence[Any]) -> tuple[list[Launch], Any, set[int]]:
    """The launches of one instruction, the builder of its buffers, and its results."""
    outs = set(line[len(line) - len(form.outs) :]) if form.outs else set()
    launches, builder = programs.laid_out([(form, tuple(line))], slots, outs.__contains__)
    for x in launches:
        lessen(x)
    return launches, builder, outs


def numbers_of(launches: list[Launch]) -> list[Any]:
    """All numbers of launches, and their kernels."""
    found: list[Any] = []
    for x in launches:
        found += (repr(x.key), x.parts, x.turns or 1, *x.ints, *x.scratch, *(off for _, off, _ in x.bufs))
        found += [*x.values, *x.values.values(), *(c[1] for c in x.checks.values())]
        found += [s[1] for s, _ in x.numbers if type(s) is tuple]
    return found


def planned(
    form: Any, line: Sequence[int], slots: Sequence[Any], record: Record, extents: Sequence[int]
) -> Plan | None:
    """The plan of one instruction whose form has symbols; None if it takes more than kernels that exist."""
    launches, builder, outs = laid_out(form, line, slots)
    if not launches or any(x.call is not None for x in launches):
        return None
    for x in launches:
        x.key, x.parts = record.fixed(x.key), record.fixed(x.parts)
    numbers = numbers_of(launches)
    base = Program(frozenset(outs))
    place_memory(base, launches, builder)
    quick = bool(all(x.work for x in launches) and sum([x.work for x in launches]) < SERIAL_WORK)
    if not all(exists(x.key) for x in launches):
        return None
    made = put_together(base, launches, record, quick)
    made.all, made.proof = record.function(numbers), Proof(extents)
    return made


def put_together(base: Program, launches: list[Any], record: Record, quick: bool) -> Plan:
    """The native program of launches, and the function of its numbers."""
    made, device = Plan(), current()
    handles = programs.kernels_of(device, launches)
    floats, wholes = programs.arguments(launches)
    first = 1 + len(base.pointers)
    second = first + len(floats)
    stop = second + len(wholes)
    table = Table(record, stop)
    entries = []
    for x in launches:
        handle, epilogue, params = handles[id(x)]
        where = table.where(x, params, lambda s, k: first + floats[s] if k == "d" else second + wholes[s])
        more = (x.count,) if x.count > 1 else programs.turns_of(x, table.place)
        entries.append((handle, where, x.parts, epilogue, *more))
    values = table.values
    cuts = sorted(base.cuts)
    spans = list(zip([0, *cuts], [*cuts, len(entries)]))
    natives = [device.program(entries[a:b], stop + len(values)) for a, b in spans]
    made.segments = [(native, [], None) for native in natives]
    made.cuts, made.ends = base.cuts, [b for _, b in spans] if cuts else []
    made.lives, made.ending, made.born = [(a, b) for _, a, b in base.blocks], base.ending, base.born
    made.bases, made.kept = base.externals, base.kept
    made.pointers = [(index, slot) for index, _, slot in base.pointers]
    made.sids = [sid for sid, _ in base.outputs]
    made.floats, made.wholes = list(floats), list(wholes)
    made.fill = f"={len(base.pointers)}q{len(floats)}d{len(wholes)}q{len(values)}q"
    made.fixed = (f"={len(values)}q", 8 * stop)
    made.launches, made.quick, made.words = launches, quick, None
    if type(natives[0]) is NativeProgram and not cuts:
        made.run = natives[0].run if natives[0].forks else POOL.run
        made.words = words_of(made, natives[0], len(values), len(launches))
        made.packed = struct.Struct(f"={len(made.words) + len(values)}q").pack
    checks = [(at, code, c) for at, x in enumerate(launches) for code, c in x.checks.items()]
    made.checks = [(at, code, (c[0], c[2] is not None, *c[3:])) for at, code, c in checks]
    made.named = any(c[2] is not None for _, _, c in checks)
    sizes = [nbytes for _, nbytes in base.outputs] + [nbytes for nbytes, _, _ in base.blocks]
    made.of = record.function(
        [base.arena, *[off for _, off, _ in base.pointers], *sizes, *[c[1] for _, _, c in checks], *values]
    )
    for x in launches:
        x.settle()
    return made


class Table:
    """The integers of launches, and their places in the table, from `start` on."""

    def __init__(self, record: Record, start: int):
        self.record, self.start = record, start
        self.places: dict[Any, int] = {}  # of symbols by name, of others by value
        self.values: list[Any] = []

    def place(self, x: Any) -> int:
        """The place of an integer."""
        key = getattr(x, "name", x)
        if key not in self.places:
            self.places[key] = self.start + len(self.values)
            self.values.append(0 if x is programs.TURN else x)
        return self.places[key]

    def where(self, x: Launch, params: Sequence[str], number: Callable[[int, str], int]) -> list[int]:
        """The places of a launch's parameters; number: that of a number in the name table."""
        bufs = [1 + p for p in x.bufs]
        numbers = [
            self.place(bits(self.record, s[1], k)) if type(s) is tuple else number(s, k) for s, k in x.numbers
        ]
        if x.count > 1:
            return programs.interleaved(x.count, bufs, [*map(self.place, x.ints)], numbers)
        if x.names is None:
            return [*bufs, *map(self.place, x.ints), *numbers]
        named = dict(zip(x.number_names, numbers)) | {n: bufs[at] for n, at in x.names.items()}
        turn = {"turn": programs.TURN} if x.turns is not None else {}
        return [named[n] if n in named else self.place((x.values | turn)[n]) for n in params]


def bits(record: Record, value: Any, kind: str) -> Any:
    """A number as the whole number that the table holds, also that of a symbol."""
    if not hasattr(value, "name"):
        return programs.bits(value, kind)
    number = programs.bits(plain(value), kind)
    return record.symbol(number, record.called(partial(programs.bits, kind=kind), (value,), number), -1 << 64)


def words_of(made: Plan, native: Any, constants: int, launches: int) -> list[int]:
    """The words of a specification (see filling.py), offsets of pointers and constants left out."""
    pointers: list[int] = []
    for index, slot in made.pointers:
        pointers += (made.bases[index] if index < len(made.bases) else -1, 0)
        pointers += (slot >> 4, 1 << ((slot & 15) - 1)) if slot >= 0 else (-1, 0)
    raw = POOL.raw if made.quick and not native.forks else 0
    spec = specification(pointers, made.floats, made.wholes, constants, launches, native.forks, raw)
    return list(struct.unpack(f"={len(spec) // 8}q", spec))
