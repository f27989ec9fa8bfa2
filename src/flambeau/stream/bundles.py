"""The axes of a nest in order, its accesses to neighbours in memory, and temporaries that need none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..loop.ir import SIZE
from ..loop.recipes.accumulate import LANES
from ..shapes import numel
from .nodes import Group
from .sharing import SERIAL_WORK

if TYPE_CHECKING:
    from .nests import Access

PLAIN = (-1, 0, 1)  # strides that are part of the kernel
CLOSE = 4  # a stride of small elements up to which vectors are read and picked from: no gather takes fewer than 4 bytes
MOST = 8  # neighbours of a bundle
UNROLLED = 64  # operations on an element that stand in the code, once for each of a few points


def read_here_alone(group: Group) -> set[int]:
    """Temporaries that only this group reads, each view as it was stored (parts of a complex result): they need no
    memory."""
    stored: dict[int, set[Any]] = {}
    seen: set[int] = set()
    for node, _ in group.nodes:
        for v in node.ins[1:] if node.kind == "store" else node.ins:
            if node.kind == "take" or v.view not in stored.get(v.buf.id, ()):
                seen.add(v.buf.id)
        if node.kind == "store":
            dest = node.ins[0]
            stored.setdefault(dest.buf.id, set()).add(dest.view)
            buf, own = dest.buf, dest.buf.writes.groups == {group.index}
            if buf.kept or buf.bytes_exist or buf.reads or not own:
                seen.add(buf.id)
    return stored.keys() - seen


def long_last(accesses: list[Access], axes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The axes of a map; where the last is too short for the lanes, a long one comes last along which something
    lies: few of many elements are then read or written across."""
    if len(axes) < 2 or axes[-1][0] >= LANES or any(a.alias for a in accesses):
        return axes
    lying = [sum(acc.strides[a] == 1 for acc in accesses) if n >= LANES else 0 for n, a in axes]
    if (
        not any(lying) and numel([n for n, _ in axes]) > SERIAL_WORK
    ):  # between whose elements the last has its own
        n, last = axes[-1]
        close = [acc.strides for acc in accesses if acc.strides[last] == 1]
        lying = [sum(abs(s[a]) == n for s in close) if m >= LANES else 0 for m, a in axes]
    k = max(range(len(axes)), key=lambda k: (lying[k], axes[k][0]))
    return [*axes[:k], *axes[k + 1 :], axes[k]] if lying[k] else axes


def few(accesses: list[Access], axes: list[tuple[int, int]], cost: int) -> tuple[list[tuple[int, int]], int]:
    """The axes of a map, the last but one an axis of few points that lie between the elements of two lanes for
    some access (colours of a pixel), and how many points; 0 if there is no such axis."""
    if len(axes) < 2 or axes[-1][0] < LANES or any(a.alias for a in accesses):
        return axes, 0
    inner = axes[-1][1]
    for k, (n, a) in enumerate(axes[:-1]):
        between = any(acc.strides[a] == 1 and abs(acc.strides[inner]) == n for acc in accesses)
        if 2 <= n <= MOST and between and n * cost <= UNROLLED:
            return [*axes[:k], *axes[k + 1 : -1], axes[k], axes[-1]], n
    return axes, 0


def bundles(
    accesses: list[Access], columns: list[list[int]], lane: int, others: set[int]
) -> list[tuple[int, ...]]:
    """Accesses of one kind to neighbours in memory, as many as elements from one lane to the next; not these others."""
    alike: dict[Any, list[int]] = {}
    for k, (acc, strides) in enumerate(zip(accesses, columns)):
        if 2 <= strides[lane] <= MOST and k not in others:
            alike.setdefault((acc.buf.id, acc.offslot, acc.mode, *strides), []).append(k)
    found = []
    for some in alike.values():
        n = columns[some[0]][lane]
        rest = sorted(some, key=lambda k: accesses[k].off)
        while len(rest) >= n:
            first = accesses[rest[0]].off
            if [accesses[k].off - first for k in rest[:n]] == list(range(n)):
                found.append(tuple(rest[:n]))
                rest = rest[n:]
            else:
                rest = rest[1:]
    return found


def classed(
    rows: list[tuple[Any, ...]], columns: list[list[int]], lane: int, close: set[int], points: int
) -> tuple[list[tuple[Any, ...]], list[int]]:
    """The accesses of a nest with the classes of their strides, and the strides that are arguments of its kernel.
    close: those in bundles; points: see `few`."""
    classes, numbers = [], []
    for k, (row, strides) in enumerate(zip(rows, columns)):
        between = k in close or (points > 0 and strides[lane - 1] == 1 and abs(strides[lane]) == points)
        short = SIZE[row[0]] < 4 and row[1] == "r"
        fixed = [
            s in PLAIN or (a == lane and (between or (short and 1 < s <= CLOSE)))
            for a, s in enumerate(strides)
        ]
        classes.append((*row, tuple([s if f else "s" for s, f in zip(strides, fixed)])))
        numbers += [s for s, f in zip(strides, fixed) if not f]
    return classes, numbers
