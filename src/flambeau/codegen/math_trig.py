"""float64: sin, cos, tan and the inverse functions, circular and hyperbolic. Branch-free; see math.py."""

from __future__ import annotations

from ..loop.build import Value, const, fma, op, select
from .math_double import INF, NAN, ROUND, fast_two_sum, log1p_pair, two_product, two_sum
from .math_float import from_octant, polynomial, turn
from .math_loop import Loops

Parts = tuple[Value, Value, Value]

PI_2 = (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33)
LARGE = 1e6  # so that a multiple of pi / 2 is counted in 20 bits
PI, PI_LOW = 3.141592653589793, 1.2246467991473532e-16
PI_4, PI_4_LOW = 0.7853981633974483, 3.061616997868383e-17

SIN = (
    *(-0.1666666666666663, 0.008333333333321875, -0.00019841269829400175, 2.7557313554839697e-06),
    *(-2.5050737004042087e-08, 1.5895581089456294e-10),
)
COS = (
    *(0.041666666666666595, -0.0013888888888873361, 2.4801587289014077e-05, -2.7557314218517415e-07),
    *(2.0875705189305724e-09, -1.1358713804932968e-11),
)
ASIN = (
    *(0.16666666666666763, 0.07499999999970165, 0.0446428571751894, 0.030381942681207814),
    *(0.022372215709441357, 0.01735159946186292, 0.013980966733970823, 0.01139774663747896),
    *(0.010786635834966668, 0.0036827986886427723, 0.021763810755045316, -0.02107745680188969),
    *(0.0326768790223371,),
)
ATAN = (
    *(-0.3333333333333333, 0.1999999999999924, -0.14285714285605397, 0.11111111103256509),
    *(-0.09090908757319213, 0.0769229860991697, -0.06666500099499163, 0.058802368474784164),
    *(-0.052443011153903554, 0.04644114159442547, -0.03838954451031257, 0.025193162758723676),
    *(-0.008989487853429401,),
)
# 1 / (2 pi), 53 bits in each number
TURN = (
    *(
        0x0517CC1B727220,
        0x1529FC2757D1F5,
        0x069BB81B6C52B3,
        0x04F10E4107F945,
        0x11D5EF5DE2B0DB,
        0x1246E3A424DD2E,
    ),
    *(
        0x000C925DD413A3,
        0x04873F877AC72C,
        0x094D39F74411AF,
        0x152EBB4484E99C,
        0x0E04D68BEFC827,
        0x064758E60D4CE7,
    ),
    *(
        0x1A4E422FC5DEFC,
        0x1283B1FF897FFD,
        0x1C0B301FDE5E23,
        0x02D6829B47DB4D,
        0x13F6793E584DBA,
        0x0F463F669E5FEA,
    ),
    *(0x05AEA4F758FD7C, 0x17C5ECF41CE7DE, 0x0529497535FDAF, 0x1B11F8D5D08560),
)


def _reduce(x: Value, loops: Loops | None) -> tuple[Value, Value, Value]:
    """(quadrant as i32, r, low): x = quadrant * pi / 2 + r + low modulo 2 pi, for every finite x. What large ones need
    is computed where there are any."""
    large = ~(abs(x) <= LARGE)
    parts = _reduce_small(x)
    if loops is None:
        return _chosen(large, _reduce_large(x), parts)
    found = [loops.reg(part) for part in parts]
    with loops.where(large):
        for register, part in zip(found, _chosen(large, _reduce_large(x), parts)):
            register.set(part)
    quadrant, r, low = [register.get() for register in found]
    return quadrant, r, low


def _chosen(where: Value, parts: Parts, others: Parts) -> Parts:
    a, b, c = [select(where, x, y) for x, y in zip(parts, others)]
    return a, b, c


def _reduce_small(x: Value) -> Parts:
    """The same for |x| <= LARGE: pi / 2 in three numbers, of which the first is subtracted without error."""
    magic = fma(x, 2 / PI, ROUND)
    n = magic - ROUND
    high, rest = two_product(n, const("f64", PI_2[0]))
    r, low = two_sum(x - high, -rest)
    high, rest = two_product(n, const("f64", PI_2[1]))
    r, lost = two_sum(r, -high)
    r, low = fast_two_sum(r, (low + lost) - fma(n, PI_2[2], rest))
    return magic.bitcast("i64").cast("i32"), r, low


