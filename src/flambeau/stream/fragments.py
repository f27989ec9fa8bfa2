"""Fragments: bodies that come again within sequences that never repeat as a whole.

A cell over a random tree, a layer of random depth: no flush has the code of an earlier one, but the same runs of
instructions come again and again. `learn` finds runs of forms that occur twice in a sequence; one met often enough is
kept in a trie, `parse` cuts later sequences by it, and `run_fragment` plans a run by its wiring (which operand is which
earlier result) once that has come a few times.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from . import program as programs
from .program import STATS

Line = tuple[Any, tuple[int, ...]]
SHORTEST, LONGEST = 2, 48  # instructions of a fragment
MET = 3  # times a run is met before it is a fragment, and a wiring before it is planned
MOST = 96  # fragments, and programs of fragments


class Node:
    """A place in the trie of forms; wirings: those of the fragment that ends here, or None.

    named: programs by the names that the builtin `piece` gives to their occurrences."""

    __slots__ = ("named", "next", "wirings")

    def __init__(self) -> None:
        self.next: dict[Any, Node] = {}
        self.wirings: dict[Any, Wiring] | None = None
        self.named: dict[bytes, Any] = {}


class Wiring:
    """How often one was met, the programs made for it; later: how often it must be met before another try.

    outs: the numbers of what it promises."""

    __slots__ = ("later", "met", "outs", "programs")

    def __init__(self, outs: list[int]) -> None:
        self.outs = outs
        self.met = self.later = 0
        self.programs: list[Any] = []


ROOT = Node()
BUILTINS: dict[
    str, Callable[..., Any]
] = {}  # survey and piece (ops/builtins/cutting.py), where there are builtins
_candidates: dict[tuple[Any, ...], int] = {}
_count = {"fragments": 0, "programs": 0, "idle": 0, "met": 0}


def learning(lines: int, fresh: int) -> bool:
    """Whether new fragments are looked for in a sequence of so many instructions, `fresh` of them with forms that stood
    in none before: where none were found for a while, in few; where many forms are new, bodies do not come again."""
    if 8 * fresh > lines:
        return False
    _count["met"] += 1
    every = 1 if _count["idle"] < 8 else 8 if _count["idle"] < 50 else 64
    return _count["fragments"] < MOST and not _count["met"] % every


def learn(lines: list[Line]) -> None:
    """Note the runs of forms that occur a second time in this sequence."""
    before = _count["fragments"]
    last: dict[Any, int] = {}
    i, n = 0, len(lines)
    while i < n:
        form = lines[i][0]
        j = last.get(form, -1)
        last[form] = i
        length = repeat(lines, j, i) if j >= 0 else 0
        if length < SHORTEST:
            i += 1
            continue
        note(tuple([f for f, _ in lines[i : i + length]]))
        for k in range(1, length):
            last[lines[i + k][0]] = i + k
        i += length
    _count["idle"] = _count["idle"] + 1 if before == _count["fragments"] else 0


def repeat(lines: list[Line], j: int, i: int) -> int:
    """How many instructions from i on are those from j on, up to where the opening one comes again."""
    n, opening, length = len(lines), lines[i][0], 0
    while i + length < n and j + length < i and length < LONGEST:
        form = lines[i + length][0]
        if form is not lines[j + length][0] or form.writes or (length and form is opening):
            break
        length += 1
    return length


def note(forms: tuple[Any, ...]) -> None:
    """Count a body; one that came often enough becomes a path from the root."""
    if len(_candidates) > 4096:
        _candidates.clear()
    met = _candidates[forms] = _candidates.get(forms, 0) + 1
    if met != MET:
        return
    node = ROOT
    for form in forms:
        found = node.next.get(form)
        if found is None:
            found = node.next[form] = Node()
        node = found
    if node.wirings is None:
        node.wirings = {}
        _count["fragments"] += 1


def forget() -> None:
    """Drop the programs of all fragments."""
    todo = [ROOT]
    while todo:
        node = todo.pop()
        todo += node.next.values()
        node.named.clear()
        for wiring in (node.wirings or {}).values():
            wiring.programs.clear()
    _count["programs"] = 0


def parse(lines: list[Line]) -> list[tuple[int, int, Node | None]]:
    """Cut a sequence into fragments (the longest that fits) and single instructions: (start, stop, node or None)."""
    pieces: list[tuple[int, int, Node | None]] = []
    first = ROOT.next
    i, n = 0, len(lines)
    while i < n:
        node = first.get(lines[i][0])
        best, stop, at = None, i + 1, i + 1
        while node is not None:
            if node.wirings is not None:
                best, stop = node, at
            node = node.next.get(lines[at][0]) if at < n else None
            at += 1
        pieces.append((i, stop, best))
        i = stop
    return pieces


def last_uses(lines: list[Line]) -> dict[int, int]:
    """The last instruction that names each slot."""
    last: dict[int, int] = {}
    for at, (_, line) in enumerate(lines):
        for sid in line:
            last[~sid if sid < 0 else sid] = at
    return last


def _references(objects: list[Any], at: list[int]) -> list[int]:
    count = sys.getrefcount
    return [count(objects[i]) for i in at]


_SPARE = _references([object()], [0])[0]


def renumbered(lines: list[Line], key: tuple[int, ...]) -> tuple[list[Line], list[int]]:
    """The instructions with the slot numbers of a wiring, and the numbers that they promise."""
    local: list[Line] = []
    outs: list[int] = []
    at = 0
    for form, line in lines:
        end = at + len(line)
        local.append((form, key[at:end]))
        outs += key[end - len(form.outs) : end]
        at = end
    return local, outs


def program_of(
    node: Node, lines: list[Line], stop: int, slots: list[Any], last: Any, compiling: bool = True
) -> Any:
    """(program, its slots) of a fragment's occurrence, or None while its wiring is too new. lines: the occurrence."""
    flat = [sid for _, line in lines for sid in line]
    plain = min(flat) >= 0
    names = list(dict.fromkeys(flat if plain else [~sid if sid < 0 else sid for sid in flat]))
    numbers = {sid: n for n, sid in enumerate(names)}
    if plain:
        key = tuple(map(numbers.__getitem__, flat))
    else:
        key = tuple([~numbers[~sid] if sid < 0 else numbers[sid] for sid in flat])
    assert node.wirings is not None
    found = node.wirings.get(key)
    if found is None:
        if len(node.wirings) > 256:
            node.wirings.clear()
            node.named.clear()
        found = node.wirings[key] = Wiring(renumbered(lines, key)[1])
    found.met += 1
    outs = [names[n] for n in found.outs]
    counts = _references(slots, outs)
    needed = {n for n, sid, count in zip(found.outs, outs, counts) if count > _SPARE or last[sid] >= stop}
    local = [slots[sid] for sid in names]
    for p in found.programs:
        if p.kept.issuperset(needed):
            return p, local
    if found.met < max(MET, found.later) or _count["programs"] >= MOST:
        return None
    if len(found.programs) >= 2:
        for p in found.programs:
            needed |= p.kept
    p = programs.plan(renumbered(lines, key)[0], local, needed.__contains__, set(found.outs), compiling)
    if p is None:
        found.later = 2 * found.met
        return None
    if len(found.programs) >= 2:
        _count["programs"] -= len(found.programs)
        found.programs.clear()
        node.named.clear()
    _count["programs"] += 1
    found.programs.append(p)
    STATS["fragments"] = STATS.get("fragments", 0) + 1
    return p, local


def promised(lines: list[tuple[Any, tuple[int, ...]]]) -> list[int]:
    """The slots of the storages that the instructions make."""
    out: list[int] = []
    for form, line in lines:
        count = len(form.outs)
        if count == 1:
            out.append(line[-1])
        elif count:
            out += line[-count:]
    return out
