"""Constructors: zeros, ones, empty, arange, eye, ...; their *_like and new_* forms; the old typed classes."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
else:
    from ..late import np

from .. import dtypes
from ..errors import fail
from ..ops.elementwise import _full, into
from ..ops.entry import FUNCTIONS as OPS
from ..ops.entry import N, op
from ..ops.sizes import instruction
from ..shapes import Size, channels_last_strides, contiguous_strides, dense_strides_like
from ..stream.graph import Val, cast, const, index_, map_
from ..stream.value import LOCAL, PLAIN, Tensor, fresh_meta, fresh_tensor
from .create import empty_of, from_data, new_storage, tensor
from .factories import factory
from .sparse import refuse


def shape_of(size: tuple[Any, ...], name: str) -> tuple[int, ...]:
    """A shape given as numbers or as one sequence."""
    if len(size) == 1 and not isinstance(size[0], int) and hasattr(size[0], "__iter__"):
        size = tuple(size[0])
    for n in size:
        if type(n) is not int or n < 0:
            return unusual_shape(size, name)
    return size


def unusual_shape(size: tuple[Any, ...], name: str) -> tuple[int, ...]:
    """As `shape_of`, of numbers that are not all plain: integers of other classes, or errors."""
    for at, n in enumerate(size):
        if isinstance(n, (str, float)):
            kind = type(n).__name__
            what = f"not {kind}" if len(size) == 1 else f"but found element of type {kind} at pos {at}"
            fail(TypeError, f"{name}(): argument 'size' (position 1) must be tuple of ints, {what}")
    shape = tuple([int(n) for n in size])
    for n in shape:
        if n < 0:
            fail(RuntimeError, f"{name}: Trying to create tensor with negative dimension {n}: {list(shape)}")
    return shape


def finish(t: Tensor, requires_grad: bool) -> Tensor:
    """A new tensor, requiring a gradient if asked."""
    return t.requires_grad_() if requires_grad else t  # type: ignore[attr-defined]


def check_layout(name: str, layout: Any) -> None:
    """NotImplementedError for a layout that the constructor does not make."""
    if layout not in (None, dtypes.strided):
        fail(
            NotImplementedError,
            f"{name}: layout {layout} is not there yet",
            "use torch.sparse_coo_tensor(size)",
        )


def filler(name: str, value: int) -> Any:
    """The constructor of tensors filled with one number."""

    def make(
        *size: Any, out: Any = None, dtype: Any = None, layout: Any = None, device: Any = None, **rest: Any
    ) -> Tensor:
        shape = shape_of((rest.pop("size"),) if "size" in rest else size, name)
        if layout is not None:
            check_layout(name, layout)
        t = _full(shape, value, dtype or dtypes.default_dtype())
        if out is not None:
            return into(out, t)
        return finish(t, rest.get("requires_grad", False)) if rest else t

    make.__name__ = make.__qualname__ = name
    make.__doc__ = f"A tensor filled with {value}."
    return make


def filled(size: Any, value: int, d: Any = None) -> Any:
    """The instruction of such a constructor."""
    return instruction(_full, tuple(size), value, d or dtypes.default_dtype())


zeros, ones = filler("zeros", 0), filler("ones", 1)


def empty(
    *size: Any, out: Any = None, dtype: Any = None, device: Any = None, memory_format: Any = None, **rest: Any
) -> Tensor:
    """A tensor of uninitialised memory."""
    shape = shape_of((rest.pop("size"),) if "size" in rest else size, "empty")
    check_layout("empty", rest.get("layout"))
    if out is not None:
        return out.resize_(shape)
    if LOCAL.s.capture is not None and memory_format is not dtypes.channels_last:  # as a replay makes it anew
        return finish(_full(shape, 0, dtype or dtypes.default_dtype()), rest.get("requires_grad", False))
    strides = None
    if memory_format is dtypes.channels_last:
        from ..shapes import channels_last_strides

        strides = channels_last_strides(shape)
    return finish(empty_of(shape, dtype or dtypes.default_dtype(), strides), rest.get("requires_grad", False))


def blank(size: tuple[int, ...]) -> Any:
    """The metadata of uninitialised memory."""
    return fresh_meta(size, dtypes.default_dtype())


def uninitialised(meta: Any) -> Tensor:
    """A tensor of such memory; a captured call takes it anew in each replay."""
    if LOCAL.s.capture is not None:
        return _full(tuple(meta.shape), 0, meta.dtype)  # type: ignore[no-any-return]
    return fresh_tensor(new_storage(meta.nbytes), meta)


def empty_strided(
    size: Any, stride: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, **rest: Any
) -> Tensor:
    """Uninitialised memory with the given strides."""
    made = empty_of(tuple(size), dtype or dtypes.default_dtype(), tuple(stride))
    return finish(made, requires_grad)


def empty_permuted(
    size: Any, physical_layout: Any, *, dtype: Any = None, requires_grad: bool = False, **rest: Any
) -> Tensor:
    """Uninitialised memory whose dimensions lie in the given order, the outermost first."""
    if sorted(physical_layout) != list(range(len(size))):
        fail(
            RuntimeError,
            f"empty_permuted: the layout {tuple(physical_layout)} is no permutation of the dimensions of {tuple(size)}",
        )
    strides, step = [0] * len(size), 1
    for d in reversed(physical_layout):
        strides[d] = step
        step *= max(size[d], 1)
    return empty_strided(tuple(size), tuple(strides), dtype=dtype, requires_grad=requires_grad)


def new_empty_strided(
    self: Tensor, size: Any, stride: Any, *, dtype: Any = None, requires_grad: bool = False, **rest: Any
) -> Tensor:
    """Uninitialised memory with the given strides, in this tensor's dtype."""
    return empty_strided(
        tuple(size), tuple(stride), dtype=dtype or self._meta.dtype, requires_grad=requires_grad
    )


