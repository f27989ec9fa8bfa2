"""Every test begins as a program of its own would."""

from __future__ import annotations

import pytest

from flambeau.ops.builtins import retiring
from flambeau.stream.flush import CACHE, MET, Novelty


@pytest.fixture(autouse=True)
def nothing_is_new() -> None:
    """Nothing that other tests recorded is known, waits to be used again, or makes the stream wait before it plans."""
    for known in (CACHE, MET, retiring.STORAGES, retiring.BLOCKS):
        known.clear()
    Novelty.level, Novelty.unplanned, Novelty.settled, Novelty.earned = 0.0, 1.0, 0, 50_000
