"""How the polynomial coefficients of codegen/math_*.py were found: weighted least squares in mpmath, the weights
adapted to the error (Lawson), one coefficient rounded
to the target type at a time (the rest is fitted again). `python fit_polynomials.py [name ...]` prints them.

A polynomial approximates g on [lo, hi] so that max |weight * (p - g)| is minimal; `powers` are its powers of x."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import numpy as np
from mpmath import mp, mpf

mp.dps = 70
Real = Callable[[mpf], mpf]


def minimax(
    g: Real, weight: Real, lo: mpf, hi: mpf, powers: Sequence[int], rounds: int = 20
) -> tuple[list, mpf]:
    """The coefficients of x**k for k in powers with (nearly) the smallest weighted error, and that error."""
    n, m = len(powers), 10 * max(len(powers), 4)
    grid = [away((lo + hi) / 2 - (hi - lo) / 2 * mp.cos(mp.pi * i / m)) for i in range(m + 1)]
    values, weights = [g(x) for x in grid], [abs(weight(x)) for x in grid]
    rows = [[w * x**k for k in powers] for x, w in zip(grid, weights)]
    right = [w * v for w, v in zip(weights, values)]
    lawson = [mpf(1)] * (m + 1)
    best: tuple[list, mpf] = ([mpf(0)] * n, mpf("inf"))
    for _ in range(rounds):
        normal, moment = mp.matrix(n, n), mp.matrix(n, 1)
        for row, r, u in zip(rows, right, lawson):
            for i in range(n):
                ui = u * row[i]
                moment[i] += ui * r
                for j in range(i, n):
                    normal[i, j] += ui * row[j]
        for i in range(n):
            for j in range(i):
                normal[i, j] = normal[j, i]
        solution = mp.lu_solve(normal, moment)
        coefs = [solution[i] for i in range(n)]
        errors = [abs(sum((c * a for c, a in zip(coefs, row)), mpf(0)) - r) for row, r in zip(rows, right)]
        error = max(errors)
        if error < best[1]:
            best = coefs, error
        lawson = [u * e / error for u, e in zip(lawson, errors)]
        total = sum(lawson)
        lawson = [u / total + mpf(10) ** -12 for u in lawson]
    return best


def rounded(x: mpf, bits: int) -> float:
    return float(np.float32(float(x))) if bits == 24 else float(x)


def fit(
    g: Real, weight: Real, lo: float, hi: float, powers: Sequence[int], bits: int, exact: int = 99
) -> list[float]:
    """Coefficients (lowest power first); the first `exact` are rounded one by one, the others together."""
    powers, fixed = list(powers), []
    lo, hi = mpf(lo), mpf(hi)
    while powers:
        done = list(fixed)
        target = lambda x, done=done: g(x) - sum((mpf(c) * x**k for k, c in done), mpf(0))
        coefs, error = minimax(target, weight, lo, hi, powers)
        if not fixed:
            print(f"    error 2^{float(mp.log(error, 2)):.2f}", end=" ")
        take = 1 if len(fixed) < exact else len(powers)
        fixed += [(k, rounded(c, bits)) for k, c in zip(powers[:take], coefs)]
        powers = powers[take:]
    final = max(
        abs(weight(x) * (g(x) - sum((mpf(c) * x**k for k, c in fixed), mpf(0))))
        for x in (lo + (hi - lo) * i / 400 for i in range(401))
    )
    print(f"after rounding 2^{float(mp.log(final, 2)):.2f}")
    return [c for _, c in fixed]


TINY = mpf(10) ** -18


def away(x: mpf) -> mpf:
    """x, but not zero: the targets are quotients."""
    return x if abs(x) > TINY else TINY


def one(x: mpf) -> mpf:
    return mpf(1)


LN2 = mp.log(2)
SQRT = float(mp.sqrt(2))
FITS: dict[str, Callable[[], list[float]]] = {}


def named(f: Callable[[], list[float]]) -> Callable[[], list[float]]:
    FITS[f.__name__] = f
    return f


@named
def exp_f32() -> list[float]:  # e^r = 1 + r + r^2 p(r)
    h = float(LN2 / 2) * 1.0001
    return fit(lambda x: (mp.exp(away(x)) - 1 - away(x)) / away(x) ** 2, lambda x: x * x, -h, h, range(5), 24)


@named
def expm1_f32() -> list[float]:  # relative to r
    h = float(LN2 / 2) * 1.0001
    return fit(lambda x: (mp.exp(away(x)) - 1 - away(x)) / away(x) ** 2, lambda x: x, -h, h, range(6), 24)


@named
def exp2_f32() -> list[float]:  # 2^r = 1 + r p(r)
    return fit(lambda x: (2 ** away(x) - 1) / away(x), lambda x: x, -0.50001, 0.50001, range(7), 24)


@named
def log_f32() -> list[float]:  # log(1+f) = f - f^2/2 + f^3 p(f)
    f = lambda x: (mp.log(1 + away(x)) - away(x) + away(x) ** 2 / 2) / away(x) ** 3
    return fit(f, lambda x: x**3 / mp.log(1 + away(x)), SQRT / 2 - 1, SQRT - 1, range(9), 24)


@named
def tanh_f32() -> list[float]:  # tanh(x) = x + x^3 p(x^2), |x| < 0.55
    f = lambda z: (mp.tanh(mp.sqrt(away(z))) / mp.sqrt(away(z)) - 1) / away(z)
    return fit(f, lambda z: z, 0, 0.303, range(5), 24)


@named
def erf_small_f32() -> list[float]:  # erf(x) = x + x p(x^2), |x| < 1
    f = lambda z: mp.erf(mp.sqrt(away(abs(z)))) / mp.sqrt(away(abs(z))) - 1
    return fit(f, one, 0, 1.0, range(7), 24)


@named
def erf_large_f32() -> list[float]:  # erf(2.46 + t), 1 <= x <= 3.92
    return fit(lambda t: mp.erf(t + mpf("2.46")), one, -1.47, 1.47, range(16), 24)


@named
def erfc_f32() -> list[float]:  # erfc(x) e^(x^2) = q (1 + u p(u)), q = k / (2 + x), u = q - c
    k, c = mpf("0.6894376873970032"), mpf("0.064453125")  # such that f(0) / k is 1 to 2^-30

    def f(u: mpf) -> mpf:
        x = k / (u + c) - 2
        return (2 + x) * mp.erfc(x) * mp.exp(x * x) / k

    g = lambda u: (f(away(u)) - f(mpf(0))) / away(u)
    return fit(g, lambda u: u / f(u), float(k / mpf("12.1") - c), float(k / 2 - c), range(10), 24)


@named
def ndtr_f32() -> list[
    float
]:  # ndtr(-a) e^(a^2 / 2) = p(a) / q(a), q(0) = 1: the coefficients of p, then those of q
    x = 14.5 * (1 - np.cos(np.linspace(0, np.pi, 8000))) / 2
    f = np.array([float(mp.erfc(mpf(a) / mp.sqrt(2)) * mp.exp(mpf(a) ** 2 / 2) / 2) for a in x])
    table = np.concatenate([np.vander(x, 5, True), -f[:, None] * np.vander(x, 6, True)], 1)
    known = {5: 1.0}
    for at in (None, 0, 6, 1, 7, 2, 8, 3, 9, 4, 10):
        free = [i for i in range(11) if i not in known]
        right = -sum(table[:, i] * v for i, v in known.items())
        weight, under, best = np.ones(x.size), np.ones(x.size), (np.inf, np.zeros(11))
        for _ in range(60):  # linear in the coefficients, since divided by the q of the round before
            s = np.sqrt(weight) / (f * under)
            columns = table[:, free] * s[:, None]
            size = np.sqrt((columns**2).sum(0))
            c = np.zeros(11)
            c[list(known)], c[free] = (
                list(known.values()),
                np.linalg.lstsq(columns / size, right * s)[0] / size,
            )
            under = np.vander(x, 6, True) @ c[5:]
            error = abs(np.vander(x, 5, True) @ c[:5] / under / f - 1)
            best = min(best, (error.max(), c), key=lambda e: e[0])
            weight *= error / error.max() + 1e-3
            weight /= weight.mean()
        if at is not None:
            known[at] = rounded(best[1][at], 24)
    return [known[i] for i in range(11)]


@named
def sin_f32() -> list[float]:  # sin(r) = r + r^3 p(r^2)
    f = lambda z: (mp.sin(mp.sqrt(away(z))) / mp.sqrt(away(z)) - 1) / away(z)
    return fit(f, lambda z: z, 0, 0.62, range(4), 24)


@named
def cos_f32() -> list[float]:  # cos(r) = 1 - r^2/2 + r^4 p(r^2)
    f = lambda z: (mp.cos(mp.sqrt(away(z))) - 1 + away(z) / 2) / away(z) ** 2
    return fit(f, lambda z: z * z, 0, 0.62, range(4), 24)


@named
def exp_f64() -> list[float]:
    h = float(LN2 / 2) * 1.0001
    f = lambda x: (mp.exp(away(x)) - 1 - away(x)) / away(x) ** 2
    return fit(f, lambda x: x, -h, h, range(11), 53, 6)


@named
def exp2_f64() -> list[float]:
    return fit(lambda x: (2 ** away(x) - 1) / away(x), lambda x: x, -0.50001, 0.50001, range(11), 53, 1)


@named
def pow_exp_f32() -> list[float]:  # e^r = 1 + r + r^2 p(r), for float32 results
    h = float(LN2 / 2) * 1.0001
    return fit(
        lambda x: (mp.exp(away(x)) - 1 - away(x)) / away(x) ** 2, lambda x: x * x, -h, h, range(6), 53, 1
    )


@named
def pow_log_f32() -> list[float]:  # log((1+s)/(1-s)) = 2s + s z p(z), z = s^2, for float32 results
    top = float(((mp.sqrt(2) - 1) / (mp.sqrt(2) + 1)) ** 2) * 1.001
    f = lambda z: (2 * mp.atanh(mp.sqrt(away(z))) / mp.sqrt(away(z)) - 2) / away(z)
    return fit(f, lambda z: z, 0, top, range(5), 53, 1)


@named
def log_f64() -> list[float]:  # log((1+s)/(1-s)) = 2s + s z p(z), z = s^2
    top = float(((mp.sqrt(2) - 1) / (mp.sqrt(2) + 1)) ** 2) * 1.001
    f = lambda z: (2 * mp.atanh(mp.sqrt(away(z))) / mp.sqrt(away(z)) - 2) / away(z)
    return fit(f, lambda z: z, 0, top, range(8), 53, 6)


@named
def sin_f64() -> list[float]:
    f = lambda z: (mp.sin(mp.sqrt(away(z))) / mp.sqrt(away(z)) - 1) / away(z)
    return fit(f, lambda z: z, 0, 0.62, range(6), 53)


@named
def cos_f64() -> list[float]:
    f = lambda z: (mp.cos(mp.sqrt(away(z))) - 1 + away(z) / 2) / away(z) ** 2
    return fit(f, lambda z: z * z, 0, 0.62, range(6), 53)


@named
def log_tail_f64() -> list[float]:  # log((1+s)/(1-s)) = 2s + s z (2/3 + z p(z)), z = s^2
    top = float(((mp.sqrt(2) - 1) / (mp.sqrt(2) + 1)) ** 2) * 1.001
    f = lambda z: (2 * mp.atanh(mp.sqrt(away(z))) / mp.sqrt(away(z)) - 2 - 2 * away(z) / 3) / away(z) ** 2
    return fit(f, lambda z: z * z, 0, top, range(8), 53, 2)


@named
def asin_f64() -> list[float]:  # asin(s) = s + s z p(z), |s| <= 1/2
    f = lambda z: (mp.asin(mp.sqrt(away(z))) / mp.sqrt(away(z)) - 1) / away(z)
    return fit(f, lambda z: z, 0, 0.25, range(13), 53, 2)


@named
def atan_f64() -> list[float]:  # atan(t) = t + t z p(z), |t| <= tan(pi/8)
    f = lambda z: (mp.atan(mp.sqrt(away(z))) / mp.sqrt(away(z)) - 1) / away(z)
    return fit(f, lambda z: z, 0, float((mp.sqrt(2) - 1) ** 2) * 1.001, range(13), 53, 2)


@named
def atan_f32() -> list[float]:  # atan(t) = t + t z p(z), |t| <= 1
    f = lambda z: (mp.atan(mp.sqrt(away(z))) / mp.sqrt(away(z)) - 1) / away(z)
    return fit(f, lambda z: z * mp.sqrt(away(z)) / mp.atan(mp.sqrt(away(z))), 0, 1, range(9), 24)


@named
def sinh_f64() -> list[float]:  # sinh(x) = x + x z p(z), |x| <= 1
    f = lambda z: (mp.sinh(mp.sqrt(away(z))) / mp.sqrt(away(z)) - 1) / away(z)
    return fit(f, lambda z: z, 0, 1, range(8), 53, 2)


@named
def tanh_f64() -> list[float]:  # tanh(x) = x + x z p(z), |x| <= 0.55
    f = lambda z: (mp.tanh(mp.sqrt(away(z))) / mp.sqrt(away(z)) - 1) / away(z)
    return fit(f, lambda z: z, 0, 0.303, range(11), 53, 2)


@named
def erf_f64() -> list[float]:  # erf(x) = x + x p(z), |x| < 1
    f = lambda z: mp.erf(mp.sqrt(away(z))) / mp.sqrt(away(z)) - 1
    return fit(f, one, 0, 1, range(13), 53, 2)


@named
def erfc_f64() -> list[float]:  # (1 + 2x) erfc(x) e^(x^2) = p(q), q = (x - 3.75) / (x + 3.75), x >= 0.5
    def f(q: mpf) -> mpf:
        x = mpf("3.75") * (1 + q) / (1 - q)
        return (1 + 2 * x) * mp.erfc(x) * mp.exp(x * x)

    hi = (mpf(28) - mpf("3.75")) / (mpf(28) + mpf("3.75"))
    return fit(f, lambda q: 1 / f(q), float((0.5 - 3.75) / 4.25), float(hi), range(23), 53, 1)


@named
def erfinv_center() -> list[float]:  # erfinv(a) = a p(a^2), a <= 0.75; one step of Halley follows
    f = lambda z: mp.erfinv(mp.sqrt(away(z))) / mp.sqrt(away(z))
    return fit(f, lambda z: 1 / f(z), 0, 0.5625, range(9), 53, 1)


@named
def erfinv_tail() -> list[
    float
]:  # erfcinv(q) = s p(1/s), s = sqrt(-log q), q <= 1/4; one step of Newton follows
    def f(u: mpf) -> mpf:
        target = -1 / u**2
        y = mp.sqrt(-target)
        y = mp.sqrt(-target - mp.log(y * mp.sqrt(mp.pi) + 1))
        for _ in range(60):
            step = (mp.log(mp.erfc(y)) - target) * mp.erfc(y) * mp.exp(y * y) * mp.sqrt(mp.pi) / 2
            y += step
            if abs(step) < mpf(10) ** -30:
                break
        return y * u

    return fit(f, one, 1 / 27.4, 0.8494, range(13), 53, 1)


@named
def lgamma_two() -> list[float]:  # lgamma(2 + t) = t p(t), |t| <= 1/2
    f = lambda t: mp.loggamma(2 + away(t)) / away(t)
    return fit(f, lambda t: 1 / f(t), -0.5, 0.5, range(20), 53, 1)


@named
def bessel_i0() -> list[float]:  # I0(x) = p(x^2 / 4), x <= 8
    f = lambda z: mp.besseli(0, 2 * mp.sqrt(z))
    return fit(f, lambda z: 1 / f(z), 0, 16, range(19), 53, 1)


@named
def bessel_i1() -> list[float]:  # I1(x) = x / 2 p(x^2 / 4), x <= 8
    f = lambda z: mp.besseli(1, 2 * mp.sqrt(away(z))) / mp.sqrt(away(z))
    return fit(f, lambda z: 1 / f(z), 0, 16, range(19), 53, 1)


@named
def bessel_i0_large() -> list[float]:  # I0(x) sqrt(x) e^-x = p(8 / x), x >= 8
    def f(u: mpf) -> mpf:
        x = 8 / max(u, mpf("0.002"))
        return mp.besseli(0, x) * mp.sqrt(x) * mp.exp(-x)

    return fit(f, one, 0.002, 1, range(18), 53, 1)


@named
def bessel_i1_large() -> list[float]:  # I1(x) sqrt(x) e^-x = p(8 / x), x >= 8
    def f(u: mpf) -> mpf:
        x = 8 / max(u, mpf("0.002"))
        return mp.besseli(1, x) * mp.sqrt(x) * mp.exp(-x)

    return fit(f, one, 0.002, 1, range(18), 53, 1)


def inverse_f32(lo: float, hi: float, count: int, square: bool) -> list[float]:
    """erfinv(x) / x of w = -log(1 - x^2), or of sqrt(w), around the middle of lo..hi."""
    middle = (lo + hi) / 2

    def f(u: mpf) -> mpf:
        w = away((middle + u) ** 2 if square else middle + u)
        x = mp.sqrt(-mp.expm1(-w))
        rest = mp.exp(-w) / (1 + x)  # 1 - x = erfc(y)
        y = mp.findroot(lambda y: mp.log(mp.erfc(y)) - mp.log(rest), mp.sqrt(w) * mpf("0.9"))
        return y / x

    return fit(f, lambda u: 1 / f(u), lo - middle, hi - middle, range(count), 53)


@named
def erfinv_center_f32() -> list[float]:
    return inverse_f32(0, 5, 13, False)


@named
def erfinv_tail_f32() -> list[float]:
    return inverse_f32(5**0.5, 4.1, 13, True)


@named
def ndtri_far_f32() -> list[float]:
    return inverse_f32(4.07, 10.3, 12, True)


def main() -> None:
    for name in sys.argv[1:] or FITS:
        print(name)
        coefs = FITS[name]()
        print("    (" + ", ".join(repr(c) for c in coefs) + ")")


if __name__ == "__main__":
    main()
