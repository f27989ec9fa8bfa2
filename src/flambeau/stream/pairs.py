"""Complex values in the graph: pairs of real ones. The prims of graph.py come here with complex operands.

In memory the parts of a complex number lie side by side, as in PyTorch. A view of such memory is two real views with
twice its strides; a computed value is two computed values, which meet in memory when they leave their op. So nodes,
kernels and the interpreter know real numbers only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ..dtypes import bool_, dtype
from ..errors import fail
from ..shapes import Shape, contiguous_strides, dense_strides_like
from . import graph
from .graph import COMPLEX, Buffer, Val, as_val, const, expand, map_, opaque, reduce_, store

Parts = tuple[Val, Val]


def pair(re: Val, im: Val, level: int | None = None) -> Val:
    """The complex value of two real ones, which broadcast."""
    if re.shape != im.shape:
        shape = graph.broadcast("complex", re.shape, im.shape)
        re, im = expand(re, shape), expand(im, shape)
    at = re.level if level is None else level
    shape = tuple(re.shape)
    strides = dense_strides_like(shape, re.strides)
    return Val(Buffer(None, shape, strides, re.dtype.to_complex(), (re, im)), shape, strides, 0, at)


def parts(x: Val) -> Parts:
    """(real part, imaginary part); the imaginary part of a real value is 0."""
    if not x.dtype.is_complex:
        return x, const(0, x.dtype)
    held = x.buf.parts
    if type(held) is Buffer:
        strides = tuple([2 * s for s in x.strides])
        return (
            Val(held, x.shape, strides, 2 * x.off, x.level),
            Val(held, x.shape, strides, 2 * x.off + 1, x.level),
        )
    if (x.shape, x.strides, x.off) == (x.buf.shape, x.buf.strides, 0):
        return held
    if not x.buf.shape:
        return expand(held[0], x.shape), expand(held[1], x.shape)
    if not all(v.strides == v.buf.strides == x.buf.strides and not v.off for v in held):
        held = x.buf.parts = tuple([_laid_out(v, x.buf.strides) for v in held])
    re, im = (Val(v.buf, x.shape, x.strides, x.off, x.level) for v in held)
    return re, im


def _laid_out(v: Val, strides: Shape) -> Val:
    out = graph.empty(tuple(v.shape), v.dtype, strides)
    store(out, v)
    return out


def in_memory(x: Val) -> Val:
    """A complex value whose parts lie side by side."""
    if type(x.buf.parts) is Buffer:
        return x
    out = graph.empty(tuple(x.shape), x.dtype, dense_strides_like(tuple(x.shape), x.strides))
    store(out, x)
    return out


def as_real(x: Val) -> Val:
    """The view of a complex value's memory as real numbers, with a last dimension of two."""
    x = in_memory(x)
    strides = (*[2 * s for s in x.strides], 1)
    return Val(x.buf.parts, (*x.shape, 2), strides, 2 * x.off)


def as_complex(x: Val) -> Val:
    """A real value with a last dimension of two as a complex one."""
    shape, strides = tuple(x.shape[:-1]), x.strides[:-1]
    return pair(x.view_as(shape, strides, x.off), x.view_as(shape, strides, x.off + x.strides[-1]))


def refuse(name: str, *vals: Val) -> Any:
    """The error of an operation that complex numbers do not have."""
    kinds = {"complex64": "ComplexFloat", "complex128": "ComplexDouble"}
    found = next((kinds[v.dtype.name] for v in vals if v.dtype.name in kinds), "ComplexHalf")
    fail(NotImplementedError, f'{name}: "{name}_cpu" not implemented for {found!r}')


# --- the prims ----------------------------------------------------------------------------------------------------


