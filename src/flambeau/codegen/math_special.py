"""float64: lgamma, digamma, trigamma and the modified Bessel functions. Branch-free; see math.py, math_double.py."""

from __future__ import annotations

from collections.abc import Callable

from ..loop.build import Value, const, fma, op, select
from .math_double import exp_split, log1p
from .math_double import quick_log as log
from .math_float import INF, NAN, polynomial
from .math_trig import PI, sine_cosine_pi

HALF_LOG_2PI = 0.9189385332046728
LOG_PI = 1.1447298858494002

LGAMMA_TWO = (
    *(0.42278433509846713, 0.3224670334241132, -0.06735230105319627, 0.02058080842778593),
    *(-0.007385551028829855, 0.0028905103306183866, -0.001192753906132512, 0.0005096695293301464),
    *(-0.0002231548616447538, 9.94574238737271e-05, -4.492514786530225e-05, 2.0508203479903622e-05),
    *(-9.446234618342414e-06, 4.368262130451196e-06, -2.015353018557521e-06, 9.813199455119362e-07),
    *(-4.914002507783604e-07, 1.5424412432793861e-07, -8.134391440132572e-08, 1.0628274691744206e-07),
)
# B(2k) / (2k (2k - 1)), B(2k) / (2k), B(2k): Bernoulli's numbers
STIRLING = (
    *(0.08333333333333333, -0.002777777777777778, 0.0007936507936507937, -0.0005952380952380953),
    *(0.0008417508417508417, -0.0019175269175269176, 0.00641025641025641, -0.029550653594771242),
    *(0.17964437236883057, -1.3924322169059011),
)
DIGAMMA = (
    *(0.08333333333333333, -0.008333333333333333, 0.003968253968253968, -0.004166666666666667),
    *(0.007575757575757576, -0.02109279609279609, 0.08333333333333334, -0.4432598039215686),
    *(3.0539543302701198,),
)
TRIGAMMA = (
    *(0.16666666666666666, -0.03333333333333333, 0.023809523809523808, -0.03333333333333333),
    *(0.07575757575757576, -0.2531135531135531, 1.1666666666666667, -7.092156862745098),
    *(54.971177944862156, -529.1242424242424),
)
I0 = (
    *(1.0, 1.0, 0.25, 0.027777777777777776, 0.001736111111111111, 6.944444444444443e-05),
    *(1.9290123456790217e-06, 3.936759889140335e-08, 6.151187326802498e-10, 7.594058427552218e-12),
    *(7.594058440488285e-14, 6.27608114451392e-16, 4.3583923073428394e-18, 2.5789056026712685e-20),
    *(1.315944227702364e-22, 5.8393677339381e-25, 2.316049788586964e-27, 7.115864110790022e-30),
    *(3.593317658554729e-32,),
)
I1 = (
    *(1.0, 0.5, 0.08333333333333333, 0.006944444444444444, 0.00034722222222222224),
    *(1.1574074074074073e-05, 2.7557319223985957e-07, 4.920949861425695e-09, 6.83465258532734e-11),
    *(7.5940584277573e-13, 6.903689487763175e-15, 5.230067667817963e-17, 3.3526089950768994e-19),
    *(1.842078955232002e-21, 8.772767552874441e-24, 3.6503676013415305e-26, 1.360355407153616e-28),
    *(3.985847163074638e-31, 1.867282527489214e-33),
)
I0_LARGE = (
    *(0.3989422804014281, 0.0062334731329587775, 0.00043829092618911464, 5.7075113827484884e-05),
    *(1.0798080393358182e-05, 4.379767664089264e-06, -1.289828034515266e-05, 8.190171637974494e-05),
    *(-0.00034630687420973054, 0.0010755274706052466, -0.0024639806428674756, 0.004172150347219487),
    *(-0.005182222193022756, 0.004639201111690403, -0.0028987324110554113, 0.0011949035108483833),
    *(-0.0002912342746377565, 3.1735451526184606e-05),
)
I1_LARGE = (
    *(0.39894228040143753, -0.01870041939559781, -0.0007304849710507578, -7.990307780720573e-05),
    *(-1.3912948006692744e-05, -5.0693022330090555e-06, 1.3349853529495583e-05, -8.538143178651155e-05),
    *(0.00036003504421039357, -0.0011155287603786044, 0.0025490036515481217, -0.004303921989712512),
    *(0.005329088653675218, -0.0047537538957518185, 0.002958275160224545, -0.0012137775830429471),
    *(0.000294255124695939, -3.1867923800084564e-05),
)


def stirling_rest(z: Value) -> Value:
    """log gamma(z) - (z - 1/2) log(z) + z - log(2 pi) / 2 for z >= 8."""
    u = 1.0 / z
    return polynomial(u * u, STIRLING) * u


def _stirling(z: Value) -> Value:
    """log gamma(z) for z >= 8."""
    return fma(z - 0.5, log(z) - 1.0, stirling_rest(z) + (HALF_LOG_2PI - 0.5))


