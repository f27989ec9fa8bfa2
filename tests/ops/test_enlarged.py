"""Images whose elements become tiles (nearest interpolation by whole factors), and their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flambeau as torch
import flambeau.nn.functional as F

CASES = [((2, 3, 5, 7), (2, 2)), ((2, 3, 5, 7), (3, 4)), ((2, 3, 33, 40), (1, 2)), ((2, 3, 17), (4,))]
CASES += [((1, 2, 3, 4, 5), (2, 2, 3)), ((1, 2, 3, 4), (5, 5))]  # the last one: too many for a copy


def repeated(a: np.ndarray, factors: tuple[int, ...]) -> np.ndarray:
    for d, k in enumerate(factors):
        a = np.repeat(a, k, 2 + d)
    return a


def added(a: np.ndarray, factors: tuple[int, ...]) -> np.ndarray:
    for d, k in enumerate(factors):
        a = np.add.reduceat(a, np.arange(0, a.shape[2 + d], k), 2 + d)
    return a


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "uint8", "float64"])
@pytest.mark.parametrize(("shape", "factors"), CASES, ids=str)
def test_elements_become_tiles(
    shape: tuple[int, ...], factors: tuple[int, ...], dtype: str, last: bool, mode: str
) -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(0, 9, shape)
    x = torch.tensor(a).to(getattr(torch, dtype))
    last = last and x.dim() == 4
    x = x.to(memory_format=torch.channels_last) if last else x
    y = F.interpolate(x, scale_factor=factors, mode=mode)
    np.testing.assert_array_equal(y.double().numpy(), repeated(a, factors))
    size = [n * k for n, k in zip(shape[2:], factors)]
    assert F.interpolate(x, size=size, mode=mode).equal(y)
    view = (
        F.interpolate(x[:, 1:].transpose(-1, -2), scale_factor=factors, mode=mode) if x.dim() == 4 else None
    )
    if view is not None:
        np.testing.assert_array_equal(view.double().numpy(), repeated(a[:, 1:].swapaxes(2, 3), factors))
        assert y.is_contiguous(memory_format=torch.channels_last) == last
    if dtype == "uint8":
        return
    z = x.clone().requires_grad_()
    y = F.interpolate(z, scale_factor=factors, mode=mode)
    g = rng.integers(0, 9, tuple(y.shape))
    y.backward(torch.tensor(g).to(x.dtype))
    np.testing.assert_array_equal(z.grad.double().numpy(), added(g, factors))


def test_gradients_of_both_orders() -> None:
    x = torch.tensor(np.random.default_rng(1).standard_normal((1, 2, 3, 2)), requires_grad=True)

    def enlarged(x: Any) -> Any:
        return F.interpolate(x * x, scale_factor=(2, 3))

    assert torch.autograd.gradcheck(enlarged, (x,))
    assert torch.autograd.gradgradcheck(enlarged, (x,))


def test_each_sample_of_a_batch() -> None:
    x = torch.tensor(np.random.default_rng(2).standard_normal((4, 2, 3, 5, 6)))
    found = torch.func.vmap(lambda t: F.interpolate(t, scale_factor=2))(x)
    np.testing.assert_array_equal(
        found.numpy(), repeated(x.flatten(0, 1).numpy(), (2, 2)).reshape(found.shape)
    )
