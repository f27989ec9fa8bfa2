"""Elementwise arithmetic of two operands, casts, copies and fills."""

from __future__ import annotations

from typing import Any

from ..dtypes import bool_, default_dtype, dtype, number_dtype
from ..errors import fail
from ..shapes import (
    channels_last_strides,
    contiguous_strides,
    dense_strides_like,
    expandable,
    image_strides,
    is_channels_last,
    same_order,
)
from ..stream.graph import GNode, Val, cast, const, empty, expand, map_, promote, store
from ..stream.graph import reduce_ as _reduce
from ..stream.pairs import parts
from ..stream.value import NUMBERS
from ..symbols import Whole
from .entry import NONE, TN, N, T, composite, op
from .rules import check_fits, divisible, fits, total_dtype
from .widening import rounded


def both(a: Any, b: Any) -> tuple[Any, Any]:
    """Two operands in their common dtype; a number is rounded to it."""
    d = promote(a, b)
    return rounded(a, d), rounded(b, d)


def element(value: Val, d: dtype) -> Val:
    """What an element is set to: a number that `fits` has seen, or a tensor of no dimensions."""
    number = value.level == 0 and value.dtype.is_complex and not (d.is_complex or d is bool_)
    return cast(parts(value)[0] if number else value, d)


def floats(*vals: Any) -> list[Any]:
    """Operands in their common floating-point dtype: integers become the default one."""
    d = promote(*vals)
    if not d.is_inexact:
        d = default_dtype()
    return [cast(v, d) for v in vals]


def scaled(x: Any, alpha: Any) -> Any:
    """alpha * x in x's dtype; nothing if alpha is the constant 1."""
    if type(alpha) is not Val:
        return x if alpha == 1 else map_("mul", x, const(alpha, x.dtype))
    if alpha.dtype is bool_ and x.dtype is not bool_:
        fail(RuntimeError, "Boolean alpha only supported for Boolean results.")
    if alpha.dtype.is_floating_point and not x.dtype.is_inexact:
        fail(RuntimeError, "For integral input tensors, argument alpha must not be a floating point number.")
    node = alpha.buf.src
    if type(node) is GNode and node.kind == "const" and node.attrs[0] == 1:
        return x
    if alpha.dtype.is_complex and not x.dtype.is_complex:
        fail(RuntimeError, "For non-complex input tensors, argument alpha must not be a complex number.")
    return map_("and" if x.dtype is bool_ else "mul", x, rounded(alpha, x.dtype))


def no_bool(name: str, a: Any, b: Any) -> None:
    """RuntimeError for a difference of bool tensors."""
    if a.dtype is bool_ and b.dtype is bool_:
        fail(
            RuntimeError,
            f"{name}: Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or `logical_xor()` operator "
            "instead.",
        )
    if bool_ in (a.dtype, b.dtype):
        fail(
            RuntimeError,
            f"{name}: Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a mask, use the "
            "`~` or `logical_not()` operator instead.",
        )


@op(inplace=True, grad={"self": lambda grad: grad, "other": lambda grad, alpha: grad * alpha})
def add(self: T, other: TN, *, alpha: N = 1) -> Any:
    """self + alpha * other."""
    a, b = both(self, other)
    b = scaled(b, alpha)
    return map_("or", a, b, name="add") if a.dtype is bool_ else map_("add", a, b, name="add")


@op(
    inplace=True,
    aliases=("subtract",),
    grad={"self": lambda grad: grad, "other": lambda grad, alpha: -grad * alpha},
)
def sub(self: T, other: TN, *, alpha: N = 1) -> Any:
    """self - alpha * other."""
    no_bool("sub", self, other)
    a, b = both(self, other)
    return map_("sub", a, scaled(b, alpha), name="sub")


@op(grad={"self": lambda grad, alpha: -grad * alpha, "other": lambda grad: grad})
def rsub(self: T, other: TN, *, alpha: N = 1) -> Any:
    """other - alpha * self."""
    no_bool("rsub", self, other)
    a, b = both(self, other)
    return map_("sub", b, scaled(a, alpha), name="sub")


