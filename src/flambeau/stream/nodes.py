"""Instructions expanded into nodes over program buffers (`PBuf`): equal nodes are merged, dead ones dropped."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

from ..loop.recipes.accumulate import LANES
from ..shapes import numel
from .graph import LOOKING, GNode, Val
from .ranges import Accesses

TURNED = 1 << 12  # elements from which on a value that is written across its kernel has one of its own
PAIRS = 1 << 40  # added to the slot of an offset that counts pairs of elements: of complex numbers


class PBuf:
    """Memory of a program: a storage of the stream (sid >= 0) or a temporary.

    number: it is a Python number in the name table. kept: somebody can still see it after the flush.
    bytes_exist: it had its bytes before. home: the group that computes it, or None; inline: recomputed by readers.
    """

    __slots__ = (
        *(
            "at",
            "bytes_exist",
            "dtype",
            "group",
            "id",
            "inline",
            "kept",
            "level",
            "mat",
            "node",
            "number",
            "reads",
            "shape",
        ),
        *("sid", "strides", "uses", "version", "writes"),
    )

    def __init__(self, id: int, shape: Any, strides: Any, dtype: Any, sid: int = -1):
        self.id, self.shape, self.strides, self.dtype, self.sid = id, tuple(shape), strides, dtype, sid
        self.number = self.bytes_exist = self.kept = self.mat = False
        self.inline = 0
        self.node: PNode | None = None
        self.group: Group | None = None
        self.at: tuple[int, ...] = ()  # the axis of each dimension, in its group
        self.level = 2
        self.version = 0
        self.reads = Accesses()  # (group, view, axes of its dimensions or None: at an index)
        self.writes = Accesses()  # (group, view, axes, value)
        self.uses = 0


class PVal:
    """A view of a program buffer; offslot: the slot of an offset that is known only at run time (see PAIRS), or -1."""

    __slots__ = ("buf", "off", "offslot", "shape", "strides", "version")

    def __init__(self, buf: PBuf, shape: Any, strides: Any, off: int, offslot: int = -1):
        self.buf, self.shape, self.strides, self.off, self.offslot = buf, tuple(shape), strides, off, offslot
        self.version = buf.version

    @property
    def view(self) -> tuple[Any, ...]:
        """What makes two views of one buffer equal."""
        return (self.shape, self.strides, self.off, self.offslot)

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes two reads equal: buffer, version and view."""
        return (self.buf.id, self.version, self.shape, self.strides, self.off, self.offslot)


class PNode:
    """A node of a program: a graph's node with its place, shape and form. heads: the operands that a product computes
    itself, by name, and views: what all of them are (see prologue.py)."""

    __slots__ = ("attrs", "form", "heads", "ins", "kind", "op", "outs", "shape", "views")

    def __init__(self, kind: str, op: str, ins: list[PVal], attrs: Any, outs: list[PBuf], shape: Any):
        self.kind, self.op, self.ins, self.attrs, self.outs, self.shape = (
            kind,
            op,
            ins,
            attrs,
            outs,
            tuple(shape),
        )
        self.form: Any = None
        self.heads: dict[str, Any] | None = None
        self.views = ins


class Group:
    """Nodes of one kernel. extents: the domain's axes (each > 1); reduced: the axes a reduction removes, or None.
    checked: it may fail, so that memory that had its bytes is written after it. uses: see order.py."""

    __slots__ = (
        *("buffers", "checked", "extents", "fixed", "index", "loads", "nodes", "opaque", "order", "reduced"),
        "uses",
    )

    def __init__(self, index: int, extents: tuple[int, ...], opaque: PNode | None = None):
        self.index, self.extents, self.opaque = index, extents, opaque
        self.reduced: frozenset[int] | None = None
        self.uses: Any = None
        self.nodes: list[
            tuple[PNode, tuple[int, ...]]
        ] = []  # with the axis of each dimension of the node's shape
        self.buffers: set[int] = set()
        self.order: tuple[tuple[int, ...], ...] = ()  # the reduced axes, outermost first: see axes.removed
        self.checked = self.fixed = self.loads = False  # loads: it reads memory


