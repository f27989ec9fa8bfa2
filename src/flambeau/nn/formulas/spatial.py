"""Resizing, sampling and patches, as formulas."""

from __future__ import annotations

import functools
import math
from typing import Any

import flambeau as torch

from ..functional.pooling import per_dim
from ..functional.table import ops

Tensor = Any
ANTIALIASED = "antialiased "
FEW_TAPS = 25  # of patches, up to which each is added as a slice
TILE = 16  # elements of a tile that one element is enlarged to by a copy
MANY = 40  # readers of one element up to which its gradient is gathered; beyond, it is scattered
LANES = 16  # elements that a vector holds
GATHERED = (3, 1)  # lookups along the innermost dimension, or around few channels, while an element is turned
LARGE = 1 << 14  # elements from which on turning pays
DENSE = 12  # taps or readers of antialiased images from which on they are a product with a matrix


def resize(
    input: Tensor, size: list[int], mode: str, align_corners: bool | None, scales: Any, antialias: bool
) -> Tensor:
    """Interpolation, one dimension after the other; `scales` are the factors the user gave, if any."""
    if min(size) <= 0 or 0 in input.shape[2:]:
        raise RuntimeError(
            f"Input and output sizes should be greater than 0, but got input (H: {list(input.shape[2:])}) output "
            f"(H: {list(size)})"
        )
    if (factors := _whole_factors(input, size, mode, scales)) is not None:
        return ops._enlarged(input, factors)
    last = torch.channels_last if input.dim() == 4 else torch.channels_last_3d
    innermost = input.dim() > 3 and input.is_contiguous(memory_format=last) and not input.is_contiguous()
    copied = innermost and mode in ("nearest", "nearest-exact")  # as they lie in memory
    start = input.permute(0, *range(2, input.dim()), 1) if copied else input
    result, first = start, 1 if copied else 2
    if copied and not input.requires_grad:
        given = scales or [None] * len(size)
        lengths = zip(input.shape[2:], size, given, strict=True)
        walks = [_walk(_nearest(n, m, s, mode == "nearest-exact"), n) for n, m, s in lengths]
        if None not in walks:
            return _walked(start, walks).permute(0, -1, *range(1, input.dim() - 1))
    for d, count in enumerate(size):
        length = input.size(2 + d)
        scale = None if scales is None else scales[d]
        how = ANTIALIASED + mode if antialias else mode
        key = (length, count, scale, bool(align_corners), how, input.dtype == torch.float64)
        if antialias and max(len(_taps_of(*key)[0]), len(_readers(*key)[0])) > DENSE:
            result = result.float() if result.dtype == torch.uint8 else result
            matrix = torch.tensor(_matrix(*key), device=input.device).to(result.dtype)
            turned = result.transpose(first + d, -1)
            result = torch.matmul(turned, matrix.t()).transpose(first + d, -1)
        elif mode not in ("nearest", "nearest-exact"):
            result = _weighted(result, first + d, *key)
        elif _times(length, count, scale, mode) != 1:
            if input.requires_grad:
                result = _weighted(result, first + d, *key)
            else:
                result = result.index_select(first + d, _tables_of(*key)[0][0])
    if result is start:
        return input.clone()
    if copied:
        result = result.permute(0, -1, *range(1, input.dim() - 1))
    if result.dtype != input.dtype:
        result = result.round().clamp(0, 255).to(input.dtype)
    return result.contiguous(memory_format=last if innermost else torch.contiguous_format)


def _walk(index: list[int], length: int) -> tuple[int, int, int, int] | None:
    """(the first place, how many, steps between them, how often each) if that is what an index says, else None."""
    times = len(index) // length or 1
    step = index[times] - index[0] if len(index) > times else 1
    count = len(index) // times
    found = [index[0] + place * step for place in range(count) for _ in range(times)]
    return (index[0], count, step, times) if found == index else None


