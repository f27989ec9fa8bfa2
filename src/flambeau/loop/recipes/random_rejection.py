"""Random numbers by rejection, one after the other: Poisson, gamma and binomial, bit for bit those of PyTorch's CPU
generator. See random.py; a number takes as many draws as it takes, so these kernels are serial."""

from __future__ import annotations

from ..build import Register, Value, const, op, select
from ..ir import Kernel
from .random import Generator, Normals

THIRD, SQUEEZE = 0.3333333432674408, 0.03310000151395798  # 1/3 and 0.0331, rounded to float32
# log k! minus Stirling's formula without its series, for k = 0 .. 9
STIRLING = (
    *(0.0810614667953272, 0.0413406959554092, 0.0276779256849983, 0.02079067210376509, 0.0166446911898211),
    *(0.0138761288230707, 0.0118967099458917, 0.0104112652619720, 0.00925546218271273, 0.00833056343336287),
)
TINY = {"f32": 2.0**-126, "f64": 2.0**-1022, "f16": 2.0**-14, "bf16": 2.0**-126}


def poisson(dtype: str) -> Kernel:
    """state, out, rate: dtype, n. Poisson numbers of these rates, one after the other.

    Below 10 the number of uniform f64 whose product stays above e^-rate; else transformed rejection (Hörmann 1993)."""
    g = Generator(f"poisson_{dtype}")
    b, out, rates, n = g.b, g.b.buf("out", dtype, "w"), g.b.buf("rate", dtype), g.b.integer("n")
    with g.serial(), b.for_("i", 0, n) as i:
        rate = b.let(rates[i].cast("f64"), "rate_")
        found, going = b.reg("found", 0.0), b.reg("going", rate > 0.0)
        with b.if_(rate >= 10.0):
            _reject(g, rate, found, going)
        with b.else_():
            product, least = b.reg("product", 1.0), b.let(op("exp", -rate), "least")
            with b.while_(going.get()):
                g.draw_few(2)
                product.set(product.get() * g.uniform(const("i64", 0), "f64"))
                going.set(product.get() > least)
                found.set(found.get() + select(going.get(), const("f64", 1.0), 0.0))
        out[i] = found.get().cast(dtype)
    return b.kernel()


def _reject(g: Generator, rate: Value, found: Register, going: Register) -> None:
    """A Poisson number of a rate from 10 on: algorithm PTRS."""
    b = g.b
    width = b.let(op("sqrt", rate) * 2.53 + 0.931, "width")
    slope = b.let(width * 0.02483 - 0.059, "slope")
    inverse = b.let(1.1328 / (width - 3.4) + 1.1239, "inverse")
    squeeze = b.let(0.9277 - 3.6224 / (width - 2.0), "squeeze")
    with b.while_(going.get()):
        g.draw_few(4)
        u = b.let(g.uniform(const("i64", 0), "f64") - 0.5, "u")
        v, near = b.let(g.uniform(const("i64", 1), "f64"), "v"), b.let(0.5 - abs(u), "near")
        k = b.let(op("floor", (slope * 2.0 / near + width) * u + rate + 0.43), "k")
        taken = b.reg("taken", (near >= 0.07) & (v <= squeeze))
        out = (k < 0.0) | ((near < 0.013) & (v > near))
        with b.if_(~(taken.get() | out)):
            ratio = op("log", v) + op("log", inverse) - op("log", slope / (near * near) + width)
            taken.set(ratio <= k * op("log", rate) - rate - op("lgamma", k + 1.0))
        found.set(k)
        going.set(~taken.get())


def gamma(dtype: str) -> Kernel:
    """state, out, alpha: dtype, n. Gamma numbers of these concentrations and rate 1 (Marsaglia and Tsang 2000).

    Below 1 a number of alpha + 1 times u^(1 / alpha). None is below the least normal number."""
    g = Generator(f"gamma_{dtype}")
    b, out, alphas, n = g.b, g.b.buf("out", dtype, "w"), g.b.buf("alpha", dtype), g.b.integer("n")
    wide = "f64" if dtype == "f64" else "f32"
    with g.serial():
        normals = Normals(g)
        with b.for_("i", 0, n) as i:
            alpha, scale = b.reg("alpha_", alphas[i].cast(wide)), b.reg("scale", 1.0)
            going = b.reg("going", alpha.get().ne(0.0))
            found = b.reg("found", 0.0)
            with b.if_((alpha.get() < 1.0) & going.get()):
                g.draw_few(2)
                u = 1.0 - g.uniform(const("i64", 0), "f64")
                scale.set(op("pow", u, (1.0 / alpha.get()).cast("f64")))
                alpha.set((alpha.get() + 1.0).cast(dtype).cast(wide))
            d = b.let((alpha.get() - THIRD).cast("f64"), "d")
            c = b.let(1.0 / op("sqrt", d * 9.0), "c")
            with b.while_(going.get()):
                _marsaglia(g, normals, (d, c, scale.get()), found, going)
            value = found.get().cast(dtype)
            out[i] = select(value < TINY[dtype], const(dtype, TINY[dtype]), value)
        normals.keep()
    return b.kernel()


