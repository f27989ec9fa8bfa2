"""Elementwise functions of three operands: lerp, addcmul, addcdiv."""

from __future__ import annotations

from typing import Any

from ..dtypes import bool_
from ..errors import fail
from ..stream.graph import cast, const, map_, promote
from .entry import TN, N, T, op
from .rules import unsupported


@op(
    inplace=True,
    grad={
        "self": lambda grad, weight: grad * (1 - weight),
        "end": lambda grad, weight: grad * weight,
        "weight": lambda grad, self, end: grad * (end - self),
    },
)
def lerp(self: T, end: T, weight: TN) -> Any:
    """self + weight * (end - self), computed from the nearer end."""
    d = self.dtype
    if not (d.is_floating_point or d.is_complex):
        fail(NotImplementedError, unsupported("lerp_kernel_scalar", d))
    for name, x in (("end", end), ("weight", weight if weight.ndim else self)):
        if x.dtype is not d:
            fail(RuntimeError, f"lerp: expected dtype {d.name} for `{name}` but got dtype {x.dtype.name}")
    a, b, w = self, end, cast(weight, d)
    step = map_("sub", b, a, name="lerp")
    low = map_("add", a, map_("mul", w, step, name="lerp"))
    high = map_("sub", b, map_("mul", step, map_("sub", const(1, d), w)))
    size = map_("abs", w)
    near = map_("lt", size, const(0.5, size.dtype), out=bool_)
    return map_("select", near, low, high)


@op(
    inplace=True,
    grad={
        "self": lambda grad: grad,
        "tensor1": lambda grad, tensor2, value: grad * (tensor2 * value),
        "tensor2": lambda grad, tensor1, value: grad * (tensor1 * value),
    },
)
def addcmul(self: T, tensor1: T, tensor2: T, *, value: N = 1) -> Any:
    """self + value * tensor1 * tensor2."""
    d = promote(self, tensor1, tensor2)
    a, b, c = cast(self, d), cast(tensor1, d), cast(tensor2, d)
    v = cast(value, d) if hasattr(value, "buf") else const(value, d)
    return map_("add", a, map_("mul", map_("mul", b, v), c, name="addcmul"), name="addcmul")


@op(
    inplace=True,
    grad={
        "self": lambda grad: grad,
        "tensor1": lambda grad, tensor2, value: grad * (value / tensor2),
        "tensor2": lambda grad, tensor1, tensor2, value: -grad * (value * tensor1 / (tensor2 * tensor2)),
    },
)
def addcdiv(self: T, tensor1: T, tensor2: T, *, value: N = 1) -> Any:
    """self + value * tensor1 / tensor2."""
    d = promote(self, tensor1, tensor2)
    if not d.is_inexact:
        raise RuntimeError(
            "addcdiv: Integer division with addcdiv is no longer supported, and in a future release addcdiv will perform a true division of "
            "tensor1 and tensor2; use floating-point tensors"
        )
    a, b, c = cast(self, d), cast(tensor1, d), cast(tensor2, d)
    v = cast(value, d) if hasattr(value, "buf") else const(value, d)
    return map_("add", a, map_("div", map_("mul", b, v), c, name="addcdiv"), name="addcdiv")
