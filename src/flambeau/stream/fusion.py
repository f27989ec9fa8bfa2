"""Several groups as one launch: a product with what follows it element by element, a kernel with the small reduction
of its results, and a list of independent calls of one kernel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from ..loop.recipes.analysis import Nest
from ..loop.recipes.tail import Tail
from ..shapes import numel
from .constants import letter
from .nests import Access, Bound, NestBuilder
from .nodes import Group, PNode, PVal
from .order import hastened
from .sharing import PARTS, SERIAL_WORK

SMALL = 32768  # elements that one thread reduces after a kernel rather than in a kernel of their own
SCATTERED = 1 << 19  # bytes of an image up to which its elements are written one by one, in another order
WINDOW = 8  # launches that a call may be moved across to join its list
WEIGHT = {"contract": 120, "convolve": 60, "depthwise": 60}  # operations of a tail for each element


class TailBound:
    """A tail and what it is bound to. bufs: accesses by name; numbers: slots by name."""

    __slots__ = ("bufs", "ints", "modes", "numbers", "tail", "title")

    def __init__(self, tail: Tail):
        self.tail = tail
        self.bufs: list[Any] = []
        self.modes: list[str] = []
        self.ints: dict[str, int] = {}
        self.numbers: dict[str, tuple[int, str]] = {}
        self.title = ""


# --- products and what follows them -------------------------------------------------------------------------------


def join_products(groups: list[Group]) -> list[tuple[Group, TailBound | None]]:
    """Groups in order; a product whose elements are only wanted for elementwise work is computed where that is done."""
    absorbed: dict[int, tuple[Group, TailBound]] = {}
    moved: set[int] = set()
    for group in groups:
        node = group.opaque
        if node is None or node.op not in WEIGHT or (node.op != "contract" and node.attrs[0] != "forward"):
            continue
        reader = first_reader(node)
        if reader is None or reader.index in absorbed or not movable(group, reader):
            continue
        tail = tail_of(node, reader)
        if tail is not None and tail.tail.weight <= WEIGHT[node.op]:
            absorbed[reader.index] = group, tail
            moved.add(group.index)
    return hastened([(*absorbed.get(g.index, (g, None)), g) for g in groups if g.index not in moved])


def first_reader(node: PNode) -> Group | None:
    """The earliest group that reads a node's result, or None."""
    return min([g for g, *_ in node.outs[0].reads], key=lambda g: g.index, default=None)


def movable(group: Group, reader: Group) -> bool:
    """Whether the product may be computed as late as its reader: nothing up to it writes its inputs, and nothing
    before it writes into the product."""
    if reader.opaque is not None or reader.reduced is not None:
        return False
    product: PNode = group.opaque  # type: ignore[assignment]
    first, end = group.index + 1, reader.index
    read = any(v.buf.writes.between(first, end + 1) for v in product.ins)
    return not read and not any(out.writes.between(first, end) for out in product.outs)


def tail_of(node: PNode, reader: Group) -> TailBound | None:
    """The reader's work as a tail of the product, if every access walks batch, rows and columns at fixed strides."""
    out = node.outs[0]
    shape = out.shape
    dims = (*shape[:2], numel(shape[2:]))
    if numel(reader.extents) != numel(shape) or any(
        n.kind not in ("map", "store", "const") for n, _ in reader.nodes
    ):
        return None
    builder = NestBuilder(reader)
    for n, at in reader.nodes:
        builder.node(n, at)
    builder.loosen()
    builder.relate_aliases()
    mine = [i for i, a in enumerate(builder.accesses) if a.buf is out]
    if len(mine) != 1 or any(v[0] not in ("load", "const", "num", "map") for v in builder.values):
        return None
    axes = walk(reader.extents, builder.accesses[mine[0]].strides)
    result = builder.known.get(("load", mine[0]))
    if axes is None or result is None:
        return None
    triples = [triple(a.strides, reader.extents, axes, dims) for a in builder.accesses]
    if None in triples or triples[mine[0]] != tuple(
        0 if n == 1 else s for n, s in zip(dims, (dims[1] * dims[2], dims[2], 1))
    ):
        return None
    large = node.op == "convolve" and dims[1] * dims[2] * out.dtype.itemsize > SCATTERED
    if large and any(t[2] > 1 for t in triples):  # type: ignore[index]
        return None  # lanes that lie apart: each line would be fetched for each of its elements
    stores = list(builder.stores)
    overwritten = any(i == mine[0] for _, i in stores)
    if not overwritten and (out.kept or not out.reads.groups <= {reader.index}):
        stores.append((result, mine[0]))
    return bind(builder, reader, result, mine[0], stores, triples)  # type: ignore[arg-type]


def walk(extents: Sequence[int], strides: Sequence[int]) -> list[int] | None:
    """The axes from the innermost out, if the strides are those of a contiguous tensor."""
    axes = sorted(range(len(extents)), key=lambda a: strides[a])
    step = 1
    for a in axes:
        if strides[a] != step:
            return None
        step *= extents[a]
    return axes


