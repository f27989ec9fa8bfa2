"""Kernels of elementwise operations and reductions: from a `Nest` (what to compute) to loops (how).

A nest has kept axes and reduced axes, and values in order of dependence. Seven schedules:

    "map"  no reduced axes; the innermost kept axis is vectorised
    "tile" the same, where something is read along another axis than is written: tile.py
    "row"  the innermost reduced axis is vectorised, one row (a point of the kept axes) at a time
    "batch" the same for short rows, what is known of them for 16 at a time: batch.py
    "col"  the innermost kept axis is vectorised: columns.py
    "brief" the same for few rows of simple elements: brief.py
    "wide" the same for many columns, as many rows at a time as a tile of columns has accumulators in scratch: wide.py

The order of a reduction does not depend on the schedule. Reduced dimensions that are neighbours in the shape are one
axis, whatever their strides; these are, in order, (outer..., inner). Chunks are max(1, 32768 // inner) outer points by
32768 inner points; within a chunk, lane l of 16 takes the inner points l, l+16, ... of each outer point in turn; the
lanes combine as a balanced tree; the chunks are folded in order, sums and products of floats in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from ..build import Buffer, Builder, Register, Value, const, op, select
from ..ir import FLOATS, Kernel
from .accumulate import LANES, Lanes, Total
from .analysis import Analysis, Nest, closure, dependencies
from .batch import Batch
from .brief import Brief
from .columns import Columns
from .stretches import Turned, across, looked_up, outer_within, scratch, stretches
from .tile import Tile
from .wide import Shared, Wide

CHUNK = 32768
BACKWARDS = -1  # a class of strides, as 0 and 1


def lower(nests: tuple[Nest, ...], name: str, where: str = "") -> Kernel:
    """The kernel of a nest; those that follow it (they have no kept axes) run once, in order, after all its parts."""
    b = Builder(name, where)
    first, *then = declared(nests, b)
    first.body()
    for lowered in then:
        with b.epilogue():
            lowered.body(once=True)
    return b.kernel()


def declared(nests: tuple[Nest, ...], b: Builder) -> list[_Lower]:
    """Nests with their parameters: all buffers (the last nest's first: scratch ends them), integers, numbers."""
    lowered = [_Lower(nest, b, k << 28) for k, nest in enumerate(nests)]
    for x in reversed(lowered):
        x.declare_buffers()
    for x in lowered:
        x.declare_integers()
    for x in lowered:
        x.declare_numbers()
    return lowered


def partials(nest: Nest) -> list[tuple[int, tuple[str, ...]]]:
    """For each reduction whose chunks are shared by the parts: the types of the scratch its chunk results go to."""
    if nest.split != "chunks":
        return []
    reduces = [(i, v) for i, v in enumerate(nest.values) if v[0] == "reduce"]
    return [(i, Lanes.types(v)) for i, v in reduces]


def partial_results(extents: Sequence[int], kept: int) -> int:
    """How many results parts leave that share the chunks of the reduced axes: one for each, or their accumulators."""
    *outer, inner = extents[kept:]
    total = 1
    for n in outer:
        total *= n
    step = max(1, CHUNK // max(inner, 1))
    return -(-total // step) * -(-inner // CHUNK) * (LANES * extents[0] if kept else 1)


Pairs = list[tuple[int, int]]


class _Lower:
    def __init__(self, nest: Nest, b: Builder, code: int = 0):
        self.nest, self.b, self.code = nest, b, code  # code: added to those of checks
        self.facts = Analysis(nest)
        self.bufs: list[Buffer] = []
        self.scopes: list[dict[int, Value]] = [{}]
        self.coords: dict[int, Value] = {}
        self.base: dict[int, Value] = {}
        self.turned: dict[int, Buffer] = {}  # rows of accesses: see stretches.py
        self.only: Value | None = None  # lanes that there are, of a vector that begins before the elements do

    def declare_buffers(self) -> None:
        """The parameters come in this order: buffers, scratch of chunk results, extents and strides, numbers."""
        b, nest = self.b, self.nest
        alike = {a for bundle in nest.bundles for a in bundle if any(nest.accesses[k][2] for k in bundle)}
        for i, (type, mode, alias, _) in enumerate(nest.accesses):
            self.bufs.append(b.buf(f"p{i}", type, mode, alias or i in alike))
        self.partial = {i: [b.buf("w", t, "rw") for t in types] for i, types in partials(nest)}
        if nest.turned and nest.turned[-1]:
            self.turned = {k: b.buf("turned", nest.accesses[k][0], "rw") for k in across(nest)}

    def declare_integers(self) -> None:
        b, nest = self.b, self.nest
        axes = nest.kept + nest.reduced
        self.extents = [b.integer(f"n{a}") for a in range(axes)]
        self.strides: list[list[Any]] = []
        for i, (_, _, _, classes) in enumerate(nest.accesses):
            row: list[Any] = []
            for a, c in enumerate(classes):
                row.append(b.integer(f"s{i}_{a}") if c == "s" else c)
            self.strides.append(row)
        self.taken = {}
        for i, v in enumerate(nest.values):
            if v[0] == "take":
                self.taken[i] = [(b.integer(f"e{i}_{k}"), b.integer(f"t{i}_{k}")) for k in range(len(v[2]))]
        self.extents += [b.integer(f"n{axes + k}") for k in range(nest.within)]

    def declare_numbers(self) -> None:
        b = self.b
        self.numbers = {
            v[2]: b.num(f"c{v[2]}", "f64" if v[1] in FLOATS else "i64")
            for v in self.nest.values
            if v[0] == "num"
        }

    # --- values ---------------------------------------------------------------------------------------------------

    def get(self, i: int) -> Value:
        for scope in reversed(self.scopes):
            if i in scope:
                return scope[i]
        value = self.compute(i)
        self.scopes[-1][i] = value
        return value

    def compute(self, i: int) -> Value:
        v = self.nest.values[i]
        b = self.b
        kind = v[0]
        if kind == "const":
            return const(v[1], v[2])
        if kind == "num":
            return b.argument(self.numbers[v[2]], v[1])
        if kind == "index":
            return self.coords[v[1]]
        if kind == "load":
            return self.compute_load(i, v[1])
        if kind == "take":
            return self.compute_take(i, v)
        if kind == "reduce":
            raise KeyError(f"reduction {i} is read before its pass")
        args = [self.get(d) for d in v[3:]]
        return b.let(scalar(v[1], v[2], args), "t")

    def compute_load(self, i: int, access: int) -> Value:
        """A load, with those of its bundle: they are one in machine code."""
        b, bundle = self.b, self.bundle_of(access)
        if self.only is not None and self.facts.depth[i] == 2:
            return b.let(self.bufs[access].load(self.address(access), self.only), "x")
        loads = {v[1]: j for j, v in enumerate(self.nest.values) if v[0] == "load"}
        if len(bundle) < 2 or not all(a in loads for a in bundle):
            return b.let(self.bufs[access][self.address(access)], "x")
        buf, at = self.bufs[bundle[0]], self.address(bundle[0])
        for u, a in enumerate(bundle):
            self.scopes[-1][loads[a]] = b.let(buf[at + u], "x")
        return self.scopes[-1][i]

    def bundle_of(self, access: int) -> tuple[int, ...]:
        """The accesses of the bundle that one belongs to."""
        return next((bundle for bundle in self.nest.bundles if access in bundle), (access,))

    def put(self, stores: Sequence[tuple[int, int]]) -> None:
        """Write values, all of which are computed before; those of a bundle one after the other."""
        b, values = self.b, {access: self.get(v) for v, access in stores}
        for access, value in values.items():
            bundle = self.bundle_of(access)
            if self.only is not None or not all(a in values for a in bundle):
                b.store(self.bufs[access], self.address(access), value, self.only)
            elif access == bundle[0]:
                at = self.address(access)
                for u, a in enumerate(bundle):
                    b.store(self.bufs[access], at + u, values[a])

    def compute_take(self, i: int, v: tuple[Any, ...]) -> Value:
        b = self.b
        where = self.address(v[1])
        position = self.linear()
        for (idx, which), (extent, stride), one in zip(v[2], self.taken[i], v[4]):
            k = self.get(idx)
            code = self.code + i + 1 + (which << 20)
            if v[3]:  # negative ones count from the end
                b.check(self.unless_ahead((k >= -extent) & (k < extent)), code, k, position)
                k = b.let(select(k < 0, k + extent, k), "k")
            else:
                b.check(self.unless_ahead((k >= 0) & (k < extent)), code, k, position)
            where = where + (k if one else k * stride)
        return b.let(self.bufs[v[1]].load(where, self.only), "x")

    def unless_ahead(self, good: Value) -> Value:
        """A condition on lanes that there are."""
        return good if self.only is None else good | ~self.only

    def linear(self) -> Value:
        total: Value = const("i64", 0)
        for a in range(self.nest.kept + self.nest.reduced):
            if a in self.coords:
                total = total * self.extents[a] + self.coords[a]
        return total

    def address(self, access: int, hoisted: bool = True) -> Value:
        """The index of this point in an access: the part of the hoisted axes, plus that of the inner ones."""
        total = self.base.get(access) if hoisted else None
        done = self.based if total is not None else set()
        if total is None:
            total = self.own if 0 < self.nest.apart <= access else const("i64", 0)
        for a, c in enumerate(self.strides[access]):
            if a in done or a not in self.coords or (isinstance(c, int) and c == 0):
                continue
            at = self.coords[a]
            total = total - at if c is BACKWARDS else total + at * c
        return total

    based: set[int] = set()
    own: Value  # where this part's rows of kept values begin

    def hoist_bases(self) -> None:
        """Compute the part of every address that the present coordinates fix."""
        for i in range(len(self.bufs)):
            self.base[i] = self.b.let(self.address(i), f"a{i}")
        self.based = set(self.coords)

    def scope_values(self, wanted: set[int], limit: int, done: int) -> None:
        """Evaluate, here, the values of depth <= limit that the wanted ones need and whose pass is over."""
        facts = self.facts
        for i in sorted(closure(self.nest, wanted)):
            if facts.depth[i] <= limit and facts.pass_[i] <= done and self.nest.values[i][0] != "reduce":
                self.get(i)

    # --- schedules ------------------------------------------------------------------------------------------------

    def body(self, once: bool = False) -> None:
        """All statements; once: they are in an epilogue, not in one part of several."""
        b, nest = self.b, self.nest
        everything = {i for i, _ in nest.stores} | {
            i for i, v in enumerate(nest.values) if v[0] in ("reduce", "take")
        }
        if nest.kept + nest.reduced == 0 or (nest.mode == "map" and nest.kept == 0):
            with nullcontext() if once else b.if_(b.tid.eq(0)):
                for i in sorted(everything):  # all is read before anything is written
                    self.get(i)
                for i, access in nest.stores:
                    b.store(self.bufs[access], self.address(access), self.get(i))
            return
        if nest.turned and not self.turned:
            self.turned = scratch(self)
        if nest.split == "chunks" and not nest.kept:
            self.shared_chunks(everything)
            return
        self.scope_values(everything, 0, 0)
        if nest.apart:
            row = self.extents[nest.kept]
            for n in self.extents[nest.kept + 1 : nest.kept + nest.reduced]:
                row = b.let(row * n, "row")
            self.own = b.let(b.tid * row, "own")
        if nest.mode == "row":
            self.rows(everything)
        elif nest.mode == "col":
            Columns(self).body(everything)
        elif nest.mode == "brief":
            Brief(self).body(everything)
        elif nest.mode == "batch":
            Batch(self).body()
        elif nest.mode == "wide":
            (Shared if nest.split == "chunks" else Wide)(self).body()
        elif nest.mode == "tile":
            Tile(self).body(everything)
        else:
            self.maps(everything)

    def outer(self, axes: list[int], parted: bool, inside: Callable[[], None]) -> None:
        """Loop over the flattened axes (this part's share of them if parted), then run `inside`."""
        b = self.b
        if not axes:
            inside()
            return
        total = self.extents[axes[0]]
        for a in axes[1:]:
            total = b.let(total * self.extents[a], "rows")
        lo, hi = b.partition(total) if parted else (const("i64", 0), total)
        counters, rest = {}, lo
        for a in reversed(axes[1:]):
            counters[a] = b.reg("at", b.let(rest % self.extents[a]))
            rest = b.let(rest // self.extents[a], "q")
        if counters:
            counters[axes[0]] = b.reg("at", rest)
        with b.for_("o", lo, hi) as o:
            self.coords[axes[0]] = o
            self.coords |= {a: b.let(at.get(), "i") for a, at in counters.items()}
            self.scopes.append({})
            inside()
            self.scopes.pop()
            if counters:
                self.advance(axes, counters)

    def advance(self, axes: list[int], counters: dict[int, Register]) -> None:
        """The next point of the flattened axes: divisions would cost more than a short row."""
        b, last = self.b, axes[-1]
        then = b.let(self.coords[last] + 1, "then")
        if len(axes) == 1:
            counters[last].set(then)
            return
        over = b.let(then.eq(self.extents[last]), "over")
        counters[last].set(select(over, 0, then))
        with b.if_(over):
            self.advance(axes[:-1], counters)

    def maps(self, everything: set[int]) -> None:
        b, nest = self.b, self.nest
        inner = nest.kept - 1
        axes = list(range(inner - (nest.few > 0)))

        def inside() -> None:
            self.hoist_bases()
            self.scope_values(everything, 1, 0)
            n = self.extents[inner]
            lo, hi = b.partition(n, 64) if nest.split == "inner" else (const("i64", 0), n)
            with b.vfor("i", lo, hi, self.width(), past=nest.past) as i:
                self.coords[inner] = i
                self.scopes.append({})
                if nest.few:
                    self.few(everything)
                else:
                    for v in sorted(everything):
                        self.get(v)
                    self.put(nest.stores)
                self.scopes.pop()
            del self.coords[inner]

        self.outer(axes, nest.split == "outer", inside)

    def few(self, everything: set[int]) -> None:
        """All points of the last axis but one, at these lanes."""
        b, nest = self.b, self.nest
        axis, points = nest.kept - 2, range(nest.few)
        scopes: list[dict[int, Value]] = [{} for _ in points]
        moving: set[int] = set()
        for i, v in enumerate(nest.values):
            if v[0] == "load" and self.lies(v[1]):
                at = self.address(v[1])
                for k in points:
                    scopes[k][i] = b.let(self.bufs[v[1]][at + k], "x")
            own = (v[0] == "load" and nest.accesses[v[1]][3][axis] != 0) or v == ("index", axis)
            if own or not moving.isdisjoint(dependencies(v)):
                moving.add(i)
        for i in sorted(closure(nest, everything) - moving):
            self.get(i)
        for k in points:
            self.coords[axis] = const("i64", k)
            self.scopes.append(scopes[k])
            for i in sorted(everything):
                self.get(i)
            self.scopes.pop()
        del self.coords[axis]
        for v, access in nest.stores:
            at = self.address(access)
            for k in points:
                value = scopes[k][v] if v in moving else self.get(v)
                if self.lies(access):
                    b.store(self.bufs[access], at + k, value)
                    continue
                self.coords[axis] = const("i64", k)
                b.store(self.bufs[access], self.address(access), value)
                del self.coords[axis]

    def lies(self, access: int) -> bool:
        """Whether an access has the points of the last axis but one between two lanes."""
        near = (1, self.nest.few), (1, -self.nest.few)
        return self.nest.accesses[access][3][self.nest.kept - 2 : self.nest.kept] in near

    def width(self) -> int:
        sizes = [a[0] for a in self.nest.accesses]
        return 64 if sizes and all(t in ("b1", "u8", "i8") for t in sizes) and not self.taken else LANES

    def rows(self, everything: set[int]) -> None:
        nest = self.nest

        def inside() -> None:
            self.hoist_bases()
            self.scope_values(everything, 1, 0)
            for p in range(max(self.facts.pass_) + 1):
                self.row_pass(p)
            self.store_rows()

        self.outer(list(range(nest.kept)), nest.split == "outer", inside)

    def store_rows(self) -> None:
        """Write what is one value for all elements of a row; all is read before anything is written."""
        rows = [(v, a) for v, a in self.nest.stores if self.facts.depth[v] < 2 and not self.full(a)]
        self.put(rows)

    def full(self, access: int) -> bool:
        return any(c != 0 for c in self.nest.accesses[access][3][self.nest.kept :])

    def enter(self, at: Value) -> None:
        """Be at a point of the innermost reduced axis."""
        last = self.nest.kept + self.nest.reduced - 1
        self.coords[last] = at
        if self.nest.within:
            outer_within(self, at, last + self.nest.within)

    def leave(self) -> None:
        """Be at none."""
        last = self.nest.kept + self.nest.reduced - 1
        for a in range(last, last + self.nest.within + 1):
            self.coords.pop(a, None)

    def work(self, p: int) -> tuple[list[int], Pairs]:
        """The reductions and the stores of elements that belong to pass p."""
        nest, facts = self.nest, self.facts
        reduces = [i for i, v in enumerate(nest.values) if v[0] == "reduce" and facts.pass_[v[2]] == p]
        full = [(v, access) for v, access in nest.stores if self.full(access)]
        return reduces, [(v, a) for v, a in full if facts.stored(v, nest.accesses[a][1]) == p]

    def stash_of(self, p: int) -> tuple[dict[int, int], Pairs]:
        """Kept values to load in this pass (value -> access) and to store (value, access)."""
        nest, facts = self.nest, self.facts
        loads, stores = {}, []
        for v, home in zip(nest.stash, nest.homes):
            if facts.pass_[v] < p:
                loads[v] = home
            elif facts.pass_[v] == p:
                stores.append((v, home))
        return loads, stores

    def takes_of(self, p: int) -> list[int]:
        nest, facts = self.nest, self.facts
        return [
            i
            for i, v in enumerate(nest.values)
            if v[0] == "take" and facts.depth[i] == 2 and facts.pass_[i] == p
        ]

    def element(self, reduces: list[int], stores: Pairs, p: int) -> None:
        """The body of a pass at one point, but for the accumulation."""
        b = self.b
        loads, keeps = self.stash_of(p)
        for v, access in loads.items():
            self.scopes[-1][v] = b.let(self.bufs[access].load(self.address(access), self.only), "k")
        for v in self.takes_of(p):
            self.get(v)
        for r in reduces:
            self.get(self.nest.values[r][2])
        self.put(keeps + stores)

    def chunked(self, body: Callable[[Value, Value, Value, Value], None]) -> None:
        """The loops over chunks of the reduced axes: body(outer lo, outer hi, inner lo, inner hi)."""
        b, nest = self.b, self.nest
        axes = list(range(nest.kept, nest.kept + nest.reduced))
        inner = self.extents[axes[-1]]
        if len(axes) == 1:
            with b.for_("c", 0, inner, CHUNK) as c:
                body(const("i64", 0), const("i64", 1), c, b.let(op("min", c + CHUNK, inner), "ce"))
            return
        total = self.extents[axes[0]]
        for a in axes[1:-1]:
            total = b.let(total * self.extents[a], "total")
        step = b.let(
            op("max", const("i64", 1), const("i64", CHUNK) // op("max", inner, const("i64", 1))), "step"
        )
        with b.for_("co", 0, total, step) as co:
            end = b.let(op("min", co + step, total), "oe")
            with b.for_("c", 0, inner, CHUNK) as c:
                body(co, end, c, b.let(op("min", c + CHUNK, inner), "ce"))

    def outer_reduced(self, o: Value) -> None:
        """Coordinates of the outer reduced axes from their flattened index."""
        b, nest = self.b, self.nest
        axes = list(range(nest.kept, nest.kept + nest.reduced - 1))
        rest = o
        for a in reversed(axes[1:]):
            self.coords[a] = b.let(rest % self.extents[a], "i")
            rest = b.let(rest // self.extents[a], "q")
        if axes:
            self.coords[axes[0]] = rest

    def row_pass(self, p: int) -> None:
        b, nest = self.b, self.nest
        reduces, stores = self.work(p)
        if not (reduces or stores or self.takes_of(p) or self.stash_of(p)[1]):
            return
        totals = {r: Total(b, nest.values[r]) for r in reduces}
        self.scope_values({nest.values[r][2] for r in reduces} | {v for v, _ in stores}, 1, p)

        def chunk(*bounds: Value) -> None:
            for k, lanes in self.row_chunk(p, reduces, stores, *bounds).items():
                totals[k].fold(lanes.tree())

        self.chunked(chunk)
        for k in reduces:
            self.scopes[-1][k] = totals[k].result()

    def row_chunk(
        self,
        p: int,
        reduces: list[int],
        stores: Pairs,
        olo: Value,
        ohi: Value,
        lo: Value,
        hi: Value,
    ) -> dict[int, Lanes]:
        """One pass over one chunk of a row; the lanes of its reductions."""
        b, nest = self.b, self.nest
        inner = nest.kept + nest.reduced - 1
        lanes = {r: Lanes(b, nest.values[r], LANES) for r in reduces}
        with b.for_("ro", olo, ohi) as o:
            self.outer_reduced(o)

            def point(r: Value, given: dict[int, Value]) -> None:
                position = o * self.extents[inner] + r if nest.reduced > 1 else r
                self.point(p, lanes, stores, position, given)

            if nest.turned:
                Turned(self).body(lo, hi, point)
            elif nest.stretches:
                stretches(self, lo, hi, point)
            elif nest.within:
                looked_up(self, lo, hi, point)
            else:
                with b.vfor("r", lo, hi, LANES) as r:
                    self.enter(r)
                    point(r, {})
            self.leave()
            for a in range(nest.kept, inner):
                del self.coords[a]
        return lanes

    def point(
        self, p: int, lanes: dict[int, Lanes], stores: Pairs, at: Value, given: dict[int, Value]
    ) -> None:
        """Everything of a pass at one point; given: values of it that are there."""
        self.scopes.append(given)
        self.element(list(lanes), stores, p)
        for k in lanes:
            lanes[k].add(self.get(self.nest.values[k][2]), at, self.only)
        self.scopes.pop()

    def shared_chunks(self, everything: set[int]) -> None:
        """A reduction of everything in one pass: the parts share the chunks, the epilogue folds their results."""
        b, nest = self.b, self.nest
        reduces, stores = self.work(0)
        self.scope_values(everything, 1, 0)
        count, bounds = self.chunk_bounds()
        lo, hi = b.partition(count)
        if nest.turned and nest.turned[-1] and nest.reduced == 1:
            Turned(self).chunks(lo * CHUNK, op("min", hi * CHUNK, self.extents[0]), CHUNK, reduces, stores)
        else:
            with b.for_("q", lo, hi) as q:
                self.keep_chunk(q, self.row_chunk(0, reduces, stores, *bounds(q)))
        with b.epilogue():
            self.scopes, self.coords, self.base, self.based = [{}], {}, {}, set()
            totals = {r: Total(b, nest.values[r]) for r in reduces}
            count, _ = self.chunk_bounds()
            with b.for_("q", 0, count) as q:
                for k in reduces:
                    found = tuple(b.let(buf[q]) for buf in self.partial[k])
                    totals[k].fold(found if totals[k].arg else found[0])
            for k in reduces:
                self.scopes[-1][k] = totals[k].result()
            self.store_rows()

    def keep_chunk(self, q: Value, lanes: dict[int, Lanes]) -> None:
        """What chunk q came to, for the epilogue."""
        for k, mine in lanes.items():
            found = mine.tree()
            for buf, value in zip(self.partial[k], found if mine.arg else (found,)):
                self.b.store(buf, q, value)

    def chunk_bounds(self) -> tuple[Value, Callable[[Value], tuple[Value, Value, Value, Value]]]:
        """How many chunks there are, and the bounds of chunk q: outer lo and hi, inner lo and hi."""
        b = self.b
        axes = self.extents[self.nest.kept : self.nest.kept + self.nest.reduced]
        inner = axes[-1]
        wide = b.let((inner + (CHUNK - 1)) // CHUNK, "wide")
        total: Value = const("i64", 1)
        for n in axes[:-1]:
            total = b.let(total * n, "total")
        step = b.let(
            op("max", const("i64", 1), const("i64", CHUNK) // op("max", inner, const("i64", 1))), "step"
        )
        high = b.let((total + (step - 1)) // step, "high")

        def bounds(q: Value) -> tuple[Value, Value, Value, Value]:
            co, c = b.let(q // wide * step, "co"), b.let(q % wide * CHUNK, "c")
            return co, b.let(op("min", co + step, total), "oe"), c, b.let(op("min", c + CHUNK, inner), "ce")

        return b.let(high * wide, "chunks"), bounds


def scalar(name: str, type: str, args: list[Value]) -> Value:
    """One scalar operation, its result in `type`."""
    if name == "cast":
        return args[0].cast(type)
    if name == "bitcast":
        return args[0].bitcast(type)
    if name == "copy":
        return args[0]
    return op(name, *args)
