"""Values among values: unique, counts, histograms, searches, membership, one-hot."""

from __future__ import annotations

from typing import Any

from ..dtypes import bool_, float64, int32, int64, result_type, uint64
from ..errors import fail
from ..shapes import numel, wrap_dim, wrap_dims
from ..stream.graph import Val, blank, cast, const, expand, index_, map_, take
from ..stream.value import Tensor
from .activation import number
from .elementwise import both, into
from .entry import FUNCTIONS, N, T, composite, op
from .gather import from_values, index_select, values
from .index import scatter_into
from .places import at_hand
from .rules import scalar_name, unsupported


def _numbers(t: Any) -> Any:
    """Values to compare: bfloat16 as float32."""
    return values(t.float()) if t.dtype.name == "bfloat16" else values(t)


def _chosen(result: tuple[Any, Any, Any], inverse: bool, counts: bool) -> Any:
    out, inv, cnt = result
    if not inverse and not counts:
        return out
    return (out, *([inv] if inverse else []), *([cnt] if counts else []))


def _distinct(x: Any, places: Any, shape: Any, inverse: bool, counts: bool) -> Any:
    """The distinct neighbours in a vector; places: where its elements were in a tensor of the given shape."""
    if not x.numel():
        none = FUNCTIONS["full"]((0,), 0, dtype=int64)
        return _chosen((x.clone(), none.reshape(shape), none.clone()), inverse, counts)
    runs = FUNCTIONS["_runs"](x, inverse) if places is None else FUNCTIONS["_runs_placed"](x, places)
    first, starts, number = runs[:3]
    n = int(number.item())
    out = first if n == len(first) else first[:n].clone()
    ranks = runs[3].reshape(shape) if inverse else None
    return _chosen((out, ranks, starts[1 : n + 1] - starts[:n] if counts else None), inverse, counts)


@composite()
def unique(
    input: Any,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: Any = None,
) -> Any:
    """The distinct elements (or slices along dim) in order; also where each element went, and how often it came."""
    if dim is not None:
        return _unique_slices(input, wrap_dim(dim, input.ndim, "unique"), return_inverse, return_counts)
    x, places = input.detach().reshape(-1), None
    if return_inverse:
        x, places = FUNCTIONS["_sort"](x, 0, False)
    else:
        x = FUNCTIONS["_in_order"](x)
    return _distinct(x, places, tuple(input.shape), return_inverse, return_counts)


def _unique_slices(input: Any, d: int, inverse: bool, counts: bool) -> Any:
    import numpy as np

    a = _numbers(input)
    if a.size == 0 and a.shape[d] != 0 and 0 in a.shape:
        fail(
            RuntimeError,
            "unique: There are 0 sized dimensions, and they aren't selected, so unique cannot be applied",
        )
    _, first, inv, cnt = np.unique(
        a, return_index=True, return_inverse=True, return_counts=True, axis=d, equal_nan=False
    )
    found = (index_select(input, d, from_values(first.astype(np.int64))), inv.reshape(-1), cnt)
    return _chosen((found[0], *(from_values(v.astype(np.int64)) for v in found[1:])), inverse, counts)


