"""The element of given rank in each row, by radix: digit by digit from the highest on, the bucket where the rank falls
is found, and only its entries are looked at again. Equal elements count in the order of their places, as in sorting."""

from __future__ import annotations

from ..build import Buffer, Register, Value, const
from ..ir import Kernel
from .sort import Sort, _Rows, decode


class _Ranked(_Rows):
    """Rows with a rank each: `at`, with strides r_a0.. along the row axes. Results have one element for each row."""

    def __init__(self, spec: Sort):
        super().__init__(spec)
        self.at = self.b.buf("at", "i64")
        self.r_a = [self.b.integer(f"r_a{i}") for i in range(spec.axes)]

    def place(self, at: Value) -> Value:
        if self.spec.packed:
            return super().place(at)
        return self.b.let(self.work[at + self.n], "place")


def kernel(spec: Sort, digit: int) -> Kernel:
    """values[...] and places[...] of the element of rank at[...]; digit: bits looked at in one pass."""
    f = _Ranked(spec)
    b = f.b
    base = b.let(b.tid * f.n * (1 if spec.packed else 2), "base")
    counts = b.alloc("counts", "i32", 1 << digit)
    lo, hi = f.rows
    with b.for_("row", lo, hi) as row:
        x0, v0, r0 = decode(b, row, f.extents, (f.x_a, f.v_a, f.r_a))
        found = select_row(f, base, x0, f.at[r0], digit, counts)
        f.values[v0] = f.x[x0 + found * f.xs]
        f.places[v0] = found  # type: ignore[index]
    return b.kernel()


def select_row(f: _Ranked, base: Value, x0: Value, at: Value, digit: int, counts: Buffer) -> Value:
    """The place of the element of that rank."""
    b, n = f.b, f.n
    rank, left = b.reg("rank", at, "i64"), b.reg("left", n, "i64")
    low = 32 if f.spec.packed else 0
    tops = list(range(64, low, -digit))
    for level, top in enumerate(tops):
        bottom = max(low, top - digit)
        one_pass(f, base, x0, (bottom, top, counts), (rank, left), level == 0)
    return f.place(b.let(base + rank.get(), "found"))


def one_pass(
    f: _Ranked,
    base: Value,
    x0: Value,
    digits: tuple[int, int, Buffer],
    state: tuple[Register, Register],
    first: bool,
) -> None:
    """Count the entries that are left by one digit, and keep those of the bucket where the rank falls."""
    b, work = f.b, f.work
    bottom, top, counts = digits
    rank, left = state
    size = 1 << (top - bottom)

    def bucket(key: Value) -> Value:
        digit = (key >> const("i64", bottom)) & const("i64", size - 1)
        return b.let(digit ^ const("i64", size // 2 if top == 64 else 0), "bucket")  # the sign

    def entry(i: Value) -> tuple[Value, Value]:
        if first:
            return f.entry(x0, i)
        key = b.let(work[base + i], "key")
        return key, key if f.spec.packed else b.let(work[base + i + f.n], "place")

    with b.if_(const("b1", True) if first else left.get() > 1):
        count = b.let(left.get(), "count")
        with b.vfor("z", 0, size, min(size, 16)) as z:
            counts[z] = const("i32", 0)
        with b.for_("i", 0, count) as i:
            at = bucket(entry(i)[0])
            counts[at] = counts[at] + 1
        here, below = b.reg("here", 0, "i64"), b.reg("below", 0, "i64")
        with b.while_(below.get() + counts[here.get()].cast("i64") <= rank.get()):
            below.set(below.get() + counts[here.get()].cast("i64"))
            here.set(here.get() + 1)
        rank.set(rank.get() - below.get())
        chosen = b.let(here.get(), "chosen")
        kept = b.reg("kept", 0, "i64")
        with b.if_(const("b1", True) if first else counts[chosen].cast("i64") < count):
            with b.for_("i", 0, count) as i:
                key, place = entry(i)
                to = b.let(base + kept.get(), "to")
                work[to] = key  # what is not kept is written over
                if not f.spec.packed:
                    work[to + f.n] = place
                kept.set(kept.get() + bucket(key).eq(chosen).cast("i64"))
            left.set(kept.get())
