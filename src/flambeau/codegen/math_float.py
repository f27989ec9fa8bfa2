"""float32 functions in float32 arithmetic: exp, exp2, expm1, log, log1p, tanh, sigmoid, erf, erfc, ndtr, sin,
cos, atan2.

Branch-free; the reduction of sin and cos runs in float64. How the coefficients were found:
tests/codegen/fit_polynomials.py. Accuracy: see math.py."""

from __future__ import annotations

from collections.abc import Sequence

from ..loop.build import Value, const, fma, op, select

INF = float("inf")
NAN = float("nan")

PI, PI_LOW = 3.1415927410125732, -8.742277657347586e-08
PI_2, PI_2_LOW = 1.5707963705062866, -4.371138828673793e-08
# atan(t) / t - 1 over t^2, of t^2; the sixth one unit up, with which atan(1) is rounded to the nearest
ATAN = (
    *(
        -0.33333298563957214,
        0.1999853104352951,
        -0.14264056086540222,
        0.1095118448138237,
        -0.08400393277406693,
    ),
    *(0.05790271610021591, -0.031120603904128075, 0.010882562026381493, -0.0017861848464235663),
)
LOG2E = 1.4426950408889634
LN2_HIGH = 0.693145751953125  # 15 bits, so that n * LN2_HIGH is exact
LN2_LOW = 1.42860682030941723212e-6
ROUND = 12582912.0  # 1.5 * 2**23: adding it rounds to an integer, which is then in the low bits

EXP = (0.5, 0.1666651964187622, 0.041666410863399506, 0.008368825539946556, 0.0013939870987087488)
EXPM1 = (
    *(0.5, 0.1666666716337204, 0.04166648909449577, 0.008333207108080387),
    *(0.0013932676520198584, 0.00019945063104387373),
)
EXP2 = (
    *(0.6931471824645996, 0.24022650718688965, 0.05550406128168106, 0.009618086740374565),
    *(0.0013336656847968698, 0.00015452303341589868, 1.4673512851004489e-05),
)
LOG = (
    *(0.3333331346511841, -0.25000011920928955, 0.20002074539661407, -0.1666785478591919, 0.142201766371727),
    *(-0.12408097088336945, 0.11886635422706604, -0.11661932617425919, 0.06733759492635727),
)
TANH = (
    *(-0.33333316445350647, 0.1333254724740982, -0.05384829267859459),
    *(0.021055513992905617, -0.006251894868910313),
)
ERF_SMALL = (
    *(0.12837916612625122, -0.3761262893676758, 0.11283618211746216, -0.02685512602329254),
    *(0.005190731957554817, -0.0008030715980567038, 7.920097414171323e-05),
)
ERF_LARGE = (
    *(0.9994966387748718, 0.0026563096325844526, -0.006534185726195574, 0.009831182658672333),
    *(-0.009916601702570915, 0.00680598383769393, -0.0029306067153811455, 0.0004450043197721243),
    *(0.00034739242983050644, -0.00028324799495749176, 8.149604400387034e-05, 1.468703067075694e-05),
    *(-1.9208519006497227e-05, 3.2190548608923564e-06, 1.3388674915404408e-06, -3.8979140981609817e-07),
)
ERFC_SCALE = 0.6894376873970032
ERFC = (
    *(3.32368540763855, 8.830355644226074, 16.143720626831055, 7.7817769050598145),
    *(-54.0113525390625, -207.96148681640625, 316.9832763671875, 1773.1591796875),
    *(-5378.77587890625, 4478.15966796875),
)
# Both parts of the quotient that ndtr(-a) e^(a^2 / 2) is for 0 <= a <= 14.5.
NDTR_OVER = (0.5, 0.43759942054748535, 0.18268471956253052, 0.0404374822974205, 0.0040842387825250626)
NDTR_UNDER = (
    *(1.0, 1.6730836629867554, 1.2002933025360107, 0.46800851821899414),
    *(0.10136827081441879, 0.010237547568976879),
)
SIN = (-0.1666666716337204, 0.008333380334079266, -0.00019853470439556986, 2.836693965946324e-06)
COS = (0.0416666679084301, -0.0013888981193304062, 2.482245326973498e-05, -2.891946451200056e-07)


def polynomial(x: Value, coefs: Sequence[float]) -> Value:
    """coefs[0] + coefs[1] x + coefs[2] x^2 + ... by Horner's rule, fused."""
    total = const(x.type, coefs[-1])
    for c in coefs[-2::-1]:
        total = fma(total, x, const(x.type, c))
    return total


def clamp(x: Value, low: float, high: float) -> Value:
    """x in [low, high]; NaN stays NaN."""
    x = select(x > high, high, x)
    return select(x < low, low, x)


def _split(x: Value) -> tuple[Value, Value]:
    """(t, r): x = n ln 2 + r, |r| <= ln(2) / 2; the low bits of t are n."""
    t = fma(x, LOG2E, ROUND)
    n = t - ROUND
    return t, fma(n, -LN2_LOW, fma(n, -LN2_HIGH, x))


