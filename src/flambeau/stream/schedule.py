"""From recorded instructions to groups: each group becomes one kernel.

Instructions are expanded into nodes over program buffers (`PBuf`), equal nodes are merged, dead ones dropped, and the rest
are gathered greedily, in order, into groups that share an iteration domain:

* the domain of a group is a list of axes; a reduction splits them into kept and reduced ones;
* a value of the group has all axes (full) or exactly the kept ones (row);
* a value may be read inside its group only element by element; any other reader belongs to a later group;
* an in-place store comes in a group not before that of any earlier access to the same memory.

The work is linear in the number of nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..shapes import extent_bytes, numel
from .graph import GNode, Val

MAX_NODES = 160
MAX_BUFFERS = 40
INLINE_COST = 8
EFFECTS = ("take", "store", "opaque")


class PBuf:
    """Memory of a program: a storage of the stream (sid >= 0) or a temporary.

    number: it is a Python number in the name table. kept: somebody can still see it after the flush.
    bytes_exist: it had its bytes before. home: the group that computes it, or None; inline: recomputed where it is read.
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
        self.reads: list[tuple[Group, PVal, tuple[int, ...]]] = []
        self.writes: list[tuple[Group, PVal, tuple[int, ...], PVal | None]] = []
        self.uses = 0


class PVal:
    """A view of a program buffer; offslot: the slot of an offset that is known only at run time, or -1."""

    __slots__ = ("buf", "off", "offslot", "shape", "strides", "version")

    def __init__(self, buf: PBuf, shape: Any, strides: Any, off: int, offslot: int = -1):
        self.buf, self.shape, self.strides, self.off, self.offslot = buf, tuple(shape), strides, off, offslot
        self.version = buf.version

    @property
    def view(self) -> tuple[Any, ...]:
        return (self.shape, self.strides, self.off, self.offslot)

    @property
    def key(self) -> tuple[Any, ...]:
        return (self.buf.id, self.version, self.shape, self.strides, self.off, self.offslot)


class PNode:
    __slots__ = ("attrs", "dead", "form", "ins", "kind", "op", "outs", "shape", "where")

    def __init__(self, kind: str, op: str, ins: list[PVal], attrs: Any, outs: list[PBuf], shape: Any):
        self.kind, self.op, self.ins, self.attrs, self.outs, self.shape = (
            kind,
            op,
            ins,
            attrs,
            outs,
            tuple(shape),
        )
        self.dead = False
        self.form: Any = None


class Group:
    """Nodes of one kernel. extents: the domain's axes (each > 1); reduced: the axes a reduction removes, or None."""

    __slots__ = ("buffers", "extents", "fixed", "index", "loads", "nodes", "opaque", "order", "reduced")

    def __init__(self, index: int, extents: tuple[int, ...], opaque: PNode | None = None):
        self.index, self.extents, self.opaque = index, extents, opaque
        self.reduced: frozenset[int] | None = None
        self.nodes: list[
            tuple[PNode, tuple[int, ...]]
        ] = []  # with the axis of each dimension of the node's shape
        self.buffers: set[int] = set()
        self.order: tuple[int, ...] = ()  # the reduced axes, outermost first
        self.fixed = self.loads = False  # loads: it reads memory


