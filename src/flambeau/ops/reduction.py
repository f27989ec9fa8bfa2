"""Reductions: sums, means, extrema, norms, tests of all or any."""

from __future__ import annotations

from typing import Any

from ..dtypes import bool_, dtype, int64, uint8
from ..errors import fail
from ..shapes import contiguous_strides, numel, wrap_dim, wrap_dims
from ..stream import pairs
from ..stream.graph import Val, cast, const, map_, reduce_
from .compare import _where, truth
from .elementwise import into
from .entry import NONE, T, composite, op
from .rules import total_dtype
from .structures import named
from .unary import as_float

MaxResult = named("max", ["values", "indices"])
MinResult = named("min", ["values", "indices"])
Dims = Any


def kept(x: Val, dims: tuple[int, ...], shape: tuple[int, ...]) -> Val:
    """A reduced value with the removed dimensions back, of extent 1."""
    full, strides, left = [], [], iter(zip(x.shape, x.strides))
    for d in range(len(shape)):
        n, s = (1, 0) if d in dims else next(left)
        full.append(n)
        strides.append(s)
    strides = list(contiguous_strides(full)) if x.strides == contiguous_strides(x.shape) else strides
    return x.view_as(tuple(full), tuple(strides), x.off)


def reduced(kind: str, x: Val, dims: tuple[int, ...], keepdim: bool, out: dtype | None = None) -> Val:
    """A reduction over dims; keepdim leaves them with extent 1."""
    r = reduce_(kind, x, dims, out)
    return kept(r, dims, tuple(x.shape)) if keepdim else r


def spread(grad: Any, form: Any, dim: Any, keepdim: bool) -> Any:
    """A reduction's gradient, over the whole input."""
    shape = tuple(form.trace.operands[0].shape)
    if not keepdim:
        for d in wrap_dims(dim, len(shape)):
            grad = grad.unsqueeze(d)
    return grad.expand(shape)


def count(shape: Any, dims: tuple[int, ...]) -> int:
    """The number of elements that a reduction over dims combines."""
    return numel([shape[d] for d in dims])


@op(
    method=False,
    function=False,
    node="SumBackward1",
    grad={"self": lambda grad, form, dim, keepdim: spread(grad, form, dim, keepdim)},
)
def _sum(self: T, dim: Dims = None, keepdim: bool = False, *, dtype: dtype | None = None) -> Any:
    dims = wrap_dims(dim, self.ndim, "sum")
    d = dtype or total_dtype(self.dtype)
    return reduced("add", cast(self, d), dims, keepdim)


def _to_dims(dim: Any) -> Any:
    return tuple(dim) if isinstance(dim, list) else dim


@op(
    node="SumBackward0",
    method=False,
    function=False,
    grad={"self": lambda grad, form: grad.expand(tuple(form.trace.operands[0].shape))},
)
def _sum_all(self: T) -> Any:
    d = total_dtype(self.dtype)
    return reduce_("add", cast(self, d), tuple(range(self.ndim)))


@composite()
def sum(
    input: Any,
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
    out: Any = None,
    axis: Any = None,
    keepdims: bool = False,
) -> Any:
    """The sum over the given dimensions (default: all). Integers are summed in int64."""
    keepdim = keepdim or keepdims
    dim = axis if dim is None else dim
    if dim is None and dtype is None and not keepdim:
        result = _sum_all(input)
    else:
        result = _sum(input, _to_dims(dim), keepdim, dtype=dtype)
    return result if out is None else into(out, result)


def _mean_back(grad: Any, form: Any, dim: Any, keepdim: bool) -> Any:
    shape = tuple(form.trace.operands[0].shape)
    n = count(shape, wrap_dims(dim, len(shape)))
    return spread(grad, form, dim, keepdim) / (n or float("nan"))


@op(method=False, function=False, node="MeanBackward1", grad={"self": _mean_back})
def _mean(self: T, dim: Dims = None, keepdim: bool = False, *, dtype: dtype | None = None) -> Any:
    dims = wrap_dims(dim, self.ndim, "mean")
    d = dtype or self.dtype
    if not d.is_inexact:
        names = {"int64": "Long", "int32": "Int", "bool": "Bool", "uint8": "Byte"}
        fail(
            RuntimeError,
            "mean(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. Got: "
            f"{names.get(d.name, d.name.capitalize())}",
        )
    total = reduced("add", cast(self, d), dims, keepdim)
    return map_("div", total, const(count(self.shape, dims), d))