@op(
    inplace=True,
    aliases=("multiply",),
    grad={"self": lambda grad, other: grad * other, "other": lambda grad, self: grad * self},
)
def mul(self: T, other: TN) -> Any:
    """self * other."""
    d = promote(self, other)
    a, b = rounded(self, d), cast(other, d)
    return map_("and" if a.dtype is bool_ else "mul", a, b, name="mul")


def _div_other(grad: Any, self: Any, other: Any, rounding_mode: Any) -> Any:
    return 0 if rounding_mode else -grad * ((self / other) / other)


@op(
    inplace=True,
    aliases=("true_divide", "divide"),
    grad={
        "self": lambda grad, other, rounding_mode: 0 if rounding_mode else grad / other,
        "other": _div_other,
    },
)
def div(self: T, other: TN, *, rounding_mode: str | None = None) -> Any:
    """self / other; rounding_mode "trunc" or "floor" rounds the quotient."""
    if rounding_mode is None:
        a, b = floats(self, other)
        return map_("div", a, b, name="div")
    if rounding_mode not in ("trunc", "floor"):
        fail(
            RuntimeError,
            f"div: expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'",
        )
    a, b = both(self, other)
    if rounding_mode == "floor":
        return floor_quotient(a, b)
    if a.dtype.is_floating_point:
        return map_("trunc", map_("div", a, b, name="div"))
    return map_("idiv", a, b, name="div")


def floor_quotient(a: Val, b: Val) -> Val:
    """floor(a / b): for floats by the remainder, as Python and PyTorch do."""
    if a.dtype.is_floating_point:
        m = map_("fmod", a, b)
        d = map_("div", map_("sub", a, m), b)
        zero = const(0, a.dtype)
        wrong = map_(
            "and",
            map_("ne", m, zero, out=bool_),
            map_("ne", map_("lt", m, zero, out=bool_), map_("lt", b, zero, out=bool_), out=bool_),
        )
        d = map_("select", wrong, map_("sub", d, const(1, a.dtype)), d)
        f = map_("floor", d)
        f = map_(
            "select",
            map_("gt", map_("sub", d, f), const(0.5, a.dtype), out=bool_),
            map_("add", f, const(1, a.dtype)),
            f,
        )
        signed = map_("copysign", zero_like(f), map_("div", a, b))
        f = map_("select", map_("ne", d, zero, out=bool_), f, signed)
        return map_("select", map_("eq", b, zero, out=bool_), map_("div", a, b), f)
    q = map_("idiv", a, b, name="floor_divide")
    if not a.dtype.is_signed:
        return q
    r = map_("sub", a, map_("mul", q, b))
    zero = const(0, a.dtype)
    off = map_(
        "and",
        map_("ne", r, zero, out=bool_),
        map_("ne", map_("lt", r, zero, out=bool_), map_("lt", b, zero, out=bool_), out=bool_),
    )
    return map_("sub", q, cast(off, a.dtype))


def zero_like(x: Val) -> Val:
    """Zeros of the shape of x."""
    return expand(const(0, x.dtype), tuple(x.shape))


@op(inplace=True, check=divisible, grad=NONE)
def floor_divide(self: T, other: TN) -> Any:
    """floor(self / other)."""
    a, b = both(self, other)
    return floor_quotient(a, b)


@op(method=False, function=False)
def _rfloordiv(self: T, other: TN) -> Any:
    a, b = both(self, other)
    return floor_quotient(b, a)


@composite(function=False)
def __rfloordiv__(input: Any, other: Any) -> Any:
    return _rfloordiv(input, other)


@composite(function=False)
def __rtruediv__(input: Any, other: Any) -> Any:
    return input.reciprocal() * other


