"""Reductions and normalisations of the elements that a mask selects (`torch.masked`)."""

from __future__ import annotations

import math
from typing import Any

from ..dtypes import bool_, default_dtype, iinfo
from ..errors import fail
from ..shapes import wrap_dims
from .compare import _where
from .entry import FACES, FUNCTIONS, composite
from .rules import total_dtype


def _public(fn: Any) -> Any:
    return composite(
        name="masked_" + fn.__name__.strip("_"),
        method=False,
        function=False,
        faces={"masked": fn.__name__.strip("_")},
    )(fn)


def _mask(x: Any, mask: Any) -> Any:
    """The mask in the input's shape, or None."""
    if mask is None:
        return None
    if mask.dtype is not bool_:
        mask = mask.to(bool_)
    return mask.expand(tuple(x.shape)) if tuple(mask.shape) != tuple(x.shape) else mask


def _filled(x: Any, mask: Any, value: Any) -> Any:
    mask = _mask(x, mask)
    return x if mask is None else _where(mask, x, value)


def _dims(dim: Any, ndim: int) -> tuple[int, ...]:
    return wrap_dims(tuple(dim) if isinstance(dim, list) else dim, ndim)


def _edge(x: Any, high: bool) -> Any:
    """The identity of the minimum (high) or the maximum."""
    d = x.dtype
    if d.is_floating_point:
        return math.inf if high else -math.inf
    if d is bool_:
        return high
    return iinfo(d).max if high else iinfo(d).min


def _summed(x: Any, dims: Any, keepdim: bool, dtype: Any) -> Any:
    if not x.ndim:
        d = dtype or total_dtype(x.dtype)
        return x.clone() if d is x.dtype else x.to(d)
    return x.sum(dims, keepdim, dtype=dtype)


