"""float64: exp, log, powers and their relatives. Branch-free.

A pair (high, low) of float64 stands for the unrounded sum high + low. How the coefficients were found:
tests/codegen/fit_polynomials.py. Accuracy: see math.py."""

from __future__ import annotations

from ..loop.build import Value, const, fma, op, select
from .math_float import INF, NAN, clamp, polynomial

LOG2E = 1.4426950408889634
LOG2E_LOW = 2.0355273740931033e-17
LOG10E = 0.4342944819032518
LOG10E_LOW = 1.098319650216765e-17
LOG10_2_HIGH = 0.30102999566395283  # 42 bits
LOG10_2_LOW = 2.8363394551044964e-14
LN2_HIGH = 0.6931471805598903  # 42 bits, so that n * LN2_HIGH is exact
LN2_LOW = 5.497923018708371e-14
LN2 = 0.6931471805599453
ROUND = 6755399441055744.0  # 1.5 * 2**52: adding it rounds to an integer, which is then in the low bits
TWO_THIRDS, TWO_THIRDS_LOW = 0.6666666666666666, 3.700743415417188e-17
SQRT_HALF_BITS = 0x3FE6A09E667F3BCD

EXP = (
    *(0.5, 0.16666666666666677, 0.04166666666666668, 0.008333333333321426, 0.0013888888888877128),
    *(0.00019841269886620042, 2.4801587342286117e-05, 2.755724373322827e-06, 2.7557256892832166e-07),
    *(2.5109196694493424e-08, 2.092045585641771e-09),
)
EXP2 = (
    *(0.6931471805599453, 0.2402265069591012, 0.05550410866482261, 0.009618129107597517),
    *(0.0013333558146256044, 0.00015403530453702148, 1.5252733948352856e-05, 1.3215436699545099e-06),
    *(1.0178021433278646e-07, 7.073573854667597e-09, 4.4603483440034807e-10),
)
LOG = (
    *(0.6666666666666666, 0.40000000000004937, 0.2857142856940402, 0.2222222260833415),
    *(0.18181778229739584, 0.15386994846878788, 0.13252004704636472, 0.13236137031127462),
)
POW_EXP = (
    *(0.5000000078787865, 0.16666666836629745, 0.04166626787580547, 0.00833326947556363),
    *(0.001394618975820527, 0.0001991574789188485),
)
POW_LOG = (
    *(0.6666666667585547, 0.39999995602680577, 0.28572111332108957, 0.22176090652802136),
    *(0.19585671322044068,),
)
LOG_TAIL = (
    *(0.3999999999999998, 0.2857142857144387, 0.22222222217778675, 0.1818181884572638),
    *(0.15384558290770925, 0.13336270395156477, 0.11675651136984094, 0.11982901257583671),
)
SINH = (
    *(0.16666666666666666, 0.008333333333333567, 0.0001984126984106927, 2.755731930557726e-06),
    *(2.505209061358773e-08, 1.6061173648709853e-10, 7.514674072934984e-13, 6.164260016874171e-15),
)
TANH = (
    *(-0.333333333333333, 0.13333333333326572, -0.053968253963730395, 0.02186948838495577),
    *(-0.008863232586115134, 0.003592091869133981, -0.0014555417609406693, 0.0005884398177022504),
    *(-0.0002333691341792982, 8.329780561867183e-05, -1.948265591223015e-05),
)