@op(
    method=False,
    function=False,
    node="MeanBackward0",
    grad={"self": lambda grad, form: _mean_back(grad, form, None, False)},
)
def _mean_all(self: T) -> Any:
    return _mean(self)


@composite()
def mean(
    input: Any,
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
    out: Any = None,
    axis: Any = None,
    keepdims: bool = False,
) -> Any:
    """The mean over the given dimensions (default: all)."""
    keepdim = keepdim or keepdims
    dim = axis if dim is None else dim
    if dim is None and dtype is None and not keepdim:
        result = _mean_all(input)
    else:
        result = _mean(input, _to_dims(dim), keepdim, dtype=dtype)
    return result if out is None else into(out, result)


def _check_not_empty(name: str, x: Val, dims: tuple[int, ...]) -> None:
    for d in dims:
        if x.shape[d] == 0:
            fail(
                IndexError,
                f"{name}(): Expected reduction dim {d} to have non-zero size.",
            )


def _extreme_back(grad: Any, self: Any, result: Any, form: Any, dim: Any, keepdim: bool) -> Any:
    """Equal extrema share the gradient."""
    shape = tuple(form.trace.operands[0].shape)
    dims = wrap_dims(dim, len(shape))
    if not keepdim:
        for d in dims:
            result, grad = result.unsqueeze(d), grad.unsqueeze(d)
    mask = (self == result) | ((self != self) & (result != result))
    return mask.to(grad.dtype) / mask.sum(dims, keepdim=True).to(grad.dtype) * grad


def extreme(name: str, kind: str, doc: str) -> Any:
    """Declare amax or amin."""

    def body(self: T, dim: Dims = (), keepdim: bool = False) -> Any:
        if self.ndim > 64:
            fail(RuntimeError, f"{name}: only tensors with up to 64 dims are supported; got {self.ndim}")
        dims = wrap_dims(dim, self.ndim, name)
        if numel(self.shape) == 0 and 0 in [self.shape[d] for d in dims]:
            if dim == ():
                fail(
                    RuntimeError,
                    f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim with the "
                    "'dim' argument.",
                )
            _check_not_empty(name, self, dims)
        return reduced(
            kind if self.dtype is not bool_ else {"max": "or", "min": "and"}[kind], self, dims, keepdim
        )

    body.__name__, body.__doc__ = name, doc
    return op(grad={"self": _extreme_back}, exact_out=True)(body)


amax = extreme(
    "amax",
    "max",
    "The largest element over the given dimensions (default: all); equal ones share the gradient.",
)
amin = extreme(
    "amin",
    "min",
    "The smallest element over the given dimensions (default: all); equal ones share the gradient.",
)


def _pick_back(grads: Any, indices: Any, form: Any, dim: int, keepdim: bool) -> Any:

    grad = grads[0]
    shape = tuple(form.trace.operands[0].shape)
    if not shape:
        return grad
    d = wrap_dim(dim, len(shape))
    if not keepdim:
        grad, indices = grad.unsqueeze(d), indices.unsqueeze(d)
    positions = _coordinates(shape, d)
    return _where(positions == indices, grad, 0)


@op(method=False)
def _coordinates(shape: tuple[int, ...], dim: int) -> Any:
    """The coordinate along a dimension, for each element of a shape."""
    from ..stream.graph import index_

    return index_(shape, dim)


def extreme_dim(name: str, kind: str, arg: str, result: Any) -> Any:
    """Declare max or min along one dimension, with places."""

    def body(self: T, dim: int, keepdim: bool = False) -> Any:
        if self.ndim == 0:
            wrap_dim(dim, 0, name)
            return result(map_("copy", self), const(0, int64))
        d = wrap_dim(dim, self.ndim, name)
        _check_not_empty(name, self, (d,))
        x = cast(self, uint8) if self.dtype is bool_ else self
        best = reduced(kind, x, (d,), keepdim)
        return result(cast(best, self.dtype), reduced(arg, x, (d,), keepdim))

    body.__name__, body.__doc__ = f"_{name}_dim", f"The {name} over one dimension, and where it is."
    node = f"{name.capitalize()}Backward0"
    return op(
        method=False, function=False, node=node, results=("values", "indices"), grad={"self": _pick_back}
    )(body)


_max_dim = extreme_dim("max", "max", "argmax", MaxResult)
_min_dim = extreme_dim("min", "min", "argmin", MinResult)


def _all_back(grad: Any, self: Any, result: Any) -> Any:
    mask = (self == result) | ((self != self) & (result != result))
    return mask.to(grad.dtype) * (grad / mask.sum().to(grad.dtype))


