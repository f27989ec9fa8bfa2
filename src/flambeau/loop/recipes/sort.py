"""Sorting rows, stable: by radix or merging, and selection of the k first. Not-a-number comes last (first if
descending).

Elements are compared as integer keys in the same order. Up to 32 bits, key and place are packed into one i64; otherwise
keys and places are two arrays. A row has n elements; `work` holds 2n (4n, if places are apart) i64 for each part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ..build import Builder, Value, const, minimum, select
from ..ir import FLOATS, SIZE, Kernel

RUN = 16  # runs sorted by insertion before merging
DIGIT = 11  # bits of a digit of the radix sort
BLOCK = 64  # elements looked at together for one that belongs to the first ones
FEW = 32  # up to so many first ones are kept sorted by insertion


@dataclass(frozen=True)
class Sort:
    """dtype of the elements; number of row axes; order; way: see WAYS. Only the k first are stored.

    places: whether they are wanted; dense: whether the elements of a row lie side by side."""

    dtype: str
    axes: int
    descending: bool
    packed: bool
    way: str = "merge"
    places: bool = True
    digit: int = DIGIT  # bits, of the radix sort
    dense: bool = False

    @property
    def apart(self) -> bool:
        """Whether places are kept beside the keys; a key tells all but a zero's sign and a NaN's bits."""
        return not self.packed and (self.places or self.dtype in FLOATS)


def narrow_key(b: Builder, x: Value, descending: bool) -> Value:
    """An integer of x's size in the order of x (u64: i64); both zeros are equal, NaN is the largest."""
    if x.type in ("f16", "bf16"):
        x = b.let(x.cast("f32"))
    k = x
    if x.type in ("f32", "f64"):
        size = SIZE[x.type] * 8
        kind = f"i{size}"
        bits = b.let((x + 0.0).bitcast(kind))
        low = const(kind, 2 ** (size - 1) - 1)
        k = b.let(bits ^ ((bits >> const(kind, size - 1)) & low))
        k = b.let(select(x.eq(x), k, low))
    elif x.type == "u64":
        k = x.cast("i64") ^ const("i64", -(2**63))
    return ~k if descending else k


def key_of(b: Builder, x: Value, descending: bool) -> Value:
    """The same as an i64."""
    k = narrow_key(b, x, False).cast("i64")
    return b.let(~k if descending else k, "key")


def value_of(b: Builder, key: Value, type: str, descending: bool) -> tuple[Value, Value]:
    """(the element with that key, whether the key tells: not for zeros and NaN)."""
    k = ~key if descending else key
    if type not in FLOATS:
        return (k ^ const("i64", -(2**63)) if type == "u64" else k).cast(type), const("b1", True)
    wide = "f64" if type == "f64" else "f32"
    kind = f"i{SIZE[wide] * 8}"
    k = b.let(k.cast(kind), "k")
    low = const(kind, 2 ** (SIZE[wide] * 8 - 1) - 1)
    bits = k ^ ((k >> const(kind, SIZE[wide] * 8 - 1)) & low)
    return bits.bitcast(wide).cast(type), k.ne(0) & k.ne(low)


