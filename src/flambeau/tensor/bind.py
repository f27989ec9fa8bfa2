"""Binds the book of ops to Tensor and to traced values: methods, operators, properties."""

from __future__ import annotations

from typing import Any

from ..ops.entry import FUNCTIONS, METHODS, make_wrapper, slow_operator
from ..stream.graph import Val
from ..stream.value import Tensor

OPERATORS = {
    "add": ("__add__", "__radd__"),
    "sub": ("__sub__",),
    "mul": ("__mul__", "__rmul__"),
    "true_divide": ("__truediv__",),
    "floor_divide": ("__floordiv__",),
    "remainder": ("__mod__",),
    "matmul": ("__matmul__",),
    "pow": ("__pow__",),
    "neg": ("__neg__",),
    "abs": ("__abs__",),
    "bitwise_not": ("__invert__",),
    "bitwise_and": ("__and__", "__rand__"),
    "bitwise_or": ("__or__", "__ror__"),
    "bitwise_xor": ("__xor__", "__rxor__"),
    "__lshift__": ("__lshift__",),
    "__rshift__": ("__rshift__",),
    "lt": ("__lt__",),
    "le": ("__le__",),
    "gt": ("__gt__",),
    "ge": ("__ge__",),
    "eq": ("__eq__",),
    "ne": ("__ne__",),
    "add_": ("__iadd__",),
    "sub_": ("__isub__",),
    "mul_": ("__imul__",),
    "div_": ("__itruediv__",),
    "floor_divide_": ("__ifloordiv__",),
    "remainder_": ("__imod__",),
    "pow_": ("__ipow__",),
    "bitwise_and_": ("__iand__",),
    "bitwise_or_": ("__ior__",),
    "bitwise_xor_": ("__ixor__",),
    "rsub": ("__rsub__",),
    "positive": ("__pos__",),
    "__rpow__": ("__rpow__",),
    "__rtruediv__": ("__rtruediv__", "__rdiv__"),
    "__rfloordiv__": ("__rfloordiv__",),
    "__rmod__": ("__rmod__",),
    "__rmatmul__": ("__rmatmul__",),
    "__getitem__": ("__getitem__",),
    "__setitem__": ("__setitem__",),
}


def bind() -> None:
    """Attach every published op to Tensor and Val. Called once, at import."""
    for cls in (Tensor, Val):
        for name, fn in METHODS.items():
            if name not in cls.__dict__:
                setattr(cls, name, fn)
        for name, specials in OPERATORS.items():
            found = METHODS.get(name) or FUNCTIONS.get(name)
            if found is None:
                continue
            for special in specials:
                setattr(cls, special, operator(found, special))
    Tensor.__hash__ = lambda self: id(self)  # type: ignore[method-assign]
    Val.__hash__ = lambda self: id(self)  # type: ignore[method-assign]


def operator(fn: Any, special: str) -> Any:
    """The function behind an operator: as the op, but it answers NotImplemented to operands of foreign types."""
    entry = getattr(fn, "entry", None)
    if entry is None or len(entry.params) < 2:
        return fn
    return make_wrapper(entry, fn.__name__.endswith("_"), slow_operator)
