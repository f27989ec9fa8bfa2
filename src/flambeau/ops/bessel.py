"""Bessel functions and Airy's, elementwise (`torch.special`), composed in float64.

How the coefficients were found: tests/ops/fit_bessel.py. Largest errors in units of 2^-53 of the value, around zeros of
the amplitude of the wave: j0 11, j1 7, y0 and y1 15, k0 and k1 6, airy_ai 6; float32 is rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ..dtypes import bool_, float64
from ..stream.graph import Val, cast, const, map_
from .entry import NONE, T, op
from .special import choose, special, test
from .unary import as_float

J0_NEAR = (
    *(0.0011434937743762545, -0.002119794289479692, 0.0015636431645931661, -0.0006415390646406123),
    *(0.00016977200713997844, -3.157342540223544e-05, 4.366932324640601e-06, -4.677128021300755e-07),
    *(3.9988393454959875e-08, -2.7948629678312687e-09, 1.627648945732473e-10, -8.023472603248695e-12),
    *(3.3923324014926297e-13, -1.2482966637990574e-14, 4.006178286297737e-16),
)
Y0_NEAR = (
    *(-0.38225065445942497, -0.8284358903604587, 1.6470964788745432, 0.14412632369302453, -1.077547733821527),
    *(0.6721770783431702, -0.21895747096229637, 0.046367047681363883, -0.007025741054992014),
    *(0.000806158605989114, -7.279542368640505e-05, 5.321318774428052e-06, -3.218450385303195e-07),
    *(1.6390898995460987e-08, -7.165821502826742e-10, 2.6920542955933077e-11),
)
P0 = (
    *(0.9994572757882519, -0.000536367319212998, 6.13741608125692e-06, -2.052744819908975e-07),
    *(1.2803747958820875e-08, -1.212113319927827e-09, 1.5506348898107537e-10, -2.490341621088381e-11),
    *(4.674986189266031e-12, -1.0238327024264009e-12, 3.4522133160706755e-13, -9.956789357075715e-14),
)
Q0 = (
    *(-0.12444091103610816, 0.0005466519279475136, -1.1817110660731776e-05, 5.684971885449538e-07),
    *(-4.534973594868882e-08, 5.146228618919075e-09, -7.575872758461843e-10, 1.362452803693964e-10),
    *(-2.88387465828897e-11, 6.934511868227323e-12, -1.6798068504524111e-12, 4.743918565467509e-13),
    *(-2.729058891731019e-13, 9.756113507128432e-14),
)
K0_NEAR = (
    *(-0.30362077291575545, 0.3404973210133806, 0.07177701034240509, 0.005053392643196092),
    *(0.0001828055582791554, 4.0545066199495615e-06, 6.093361894172149e-08, 6.623013277190278e-10),
    *(5.4525646625978115e-12, 3.518611978846953e-14),
)
K0_I = (
    *(1.5660829297563506, 0.6358617281560686, 0.07358986836105334, 0.0039285651056368085),
    *(0.0001198206858163441, 2.357578987893687e-06, 3.2362273523765516e-08, 3.273247845333528e-10),
    *(2.5398791969620098e-12, 1.5591642386233993e-14),
)
K0_FAR = (
    *(1.2273052841894079, 0.030398887805920687, -0.005312860053794569, 0.0011207001436586979),
    *(-0.00024310263460979552, 5.562405886826452e-05, -1.28785200080115e-05, 3.0728844946578576e-06),
    *(-7.356922744266109e-07, 1.8030591488220113e-07, -4.402029253585491e-08, 1.1009488052650137e-08),
    *(-2.72450294280363e-09, 6.952819551070888e-10, -1.6411912873645618e-10, 4.236636588394781e-11),
    *(-1.445510459225257e-11, 4.155229337473615e-12),
)
J1_NEAR = (
    *(0.00019498936985895625, -0.0002697522746716368, 0.00015860016799369874, -5.408003239085506e-05),
    *(1.224217365301561e-05, -1.989093515914257e-06, 2.4425222607520203e-07, -2.3521922545778545e-08),
    *(1.826854769538332e-09, -1.1696932521779358e-10, 6.2847338188380325e-12, -2.8755308688882974e-13),
    *(1.1343132028985911e-14, -3.910422781244815e-16, 1.1809575438223918e-17),
)
Y1_NEAR = (
    *(0.07075985882118005, -0.24337743079193114, 0.02336757172099348, 0.23507209206669755),
    *(-0.19639839859930203, 0.07854786922242538, -0.01962875683311711, 0.0034224907399185273),
    *(-0.00044381734344201836, 4.4674330127252e-05, -3.6010000225850992e-06, 2.3804930317310604e-07),
    *(-1.3153147370992129e-08, 6.169694909376002e-10, -2.4995314348224963e-11, 8.758166378734063e-13),
)
P1 = (
    *(1.0009070262780821, 0.0008988049416705508, -7.959694699656698e-06, 2.4536766267949663e-07),
    *(-1.4708498675907175e-08, 1.360300632416571e-09, -1.7137215568191013e-10, 2.722599260495964e-11),
    *(-5.072230977922283e-12, 1.104039648785332e-12, -3.6942891113569033e-13, 1.0611465423215105e-13),
)
Q1 = (
    *(0.3742149922195918, -0.0007697167057643569, 1.456961480935691e-05, -6.633568564937367e-07),
    *(5.1361067953963376e-08, -5.720887751116045e-09, 8.315594957016384e-10, -1.481767246888408e-10),
    *(3.114226481045957e-11, -7.446940085047187e-12, 1.798464167692092e-12, -5.061753256584603e-13),
    *(2.8910711721761855e-13, -1.0308138671963011e-13),
)
K1_NEAR = (
    *(-0.057455856135205326, -0.10866462148495115, -0.013254642948920608, -0.0006724746609661541),
    *(-1.910976234234195e-05, -3.495829764899654e-07, -4.473708984959004e-09, -4.235880161698382e-11),
    *(-3.089196986292076e-13,),
)
K1_I = (
    *(0.6358617281560686, 0.14717973672210669, 0.011785695316910426, 0.00047928274326549763),
    *(1.1787894939468833e-05, 1.9417364085156952e-07, 2.2912734906951697e-09, 2.031922759155545e-11),
    *(1.403255002995983e-13,),
)
K1_FAR = (
    *(1.334535793585002, -0.09863648469402611, 0.021555897889922272, -0.005148139261594269),
    *(0.0012585927260059789, -0.00031495381655360975, 7.964724650346878e-05, -2.038103688694597e-05),
    *(5.244302758756815e-06, -1.3599095944521193e-06, 3.536379874404201e-07, -9.250929666239657e-08),
    *(2.4222895790535523e-08, -6.414405688368896e-09, 1.686560980979819e-09, -4.1713496927992925e-10),
    *(1.1011488763296554e-10, -4.4319368126797856e-11, 1.1560895295408353e-11),
)
AI_LEFT = (
    *(0.5260537541921614, -0.2512269088195488, -0.5315117652553367, 0.4243886909846148, 0.12362226842437828),
    *(-0.22817733285632924, 0.04016812228658548, 0.05084516059015121, -0.026290235017559196),
    *(-0.0023096165558609914, 0.005467018560966152, -0.0012060880986120546, -0.0004523330021308025),
    *(0.0002782883984361419, -1.873801032376546e-05, -2.5404489208776525e-05, 8.061805159941127e-06),
    *(4.285737688796961e-07, -7.879304679769576e-07, 1.4244799210814539e-07, 2.778051875434144e-08),
    *(-1.577424472789798e-08, 1.3160370984222345e-09, 6.711193588473729e-10, -1.5872800862400287e-10),
)
AI_MIDDLE = (
    *(0.2911639543485452, -0.31132764000612145, 0.056867959833700236, 0.07451120649326903),
    *(-0.04882064583974321, 0.007008808704320629, 0.004215304513370364, -0.0022051192381220674),
    *(0.0002738514790074215, 0.00010238391504708372, -4.666555847446234e-05, 5.226000870035143e-06),
    *(1.3768164926842106e-06, -5.711722301278167e-07, 5.903878601622688e-08, 1.1747763301771397e-08),
    *(-4.5535938362181165e-09, 4.368758840877667e-10, 7.034076302162882e-11, -2.3795688892369162e-11),
    *(1.7975808279537066e-12,),
)
AI_RIGHT = (
    *(0.2771097102210984, 0.0057108580762941724, -0.0008971618445266451, 0.00020698804875648717),
    *(-4.482806209557353e-05, 1.1288401294571894e-05, -2.639512022719849e-06, 7.043248138726002e-07),
    *(-1.675757705566625e-07, 4.7609192320632154e-08, -1.0948521101694973e-08, 3.4609637006759736e-09),
    *(-7.047403463499751e-10, 2.7280438163759913e-10, -2.3510357128830305e-11, 3.356774362288286e-11),
    *(-8.618326698276713e-12, -1.6285858679848128e-12, 4.056695116009546e-12, 2.469968745951001e-12),
)
AI_P = (
    *(0.9996702731603566, -0.0003254319872640165, 4.128666158362536e-06, -1.5421120343966444e-07),
    *(1.0673425833297427e-08, -1.1119340507406296e-09, 1.5522606344762052e-10, -2.7051302811089654e-11),
    *(5.596218200653986e-12, -1.2557928974984706e-12, 3.2594631862896106e-13, -1.5157742095231196e-13),
    *(5.073345562522206e-14,),
)
AI_Q = (
    *(0.06911133919898425, -0.0003247868744479757, 7.8540024460155e-06, -4.21574195929847e-07),
    *(3.722534546977858e-08, -4.636462060118943e-09, 7.432504937936962e-10, -1.445482798330583e-10),
    *(3.2956564532132005e-11, -8.48349303003833e-12, 2.117606164707674e-12, -6.275625378432141e-13),
    *(4.199649764151898e-13, -1.5875701669697747e-13),
)

END = 8.0  # of what is near
K_END, K_SHIFT = 2.0, 1.5
TURN, TURN_RIGHT, RIGHT_SHIFT = 7.453559924999299, 1.224744871391589, 1.0  # 2/3 |x|^(3/2) at -5 and at 3/2
# the first two zeros, each as a pair
ZEROS = (
    ((2.404825557695773, -1.176691651530894e-16), (5.520078110286311, 8.088597146146722e-17)),
    ((3.8317059702075125, -1.5269184090088067e-16), (7.015586669815619, -9.414165653410389e-17)),
)
AIRY_ZEROS = ((-2.338107410459767, -3.912260409818305e-17), (-4.08794944413097, -3.387261694242901e-16))


def number(c: float) -> Val:
    """A number in float64."""
    return const(c, float64)


def add(a: Val, b: Val) -> Val:
    """a + b."""
    return map_("add", a, b)


def mul(a: Val, b: Val) -> Val:
    """a * b."""
    return map_("mul", a, b)


def times(a: Val, c: float) -> Val:
    """a * c."""
    return map_("mul", a, number(c))


def plus(a: Val, c: float) -> Val:
    """a + c."""
    return map_("add", a, number(c))


def over(c: float, a: Val) -> Val:
    """c / a."""
    return map_("div", number(c), a)


def neg(a: Val) -> Val:
    """-a."""
    return map_("neg", a)


def fma(a: Val, b: Val, c: Val) -> Val:
    """a * b + c in one rounding."""
    return map_("fma", a, b, c)


def series(x: Val, coefs: Sequence[float]) -> Val:
    """coefs[0] + coefs[1] x + ... by Horner's rule, fused."""
    total = number(coefs[-1])
    for c in coefs[-2::-1]:
        total = fma(total, x, number(c))
    return total


