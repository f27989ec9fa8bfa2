"""Reading at computed places: gather, index_select, take, embedding, masked_select, nonzero."""

from __future__ import annotations

from typing import Any

from ..dtypes import bool_, int8, int16, int32, int64, uint8
from ..errors import fail
from ..shapes import broadcast, numel, wrap_dim
from ..stream.access import pointer
from ..stream.graph import FLOAT, Val, cast, const, contiguous, empty, expand, map_, ordered, take
from ..stream.host import as_numpy, empty_of, from_bytes, from_data
from ..stream.value import LOCAL, PLAIN, Tensor
from .elementwise import channels_innermost, into
from .entry import FUNCTIONS, T, composite, op
from .places import BUILTINS, along, apart, check

INDEX = "an index"  # a label: negative values are out of range


def check_index(name: str, index: Any) -> None:
    """RuntimeError unless the index is int32 or int64."""
    if index.dtype is not int64 and index.dtype is not int32:
        fail(RuntimeError, f"{name}(): Expected dtype int32/int64 for index; got {index.dtype.name}")


def zeros(shape: tuple[int, ...], like: Any) -> Any:
    """Zeros of a shape in the dtype of another tensor."""
    return FUNCTIONS["full"](tuple(shape), 0, dtype=like.dtype)


def base_shape(form: Any) -> tuple[int, ...]:
    """The shape of a form's first operand."""
    return tuple(form.trace.operands[0].shape)


@op(
    name="gather",
    raises=RuntimeError,
    exact_out=True,
    check=along("gather", RuntimeError),
    grad={
        "self": lambda grad, dim, index, form: FUNCTIONS["scatter_add"](
            zeros(base_shape(form), grad), dim, index, grad
        )
    },
)
def gather(self: T, dim: int, index: T, *, sparse_grad: bool = False) -> Any:
    """result[i][j] = self[index[i][j]][j] (for dim 0): along dim at given places."""
    if numel(index.shape):
        check_index("gather", index)
    d = wrap_dim(dim, self.ndim, "gather")
    if self.ndim == 0 and index.ndim == 0:
        self, index = self.view_as((1,), (1,), self.off), index.view_as((1,), (1,), index.off)
        return gather(self, 0, index).view_as((), (), 0)
    if not numel(index.shape):
        return empty(tuple(index.shape), self.dtype)
    if max(index.ndim, 1) != max(self.ndim, 1):
        fail(
            RuntimeError,
            f"gather: Index tensor must have the same number of dimensions as input tensor; got index={tuple(index.shape)}, input={tuple(self.shape)}",
        )
    if self.ndim == 0:
        self = self.view_as((1,), (1,), self.off)
    if index.ndim == 0:
        return gather(self, d, index.view_as((1,), (1,), index.off)).view_as((), (), 0)
    for e in range(self.ndim):
        if e != d and index.shape[e] > self.shape[e]:
            fail(
                RuntimeError,
                f"gather: Size does not match at dimension {e} expected index {list(index.shape)} to be no larger than self "
                f"{list(self.shape)} apart from dimension {d}",
            )
    shape = tuple(index.shape)
    return take(self, {d: index}, shape, [None if e == d else e for e in range(self.ndim)], INDEX)


def _select_back(grad: Any, dim: int, index: Any, form: Any) -> Any:
    shape = base_shape(form)
    if not shape:
        return grad.reshape(-1).sum()
    return FUNCTIONS["index_add"](zeros(shape, grad), dim, index, grad)


@op(
    raises=RuntimeError,
    exact_out=True,
    check=along("index_select", RuntimeError),
    grad={"self": _select_back},
)
def index_select(self: T, dim: int, index: T) -> Any:
    """The slices along dim at the places that a vector names."""
    d = wrap_dim(dim, self.ndim, "index_select")
    if index.ndim > 1:
        fail(IndexError, f"index_select(): Index is supposed to be a vector; got {tuple(index.shape)}")
    if index.dtype not in (int32, int64):
        fail(RuntimeError, f"index_select(): Expected dtype int32 or int64 for index; got {index.dtype.name}")
    if index.ndim == 0:
        index = index.view_as((1,), (0,), index.off)
    if self.ndim == 0:
        return take(self.view_as((1,), (0,), self.off), {0: index}, (index.shape[0],), [None], INDEX).view_as(
            (), (), 0
        )
    shape = (*self.shape[:d], index.shape[0], *self.shape[d + 1 :])
    if not numel(shape):
        return empty(shape, self.dtype)
    along = index.view_as(
        (1,) * d + (index.shape[0],) + (1,) * (self.ndim - d - 1),
        (0,) * d + index.strides + (0,) * (self.ndim - d - 1),
        index.off,
    )
    return take(self, {d: along}, shape, [None if e == d else e for e in range(self.ndim)], INDEX)