class _Rows:
    """Parameters: x, values, places, work; n, k; xs, vs: strides along the row; row axes a0.., x_a0.., v_a0.."""

    def __init__(self, spec: Sort):
        self.spec, b = spec, Builder(f"sort_{spec.way}")
        self.b = b
        self.x = b.buf("x", spec.dtype)
        self.values = b.buf("values", spec.dtype, "w")
        self.places = b.buf("places", "i64", "w") if spec.places else None
        self.work = b.buf("work", "i64", "rw")
        self.n, self.k = b.integer("n"), b.integer("k")
        self.xs: Value = const("i64", 1) if spec.dense else b.integer("xs")
        self.vs = b.integer("vs")
        self.extents = [b.integer(f"a{i}") for i in range(spec.axes)]
        self.x_a = [b.integer(f"x_a{i}") for i in range(spec.axes)]
        self.v_a = [b.integer(f"v_a{i}") for i in range(spec.axes)]
        count: Value = const("i64", 1)
        for e in self.extents:
            count = count * e
        self.rows = b.partition(count)

    def base(self, flat: Value) -> tuple[Value, Value]:
        return decode(self.b, flat, self.extents, (self.x_a, self.v_a))  # type: ignore[return-value]

    def entry(self, x0: Value, i: Value) -> tuple[Value, Value]:
        """(key or key with place, place)."""
        b = self.b
        k = key_of(b, b.let(self.x[x0 + i * self.xs], "x"), self.spec.descending)
        return (b.let((k << 32) | i) if self.spec.packed else k), i

    def emit(self, x0: Value, v0: Value, i: Value, at: Value) -> None:
        """Store the entry at a position of `work` as the i-th."""
        b, spec = self.b, self.spec
        key = b.let(self.work[at], "key")
        to = b.let(v0 + i * self.vs, "to")
        value, known = value_of(
            b, key >> const("i64", 32) if spec.packed else key, spec.dtype, spec.descending
        )
        if spec.dtype in FLOATS:
            with b.if_(known):
                self.values[to] = value
            with b.else_():
                self.values[to] = self.x[x0 + self.place(at) * self.xs]
        else:
            self.values[to] = value
        if self.places is not None:
            self.places[to] = self.place(at)

    def place(self, at: Value) -> Value:
        """The place kept at a position of `work` (that of the key, if unpacked: 2n further)."""
        b = self.b
        if self.spec.packed:
            return b.let(self.work[at] & const("i64", 0xFFFFFFFF), "place")
        return b.let(self.work[at + self.n * 2], "place")


