"""Random numbers, bit for bit those of PyTorch's CPU generator: kernels that draw from a generator's state.

The state is a buffer of 632 words of 64 bits with the bytes of `torch.get_rng_state()`: the seed; `left` (draws up to
the next round of the generator, plus one) and a flag `seeded` in one word; `next` (the word to draw next); the 624
words of mt19937, 32 bits in 64 each; then at SPARE the second half of a Box-Muller pair (f64) and at FLAG whether there
is one. Every kernel takes it as its first parameter; it works in the part with tid = 0 only.

Parameters, in order: state (u64, rw), then those in each builder's first line. A uniform number has 24 bits of one draw
in f32, f16 and bf16, 53 bits of two draws in f64, the first one being the high half.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..build import Buffer, Builder, Operand, Value, const, fma, minimum, op, select
from ..ir import Kernel

WORDS = 632  # of the state
KEY, SPARE, FLAG = 3, 628, 630  # where the words of mt19937, the spare normal and its flag are
SIZE, SHIFT = 624, 397  # of mt19937
LANES = 16
CHUNK = 4096  # draws made at once
ABREAST = 4  # rows of weights that are added up, and places that are looked for, at a time
WEIGHT, SUM = 1, 2  # what is checked of weights
TWO_PI = 6.283185307179586


class Generator:
    """The generator's part of a kernel: `draw(count)` fills `raw` with that many tempered 32-bit words."""

    def __init__(self, name: str):
        self.b = b = Builder(name)
        self.state = b.buf("state", "u64", "rw")

    @contextmanager
    def serial(self) -> Iterator[None]:
        """The block that runs in one part; the position is read before and written back after it."""
        b = self.b
        with b.if_(b.tid.eq(0)):
            self.raw = b.alloc("raw", "u32", CHUNK)
            self.fresh = b.alloc("fresh", "u32", SIZE)
            word = b.let(self.state[1], "word")
            self.left = b.reg("left", (word & 0xFFFFFFFF).cast("i64") - 1)
            self.next = b.reg("next", self.state[2].cast("i64"))
            yield
            seeded = const("u64", 1 << 32)
            b.store(self.state, 1, (self.left.get() + 1).cast("u64") | seeded)
            b.store(self.state, 2, self.next.get().cast("u64"))

    def draw(self, count: Operand) -> None:
        """raw[0 : count] = the next words; count <= CHUNK."""
        b, count = self.b, self.b.let(count, "count")
        done = b.reg("done", 0)
        with b.while_(done.get() < count):
            with b.if_(self.left.get().eq(0)):
                self._twist()
                self.left.set(SIZE)
                self.next.set(0)
            at, source = b.let(done.get(), "at"), b.let(self.next.get() + KEY, "source")
            some = b.let(minimum(self.left.get(), count - at), "some")
            with b.vfor("k", 0, some, LANES) as k:
                self.raw[at + k] = _temper(self.state[source + k].cast("u32"))
            done.set(at + some)
            self.left.set(self.left.get() - some)
            self.next.set(self.next.get() + some)

    def draw_few(self, count: int) -> None:
        """raw[0 : count] = the next words: one by one where the round has them all, which is nearly always."""
        b = self.b
        with b.if_(self.left.get() >= count):
            source = b.let(self.next.get() + KEY, "source")
            for k in range(count):
                self.raw[k] = _temper(self.state[source + k].cast("u32"))
            self.left.set(self.left.get() - count)
            self.next.set(self.next.get() + count)
        with b.else_():
            self.draw(count)

    def _twist(self) -> None:
        """The next 624 words: each from three words of before, the one at distance 397 modulo 624 perhaps new."""
        b, fresh = self.b, self.fresh
        old = lambda i: self.state[i + KEY].cast("u32")
        first = SIZE - SHIFT
        for lo, hi in ((0, first), (first, 2 * first), (2 * first, SIZE - 1)):
            with b.vfor("k", lo, hi, LANES) as k:
                far = old(k + SHIFT) if lo == 0 else fresh[k - first]
                fresh[k] = far ^ _mix(old(k), old(k + 1))
        fresh[SIZE - 1] = fresh[SHIFT - 1] ^ _mix(old(Value(const("i64", SIZE - 1).expr)), fresh[0])
        with b.vfor("k", 0, SIZE, LANES, full=True) as k:
            self.state[k + KEY] = fresh[k].cast("u64")

    @contextmanager
    def chunks(self, n: Operand, draws: int) -> Iterator[tuple[Value, Value]]:
        """(start, size) of pieces of range(n), with `draws` words for each element drawn before each piece."""
        b, size = self.b, CHUNK // draws
        with b.for_("start", 0, n, size) as start:
            some = b.let(minimum(n - start, size), "some")
            self.draw(some * draws)
            yield start, some

    def word64(self, k: Value) -> Value:
        """Words 2k and 2k + 1 as 64 bits."""
        return (self.raw[k * 2].cast("u64") << 32) | self.raw[k * 2 + 1].cast("u64")

    def uniform(self, k: Value, dtype: str) -> Value:
        """The uniform number k in [0, 1) of what was drawn."""
        if dtype == "f64":
            return (self.word64(k) & 0x1FFFFFFFFFFFFF).cast("i64").cast("f64") * 2.0**-53
        return (self.raw[k] & 0xFFFFFF).cast("i32").cast("f32") * 2.0**-24


