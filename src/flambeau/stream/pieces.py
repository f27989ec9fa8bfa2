"""Sums of values that are zero but for a piece each (gradients of slices) become one value, to which the pieces are
written; those that meet are added there, one after the other.

The bits are those of the sum: elements that are not in all pieces have a zero among their terms, to which the others
may be added in their order; the rest begins with -0, which changes nothing."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from ..shapes import contiguous_strides, numel
from .nodes import Builder, PBuf, PNode, PVal, opaque_writes

Box = list[tuple[int, int, int]]  # along each dimension: the first place, the last, and the step

ZERO = ("0", "0.0")


class Piece:
    """A value that is zero but for a piece: the nodes that make it (memory, zeros, the piece), and the addition that
    reads it."""

    __slots__ = ("add", "blank", "memory", "store")

    def __init__(self, memory: PNode, blank: PNode, store: PNode, add: PNode):
        self.memory, self.blank, self.store, self.add = memory, blank, store, add


class Sum:
    """Pieces and additions of a sum; nested: two sums were added, so that the order of pieces is not that of adding."""

    __slots__ = ("adds", "nested", "pieces")

    def __init__(self, add: PNode, *terms: Sum | Piece):
        self.pieces: list[Piece] = []
        self.adds = [add]
        self.nested = len(terms) == 2 and all(isinstance(x, Sum) for x in terms)
        for x in terms:
            if isinstance(x, Piece):
                self.pieces.append(x)
            else:
                self.pieces += x.pieces
                self.adds += x.adds
                self.nested |= x.nested


def together(nodes: list[PNode], builder: Builder) -> list[PNode]:
    """The nodes, with such sums as one value each."""
    stores: dict[int, list[PNode]] = {}
    readers: dict[int, list[PVal]] = {}
    for node in nodes:
        written = (0,) if node.kind == "store" else opaque_writes(node) if node.kind == "opaque" else ()
        for i, v in enumerate(node.ins):
            if i in written:
                stores.setdefault(v.buf.id, []).append(node)
            else:
                readers.setdefault(v.buf.id, []).append(v)
    sums: dict[int, Sum] = {}  # by result: those that no other such sum reads
    for node in nodes:
        if node.kind == "map" and node.op == "add" and node.outs[0].id not in stores:
            a, b = [term(v, node, sums, stores, readers) for v in node.ins]
            if a is not None and b is not None:
                sums[node.outs[0].id] = Sum(node, *((b, a) if isinstance(b, Sum) else (a, b)))
                for v in node.ins:
                    sums.pop(v.buf.id, None)
    changed: dict[int, list[PNode]] = {}  # what stands in the place of a node
    for out, found in sums.items():
        boxes = [box for x in found.pieces if (box := extent(x.store.ins[0])) is not None]
        if len(boxes) < len(found.pieces):
            continue
        separate = apart(boxes)
        if separate or (not found.nested and all(step == 1 for box in boxes for *_, step in box)):
            changed |= joined(found, [] if separate else boxes, builder)
            for v in readers.get(out, ()):
                v.version = v.buf.version
    return [x for node in nodes for x in changed.get(id(node), (node,))] if changed else nodes


def term(
    v: PVal,
    node: PNode,
    sums: dict[int, Sum],
    stores: dict[int, list[PNode]],
    readers: dict[int, list[PVal]],
) -> Sum | Piece | None:
    """What an operand of an addition is, if nothing else reads it."""
    buf, out = v.buf, node.outs[0]
    if buf.kept or len(readers[buf.id]) > 1 or not is_whole(v) or not is_like(buf, out):
        return None
    if buf.id in sums:
        return sums[buf.id]
    made, writes = buf.node, stores.get(buf.id, ())
    if made is None or made.kind != "empty" or len(writes) != 2 or any(x.kind != "store" for x in writes):
        return None
    blank, store = writes
    zero = blank.ins[1].buf.node
    if zero is None or zero.kind != "const" or repr(zero.attrs[0]) not in ZERO or not is_whole(blank.ins[0]):
        return None
    same = store.ins[1].buf.dtype is buf.dtype is blank.ins[1].buf.dtype
    fits = same and buf.dtype.is_floating_point and store.ins[0].offslot < 0
    return Piece(made, blank, store, node) if fits else None


def is_whole(v: PVal) -> bool:
    """Whether a view is its buffer."""
    return v.shape == v.buf.shape and tuple(v.strides) == tuple(v.buf.strides) and not v.off and v.offslot < 0


def is_like(buf: PBuf, out: PBuf) -> bool:
    """Whether two buffers are laid out alike, without gaps."""
    step = 1
    for n, s in zip(reversed(buf.shape), reversed(buf.strides)):
        if n > 1 and s != step:
            return False
        step *= n
    return buf.shape == out.shape and tuple(buf.strides) == tuple(out.strides) and buf.dtype is out.dtype


def apart(boxes: list[Box]) -> bool:
    """Whether there is a dimension along which no two pieces meet."""
    for spans in zip(*boxes):
        steps = {step for _, _, step in spans}
        every = steps.pop() if len(steps) == 1 else 1  # even places do not meet odd ones
        order = sorted([(first % every, first, last) for first, last, _ in spans])
        if all(a[0] < b[0] or a[2] < b[1] for a, b in pairwise(order)):
            return True
    return False


def in_all(boxes: list[Box]) -> tuple[list[int], list[int]] | None:
    """The first place and the extent, along each dimension, of what belongs to all pieces."""
    first = [max(x[0] for x in spans) for spans in zip(*boxes)]
    shape = [min(x[1] for x in spans) + 1 - begin for begin, spans in zip(first, zip(*boxes))]
    return (first, shape) if min(shape, default=1) > 0 else None


def extent(v: PVal) -> Box | None:
    """The first and the last place of a view along each dimension of its buffer, and its steps there, or None."""
    if len(v.shape) != len(v.buf.shape):
        return None
    found, off = [], v.off
    for n, s, room, step in zip(v.shape, v.strides, v.buf.shape, v.buf.strides):
        if room == 1:
            found.append((0, 0, 1))
            continue
        first, off = divmod(off, step)
        if n > 1 and (s % step or not s):
            return None
        found.append((first, first + (n - 1) * (s // step), max(s // step, 1)))
    inside = not off and all(last < room for (_, last, _), room in zip(found, v.buf.shape))
    return found if inside else None


def joined(found: Sum, boxes: list[Box], builder: Builder) -> dict[int, list[PNode]]:
    """What stands in the place of each node of a sum. boxes: of pieces that meet, which are added in the order of the
    sum; others are put where they are made."""
    pieces, out = found.pieces, found.adds[0].outs[0]
    first, blank = pieces[0], pieces[0].blank
    memory = PNode("empty", "empty", [], (), [out], out.shape)
    memory.form, out.node = first.memory.form, memory
    changed: dict[int, list[PNode]] = {id(node): [] for node in found.adds}
    for x in pieces:
        changed |= {id(node): [] for node in (x.memory, x.blank, x.store)}
    changed[id(first.memory)] = [memory]
    if boxes or sum(numel(x.store.ins[0].shape) for x in pieces) < numel(out.shape):
        changed[id(blank)] = [written(blank, blank.ins[0], blank.ins[1], out)]
    if boxes and in_all(boxes) is not None:
        changed[id(blank)] += without_zeros(blank, in_all(boxes), out, builder)
    for x in pieces:
        (place, value), zero = x.store.ins, x.blank.ins[1]
        other = PVal(zero.buf, value.shape, (0,) * len(value.shape), zero.off)
        if boxes:
            other = PVal(out, place.shape, place.strides, place.off)
        buf = builder.buffer(value.shape, contiguous_strides(value.shape), out.dtype)
        add = PNode("map", "add", [other, value], x.add.attrs, [buf], value.shape)
        add.form, buf.node = x.add.form, add
        view = PVal(buf, buf.shape, buf.strides, 0)
        changed[id(x.add if boxes else x.store)] += [add, written(x.store, place, view, out)]
    return changed


def without_zeros(blank: PNode, box: Any, out: PBuf, builder: Builder) -> list[PNode]:
    """Elements without a zero among their terms begin with what changes nothing."""
    first, shape = box
    buf = builder.buffer((), (), out.dtype)
    minus = PNode("map", "neg", [PVal(blank.ins[1].buf, (), (), 0)], (), [buf], ())
    minus.form, buf.node = blank.form, minus
    place = PVal(out, shape, out.strides, sum(n * s for n, s in zip(first, out.strides)))
    return [minus, written(blank, place, PVal(buf, shape, (0,) * len(shape), 0), out)]


def written(store: PNode, v: PVal, value: PVal, out: PBuf) -> PNode:
    """The store of a value where a view has its place, in another buffer."""
    out.version += 1
    node = PNode("store", "store", [PVal(out, v.shape, v.strides, v.off), value], store.attrs, [], v.shape)
    node.form = store.form
    return node