def two_sum(a: Value, b: Value) -> tuple[Value, Value]:
    """a + b as a pair, whatever their sizes."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def fast_two_sum(a: Value, b: Value) -> tuple[Value, Value]:
    """a + b as a pair; |a| >= |b| or a = 0."""
    s = a + b
    return s, b - (s - a)


def two_product(a: Value, b: Value) -> tuple[Value, Value]:
    """a * b as a pair."""
    p = a * b
    return p, fma(a, b, -p)


def _split(x: Value, low: Value | None = None) -> tuple[Value, Value, Value]:
    """(t, r, low): x + low = n ln 2 + r + low, |r| <= ln(2) / 2; the low bits of t are n."""
    t = fma(x, LOG2E, ROUND)
    n = t - ROUND
    tail = n * -LN2_LOW if low is None else fma(n, -LN2_LOW, low)
    return t, *fast_two_sum(fma(n, -LN2_HIGH, x), tail)


def exp_split(x: Value, low: Value | None = None) -> tuple[Value, Value]:
    """(p, n): e^(x + low) = 2^n (1 + p), n as i32."""
    t, r, lost = _split(x, low)
    return fma(polynomial(r, EXP), r * r, lost) + r, t.bitcast("i64").cast("i32")


def _raise(y: Value, t: Value) -> Value:
    """y 2^n, the low bits of t being n; y and the result are normal numbers."""
    return (y.bitcast("i64") + (t.bitcast("i64") << 52)).bitcast("f64")


def _raise_deep(y: Value, t: Value, deep: Value) -> Value:
    """The same, also for subnormal results: these are where `deep`, n >= -1078."""
    bits = y.bitcast("i64") + (t.bitcast("i64") << 52) + select(deep, const("i64", 128 << 52), 0)
    return bits.bitcast("f64") * select(deep, const("f64", 2.0**-128), 1.0)


def _exp_below(x: Value) -> Value:
    """e^x = 2^n e^r where it does not overflow, with r and 1 + r as pairs: random numbers are to have the C library's
    bits. No NaN for NaN."""
    x = select(x < -746.0, -746.0, x)
    t, r, low = _split(x)
    one, lost = fast_two_sum(const("f64", 1.0), r)
    y = one + (lost + fma(polynomial(r, EXP), r * r, fma(low, r, low)))
    return _raise_deep(y, t, x < -700.0)


def exp(x: Value) -> Value:
    """e^x = 2^n e^r."""
    return select(x <= 709.782712893384, _exp_below(x), x + INF)


def exp2(x: Value) -> Value:
    """2^x = 2^n 2^r, n the nearest integer."""
    a = select(x < -1076.0, -1076.0, x)
    t = a + ROUND
    r = a - (t - ROUND)
    y = _raise_deep(fma(polynomial(r, EXP2), r, 1.0), t, a < -1000.0)
    return select(x < 1024.0, y, x + INF)


def expm1(x: Value) -> Value:
    """e^x - 1 = 2^n (e^r - 1) + (2^n - 1) without cancellation; -0 stays -0."""
    t, r, low = _split(clamp(x, -50.0, 710.0))
    p = fma(polynomial(r, EXP), r * r, low) + r
    scale = _raise(const("f64", 0.5), t)
    half = fma(scale, p, scale - 0.5)
    return select(x.eq(0.0), x, half + half)


def tanh(x: Value) -> Value:
    """A polynomial below 0.55, else 1 - 2 / (e^2|x| + 1)."""
    a = abs(x)
    t, r, low = _split(select(a > 22.0, 44.0, a + a))
    e = _raise(fma(polynomial(r, EXP), r * r, low) + r + 1.0, t)
    z = a * a
    small = fma(polynomial(z, TANH) * z, a, a)
    return op("copysign", select(a >= 0.55, 1.0 - 2.0 / (e + 1.0), small), x)


def sigmoid(x: Value) -> Value:
    """1 / (1 + e^-x), for x < 0 as e^x / (1 + e^x)."""
    z = _exp_below(-abs(x))
    d = z + 1.0
    lost = z - (d - 1.0)  # the quotient is corrected for it; 1 - z / 2 stands for 1 / d
    q = select(x < 0.0, z, 1.0) / d
    return select(x.eq(x), fma(q, -(lost * fma(z, -0.5, 1.0)), q), x)


def sinh(x: Value) -> Value:
    """A polynomial below 1, else (e^|x| - e^-|x|) / 2."""
    a = abs(x)
    z = a * a
    small = fma(polynomial(z, SINH) * z, a, a)
    h = _half_exp(a)
    return op("copysign", select(a < 1.0, small, h - 0.25 / h), x)


def cosh(x: Value) -> Value:
    """(e^|x| + e^-|x|) / 2."""
    h = _half_exp(abs(x))
    return h + 0.25 / h


def _half_exp(a: Value) -> Value:
    """e^a / 2, for a >= 0."""
    p, n = exp_split(select(a > 712.0, 712.0, a))
    return op("ldexp", p + 1.0, n - 1)


def log_split(x: Value) -> tuple[Value, Value]:
    """(e, f): x = 2^e (1 + f), sqrt(1/2) <= 1 + f < sqrt(2), for a positive x."""
    tiny = x < 2.2250738585072014e-308
    shifted = select(tiny, x * 18014398509481984.0, x).bitcast("i64") - SQRT_HALF_BITS
    f = ((shifted & 0xFFFFFFFFFFFFF) + SQRT_HALF_BITS).bitcast("f64") - 1.0
    e = (shifted >> 52).cast("i32").cast("f64")
    return select(tiny, e - 54.0, e), f


def log_sum(e: Value, f: Value, extra: Value | None = None) -> Value:
    """e ln 2 + log(1 + f) + extra."""
    s = f / (f + 2.0)
    z = s * s
    half = f * f * 0.5
    tail = e * LN2_LOW if extra is None else fma(e, LN2_LOW, extra)
    y = fma(s, fma(polynomial(z, LOG), z, half), tail)
    return fma(e, LN2_HIGH, f - (half - y))


def log_edges(x: Value, y: Value) -> Value:
    """y, but log(0) = -inf, log(inf) = inf, NaN for what is below zero."""
    y = select(x > 0.0, y, select(x.eq(0.0), const(x.type, -INF), const(x.type, NAN)))
    return select(x.eq(INF), INF, y)


def quick_log(x: Value) -> Value:
    """log(2^e m) = e ln 2 + log(m), to 0.82 ulp."""
    return log_edges(x, log_sum(*log_split(x)))


def log(x: Value) -> Value:
    """The same with log(m) as a pair: random numbers are to have the C library's bits."""
    s, s_low = _log(*log_pair(*log_split(x)))
    return log_edges(x, s + s_low)