def _temper(y: Value) -> Value:
    y = y ^ (y >> 11)
    y = y ^ ((y << 7) & 0x9D2C5680)
    y = y ^ ((y << 15) & 0xEFC60000)
    return y ^ (y >> 18)


def _mix(a: Value, b: Value) -> Value:
    y = (a & 0x80000000) | (b & 0x7FFFFFFF)
    return (y >> 1) ^ select((b & 1).eq(0), const("u32", 0), const("u32", 0x9908B0DF))


def _draws(dtype: str) -> int:
    return 2 if dtype == "f64" else 1


def manual_seed() -> Kernel:
    """state, seed: i64 (the bits of a u64). The state that the seed gives; no spare normal."""
    g = Generator("manual_seed")
    b, state = g.b, g.state
    seed = b.num("seed", "i64")
    with b.if_(b.tid.eq(0)):
        state[0] = seed.cast("u64")
        state[1] = const("u64", 1 << 32 | 1)
        state[2] = const("u64", 0)
        last = b.reg("last", seed.cast("u32"))
        state[KEY] = last.get().cast("u64")
        with b.for_("i", 1, SIZE) as i:
            word = last.get()
            last.set((word ^ (word >> 30)) * 1812433253 + i.cast("u32"))
            state[i + KEY] = last.get().cast("u64")
        with b.for_("i", KEY + SIZE, WORDS) as i:
            state[i] = const("u64", 0)
    return b.kernel()


def bits() -> Kernel:
    """state, out: u32, n. Raw 32-bit draws."""
    g = Generator("random_bits")
    out, n = g.b.buf("out", "u32", "w"), g.b.integer("n")
    with g.serial(), g.chunks(n, 1) as (start, some), g.b.vfor("i", 0, some, LANES) as i:
        out[start + i] = g.raw[i]
    return g.b.kernel()


def uniform(dtype: str) -> Kernel:
    """state, out, n, low: f64, high: f64. u * (high - low) + low in one rounding; what becomes high is low."""
    g = Generator(f"uniform_{dtype}")
    b, out, n = g.b, g.b.buf("out", dtype, "w"), g.b.integer("n")
    wide = "f64" if dtype == "f64" else "f32"
    low, high = b.num("low").cast(wide), b.num("high").cast(wide)
    with g.serial():
        low, high = b.let(low, "lo"), b.let(high, "hi")
        span = b.let(high - low, "span")
        first, last = b.let(low.cast(dtype), "first"), b.let(high.cast(dtype), "last")
        with g.chunks(n, _draws(dtype)) as (start, some), b.vfor("i", 0, some, LANES) as i:
            value = b.let(fma(g.uniform(i, dtype), span, low).cast(dtype))
            out[start + i] = select(value.eq(last), first, value)
    return b.kernel()


