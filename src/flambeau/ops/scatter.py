"""Writing at computed places: scatter, index_add, index_copy, index_fill, index_put, put, masked_scatter.

Elements that meet in one place are combined in the order of the index, whatever the number of threads.
"""

from __future__ import annotations

from typing import Any

from ..dtypes import int32, int64
from ..errors import fail
from ..shapes import numel, wrap_dim
from ..stream.graph import Val, cast, const, empty, expand, map_, store
from .elementwise import into
from .entry import FUNCTIONS, N, T, composite, op
from .gather import INDEX, gather, index_select, zeros
from .index import copied, scatter_into
from .places import along

MODES = {"add": "add", "sum": "add", "multiply": "mul", "prod": "mul", "amax": "max", "amin": "min"}


def both_forms(name: str, body: Any, grads: dict[str, Any], node: str = "", check: Any = None) -> None:
    """Publish `name` (on a copy) and `name_` (in place) of body(dest, ...), which writes into dest."""
    title = node or "".join(w[:1].upper() + w[1:] for w in name.split("_")) + "Backward0"
    code = body.__code__

    def fresh(*args: Any, **options: Any) -> Any:
        return body(copied(args[0]), *args[1:], **options)

    # the entry reads names and kinds off the function: give the copying form the body's
    source = f"def {name}{signature(body)}:\n    return fresh({', '.join(code.co_varnames[: code.co_argcount])}{options(body)})\n"
    scope: dict[str, Any] = {"fresh": fresh, **{f"_d{i}": d for i, d in enumerate(body.__defaults__ or ())}}
    scope |= {f"_k_{k}": v for k, v in (body.__kwdefaults__ or {}).items()}
    exec(compile(source, f"<{name}>", "exec"), scope)
    copying = scope[name]
    copying.__annotations__, copying.__doc__ = body.__annotations__, body.__doc__
    raises = RuntimeError if name.lstrip("_").startswith("scatter") else IndexError
    op(name=name, node=title, grad=grads, raises=raises, check=check)(copying)
    op(
        name=f"_{name}_direct",
        node=title,
        grad=grads,
        raises=raises,
        check=check,
        inplace=True,
        method=False,
        function=False,
    )(body)
    made: Any = FUNCTIONS[f"_{name}_direct_"]
    made.entry.wrapper_inplace = made  # what modes and classes are offered
    from .entry import publish

    publish(name + "_", made, {})


def signature(fn: Any) -> str:
    """The parameters of a function as source text."""
    code = fn.__code__
    names = list(code.co_varnames[: code.co_argcount])
    defaults = fn.__defaults__ or ()
    start = len(names) - len(defaults)
    parts = [n if i < start else f"{n}=_d{i - start}" for i, n in enumerate(names)]
    keyword = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    if keyword:
        parts += ["*", *[f"{k}=_k_{k}" for k in keyword]]
    return f"({', '.join(parts)})"


def options(fn: Any) -> str:
    """The keyword arguments of a call as source text."""
    code = fn.__code__
    keyword = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    return "".join(f", {k}={k}" for k in keyword)


# --- scatter along one dimension --------------------------------------------------------------------------------------


