"""float64: the Hurwitz zeta function and the regularised incomplete gamma functions, by loops of fixed length."""

from __future__ import annotations

from ..loop.build import Value, const, fma, op, select
from .math_double import exp, expm1, log1p_pair
from .math_double import quick_log as log
from .math_float import INF, NAN
from .math_loop import Loops
from .math_special import digamma, lgamma1p, stirling_rest

# B(2k) / (2k)!, of the formula of Euler and Maclaurin
EULER = (
    *(0.08333333333333333, -0.001388888888888889, 3.306878306878307e-05, -8.267195767195768e-07),
    *(2.08767569878681e-08, -5.284190138687493e-10, 1.3382536530684679e-11, -3.3896802963225827e-13),
    *(8.586062056277845e-15, -2.174868698558062e-16, 5.50900282836023e-18, -1.3954464685812523e-19),
)
TERMS = 30  # of the sum, before that formula
SERIES = 100
NODES, STEP, FIRST = 92, 0.1, -4.0  # of the trapezoidal rule
LARGE = 60.0


def zeta(loops: Loops, x: Value, q: Value) -> Value:
    """sum over k >= 0 of (q + k)^-x; inf at x = 1 and q = 0, -1, ...; NaN for x < 1 and for q < -20."""
    odd = op("rint", x * 0.5).ne(x * 0.5)
    minus, q = loops.let(-x), loops.let(q)
    total = loops.reg(const("f64", 0.0) * q)
    with loops.loop(TERMS) as k:
        a = q + k.cast("f64")
        term = exp(minus * log(abs(a)))
        total.set(total.get() + select((a < 0.0) & odd, -term, term))
    a = loops.let(q + float(TERMS))
    power = loops.let(exp(minus * log(a)))
    rest = fma(power, 0.5, a * power / (x - 1.0))
    factor, inverse = x * power / a, 1.0 / (a * a)
    for j, c in enumerate(EULER):
        rest = fma(factor, c, rest)
        factor = factor * (x + (2.0 * j + 1.0)) * (x + (2.0 * j + 2.0)) * inverse
    y = total.get() + select(power > 0.0, rest, 0.0)
    negative = q <= 0.0
    bad = (q < -20.0) | (negative & op("floor", x).ne(x)) | x.ne(x) | q.ne(q)
    y = select(negative & op("floor", q).eq(q), const("f64", INF), select(bad, const("f64", NAN), y))
    y = select(x < 1.0, const("f64", NAN), y)
    return select(x.eq(1.0), INF, select(q.eq(INF) & (x > 1.0), 0.0, y))


def _prefactor(a: Value, x: Value) -> Value:
    """x^a e^-x / gamma(a + 1), by Stirling's formula from a = 10 on."""
    m = (x - a) / a
    near_one = m > -0.5
    logarithm = select(near_one, log1p_pair(select(near_one, m, 0.0)), log(x / a))
    far = a * (logarithm - m) - stirling_rest(a) - 0.5 * log(a * 6.283185307179586)
    near = a * log(x) - x - lgamma1p(a)
    return exp(select(a > 10.0, far, near))


def _series(loops: Loops, a: Value, x: Value) -> tuple[Value, Value]:
    """(sum of x^n / ((a + 1) ... (a + n)), sum from n = 1 of (-x)^n / (n! (a + n)))."""
    zero = x * 0.0
    term, total = loops.reg(zero + 1.0), loops.reg(zero + 1.0)
    factor, alternating = loops.reg(zero + 1.0), loops.reg(zero)
    with loops.loop(SERIES) as k:
        n = k.cast("f64") + 1.0
        inverse = loops.let(1.0 / (a + n))
        term.set(term.get() * (x * inverse))
        total.set(total.get() + term.get())
        factor.set(factor.get() * -x / n)
        alternating.set(fma(factor.get(), inverse, alternating.get()))
    return loops.let(total.get()), loops.let(alternating.get())


