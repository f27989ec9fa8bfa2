"""Products, moments and counts over dimensions."""

from __future__ import annotations

from typing import Any

from ..dtypes import dtype, int64
from ..errors import fail
from ..shapes import wrap_dims
from ..stream.graph import Val, cast, const, map_
from .compare import _where, truth
from .elementwise import into
from .entry import FUNCTIONS, NONE, T, composite, op
from .reduction import amax, amin, mean, reduced, std, sum, var
from .rules import total_dtype
from .scan import with_zeros
from .structures import named

Dims = Any


def _prod_back(grad: Any, self: Any, dim: Any, keepdim: bool) -> Any:
    """grad times the product of all other elements: nonzero next to a zero only for that zero."""
    dims = wrap_dims(dim, self.ndim)
    if not keepdim:
        for d in dims:
            grad = grad.unsqueeze(d)
    if with_zeros(self):
        x = self.reshape(-1) if len(dims) > 1 else self
        return grad * _others(x, 0 if len(dims) > 1 else dims[0] if dims else None).reshape(self.shape)
    zeros = (self == 0).sum(dims, keepdim=True)
    safe = _where(self == 0, 1, self)
    rest = safe
    for d in dims:
        rest = _prod(rest, d, True)
    return grad * _where(self == 0, _where(zeros == 1, rest, 0), _where(zeros == 0, rest / safe, 0))


def _others(x: Any, d: int | None) -> Any:
    """For each element the product of the others along d, in a form that can be differentiated at zeros."""
    if d is None:
        return FUNCTIONS["ones_like"](x)
    n, cat = x.shape[d], FUNCTIONS["cat"]
    one = FUNCTIONS["ones_like"](x.narrow(d, 0, min(n, 1)))
    before = cat([one, x.narrow(d, 0, max(n - 1, 0))], d).cumprod(d)
    after = cat([x.narrow(d, 1, max(n - 1, 0)), one], d).flip(d).cumprod(d).flip(d)
    return before * after


@op(method=False, function=False, node="ProdBackward0", grad={"self": _prod_back})
def _prod(self: T, dim: Dims = None, keepdim: bool = False, *, dtype: dtype | None = None) -> Any:
    d = dtype or total_dtype(self.dtype)
    return reduced("mul", cast(self, d), wrap_dims(dim, self.ndim, "prod"), keepdim)


@composite()
def prod(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, out: Any = None) -> Any:
    """The product over a dimension (default: of all elements). Integers are multiplied in int64."""
    result = _prod(input, dim, keepdim, dtype=dtype)
    return result if out is None else into(out, result)


@op(
    node="NansumBackward0",
    grad={"self": lambda grad, self, dim, keepdim: _nansum_back(grad, self, dim, keepdim)},
)
def nansum(self: T, dim: Dims = None, keepdim: bool = False, *, dtype: dtype | None = None) -> Any:
    """The sum, NaN counted as 0."""
    x = self
    if x.dtype.is_floating_point:
        x = map_("select", truth_of_number(x), x, const(0, x.dtype))
    d = dtype or total_dtype(x.dtype)
    return reduced("add", cast(x, d), wrap_dims(dim, x.ndim, "nansum"), keepdim)


def truth_of_number(x: Val) -> Val:
    """Whether each element is not NaN."""
    from ..dtypes import bool_

    return map_("eq", x, x, out=bool_)


def _nansum_back(grad: Any, self: Any, dim: Any, keepdim: bool) -> Any:
    if not keepdim:
        for d in wrap_dims(dim, self.ndim):
            grad = grad.unsqueeze(d)
    return _where(self == self, grad, 0)


@composite()
def nanmean(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, out: Any = None) -> Any:
    """The mean of the elements that are not NaN."""
    if not input.dtype.is_floating_point:
        fail(
            RuntimeError,
            "nanmean(): expected input to have floating point or complex dtype but got " + input.dtype.name,
        )
    count = sum((input == input).detach(), dim, keepdim)
    result = nansum(input, dim, keepdim, dtype=dtype) / count
    return result if out is None else into(out, result)


def _pair(
    name: str, first: Any, input: Any, dim: Any, unbiased: Any, keepdim: bool, correction: Any, out: Any
) -> Any:
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    a = first(input, dim, unbiased, keepdim, correction=correction)
    b = mean(input, dim, keepdim) if dim is not None or keepdim else mean(input)
    if out is not None:
        a, b = into(out[0], a), into(out[1], b)
    return a, b


@composite(method=False)
def var_mean(
    input: Any,
    dim: Any = None,
    unbiased: Any = None,
    keepdim: bool = False,
    *,
    correction: Any = None,
    out: Any = None,
) -> Any:
    """(variance, mean)."""
    return _pair("var_mean", var, input, dim, unbiased, keepdim, correction, out)


@composite(method=False)
def std_mean(
    input: Any,
    dim: Any = None,
    unbiased: Any = None,
    keepdim: bool = False,
    *,
    correction: Any = None,
    out: Any = None,
) -> Any:
    """(standard deviation, mean)."""
    return _pair("std_mean", std, input, dim, unbiased, keepdim, correction, out)


@op(grad=NONE)
def count_nonzero(self: T, dim: Dims = None) -> Any:
    """How many elements are not 0."""
    return reduced("add", cast(truth(self), int64), wrap_dims(dim, self.ndim, "count_nonzero"), False)


AMinMax = named("aminmax", ["min", "max"])


@composite()
def aminmax(input: Any, *, dim: Any = None, keepdim: bool = False, out: Any = None) -> Any:
    """(the smallest, the largest element)."""
    if dim is None and 0 in input.shape:
        fail(
            RuntimeError,
            "aminmax(): cannot compute aminmax over an empty dimension as the operation has no identity.",
        )
    for o in out or ():
        if o.dtype is not input.dtype:
            fail(
                RuntimeError,
                f"aminmax(): Expected out tensor to have dtype {input.dtype.name}, but got {o.dtype.name} instead",
            )
    dims = () if dim is None else dim
    result = AMinMax(amin(input, dims, keepdim), amax(input, dims, keepdim))
    if out is not None:
        return AMinMax(*[into(o, r) for o, r in zip(out, result)])
    return result
