"""hann_window and its kin beside PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau

reference = pytest.importorskip("torch")


@pytest.mark.parametrize("name", ["bartlett", "blackman", "hamming", "hann", "kaiser"])
@pytest.mark.parametrize("periodic", [True, False])
def test_windows(name: str, periodic: bool) -> None:
    for length in (0, 1, 2, 7, 16):
        ours, theirs = (getattr(m, f"{name}_window")(length, periodic) for m in (flambeau, reference))
        assert tuple(ours.shape) == tuple(theirs.shape) and ours.dtype is flambeau.float32
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=2e-6)


def test_refused() -> None:
    with pytest.raises(RuntimeError, match="non-negative window_length"):
        flambeau.hann_window(-1)
