"""Pooling: maxima (with their positions) and averages over windows, and their adaptive forms."""

from __future__ import annotations

from typing import Any

from ..dtypes import bool_, int64
from ..errors import fail
from ..shapes import channels_last_strides, image_strides, is_channels_last, numel
from ..stream.graph import Val, const, empty, expand, index_, map_, opaque, ordered, store
from .convolution import tuple_of
from .elementwise import channels_innermost, into
from .entry import FUNCTIONS, T, composite, op
from .reduction import reduced

Sizes = tuple[int, ...]


def pooled_extent(n: int, k: int, s: int, p: int, d: int, ceil_mode: bool) -> int:
    """The number of windows along one dimension; with ceil_mode a last one may reach over the end but must begin inside."""
    span = n + 2 * p - d * (k - 1) - 1
    out = (-(-span // s) if ceil_mode else span // s) + 1
    if ceil_mode and (out - 1) * s >= n + p:
        out -= 1
    return out


def extents(
    name: str, x: Any, taps: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, ceil_mode: bool
) -> Sizes:
    """The number of windows along each dimension; RuntimeError for settings that make no sense."""
    for k, s, p, d in zip(taps, stride, padding, dilation):
        if k <= 0:
            fail(RuntimeError, f"{name}: kernel size should be greater than zero, but got {list(taps)}")
        if s <= 0:
            fail(RuntimeError, f"{name}: stride should not be zero, but got {list(stride)}")
        if d <= 0:
            fail(
                RuntimeError,
                f"{name}: dilation should be greater than zero, but got dilation={list(dilation)}",
            )
        if p < 0 or p * 2 > ((k - 1) * d + 1):
            fail(
                RuntimeError,
                f"{name}: pad should be at most half of effective kernel size, but got pad={p}, kernel_size={k} and dilation={d}",
            )
    out = tuple(
        pooled_extent(n, k, s, p, d, ceil_mode)
        for n, k, s, p, d in zip(x.shape[2:], taps, stride, padding, dilation)
    )
    if min(out) < 1:
        fail(
            RuntimeError,
            f"{name}: Given input size: {tuple(x.shape[1:])}. Calculated output size: {(x.shape[1], *out)}. Output size is too small",
        )
    return out


def windows(
    kind: str, ins: tuple[Val, ...], outs: list[Any], attrs: tuple[Any, ...], last: bool
) -> list[Val]:
    """The node of a pool; results without elements need none. last: they have the channels innermost."""
    if numel(outs[0][0]) == 0:
        return [expand(const(0, d), s) for s, d in outs]
    if not last:
        return opaque("pool", ins, outs, (kind, *attrs, False))
    made = [((s[0], numel(s[2:]), s[1]), d) for s, d in outs]
    found = opaque("pool", [innermost(v) for v in ins], made, (kind, *attrs, True))
    return [v.view_as(tuple(s), channels_last_strides(s), 0) for v, (s, _) in zip(found, outs)]


def innermost(x: Val) -> Val:
    """Images that may be read with channels side by side; gradients are dense."""
    return x if x.strides[1] == 1 and is_channels_last(x.shape, x.strides) else ordered(x, True)


def _max_back(
    grads: Any, indices: Any, taps: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, form: Any
) -> Any:
    x, out = form.trace.operands[0], tuple(form.out_vals[0].shape[2:])
    last = is_channels_last(x.shape, x.strides)
    seen = (taps, stride, padding, dilation) if last else ((1,) * len(out),) * 2
    return _max_pool_back(grads[0], indices, tuple(x.shape), out, last, *seen)


@op(
    method=False,
    function=False,
    no_out=True,
    node="MaxPool2DWithIndicesBackward0",
    results=("result", "indices"),
    grad={"self": _max_back},
    sized="out",
)
def _max_pool(self: T, out: Sizes, taps: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Any:
    shape = (*self.shape[:2], *out)
    whole = not taps or (taps == tuple(self.shape[2:]) and not any(padding) and dilation == (1,) * len(out))
    if whole and numel(out) == 1 and numel(self.shape):
        return largest_of_all(self, shape)
    plain = dilation in ((), (1,) * len(out)) and not channels_innermost(self)
    tiles = tiling(self.shape[2:], out, taps, stride, padding, "taps", WIDE_LARGEST) if plain else ()
    if tiles:
        return largest_in_tiles(self, tiles, shape)
    last = channels_innermost(self)
    y, index = windows(
        "max",
        (self,),
        [(shape, self.dtype), (shape, int64)],
        (tuple(self.shape), out, taps, stride, padding, dilation, "taps", 1),
        last,
    )
    last = last and (bool(taps) or len(out) == 2)
    return ordered(y, last), ordered(index, last)


def largest_of_all(x: Val, shape: Sizes) -> tuple[Val, Val]:
    """(the largest element of each plane, its position: of equal ones the first, of several NaN the last)."""
    last = channels_innermost(x)
    x = innermost(x) if last else ordered(x, False)
    planes = (*x.shape[:2], numel(x.shape[2:]))
    x = x.view_as(planes, (*x.strides[:2], x.strides[-1]), x.off)
    best, found = largest(x, index_(planes, 2), (2,), planes[2])
    strides = image_strides(shape, last)
    return best.view_as(shape, strides, best.off), found.view_as(shape, strides, found.off)


def largest(x: Val, at: Val, axes: Sizes, end: int) -> tuple[Val, Val]:
    """(the largest elements along axes, their places, which `at` gives, in order and below `end`), with axes of 1."""
    best = reduced("max", x, axes, True)
    hit = map_("eq", x, best, out=bool_)
    found = reduced("min", map_("select", hit, at, const(end, int64)), axes, True)
    if x.dtype.is_floating_point:
        lost = map_("ne", x, x, out=bool_)
        nan = reduced("max", map_("select", lost, at, const(-1, int64)), axes, True)
        found = map_("select", map_("lt", nan, const(0, int64), out=bool_), found, nan)
    return best, found


def largest_in_tiles(x: Val, tiles: Sizes, shape: Sizes) -> tuple[Val, Val]:
    """The same for windows that share out the planes."""
    tiled = in_tiles(x, tiles)
    at: Any = const(0, int64)
    for d, (n, k) in enumerate(zip(x.shape[2:], tiles)):
        above, inside = (index_(tiled.shape, 2 + 2 * d + e) for e in (0, 1))
        line = map_("add", map_("mul", above, const(k, int64)), inside)
        at = map_("add", map_("mul", at, const(n, int64)), line) if d else line
    axes = tuple(3 + 2 * d for d in range(len(tiles)))
    best, found = largest(tiled, at, axes, numel(x.shape[2:]))
    strides = image_strides(shape, False)
    return best.view_as(shape, strides, best.off), found.view_as(shape, strides, found.off)


@op(
    method=False,
    function=False,
    no_out=True,
    node="MaxPool2DBackwardBackward0",
    grad={
        "grad": lambda grad, indices: (
            grad.flatten(2).gather(2, indices.flatten(2)).reshape(tuple(indices.shape))
        )
    },
)
def _max_pool_back(
    grad: T,
    indices: T,
    shape: Sizes,
    out: Sizes,
    last: bool,
    taps: Sizes,
    stride: Sizes,
    padding: Sizes = (),
    dilation: Sizes = (),
) -> Any:
    """Each output's gradient goes to the position of its maximum. last: the source had its channels innermost; then
    the windows say where that may be (of one element: anywhere; without taps they are adaptive)."""
    none, one = (0,) * len(out), (1,) * len(out)
    attrs = (tuple(shape), out, taps, stride, padding or none, dilation or one, "taps", 1)
    ins = (ordered(indices, last), ordered(grad, last))
    return windows("max_back", ins, [(tuple(shape), grad.dtype)], attrs, last)[0]


WIDE = 4  # elements of a row of a window from which on windows that tile are reduced as any axes are
WIDE_LARGEST = 16  # the same for maxima, whose places are found, too


def tiling(
    shape: Any, out: Sizes, taps: Sizes, stride: Sizes, padding: Sizes, count: str, least: int = WIDE
) -> Sizes:
    """The extents of windows whose rows have at least so many elements and that share out the input, else ()."""
    if 0 in out or numel(out) == 1 or count == "given" or any(padding) or (taps and taps != stride):
        return ()
    size = taps or tuple(n // m for n, m in zip(shape, out))
    exact = all(k * m == n for k, m, n in zip(size, out, shape))
    return tuple(size) if exact and size[-1] >= least else ()


def _avg_back(
    grad: Any, form: Any, out: Sizes, taps: Sizes, stride: Sizes, padding: Sizes, count: str, divisor: int
) -> Any:
    x = form.trace.operands[0]
    whole = not taps and numel(out) == 1  # in PyTorch a mean, whose gradient is row-major
    last = is_channels_last(x.shape, x.strides) and not whole
    return _avg_pool_back(grad, tuple(x.shape), out, taps, stride, padding, count, divisor, last)


def in_tiles(x: Val, tiles: Sizes) -> Val:
    """The same elements with two dimensions, windows and what is in them, for each of space."""
    shape, strides = [*x.shape[:2]], [*x.strides[:2]]
    for n, s, k in zip(x.shape[2:], x.strides[2:], tiles):
        shape += [n // k, k]
        strides += [s * k, s]
    return x.view_as(tuple(shape), tuple(strides), x.off)


@op(
    method=False,
    function=False,
    no_out=True,
    node="AvgPool2DBackward0",
    grad={"self": _avg_back},
    sized="out",
)
def _avg_pool(
    self: T, out: Sizes, taps: Sizes, stride: Sizes, padding: Sizes, count: str, divisor: int
) -> Any:
    shape = (*self.shape[:2], *out)
    ones = (1,) * len(out)
    last = channels_innermost(self)
    made = last and (
        len(out) == 2 or (not taps and numel(out) == 1)
    )  # means of volumes are row-major, as in PyTorch
    tiles = tiling(self.shape[2:], out, taps, stride, padding, count)
    if tiles:
        axes = tuple(3 + 2 * d for d in range(len(out)))
        return ordered(FUNCTIONS["mean"](in_tiles(self, tiles), axes), made)
    found = windows(
        "avg",
        (self,),
        [(shape, self.dtype)],
        (tuple(self.shape), out, taps, stride, padding, ones if taps else (), count, divisor),
        last,
    )[0]
    return ordered(found, made)


@op(
    method=False,
    function=False,
    no_out=True,
    node="AvgPool2DBackwardBackward0",
    grad={
        "grad": lambda grad, out, taps, stride, padding, count, divisor: _avg_pool(
            grad, out, taps, stride, padding, count, divisor
        )
    },
)
def _avg_pool_back(
    grad: T,
    shape: Sizes,
    out: Sizes,
    taps: Sizes,
    stride: Sizes,
    padding: Sizes,
    count: str,
    divisor: int,
    last: bool,
) -> Any:
    ones = (1,) * len(out)
    tiles = tiling(shape[2:], out, taps, stride, padding, count)
    if tiles:
        result = empty(tuple(shape), grad.dtype, image_strides(shape, last))
        store(in_tiles(result, tiles), in_tiles(grad / numel(tiles), (1,) * len(out)))
        return result
    attrs = (tuple(shape), out, taps, stride, padding, ones if taps else (), count, divisor)
    return windows("avg_back", (ordered(grad, last),), [(tuple(shape), grad.dtype)], attrs, last)[0]


def batched(n: int, name: str, x: Any) -> tuple[Any, bool]:
    """The input with an image dimension."""
    if x.ndim not in (n + 1, n + 2):
        fail(
            RuntimeError,
            f"{name}: Expected {n + 1}D or {n + 2}D (batch mode) tensor with optional 0 dim batch size for input, but got: {list(x.shape)}",
        )
    if 0 in x.shape[1 if x.ndim == n + 2 else 0 :]:
        fail(
            RuntimeError,
            f"{name}: Expected {n + 1}D or {n + 2}D (batch mode) tensor with optional 0 dim batch size for input, but got: {list(x.shape)}",
        )
    return (x, False) if x.ndim == n + 2 else (x.unsqueeze(0), True)


def max_pool(
    n: int, input: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> tuple[Any, Any]:
    """(maxima, their positions) of windows in n dimensions."""
    name = f"max_pool{n}d"
    x, single = batched(n, name, input)
    taps = tuple_of(kernel_size, n, "kernel_size")
    steps = tuple_of(stride, n, "stride") if stride is not None and stride != [] and stride != () else taps
    pads, spread = tuple_of(padding, n, "padding"), tuple_of(dilation, n, "dilation")
    out = extents(name, x, taps, steps, pads, spread, ceil_mode)
    y, index = _max_pool(x, out, taps, steps, pads, spread)
    return (y.squeeze(0), index.squeeze(0)) if single else (y, index)


def avg_pool(
    n: int,
    input: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    include: bool,
    divisor: Any,
) -> Any:
    """The means of windows in n dimensions."""
    name = f"avg_pool{n}d"
    x, single = batched(n, name, input)
    taps = tuple_of(kernel_size, n, "kernel_size")
    steps = tuple_of(stride, n, "stride") if stride is not None and stride != [] and stride != () else taps
    pads = tuple_of(padding, n, "padding")
    out = extents(name, x, taps, steps, pads, (1,) * n, ceil_mode)
    if divisor is not None and divisor == 0:
        fail(RuntimeError, f"{name}: divisor must be not zero")
    count = "given" if divisor is not None else "taps" if include else "inside"
    y = _avg_pool(x, out, taps, steps, pads, count, int(divisor or 1))
    return y.squeeze(0) if single else y


def adaptive_size(n: int, size: Any, x: Any) -> Sizes:
    """The output size in n dimensions: None keeps the input's extent."""
    size = (size,) * n if isinstance(size, int) or size is None else tuple(size)
    if len(size) != n or any(s is not None and s < 0 for s in size):
        fail(
            RuntimeError,
            f"adaptive pooling: output_size must be {n} numbers greater than or equal to 0; got {size}",
        )
    return tuple(x.shape[2 + d] if s is None else int(s) for d, s in enumerate(size))


def adaptive(n: int, kind: str, input: Any, output_size: Any) -> Any:
    """Pooling over windows chosen such that the output has the given size."""
    if n > 1 and input.ndim <= n:
        fail(ValueError, f"adaptive_{kind}_pool{n}d: Input dimension should be at least {n + 1}")
    x, single = batched(n, f"adaptive_{kind}_pool{n}d", input)
    out = adaptive_size(n, output_size, x)
    if kind == "avg":
        y = _avg_pool(x, out, (), (), (), "taps", 1)
        return y.squeeze(0) if single else y
    y, index = _max_pool(x, out, (), (), (), ())
    return (y.squeeze(0), index.squeeze(0)) if single else (y, index)


def publish_pool(name: str, fn: Any, doc: str) -> None:
    """Give a pool its public name; as in PyTorch, only some are also functions of the package."""
    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = doc
    public = name.startswith(("max_pool", "adaptive_avg_pool1", "avg_pool1"))
    composite(method=False, function=public, nn=True)(fn)


def declare_max(n: int) -> None:
    """max_pool{n}d and max_pool{n}d_with_indices."""

    def pooled(
        input: Any,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        y, index = max_pool(n, input, kernel_size, stride, padding, dilation, ceil_mode)
        return (y, index) if return_indices else y

    def with_indices(
        input: Any,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = True,
    ) -> Any:
        return max_pool(n, input, kernel_size, stride, padding, dilation, ceil_mode)

    publish_pool(f"max_pool{n}d", pooled, f"The largest element of every window, in {n} dimensions.")
    publish_pool(
        f"max_pool{n}d_with_indices", with_indices, f"As max_pool{n}d, with the positions of the maxima."
    )


def declare_average(n: int) -> None:
    """avg_pool{n}d."""

    def pooled(
        input: Any,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: Any = None,
        *,
        out: Any = None,
    ) -> Any:
        y = avg_pool(n, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
        return y if out is None else into(out, y)

    publish_pool(f"avg_pool{n}d", pooled, f"The mean of every window, in {n} dimensions.")


def declare_adaptive(n: int) -> None:
    """The adaptive pools: the windows are chosen such that the output has the given size."""

    def average(input: Any, output_size: Any) -> Any:
        return adaptive(n, "avg", input, output_size)

    def largest(input: Any, output_size: Any, return_indices: bool = False) -> Any:
        y, index = adaptive(n, "max", input, output_size)
        return (y, index) if return_indices else y

    def with_indices(input: Any, output_size: Any, return_indices: bool = True) -> Any:
        return adaptive(n, "max", input, output_size)

    chosen = "windows chosen such that the output has the given size."
    publish_pool(f"adaptive_avg_pool{n}d", average, f"Means over {chosen}")
    publish_pool(f"adaptive_max_pool{n}d", largest, f"Maxima over {chosen}")
    publish_pool(
        f"adaptive_max_pool{n}d_with_indices",
        with_indices,
        "As adaptive_max_pool, with the positions of the maxima.",
    )


for _n in (1, 2, 3):
    declare_max(_n)
    declare_average(_n)
    declare_adaptive(_n)
