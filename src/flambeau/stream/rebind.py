"""One instruction planned for other extents: accesses, loops and kernel are those of a kin, only the numbers are new.

A `Pattern` is made of one planned form whose operands and results are contiguous and whose graph is elementwise or a
reduction. For a form of the same structure (the same extents equal, the same extents 1) `program` gives the program of
its instruction without building its graph: strides are computed anew, and everything else follows from them as it does
in NestBuilder. A new shape so costs some 30 us instead of 300.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from typing import Any

from ..device.pool import POOL
from ..device.runner import NativeProgram
from ..loop.ir import SIZE
from ..shapes import contiguous_strides, numel
from .backend import current
from .filling import readied, specification, wanted
from .nests import Access, Bound, NestBuilder
from .nodes import Builder, Group, PVal, drop_dead
from .placing import ARENA_ALIGN
from .program import Program, arguments, kernels_of, nest_launch
from .schedule import Scheduler
from .sharing import SERIAL_WORK, weight
from .value import new_object

PRIMES = (10_007, 10_009, 10_037, 10_039, 10_061, 10_067, 10_069, 10_079, 10_091, 10_093)
SCRATCHES = 4  # that a kernel run by a recipe may have


class Pattern:
    """A planned form's group and accesses. dims: for each access the slot it is of, and the dimension of each axis;
    ids: for each slot the number of the extent of each dimension (-1: 1); arity: the slots that are operands; quick:
    see `Recipe`, tried: it was made, or cannot be."""

    __slots__ = ("arity", "axes", "builder", "dims", "group", "ids", "programs", "quick", "tried")

    def __init__(
        self,
        group: Group,
        builder: NestBuilder,
        axes: list[tuple[int, int]],
        dims: list[Any],
        ids: list[tuple[int, ...]],
        arity: int = 0,
    ):
        self.arity = arity
        self.group, self.builder, self.axes, self.dims, self.ids = group, builder, axes, dims, ids
        self.programs: dict[Any, Any] = {}  # (nest, parts) -> native program, idle frames, launch
        self.quick: Recipe | None = None
        self.tried = False

    @classmethod
    def nothing(cls) -> Pattern:
        """That of forms which have none."""
        return cls(Group(0, ()), NestBuilder(Group(0, ())), [], [], [])

    def shapes(self, extents: Sequence[int]) -> list[tuple[int, ...]]:
        """The shape of each slot."""
        return [tuple([1 if i < 0 else extents[i] for i in ids]) for ids in self.ids]

    def scales(self, slots: Sequence[int]) -> list[int]:
        """The bytes that the offsets of some operands count; 0 for results."""
        sizes = {access.buf.sid: access.buf.dtype.itemsize for access in self.builder.accesses}
        return [sizes[s] if s < self.arity else 0 for s in slots]

    def forget(self) -> None:
        """The device has changed."""
        self.programs.clear()
        self.quick, self.tried = None, False


class Recipe:
    """What a small size takes: each integer of the kernel and each scratch as a product of extents, and the program.

    Found by planning for extents that are prime numbers: the factors of what comes out are the extents it is made of.
    axes: the extents whose product is the number of elements; scales: the bytes that an offset of each address counts.
    ready: what the builtins of ops/builtins/deriving.py need, or None."""

    __slots__ = ("axes", "ints", "known", "most", "ready", "scales", "scratch")

    def __init__(self, primes: Sequence[int], bound: Bound, known: Any, scales: list[int]):
        self.known, self.scales = known, scales
        self.ints = [factors(n, primes) for n in bound.ints]
        rows = bound.parts if bound.nest.apart else 1  # of which one part needs one
        stash = bound.scratch[: stashed(bound)]
        self.scratch = [(SIZE[kind], factors(n // rows, primes)) for kind, n in stash]
        self.axes = factors(numel(bound.extents), primes)
        self.most = SERIAL_WORK // weight(bound.nest.values)  # elements for one thread
        self.ready = readied_anew(self)


def recipe(p: Pattern, small: Bound, known: Any) -> Recipe | None:
    """The recipe of a pattern, for the kernel that a small size has; None if its integers are no such products."""
    primes = PRIMES[: 1 + max(i for ids in p.ids for i in ids)]
    large, nest = bind(p, primes, small.axes), small.nest
    same = (nest.accesses, nest.stash, nest.homes) == (
        large.nest.accesses,
        large.nest.stash,
        large.nest.homes,
    )
    if not same or len(small.scratch) != stashed(small):
        return None
    return Recipe(primes, large, known, p.scales(known[2]))


def stashed(bound: Bound) -> int:
    """How many values a nest keeps in scratch of their own; the rest of its scratch is for chunks."""
    return sum(home >= len(bound.bufs) for home in bound.nest.homes)


def readied_anew(r: Recipe) -> tuple[bytes, list[Any]] | None:
    """Words of a recipe (counts, what runs a frame; slots of addresses, floats, whole numbers; what is a product), and
    its frames."""
    (native, idle, _), *_ = r.known[0]
    if type(native) is not NativeProgram or native.forks or len(r.scratch) > SCRATCHES:
        return None
    POOL.load()
    bases, (floats, wholes) = r.known[2], r.known[3]
    words = [len(bases), len(floats), len(wholes), len(r.ints), len(r.known[1]), POOL.raw]
    words += (len(r.scratch), r.most, len(r.axes), *r.axes)
    for size, ids in r.scratch:
        words += (size, len(ids), *ids)
    for slot, scale in zip(bases, r.scales):
        words += (slot, scale)
    words += (*floats, *wholes)
    for ids in r.ints:
        words += (len(ids), *ids)
    return array("q", words).tobytes(), idle


def product(ids: tuple[int, ...], extents: Sequence[int]) -> int:
    """The product of some extents."""
    n = 1
    for i in ids:
        n *= extents[i]
    return n


def factors(n: int, primes: Sequence[int]) -> tuple[int, ...]:
    """Which primes a number is the product of."""
    found = []
    for i, prime in enumerate(primes):
        while n > 1 and n % prime == 0:
            found.append(i)
            n //= prime
    assert n == 1
    return tuple(found)


def pattern(form: Any, extents: Sequence[int]) -> Pattern | None:
    """The pattern of a traced form, or None if its instruction is not one nest over contiguous operands."""
    count = form.arity + len(form.outs)
    builder = Builder()
    builder.instruction(form, range(count), lambda sid: True, form.trace.numbers.__contains__)
    groups = Scheduler().run(drop_dead(builder.nodes))
    if len(groups) != 1 or groups[0].opaque is not None or not groups[0].nodes:
        return None
    nests = NestBuilder(groups[0])
    nests.build()
    if nests.take_ints or any(type(n) is tuple for n in nests.numbers):
        return None
    shapes = {i: tuple(v.shape) for i, v in enumerate(form.trace.operands)}
    shapes |= {form.arity + i: tuple(v.shape) for i, v in enumerate(form.out_vals)}
    dims = []
    for access in nests.accesses:
        walked = dims_of(access, shapes.get(access.buf.sid), groups[0].extents)
        if walked is None:
            return None
        dims.append((access.buf.sid, walked))
    axes = []
    for a in range(len(groups[0].extents)):
        found = next(((sid, walked[a]) for sid, walked in dims if walked[a] >= 0), None)
        if found is None:
            return None
        axes.append(found)
    numbers = {n: i for i, n in enumerate(extents)}
    ids = [tuple([-1 if n == 1 else numbers[n] for n in shapes[i]]) for i in range(count)]
    return Pattern(groups[0], nests, axes, dims, ids, form.arity) if len(numbers) <= len(PRIMES) else None


def dims_of(access: Access, shape: Any, extents: Sequence[int]) -> list[int] | None:
    """For each axis of the group the dimension of a contiguous operand that an access walks, -1 for none."""
    if shape is None or access.off or access.offslot >= 0:
        return None
    by_stride = {s: d for d, (n, s) in enumerate(zip(shape, contiguous_strides(shape))) if n > 1}
    walked = []
    for stride, extent in zip(access.strides, extents):
        d = -1 if stride == 0 else by_stride.get(stride, -2)
        if d == -2 or (d >= 0 and shape[d] != extent):
            return None
        walked.append(d)
    return walked


def small(p: Pattern, extents: Sequence[int]) -> bool:
    """Whether the recipe is for these extents."""
    return p.quick is not None and product(p.quick.axes, extents) < p.quick.most


def program(p: Pattern, extents: Sequence[int], outputs: list[tuple[int, int]]) -> Program:
    """The program of an instruction with these extents (by number). outputs: (slot, bytes) of the results."""
    quick = p.quick
    if quick is not None and small(p, extents):
        ints = []
        for ids in quick.ints:
            n = 1
            for i in ids:
                n *= extents[i]
            ints.append(n)
        sizes = [size * product(ids, extents) for size, ids in quick.scratch] if quick.scratch else []
        return filled(quick.known, ints, sizes, outputs)
    bound = bind(p, extents)
    known = p.programs.get((bound.nest, bound.parts))
    if known is None:
        known = p.programs[bound.nest, bound.parts] = make(bound)
    if bound.work < SERIAL_WORK and not p.tried:
        p.quick, p.tried = recipe(p, bound, known), True
    return filled(known, bound.ints, [SIZE[kind] * n for kind, n in bound.scratch], outputs)


def filled(known: Any, ints: list[int], sizes: list[int], outputs: list[tuple[int, int]]) -> Program:
    """A program over shared native code that fills the whole table at each run."""
    segments, launches, bases, (floats, wholes), text, fixed, head, words = known
    made: Program = new_object(Program)  # few new objects: there may be thousands of such programs
    made.launches, made.segments, made.outputs, made.externals = launches, segments, outputs, bases
    made.parts = made.blocks = made.pointers = _NONE
    made.born, made.cuts, made.native = _NOWHERE, _NOTHING, None
    made.kept = frozenset([sid for sid, _ in outputs])
    made.floats, made.wholes, made.constants = floats, wholes, ints
    made.fill, made.fixed, made.filler = text, fixed, whole_table
    made.arena = made.runs = 0
    made.quick = False
    wanted(made)
    made.ready = None
    if sizes:
        made.pointers = []
        for size in sizes:
            made.pointers.append((0, made.arena, -1))
            made.arena += (max(size, 1) + 2 * ARENA_ALIGN - 1) & -ARENA_ALIGN
    if words is not None:
        if sizes:
            pointers = head + [x for _, offset, _ in made.pointers for x in (-1, offset, -1, 0)]
            words = specification(pointers, floats, wholes, len(ints), len(launches), segments[0][0].forks)
        made.ready = readied(made, words + struct.pack(f"={len(ints)}q", *ints))
    return made


class Moved(Program):
    """A program whose operands have offsets. scales: of each address the bytes that its offset counts, or 0."""

    __slots__ = ("scales",)

    scales: list[int]


def moved(plain: Program, p: Pattern, line: Sequence[int]) -> Program:
    """A program that `program` has made, for an instruction whose tensors have all an offset, with this line."""
    new: list[int] = []  # the slot of each operand and result
    at = 0
    while at < len(line):
        new.append(~line[at] if line[at] < 0 else line[at])
        at += 2 if line[at] < 0 else 1
    made = new_object(Moved)
    for name in (
        "launches",
        "segments",
        "parts",
        "blocks",
        "born",
        "cuts",
        "native",
        "constants",
        "fill",
        "fixed",
    ):
        setattr(made, name, getattr(plain, name))
    for name in ("outputs", "kept", "arena", "pointers", "quick", "runs", "wanted"):
        setattr(made, name, getattr(plain, name))
    sizes = p.scales(plain.externals)
    made.scales = sizes
    made.externals = [new[s] for s in plain.externals]
    made.floats, made.wholes = [new[s] for s in plain.floats], [new[s] for s in plain.wholes]
    made.filler, made.ready = moved_table, None
    native = plain.segments[0][0]
    if plain.ready is not None:
        words: list[int] = []
        for s, size in zip(made.externals, sizes):
            words += (s, 0, s + 1, size) if size else (s, 0, -1, 0)
        words += [x for _, offset, _ in made.pointers for x in (-1, offset, -1, 0)]
        count = len(made.constants)
        spec = specification(words, made.floats, made.wholes, count, len(made.launches), native.forks)
        made.ready = readied(made, spec + struct.pack(f"={count}q", *made.constants))
    return made


def moved_table(slots: list[Any], arena: int, program: Program) -> list[Any]:
    """As `whole_table`."""
    assert type(program) is Moved
    values = [
        slots[s].ptr + slots[s + 1] * n if n else slots[s].ptr
        for s, n in zip(program.externals, program.scales)
    ]
    values += [arena + offset for _, offset, _ in program.pointers]
    return values + [slots[s] for s in (*program.floats, *program.wholes)] + program.constants


_NONE: list[Any] = []
_NOWHERE: dict[int, int] = {}
_NOTHING: frozenset[int] = frozenset()


def whole_table(slots: list[Any], arena: int, program: Program) -> list[Any]:
    """What is written into the table of such a program: addresses, scratch, numbers, integers."""
    values = [slots[s].ptr for s in program.externals]
    values += [arena + offset for _, offset, _ in program.pointers]
    values += [slots[s] for s in program.floats]
    values += [slots[s] for s in program.wholes]
    return values + program.constants


def bind(p: Pattern, extents: Sequence[int], order: tuple[int, ...] | None = None) -> Bound:
    """The nest over these extents; order: of its axes, else the best for them."""
    old, group, shapes = p.builder, p.group, p.shapes(extents)
    strides = [contiguous_strides(shape) for shape in shapes]
    new = Group(0, tuple([shapes[sid][d] for sid, d in p.axes]))
    new.reduced, new.order, new.nodes = group.reduced, group.order, group.nodes
    nests = NestBuilder(new)
    nests.values, nests.stores, nests.numbers, nests.pinned = old.values, old.stores, old.numbers, old.pinned
    for access, (sid, walked) in zip(old.accesses, p.dims):
        row = [strides[sid][d] if d >= 0 else 0 for d in walked]
        buf = access.buf
        nests.accesses.append(Access(PVal(buf, buf.shape, buf.strides, 0), row, access.mode))
    return nests.finish(order)


def make(bound: Bound) -> tuple[Any, ...]:
    """The native program of one nest whose table is filled whole at each run: addresses, numbers, integers."""
    device = current()
    launch = nest_launch([bound])
    handle, epilogue, _ = kernels_of(device, [launch])[id(launch)]
    addresses, integers = len(launch.bufs) + len(launch.scratch), len(launch.ints)
    floats, wholes = arguments([launch])
    first = 1 + addresses
    second = first + len(floats)
    stop = second + len(wholes)
    where = [*range(1, first), *range(stop, stop + integers)]
    where += [first + floats[s] if kind == "d" else second + wholes[s] for s, kind in launch.numbers]
    native = device.program([(handle, where, launch.parts, epilogue)], stop + integers)
    text = f"={addresses}q{len(floats)}d{len(wholes)}q{integers}q"
    fixed = (f"={integers}q", 8 * stop)
    bases = [buf.sid for buf, _, _ in bound.bufs]
    head = [x for sid in bases for x in (sid, 0, -1, 0)]
    words = None
    if type(native) is NativeProgram:
        words = specification(head, list(floats), list(wholes), integers, 1, native.forks)
    return [(native, [], None)], [launch], bases, (list(floats), list(wholes)), text, fixed, head, words