@op(method=False, function=False, node="MaxBackward1", grad={"self": _all_back})
def _max_all(self: T) -> Any:
    if numel(self.shape) == 0:
        fail(
            RuntimeError,
            "max(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim with the 'dim' argument.",
        )
    return reduce_("max" if self.dtype is not bool_ else "or", self, tuple(range(self.ndim)))


@op(method=False, function=False, node="MinBackward1", grad={"self": _all_back})
def _min_all(self: T) -> Any:
    if numel(self.shape) == 0:
        fail(
            RuntimeError,
            "min(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim with the 'dim' argument.",
        )
    return reduce_("min" if self.dtype is not bool_ else "and", self, tuple(range(self.ndim)))


def _choose(name: str, whole: Any, along: Any, input: Any, dim: Any, keepdim: bool, out: Any) -> Any:
    if dim is None:
        result = whole(input)
        return result if out is None else into(out, result)
    if not isinstance(dim, int) or isinstance(dim, bool):
        if hasattr(dim, "shape"):
            from .entry import FUNCTIONS

            result = FUNCTIONS[name + "imum"](input, dim)
            return result if out is None else into(out, result)
        fail(TypeError, f"{name}(): argument 'dim' must be int or Tensor, not {type(dim).__name__}")
    result = along(input, dim, keepdim)
    if out is not None:
        return type(result)(*[into(o, r) for o, r in zip(out, result)])
    return result


@composite()
def max(
    input: Any,
    dim: Any = None,
    keepdim: bool = False,
    *,
    out: Any = None,
    other: Any = None,
    axis: Any = None,
    keepdims: bool = False,
) -> Any:
    """The largest element; with a dim: (values, indices); with another tensor: the larger of two."""
    if dim is None:
        dim = other if other is not None else axis
    return _choose("max", _max_all, _max_dim, input, dim, keepdim or keepdims, out)


@composite()
def min(
    input: Any,
    dim: Any = None,
    keepdim: bool = False,
    *,
    out: Any = None,
    other: Any = None,
    axis: Any = None,
    keepdims: bool = False,
) -> Any:
    """The smallest element; with a dim: (values, indices); with another tensor: the smaller of two."""
    if dim is None:
        dim = other if other is not None else axis
    return _choose("min", _min_all, _min_dim, input, dim, keepdim or keepdims, out)


def arg_extreme(name: str, doc: str) -> Any:
    """Declare argmax or argmin."""

    def body(self: T, dim: int | None = None, keepdim: bool = False) -> Any:
        x = cast(self, uint8) if self.dtype is bool_ else self
        if dim is None:
            if numel(x.shape) == 0:
                fail(
                    IndexError,
                    f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim with the 'dim' argument.",
                )
            return reduced(name, x, tuple(range(x.ndim)), keepdim)
        d = wrap_dim(dim, x.ndim, name)
        if x.ndim == 0:
            return const(0, int64)
        _check_not_empty(name, x, (d,))
        return reduced(name, x, (d,), keepdim)

    body.__name__, body.__doc__ = name, doc
    return op(grad=NONE)(body)


argmax = arg_extreme("argmax", "The position of the largest element (the first of equal ones).")
argmin = arg_extreme("argmin", "The position of the smallest element (the first of equal ones).")


def test_of(name: str, kind: str, doc: str) -> Any:
    """Declare all or any."""

    def body(self: T, dim: Dims = None, keepdim: bool = False) -> Any:
        dims = wrap_dims(dim, self.ndim, name)
        out = reduced(kind, truth(self), dims, keepdim)
        return cast(out, uint8) if self.dtype is uint8 else out

    body.__name__, body.__doc__ = name, doc
    return op(grad=NONE)(body)


all = test_of("all", "and", "Whether all elements over the given dimensions are nonzero.")
any = test_of("any", "or", "Whether any element over the given dimensions is nonzero.")


def _var_back(grad: Any, self: Any, dim: Any, correction: Any, keepdim: bool, form: Any) -> Any:
    n = count(self.shape, wrap_dims(dim, self.ndim))
    scale = 2 / (n - correction) if n > correction else float("inf")
    return spread(grad, form, dim, keepdim) * scale * (self - mean(self, dim, True))