def _raise(y: Value, t: Value) -> Value:
    """y 2^n, the low bits of t being n; y and the result are normal numbers."""
    return (y.bitcast("i32") + (t.bitcast("i32") << 23)).bitcast("f32")


def _raise_deep(y: Value, t: Value, deep: Value) -> Value:
    """The same, also for subnormal results: these are where `deep`, n >= -151."""
    bits = y.bitcast("i32") + (t.bitcast("i32") << 23) + select(deep, const("i32", 64 << 23), 0)
    return bits.bitcast("f32") * select(deep, const("f32", 2.0**-64), 1.0)


def _exp_below(x: Value) -> Value:
    """e^x = 2^n e^r where it does not overflow; no NaN for NaN."""
    x = select(x < -104.0, -104.0, x)
    t, r = _split(x)
    return _raise_deep(fma(polynomial(r, EXP), r * r, r) + 1.0, t, x < -80.0)


def exp(x: Value) -> Value:
    """e^x = 2^n e^r."""
    return select(x < 88.72283935546875, _exp_below(x), x + INF)


def exp2(x: Value) -> Value:
    """2^x = 2^n 2^r, n the nearest integer."""
    a = select(x < -151.0, -151.0, x)
    t = a + ROUND
    r = a - (t - ROUND)
    y = _raise_deep(fma(polynomial(r, EXP2), r, 1.0), t, a < -100.0)
    return select(x < 128.0, y, x + INF)


def expm1(x: Value) -> Value:
    """e^x - 1 = 2^n (e^r - 1) + (2^n - 1) without cancellation; -0 stays -0."""
    t, r = _split(clamp(x, -26.0, 89.0))
    p = fma(polynomial(r, EXPM1), r * r, r)
    scale = _raise(const("f32", 0.5), t)
    half = fma(scale, p, scale - 0.5)
    return select(x.eq(0.0), x, half + half)


def tanh(x: Value) -> Value:
    """A polynomial below 0.55, else 1 - 2 / (e^2|x| + 1)."""
    a = abs(x)
    t, r = _split(select(a > 10.0, 20.0, a + a))
    e = _raise(fma(polynomial(r, EXP), r * r, r) + 1.0, t)
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


def log_core(bits: Value) -> tuple[Value, Value]:
    """(e, m - 1) of a positive number, given by its bits: 2^e m, m in [sqrt(1/2), sqrt(2))."""
    shifted = bits - 0x3F3504F3
    m = ((shifted & 0x7FFFFF) + 0x3F3504F3).bitcast("f32")
    return (shifted >> 23).cast("f32"), m - 1.0


def _log(e: Value, f: Value, extra: Value | None = None) -> Value:
    """e ln 2 + log(1 + f) + extra."""
    z = f * f
    y = polynomial(f, LOG) * (z * f)
    y = fma(e, LN2_LOW, y)
    if extra is not None:
        y = y + extra
    return fma(e, LN2_HIGH, fma(z, -0.5, y) + f)


def _log_edges(x: Value, y: Value) -> Value:
    """y, but log(0) = -inf, log(inf) = inf, NaN for what is below zero."""
    y = select(x > 0.0, y, select(x.eq(0.0), -INF, const(x.type, NAN)))
    return select(x.eq(INF), INF, y)


def log(x: Value) -> Value:
    """log(2^e m) = e ln 2 + log(m)."""
    tiny = x < 1.1754943508222875e-38
    bits = select(tiny, x * 8388608.0, x).bitcast("i32")
    e, f = log_core(bits)
    return _log_edges(x, _log(select(tiny, e - 23.0, e), f))


def log1p(x: Value) -> Value:
    """log(u) + (1 + x - u) / u with u = 1 + x rounded."""
    u = x + 1.0
    large = x > 1.0
    lost = select(large, 1.0 - (u - x), x - (u - 1.0))
    e, f = log_core(u.bitcast("i32"))
    y = _log(e, f, lost / u)
    y = select(x > -1.0, y, select(x.eq(-1.0), -INF, const("f32", NAN)))
    y = select(x.eq(INF), INF, y)
    return select(abs(x) < 5e-8, x, y)


def erf(x: Value) -> Value:
    """A polynomial below 1, another one up to 3.92, then exactly 1."""
    a = abs(x)
    small = fma(polynomial(x * x, ERF_SMALL), x, x)
    large = polynomial(a - 2.46, ERF_LARGE)
    large = select(a > 3.9192059040069580, 1.0, large)
    return select(a < 1.0, small, op("copysign", select(x.eq(x), large, x), x))


