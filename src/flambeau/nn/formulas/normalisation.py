"""Normalisation and distances, as formulas."""

from __future__ import annotations

from typing import Any

import flambeau as torch

Tensor = Any


def _by_channel(values: Tensor, dims: int) -> Tensor:
    return values.view(1, -1, *(1,) * (dims - 2))


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) weight + bias per channel (dimension 1); moves the running statistics."""
    dims = input.dim()
    if dims < 2:
        return input.clone()  # no channels
    if not training and (running_mean is None or running_var is None):
        raise RuntimeError("Expected running_mean and running_var to be defined in evaluation mode")
    for name, given in (
        ("running_mean", running_mean),
        ("running_var", running_var),
        ("weight", weight),
        ("bias", bias),
    ):
        if given is not None and given.numel() != input.size(1):
            raise RuntimeError(f"{name} should contain {input.size(1)} elements not {given.numel()}")
    if training:
        over = [d for d in range(dims) if d != 1]
        mean = input.mean(over, keepdim=True)
        centred = input - mean
        var = (centred * centred).mean(over, keepdim=True)
        if input.numel() and (running_mean is not None or running_var is not None):
            _move_statistics(running_mean, running_var, mean.flatten(), var.flatten(), input, momentum)
    else:
        centred, var = input - _by_channel(running_mean, dims), _by_channel(running_var, dims)
    result = centred * torch.rsqrt(var + eps)
    if weight is not None:
        result = result * _by_channel(weight, dims)
    return result if bias is None else result + _by_channel(bias, dims)


def _move_statistics(
    running_mean: Any, running_var: Any, mean: Tensor, var: Tensor, input: Tensor, momentum: float
) -> None:
    count = input.numel() // max(input.size(1), 1)
    with torch.no_grad():
        if running_mean is not None:
            running_mean.mul_(1 - momentum).add_(mean.detach() * momentum)
        if running_var is not None:
            unbiased = var.detach() * (count / max(count - 1, 1))
            running_var.mul_(1 - momentum).add_(unbiased * momentum)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`batch_norm` of each sample; the running statistics move by the mean over samples."""
    dims = input.dim()
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    over = list(range(2, dims))
    mean = input.mean(over, keepdim=True)
    centred = input - mean
    var = (centred * centred).mean(over, keepdim=True)
    if running_mean is not None or running_var is not None:
        count = input.numel() // max(input.size(0) * input.size(1), 1)
        with torch.no_grad():
            for kept, now in ((running_mean, mean), (running_var, var * (count / max(count - 1, 1)))):
                if kept is not None:
                    kept.mul_(1 - momentum).add_(now.detach().flatten(1).mean(0) * momentum)
    result = centred * torch.rsqrt(var + eps)
    if weight is not None:
        result = result * _by_channel(weight, dims)
    return result if bias is None else result + _by_channel(bias, dims)


def _trailing(input: Tensor, normalized_shape: Any) -> list[int]:
    """The last dimensions, which must be of the shape given."""
    shape = tuple(normalized_shape)
    if tuple(input.shape[input.dim() - len(shape) :]) != shape or not shape:
        sizes = ", ".join(["*", *map(str, shape)])
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [{sizes}], but got input of size"
            f"{list(input.shape)}"
        )
    return list(range(-len(shape), 0))


def layer_norm(
    input: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) weight + bias over the last dimensions."""
    over = _trailing(input, normalized_shape)
    mean = input.mean(over, keepdim=True)
    centred = input - mean
    result = centred * torch.rsqrt((centred * centred).mean(over, keepdim=True) + eps)
    if weight is not None:
        result = result * weight
    return result if bias is None else result + bias


def rms_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """x / sqrt(mean(x^2) + eps) weight over the last dimensions."""
    over = _trailing(input, normalized_shape)
    small = torch.finfo(input.dtype).eps if eps is None else eps
    result = input * torch.rsqrt((input * input).mean(over, keepdim=True) + small)
    return result if weight is None else result * weight


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) over each group of channels, then scaled per channel."""
    batch, channels = input.shape[:2]
    if channels % num_groups:
        raise RuntimeError(
            "Expected number of channels in input to be divisible by num_groups, but got input of shape "
            f"{list(input.shape)} and num_groups={num_groups}"
        )
    width = input.numel() // max(batch * num_groups, 1)
    grouped = input.reshape(batch, num_groups, width)
    centred = grouped - grouped.mean(-1, keepdim=True)
    result = centred * torch.rsqrt((centred * centred).mean(-1, keepdim=True) + eps)
    result = result.reshape(input.shape)
    if weight is not None:
        result = result * _by_channel(weight, input.dim())
    return result if bias is None else result + _by_channel(bias, input.dim())


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """x1 . x2 / (max(|x1|, eps) max(|x2|, eps))."""
    x1, x2 = torch.broadcast_tensors(x1, x2)
    n1 = torch.sqrt((x1 * x1).sum(dim, keepdim=True)).clamp(min=eps)
    n2 = torch.sqrt((x2 * x2).sum(dim, keepdim=True)).clamp(min=eps)
    return ((x1 / n1) * (x2 / n2)).sum(dim)


def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """|x1 - x2 + eps|_p along the last dimension."""
    return (x1 - x2 + eps).norm(p, -1, keepdim)


def pdist(input: Tensor, p: float = 2) -> Tensor:
    """The p-norm distances between all pairs of rows, in the order (0, 1), (0, 2), ..., (1, 2), ..."""
    n = input.size(0)
    i, j = torch.triu_indices(n, n, 1, device=input.device)
    return (input[i] - input[j]).norm(p, -1)
