"""What a nest is, and what is known of its values: which pass over the elements they belong to, what they depend on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..ir import MATH1, MATH2


@dataclass(frozen=True, slots=True)
class Nest:
    """values: ("load", access) ("const", type, value) ("num", type, number) ("index", axis) ("map", op, type, *values)
    ("reduce", kind, value, type) ("take", access, ((index value, which), ...), whether negative indices count from the
    end, whether each indexed dimension has stride 1); accesses: (type, mode, alias, class of the stride along each
    axis: 0, 1, -1, that of a bundle, or "s"); stores: (value, access).
    Axes: the kept ones, then the reduced ones."""

    mode: str
    kept: int
    reduced: int
    values: tuple[Any, ...]
    accesses: tuple[Any, ...]
    stores: tuple[tuple[int, int], ...]
    split: str  # what parts share: "outer": the outer kept axes, "inner": the innermost one, "chunks", "": nothing
    stash: tuple[int, ...] = ()  # values that are kept between passes
    homes: tuple[int, ...] = ()  # the access that each is kept in: scratch (the last ones), or a result's
    past: int = 0  # elements from which on results need not stay in the caches
    bundles: tuple[tuple[int, ...], ...] = ()  # accesses to neighbours that lie between those of two lanes
    few: int = 0  # points of the last axis but one, done together: they lie between two lanes of some access
    apart: int = 0  # the first access of scratch for kept values that has one row for each part
    # axes after the reduced ones: the last reduced one is their product, and not all walk it as one
    within: int = 0
    stretches: bool = False  # the last of these is long enough for vectors along it
    # rows of the last of these that are turned at a time, as memory has them side by side, elements of each, and
    # whether the scratch for them is the kernel's
    turned: tuple[int, ...] = ()


def expensive(value: tuple[Any, ...]) -> bool:
    """Whether a value is worth keeping rather than computing twice: an indexed read, a mathematical function."""
    return value[0] == "take" or (value[0] == "map" and (value[1] in MATH1 or value[1] in MATH2))


class Analysis:
    """Depth (0 constant, 1 row, 2 element) and pass of every value; last: the last pass that reads elements."""

    def __init__(self, nest: Nest):
        self.depth: list[int] = []
        self.pass_: list[int] = []
        self.row_pass: list[int] = []
        inner = self._inner(nest)
        for v in nest.values:
            deps = dependencies(v)
            if v[0] == "reduce":
                depth, at = 1, self.pass_[v[2]] + 1
            else:
                depth = max((self.depth[d] for d in deps), default=0)
                at = max((self.pass_[d] for d in deps), default=0)
                if v[0] in ("load", "take"):
                    classes = nest.accesses[v[1]][3]
                    touched = {a for a, c in enumerate(classes) if c != 0}
                    depth = max(depth, 2 if touched & inner else 1 if touched else 0)
                elif v[0] == "index":
                    depth = 2 if v[1] in inner else 1
            self.depth.append(depth)
            self.pass_.append(at)
        self.last = max([at for depth, at in zip(self.depth, self.pass_) if depth == 2], default=0)

    def stored(self, value: int, mode: str) -> int:
        """The pass that stores a value to elements of an access: not before the last one that reads them."""
        return max(self.pass_[value], self.last) if mode == "rw" else self.pass_[value]

    @staticmethod
    def _inner(nest: Nest) -> set[int]:
        if nest.mode in ("map", "tile"):
            return {nest.kept - 1, nest.kept - 2 if nest.few else -1} if nest.kept else set()
        return set(range(nest.kept, nest.kept + nest.reduced + nest.within))


@lru_cache(maxsize=1024)
def analysis(nest: Nest) -> Analysis:
    """The analysis of a nest: planning asks for that of the same one again and again."""
    return Analysis(nest)


def dependencies(v: tuple[Any, ...]) -> tuple[int, ...]:
    """The numbers of the values that a value is computed from."""
    if v[0] == "map":
        return v[3:]
    if v[0] == "reduce":
        return (v[2],)
    if v[0] == "take":
        return tuple(i for i, _ in v[2])
    return ()


def closure(nest: Nest, wanted: set[int]) -> set[int]:
    """The wanted values and all they depend on, not looking behind reductions."""
    found: set[int] = set()
    todo = list(wanted)
    while todo:
        i = todo.pop()
        if i in found:
            continue
        found.add(i)
        if nest.values[i][0] != "reduce":
            todo.extend(dependencies(nest.values[i]))
        else:
            todo.append(nest.values[i][2])
    return found