class Builder:
    """Expands instructions into nodes."""

    def __init__(self) -> None:
        self.nodes: list[PNode] = []
        self.bufs: list[PBuf] = []
        self.count = 0  # of the buffers so far
        self.old = 0  # how many of `bufs` have been forgotten
        self.used: list[PBuf] = []  # since then, by rows of lists
        self.by_sid: dict[int, PBuf] = {}
        self.seen: dict[Any, PNode] = {}
        self.shared: dict[
            Any, dict[int, PBuf]
        ] = {}  # what rows of lists compute of the same numbers, by node
        self.homes: dict[int, PBuf] = {}  # in whose memory others lie: see overwrite.py
        self.held: Container[int] = ()  # slots of operands that outlive the program
        self.written: set[int] = set()  # slots that are written in place: their storages are nobody else's

    def buffer(self, shape: Any, strides: Any, dtype: Any, sid: int = -1) -> PBuf:
        """A new buffer; sid: the storage it is."""
        buf = PBuf(self.count, shape, strides, dtype, sid)
        self.count += 1
        self.bufs.append(buf)
        if sid >= 0:
            self.by_sid[sid] = buf
        return buf

    def external(self, sid: int, operand: Any, number: bool) -> PBuf:
        """The buffer of a storage or number of the name table."""
        buf = self.by_sid.get(sid)
        if buf is None:
            buf = self.buffer((), (), operand.dtype.part, sid)
            buf.bytes_exist, buf.number = True, number
            buf.inline = 1 if number else 0
            buf.mat = not number
        return buf

    def instruction(self, form: Any, line: Sequence[int], kept: Any, is_number: Any) -> None:
        """Add one form; line: its slot numbers as recorded; kept(sid): whether the storage outlives the flush."""
        operands, at = self.operands(form, line, is_number)
        made: dict[int, PBuf] = {}
        for i, v in enumerate(form.out_vals):
            result = v.buf.parts or v.buf
            buf = self.buffer(result.shape, result.strides, result.dtype, line[at + i])
            buf.kept = kept(line[at + i])
            made[id(result)] = buf
        for node in form.trace.nodes:
            self.node(node, operands, made, form)
        self.rows(form, operands, form.trace.rows)

    def operands(self, form: Any, line: Sequence[int], is_number: Any) -> tuple[list[tuple[PBuf, int]], int]:
        """The operands of a form: each with the slot of its offset or -1; and where its results begin in the line."""
        operands: list[tuple[PBuf, int]] = []
        at = 0
        for operand in form.trace.operands:
            sid = line[at]
            at += 1
            offslot = -1
            if sid < 0:
                sid, offslot = ~sid, line[at]
                at += 1
                if operand.parts is not None:
                    offslot += PAIRS
            operands.append((self.external(sid, operand, is_number(sid)), offslot))
        return operands, at

    def rows(self, form: Any, operands: list[tuple[PBuf, int]], rows: Sequence[Any]) -> None:
        """Add some rows of a form over lists."""
        for part, numbers in rows:
            own = [operands[i] for i in numbers]
            self.used += [buf for buf, _ in own]
            made: dict[int, PBuf] = {}
            key = (part.like or part, *[own[i][0].id for i in part.numbers])
            shared = self.shared.get(key)
            if shared is None:
                for node in part.nodes:
                    self.node(node, own, made, form)
                self.shared[key] = {n: made[id(part.nodes[n].outs[0])] for n in of_numbers(part)}
                continue
            for n, node in enumerate(part.nodes):
                if n in shared:
                    made[id(node.outs[0])] = shared[n]
                else:
                    self.node(node, own, made, form)

    def forget(self) -> None:
        """The launches are made: let go of the nodes, which are much more than what the launches need of them."""
        new = self.bufs[self.old :]
        for buf in (*new, *self.used):
            buf.node = buf.group = None
            if buf.reads or buf.writes:
                buf.reads, buf.writes = Accesses(), Accesses()
        self.bufs[self.old :] = [b for b in new if b.sid >= 0]
        self.old, self.used = len(self.bufs), []
        self.nodes, self.seen, self.shared = [], {}, {}

    def node(self, g: GNode, operands: list[tuple[PBuf, int]], made: dict[int, PBuf], form: Any) -> None:
        """Add one node of a form, or find its equal."""
        ins = [self.value(v, operands, made) for v in g.ins]
        shape = g.outs[0].shape if g.outs else (ins[0].shape if ins else ())
        key: Any = None
        promised = [made.get(id(b)) for b in g.outs]
        pure = g.kind not in ("store", "empty") and not (
            g.kind == "opaque" and (opaque_writes(g) or not g.outs)
        )
        if pure and not any(p is not None and (p.kept or p.sid in self.written) for p in promised):
            # views of a result are those of its strides: one that is laid out in another order is not its equal
            made_as = (tuple(shape), tuple(g.outs[0].strides), g.outs[0].dtype)
            key = (g.kind, g.op, g.attrs, *made_as, *[v.key for v in ins])
            if g.kind == "const":
                key = (*key, repr(g.attrs), type(g.attrs[0]))
            same = self.seen.get(key)
            if same is not None:
                for b, p, buf in zip(g.outs, promised, same.outs):
                    made[id(b)] = buf
                    if p is not None:
                        self.by_sid[p.sid] = buf
                return
        outs = []
        for b, p in zip(g.outs, promised):
            buf = p or self.buffer(b.shape, b.strides, b.dtype)
            made[id(b)] = buf
            outs.append(buf)
        node = PNode(g.kind, g.op, ins, g.attrs, outs, shape)
        node.form = form
        for buf in outs:
            buf.node = node
        if key is not None:
            self.seen[key] = node
        self.nodes.append(node)
        if g.kind == "store":
            ins[0].buf.version += 1
        elif g.kind == "opaque":
            for i in opaque_writes(node):
                ins[i].buf.version += 1

    def value(self, v: Val, operands: list[tuple[PBuf, int]], made: dict[int, PBuf]) -> PVal:
        """A graph's view as a view of a program's buffer."""
        src = v.buf.src
        if isinstance(src, int):
            buf, offslot = operands[src]
            return PVal(buf, v.shape, v.strides, v.off, offslot)
        return PVal(made[id(v.buf)], v.shape, v.strides, v.off)


