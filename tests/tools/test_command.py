"""The command line."""

from __future__ import annotations

import subprocess
import sys

import pytest

from flambeau.__main__ import main
from flambeau.tools import facts
from flambeau.tools.progress import bar
from flambeau.version import __version__


def test_version(capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0 and capsys.readouterr().out == f"flambeau {__version__}\n"


def test_without_a_command_it_shows_the_commands(capsys) -> None:
    assert main([]) == 2
    out = capsys.readouterr().out
    assert all(name in out for name in ("run", "demo", "env", "cache"))
    assert main(["run"]) == 2 and main(["run", "--help"]) == 0


def test_env_says_what_a_report_needs(capsys) -> None:
    assert main(["env"]) == 0
    out = capsys.readouterr().out
    assert all(
        name in out for name in (__version__, "python", "numpy", "llvmlite", "processor", "kernel cache")
    )


def test_the_cache_can_be_cleared(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(facts.config, "cache_dir", str(tmp_path))
    (tmp_path / "entry").write_bytes(b"x" * 1000)
    assert main(["cache"]) == 0 and "1 entries" in capsys.readouterr().out
    assert main(["cache", "clear"]) == 0 and not list(tmp_path.iterdir())


def test_the_bar_passes_items_on(capsys) -> None:
    assert list(bar([1, 2, 3], "title")) == [1, 2, 3]
    assert "title" in capsys.readouterr().err


def test_the_command_loads_little() -> None:
    """argparse, asyncio and the like come in only when they are needed."""
    code = "import sys, flambeau.__main__; print('argparse' in sys.modules, 'flambeau.tools.demo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
