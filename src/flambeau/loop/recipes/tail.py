"""What follows a contraction or convolution in its own kernel: elementwise operations on the finished elements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..build import Builder, Value, const
from ..ir import MATH1, MATH2, SIZE
from .analysis import Nest
from .contraction import Epilogue
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
        return sum(40 if v[1] in MATH1 or v[1] in MATH2 else 1 for v in self.values if v[0] == "map")


def names(tail: Tail) -> list[str]:
    """The names of its buffers."""
    return [f"tail{i}" for i in range(len(tail.accesses))]


def epilogue(tail: Tail) -> Epilogue:
    """The hook of a contraction's kernel that computes a tail."""
    return lambda b: _Emit(b, tail)


class _Emit:
    """The operations of a tail, each time it is called."""

    def __init__(self, b: Builder, tail: Tail):
        self.b, self.tail = b, tail
        self.bufs = [b.buf(n, a[0], a[1], a[2]) for n, a in zip(names(tail), tail.accesses)]
        self.strides: list[list[Any]] = []
        for i, a in enumerate(tail.accesses):
            self.strides.append([b.integer(f"tail{i}_{k}") if c == "s" else c for k, c in enumerate(a[3])])
        used = {v[2]: v[1] for v in tail.values if v[0] == "num"}
        self.numbers = {k: b.num(f"tail_c{k}", "f64" if t == "f64" else "i64") for k, t in used.items()}
        lowered = declared(tail.nests, b)
        with b.epilogue():
            for nest in lowered:
                nest.body(once=True)

    def address(self, i: int, at: tuple[Value, ...]) -> Value:
        """Where the access i is at (batch, row, column)."""
        total: Value = const("i64", 0)
        for x, s in zip(at, self.strides[i]):
            if not (isinstance(s, int) and s == 0):
                total = total + x * s
        return total

    def near(self, lanes: int, *at: Value) -> None:
        """Have the lines of a row of a tile that are read brought near: no two of its rows lie in one page."""
        for i in sorted({v[1] for v in self.tail.values if v[0] == "load"}):
            dtype, _, _, (_, row, column) = self.tail.accesses[i]
            if row and column == 1:
                for line in range(0, lanes, 64 // SIZE[dtype]):
                    self.b.prefetch(self.bufs[i], self.address(i, at) + line)

    def __call__(self, acc: Value, *at: Value) -> None:
        b, tail, found = self.b, self.tail, list[Value]()
        for i, v in enumerate(tail.values):
            if i == tail.result:
                found.append(b.let(acc.cast(tail.type)))
            elif v[0] == "const":
                found.append(const(v[1], v[2]))
            elif v[0] == "num":
                number = self.numbers[v[2]]
                found.append(number if v[1] in ("f64", "i64") else b.let(number.ne(0)))
            elif v[0] == "load":
                found.append(b.let(self.bufs[v[1]][self.address(v[1], at)]))
            else:
                found.append(b.let(scalar(v[1], v[2], [found[k] for k in v[3:]])))
        for v, i in tail.stores:
            b.store(self.bufs[i], self.address(i, at), found[v])