def held(x: Val, low: float, high: float) -> Val:
    """x within [low, high]."""
    return map_("min", map_("max", x, number(low)), number(high))


def without_zeros(x: Val, zeros: Any, even: bool) -> Val:
    """The product of the distances from zeros, which are pairs; even: also from their opposites."""
    product = number(1.0)
    for high, low in zeros:
        distance = plus(plus(x, -high), -low)
        product = mul(mul(product, distance), plus(x, high)) if even else mul(product, distance)
    return product


def wave(a: Val, p: Val, q: Val, order: int, second: bool) -> Val:
    """sqrt(2 / (pi a)) (p cos(c) - q sin(c)), c = a - (2 order + 1) pi / 4; second: (p sin(c) + q cos(c))."""
    sine, cosine = map_("sin", a), map_("cos", a)
    total, rest = add(sine, cosine), map_("sub", sine, cosine)
    # sqrt(2) times cos(c) and sin(c)
    cos_c, sin_c = (total, rest) if order == 0 else (rest, neg(total))
    value = fma(p, sin_c, mul(q, cos_c)) if second else fma(p, cos_c, neg(mul(q, sin_c)))
    value = map_("div", value, map_("sqrt", times(a, math.pi)))
    return choose(test("eq", a, math.inf), number(0), value)


