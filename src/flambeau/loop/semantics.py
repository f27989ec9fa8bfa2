"""What every operation of the loop IR computes, exactly, on numpy scalars and arrays: the definition for all devices.

f16 and bf16 values are held as the float32 that they are equal to; all others have their own numpy type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .ir import FLOATS, SIZE

Number = Any  # a numpy scalar or array

HALVES = ("f16", "bf16")
_KINDS = {"i": "int", "u": "uint", "f": "float"}
DTYPE: dict[str, np.dtype] = {t: np.dtype(f"{_KINDS[t[0]]}{t[1:]}") for t in SIZE if t not in ("b1", "bf16")}
DTYPE |= {"b1": np.dtype(bool), "f16": np.dtype(np.float32), "bf16": np.dtype(np.float32)}
MEMORY: dict[str, np.dtype] = DTYPE | {"f16": np.dtype(np.float16), "bf16": np.dtype(np.uint16)}

_F32, _F64, _U16, _U32 = np.float32, np.float64, np.uint16, np.uint32
_BELOW_HALF = np.int64((1 << 28) - 1)  # bits of an f64 below those half-way between two numbers of f32
_INTEGER_OF = {4: np.dtype(np.int32), 8: np.dtype(np.int64)}


# 16-bit floats


def round_bf16(x: Number) -> Number:
    """A float32 rounded to bf16, to nearest even."""
    bits = x.view(_U32)
    up = bits + _U32(0x7FFF) + ((bits >> _U32(16)) & _U32(1))
    return np.where(x != x, _F32("nan"), (up & _U32(0xFFFF0000)).view(_F32))[()]


def round_f16(x: Number) -> Number:
    """A float32 rounded to f16, to nearest even."""
    return x.astype(np.float16).astype(_F32)


def load_bf16(bits: Number) -> Number:
    """The value that 16 bits of memory stand for."""
    return (bits.astype(_U32) << _U32(16)).view(_F32)


def bits_bf16(x: Number) -> Number:
    """The 16 bits of a bf16 value."""
    return (x.view(_U32) >> _U32(16)).astype(_U16)


# arithmetic


def _same_bits(a: Number, b: Number, both: Callable[[Number, Number], Number], result: Number) -> Number:
    """`result`, but where a == b (so also for zeros of two signs) their bits combined."""
    equal = a == b
    if not equal.any():
        return result
    integer = _INTEGER_OF[a.dtype.itemsize]
    return np.where(equal, both(a.view(integer), b.view(integer)).view(a.dtype), result)[()]


def float_min(a: Number, b: Number) -> Number:
    """The smaller one; NaN wins, -0 < +0."""
    return _same_bits(a, b, np.bitwise_or, np.minimum(a, b))


def float_max(a: Number, b: Number) -> Number:
    """The larger one; NaN wins, -0 < +0."""
    return _same_bits(a, b, np.bitwise_and, np.maximum(a, b))


def idiv(a: Number, b: Number) -> Number:
    """a / b truncated; 0 where b is 0."""
    none = b == 0
    if not none.any() and (b > 0).all() and (a >= 0).all():
        return a // b
    q = a // np.where(none, a.dtype.type(1), b)
    r = a - q * b
    q = q + ((r != 0) & ((r < 0) != (a < 0))).astype(a.dtype)
    return np.where(none, a.dtype.type(0), q)[()]


def irem(a: Number, b: Number) -> Number:
    """a - b * idiv(a, b): a where b is 0."""
    return a - b * idiv(a, b)


def _two_sum(a: Number, b: Number) -> tuple[Number, Number]:
    """fl(a + b) and its exact error."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _sum_to_odd(a: Number, b: Number) -> Number:
    """a + b in f64, rounded to odd where it is not exact: a later rounding to nearest is then the only one."""
    total, error = _two_sum(a, b)
    bits = total.view(np.int64)
    fix = ((error > 0) | (error < 0)) & ((bits & np.int64(1)) == 0)
    away = np.where((error > 0) == (total > 0), np.int64(1), np.int64(-1))
    return np.where(fix, bits + away, bits).view(_F64)


