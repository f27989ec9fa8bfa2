"""Rules of dtypes that calls share: what a result may be written into, and PyTorch's names of types in messages."""

from __future__ import annotations

import cmath
import math
from typing import Any

from ..dtypes import bool_, int64, promote_types
from ..errors import fail
from ..stream.value import COMPLEX_NUMBER

SCALAR_NAMES = {
    "float32": "Float",
    "float64": "Double",
    "float16": "Half",
    "bfloat16": "BFloat16",
    "int64": "Long",
    "int32": "Int",
}
SCALAR_NAMES |= {
    "int16": "Short",
    "int8": "Char",
    "uint8": "Byte",
    "bool": "Bool",
    "complex64": "ComplexFloat",
}
SCALAR_NAMES |= {"complex128": "ComplexDouble"}


def scalar_name(d: Any) -> str:
    """PyTorch's name of a dtype in messages, as "Float"."""
    return SCALAR_NAMES.get(d.name, d.name)


def unsupported(name: str, d: Any) -> str:
    """PyTorch's words for an operation that a dtype has not."""
    return f"\"{name}_cpu\" not implemented for '{scalar_name(d)}'"


def divisible(self: Any, other: Any, *rest: Any) -> None:
    """RuntimeError if whole numbers are divided by the number 0."""
    if other.__class__ in (int, bool) and not other and not self.dtype.is_inexact:
        fail(RuntimeError, "ZeroDivisionError")


def broken(name: str, *xs: Any) -> None:
    """PyTorch's NotImplementedError for an op that whole numbers alone have not."""
    if not any(x.dtype.is_inexact for x in xs):
        fail(NotImplementedError, f"{name}: {unsupported(name, xs[0].dtype)}")


def bounds(d: Any) -> tuple[Any, Any]:
    """The least and the greatest number that an element of a dtype holds."""
    if d.is_inexact:
        top = {"float16": 65504.0, "complex32": 65504.0, "bfloat16": float.fromhex("0x1.fep+127")}.get(d.name)
        top = float.fromhex("0x1.fffffep+127") if top is None and d.part.itemsize == 4 else top
        return (-math.inf, math.inf) if top is None else (-top, top)
    bits = 8 * d.itemsize - (d.name[0] == "i")
    # a negative number wraps around in an unsigned dtype, a negative float does not
    return -(1 << bits) + (d.name[0] == "u"), (1 << bits) - 1


BOUNDS: dict[Any, tuple[Any, Any]] = {}


def fits(self: Any, *values: Any) -> None:
    """RuntimeError if the last of the arguments is a number that the dtype of the first does not hold."""
    value = values[-1]
    if value.__class__ is float and self._meta.dtype.is_inexact:  # what any of them holds
        if -65504.0 <= value <= 65504.0 or value - value != 0:
            return
    elif value.__class__ is int and 0 <= value <= 127:
        return
    check_fits(self._meta.dtype, value)


def check_fits(d: Any, value: Any) -> None:
    """RuntimeError if a number is none that a dtype holds."""
    if getattr(value, "_meta", None) is COMPLEX_NUMBER:
        value = value.item()
    kind = type(value)
    if d is bool_ or kind is bool or kind not in (int, float, complex):
        return
    low, high = BOUNDS.get(d) or BOUNDS.setdefault(d, bounds(d))
    if kind is complex:
        if d.is_complex and max(abs(value.real), abs(value.imag)) <= high:
            return
        bad = d.is_complex or value.imag != 0 or not low <= value.real <= high
    else:
        bad = not low <= value <= high or (kind is float and value < 0 and d.name[0] == "u")
    if bad and not (d.is_inexact and not cmath.isfinite(value)):
        fail(RuntimeError, f"value cannot be converted to type {d.in_c} without overflow")


def total_dtype(d: Any) -> Any:
    """The dtype of sums and products of elements of a dtype."""
    return d if d.is_inexact else int64


def check_cast(name: str, a: Any, b: Any) -> None:
    """RuntimeError if a result of dtype a may not be written into a tensor of dtype b."""
    if not can_cast(a, b):
        fail(
            RuntimeError,
            f"{name}: result type {scalar_name(a)} can't be cast to the desired output type {scalar_name(b)}",
        )


def can_cast(a: Any, b: Any) -> bool:
    """Whether a result of dtype a may be written into a tensor of dtype b."""
    return a._rank <= b._rank or (a._rank == 1 and b._rank == 1) or promote_types(a, b) is b
