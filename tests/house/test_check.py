"""The whole check (`.ci/run`): what is skipped without PyTorch is what runs beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest
{what}
@pytest.mark.parametrize("word", ["a b", "c"])
def test_compares(word):
    pytest.importorskip("the_other")
def test_alone():
    pass
"""


@pytest.mark.slow
def test_what_was_skipped_runs_beside(root: Path, tmp_path: Path) -> None:
    if not (root / ".ci").is_dir():
        pytest.skip("no part of a distribution")
    (tmp_path / "test_parts.py").write_text(TESTS.format(what=""))
    (tmp_path / "test_whole.py").write_text(TESTS.format(what='pytest.importorskip("the_other")'))

    def run(option: str) -> str:
        command = [
            *(sys.executable, "-m", "pytest", "-p", "left", option, "notes.txt"),
            "-p",
            "no:cacheprovider",
        ]
        path = os.pathsep.join([str(root / ".ci"), "."])
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}
        )
        return done.stdout.splitlines()[-1]

    assert "1 passed, 3 skipped" in run("--note-skipped")
    (tmp_path / "the_other.py").touch()
    assert "5 passed, 1 deselected" in run("--skipped-in")