def far(a: Val, order: int, second: bool) -> Val:
    """Of the first or second kind, for a >= 8."""
    inverse = over(END, a)
    t = plus(times(mul(inverse, inverse), 2.0), -1.0)
    q = map_("div", series(t, (Q0, Q1)[order]), a)
    return wave(a, series(t, (P0, P1)[order]), q, order, second)


def first_near(a: Val, order: int) -> Val:
    """J for 0 <= a <= 8."""
    t = plus(times(mul(a, a), 1 / 32), -1.0)
    value = mul(without_zeros(a, ZEROS[order], True), series(t, (J0_NEAR, J1_NEAR)[order]))
    if order:
        return mul(value, a)
    return choose(test("lt", a, 1e-8), number(1), value)


def first_kind(x: Val, order: int) -> Val:
    """J of order 0 or 1."""
    a = map_("abs", x)
    near = first_near(held(a, 0.0, END), order)
    value = choose(test("gt", a, END), far(map_("max", a, number(END)), order, False), near)
    value = mul(value, map_("copysign", number(1), x)) if order else value
    return choose(map_("ne", x, x, out=bool_), x, value)


def second_kind(x: Val, order: int) -> Val:
    """Y of order 0 or 1."""
    a = held(x, 5e-324, END)
    t = plus(times(mul(a, a), 1 / 32), -1.0)
    logs = mul(times(map_("log", a), 2 / math.pi), first_near(a, order))
    rest = series(t, (Y0_NEAR, Y1_NEAR)[order])
    near = add(logs, rest) if order == 0 else add(fma(rest, a, logs), over(-2 / math.pi, a))
    value = choose(test("gt", x, END), far(map_("max", x, number(END)), order, True), near)
    value = choose(test("gt", x, 0), value, choose(test("eq", x, 0), number(-math.inf), number(math.nan)))
    return choose(map_("ne", x, x, out=bool_), x, value)


