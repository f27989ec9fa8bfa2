"""The main job, made small."""

from __future__ import annotations

import re

import pytest

from flambeau.__main__ import main
from flambeau.tools.demo import drawing


@pytest.mark.slow
def test_the_demo_reaches_its_accuracy(tmp_path, capsys) -> None:
    path = tmp_path / "digits.pt"
    status = main(["demo", "--epochs", "6", "--save", str(path)])
    out = capsys.readouterr().out
    accuracy = float(re.findall(r"Accuracy on the held-out fifth: ([\d.]+)%", out)[0])
    assert accuracy >= 97.0 and status == 0
    assert "the answers are the same" in out and path.stat().st_size > 30_000
    rows = re.findall(r"^ +(\d+) +([\d.]+) +([\d.]+) +([\d.]+)% +[\d,]+$", out, re.M)
    assert [int(row[0]) for row in rows] == list(range(1, 7))
    assert float(rows[-1][1]) < 0.1 < float(rows[0][1])


def test_curves_need_their_extra(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("flambeau.tools.demo.has_matplotlib", lambda: False)
    assert main(["demo", "--plot", str(tmp_path / "c.png")]) == 2
    assert "flambeau[plot]" in capsys.readouterr().out


def test_images_are_drawn_in_characters() -> None:
    image = [[[0.0] * 8 for _ in range(8)]]
    image[0][0][0] = 1.0
    lines = drawing([image, image], ["three", "four"]).splitlines()
    assert len(lines) == 9 and lines[0] == "@@" + " " * 17 + "@@"
    assert lines[-1].split() == ["three", "four"]
