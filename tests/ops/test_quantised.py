"""fake_quantize_*: levels and gradients against NumPy, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flambeau as torch


def by_hand(x: Any, scale: Any, zero: Any, low: int, high: int) -> tuple[Any, Any]:
    """What the elements become, and which of them have a gradient."""
    level = np.rint(x * (np.float32(1) / scale)) + zero
    return (np.clip(level, low, high) - zero) * scale, (level >= low) & (level <= high)


@pytest.mark.parametrize("zero_dtype", ["int32", "float32"])
def test_channels_have_grids_of_their_own(zero_dtype: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 3, 4)).astype(np.float32)
    scale, zero = np.array([0.1, 0.3, 0.05], np.float32), np.array([0, 3, -8], zero_dtype)
    a = torch.tensor(x, requires_grad=True)
    y = torch.fake_quantize_per_channel_affine(a, torch.tensor(scale), torch.tensor(zero), 1, -8, 7)
    y.sum().backward()
    value, inside = by_hand(x, scale[:, None], zero[:, None].astype(np.float32), -8, 7)
    assert inside.any() and not inside.all()
    np.testing.assert_array_equal(y.detach().numpy(), value)
    np.testing.assert_array_equal(a.grad.numpy(), inside)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_one_grid_of_numbers_or_of_tensors(dtype: str) -> None:
    x = torch.tensor([-1.0, -0.25, 0.25, 0.5, 5, float("nan"), float("inf")]).to(getattr(torch, dtype))
    wanted = torch.tensor([-1.0, -0.2, 0.2, 0.4, 0.4, -1.1, 0.4]).to(x.dtype)
    a = x.clone().requires_grad_()
    y = torch.fake_quantize_per_tensor_affine(a, 0.1, 3, -8, 7)
    y.nan_to_num().sum().backward()
    same = torch.fake_quantize_per_tensor_affine(
        x, torch.tensor(0.1), torch.tensor(3, dtype=torch.int32), -8, 7
    )
    assert y.dtype is x.dtype and torch.equal(y, same)
    torch.testing.assert_close(y.detach(), wanted)
    assert a.grad.tolist() == [1, 1, 1, 0, 0, 0, 0]


def test_weights_are_trained_through_their_grid() -> None:
    torch.manual_seed(0)
    x, target = torch.randn(64, 8), torch.randn(64, 4)
    w = torch.randn(4, 8, requires_grad=True)
    scale, zero = torch.full((4,), 0.25), torch.zeros(4, dtype=torch.int32)
    losses = []
    for _ in range(20):
        loss = (
            (x @ torch.fake_quantize_per_channel_affine(w, scale, zero, 0, -8, 7).T - target).square().mean()
        )
        (g,) = torch.autograd.grad(loss, w)
        w.data -= 0.5 * g
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_refused() -> None:
    x, s, z = torch.zeros(3, 4), torch.ones(3), torch.zeros(3, dtype=torch.int32)
    channel, tensor = torch.fake_quantize_per_channel_affine, torch.fake_quantize_per_tensor_affine
    for message, fn in {
        "should be less than or equal": lambda: tensor(x, 0.1, 0, 8, 7),
        "between `quant_min`": lambda: tensor(x, 0.1, 10, -8, 7),
        "must be between": lambda: channel(x, s, torch.tensor([0, 9, 0], dtype=torch.int32), 0, -8, 7),
        "found int64": lambda: channel(x, s, z.long(), 0, -8, 7),
        "found float64": lambda: channel(x, s.double(), z, 0, -8, 7),
        "same dimensions": lambda: channel(x, torch.ones(4), z, 0, -8, 7),
        "not consistent": lambda: channel(x, s, z, 1, -8, 7),
        "number of dimensions": lambda: channel(x, s, z, -1, -8, 7),
    }.items():
        with pytest.raises(RuntimeError, match=message):
            fn().sum().item()
    with pytest.raises(NotImplementedError):
        tensor(x.long(), 0.1, 0, -8, 7)