def _check(name: str, dest: Val, dim: int, index: Val, src: Val | None) -> int:
    d = wrap_dim(dim, dest.ndim, name)
    if not numel(index.shape):
        return d
    if index.dtype is not int64 and index.dtype is not int32:
        fail(RuntimeError, f"{name}(): Expected dtype int32/int64 for index; got {index.dtype.name}")
    if max(index.ndim, 1) != max(dest.ndim, 1):
        fail(
            RuntimeError,
            f"{name}: Index tensor must have the same number of dimensions as self tensor; got index={tuple(index.shape)}, self={tuple(dest.shape)}",
        )
    if src is not None and max(index.ndim, 1) != max(src.ndim, 1):
        fail(
            RuntimeError,
            f"{name}: Index tensor must have the same number of dimensions as src tensor; got index={tuple(index.shape)}, src={tuple(src.shape)}",
        )
    if src is not None and src.dtype is not dest.dtype:
        fail(
            RuntimeError,
            f"{name}(): Expected self.dtype to be equal to src.dtype; got self={dest.dtype.name}, src={src.dtype.name}",
        )
    for e in range(index.ndim):
        bad = dest.ndim and e != d and index.shape[e] > dest.shape[e]
        if bad or (src is not None and src.ndim and index.shape[e] > src.shape[e]):
            extra = f" and to be no larger size than src {list(src.shape)}" if src is not None else ""
            fail(
                RuntimeError,
                f"{name}: Expected index {list(index.shape)} to be no larger than self {list(dest.shape)} apart from dimension {d}{extra}",
            )
    return d


def one(v: Val) -> Val:
    """A tensor of no dimensions as one of one element."""
    return v if v.ndim else v.view_as((1,), (1,), v.off)


def scatter_dim(dest: Val, d: int, index: Val, source: Val, mode: str) -> None:
    """dest[..., index, ...] op= source over index's shape."""
    if not numel(index.shape):
        return
    dest, index = one(dest), one(index)
    if source.ndim:
        source = source.view_as(tuple(index.shape), tuple(source.strides), source.off)
    shape = tuple(index.shape)
    pairs = [(index, None) if e == d else (None, e) for e in range(dest.ndim)]
    scatter_into(dest, pairs, source, shape, (d,), mode, INDEX)


def head(src: Any, index: Any) -> Any:
    """The part of src that index covers."""
    for e, n in enumerate(index.shape):
        if src.shape[e] != n:
            src = src.narrow(e, 0, n)
    return src


def fit_source(grad: Any, form: Any, index: Any) -> Any:
    """The gradient of src from that of the part that index covers."""
    shape = tuple(form.trace.operands[2].shape)
    if tuple(grad.shape) == shape:
        return grad
    pad: list[int] = []
    for n, m in zip(reversed(shape), reversed(grad.shape)):
        pad += [0, n - m]
    return FUNCTIONS["constant_pad_nd"](grad, tuple(pad))


def _scatter(self: T, dim: int, index: T, src: T) -> Any:
    """self with src written at places along dim: self[index[i][j]][j] = src[i][j] (for dim 0)."""
    d = _check("scatter", self, dim, index, src)
    scatter_dim(self, d, index, src, "set")
    return self


def _gathered(grad: Any, dim: int, index: Any, form: Any) -> Any:
    return fit_source(gather(grad, dim, index), form, index)


both_forms(
    "_scatter_src",
    _scatter,
    {"self": lambda grad, dim, index: FUNCTIONS["_scatter_value"](grad, dim, index, 0), "src": _gathered},
    "ScatterBackward0",
    along("scatter", RuntimeError),
)


def _scatter_number(self: T, dim: int, index: T, value: N) -> Any:
    """self with a number written at places along dim."""
    d = _check("scatter", self, dim, index, None)
    number = empty((), self.dtype)  # scattering reads memory: a number that is an argument has none
    store(number, cast(value, self.dtype) if type(value) is Val else const(value, self.dtype))
    scatter_dim(self, d, index, number, "set")
    return self


both_forms(
    "_scatter_value",
    _scatter_number,
    {"self": lambda grad, dim, index: FUNCTIONS["_scatter_value"](grad, dim, index, 0)},
    "ScatterBackward1",
    along("scatter", RuntimeError, number=True),
)


def _scatter_add(self: T, dim: int, index: T, src: T) -> Any:
    """self with src added at places along dim: self[index[i][j]][j] += src[i][j] (for dim 0)."""
    d = _check("scatter_add", self, dim, index, src)
    scatter_dim(self, d, index, src, "add")
    return self


both_forms(
    "scatter_add",
    _scatter_add,
    {"self": lambda grad: grad, "src": _gathered},
    check=along("scatter_add", RuntimeError),
)


