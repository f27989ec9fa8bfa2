"""The examples run, as `flambeau run` runs them, and learn."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest


def printed(root: Path, name: str, *args: str) -> str:
    """What an example prints."""
    command = [sys.executable, "-m", "flambeau", "run", str(root / "examples" / name), *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def losses(text: str) -> list[float]:
    """The losses that were printed."""
    return [float(number) for number in re.findall(r"loss ([\d.]+)", text)]


def test_line(root: Path) -> None:
    text = printed(root, "line.py")
    assert losses(text)[-1] < 0.011
    slope, height = map(float, re.findall(r"y = ([\d.]+) x \+ ([\d.]+)$", text.strip())[0])
    assert abs(slope - 2) < 0.1 and abs(height - 3) < 0.1


@pytest.mark.slow
def test_char_gpt(root: Path) -> None:
    text = printed(root, "char_gpt.py", "--steps", "60", "--letters", "40")
    first, *_, last = losses(text)
    assert first > 4 and last < 3
    assert '"""A sma' in text


@pytest.mark.slow
def test_tree_lstm(root: Path) -> None:
    found = losses(printed(root, "tree_lstm.py", "--steps", "300"))
    assert len(found) == 5 and found[-1] < found[0] < 0.7