@op(
    name="_mixed",
    method=False,
    grad={
        "self": lambda grad, dim, index, weight, back, weight_back, form: FUNCTIONS["_mixed"](
            grad, back, weight_back, index, weight, dim
        )
    },
)
def _mixed(self: T, index: T, weight: T, back: T, weight_back: T, dim: int) -> Any:
    """result[i] = sum over k of weight[k, i] self[index[k, i]] along dim; NaN: no such term. back: the transpose. Of whole
    numbers the sums are float32."""
    shape = (*self.shape[:dim], index.shape[1], *self.shape[dim + 1 :])
    wide = FLOAT if self.dtype.itemsize < 4 else self.dtype
    made = FLOAT if self.dtype in (uint8, int8, int16) else self.dtype
    ones, flat = (1,) * self.ndim, (0,) * self.ndim
    if not numel(shape):
        return empty(shape, made)
    last = channels_innermost(self)
    if not last and self.strides[-1] > 1 and 0 not in self.strides:
        self = contiguous(self)  # turned once, not looked up element by element for each term
    total = const(0, wide)
    for k in range(index.shape[0]):

        def row(v: Val, k: int = k) -> Val:
            strides = (*flat[:dim], v.strides[1], *flat[dim + 1 :])
            return v.view_as((*ones[:dim], v.shape[1], *ones[dim + 1 :]), strides, v.off + k * v.strides[0])

        x = take(self, {dim: row(index)}, shape, [None if e == dim else e for e in range(self.ndim)], INDEX)
        w = expand(cast(row(weight), wide), shape)
        term = map_("mul", cast(x, wide), w)
        term = map_("select", map_("eq", w, w, out=bool_), term, const(0, wide))
        total = map_("add", total, term) if k else term
    return ordered(cast(total, made), last)


@op(
    name="take",
    exact_out=True,
    check=lambda self, index: check("take: out of range", index, self.numel(), 0, IndexError, True),
    grad={
        "self": lambda grad, index, form: FUNCTIONS["put"](zeros(base_shape(form), grad), index, grad, True)
    },
)
def take_(self: T, index: T) -> Any:
    """Elements of the flattened tensor."""
    if index.dtype is not int64:
        fail(RuntimeError, f"take(): Expected a long tensor for index, but got {index.dtype.name}")
    if not numel(index.shape):
        return empty(tuple(index.shape), self.dtype)
    if not numel(self.shape):
        fail(IndexError, "take(): tried to take from an empty tensor")
    flat = contiguous(self)
    flat = flat.view_as((numel(self.shape),), (1,), flat.off)
    return take(flat, {0: index}, tuple(index.shape), [None])


@composite()
def take_along_dim(input: Any, indices: Any, dim: Any = None, *, out: Any = None) -> Any:
    """Elements along a dimension at given places; the other dimensions broadcast."""
    if dim is None:
        result = gather(input.reshape(-1), 0, indices.reshape(-1))
    else:
        d = wrap_dim(dim, input.ndim, "take_along_dim")
        if input.ndim != indices.ndim:
            fail(
                RuntimeError,
                f"torch.take_along_dim(): input and indices should have the same number of dimensions, but got {input.ndim} dimensions for input, and {indices.ndim} dimensions for indices",
            )
        shape = broadcast(
            "take_along_dim",
            [1 if e == d else n for e, n in enumerate(input.shape)],
            [1 if e == d else n for e, n in enumerate(indices.shape)],
        )
        wide = tuple(input.shape[d] if e == d else n for e, n in enumerate(shape))
        at = tuple(indices.shape[d] if e == d else n for e, n in enumerate(shape))
        indices = FUNCTIONS["_where"](indices < 0, indices + input.shape[d], indices)
        result = gather(input.expand(wide), d, indices.expand(at))
    return result if out is None else into(out, result)


# --- embedding --------------------------------------------------------------------------------------------------------


