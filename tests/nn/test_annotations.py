"""Annotations of the layers' classes can be read, which libraries do for classes that are made from them."""

from __future__ import annotations

import subprocess
import sys

READ = """
import typing
import flambeau as torch
class Mine(torch.nn.Linear):
    extra: int = 1
found = typing.get_type_hints(Mine)
for name in torch.nn.__all__:
    if isinstance(getattr(torch.nn, name), type):
        typing.get_type_hints(getattr(torch.nn, name))
print(found["extra"], "training" in found)
"""


def test_annotations_can_be_read() -> None:
    done = subprocess.run([sys.executable, "-c", READ], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["<class", "'int'>", "True"], done.stderr
