"""A plugin of pytest for `.ci/run`: what one run has skipped, another runs.

--note-skipped FILE writes the ids of the tests (or of the files and folders) that were skipped, one a line;
--skipped-in FILE runs nothing but those.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--note-skipped", type=Path)
    parser.addoption("--skipped-in", type=Path)


class Notes:
    """Writes the ids of what is skipped."""

    def __init__(self, file: Path):
        self.file = file
        file.write_text("")

    def note(self, report: Any) -> None:
        if report.skipped and report.nodeid:
            with self.file.open("a") as out:
                out.write(report.nodeid + "\n")

    pytest_runtest_logreport = pytest_collectreport = note


def pytest_configure(config: pytest.Config) -> None:
    file = config.getoption("--note-skipped")
    if file is not None:
        config.pluginmanager.register(Notes(file))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    file = config.getoption("--skipped-in")
    if file is None:
        return
    wanted = set(file.read_text().splitlines())
    left = [item for item in items if not any(node.nodeid in wanted for node in item.listchain())]
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if item not in set(left)]
