"""Discrete Fourier transforms of m = n1 n2 points, both at most 64 (Cooley and Tukey 1965):
transforms of n1 points, a turn of each result, transforms of n2 points.

Along a dense axis (rows), lanes are the points of one row, which go through a square in between; along any other one
(columns), lanes are neighbouring transforms. The small transforms are straight code over registers. Turns are made by
each part: powers of one root, by as few products in float64 as a binary tree needs.

Real transforms of n = 2 m points are those of m complex ones, whose parts are the even and the odd points.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from ..build import Builder, Operand, Value, const, fma, minimum, select
from ..ir import SIZE, Kernel
from .sort import decode

LARGEST = 64  # points of a small transform
PRIMES = (2, 3, 5, 7, 11, 13)
Complex = tuple[Value, Value]


@dataclass(frozen=True)
class Fourier:
    """kind: rows, columns, or (along rows) from_real and to_real; sign: of the exponent; scale: a factor of results;
    dense: whether a row's parts of numbers lie side by side; axes: of the rows."""

    kind: str
    dtype: str
    n1: int
    n2: int
    sign: int
    scale: float
    dense: bool
    axes: int


def lanes_of(dtype: str) -> int:
    """How many numbers are side by side."""
    return 64 // SIZE[dtype]


def padded(n: int, lanes: int) -> int:
    """n, filled up to whole vectors."""
    return -(-n // lanes) * lanes


@functools.cache
def effort(n: int) -> int:
    """Roughly the operations of a small transform."""
    if n == 1:
        return 0
    r = _radix(n)
    s = n // r
    each = {2: 4, 4: 16}.get(r, 4 * r * (r - 1) // 2 + 4 * r)
    return r * effort(s) + s * each + 6 * (r - 1) * (s - 1)


def factors(m: int, dtype: str) -> tuple[int, int] | None:
    """(n1, n2) of the least effort, or None."""
    rest = m
    for p in PRIMES:
        while rest % p == 0:
            rest //= p
    if rest != 1:
        return None
    w = lanes_of(dtype)
    found = [(n, m // n) for n in range(1, min(m, LARGEST) + 1) if m % n == 0 and m // n <= LARGEST]
    cost = lambda p: (effort(p[0]) + 8 * p[0]) * padded(p[1], w) + (effort(p[1]) + 8 * p[1]) * padded(p[0], w)
    return min(found, key=cost) if found else None


def room(spec: Fourier) -> tuple[int, int]:
    """Elements of scratch that a part needs: (of the dtype, of float64)."""
    w = lanes_of(spec.dtype)
    if spec.kind == "columns":
        turns = spec.n1 * padded(spec.n2, w)
        return 2 * turns + 2 * spec.n1 * spec.n2 * w, 2 * turns
    square = padded(spec.n1, w) * padded(spec.n2, w)
    line = padded(spec.n1 * spec.n2 + 1, w) + w
    return 4 * square + (0 if spec.kind == "rows" else 4 * line), 2 * square + 4 * w + 4 * line


def root(k: int, n: int) -> tuple[float, float]:
    """exp(2 pi i k / n), exact where an eighth of the circle says so."""
    k = (k + n // 2) % n - n // 2
    turn, rest = divmod(8 * k, n)
    if rest == 0 and turn % 2 == 0:
        return ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[turn // 2 % 4]
    return math.cos(2 * math.pi * k / n), math.sin(2 * math.pi * k / n)


def _radix(n: int) -> int:
    return 4 if n % 4 == 0 else next(p for p in PRIMES if n % p == 0)


class _Small:
    """A small transform, over registers."""

    def __init__(self, b: Builder, sign: int):
        self.b, self.sign = b, sign

    def turned(self, z: Complex, k: int, n: int) -> Complex:
        """z times the k-th power of the n-th root."""
        b, (re, im) = self.b, z
        c, s = root(self.sign * k, n)
        if s == 0.0:
            return (re, im) if c > 0 else (b.let(-re), b.let(-im))
        if c == 0.0:
            return (b.let(-im), re) if s > 0 else (im, b.let(-re))
        return b.let(fma(re, c, im * -s)), b.let(fma(re, s, im * c))

    def plus(self, x: Complex, y: Complex) -> Complex:
        return self.b.let(x[0] + y[0]), self.b.let(x[1] + y[1])

    def minus(self, x: Complex, y: Complex) -> Complex:
        return self.b.let(x[0] - y[0]), self.b.let(x[1] - y[1])

    def transform(self, xs: list[Complex]) -> list[Complex]:
        """All results, in order: those of every r-th point, turned, combined r at a time."""
        n = len(xs)
        if n == 1:
            return xs
        r = _radix(n)
        s = n // r
        parts = [self.transform(xs[i::r]) for i in range(r)]
        out: list[Complex] = [xs[0]] * n
        for k in range(s):
            made = self.butterfly([self.turned(p[k], i * k, n) for i, p in enumerate(parts)])
            for q, z in enumerate(made):
                out[k + q * s] = z
        return out

    def butterfly(self, z: list[Complex]) -> list[Complex]:
        """A transform of a prime number of points, or of 4."""
        if len(z) == 2:
            return [self.plus(*z), self.minus(*z)]
        if len(z) == 4:
            a, b = self.plus(z[0], z[2]), self.minus(z[0], z[2])
            c, d = self.plus(z[1], z[3]), self.turned(self.minus(z[1], z[3]), 1, 4)
            return [self.plus(a, c), self.plus(b, d), self.minus(a, c), self.minus(b, d)]
        return self.odd(z)

    def odd(self, z: list[Complex]) -> list[Complex]:
        """Pairs of points from both ends have the same cosines and opposite sines."""
        b, p, half = self.b, len(z), len(z) // 2
        sums = [self.plus(z[j], z[p - j]) for j in range(1, half + 1)]
        differences = [self.minus(z[j], z[p - j]) for j in range(1, half + 1)]
        total = z[0]
        for s in sums:
            total = self.plus(total, s)
        out = [total] * p
        for k in range(1, half + 1):
            (re, im), (x, y) = z[0], (None, None)
            for j, (s, d) in enumerate(zip(sums, differences), 1):
                c, w = root(self.sign * j * k, p)
                re, im = b.let(fma(s[0], c, re)), b.let(fma(s[1], c, im))
                x = b.let(d[1] * -w) if x is None else b.let(fma(d[1], -w, x))
                y = b.let(d[0] * w) if y is None else b.let(fma(d[0], w, y))
            out[k], out[p - k] = self.plus((re, im), (x, y)), self.minus((re, im), (x, y))  # type: ignore[arg-type]
        return out


def kernel(spec: Fourier) -> Kernel:
    """The kernel of transforms along one axis."""
    f = _Frame(spec)
    if spec.kind == "columns":
        f.columns()
    else:
        f.rows()
    return f.b.kernel()


class _Frame:
    """Buffers x, out (real numbers), space, wide (scratch); strides: step, im (from a complex point to the next, to its
    imaginary part), for results ostep; rows a0.. with x_a0.., o_a0..; columns: count, xs, os between them."""

    def __init__(self, spec: Fourier):
        self.spec, self.b = spec, Builder(f"fourier_{spec.kind}")
        b, self.w = self.b, lanes_of(spec.dtype)
        self.n1, self.n2, self.m = spec.n1, spec.n2, spec.n1 * spec.n2
        self.x, self.out = b.buf("x", spec.dtype), b.buf("out", spec.dtype, "w")
        self.space, self.wide = b.buf("space", spec.dtype, "rw"), b.buf("wide", "f64", "rw")
        step, im, ostep = b.integer("step"), b.integer("im"), b.integer("ostep")
        rows = spec.kind != "columns"
        self.step = const("i64", 2) if spec.dense and rows else step
        self.im = const("i64", 1) if spec.dense else im
        self.ostep = const("i64", 2) if rows else ostep
        self.extents = [b.integer(f"a{i}") for i in range(spec.axes)]
        self.x_a = [b.integer(f"x_a{i}") for i in range(spec.axes)]
        self.o_a = [b.integer(f"o_a{i}") for i in range(spec.axes)]
        self.small = _Small(b, spec.sign)
        self.n2p = padded(self.n2, self.w)
        some, double = room(spec)
        self.used, self.used_wide = b.let(b.tid * some, "some"), b.let(b.tid * double, "double")

    def take(self, count: int, wide: bool = False) -> Value:
        """Where `count` elements of scratch begin."""
        if wide:
            at, self.used_wide = self.used_wide, self.b.let(self.used_wide + count)
        else:
            at, self.used = self.used, self.b.let(self.used + count)
        return at

    def total(self) -> Value:
        count: Value = const("i64", 1)
        for e in self.extents:
            count = count * e
        return count

    # --- turns --------------------------------------------------------------------------------------------------------

    def put(self, re: Value, im: Value, z: tuple[Operand, Operand]) -> None:
        """A number in float64 into scratch."""
        self.wide[re], self.wide[im] = z

    def product(self, a: Complex, c: Complex) -> Complex:
        return self.b.let(a[0] * c[0] - a[1] * c[1]), self.b.let(a[0] * c[1] + a[1] * c[0])

    def turns(self) -> tuple[Value, Value]:
        """Scratch with w^(k1 j2), k1 < n1 and j2 < n2: rows of powers of two are given, others are their products."""
        b, size = self.b, self.n1 * self.n2p
        re, im = self.take(size), self.take(size)
        wide_re, wide_im = self.take(size, True), self.take(size, True)
        for k in [0, *[1 << i for i in range((self.n1 - 1).bit_length())]]:
            for i in range(self.n2):
                place = k * self.n2p + i
                self.put(wide_re + place, wide_im + place, root(self.spec.sign * k * i, self.m))
            with b.for_("k", k + 1, min(2 * k, self.n1)) as more:
                one, other = more * self.n2p, (more - k) * self.n2p
                with b.vfor("j", 0, self.n2, 8) as j:
                    power = (
                        b.let(self.wide[wide_re + k * self.n2p + j]),
                        b.let(self.wide[wide_im + k * self.n2p + j]),
                    )
                    rest = b.let(self.wide[wide_re + other + j]), b.let(self.wide[wide_im + other + j])
                    self.put(wide_re + one + j, wide_im + one + j, self.product(power, rest))
        with b.for_("k", 0, self.n1) as each, b.vfor("j", 0, self.n2, self.w) as j:
            for to, source in ((re, wide_re), (im, wide_im)):
                turn = self.wide[source + each * self.n2p + j]
                self.space[to + each * self.n2p + j] = turn.cast(self.spec.dtype)
        return re, im

    def halves(self) -> tuple[Value, Value]:
        """Scratch with the powers 0 to m of the root of 2 m: those of a whole vector times those within one."""
        b, w, size = self.b, self.w, padded(self.m + 1, self.w) + self.w
        re, im = self.take(size), self.take(size)
        inner, outer = self.take(2 * w, True), self.take(2 * size, True)
        count = -(-(self.m + 1) // w)
        for i in range(w):
            self.put(inner + i, inner + (w + i), root(self.spec.sign * i, 2 * self.m))
        for i in range(count):
            self.put(outer + 2 * i, outer + (2 * i + 1), root(self.spec.sign * i * w, 2 * self.m))
        with b.for_("k", 0, count) as k:
            whole = b.let(self.wide[outer + k * 2]), b.let(self.wide[outer + k * 2 + 1])
            with b.vfor("j", 0, w, w, full=True) as j:
                c, s = self.product((b.let(self.wide[inner + j]), b.let(self.wide[inner + w + j])), whole)
                self.space[re + k * w + j] = c.cast(self.spec.dtype)
                self.space[im + k * w + j] = s.cast(self.spec.dtype)
        return re, im

    # --- rows ---------------------------------------------------------------------------------------------------------

    def rows(self) -> None:
        """Lanes are points of a row."""
        b, kind, w = self.b, self.spec.kind, self.w
        turns = self.turns() if min(self.n1, self.n2) > 1 else None
        halves = self.halves() if kind != "rows" else None
        square = padded(self.n1, w) * self.n2p
        self.square = self.take(square), self.take(square)
        size = padded(self.m + 1, w) + w
        self.line = (self.take(size), self.take(size)) if halves else None
        lo, hi = b.partition(self.total())
        with b.for_("row", lo, hi) as row:
            x0, o0 = decode(b, row, self.extents, (self.x_a, self.o_a))
            if kind == "to_real":
                self.folded(x0, halves)  # type: ignore[arg-type]
            self.first(x0, turns)
            self.second(o0)
            if kind == "from_real":
                self.unfolded(o0, halves)  # type: ignore[arg-type]

    def first(self, x0: Value, turns: tuple[Value, Value] | None) -> None:
        """Transforms of n1 points, n2 apart; lanes are neighbours."""
        b, (re, im) = self.b, self.square
        with b.for_("block", 0, self.n2, self.w) as block:
            stop = minimum(block + self.w, self.n2)
            with b.vfor("j", block, b.let(stop, "stop"), self.w) as j:
                if self.spec.kind == "to_real":
                    lines = self.line[0] + j, self.line[1] + j  # type: ignore[index]
                    xs = [
                        (b.let(self.space[lines[0] + k * self.n2]), b.let(self.space[lines[1] + k * self.n2]))
                        for k in range(self.n1)
                    ]
                else:
                    at = [x0 + (j + k * self.n2) * self.step for k in range(self.n1)]
                    xs = [(b.let(self.x[i]), b.let(self.x[i + self.im])) for i in at]
                for k, z in enumerate(self.all_turned(self.small.transform(xs), turns, j)):
                    self.space[re + k * self.n2p + j], self.space[im + k * self.n2p + j] = z

    def all_turned(self, zs: list[Complex], turns: tuple[Value, Value] | None, j: Value) -> list[Complex]:
        """The results of a first transform, turned by w^(k1 j)."""
        b, found = self.b, zs[:1]
        for k, (x, y) in enumerate(zs[1:], 1):
            if turns is not None:
                c, s = (b.let(self.space[t + k * self.n2p + j]) for t in turns)
                x, y = b.let(fma(x, c, -(y * s))), b.let(fma(x, s, y * c))
            found.append((x, y))
        return found

    def loaded(self, start: Value, lane: Value) -> list[Value]:
        """A row of the square for each lane."""
        b, found = self.b, []
        for block in range(0, self.n2p, self.w):
            at = b.let(start + block + lane * self.n2p, "at")
            found += [b.let(self.space[at + u if u else at], "v") for u in range(self.w)]
        return found[: self.n2]

    def second(self, o0: Value) -> None:
        """Transforms of the square's rows, which are lanes; results k1 + n1 k2."""
        b, (re, im) = self.b, self.square
        with b.for_("block", 0, self.n1, self.w) as block:
            begin = b.let(block * self.n2p, "begin")
            with b.vfor("k", 0, self.w, self.w, full=True) as k:
                xs = list(zip(self.loaded(re + begin, k), self.loaded(im + begin, k)))
                there = b.let(k + block < self.n1, "there")
                for q, z in enumerate(self.small.transform(xs)):
                    at = block + k + q * self.n1
                    if self.spec.kind == "from_real":
                        for line, part in zip(self.line, z):  # type: ignore[arg-type]
                            b.store(self.space, line + at, part, there)
                    else:
                        for i, part in enumerate(z):
                            b.store(self.out, o0 + at * self.ostep + i, self.scaled(part), there)

    def scaled(self, x: Value) -> Value:
        """A result, times the factor of all of them."""
        return x if self.spec.scale == 1.0 else x * self.spec.scale

    def unfolded(self, o0: Value, halves: tuple[Value, Value]) -> None:
        """From the transform of m points that of 2 m real ones: E + w^k O, those of the even and the odd points."""
        b, m, (re, im) = self.b, self.m, self.line  # type: ignore[misc]
        self.space[re + m], self.space[im + m] = self.space[re], self.space[im]
        with b.vfor("k", 0, m + 1, self.w) as k:
            a, c = b.let(self.space[re + k]), b.let(self.space[re + m - k])
            d, e = b.let(self.space[im + k]), b.let(self.space[im + m - k])
            even, odd = (
                (b.let((a + c) * 0.5), b.let((d - e) * 0.5)),
                (b.let((d + e) * 0.5), b.let((c - a) * 0.5)),
            )
            p, q = (b.let(self.space[t + k]) for t in halves)
            x = even[0] + fma(odd[0], p, -(odd[1] * q))
            y = even[1] + fma(odd[0], q, odd[1] * p)
            self.out[o0 + k * 2] = self.scaled(x)
            self.out[o0 + k * 2 + 1] = self.scaled(select(k.eq(0) | k.eq(m), 0.0, y))

    def folded(self, x0: Value, halves: tuple[Value, Value]) -> None:
        """From the first half of a spectrum of 2 m points the spectrum E + i O of the complex points; ends are real."""
        b, m, (re, im) = self.b, self.m, self.line  # type: ignore[misc]
        with b.vfor("k", 0, m, self.w) as k:
            at, other = x0 + k * self.step, x0 + (m - k) * self.step
            a, c = b.let(self.x[at]), b.let(self.x[other])
            d, e = (b.let(select(k.eq(0), 0.0, self.x[i + self.im])) for i in (at, other))
            x, y = b.let(a - c), b.let(d + e)
            p, q = (b.let(self.space[t + k]) for t in halves)
            odd = b.let(fma(x, p, -(y * q))), b.let(fma(x, q, y * p))
            self.space[re + k], self.space[im + k] = a + c - odd[1], d - e + odd[0]

    # --- columns ------------------------------------------------------------------------------------------------------

    def columns(self) -> None:
        """Lanes are neighbouring transforms."""
        b, w = self.b, self.w
        count, xs, os = b.integer("count"), b.integer("xs"), b.integer("os")
        xs, os = (const("i64", 2), const("i64", 2)) if self.spec.dense else (xs, os)
        turns = self.turns() if min(self.n1, self.n2) > 1 else None
        re, im = self.take(self.m * w), self.take(self.m * w)
        blocks = b.let((count + (w - 1)) // w, "blocks")
        lo, hi = b.partition(self.total() * blocks)
        with b.for_("unit", lo, hi) as unit:
            x0, o0 = decode(b, b.let(unit // blocks, "row"), self.extents, (self.x_a, self.o_a))
            first = b.let(unit % blocks * w, "first")
            some = b.let(minimum(count - first, w), "some")
            x0, o0 = b.let(x0 + first * xs), b.let(o0 + first * os)
            with b.for_("j", 0, self.n2) as j, b.vfor("v", 0, some, w) as v:
                at = [x0 + (j + k * self.n2) * self.step + v * xs for k in range(self.n1)]
                made = self.small.transform([(b.let(self.x[i]), b.let(self.x[i + self.im])) for i in at])
                for i, z in enumerate(self.all_turned(made, turns, j)):
                    to = (j + i * self.n2) * w + v
                    self.space[re + to], self.space[im + to] = z
            with b.for_("k", 0, self.n1) as k, b.vfor("v", 0, some, w) as v:
                at = [(k * self.n2 + i) * w + v for i in range(self.n2)]
                points = [(b.let(self.space[re + i]), b.let(self.space[im + i])) for i in at]
                for q, z in enumerate(self.small.transform(points)):
                    to = o0 + (k + q * self.n1) * self.ostep + v * os
                    self.out[to], self.out[to + 1] = self.scaled(z[0]), self.scaled(z[1])