@op(method=False, function=False, sized="size")
def _arange(size: tuple[int, ...], start: N, step: N, dtype: dtypes.dtype) -> Any:
    i = index_(size, 0)
    if dtype.is_floating_point:
        wide = dtypes.float64 if dtype.itemsize >= 4 else dtypes.float32
        return cast(map_("add", cast(start, wide), map_("mul", cast(i, wide), cast(step, wide))), dtype)
    return cast(map_("add", cast(start, dtypes.int64), map_("mul", i, cast(step, dtypes.int64))), dtype)


def arange(
    *args: Any,
    out: Any = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    **rest: Any,
) -> Tensor:
    """start, start + step, ... below end."""
    given = [a.item() if isinstance(a, (Tensor, np.generic)) else a for a in args]
    if "end" in rest:
        given = (
            [rest.get("start", 0), rest["end"], rest.get("step", 1)]
            if not given
            else [given[0], rest["end"], rest.get("step", 1)]
        )
    elif "step" in rest:
        given = [*([0] if len(given) == 1 else []), *given, rest["step"]]
    start, end, step = (0, given[0], 1) if len(given) == 1 else (*given, 1) if len(given) == 2 else given
    if math.isinf(start) or math.isinf(end):
        fail(RuntimeError, f"arange: unsupported range: {start} -> {end}")
    if step == 0:
        fail(RuntimeError, "arange: step must be nonzero")
    if out is not None and int(step) == 0 and not out._meta.dtype.is_floating_point:
        fail(ValueError, f"arange: step must be nonzero; got {step}, which is 0 in {out._meta.dtype.name}")
    if (end - start) * step < 0:
        fail(
            RuntimeError,
            "arange: upper bound and lower bound inconsistent with step sign; "
            f"got start={start}, end={end}, step={step}",
        )
    whole = all(isinstance(v, int) for v in (start, end, step))
    d = dtype or (dtypes.int64 if whole else dtypes.default_dtype())
    if d is dtypes.int64 and not whole:  # counted in whole numbers, which only int64 is
        start, end, step, whole = int(start), int(end), int(step), True
        if step == 0:
            fail(ValueError, "arange: step must be nonzero")
    count = max(0, -((start - end) // step) if whole else math.ceil((end - start) / step))
    t = _arange((count,), start, step, d)
    return into(out, t) if out is not None else finish(t, requires_grad)


def range_(
    start: float, end: float, step: float = 1, *, out: Any = None, dtype: Any = None, **rest: Any
) -> Tensor:
    """start, start + step, ... up to end, which may be the last one; of the default dtype."""
    import warnings

    warnings.warn(
        "torch.range is deprecated and will be removed in a future release because its behavior is inconsistent with "
        "Python's range builtin. Instead, use torch.arange, which produces values in [start, end).",
        stacklevel=3,
    )
    if step == 0:
        fail(RuntimeError, "range: step must be nonzero")
    if math.isinf(start) or math.isinf(end):
        fail(RuntimeError, f"range: unsupported range: {start} -> {end}")
    if (end - start) * step < 0:
        fail(RuntimeError, "range: upper bound and lower bound inconsistent with step sign")
    d = dtype or (dtypes.default_dtype() if out is None else out._meta.dtype)
    t = _arange((int((end - start) / step) + 1,), start, step, d)
    return into(out, t) if out is not None else finish(t, rest.get("requires_grad", False))


range_.__name__ = "range"


@op(method=False, function=False, stepwise=True, sized="size")
def _linspace(start: N, end: N, size: tuple[int, ...], dtype: dtypes.dtype) -> Any:
    (steps,) = size
    d = dtype if dtype.is_floating_point else dtypes.float64
    a, b = cast(start, d), cast(end, d)
    if steps == 1:
        return cast(map_("add", map_("mul", cast(index_((1,), 0), d), const(0, d)), a), dtype)
    i = index_((steps,), 0)
    step = map_("div", map_("sub", b, a), const(steps - 1, d))
    low = map_("add", a, map_("mul", step, cast(i, d)))
    high = map_("sub", b, map_("mul", step, cast(map_("sub", const(steps - 1, dtypes.int64), i), d)))
    return cast(
        map_("select", map_("lt", i, const(steps // 2, dtypes.int64), out=dtypes.bool_), low, high), dtype
    )


def linspace(
    start: Any,
    end: Any,
    steps: int,
    *,
    out: Any = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    **rest: Any,
) -> Tensor:
    """steps numbers evenly spaced from start to end, both included."""
    if not hasattr(steps, "__index__"):
        fail(TypeError, f"linspace(): argument 'steps' (position 3) must be int, not {type(steps).__name__}")
    if steps < 0:
        fail(RuntimeError, f"linspace: number of steps must be non-negative; got {steps}")
    start, end = (v.item() if isinstance(v, Tensor) else v for v in (start, end))
    d = dtype or (dtypes.default_dtype() if out is None else out.dtype)
    if d.is_complex or complex in (type(start), type(end)):
        d = d if dtype is not None else d.to_complex()
        start, end = complex(start), complex(end)
        ends = (start.real, end.real), (start.imag, end.imag)
        t = OPS["complex"](*[_linspace(*pair, (int(steps),), d.part) for pair in ends])
    else:
        if not d.is_inexact:  # as in PyTorch: the ends are of the result's dtype
            start, end = int(start), int(end)
        t = _linspace(float(start), float(end), (int(steps),), d)
    return into(out, t) if out is not None else finish(t, requires_grad)


def logspace(
    start: Any,
    end: Any,
    steps: int,
    base: float = 10.0,
    *,
    out: Any = None,
    dtype: Any = None,
    requires_grad: bool = False,
    **rest: Any,
) -> Tensor:
    """base raised to evenly spaced exponents from start to end."""
    d = dtype or (dtypes.default_dtype() if out is None else out.dtype)
    if steps > 1 and not d.is_inexact:  # as in PyTorch: the ends are of the result's dtype
        start, end = int(start), int(end)
    t = OPS["pow"](float(base), linspace(start, end, steps, dtype=dtypes.float64)).to(d)
    return finish(t, requires_grad) if out is None else into(out, t)


@op(method=False, function=False)
def _eye(n: int, m: int, dtype: dtypes.dtype) -> Any:
    return cast(map_("eq", index_((n, m), 0), index_((n, m), 1), out=dtypes.bool_), dtype)


def eye(
    n: int,
    m: int | None = None,
    *,
    out: Any = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    **rest: Any,
) -> Tensor:
    """The identity matrix (n, m)."""
    if n < 0 or (m is not None and m < 0):
        fail(RuntimeError, f"eye: n must be greater or equal to 0, got {n if n < 0 else m}")
    t = _eye(n, n if m is None else m, dtype or dtypes.default_dtype())
    return into(out, t) if out is not None else finish(t, requires_grad)


def _strides_like(meta: Any, memory_format: Any) -> tuple[int, ...]:
    name = getattr(memory_format, "name", "preserve_format")
    if name == "preserve_format":
        return dense_strides_like(meta.shape, meta.strides)
    return (
        channels_last_strides(meta.shape) if name[:13] == "channels_last" else contiguous_strides(meta.shape)
    )


def _in_order_of(input: Any, memory_format: Any, made: Tensor) -> Tensor:
    """A new tensor of one number in the order in memory of input, or of the format; within a body as it is."""
    if type(input) is Val:
        return made
    strides = _strides_like(input._meta, memory_format)
    if strides == made._meta.strides:
        return made
    return OPS["clone"](made, memory_format=strides)  # type: ignore[no-any-return]


def like(name: str, value: int | None) -> Any:
    """The constructor of tensors in another's shape."""

    def make(
        input: Tensor,
        *,
        dtype: Any = None,
        device: Any = None,
        memory_format: Any = None,
        requires_grad: bool = False,
        **rest: Any,
    ) -> Tensor:
        if type(input) not in PLAIN and input.is_sparse:  # type: ignore[attr-defined]
            refuse(name, input)
        d = dtype or input.dtype  # type: ignore[attr-defined]
        if value is None and (LOCAL.s.capture is None or not input._meta.contiguous):
            t = empty_of(tuple(input._meta.shape), d, _strides_like(input._meta, memory_format))
        else:
            t = _in_order_of(input, memory_format, _full(tuple(input.shape), value or 0, d))  # type: ignore[attr-defined]
        return finish(t, requires_grad)

    make.__name__ = make.__qualname__ = name
    make.__doc__ = f"As {name.removesuffix('_like')}, in the shape and dtype of input."
    return make


empty_like, zeros_like, ones_like = like("empty_like", None), like("zeros_like", 0), like("ones_like", 1)


def full_like(
    input: Tensor,
    fill_value: Any,
    *,
    dtype: Any = None,
    memory_format: Any = None,
    requires_grad: bool = False,
    **rest: Any,
) -> Tensor:
    """A number in the shape, dtype and order of input."""
    t = OPS["full"](tuple(input.shape), fill_value, dtype=dtype or input.dtype)  # type: ignore[attr-defined]
    return finish(_in_order_of(input, memory_format, t), requires_grad)


def new(make: Any) -> Any:
    """The method new_* of a constructor: dtype and device of the tensor."""

    def method(
        self: Tensor, *args: Any, dtype: Any = None, requires_grad: bool = False, **rest: Any
    ) -> Tensor:
        return finish(make(*args, dtype=dtype or self._meta.dtype, **rest), requires_grad)

    method.__name__ = "new_" + make.__name__
    method.__doc__ = f"As torch.{make.__name__}, in this tensor's dtype."
    return method


def new_full(
    self: Tensor, size: Any, fill_value: Any, *, dtype: Any = None, requires_grad: bool = False, **rest: Any
) -> Tensor:
    """As torch.full, in this tensor's dtype."""
    return finish(OPS["full"](size, fill_value, dtype=dtype or self._meta.dtype), requires_grad)


def new_tensor(
    self: Tensor,
    data: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    **rest: Any,
) -> Tensor:
    """As torch.tensor, in this tensor's dtype."""
    return tensor(data, dtype=dtype or self._meta.dtype, requires_grad=requires_grad)


def scalar_tensor(s: Any, *, dtype: Any = None, device: Any = None, **rest: Any) -> Tensor:
    """A tensor without dimensions, of the default floating-point type if dtype is not given."""
    return tensor(s, dtype=dtype or dtypes.default_dtype(), **rest)


FEW = 1 << 12  # elements of a matrix whose triangles are kept


def tri_indices(name: str) -> Any:
    """The function that lists the places of a triangle."""

    def places(row: int, col: int, offset: int) -> Any:
        rows = np.arange(row)
        first = np.clip(rows + offset, 0, col) if name == "triu_indices" else np.zeros_like(rows)
        count = np.clip(rows + offset + 1, 0, col) if name == "tril_indices" else col - first
        found = np.empty((2, int(count.sum())), np.int64)
        found[0] = np.repeat(rows, count)
        found[1] = np.arange(found.shape[1]) - np.repeat(np.cumsum(count) - count - first, count)
        return found

    few = functools.lru_cache(64)(places)  # programs ask for the same small triangle again and again

    def make(row: int, col: int, offset: int = 0, *, dtype: Any = dtypes.int64, **rest: Any) -> Tensor:
        return from_data((few if row * col <= FEW else places)(row, col, offset), dtype)

    make.__name__, make.__doc__ = name, "The (row, column) positions of a triangle, as a (2, n) tensor."
    return make


class _TypedMeta(type):
    def __instancecheck__(cls, t: object) -> bool:
        return isinstance(t, Tensor) and t._meta.dtype is cls.dtype  # type: ignore[attr-defined]


def typed(name: str, d: dtypes.dtype) -> type:
    """torch.FloatTensor and its kin: constructors by size or by data."""

    def make(cls: type, *args: Any, **rest: Any) -> Tensor:
        return legacy(args, d)

    return _TypedMeta(name, (), {"__new__": make, "dtype": d, "__module__": "torch"})


def legacy(args: tuple[Any, ...], d: dtypes.dtype) -> Tensor:
    """torch.Tensor(2, 3): uninitialised memory of that size; torch.Tensor([2, 3]): the data."""
    if not args:
        return empty_of((0,), d)
    if len(args) == 1 and isinstance(args[0], Tensor):
        return args[0].to(d)  # type: ignore[attr-defined]
    if all(isinstance(a, int) for a in args):
        return empty_of(shape_of(args, "Tensor"), d)
    if len(args) == 1 and isinstance(args[0], Size):
        return empty_of(tuple(args[0]), d)
    return from_data(args[0], d)


def construct(cls: type, *args: Any, **rest: Any) -> Tensor:
    """Tensor(...): the old constructor, in the default dtype."""
    t = legacy(args, dtypes.default_dtype())
    if cls is not Tensor:
        if len(args) == 1 and isinstance(args[0], Tensor):
            t = t.detach()  # type: ignore[attr-defined]
        t.__class__ = cls
    return t


CLASSES = {
    name + "Tensor": d
    for name, d in {
        "Float": dtypes.float32,
        "Double": dtypes.float64,
        "Half": dtypes.float16,
        "BFloat16": dtypes.bfloat16,
        "Long": dtypes.int64,
        "Int": dtypes.int32,
        "Short": dtypes.int16,
        "Char": dtypes.int8,
        "Byte": dtypes.uint8,
        "Bool": dtypes.bool_,
    }.items()
}
FUNCTIONS: dict[str, Any] = {
    "zeros": factory(zeros, short=lambda size: filled(size, 0)),
    "ones": factory(ones, short=lambda size: filled(size, 1)),
    "arange": factory(
        arange, short=lambda size: instruction(_arange, size, 0, 1, dtypes.int64), numbers=True
    ),
    "range": factory(range_),
    "zeros_like": factory(zeros_like, True, lambda meta: filled(meta.shape, 0, meta.dtype)),
    "ones_like": factory(ones_like, True, lambda meta: filled(meta.shape, 1, meta.dtype)),
    "empty": factory(empty, short=blank, run=uninitialised),
    **{f.__name__: factory(f) for f in (OPS["full"], empty_strided, empty_permuted)},
    **{f.__name__: factory(f) for f in (linspace, logspace, eye, tensor, scalar_tensor)},
    **{name: factory(tri_indices(name)) for name in ("tril_indices", "triu_indices")},
    **{f.__name__: factory(f, like=True) for f in (empty_like, full_like)},
    **{name: typed(name, d) for name, d in CLASSES.items()},
}


def kind(self: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """The old name of the tensor's type ("torch.FloatTensor"), or the tensor converted to a type."""
    if dtype is None:
        return next((f"torch.{n}" for n, d in CLASSES.items() if d is self._meta.dtype), "torch.Tensor")
    if isinstance(dtype, str):
        dtype = CLASSES[dtype.rpartition(".")[2]]
    elif isinstance(dtype, type):
        dtype = dtype.dtype  # type: ignore[attr-defined]
    return self.to(dtype)  # type: ignore[attr-defined]


def begin(self: Tensor, *args: Any, **rest: Any) -> None:
    """Tensor() is an empty tensor of the default dtype."""
    if not args and not rest and not hasattr(self, "_st"):
        t = OPS["empty"]((0,))
        for name in ("_st", "_off", "_meta", "_rg", "_gf", "_nr", "_ver", "_vw", "_x"):
            setattr(self, name, getattr(t, name))


def install() -> None:
    """Bind the constructors' methods."""
    for make in (zeros, ones, empty):
        setattr(Tensor, "new_" + make.__name__, factory(new(make), like=True))
    for method in (new_full, new_tensor, new_empty_strided):
        setattr(Tensor, method.__name__, factory(method, like=True))
    Tensor.new = lambda self, *args, **rest: legacy(args, self._meta.dtype)  # type: ignore[attr-defined]
    Tensor.type = kind  # type: ignore[attr-defined]
    Tensor.__new__ = lambda cls, *args, **rest: (
        construct(cls, *args, **rest) if args or rest else object.__new__(cls)
    )  # type: ignore[method-assign,assignment]
    Tensor.__init__ = begin  # type: ignore[method-assign,assignment]
