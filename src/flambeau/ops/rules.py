"""Rules of dtypes that calls share: what a result may be written into, and PyTorch's names of types in messages."""

from __future__ import annotations

from typing import Any

from ..dtypes import promote_types

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


def can_cast(a: Any, b: Any) -> bool:
    """Whether a result of dtype a may be written into a tensor of dtype b."""
    return a._rank <= b._rank or (a._rank == 1 and b._rank == 1) or promote_types(a, b) is b