def _choose(inplace: str, self: Any, dim: int, index: Any, src: Any, value: Any, reduce: Any) -> Any:
    given = src if src is not None else value
    if reduce is not None:
        if reduce not in ("add", "multiply"):
            fail(RuntimeError, f"scatter: reduce argument must be either add or multiply; got {reduce!r}")
        if not hasattr(given, "ndim"):
            given = FUNCTIONS["full"](tuple(index.shape), given, dtype=self.dtype)
        return FUNCTIONS["_scatter_with" + inplace](self, dim, index, given, reduce)
    if hasattr(given, "ndim") and not (given.ndim == 0 and index.ndim > 0):
        return FUNCTIONS["_scatter_src" + inplace](self, dim, index, given)
    return FUNCTIONS["_scatter_value" + inplace](self, dim, index, given)


@composite()
def scatter(
    input: Any,
    dim: int,
    index: Any,
    src: Any = None,
    *,
    value: Any = None,
    reduce: Any = None,
    out: Any = None,
) -> Any:
    """A copy of input with src (a tensor or a number) written, added or multiplied at places along dim."""
    result = _choose("", input, dim, index, src, value, reduce)
    return result if out is None else into(out, result)


@composite()
def scatter_(
    input: Any, dim: int, index: Any, src: Any = None, *, value: Any = None, reduce: Any = None
) -> Any:
    """As scatter, in place."""
    return _choose("_", input, dim, index, src, value, reduce)


def _scatter_with(self: T, dim: int, index: T, src: T, reduce: str) -> Any:
    """self combined with src at places along dim, without gradient."""
    d = _check("scatter", self, dim, index, src)
    scatter_dim(self, d, index, src, MODES[reduce])
    return self


both_forms("_scatter_with", _scatter_with, None)  # type: ignore[arg-type]


# --- scatter_reduce ---------------------------------------------------------------------------------------------------


def identity(mode: str, d: Any) -> Any:
    """What changes nothing under a way of combining, in a dtype."""
    if mode in ("add", "mul"):
        return int(mode == "mul")
    if d.is_floating_point:
        return float("-inf") if mode == "max" else float("inf")
    if d.name == "bool":
        return mode == "min"
    from ..dtypes import iinfo

    return iinfo(d).min if mode == "max" else iinfo(d).max


