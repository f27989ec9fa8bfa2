"""Settings of the whole test suite."""

from __future__ import annotations

from pathlib import Path

import pytest

try:
    from hypothesis import settings
except ImportError:
    pass
else:
    settings.register_profile("house", deadline=None, database=None, print_blob=True)
    settings.load_profile("house")


@pytest.fixture(scope="session")
def root() -> Path:
    """The top of the source tree."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def nothing_was_planned_in_vain() -> None:
    """What is planned in a test does not depend on what earned nothing in others."""
    from flambeau.stream.novelty import Novelty

    Novelty.bets = []


@pytest.fixture(autouse=True)
def nothing_is_kept() -> None:
    """What a test plans, it plans itself, and nobody is given what it has planned under changed rules: see
    stream/test_kept.py."""
    from flambeau.stream import kept

    kept.LEAST = kept.FEWEST = 1 << 62
