"""float32 functions in float64 arithmetic, to about 2^-32, rounded once: log2, log10, erfinv, ndtri, lgamma.

Branch-free; what the float64 functions do for their last bits is left out. How the coefficients were found:
tests/codegen/fit_polynomials.py. Accuracy: see math.py."""

from __future__ import annotations

from ..loop.build import Value, const, fma, op, select
from .math_double import LN2, LOG2E, LOG10E, POW_LOG, SQRT_HALF_BITS, log_edges, quick_log
from .math_float import INF, NAN, polynomial
from .math_special import HALF_LOG_2PI, LOG_PI, STIRLING
from .math_trig import sine_cosine_pi

# erfinv(x) / x of w = -log(1 - x^2), of sqrt(w), and of sqrt(w) again
CENTER = (
    *(1.5014093511388082, 0.24664027679066303, -0.00417731813133755, -0.001252708100489229),
    *(0.00021825124689338286, -4.9958665880257644e-06, -3.4175220587808137e-06, 4.7863945796348e-07),
    *(1.3816775886995407e-08, -1.0853546915161495e-08, 8.149115051866292e-10, 1.2297981520894758e-10),
    *(-2.0256106183937107e-11,),
)
TAIL = (
    *(3.0015268115722966, 1.0042970102990005, 0.006403721630916564, -0.004692718444138207),
    *(0.0032864299199742656, -0.0022059207334950395, 0.0011572205532219045, -0.00035741349700209795),
    *(-4.000604063947087e-05, 0.00012415770886511375, -5.893343174443518e-05, -5.813600944571657e-06),
    *(1.0149119520472724e-05,),
)
FAR = (
    *(7.055592339973553, 1.0084067387353473, -0.000508000459024035, 1.0224780821626968e-05),
    *(4.683408880080264e-06, -1.2906983426581318e-06, 2.618298770787121e-07, -4.699697600523557e-08),
    *(4.935788031223171e-09, -4.3995375997238805e-10, 2.860557010572349e-10, -5.297163446539146e-11),
)
MIDDLES = (2.5, 3.1680339887498947, 7.1850000000000005)


def _logarithm(a: Value) -> tuple[Value, Value]:
    """(e, log m): a = 2^e m, sqrt(1/2) <= m < sqrt(2), of a positive finite number."""
    shifted = a.bitcast("i64") - SQRT_HALF_BITS
    f = ((shifted & 0xFFFFFFFFFFFFF) + SQRT_HALF_BITS).bitcast("f64") - 1.0
    s = f / (f + 2.0)
    z = s * s
    return (shifted >> 52).cast("i32").cast("f64"), fma(polynomial(z, POW_LOG) * z, s, s + s)


def log2(x: Value) -> Value:
    """e + log(m) / log(2)."""
    e, high = _logarithm(x.cast("f64"))
    return log_edges(x, fma(high, LOG2E, e).cast("f32"))


def log10(x: Value) -> Value:
    """(e log(2) + log(m)) / log(10)."""
    e, high = _logarithm(x.cast("f64"))
    return log_edges(x, (fma(e, LN2, high) * LOG10E).cast("f32"))


def _inverse(x: Value, rest: Value, far: bool) -> Value:
    """erfinv(x) in float64, rest = 1 - x^2 > 0; far: also for rests below 1e-7."""
    e, high = _logarithm(rest)
    w = -fma(e, LN2, high)
    s = op("sqrt", select(w > 0.0, w, 0.0))
    y = polynomial(s - MIDDLES[1], TAIL)
    if far:
        y = select(s > 4.08, polynomial(s - MIDDLES[2], FAR), y)
    return select(w < 5.0, polynomial(w - MIDDLES[0], CENTER), y) * x


def erfinv(x: Value) -> Value:
    """The y with erf(y) = x; inf at 1, NaN beyond."""
    a = x.cast("f64")
    rest = fma(-a, a, 1.0)
    y = _inverse(a, select(rest > 0.0, rest, 1.0), False).cast("f32")
    edge = select(abs(x).eq(1.0), op("copysign", const("f32", INF), x), const("f32", NAN))
    return select(abs(x) < 1.0, select(x.eq(0.0), x, y), edge)


def ndtri(p: Value) -> Value:
    """The x at which the normal distribution function is p: sqrt(2) erfinv(2p - 1)."""
    a = p.cast("f64")
    inside = (p > 0.0) & (p < 1.0)
    rest = select(inside, a * (1.0 - a) * 4.0, 1.0)
    y = (_inverse(fma(a, 2.0, -1.0), rest, True) * 1.4142135623730951).cast("f32")
    edge = select(p.eq(0.0), const("f32", -INF), select(p.eq(1.0), const("f32", INF), const("f32", NAN)))
    return select(inside, y, edge)


def lgamma(x: Value) -> Value:
    """log |gamma(x)|: Stirling's series, moved up to 8; below 0 log(pi / |x sin(pi x)|) - log gamma(-x)."""
    d = x.cast("f64")
    a = abs(d)
    product, z = const("f64", 1.0), a
    for _ in range(8):
        low = z < 8.0
        product, z = select(low, product * z, product), select(low, z + 1.0, z)
    u = 1.0 / z
    rest = fma(polynomial(u * u, STIRLING[:6]), u, HALF_LOG_2PI - 0.5)
    series = fma(z - 0.5, quick_log(z) - 1.0, rest)
    negative = x < 0.0
    sine, _ = sine_cosine_pi(a)
    around = abs(sine) * a
    ratio = quick_log(select(negative, around / product, product))
    y = select(negative, LOG_PI - series, series) - ratio
    pole = (x <= 0.0) & op("floor", x).eq(x)
    y = select(x.eq(1.0) | x.eq(2.0), 0.0, y)  # off by 1e-14, and that is all there is
    return select(pole | abs(x).eq(INF), const("f32", INF), y.cast("f32"))
