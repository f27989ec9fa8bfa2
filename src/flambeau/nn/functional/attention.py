"""Multi-head attention as a function of all its weights."""

from __future__ import annotations

import math
from typing import Any

import flambeau as torch

from .dropping import dropout
from .table import ops, warn

Tensor = Any


def _expect(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def canonical_mask(
    mask: Tensor | None,
    name: str,
    other_type: Any,
    other_name: str,
    target_type: Any,
    check_other: bool = True,
) -> Tensor | None:
    """A mask to be added to scores: a boolean one becomes 0 where False and -inf where True."""
    if mask is None:
        return None
    if mask.dtype != torch.bool and not mask.is_floating_point():
        raise RuntimeError(f"only bool and floating types of {name} are supported")
    if check_other and other_type is not None and mask.dtype != other_type:
        warn(
            f"Support for mismatched {name} and {other_name} is deprecated. Use same type for both instead.",
            stacklevel=4,
        )
    if mask.is_floating_point():
        return mask
    return torch.zeros_like(mask, dtype=target_type).masked_fill_(mask, float("-inf"))


def _check_shapes(query: Tensor, key: Tensor, value: Tensor, padding: Any, mask: Any, heads: int) -> bool:
    """Whether the inputs are batched; complains if their numbers of dimensions do not fit together."""
    dims = query.dim()
    if dims not in (2, 3):
        raise AssertionError(
            f"query should be unbatched 2D or batched 3D tensor but received {dims}-D query tensor"
        )
    kind = "batched (3-D)" if dims == 3 else "unbatched (2-D)"
    _expect(
        key.dim() == dims and value.dim() == dims,
        f"For {kind} `query`, expected `key` and `value` to be {dims}-D but found {key.dim()}-D and "
        f"{value.dim()}-D tensors respectively",
    )
    if padding is not None:
        _expect(
            padding.dim() == dims - 1,
            f"For {kind} `query`, expected `key_padding_mask` to be `None` or {dims - 1}-D but found "
            f"{padding.dim()}-D tensor instead",
        )
    if mask is not None:
        _expect(
            mask.dim() in (2, 3),
            f"For {kind} `query`, expected `attn_mask` to be `None`, 2-D or 3-D but found {mask.dim()}-D tensor "
            "instead",
        )
        if dims == 2 and mask.dim() == 3:
            wanted = (heads, query.shape[0], key.shape[0])
            _expect(mask.shape == wanted, f"Expected `attn_mask` shape to be {wanted} but got {mask.shape}")
    return dims == 3


def _project_packed(query: Tensor, key: Tensor, value: Tensor, weight: Tensor, bias: Tensor | None) -> tuple:
    """Queries, keys and values from one weight (3E, E); one product where the inputs are the same tensor."""
    size = query.size(-1)
    linear = ops.linear
    if key is value:
        if query is key:
            return linear(query, weight, bias).chunk(3, dim=-1)
        w_q, w_kv = weight.split([size, size * 2])
        b_q, b_kv = (None, None) if bias is None else bias.split([size, size * 2])
        return (linear(query, w_q, b_q), *linear(key, w_kv, b_kv).chunk(2, dim=-1))
    weights = weight.chunk(3)
    biases = (None, None, None) if bias is None else bias.chunk(3)
    return tuple(linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases))


def _project_separate(
    query: Tensor, key: Tensor, value: Tensor, weights: tuple, bias: Tensor | None
) -> tuple:
    size = query.size(-1)
    inputs = (query, key, value)
    for name, x, weight in zip(("query", "key", "value"), inputs, weights):
        _expect(weight is not None, f"use_separate_proj_weight is True but {name[0]}_proj_weight is None")
        shape = (size, x.size(-1))
        _expect(
            tuple(weight.shape) == shape, f"expecting {name} weights shape of {shape}, but got {weight.shape}"
        )
    biases = (None, None, None) if bias is None else bias.chunk(3)
    return tuple(ops.linear(x, w, b) for x, w, b in zip(inputs, weights, biases))


def _fitted_mask(mask: Tensor, heads: _Heads) -> Tensor:
    """The attention mask with four dimensions: (1, 1, L, S) or (N, heads, L, S)."""
    wanted: tuple[int, ...] = (heads.length, heads.source)
    if mask.dim() == 3:
        wanted = (heads.count, *wanted)
    if tuple(mask.shape) != wanted:
        raise RuntimeError(
            f"The shape of the {mask.dim()}D attn_mask is {mask.shape}, but should be {wanted}."
        )
    return mask[None, None] if mask.dim() == 2 else mask.unflatten(0, (heads.batch, heads.heads))


