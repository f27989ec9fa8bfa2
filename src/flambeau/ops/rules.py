"""Rules of dtypes that calls share: what a result may be written into, and PyTorch's names of types in messages."""

from __future__ import annotations

from typing import Any

from ..dtypes import int64, promote_types
from ..errors import fail

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
