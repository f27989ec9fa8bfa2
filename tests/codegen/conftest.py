from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flambeau import config

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Kernels of the tests are kept in a folder of the tests."""
    before, folder = config.cache_dir, tmp_path_factory.mktemp("cache") / "objects"
    config.set("cache_dir", str(folder))
    yield folder
    config.set("cache_dir", before)