def _walked(x: Tensor, walks: list[Any]) -> Tensor:
    """Images (N, ..., C) at every few places, or with each place repeated, in one copy."""
    x = x[(slice(None), *[slice(at, at + (count - 1) * step + 1, step) for at, count, step, _ in walks])]
    n, *sizes, c = x.shape
    for d in range(len(walks)):
        x = x.unsqueeze(2 * d + 2)
    wide = [n, *[k for size, walk in zip(sizes, walks, strict=True) for k in (size, walk[3])], c]
    full = [n, *[size * walk[3] for size, walk in zip(sizes, walks, strict=True)], c]
    return x.expand(wide).clone(memory_format=torch.contiguous_format).view(full)


@functools.lru_cache(maxsize=256)
def _times(length: int, count: int, scale: float | None, mode: str) -> int:
    """How many elements in a row are copies of each source element; 0: not of all as many, or they are no copies."""
    times = count // length
    if mode not in ("nearest", "nearest-exact") or times * length != count:
        return 0
    return (
        times
        if _nearest(length, count, scale, mode == "nearest-exact") == [i // times for i in range(count)]
        else 0
    )


def _whole_factors(input: Tensor, size: list[int], mode: str, scales: Any) -> tuple[int, ...] | None:
    """How often each element comes in each dimension, if that is the same for all; None for many or broken ones."""
    given = scales or (None,) * len(size)
    factors = tuple([_times(n, k, s, mode) for n, k, s in zip(input.shape[2:], size, given)])
    return factors if 1 < math.prod(factors) <= TILE else None


def _nearest(length: int, count: int, scale: float | None, exact: bool) -> list[int]:
    import numpy

    ratio = numpy.float32(1.0 / scale) if scale else numpy.float32(length) / numpy.float32(count)
    at = (numpy.arange(count, dtype=numpy.float32) + numpy.float32(0.5 if exact else 0.0)) * ratio
    return numpy.minimum(numpy.floor(at).astype(numpy.int64), length - 1).tolist()


def _ratio(length: int, count: int, scale: float | None, align: bool, double: bool) -> Any:
    import numpy

    kind = numpy.float64 if double else numpy.float32
    if align:
        return kind(length - 1) / kind(count - 1) if count > 1 else kind(0)
    return kind(1.0 / scale) if scale else kind(length) / kind(count)


@functools.lru_cache(maxsize=64)
def _taps_of(length: int, count: int, scale: float | None, align: bool, mode: str, double: bool) -> Any:
    """(places, weights) of the source elements of each element, one row for each tap."""
    import numpy

    kind = numpy.float64 if double else numpy.float32
    if mode in ("nearest", "nearest-exact"):
        at = numpy.array([_nearest(length, count, scale, mode == "nearest-exact")], numpy.int64)
        return at, numpy.ones_like(at, kind)
    ratio = _ratio(length, count, scale, align, double)
    if mode.startswith(ANTIALIASED):
        firsts, rows = _antialias_rows(length, count, float(ratio), mode.removeprefix(ANTIALIASED))
        weights = numpy.full((max(map(len, rows)), count), numpy.nan, kind)  # NaN: no such tap
        for k, row in enumerate(rows):
            weights[: len(row), k] = row
        at = numpy.array([firsts]) + numpy.arange(len(weights))[:, None]
        return numpy.minimum(at, length - 1), weights
    i = numpy.arange(count, dtype=kind)
    source = i * ratio if align else ratio * (i + kind(0.5)) - kind(0.5)
    if mode != "bicubic":
        source = numpy.maximum(source, kind(0))
    low = numpy.floor(source)
    if mode != "bicubic":
        low = numpy.minimum(low, kind(length - 1))
    taps = _cubic(source - low, -0.75) if mode == "bicubic" else [(0, 1 - (source - low)), (1, source - low)]
    places = [numpy.clip(low.astype(numpy.int64) + offset, 0, length - 1) for offset, _ in taps]
    return numpy.stack(places), numpy.stack([weight for _, weight in taps]).astype(kind)


@functools.lru_cache(maxsize=64)
def _readers(length: int, count: int, scale: float | None, align: bool, mode: str, double: bool) -> Any:
    """(places, weights) of the elements that each source element goes to: the transpose, NaN where there are fewer."""
    import numpy

    places, weights = _taps_of(length, count, scale, align, mode, double)
    source, weight = places.T.reshape(-1), weights.T.reshape(-1)
    to = numpy.repeat(numpy.arange(count), len(places))
    used = (weight != 0) & ~numpy.isnan(weight)
    source, weight, to = source[used], weight[used], to[used]
    order = numpy.argsort(source, kind="stable")
    source, weight, to = source[order], weight[order], to[order]
    each = numpy.bincount(source, minlength=length)
    nth = numpy.arange(len(source)) - (numpy.cumsum(each) - each)[source]
    back = numpy.zeros((max(int(each.max()), 1), length), numpy.int64)
    back_weights = numpy.full(back.shape, numpy.nan, weights.dtype)
    back[nth, source], back_weights[nth, source] = to, weight
    return back, back_weights


@functools.lru_cache(maxsize=64)
def _tables_of(*key: Any) -> tuple[Tensor, ...]:
    """What `_taps_of` and `_readers` give, as tensors with bytes, which other calls may save for a gradient."""
    with torch.inference_mode(False):
        arrays = (*_taps_of(*key), *_readers(*key))
        return tuple(
            [torch.tensor(a.tolist(), dtype=getattr(torch, a.dtype.name), device="cpu") for a in arrays]
        )


@functools.lru_cache(maxsize=16)
def _matrix(length: int, count: int, *how: Any) -> Any:
    """The weights of all source elements of each element."""
    import numpy

    places, weights = _taps_of(length, count, *how)
    matrix = numpy.zeros((count, length), weights.dtype)
    numpy.add.at(matrix, (numpy.arange(count), places), numpy.nan_to_num(weights))
    return matrix


def _weighted(x: Tensor, dim: int, *key: Any) -> Tensor:
    """A few source elements for each element, with weights; key: see `_taps_of`."""
    tables = _tables_of(*key)
    if x.device.type == "meta":
        tables = tuple([t.to(x.device) for t in tables])
    places, weights, back, _ = tables
    if len(back) <= MANY and _across(x, dim, places.numel()):
        order = [0, dim, *[e for e in range(1, x.dim()) if e != dim]]
        mixed = torch._mixed(x.permute(order).contiguous(), *tables, 1)
        return mixed.permute([order.index(e) for e in range(x.dim())])
    if len(back) <= MANY:
        return torch._mixed(x, *tables, dim)
    x = x.float() if x.dtype == torch.uint8 else x
    shape = [1] * x.dim()
    shape[dim] = places.shape[1]
    total = None
    for index, weight in zip(places, weights):
        part = x.index_select(dim, index)
        if len(places) > 1:
            part = part * weight.to(x.dtype).view(shape)
        total = part if total is None else total + part
    return total


def _across(x: Tensor, dim: int, wanted: int) -> bool:
    """Whether x is turned for sums of so many terms: along a dimension that is innermost, or has few channels within,
    each would be looked up by itself, while all that is there is turned once."""
    apart = x.stride(dim)
    rest = [x.shape[e] for e in range(1, x.dim()) if e != dim]
    many = wanted > GATHERED[apart > 1] * x.shape[dim]
    return many and apart < LANES <= rest[-1] and x.numel() >= LARGE


def _cubic(t: Any, a: float) -> list[tuple[int, Any]]:
    """The weights of the neighbours -1, 0, 1, 2 at distance t from neighbour 0 (Keys 1981)."""

    def near(x: Any) -> Any:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: Any) -> Any:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return [(-1, far(t + 1)), (0, near(t)), (1, near(1 - t)), (2, far(2 - t))]


