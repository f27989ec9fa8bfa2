"""Reading and writing at an index: numbers in tensors, and updates in place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau.stream.value import LOCAL


def recorded() -> list[str]:
    """The ops that wait to be run, in order."""
    return [form.entry.name for form in LOCAL.s.code if type(form) is not int]


@pytest.mark.parametrize(
    "index", [(1, 2), (torch.tensor(1), torch.tensor(2)), (torch.tensor(1), slice(1, 3))]
)
def test_an_update_through_an_index_is_written_once(index: Any) -> None:
    x = torch.zeros(3, 4)
    version = x._version
    x.tolist()
    x[index] += 1.5
    assert recorded() == ["add"] and x._version == version + 2
    x[0] = x[1]
    assert len(recorded()) == 2
    x[index[0]][1:3] -= x[0, 1:3]
    wanted = np.zeros((3, 4), np.float32)
    wanted[tuple(int(i) if not isinstance(i, slice) else i for i in index)] = 1.5
    wanted[0] = wanted[1]
    wanted[1, 1:3] -= wanted[0, 1:3]
    assert np.array_equal(x.numpy(), wanted)


def test_an_update_through_an_index_has_gradients() -> None:
    w = torch.ones(3, requires_grad=True)
    x = torch.zeros(3)
    x[torch.tensor(0)] += w[0]
    x[0] *= w[1]
    x.sum().backward()
    assert w.grad.tolist() == [1, 1, 0] and x.tolist() == [1, 0, 0]
    with torch.inference_mode():
        y = torch.zeros(3)
    with pytest.raises(RuntimeError, match="Inplace update to inference tensor"):
        y[0] = y[0]


def test_numbers_in_tensors_are_one_view() -> None:
    x = torch.arange(24.0).reshape(2, 3, 4).clone()
    picked = x[torch.tensor(1), :, torch.tensor(-1)]
    assert picked.tolist() == [15, 19, 23] and picked._base is x and picked.stride() == (4,)
    picked.zero_()
    assert x[1].sum().item() == sum(range(12, 24)) - 15 - 19 - 23
    with pytest.raises(IndexError, match="out of bounds"):
        x[torch.tensor(1), torch.tensor(3)]
