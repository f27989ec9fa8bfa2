"""When the products run that end in what follows them: as early as they may, so that their operands die early."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from .lifetimes import Lives
from .nodes import Group, PBuf, PNode, PVal, opaque_writes

Place = tuple[int, int]  # a number of `hastened`'s list, and what comes first among equals


class Proofs:
    """Indices that were found in range: what they are checked for again cannot fail."""

    def __init__(self) -> None:
        self.known: set[Any] = set()

    def note(self, take: PNode) -> None:
        """An indexed read that checks its indices."""
        indexed, _, label = take.attrs
        src = take.ins[0]
        self.known |= {(place(v), src.shape[d], label == "index") for v, d in zip(take.ins[1:], indexed)}

    def holds(self, scatter: PNode) -> bool:
        """Whether all indices of a node that writes at them are known to be in range."""
        _, _, indexed, _, _, _, label = scatter.attrs
        dest = scatter.ins[0]
        return all(
            (place(v), dest.shape[d], False) in self.known
            or (label == "index" and (place(v), dest.shape[d], True) in self.known)
            for v, d in zip(scatter.ins[2:], indexed)
        )


def place(v: PVal) -> tuple[Any, ...]:
    """Which elements a view has, whatever its shape."""
    axes: list[tuple[int, int]] = []
    for n, s in zip(v.shape, v.strides):
        if n == 1 or not s:
            continue
        if axes and axes[-1][1] == n * s:
            axes[-1] = (axes[-1][0] * n, s)
        else:
            axes.append((n, s))
    return v.buf.id, v.version, v.off, v.offslot, *axes


class Uses:
    """What a group, with the product that it follows, reads and writes; lasting: also memory that had its bytes
    before; checked: it may fail; early: a product runs before its turn."""

    __slots__ = ("checked", "early", "lasting", "reads", "writes")

    def __init__(self, group: Group, product: PNode | None):
        self.reads: set[int] = set()
        self.writes: set[int] = set()
        self.lasting = self.early = False
        self.checked = group.checked
        for node, _ in group.nodes:
            self.add(node)
        if product is not None:
            self.add(product)

    def add(self, node: PNode) -> None:
        """Count a node in."""
        written = (0,) if node.kind == "store" else opaque_writes(node) if node.kind == "opaque" else ()
        for i, v in enumerate(node.ins):
            self.read(v.buf)
            if i in written:
                self.writes.add(v.buf.id)
                self.lasting |= v.buf.bytes_exist
        self.writes.update([b.id for b in node.outs])

    def read(self, buf: PBuf) -> None:
        """A buffer, and what it is computed from where that is computed again."""
        todo = [buf]
        while todo:
            b = todo.pop()
            if b.id not in self.reads:
                self.reads.add(b.id)
                if b.inline and b.node is not None:
                    todo += [v.buf for v in b.node.ins]


def hastened(pairs: Sequence[tuple[Group, Any, Group]]) -> list[tuple[Group, Any]]:
    """Groups with their tails, in order. pairs: (group, tail, the group whose work the tail is, or the group itself),
    in an order in which they may run.

    A product waits for what follows it (the rule of an optimiser comes after the whole backward pass), and what it
    reads would wait with it: both run where the product was, or behind the last group that they depend on."""
    before = (-1, -1)
    written: dict[int, Place] = {}
    touched: dict[int, Place] = {}
    checked = lasting = before
    places: list[Place] = []
    numbers = [reader.index for _, _, reader in pairs]
    for n, (group, _, reader) in enumerate(pairs):
        uses = group.uses = Uses(reader, group.opaque)
        at = n, n
        if group is not reader:
            behind = [written.get(b, before) for b in uses.reads]
            behind += [touched.get(b, before) for b in uses.writes]
            behind += [checked if uses.lasting else before, lasting if uses.checked else before]
            at = max(max(behind)[0], bisect_left(numbers, group.index) - 1), n
            uses.early = True
        places.append(at)
        written |= {b: max(at, written.get(b, before)) for b in uses.writes}
        touched |= {b: max(at, touched.get(b, before)) for b in uses.writes | uses.reads}
        checked = max(checked, at) if uses.checked else checked
        lasting = max(lasting, at) if uses.lasting else lasting
    return [pairs[n][:2] for _, n in sorted(places)]


def calmed(launches: list[Any], homes: dict[int, PBuf]) -> list[Any]:
    """Launches in order. A product that runs early lets the next kernel go first where less memory is taken at the
    most: what that frees is not there any more beside the product's workspace. homes: see overwrite.py."""
    out, lives = list(launches), Lives(launches, homes)
    for at in range(len(out) - 1):
        x, then = out[at : at + 2]
        if x.uses is None or not x.uses.early or then.uses is None or depend(x.uses, then.uses, homes):
            continue
        if lives.exchange_pays(at, x, then):
            out[at : at + 2] = then, x
            lives.exchanged(at, then, x)
    return out


def depend(x: Uses, then: Uses, homes: dict[int, PBuf]) -> bool:
    """Whether two groups may not run in either order."""
    if (x.checked and then.lasting) or (then.checked and x.lasting):
        return True
    sets = (x.reads, x.writes, then.reads, then.writes)
    reads, writes, then_reads, then_writes = ({homes[i].id if i in homes else i for i in s} for s in sets)
    return not (writes.isdisjoint(then_reads | then_writes) and reads.isdisjoint(then_writes))
