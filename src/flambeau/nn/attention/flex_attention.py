"""Attention whose scores and mask are functions of batch, head, query and key position, evaluated for all at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flambeau as torch

Tensor = Any
MaskMod = Callable[[Any, Any, Any, Any], Any]  # (b, h, q_idx, kv_idx) -> bool

_DEFAULT_SPARSE_BLOCK_SIZE = 128


class AuxRequest(NamedTuple):
    """What `flex_attention` shall return beside its result."""

    lse: bool = False
    max_scores: bool = False


class AuxOutput(NamedTuple):
    """What was asked for by an `AuxRequest`, None for the rest."""

    lse: Any = None
    max_scores: Any = None


def noop_mask(batch: Tensor, head: Tensor, token_q: Tensor, token_kv: Tensor) -> Tensor:
    """Everybody may see everything."""
    return torch.ones_like(token_q + token_kv, dtype=torch.bool)


def and_masks(*mask_mods: MaskMod) -> MaskMod:
    """What all of the masks allow."""

    def joined(b: Tensor, h: Tensor, q: Tensor, kv: Tensor) -> Tensor:
        result = mask_mods[0](b, h, q, kv)
        for mod in mask_mods[1:]:
            result = result & mod(b, h, q, kv)
        return result

    return joined


def or_masks(*mask_mods: MaskMod) -> MaskMod:
    """What one of the masks allows."""

    def joined(b: Tensor, h: Tensor, q: Tensor, kv: Tensor) -> Tensor:
        result = mask_mods[0](b, h, q, kv)
        for mod in mask_mods[1:]:
            result = result | mod(b, h, q, kv)
        return result

    return joined


def _positions(batch: int, heads: int, length: int, source: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(b, h, q, kv), each along a dimension of its own."""
    sizes = (batch, heads, length, source)
    views = (torch.arange(n).view(*(n if i == d else 1 for i in range(4))) for d, n in enumerate(sizes))
    b, h, q, kv = views
    return b, h, q, kv


def create_mask(
    mod_fn: MaskMod, B: int | None, H: int | None, Q_LEN: int, KV_LEN: int, device: Any = "cpu"
) -> Tensor:
    """The mask (B, H, Q_LEN, KV_LEN) of a function; B and H default to 1."""
    b, h = B or 1, H or 1
    return mod_fn(*_positions(b, h, Q_LEN, KV_LEN)).expand(b, h, Q_LEN, KV_LEN)


class BlockMask:
    """A mask function with its sizes; which blocks of it hold anything is counted for show."""

    def __init__(self, mask_mod: MaskMod, shape: tuple[int, int, int, int], block_size: tuple[int, int]):
        self.mask_mod, self.shape, self.BLOCK_SIZE = mask_mod, shape, block_size
        self.seq_lengths = shape[2:]

    def to_dense(self) -> Tensor:
        """The blocks that hold anything: (B, H, query blocks, key blocks) of 0 and 1."""
        mask = create_mask(self.mask_mod, *self.shape)
        rows, columns = (-(-n // size) for n, size in zip(self.shape[2:], self.BLOCK_SIZE))
        pad_q, pad_kv = (
            rows * self.BLOCK_SIZE[0] - self.shape[2],
            columns * self.BLOCK_SIZE[1] - self.shape[3],
        )
        padded = torch.nn.functional.pad(mask.to(torch.int64), (0, pad_kv, 0, pad_q))
        blocks = padded.reshape(*self.shape[:2], rows, self.BLOCK_SIZE[0], columns, self.BLOCK_SIZE[1])
        return (blocks.sum(5).sum(3) > 0).to(torch.int64)

    def numel(self) -> int:
        """The number of entries of the mask."""
        return math.prod(self.shape)

    def sparsity(self) -> float:
        """The percentage of blocks that hold nothing."""
        dense = self.to_dense()
        return 100.0 * (1 - dense.sum().item() / dense.numel())

    def to(self, device: Any) -> BlockMask:
        """The same mask."""
        return self

    def __repr__(self) -> str:
        return f"BlockMask(shape={self.shape}, sparsity={self.sparsity():.2f}%)"


def create_block_mask(
    mask_mod: MaskMod,
    B: int | None,
    H: int | None,
    Q_LEN: int,
    KV_LEN: int,
    device: Any = "cpu",
    BLOCK_SIZE: int | tuple[int, int] = _DEFAULT_SPARSE_BLOCK_SIZE,
    _compile: bool = False,
) -> BlockMask:
    """The BlockMask of a function mask_mod(b, h, q_idx, kv_idx); B and H default to 1, for all."""
    size = (BLOCK_SIZE, BLOCK_SIZE) if isinstance(BLOCK_SIZE, int) else tuple(BLOCK_SIZE)
    return BlockMask(mask_mod, (B or 1, H or 1, Q_LEN, KV_LEN), size)


def flex_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    score_mod: Callable[..., Any] | None = None,
    block_mask: BlockMask | None = None,
    scale: float | None = None,
    enable_gqa: bool = False,
    return_lse: bool = False,
    kernel_options: Any = None,
    *,
    return_aux: AuxRequest | None = None,
) -> Any:
    """softmax(score_mod(Q K^T scale, b, h, q_idx, kv_idx)) V over (B, H, L, E), where block_mask allows; with
    return_aux also an AuxOutput: of each query the logarithm of the sum of exponentials, and the largest score."""
    if enable_gqa:
        repeats = query.size(1) // key.size(1)
        key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
    scale = 1.0 / math.sqrt(query.size(-1)) if scale is None else scale
    scores = torch.matmul(query, key.transpose(-2, -1)) * scale
    b, h, q, kv = _positions(*scores.shape)
    if score_mod is not None:
        scores = score_mod(scores, b, h, q, kv)
    hidden = None
    if block_mask is not None:
        allowed = block_mask.mask_mod(b, h, q, kv).expand(scores.shape)
        scores = torch.where(allowed, scores, torch.full_like(scores, float("-inf")))
        hidden = ~allowed.any(-1, keepdim=True)
    weights = scores.softmax(-1)
    if hidden is not None:  # a query that may see nothing gives zeros
        weights = weights.masked_fill(hidden, 0.0)
    output = torch.matmul(weights, value)
    if return_aux is not None:
        lse = scores.logsumexp(-1) if return_aux.lse else None
        return output, AuxOutput(lse, scores.amax(-1) if return_aux.max_scores else None)
    return (output, scores.logsumexp(-1)) if return_lse else output
