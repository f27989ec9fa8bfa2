"""The tests of this folder import each other as `tests.loop`, and keep kernels in a folder of their own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flambeau import config

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is left in the user's cache, nothing comes from there."""
    before = config.cache_dir
    config.set("cache_dir", str(tmp_path_factory.mktemp("cache") / "objects"))
    yield
    config.set("cache_dir", before)
