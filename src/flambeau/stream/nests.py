"""From a group of the schedule to a `Nest` (the kernel's identity) and what it is bound to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ..loop.recipes.accumulate import LANES
from ..loop.recipes.analysis import Nest, analysis, dependencies, expensive
from ..loop.recipes.nest import CHUNK, partial_results, partials
from ..loop.recipes.tile import across, room
from ..shapes import numel
from .axes import merged, orderless
from .bundles import PLAIN, bundles, classed, few, long_last, read_here_alone
from .constants import HELD, is_count, loosen
from .nodes import Group, PBuf, PNode, PVal, alignment
from .sharing import rows_shared, share, weight, work
from .within import give_turned, reduced_axes, touched, walk, ways

AROUND = 48 << 20  # bytes read and written that no cache holds until they are wanted again;
ACROSS = 24 << 20  # of a map that reads across: what it reads takes more of the caches
ROW = 64  # elements from which on that is asked for each row
SHORT = 12  # elements of a row that is no vector's work; twice as many where functions are taken of the only operand
BATCH = 32 << 10  # bytes of 16 rows that are near when they are wanted again
FEW = 8  # reductions that have scratch
ALONG = ("row", "batch")  # schedules whose lanes are elements of a row
BRIEF, SIMPLE = 24, 12  # so few rows have their sums in registers, if their elements take so little;
NEAR = 512  # of so few columns more rows: memory cannot run ahead of many long ones at once


class Bound:
    """One kernel launch: the nest, and for each parameter what fills it.

    bufs: (PBuf, element offset, slot of a run-time offset or -1); ints: extents and strides; numbers: slots.
    scratch: the type and number of elements of each.
    """

    __slots__ = (
        *(
            "bufs",
            "axes",
            "bytes",
            "checks",
            "extents",
            "ints",
            "modes",
            "nest",
            "numbers",
            "parts",
            "scratch",
            "title",
            "work",
        ),
    )

    def __init__(self) -> None:
        self.bufs: list[tuple[PBuf, int, int]] = []
        self.ints: list[int] = []
        self.numbers: list[Any] = []
        self.scratch: list[tuple[str, int]] = []
        self.checks: dict[int, tuple[Any, ...]] = {}
        self.nest: Any = None  # a Nest, from `NestBuilder.build` on
        self.extents: tuple[int, ...] = ()
        self.axes: tuple[int, ...] = ()  # of the group, one for each kept axis of the nest
        self.modes: tuple[str, ...] = ()  # of each access: "r", "w", "rw"
        self.work = self.bytes = 0
        self.parts = 1
        self.title = ""


class Access:
    """How a nest reads or writes a buffer: strides along the group's axes, mode, the storage it may overlap."""

    __slots__ = ("alias", "buf", "mode", "off", "offslot", "strides", "type")

    def __init__(self, v: PVal, strides: list[int], mode: str):
        self.buf, self.off, self.offslot, self.strides, self.mode = v.buf, v.off, v.offslot, strides, mode
        self.type = v.buf.dtype.short
        self.alias = False


