"""Attention, as a formula."""

from __future__ import annotations

import math
from typing import Any

import flambeau as torch

from ..functional.dropping import dropout

Tensor = Any


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(Q K^T scale + mask) V over the last two dimensions; a boolean mask says who may be seen."""
    if is_causal and attn_mask is not None:
        raise RuntimeError(
            "_scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True"
        )
    length, source = query.size(-2), key.size(-2)
    scale = 1.0 / math.sqrt(query.size(-1)) if scale is None else scale
    if enable_gqa:
        key = key.repeat_interleave(query.size(-3) // key.size(-3), -3)
        value = value.repeat_interleave(query.size(-3) // value.size(-3), -3)
    if is_causal:
        attn_mask = torch.ones(length, source, dtype=torch.bool, device=query.device).tril(0)
    scores = torch.matmul(query * math.sqrt(scale), key.transpose(-2, -1) * math.sqrt(scale))
    hidden = None
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, float("-inf"))
            hidden = ~attn_mask.any(-1, keepdim=True)
        else:
            scores = scores + attn_mask
    weights = scores.softmax(-1)
    if hidden is not None:  # a row that may see nothing gives zeros
        weights = weights.masked_fill(hidden, 0.0)
    if dropout_p > 0.0:
        weights = dropout(weights, dropout_p, True)
    return torch.matmul(weights, value)
