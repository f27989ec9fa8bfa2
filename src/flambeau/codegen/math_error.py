"""float64: erf, erfc, ndtr and the inverses erfinv and ndtri. Branch-free; see math.py, math_double.py."""

from __future__ import annotations

from ..loop.build import Value, const, fma, op, select
from .math_double import INF, NAN, exp, exp_split, two_product
from .math_double import quick_log as log
from .math_float import polynomial

HALF_SQRT_PI = 0.886226925452758
SQRT2 = 1.4142135623730951

ERF = (
    *(0.1283791670955126, -0.376126389031841, 0.11283791670971195, -0.02686617064806927),
    *(0.00522397765325879, -0.000854832857924715, 0.00012055388157530014, -1.4926937273417132e-05),
    *(1.6482083800606817e-06, -1.656928144049266e-07, 1.6103041988986982e-08, -1.6841035745933937e-09),
    *(1.5026056762847622e-10,),
)
ERFC = (
    *(1.2375126308378275, -0.14024059858554702, 0.0035854154855048375, 0.08227673849014899),
    *(-0.10880393014446388, 0.09230432116031968, -0.058693398517933947, 0.0283622774187062),
    *(-0.009746580532420722, 0.0017556258655799504, 0.0002937214043502322, -0.00029015420562719766),
    *(5.1610736361405366e-05, 2.238486359054965e-05, -1.1321904215209757e-05, -9.753760545906773e-07),
    *(1.5011921177778748e-06, -5.4051843870266405e-08, 6.029914247069415e-08, 2.0066370012168794e-08),
    *(-1.91388150048107e-07, -2.085727552999888e-09, 6.702225727399948e-08),
)
INVERSE_CENTER = (
    *(0.8862269557709265, 0.23200531508293062, 0.1279309915559575, 0.08013733530328898),
    *(0.11917437830645723, -0.19984207064689194, 0.7020812250425379, -0.8949108249511943),
    *(0.6104149595796575,),
)
INVERSE_TAIL = (
    *(1.000136132434671, -0.018364712989752358, -1.7691802191012087, 7.274210459601038),
    *(-32.76207960870753, 126.12287091548438, -365.3038486300299, 768.7690038265736),
    *(-1150.896464081295, 1189.8480070412534, -805.605691754505, 320.9585898093767, -56.98464809818593),
)


def _scaled_erfc(a: Value) -> Value:
    """e^(a^2) erfc(a), for 1/2 <= a <= 28."""
    return polynomial((a - 3.75) / (a + 3.75), ERFC) / fma(a, 2.0, 1.0)


def _erfc(a: Value) -> Value:
    """erfc(a) for a >= 1/2: the square of a as a pair, one rounding at the end."""
    a = select(a > 28.0, 28.0, a)
    square, low = two_product(a, a)
    p, n = exp_split(-square, -low)
    scaled = _scaled_erfc(a)
    return op("ldexp", fma(scaled, p, scaled), n)


def erf(x: Value) -> Value:
    """A polynomial below 1, else 1 - erfc; exactly 1 from 5.92 on."""
    a = abs(x)
    near = fma(polynomial(x * x, ERF), x, x)
    far = op("copysign", 1.0 - _erfc(select(a < 1.0, 1.0, a)), x)
    return select(a < 1.0, near, far)


def erfc(x: Value) -> Value:
    """1 - erf below 1/2, else e^(-x^2) times a polynomial; 2 minus that for negative x."""
    a = abs(x)
    near = 1.0 - fma(polynomial(x * x, ERF), x, x)
    far = _erfc(select(a < 0.5, 0.5, a))
    return select(a < 0.5, near, select(x < 0.0, 2.0 - far, far))


def ndtr(x: Value) -> Value:
    """erfc(-x / sqrt(2)) / 2."""
    return erfc(x * -0.7071067811865476) * 0.5


def _inverse_center(a: Value) -> Value:
    """erfinv(a) for |a| <= 3/4: a polynomial and one step of Halley."""
    y = polynomial(a * a, INVERSE_CENTER) * a
    step = (fma(polynomial(y * y, ERF), y, y) - a) * exp(y * y) * HALF_SQRT_PI
    return y - step / fma(y, step, 1.0)


def _inverse_tail(q: Value) -> Value:
    """The y with erfc(y) = q, q <= 1/4: a polynomial in 1 / sqrt(-log q), one step on log erfc."""
    target = -log(q)
    s = op("sqrt", target)
    y = polynomial(1.0 / s, INVERSE_TAIL) * s
    scaled = _scaled_erfc(y)
    square, low = two_product(y, y)
    slope = scaled * HALF_SQRT_PI
    d = (log(scaled) - ((square - target) + low)) * slope
    return y + fma(d * d, y - 0.5 / slope, d)


def erfinv(x: Value) -> Value:
    """The y with erf(y) = x; inf at 1, NaN beyond."""
    a = abs(x)
    center = _inverse_center(select(a <= 0.75, x, 0.0))
    q = select((a > 0.75) & (a < 1.0), 1.0 - a, 0.25)
    far = select(a.eq(1.0), const("f64", INF), select(a < 1.0, _inverse_tail(q), const("f64", NAN)))
    return select(x.eq(0.0), x, select(a <= 0.75, center, op("copysign", far, x)))


def ndtri(p: Value) -> Value:
    """The x at which the normal distribution function is p: sqrt(2) erfinv(2p - 1)."""
    twice = p + p
    upper = p > 0.5
    q = select(upper, (1.0 - p) * 2.0, twice)  # erfc of the result's size / sqrt(2)
    tail = (q < 0.25) & (q > 0.0)
    far = _inverse_tail(select(tail, q, 0.25))
    far = select(q.eq(0.0), const("f64", INF), far)
    center = _inverse_center(select(q >= 0.25, twice - 1.0, 0.0))
    y = select(q < 0.25, select(upper, far, -far), center) * SQRT2
    return select((p >= 0.0) & (p <= 1.0), y, const("f64", NAN))