def lgamma1p(a: Value) -> Value:
    """log gamma(1 + a) without cancellation, a > 0."""
    near = select(a < 0.5, a, 0.0)
    return select(a < 0.5, polynomial(near, LGAMMA_TWO) * near - log1p(near), _lgamma_positive(a + 1.0))


def _lgamma_positive(a: Value) -> Value:
    """log gamma(a) for a > 0: around 1 and 2 a polynomial in a - 2, from 5/2 on Stirling's series, moved up below 8."""
    product, z = const("f64", 1.0), a
    for _ in range(6):
        low = z < 8.0
        product, z = select(low, product * z, product), select(low, z + 1.0, z)
    far = _stirling(z) - log(product)
    t = a - 1.0
    moved = a < 1.5
    near = select(moved, t, a - 2.0)
    tiny = a < 0.5
    near = select(tiny, a, near)
    shift = log1p(select(tiny, a, select(moved, t, 0.0)))
    y = polynomial(near, LGAMMA_TWO) * near - shift
    return select(a < 2.5, y - select(tiny, log(a), 0.0), far)


def lgamma(x: Value) -> Value:
    """log |gamma(x)|; below 0 log(pi / |x sin(pi x)|) - log gamma(-x)."""
    negative = x < 0.0
    a = abs(x)
    y = _lgamma_positive(a)
    sine, _ = sine_cosine_pi(a)
    reflected = LOG_PI - log(abs(sine) * a) - y
    y = select(negative, reflected, y)
    pole = (x <= 0.0) & op("floor", x).eq(x)
    return select(pole | a.eq(INF), const("f64", INF), select(a > 2.5e305, INF, y))


def digamma(x: Value) -> Value:
    """The derivative of log gamma: moved up to 10 by a quotient of polynomials, then the asymptotic series."""
    negative = x < 0.0
    z = select(negative, 1.0 - x, x)
    over, under = const("f64", 0.0), const("f64", 1.0)
    for _ in range(10):
        low = z < 10.0
        over, under = select(low, fma(over, z, under), over), select(low, under * z, under)
        z = select(low, z + 1.0, z)
    u = 1.0 / z
    series = polynomial(u * u, DIGAMMA) * (u * u)
    y = (log(z) - 0.5 * u) - series - over / under
    sine, cosine = sine_cosine_pi(x)
    y = select(negative, y - PI * cosine / sine, y)
    y = select(negative & op("floor", x).eq(x), const("f64", NAN), y)
    return select(x.eq(0.0), op("copysign", const("f64", INF), -x), select(x.eq(INF), x, y))


def trigamma(x: Value) -> Value:
    """The second derivative of log gamma; below 1/2 pi^2 / sin^2(pi x) - trigamma(1 - x)."""
    reflect = x < 0.5
    z = select(reflect, 1.0 - x, x)
    over, under = const("f64", 0.0), const("f64", 1.0)
    for _ in range(10):
        low = z < 10.0
        square = z * z
        over, under = select(low, fma(over, square, under), over), select(low, under * square, under)
        z = select(low, z + 1.0, z)
    u = 1.0 / z
    v = u * u
    y = over / under + (fma(v, 0.5, u) + polynomial(v, TRIGAMMA) * v * u)
    sine, _ = sine_cosine_pi(x)
    root = PI / sine
    return select(reflect, root * root - y, y)


def _bessel(x: Value, small: Callable[[Value], Value], large: tuple[float, ...], scaled: bool) -> Value:
    """I(|x|), or e^-|x| I(|x|): a series up to 8, then e^|x| / sqrt(|x|) times a polynomial in 8 / |x|."""
    a = abs(x)
    near = small(a)
    far = polynomial(8.0 / select(a < 8.0, 8.0, a), large) / op("sqrt", select(a < 8.0, 8.0, a))
    if scaled:
        p, n = exp_split(-select(a > 8.0, 8.0, a))
        return select(a > 8.0, select(a.eq(INF), 0.0, far), op("ldexp", fma(near, p, near), n))
    p, n = exp_split(select(a > 720.0, 720.0, a))
    return select(a > 8.0, select(a > 720.0, INF, op("ldexp", fma(far, p, far), n)), near)


def _i0_small(a: Value) -> Value:
    return polynomial(a * a * 0.25, I0)


def _i1_small(a: Value) -> Value:
    return polynomial(a * a * 0.25, I1) * (a * 0.5)


def i0(x: Value) -> Value:
    """The modified Bessel function of order 0."""
    return _bessel(x, _i0_small, I0_LARGE, False)


def i0e(x: Value) -> Value:
    """e^-|x| i0(x)."""
    return _bessel(x, _i0_small, I0_LARGE, True)


def i1(x: Value) -> Value:
    """The modified Bessel function of order 1."""
    return op("copysign", _bessel(x, _i1_small, I1_LARGE, False), x)


def i1e(x: Value) -> Value:
    """e^-|x| i1(x)."""
    return op("copysign", _bessel(x, _i1_small, I1_LARGE, True), x)