def _python_mod(a: Val, b: Val) -> Val:
    zero = const(0, a.dtype)
    m = map_("fmod" if a.dtype.is_floating_point else "irem", a, b, name="remainder")
    if not a.dtype.is_signed:
        return m
    differ = map_("ne", map_("lt", m, zero, out=bool_), map_("lt", b, zero, out=bool_), out=bool_)
    off = map_("and", map_("ne", m, zero, out=bool_), differ)
    return map_("select", off, map_("add", m, b), m)


@op(
    inplace=True,
    grad={
        "self": lambda grad: grad,
        "other": lambda grad, self, other: -grad * self.div(other, rounding_mode="floor"),
    },
    check=divisible,
)
def remainder(self: T, other: TN) -> Any:
    """self - other * floor(self / other): the sign is that of other."""
    return _python_mod(*both(self, other))


@op(
    inplace=True,
    grad={
        "self": lambda grad: grad,
        "other": lambda grad, self, other: -grad * self.div(other, rounding_mode="trunc"),
    },
    check=divisible,
)
def fmod(self: T, other: TN) -> Any:
    """self - other * trunc(self / other): the sign is that of self."""
    a, b = both(self, other)
    return map_("fmod" if a.dtype.is_floating_point else "irem", a, b, name="fmod")


@composite(function=False)
def __rmod__(input: Any, other: Any) -> Any:
    return _rmod(input, other)


@op(
    method=False,
    function=False,
    node="RemainderBackward0",
    grad={"self": lambda grad, self, other: -grad * (other / self).floor(), "other": lambda grad: grad},
)
def _rmod(self: T, other: TN) -> Any:
    a, b = both(self, other)
    return _python_mod(b, a)


# --- casts, copies, fills -----------------------------------------------------------------------------------------


@op(method=False, function=False, node="ToCopyBackward0", grad={"self": lambda grad: grad})
def _to_copy(self: T, dtype: dtype) -> Any:
    """A copy in another dtype (the gradient is cast back)."""
    return cast(self, dtype) if dtype is not self.dtype else map_("copy", self)


@op(grad={"self": lambda grad: grad}, no_out=True)
def clone(self: T, *, memory_format: Any = None) -> Any:
    """A copy. The order of a dense tensor's elements in memory is kept unless memory_format says otherwise."""
    name = getattr(memory_format, "name", memory_format)
    shape = tuple(self.shape)
    if name in ("contiguous", "contiguous_format"):
        strides = contiguous_strides(shape)
    elif name in ("channels_last", "channels_last_3d"):
        strides = channels_last_strides(shape)
    elif type(name) is tuple:
        strides = name
    else:
        strides = dense_strides_like(shape, self.strides)
    out = empty(shape, self.dtype, strides)
    store(out, self)
    return out


def channels_innermost(*given: Any) -> bool:
    """Whether PyTorch's results have the channels of their images innermost in memory: one of these has."""
    metas = [x if type(x) is Val else x._meta for x in given]
    return any(is_channels_last(m.shape, m.strides) for m in metas)


def in_order(x: Any, last: bool) -> Any:
    """Images in row-major order or with the channels innermost; x itself if it is one that is."""
    strides = image_strides(tuple(x.shape), last)
    same = (x if type(x) is Val else x._meta).strides == strides
    return x if same else clone(x, memory_format=strides)


@composite(function=False)
def contiguous(input: Any, memory_format: Any = None) -> Any:
    """The tensor itself if its elements lie in row-major order, else a copy that does."""
    name = getattr(memory_format, "name", None) or "contiguous_format"
    meta = input.meta if type(input) is Val else input._meta
    if name in ("contiguous_format", "preserve_format"):
        return input if meta.contiguous else clone(input, memory_format="contiguous")
    if same_order(meta.shape, meta.strides, channels_last_strides(meta.shape)):
        return input
    return clone(input, memory_format=memory_format)


@op(
    function=False,
    method=False,
    inplace="public",
    node="CopyBackwards",
    grad={"self": lambda grad: 0, "src": lambda grad: grad},
)
def copy(self: T, src: TN, non_blocking: bool = False) -> Any:
    """src, a tensor or a number, broadcast and cast to self's shape and dtype."""
    return map_("copy", expand(cast(src, self.dtype), tuple(self.shape)))