def _log(e: Value, high: Value, low: Value) -> tuple[Value, Value]:
    """e ln 2 + high + low as a pair."""
    s, s_low = fast_two_sum(e * LN2_HIGH, high)
    return s, s_low + fma(e, LN2_LOW, low)


def log1p_pair(x: Value, low: Value | None = None, twice: Value | None = None) -> Value:
    """log(1 + x + low) for finite x > -1; where `twice`: plus log 2 and without the 1."""
    one = const("f64", 1.0) if twice is None else select(twice, 0.0, const("f64", 1.0))
    u, lost = two_sum(x, one)
    if low is not None:
        lost = lost + low
    e, f = log_split(u)
    return log_sum(e if twice is None else select(twice, e + 1.0, e), f, lost / u)


def log1p(x: Value) -> Value:
    """log(1 + x) without cancellation."""
    u, lost = two_sum(x, const("f64", 1.0))
    s, s_low = _log(*log_pair(*log_split(u)))
    s, lost = two_sum(s, lost / u)
    y = select(x > -1.0, s + (lost + s_low), select(x.eq(-1.0), const("f64", -INF), const("f64", NAN)))
    return select(x.eq(INF) | (abs(x) < 1e-16), x, y)


def log_pair(e: Value, f: Value) -> tuple[Value, Value, Value]:
    """(e, high, low): log(1 + f) = high + low, to about 2^-65 of high."""
    d = f + 2.0
    s = f / d
    s_low = (fma(-s, d, f) - s * (f - (d - 2.0))) / d
    z, z_low = two_product(s, s)
    z_low = fma(s + s, s_low, z_low)
    c, c_low = fast_two_sum(const("f64", TWO_THIRDS), polynomial(z, LOG_TAIL) * z)
    c_low = c_low + TWO_THIRDS_LOW
    p, p_low = two_product(z, c)
    p_low = fma(z, c_low, fma(z_low, c, p_low))
    u, u_low = fast_two_sum(const("f64", 2.0), p)
    u_low = u_low + p_low
    high, low = two_product(s, u)
    return e, high, fma(s, u_low, fma(s_low, u, low))


