"""Look-ups in tables of vectors."""

from __future__ import annotations

from typing import Any

import flambeau as torch

from .table import ops, warn

Tensor = Any


def _renorm(weight: Tensor, input: Tensor, max_norm: float, norm_type: float) -> None:
    """Shortens, in place, the rows of `weight` that `input` names to at most `max_norm`."""
    with torch.no_grad():
        used = torch.unique(input)
        rows = weight.index_select(0, used)
        norm = rows.norm(norm_type, 1, keepdim=True)
        scale = torch.where(norm > max_norm, max_norm / (norm + 1e-7), torch.ones_like(norm))
        weight.index_copy_(0, used, rows * scale)


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """The sum, mean or maximum of weight[bag], for bags that are rows of `input` or begin at `offsets`."""
    if weight.dtype == torch.long and input.is_floating_point():
        warn(
            "Argument order of nn.functional.embedding_bag was changed. Usage `embedding_bag(weight, input, ...)` is "
            "deprecated, and should now be `embedding_bag(input, weight, ...)`."
        )
        weight, input = input, weight
    if per_sample_weights is not None and input.size() != per_sample_weights.size():
        raise ValueError(
            f"embedding_bag: If per_sample_weights ({per_sample_weights.shape}) is not None, then it must have the "
            f"same shape as the input ({input.shape})"
        )
    if not weight.dim() == 2:
        raise ValueError(f"weight has to be a 2D Tensor, but got Tensor of dimension {weight.dim()}")
    length = input.size(1) if input.dim() == 2 else 0
    input, offsets, per_sample_weights = _flat_bags(input, offsets, per_sample_weights)
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if mode == "max" and scale_grad_by_freq:
        raise ValueError("max mode does not support scaling the gradient by the frequency")
    if mode == "max" and sparse:
        raise ValueError("max mode does not support sparse weights")
    if max_norm is not None:
        _renorm(weight, input, max_norm, norm_type)
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported for mode='sum' "
            f"(got mode='{mode}'). Please open a feature request on GitHub."
        )
    if padding_idx is not None:
        rows = weight.size(0)
        if not -rows <= padding_idx < rows:
            raise AssertionError("padding_idx must be within the number of embeddings")
        padding_idx %= rows
    starts = offsets[:-1] if include_last_offset and not length else offsets
    return ops.bags_of_embeddings(
        weight, input, starts, length, mode, scale_grad_by_freq, per_sample_weights, padding_idx, sparse
    )


def _flat_bags(input: Tensor, offsets: Any, weights: Any) -> tuple[Tensor, Tensor, Any]:
    """Indices as one row of numbers, and where each bag begins."""
    if input.dim() == 2:
        if offsets is not None:
            raise ValueError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch of fixed length "
                f"sequences. However, found offsets of type {type(offsets)}"
            )
        count, length = input.size(0), input.size(1)
        offsets = torch.arange(0, count * length, length, dtype=input.dtype, device=input.device)
        if length == 0:
            offsets = torch.zeros(count, dtype=input.dtype, device=input.device)
        return input.reshape(-1), offsets, None if weights is None else weights.reshape(-1)
    if input.dim() != 1:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.dim()}")
    if offsets is None:
        raise ValueError("offsets has to be a 1D Tensor but got None")
    if offsets.dim() != 1:
        raise ValueError("offsets has to be a 1D Tensor")
    return input, offsets, weights