def _tail(loops: Loops, a: Value, x: Value, upper: Value, weight: Value | None = None) -> Value:
    """The integral of (1 + s)^(a-1) e^(-xs) from 0 to inf, or of (1 - s)^(a-1) e^(xs) from 0 to 1; the integrand times
    weight + log(1 +- s) if there is a weight.

    Trapezoidal rule in t, s = scale e^(t - e^-t)."""
    scale = loops.let(1.0 / (abs(x - a) + op("sqrt", a)))
    sign = loops.let(select(upper, const("f64", 1.0), -1.0))
    total = loops.reg(x * 0.0)
    with loops.loop(NODES) as k:
        t = loops.let(fma(k.cast("f64"), STEP, FIRST))
        e = loops.let(exp(-t))
        u = loops.let(exp(t - e))
        s = loops.let(u * scale)
        inside = upper | (s < 1.0)
        v = loops.let(select(inside, sign * s, 0.0))
        logarithm = loops.let(log1p_pair(v))
        g = exp((a - 1.0) * logarithm - x * v)
        g = g if weight is None else g * (weight + logarithm)
        total.set(total.get() + select(inside, g * (u * (e + 1.0)), 0.0))
    return total.get() * scale * STEP


def _parts(loops: Loops, a: Value, x: Value) -> tuple[Value, Value]:
    """(lower, upper) for finite positive a and x: the smaller one by a sum without cancellation."""
    upper = loops.let((x >= a) & (x > 1.1))
    lower = (a >= LARGE) & ~upper
    few = (x <= 1.1) & (a < select(x <= 0.5, -0.4 / log(x), x * 0.75))
    front = loops.let(_prefactor(a, x))
    total, alternating = _series(
        loops, select(lower | upper, 1.0, a), select(lower | upper, const("f64", 1.0), x)
    )
    tail = front * a * _tail(loops, a, x, upper)
    # few: 1 - x^a / gamma(1 + a) (1 + a sum)
    power = expm1(a * log(x) - lgamma1p(a))
    rest = -power - (power + 1.0) * (a * alternating)
    small = select(upper, tail, rest)
    below = select(lower, tail, front * total)
    from_above = upper | few
    return select(from_above, 1.0 - small, below), select(from_above, small, 1.0 - below)


def _incomplete(loops: Loops, a: Value, x: Value, which: int) -> Value:
    inside = (a > 0.0) & (x > 0.0) & (a < INF) & (x < INF)
    one = const("f64", 1.0)
    y = _parts(loops, loops.let(select(inside, a, one)), loops.let(select(inside, x, one)))[which]
    at_zero, at_infinity = (0.0, one) if which == 0 else (one, 0.0)
    edge = select((a.eq(0.0) & (x > 0.0)) | (x.eq(INF) & (a < INF)), at_infinity, at_zero)
    bad = (a < 0.0) | (x < 0.0) | (a.eq(0.0) & x.eq(0.0)) | (a.eq(INF) & x.eq(INF)) | a.ne(a) | x.ne(x)
    return select(bad, const("f64", NAN), select(inside, y, edge))


def igamma(loops: Loops, a: Value, x: Value) -> Value:
    """The lower incomplete gamma function over gamma(a)."""
    return _incomplete(loops, a, x, 0)


def igammac(loops: Loops, a: Value, x: Value) -> Value:
    """The upper incomplete gamma function over gamma(a)."""
    return _incomplete(loops, a, x, 1)


def gamma_slope(loops: Loops, a: Value, x: Value) -> Value:
    """The derivative by a of a gamma variable x whose probability stays: minus that of `igamma` over the density.

    x times the integral of (log(x t) - digamma(a)) t^(a-1) e^(x - xt) from t = 1 to inf, or minus that from 0 to 1:
    a series below a = 60."""
    inside = loops.let((a > 0.0) & (x > 0.0) & (a < INF) & (x < INF))
    edge = loops.let(select(x.eq(x) & a.eq(a), 0.0, const("f64", NAN)))
    a, x = loops.let(select(inside, a, 1.0)), loops.let(select(inside, x, 1.0))
    upper = loops.let((x >= a) & (x > 1.1))
    by_integral = loops.let(upper | (a >= LARGE))
    psi, logarithm = loops.let(digamma(a + 1.0)), loops.let(log(x))
    tail = _tail(loops, a, x, upper, loops.let(logarithm - psi + 1.0 / a))
    b, y = loops.let(select(by_integral, 1.0, a)), loops.let(select(by_integral, 1.0, x))
    factor = loops.let(logarithm - psi)
    term, rest = loops.reg(1.0 / b), loops.reg(b * 0.0)
    total = loops.reg(factor / b)
    with loops.loop(SERIES) as k:
        inverse = loops.let(1.0 / (b + (k.cast("f64") + 1.0)))
        term.set(term.get() * (y * inverse))
        rest.set(rest.get() + inverse)
        total.set(fma(term.get(), factor - rest.get(), total.get()))
    value = x * select(by_integral, select(upper, tail, -tail), -total.get())
    return select(inside, value, edge)
