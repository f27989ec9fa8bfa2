"""What the contraction kernels share: their key, their parameters, and the arithmetic of one step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..build import Buffer, Builder, Operand, Value, const, fma
from ..ir import FLOATS, SIZE
from . import pairs

KC = 384  # the length of a k block: part of the definition of a contraction's result

Emit = Callable[[Value, Value, Value, Value], None]
Epilogue = Callable[[Builder], Emit]
"""Called once with the builder to declare parameters; returns emit(acc, batch, row, col), which is called at each place
where elements of the result are finished (inside a `vfor` over columns) and stores what is wanted there, once. It may
have `near(written, lanes, batch, row, col)`, called some time before, which has what is read there brought near, and
also what is written, if asked."""


Made = Callable[[Builder], Any]
"""The same for an operand that is computed where it is packed; returns what has at(batch, row or column, k)."""


class Spec(NamedTuple):
    """What identifies a contraction kernel: the key for caching.

    kind: "gemm", "rows" (few rows, B transposed) or "stream" (one row or two). a: "row" (k contiguous), "col" (i
    contiguous) or "any"; b: "row" (j contiguous), "col" (k contiguous) or "any"; c: "row" (j contiguous) or "any".
    blocks: k may exceed KC. groups: k may exceed a group of blocks. deep: a group may have several blocks. narrow:
    the operands that have no room for whole transposed blocks, of "ab", or "maybe" (decided at run time). block:
    width of a transposed block. swap: the problem is computed transposed (lanes run over the rows of C). even: m is a
    multiple of rows. tail: lanes of the tile of the last columns (0: n is a multiple of lanes). thin: there are no
    others. single: gr = gc = 1 and n <= nc. staged: the epilogue is long, its code is there once for all rows of a
    tile. paired: a batch is a pair of indices. shared: all batches have the same B, which a part packs once. joined:
    all batches have the same A, and their columns follow each other: column j is column j % bn of batch j // bn.
    spread: in B those of a batch lie in rows of bw, bh apart. pairs: k counts pairs of bfloat16 (see pairs.py), what
    is contiguous along k is read by words. far: C is "far" from the nearest caches, or "vast": beyond the second; its
    lines are asked for before a tile. made: the operands, of "ab", that are computed where they are packed or read.
    bake: run-time integers that are constants of this kernel."""

    kind: str
    dtype: str
    out: str
    rows: int
    lanes: int
    a: str = "row"
    b: str = "row"
    c: str = "row"
    pack_a: bool = False
    pack_b: bool = False
    blocks: bool = True
    groups: bool = True
    deep: bool = False
    narrow: str = ""
    batched: bool = False
    block: int = 16
    unroll: int = 1
    swap: bool = False
    even: bool = False
    tail: int = 0
    thin: bool = False
    single: bool = False
    staged: bool = False
    paired: bool = False
    shared: bool = False
    joined: bool = False
    spread: bool = False
    pairs: bool = False
    far: str = ""
    made: str = ""
    bake: tuple[tuple[str, int], ...] = ()

    def works(self, in_place: bool) -> bool:
        """Whether the kernel takes a workspace; in_place: sums of groups of blocks are kept in C."""
        kept = self.groups and not in_place
        return self.kind == "gemm" and (self.pack_a or self.pack_b or self.deep or kept)

    def describe(self) -> str:
        """The choice in words: "tile 6x16, A and B packed, k in blocks"."""
        made = [f"{' and '.join(self.made.upper())} computed on the way"] if self.made else []
        if self.kind != "gemm":
            way = "blocks of columns, transposed" if self.kind == "rows" else "rows of B streamed"
            few = f"{self.rows} {'column' if self.swap else 'row'}{'s' * (self.rows > 1)}"
            return ", ".join([few, way, *made])
        packed = " and ".join(name for name, is_so in (("A", self.pack_a), ("B", self.pack_b)) if is_so)
        words = [f"tile {self.rows}x{self.lanes}", f"{packed or 'nothing'} packed"]
        words += [f"a tile of {self.tail} for the last columns"] if self.tail else []
        words += ["k in blocks"] if self.blocks else []
        words += ["pairs of bfloat16"] if self.pairs else []
        words += ["columns of all batches in a row"] if self.joined else []
        words += ["transposed problem"] if self.swap else []
        return ", ".join(words + made)

    @property
    def kc(self) -> int:
        """Steps of a k block."""
        return KC // 2 if self.pairs else KC

    def read(self, which: str) -> str:
        """The type in which "a" or "b" is read."""
        by_words = self.pairs and (self.a == "row" if which == "a" else self.b == "col")
        return "f32" if by_words else self.dtype

    @property
    def late(self) -> bool:
        """Whether what follows the sums of a tile goes row after row, out of scratch, and not out of the registers."""
        return self.staged or self.deep or self.thin

    @property
    def padded(self) -> bool:
        """Whether the last columns have a tile as wide as the others: of packed zeros for those that do not exist."""
        return self.pack_b and self.tail == self.lanes

    @property
    def acc(self) -> str:
        """The type in which products are summed."""
        return accumulator(self.dtype)


def ceil_div(a: int, b: int) -> int:
    """a / b, rounded up."""
    return -(-a // b)


def round_up(a: int, b: int) -> int:
    """The least multiple of b that is at least a."""
    return ceil_div(a, b) * b


def accumulator(dtype: str) -> str:
    """The type in which a contraction of this dtype accumulates."""
    if dtype in FLOATS:
        return dtype if SIZE[dtype] >= 4 else "f32"
    return "i64" if SIZE[dtype] == 8 else "i32"


def muladd(a: Operand, b: Operand, c: Value) -> Value:
    """a * b + c: fused for floats, wrapping for integers."""
    return fma(a, b, c) if c.type in FLOATS else Value((a * b + c).expr)  # type: ignore[operator]


INTS = (
    "batch",
    "m",
    "n",
    "k",
    "ab",
    "ai",
    "ak",
    "bb",
    "bk",
    "bj",
    "bn",
    "ab2",
    "bb2",
    "bw",
    "bh",
    "gr",
    "gc",
    "nc",
    "mp",
    "ws",
    "wp",
    "wa",
    "wt",
    "kg",
    "cb",
    "ci",
    "cj",
)


class Frame:
    """The parameters of a contraction kernel as values (constants where the spec fixes them)."""

    def __init__(self, spec: Spec, epilogue: Epilogue | None, name: str, made: dict[str, Made]):
        self.spec, self.b = spec, Builder(name)
        b = self.b
        in_place = epilogue is None and spec.out == spec.acc
        names = ("b", "a") if spec.swap else ("a", "b")
        self.operands: dict[str, Any] = {}
        for place, which in zip(("a", "b"), names):
            self.operands[which] = made[place](b) if place in made else b.buf(place, spec.read(which))
        self.c = b.buf("c", spec.out, "rw" if in_place and spec.groups else "w") if epilogue is None else None
        self.partial: Buffer | None = self.c if in_place and spec.groups else None
        self.work: Buffer | None = None
        if spec.works(in_place):
            self.work = b.buf("work", spec.acc, "rw")
        fixed = fixed_ints(spec)
        ints = INTS if epilogue is None else INTS[:-3]
        self.ints = {i: const("i64", fixed[i]) if i in fixed else b.integer(i) for i in ints}
        self.emit = epilogue(b) if epilogue else self.store

    def __getitem__(self, name: str) -> Value:
        return self.ints[name]

    @property
    def a(self) -> Buffer:
        """The memory of A."""
        found: Buffer = self.operands["a"]
        return found

    @property
    def bm(self) -> Buffer:
        """The memory of B."""
        found: Buffer = self.operands["b"]
        return found

    def made(self, which: str) -> Any:
        """What computes "a" or "b", or None."""
        return self.operands[which] if which in self.spec.made else None

    def of_a(self, index: Value) -> Value:
        """What is packed of A's element, or pair of elements, at an index."""
        return self._of(self.a, "a", "ak", index, None)

    def of_b(self, index: Value, mask: Value | None = None) -> Value:
        """The same of B."""
        return self._of(self.bm, "b", "bk", index, mask)

    def _of(self, source: Buffer, which: str, step: str, index: Value, mask: Value | None) -> Value:
        spec = self.spec
        if not spec.pairs:
            return source.load(index, mask).cast(spec.acc)
        if spec.read(which) == "f32":
            return pairs.turned(source.load(index, mask))
        after = index + (self[step] >> 1)
        return pairs.together(source.load(index, mask), source.load(after, mask))

    def start(self, which: str, batch: Value) -> Value:
        """Where the matrix of a batch begins in "a" or "b"."""
        if not self.spec.paired:
            return batch * self[f"{which}b"]
        return batch // self["bn"] * self[f"{which}b"] + batch % self["bn"] * self[f"{which}b2"]

    def c_index(self, batch: Value, row: Value, col: Value) -> Value:
        """Where C[batch, row, col] lies."""
        return batch * self["cb"] + row * self["ci"] + col * self["cj"]

    def store(self, acc: Value, batch: Value, row: Value, col: Value) -> None:
        """The plain epilogue."""
        assert self.c is not None
        self.c[self.c_index(batch, row, col)] = acc.cast(self.spec.out)

    def near(self, lanes: int, batch: Value, row: Value, col: Value) -> None:
        """Have what the epilogue reads and writes in a row of a tile brought near, if `asks`."""
        spec, near = self.spec, getattr(self.emit, "near", None)
        if near is not None:
            near(bool(spec.far), lanes, batch, row, col)
        elif self.c is not None:
            for line in range(0, lanes, 64 // SIZE[spec.out]):
                self.b.prefetch(self.c, self.c_index(batch, row, col) + line, write=True)

    @property
    def asks(self) -> bool:
        """Whether `near` does anything."""
        return hasattr(self.emit, "near") or bool(
            self.c is not None and self.spec.far and self.spec.c == "row"
        )


def fixed_ints(spec: Spec) -> dict[str, int]:
    """The integers that are constants of the kernel."""
    fixed = dict(spec.bake)
    fixed |= {} if spec.batched else {"batch": 1, "ab": 0}
    fixed |= {} if spec.batched or spec.joined else {"bb": 0, "cb": 0}
    fixed |= {} if spec.paired or spec.joined else {"bn": 1}
    fixed |= {} if spec.paired else {"ab2": 0, "bb2": 0}
    fixed |= {} if spec.spread else {"bw": 1, "bh": 0}
    fixed |= {"gr": 1, "gc": 1} if spec.single else {}
    fixed |= {"row": {"ak": 1}, "col": {"ai": 1}}.get(spec.a, {})
    fixed |= {"row": {"bj": 1}, "col": {"bk": 1}}.get(spec.b, {})
    return fixed | ({"cj": 1} if spec.c == "row" else {})