def triple(
    strides: Sequence[int], extents: Sequence[int], axes: Sequence[int], dims: Sequence[int]
) -> tuple[int, ...] | None:
    """Strides along the three dimensions of a product, or None if there are none."""
    found = []
    at = 0
    for n in reversed(dims):
        size, stride, last = 1, 0, 0
        while size < n:
            if at == len(axes):
                return None
            a = axes[at]
            if size == 1:
                stride = strides[a]
            elif strides[a] != last:
                return None
            last = strides[a] * extents[a]
            size *= extents[a]
            at += 1
        if size != n:
            return None
        found.append(stride)
    return tuple(reversed(found))


def bind(
    builder: NestBuilder,
    reader: Group,
    result: int,
    mine: int,
    stores: list[Any],
    triples: list[tuple[int, ...]],
) -> TailBound:
    """What a tail reads and writes, with the accumulator among its values."""
    written = {i for _, i in stores}
    left = [i for i in range(len(builder.accesses)) if i != mine or i in written]
    new = {old: k for k, old in enumerate(left)}
    classes = []
    ints: dict[str, int] = {}
    for k, i in enumerate(left):
        a: Access = builder.accesses[i]
        strides = triples[i]
        if i in written:  # a dimension of extent 1 may be the one that the lanes run along
            strides = (strides[0], strides[1] or 1, strides[2] or 1)
        row = tuple(s if s in (0, 1) else "s" for s in strides)
        ints |= {f"tail{k}_{d}": s for d, s in enumerate(strides) if s not in (0, 1)}
        mode = "w" if i == mine else a.mode
        classes.append((a.type, mode, a.alias, row))
    values = tuple(
        v if v[0] != "load" or n == result else ("load", new[v[1]]) for n, v in enumerate(builder.values)
    )
    values = (*values[:result], ("product",), *values[result + 1 :])
    type = builder.accesses[mine].type
    bound = TailBound(Tail(values, tuple(classes), tuple((v, new[i]) for v, i in stores), result, type))
    bound.bufs = [builder.accesses[i] for i in left]
    bound.modes = [c[1] for c in classes]
    bound.ints = ints
    used = {v[2]: v[1] for v in values if v[0] == "num"}
    bound.numbers = {f"tail_c{k}": (builder.numbers[k], letter(t)) for k, t in used.items()}
    bound.title = builder.title()
    return bound


def plain_tail(out: PVal) -> TailBound:
    """The tail that only stores the product."""
    shape = out.shape
    strides = (out.strides[0], out.strides[1], 1) if len(shape) > 2 else out.strides
    row = tuple(
        1 if k and n == 1 else s if s in (0, 1) else "s"
        for k, (n, s) in enumerate(zip((*shape[:2], numel(shape[2:])), strides))
    )
    type = out.buf.dtype.short
    bound = TailBound(Tail((("product",),), ((type, "w", False, row),), ((0, 0),), 0, type))
    bound.bufs, bound.modes = [out], ["w"]
    bound.ints = {f"tail0_{d}": s for d, s in enumerate(strides) if row[d] == "s"}
    return bound


# --- small reductions after a kernel ------------------------------------------------------------------------------


def can_follow(bound: Any) -> bool:
    """Whether a launch is little work that one thread may do after the parts of another."""
    return (
        bound is not None
        and bound.nest.kept == 0
        and bound.nest.mode in ("row", "map")
        and not bound.scratch
        and numel(bound.extents) <= SMALL
    )


def shared(first: list[tuple[int, str]], then: list[tuple[int, str]]) -> set[int]:
    """Buffers (by id) that both use and one of them writes."""
    both = {b for b, _ in first} & {b for b, _ in then}
    return {b for b, mode in (*first, *then) if mode != "r" and b in both}


def feeds(first: list[tuple[int, str]], then: list[tuple[int, str]]) -> bool:
    """Whether the first use writes what the second touches."""
    written = {b for b, mode in first if mode != "r"}
    return any(b in written for b, _ in then)


def aliased(nest: Nest, ids: Sequence[int], common: set[int]) -> Nest:
    """The nest with its accesses to common buffers marked: other parameters of the kernel point there too."""
    rows = [
        (t, m, a or (k < len(ids) and ids[k] in common), row)
        for k, (t, m, a, row) in enumerate(nest.accesses)
    ]
    return replace(nest, accesses=tuple(rows))


def uses(bound: Bound) -> list[tuple[int, str]]:
    """(buffer, mode) of every access of a nest."""
    return [(b.id, mode) for (b, _, _), mode in zip(bound.bufs, bound.modes)]


def tail_uses(tail: TailBound) -> list[tuple[int, str]]:
    """(buffer, mode) of every access of a tail."""
    return [(a.buf.id, mode) for a, mode in zip(tail.bufs, tail.modes)]


