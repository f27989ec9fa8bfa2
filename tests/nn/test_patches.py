"""unfold and fold, there and back and twice, beside PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flambeau

torch = pytest.importorskip("torch")


def results(t: Any, shape: tuple[int, ...], window: tuple[Any, ...]) -> list[Any]:
    """Gradients of unfold and what they are differentiable to; fold of the same, and its gradient."""
    rng, F = np.random.default_rng(0), t.nn.functional
    x = t.tensor(rng.standard_normal(shape).astype(np.float32)).requires_grad_()
    y = F.unfold(x, *window)
    g = t.tensor(rng.standard_normal(tuple(y.shape)).astype(np.float32)).requires_grad_()
    (back,) = t.autograd.grad(y, x, g, create_graph=True)
    (twice,) = t.autograd.grad((back * back).sum(), g)
    image = F.fold(g, shape[2:], *window)
    (there,) = t.autograd.grad((image * image * image).sum(), g)
    return [v.detach().numpy() for v in (y, back, twice, image, there)]


@pytest.mark.parametrize(
    ("shape", "window"),
    [
        ((2, 3, 9, 11), (3, 1, 1, 1)),
        ((2, 3, 9, 11), ((2, 3), (2, 1), (0, 1), (1, 2))),
        ((1, 2, 17, 13), (5, 1, 2, 3)),
        ((2, 2, 19, 20), ((6, 5), 1, 1, 2)),
        ((1, 2, 12, 12), (6, 1, 0, 6)),
        ((2, 3, 13, 11), (2, 1, 1, 3)),
        ((2, 3, 14, 15), (4, 1, 1, 2)),
        ((1, 2, 15, 17), ((3, 2), (2, 3), 0, (3, 2))),
        ((2, 3, 27, 40), (2, 1, 0, 2)),
        ((2, 3, 26, 23), ((1, 3), 1, 0, (2, 5))),
        ((1, 2, 20, 34), (5, 1, 0, (5, 6))),
    ],
)
def test_patches(shape: tuple[int, ...], window: tuple[Any, ...]) -> None:
    for got, want in zip(results(flambeau, shape, window), results(torch, shape, window), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("window", [(4, 2), (4, 4), (3, 1), (20, 1), (17, 1), (16, 3)])
def test_windows_of_a_row(window: tuple[int, int]) -> None:
    a, grads = np.random.default_rng(1).standard_normal((5, 20)).astype(np.float32), []
    for t in (flambeau, torch):
        x = t.tensor(a).requires_grad_()
        (back,) = t.autograd.grad((x.unfold(1, *window) ** 2).sum(), x)
        grads.append(back.numpy())
    np.testing.assert_allclose(*grads, rtol=1e-5, atol=1e-6)


def test_patches_side_by_side_are_one_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    from flambeau.stream.nests import NestBuilder

    seen: list[Any] = []
    finish = NestBuilder.finish
    x = flambeau.full((2, 3 * 4, 13 * 20), -0.0)
    flambeau.synchronize()
    monkeypatch.setattr(
        NestBuilder, "finish", lambda self, *given: (seen.append(given), finish(self, *given))[1]
    )
    image = flambeau.nn.functional.fold(x, (26, 41), 2, stride=2).numpy()
    assert len(seen) == 2  # that and the zeros
    assert not np.signbit(image).any()  # 0 + -0 is 0
