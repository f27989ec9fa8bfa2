"""Convolutions in any number of dimensions, as products with windows."""

from __future__ import annotations

import math
from typing import Any

import flambeau as torch

from ..functional.pooling import per_dim
from ..functional.table import ops

Tensor = Any
Sizes = Any


def windows(x: Tensor, kernel: tuple, stride: tuple, dilation: tuple) -> Tensor:
    """(N, C, *sizes) -> (N, C, *number of windows, *kernel), a view."""
    for d, (k, s, step) in enumerate(zip(kernel, stride, dilation)):
        x = x.unfold(2 + d, (k - 1) * step + 1, s)
        if step != 1:
            x = x[..., ::step]
    return x


def same_padding(kernel: tuple, dilation: tuple) -> list[int]:
    """The argument of `pad` that keeps the size."""
    pads: list[int] = []
    for k, step in zip(reversed(kernel), reversed(dilation)):
        total = step * (k - 1)
        pads += [total // 2, total - total // 2]
    return pads


def _conv(
    name: str,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sizes,
    padding: Any,
    dilation: Sizes,
    groups: int,
) -> Tensor:
    n = weight.dim() - 2
    stride, dilation = per_dim(stride, n), per_dim(dilation, n)
    batched = input.dim() == n + 2
    x = input if batched else input.unsqueeze(0)
    _check(name, input, weight, bias, groups, n)
    kernel = tuple(weight.shape[2:])
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise RuntimeError(f"Invalid padding string: '{padding}'")
        pads = same_padding(kernel, dilation) if padding == "same" else [0] * (2 * n)
    else:
        pads = [p for p in reversed(per_dim(padding, n)) for _ in range(2)]
    if any(pads):
        x = ops.pad(x, pads)
    for d in range(n):
        if x.size(2 + d) < dilation[d] * (kernel[d] - 1) + 1:
            raise RuntimeError(
                f"Calculated padded input size per channel: ({' x '.join(map(str, x.shape[2:]))}). Kernel size: "
                f"({' x '.join(map(str, kernel))}). Kernel size can't be greater than actual input size"
            )
    patches = windows(x, kernel, stride, dilation)
    out_sizes = tuple(patches.shape[2 : 2 + n])
    batch, width = x.size(0), weight.size(1) * math.prod(kernel)
    patches = patches.unflatten(1, (groups, weight.size(1)))
    # (N, G, *out, C/G, *kernel) times (G, C/G * kernel, O/G)
    patches = patches.permute(0, 1, *range(3, 3 + n), 2, *range(3 + n, 3 + 2 * n))
    patches = patches.reshape(batch, groups, math.prod(out_sizes), width)
    matrix = weight.reshape(groups, weight.size(0) // groups, width).transpose(1, 2)
    result = torch.matmul(patches, matrix).transpose(2, 3).reshape(batch, weight.size(0), *out_sizes)
    if bias is not None:
        result = result + bias.view(-1, *(1,) * n)
    return result if batched else result.squeeze(0)


def _check(name: str, input: Tensor, weight: Tensor, bias: Tensor | None, groups: int, n: int) -> None:
    if input.dim() not in (n + 1, n + 2):
        raise RuntimeError(
            f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to {name}, but got input of size: "
            f"{list(input.shape)}"
        )
    channels = input.size(input.dim() - n - 1)
    if channels != weight.size(1) * groups:
        raise RuntimeError(
            f"Given groups={groups}, weight of size {list(weight.shape)}, expected input{list(input.shape)} to have "
            f"{weight.size(1) * groups} channels, but got {channels} channels instead"
        )
    if bias is not None and tuple(bias.shape) != (weight.size(0),):
        raise RuntimeError(
            f"Given weight of size {list(weight.shape)}, expected bias to be 1-dimensional with {weight.size(0)} "
            f"elements, but got bias of size {list(bias.shape)} instead"
        )


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Any = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of (N, C, L) with (O, C / groups, k)."""
    return _conv("conv1d", input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Any = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of (N, C, H, W) with (O, C / groups, kh, kw)."""
    return _conv("conv2d", input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Any = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of (N, C, D, H, W) with (O, C / groups, kd, kh, kw)."""
    return _conv("conv3d", input, weight, bias, stride, padding, dilation, groups)


def _conv_transpose(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sizes,
    padding: Sizes,
    output_padding: Sizes,
    groups: int,
    dilation: Sizes,
) -> Tensor:
    """A convolution of the input with zeros between its elements, taps reversed."""
    n = weight.dim() - 2
    stride, padding, extra, dilation = (per_dim(v, n) for v in (stride, padding, output_padding, dilation))
    batched = input.dim() == n + 2
    x = input if batched else input.unsqueeze(0)
    if x.dim() != n + 2 or x.size(1) != weight.size(0):
        raise RuntimeError(
            f"Given transposed=1, weight of size {list(weight.shape)}, expected input{list(input.shape)} to have "
            f"{weight.size(0)} channels, but got {x.size(1)} channels instead"
        )
    for d in range(n):
        if extra[d] >= max(stride[d], dilation[d]):
            raise RuntimeError(
                "output padding must be smaller than either stride or dilation, but got "
                f"output_padding: {list(extra)}, stride: {list(stride)}, dilation: {list(dilation)}"
            )
        if stride[d] > 1:
            x = _spread(x, 2 + d, stride[d])
    kernel = weight.shape[2:]
    pads: list[int] = []
    for d in reversed(range(n)):
        edge = dilation[d] * (kernel[d] - 1) - padding[d]
        pads += [edge, edge + extra[d]]
    flipped = weight.flip(*range(2, 2 + n)).unflatten(0, (groups, weight.size(0) // groups)).transpose(1, 2)
    flipped = flipped.reshape(groups * weight.size(1), weight.size(0) // groups, *kernel)
    conv = getattr(ops, f"conv{n}d")
    result = conv(ops.pad(x, pads), flipped, bias, 1, 0, dilation, groups)
    return result if batched else result.squeeze(0)


def _spread(x: Tensor, dim: int, step: int) -> Tensor:
    """step - 1 zeros between neighbours along `dim`."""
    length = x.size(dim)
    gaps = x.new_zeros((*x.shape[: dim + 1], step - 1, *x.shape[dim + 1 :]))
    return (
        torch.cat([x.unsqueeze(dim + 1), gaps], dim + 1)
        .flatten(dim, dim + 1)
        .narrow(dim, 0, (length - 1) * step + 1)
    )


def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Tensor:
    """The gradient of `conv1d` with respect to its input."""
    return _conv_transpose(input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Tensor:
    """The gradient of `conv2d` with respect to its input."""
    return _conv_transpose(input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Tensor:
    """The gradient of `conv3d` with respect to its input."""
    return _conv_transpose(input, weight, bias, stride, padding, output_padding, groups, dilation)