@composite()
def unique_consecutive(
    input: Any, return_inverse: bool = False, return_counts: bool = False, dim: Any = None
) -> Any:
    """Without the elements (or slices along dim) that equal the one before them."""
    if dim is None:
        x = input.detach().reshape(-1)
        return _distinct(x, None, tuple(input.shape), return_inverse, return_counts)
    import numpy as np

    a, d = _numbers(input), wrap_dim(dim, input.ndim, "unique_consecutive")
    flat = np.moveaxis(a, d, 0).reshape(a.shape[d], a.size // max(a.shape[d], 1))
    changed = (flat[1:] != flat[:-1]).any(1)
    n = len(flat)
    starts = np.concatenate([np.zeros(min(n, 1), np.int64), np.flatnonzero(changed) + 1]).astype(np.int64)
    inv = np.concatenate([np.zeros(min(n, 1), np.int64), np.cumsum(changed)]).astype(np.int64)
    cnt = np.diff(np.append(starts, n)).astype(np.int64)
    out = index_select(input, d, from_values(starts))
    return _chosen((out, from_values(inv), from_values(cnt)), return_inverse, return_counts)


MANY = 1 << 15  # numbers from which on they are counted by all threads

# --- counting ---------------------------------------------------------------------------------------------------------


@op(method=False)
def _count_at(input: T, weights: T, count: int) -> Any:
    """The sum of weights at each number below count."""
    out = blank((count,), weights.dtype)
    n = numel(input.shape)
    if n:
        scatter_into(out, [(cast(input, int64), None)], weights, (n,), (0,), "add", "an element")
    return out


@composite()
def bincount(input: Any, weights: Any = None, minlength: int = 0) -> Any:
    """How often each number occurs (or the sum of its weights)."""
    if input.ndim != 1 or input.dtype.is_floating_point:
        fail(RuntimeError, "bincount only supports 1-d non-negative integral inputs.")
    if minlength < 0:
        fail(RuntimeError, "bincount: minlength should be >= 0")
    if weights is not None and tuple(weights.shape) != tuple(input.shape):
        fail(RuntimeError, "bincount: weights should be 1-d and have the same length as input")
    if weights is None and input.shape[0] >= MANY and input.dtype is int64:
        least, most = (int(v) for v in FUNCTIONS["stack"](FUNCTIONS["aminmax"](input)).tolist())
        if least >= 0 and max(most + 1, minlength) * 16 <= input.shape[0]:
            return _count_at(input, FUNCTIONS["full"]((), 1, dtype=int64), max(most + 1, minlength))
    a = values(input)
    if weights is None:  # the values are here already: NumPy counts them in one pass
        import numpy as np

        try:
            counts = np.bincount(a.astype(np.int64, copy=False), minlength=minlength)
        except ValueError:
            fail(RuntimeError, "bincount only supports 1-d non-negative integral inputs.")
        return from_values(counts.astype(np.int64, copy=False))
    least, most = (int(a.min()), int(a.max())) if a.size else (0, -1)
    if least < 0:
        fail(RuntimeError, "bincount only supports 1-d non-negative integral inputs.")
    count = max(most + 1, minlength)
    if weights.dtype.name != "float32":
        weights = weights.to(float64)
    return _count_at(input, weights, count)


@op(method=False)
def _histogram(input: T, weight: T, bins: int, low: N, high: N) -> Any:
    """Sums of weights in equal bins; the last includes its end."""
    d = input.dtype
    lo, hi, n = number(low, input), number(high, input), const(bins, d)
    inside = map_("and", map_("ge", input, lo, out=bool_), map_("le", input, hi, out=bool_))
    at = (
        map_("mul", map_("div", map_("sub", input, lo), map_("sub", hi, lo)), n)
        if d.is_floating_point
        else None
    )
    if at is None:
        wide = cast(input, float64)
        at = map_(
            "div",
            map_("mul", map_("sub", wide, number(low, wide)), const(bins, float64)),
            number(high - low, wide),
        )
    place = map_("min", cast(at, int64), const(bins - 1, int64))
    place = map_("select", inside, place, const(0, int64))
    w = map_("select", inside, cast(weight, d), const(0, d))
    out = blank((bins,), d)
    if numel(input.shape):
        scatter_into(out, [(place, None)], w, (numel(input.shape),), (0,), "add", "a bin")
    return out


@composite()
def histc(input: Any, bins: int = 100, min: Any = 0, max: Any = 0, *, out: Any = None) -> Any:
    """How many elements lie in each of `bins` equal intervals from min to max (default: those of the input)."""
    if bins <= 0:
        fail(RuntimeError, "histc(): bins must be > 0")
    low, high = (v.item() if isinstance(v, Tensor) else v for v in (min, max))  # type: ignore[attr-defined]
    x = input.detach().reshape(-1)
    if low == high and x.numel():
        low, high = x.min().item(), x.max().item()
    if low == high:
        low, high = low - 1, high + 1
    import math

    if not (math.isfinite(low) and math.isfinite(high)):
        fail(RuntimeError, f"histc: range of [{low}, {high}] is not finite")
    if low > high:
        fail(RuntimeError, "histc: max must be larger than min")
    result = _histogram(x, FUNCTIONS["full"]((), 1, dtype=x.dtype), int(bins), float(low), float(high))
    return result if out is None else into(out, result)


# --- searching --------------------------------------------------------------------------------------------------------


@op(method=False)
def _search(sequence: T, input: T, right: bool) -> Any:
    """The place of each input in a sorted row: a search by halves, one element at a time."""
    a, x = both(sequence, input)
    n, d = a.shape[-1], a.ndim - 1
    shape = tuple(x.shape)
    low = expand(const(0, int64), shape)
    if not n or not numel(shape):
        return map_("copy", low)
    high = expand(const(n, int64), shape)
    for _ in range(
        next(k for k in range(64) if n < 1 << k)
    ):  # by comparisons: of a symbol they are conditions
        mid = map_("idiv", map_("add", low, high), const(2, int64))
        at = map_("min", mid, const(n - 1, int64))
        dims: list[int | None] = list(range(a.ndim)) if a.ndim > 1 else [None]
        dims[d] = None
        v = take(a, {d: at}, shape, dims, "a place")
        # beyond the place: v < x (left) or v <= x (right); not-a-number is the largest
        before = map_("le" if right else "lt", v, x, out=bool_)
        if a.dtype.is_floating_point:
            nan = map_("ne", x, x, out=bool_)
            before = map_(
                "or",
                before,
                map_("and", nan, map_("eq", v, v, out=bool_) if not right else const(True, bool_)),
            )
        go = map_("and", before, map_("lt", low, high, out=bool_))
        low, high = map_("select", go, map_("add", mid, const(1, int64)), low), map_("select", go, high, mid)
    return map_("copy", low)


@composite(method=False)
def searchsorted(
    sorted_sequence: Any,
    input: Any = None,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: Any = None,
    out: Any = None,
    sorter: Any = None,
    self: Any = None,
) -> Any:
    """Where each value would be inserted into sorted rows: before equal ones, or behind them (right)."""
    value = input if input is not None else self
    if side is not None:
        if side not in ("left", "right"):
            fail(RuntimeError, f"searchsorted(): side can only be 'left' or 'right' but got {side}")
        if right and side == "left":
            fail(
                RuntimeError,
                "searchsorted(): side and right can't be set to opposites, got side of left while right was True",
            )
        right = side == "right"
    if not isinstance(value, (Tensor, Val)):
        value = FUNCTIONS["full"](
            (), value, dtype=None if not isinstance(value, int) else sorted_sequence.dtype
        )
    a = sorted_sequence if sorter is None else sorted_sequence.gather(-1, sorter)
    if a.ndim != 1 and (value.ndim != a.ndim or tuple(value.shape[:-1]) != tuple(a.shape[:-1])):
        fail(
            RuntimeError,
            "searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions of boundaries tensor and input value tensor must "
            f"match, but we got boundaries tensor {list(a.shape)} and input value tensor {list(value.shape)}",
        )
    result = _search(a.detach(), value.detach(), bool(right))
    result = result.to(int32) if out_int32 else result
    return result if out is None else into(out, result)


@composite(method=False)
def bucketize(
    input: Any, boundaries: Any, *, out_int32: bool = False, right: bool = False, out: Any = None
) -> Any:
    """The bucket of each value: which of the sorted boundaries it lies before."""
    if boundaries.ndim != 1:
        fail(
            RuntimeError,
            f"bucketize(): boundaries tensor must be 1 dimension, but got dim({boundaries.ndim})",
        )
    return searchsorted(boundaries, input, out_int32=out_int32, right=right, out=out)


def _beside(t: Any, number: Any) -> Any:
    """The number as a tensor of the dtype in which it is compared with t."""
    made = FUNCTIONS["tensor"](number)
    return made.to(result_type([_weight(t), (made.dtype, 0)]))


def _weight(t: Any) -> tuple[Any, int]:
    return t.dtype, 2 if t.ndim else 1


@composite(method=False)
def isin(
    elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False, out: Any = None
) -> Any:
    """Whether each element is among the test elements."""
    if not isinstance(elements, (Tensor, Val)):
        elements = _beside(test_elements, elements)
    if not isinstance(test_elements, (Tensor, Val)):
        test_elements = _beside(elements, test_elements)
    for x in (elements, test_elements):
        if x.dtype is bool_ or x.dtype.is_complex:
            fail(RuntimeError, f"Unsupported input type encountered for isin(): {scalar_name(x.dtype)}")
    tests = test_elements.reshape(-1)
    if elements.dtype is not tests.dtype:
        kind = result_type([_weight(elements), _weight(tests)])
        elements, tests = elements.to(kind), tests.to(kind)
    n = tests.shape[0]
    if n == 0:
        found = FUNCTIONS["full"](tuple(elements.shape), False, dtype=bool_)
    elif n <= 16:
        found = (elements.unsqueeze(-1) == tests).any(-1)
    else:
        order = FUNCTIONS["_sort"](tests, 0, False)[0]
        at = searchsorted(order, elements).clamp(max=n - 1)
        found = order[at] == elements
    found = ~found if invert else found
    return found if out is None else into(out, found)


@op(method=False)
def _one_hot(input: T, classes: int) -> Any:
    shape = (*input.shape, classes)
    x = input.view_as((*input.shape, 1), (*input.strides, 0), input.off)
    return cast(map_("eq", cast(x, int64), index_(shape, len(shape) - 1), out=bool_), int64)


def one_hot(tensor: Any, num_classes: int = -1) -> Any:
    """1 at the place that each number names along a new last dimension, 0 elsewhere."""
    if tensor.dtype is not int64:
        fail(RuntimeError, "one_hot is only applicable to index tensor of type LongTensor.")
    a = at_hand(tensor)
    if a is None:
        a = values(tensor)
    if a.size == 0:
        if num_classes <= 0:
            fail(RuntimeError, "Can not infer total number of classes from empty tensor.")
    else:
        most = int(a.max())
        if a.min() < 0:
            fail(RuntimeError, "Class values must be non-negative.")
        if num_classes == -1:
            num_classes = most + 1
        elif num_classes < 1:
            fail(RuntimeError, "num_classes should be positive")
        elif most >= num_classes:
            fail(RuntimeError, "Class values must be smaller than num_classes.")
    return _one_hot(tensor, int(num_classes))


composite(method=False, function=False, nn=True)(one_hot)


@composite(method=False)
def unravel_index(indices: Any, shape: Any) -> Any:
    """The coordinates of flat indices in a tensor of the given shape, a tensor for each dimension."""
    if indices.dtype.is_inexact or indices.dtype is bool_:
        fail(TypeError, f"unravel_index: expected 'indices' to be integer dtype, but got {indices.dtype}")
    given = (shape,) if isinstance(shape, int) else shape
    if not isinstance(given, (list, tuple)):
        fail(
            TypeError, f"unravel_index: expected 'shape' to be int or sequence of ints, but got {type(shape)}"
        )
    if any(type(n) is not int for n in given):
        fail(TypeError, "unravel_index: expected 'shape' sequence to only contain ints")
    if any(n < 0 for n in given):
        fail(ValueError, f"unravel_index: 'shape' cannot have negative values, but got {tuple(given)}")
    places, step = [], 1
    for n in reversed(given):
        places.append((indices // step) % n)
        step *= n
    return tuple(reversed(places))


@composite()
def hash_tensor(input: Any, dim: Any = (), *, keepdim: bool = False, mode: int = 0, out: Any = None) -> Any:
    """The exclusive or of the elements' bits, as 64-bit numbers; dim: one or several, all if there is none."""
    if mode:
        fail(RuntimeError, f"Unknown hash_tensor mode: {mode}")
    if input.dtype.is_complex:
        fail(NotImplementedError, unsupported("xor_sum", input.dtype))
    if not (input.numel() or isinstance(dim, int) or dim):
        fail(RuntimeError, "hash_tensor: Expected reduction dim to be specified for input.numel() == 0.")
    dims = wrap_dims(dim, input.ndim, "hash_tensor")
    for d in dims:
        if input.shape[d] == 0:
            fail(IndexError, f"hash_tensor: Expected reduction dim {d} to have non-zero size.")
    shape = [1 if d in dims else n for d, n in enumerate(input.shape)]
    shape = shape if keepdim else [n for d, n in enumerate(input.shape) if d not in dims]
    x = input.detach().to(float64 if input.dtype.is_floating_point else int64).view(int64)
    if input.numel():
        x = x.movedim(dims, tuple(range(len(dims)))).reshape(
            (-1, *[n for d, n in enumerate(input.shape) if d not in dims])
        )
    else:
        x = FUNCTIONS["full"](shape, 0, dtype=int64)[None]
    while len(x) > 1:  # halves meet
        half = len(x) // 2
        folded = x[:half] ^ x[half : 2 * half]
        x = folded if len(x) == 2 * half else FUNCTIONS["cat"]([folded, x[2 * half :]])
    result = x.reshape(shape).view(uint64)
    return result if out is None else into(out, result)