def third_kind(x: Val, order: int, scaled: bool) -> Val:
    """K of order 0 or 1; scaled: times e^x."""
    a = held(x, 5e-324, K_END)
    t = plus(times(mul(a, a), 0.5), -1.0)
    logs = mul(map_("log", times(a, 0.5)), series(t, (K0_I, K1_I)[order]))
    rest = series(t, (K0_NEAR, K1_NEAR)[order])
    near = map_("sub", rest, logs) if order == 0 else add(mul(add(logs, rest), a), over(1.0, a))
    b = map_("max", x, number(K_END))
    t = plus(neg(over(2 * (K_END + K_SHIFT), plus(b, K_SHIFT))), 1.0)
    beyond = map_("div", series(t, (K0_FAR, K1_FAR)[order]), map_("sqrt", b))
    if scaled:
        near = mul(near, map_("exp", a))
    else:
        beyond = mul(beyond, map_("exp", neg(b)))
    beyond = choose(test("eq", b, math.inf), number(0), beyond)
    value = choose(test("gt", x, K_END), beyond, near)
    value = choose(test("gt", x, 0), value, choose(test("eq", x, 0), number(math.inf), number(math.nan)))
    return choose(map_("ne", x, x, out=bool_), x, value)


def phase(a: Val) -> tuple[Val, Val]:
    """2/3 a^(3/2) as a pair."""
    s = map_("sqrt", a)
    s_low = map_("div", fma(neg(s), s, a), times(s, 2.0))
    p = mul(a, s)
    p_low = fma(a, s_low, fma(a, s, neg(p)))
    q = times(p, 2 / 3)
    q_low = fma(p, number(2 / 3), neg(q))
    return q, add(q_low, fma(p, number(3.700743415417188e-17), times(p_low, 2 / 3)))


