"""Bessel functions and Airy's beside SciPy's, over every size of the argument."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import special

import flambeau as torch

Array = Any
REFERENCE: dict[str, Callable[[Array], Array]] = {
    "bessel_j0": special.j0,
    "bessel_j1": special.j1,
    "bessel_y0": special.y0,
    "bessel_y1": special.y1,
    "modified_bessel_k0": special.k0,
    "modified_bessel_k1": special.k1,
    "scaled_modified_bessel_k0": special.k0e,
    "scaled_modified_bessel_k1": special.k1e,
    "airy_ai": lambda x: special.airy(x)[0],
    "spherical_bessel_j0": lambda x: special.spherical_jn(0, x),
}


def points(name: str) -> Array:
    rng = np.random.default_rng(3)
    near = [rng.uniform(0, 9, 4000), rng.uniform(0, 60, 4000), 10.0 ** rng.uniform(-30, 2, 2000)]
    x = np.concatenate(near)
    signed = np.concatenate([x, -x])
    return signed if name.endswith(("j0", "j1", "ai")) else x


def size(name: str, x: Array, y: Array) -> Array:
    """What errors are measured by: |y|, or the amplitude of the wave at x where that is larger."""
    a = np.maximum(np.abs(x), 1.0)
    if name == "airy_ai":
        return np.where(x < -1, np.maximum(np.abs(y), a**-0.25 / np.sqrt(np.pi)), np.abs(y))
    wave = {"bessel_": np.sqrt(2 / (np.pi * a)), "spheric": 1 / a}.get(name[:7], 0.0)
    return np.maximum(np.abs(y), np.where(np.abs(x) > 0.5, wave, 0.0))


@pytest.mark.parametrize("name", REFERENCE)
def test_values(name: str) -> None:
    x = points(name)
    y = REFERENCE[name](x)
    got = getattr(torch.special, name)(torch.tensor(x)).numpy()
    error = np.abs(got - y) / size(name, x, y)
    assert error[np.abs(x) < 8].max() < (4e-14 if name == "airy_ai" else 4e-15)
    # SciPy's own error grows with x, as the rounding of x - pi/4 does
    assert error.max() < (3e-13 if name == "airy_ai" else 1e-14)
    x = x[np.abs(x) > 1e-30].astype(np.float32)
    y = REFERENCE[name](x.astype(np.float64))
    got = getattr(torch.special, name)(torch.tensor(x)).numpy()
    with np.errstate(over="ignore"):
        unit = np.maximum(np.spacing(np.abs(y).astype(np.float32)).astype(np.float64), 2.0**-149)
    inside = np.isfinite(got) & (np.abs(y) > 1e-37)
    assert np.max((np.abs(got - y) / unit)[inside]) < 0.52


def test_edges() -> None:
    """Zero, its neighbours, infinity and NaN; j1 keeps the sign of zero."""
    inf, nan = float("inf"), float("nan")
    x = torch.tensor([0.0, inf, -inf, nan, -1.0], dtype=torch.float64)
    wanted = {
        "bessel_j0": [1, 0, 0, nan, special.j0(1.0)],
        "bessel_j1": [0, 0, 0, nan, -special.j1(1.0)],
        "bessel_y0": [-inf, 0, nan, nan, nan],
        "bessel_y1": [-inf, 0, nan, nan, nan],
        "modified_bessel_k0": [inf, 0, nan, nan, nan],
        "modified_bessel_k1": [inf, 0, nan, nan, nan],
        "scaled_modified_bessel_k0": [inf, 0, nan, nan, nan],
        "scaled_modified_bessel_k1": [inf, 0, nan, nan, nan],
        "spherical_bessel_j0": [1, 0, 0, nan, np.sin(1.0)],
    }
    for name, expected in wanted.items():
        got = getattr(torch.special, name)(x).numpy()
        np.testing.assert_allclose(got, expected, rtol=1e-15, err_msg=name)
    assert torch.special.bessel_j1(torch.tensor(-0.0)).signbit().item()
    assert torch.special.airy_ai(torch.tensor([110.0, nan])).tolist()[0] == 0
