"""Results that take the place of an input whose last use their kernel is.

Only temporaries of one program do, which nobody else sees: what is kept, saved for a later flush, exported or written
through a view has a storage that outlives the program or is the buffer itself. A nest may write where it reads if it
reads each element for the last time before it stores its result, in the same step of the same loop: `may_share`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..loop.recipes.analysis import Nest, analysis, dependencies
from . import recipes
from .fusion import TailBound
from .lifetimes import LEAST, Lives, size_of
from .nodes import PBuf

if TYPE_CHECKING:
    from .nests import Bound


def share(launches: list[Any], known: Any) -> dict[int, PBuf]:
    """The buffer in whose memory each other one lies that shares some. known(key): whether that kernel may be used."""
    lives = Lives(launches, {})
    homes: dict[int, PBuf] = {}
    for at, x in enumerate(launches):
        if x.product is not None and x.product[1] is not None:
            launches[at] = product_in_place(x, at, lives, homes, known)
        if x.over is not None:
            in_one_place(x, at, lives, homes, known)
        if x.bound is None or x.count > 1:
            continue
        for old, new in pairs(x.bound, at, lives):
            nest = as_aliases(x.bound.nest, (old, new))
            if known((nest,)):
                x.bound.nest, x.key = nest, (nest,)
                source, result = x.bound.bufs[old][0], x.bound.bufs[new][0]
                homes[result.id] = homes.get(source.id, source)
    return homes


def in_one_place(x: Any, at: int, lives: Lives, homes: dict[int, PBuf], known: Any) -> None:
    """A launch of a recipe that may write a result where it reads an operand does so if that is its last use."""
    old, new, key, make = x.over
    (source, *place), (result, *other) = x.bufs[old], x.bufs[new]
    alike = place == other == [0, -1] and size_of(source) == size_of(result) >= LEAST
    dies = lives.ends(source, at) and lives.begins(result, at)
    if alike and dies and read_once([buf.id for buf, _, _ in x.bufs], source, result) and known(key):
        x.key, x.make = key, make
        homes[result.id] = homes.get(source.id, source)


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


def product_in_place(x: Any, at: int, lives: Lives, homes: dict[int, PBuf], known: Any) -> Any:
    """A product whose tail stores a result where it reads an operand of that for the last time: all values of an
    element come before its stores, and each element comes once."""
    node, tail = x.product
    found = tail_pair(tail, [buf.id for buf, _, _ in x.bufs], at, lives)
    if found is None:
        return x
    old, new = found
    (made,) = recipes.launches(node, merged(tail, old, new))
    if not known(made.key):
        return x
    source, result = tail.bufs[old].buf, tail.bufs[new].buf
    homes[result.id] = homes.get(source.id, source)
    made.uses = x.uses
    return made


def tail_pair(tail: Any, ids: list[int], at: int, lives: Lives) -> tuple[int, int] | None:
    """The accesses (operand, result) of a tail whose memory may be one. ids: all buffers of the launch."""
    for _, new in tail.tail.stores:
        result = tail.bufs[new].buf
        if tail.tail.nests or size_of(result) < LEAST or not lives.begins(result, at):
            continue
        for old, a in enumerate(tail.bufs):
            dies = tail.modes[old] == "r" and lives.ends(a.buf, at)
            if dies and places_match(tail, old, new) and read_once(ids, a.buf, result):
                return old, new
    return None


def read_once(ids: list[int], source: PBuf, result: PBuf) -> bool:
    """Whether no other access of the launch goes to these buffers."""
    return ids.count(source.id) == ids.count(result.id) == 1


def places_match(tail: Any, old: int, new: int) -> bool:
    """Whether two accesses of a tail go through memory alike."""

    def walk(k: int) -> Any:
        (type, _, alias, row), a = tail.tail.accesses[k], tail.bufs[k]
        steps = [tail.ints.get(f"tail{k}_{d}") for d in range(3)]
        return type, alias, row, steps, a.off, a.offslot, size_of(a.buf)

    return bool(walk(old) == walk(new))


def merged(tail: Any, old: int, new: int) -> Any:
    """The tail whose access `new` is `old`, which it reads and writes."""
    left = [k for k in range(len(tail.bufs)) if k != new]
    place = {k: n for n, k in enumerate(left)} | {new: left.index(old)}
    rows = [tail.tail.accesses[k] for k in left]
    rows[place[old]] = (rows[place[old]][0], "rw", *rows[place[old]][2:])
    values = tuple([("load", place[v[1]]) if v[0] == "load" else v for v in tail.tail.values])
    stores = tuple([(v, place[k]) for v, k in tail.tail.stores])
    made = TailBound(replace(tail.tail, values=values, accesses=tuple(rows), stores=stores))
    made.bufs, made.modes = [tail.bufs[k] for k in left], [row[1] for row in rows]
    steps = [(n, d, tail.ints.get(f"tail{k}_{d}")) for n, k in enumerate(left) for d in range(3)]
    made.ints = {f"tail{n}_{d}": step for n, d, step in steps if step is not None}
    made.numbers, made.title = tail.numbers, tail.title
    return made


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
    uses = [(v[2], facts.pass_[v[2]]) for v in nest.values if v[0] == "reduce"]
    uses += [(v, facts.stored(v, nest.accesses[a][1])) for v, a in nest.stores]
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
