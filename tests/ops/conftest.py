"""Comparison with PyTorch: one call of both on the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau

try:
    import torch
except ImportError:  # what compares with it is skipped, the other tests of the folder run
    torch = None


def numbers(x: Any) -> np.ndarray:
    return x.detach().numpy()


def mine(x: Any) -> Any:
    """A PyTorch tensor as a tensor of flambeau, of the same strides."""
    if not isinstance(x, torch.Tensor):
        return x
    base = x.detach()
    t = flambeau.from_numpy(base.contiguous().numpy().copy())
    if not base.is_contiguous() and base.dim() > 1:
        t = t.transpose(0, 1).contiguous().transpose(0, 1)
    return t.requires_grad_() if x.requires_grad else t


def close(got: Any, want: Any, tolerance: float = 2e-5) -> None:
    """The same shape, dtype and numbers."""
    if isinstance(want, (tuple, list)):
        assert len(got) == len(want)
        for a, b in zip(got, want):
            close(a, b, tolerance)
        return
    assert tuple(got.shape) == tuple(want.shape)
    assert str(got.dtype).rpartition(".")[2] == str(want.dtype).rpartition(".")[2]
    np.testing.assert_allclose(numbers(got), numbers(want), rtol=tolerance, atol=tolerance)


def same_gradients(got: Any, want: Any, tolerance: float) -> None:
    """Gradients agree; none at all is as good as zeros."""
    for a, b in zip(got, want):
        if a is None or b is None:
            assert all(x is None or not numbers(x).any() for x in (a, b))
        else:
            close(a, b, tolerance)


def first(x: Any) -> Any:
    return x[0] if isinstance(x, (tuple, list)) else x


@pytest.fixture
def agree() -> Callable[..., None]:
    """agree(f, *args): f(module, *args) gives the same with both modules, and so do its gradients."""
    pytest.importorskip("torch")

    def check(f: Callable[..., Any], *args: Any, tolerance: float = 2e-5, second: bool = False) -> None:
        theirs, ours = list(args), [mine(a) for a in args]
        want, got = f(torch, *theirs), f(flambeau, *ours)
        close(got, want, tolerance)
        want, got = first(want), first(got)
        inputs = [i for i, a in enumerate(args) if isinstance(a, torch.Tensor) and a.requires_grad]
        if not inputs:
            return
        weights = torch.linspace(0.5, 1.5, want.numel(), dtype=want.dtype).reshape(want.shape)
        a = torch.autograd.grad(
            want, [theirs[i] for i in inputs], weights, create_graph=second, allow_unused=True
        )
        b = flambeau.autograd.grad(
            got, [ours[i] for i in inputs], mine(weights), create_graph=second, allow_unused=True
        )
        same_gradients(b, a, tolerance)
        if second:
            scale = lambda gs: sum((g * g).sum() for g in gs)
            a = torch.autograd.grad(scale(a), [theirs[i] for i in inputs], allow_unused=True)
            b = flambeau.autograd.grad(scale(b), [ours[i] for i in inputs], allow_unused=True)
            same_gradients(b, a, 10 * tolerance)

    return check
