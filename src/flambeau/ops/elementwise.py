"""Elementwise ops: arithmetic."""

from __future__ import annotations

from typing import Any

from ..stream.graph import cast, map_, promote
from .entry import NONE, N, T, TN, op


def both(a: Any, b: Any) -> tuple[Any, Any]:
    d = promote(a, b)
    return cast(a, d), cast(b, d)


@op(inplace=True, grad={"self": lambda grad: grad, "other": lambda grad, alpha: grad * alpha})
def add(self: T, other: TN, *, alpha: N = 1) -> Any:
    """self + alpha * other."""
    a, b = both(self, other)
    return map_("add", a, map_("mul", b, cast(alpha, b.dtype)), name="add")


@op(inplace=True, grad={"self": lambda grad, other: grad * other, "other": lambda grad, self: grad * self})
def mul(self: T, other: TN) -> Any:
    """self * other."""
    a, b = both(self, other)
    return map_("mul", a, b, name="mul")


@op(inplace=True, grad={"self": lambda grad, result: grad * result})
def exp(self: T) -> Any:
    """exp."""
    return map_("exp", self)