def _reduce_large(x: Value) -> Parts:
    """x / (2 pi) modulo 1 is made from the four numbers of TURN that matter at the exponent of x."""
    e = ((x.bitcast("i64") >> 52) & 2047) - 1075
    index = (select(e < 0, 0, e) * 1237) >> 16  # e // 53
    x = op("ldexp", x, (index * -53).cast("i32"))
    c = _window(index)
    whole, part = two_product(x, c[0])
    turns, low = fast_two_sum(whole - op("rint", whole), part - op("rint", part))
    whole, part = two_product(x, c[1] * 2.0**-53)
    third, rest = two_product(x, c[2] * 2.0**-106)
    low = low + fma(x, c[3] * 2.0**-159, rest)
    for term in (whole - op("rint", whole), part, third):
        turns, lost = two_sum(turns, term)
        low = low + lost
    magic = fma(turns, 4.0, ROUND)
    turns, low = two_sum(fma(magic - ROUND, -0.25, turns), low)
    r, rest = two_product(turns, const("f64", PI * 2))
    r, low = fast_two_sum(r, fma(turns, PI_LOW * 2, fma(low, PI * 2, rest)))
    return magic.bitcast("i64").cast("i32"), r, low


def _window(index: Value) -> list[Value]:
    """TURN[index : index + 4] times 2^-53, by halving the choice five times."""
    found = [const("f64", word * 2.0**-53) for word in TURN]
    for step in (16, 8, 4, 2, 1):
        chosen = (index & step).ne(0)
        moved = found[step:] + found[len(found) - step :]  # the last ones are not reached
        found = [select(chosen, moved[k], found[k]) for k in range(step + 3)]
    return found


def _sine(r: Value, low: Value, z: Value) -> tuple[Value, Value]:
    """sin(r + low) as a pair."""
    return fast_two_sum(r, fma(polynomial(z, SIN) * z, r, low * fma(z, -0.5, 1.0)))


def _cosine(r: Value, low: Value, z: Value) -> tuple[Value, Value]:
    """cos(r + low) as a pair."""
    half = z * 0.5
    w = 1.0 - half
    lost = fma(r, low, fma(r, r, -z) * 0.5)
    return fast_two_sum(w, ((1.0 - w) - half) + fma(polynomial(z, COS), z * z, -lost))


def sine_cosine_pi(x: Value) -> tuple[Value, Value]:
    """sin and cos of pi x."""
    n = op("rint", x + x)
    r, low = two_product(fma(n, -0.5, x), const("f64", PI))
    z = r * r
    sine, cosine = _sine(r, low, z)[0], _cosine(r, low, z)[0]
    quadrant = fma(op("floor", n * 0.25), -4.0, n)
    half = quadrant >= 2.0
    odd = quadrant.eq(1.0) | quadrant.eq(3.0)
    over, beside = select(odd, cosine, sine), select(odd, -sine, cosine)
    return select(half, -over, over), select(half, -beside, beside)


def _turned(x: Value, shift: int, loops: Loops | None) -> Value:
    """sin(x + shift * pi / 2)."""
    quadrant, r, low = _reduce(x, loops)
    quadrant = quadrant + shift
    z = r * r
    y = select((quadrant & 1).eq(0), _sine(r, low, z)[0], _cosine(r, low, z)[0])
    return select((quadrant & 2).eq(0), y, -y)


def sin(x: Value, loops: Loops | None = None) -> Value:
    """By quadrants; -0 stays -0, inf gives NaN."""
    return select(abs(x) < 1e-8, x, _turned(x, 0, loops))


def cos(x: Value, loops: Loops | None = None) -> Value:
    """By quadrants; inf gives NaN."""
    return _turned(x, 1, loops)


def tan(x: Value, loops: Loops | None = None) -> Value:
    """sin(r) / cos(r), or -cos(r) / sin(r) in odd quadrants."""
    quadrant, r, low = _reduce(x, loops)
    z = r * r
    (sine, sine_low), (cosine, cosine_low) = _sine(r, low, z), _cosine(r, low, z)
    even = (quadrant & 1).eq(0)
    over, over_low = select(even, sine, -cosine), select(even, sine_low, -cosine_low)
    under, under_low = select(even, cosine, sine), select(even, cosine_low, sine_low)
    q = over / under
    rest = fma(-q, under, over) + fma(-q, under_low, over_low)
    return select(abs(x) < 1e-8, x, q + rest / under)


def tan_f32(x: Value) -> Value:
    """The same for float32, reduced for every size of x."""
    quadrant, r = turn(x)
    z, low = r * r, const("f64", 0.0)
    sine, cosine = _sine(r, low, z)[0], _cosine(r, low, z)[0]
    even = (quadrant & 1).eq(0)
    y = select(even, sine, -cosine) / select(even, cosine, sine)
    return select(x.eq(0.0), x, y.cast("f32"))


def _asin_parts(a: Value) -> tuple[Value, Value, Value, Value]:
    """(large, s, low, t): asin(s + low) = s + (t + low), s = a up to 1/2, then sqrt((1 - a) / 2)."""
    large = a > 0.5
    z = select(large, fma(a, -0.5, 0.5), a * a)
    root = op("sqrt", z)
    s = select(large, root, a)
    low = select(large & (root > 0.0), fma(-root, root, z) / (root + root), 0.0)
    return large, s, low, polynomial(z, ASIN) * z * s


