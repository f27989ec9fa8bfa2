"""Modules imported on first use: what a training step without NumPy takes, and what the stand-in answers."""

from __future__ import annotations

import subprocess
import sys

import pytest

from flambeau import late

STEP = """
import sys
import flambeau as torch
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
loss = model(torch.randn(5, 4)).pow(2).mean()
loss.backward()
optimizer.step()
words = torch.nn.Embedding(3, 2)
words(torch.tensor([0, 2, 1])).sum().backward()
x = torch.arange(6).reshape(2, 3)
x[0, 1] = 7
print(loss.item() > 0, x.sum().item(), x[0, 1].item(), "numpy" in sys.modules)
import numpy as np
print(torch.tensor(np.float32(2.5)).item(), x[np.bool_(True)].shape, torch.arange(np.int64(3)).tolist())
print(torch.from_numpy(np.arange(3, dtype=np.int16)).dtype, torch.float32.np is np.dtype("float32"))
"""


def test_a_training_step_does_not_import_numpy_and_finds_it_afterwards() -> None:
    done = subprocess.run([sys.executable, "-c", STEP], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "True 21 7 False",
        "2.5 torch.Size([1, 2, 3]) [0, 1, 2]",
        "torch.int16 True",
    ]


def test_a_class_of_a_module_that_nobody_imported_has_no_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    module = late.Late("flambeau_test_late", frozenset({"array"}))
    assert module.array is late.Nothing and not isinstance(1, module.array)
    with pytest.raises(TypeError, match="no objects"):
        module.array(3)
    with pytest.raises(ModuleNotFoundError):
        getattr(module, "other")  # noqa: B009
    monkeypatch.setitem(sys.modules, "flambeau_test_late", sys)
    assert module.path is sys.path
    with pytest.raises(AttributeError):
        getattr(module, "array")  # noqa: B009