@op(
    method=False,
    inplace="public",
    check=fits,
    node="FillBackward0",
    grad={"self": lambda grad: 0, "value": lambda grad: grad.sum()},
)
def fill(self: T, value: TN) -> Any:
    """Every element set to value."""
    if value.ndim:
        fail(
            RuntimeError,
            f"fill_ only supports 0-dimension value tensor but got tensor with {value.ndim} dimensions.",
        )
    return expand(element(value, self.dtype), tuple(self.shape))


@op(function=False, method=False, inplace="public", node="ZeroBackward0", grad={"self": lambda grad: 0})
def zero(self: T) -> Any:
    """Every element set to 0."""
    return expand(const(0, self.dtype), tuple(self.shape))


def into(out: Any, result: Any) -> Any:
    """The result in the tensor given as out=, resized if its shape differs."""
    from .entry import FUNCTIONS

    if tuple(out.shape) != tuple(result.shape):
        out.resize_(tuple(result.shape))
    return FUNCTIONS["copy_"](out, result)


@op(method=False, function=False, sized="size")
def _full(size: tuple[int, ...], value: N, dtype: dtype) -> Any:
    """A tensor filled with a number."""
    return expand(element(value, dtype), size)


@composite(method=False)
def full(
    size: Any,
    fill_value: Any,
    *,
    out: Any = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    **rest: Any,
) -> Any:
    """A tensor of the given size filled with a number."""
    if type(fill_value) not in NUMBERS and hasattr(fill_value, "item"):
        fill_value = fill_value.item()
    if type(size) is not tuple:
        size = (size,) if isinstance(size, int) else tuple(size)
    for n in size:
        if type(n) is not int:
            size = tuple([n if type(n) is Whole else int(n) for n in size])
            break
    if dtype is not None and fill_value != 0 and fill_value != 1:
        check_fits(dtype, fill_value)
    t = _full(size, fill_value, dtype or number_dtype(type(fill_value)))
    if out is not None:
        return into(out, t)
    return t.requires_grad_() if requires_grad else t


@composite(method=False)
def ones_like(input: Any, *, dtype: Any = None, requires_grad: bool = False, **rest: Any) -> Any:
    """1 in the shape of input."""
    return full(tuple(input.shape), 1, dtype=dtype or input.dtype, requires_grad=requires_grad)


@composite(method=False)
def zeros_like(input: Any, *, dtype: Any = None, requires_grad: bool = False, **rest: Any) -> Any:
    """0 in the shape of input."""
    return full(tuple(input.shape), 0, dtype=dtype or input.dtype, requires_grad=requires_grad)


def _expand_back(grad: Any, form: Any) -> Any:
    return grad.expand(tuple(form.trace.operands[0].shape))


@op(name="_sum_to", method=False, function=False, node="SumBackward1", grad={"self": _expand_back})
def _sum_to(self: T, size: tuple[int, ...]) -> Any:
    lead = self.ndim - len(size)
    dims = tuple(d for d in range(self.ndim) if d < lead or (size[d - lead] == 1 and self.shape[d] != 1))
    out = _reduce("add", cast(self, total_dtype(self.dtype)), dims)
    return out.view_as(size, contiguous_strides(size), out.off)


@composite()
def sum_to_size(input: Any, *args: Any, size: Any = None) -> Any:
    """The sum over broadcast dimensions, such that the result has the given size."""
    given = args if size is None else (size,)
    shape = tuple(given[0]) if len(given) == 1 and not isinstance(given[0], int) else tuple(given)
    if not expandable(shape, input.shape):
        fail(RuntimeError, f"sum_to_size: size {list(shape)} is not expandable to size {list(input.shape)}.")
    return input if shape and tuple(input.shape) == shape else _sum_to(input, shape)
