"""Programs that run on both frameworks: the same values, the same graph, the same errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau


def outcome(program: Callable[[Any], Any], torch: Any) -> Any:
    """What a program gives: its value, or the type and text of its error."""
    try:
        return plain(program(torch))
    except Exception as error:
        return type(error), str(error)


def plain(value: Any) -> Any:
    """Tensors as arrays, inside any nesting."""
    if hasattr(value, "detach"):
        return np.array(value.detach().tolist(), dtype="float64"), tuple(value.shape)
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return value


def same(a: Any, b: Any, tolerance: float) -> bool:
    if isinstance(a, tuple) and len(a) == 2 and isinstance(a[0], np.ndarray):
        if not (isinstance(b, tuple) and len(b) == 2 and isinstance(b[0], np.ndarray) and a[1] == b[1]):
            return False
        return bool(np.allclose(a[0], b[0], rtol=tolerance, atol=tolerance, equal_nan=True))
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(same(x, y, tolerance) for x, y in zip(a, b))
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k], tolerance) for k in a)
    return a == b


def compare(program: Callable[[Any], Any], tolerance: float = 1e-5, words: str = "") -> None:
    """Run a program on PyTorch and here; errors agree in type and, up to `words`, in text."""
    reference = pytest.importorskip("torch")
    wanted, got = outcome(program, reference), outcome(program, flambeau)
    if isinstance(wanted, tuple) and len(wanted) == 2 and isinstance(wanted[0], type):
        assert isinstance(got, tuple) and got[0] is wanted[0], f"\nwanted {wanted}\ngot    {got}"
        if words:
            assert words in wanted[1], f"PyTorch says {wanted[1]!r}"
        assert (words or wanted[1]) in got[1], f"\nwanted {wanted[1]!r}\ngot    {got[1]!r}"
        return
    assert same(got, wanted, tolerance), f"\nwanted {wanted}\ngot    {got}"


@pytest.fixture(name="compare")
def _compare() -> Any:
    return compare
