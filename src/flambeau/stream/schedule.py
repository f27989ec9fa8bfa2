"""From nodes to groups: each group becomes one kernel.

Nodes are gathered greedily, as they are needed, into groups that share an iteration domain:

* the domain of a group is a list of axes; a reduction splits them into kept and reduced ones;
* a value of the group has all axes (full) or exactly the kept ones (row);
* a value may be read inside its group only element by element; any other reader belongs to a later group;
* an in-place store comes in a group not before that of any earlier access to the same memory.

The work is linear in the number of nodes.
"""

from __future__ import annotations

from ..loop.recipes.nest import CHUNK
from ..shapes import numel
from .axes import removed
from .casts import repeated
from .endings import endings
from .lifetimes import size_of, temporary
from .nodes import Group, PBuf, PNode, PVal, alignment, crosses, opaque_writes
from .order import Proofs

MAX_NODES = 160
MAX_BUFFERS = 40
INLINE_COST = 8
HEAVY = 1 << 14
APART = 8  # times that an operand is repeated which is better computed before
MANY = 2  # large values that were put together in memory: what stands for so many waits no longer


def inline_cost(node: PNode) -> int:
    """> 0 if the node is a scalar that every reader recomputes: numbers, constants, few operations. What is written
    later (`total = zeros(1)`, `total += loss`) lies in memory."""
    if node.kind not in ("const", "index", "map") or node.outs[0].version:
        return 0
    if node.kind != "map":
        return 1
    if numel(node.shape) != 1:
        return 0
    cost = 1
    for v in node.ins:
        if not v.buf.inline:
            return 0
        cost += v.buf.inline
    return cost if cost <= INLINE_COST else 0


def reduced_whole(group: Group) -> bool:
    """Whether a group reduces so many elements to one that threads share them, which none does in a second pass."""
    whole = group.reduced is not None and len(group.reduced) == len(group.extents)
    return whole and numel(group.extents) > 2 * CHUNK