def integers(dtype: str, draw: int) -> Kernel:
    """state, out, n, count: i64 (the bits of a u64), low: i64. A draw of 32 or 64 bits modulo count, plus low.

    randint and random_(a, b): count = b - a; 32 bits below 2^28 values, else 64. random_(): low = 0, count = 2^63 for
    i64, 2^53 + 1 for f64 (both 64 bits), largest integer + 1 for other types. random_(least i64, None): count = 0."""
    g = Generator(f"integers{draw}_{dtype}")
    b, out, n = g.b, g.b.buf("out", dtype, "w"), g.b.integer("n")
    count, low = b.num("count", "i64"), b.num("low", "i64")
    type = "u64" if draw == 64 else "u32"
    with g.serial():
        modulus = b.let(count.cast(type), "modulus")
        with g.chunks(n, draw // 32) as (start, some), b.vfor("i", 0, some, LANES) as i:
            word = g.word64(i) if draw == 64 else g.raw[i]
            value = (word % modulus).cast("i64") + low
            out[start + i] = value.ne(0) if dtype == "b1" else value.cast(dtype)
    return b.kernel()


def permutation(dtype: str) -> Kernel:
    """state, out, n. A permutation of 0 .. n-1: position i changes places with one from i on, i = 0 .. n-2."""
    g = Generator(f"permutation_{dtype}")
    b, out, n = g.b, g.b.buf("out", dtype, "rw"), g.b.integer("n")
    with g.serial():
        with b.vfor("i", 0, n, LANES) as i:
            out[i] = i.cast(dtype)
        with g.chunks(n - 1, 1) as (start, some), b.for_("k", 0, some) as k:
            i = b.let(start + k, "i")
            j = b.let(i + (g.raw[k].cast("u64") % (n - i).cast("u64")).cast("i64"), "j")
            here, there = b.let(out[i], "here"), b.let(out[j], "there")
            out[i], out[j] = there, here
    return b.kernel()


def bernoulli(dtype: str) -> Kernel:
    """state, out, n, p: f64. 1 where a uniform f64 is below p, whatever the type: bernoulli_(float) and dropout."""
    g = Generator(f"bernoulli_{dtype}")
    b, out, n, p = g.b, g.b.buf("out", dtype, "w"), g.b.integer("n"), g.b.num("p")
    with g.serial(), g.chunks(n, 2) as (start, some), b.vfor("i", 0, some, LANES) as i:
        out[start + i] = (g.uniform(i, "f64") < p).cast(dtype)
    return b.kernel()


def dropout(dtype: str) -> Kernel:
    """state, out, n, keep: f64. 1 / keep where a uniform f64 is below keep, else 0."""
    g = Generator(f"dropout_{dtype}")
    b, out, n, keep = g.b, g.b.buf("out", dtype, "w"), g.b.integer("n"), g.b.num("keep")
    wide = "f64" if dtype == "f64" else "f32"
    with g.serial():
        kept = b.let((1.0 / keep.cast(wide)).cast(dtype), "kept")
        with g.chunks(n, 2) as (start, some), b.vfor("i", 0, some, LANES) as i:
            out[start + i] = select(g.uniform(i, "f64") < keep, kept, 0.0)
    return b.kernel()


def bernoulli_each(dtype: str, p_dtype: str) -> Kernel:
    """state, out, p, n. 1 where a uniform number is below p[i]; f64 if p is f64, else f32."""
    g = Generator(f"bernoulli_{dtype}_{p_dtype}")
    b, out, p, n = g.b, g.b.buf("out", dtype, "w"), g.b.buf("p", p_dtype), g.b.integer("n")
    wide = "f64" if p_dtype == "f64" else "f32"
    with g.serial(), g.chunks(n, _draws(wide)) as (start, some), b.vfor("i", 0, some, LANES) as i:
        out[start + i] = (g.uniform(i, wide) < p[start + i].cast(wide)).cast(dtype)
    return b.kernel()


def _from_uniform(name: str, dtype: str, formula: Callable[..., Value], *nums: str) -> Kernel:
    """state, out, n, nums: f64. formula(u, *nums) in f64 of a uniform f64, rounded to the type."""
    g = Generator(f"{name}_{dtype}")
    b, out, n = g.b, g.b.buf("out", dtype, "w"), g.b.integer("n")
    values = [b.num(name) for name in nums]
    with g.serial(), g.chunks(n, 2) as (start, some), b.vfor("i", 0, some, LANES) as i:
        out[start + i] = formula(g.uniform(i, "f64"), *values).cast(dtype)
    return b.kernel()


def exponential(dtype: str) -> Kernel:
    """state, out, n, rate: f64. -1 / rate * log(1 - u)."""
    formula = lambda u, rate: (-1.0 / rate) * op("log1p", -u)
    return _from_uniform("exponential", dtype, formula, "rate")


def cauchy(dtype: str) -> Kernel:
    """state, out, n, median: f64, sigma: f64. median + sigma tan(pi (u - 1/2))."""
    formula = lambda u, median, sigma: fma(sigma, op("tan", (u - 0.5) * 3.141592653589793), median)
    return _from_uniform("cauchy", dtype, formula, "median", "sigma")


def geometric(dtype: str) -> Kernel:
    """state, out, n, p: f64. ceil(log(u) / log(1 - p))."""
    formula = lambda u, p: op("ceil", op("log", u) / op("log1p", -p))
    return _from_uniform("geometric", dtype, formula, "p")


class Normals:
    """Standard normal numbers one by one, in f64: Box-Muller; the second half of a pair stays in the state."""

    def __init__(self, g: Generator):
        self.g = g
        self.spare = g.b.reg("spare", g.state[SPARE].bitcast("f64"))
        self.full = g.b.reg("full", (g.state[FLAG] & 0xFFFFFFFF).cast("i64"))

    def next(self) -> Value:
        """The next number."""
        b, g, zero = self.g.b, self.g, const("i64", 0)
        z = b.reg("z", self.spare.get())
        with b.if_(self.full.get().eq(0)):
            g.draw_few(4)
            u1, u2 = b.let(g.uniform(zero, "f64")), b.let(g.uniform(zero + 1, "f64"))
            radius = b.let(op("sqrt", op("log1p", -u2) * -2.0), "radius")
            theta = b.let(u1 * TWO_PI, "theta")
            z.set(radius * op("cos", theta))
            self.spare.set(radius * op("sin", theta))
        self.full.set(1 - self.full.get())
        return z.get()

    def keep(self) -> None:
        """Write what is left of a pair back into the state."""
        b, state, present = self.g.b, self.g.state, self.full.get().ne(0)
        b.store(state, SPARE, select(present, self.spare.get().bitcast("u64"), const("u64", 0)))
        b.store(state, FLAG, self.full.get().cast("u64"))


def normal_serial(dtype: str, exponential: bool = False) -> Kernel:
    """state, out, n, mean: f64, std: f64. Box-Muller in f64, one pair at a time; the second half stays in the state.

    That is normal_ of fewer than 16 numbers or of a tensor that is not contiguous; exponential: log_normal_."""
    g = Generator(f"{'log_' if exponential else ''}normal_serial_{dtype}")
    b, out, n = g.b, g.b.buf("out", dtype, "w"), g.b.integer("n")
    mean, std = b.num("mean"), b.num("std")
    with g.serial():
        normals = Normals(g)
        with b.for_("i", 0, n) as i:
            value = fma(normals.next(), std, mean)
            out[i] = (op("exp", value) if exponential else value).cast(dtype)
        normals.keep()
    return b.kernel()


def normal(dtype: str) -> Kernel:
    """state, out, n, mean: f64, std: f64. normal_ of at least 16 numbers: Box-Muller in blocks of 16, j with j + 8.

    If n is no multiple of 16, the last 16 are drawn anew."""
    g = Generator(f"normal_{dtype}")
    b, out, n = g.b, g.b.buf("out", dtype, "w"), g.b.integer("n")
    wide = "f64" if dtype == "f64" else "f32"
    mean, std = b.num("mean").cast(wide), b.num("std").cast(wide)
    with g.serial():
        scale = b.let(mean, "mean_"), b.let(std, "std_")
        with g.chunks(n // 16 * 16, _draws(dtype)) as (start, some), b.for_("block", 0, some, 16) as block:
            _normal_block(g, out, block, start + block, scale, wide)
        with b.if_((n % 16).ne(0)):
            if wide == dtype:  # the rest of the numbers is drawn too, but not used
                g.draw(n % 16 * _draws(dtype))
            g.draw(16 * _draws(dtype))
            _normal_block(g, out, const("i64", 0), n - 16, scale, wide)
    return b.kernel()


def _normal_block(
    g: Generator, out: Buffer, source: Value, target: Value, scale: tuple[Value, Value], wide: str
) -> None:
    """out[target : target + 16] from the uniform numbers of raw from `source` on."""
    b, (mean, std) = g.b, scale
    polar = _polar_f64 if wide == "f64" else _polar_f32
    with b.vfor("j", 0, 8, 8, full=True) as j:
        radius, sine, cosine = polar(b, g.uniform(source + j, wide), g.uniform(source + j + 8, wide))
        out[target + j] = fma(radius * cosine, std, mean).cast(out.type)
        out[target + j + 8] = fma(radius * sine, std, mean).cast(out.type)


def _polar_f64(b: Builder, u: Value, v: Value) -> tuple[Value, Value, Value]:
    theta = b.let(v * TWO_PI, "theta")
    radius = b.let(op("sqrt", op("log", 1.0 - u) * -2.0), "radius")
    return radius, op("sin", theta), op("cos", theta)


def _polar_f32(b: Builder, u: Value, v: Value) -> tuple[Value, Value, Value]:
    radius = b.let(op("sqrt", _log_f32(1.0 - u) * -2.0), "radius")
    sine, cosine = _sine_cosine_f32(v * TWO_PI)
    return radius, b.let(sine, "sine"), b.let(cosine, "cosine")


# The logarithm, sine and cosine that PyTorch's float32 normals are made with. They are not those of op("log"):
# the last bits of the numbers depend on the order of the operations and on every constant.
LOG_TERMS = (
    *(7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1),
    *(-1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1),
)


def _log_f32(x: Value) -> Value:
    """log(x) for 0 < x <= 1."""
    word = x.bitcast("i32")
    e = (word >> 23).cast("f32") - 126.0
    x = ((word & 0x007FFFFF) | 0x3F000000).bitcast("f32")
    small = x < 0.707106781186547524
    e = select(small, e - 1.0, e)
    x = (x - 1.0) + select(small, x, 0.0)
    z = x * x
    y = const("f32", LOG_TERMS[0])
    for c in LOG_TERMS[1:]:
        y = fma(y, x, c)
    y = fma(y * x, z, e * -2.12194440e-4)
    y = fma(-z, 0.5, y)
    return fma(e, 0.693359375, x + y)


def _sine_cosine_f32(x: Value) -> tuple[Value, Value]:
    """sin(x), cos(x) for 0 <= x < 8192."""
    j = ((x * 1.27323954473516).cast("i32") + 1) & ~1
    octant = j.cast("f32")
    for c in (-0.78515625, -2.4187564849853515625e-4, -3.77489497744594108e-8):
        x = fma(octant, c, x)
    z = x * x
    y = fma(fma(z, 2.443315711809948e-5, -1.388731625493765e-3), z, 4.166664568298827e-2)
    cosine = fma(y * z, z, -(z * 0.5)) + 1.0
    y = fma(fma(z, -1.9515295891e-4, 8.3321608736e-3), z, -1.6666654611e-1)
    sine = fma(y * z, x, x)
    swapped = (j & 2).ne(0)
    sine, cosine = select(swapped, cosine, sine), select(swapped, sine, cosine)
    sine = select((j & 4).ne(0), -sine, sine)
    return sine, select(((j - 2) & 4).eq(0), -cosine, cosine)


def running(dtype: str, abreast: int) -> Kernel:
    """weights: dtype, sums: f64 or f32, rows, categories. What each row's weights up to each add up to, left to right.

    Weights are finite and not below 0 (else code WEIGHT), not all of a row 0 (else code SUM). `abreast` rows are
    added up at a time, since each addition waits for the one before."""
    b = Builder(f"running_{dtype}")
    wide = "f64" if dtype == "f64" else "f32"
    weights, sums = b.buf("weights", dtype), b.buf("sums", wide, "w")
    rows, categories = b.integer("rows"), b.integer("categories")
    lo, hi = b.partition(rows, abreast)
    with b.for_("r", lo, hi, abreast) as r:
        starts = [b.let(minimum(r + k, hi - 1) * categories, "start") for k in range(abreast)]
        totals = [b.reg("total", const(wide, 0)) for _ in starts]
        fine = b.reg("fine", const("b1", True))
        with b.for_("j", 0, categories) as j:
            for start, total in zip(starts, totals):
                w = b.let(weights[start + j].cast(wide), "w")
                total.set(total.get() + w)
                sums[start + j] = total.get()
                fine.set(fine.get() & (w >= 0.0) & (w < float("inf")))
        b.check(fine.get(), WEIGHT, 0, r)
        for total in totals:
            b.check(total.get() > 0.0, SUM, 0, r)
    return b.kernel()


def multinomial(dtype: str) -> Kernel:
    """state, out: i64, sums: f64 or f32, rows, categories, steps, samples. Drawing with replacement.

    sums (rows, categories): running sums of weights, which divided by the last rise to 1; out (rows, samples): the
    first place where that is not below a uniform f64, found in `steps` halvings, as many as categories has bits."""
    g = Generator(f"multinomial_{dtype}")
    b, out, table = g.b, g.b.buf("out", "i64", "w"), g.b.buf("sums", dtype)
    rows, categories, steps, samples = map(b.integer, ("rows", "categories", "steps", "samples"))
    with g.serial(), g.chunks(rows * samples, 2) as (start, some), b.for_("k", 0, some, ABREAST) as k:
        searches = []
        for i in range(ABREAST):
            j = b.let(minimum(k + i, some - 1), "j")
            at, u = b.let(start + j, "at"), b.let(g.uniform(j, "f64"), "u")
            row = b.let(at // samples * categories, "row")
            total = b.let(table[row + categories - 1], "total")
            searches.append((at, u, row, total, b.reg("lo", 0), b.reg("size", categories)))
        with b.for_("step", 0, steps):
            for _, u, row, total, lo, size in searches:
                half = b.let(size.get() // 2, "half")
                middle = b.let(minimum(lo.get() + half, categories - 1), "middle")
                below = b.let(((table[row + middle] / total).cast("f64") < u) & (size.get() > 0), "below")
                lo.set(select(below, middle + 1, lo.get()))
                size.set(select(below, size.get() - half - 1, half))
        for at, _, _, _, lo, _ in searches:
            out[at] = lo.get()
    return b.kernel()
