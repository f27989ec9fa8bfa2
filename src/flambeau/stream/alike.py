"""Rows of a list that differ in memory and length alone are planned once: the others are that launch over theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..shapes import numel
from .nests import AROUND, Bound
from .nodes import Builder, PBuf
from .sharing import parts, work

ROWS = 16  # of those that are not alike are planned at a time: a row takes 30 KB until its launch is made


def rows_apart(
    builder: Builder,
    form: Any,
    operands: list[tuple[PBuf, int]],
    launched: Callable[[Builder], list[Any]],
    again: Callable[[list[Bound]], Any],
) -> Iterator[list[Any]]:
    """The launches of a form over lists whose rows have nothing in common but numbers. launched: what plans the nodes
    of the builder; again: makes a launch of nests."""
    known: dict[int, Pattern | None] = {}
    rest = []
    for row in form.trace.rows:
        part, numbers = row
        own = [operands[i] for i in numbers]
        like = id(part.like or part)
        if like not in known:
            builder.rows(form, operands, [row])
            made = launched(builder)
            known[like] = pattern(made, part, own)
            yield made
            continue
        found = known[like]
        bound = found.bound(part, own) if found is not None else None
        if bound is not None:
            yield [again([bound])]
        else:
            rest.append(row)
    for at in range(0, len(rest), ROWS):
        builder.rows(form, operands, rest[at : at + ROWS])
        yield launched(builder)


class Pattern:
    """The one launch of a row. sources: which of the row's operands each of its buffers is."""

    def __init__(self, bound: Bound, part: Any, sources: list[int]):
        self.first, self.part, self.sources = bound, part, sources
        nest = bound.nest
        line = nest.mode == "map" and nest.kept == 1 and not nest.few and not nest.bundles
        self.line = line and bound.ints == [numel(part.operands[0].shape)] and not nest.past
        in_place = any(mode == "rw" for mode in bound.modes)  # never goes around the caches
        each = sum([buf.dtype.itemsize for buf, _, _ in bound.bufs])
        self.most = 1 << 62 if in_place else (AROUND - 1) // max(each, 1)

    def bound(self, part: Any, own: list[tuple[PBuf, int]]) -> Bound | None:
        """The same for another row; None if it is not the same kernel."""
        first, bound = self.first, Bound()
        for name in Bound.__slots__:
            setattr(bound, name, getattr(first, name))
        bound.bufs = [(own[i][0], off, own[i][1]) for i, (_, off, _) in zip(self.sources, first.bufs)]
        if part is self.part:
            return bound
        n = numel(part.operands[0].shape)
        if not self.line or n > self.most:
            return None
        bound.extents, bound.ints = (n,), [n]
        bound.work = work(bound.extents, 0, bound.nest.values)
        bound.parts = parts(bound, bound.nest.mode, ())
        bound.bytes = first.bytes // first.ints[0] * n
        return bound


def pattern(launches: Sequence[Any], part: Any, own: list[tuple[PBuf, int]]) -> Pattern | None:
    """What the launches of a row have in common with those of rows like it, if it is one nest over its operands."""
    if len(launches) != 1 or launches[0].bound is None:
        return None
    bound = launches[0].bound
    places = {id(buf): i for i, (buf, _) in enumerate(own)}
    sources = [places.get(id(buf), -1) for buf, _, _ in bound.bufs]
    if bound.scratch or bound.checks or len(places) != len(own) or -1 in sources:
        return None
    return Pattern(bound, part, sources)