def prim(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Register what a prim does with complex values."""
    COMPLEX[fn.__name__.strip("_")] = fn
    return fn


@prim
def const_(value: Any, d: dtype) -> Val:
    """A number of the op's definition."""
    value = complex(value)
    return pair(const(value.real, d.part), const(value.imag, d.part))


@prim
def cast_(x: Val, d: dtype) -> Val:
    """x in another dtype."""
    re, im = parts(x)
    if d.is_complex:
        if not x.dtype.is_complex:
            return pair(graph.cast(re, d.part), const(0, d.part), x.level)
        return pair(graph.cast(re, d.part), graph.cast(im, d.part), x.level)
    if d is bool_:
        zero = const(0, re.dtype)
        return map_("or", map_("ne", re, zero, out=bool_), map_("ne", im, zero, out=bool_))
    if x.level == 0:
        raise RuntimeError(f"value cannot be converted to type {d.in_c} without overflow")
    return graph.cast(re, d)


@prim
def map__(op: str, vals: Sequence[Val], name: str) -> Val:
    """One scalar operation for each element."""
    if op not in MAPS:
        refuse(name or op, *vals)
    made = MAPS[op](*[v if v.dtype is bool_ else parts(v) for v in vals])
    level = max([v.level for v in vals])
    if isinstance(made, Val):
        return made
    out = pair(*made)
    out.level = 1 if level == 2 and not out.shape else level
    return out


@prim
def reduce__(kind: str, x: Val, dims: Shape) -> Val:
    """A combination over dims: the sum, or the product (in a balanced tree)."""
    if kind == "add":
        re, im = parts(x)
        return pair(reduce_("add", re, dims), reduce_("add", im, dims))
    if kind != "mul":
        refuse(kind, x)
    left = [d for d in range(len(x.shape)) if d not in dims]
    order = (*left, *dims)
    shape = tuple([x.shape[d] for d in left])
    x = graph.permuted(x, order)
    n = math.prod(x.shape[len(left) :])
    if n == 0:
        return expand(const(1, x.dtype), shape)
    x = in_memory(map_("copy", x))
    x = (
        x.view_as((*shape, n), contiguous_strides((*shape, n)), x.off)
        if _row_major(x)
        else _flat(x, shape, n)
    )
    while n > 1:
        half = n // 2
        a, b = (_narrow(x, k * half, half) for k in (0, 1))
        made = map_("mul", a, b)
        if n % 2:
            rest = map_("mul", _narrow(made, half - 1, 1), _narrow(x, n - 1, 1))
            made = in_memory(made)
            store(_narrow(made, half - 1, 1), rest)
        x, n = made, half
    return _narrow(x, 0, 1).view_as(shape, x.strides[:-1], x.off)


def _row_major(x: Val) -> bool:
    return x.off == 0 and tuple(x.strides) == contiguous_strides(x.shape)


def _flat(x: Val, shape: Shape, n: int) -> Val:
    out = graph.empty(tuple(x.shape), x.dtype)
    store(out, x)
    return out.view_as((*shape, n), contiguous_strides((*shape, n)), 0)


def _narrow(x: Val, start: int, length: int) -> Val:
    return x.view_as((*x.shape[:-1], length), x.strides, x.off + start * x.strides[-1])


@prim
def take_(src: Val, index: dict[int, Val], shape: Shape, dims: Any, label: str) -> Val:
    """An indexed read."""
    re, im = parts(src)
    return pair(graph.take(re, index, shape, dims, label), graph.take(im, index, shape, dims, label))


@prim
def store_(dest: Val, value: Val) -> None:
    """A write into memory."""
    for to, part in zip(parts(dest), [expand(v, dest.shape) for v in parts(value)]):
        store(to, part)


@prim
def empty_(shape: Shape, d: dtype, strides: Shape) -> Val:
    """Memory for complex numbers."""
    shape = tuple(shape)
    made = graph.empty((*shape, 2), d.part, (*[2 * s for s in strides], 1)).buf
    return _held(made, shape, d, strides)


def _held(memory: Buffer, shape: Shape, d: dtype, strides: Shape | None = None) -> Val:
    """The complex value whose parts lie in turn in memory of real numbers, dense unless there are strides."""
    strides = strides or contiguous_strides(shape)
    return Val(Buffer(memory.src, shape, strides, d, memory), shape, strides, 0)


@prim
def opaque_(name: str, ins: Sequence[Val], outs: Sequence[tuple[Shape, dtype]], attrs: Any) -> list[Val]:
    """A node with a recipe of its own, if its combination is made of those of the parts."""
    if name == "external":
        return _external(ins, outs, attrs)
    if name == "contract":
        return [_matmul(ins[0], ins[1], outs[0], attrs)]
    if name == "convolve" and len(ins) == 2:
        return [_convolve(ins[0], ins[1], outs[0], attrs)]
    if name == "scan" and attrs[0] in ("add", "mul"):
        return [_scan(ins[0], *attrs)]
    if name == "scatter" and attrs[1] in ("set", "add"):
        for dest, source in zip(parts(ins[0]), parts(ins[1])):
            opaque("scatter", [dest, source, *ins[2:]], [], attrs)
        return []
    return refuse(name, *ins)


def _external(ins: Sequence[Val], outs: Sequence[tuple[Shape, dtype]], attrs: Any) -> list[Val]:
    """A routine gets complex arrays; attrs become (name, arguments, which operands and results are complex)."""
    given = [as_real(v) if v.dtype.is_complex else v for v in ins]
    wanted = [((*s, 2), d.part) if d.is_complex else (s, d) for s, d in outs]
    which = tuple([d.is_complex for d in (*[v.dtype for v in ins], *[d for _, d in outs])])
    made = opaque("external", given, wanted, (*attrs, which))
    return [_held(v.buf, tuple(s), d) if d.is_complex else v for v, (s, d) in zip(made, outs)]


def _rows(x: Val) -> Val:
    """Matrices of memory whose rows are numbers side by side, as real numbers: [..., m, k] -> [..., m, 2 k]."""
    x = in_memory(x if x.strides[-1] == 1 or x.shape[-1] <= 1 else graph.contiguous(x))
    strides = (*[2 * s for s in x.strides[:-1]], 1)
    return Val(x.buf.parts, (*x.shape[:-1], 2 * x.shape[-1]), strides, 2 * x.off)


def _below(x: Val, values: Sequence[Val], d: dtype, apart: bool) -> Val:
    """Matrices of as many rows as all values: row by row in turn, or (apart) one value after the other."""
    *batch, m, n = x.shape
    shape = (*batch, len(values), m, n) if apart else (*batch, m, len(values), n)
    out = graph.empty(shape, d)
    *outer, first, second, inner = out.strides
    row, step = (second, first) if apart else (first, second)
    for at, value in enumerate(values):
        store(out.view_as(tuple(x.shape), (*outer, row, inner), out.off + at * step), value)
    shape = (*batch, len(values) * m, n)
    return out.view_as(shape, contiguous_strides(shape), out.off)


def _matmul(a: Val, b: Val, out: tuple[Shape, dtype], attrs: Any) -> Val:
    """A product of complex matrices as one of real ones, of twice the extents.

    Either rows (re, im, re, im, ...) of a times each row of b above the same row times i, which makes the result as it
    lies in memory; or, if a is the small one, its real parts above its imaginary ones times rows of b.
    """
    (*batch, m, n), d = out
    k = a.shape[-1]
    if m * (k + 2 * n) >= k * n:
        right = _below(b, (b, pair(*turned(parts(b)))), d, False)
        made = opaque("contract", (_rows(a), _rows(right)), [((*batch, m, 2 * n), d.part)], attrs)[0]
        return _held(made.buf, out[0], d)
    left = _below(a, parts(a), d.part, True)
    made = opaque("contract", (left, _rows(b)), [((*batch, 2 * m, 2 * n), d.part)], attrs)[0]
    made = _held(made.buf, (*batch, 2 * m, n), d)
    re, im = (made.view_as(out[0], made.strides, made.off + at * m * n) for at in (0, 1))
    return map_("add", re, pair(*turned(parts(im))))


def _convolve(a: Val, b: Val, out: tuple[Shape, dtype], attrs: Any) -> Val:
    """(a + bi)(c + di) as four convolutions, whose operands are dense."""
    (ar, ai), (br, bi) = ([graph.contiguous(v) for v in parts(x)] for x in (a, b))
    rr, ii, ri, ir = (
        opaque("convolve", (x, y), [(out[0], out[1].part)], attrs)[0]
        for x, y in ((ar, br), (ai, bi), (ar, bi), (ai, br))
    )
    return pair(map_("sub", rr, ii), map_("add", ri, ir))


def _scan(x: Val, kind: str, dim: int) -> Val:
    """Running sums, part by part; running products in steps of 1, 2, 4, ... elements (Hillis and Steele)."""
    shape = tuple(x.shape)
    if kind == "add":
        re, im = (opaque("scan", (v,), [(shape, v.dtype)], (kind, dim))[0] for v in parts(x))
        return pair(re, im)

    def cut(v: Val, start: int, length: int) -> Val:
        inner = (*shape[:dim], length, *shape[dim + 1 :])
        return v.view_as(inner, v.strides, v.off + start * v.strides[dim])

    step, n = 1, shape[dim]
    x = in_memory(x)
    while step < n:
        out = graph.empty(shape, x.dtype)
        store(cut(out, 0, step), cut(x, 0, step))
        store(cut(out, step, n - step), map_("mul", cut(x, step, n - step), cut(x, 0, n - step)))
        x, step = out, 2 * step
    return x


# --- scalar operations --------------------------------------------------------------------------------------------

MAPS: dict[str, Callable[..., Any]] = {}  # the name of an operation -> a function of parts, and of bools


def scalar(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Register a scalar operation."""
    MAPS[fn.__name__.strip("_")] = fn
    return fn


def times(x: Val, number: float) -> Val:
    """A real value times a number."""
    return map_("mul", x, const(number, x.dtype))


def choose(condition: Val, a: Any, b: Any) -> Val:
    """a where the condition is true, else b; one of them may be a number."""
    like = (a if type(a) is Val else b).dtype
    return map_("select", condition, as_val(a, like), as_val(b, like))


def test(op: str, a: Val, b: Any) -> Val:
    """A comparison with a value or a number."""
    return map_(op, a, as_val(b, a.dtype), out=bool_)


def by_part(name: str) -> None:
    """An operation that is that of the parts."""
    MAPS[name] = lambda *xs: tuple([map_(name, *part) for part in zip(*xs)])


for _name in ("add", "sub", "neg", "copy"):
    by_part(_name)


@scalar
def mul(a: Parts, b: Parts) -> Parts:
    """(a + bi)(c + di)."""
    (p, q), (r, s) = a, b
    return (
        map_("sub", map_("mul", p, r), map_("mul", q, s)),
        map_("add", map_("mul", p, s), map_("mul", q, r)),
    )


@scalar
def div(a: Parts, b: Parts) -> Parts:
    """a / b, scaled by the larger part of b (Smith's method)."""
    (p, q), (r, s) = a, b
    big = map_("ge", map_("abs", r), map_("abs", s), out=bool_)
    most, least = choose(big, r, s), choose(big, s, r)
    ratio = map_("div", least, most)
    scale = map_("div", const(1, r.dtype), map_("add", most, map_("mul", least, ratio)))
    x, y = choose(big, p, q), choose(big, q, p)
    re = map_("mul", map_("add", x, map_("mul", y, ratio)), scale)
    turned = map_("sub", y, map_("mul", x, ratio))
    im = map_("mul", choose(big, turned, map_("neg", turned)), scale)
    zero = map_("and", test("eq", r, 0), test("eq", s, 0))
    return (
        choose(zero, map_("div", p, map_("abs", r)), re),
        choose(zero, map_("div", q, map_("abs", s)), im),
    )


@scalar
def select(condition: Val, a: Parts, b: Parts) -> Parts:
    """a where the condition is true, else b."""
    return map_("select", condition, a[0], b[0]), map_("select", condition, a[1], b[1])


@scalar
def eq(a: Parts, b: Parts) -> Val:
    """Whether both parts are equal."""
    return map_("and", *[map_("eq", x, y, out=bool_) for x, y in zip(a, b)])


@scalar
def ne(a: Parts, b: Parts) -> Val:
    """Whether a part differs."""
    return map_("or", *[map_("ne", x, y, out=bool_) for x, y in zip(a, b)])


@scalar
def abs_(z: Parts) -> Val:
    """|z|."""
    return map_("hypot", *z)


def angle(z: Parts) -> Val:
    """The argument of z."""
    return map_("atan2", z[1], z[0])


def conj(z: Parts) -> Parts:
    """The conjugate."""
    return z[0], map_("neg", z[1])


def turned(z: Parts) -> Parts:
    """i z."""
    return map_("neg", z[1]), z[0]


def turned_back(z: Parts) -> Parts:
    """-i z."""
    return z[1], map_("neg", z[0])


def polar(size: Val, at: Val) -> Parts:
    """size (cos + i sin)(at); an angle of 0 gives a real number, also of infinite size."""
    return map_("mul", size, map_("cos", at)), choose(
        test("eq", at, 0), at, map_("mul", size, map_("sin", at))
    )


@scalar
def exp(z: Parts) -> Parts:
    """e**z."""
    return polar(map_("exp", z[0]), z[1])


@scalar
def exp2(z: Parts) -> Parts:
    """2**z."""
    return polar(map_("exp2", z[0]), times(z[1], math.log(2)))


@scalar
def expm1(z: Parts) -> Parts:
    """e**z - 1."""
    x, y = z
    half = map_("sin", times(y, 0.5))
    less = map_("add", map_("mul", map_("expm1", x), map_("cos", y)), times(map_("mul", half, half), -2.0))
    return less, map_("mul", map_("exp", x), map_("sin", y))


@scalar
def log(z: Parts) -> Parts:
    """The principal logarithm."""
    return map_("log", abs_(z)), angle(z)


def _scaled_log(name: str, base: float) -> None:
    MAPS[name] = lambda z: (map_(name, abs_(z)), times(angle(z), 1 / math.log(base)))


_scaled_log("log2", 2)
_scaled_log("log10", 10)


@scalar
def log1p(z: Parts) -> Parts:
    """log(1 + z)."""
    x, y = z
    near = map_("add", map_("mul", x, map_("add", x, const(2, x.dtype))), map_("mul", y, y))
    more = map_("add", x, const(1, x.dtype))
    small = test("lt", abs_(z), 0.5)
    re = choose(small, times(map_("log1p", choose(small, near, 0)), 0.5), map_("log", map_("hypot", more, y)))
    return re, map_("atan2", y, more)


@scalar
def sqrt(z: Parts) -> Parts:
    """The principal square root."""
    x, y = z
    t = map_("sqrt", times(map_("add", map_("abs", x), abs_(z)), 0.5))
    other = map_("div", map_("abs", y), times(t, 2.0))
    other = choose(test("eq", t, 0), 0, other)
    right = test("ge", x, 0)
    return choose(right, t, other), map_("copysign", choose(right, other, t), y)


@scalar
def pow_(a: Parts, b: Parts) -> Parts:
    """a**b = exp(b log a); 0**b is 0, but for 0**0 = 1."""
    re, im = exp(mul(b, log(a)))
    none = map_("and", test("eq", a[0], 0), test("eq", a[1], 0))
    one = map_("and", test("eq", b[0], 0), test("eq", b[1], 0))
    re = choose(none, 0, re)
    return choose(one, 1, re), choose(map_("or", one, none), 0, im)


@scalar
def sin(z: Parts) -> Parts:
    """sin x cosh y + i cos x sinh y."""
    return turned_back(sinh(turned(z)))


@scalar
def cos(z: Parts) -> Parts:
    """cos x cosh y - i sin x sinh y."""
    return cosh(turned(z))


@scalar
def sinh(z: Parts) -> Parts:
    """sinh x cos y + i cosh x sin y."""
    x, y = z
    return map_("mul", map_("sinh", x), map_("cos", y)), map_("mul", map_("cosh", x), map_("sin", y))


@scalar
def cosh(z: Parts) -> Parts:
    """cosh x cos y + i sinh x sin y."""
    x, y = z
    return map_("mul", map_("cosh", x), map_("cos", y)), map_("mul", map_("sinh", x), map_("sin", y))


@scalar
def tanh(z: Parts) -> Parts:
    """Kahan's form: no overflow of cosh."""
    x, y = z
    t, s = map_("tan", y), map_("sinh", x)
    one = const(1, x.dtype)
    beta = map_("add", one, map_("mul", t, t))
    square = map_("mul", s, s)
    below = map_("add", one, map_("mul", beta, square))
    rho = map_("sqrt", map_("add", one, square))
    re = map_("div", map_("mul", map_("mul", beta, rho), s), below)
    far = test("gt", map_("abs", x), 11.0 if x.dtype.itemsize == 4 else 22.0)
    tail = map_("mul", map_("sin", times(y, 2.0)), map_("exp", times(map_("abs", x), -2.0)))
    return choose(far, map_("copysign", one, x), re), choose(far, times(tail, 2.0), map_("div", t, below))


@scalar
def tan(z: Parts) -> Parts:
    """tan z = -i tanh(i z)."""
    return turned_back(tanh(turned(z)))


def _roots(z: Parts) -> tuple[Parts, Parts]:
    """sqrt(1 - z), sqrt(1 + z)."""
    one = const(1, z[0].dtype)
    return sqrt((map_("sub", one, z[0]), map_("neg", z[1]))), sqrt((map_("add", one, z[0]), z[1]))


@scalar
def asin(z: Parts) -> Parts:
    """Kahan's form."""
    low, high = _roots(z)
    return map_("atan2", z[0], mul(low, high)[0]), map_("asinh", mul(conj(low), high)[1])


@scalar
def acos(z: Parts) -> Parts:
    """Kahan's form."""
    low, high = _roots(z)
    return times(map_("atan2", low[0], high[0]), 2.0), map_("asinh", mul(conj(high), low)[1])


@scalar
def acosh(z: Parts) -> Parts:
    """Kahan's form."""
    one = const(1, z[0].dtype)
    low, high = sqrt((map_("sub", z[0], one), z[1])), sqrt((map_("add", z[0], one), z[1]))
    return map_("asinh", mul(conj(low), high)[0]), times(map_("atan2", low[1], high[0]), 2.0)


@scalar
def atanh(z: Parts) -> Parts:
    """log((1 + z) / (1 - z)) / 2, in real functions."""
    x, y = z
    one = const(1, x.dtype)
    less, square = map_("sub", one, x), map_("mul", y, y)
    quotient = map_("div", times(x, 4.0), map_("add", map_("mul", less, less), square))
    below = map_("sub", map_("mul", less, map_("add", one, x)), square)
    return times(map_("log1p", quotient), 0.25), times(map_("atan2", times(y, 2.0), below), 0.5)


@scalar
def asinh(z: Parts) -> Parts:
    """asinh z = -i asin(i z)."""
    return turned_back(asin(turned(z)))


@scalar
def atan(z: Parts) -> Parts:
    """atan z = -i atanh(i z)."""
    return turned_back(atanh(turned(z)))


@scalar
def sigmoid(z: Parts) -> Parts:
    """1 / (1 + exp(-z))."""
    one = const(1, z[0].dtype)
    re, im = exp((map_("neg", z[0]), map_("neg", z[1])))
    return div((one, const(0, one.dtype)), (map_("add", re, one), im))
