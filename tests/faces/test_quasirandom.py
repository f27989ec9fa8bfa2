"""Sobol' sequences: PyTorch's points, plain and scrambled, and the state that drawing leaves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flambeau

SobolEngine = flambeau.quasirandom.SobolEngine


def _points(module: Any, dimension: int, scramble: bool) -> list[Any]:
    engine = module.quasirandom.SobolEngine(dimension, scramble, seed=7)
    made = [engine.draw(1), engine.draw(5)]
    engine.fast_forward(9)
    made.append(engine.draw(49, dtype=module.float64))
    engine.reset()
    made.append(engine.draw_base2(4))
    engine.reset().fast_forward(3)
    return [m.numpy() for m in (*made, engine.draw(2))]


@pytest.mark.parametrize("scramble", [False, True])
@pytest.mark.parametrize("dimension", [1, 2, 40])
def test_points_are_pytorchs(dimension: int, scramble: bool) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("scipy")
    for ours, theirs in zip(
        _points(flambeau, dimension, scramble), _points(torch, dimension, scramble), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype


def test_the_first_dimension_is_van_der_corputs_sequence() -> None:
    points = SobolEngine(1).draw(8)[:, 0].tolist()
    assert points == [0, 0.5, 0.75, 0.25, 0.375, 0.875, 0.625, 0.125]


def test_what_is_not_balanced_is_refused() -> None:
    engine = SobolEngine(1)
    engine.draw(1)
    with pytest.raises(ValueError, match="power of 2"):
        engine.draw_base2(2)
    with pytest.raises(ValueError, match="dimensionality"):
        SobolEngine(0)
