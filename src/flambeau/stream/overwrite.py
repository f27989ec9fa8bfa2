"""Results that take the place of an input whose last use their kernel is.

Only temporaries of one program do, which nobody else sees: what is kept, saved for a later flush, exported or written
through a view has a storage that outlives the program or is the buffer itself. A nest may write where it reads if it
reads each element for the last time before it stores its result, in the same step of the same loop: `may_share`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..loop.recipes.analysis import Nest, analysis, dependencies
from .lifetimes import Lives, size_of
from .nodes import PBuf

if TYPE_CHECKING:
    from .nests import Bound

LEAST = 64 << 10  # bytes from which on a temporary is worth a kernel of its own


def share(launches: list[Any], known: Any) -> dict[int, PBuf]:
    """The buffer in whose memory each other one lies that shares some. known(key): whether that kernel may be used."""
    lives = Lives(launches, {})
    homes: dict[int, PBuf] = {}
    for at, x in enumerate(launches):
        if x.bound is None or x.count > 1:
            continue
        for old, new in pairs(x.bound, at, lives):
            nest = as_aliases(x.bound.nest, (old, new))
            if known((nest,)):
                x.bound.nest, x.key = nest, (nest,)
                source, result = x.bound.bufs[old][0], x.bound.bufs[new][0]
                homes[result.id] = homes.get(source.id, source)
    return homes


def pairs(bound: Bound, at: int, lives: Lives) -> list[tuple[int, int]]:
    """Of launch `at` the accesses (input, result) whose memory may be one."""
    found: list[tuple[int, int]] = []
    for value, new in bound.nest.stores:
        buf = bound.bufs[new][0]
        if size_of(buf) < LEAST or not lives.begins(buf, at):
            continue
        taken = [old for old, _ in found]
        for old, (source, _, _) in enumerate(bound.bufs):
            if old not in taken and lives.ends(source, at) and may_share(bound, value, old, new):
                found.append((old, new))
                break
    return found


def may_share(bound: Bound, value: int, old: int, new: int) -> bool:
    """Whether the result `value` may be stored (access `new`) where access `old` reads."""
    return (
        modes_fit(bound, old, new)
        and alone(bound, old, new)
        and same_walk(bound, old, new)
        and follows(bound.nest, value, old)
        and in_time(bound.nest, value, old)
    )


def modes_fit(bound: Bound, old: int, new: int) -> bool:
    """One is only read and one only written, in a schedule that reads and writes an element in one step: "tile" turns
    blocks of elements, and chunks end in another part than they began."""
    nest = bound.nest
    kinds = nest.accesses[old][1], nest.accesses[new][1]
    return kinds == ("r", "w") and nest.mode != "tile" and nest.split != "chunks"


def alone(bound: Bound, old: int, new: int) -> bool:
    """No other access goes to these buffers: it might read elsewhere what is written here."""
    ids = [buf.id for buf, _, _ in bound.bufs]
    return ids.count(ids[old]) == ids.count(ids[new]) == 1


def same_walk(bound: Bound, old: int, new: int) -> bool:
    """Both go through buffers of one size and type in the same steps, each element once."""
    (a, a_off, a_slot), (b, b_off, b_slot) = bound.bufs[old], bound.bufs[new]
    if a_off or b_off or a_slot >= 0 or b_slot >= 0 or a.dtype is not b.dtype or size_of(a) != size_of(b):
        return False
    steps = strides(bound, new)
    return strides(bound, old) == steps and all(s or n == 1 for n, s in zip(bound.extents, steps))


def follows(nest: Nest, value: int, old: int) -> bool:
    """The value is computed from the element that it overwrites, which is loaded, not looked up at an index."""
    return ("load", old) in nest.values and value in computed_from(nest, old)


def in_time(nest: Nest, value: int, old: int) -> bool:
    """No later pass over the elements reads the input again: not for a reduction, nor for another result."""
    facts, reading = analysis(nest), computed_from(nest, old)
    last = max(facts.pass_)
    uses = [(v[2], facts.pass_[v[2]]) for v in nest.values if v[0] == "reduce"]
    uses += [(v, last if nest.accesses[a][1] == "rw" else facts.pass_[v]) for v, a in nest.stores]
    uses += [(i, facts.pass_[i]) for i, v in enumerate(nest.values) if v[0] == "take"]
    return all(when <= facts.pass_[value] for v, when in uses if v in reading)


def computed_from(nest: Nest, access: int) -> set[int]:
    """The values that a load is computed into, element by element."""
    found: set[int] = set()
    for i, v in enumerate(nest.values):
        if v == ("load", access) or (v[0] != "reduce" and not found.isdisjoint(dependencies(v))):
            found.add(i)
    return found


def as_aliases(nest: Nest, which: tuple[int, int]) -> Nest:
    """The nest with two accesses marked: they may go to the same memory."""
    rows = [(t, m, k in which or a, row) for k, (t, m, a, row) in enumerate(nest.accesses)]
    return replace(nest, accesses=tuple(rows))


def strides(bound: Bound, access: int) -> list[int]:
    """The strides of an access along the axes of its nest."""
    at = len(bound.extents)
    for _, _, _, row in bound.nest.accesses[:access]:
        at += row.count("s")
    found = iter(bound.ints[at:])
    return [next(found) if s == "s" else s for s in bound.nest.accesses[access][3]]