class Builder:
    """Expands instructions into nodes."""

    def __init__(self) -> None:
        self.nodes: list[PNode] = []
        self.bufs: list[PBuf] = []
        self.by_sid: dict[int, PBuf] = {}
        self.seen: dict[Any, PNode] = {}
        self.written: set[int] = set()  # slots that are written in place: their storages are nobody else's

    def buffer(self, shape: Any, strides: Any, dtype: Any, sid: int = -1) -> PBuf:
        buf = PBuf(len(self.bufs), shape, strides, dtype, sid)
        self.bufs.append(buf)
        if sid >= 0:
            self.by_sid[sid] = buf
        return buf

    def external(self, sid: int, operand: Any, number: bool) -> PBuf:
        buf = self.by_sid.get(sid)
        if buf is None:
            buf = self.buffer((), (), operand.dtype, sid)
            buf.bytes_exist, buf.number = True, number
            buf.inline = 1 if number else 0
            buf.mat = not number
        return buf

    def instruction(self, form: Any, line: Sequence[int], kept: Any, is_number: Any) -> None:
        """Add one form; line: its slot numbers as recorded; kept(sid): whether the storage outlives the flush."""
        operands: list[tuple[PBuf, int]] = []
        at = 0
        trace = form.trace
        for operand in trace.operands:
            sid = line[at]
            at += 1
            offslot = -1
            if sid < 0:
                sid, offslot = ~sid, line[at]
                at += 1
            operands.append((self.external(sid, operand, is_number(sid)), offslot))
        made: dict[int, PBuf] = {}
        for i, v in enumerate(form.out_vals):
            buf = self.buffer(v.buf.shape, v.buf.strides, v.buf.dtype, line[at + i])
            buf.kept = kept(line[at + i])
            made[id(v.buf)] = buf
        for node in trace.nodes:
            self.node(node, operands, made, form)

    def node(self, g: GNode, operands: list[tuple[PBuf, int]], made: dict[int, PBuf], form: Any) -> None:
        ins = [self.value(v, operands, made) for v in g.ins]
        shape = g.outs[0].shape if g.outs else (ins[0].shape if ins else ())
        key: Any = None
        promised = [made.get(id(b)) for b in g.outs]
        pure = g.kind not in ("store", "empty") and not (
            g.kind == "opaque" and (opaque_writes(g) or not g.outs)
        )
        if pure and not any(p is not None and (p.kept or p.sid in self.written) for p in promised):
            key = (g.kind, g.op, g.attrs, tuple(shape), g.outs[0].dtype, *[v.key for v in ins])
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
        src = v.buf.src
        if isinstance(src, int):
            buf, offslot = operands[src]
            return PVal(buf, v.shape, v.strides, v.off, offslot)
        return PVal(made[id(v.buf)], v.shape, v.strides, v.off)


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
            keep = bool(opaque_writes(node)) or any(b.kept or b.id in needed for b in node.outs)
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


def overlap(a: PVal, b: PVal) -> bool:
    """Whether two views of one buffer may share memory (by their ranges; offsets unknown at planning time: yes)."""
    if a.offslot != b.offslot:
        return True
    lo_a, hi_a = a.off, extent_bytes(a.shape, a.strides, a.off)
    lo_b, hi_b = b.off, extent_bytes(b.shape, b.strides, b.off)
    if hi_a <= lo_b or hi_b <= lo_a:
        return False
    if a.strides == b.strides and a.strides and numel(a.shape) and numel(b.shape):
        # slices of one tensor along one dimension: disjoint columns of the same rows
        for d, s in enumerate(a.strides):
            inner = 1 + sum(
                (n - 1) * t for e, (n, t) in enumerate(zip(a.shape, a.strides)) if e != d and t < s
            )
            if s >= inner and all(t >= s * 1 for e, t in enumerate(a.strides) if e < d):
                rest_a, rest_b = a.off % s, b.off % s
                width_a = 1 + sum((n - 1) * t for n, t in zip(a.shape, a.strides) if t < s)
                width_b = 1 + sum((n - 1) * t for n, t in zip(b.shape, b.strides) if t < s)
                fits = rest_a + width_a <= s and rest_b + width_b <= s
                if fits and (rest_a + width_a <= rest_b or rest_b + width_b <= rest_a):
                    return False
    return True


def alignment(v: PVal) -> tuple[int, ...] | None:
    """For each dimension of a view, the dimension of its buffer that it walks (-1: none), or None if it is no such view."""
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


