"""Results that take the place of an input whose last use their kernel is.

Only temporaries are written over, so nobody sees one half changed. A nest may do so where each element is read for the
last time before its result is stored, by the same step of the same loop: no kernel knows of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..loop.recipes.analysis import Analysis, Nest, dependencies
from .nodes import PBuf

if TYPE_CHECKING:
    from .nests import Bound
    from .program import Launch


def overwrites(
    launches: list[Launch], first: dict[int, int], last: dict[int, int]
) -> Iterator[tuple[PBuf, PBuf]]:
    """Pairs (temporary, result in its place), in order. first, last: the launches that use a buffer first and last."""
    for at, x in enumerate(launches):
        if x.bound is None or x.count > 1 or x.bound.nest.mode == "tile":
            continue
        ids = [buf.id for buf, _, _ in x.bufs]
        spent = {
            k
            for k, (buf, off, slot) in enumerate(x.bufs)
            if whole(off, slot) and ids.count(buf.id) == 1 and last[buf.id] == at and temporary(buf)
        }
        for value, k in x.bound.nest.stores:
            buf, off, slot = x.bufs[k]
            if not whole(off, slot) or buf.bytes_exist or first[buf.id] != at or ids.count(buf.id) > 1:
                continue
            j = next((j for j in sorted(spent) if j != k and fits(x.bound, value, k, j)), None)
            if j is not None:
                spent.discard(j)
                yield x.bufs[j][0], buf


def whole(off: int, slot: int) -> bool:
    """Whether an access begins where its buffer does."""
    return off == 0 and slot < 0


def temporary(buf: PBuf) -> bool:
    """Whether only the program sees a buffer."""
    return not (buf.kept or buf.bytes_exist)


def fits(bound: Bound, value: int, out: int, source: int) -> bool:
    """Whether access `out`, to which a value is stored, may be to the memory of access `source`."""
    nest: Nest = bound.nest
    if bound.modes[out] != "w" or bound.modes[source] != "r":
        return False
    a, b = bound.bufs[out][0], bound.bufs[source][0]
    walk = strides(bound, out)
    if a.dtype is not b.dtype or walk != strides(bound, source) or extent(a) != extent(b):
        return False
    if any(n > 1 and not s for n, s in zip(bound.extents, walk)) or ("load", source) not in nest.values:
        return False
    facts = Analysis(nest)
    reading = readers(nest, nest.values.index(("load", source)))
    uses = [v for v, _ in nest.stores] + [v[2] for v in nest.values if v[0] == "reduce"]
    uses += [i for i, v in enumerate(nest.values) if v[0] == "take"]
    return value in reading and all(facts.pass_[v] <= facts.pass_[value] for v in uses if v in reading)


def strides(bound: Bound, access: int) -> list[int]:
    """The strides of an access along the axes of its nest."""
    at = len(bound.extents)
    for k, (_, _, _, row) in enumerate(bound.nest.accesses):
        if k == access:
            found = iter(bound.ints[at:])
            return [next(found) if s == "s" else s for s in row]
        at += row.count("s")
    raise AssertionError


def extent(buf: PBuf) -> tuple[Any, ...]:
    """What two buffers of one size have in common."""
    span = sum((n - 1) * s for n, s in zip(buf.shape, buf.strides)) if 0 not in buf.shape else -1
    return span, buf.dtype.itemsize


def readers(nest: Nest, load: int) -> set[int]:
    """The values that a load is computed into, element by element."""
    found = {load}
    for i, v in enumerate(nest.values):
        if v[0] != "reduce" and not found.isdisjoint(dependencies(v)):
            found.add(i)
    return found