class NestBuilder:
    """Turns a group into the nest of its kernel and what is bound to it."""

    def __init__(self, group: Group):
        self.group = group
        self.values: list[tuple[Any, ...]] = []
        self.known: dict[Any, int] = {}
        self.accesses: list[Access] = []
        self.access_ids: dict[Any, int] = {}
        self.stores: list[tuple[int, int]] = []
        self.of_buf: dict[int, int] = {}
        self.of_store: dict[Any, int] = {}
        self.ats: dict[int, tuple[int, ...]] = {}
        self.numbers: list[Any] = []
        self.pinned: set[int] = set()
        self.take_ints: dict[int, list[tuple[int, int]]] = {}
        self.unseen: set[int] = set()
        self.scattered: set[int] = set()  # accesses at an index that changes along the reduced axes
        self.checks: dict[int, tuple[Any, ...]] = {}

    def build(self) -> Bound:
        """The nest and its arguments."""
        self.unseen = read_here_alone(self.group)
        for node, at in self.group.nodes:
            self.node(node, at)
        self.loosen()
        return self.finish()

    def loosen(self) -> None:
        """Make arguments of constants that change from one kernel to the next."""
        loosen(self.values, self.numbers)

    def value(self, v: tuple[Any, ...]) -> int:
        """The number of a value; equal ones are one."""
        key = repr(v) if v[0] == "const" else v
        i = self.known.get(key)
        if i is None:
            i = self.known[key] = len(self.values)
            self.values.append(v)
        return i

    def access(self, v: PVal, at: tuple[int, ...], mode: str) -> int:
        """The number of an access; equal ones are one."""
        strides = [0] * len(self.group.extents)
        for d, a in enumerate(at):
            if a >= 0:
                strides[a] += v.strides[d]
        key = (v.buf.id, v.off, v.offslot, tuple(strides))
        i = self.access_ids.get(key)
        if i is None:
            i = self.access_ids[key] = len(self.accesses)
            self.accesses.append(Access(v, strides, mode))
        elif self.accesses[i].mode != mode:
            self.accesses[i].mode = "rw"
        return i

    def node(self, node: PNode, at: tuple[int, ...]) -> None:
        """Add the value that a node computes, or its store."""
        kind = node.kind
        if kind == "store":
            dest, value = node.ins
            i = self.read(value, at)
            if dest.buf.id not in self.unseen:
                self.store(i, self.access(dest, at, "w"))
            self.of_store[dest.buf.id, dest.view] = i
            return
        out = node.outs[0]
        if kind == "map":
            i = self.value(("map", node.op, out.dtype.short, *[self.read(v, at) for v in node.ins]))
        elif kind in ("const", "index"):
            i = self.inline(PVal(out, out.shape, out.strides, 0), at)
        elif kind == "reduce":
            source = self.read(node.ins[0], at)
            i = self.value(("reduce", node.op, source, out.dtype.short, node.ins[0].buf.dtype.short))
            at = tuple(a for d, a in enumerate(at) if d not in node.attrs)
        else:
            i = self.take(node, at)
        self.of_buf[out.id] = i
        self.ats[out.id] = at
        if out.mat or out.kept:
            self.store(i, self.access(PVal(out, out.shape, out.strides, 0), at, "w"))

    def store(self, value: int, access: int) -> None:
        """The last store counts: one before it may belong to a later pass over the elements."""
        self.stores = [(v, a) for v, a in self.stores if a != access]
        self.stores.append((value, access))

    def take(self, node: PNode, at: tuple[int, ...]) -> int:
        """Add an indexed read."""
        src = node.ins[0]
        indexed, dims, label = node.attrs
        strides = [0] * len(self.group.extents)
        for d in range(len(src.shape)):
            if d not in indexed and dims[d] is not None:
                a = at[dims[d]]
                if a >= 0:
                    strides[a] += src.strides[d]
        pairs = tuple((self.read(v, at), k) for k, v in enumerate(node.ins[1:]))
        straight = self.straight(src, [i for i, _ in pairs], indexed, strides)
        off, strides = (src.off, strides) if straight is None else straight
        key = ("take", src.key, off, tuple(strides))
        i = self.access_ids.get(key)
        if i is None:
            i = self.access_ids[key] = len(self.accesses)
            self.accesses.append(Access(src, strides, "r"))
            self.accesses[i].off = off
        if straight is not None:
            return self.value(("load", i))
        v = self.value(("take", i, pairs, label == "index", tuple(src.strides[d] == 1 for d in indexed)))
        self.take_ints[v] = [(src.shape[d], src.strides[d]) for d in indexed]
        for k, d in enumerate(indexed):
            self.checks[v + 1 + (k << 20)] = (label, src.shape[d], node.form, d)
        return v

    def straight(
        self, src: PVal, indices: list[int], dims: tuple[int, ...], strides: list[int]
    ) -> tuple[int, list[int]] | None:
        """(offset, strides) of an indexed read that walks a line within src: no index is looked at when it runs."""
        off, walked = src.off, list(strides)
        for i, d in zip(indices, dims):
            line = self.line(i)
            if line is None:
                return None
            start, steps = line
            ends = [(self.group.extents[a] - 1) * step for a, step in steps.items()]
            if (
                start + sum(min(0, e) for e in ends) < 0
                or start + sum(max(0, e) for e in ends) >= src.shape[d]
            ):
                return None
            off += start * src.strides[d]
            for a, step in steps.items():
                walked[a] += step * src.strides[d]
        return off, walked

    def line(self, i: int) -> tuple[int, dict[int, int]] | None:
        """A value as a whole number and how much it grows along each axis; None if it is not like that."""
        v = self.values[i]
        if v[0] == "index":
            return 0, {v[1]: 1}
        if v[0] == "const" and type(v[2]) is int:
            return v[2], {}
        if v[0] == "num":
            number = self.numbers[v[2]]
            if type(number) is not tuple:
                return None
            return number[1] if isinstance(number[1], int) else int(number[1]), {}  # it may be a symbol
        if v[0] != "map" or v[1] not in ("add", "sub") or v[2] != "i64":
            return None
        a, b = self.line(v[3]), self.line(v[4])
        if a is None or b is None:
            return None
        sign = 1 if v[1] == "add" else -1
        steps = {axis: a[1].get(axis, 0) + sign * b[1].get(axis, 0) for axis in {**a[1], **b[1]}}
        return a[0] + sign * b[0], steps

    def read(self, v: PVal, at: tuple[int, ...]) -> int:
        """The value of an operand: computed in the group, inlined, a number, or loaded."""
        buf = v.buf
        if (buf.inline and not buf.bytes_exist and buf.group is not self.group) or buf.number:
            return self.inline(v, at)
        forwarded = self.of_store.get((buf.id, v.view))
        if forwarded is not None:
            return forwarded
        made = self.of_buf.get(buf.id)
        if made is not None:
            return made
        return self.value(("load", self.access(v, at, "r")))

    def inline(self, v: PVal, at: tuple[int, ...]) -> int:
        """A scalar recomputed here: a number, a constant, a coordinate, or a few operations on such."""
        buf = v.buf
        if buf.number:
            if buf.sid not in self.numbers:
                self.numbers.append(buf.sid)
            return self.value(
                ("num", "f64" if buf.dtype.short == "f64" else buf.dtype.short, self.numbers.index(buf.sid))
            )
        node = buf.node
        assert node is not None
        if node.kind == "const":
            if is_count(node.attrs[0], buf.dtype.short):
                return self.count(node.attrs[0], buf.dtype.short)
            return self.value(("const", buf.dtype.short, node.attrs[0]))
        if node.kind == "index":
            dims = alignment(v)
            assert dims is not None
            d = dims.index(node.attrs[0]) if node.attrs[0] in dims else -1
            if d < 0 or at[d] < 0:
                return self.value(("const", "i64", 0))
            self.pinned.add(at[d])
            return self.value(("index", at[d]))
        return self.value(("map", node.op, buf.dtype.short, *[self.inline(w, ()) for w in node.ins]))

    def count(self, value: Any, type: str) -> int:
        """A constant that may have come from an extent (a mean's divisor) is an argument: other sizes, same kernel."""
        held = HELD[type]
        number = ("constant", value, held)
        if number not in self.numbers:
            self.numbers.append(number)
        read = self.value(("num", held, self.numbers.index(number)))
        return read if type in ("i64", "f64") else self.value(("map", "cast", type, read))

    # --- axes -----------------------------------------------------------------------------------------------------

    def finish(self, given: tuple[int, ...] | None = None) -> Bound:
        """Order the axes (as `given`, if it is) and put nest and arguments together."""
        kept, reduced = self.order_axes()
        self.relate_aliases()
        axes, points = self.in_order(self.merge(kept), reduced, given)
        if not axes and not reduced and self.one_of_many():
            axes = [(1, -1)]
        removed, within = reduced_axes(self, reduced)
        reduced = [a for _, a in removed]
        extents = [e for e, _ in axes + removed]
        columns = [walk(acc.strides, axes, removed, within) for acc in self.accesses]
        renumber = {a: k for k, (_, a) in enumerate(axes + removed + within)}
        self.values = [("index", renumber[v[1]]) if v[0] == "index" else v for v in self.values]
        mode = self.mode(len(axes), len(reduced), columns, extents)
        mode = self.across(extents, len(axes), bool(within)) if mode == "col" else mode
        bound = Bound()
        stash = self.stash(mode, len(axes), len(reduced), columns, extents)
        if mode == "row" and not within:
            mode = self.short(extents, columns, len(axes), bool(stash))
        self.keep_values(stash, mode, extents, columns, bound, len(axes))
        rows = [
            (a.type, "rw" if k in stash.values() else a.mode, a.alias) for k, a in enumerate(self.accesses)
        ]
        rows += [(kind, "rw", False) for kind, _ in bound.scratch]
        ints = list(extents)
        lane = len(extents) - 1 if mode in ALONG else len(axes) - 1
        together = self.bundles(columns, lane, stash.values()) if extents else []
        classes, numbers = classed(rows, columns, lane, {k for some in together for k in some}, points)
        ints += numbers + [n for v in sorted(self.take_ints) for pair in self.take_ints[v] for n in pair]
        ints += [e for e, _ in within]
        mode = self.crossed(mode, tuple(classes), extents, len(axes))
        bound.work = work(extents, -1 if mode in ALONG else len(axes) - 1, self.values)
        bound.nest = Nest(
            mode,
            len(axes),
            len(reduced),
            tuple(self.values),
            tuple(classes),
            tuple(self.stores),
            self.split(mode, extents, len(axes), points),
            tuple(stash),
            tuple(stash.values()),
            self.past(mode, extents, len(axes)),
            tuple(together),
            points if mode == "map" else 0,
            len(self.accesses) if mode == "row" and axes and bound.scratch else 0,
            len(within),
            *(ways(self, extents, columns, within) if mode == "row" and within else ()),
        )
        for _, types in partials(bound.nest):
            bound.scratch.extend((type, partial_results(extents, len(axes))) for type in types)
        bound.extents, bound.axes = tuple(extents), tuple(a for _, a in axes)
        share(bound, mode, columns)
        give_turned(bound, within)
        bound.bufs = [(acc.buf, acc.off, acc.offslot) for acc in self.accesses]
        bound.modes = tuple(acc.mode for acc in self.accesses)
        bound.ints, bound.numbers, bound.checks = ints, self.numbers, self.checks
        bound.title = self.title()
        bound.bytes = touched(self.accesses, columns, extents + [e for e, _ in within])
        return bound

    def one_of_many(self) -> bool:
        """Whether this scalar is one of the tensors of a list: it takes the kernel of the others."""
        forms = [n.form for n, _ in self.group.nodes if n.kind == "store"]
        return any(f is not None and len(f.writes) > 1 for f in forms) and not self.take_ints

    def title(self) -> str:
        """What the kernel is called in listings: its operations."""
        names: list[str] = []
        for node, _ in self.group.nodes:
            name = node.form.name if node.form is not None else node.op
            if not names or names[-1] != name:
                names.append(name)
        return "_".join(names[:4]) + (f"_{len(names)}" if len(names) > 4 else "")

    def order_axes(self) -> tuple[list[int], list[int]]:
        """(kept, reduced) axes, the innermost last, by their strides."""
        group = self.group
        removed = group.reduced or frozenset()
        kept = [a for a in range(len(group.extents)) if a not in removed]
        stores = [self.accesses[i] for _, i in self.stores]
        lead = stores[0] if stores else self.accesses[0] if self.accesses else None
        if removed:
            loads = [a for a in self.accesses if any(a.strides[r] for r in removed)]
            self.scattered = self.looked_up(removed) if self.take_ints else set()
            long = [a for a in kept if group.extents[a] >= LANES]
            rows = [self.accesses[k] for k in sorted(self.scattered)]
            rows = [acc for acc in rows if any(acc.strides[a] == 1 for a in long)]
            lead = next(iter(rows + loads), lead)
        if lead is not None and len(kept) > 1:
            kept.sort(key=lambda a: -lead.strides[a] if lead.strides[a] else -(2**62))
        reduced = [a for some in group.order for a in some]
        if lead is not None and len(reduced) > 1 and orderless(self.values):
            reduced.sort(key=lambda a: -lead.strides[a] if lead.strides[a] else -(2**62))
        return kept, reduced

    def merge(self, axes: list[int]) -> list[tuple[int, int]]:
        """Adjacent axes that every access walks as one: (extent, the axis whose strides count)."""
        return merged(axes, self.group.extents, self.accesses, self.pinned)

    def in_order(
        self, axes: list[tuple[int, int]], reduced: list[int], given: tuple[int, ...] | None
    ) -> tuple[list[tuple[int, int]], int]:
        """The kept axes as `given`, else in the best order for their extents; points of the last but one, if `few`."""
        if given is not None:
            axes = sorted(axes, key=lambda axis: given.index(axis[1]))
        if reduced or self.take_ints:
            return axes, 0
        if given is None:
            axes = long_last(self.accesses, axes)
        return few(self.accesses, axes, weight(self.values))

    def bundles(
        self, columns: list[list[int]], lane: int, homes: Iterable[int] = ()
    ) -> list[tuple[int, ...]]:
        """The bundles of this nest's accesses; none is read at an index or one of these homes of kept values."""
        others = {v[1] for v in self.values if v[0] == "take"}
        return bundles(self.accesses, columns, lane, others.union(homes))

    def relate_aliases(self) -> None:
        """Mark accesses to buffers that share memory with one that is written."""
        written = {acc.buf.id for acc in self.accesses if acc.mode != "r"}
        count: dict[int, int] = {}
        for acc in self.accesses:
            count[acc.buf.id] = count.get(acc.buf.id, 0) + 1
        for acc in self.accesses:
            acc.alias = acc.buf.id in written and count[acc.buf.id] > 1

    def mode(self, kept: int, reduced: int, columns: list[list[int]], extents: list[int]) -> str:
        """The schedule: "map", "row" or "col" ("tile" and "wide" are special cases)."""
        if not reduced:
            return "map"
        if not kept:
            return "row"
        inner_row = inner_col = 0
        close_row, close_col = (
            {k for some in self.bundles(columns, lane) for k in some}
            for lane in (kept + reduced - 1, kept - 1)
        )
        long = extents[kept - 1] >= LANES
        for k, (acc, strides) in enumerate(zip(self.accesses, columns)):
            if long and k in self.scattered:
                inner_col += strides[kept - 1] == 1
            if acc.mode == "w" and not any(strides[kept:]):
                continue
            size = 1 if any(strides[kept:]) else 0
            lanes = strides[kept + reduced - 1] or strides[-1]  # of the innermost axis, or the last within it
            inner_row += size * (lanes in (0, 1) or k in close_row)
            inner_col += size * (strides[kept - 1] in (0, 1) or k in close_col)
        return "col" if inner_col > inner_row else "row"

    def looked_up(self, removed: Iterable[int]) -> set[int]:
        """Accesses that are read at an index which changes along these axes: at another place each time."""
        changing: set[int] = set()
        found: set[int] = set()
        for i, v in enumerate(self.values):
            if v[0] == "load":
                changes = any(self.accesses[v[1]].strides[a] for a in removed)
            elif v[0] == "index":
                changes = v[1] in removed
            else:
                changes = v[0] != "reduce" and any(w in changing for w in dependencies(v))
            if changes:
                changing.add(i)
                found |= {v[1]} if v[0] == "take" else set()
        return found

    def short(self, extents: list[int], columns: list[list[int]], kept: int, again: bool) -> str:
        """The schedule of rows, many and short ones by 16: "batch", or "col" if they are no vector's work and have
        functions that are wanted `again` in a later pass, or what "batch" does not know."""
        if not kept or len(extents) != kept + 1 or extents[kept - 1] < 4 * LANES:
            return "row"
        picky = any(v[0] == "take" or (v[0] == "reduce" and v[1][:3] == "arg") for v in self.values)
        dear = any(map(expensive, self.values)) and sum(v[0] in ("load", "take") for v in self.values) == 1
        if picky:
            return "col" if extents[kept] <= (2 * SHORT if dear else SHORT) else "row"
        if extents[kept] <= (SHORT if again else SHORT // 2):
            return "col"
        each = sum(a.buf.dtype.itemsize for a, strides in zip(self.accesses, columns) if strides[kept])
        return "batch" if extents[kept] * each * LANES <= BATCH and self.reductions() <= FEW else "row"

    def reductions(self) -> int:
        """How many reductions there are."""
        return sum(v[0] == "reduce" for v in self.values)

    def crossed(self, mode: str, classes: tuple[Any, ...], extents: list[int], kept: int) -> str:
        """ "tile" for a map that reads along another axis than it writes, if both are long enough."""
        if mode != "map" or kept < 2 or extents[kept - 1] < LANES or self.take_ints or self.pinned:
            return mode
        axis, chosen = across(classes, kept)
        fits = room([self.accesses[k].type for k in chosen])
        return "tile" if axis >= 0 and extents[axis] >= LANES and fits else mode

    def past(self, mode: str, extents: list[int], kept: int) -> int:
        """From how many elements on a map's results go around the caches; 0 if it has not so many now."""
        each = sum(a.buf.dtype.itemsize for a in self.accesses if any(a.strides))
        if mode not in ("map", "tile") or any(a.mode == "rw" for a in self.accesses):
            return 0
        if numel(extents) * each < (ACROSS if mode == "tile" else AROUND):
            return 0
        return AROUND // max(each, 1) if kept == 1 else int(extents[-1] >= ROW)

    def across(self, extents: list[int], kept: int, within: bool) -> str:
        """ "brief" for few rows of simple elements, "wide" for many columns and not too few rows, else "col"."""
        rows, plain = numel(extents[kept:]), all(v[0] != "reduce" or v[1][:3] != "arg" for v in self.values)
        near = rows <= BRIEF or (rows < 64 and extents[kept - 1] <= NEAR)
        if plain and near and not within and weight(self.values) <= SIMPLE:
            return "brief"
        plain = plain and all(v[0] != "take" for v in self.values) and self.reductions() <= FEW
        wide = extents[kept - 1] >= 64 or rows_shared(self, extents, kept)
        return "wide" if plain and wide and rows >= 16 else "col"

    def split(self, mode: str, extents: list[int], kept: int, few: int) -> str:
        """What parts share. It hardly depends on extents, so that one kernel serves many sizes."""
        if not kept:
            passes = sum(v[0] == "reduce" for v in self.values) and self.single_pass()
            return "chunks" if mode == "row" and passes and numel(extents) > 2 * CHUNK else ""
        if mode in ("row", "tile") or (mode == "wide" and rows_shared(self, extents, kept)):
            return "chunks" if mode == "wide" else "outer"
        inner, outer = extents[kept - 1], numel(extents[: kept - 1 - (few > 0)])
        return "inner" if kept == 1 + (few > 0) or (outer < 8 and outer * 16 < inner) else "outer"

    def single_pass(self) -> bool:
        """Whether no element is needed, and none stored, after the first reduction."""
        classes = tuple((a.type, a.mode, a.alias, tuple(min(s, 1) for s in a.strides)) for a in self.accesses)
        facts = analysis(Nest("row", 0, len(self.group.extents), tuple(self.values), classes, (), ""))
        gone = self.group.reduced or ()
        full = [(v, a) for v, a in self.stores if any(self.accesses[a].strides[k] for k in gone)]
        late = [facts.stored(v, classes[a][1]) for v, a in full]
        late += [facts.pass_[v[2]] for v in self.values if v[0] == "reduce"]
        return not any([facts.last, *late]) and all(v[0] not in ("take", "index") for v in self.values)

    def stash(
        self, mode: str, kept: int, reduced: int, columns: list[list[int]], extents: list[int]
    ) -> dict[int, int]:
        """Expensive element values that a later pass needs again, and the access of the result in whose place each is
        kept until that is written; -1: in scratch."""
        if mode == "map":
            return {}
        classes = tuple(
            (a.type, a.mode, a.alias, tuple(s if s in PLAIN else "s" for s in row))
            for a, row in zip(self.accesses, columns)
        )
        trial = Nest(mode, kept, reduced, tuple(self.values), classes, tuple(self.stores), "")
        trial = replace(trial, within=len(columns[0]) - len(extents) if columns else 0)
        facts = analysis(trial)
        later: set[int] = set()
        for p in range(1, max(facts.pass_, default=0) + 1):
            todo = [v for v, acc in self.stores if facts.pass_[v] == p and facts.depth[v] == 2]
            todo += [v[2] for v in self.values if v[0] == "reduce" and facts.pass_[v[2]] == p]
            seen: set[int] = set()
            while todo:
                i = todo.pop()
                if i in seen or facts.depth[i] < 2:
                    continue
                seen.add(i)
                if facts.pass_[i] < p and expensive(self.values[i]):
                    later.add(i)
                    continue
                todo.extend(dependencies(self.values[i]))
        last = max(facts.pass_)
        free = [acc for v, acc in self.stores if facts.pass_[v] == last and facts.depth[v] == 2]
        found = {}
        for i in sorted(later):
            kind = type_of(self.values[i], self.accesses)
            lanes = len(extents) - 1 if mode in ALONG else kept - 1
            home = next((a for a in free if self.is_home(a, kind, columns[a], extents, lanes)), -1)
            found[i] = home
            free = [a for a in free if a != home]
        return found

    def is_home(self, access: int, kind: str, strides: list[int], extents: list[int], lanes: int) -> bool:
        """Whether a result has places for elements of a type, those of a vector in a row, that nobody else reads."""
        acc = self.accesses[access]
        own = acc.mode == "w" and not acc.alias and acc.type == kind and strides[lanes] == 1
        return own and all(s or n == 1 for s, n in zip(strides, extents))

    def keep_values(
        self,
        stash: dict[int, int],
        mode: str,
        extents: list[int],
        columns: list[list[int]],
        bound: Bound,
        kept: int,
    ) -> None:
        """Give values without a home scratch; the axis that is vectorised is its inner one. Where rows are done one
        after the other, each part keeps one."""
        homeless = [v for v, home in stash.items() if home < 0]
        if not homeless:
            return
        strides, step = [0] * len(columns[0]), 1
        lanes = [] if mode in ALONG else [kept - 1]
        first = kept if mode == "row" else 0
        for a in lanes + [a for a in reversed(range(first, len(extents))) if a not in lanes]:
            strides[a] = step
            step *= extents[a]
        for v in homeless:
            stash[v] = len(columns)
            columns.append(strides)
            bound.scratch.append((type_of(self.values[v], self.accesses), step))


def type_of(v: tuple[Any, ...], accesses: list[Any]) -> str:
    """The loop IR's type of a value."""
    if v[0] in ("load", "take"):
        return accesses[v[1]].type
    return "i64" if v[0] == "index" else v[1] if v[0] in ("const", "num") else v[3 if v[0] == "reduce" else 2]