def of_numbers(part: Any) -> list[int]:
    """The nodes of a row that compute numbers of numbers: they are the same for all rows."""
    found: dict[Any, int] = {}
    for n, node in enumerate(part.nodes):
        sources = [v.buf.src for v in node.ins]
        if node.kind in ("const", "map") and all(s in part.numbers or s in found for s in sources):
            found[node] = n
    return list(found.values())


def opaque_writes(node: Any) -> tuple[int, ...]:
    """Which inputs an opaque node writes (a generator's state): the recipe says so in its attributes."""
    attrs = node.attrs
    return attrs[0][1] if attrs and isinstance(attrs[0], tuple) and attrs[0][:1] == ("writes",) else ()


def drop_dead(nodes: list[PNode]) -> list[PNode]:
    """Nodes whose results nobody can see; checks and writes to memory that outlives them stay."""
    needed: set[int] = set()
    alive: list[PNode] = []
    for node in reversed(nodes):
        if node.kind == "store":
            buf = node.ins[0].buf
            keep = buf.kept or buf.bytes_exist or buf.id in needed
        elif node.kind == "opaque":
            keep = node.op in LOOKING or bool(opaque_writes(node))
            keep = keep or any(b.kept or b.id in needed for b in node.outs)
        elif node.kind == "take":
            keep = True
        else:
            keep = any(b.kept or b.id in needed for b in node.outs)
        if keep:
            alive.append(node)
            for v in node.ins:
                needed.add(v.buf.id)
    alive.reverse()
    return alive


def alignment(v: PVal) -> tuple[int, ...] | None:
    """For each dimension of a view, the dimension of its buffer that it walks (-1: none), or None."""
    buf = v.buf
    if v.off or v.offslot >= 0:
        return None
    if v.shape == buf.shape and v.strides == buf.strides:
        return tuple([d if n > 1 else -1 for d, n in enumerate(v.shape)])
    left = {s: d for d, (n, s) in enumerate(zip(buf.shape, buf.strides)) if n > 1}
    found = []
    for n, s in zip(v.shape, v.strides):
        if n == 1 or s == 0:
            found.append(-1)
            continue
        d = left.pop(s, -1)
        if d < 0 or buf.shape[d] != n:
            return None
        found.append(d)
    return None if left else tuple(found)


def crosses(dest: PVal, group: Group, at: Sequence[int]) -> bool:
    """Whether a write runs along another axis than all large reads of a group: a kernel of its own turns the value in
    tiles, while one that reduces, or reads at indices, would have lanes that lie apart."""
    if numel(group.extents) < TURNED:
        return False
    reads = {
        fastest(v, axes)
        for node, axes in group.nodes
        for v in node.ins[node.kind in ("take", "store") :]
        if v.buf.group is not group
        and numel([n for n, s in zip(v.shape, v.strides) if s]) == numel(group.extents)
    }
    written = fastest(dest, at)
    looked = {
        fastest(node.ins[0], [-1 if d is None else axes[d] for d in node.attrs[1]])
        for node, axes in group.nodes
        if node.kind == "take"
    }
    if looked:  # a short axis as well, within a longer one
        return len(looked | reads) == 1 and written not in looked and min(written, *looked) >= 0
    both = (written, *reads)
    return (
        len(reads) == 1 and written not in reads and all(a >= 0 and group.extents[a] >= LANES for a in both)
    )


def fastest(v: PVal, at: Sequence[int]) -> int:
    """The axis along which the elements of a value lie side by side, or -1."""
    return next((a for a, n, s in zip(at, v.shape, v.strides) if n > 1 and s == 1), -1)
