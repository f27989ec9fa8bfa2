"""Pooling. Windows are given per spatial dimension; `stride` defaults to the window."""

from __future__ import annotations

import math
from typing import Any

import flambeau as torch

from .table import ops, warn

Tensor = Any
Sizes = Any


def per_dim(value: Sizes, count: int) -> tuple:
    """A setting for each of `count` spatial dimensions."""
    if isinstance(value, (tuple, list, torch.Size)):
        return tuple(value) * count if len(value) == 1 else tuple(value)
    return (value,) * count


def _lp_pool(
    input: Tensor, norm_type: float, kernel: Sizes, stride: Sizes, ceil_mode: bool, spatial: int
) -> Tensor:
    """(sum of x^p over the window)^(1/p)."""
    name = f"avg_pool{spatial}d"
    count = math.prod(per_dim(kernel, spatial))
    mean = getattr(ops, name)(input.pow(norm_type), kernel, stride, 0, ceil_mode)
    return (torch.sign(mean) * torch.relu(torch.abs(mean))).mul(count).pow(1.0 / norm_type)


def lp_pool1d(
    input: Tensor, norm_type: float, kernel_size: int, stride: Sizes = None, ceil_mode: bool = False
) -> Tensor:
    """The p-norm of windows of (N, C, L) or (C, L)."""
    return _lp_pool(input, norm_type, kernel_size, stride, ceil_mode, 1)


def lp_pool2d(
    input: Tensor, norm_type: float, kernel_size: Sizes, stride: Sizes = None, ceil_mode: bool = False
) -> Tensor:
    """The p-norm of windows of (N, C, H, W) or (C, H, W)."""
    return _lp_pool(input, norm_type, kernel_size, stride, ceil_mode, 2)


def lp_pool3d(
    input: Tensor, norm_type: float, kernel_size: Sizes, stride: Sizes = None, ceil_mode: bool = False
) -> Tensor:
    """The p-norm of windows of (N, C, D, H, W) or (C, D, H, W)."""
    return _lp_pool(input, norm_type, kernel_size, stride, ceil_mode, 3)


def _unpool_size(input: Tensor, kernel: tuple, stride: tuple, padding: tuple, output_size: Any) -> list[int]:
    spatial = len(kernel)
    sizes = input.shape[input.dim() - spatial :]
    default = [(sizes[d] - 1) * stride[d] + kernel[d] - 2 * padding[d] for d in range(spatial)]
    if output_size is None:
        return default
    wanted = list(output_size)
    if len(wanted) == spatial + 2:
        wanted = wanted[2:]
    if len(wanted) != spatial:
        raise ValueError(
            "output_size should be a sequence containing "
            f"{spatial} or {spatial + 2} elements, but it has a length of '{len(wanted)}'"
        )
    for d in range(spatial):
        low, high = default[d] - stride[d], default[d] + stride[d]
        if not low < wanted[d] < high:
            raise ValueError(f"invalid output_size '{wanted}' (dim {d} must be between {low} and {high})")
    return wanted


def _max_unpool(
    input: Tensor,
    indices: Tensor,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    output_size: Any,
    spatial: int,
) -> Tensor:
    """Puts each element back where `max_pool` took it from, zeros elsewhere."""
    kernel = per_dim(kernel, spatial)
    stride = kernel if stride is None else per_dim(stride, spatial)
    size = _unpool_size(input, kernel, stride, per_dim(padding, spatial), output_size)
    if indices.shape != input.shape:
        raise RuntimeError(
            f"Expected shape of indices to be same as that of the input tensor ({list(input.shape)}) but got indices "
            f"tensor with shape: {list(indices.shape)}"
        )
    lead = input.shape[: input.dim() - spatial]
    flat = input.new_zeros((*lead, math.prod(size)))
    keep = len(lead)
    return flat.scatter(-1, indices.flatten(keep), input.flatten(keep)).reshape(*lead, *size)


def max_unpool1d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Sizes,
    stride: Sizes = None,
    padding: Sizes = 0,
    output_size: Any = None,
) -> Tensor:
    """The partial inverse of `max_pool1d`."""
    return _max_unpool(input, indices, kernel_size, stride, padding, output_size, 1)


def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Sizes,
    stride: Sizes = None,
    padding: Sizes = 0,
    output_size: Any = None,
) -> Tensor:
    """The partial inverse of `max_pool2d`."""
    return _max_unpool(input, indices, kernel_size, stride, padding, output_size, 2)


def max_unpool3d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Sizes,
    stride: Sizes = None,
    padding: Sizes = 0,
    output_size: Any = None,
) -> Tensor:
    """The partial inverse of `max_pool3d`."""
    return _max_unpool(input, indices, kernel_size, stride, padding, output_size, 3)


def upsample(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: Any = None,
) -> Tensor:
    """Deprecated name of `interpolate`."""
    from .spatial import interpolate

    warn("`nn.functional.upsample` is deprecated. Use `nn.functional.interpolate` instead.")
    return interpolate(input, size, scale_factor, mode, align_corners)


def _fractional(
    n: int, input: Tensor, kernel_size: Sizes, output_size: Sizes, output_ratio: Any, samples: Tensor | None
) -> tuple[Tensor, Tensor]:
    name = f"fractional_max_pool{n}d"
    if output_size is None and output_ratio is None:
        raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
    kernel = per_dim(kernel_size, n)
    if output_size is None:
        ratio = per_dim(output_ratio, n)
        output_size = [int(length * r) for length, r in zip(input.shape[input.dim() - n :], ratio)]
    output = per_dim(output_size, n)
    for k, o, length in zip(kernel, output, input.shape[input.dim() - n :]):
        if o + k - 1 > length:
            raise RuntimeError(f"{name}(): pool size {k} too large relative to input size {length}")
    if samples is None:
        batch = 1 if input.dim() == n + 1 else input.size(0)
        samples = torch.rand(
            batch, input.size(input.dim() - n - 1), n, dtype=input.dtype, device=input.device
        )
    return ops.fractional_max_pool(input, kernel, output, samples)


def fractional_max_pool2d_with_indices(
    input: Tensor,
    kernel_size: Sizes,
    output_size: Sizes = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`fractional_max_pool2d` with return_indices."""
    return _fractional(2, input, kernel_size, output_size, output_ratio, _random_samples)


def fractional_max_pool3d_with_indices(
    input: Tensor,
    kernel_size: Sizes,
    output_size: Sizes = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`fractional_max_pool3d` with return_indices."""
    return _fractional(3, input, kernel_size, output_size, output_ratio, _random_samples)


def fractional_max_pool2d(
    input: Tensor,
    kernel_size: Sizes,
    output_size: Sizes = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """Maxima over windows at random places (Graham 2014)."""
    result = _fractional(2, input, kernel_size, output_size, output_ratio, _random_samples)
    return result if return_indices else result[0]


def fractional_max_pool3d(
    input: Tensor,
    kernel_size: Sizes,
    output_size: Sizes = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """Maxima over windows at random places (Graham 2014)."""
    result = _fractional(3, input, kernel_size, output_size, output_ratio, _random_samples)
    return result if return_indices else result[0]
