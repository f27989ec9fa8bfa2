"""Functions whose results are exact or rounded once: fmod, hypot, nextafter, powers of integers; see math.py."""

from __future__ import annotations

from ..loop.build import Value, const, fma, op, select
from ..loop.ir import SIZE
from .math_double import two_product
from .math_float import INF, NAN
from .math_loop import Loops


def hypot_f32(x: Value, y: Value) -> Value:
    """sqrt(x^2 + y^2) in float64, where nothing overflows."""
    a, b = x.cast("f64"), y.cast("f64")
    return select(abs(x).eq(INF) | abs(y).eq(INF), INF, op("sqrt", fma(a, a, b * b)).cast("f32"))


def hypot(x: Value, y: Value) -> Value:
    """sqrt(x^2 + y^2) of the scaled sides, the square as a pair; inf if one side is."""
    a, b = abs(x), abs(y)
    a, b = select(a > b, a, b), select(a > b, b, a)
    big, small = a > 1e150, a < 1e-150
    scale = select(big, const("f64", 2.0**-600), select(small, const("f64", 2.0**600), 1.0))
    back = select(big, const("f64", 2.0**600), select(small, const("f64", 2.0**-600), 1.0))
    a, b = a * scale, b * scale
    p, p_low = two_product(a, a)
    q, q_low = two_product(b, b)
    h = p + q
    low = (q - (h - p)) + (p_low + q_low)
    root = op("sqrt", h)
    fix = (fma(-root, root, h) + low) / (root + root)
    y_ = select((root > 0.0) & (root < INF), root + fix, root) * back
    return select(abs(x).eq(INF) | abs(y).eq(INF), INF, select(x.eq(x) & y.eq(y), y_, const("f64", NAN)))


def nextafter(x: Value, y: Value) -> Value:
    """The next number after x towards y, by its bits."""
    bits = "i32" if x.type == "f32" else "i64"
    up = (x < y).eq(x > 0.0)
    word = x.bitcast(bits)
    one = const(bits, 1)
    moved = select(up, word + one, word - one).bitcast(x.type)
    moved = select(x.eq(0.0), op("copysign", one.bitcast(x.type), y), moved)
    return select(x.eq(y), y, select(x.eq(x) & y.eq(y), moved, const(x.type, NAN)))


def _fmod_edges(x: Value, y: Value, r: Value) -> Value:
    """r with the sign of x; x where |x| < |y|; NaN for x = inf or y = 0."""
    a, b = abs(x), abs(y)
    y_ = select(a < b, x, op("copysign", r, x))
    return select((a < INF) & (b > 0.0) & b.eq(b), y_, const(x.type, NAN))


def fmod_f32(x: Value, y: Value) -> Value:
    """x - n y, n = trunc(x / y), exact: in float64, 48 bits of the quotient at a time, nearest ones first.

    n is off by less than 1/2 + 2^-4, and what is left is a number of 25 bits times the lowest bit of what it came from.
    """
    r, d = abs(x).cast("f64"), abs(y).cast("f64")
    inverse = 1.0 / d
    for k in range(5, -1, -1):
        scale = 2.0 ** (48 * k)
        n = op("rint", r * (inverse * (1.0 / scale)))
        r = fma(-n, d * scale, r)
    r = select(r < 0.0, r + d, r)
    return _fmod_edges(x, y, r.cast("f32"))


def _parts(a: Value) -> tuple[Value, Value]:
    """(m, e as i64): a = m 2^e, 1 <= m < 2, for a positive finite a."""
    tiny = a < 2.2250738585072014e-308
    bits = select(tiny, a * 18014398509481984.0, a).bitcast("i64")
    m = ((bits & 0xFFFFFFFFFFFFF) | 0x3FF0000000000000).bitcast("f64")
    return m, (bits >> 52) - select(tiny, const("i64", 1023 + 54), 1023)


def fmod(loops: Loops, x: Value, y: Value) -> Value:
    """x - n y, n = trunc(x / y), exact: 48 bits of the quotient at a time, nearest ones first, for any exponents."""
    a, b = abs(x), abs(y)
    good = (a >= b) & (a < INF) & (b > 0.0)
    m, e = _parts(select(good, a, 1.0))
    d, scale = _parts(select(good, b, 1.0))
    d, inverse = loops.let(d), loops.let(1.0 / d)
    r, left = loops.reg(m), loops.reg(e - scale)

    def step() -> None:
        bits = loops.let(select(left.get() > 48, 48, left.get()))
        moved = loops.let(r.get() * ((bits + 1023) << 52).bitcast("f64"))
        left.set(left.get() - bits)
        r.set(fma(-op("rint", moved * inverse), d, moved))

    step()
    with loops.where(left.get() > 0), loops.loop(43):
        step()
    rest = select(r.get() < 0.0, r.get() + d, r.get())
    return _fmod_edges(x, y, op("ldexp", rest, scale.cast("i32")))


def power(loops: Loops, x: Value, n: Value) -> Value:
    """x**n modulo 2**bits for integers, n not negative: squarings, as long as a lane has bits of n left."""
    type = x.type
    result, base, left = loops.reg(const(type, 1)), loops.reg(x), loops.reg(n)
    with loops.loop(8 * SIZE[type]), loops.where(left.get().ne(0)):
        result.set(select((left.get() & 1).ne(0), result.get() * base.get(), result.get()))
        base.set(base.get() * base.get())
        left.set(left.get() >> 1)
    return result.get()