def log2(x: Value) -> Value:
    """e + log(m) / log(2), the quotient as a pair."""
    e, high, low = log_pair(*log_split(x))
    p, p_low = two_product(high, const("f64", LOG2E))
    p_low = p_low + fma(high, LOG2E_LOW, low * LOG2E)
    s, s_low = fast_two_sum(e, p)
    return log_edges(x, s + (s_low + p_low))


def log10(x: Value) -> Value:
    """e log10(2) + log(m) / log(10), the quotient as a pair."""
    e, high, low = log_pair(*log_split(x))
    p, p_low = two_product(high, const("f64", LOG10E))
    p_low = p_low + fma(high, LOG10E_LOW, low * LOG10E)
    s, s_low = fast_two_sum(e * LOG10_2_HIGH, p)
    return log_edges(x, s + (s_low + fma(e, LOG10_2_LOW, p_low)))


def pow(x: Value, y: Value) -> Value:
    """e^(y log|x|) with the logarithm as a pair, and the special cases of C."""
    a = abs(x)
    s, s_low = _log(*log_pair(*log_split(a)))
    p, p_low = two_product(y, s)
    p_low = fma(y, s_low, p_low)
    return pow_edges(x, y, _power(a, y, p, p_low))


def pow_f32(x: Value, y: Value) -> Value:
    """e^(y log|x|) in float64, to about 2^-33, rounded once."""
    a, v = abs(x).cast("f64"), y.cast("f64")
    shifted = a.bitcast("i64") - SQRT_HALF_BITS
    f = ((shifted & 0xFFFFFFFFFFFFF) + SQRT_HALF_BITS).bitcast("f64") - 1.0
    s = f / (f + 2.0)
    z = s * s
    logarithm = fma((shifted >> 52).cast("i32").cast("f64"), LN2, fma(polynomial(z, POW_LOG) * z, s, s + s))
    logarithm = select(a > 0.0, select(a.eq(INF), a, logarithm), const("f64", -INF))
    p = clamp(v * logarithm, -110.0, 90.0)
    t = fma(p, LOG2E, ROUND)
    r = fma(t - ROUND, -LN2, p)
    return pow_edges(x, y, _raise(fma(polynomial(r, POW_EXP), r * r, r) + 1.0, t).cast("f32"))


def _power(a: Value, y: Value, p: Value, low: Value) -> Value:
    """e^(p + low), where p = y log(a) if a is neither 0 nor inf."""
    edge = y * select(a.eq(0.0), const("f64", -INF), const("f64", INF))
    p = select(a.eq(0.0) | a.eq(INF), edge, p)
    low = select(abs(p) < 800.0, low, 0.0)
    r, n = exp_split(clamp(p, -746.0, 710.0), low)
    return op("ldexp", r + 1.0, n)


def pow_edges(x: Value, y: Value, power: Value) -> Value:
    """|x|^y with the sign and the NaNs that x^y has in C."""
    half = y * 0.5
    integer = op("rint", y).eq(y)
    odd = integer & op("rint", half).ne(half)
    negative = x.bitcast("i64" if x.type == "f64" else "i32") < 0
    signed = select(odd & negative, -power, power)
    a = abs(x)
    bad = ((x < 0.0) & ~integer & (a < INF)) | y.ne(y)
    signed = select(bad, const(x.type, NAN), signed)
    signed = select(a.eq(1.0) & abs(y).eq(INF), 1.0, signed)
    return select(y.eq(0.0) | x.eq(1.0), 1.0, select(x.ne(x), x, signed))