def fma_f32(a: Number, b: Number, c: Number) -> Number:
    """a * b + c rounded once: the product is exact in f64, and so is the order of its sum and of what lies half-way
    between two numbers of f32. Only a sum that is rounded to that (its last 28 bits are zeros, also below the normal
    numbers) has to be rounded to odd."""
    product, addend = a.astype(_F64) * b.astype(_F64), c.astype(_F64)
    total = product + addend
    if (total.view(np.int64) & _BELOW_HALF).all():
        return total.astype(_F32)
    return _sum_to_odd(product, addend).astype(_F32)[()]


def dot2(a: Number, b: Number, c: Number) -> Number:
    """c and the products of the high and then the low halves of words, each step rounded once."""
    for shift, mask in ((0, 0xFFFF0000), (16, 0xFFFFFFFF)):
        x, y = (((v.view(np.uint32) & np.uint32(mask)) << np.uint32(shift)).view(_F32) for v in (a, b))
        c = fma_f32(x, y, c)
    return c


def min2(a: Number, b: Number) -> Number:
    """The smaller ones of the high and of the low halves of words."""
    half = np.int32(16)
    low = np.minimum(a << half >> half, b << half >> half) & np.int32(0xFFFF)
    return np.minimum(a >> half, b >> half) << half | low


_fma: Any = None
_MANY = 48  # elements from which the vector algorithm is faster


def fma_f64(a: Number, b: Number, c: Number) -> Number:
    """a * b + c rounded once: the C library's fma for each element, or the same computed for many at a time."""
    global _fma
    if _fma is None:
        _fma = np.frompyfunc(_library_fma(), 3, 1)
    if max(np.size(a), np.size(b), np.size(c)) < _MANY:
        return np.asarray(_fma(a, b, c)).astype(_F64)[()]
    result, safe = _fma_many(a, b, c)
    if not safe.all():
        rest = ~safe
        a, b, c = (np.broadcast_to(x, result.shape)[rest] for x in (a, b, c))
        result[rest] = _fma(a, b, c).astype(_F64)
    return result


def _fma_many(a: Number, b: Number, c: Number) -> tuple[Number, Number]:
    """a * b + c rounded once, and where that is true: far from overflow and underflow.

    S. Boldo, G. Melquiond: Emulation of a FMA and correctly rounded sums, IEEE Trans. Computers 57 (2008)."""
    high = a * b
    size, addend = np.abs(high), np.abs(c)
    safe = (np.maximum(np.abs(a), np.abs(b)) < 2.0**500) & (size > 2.0**-900) & (addend < 2.0**999)
    safe &= (addend > 2.0**-900) | (addend == 0)
    a_high, a_low = _halves(a)
    b_high, b_low = _halves(b)
    low = ((a_high * b_high - high) + a_high * b_low + a_low * b_high) + a_low * b_low
    middle, small = _two_sum(c, low)
    top, rest = _two_sum(high, middle)
    return top + _sum_to_odd(small, rest), safe


def _halves(x: Number) -> tuple[Number, Number]:
    """x as a sum of two numbers of 26 bits."""
    scaled = x * _F64(2**27 + 1)
    high = scaled - (scaled - x)
    return high, x - high


def _library_fma() -> Callable[[float, float, float], float]:
    import ctypes
    import sys

    try:
        fma = ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None).fma
    except (OSError, AttributeError):
        return exact_fma
    fma.restype, fma.argtypes = ctypes.c_double, [ctypes.c_double] * 3
    return fma


def exact_fma(a: float, b: float, c: float) -> float:
    """a * b + c of doubles rounded once, by rational arithmetic."""
    import math
    from fractions import Fraction

    if not (math.isfinite(a) and math.isfinite(b)) or a == 0 or b == 0:
        return a * b + c
    if not math.isfinite(c):
        return c
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    try:
        return float(exact)  # x + -x is +0; anything that rounds to 0 keeps its sign
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


# conversions


