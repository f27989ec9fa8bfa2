"""Pooling in any number of dimensions: windows are tables of positions, one for each dimension."""

from __future__ import annotations

from typing import Any

import flambeau as torch

from ..functional.pooling import per_dim

Tensor = Any
Sizes = Any
Table = list[list[int]]  # the positions of each window in one dimension; -1 is outside


def out_size(length: int, k: int, s: int, p: int, d: int, ceil_mode: bool) -> int:
    """How many windows fit; in ceil mode the last may hang over, but must begin inside the input or its
    left padding."""
    span = length + 2 * p - d * (k - 1) - 1
    count = (-(-span // s) if ceil_mode else span // s) + 1
    return count - 1 if ceil_mode and (count - 1) * s >= length + p else count


def _tables(
    name: str, sizes: Any, kernel: tuple, stride: tuple, pad: tuple, dil: tuple, ceil_mode: bool
) -> list[Table]:
    tables = []
    for length, k, s, p, d in zip(sizes, kernel, stride, pad, dil):
        count = out_size(length, k, s, p, d, ceil_mode)
        if count < 1:
            raise RuntimeError(
                f"{name}(): Given input size: ({'x'.join(map(str, sizes))}). Invalid computed output size: {count}. "
                "Output size is too small"
            )
        starts = [o * s - p for o in range(count)]
        tables.append([[a + i * d if 0 <= a + i * d < length else -1 for i in range(k)] for a in starts])
    return tables


def _settings(
    name: str, input: Tensor, n: int, kernel: Sizes, stride: Sizes, pad: Sizes, dil: Sizes
) -> tuple:
    if input.dim() not in (n + 1, n + 2) or 0 in input.shape[input.dim() - n - 1 :]:
        raise RuntimeError(
            f"{name}(): Expected {n + 1}D or {n + 2}D (batch mode) tensor with optional 0 dim batch size for input and "
            f"Expected input's non-batch dimensions to have positive length, but got: {list(input.shape)}"
        )
    kernel = per_dim(kernel, n)
    stride = kernel if stride is None or stride == () or stride == [] else per_dim(stride, n)
    pad, dil = per_dim(pad, n), per_dim(dil, n)
    for what, values in (("kernel_size", kernel), ("stride", stride), ("dilation", dil)):
        if min(values) <= 0:
            raise RuntimeError(f"{name}(): {what} must be greater than zero, but got {min(values)}")
    if any(p < 0 for p in pad):
        raise RuntimeError(f"pad must be non-negative, but got pad: {min(pad)}")
    if any(2 * p > k for p, k in zip(pad, kernel)):
        raise RuntimeError(
            f"pad should be at most half of effective kernel size, but got pad={max(pad)}, "
            f"kernel_size={max(kernel)} and dilation={max(dil)}"
        )
    return kernel, stride, pad, dil


def _gathered(x: Tensor, tables: list[Table]) -> tuple[Tensor, Tensor, Tensor]:
    """(..., *windows, kernel elements) of x, whether each is inside, and its flat position in the input."""
    n = len(tables)
    sizes = x.shape[x.dim() - n :]
    lead = x.dim() - n
    place = {"device": x.device}
    inside, position = None, None
    for d, table in enumerate(tables):
        index = torch.tensor(table, dtype=torch.int64, **place)
        shape = [1] * (2 * n)
        shape[d], shape[n + d] = index.shape
        here = index.view(shape)
        valid = here >= 0
        flat = here.clamp(min=0)
        x = x.index_select(lead + 2 * d, index.clamp(min=0).view(-1)).unflatten(
            lead + 2 * d, tuple(index.shape)
        )
        inside = valid if inside is None else inside & valid
        position = flat if position is None else position * sizes[d] + flat
    order = [lead + 2 * d for d in range(n)] + [lead + 2 * d + 1 for d in range(n)]
    return x.permute(*range(lead), *order).flatten(-n), inside.flatten(-n), position.flatten(-n)


def _maxima(input: Tensor, tables: list[Table]) -> tuple[Tensor, Tensor]:
    values, inside, position = _gathered(input, tables)
    low = float("-inf") if input.is_floating_point() else torch.iinfo(input.dtype).min
    values = torch.where(inside, values, torch.full((), low, dtype=input.dtype, device=input.device))
    best, at = values.max(-1)
    return best, position.expand(values.shape).gather(-1, at.unsqueeze(-1)).squeeze(-1)


def _max_pool(
    n: int, input: Tensor, kernel: Sizes, stride: Sizes, pad: Sizes, dil: Sizes, ceil_mode: bool
) -> tuple[Tensor, Tensor]:
    name = f"max_pool{n}d"
    kernel, stride, pad, dil = _settings(name, input, n, kernel, stride, pad, dil)
    return _maxima(input, _tables(name, input.shape[input.dim() - n :], kernel, stride, pad, dil, ceil_mode))


def max_pool1d_with_indices(
    input: Tensor,
    kernel_size: Sizes,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> tuple[Tensor, Tensor]:
    """Maxima of windows, and where they stood."""
    return _max_pool(1, input, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool2d_with_indices(
    input: Tensor,
    kernel_size: Sizes,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> tuple[Tensor, Tensor]:
    """Maxima of windows, and where they stood."""
    return _max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool3d_with_indices(
    input: Tensor,
    kernel_size: Sizes,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> tuple[Tensor, Tensor]:
    """Maxima of windows, and where they stood."""
    return _max_pool(3, input, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool1d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """Maxima of windows."""
    return _max_pool(1, input, kernel_size, stride, padding, dilation, ceil_mode)[0]


def max_pool2d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """Maxima of windows."""
    return _max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode)[0]


def max_pool3d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """Maxima of windows."""
    return _max_pool(3, input, kernel_size, stride, padding, dilation, ceil_mode)[0]


def _avg_pool(
    n: int,
    input: Tensor,
    kernel: Sizes,
    stride: Sizes,
    pad: Sizes,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: int | None,
) -> Tensor:
    name = f"avg_pool{n}d"
    kernel, stride, pad, dil = _settings(name, input, n, kernel, stride, pad, 1)
    if divisor == 0:
        raise RuntimeError("divisor must be not zero")
    sizes = input.shape[input.dim() - n :]
    tables = _tables(name, sizes, kernel, stride, pad, dil, ceil_mode)
    values, inside, _ = _gathered(input, tables)
    total = torch.where(inside, values, torch.zeros((), dtype=input.dtype, device=input.device)).sum(-1)
    if divisor is not None:
        return total / divisor
    counts = None
    for d in range(n):
        if count_include_pad:
            ends = [min(o * stride[d] - pad[d] + kernel[d], sizes[d] + pad[d]) for o in range(len(tables[d]))]
            row = [e - (o * stride[d] - pad[d]) for o, e in enumerate(ends)]
        else:
            row = [sum(i >= 0 for i in window) for window in tables[d]]
        line = torch.tensor(row, dtype=input.dtype, device=input.device).view(-1, *(1,) * (n - 1 - d))
        counts = line if counts is None else counts * line
    return total / counts


def avg_pool1d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Means of windows."""
    return _avg_pool(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def avg_pool2d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Means of windows."""
    return _avg_pool(2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def avg_pool3d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Means of windows."""
    return _avg_pool(3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def _spans(length: int, count: int) -> list[tuple[int, int]]:
    """The windows of adaptive pooling: from floor(i n / count) to ceil((i + 1) n / count)."""
    if count < 0:
        raise RuntimeError(f"elements of output_size must be greater than or equal to 0 but received {count}")
    return [(i * length // count, -(-(i + 1) * length // count)) for i in range(count)]


def _adaptive_avg(input: Tensor, output_size: Sizes, n: int) -> Tensor:
    """The mean over a box is the mean of means: one dimension after the other, as a product with a matrix."""
    result = input
    for d, count in enumerate(per_dim(output_size, n)):
        dim = input.dim() - n + d
        length = input.size(dim)
        spans = _spans(length, count)
        if count == length:
            continue
        if count == 1:
            result = result.mean(dim, keepdim=True)
            continue
        rows = [[(a <= j < b) / (b - a) for j in range(length)] for a, b in spans]
        matrix = torch.tensor(rows, dtype=input.dtype, device=input.device)
        result = torch.matmul(result.transpose(dim, -1), matrix.t()).transpose(dim, -1)
    return result


def adaptive_avg_pool1d(input: Tensor, output_size: Sizes) -> Tensor:
    """Means of windows that cover the input."""
    return _adaptive_avg(input, output_size, 1)


def adaptive_avg_pool2d(input: Tensor, output_size: Sizes) -> Tensor:
    """Means of windows that cover the input."""
    return _adaptive_avg(input, output_size, 2)


def adaptive_avg_pool3d(input: Tensor, output_size: Sizes) -> Tensor:
    """Means of windows that cover the input."""
    return _adaptive_avg(input, output_size, 3)


def _adaptive_max(input: Tensor, output_size: Sizes, n: int, return_indices: bool) -> Any:
    tables: list[Table] = []
    if input.numel() == 0 and 0 in input.shape[1:]:
        raise RuntimeError(
            f"adaptive_max_pool{n}d(): Expected input to have non-zero size for non-batch dimensions, but input has "
            f"sizes {list(input.shape)}"
        )
    for d, count in enumerate(per_dim(output_size, n)):
        spans = _spans(input.size(input.dim() - n + d), count)
        width = max(b - a for a, b in spans)
        tables.append([[a + i if a + i < b else -1 for i in range(width)] for a, b in spans])
    result = _maxima(input, tables)
    return result if return_indices else result[0]


def adaptive_max_pool1d(input: Tensor, output_size: Sizes, return_indices: bool = False) -> Any:
    """Maxima of windows that cover the input."""
    return _adaptive_max(input, output_size, 1, return_indices)


def adaptive_max_pool2d(input: Tensor, output_size: Sizes, return_indices: bool = False) -> Any:
    """Maxima of windows that cover the input."""
    return _adaptive_max(input, output_size, 2, return_indices)


def adaptive_max_pool3d(input: Tensor, output_size: Sizes, return_indices: bool = False) -> Any:
    """Maxima of windows that cover the input."""
    return _adaptive_max(input, output_size, 3, return_indices)


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


def window_count(size: Any, kernel: tuple, stride: tuple, pad: tuple, dil: tuple) -> list[int]:
    """How many windows fit in each dimension."""
    return [out_size(n, k, s, p, d, False) for n, k, s, p, d in zip(size, kernel, stride, pad, dil)]