@op(method=False, function=False, node="VarBackward0", wirtinger=True, grad={"self": _var_back})
def _var(self: T, dim: Dims, correction: number, keepdim: bool) -> Any:  # type: ignore[name-defined]  # noqa: F821
    dims = wrap_dims(dim, self.ndim, "var")
    if not self.dtype.is_inexact:
        fail(RuntimeError, "std and var only support floating point and complex dtypes")
    n = count(self.shape, dims)
    d = map_("sub", self, _mean(self, dims, True))
    square = map_("mul", d, d)
    if d.dtype.is_complex:
        re, im = pairs.parts(d)
        square = map_("add", map_("mul", re, re), map_("mul", im, im))
    total = reduced("add", square, dims, keepdim)
    rest = n - correction
    return map_("div", total, const(rest if rest > 0 else 0, total.dtype))


def _std_back(grad: Any, self: Any, result: Any, dim: Any, correction: Any, keepdim: bool, form: Any) -> Any:

    none = result == 0  # its quotient would make the second derivative nan
    safe = _where(none, 0, grad) / (_where(none, 1, result) * 2)
    return _var_back(safe, self, dim, correction, keepdim, form)


@op(method=False, function=False, node="StdBackward0", wirtinger=True, grad={"self": _std_back})
def _std(self: T, dim: Dims, correction: number, keepdim: bool) -> Any:  # type: ignore[name-defined]  # noqa: F821
    return map_("sqrt", _var(self, dim, correction, keepdim))


def _moments(fn: Any, input: Any, dim: Any, unbiased: Any, keepdim: bool, correction: Any, out: Any) -> Any:
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if correction is None:
        correction = 1 if unbiased is None else int(unbiased)
    dims = wrap_dims(_to_dims(dim), input.ndim)
    result = fn(input, dims, correction, keepdim)
    return result if out is None else into(out, result)


@composite()
def var(
    input: Any,
    dim: Any = None,
    unbiased: Any = None,
    keepdim: bool = False,
    *,
    correction: Any = None,
    out: Any = None,
) -> Any:
    """The variance over the given dimensions; correction: what is subtracted from the count (default 1)."""
    return _moments(_var, input, dim, unbiased, keepdim, correction, out)


@composite()
def std(
    input: Any,
    dim: Any = None,
    unbiased: Any = None,
    keepdim: bool = False,
    *,
    correction: Any = None,
    out: Any = None,
) -> Any:
    """The standard deviation over the given dimensions; correction: what is subtracted from the count (default 1)."""
    return _moments(_std, input, dim, unbiased, keepdim, correction, out)


@op(
    node="LogsumexpBackward0",
    faces={"special": "logsumexp"},
    grad={
        "self": lambda grad, self, result, form, dim, keepdim: _lse_back(
            grad, self, result, form, dim, keepdim
        )
    },
)
def logsumexp(self: T, dim: Dims, keepdim: bool = False) -> Any:
    """log(sum(exp(x))), computed without overflow."""
    x = as_float(self)
    dims = wrap_dims(dim, x.ndim, "logsumexp")
    if x.dtype.is_complex:
        return _complex_lse(x, dims, keepdim)
    top = reduce_("max", x, dims) if numel(x.shape) else const(0, x.dtype)
    if not numel(x.shape):
        return map_("log", reduced("add", map_("exp", x), dims, keepdim))
    finite = map_("lt", map_("abs", top), const(float("inf"), x.dtype), out=bool_)
    top = map_("select", finite, top, const(0, x.dtype))
    high = kept(top, dims, tuple(x.shape))
    total = reduced("add", map_("exp", map_("sub", x, high)), dims, keepdim)
    return map_("add", map_("log", total), high if keepdim else top)


def _complex_lse(x: Any, dims: tuple[int, ...], keepdim: bool) -> Any:
    """The same of complex numbers: what is taken out is the greatest real part."""
    real = pairs.parts(x)[0]
    if not numel(x.shape):
        return map_("log", reduced("add", map_("exp", x), dims, keepdim))
    top = reduce_("max", real, dims)
    top = map_(
        "select",
        map_("lt", map_("abs", top), const(float("inf"), top.dtype), out=bool_),
        top,
        const(0, top.dtype),
    )
    high = kept(top, dims, tuple(x.shape))
    total = reduced("add", map_("exp", map_("sub", x, cast(high, x.dtype))), dims, keepdim)
    return map_("add", map_("log", total), cast(high if keepdim else top, x.dtype))


def _lse_back(grad: Any, self: Any, result: Any, form: Any, dim: Any, keepdim: bool) -> Any:
    if not keepdim:
        for d in wrap_dims(dim, self.ndim):
            grad, result = grad.unsqueeze(d), result.unsqueeze(d)
    return grad * (self - result).exp()
