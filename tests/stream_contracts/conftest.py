"""Every test begins as a program of its own would."""

from __future__ import annotations

import pytest

from flambeau.stream.flush import Novelty


@pytest.fixture(autouse=True)
def nothing_is_new() -> None:
    """What other tests recorded does not make the stream wait before it plans a sequence as a whole."""
    Novelty.level, Novelty.unplanned, Novelty.settled = 0.0, 1.0, 0