def _antialias_rows(length: int, count: int, ratio: float, mode: str) -> tuple[list[int], list[list[float]]]:
    """The first source element of each element, and the weights of those from there on."""

    def linear(x: float) -> float:
        return max(1 - abs(x), 0.0)

    def cubic(x: float, a: float = -0.5) -> float:
        x = abs(x)
        if x < 1:
            return ((a + 2) * x - (a + 3)) * x * x + 1
        return (((x - 5) * x + 8) * x - 4) * a if x < 2 else 0.0

    kernel, taps = (cubic, 4) if mode == "bicubic" else (linear, 2)
    support = taps * 0.5 * max(ratio, 1.0)
    shrink = 1.0 / ratio if ratio >= 1 else 1.0
    firsts, rows = [], []
    for i in range(count):
        centre = ratio * (i + 0.5)
        first = max(int(centre - support + 0.5), 0)
        last = min(int(centre + support + 0.5), length)
        weights = [kernel((j - centre + 0.5) * shrink) for j in range(first, last)]
        total = sum(weights) or 1.0
        firsts.append(first)
        rows.append([w / total for w in weights])
    return firsts, rows


def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = False,
) -> Tensor:
    """See `nn.functional.grid_sample`."""
    n = input.dim() - 2
    if n not in (2, 3) or grid.dim() != input.dim():
        raise RuntimeError(
            "grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but got input with sizes "
            f"{list(input.shape)} and grid with sizes {list(grid.shape)}"
        )
    if input.size(0) != grid.size(0):
        raise RuntimeError(
            "grid_sampler(): expected grid and input to have same batch size, but got input with sizes "
            f"{list(input.shape)} and grid with sizes {list(grid.shape)}"
        )
    if grid.size(-1) != n:
        raise RuntimeError(
            f"grid_sampler(): expected grid to have size {n} in last dimension, but got grid with sizes "
            f"{list(grid.shape)}"
        )
    if mode == "bicubic" and n != 2:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")
    if 0 in input.shape[2:]:
        raise RuntimeError(
            "grid_sampler(): expected input to have non-empty spatial dimensions, but input has sizes "
            f"{list(input.shape)}"
        )
    sampled = ops._grid_sampled_2d if n == 2 else ops._grid_sampled_3d
    return sampled(input, grid, mode, padding_mode, bool(align_corners))