def erfc(x: Value) -> Value:
    """q (1 + v) e^(-x^2), q = K / (2 + |x|), v a polynomial in q, the square as a pair; 2 minus that for x < 0.

    What rounding took from q is made good: `lost`, times the slope of the logarithm, -(1 + 5/2 q / K) / K."""
    a = abs(x)
    a = select(a > 10.1, 10.1, a)
    d = a + 2.0
    q = ERFC_SCALE / d
    lost = fma(q, a - (d - 2.0), fma(q, d, -ERFC_SCALE))
    square = a * a
    t, r = _split(-square)
    r = r + fma(fma(q, -2.5 / ERFC_SCALE**2, -1.0 / ERFC_SCALE), lost, -fma(a, a, -square))
    p = fma(polynomial(r, EXP), r * r, r)
    u = q - 0.064453125
    both = fma(polynomial(u, ERFC[1:]), u * u, fma(u, ERFC[0], p))  # v + p
    y = _raise_deep(fma(q, fma(both - p, p, both), q), t, square > 80.0)
    return select(x.eq(x), select(x < 0.0, 2.0 - y, y), x)


def ndtr(x: Value) -> Value:
    """e^(-x^2 / 2) P(|x|) / Q(|x|), 1 minus that for x >= 0; x^2 is never rounded: it enters a fused sum with n ln 2.

    n is carried 64 too large, so that what is multiplied by 2^-64 at the end is a normal number for every x."""
    a = abs(x)
    a = select(a > 14.5, 14.5, a)
    w = polynomial(a, NDTR_OVER) / polynomial(a, NDTR_UNDER)
    half = a * -0.5
    t = fma(half * a, LOG2E, ROUND + 64.0)
    n = t - (ROUND + 64.0)
    r = fma(n, -LN2_LOW, fma(half, a, n * -LN2_HIGH))
    y = _raise(fma(w, fma(polynomial(r, EXP), r * r, r), w), t) * 2.0**-64
    return select(x.eq(x), select(x < 0.0, y, 1.0 - y), x)


# 1 / (2 pi) in pieces of 29, 53, 53 and 53 bits: a float32 times the first is exact in float64.
TURNS = (0.15915494272485375, 3.6704158172530464e-10, 1.924176216009893e-26, 1.1051690039850298e-42)


def turn(x: Value) -> tuple[Value, Value]:
    """(quadrant as i32, r as f64): x = quadrant * pi / 2 + r modulo 2 pi, for every finite x.

    x / (2 pi) modulo 1 is the sum of the products with the pieces of 1 / (2 pi), each modulo 1 in float64."""
    w = x.cast("f64")
    p = w * TURNS[0]
    turns = p - op("rint", p)
    n = op("rint", w * TURNS[1])
    f = fma(w, TURNS[1], -n)
    turns = turns + (f - op("rint", f))
    n = op("rint", w * TURNS[2])
    turns = turns - op("rint", turns)
    turns = turns + fma(w, TURNS[2], -n)
    turns = fma(w, TURNS[3], turns)
    magic = fma(turns, 4.0, 6755399441055744.0)
    r = fma(magic - 6755399441055744.0, -0.25, turns) * 6.283185307179586
    return magic.bitcast("i64").cast("i32"), r


def _sin_cos(x: Value, shift: int) -> Value:
    """sin(x + shift * pi / 2)."""
    quadrant, wide = turn(x)
    r = wide.cast("f32")
    if shift:
        quadrant = quadrant + shift
    z = r * r
    sine = fma(polynomial(z, SIN), z * r, r)
    cosine = fma(polynomial(z, COS), z * z, fma(z, -0.5, 1.0))
    y = select((quadrant & 1).eq(0), sine, cosine)
    return (y.bitcast("i32") ^ ((quadrant & 2) << 30)).bitcast("f32")


def sin(x: Value) -> Value:
    """By quadrants; -0 stays -0, inf gives NaN."""
    return select(x.eq(0.0), x, _sin_cos(x, 0))


def cos(x: Value) -> Value:
    """By quadrants; inf gives NaN."""
    return _sin_cos(x, 1)


def from_octant(
    r: Value, swap: Value, left: Value, half: tuple[float, float], whole: tuple[float, float]
) -> Value:
    """r, half - r, half + r or whole - r (pi / 2 and pi as pairs): rounded to the nearest once, so that multiples of
    pi / 4 are the nearest numbers."""
    none = const(r.type, 0.0)
    high, low = (
        select(swap, const(r.type, h), select(left, const(r.type, w), none))
        for h, w in zip(half, whole, strict=True)
    )
    return high + (select(swap ^ left, -r, r) + low)


def atan2(y: Value, x: Value) -> Value:
    """The angle of (x, y): atan of the smaller over the larger one, turned into its octant."""
    ax, ay = abs(x), abs(y)
    swap = ay > ax
    a, b = select(swap, ay, ax), select(swap, ax, ay)
    same = b.eq(INF)
    t = select(same, const("f32", 1.0), b) / select(same | a.eq(0.0), const("f32", 1.0), a)
    z = t * t
    r = fma(polynomial(z, ATAN) * z, t, t)
    r = from_octant(r, swap, x.bitcast("i32") < 0, (PI_2, PI_2_LOW), (PI, PI_LOW))
    return select(x.ne(x) | y.ne(y), const("f32", NAN), op("copysign", r, y))
