"""Constants of kernels that are seen to change: a number of the program (an eps, a divisor, a slope) that is part of a
kernel's code at first, and an argument once kernels that differ in it alone were wanted.

What never changes stays in the code, where it costs nothing and nothing is looked up.
"""

from __future__ import annotations

from typing import Any

from ..symbols import NUMBERS, plain

FEW = 2  # kernels that may differ in constants alone
MOST = 4096  # kinds of kernels that are remembered
HELD = {"f32": "f64", "f64": "f64", "i64": "i64"}  # as what an argument comes
SEEN: dict[Any, Seen] = {}


def is_count(value: Any, type_: str) -> bool:
    """Whether a constant is an argument from the beginning: a whole number above 2, which may come from an extent."""
    return type_ in HELD and type(value) in NUMBERS and 2 < value < 1 << 53 and plain(value) == int(value)


class Seen:
    """The constants of kernels that differ in them alone. first: of those that have them in their code; changed: which
    constants, in order, are arguments of all others."""

    __slots__ = ("changed", "first")

    def __init__(self) -> None:
        self.first: list[tuple[str, ...]] = []
        self.changed: set[int] = set()

    def note(self, found: tuple[str, ...]) -> set[int]:
        """Which of a kernel's constants are to be arguments."""
        if found in self.first:
            return set()
        if len(self.first) < FEW:
            self.first.append(found)
            return set()
        for k, value in enumerate(found):
            if any(value != other[k] for other in self.first):
                self.changed.add(k)
        return self.changed


def loosen(values: list[tuple[Any, ...]], numbers: list[Any]) -> None:
    """Make arguments of the constants among a kernel's values that change, in place."""
    at = [i for i, v in enumerate(values) if v[0] == "const" and v[1] in HELD]
    if not at:
        return
    skeleton = list(values)
    for i in at:
        skeleton[i] = values[i][:2]
    key = tuple(skeleton)
    seen = SEEN.get(key)
    if seen is None:
        if len(SEEN) >= MOST:
            SEEN.clear()
        seen = SEEN[key] = Seen()
    changed = seen.note(tuple([repr(plain(values[i][2])) for i in at]))
    if not changed:
        return
    for k in changed:
        kind, value = values[at[k]][1:]
        values[at[k]] = ("num", kind, len(numbers))
        numbers.append(("constant", value, HELD[kind]))
    renumber(values, numbers)


def renumber(values: list[tuple[Any, ...]], numbers: list[Any]) -> None:
    """Number arguments as they come, which is the order of a kernel's parameters."""
    order = list(dict.fromkeys([v[2] for v in values if v[0] == "num"]))
    place = {old: new for new, old in enumerate(order)}
    values[:] = [("num", v[1], place[v[2]]) if v[0] == "num" else v for v in values]
    numbers[:] = [numbers[old] for old in order]


def letter(kind: str) -> str:
    """How an argument of a kernel that stands for a value of this type lies in the table."""
    return "d" if kind in ("f32", "f64") else "q"
