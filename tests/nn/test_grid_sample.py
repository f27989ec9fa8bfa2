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
