"""The softmax family and losses over classes: each one kernel forward and one backward.

Results are row-major whatever the order of the operand, as in PyTorch: programs look at them through `view`."""

from __future__ import annotations

from typing import Any

from ..dtypes import dtype
from ..shapes import wrap_dim
from ..stream.graph import contiguous, map_
from .elementwise import into
from .entry import T, composite, op
from .reduction import reduced
from .rules import broken
from .unary import as_float


def shifted(x: Any, dim: int) -> Any:
    """x minus its largest element along dim: exp of it cannot overflow."""
    return map_("sub", x, reduced("max", x, (dim,), True))


@op(
    method=False,
    function=False,
    node="SoftmaxBackward0",
    grad={
        "self": lambda grad, result, dim: (
            (grad - (grad * result).sum(dim, keepdim=True)) * result if result.ndim else grad * 0
        )
    },
)
def _softmax(self: T, dim: int) -> Any:
    x = as_float(self)
    if not x.ndim:
        return map_("exp", map_("sub", x, x))
    d = wrap_dim(dim, x.ndim, "softmax")
    e = map_("exp", shifted(x, d))
    return contiguous(map_("div", e, reduced("add", e, (d,), True)))


@op(
    method=False,
    function=False,
    node="LogSoftmaxBackward0",
    grad={
        "self": lambda grad, result, dim: (
            grad - result.exp() * grad.sum(dim, keepdim=True) if result.ndim else grad * 0
        )
    },
)
def _log_softmax(self: T, dim: int) -> Any:
    x = as_float(self)
    if not x.ndim:
        return map_("sub", x, x)
    d = wrap_dim(dim, x.ndim, "log_softmax")
    low = shifted(x, d)
    return contiguous(map_("sub", low, map_("log", reduced("add", map_("exp", low), (d,), True))))


def _default_dim(name: str, ndim: int) -> int:
    import warnings

    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an argument.",
        stacklevel=3,
    )
    return 0 if ndim in (0, 1, 3) else 1


def _call(fn: Any, name: str, input: Any, dim: Any, dtype: dtype | None) -> Any:
    if dim is None:
        dim = _default_dim(name, input.ndim)
    x = input if dtype is None else input.to(dtype)
    if not x.dtype.is_inexact:
        broken(f"{name}_lastdim_kernel_impl", x)
    return fn(x, int(dim))


@composite(nn=True, faces={"special": "softmax"})
def softmax(
    input: Any, dim: Any = None, _stacklevel: int = 3, dtype: Any = None, *, out: Any = None, axis: Any = None
) -> Any:
    """exp(x_i) / sum_j exp(x_j) along dim."""
    dim = axis if dim is None else dim
    if _stacklevel.__class__ is not int:
        dtype = _stacklevel
    result = _call(_softmax, "softmax", input, dim, dtype)
    return result if out is None else into(out, result)


@composite(nn=True, faces={"special": "log_softmax"})
def log_softmax(
    input: Any, dim: Any = None, _stacklevel: int = 3, dtype: Any = None, *, out: Any = None, axis: Any = None
) -> Any:
    """log(softmax(x)) along dim, computed without overflow."""
    dim = axis if dim is None else dim
    if _stacklevel.__class__ is not int:
        dtype = _stacklevel
    result = _call(_log_softmax, "log_softmax", input, dim, dtype)
    return result if out is None else into(out, result)


@composite(method=False, function=False, nn=True)
def softmin(input: Any, dim: Any = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    """softmax(-x)."""
    return softmax(-input, dim, 3, dtype)