def _embedding_back(grad: Any, indices: Any, padding_idx: int, scale_grad_by_freq: bool, form: Any) -> Any:
    shape = base_shape(form)
    flat = indices.reshape(-1)
    rows = grad.reshape((numel(indices.shape), shape[1]))
    if scale_grad_by_freq:
        ones = FUNCTIONS["full"](tuple(flat.shape), 1, dtype=grad.dtype)
        counts = FUNCTIONS["index_add"](zeros((shape[0],), grad), 0, flat, ones)
        rows = rows / index_select(counts, 0, flat).unsqueeze(1)
    if padding_idx >= 0:
        rows = FUNCTIONS["_where"]((flat == padding_idx).unsqueeze(1), 0, rows)
    return FUNCTIONS["index_add"](zeros(shape, grad), 0, flat, rows)


@op(
    name="_embedding",
    check=lambda weight, indices, *rest: check("embedding", indices, weight.shape[0], 0, IndexError),
    method=False,
    node="EmbeddingBackward0",
    grad={"weight": _embedding_back},
)
def _embedding(weight: T, indices: T, padding_idx: int = -1, scale_grad_by_freq: bool = False) -> Any:
    if weight.ndim != 2:
        fail(RuntimeError, "embedding: 'weight' must be 2-D")
    if indices.dtype not in (int32, int64):
        fail(
            RuntimeError,
            "embedding: Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; but got "
            f"torch.{indices.dtype.name} instead (while checking arguments for embedding)",
        )
    shape = (*indices.shape, weight.shape[1])
    if not numel(shape):
        return empty(shape, weight.dtype)
    at = indices.view_as((*indices.shape, 1), (*indices.strides, 0), indices.off)
    return take(weight, {0: at}, shape, [None, indices.ndim], INDEX)