def _combine(dest: Val, put: Any, shape: tuple[int, ...], src: Val, reduce: str, include_self: bool) -> None:
    """dest combined with src by put(dest, source, mode); the mean counts what met."""
    mode = "add" if reduce == "mean" else MODES.get(reduce)
    if mode is None:
        fail(
            RuntimeError,
            f"scatter_reduce: reduce argument must be either sum, prod, mean, amax or amin, got {reduce}",
        )
    if not include_self:
        put(dest, const(identity(mode, dest.dtype), dest.dtype), "set")
    put(dest, src, mode)
    if reduce == "mean":
        count = empty(tuple(dest.shape), dest.dtype)
        store(count, expand(const(1, dest.dtype), tuple(dest.shape)))
        if not include_self:
            put(count, const(0, dest.dtype), "set")
        put(count, const(1, dest.dtype), "add")
        one_ = const(1, dest.dtype)
        from ..dtypes import bool_

        safe = map_("select", map_("lt", count, one_, out=bool_), one_, count)
        store(dest, map_("div", dest, safe) if dest.dtype.is_floating_point else dest // safe)


def _scatter_reduce(self: T, dim: int, index: T, src: T, reduce: str, *, include_self: bool = True) -> Any:
    """self combined with src at places along dim: sum, prod, mean, amax, amin; include_self: self's own values count."""
    d = _check("scatter_reduce", self, dim, index, src)
    if numel(index.shape):
        _combine(
            self,
            lambda dest, source, mode: scatter_dim(dest, d, index, source, mode),
            tuple(index.shape),
            src,
            reduce,
            include_self,
        )
    return self


def _reduce_counts(grad: Any, add: Any, ones: Any, include_self: bool) -> Any:
    counts = add(FUNCTIONS["full"](tuple(grad.shape), 1 if include_self else 0, dtype=grad.dtype), ones)
    return FUNCTIONS["clamp"](counts, 1)


class Places:
    """How a gradient reads and writes at the places of an op: along dim, by scatter or by index."""

    def __init__(self, dim: int, index: Any, by_index: bool):
        self.dim, self.index, self.by_index = dim, index, by_index

    def read(self, x: Any) -> Any:
        """The elements at the places."""
        return index_select(x, self.dim, self.index) if self.by_index else gather(x, self.dim, self.index)

    def add(self, x: Any, source: Any) -> Any:
        """x with source added at the places."""
        return FUNCTIONS["index_add" if self.by_index else "scatter_add"](x, self.dim, self.index, source)

    def clear(self, x: Any) -> Any:
        """x with 0 at the places."""
        if self.by_index:
            return FUNCTIONS["index_fill"](x, self.dim, self.index, 0)
        return FUNCTIONS["_scatter_value"](x, self.dim, self.index, 0)


def _reduce_grads(
    grad: Any, self: Any, src: Any, result: Any, reduce: str, include_self: bool, places: Places
) -> tuple[Any, Any]:
    """The gradients of self and of (the covered part of) src."""
    if reduce == "sum":
        mine, theirs = grad, places.read(grad)
    elif reduce == "mean":
        ones = FUNCTIONS["ones_like"](src)
        share = grad / _reduce_counts(grad, places.add, ones, include_self)
        mine, theirs = share, places.read(share)
    elif reduce == "prod":
        mine, theirs = _prod_grads(grad, self, src, places, include_self)
    else:
        hit = (self == result).to(grad.dtype)
        met = (src == places.read(result)).to(grad.dtype)
        share = grad / FUNCTIONS["clamp"](places.add(hit, met), 1)
        mine, theirs = share * hit, met * places.read(share)
    return (mine if include_self else places.clear(mine)), theirs


def _prod_grads(grad: Any, self: Any, src: Any, places: Places, include_self: bool) -> tuple[Any, Any]:
    """Products without one factor: of the factors that are not zero, and how many zeros there are."""
    where = FUNCTIONS["_where"]
    zero = (src == 0).to(grad.dtype)
    start = FUNCTIONS["ones_like"](self)
    safe_src = where(src == 0, 1, src)
    logs = FUNCTIONS["_scatter_prod" if not places.by_index else "_index_prod"](
        start, places.dim, places.index, safe_src
    )
    zeros_in = places.add(zeros(tuple(self.shape), grad), zero)
    alone = where(zeros_in == 0, logs, 0)  # the product of src's factors
    mine = grad * alone if include_self else grad
    base = self if include_self else start
    read = places.read
    product, count = read(logs * base), read(zeros_in)
    others = where(src == 0, where(count == 1, product, 0), where(count == 0, product / safe_src, 0))
    return mine, read(grad) * others


def _scatter_reduce_back(
    grad: Any,
    self: Any,
    dim: int,
    index: Any,
    src: Any,
    result: Any,
    reduce: str,
    include_self: bool,
    form: Any,
) -> Any:
    part = head(src, index) if index.ndim else src
    mine, theirs = _reduce_grads(grad, self, part, result, reduce, include_self, Places(dim, index, False))
    return mine, fit_source(theirs, form, index)


both_forms(
    "scatter_reduce",
    _scatter_reduce,
    {"self, src": _scatter_reduce_back},
    check=along("scatter_reduce", RuntimeError),
)


def _scatter_prod(self: T, dim: int, index: T, src: T) -> Any:
    scatter_dim(self, wrap_dim(dim, self.ndim), index, src, "mul")
    return self


both_forms("_scatter_prod", _scatter_prod, None)  # type: ignore[arg-type]
