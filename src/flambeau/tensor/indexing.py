"""Indexing of tensors: x[...] and x[...] = v, with numbers, slices, None, Ellipsis, masks and integer tensors.

Numbers, slices and None give a view. Masks and index tensors gather: their dimensions are replaced by the broadcast
shape of the indices, in place if they stand next to each other, else in front.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
else:
    from ..late import np

from ..dtypes import bool_, int64, uint8
from ..errors import fail
from ..ops.entry import FUNCTIONS
from ..ops.gather import picked
from ..ops.view import _select, slice_, unsqueeze
from ..ops.viewing import VIEWED
from ..shapes import wrap_dim
from ..stream.graph import Val
from ..stream.value import LOCAL, NUMBERS, PLAIN, Tensor, check_writable, intern_meta, version_of

BOUNDS = (int, type(None))  # the classes of a plain slice's numbers
FIRST = (0,)  # the dimension of a single index tensor


def install() -> None:
    """Bind indexing and assignment."""
    from . import storage

    storage.install()
    for cls in (Tensor, Val):
        cls.__getitem__ = getitem  # type: ignore[attr-defined]
    Tensor.__setitem__ = setitem  # type: ignore[attr-defined]
    Tensor.__iter__ = iterate  # type: ignore[attr-defined]
    Val.__iter__ = iterate  # type: ignore[attr-defined]


def getitem(self: Any, index: Any) -> Any:
    """The elements at an index: a view for numbers, slices, None and Ellipsis, else a gathered copy."""
    kind = type(index)
    if type(self) is Tensor and not self._rg:
        found = plain_view(self, index)
        if found is not None:
            return found
    if kind is int or kind is slice:
        return first(self, index)
    if type(self) not in (Tensor, Val) and hasattr(type(self), "__torch_function__"):
        from ..ops import modes

        handled = modes.dispatch_view(LOCAL.s, "__getitem__", getitem, self, (index,))
        if handled is not modes.NOT_HANDLED:
            return handled
    if (
        kind is Tensor
        and index._meta.dtype is int64
        and index._meta.ndim
        and type(self) in PLAIN
        and self.ndim
    ):
        return FUNCTIONS["_index"](self, (index,), FIRST)
    one = kind is Tensor and type(self) in PLAIN and index._meta.dtype is bool_
    if one and 0 < index._meta.ndim <= self._meta.ndim:
        return gather(self, [(0, index)])
    items = as_items(index)
    if type(self) is Tensor and not self._rg:
        found = plain_view(self, tuple(items))  # numbers that were in tensors
        if found is not None:
            return found
    view, picks = apply_basic(self, items)
    if picks:
        return gather(view, picks)
    return FUNCTIONS["alias"](view) if view is self and "alias" in FUNCTIONS else view


VIEWS: dict[Any, tuple[Any, int]] = {}  # what numbers, slices, None and Ellipsis give: metadata, offset


def plain_view(x: Tensor, index: Any) -> Tensor | None:
    """The view that numbers, slices, None and Ellipsis give of a tensor without history, in one step.

    None: something else is there, an error, or all of x."""
    S = LOCAL.s
    if S.depth:
        return None
    key = key_of(x._meta, index)
    if key is None:
        return None
    found = VIEWS.get(key)
    if found is None:
        found = geometry(x._meta, index if type(index) is tuple else (index,))
        if found is None or (found == (x._meta, 0) and type(index) is not slice):
            return None
        if len(VIEWS) > 8192:
            VIEWS.clear()
        VIEWS[key] = found
    return VIEWED[0](S, x, found[0], x._off + found[1], "")


def key_of(meta: Any, index: Any) -> Any:
    """What a view by numbers, slices of numbers, None and Ellipsis depends on; None: something else is there."""
    kind = type(index)
    if kind is int or index is Ellipsis or index is None:
        return meta, index
    if kind is slice:
        a, b, step = index.start, index.stop, index.step
        return (
            (meta, a, b, step) if type(a) in BOUNDS and type(b) in BOUNDS and type(step) in BOUNDS else None
        )
    if kind is not tuple:
        return None
    key = []
    for i in index:
        if type(i) is slice:
            if not (type(i.start) in BOUNDS and type(i.stop) in BOUNDS and type(i.step) in BOUNDS):
                return None
            key.append((i.start, i.stop, i.step))
        elif type(i) is int or i is None or i is Ellipsis:
            key.append(i)
        else:
            return None
    return meta, tuple(key)


def geometry(meta: Any, items: tuple[Any, ...]) -> tuple[Any, int] | None:
    """Metadata and offset of what numbers, slices, None and Ellipsis take; None for what `apply_basic` refuses."""
    shape, strides = tuple(meta.shape), meta.strides
    new = sum(i is None for i in items)
    dots = items.count(Ellipsis)
    rest = len(shape) - (len(items) - new - dots)  # dimensions that no number and no slice takes
    if rest < 0 or dots > 1:
        return None
    extents: list[int] = []
    steps: list[int] = []
    d = off = 0
    for i in items:
        if i is None:
            extents.append(1)
            steps.append(shape[d] * strides[d] if d < len(shape) else 1)
        elif i is Ellipsis:
            extents += shape[d : d + rest]
            steps += strides[d : d + rest]
            d += rest
        else:
            n, stride = shape[d], strides[d]
            if type(i) is int:
                if not -n <= i < n:
                    return None
                off += (i + n if i < 0 else i) * stride
            else:
                start, stop, step = bound(i, n)
                extents.append(-(-(stop - start) // step))
                steps.append(stride * step)
                off += start * stride
            d += 1
    return intern_meta((*extents, *shape[d:]), (*steps, *strides[d:]), meta.dtype, meta.device), off


def first(x: Any, index: Any) -> Any:
    """The view of a number or a slice along the first dimension."""
    if type(index) is int:
        return at(x, 0, index)
    if not x.ndim:
        fail(IndexError, "slice() cannot be applied to a 0-dim tensor.")
    return cut(x, 0, index, always=True)


def setitem(self: Any, index: Any, value: Any) -> None:
    """Write value (a number or a tensor that broadcasts) into the elements at an index."""
    plain = None
    if type(self) is Tensor and not self._rg:  # a slice that takes everything is no view here, but the tensor
        plain = plain_view(self, (index,) if type(index) is slice else index)
    if plain is None and type(index) is int:
        plain = at(self, 0, index)
    if plain is not None:
        put(plain, value)
        return
    items = as_items(index)
    if type(self) is Tensor and not self._rg:
        plain = plain_view(self, tuple(items))  # numbers that were in tensors
    view, picks = (plain, []) if plain is not None else apply_basic(self, items)
    if not picks:
        put(view, value)
        return
    if not isinstance(value, Tensor):
        value = plain_value(view, value)
    only = picks[0][1]
    if len(picks) == 1 and only.dtype in (bool_, uint8) and (type(value) in NUMBERS or not value.ndim):
        check_mask(view, picks[0][0], only)
        full = only.bool()
        lead, rest = picks[0][0], view.ndim - picks[0][0] - only.ndim
        full = full.reshape((*only.shape, *[1] * rest)) if rest else full
        FUNCTIONS["masked_fill_"](view, full, value) if lead >= 0 else None
        return
    dims, indices = expand_masks(view, picks)
    if type(value) in NUMBERS:
        value = FUNCTIONS["full"]((), value, dtype=view.dtype)
    if value.dtype is not view.dtype and len(picks) == 1 and only.dtype is bool_ and value.numel() == 1:
        value = value.to(view.dtype)  # by a mask one element is filled in
    FUNCTIONS["_index_put_"](view, indices, value, dims)


def plain_value(view: Any, value: Any) -> Any:
    """What is assigned, as a number or a tensor."""
    if type(value) in NUMBERS:
        return value
    if isinstance(value, (np.number, np.bool_)):
        return value.item()
    from .create import from_data

    if not isinstance(value, (list, tuple, np.ndarray, int, float, complex)):
        raise TypeError(f"can't assign a {type(value).__name__} to a torch.{view.dtype.name}Tensor")
    return from_data(value, view.dtype)


def put(view: Any, value: Any) -> None:
    """Write a value into a view."""
    if type(value) not in NUMBERS and not isinstance(value, Tensor):
        value = plain_value(view, value)
    if type(value) in NUMBERS:
        FUNCTIONS["fill_"](view, value)
        return
    if value.ndim > view.ndim:  # leading dimensions of extent 1 do not count
        extra = value.ndim - view.ndim
        if any(n != 1 for n in value.shape[:extra]):
            got, want = list(value.shape), list(view.shape)
            fail(
                RuntimeError,
                f"setitem: shape mismatch: value tensor of shape {got} cannot be broadcast to "
                f"indexing result of shape {want}",
            )
        value = value.reshape(tuple(value.shape[extra:]))
    if itself(view, value):
        check_writable(view)
        version_of(view).n += 1
        return
    FUNCTIONS["copy_"](view, value)


def itself(view: Any, value: Any) -> bool:
    """Whether a write is that of elements onto themselves, as after `x[i] += 1`, which has written them in place."""
    return (
        type(view) is type(value) is Tensor
        and view._st is value._st
        and view._off == value._off
        and view._meta is value._meta
        and not (view._rg or value._rg or LOCAL.s.depth)
    )


def iterate(self: Any) -> Any:
    """The slices along the first dimension."""
    if not self.ndim:
        raise TypeError("iteration over a 0-d tensor")
    return iter(FUNCTIONS["unbind"](self, 0))


# --- from what the user writes to items -------------------------------------------------------------------------------


def as_items(index: Any) -> list[Any]:
    """The items of an index: int, slice, None, Ellipsis, or an index tensor."""
    if not isinstance(index, tuple):
        index = (index,)
    return [item(i) for i in index]


def item(i: Any) -> Any:
    """One part of an index in its simplest form."""
    kind = type(i)
    if kind is int or kind is slice or i is None or i is Ellipsis or kind is Val:
        return i
    if kind is bool:
        return from_list(i)
    if isinstance(i, Tensor):
        meta = i._meta
        if (
            not meta.ndim
            and not meta.dtype.is_floating_point
            and meta.dtype is not bool_
            and meta.dtype is not uint8
        ):
            return i if i._st.pend is not None and meta.numel else int(i.item())  # type: ignore[attr-defined]
        return i
    if isinstance(i, np.ndarray) and i.ndim:
        return from_list(i)
    if isinstance(i, (list, tuple, range)):
        return from_list(list(i))
    if hasattr(i, "__index__"):
        return int(i)
    if isinstance(i, np.bool_):
        return from_list(bool(i))
    if kind is str:
        raise TypeError(
            "index: new(): invalid data type 'str'; got 'str' as an index; use numbers, slices, tensors"
        )
    raise IndexError(
        "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices (got "
        f"{kind.__name__})"
    )


def from_list(data: Any) -> Any:
    """A list of an index as a tensor."""
    from .create import from_data

    if isinstance(data, list) and not data:
        return from_data(np.empty(0, np.int64))
    if isinstance(data, list) and any(isinstance(x, (slice, type(None), type(Ellipsis))) for x in data):
        raise IndexError(
            "indices must be integers, slices, None, Ellipsis, masks or integer tensors; a list of "
            "slices is none of them"
        )
    return from_data(data)


def at(x: Any, dim: int, i: int) -> Any:
    """The view at one place of a dimension. IndexError out of range."""
    if not x.shape:
        fail(
            IndexError,
            "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in "
            "C++ to convert a 0-dim tensor to a number",
        )
    return at_dim(x, dim, i)


def bound(s: slice, n: int) -> tuple[int, int, int]:
    """(start, stop, step) of a slice within n elements. ValueError for a step below 1."""
    step, start, stop = s.step, s.start, s.stop
    step = 1 if step is None else step if type(step) is int else number(step)
    if step <= 0:
        raise ValueError("step must be greater than zero")
    start = 0 if start is None else start if type(start) is int else number(start)
    stop = n if stop is None else stop if type(stop) is int else number(stop)
    start = max(start + n, 0) if start < 0 else min(start, n)
    stop = max(stop + n, 0) if stop < 0 else min(stop, n)
    return start, max(start, stop), step


def number(x: Any) -> int:
    """An index as an int. TypeError for what is none."""
    try:
        return int(x.__index__())
    except (AttributeError, TypeError):
        raise TypeError("slice indices must be integers or None or have an __index__ method") from None


def cut(x: Any, dim: int, s: slice, always: bool = False) -> Any:
    """The view of a slice; always: also of one that takes everything."""
    n = x.shape[wrap_dim(dim, x.ndim, "slice")]
    start, stop, step = bound(s, n)
    if not always and start == 0 and stop == n and step == 1:
        return x
    return slice_(x, dim, start, stop, step)


def consumed(i: Any) -> int:
    """How many dimensions an item takes."""
    if i is None or i is Ellipsis or i is True or i is False:
        return 0
    if type(i) is int or type(i) is slice:
        return 1
    return i.ndim if i.dtype in (bool_, uint8) else 1


def apply_basic(x: Any, items: list[Any]) -> tuple[Any, list[tuple[int, Any]]]:
    """The view that numbers, slices and None give, and the index tensors left, with the dimensions they stand at."""
    total = sum(map(consumed, items))
    if total > x.ndim:
        if not x.ndim and len(items) == 1 and type(items[0]) is int:
            at(x, 0, 0)
        fail(IndexError, f"too many indices for tensor of dimension {x.ndim}")
    spare = x.ndim - total  # what an Ellipsis takes, and a second one again
    dim = 0
    picks: list[tuple[int, Any]] = []
    for i in items:
        if type(i) is int:
            x = at_dim(x, dim, i)
        elif type(i) is slice:
            x = cut(x, dim, i)
            dim += 1
        elif i is None:
            x = unsqueeze(x, dim)
            dim += 1
        elif i is Ellipsis:
            dim += spare
        elif not i.ndim and i.dtype in (bool_, uint8):
            x = unsqueeze(x, dim)
            picks.append((dim, i.reshape((1,))))
            dim += 1
        else:
            picks.append((dim, i))
            dim += consumed(i)
    return x, picks


def at_dim(x: Any, dim: int, i: int) -> Any:
    """The view at one place, counted from the end if negative. IndexError out of range."""
    n = x.shape[dim] if dim < x.ndim else 0
    if not -n <= i < n:
        fail(IndexError, f"index {i} is out of bounds for dimension {dim} with size {n}")
    return _select(x, dim, i + n if i < 0 else i)


# --- masks and index tensors
# -------------------------------------------------------------------------------------------


def check_mask(x: Any, dim: int, mask: Any) -> None:
    """IndexError unless a mask's extents are those of the dimensions it indexes."""
    for d, n in enumerate(mask.shape):
        if x.shape[dim + d] != n:
            fail(
                IndexError,
                f"The shape of the mask {list(mask.shape)} at index {d} does not match the shape of the indexed tensor "
                f"{list(x.shape)} at index {dim + d}",
            )


def expand_masks(x: Any, picks: list[tuple[int, Any]]) -> tuple[tuple[int, ...], list[Any]]:
    """Dimensions and int64 indices: a mask becomes one index for each of its dimensions."""
    dims: list[int] = []
    indices: list[Any] = []
    for dim, i in picks:
        if i.dtype in (bool_, uint8):
            check_mask(x, dim, i)
            for d, found in enumerate(FUNCTIONS["nonzero"](i, as_tuple=True)):
                dims.append(dim + d)
                indices.append(found)
            continue
        if i.dtype.is_floating_point:
            raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
        dims.append(dim)
        indices.append(i if i.dtype is int64 else i.long())
    return tuple(dims), indices


def gather(x: Any, picks: list[tuple[int, Any]]) -> Any:
    """The elements that tensors of an index pick."""
    if len(picks) == 1 and picks[0][0] == 0 and (mask := picks[0][1]).dtype is bool_ and mask.ndim:
        check_mask(x, 0, mask)
        return picked(x, mask)
    dims, indices = expand_masks(x, picks)
    return FUNCTIONS["_index"](x, indices, dims)
