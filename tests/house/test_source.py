"""Rules that can be read off the source text."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flambeau.tools import measures

MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|root|opt/(?:dev|wheels)|home/\w+|Users/\w+)/")
TEXT = {".py", ".md", ".toml", ".txt", ".cfg", ".yaml", ".yml", ".json", ".sh", ""}


def text_files(root: Path) -> list[Path]:
    """The files of the tree that hold text, without what tools leave behind."""
    tops = ("src", "tests", "docs", "bench", "examples", "hooks", ".ci")
    found = [p for top in tops for p in sorted((root / top).rglob("*")) if p.is_file()]
    found += [p for p in sorted(root.iterdir()) if p.is_file()]
    return [p for p in found if p.suffix in TEXT and not {"__pycache__", ".git"} & set(p.parts)]


def test_the_environment_is_read_in_one_file() -> None:
    found = []
    for path in measures.files():
        if measures.module_name(path) == "flambeau.config":
            continue
        for node in ast.walk(measures.parse(path)):
            if isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv", "putenv"):
                found.append(f"{measures.module_name(path)}:{node.lineno}")
    assert not found


def test_no_assert_stands_where_a_user_can_reach_it() -> None:
    inner = {"loop", "codegen", "device", "stream", "tools"}  # an assert there states an invariant of our own
    found = [
        f"{name}:{node.lineno}"
        for path in measures.files()
        if (name := measures.module_name(path)).split(".")[1:2] not in [[part] for part in inner]
        for node in ast.walk(measures.parse(path))
        if isinstance(node, ast.Assert)
    ]
    assert not found


def test_no_path_of_one_machine(root: Path) -> None:
    found = [
        f"{path.relative_to(root)}:{number}: {line.strip()[:80]}"
        for path in text_files(root)
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if MACHINE_PATH.search(line) and "MACHINE_PATH" not in line
    ]
    assert not found


def test_code_is_formatted_and_linted(root: Path) -> None:
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent)) or shutil.which("ruff")
    if ruff is None:
        pytest.skip("ruff is not installed")
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run([ruff, *command, "--no-cache", "."], cwd=root, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr


@pytest.mark.slow
def test_types_hold(root: Path) -> None:
    """The number of type errors in the checked folders may only fall (ops that are generated are seen as missing)."""
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--cache-dir", os.devnull]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    allowed = int((Path(__file__).parent / "type_errors.txt").read_text())
    assert len(errors) <= allowed and not done.stderr, "\n".join(errors[-60:]) + done.stderr


def test_every_file_is_of_the_oldest_supported_python() -> None:
    for path in measures.files():
        ast.parse(path.read_text(encoding="utf-8"), filename=str(path), feature_version=(3, 11))