def with_nest(tail: TailBound, bound: Bound) -> TailBound:
    """The tail with a nest that runs after it; its parameters have the names that nest.py gives them."""
    common = shared(tail_uses(tail), uses(bound))
    t = tail.tail
    accesses = tuple(
        (ty, m, a or x.buf.id in common, row) for x, (ty, m, a, row) in zip(tail.bufs, t.accesses)
    )
    nest = aliased(bound.nest, [b.id for b, _, _ in bound.bufs], common)
    new = TailBound(replace(t, accesses=accesses, nests=(nest,)))
    new.bufs, new.modes, new.ints, new.numbers, new.title = (
        tail.bufs,
        tail.modes,
        tail.ints,
        tail.numbers,
        tail.title,
    )
    return new


def nest_names(
    bound: Bound,
) -> tuple[dict[str, tuple[Any, int, int]], dict[str, int], dict[str, tuple[int, str]]]:
    """The parameters of a nest by name: buffers, integers, numbers."""
    nest = bound.nest
    names = [f"n{a}" for a in range(nest.kept + nest.reduced)]
    for i, (_, _, _, row) in enumerate(nest.accesses):
        names += [f"s{i}_{a}" for a, c in enumerate(row) if c == "s"]
    for i, v in enumerate(nest.values):
        if v[0] == "take":
            names += [f"{n}{i}_{k}" for k in range(len(v[2])) for n in ("e", "t")]
    names += [f"n{nest.kept + nest.reduced + k}" for k in range(nest.within)]
    used = {v[2]: v[1] for v in nest.values if v[0] == "num"}
    numbers = {f"c{k}": (sid, letter(used[k])) for k, sid in enumerate(bound.numbers)}
    return {f"p{i}": b for i, b in enumerate(bound.bufs)}, dict(zip(names, bound.ints)), numbers


# --- lists of calls -----------------------------------------------------------------------------------------------


class Traffic:
    """The buffers that a launch reads and writes."""

    __slots__ = ("reads", "writes")

    def __init__(self, launch: Any):
        pairs = uses(launch.bound) if launch.bound is not None else []
        self.writes = {b for b, mode in pairs if mode != "r"}
        self.reads = {b for b, mode in pairs if mode != "w"}

    def independent(self, other: Traffic) -> bool:
        """Whether two launches may run in either order."""
        return not (self.writes & other.writes or self.writes & other.reads or self.reads & other.writes)

    def add(self, other: Traffic) -> None:
        """Count another launch's reads and writes in."""
        self.reads |= other.reads
        self.writes |= other.writes


def plain(launch: Any) -> bool:
    """Whether a launch may be one of a list."""
    b = launch.bound
    return (
        b is not None and len(launch.key) == 1 and not launch.checks and not b.scratch and launch.call is None
    )


class Lists:
    """The launches of a program as they come: calls of one kernel that do not depend on each other become one."""

    def __init__(self) -> None:
        self.launches: list[Any] = []
        self.traffic: list[Traffic] = []
        self.latest: dict[Any, int] = {}

    def add(self, launches: Iterable[Any]) -> None:
        """Append launches."""
        out, traffic, latest = self.launches, self.traffic, self.latest
        for x in launches:
            mine = Traffic(x)
            if plain(x):
                at = latest.get(x.key, -1)
                if at >= 0 and len(out) - at <= WINDOW and all(mine.independent(t) for t in traffic[at:]):
                    extend(out[at], x)
                    traffic[at].add(mine)
                    continue
                latest[x.key] = len(out)
            else:
                latest.clear()
            out.append(x)
            traffic.append(mine)


def extend(launch: Any, x: Any) -> None:
    """Append another launch's buffers, numbers and checks."""
    if launch.count == 1:  # the lists are the launch's own from here on
        launch.bufs, launch.ints, launch.numbers = [*launch.bufs], [*launch.ints], [*launch.numbers]
    launch.bufs += x.bufs
    launch.ints += x.ints
    launch.numbers += x.numbers
    launch.count += 1
    launch.uses = None
    launch.work += x.work
    # Every part makes each call: a kernel that is not shared out would do its work once for each of them.
    launch.parts = PARTS if launch.bound.nest.split and launch.work >= SERIAL_WORK else 1
    x.settle()  # it is no launch any more, and refers to itself


def together(nests: Sequence[Bound]) -> tuple[Nest, ...]:
    """The nests of one kernel, accesses to what another one writes marked."""
    if len(nests) == 1:
        return (nests[0].nest,)  # type: ignore[return-value]
    every = [uses(b) for b in nests]
    out = []
    for k, b in enumerate(nests):
        rest = [u for i, us in enumerate(every) if i != k for u in us]
        out.append(aliased(b.nest, [x.id for x, _, _ in b.bufs], shared(every[k], rest)))  # type: ignore[arg-type]
    return tuple(out)
