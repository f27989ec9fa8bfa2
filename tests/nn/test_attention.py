"""nn.attention on flambeau's own tensors: the choices of kernels, and attention given by functions."""

from __future__ import annotations

import pytest

import flambeau as torch
from flambeau.nn.attention import SDPBackend, sdpa_kernel
from flambeau.nn.attention.flex_attention import and_masks, create_block_mask, create_mask, flex_attention


def causal(b, h, q, kv):
    return q >= kv


def test_kernels_can_be_named() -> None:
    q = torch.randn(1, 2, 3, 4)
    with sdpa_kernel([SDPBackend.MATH, SDPBackend.FLASH_ATTENTION]):
        out = torch.nn.functional.scaled_dot_product_attention(q, q, q, is_causal=True)
    assert out.shape == (1, 2, 3, 4)
    with pytest.raises(AssertionError), sdpa_kernel("math"):
        pass


def test_flex_attention_is_attention_with_the_mask_of_its_function() -> None:
    q, k, v = torch.randn(2, 2, 5, 4), torch.randn(2, 2, 5, 4), torch.randn(2, 2, 5, 4)
    mask = create_block_mask(causal, None, None, 5, 5)
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert torch.allclose(flex_attention(q, k, v, block_mask=mask), expected, atol=1e-5)
    biased = flex_attention(q, k, v, score_mod=lambda s, b, h, i, j: s + (j - i) * 0.5)
    bias = (torch.arange(5) - torch.arange(5).unsqueeze(1)) * 0.5
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    assert torch.allclose(biased, expected, atol=1e-5)


def test_masks_of_functions() -> None:
    window = and_masks(causal, lambda b, h, q, kv: q - kv < 2)
    assert create_mask(window, None, None, 3, 3)[0, 0].tolist() == [
        [True, False, False],
        [True, True, False],
        [False, True, True],
    ]
    blocks = create_block_mask(causal, 1, 1, 256, 256)
    assert blocks.to_dense().tolist() == [[[[1, 0], [1, 1]]]]
    assert repr(blocks) == "BlockMask(shape=(1, 1, 256, 256), sparsity=25.00%)"