def asin(x: Value) -> Value:
    """Above 1/2: pi/2 - 2 asin(sqrt((1 - x) / 2))."""
    large, s, low, t = _asin_parts(abs(x))
    tail = t + low
    far = PI_2[0] - (2.0 * s - fma(tail, -2.0, PI_2[1]))
    return op("copysign", select(large, far, s + t), x)


def acos(x: Value) -> Value:
    """pi/2 - asin(x); near 1 2 asin(sqrt((1 - x) / 2)), near -1 pi minus that."""
    large, s, low, t = _asin_parts(abs(x))
    twice = 2.0 * (s + (t + low))
    near = PI - (2.0 * s - fma(t + low, -2.0, PI_LOW))
    s, t = op("copysign", s, x), op("copysign", t, x)
    middle = PI_2[0] - (s - (PI_2[1] - t))
    return select(large, select(x > 0.0, twice, near), middle)


def _atan_ratio(b: Value, a: Value) -> Value:
    """atan(b / a) for 0 <= b <= a, a > 0: above tan(pi/8) it is pi/4 + atan((b - a) / (b + a))."""
    far = b > a * 0.41421356237309503
    t = select(far, b - a, b) / select(far, b + a, a)
    z = t * t
    p = polynomial(z, ATAN) * z * t
    return select(far, PI_4 + (t + (p + PI_4_LOW)), t + p)


def atan(x: Value) -> Value:
    """atan(x), and pi/2 - atan(1/x) above 1."""
    a = abs(x)
    a = select(a > 1e17, 1e17, a)
    large = a > 1.0
    y = _atan_ratio(select(large, const("f64", 1.0), a), select(large, a, const("f64", 1.0)))
    return op("copysign", select(large, PI_2[0] - (y - PI_2[1]), y), x)


def atan2(y: Value, x: Value) -> Value:
    """The angle of (x, y): atan of the smaller over the larger one, turned into its octant."""
    ax, ay = abs(x), abs(y)
    swap = ay > ax
    a, b = select(swap, ay, ax), select(swap, ax, ay)
    scale = select(a > 1e300, const("f64", 2.0**-60), select(a < 1e-200, const("f64", 2.0**200), 1.0))
    both = a.eq(INF) & b.eq(INF)
    a_, b_ = select(a.eq(INF), const("f64", 1.0), a * scale), select(a.eq(INF), const("f64", 0.0), b * scale)
    b_, a_ = select(both, const("f64", 1.0), b_), select(a.eq(0.0), const("f64", 1.0), a_)
    r = _atan_ratio(b_, a_)
    r = from_octant(r, swap, x.bitcast("i64") < 0, PI_2[:2], (PI, PI_LOW))
    return select(x.ne(x) | y.ne(y), const("f64", NAN), op("copysign", r, y))


def asinh(x: Value) -> Value:
    """log(|x| + sqrt(x^2 + 1)) as log(1 + |x| + x^2 / (1 + sqrt(x^2 + 1)))."""
    a = abs(x)
    large = a > 268435456.0
    q = select(large, const("f64", 0.0), a)
    z = q * q
    t, low = two_sum(q, z / (op("sqrt", z + 1.0) + 1.0))
    y = log1p_pair(select(large, a, t), select(large, const("f64", 0.0), low), large)
    return select(a < INF, op("copysign", select(a < 1e-9, a, y), x), x)


def acosh(x: Value) -> Value:
    """log(1 + t + sqrt(2t + t^2)), t = x - 1."""
    large = x > 268435456.0
    t = select(large, const("f64", 1.0), x - 1.0)
    p, p_low = two_product(t, t)
    v, v_low = two_sum(t + t, p)
    s = op("sqrt", v)
    s_low = select(s > 0.0, (fma(-s, s, v) + (v_low + p_low)) / (s + s), 0.0)
    h, h_low = two_sum(t, s)
    y = log1p_pair(select(large, x, h), select(large, const("f64", 0.0), h_low + s_low), large)
    return select(x < INF, select(x >= 1.0, y, const("f64", NAN)), x)


def atanh(x: Value) -> Value:
    """log(1 + 2a / (1 - a)) / 2, a = |x|."""
    a = abs(x)
    d = 1.0 - a
    q = (a + a) / d
    low = fma(q, -((1.0 - d) - a), fma(-q, d, a + a)) / d
    y = log1p_pair(q, low) * 0.5
    y = select(a < 1.0, select(a < 1e-9, a, y), select(a.eq(1.0), const("f64", INF), const("f64", NAN)))
    return op("copysign", y, x)