def to_integer(x: Number, type: str) -> Number:
    """A float truncated, saturated to i64 (NaN: 0) and wrapped to an integer type."""
    wide = x.astype(_F64)
    inside = (wide >= -(2.0**63)) & (wide < 2.0**63)
    whole = np.where(inside, wide, 0.0).astype(np.int64)
    ends = np.where(wide > 0, np.int64(2**63 - 1), np.where(wide < 0, np.int64(-(2**63)), np.int64(0)))
    return np.where(inside, whole, ends).astype(DTYPE[type])[()]


def cast(x: Number, source: str, type: str) -> Number:
    """The value as another type."""
    if source == type:
        return x
    if type == "b1":
        return x != 0
    if type in HALVES:
        return ROUND[type](x.astype(_F32))
    if source in FLOATS and type not in FLOATS:
        return to_integer(x, type)
    return x.astype(DTYPE[type])


def bitcast(x: Number, source: str, type: str) -> Number:
    """The same bits as another type of the same size."""
    if source in HALVES:
        x = bits_bf16(x) if source == "bf16" else x.astype(np.float16)
    if type in HALVES:
        bits = x.view(MEMORY[type])
        return load_bf16(bits) if type == "bf16" else bits.astype(_F32)
    return x.view(DTYPE[type])


# memory


def load_masked(buf: Number, index: Number, mask: Number) -> Number:
    """buf[index] where the mask is true, zero elsewhere, as the memory's type."""
    if mask.ndim == 0:
        return buf[index] if mask else np.zeros(np.shape(index), buf.dtype)[()]
    out = np.zeros(mask.shape, buf.dtype)
    out[mask] = buf[np.broadcast_to(index, mask.shape)[mask]]
    return out


def store_masked(buf: Number, index: Number, value: Number, mask: Number) -> None:
    """buf[index] = value where the mask is true; lanes in order."""
    shape = np.broadcast_shapes(np.shape(index), np.shape(mask))
    mask = np.broadcast_to(mask, shape)
    buf[np.broadcast_to(index, shape)[mask]] = np.broadcast_to(value, shape)[mask]


def tree(lanes: Number, combine: Callable[[Number, Number], Number]) -> Number:
    """All lanes combined: lane i with lane i + half, until one is left."""
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = combine(lanes[:half], lanes[half:])
    return lanes[0]


ROUND: dict[str, Callable[[Number], Number]] = {"f16": round_f16, "bf16": round_bf16}
_EXACT: dict[str, Callable] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "rint": np.rint,
    "sign": np.sign,
    "abs": np.absolute,
}
_EXACT |= {"copysign": np.copysign, "neg": np.negative, "not": np.invert, "select": np.where}
_EXACT |= {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "idiv": idiv, "irem": irem}
_EXACT |= {"lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal}
_EXACT |= {"eq": np.equal, "ne": np.not_equal, "min2": min2}
_ROUNDED: dict[str, Callable] = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}
_ROUNDED |= {"sqrt": np.sqrt, "ldexp": np.ldexp}


def function(op: str, type: str, source: str) -> Callable[..., Number]:
    """The function that computes `op` with result `type` on values of which the first has type `source`."""
    if op in ("cast", "bitcast"):
        convert = cast if op == "cast" else bitcast
        return lambda x: convert(x, source, type)
    if op in ("min", "max"):
        if source in FLOATS:
            return float_min if op == "min" else float_max
        return np.minimum if op == "min" else np.maximum
    if op in ("shl", "shr"):
        return np.left_shift if op == "shl" else np.right_shift
    if op in _EXACT:
        return _EXACT[op]
    if op == "fma":
        plain: Callable = fma_f64 if type == "f64" else fma_f32
    elif op == "dot2":
        plain = dot2
    elif op in _ROUNDED:
        plain = _ROUNDED[op]
    else:
        raise NotImplementedError(f"{op} of {source}: expand mathematical functions before interpreting")
    if type in HALVES:
        rounded = ROUND[type]
        return lambda *args: rounded(plain(*args))
    return plain


def constant(type: str, value: float) -> Number:
    """A constant of the IR as a numpy scalar, rounded to its type."""
    if type in HALVES:
        return ROUND[type](_F32(value))
    return DTYPE[type].type(value)