def embedding(
    input: Any,
    weight: Any,
    padding_idx: Any = None,
    max_norm: Any = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Any:
    """Rows of a table: weight[input]. The row padding_idx gets no gradient; sparse: it is a sparse tensor of rows."""
    if padding_idx is not None:
        n = weight.shape[0]
        if not -n <= padding_idx < n:
            fail(AssertionError, "Padding_idx must be within num_embeddings")
        padding_idx = padding_idx % n
    if max_norm is not None:
        FUNCTIONS["_embedding_renorm"](weight, input, max_norm, norm_type)
    look = FUNCTIONS["_embedding_of_rows"] if sparse else _embedding
    return look(weight, input, -1 if padding_idx is None else padding_idx, scale_grad_by_freq)


composite(method=False, function=False, nn=True)(embedding)


@composite(method=False)
def _embedding_renorm(weight: Any, indices: Any, max_norm: float, norm_type: float) -> None:
    """Rows that are used are scaled, in place, to a norm of at most max_norm."""
    table = weight.detach()
    rows = FUNCTIONS["unique"](indices.reshape(-1))
    used = index_select(table, 0, rows)
    norms = (used.abs() ** norm_type).sum(1, keepdim=True) ** (1.0 / norm_type)
    scale = FUNCTIONS["_where"](norms > max_norm, max_norm / (norms + 1e-7), 1.0)
    FUNCTIONS["index_copy_"](table, 0, rows, (used * scale).to(table.dtype))


# --- shapes that depend on values: these read the tensor --------------------------------------------------------------


def values(t: Any) -> Any:
    """A tensor's values as a NumPy array, to be read at once."""
    if type(t) is Val:
        raise RuntimeError("an operation whose shape depends on values cannot be part of another")
    return as_numpy(t.detach() if isinstance(t, Tensor) else t)


def from_values(array: Any, dtype: Any = None) -> Any:
    """A tensor of an array's values."""
    return from_data(array, dtype)


def places_of(array: Any) -> Any:
    """An int64 tensor of what NumPy calls intp."""
    import numpy as np

    return from_bytes(np.ascontiguousarray(array, np.int64), int64, array.shape)


def truth_of(t: Any) -> Any:
    """A mask as an array of truth values."""
    a = values(t)
    return a & 0x7FFF if t.dtype.name == "bfloat16" else a


def coordinates(a: Any) -> list[Any]:
    """Where an array is not zero, by dimension: from the flat places, which NumPy finds many times faster."""
    import numpy as np

    if a.size < 512 or a.ndim < 2:
        return list(a.nonzero())
    flat, left, found = np.flatnonzero(a), a.size, []
    count = flat.shape
    for n in reversed(a.shape):
        if n == 1 or left == 1:
            found.append(np.zeros(count, np.intp))
        elif n == left:
            found.append(flat)
            left = 1
        else:
            above = flat // n
            found.append(flat - above * n)
            flat, left = above, left // n
    return found[::-1]


def found_in(a: Any, apart: bool) -> Any:
    """The coordinates of what is not zero in an array of at least one dimension: a tensor for each, or rows of one."""
    import numpy as np

    if "places" not in BUILTINS or not a.size:
        found = coordinates(a)
        return tuple(map(places_of, found)) if apart else places_of(np.stack(found, 1))
    mask = np.ascontiguousarray(a if a.itemsize == 1 else a != 0)
    return true_places(mask.__array_interface__["data"][0], mask.shape, a.size, apart)


def true_places(address: int, shape: tuple[int, ...], size: int, apart: bool) -> Any:
    """As `found_in`, for a row-major mask of bytes at an address, by builtins."""
    count, ndim = BUILTINS["truths"](address, size), len(shape)
    made = [empty_of((count,), int64) for _ in shape] if apart else [empty_of((count, ndim), int64)]
    starts = [t._st.ptr for t in made] if apart else [made[0]._st.ptr + 8 * d for d in range(ndim)]
    if count:
        BUILTINS["places"](address, shape, count, tuple(starts), 1 if apart else ndim)
    return tuple(made) if apart else made[0]


def at_once(mask: Any) -> bool:
    """Whether builtins find the places of a mask in its memory."""
    if type(mask) not in PLAIN or "places" not in BUILTINS:
        return False
    meta = mask._meta
    return meta.dtype is bool_ and meta.contiguous and meta.ndim > 0 and meta.numel > 0


@composite()
def nonzero(input: Any, *, as_tuple: bool = False, out: Any = None) -> Any:
    """The places of the elements that are not zero: rows of coordinates, or one vector for each dimension."""
    import numpy as np

    if out is None and at_once(input):
        return true_places(pointer(input), tuple(input._meta.shape), input._meta.numel, as_tuple)
    a = truth_of(input)
    if as_tuple:
        return found_in(a if a.ndim else a.reshape(1), True)
    result = found_in(a, False) if a.ndim else places_of(np.empty((int(bool(a)), 0), np.int64))
    return result if out is None else into(out, result)


@composite()
def argwhere(input: Any) -> Any:
    """The places of the elements that are not zero, as rows of coordinates."""
    return nonzero(input)


@composite()
def nonzero_static(input: Any, *, size: int, fill_value: int = -1) -> Any:
    """The first `size` places of elements that are not zero; missing ones are fill_value."""
    import numpy as np

    found = values(nonzero(input))[:size]
    out = np.full((size, input.ndim), fill_value, np.int64)
    out[: len(found)] = found
    return from_values(out)


@composite()
def masked_select(input: Any, mask: Any, *, out: Any = None) -> Any:
    """The elements where the mask is true, in one dimension."""
    if mask.dtype is not bool_:
        fail(RuntimeError, f"masked_select: expected BoolTensor for mask; got {mask.dtype.name}")
    if out is not None:
        if out.dtype is not input.dtype:
            fail(
                RuntimeError,
                f"masked_select(): self and result must have the same scalar type; got {input.dtype.name} and {out.dtype.name}",
            )
        apart("masked_select", out, input, mask)
    shape = broadcast("masked_select", input.shape, mask.shape)
    x = input.expand(shape) if shape else input.reshape(1)
    result = picked(x, mask.expand(shape) if shape else mask.reshape(1))
    return result if out is None else into(out, result)


def picked(x: Any, mask: Any) -> Any:
    """The elements of x where a mask over its first dimensions is true. Without history, and where x is row-major, its first
    dimensions are taken as one: one place for each element instead of as many as there are dimensions."""
    n = mask.ndim
    if n > 1 and type(x) in PLAIN and x._meta.contiguous and not (x.requires_grad and LOCAL.s.grad):
        if at_once(mask):
            size = mask._meta.numel
            places = true_places(pointer(mask), (size,), size, True)
        else:
            places = found_in(truth_of(mask).reshape(-1), True)
        return FUNCTIONS["_index"](x.flatten(0, n - 1), list(places), (0,))
    return FUNCTIONS["_index"](x, list(nonzero(mask, as_tuple=True)), tuple(range(n)))
