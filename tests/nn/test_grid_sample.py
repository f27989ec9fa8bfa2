"""Gradients of grid_sample at and beyond the border, beside PyTorch's."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

import flambeau

torch = pytest.importorskip("torch")
MODES, PADDINGS = ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection")
CASES = [*itertools.product(MODES, PADDINGS, (True, False))]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradients(case: tuple[str, str, bool]) -> None:
    def gradients(T: Any) -> list[Any]:
        T.manual_seed(0)
        image = T.randn(1, 2, 5, 6).requires_grad_()
        grid = T.randn(1, 4, 4, 2) * 1.3
        grid[0, 0] = T.tensor([[-1.0, 1.0], [1.0, 0.0], [-0.8, 0.8], [0.0, -1.0]])  # on the border
        grid.requires_grad_()
        made = T.nn.functional.grid_sample(image, grid, *case)
        (made * T.arange(32.0).reshape(1, 2, 4, 4)).sum().backward()
        return [t.detach().numpy() for t in (made, image.grad, grid.grad)]

    for ours, theirs in zip(gradients(flambeau), gradients(torch), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-3)


KINDS = [("bilinear", 2), ("nearest", 2), ("bicubic", 2), ("bilinear", 3), ("nearest", 3)]


def _sampled(mode: str, dims: int, padding: str, align: bool) -> tuple[Any, list[Any]]:
    """The function of image and grid, and both, in float64; more places than lanes, none of them on an edge."""
    flambeau.manual_seed(3)
    image = flambeau.randn(2, 3, *(4, 5, 6)[-dims:], dtype=flambeau.float64)
    grid = flambeau.rand(2, *(3, 2, 7)[-dims:], dims, dtype=flambeau.float64) * 2.4 - 1.2
    f = lambda x, g: flambeau.nn.functional.grid_sample(x, g, mode, padding, align)
    return f, [image.requires_grad_(), grid.requires_grad_()]


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(("mode", "dims"), KINDS)
def test_gradients_of_gradients(mode: str, dims: int, padding: str) -> None:
    for align in (True, False):
        f, given = _sampled(mode, dims, padding, align)
        assert flambeau.autograd.gradcheck(f, given)
        assert flambeau.autograd.gradgradcheck(f, given)
        made = f(*given)
        ones = flambeau.ones_like(made)
        by_kernel = flambeau.autograd.grad(made, given, ones, retain_graph=True)
        op_by_op = flambeau.autograd.grad(made, given, ones, create_graph=True)
        for a, b in zip(by_kernel, op_by_op, strict=True):
            assert a.numpy() == pytest.approx(b.detach().numpy(), rel=1e-12, abs=1e-12)


def test_views_halves_and_samples() -> None:
    f = lambda x, g: flambeau.nn.functional.grid_sample(x, g, align_corners=False)
    x, g = flambeau.randn(2, 3, 5, 7), flambeau.randn(2, 9, 4, 2)
    want = f(x, g)
    assert (f(x.contiguous(memory_format=flambeau.channels_last), g) == want).all()
    assert (f(x, g.transpose(1, 2)) == want.transpose(2, 3)).all()
    low = f(x.bfloat16(), g.bfloat16())
    assert low.dtype is flambeau.bfloat16
    assert (low == f(x.bfloat16().float(), g.bfloat16().float()).bfloat16()).all()
    one = flambeau.func.vmap(lambda x, g: f(x[None], g[None])[0])(x, g)
    assert (one == want).all()
    assert f(x[:0], g[:0]).shape == (0, 3, 9, 4)


def test_refusals() -> None:
    f = flambeau.nn.functional.grid_sample
    with pytest.raises(RuntimeError, match="same dtype"):
        f(flambeau.randn(1, 1, 4, 4), flambeau.randn(1, 2, 2, 2, dtype=flambeau.float64), align_corners=False)
    with pytest.raises(RuntimeError, match="non-empty spatial"):
        f(flambeau.randn(1, 1, 0, 4), flambeau.randn(1, 2, 2, 2), align_corners=False)