class Scheduler:
    """Puts nodes into groups. Those without effects wait until something needs them, and then go where that goes."""

    def __init__(self) -> None:
        self.groups: list[Group] = []
        self.recent: dict[tuple[int, ...], Group] = {}
        self.waiting: dict[int, tuple[int, PNode]] = {}  # result -> (when it came, node)
        self.waiting_on: dict[int, list[int]] = {}  # buffer -> results of waiting nodes that read it
        self.after: dict[int, int] = {}  # result of a node that waited -> the group that it does not precede
        self.standing: dict[int, int] = {}  # result of a waiting node -> how many such values it stands for
        self.heavy: list[int] = []  # reductions of large values that wait
        self.takes: set[int] = set()  # results of indexed reads that have waited
        self.proofs = Proofs()
        self.endings: set[int] = set()  # results of work that goes with a product: see endings.py
        self.terms: set[int] = set()  # products that are added to others, and their sums: see endings.py
        self.checked = -1  # the last group with a check: memory that had its bytes is written after it
        self.stored = -1  # the last group that writes such memory: later checks come after it

    def run(self, nodes: list[PNode]) -> list[Group]:
        """The groups of the nodes, in an order in which they may run."""
        nodes = repeated(nodes)
        self.endings, self.terms = endings(nodes)
        for node in nodes:
            if node.kind == "empty":
                node.outs[0].mat = True
            elif 0 in node.shape and node.kind != "reduce" and node.kind != "opaque":
                continue
            elif node.kind == "opaque":
                self.place_opaque(node)
            else:
                cost = inline_cost(node)
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
        """Put a node off until something reads it."""
        if node.kind == "reduce" and numel(node.ins[0].shape) >= HEAVY:
            self.heavy.append(node.outs[0].id)
        if node.kind == "take":
            self.takes.add(node.outs[0].id)
            self.proofs.note(node)
        latest = self.latest(node)
        behind = [-1 if latest is None else latest.index, *[self.after.get(v.buf.id, -1) for v in node.ins]]
        self.after[node.outs[0].id] = max(behind)
        self.waiting[node.outs[0].id] = len(self.waiting_on), node
        self.waiting_on[node.outs[0].id] = []
        for v in node.ins:
            if not v.buf.inline:
                self.waiting_on.setdefault(v.buf.id, []).append(node.outs[0].id)
        many = sum([self.stands_for(v.buf) for v in node.ins]) if node.kind == "map" else 0
        self.standing[node.outs[0].id] = many
        if many >= MANY:
            self.place(node)

    def stands_for(self, buf: PBuf) -> int:
        """How many large temporaries stay in memory for a value that waits, or is one: gradients that were put in their
        places one by one, or products of one weight each, would all be there until their sum is asked for."""
        if buf.id in self.waiting:
            return self.standing[buf.id]
        assembled = buf.writes and buf.node is not None and buf.node.kind == "empty"
        large = bool(assembled or buf.id in self.terms) and temporary(buf) and numel(buf.shape) >= HEAVY
        return int(large)

    def before_write(self, v: PVal) -> None:
        """Nodes that still wait to read what is about to be written."""
        readers = self.waiting_on.get(v.buf.id)
        if readers:
            self.waiting_on[v.buf.id] = []  # none of them waits when the next write comes
            for out in readers:
                if out in self.waiting:
                    self.place(self.waiting[out][1])

    def place_checks(self) -> None:
        """Indexed reads may fail: they come before writes that cannot be undone, with all that waits for them."""
        self.takes = {out for out in self.takes if out in self.waiting}
        if not self.takes:
            return
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
        if not found:
            return None
        hint = self.latest(node)
        waiting = [waited for _, waited in sorted(found.values(), key=lambda item: item[0])]
        waiting.sort(key=lambda waited: not self.is_apart(waited, node, found))
        floors, latest = self.floors([*waiting, node])
        self.keep_less(waiting, floors, latest)
        for waited in waiting:
            hint = self.settle(waited, hint, floors[waited.outs[0].id])
        return hint

    def is_apart(self, node: PNode, reader: PNode, found: dict[int, tuple[int, PNode]]) -> bool:
        """Whether a node made of nothing else that waits (a bias that is cast) is a kernel of its own beside its
        reader, which repeats it: it comes before the group that needs it, and does not cut that in two."""
        less = node.kind == "map" and numel(node.shape) * APART <= numel(self.domain(reader))
        return less and self.latest(node) is None and not any(v.buf.id in found for v in node.ins)

    def keep_less(self, nodes: list[PNode], floors: dict[int, int], latest: dict[int, int]) -> None:
        """Where groups would store more until the readers of these nodes come than what the nodes are computed from,
        they store that."""
        early: dict[int, dict[int, PNode]] = {}  # group -> what it could compute before it is read, by result
        readers: dict[int, set[int]] = {}  # of each value, by their results
        for node in nodes:
            out = node.outs[0].id
            for v in node.ins:
                readers.setdefault(v.buf.id, set()).add(out)
            if node.kind == "map" and 0 <= latest[out] < min(floors[out], len(self.groups)):
                early.setdefault(latest[out], {})[out] = node
        for at, found in early.items():
            read = {v.buf.id: v.buf for node in found.values() for v in self.reading(node)}
            given = [
                b for out, b in read.items() if out not in found and not self.is_stored(b, self.groups[at])
            ]
            inner = {out for out in found if readers.get(out, set()) <= found.keys()}
            left = [x.outs[0] for out, x in found.items() if out not in inner or out not in read]
            more = [b for b in given if not self.is_wanted(b, at)]
            if given and sum(map(size_of, more)) < sum(map(size_of, left)):
                for buf in given:
                    self.materialise(PVal(buf, buf.shape, buf.strides, 0))

    def is_wanted(self, buf: PBuf, at: int) -> bool:
        """Whether something that waits will read a buffer after group number `at`: then it is stored in any case."""
        return any(out in self.waiting and self.after[out] > at for out in self.waiting_on.get(buf.id, ()))

    def floors(self, nodes: list[PNode]) -> tuple[dict[int, int], dict[int, int]]:
        """For each result of nodes in order, the group after which all its readers among them come, and its own."""
        latest: dict[int, int] = {}
        for node in nodes:
            group = self.latest(node)
            last = -1 if group is None else group.index
            if node.kind == "reduce" and group is not None and (group.fixed or group.opaque is not None):
                last = len(self.groups)  # it opens one, which nothing is stored for yet
            if node.kind == "store" and node.ins[0].buf.bytes_exist:
                last = max(last, self.checked + 1)  # what cannot be undone comes after what may fail
            for v in node.ins:
                last = max(last, latest.get(v.buf.id, -1))
            latest[id(node)] = last
            for out in node.outs:
                latest[out.id] = last
        floors: dict[int, int] = {}
        for node in reversed(nodes):
            after = latest[id(node)]
            for out in node.outs:
                after = max(after, floors.get(out.id, -1))
            for v in node.ins:
                floors[v.buf.id] = min(after, floors.get(v.buf.id, after))
        return floors, latest

    def place_opaque(self, node: PNode) -> None:
        """Give an opaque node a group of its own."""
        lo = 0
        writes = opaque_writes(node)
        self.place_checks()
        for i in writes:
            self.before_write(node.ins[i])
        self.demand(node)
        self.lighten()
        for i, v in enumerate(node.ins):
            self.materialise(v)
            lo = max(lo, self.after_writes(v), self.after_accesses(v) if i in writes else 0)
        group = self.new_group((), node, lo)
        if node.op in ("external", "bags") or (node.op == "scatter" and not self.proofs.holds(node)):
            self.check(group)
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

    def check(self, group: Group) -> None:
        """A group may fail."""
        group.checked = True
        self.checked = max(self.checked, group.index)

    def lighten(self) -> None:
        """Reductions of large values do not wait for long: what they read would stay in memory for them."""
        heavy, self.heavy = self.heavy, []
        for out in heavy:
            if out in self.waiting:
                self.place(self.waiting[out][1])

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
        """The first group that may read v."""
        lo = v.buf.group.index + 1 if v.buf.group is not None and not v.buf.writes else 0
        for group, *_ in v.buf.writes.meeting(v, lo, rising=True):
            lo = max(lo, group.index + 1)
        return lo

    def after_accesses(self, v: PVal) -> int:
        """The first group that may write v."""
        lo = self.after_writes(v)
        for group, *_ in v.buf.reads.meeting(v, lo, rising=True):
            lo = max(lo, group.index + 1)
        return lo

    # --- map, reduce, take, store ---------------------------------------------------------------------------------

    def place(self, node: PNode) -> None:
        """Put a node into the best group there is, or open one."""
        for out in node.outs:
            self.waiting.pop(out.id, None)
        if node.kind == "store" and node.ins[0].buf.bytes_exist:
            self.place_checks()
        hint = self.demand(node)
        if node.kind == "store":
            self.before_write(node.ins[0])
        self.settle(node, hint)

    def settle(self, node: PNode, hint: Group | None, floor: int = -1) -> Group:
        """floor: the number of a group that all readers of the node come after."""
        if node.kind == "take":
            self.materialise(node.ins[0])
        group, at = self.best_group(node, hint, floor)
        if group is None:
            group, at = self.open_group(node)
        self.add(node, group, at)
        return group

    def is_early(self, node: PNode, group: Group, floor: int) -> bool:
        """Whether a group would have to store the node until its reader comes, while its inputs are stored anyway."""
        return (
            group.index < floor
            and node.kind == "map"
            and all(self.is_stored(v.buf, group) for v in self.reading(node))
        )

    def is_stored(self, buf: PBuf, group: Group) -> bool:
        """Whether a buffer has memory, whatever else a group computes. A product that only this group reads, element by
        element, may be computed there (see fusion.py)."""
        made = buf.node
        product = (
            made is not None and made.kind == "opaque" and made.op == "contract" and group.reduced is None
        )
        if product and not buf.kept and buf.reads.groups <= {group.index}:
            return False
        return buf.mat or buf.bytes_exist

    def latest(self, node: PNode) -> Group | None:
        """The latest group that the node could fuse with."""
        latest: Group | None = None
        for v in self.reading(node):
            group = v.buf.group
            if v.buf.writes:
                group = v.buf.writes.latest
            if group is not None and (latest is None or group.index > latest.index):
                latest = group
        return latest

    def reading(self, node: PNode) -> list[PVal]:
        """The operands that a node loads."""
        return [v for v in (node.ins[1:] if node.kind == "store" else node.ins) if not v.buf.inline]

    def best_group(
        self, node: PNode, hint: Group | None, floor: int = -1
    ) -> tuple[Group | None, tuple[int, ...]]:
        """(the group that a node fits best, its axes), or (None, ()). floor: see `settle`."""
        latest = self.latest(node)
        for group in (latest, hint):
            at = self.room(node, group, floor)
            if group is not None and at is not None:
                return group, at
        recent = self.recent.get(self.domain(node))
        if recent is not None and recent is not latest and recent is not hint and self.related(node, recent):
            at = self.room(node, recent, floor)
            if at is not None:
                return recent, at
        return None, ()

    def room(self, node: PNode, group: Group | None, floor: int) -> tuple[int, ...] | None:
        """The axes of a node in a group that it may join, or None. floor: see `settle`."""
        if (
            group is None
            or group.opaque is not None
            or len(group.nodes) >= MAX_NODES
            or len(group.buffers) >= MAX_BUFFERS
            or self.is_early(node, group, floor)
            or (group.reduced is not None and node.kind == "map" and node.outs[0].id in self.endings)
        ):
            return None
        at = self.beside(node, group) if node.kind == "map" else None
        return self.fits(node, group) if at is None else at

    def beside(self, node: PNode, group: Group) -> tuple[int, ...] | None:
        """The usual case of `fits`: the axes of a scalar operation on whole values of a group, which lie alike there,
        and on memory that nobody writes; None: `fits` has to find out."""
        at: tuple[int, ...] | None = None
        for v in node.ins:
            buf = v.buf
            if buf.inline:
                continue
            if buf.writes:
                return None
            if buf.group is not group:
                if buf.group is not None and buf.group.index > group.index:
                    return None
            elif v.off or v.offslot >= 0 or v.shape != buf.shape or v.strides != buf.strides:
                return None
            elif at is None:
                at = buf.at
            elif at != buf.at:
                return None
        return at

    def related(self, node: PNode, group: Group) -> bool:
        """Whether they share memory: what has nothing in common is better a kernel of its own, which others share."""
        if any(v.buf.group is group or v.buf.id in group.buffers for v in node.ins):
            return True
        return not group.loads and bool(self.reading(node))  # a group that only fills memory is open to all

    def domain(self, node: PNode) -> tuple[int, ...]:
        """The extents a node runs over."""
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
        if (
            level == 2
            and reduced_whole(group)
            and any(v.buf.group is group and v.buf.level == 1 for v in self.reading(node))
        ):
            return None
        return tuple(axis)

    def level_of(self, used: list[int], group: Group) -> int | None:
        """How many of a group's axes the used ones are, if they can be nested; None if not."""
        if len(used) == len(group.extents):
            return 2
        if group.reduced is not None and set(used) == set(range(len(group.extents))) - group.reduced:
            return 1
        return None

    def admits(self, node: PNode, group: Group, axis: list[int], level: int) -> bool:
        """Whether a node may join a group at these axes."""
        if node.kind == "reduce":
            order = removed(axis, node.attrs)
            if level != 2 or not order or group.order not in ((), order):
                return False  # the order of a reduction is that of its own dimensions
            return group.reduced is not None or not group.fixed
        if node.kind == "take" and (node.ins[0].buf.group is group or group.index <= self.stored):
            return False
        if node.kind == "take" and node.ins[0].buf.writes:
            return bool(node.ins[0].buf.writes.latest.index < group.index)
        if node.kind == "store":
            return self.store_fits(node, group, axis)
        return True

    def store_fits(self, node: PNode, group: Group, axis: list[int]) -> bool:
        """Whether a write may join: nothing in the group reads what it overwrites elsewhere."""
        dest = node.ins[0]
        if dest.buf.bytes_exist and group.index <= self.checked:
            return False
        if 0 in [s for s, n in zip(dest.strides, dest.shape) if n > 1]:
            return False
        looks = any(other.kind == "take" for other, _ in group.nodes)
        if (looks or group.reduced is not None) and crosses(dest, group, axis):
            return False
        maker = dest.buf.group
        if maker is not None and maker.index > group.index:
            return False
        if maker is group:
            dims = alignment(dest)
            if dims is None or axis != [dest.buf.at[d] if d >= 0 else -1 for d in dims]:
                return False
        for accesses in (dest.buf.reads, dest.buf.writes):
            for other, v, at, *_ in accesses.meeting(dest, group.index):
                if other is not group or v.view != dest.view or at != tuple(axis):
                    return False
        return True

    def link(self, v: PVal, group: Group, node: PNode) -> tuple[int, ...] | None:
        """How an input lies in the group: axes of its dimensions (-1: free), or None if it cannot be read there."""
        buf = v.buf
        nothing = (-1,) * len(v.shape)
        taken_from = node.kind == "take" and v is node.ins[0]
        if buf.writes:
            last = None
            for last in buf.writes.meeting(v, group.index):
                if last[0] is not group or last[1].view != v.view or taken_from:
                    return None
            if last is None:
                return () if taken_from else nothing
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
        """A group for a node that fits nowhere."""
        lo = 0
        for v in self.reading(node):
            lo = max(lo, self.after_writes(v))
        if node.kind == "store":
            lo = max(lo, self.after_accesses(node.ins[0]))
        shape = node.ins[0].shape if node.kind == "reduce" else node.shape
        at: list[int] = []
        extents: list[int] = []
        for n in shape:
            at.append(len(extents) if n > 1 else -1)
            if n > 1:
                extents.append(n)
        return self.new_group(tuple(extents), None, lo), tuple(at)

    def new_group(self, extents: tuple[int, ...], opaque: PNode | None, lo: int) -> Group:
        """An empty group, not before group number lo."""
        group = Group(len(self.groups), extents, opaque)
        self.groups.append(group)
        if opaque is None:
            self.recent[extents] = group
        return group

    def add(self, node: PNode, group: Group, at: tuple[int, ...]) -> None:
        """Enter a node into a group: its reads, writes and buffers."""
        for k, v in enumerate(node.ins if node.kind != "store" else node.ins[1:]):
            buf = v.buf
            if buf.inline:
                self.inline_reads(buf, group)
                continue
            if not (buf.group is group or group.index in buf.writes.groups):
                if buf.group is not None and not buf.mat:
                    buf.mat = True
                elsewhere = node.kind == "take" and k == 0  # no store fits beside what is read at an index
                buf.reads.append((group, v, None if elsewhere else at))
                group.buffers.add(buf.id)
                group.loads = True
        group.nodes.append((node, at))
        if node.kind == "take":
            self.check(group)
        if node.kind == "reduce":
            order = removed(at, node.attrs)
            if order:
                group.reduced, group.order = frozenset(a for some in order for a in some), order
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
            group.fixed |= out.id in self.endings
        for out in node.outs:
            if out.kept:
                out.mat = True
                group.buffers.add(out.id)

    def inline_reads(self, buf: PBuf, group: Group) -> None:
        """Enter what a buffer is computed from where that is computed again."""
        if buf.bytes_exist and not buf.number:
            group.buffers.add(buf.id)