@_public
def sum(input: Any, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """The sum of the selected elements."""
    return _summed(_filled(input, mask, 0), _dims(dim, input.ndim), keepdim, dtype)


@_public
def prod(input: Any, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """The product of the selected elements."""
    x = _filled(input, mask, 1).to(dtype or total_dtype(input.dtype))
    for d in sorted(_dims(dim, input.ndim), reverse=True):
        x = x.prod(d, keepdim)
    return x


def _count(input: Any, dims: Any, keepdim: bool, mask: Any) -> Any:
    mask = _mask(input, mask)
    ones = FUNCTIONS["ones_like"](input.detach(), dtype=input.dtype) if mask is None else mask.to(input.dtype)
    return _summed(ones, dims, keepdim, None)


@_public
def mean(input: Any, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """The mean of the selected elements."""
    x = input if dtype is None else input.to(dtype)
    dims = _dims(dim, x.ndim)
    if not x.dtype.is_inexact:
        fail(TypeError, f"mean expects float or complex tensors; got {x.dtype.name}")
    return _summed(_filled(x, mask, 0), dims, keepdim, None) / _count(x, dims, keepdim, mask)


@_public
def amax(input: Any, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """The largest selected element."""
    x = input if dtype is None else input.to(dtype)
    return _filled(x, mask, _edge(x, False)).amax(_dims(dim, x.ndim), keepdim)


@_public
def amin(input: Any, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """The smallest selected element."""
    x = input if dtype is None else input.to(dtype)
    return _filled(x, mask, _edge(x, True)).amin(_dims(dim, x.ndim), keepdim)


@_public
def argmax(input: Any, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """The position of the largest selected element."""
    x = input if dtype is None else input.to(dtype)
    return _filled(x, mask, _edge(x, False)).argmax(dim, keepdim).to(dtype or x.dtype)


@_public
def argmin(input: Any, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """The position of the smallest selected element."""
    x = input if dtype is None else input.to(dtype)
    return _filled(x, mask, _edge(x, True)).argmin(dim, keepdim).to(dtype or x.dtype)


@_public
def cumsum(input: Any, dim: int, *, dtype: Any = None, mask: Any = None) -> Any:
    """The running sum of the selected elements."""
    return _filled(input, mask, 0).cumsum(dim, dtype=dtype)


@_public
def cumprod(input: Any, dim: int, *, dtype: Any = None, mask: Any = None) -> Any:
    """The running product of the selected elements."""
    return _filled(input, mask, 1).cumprod(dim, dtype=dtype)


@_public
def norm(
    input: Any, ord: Any = 2.0, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None
) -> Any:
    """The norm of the selected elements."""
    x = input if dtype is None else input.to(dtype)
    x = _filled(x, mask, math.inf if ord == -math.inf else 0)
    return FACES["linalg"]["vector_norm"](x, ord, _dims(dim, x.ndim), keepdim)


def _variance(
    input: Any, dim: Any, unbiased: Any, keepdim: bool, dtype: Any, mask: Any, correction: Any
) -> Any:
    if correction is None:
        correction = 1 if unbiased is None else int(unbiased)
    x = input if dtype is None else input.to(dtype)
    dims = _dims(dim, x.ndim)
    count = _count(x, dims, True, mask)
    centre = _summed(_filled(x, mask, 0), dims, True, None) / count
    d = _filled(x - centre, mask, 0)
    square = d.abs().square() if d.dtype.is_complex else d * d
    count = _count(d.abs() if d.dtype.is_complex else d, dims, keepdim, mask)
    return (_summed(square, dims, keepdim, None) / (count - correction).clamp(min=0)).to(d.dtype)


@_public
def var(
    input: Any,
    dim: Any = None,
    unbiased: Any = None,
    *,
    keepdim: bool = False,
    dtype: Any = None,
    mask: Any = None,
    correction: Any = None,
) -> Any:
    """The variance of the selected elements."""
    return _variance(input, dim, unbiased, keepdim, dtype, mask, correction)


@_public
def std(
    input: Any,
    dim: Any = None,
    unbiased: Any = None,
    *,
    keepdim: bool = False,
    dtype: Any = None,
    mask: Any = None,
    correction: Any = None,
) -> Any:
    """The standard deviation of the selected elements."""
    return _variance(input, dim, unbiased, keepdim, dtype, mask, correction).sqrt()


@_public
def median(input: Any, dim: int = -1, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """The median of the selected elements."""
    x = input if dtype is None else input.to(dtype)
    if not x.ndim:
        return x.clone()
    return _filled(x, mask, math.nan).nanmedian(dim, keepdim)[0]


@_public
def logsumexp(
    input: Any, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None
) -> Any:
    """log(sum(exp(x))) of the selected elements."""
    x = input if dtype is None else input.to(dtype)
    d = x.dtype
    x = x if d.is_inexact else x.to(default_dtype())
    return _filled(x, mask, -math.inf).logsumexp(_dims(dim, x.ndim), keepdim).to(d)


@_public
def logaddexp(
    input: Any, other: Any, *, dtype: Any = None, input_mask: Any = None, other_mask: Any = None
) -> Any:
    """logaddexp of the selected elements of both."""
    a, b = (x if dtype is None else x.to(dtype) for x in (input, other))
    return FUNCTIONS["logaddexp"](_filled(a, input_mask, -math.inf), _filled(b, other_mask, -math.inf))


@_public
def softmax(input: Any, dim: int, *, dtype: Any = None, mask: Any = None) -> Any:
    """softmax over the selected elements."""
    x = input if dtype is None else input.to(dtype)
    return _filled(x, mask, -math.inf).softmax(dim)


@_public
def log_softmax(input: Any, dim: int, *, dtype: Any = None, mask: Any = None) -> Any:
    """log(softmax) over the selected elements."""
    x = input if dtype is None else input.to(dtype)
    return _filled(x, mask, -math.inf).log_softmax(dim)


@_public
def softmin(input: Any, dim: int, *, dtype: Any = None, mask: Any = None) -> Any:
    """softmax(-x) over the selected elements."""
    x = input if dtype is None else input.to(dtype)
    return (-_filled(x, mask, math.inf)).softmax(dim)


@_public
def normalize(
    input: Any, ord: Any, dim: int, *, eps: float = 1e-12, dtype: Any = None, mask: Any = None
) -> Any:
    """x / max(|x|, eps) over the selected elements."""
    x = input if dtype is None else input.to(dtype)
    size = norm(x, ord, dim, keepdim=True, mask=mask)
    return _filled(x, mask, 0) / size.clamp(min=eps)
