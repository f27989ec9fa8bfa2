"""How the table of a program is filled for a run: interpreted, by an expression made for it, or by builtins.

Builtins read what `prepare` writes down once (ops/builtins/running.py); the others are the definition."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

from ..device.memory import free_list
from ..device.pool import POOL
from ..device.runner import NativeProgram


def interpreted(slots: Any, arena: int, program: Any, temps: Sequence[int] = ()) -> Sequence[Any]:
    """What is written into the table for a run: addresses, floats, whole numbers."""
    bases = [slots[s].ptr for s in program.externals]  # results that are not there yet have the address 0
    bases += (arena, *temps)
    values = [
        bases[i] + off if slot < 0 else bases[i] + off + slots[slot >> 4] * (1 << ((slot & 15) - 1))
        for i, off, slot in program.pointers
    ]
    values += [slots[s] for s in program.floats]
    values += [slots[s] for s in program.wholes]
    return values


def filler(program: Any) -> Any:
    """`interpreted` for this program as one expression: made when a program comes again."""
    names = [f"b{k}" for k in range(len(program.externals))] + ["arena"]
    names += [f"t{k}" for k in range(len(program.blocks))]
    lines = [f" b{k} = slots[{s}].ptr" for k, s in enumerate(program.externals)]
    lines += [f" t{k} = temps[{k}]" for k in range(len(program.blocks))]
    parts = []
    for i, off, slot in program.pointers:
        index = f" + slots[{slot >> 4}] * {1 << ((slot & 15) - 1)}" if slot >= 0 else ""
        parts.append(f"{names[i]}{f' + {off}' if off else ''}{index}")
    parts += [f"slots[{s}]" for s in (*program.floats, *program.wholes)]
    scope: dict[str, Any] = {}
    text = "\n".join(
        (
            "def fill(slots, arena, program, temps=()):",
            *lines,
            f" return ({''.join(p + ', ' for p in parts)})",
        )
    )
    exec(text, scope)
    program.filler = scope["fill"]
    return program.filler


def wanted(program: Any) -> Any:
    """The outputs of a program, with the free list of each."""
    program.wanted = tuple([(sid, n, free_list(n)) for sid, n in program.outputs])
    return program.wanted


# The words of a specification: how many pointers, floats, whole numbers and constants, how many launches, whether the
# frame is run (or its address), the runner's address if it takes a few microseconds (else 0); then of each pointer its
# slot (-1: the arena), offset, slot of an index or -1, scale.
HEAD, POINTER = 7, 4


def prepare(program: Any) -> bool:
    """Say to builtins how a program is run, if that is one native call."""
    native = program.segments[0][0]
    if len(program.segments) > 1 or program.parts or program.filler or type(native) is not NativeProgram:
        return False
    pointers: list[int] = []
    for i, off, slot in program.pointers:
        pointers += (program.externals[i] if i < len(program.externals) else -1, off)
        pointers += (slot >> 4, 1 << ((slot & 15) - 1)) if slot >= 0 else (-1, 0)
    launches = len(program.launches)
    quick = POOL.raw if program.quick and not native.forks else 0
    spec = specification(pointers, program.floats, program.wholes, 0, launches, native.forks, quick)
    program.ready = readied(program, spec)
    return True


def specification(
    pointers: Sequence[int],
    floats: Sequence[int],
    wholes: Sequence[int],
    constants: int,
    launches: int,
    framed: bool,
    quick: int = 0,
) -> bytes:
    """The words of a specification up to the constants, which each run writes behind the numbers."""
    counts = (len(pointers) // POINTER, len(floats), len(wholes), constants, launches, framed, quick)
    return array("q", (*counts, *pointers, *floats, *wholes)).tobytes()


def readied(program: Any, spec: bytes) -> tuple[Any, ...]:
    """What `ready` holds: a specification with its constants, and what is needed besides."""
    native, idle, _ = program.segments[0]
    memory = (program.arena, free_list(program.arena)) if program.arena else (None, None)
    run = native.run if native.forks else POOL.run  # threads may have to be started
    return spec, idle, run, program.wanted or wanted(program), *memory
