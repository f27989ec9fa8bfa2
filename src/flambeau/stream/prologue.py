"""Operands of products that are computed where the product packs them: their elements are never stored."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace
from typing import Any

from ..loop.ir import MATH1, MATH2
from ..loop.recipes import planning
from ..loop.recipes.planning import Plan
from ..loop.recipes.tail import Head
from ..shapes import numel
from .constants import letter
from .fusion import triple, walk
from .lifetimes import size_of, temporary
from .nests import NestBuilder
from .nodes import Group, PBuf, PNode, PVal, alignment, drop_dead, opaque_writes
from .placing import OWN_BLOCK
from .products import planned
from .schedule import inline_cost

FEW = 2  # operations that may be done more than once for an element
ROWS = 64  # from which on a B that is packed only because it is computed is worth that
SMALL = 8  # how many times fewer elements has what is stored for the sake of an operand
PRODUCTS = ("contract", "convolve")


class HeadBound:
    """A head and what it is bound to. view: the operand as it would lie in memory; ins: what is read, with the bytes of
    each; strides: of each along batch, row or column, and k."""

    __slots__ = ("head", "ins", "ints", "nbytes", "numbers", "strides", "view", "which")

    def __init__(self, builder: NestBuilder, view: PVal, strides: list[tuple[int, ...]], which: str):
        self.view, self.which, self.strides, extents = view, which, strides, builder.group.extents
        self.numbers = {
            f"made_{which}_c{v[2]}": (builder.numbers[v[2]], letter(v[1]))
            for v in builder.values
            if v[0] == "num"
        }
        self.ins, self.nbytes = [], []
        for a in builder.accesses:
            read = [n if s else 1 for n, s in zip(extents, a.strides)]
            self.ins.append(PVal(a.buf, read, a.strides, a.off, a.offslot))
            self.nbytes.append(numel(read) * a.buf.dtype.itemsize)
        values, made = tuple(builder.values), builder.of_buf[view.buf.id]
        self.head = self.classed(Head(values, (), made, view.buf.dtype.short), strides)

    def classed(self, head: Head, strides: Sequence[tuple[int, ...]]) -> Head:
        """The head with these strides."""
        rows = [(v.buf.dtype.short, "r", False, tuple(map(kind, row))) for v, row in zip(self.ins, strides)]
        places = [
            (f"made_{self.which}{i}_{d}", s) for i, row in enumerate(strides) for d, s in enumerate(row)
        ]
        self.ints = {name: s for name, s in places if s not in (0, 1)}
        return replace(head, accesses=tuple(rows))

    def pair_up(self) -> bool:
        """Read neighbours along k together; whether that can be."""
        wide = [i for i, row in enumerate(self.strides) if row[2] == 1]
        odd = any(self.strides[i][0] % 2 or self.strides[i][1] % 2 for i in wide)
        if odd or any(self.ins[i].buf.dtype.itemsize > 4 for i in wide):
            return False
        strides = [(b // 2, n // 2, k) if k == 1 else (b, n, k) for b, n, k in self.strides]
        self.head = self.classed(replace(self.head, wide=tuple(wide)), strides)
        return True


def kind(stride: int) -> Any:
    """The class of a stride."""
    return stride if stride in (0, 1) else "s"


def absorbed(nodes: list[PNode], held: Container[int]) -> list[PNode]:
    """The nodes, after products took the elementwise work over that nothing but them reads. held: slots of operands
    that outlive the program."""
    if not any(node.op == "contract" for node in nodes):
        return nodes
    uses = Uses(nodes, held)
    changed = False
    for node in nodes:
        uses.arrive(node)
        if node.kind == "opaque" and node.op == "contract" and numel(node.shape):
            changed |= absorb(node, uses)
    return drop_dead(nodes) if changed else nodes


class Uses:
    """Who reads each buffer, and, while nodes are walked through, how often each was written."""

    def __init__(self, nodes: list[PNode], held: Container[int]):
        self.held = held
        self.readers: dict[int, list[PNode]] = {}
        self.order = {id(node): k for k, node in enumerate(nodes)}
        self.versions: dict[int, int] = {}
        for node in nodes:
            for v in node.ins:
                self.readers.setdefault(v.buf.id, []).append(node)

    def arrive(self, node: PNode) -> None:
        """Go on to a node: count what it writes, mark the scalars that every reader computes again."""
        written = (0,) if node.kind == "store" else opaque_writes(node) if node.kind == "opaque" else ()
        for i in written:
            buf = node.ins[i].buf
            self.versions[buf.id] = self.versions.get(buf.id, 0) + 1
        if node.kind == "const" or (node.kind == "map" and not node.outs[0].kept):
            node.outs[0].inline = inline_cost(node)

    def only(self, buf: PBuf, inside: set[int]) -> bool:
        """Whether nobody but the nodes `inside` reads a buffer."""
        return not buf.kept and all(id(r) in inside for r in self.readers.get(buf.id, ()))

    def after(self, buf: PBuf, node: PNode) -> bool:
        """Whether a buffer is there anyway when a node is over."""
        if buf.kept or (buf.bytes_exist and buf.sid in self.held):
            return True
        return any(self.order[id(r)] > self.order[id(node)] for r in self.readers.get(buf.id, ()))

    def as_it_was(self, v: PVal) -> bool:
        """Whether memory still has what a view was to read."""
        return v.version == self.versions.get(v.buf.id, 0)


def absorb(node: PNode, uses: Uses) -> bool:
    """Let a product compute the operands that it can; whether there are any."""
    found = [head_of(which, v, node, uses) for which, v in zip("ab", node.ins)]
    heads = {which: head for which, head in zip("ab", found) if head is not None}
    heads = {which: heads[which] for which in worth(heads, node, uses)} if heads else heads
    if not heads:
        return False
    node.heads, node.views = heads, node.ins
    node.ins = [
        w for which, v in zip("ab", node.views) for w in (heads[which].ins if which in heads else [v])
    ]
    for v in node.ins:
        uses.readers.setdefault(v.buf.id, []).append(node)
    return True


# --- what an operand is computed from -----------------------------------------------------------------------------


def head_of(which: str, v: PVal, product: PNode, uses: Uses) -> HeadBound | None:
    """What an operand is computed from, if it is for this product alone, from elements that lie somewhere anyway."""
    made = v.buf.node
    if made is None or made.kind != "map" or v.buf.inline or not uses.only(v.buf, {id(product)}):
        return None
    if v.off or v.offslot >= 0 or numel(v.shape) != numel(v.buf.shape) or len(v.shape) != 3:
        return None
    inside = expression(made, uses)
    if inside is None:
        return None
    builder = NestBuilder(Group(-1, tuple([n for n in made.shape if n > 1])))
    for node, at in sorted(inside.values(), key=lambda item: uses.order[id(item[0])]):
        if not all(lies(w, made, {*inside}, uses) for w in node.ins):
            return None
        builder.node(node, at)
    builder.loosen()
    strides = steps(builder, v, (0, 1, 2) if which == "a" else (0, 2, 1))
    if strides is None or any(w[0] not in ("load", "const", "num", "map") for w in builder.values):
        return None
    return HeadBound(builder, v, strides, which)


def expression(last: PNode, uses: Uses) -> dict[int, tuple[PNode, tuple[int, ...]]] | None:
    """The nodes that are computed for the result of `last` alone, each with the axes of its dimensions; None if one of
    their elements is wanted at several places."""
    axes = iter(range(len(last.shape)))
    inside = {id(last): (last, tuple([next(axes) if n > 1 else -1 for n in last.shape]))}
    todo = [last]
    while todo:
        todo.sort(key=lambda n: uses.order[id(n)])
        node = todo.pop()
        at = inside[id(node)][1]
        for v in node.ins:
            made, dims = v.buf.node, alignment(v)
            if made is None or made.kind != "map" or v.buf.inline or dims is None or v.version:
                continue  # a later version is not what the node made
            if numel(made.shape) != numel(last.shape) or not (
                uses.only(v.buf, {*inside}) or cheap(made, uses)
            ):
                continue
            where = [-1] * len(made.shape)
            for a, d in zip(at, dims):
                if d >= 0:
                    where[d] = a
            if id(made) not in inside:
                inside[id(made)] = made, tuple(where)
                todo.append(made)
            elif inside[id(made)][1] != tuple(where):
                return None
    return inside


def cheap(node: PNode, uses: Uses) -> bool:
    """Whether a result that others want as well is computed twice rather than stored: one operation on what lies in
    memory."""
    if node.outs[0].kept or node.op in MATH1 or node.op in MATH2:
        return False
    return all(
        v.buf.inline or stored(v.buf, set(), uses) or numel(v.buf.shape) * SMALL <= numel(node.shape)
        for v in node.ins
    )


def lies(v: PVal, last: PNode, inside: set[int], uses: Uses) -> bool:
    """Whether an operand of an expression is one of its values, or still has its bytes when the product runs, without
    more memory than is saved."""
    buf = v.buf
    if buf.inline or (buf.node is not None and id(buf.node) in inside):
        return True
    if not uses.as_it_was(v):
        return False
    return stored(buf, inside, uses) or (
        buf.node is not None and numel(buf.shape) * SMALL <= numel(last.shape)
    )


def stored(buf: PBuf, inside: set[int], uses: Uses) -> bool:
    """Whether a buffer lies in memory anyway. A product that only the expression reads ends in that itself."""
    if buf.bytes_exist or buf.kept:
        return True
    if buf.node is None or buf.node.op in PRODUCTS:
        return buf.node is not None and not uses.only(buf, inside)
    return buf.node.kind in ("opaque", "empty") or any(r.kind == "opaque" for r in uses.readers[buf.id])


def steps(builder: NestBuilder, v: PVal, dims_in_order: tuple[int, ...]) -> list[tuple[int, ...]] | None:
    """The strides of each access along the dimensions of an operand (batch, row or column, k), which is all of its
    buffer; None where they are not fixed."""
    buf, extents = v.buf, builder.group.extents
    axes = walk(extents, [s for n, s in zip(buf.shape, buf.strides) if n > 1])
    order = sorted([d for d, n in enumerate(v.shape) if n > 1], key=lambda d: -v.strides[d])
    dims = [v.shape[d] for d in order]
    if axes is None or walk(dims, [v.strides[d] for d in order]) is None:
        return None
    found = []
    for access in builder.accesses:
        row = triple(access.strides, extents, axes, dims)
        if row is None:
            return None
        by_dim = dict(zip(order, row))
        found.append(tuple([by_dim.get(d, 0) for d in dims_in_order]))
    return found


# --- whether it pays ----------------------------------------------------------------------------------------------


def worth(heads: dict[str, HeadBound], node: PNode, uses: Uses) -> list[str]:
    """The operands that are better computed by the product."""
    views, out = dict(zip("ab", node.ins)), node.outs[0]
    c = PVal(out, out.shape, out.strides, 0)
    plain = planned(views["a"], views["b"], c, generic=False)
    p = planned(views["a"], views["b"], c, "".join(heads), generic=False)
    found = []
    for which, head in heads.items():
        times = rounds(p, role(which, p), head)
        again = any(v.buf is head.view.buf for w, v in views.items() if w != which)
        if fits(which, head, p) and reused(role(which, p), head, p, plain) and pays(head, times + again):
            taken = p.work * p.parts, plain.work * plain.parts
            if lighter(head, node, uses, size_of(out), *taken):
                found.append(which)
    return found


def role(which: str, p: Plan) -> str:
    """Which operand of the problem as it is computed this one is."""
    return which.translate(planning.OTHER) if p.spec.swap else which


def fits(which: str, head: HeadBound, p: Plan) -> bool:
    """Whether the kernel can compute an operand, in vectors."""
    spec, at = p.spec, role(which, p)
    layout = spec.a if at == "a" else spec.b
    if layout == "any" or (spec.kind != "gemm" and at == "a"):
        return False
    along = 2 if (at, layout) in (("a", "row"), ("b", "col")) else 1
    if any(row[along] not in (0, 1) for row in head.strides):
        return False
    return not spec.pairs or along == 1 or head.pair_up()


def reused(at: str, head: HeadBound, p: Plan, plain: Plan) -> bool:
    """Whether an operand would be packed anyway, or it pays to pack it; with few rows, whether hardly more is read than
    of a stored one, which comes in one stream for each column."""
    if p.spec.kind != "gemm":
        return p.spec.kind != "rows" or sum(head.nbytes) <= size_of(head.view.buf) * 5 // 4
    if plain.spec.pack_a if at == "a" else plain.spec.pack_b:
        return True
    return p.ints["batch"] == 1 and (at == "a" or p.ints["m"] >= ROWS)


def rounds(p: Plan, at: str, head: HeadBound) -> int:
    """How often each element is computed."""
    ints, spec = p.ints, p.spec
    if spec.kind != "gemm":
        return 1
    own = head.view.shape[0] > 1 or ints["batch"] == 1
    if at == "b":
        return ints["gr"] * (1 if own else p.parts if spec.shared else ints["batch"])
    groups = ints["gc"]
    columns = -(-ints["n"] // groups)
    return groups * -(-columns // max(ints["nc"], 1)) * (1 if own else ints["batch"])


def pays(head: HeadBound, times: int) -> bool:
    """Whether an operand's way to memory and back takes more than computing it so often: in bytes, where what only
    this program makes need not have come from memory."""
    if times > 1 and head.head.weight > FEW:
        return False
    own = size_of(head.view.buf)
    outside = sum(n for v, n in zip(head.ins, head.nbytes) if v.buf.bytes_exist)
    return sum(head.nbytes) * times < own * (1 + times) + outside


def lighter(head: HeadBound, node: PNode, uses: Uses, out: int, work: int, plain_work: int) -> bool:
    """Whether no more memory is taken at the most, but for a few panels: what is read lives until the product is
    computed, the operand itself is not there."""
    own, held, free = size_of(head.view.buf), 0, False
    for v, nbytes in zip(head.ins, head.nbytes):
        if not uses.after(v.buf, node):
            held += nbytes
            free |= temporary(v.buf) and nbytes == own
    panels = max(work - plain_work - max(OWN_BLOCK, own >> 3), 0)
    return held + out + panels <= max(held + (0 if free else own) - plain_work, own + out)
