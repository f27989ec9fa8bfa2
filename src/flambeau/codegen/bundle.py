"""Bundles: k neighbours in memory for each lane, k elements apart from those of the next (the parts of complex numbers,
the channels of a pixel), as k vectors and shuffles in registers. Lane by lane that would be k * W loads or stores.

The pattern is k consecutive `Let`s of the loads buf[e + 0], ..., buf[e + k-1], or so many stores, in a `VFor`, where e
grows by k from lane to lane (of loads: or falls). Vectors are those of the processor: of W lanes each n elements are
done apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ..loop import ir
from .function import Buffer
from .memory import LINE, Memory
from .types import Value, llvm_type

MOST = 8  # elements of a bundle
Shuffle = Callable[[str, str, list[int]], str]


def neighbours(body: Sequence[ir.Stmt], at: int) -> list[ir.Let] | list[ir.Store]:
    """The loads or stores from body[at] on that go to places 0, 1, 2, ... from that of the first."""
    found: list[ir.Stmt] = []
    first: tuple[str, ir.Expr, int] | None = None
    for s in body[at : at + MOST]:
        place = _place(s)
        if place is None or (found and s.__class__ is not found[0].__class__):
            break
        first = first or place
        if place[0] != first[0] or not _same(place[1], first[1]) or place[2] != first[2] + len(found):
            break
        found.append(s)
    return found  # type: ignore[return-value]


def _place(s: ir.Stmt) -> tuple[str, ir.Expr, int] | None:
    """(buffer, index, constant added to it) of the load or store that a statement is, whatever the lane."""
    if isinstance(s, ir.Let) and isinstance(s.value, ir.Load):
        buf, index, mask = s.value.buf, s.value.index, s.value.mask
    elif isinstance(s, ir.Store) and isinstance(s.value, (ir.Var, ir.Const)):
        buf, index, mask = s.buf, s.index, s.mask
    else:
        return None
    if mask is not None:
        return None
    if isinstance(index, ir.Op) and index.op == "add" and isinstance(index.args[1], ir.Const):
        return buf, index.args[0], index.args[1].value
    return buf, index, 0


def _same(a: ir.Expr, b: ir.Expr) -> bool:
    return a is b or (isinstance(a, ir.Var) and isinstance(b, ir.Var) and a.name == b.name)


class Bundles(Memory):
    """A Memory that knows bundles."""

    names: dict[str, Value]

    def bundle(self, body: Sequence[ir.Stmt], at: int) -> int:
        """Emit the bundle that body[at] begins, if it does; how many statements that is."""
        run = neighbours(body, at)
        if len(run) < 2:
            return 0
        s = run[0]
        load = s.value if isinstance(s, ir.Let) else s
        assert isinstance(load, (ir.Load, ir.Store))
        buffer, index = self.buffers[load.buf], self.value(load.index)
        step = index.step
        if not isinstance(step, int) or not 2 <= abs(step) <= len(run):
            return 0
        if step < 0 and (isinstance(s, ir.Store) or self._by_copy(buffer)):
            return 0
        if isinstance(s, ir.Let):
            self._loads(run[: abs(step)], buffer, index, step < 0)  # type: ignore[arg-type]
        else:
            self._stores(run[:step], buffer, index)  # type: ignore[arg-type]
        return abs(step)

    def _piece(self, buffer: Buffer) -> int:
        """Elements of a vector among all of which one instruction may choose, or few."""
        size = ir.SIZE[buffer.type]
        wide = size >= 4 or self.target.bytes or (size == 2 and self.target.avx512)
        return min(self.width, (self.target.vector_bytes if wide else 16) // size)

    def _loads(self, run: list[ir.Let], buffer: Buffer, index: Value, back: bool) -> None:
        """back: the lanes lie in memory the other way round; they are turned when they are apart."""
        k, n = len(run), self._piece(buffer)
        first = self.arithmetic("add", index.text, k * (1 - self.width)) if back else index.text
        lanes_mask = self._reverse(self.mask, f"<{self.width} x i1>") if back and self.mask else self.mask
        type, align = f"<{n} x {buffer.memory}>", f"align {ir.SIZE[buffer.type]}"
        shuffle, pieces, copied = partial(self._picked, type), [], ""
        if self._by_copy(buffer):
            copied = self.scratch(f"<{k * self.width} x {buffer.memory}>")
            self.out.append(f"  store <{k * self.width} x {buffer.memory}> zeroinitializer, ptr {copied}")
            self._copy(buffer, copied, self._address(buffer, index.text), k)
        for p in range(k * self.width // n):
            if copied:
                at = self.line(f"getelementptr {buffer.memory}, ptr {copied}, i64 {p * n}")
                pieces.append(self.line(f"load {type}, ptr {at}, {align}"))
                continue
            at = self._address(buffer, self.arithmetic("add", first, p * n))
            if self.mask:
                operands = [f"ptr {align} {at}", f"<{n} x i1> {self._part(lanes_mask, p * n, n, k)}"]
                pieces.append(self._masked("load", type, buffer, operands, n))
            else:
                pieces.append(self.line(f"load {type}, ptr {at}, {align}{buffer.tag}"))
        lanes = [unwoven(pieces[p : p + k], n, shuffle) for p in range(0, len(pieces), k)]
        for c, s in enumerate(run):
            text = self._joined([part[c] for part in lanes], n, buffer.memory)
            text = self._reverse(text, f"<{self.width} x {buffer.memory}>") if back else text
            self.names[s.name] = Value(
                self._from_memory(text, buffer.type, self.width), buffer.type, self.width
            )

    def _stores(self, run: list[ir.Store], buffer: Buffer, index: Value) -> None:
        k, n, width = len(run), self._piece(buffer), self.width
        type, whole = f"<{n} x {buffer.memory}>", f"<{width} x {buffer.memory}>"
        shuffle, texts, pieces = partial(self._picked, type), [], []
        for s in run:
            text = self.at(self.value(s.value), width)
            if buffer.type == "b1":
                text = self.line(f"zext {llvm_type('b1', width)} {text} to {whole}")
            texts.append(text)
        for first in range(0, width, n):
            parts = [self._picked(whole, text, "poison", range(first, first + n)) for text in texts]
            pieces += woven(parts, n, shuffle)
        size = ir.SIZE[buffer.type]
        if self._by_copy(buffer):
            to, self_at = self.scratch(f"<{k * width} x {buffer.memory}>"), self._address(buffer, index.text)
            for p, text in enumerate(pieces):
                at = self.line(f"getelementptr {buffer.memory}, ptr {to}, i64 {p * n}")
                self.out.append(f"  store {type} {text}, ptr {at}, align {size}")
            self._copy(buffer, self_at, to, k)
            return
        align = f"align {size}"
        if run[0] in self.around and not self.mask:
            align = f"align {min(LINE, n * size)}{self.around_tag()}"
        for p, text in enumerate(pieces):
            at = self._address(buffer, self.arithmetic("add", index.text, p * n))
            if self.mask:
                name, mask = self._intrinsic("store", buffer, n), self._part(self.mask, p * n, n, k)
                where = f"ptr align {size} {at}"
                self.out.append(f"  call void @{name}({type} {text}, {where}, <{n} x i1> {mask}){buffer.tag}")
            else:
                self.out.append(f"  store {type} {text}, ptr {at}, {align}{buffer.tag}")

    def _part(self, mask: str, first: int, n: int, k: int) -> str:
        """The mask of n elements, k of which are one lane's."""
        order = [at // k for at in range(first, first + n)]
        return self._picked(f"<{self.width} x i1>", mask, "poison", order)

    def _joined(self, parts: list[str], n: int, memory: str) -> str:
        """Vectors one after the other as one."""
        while len(parts) > 1:
            pairs = zip(parts[::2], parts[1::2], strict=True)
            parts = [self._picked(f"<{n} x {memory}>", a, b, range(2 * n)) for a, b in pairs]
            n *= 2
        return parts[0]


def unwoven(vectors: list[str], n: int, shuffle: Shuffle) -> list[str]:
    """k vectors of n as k others: that of number c has every k-th element from c on."""
    k = len(vectors)
    if k == 1:
        return vectors
    if k % 2 == 0:
        halves = []
        for odd in (0, 1):
            order = list(range(odd, 2 * n, 2))
            some = [shuffle(a, b, order) for a, b in zip(vectors[::2], vectors[1::2], strict=True)]
            halves.append(unwoven(some, n, shuffle))
        return [v for pair in zip(*halves, strict=True) for v in pair]
    found = []
    for c in range(k):
        result = vectors[0]
        for p in range(1, k):
            places = [lane * k + c - p * n for lane in range(n)]  # in vector p
            order = [n + at if 0 <= at < n else lane for lane, at in enumerate(places)]
            if p == 1:  # what the first one has is not in its lane yet
                order = [at + n if -n <= at < n else lane for lane, at in enumerate(places)]
            result = shuffle(result, vectors[p], order)
        found.append(result)
    return found


def woven(vectors: list[str], n: int, shuffle: Shuffle) -> list[str]:
    """The other way round: one element of each of k vectors in turn."""
    k = len(vectors)
    if k == 1:
        return vectors
    if k % 2 == 0:
        evens, odds = woven(vectors[::2], n, shuffle), woven(vectors[1::2], n, shuffle)
        found = []
        for a, b in zip(evens, odds, strict=True):
            for first in (0, n // 2):
                found.append(shuffle(a, b, [x for at in range(first, first + n // 2) for x in (at, n + at)]))
        return found
    found = []
    for p in range(k):
        places = [divmod(p * n + lane, k) for lane in range(n)]  # (element, vector)
        result = shuffle(
            vectors[0], vectors[1], [at + n if c == 1 else at if c == 0 else 0 for at, c in places]
        )
        for other in range(2, k):
            order = [n + at if c == other else lane for lane, (at, c) in enumerate(places)]
            result = shuffle(result, vectors[other], order)
        found.append(result)
    return found