def _marsaglia(
    g: Generator, normals: Normals, scale: tuple[Value, Value, Value], found: Register, going: Register
) -> None:
    """One try: d v with v = (1 + c x)^3 of a normal x, where that is positive."""
    b, (d, c, factor) = g.b, scale
    x = b.let(normals.next(), "x")
    y = b.let(c * x + 1.0, "y")
    with b.if_(y > 0.0):
        v = b.let(y * y * y, "v")
        g.draw_few(2)
        u, square = b.let(1.0 - g.uniform(const("i64", 0), "f64"), "u"), b.let(x * x, "square")
        taken = b.reg("taken", u < 1.0 - SQUEEZE * square * square)
        with b.if_(~taken.get()):
            taken.set(op("log", u) < square * 0.5 + d * (1.0 - v + op("log", v)))
        found.set(factor * d * v)
        going.set(~taken.get())


def binomial(dtype: str) -> Kernel:
    """state, out, count: dtype, p: dtype, n. How many of count tries with probability p succeed.

    count p (or count (1 - p), for p above 1/2) below 10: the number of geometric ones that add up to count; else
    transformed rejection with squeeze (Hoermann 1993)."""
    g = Generator(f"binomial_{dtype}")
    b, out, counts, ps = g.b, g.b.buf("out", dtype, "w"), g.b.buf("count", dtype), g.b.buf("p", dtype)
    n = b.integer("n")
    wide = "f64" if dtype == "f64" else "f32"
    with g.serial(), b.for_("i", 0, n) as i:
        count, p = b.let(counts[i].cast(wide), "count_"), b.let(ps[i].cast(wide), "p_")
        found = b.reg("found", const(wide, 0.0))
        inside = (count > 0.0) & (p > 0.0) & (p < 1.0)
        going = b.reg("going", inside)
        turned = b.let(p > 0.5, "turned")
        q = b.let(select(turned, 1.0 - p, p), "q")
        with b.if_(count * q >= 10.0):
            _binomial_reject(g, count, q, found, going)
        with b.else_():
            total, rate = b.reg("total", 0.0), b.let(op("log1p", -q).cast("f64"), "rate")
            with b.while_(going.get()):
                g.draw_few(2)
                total.set(total.get() + op("ceil", op("log", g.uniform(const("i64", 0), "f64")) / rate))
                going.set(total.get() <= count.cast("f64"))
                found.set(found.get() + select(going.get(), const(wide, 1.0), 0.0))
        value = select(turned, count - found.get(), found.get())
        some = (count > 0.0) & (p > 0.0)
        value = select(some, select(p >= 1.0, count, value), 0.0)
        out[i] = select(p.ne(p) & (count > 0.0), p, value).cast(dtype)
    return b.kernel()


def _stirling_tail(k: Value) -> Value:
    """log k! minus Stirling's formula without its series."""
    square = (k + 1.0) * (k + 1.0)
    value = (1.0 / 12 - (1.0 / 360 - (1.0 / 1260) / square) / square) / (k + 1.0)
    for j, term in enumerate(STIRLING):
        value = select(k.eq(float(j)), term, value)
    return value


def _binomial_reject(g: Generator, count: Value, p: Value, found: Register, going: Register) -> None:
    """Algorithm BTRS, for count p >= 10."""
    b, wide = g.b, count.type
    deviation = b.let(op("sqrt", count * p * (1.0 - p)).cast("f64"), "deviation")
    width = b.let(1.15 + 2.53 * deviation, "width")
    slope = b.let(-0.0873 + 0.0248 * width + 0.01 * p.cast("f64"), "slope")
    centre = b.let((count * p).cast("f64") + 0.5, "centre")
    squeeze = b.let(0.92 - 4.2 / width, "squeeze")
    odds = b.let((p / (1.0 - p)).cast("f64"), "odds")
    factor = b.let((2.83 + 5.1 / width) * deviation, "factor")
    m = b.let(op("floor", (count + 1.0) * p).cast("f64"), "m")
    n = b.let(count.cast("f64"), "n_")
    with b.while_(going.get()):
        g.draw_few(4)
        u = b.let(g.uniform(const("i64", 0), "f64") - 0.5, "u")
        v, near = b.let(g.uniform(const("i64", 1), "f64"), "v"), b.let(0.5 - abs(u), "near")
        k = b.let(op("floor", (2.0 * slope / near + width) * u + centre).cast(wide).cast("f64"), "k")
        fits = (k >= 0.0) & (k <= n)
        taken = b.reg("taken", fits & (near >= 0.07) & (v <= squeeze))
        with b.if_(fits & ~taken.get()):
            bound = (m + 0.5) * op("log", (m + 1.0) / (odds * (n - m + 1.0)))
            bound = bound + (n + 1.0) * op("log", (n - m + 1.0) / (n - k + 1.0))
            bound = bound + (k + 0.5) * op("log", odds * (n - k + 1.0) / (k + 1.0))
            bound = (
                bound + _stirling_tail(m) + _stirling_tail(n - m) - _stirling_tail(k) - _stirling_tail(n - k)
            )
            taken.set(op("log", v * factor / (slope / (near * near) + width)) <= bound)
        found.set(k.cast(wide))
        going.set(~taken.get())