def airy(x: Val) -> Val:
    """Ai: waves up to -5, polynomials up to -1 and 3/2, then e^-z / x^(1/4) times a polynomial, z = 2/3 x^(3/2)."""
    left, middle = held(x, -5.0, -1.0), held(x, -1.0, 1.5)
    near = mul(without_zeros(left, AIRY_ZEROS, False), series(times(plus(left, 3.0), 0.5), AI_LEFT))
    near = choose(test("gt", x, -1.0), series(times(plus(middle, -0.25), 0.8), AI_MIDDLE), near)
    b = held(x, 1.5, 110.0)
    z, low = phase(b)
    t = plus(neg(over(2 * (TURN_RIGHT + RIGHT_SHIFT), plus(z, RIGHT_SHIFT))), 1.0)
    size = map_("div", series(t, AI_RIGHT), map_("sqrt", map_("sqrt", b)))
    decay = mul(map_("exp", neg(z)), plus(neg(low), 1.0))
    value = choose(test("gt", x, 1.5), mul(size, decay), near)
    value = choose(test("lt", x, -5.0), airy_waves(map_("max", neg(x), number(5.0))), value)
    return choose(map_("ne", x, x, out=bool_), x, value)


def airy_waves(b: Val) -> Val:
    """Ai(-b) for b >= 5: (p cos(z - pi/4) + q sin(z - pi/4)) / (sqrt(pi) b^(1/4))."""
    z, low = phase(b)
    inverse = over(TURN, z)
    t = plus(times(mul(inverse, inverse), 2.0), -1.0)
    p, q = series(t, AI_P), map_("div", series(t, AI_Q), z)
    sine, cosine = map_("sin", z), map_("cos", z)
    sine, cosine = fma(low, cosine, sine), fma(neg(low), sine, cosine)
    value = fma(p, add(sine, cosine), mul(q, map_("sub", sine, cosine)))
    return map_("div", value, mul(number(math.sqrt(2 * math.pi)), map_("sqrt", map_("sqrt", b))))


def spherical(x: Val) -> Val:
    """sin(x) / x."""
    safe = choose(test("eq", x, 0), number(1), x)
    value = choose(test("eq", x, 0), number(1), map_("div", map_("sin", safe), safe))
    return choose(test("eq", map_("abs", x), math.inf), number(0), value)


CURVES: dict[str, Callable[[Val], Val]] = {
    "bessel_j0": partial(first_kind, order=0),
    "bessel_j1": partial(first_kind, order=1),
    "bessel_y0": partial(second_kind, order=0),
    "bessel_y1": partial(second_kind, order=1),
    "modified_bessel_k0": partial(third_kind, order=0, scaled=False),
    "modified_bessel_k1": partial(third_kind, order=1, scaled=False),
    "scaled_modified_bessel_k0": partial(third_kind, order=0, scaled=True),
    "scaled_modified_bessel_k1": partial(third_kind, order=1, scaled=True),
    "spherical_bessel_j0": spherical,
    "airy_ai": airy,
}


def bessel(name: str, curve: Callable[[Val], Val]) -> None:
    """Declare a function of one operand, which PyTorch does not differentiate."""

    def body(self: T) -> Any:
        x = as_float(self)
        return cast(curve(cast(x, float64)), x.dtype)

    body.__name__, body.__doc__ = name, f"The function {name.replace('_', ' ')}."
    op(grad=NONE, **special(name))(body)


for _name, _curve in CURVES.items():
    bessel(_name, _curve)


@op(grad=NONE, **special("modified_bessel_i0"))
def modified_bessel_i0(self: T) -> Any:
    """The modified Bessel function of order 0."""
    return map_("i0", as_float(self))


@op(grad=NONE, **special("modified_bessel_i1"))
def modified_bessel_i1(self: T) -> Any:
    """The modified Bessel function of order 1."""
    return map_("i1", as_float(self))