def _extended(mask: Tensor | None, count: int = 1) -> Tensor | None:
    """The mask with `count` more keys that everybody may see."""
    if mask is None:
        return None
    return torch.cat([mask, mask.new_zeros((*mask.shape[:-1], count))], dim=-1)


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Attention of `num_heads` heads (Vaswani et al. 2017): query (L, N, E), key (S, N, Ek), value (S, N, Ev), or the
    same without N. Returns (output (L, N, E), weights (N, L, S) if `need_weights`)."""
    batched = _check_shapes(query, key, value, key_padding_mask, attn_mask, num_heads)
    if not batched:
        query, key, value = _batched(query, key, value)
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    key_padding_mask, attn_mask = _checked_masks(query, key_padding_mask, attn_mask, need_weights, is_causal)
    is_causal = is_causal and key_padding_mask is None and not need_weights
    _check_sizes(query, key, value, embed_dim_to_check, num_heads, use_separate_proj_weight)
    if use_separate_proj_weight:
        separate = (q_proj_weight, k_proj_weight, v_proj_weight)
        q, k, v = _project_separate(query, key, value, separate, in_proj_bias)
    else:
        _expect(in_proj_weight is not None, "use_separate_proj_weight is False but in_proj_weight is None")
        q, k, v = _project_packed(query, key, value, in_proj_weight, in_proj_bias)
    heads = _Heads(q.size(0), k.size(0), q.size(1), q.size(2), num_heads)
    if attn_mask is not None:
        attn_mask = _fitted_mask(attn_mask, heads)
    if bias_k is not None and bias_v is not None:
        _expect(static_k is None, "bias cannot be added to static key.")
        _expect(static_v is None, "bias cannot be added to static value.")
        k, v = (torch.cat([x, bias.repeat(1, heads.batch, 1)]) for x, bias in ((k, bias_k), (v, bias_v)))
        attn_mask, key_padding_mask = _extended(attn_mask), _extended(key_padding_mask)
    q, k, v = heads.split(q), heads.split(k, static_k, "key"), heads.split(v, static_v, "value")
    if add_zero_attn:
        k, v = (torch.cat([x, x.new_zeros((heads.batch, heads.heads, 1, heads.size))], dim=2) for x in (k, v))
        attn_mask, key_padding_mask = _extended(attn_mask), _extended(key_padding_mask)
    if key_padding_mask is not None:
        attn_mask = heads.with_padding(attn_mask, key_padding_mask, k.size(2))
    output, weights = heads.attend(q, k, v, attn_mask, dropout_p * training, need_weights, is_causal)
    output = ops.linear(output, out_proj_weight, out_proj_bias).unflatten(0, (heads.length, heads.batch))
    weights = weights.mean(dim=1) if weights is not None and average_attn_weights else weights
    if batched:
        return output, weights
    return output.squeeze(1), None if weights is None else weights.squeeze(0)


def _batched(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The three with a batch of one; those that are one tensor stay one tensor."""
    q = query.unsqueeze(1)
    k = q if query is key else key.unsqueeze(1)
    return q, k, k if key is value else value.unsqueeze(1)


def _checked_masks(query: Tensor, padding: Any, mask: Any, need_weights: bool, is_causal: bool) -> tuple:
    """Both masks as numbers to be added."""
    mask_type = None if mask is None else mask.dtype
    padding = canonical_mask(padding, "key_padding_mask", mask_type, "attn_mask", query.dtype)
    if is_causal and mask is None:
        raise RuntimeError(
            "Need attn_mask if specifying the is_causal hint. You may use the Transformer module method "
            "`generate_square_subsequent_mask` to create this mask."
        )
    if is_causal and padding is None and not need_weights:
        return padding, None  # the attention kernel makes the causal mask itself
    return padding, canonical_mask(mask, "attn_mask", None, "", query.dtype, check_other=False)


def _check_sizes(
    query: Tensor, key: Tensor, value: Tensor, embed_dim: int, heads: int, separate: bool
) -> None:
    size = query.size(-1)
    _expect(size == embed_dim, f"was expecting embedding dimension of {embed_dim}, but got {size}")
    _expect(size % heads == 0, f"embed_dim {size} not divisible by num_heads {heads}")
    if separate:
        _expect(
            key.shape[:2] == value.shape[:2],
            f"key's sequence and batch dims {key.shape[:2]} do not match value's {value.shape[:2]}",
        )
    else:
        _expect(key.shape == value.shape, f"key shape {key.shape} does not match value shape {value.shape}")


class _Heads:
    """The sizes of one attention, and the steps that need them."""

    def __init__(self, length: int, source: int, batch: int, embed: int, heads: int):
        self.length, self.source, self.batch, self.embed, self.heads = length, source, batch, embed, heads
        self.count, self.size = batch * heads, embed // heads

    def split(self, x: Tensor, static: Tensor | None = None, name: str = "") -> Tensor:
        """(S, N, E) -> (N, heads, S, E / heads), a view; a static tensor has its first two dimensions in one."""
        if static is None:
            return x.unflatten(-1, (self.heads, self.size)).permute(1, 2, 0, 3)
        for dim, wanted in ((0, self.count), (2, self.size)):
            _expect(
                static.size(dim) == wanted,
                f"expecting static_{name[0]}.size({dim}) of {wanted}, but got {static.size(dim)}",
            )
        return static.unflatten(0, (self.batch, self.heads))

    def with_padding(self, mask: Tensor | None, padding: Tensor, source: int) -> Tensor:
        """The mask (N or 1, heads or 1, L or 1, S) that leaves out padding keys too."""
        _expect(
            tuple(padding.shape) == (self.batch, source),
            f"expecting key_padding_mask shape of {(self.batch, source)}, but got {padding.shape}",
        )
        each = padding.view(self.batch, 1, 1, source)
        return each if mask is None else mask + each

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, p: float, need_weights: bool, causal: bool
    ) -> tuple[Tensor, Tensor | None]:
        """(L N, E) and the weights (N, heads, L, S), if they are wanted."""
        weights = None
        if need_weights:
            scores = torch.matmul(q * math.sqrt(1.0 / float(self.size)), k.transpose(-2, -1))
            weights = (scores if mask is None else scores + mask).softmax(-1)
            if p > 0.0:
                weights = dropout(weights, p=p)
            output = torch.matmul(weights, v)
        else:
            if mask is not None:
                mask = mask.expand(self.batch, self.heads, self.length, k.size(2))
            output = ops.scaled_dot_product_attention(q, k, v, mask, p, causal)
        return output.permute(2, 0, 1, 3).reshape(self.length * self.batch, self.embed), weights
