"""Repeating, reversing, rolling and padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..dtypes import int64
from ..errors import fail
from ..shapes import dense_strides_like, image_strides, is_channels_last, numel, wrap_dim
from ..stream.graph import (
    Val,
    const,
    empty,
    expand,
    index_,
    laid_out,
    map_,
    ordered,
    reduce_,
    store,
    take,
)
from .activation import number
from .elementwise import channels_innermost, in_order, into
from .entry import FUNCTIONS, N, T, composite, op
from .gather import from_values, values
from .rules import fits
from .view import _permute, sizes, slice_, unsqueeze

FEW = 8  # places of an edge up to which each is a copy of its own


def _repeat_back(grad: Any, repeats: Any, form: Any) -> Any:
    shape = tuple(form.trace.operands[0].shape)
    lead = len(repeats) - len(shape)
    full: list[Any] = []
    dims: list[Any] = []
    for r, n in zip(repeats, (1,) * lead + shape):
        dims.append(len(full))
        full += [r, n]
    grad = (
        grad.reshape(tuple(full)).sum(tuple(dims))
        if 0 not in full
        else FUNCTIONS["full"]((1,) * lead + shape, 0, dtype=grad.dtype)
    )
    return grad.reshape(shape)


@op(name="_repeat", method=False, node="RepeatBackward0", grad={"self": _repeat_back})
def _repeat(self: T, repeats: tuple[int, ...]) -> Any:
    lead = len(repeats) - self.ndim
    shape = (1,) * lead + tuple(self.shape)
    strides = (0,) * lead + tuple(self.strides)
    out = empty(tuple(r * n for r, n in zip(repeats, shape)), self.dtype)
    if numel(out.shape):
        wide, steps, src = [], [], []
        for r, n, s, t in zip(repeats, shape, strides, out.strides):
            wide += [r, n]
            steps += [t * n, t]
            src += [0, s]
        store(out.view_as(tuple(wide), tuple(steps), 0), self.view_as(tuple(wide), tuple(src), self.off))
    return out


@composite(function=False)
def repeat(input: Any, *args: Any, repeats: Any = None) -> Any:
    """The tensor repeated along each dimension (new ones in front)."""
    times = sizes(args if repeats is None else (repeats,))
    if len(times) < input.ndim:
        fail(
            RuntimeError,
            "repeat: Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor",
        )
    if any(r < 0 for r in times):
        fail(RuntimeError, f"repeat: Trying to create tensor with negative dimension: {list(times)}")
    return _repeat(input, times)


@composite()
def tile(input: Any, *args: Any, dims: Any = None) -> Any:
    """The tensor repeated; missing leading repeats are 1."""
    times = sizes(args if dims is None else (dims,))
    return repeat(input, (1,) * (input.ndim - len(times)) + times)


@composite()
def repeat_interleave(input: Any, repeats: Any = None, dim: Any = None, *, output_size: Any = None) -> Any:
    """Each slice along a dimension repeated in place (dim None: of the flattened tensor)."""
    if repeats is None:
        return _each_repeated(_counts(input)).to(input.dtype)
    if dim is None:
        input, dim = input.reshape(-1), 0
    d = wrap_dim(dim, input.ndim, "repeat_interleave")
    if input.ndim == 0:
        input = input.reshape(1)
    n = input.shape[d]
    if not isinstance(repeats, int) and hasattr(repeats, "numel") and repeats.numel() == 1:
        repeats = int(repeats.item())
    if isinstance(repeats, int):
        if repeats < 0:
            fail(RuntimeError, "repeat_interleave: Repeats must be non-negative")
        if repeats == 1:
            return input.clone()
        shape = (*input.shape[: d + 1], repeats, *input.shape[d + 1 :])
        copied = input.unsqueeze(d + 1).expand(shape).clone(memory_format="contiguous")
        return copied.flatten(d, d + 1)
    counts = repeats if isinstance(repeats, (list, tuple)) else _counts(repeats)
    if len(counts) != n:
        fail(
            RuntimeError,
            f"repeat_interleave: repeats must have the same size as input along dim, but got repeats.size(0) = {len(counts)} and input.size({d}) = {n}",
        )
    return FUNCTIONS["index_select"](input, d, _each_repeated(counts))


def _counts(repeats: Any) -> Any:
    if repeats.dtype.name not in ("int32", "int64"):
        fail(
            NotImplementedError,
            f"repeat_interleave: repeats must be int32 or int64, but got {repeats.dtype.name}",
        )
    if repeats.ndim != 1:
        fail(
            RuntimeError,
            f"repeat_interleave: only accepts a 1-D vector as repeats, but got {repeats.ndim} dimensions",
        )
    return values(repeats)


def _each_repeated(counts: Any) -> Any:
    """The numbers 0, 1, ..., each as often as is given."""
    import numpy as np

    array = np.asarray(counts, np.int64)
    if (array < 0).any():
        fail(RuntimeError, "repeat_interleave: repeats can not be negative")
    return from_values(np.repeat(np.arange(len(array)), array))


@op(name="_flip", method=False, node="FlipBackward0", grad={"self": lambda grad, dims: _flip(grad, dims)})
def _flip(self: T, dims: tuple[int, ...]) -> Any:
    shape = tuple(self.shape)
    if not numel(shape):
        return empty(shape, self.dtype)
    chosen = {d: map_("sub", const(shape[d] - 1, int64), index_(shape, d)) for d in dims if shape[d] > 1}
    if not chosen:
        return map_("copy", self)
    turned = take(self, chosen, shape, [None if d in chosen else d for d in range(len(shape))])
    return laid_out(turned, dense_strides_like(shape, self.strides))


@composite()
def flip(input: Any, *args: Any, dims: Any = None) -> Any:
    """The order of elements reversed along dimensions."""
    wrapped = tuple(wrap_dim(d, input.ndim, "flip") for d in sizes(args if dims is None else (dims,)))
    if len(set(wrapped)) != len(wrapped):
        fail(RuntimeError, f"flip: dim {wrapped[0]} appears multiple times in the list of dims")
    return _flip(input, wrapped if input.ndim else ())


@composite()
def fliplr(input: Any) -> Any:
    """The columns in reverse order."""
    if input.ndim < 2:
        fail(RuntimeError, "fliplr: Input must be >= 2-d.")
    return _flip(input, (1,))


@composite()
def flipud(input: Any) -> Any:
    """The rows in reverse order."""
    if input.ndim < 1:
        fail(RuntimeError, "flipud: Input must be >= 1-d.")
    return _flip(input, (0,))


@op(
    name="_roll",
    method=False,
    node="RollBackward0",
    sized="steps",
    grad={"self": lambda grad, steps, dims: _roll(grad, _back(grad, steps, dims), dims)},
)
def _roll(self: T, steps: tuple[int, ...], dims: tuple[int, ...]) -> Any:
    """steps: how far elements move, less than a dimension has, and one: other numbers are other extents (see kin.py)."""
    out = self
    for s, d in zip(steps, dims):
        n, k = out.shape[d], s - 1
        if not numel(out.shape) or k == 0:
            continue
        parts = slice_(out, d, n - k, n, 1), slice_(out, d, 0, n - k, 1)
        last = all(is_channels_last(v.shape, v.strides) for v in parts)
        turned = empty(tuple(out.shape), out.dtype, image_strides(out.shape, last))
        store(slice_(turned, d, k, n, 1), parts[1])
        store(slice_(turned, d, 0, k, 1), parts[0])
        out = turned
    return out if out is not self else map_("copy", self)


@composite()
def roll(input: Any, shifts: Any, dims: Any = None) -> Any:
    """Elements moved along dimensions; those pushed out come in at the other end."""
    by = (shifts,) if isinstance(shifts, int) else tuple(int(s) for s in shifts)
    along = () if dims is None else (dims,) if isinstance(dims, int) else tuple(dims)
    if not by:
        fail(RuntimeError, "roll: `shifts` required")
    if not along:
        if len(by) != 1:
            fail(RuntimeError, f"roll: shifts and dimensions must align. shifts: {len(by)}, dims:0")
        x = input.reshape(-1)
        return _roll(x, _steps(x, by, (0,)), (0,)).reshape(tuple(input.shape))
    if len(by) != len(along):
        fail(RuntimeError, f"roll: shifts and dimensions must align. shifts: {len(by)}, dims:{len(along)}")
    along = tuple([wrap_dim(d, input.ndim, "roll") for d in along])
    return _roll(input, _steps(input, by, along), along)


def _steps(x: Any, shifts: Sequence[int], dims: tuple[int, ...]) -> tuple[int, ...]:
    shape = x.shape
    return tuple([s % shape[d] + 1 if shape[d] else 1 for s, d in zip(shifts, dims)])


def _back(x: Any, steps: tuple[int, ...], dims: tuple[int, ...]) -> tuple[int, ...]:
    """The steps that undo these."""
    return tuple([s if s == 1 else x.shape[d] + 2 - s for s, d in zip(steps, dims)])


@composite()
def rot90(input: Any, k: int = 1, dims: Any = (0, 1)) -> Any:
    """Turned by k quarter circles in the plane of two dimensions, from the first to the second."""
    if len(dims) != 2:
        fail(RuntimeError, f"rot90: expected total rotation dims == 2, but got dims = {len(dims)}")
    if input.ndim < 2:
        fail(RuntimeError, f"rot90: expected total dims >= 2, but got total dims = {input.ndim}")
    a, b = (wrap_dim(d, input.ndim, "rot90") for d in dims)
    if a == b:
        fail(
            RuntimeError,
            f"rot90: expected rotation dims to be different, but got dim0 = {dims[0]} and dim1 = {dims[1]}",
        )
    order = list(range(input.ndim))
    order[a], order[b] = order[b], order[a]
    k %= 4
    if k == 0:
        return input.clone()
    if k == 2:
        return _flip(input, (a, b))
    return (
        _permute(_flip(input, (b,)), tuple(order)) if k == 1 else _flip(_permute(input, tuple(order)), (b,))
    )


# --- padding ----------------------------------------------------------------------------------------------------------


def _crop(x: Any, pad: tuple[int, ...], shape: tuple[int, ...]) -> Any:
    """Negative padding: less of x."""
    for k in range(len(pad) // 2):
        d = x.ndim - 1 - k
        lo, hi = max(-pad[2 * k], 0), max(-pad[2 * k + 1], 0)
        if lo or hi:
            x = slice_(x, d, lo, x.shape[d] - hi, 1)
    return x


@op(
    method=False,
    function=False,
    node="ConstantPadNdBackward0",
    sized="room",
    check=fits,
    grad={"self": lambda grad, room: constant_pad_nd(grad, tuple([1 - r for r in room]), 0)},
)
def _padded_with(self: T, room: tuple[int, ...], value: N = 0) -> Any:
    """room: how many elements come before and after, and one: other numbers are other extents (see kin.py)."""
    return _around(self, tuple([r - 1 for r in room]), value)


@op(
    method=False,
    function=False,
    node="ConstantPadNdBackward0",
    check=fits,
    grad={"self": lambda grad, pad: constant_pad_nd(grad, tuple([-p for p in pad]), 0)},
)
def _cut_or_padded_with(self: T, pad: tuple[int, ...], value: N = 0) -> Any:
    return _around(self, pad, value)


@composite(method=False)
def constant_pad_nd(input: Any, pad: Any, value: Any = 0) -> Any:
    """More elements around, all equal to value; pad counts them from the last dimension on, before and after."""
    return _with_edges(input, tuple(pad), value)


def _with_edges(x: Any, pad: tuple[int, ...], value: Any) -> Any:
    room = tuple([p + 1 for p in pad])
    if min(room, default=0) < 1:
        return _cut_or_padded_with(x, pad, value)
    return _padded_with(x, room, value)


def _around(self: Val, pad: tuple[int, ...], value: Any) -> Val:
    if len(pad) % 2 or len(pad) > 2 * self.ndim:
        fail(
            RuntimeError,
            f"pad: Length of pad should be an even number no more than twice the number of dimensions of the input; got pad={pad} for {self.ndim} dimensions",
        )
    shape = list(self.shape)
    for k in range(len(pad) // 2):
        d = self.ndim - 1 - k
        n = shape[d] + pad[2 * k] + pad[2 * k + 1]
        if n < 0:
            fail(
                RuntimeError,
                f"pad: The input size {shape[d]}, plus negative padding {pad[2 * k]} and {pad[2 * k + 1]} resulted in a negative output "
                f"size, which is invalid. Check dimension {d} of your input.",
            )
        shape[d] = n
    inner = _crop(self, pad, tuple(shape))
    out = empty(tuple(shape), self.dtype, image_strides(shape, channels_innermost(self)))
    if not numel(shape):
        return out
    fill = number(value, self)
    where = out
    for k in range(len(pad) // 2):
        d = self.ndim - 1 - k
        lo, hi = max(pad[2 * k], 0), max(pad[2 * k + 1], 0)
        n = where.shape[d]
        for a, b in ((0, lo), (n - hi, n)):
            if b > a:
                edge = slice_(where, d, a, b, 1)
                store(edge, expand(fill, tuple(edge.shape)))
        where = slice_(where, d, lo, n - hi, 1)
    if numel(inner.shape):
        store(where, inner)
    return out


def _source(mode: str, shape: tuple[int, ...], d: int, lo: int, n: int) -> Val:
    """The coordinate that each padded coordinate is read from."""
    i = map_("sub", index_(shape, d), const(lo, int64))
    if mode == "replicate":
        return map_("min", map_("max", i, const(0, int64)), const(n - 1, int64))
    if mode == "reflect":
        i = map_("abs", i)
        return map_("sub", const(n - 1, int64), map_("abs", map_("sub", const(n - 1, int64), i)))
    return map_("irem", map_("add", i, const(n * (1 + max(lo, 0) // max(n, 1)), int64)), const(n, int64))


def _pad_back(grad: Any, pad: Any, mode: str, form: Any) -> Any:
    x = form.trace.operands[0]
    shape = tuple(x.shape)
    back = FUNCTIONS["_pad_backward" if min(pad) < 0 else "_pad_folded"](grad, shape, pad, mode)
    return in_order(back, mode != "circular" and is_channels_last(x.shape, x.strides))


@op(method=False, function=True, name="_pad_mode", node="PadBackward0", grad={"self": _pad_back})
def _pad_mode(self: T, pad: tuple[int, ...], mode: str) -> Any:
    """Padding with elements of the tensor itself."""
    rank = self.ndim
    by = [(0, 0)] * (rank - len(pad) // 2) + [(pad[k], pad[k + 1]) for k in range(len(pad) - 2, -1, -2)]
    shape = tuple([n + lo + hi for n, (lo, hi) in zip(self.shape, by)])
    if shape == tuple(self.shape) and not any(lo for lo, _ in by):
        return map_("copy", self)
    out = empty(shape, self.dtype, image_strides(shape, mode != "circular" and channels_innermost(self)))
    if not numel(shape):
        return out
    if min(min(sides) for sides in by) < 0:
        store(out, _padded(self, shape, by, mode, dict.fromkeys(range(rank), 0)))
        return out
    views = [
        out
    ]  # without the edges along the first dimensions: what is in the k-th has all of them but the first k
    for d, (lo, _) in enumerate(by):
        views.append(slice_(views[-1], d, lo, lo + self.shape[d], 1))
    store(views[-1], self)
    for d in reversed(range(rank)):
        for start, size in ((0, by[d][0]), (by[d][0] + self.shape[d], by[d][1])):
            if size:
                _edge(views[d], d, by[d][0], self.shape[d], (start, size), mode)
    return out


def _edge(x: Val, d: int, lo: int, n: int, place: tuple[int, int], mode: str) -> None:
    """An edge of x along d is filled with what lies between the edges: n elements, from lo on. Few places are copied one
    by one: as views, at no index that would be computed for each element."""
    start, size = place
    before = start < lo
    inside, edge = slice_(x, d, lo, lo + n, 1), slice_(x, d, start, start + size, 1)
    if mode == "circular":
        first = n - size if before else 0
        store(edge, slice_(inside, d, first, first + size, 1))
    elif size > FEW:
        by = [(0, 0)] * d + [(lo, size)]
        store(edge, _padded(inside, tuple(edge.shape), by, mode, {d: start}))
    else:
        for i in range(size):
            k = size - i if before else n - 2 - i
            if mode == "replicate":
                k = 0 if before else n - 1
            store(slice_(edge, d, i, i + 1, 1), slice_(inside, d, k, k + 1, 1))


def _padded(
    x: Val, shape: tuple[int, ...], by: list[tuple[int, int]], mode: str, starts: dict[int, int]
) -> Val:
    """A part of padded x: its shape, and where it starts along each dimension that is not x's own."""
    chosen = {
        d: _source(mode, shape, d, by[d][0] - start, x.shape[d]) for d, start in starts.items() if any(by[d])
    }
    return take(x, chosen, shape, [None if d in chosen else d for d in range(len(shape))])