class Scheduler:
    """Puts nodes into groups. Those without effects wait until something needs them, and then go where that goes."""

    def __init__(self) -> None:
        self.groups: list[Group] = []
        self.recent: dict[tuple[int, ...], Group] = {}
        self.waiting: dict[int, tuple[int, PNode]] = {}  # result -> (when it came, node)
        self.waiting_on: dict[int, list[int]] = {}  # buffer -> results of waiting nodes that read it
        self.checked = -1  # the last group with a check: memory that had its bytes is written after it
        self.stored = -1  # the last group that writes such memory: later checks come after it

    def run(self, nodes: list[PNode]) -> list[Group]:
        for node in nodes:
            if node.kind in ("const", "number"):
                node.outs[0].inline = 1
                if node.outs[0].kept:
                    self.place(node)
            elif node.kind == "empty":
                node.outs[0].mat = True
            elif 0 in node.shape and node.kind != "reduce" and node.kind != "opaque":
                continue
            elif node.kind == "opaque":
                self.place_opaque(node)
            else:
                cost = self.inline_cost(node)
                if cost:
                    node.outs[0].inline = cost
                    if node.outs[0].kept:
                        self.place(node)
                elif node.kind in ("map", "reduce", "take"):
                    self.wait(node)
                else:
                    self.place(node)
        for out, (_, node) in list(self.waiting.items()):
            if node.outs[0].kept and out in self.waiting:
                self.place(node)
        for _, node in list(self.waiting.values()):
            self.place(node)
        return self.groups

    def wait(self, node: PNode) -> None:
        self.waiting[node.outs[0].id] = len(self.waiting_on), node
        self.waiting_on[node.outs[0].id] = []
        for v in node.ins:
            if not v.buf.inline:
                self.waiting_on.setdefault(v.buf.id, []).append(node.outs[0].id)

    def before_write(self, v: PVal) -> None:
        """Nodes that still wait to read what is about to be written."""
        for out in self.waiting_on.get(v.buf.id, ()):
            if out in self.waiting:
                self.place(self.waiting[out][1])

    def place_checks(self) -> None:
        """Indexed reads may fail: they come before writes that cannot be undone, with all that waits for them."""
        marked: dict[int, PNode] = {}
        inner: set[int] = set()
        for out, (_, node) in self.waiting.items():
            read = {v.buf.id for v in node.ins} & marked.keys()
            if read or node.kind == "take":
                marked[out] = node
                inner |= read
        for out, node in marked.items():
            if out not in inner and out in self.waiting:
                self.place(node)

    def demand(self, node: PNode) -> Group | None:
        """Place the waiting nodes that lead to this one, together if they fit; the group of the last."""
        found: dict[int, tuple[int, PNode]] = {}
        todo = [node]
        while todo:
            for v in todo.pop().ins:
                item = self.waiting.pop(v.buf.id, None)
                if item is not None:
                    found[v.buf.id] = item
                    todo.append(item[1])
        hint = self.latest(node) if found else None
        for _, waited in sorted(found.values(), key=lambda item: item[0]):
            hint = self.settle(waited, hint)
        return hint

    def inline_cost(self, node: PNode) -> int:
        """> 0 if the node is a scalar that every reader recomputes: numbers, constants, few operations."""
        if node.kind == "index":
            return 1
        if node.kind != "map" or numel(node.shape) != 1:
            return 0
        cost = 1
        for v in node.ins:
            if not v.buf.inline:
                return 0
            cost += v.buf.inline
        return cost if cost <= INLINE_COST else 0

    def place_opaque(self, node: PNode) -> None:
        lo = 0
        writes = opaque_writes(node)
        self.place_checks()
        for i in writes:
            self.before_write(node.ins[i])
        self.demand(node)
        for i, v in enumerate(node.ins):
            self.materialise(v)
            lo = max(lo, self.after_writes(v), self.after_accesses(v) if i in writes else 0)
        group = self.new_group((), node, lo)
        if node.op == "scatter":
            self.checked = group.index
        for i, v in enumerate(node.ins):
            if i in writes:
                if v.buf.bytes_exist:
                    self.stored = group.index
                v.buf.writes.append((group, v, (), None))
            else:
                v.buf.reads.append((group, v, ()))
        for buf in node.outs:
            buf.mat, buf.group = True, group
            buf.writes.append((group, PVal(buf, buf.shape, buf.strides, 0), (), None))

    def materialise(self, v: PVal) -> None:
        """v must have memory: its producer stores it."""
        buf = v.buf
        if buf.mat:
            return
        buf.mat = True
        if buf.id in self.waiting:
            self.place(self.waiting[buf.id][1])
        if buf.inline and buf.node is not None and not buf.bytes_exist:
            cost = buf.inline
            self.place(buf.node)
            buf.inline = cost  # earlier groups read it, too: they go on computing it themselves

    def after_writes(self, v: PVal) -> int:
        lo = v.buf.group.index + 1 if v.buf.group is not None and not v.buf.writes else 0
        for group, w, _, _ in v.buf.writes:
            if group.index + 1 > lo and overlap(w, v):
                lo = group.index + 1
        return lo

    def after_accesses(self, v: PVal) -> int:
        lo = self.after_writes(v)
        for group, r, _ in v.buf.reads:
            if group.index + 1 > lo and overlap(r, v):
                lo = group.index + 1
        return lo

    # --- map, reduce, take, store ---------------------------------------------------------------------------------

    def place(self, node: PNode) -> None:
        for out in node.outs:
            self.waiting.pop(out.id, None)
        if node.kind == "store" and node.ins[0].buf.bytes_exist:
            self.place_checks()
        hint = self.demand(node)
        if node.kind == "store":
            self.before_write(node.ins[0])
        self.settle(node, hint)

    def settle(self, node: PNode, hint: Group | None) -> Group:
        if node.kind == "take":
            self.materialise(node.ins[0])
        group, at = self.best_group(node, hint)
        if group is None:
            group, at = self.open_group(node)
        self.add(node, group, at)
        return group

    def latest(self, node: PNode) -> Group | None:
        """The latest group that the node could fuse with."""
        latest: Group | None = None
        for v in self.reading(node):
            group = v.buf.group
            if v.buf.writes:
                group = max((w[0] for w in v.buf.writes), key=lambda g: g.index)
            if group is not None and (latest is None or group.index > latest.index):
                latest = group
        return latest

    def reading(self, node: PNode) -> list[PVal]:
        return [v for v in (node.ins[1:] if node.kind == "store" else node.ins) if not v.buf.inline]

    def best_group(self, node: PNode, hint: Group | None) -> tuple[Group | None, tuple[int, ...]]:
        latest = self.latest(node)
        domain = self.domain(node)
        recent = self.recent.get(domain)
        candidates = [latest, hint, recent if recent is not None and self.related(node, recent) else None]
        for group in candidates:
            if (
                group is None
                or group.opaque is not None
                or len(group.nodes) >= MAX_NODES
                or len(group.buffers) >= MAX_BUFFERS
            ):
                continue
            at = self.fits(node, group)
            if at is not None:
                return group, at
        return None, ()

    def related(self, node: PNode, group: Group) -> bool:
        """Whether they share memory: what has nothing in common is better a kernel of its own, which others share."""
        if any(v.buf.group is group or v.buf.id in group.buffers for v in node.ins):
            return True
        return not group.loads and bool(self.reading(node))  # a group that only fills memory is open to all

    def domain(self, node: PNode) -> tuple[int, ...]:
        shape = node.ins[0].shape if node.kind == "reduce" else node.shape
        return tuple([n for n in shape if n > 1])

    def fits(self, node: PNode, group: Group) -> tuple[int, ...] | None:
        """The axis of each dimension of the node's iteration shape if it can join the group, else None."""
        shape = node.ins[0].shape if node.kind == "reduce" else node.shape
        axis = [-1] * len(shape)
        for v in self.reading(node):
            link = self.link(v, group, node)
            if link is None:
                return None
            for d, a in enumerate(link):
                if a >= 0:
                    if axis[d] >= 0 and axis[d] != a:
                        return None
                    axis[d] = a
        free = [a for a in range(len(group.extents)) if a not in axis]
        for d, n in enumerate(shape):
            if n > 1 and axis[d] < 0:
                a = next((a for a in free if group.extents[a] == n), -1)
                if a < 0:
                    return None
                axis[d] = a
                free = [b for b in free if b != a]
        used = [a for a in axis if a >= 0]
        if len(set(used)) != len(used):
            return None
        level = self.level_of(used, group)
        if level is None or not self.admits(node, group, axis, level):
            return None
        return tuple(axis)

    def level_of(self, used: list[int], group: Group) -> int | None:
        if len(used) == len(group.extents):
            return 2
        if group.reduced is not None and set(used) == set(range(len(group.extents))) - group.reduced:
            return 1
        return None

    def admits(self, node: PNode, group: Group, axis: list[int], level: int) -> bool:
        if node.kind == "reduce":
            order = tuple([axis[d] for d in node.attrs if axis[d] >= 0])
            removed = frozenset(order)
            if level != 2 or not removed or group.order not in ((), order):
                return False  # the order of a reduction is that of its own dimensions
            if group.reduced is None:
                if group.fixed:
                    return False
                return True
            return group.reduced == removed
        if node.kind == "take" and (node.ins[0].buf.group is group or group.index <= self.stored):
            return False
        if node.kind == "take" and any(
            w[0] is group or w[0].index >= group.index for w in node.ins[0].buf.writes
        ):
            return False
        if node.kind == "store":
            return self.store_fits(node, group, axis)
        return True

    def store_fits(self, node: PNode, group: Group, axis: list[int]) -> bool:
        dest = node.ins[0]
        if dest.buf.bytes_exist and group.index <= self.checked:
            return False
        if 0 in [s for s, n in zip(dest.strides, dest.shape) if n > 1]:
            return False
        maker = dest.buf.group
        if maker is not None and maker.index > group.index:
            return False
        if maker is group:
            dims = alignment(dest)
            if dims is None or axis != [dest.buf.at[d] if d >= 0 else -1 for d in dims]:
                return False
        for other, v, at in dest.buf.reads:
            if other.index > group.index and overlap(v, dest):
                return False
            if other is group and overlap(v, dest) and not (v.view == dest.view and at == tuple(axis)):
                return False
        for other, w, at, _ in dest.buf.writes:
            if other.index > group.index and overlap(w, dest):
                return False
            if other is group and overlap(w, dest) and not (w.view == dest.view and at == tuple(axis)):
                return False
        return True

    def link(self, v: PVal, group: Group, node: PNode) -> tuple[int, ...] | None:
        """How an input lies in the group: axes of its dimensions (-1: free), or None if it cannot be read there."""
        buf = v.buf
        nothing = (-1,) * len(v.shape)
        taken_from = node.kind == "take" and v is node.ins[0]
        if buf.writes:
            last = max((w for w in buf.writes if overlap(w[1], v)), key=lambda w: w[0].index, default=None)
            if last is None or last[0].index < group.index:
                return () if taken_from else nothing
            if last[0] is not group or last[1].view != v.view or taken_from:
                return None
            if any(
                w[0] is group and w is not last and overlap(w[1], v) and w[1].view != v.view
                for w in buf.writes
            ):
                return None
            return tuple([a if n > 1 else -1 for a, n in zip(last[2], v.shape)])
        if buf.group is None or buf.group.index < group.index:
            return () if taken_from else nothing
        if buf.group is not group or taken_from:
            return None
        dims = alignment(v)
        if dims is None:
            return None
        return tuple([buf.at[d] if d >= 0 else -1 for d in dims])

    def open_group(self, node: PNode) -> tuple[Group, tuple[int, ...]]:
        lo = 0
        for v in self.reading(node):
            lo = max(lo, self.after_writes(v))
        if node.kind == "store":
            lo = max(lo, self.after_accesses(node.ins[0]))
        shape = node.ins[0].shape if node.kind == "reduce" else node.shape
        at, extents = [], []
        for n in shape:
            at.append(len(extents) if n > 1 else -1)
            if n > 1:
                extents.append(n)
        return self.new_group(tuple(extents), None, lo), tuple(at)

    def new_group(self, extents: tuple[int, ...], opaque: PNode | None, lo: int) -> Group:
        group = Group(len(self.groups), extents, opaque)
        self.groups.append(group)
        if opaque is None:
            self.recent[extents] = group
        return group

    def add(self, node: PNode, group: Group, at: tuple[int, ...]) -> None:
        for v in node.ins if node.kind != "store" else node.ins[1:]:
            buf = v.buf
            if buf.inline:
                self.inline_reads(buf, group)
                continue
            if not (buf.group is group or any(w[0] is group for w in buf.writes)):
                if buf.group is not None and not buf.mat:
                    buf.mat = True
                buf.reads.append((group, v, at))
                group.buffers.add(buf.id)
                group.loads = True
        group.nodes.append((node, at))
        if node.kind == "take":
            self.checked = max(self.checked, group.index)
        if node.kind == "reduce":
            order = tuple([at[d] for d in node.attrs if at[d] >= 0])
            if order:
                group.reduced, group.order = frozenset(order), order
            kept = [a for d, a in enumerate(at) if d not in node.attrs]
            out = node.outs[0]
            out.group, out.at, out.level = group, tuple(kept), 1
        elif node.kind == "store":
            dest, value = node.ins
            dest.buf.mat = True
            dest.buf.writes.append((group, dest, at, value))
            if dest.buf.bytes_exist:
                self.stored = max(self.stored, group.index)
            group.buffers.add(dest.buf.id)
        else:
            out = node.outs[0]
            out.group, out.at = group, at
            used = [a for a in at if a >= 0]
            out.level = 2 if len(used) == len(group.extents) and not (group.reduced and not used) else 1
            out.inline = 0
        for out in node.outs:
            if out.kept:
                out.mat = True
                group.buffers.add(out.id)

    def inline_reads(self, buf: PBuf, group: Group) -> None:
        if buf.bytes_exist and not buf.number:
            group.buffers.add(buf.id)