def fractional_max_pool(
    input: Tensor, kernel: tuple, output: tuple, samples: Tensor
) -> tuple[Tensor, Tensor]:
    """Maxima of windows whose places the samples (N, C, dimensions) decide, and where they stood (Graham 2014)."""
    n = len(kernel)
    x = input if input.dim() == n + 2 else input.unsqueeze(0)
    sizes = x.shape[2:]
    batch, channels = x.shape[:2]
    samples = samples[:batch]
    position = torch.zeros((batch, channels, *(1,) * (2 * n)), dtype=torch.int64, device=x.device)
    for d in range(n):
        steps = torch.arange(output[d], device=x.device, dtype=samples.dtype)
        u = samples[..., 1 - d if n == 2 else d].reshape(batch, channels, 1)
        alpha = (sizes[d] - kernel[d]) / (output[d] - 1) if output[d] > 1 else 0.0
        starts = ((steps + u) * alpha).to(torch.int64) - (u * alpha).to(torch.int64)
        starts[..., -1] = sizes[d] - kernel[d]
        here = starts.unsqueeze(-1) + torch.arange(kernel[d], device=x.device)
        shape = [batch, channels] + [1] * (2 * n)
        shape[2 + d], shape[2 + n + d] = output[d], kernel[d]
        position = position * sizes[d] + here.reshape(shape)
    position = position.flatten(-n)
    values = x.flatten(2).gather(2, position.flatten(2)).reshape(position.shape)
    best, at = values.max(-1)
    index = position.gather(-1, at.unsqueeze(-1)).squeeze(-1)
    return (best, index) if input.dim() == n + 2 else (best.squeeze(0), index.squeeze(0))


def windows(x: Tensor, kernel: tuple, stride: tuple, dilation: tuple) -> Tensor:
    """(N, C, *sizes) -> (N, C, *number of windows, *kernel), a view."""
    for d, (k, s, step) in enumerate(zip(kernel, stride, dilation)):
        x = x.unfold(2 + d, (k - 1) * step + 1, s)
        if step != 1:
            x = x[..., ::step]
    return x


def window_count(size: Any, kernel: tuple, stride: tuple, pad: tuple, dil: tuple) -> list[int]:
    """How many windows fit in each dimension."""
    return [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip(size, kernel, stride, pad, dil)]