@op(
    method=False,
    function=False,
    name="_pad_folded",
    grad={"self": lambda grad, pad, mode: FUNCTIONS["_pad_mode"](grad, pad, mode)},
)
def _pad_folded(self: T, shape: tuple[int, ...], pad: tuple[int, ...], mode: str) -> Any:
    """The gradient of padding: what lies outside is added to what it was read from."""
    rank = len(shape)
    by = {rank - 1 - k: (pad[2 * k], pad[2 * k + 1]) for k in range(len(pad) // 2)}
    return _folded(self, shape, sorted((d, *sides) for d, sides in by.items() if any(sides)), mode)


def _folded(x: Val, shape: tuple[int, ...], by: list[tuple[int, int, int]], mode: str) -> Val:
    """x without its edges along the dimensions of `by`, to which they are added; the corners go with the first one."""
    if not by:
        return ordered(x, is_channels_last(x.shape, x.strides))
    (d, lo, hi), rest = by[0], by[1:]
    n = shape[d]
    out = _folded(slice_(x, d, lo, lo + n, 1), shape, rest, mode)
    first = {"reflect": (1, n - 1 - hi), "replicate": (0, n - 1), "circular": (n - lo, 0)}[mode]
    for start, size, to in ((0, lo, first[0]), (lo + n, hi, first[1])):
        if not size or not numel(out.shape):
            continue
        edge = _folded(slice_(x, d, start, start + size, 1), shape, rest, mode)
        if mode == "replicate":
            edge, size = unsqueeze(reduce_("add", edge, (d,)), d), 1
        elif mode == "reflect" and size <= FEW:
            for k in range(size):
                where = slice_(out, d, to + size - 1 - k, to + size - k, 1)
                store(where, map_("add", where, slice_(edge, d, k, k + 1, 1)))
            continue
        elif mode == "reflect":
            at = map_("sub", const(size - 1, int64), index_(tuple(edge.shape), d))
            edge = take(edge, {d: at}, tuple(edge.shape), [None if e == d else e for e in range(len(shape))])
        where = slice_(out, d, to, to + size, 1)
        store(where, map_("add", where, edge))
    return out


@composite(method=False)
def _pad_backward(grad: Any, shape: tuple[int, ...], pad: tuple[int, ...], mode: str) -> Any:
    for k in reversed(range(len(pad) // 2)):
        d = len(shape) - 1 - k
        lo, hi = pad[2 * k], pad[2 * k + 1]
        if not lo and not hi:
            continue
        places = _padded_places(grad.shape[d], lo, shape[d], mode)
        out = tuple(shape[d] if e == d else n for e, n in enumerate(grad.shape))
        grad = FUNCTIONS["index_add"](FUNCTIONS["full"](out, 0, dtype=grad.dtype), d, places, grad)
    return grad


@op(method=False)
def _padded_places(count: int, lo: int, n: int, mode: str) -> Any:
    return _source(mode, (count,), 0, lo, n)


def pad(input: Any, pad: Any, mode: str = "constant", value: Any = None) -> Any:
    """Padding of the last dimensions: (left, right, top, bottom, ...); mode constant, reflect, replicate or circular."""
    by = tuple([int(p) for p in pad])
    if mode == "constant":
        return _with_edges(input, by, 0.0 if value is None else value)
    if value is not None and value != 0:
        fail(ValueError, f'pad: Padding mode "{mode}" doesn\'t take in value argument')
    if mode not in ("reflect", "replicate", "circular"):
        fail(NotImplementedError, f"Unrecognised padding mode {mode}")
    dims = len(by) // 2
    if len(by) % 2 or input.ndim not in (dims + 1, dims + 2):
        fail(
            NotImplementedError,
            f"pad: Only 2D, 3D, 4D, 5D padding with non-constant padding are supported for now; got a {input.ndim}D tensor and pad={by}",
        )
    for k in range(dims):
        d = input.ndim - 1 - k
        n, lo, hi = input.shape[d], by[2 * k], by[2 * k + 1]
        if mode == "reflect" and (lo >= n or hi >= n):
            fail(
                RuntimeError,
                f"pad: Padding size should be less than the corresponding input dimension, but got: padding ({lo}, {hi}) at dimension {d} of "
                f"input {list(input.shape)}",
            )
        if mode == "circular" and (lo > n or hi > n):
            fail(RuntimeError, "pad: Padding value causes wrapping around more than once.")
        if n == 0 and (lo or hi):
            fail(
                RuntimeError,
                f"pad: Expected a tensor with non-zero size in dimension {d}; got {list(input.shape)}",
            )
    if any(p < 0 for p in by) and mode != "replicate":
        at = [slice(None)] * input.ndim
        for k in range(dims):
            lo, hi = max(-by[2 * k], 0), max(-by[2 * k + 1], 0)
            at[input.ndim - 1 - k] = slice(lo, input.shape[input.ndim - 1 - k] - hi)
        input = input[tuple(at)]
    if mode != "replicate":
        by = tuple(max(p, 0) for p in by)
    return _pad_mode(input, by, mode)


composite(method=False, function=False, nn=True)(pad)


@composite()
def kron(input: Any, other: Any, *, out: Any = None) -> Any:
    """The Kronecker product."""
    rank = max(input.ndim, other.ndim)
    a = input.reshape((1,) * (rank - input.ndim) + tuple(input.shape))
    b = other.reshape((1,) * (rank - other.ndim) + tuple(other.shape))
    wide_a = tuple(v for n in a.shape for v in (n, 1))
    wide_b = tuple(v for n in b.shape for v in (1, n))
    result = (a.reshape(wide_a) * b.reshape(wide_b)).reshape(tuple(n * m for n, m in zip(a.shape, b.shape)))
    return result if out is None else into(out, result)
