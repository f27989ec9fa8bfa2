"""The end of a process: objects that die after all modules were cleared call code that must still be there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flambeau.device import cpython

FIRST = """
import ctypes, os, sys
kept = []
class Last:
    def __del__(self, write=os.write):
        write(1, b"died last")
ctypes.pythonapi.Py_IncRef(ctypes.py_object(sys.modules[__name__]))  # so that it is cleared, and in its turn
"""
MAIN = """
import ctypes
import first
import flambeau as torch
from flambeau.device import cpython
from flambeau.device.memory import Block
from flambeau.ops import builtins
builtins.install()
assert type(Block.__del__).__name__ == "method_descriptor"
ctypes.pythonapi.Py_IncRef(ctypes.py_object(cpython))
x = torch.ones(3, requires_grad=True)
first.kept.append([torch.ones(70_000) + 1, (x * 2).sum(), first.Last()])
print(first.kept[0][1].item())
"""


@pytest.mark.skipif(not cpython.supported(), reason="no builtins are made here")
def test_tensors_may_outlive_all_modules(tmp_path: Path) -> None:
    (tmp_path / "first.py").write_text(FIRST)
    (tmp_path / "main.py").write_text(MAIN)
    done = subprocess.run(
        [sys.executable, "main.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONMALLOC": "debug"},  # what is freed is overwritten
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "6.0\ndied last"), done.stderr