def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """The patches of (N, C, H, W) as columns."""
    kernel, dil, edge, step = (per_dim(v, 2) for v in (kernel_size, dilation, padding, stride))
    if input.dim() not in (3, 4):
        raise RuntimeError(
            "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero dimensions for input, "
            f"but got: {list(input.shape)}"
        )
    x = input if input.dim() == 4 else input.unsqueeze(0)
    counts = window_count(x.shape[2:], kernel, step, edge, dil)
    if min(counts) < 1:
        raise RuntimeError(
            f"Given input with spatial size {tuple(x.shape[2:])}, kernel_size={kernel}, dilation={dil}, "
            f"padding={edge}, "
            f"calculated shape of the array of sliding blocks as {tuple(counts)}, but its components must be "
            "at least one."
        )
    if any(edge):
        x = ops.pad(x, (edge[1], edge[1], edge[0], edge[0]))
    if _sliced(kernel, step, dil):
        columns = ops._patches(x, kernel, step, dil)
    else:
        columns = windows(x, kernel, step, dil).permute(0, 1, 4, 5, 2, 3)
    columns = columns.reshape(x.size(0), x.size(1) * math.prod(kernel), math.prod(counts))
    return columns if input.dim() == 4 else columns.squeeze(0)


def _sliced(kernel: tuple, step: tuple, dil: tuple) -> bool:
    """Whether patches are added up as slices: they have few taps, or do not meet."""
    apart = dil == (1, 1) and all(k <= s for k, s in zip(kernel, step))
    return apart or math.prod(kernel) <= FEW_TAPS


def _added_up(patches: Tensor, size: list, step: tuple, dil: tuple) -> Tensor:
    """(N, C, taps..., windows...) as images: few taps one after the other as slices, many by the places of each; the
    order of additions is the same."""
    kernel, counts, place = patches.shape[2:4], patches.shape[4:], {"device": patches.device}
    if _sliced(kernel, step, dil):
        return ops._added_patches(patches, tuple(size), step, dil)
    image = patches.new_zeros((*patches.shape[:2], *size))
    rows = (torch.arange(kernel[0], **place) * dil[0]).view(-1, 1, 1, 1)
    rows = rows + (torch.arange(counts[0], **place) * step[0]).view(1, 1, -1, 1)
    columns = (torch.arange(kernel[1], **place) * dil[1]).view(1, -1, 1, 1)
    columns = columns + (torch.arange(counts[1], **place) * step[1]).view(1, 1, 1, -1)
    index = (rows * size[1] + columns).reshape(-1)
    return image.flatten(2).index_add(2, index, patches.flatten(2)).unflatten(2, tuple(size))


def fold(
    input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """Patches added up into images."""
    size, kernel, dil, edge, step = (
        per_dim(v, 2) for v in (output_size, kernel_size, dilation, padding, stride)
    )
    if input.dim() not in (2, 3):
        raise RuntimeError(
            "Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and non-zero dimensions for "
            f"input, but got: {list(input.shape)}"
        )
    x = input if input.dim() == 3 else input.unsqueeze(0)
    taps = math.prod(kernel)
    if x.size(1) % taps:
        raise RuntimeError(
            "Expected size of input's dimension 1 to be divisible by the product of kernel_size, but got "
            f"input.size(1)={x.size(1)} and kernel_size={kernel}."
        )
    counts = window_count(size, kernel, step, edge, dil)
    if math.prod(counts) != x.size(2):
        raise RuntimeError(
            f"Given output_size={size}, kernel_size={kernel}, dilation={dil}, padding={edge}, stride={step}, expected "
            f"size of input's dimension 2 to match the calculated number of sliding blocks {counts[0]} * {counts[1]} = "
            f"{math.prod(counts)}, but got input.size(2)={x.size(2)}."
        )
    full = [s + 2 * p for s, p in zip(size, edge)]
    patches = x.reshape(x.size(0), x.size(1) // taps, *kernel, *counts)
    image = _added_up(patches, full, step, dil)
    image = image[:, :, edge[0] : edge[0] + size[0], edge[1] : edge[1] + size[1]]
    return image if input.dim() == 3 else image.squeeze(0)