def decode(
    b: Builder, flat: Value, extents: Sequence[Value], strides: Sequence[Sequence[Value]]
) -> tuple[Value, ...]:
    """The offsets of a flat row number, for several operands."""
    totals: list[Value] = [const("i64", 0) for _ in strides]
    for d in range(len(extents) - 1, -1, -1):
        c = b.let(flat % extents[d], "c") if d else flat
        if d:
            flat = b.let(flat // extents[d], "f")
        totals = [t + c * s[d] for t, s in zip(totals, strides)]
    return tuple(b.let(t, "o") for t in totals)


def kernel(spec: Sort) -> Kernel:
    """values[..., i], places[..., i] of the rows of x in order."""
    f = _Rows(spec)
    b = f.b
    base = b.let(b.tid * f.n * (4 if spec.apart else 2), "base")
    lo, hi = f.rows
    with b.for_("row", lo, hi) as row:
        x0, v0 = f.base(row)
        WAYS[spec.way](f, base, x0, v0)
    return b.kernel()


def move(f: _Rows, to: Value, at: Value) -> None:
    """Copy an element of the work space, with its place."""
    f.work[to] = f.work[at]
    if f.spec.apart:
        f.work[to + f.n * 2] = f.work[at + f.n * 2]


def insert(f: _Rows, low: Value, at: Value, key: Value, place: Value) -> None:
    """Put an entry into the sorted work[low:at], from the end; equal keys stay in front."""
    b = f.b
    j = b.reg("j", at, "i64")
    seen = j.get()
    with b.while_((seen > low) & (f.work.load(seen - 1, mask=seen > low) > key)):
        here = b.let(j.get(), "here")
        move(f, here, here - 1)
        j.set(here - 1)
    end = b.let(j.get(), "end")
    f.work[end] = key
    if f.spec.apart:
        f.work[end + f.n * 2] = place


def merge_row(f: _Rows, base: Value, x0: Value, v0: Value) -> None:
    """Sort one row: runs by insertion, then merged between two halves of the work space."""
    fill(f, base, x0)
    done = merge_sort(f, base, f.n)
    emit_first(f, v0, x0, done)


def fill(f: _Rows, base: Value, x0: Value) -> None:
    """All entries into work[base:base + n]."""
    b = f.b
    with b.for_("i", 0, f.n) as i:
        put(f, b.let(base + i), *f.entry(x0, i))


def put(f: _Rows, to: Value, key: Value, place: Value) -> None:
    """Write an entry: a key with its place in it, or both apart."""
    f.work[to] = key
    if f.spec.apart:
        f.work[to + f.n * 2] = place


def emit_first(f: _Rows, v0: Value, x0: Value, at: Value) -> None:
    """The k first of the sorted entries from `at` on."""
    b = f.b
    with b.for_("i", 0, f.k) as i:
        f.emit(x0, v0, i, b.let(at + i))


def merge_sort(f: _Rows, base: Value, count: Value) -> Value:
    """Sort work[base:base + count]; where the result begins: there, or n further."""
    b, n = f.b, f.n
    with b.for_("s", 0, count, RUN) as s, b.for_("i", s + 1, minimum(s + RUN, count)) as i:
        at = b.let(base + i, "at")
        key = b.let(f.work[at], "key")
        place = key if not f.spec.apart else b.let(f.work[at + n * 2], "place")
        insert(f, b.let(base + s), at, key, place)
    source, width = b.reg("source", 0, "i64"), b.reg("width", RUN, "i64")
    with b.while_(width.get() < count):
        w = b.let(width.get(), "w")
        src = b.let(base + source.get(), "src")
        dst = b.let(base + (n - source.get()), "dst")
        with b.for_("s", 0, count, w * 2) as s:
            merge(f, src, dst, s, b.let(minimum(s + w, count)), b.let(minimum(s + w * 2, count)))
        source.set(n - source.get())
        width.set(w * 2)
    return b.let(base + source.get(), "done")


def radix_row(f: _Rows, base: Value, x0: Value, v0: Value) -> None:
    """By digits, the lowest first; all are counted while the row is read, and one that all entries share is skipped."""
    b, n, work, width = f.b, f.n, f.work, f.spec.digit
    shifts = list(range(32 if f.spec.packed else 0, 64, width))
    counts = b.alloc("counts", "i32", len(shifts) << width)
    with b.vfor("z", 0, len(shifts) << width, 16) as z:
        counts[z] = const("i32", 0)

    def bucket(key: Value, d: int) -> Value:
        bits = min(width, 64 - shifts[d])
        digit = (key >> const("i64", shifts[d])) & const("i64", 2**bits - 1)
        if d == len(shifts) - 1:
            digit = digit ^ const("i64", 2 ** (bits - 1))  # the sign
        return b.let(digit + (d << width), "bucket")

    with b.for_("i", 0, n) as i:
        key, place = f.entry(x0, i)
        put(f, b.let(base + i), key, place)
        for d in range(len(shifts)):
            at = bucket(key, d)
            counts[at] = counts[at] + 1
    source = b.reg("source", 0, "i64")
    for d in range(len(shifts)):
        one = bucket(b.let(work[base + source.get()], "one"), d)
        with b.if_(counts[one].cast("i64") < n):
            total = b.reg("total", 0, "i32")
            with b.for_("k", d << width, (d + 1) << width) as k:
                here = b.let(counts[k], "here")
                counts[k] = total.get()
                total.set(total.get() + here)
            src = b.let(base + source.get(), "src")
            dst = b.let(base + (n - source.get()), "dst")
            with b.for_("i", 0, n) as i:
                key = b.let(work[src + i], "key")
                at = bucket(key, d)
                to = b.let(counts[at], "to")
                counts[at] = to + 1
                place = key if not f.spec.apart else b.let(work[src + i + n * 2], "place")
                put(f, b.let(dst + to.cast("i64")), key, place)
            source.set(n - source.get())
    emit_first(f, v0, x0, b.let(base + source.get(), "done"))


def merge(f: _Rows, src: Value, dst: Value, lo: Value, mid: Value, hi: Value) -> None:
    """work[src + lo:mid] and work[src + mid:hi] in order into work[dst + lo:hi]."""
    b, work = f.b, f.work
    i, j = b.reg("i", lo, "i64"), b.reg("j", mid, "i64")
    with b.while_((i.get() < mid) & (j.get() < hi)):
        p, q = b.let(i.get(), "p"), b.let(j.get(), "q")
        left, right = b.let(work[src + p], "left"), b.let(work[src + q], "right")
        other = b.let(right < left, "other")
        to = b.let(dst + p + (q - mid), "to")
        work[to] = select(other, right, left)
        if f.spec.apart:
            work[to + f.n * 2] = work[src + select(other, q, p) + f.n * 2]
        step = b.let(other.cast("i64"), "step")
        i.set(p + (const("i64", 1) - step))
        j.set(q + step)
    rest = b.let(i.get(), "rest")
    with b.for_("r", rest, mid) as r:
        move(f, dst + r + (hi - mid), src + r)
    rest = b.let(j.get(), "rest")
    with b.for_("r", rest, hi) as r:
        move(f, dst + r, src + r)


def few_row(f: _Rows, base: Value, x0: Value, v0: Value) -> None:
    """The k first, kept sorted while the row is read once."""
    b, k = f.b, f.k
    with b.for_("i", 0, k) as i:
        key, place = f.entry(x0, i)
        insert(f, base, b.let(base + i), key, place)
    last = b.let(base + (k - 1), "last")
    with blocks(f, x0, k, lambda: f.work[last], lambda end: const("b1", False)) as i:
        key, place = f.entry(x0, i)
        with b.if_(key < f.work[last]):
            insert(f, base, last, key, place)
    emit_first(f, v0, x0, base)


@contextmanager
def blocks(
    f: _Rows, x0: Value, first: Value, limit: Callable[[], Value], always: Callable[[Value], Value]
) -> Iterator[Value]:
    """Loop over the elements from `first` on, but for blocks in which none has a key below the limit.

    always(end): whether the block that ends there is not left out."""
    b = f.b
    with b.for_("s", first, f.n, BLOCK) as s:
        end = b.let(minimum(s + BLOCK, f.n), "end")
        below, hit = b.let(limit(), "below"), b.reg("hit", False, "b1", 16)
        if f.spec.packed:
            below = b.let(below >> const("i64", 32), "below")
        with b.vfor("v", s, end, 16) as v:
            key = b.let(narrow_key(b, b.let(f.x[x0 + v * f.xs], "x"), f.spec.descending), "key")
            hit.set(hit.get() | (key < below.cast(key.type)))
        with b.if_(hit.reduce("or") | always(end)), b.for_("i", s, end) as i:
            yield i


def some_row(f: _Rows, base: Value, x0: Value, v0: Value) -> None:
    """The k first: what is less than the kth so far is collected, and 4k of those are sorted now and then."""
    b, n, k = f.b, f.n, f.k
    room = b.let(minimum(n, k * 4), "room")
    count, sieve = b.reg("count", 0, "i64"), b.reg("sieve", 0, "i64")
    limit = b.reg("limit", 0, "i64")
    with blocks(f, x0, const("i64", 0), limit.get, lambda end: sieve.get().eq(0) | end.eq(n)) as i:
        key, place = f.entry(x0, i)
        with b.if_(sieve.get().eq(0) | (key < limit.get())):
            put(f, b.let(base + count.get(), "to"), key, place)
            count.set(count.get() + 1)
        with b.if_(count.get().eq(room) | i.eq(n - 1)):
            done = merge_sort(f, base, b.let(count.get(), "found"))
            with b.if_(done.ne(base)), b.for_("c", 0, k) as c:
                move(f, b.let(base + c), b.let(done + c))
            limit.set(f.work[base + (k - 1)])
            count.set(k)
            sieve.set(1)
    emit_first(f, v0, x0, base)


def count_row(f: _Rows, base: Value, x0: Value, v0: Value) -> None:
    """Elements of a byte: how many there are of each says where each goes."""
    b = f.b
    counts = b.alloc("counts", "i64", 256)
    with b.vfor("z", 0, 256, 16, full=True) as z:
        counts[z] = const("i64", 0)

    def bucket(i: Value) -> tuple[Value, Value]:
        x = b.let(f.x[x0 + i * f.xs], "x")
        key = key_of(b, x, f.spec.descending) & const("i64", 255)
        return x, b.let(key ^ const("i64", 128) if x.type == "i8" else key, "bucket")

    with b.for_("i", 0, f.n) as i:
        at = bucket(i)[1]
        counts[at] = counts[at] + 1
    before = b.reg("before", 0, "i64")
    with b.for_("c", 0, 256) as c:
        here = b.let(counts[c], "here")
        counts[c] = before.get()
        before.set(before.get() + here)
    with b.for_("i", 0, f.n) as i:
        x, at = bucket(i)
        place = b.let(counts[at], "place")
        counts[at] = place + 1
        with b.if_(place < f.k):
            to = b.let(v0 + place * f.vs, "to")
            f.values[to] = x
            if f.places is not None:
                f.places[to] = i


# few, some: the k first where k is small; at least 4k elements
WAYS = {"count": count_row} | {"merge": merge_row, "radix": radix_row, "few": few_row, "some": some_row}
