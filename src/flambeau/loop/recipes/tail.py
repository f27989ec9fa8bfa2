"""Elementwise operations in the kernel of a contraction or convolution: what follows on its finished elements, and what
an operand is computed from where it is packed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..build import Builder, Value, const
from ..ir import FLOATS, MATH1, MATH2, SIZE
from . import pairs
from .analysis import Nest
from .contraction import Epilogue, Made
from .nest import declared, scalar


@dataclass(frozen=True, slots=True)
class Tail:
    """values and stores as in a `Nest` ("load", "const", "num" and "map" only); value number `result` is the product.

    accesses: (type, mode, alias, class of the stride along batch, rows and columns: 0, 1 or "s"). nests: what runs once
    after all parts (they have no kept axes)."""

    values: tuple[Any, ...]
    accesses: tuple[Any, ...]
    stores: tuple[tuple[int, int], ...]
    result: int
    type: str
    nests: tuple[Nest, ...] = ()

    @property
    def weight(self) -> int:
        """How much code an element takes, in operations."""
        return weight(self.values)


@dataclass(frozen=True, slots=True)
class Head:
    """What an operand of a product is computed from, as in a `Tail`: value number `result` is its element.

    The strides of accesses are those along batch, row or column, and k. wide: the accesses whose neighbours along k are
    read together; their strides count pairs (see pairs.py)."""

    values: tuple[Any, ...]
    accesses: tuple[Any, ...]
    result: int
    type: str
    wide: tuple[int, ...] = ()

    @property
    def weight(self) -> int:
        """How much code an element takes, in operations."""
        return weight(self.values)


def weight(values: Sequence[tuple[Any, ...]]) -> int:
    """How much code values take, in operations."""
    return sum(40 if v[1] in MATH1 or v[1] in MATH2 else 1 for v in values if v[0] == "map")


def names(work: Tail | Head, prefix: str = "tail") -> list[str]:
    """The names of its buffers."""
    return [f"{prefix}{i}" for i in range(len(work.accesses))]


def epilogue(tail: Tail) -> Epilogue:
    """The hook of a contraction's kernel that computes a tail."""
    return lambda b: _Emit(b, tail)


WORD = {1: "u16", 2: "u32", 4: "u64"}  # of two elements of so many bytes


def computed(head: Head, which: str) -> Made:
    """The hook of a contraction's kernel that computes operand "a" or "b"."""
    return lambda b: Computed(b, head, f"made_{which}")


class Work:
    """The parameters and operations of a tail or head. known: values that are the same for all elements."""

    def __init__(self, b: Builder, work: Tail | Head, prefix: str):
        self.b, self.work = b, work
        self.wide = work.wide if isinstance(work, Head) else ()
        self.bufs = [
            b.buf(n, WORD[SIZE[a[0]]] if i in self.wide else a[0], a[1], a[2])
            for i, (n, a) in enumerate(zip(names(work, prefix), work.accesses))
        ]
        self.strides: list[list[Any]] = []
        for i, a in enumerate(work.accesses):
            self.strides.append(
                [b.integer(f"{prefix}{i}_{k}") if c == "s" else c for k, c in enumerate(a[3])]
            )
        used = {v[2]: v[1] for v in work.values if v[0] == "num"}
        self.numbers = {k: b.num(f"{prefix}_c{k}", "f64" if t in FLOATS else "i64") for k, t in used.items()}
        self.known: dict[int, Value] = {}

    def address(self, i: int, at: tuple[Value, ...]) -> Value:
        """Where the access i is at (batch, row, column)."""
        total: Value = const("i64", 0)
        for x, s in zip(at, self.strides[i]):
            if not (isinstance(s, int) and s == 0):
                total = total + x * s
        return total

    def compute(self, at: tuple[Value, ...], acc: Value | None = None) -> list[Value]:
        """All values of an element; acc: the product."""
        found: list[Value] = []
        for i, v in enumerate(self.work.values):
            if i in self.known:
                found.append(self.known[i])
            elif v[0] == "product":
                assert acc is not None
                found.append(self.b.let(acc.cast(self.work.type)))
            elif v[0] == "load":
                found.append(self.loaded(v[1], at))
            else:
                found.append(self.plain(v, found))
        return found

    def loaded(self, i: int, at: tuple[Value, ...]) -> Value:
        """What the access i reads."""
        return self.b.let(self.bufs[i][self.address(i, at)])

    def plain(self, v: tuple[Any, ...], found: Sequence[Value] | dict[int, Value]) -> Value:
        """A value that reads no memory."""
        if v[0] == "const":
            return const(v[1], v[2])
        if v[0] == "num":
            return self.b.argument(self.numbers[v[2]], v[1])
        return self.b.let(scalar(v[1], v[2], [found[k] for k in v[3:]]))


class Computed(Work):
    """An operand that is computed; its elements are found by batch, row or column, and k."""

    def __init__(self, b: Builder, head: Head, prefix: str):
        super().__init__(b, head, prefix)
        self.result = head.result
        for i, v in enumerate(head.values):  # what all elements have in common
            if v[0] in ("const", "num") or (v[0] == "map" and all(k in self.known for k in v[3:])):
                self.known[i] = self.plain(v, self.known)
        self.half, self.words = 0, dict[int, Value]()

    def at(self, *at: Value) -> Value:
        """An element."""
        return self.compute(at)[self.result]

    def word(self, batch: Value, line: Value, pair: Value) -> Value:
        """Two neighbours along k as `pairs.dot2` takes them."""
        found = []
        self.words = {i: self.b.let(self.bufs[i][self.address(i, (batch, line, pair))]) for i in self.wide}
        for self.half in (0, 1):
            found.append(self.at(batch, line, pair * 2 + self.half))
        return pairs.together(*found)

    def loaded(self, i: int, at: tuple[Value, ...]) -> Value:
        """What the access i reads: memory, or a half of a word that was read before."""
        if i not in self.words:
            return super().loaded(i, at)
        type = self.work.accesses[i][0]
        bits = 8 * SIZE[type]
        part = (self.words[i] >> bits * self.half).cast(f"u{bits}")
        return self.b.let(part.ne(0) if type == "b1" else part.bitcast(type) if type[0] != "u" else part)


class _Emit(Work):
    """A tail, each time it is called."""

    def __init__(self, b: Builder, tail: Tail):
        super().__init__(b, tail, "tail")
        self.tail = tail
        lowered = declared(tail.nests, b)
        with b.epilogue():
            for nest in lowered:
                nest.body(once=True)

    def near(self, written: bool, lanes: int, *at: Value) -> None:
        """Have the lines of a row of a tile that are read brought near: no two of its rows lie in one page. written:
        those that are written, too."""
        stores = {i for _, i in self.tail.stores}
        for i in sorted({v[1] for v in self.tail.values if v[0] == "load"} | (stores if written else set())):
            dtype, _, _, (_, row, column) = self.tail.accesses[i]
            if row and column == 1:
                for line in range(0, lanes, 64 // SIZE[dtype]):
                    self.b.prefetch(self.bufs[i], self.address(i, at) + line, write=written and i in stores)

    def __call__(self, acc: Value, *at: Value) -> None:
        found = self.compute(at, acc)
        for v, i in self.tail.stores:
            self.b.store(self.bufs[i], self.address(i, at), found[v])
