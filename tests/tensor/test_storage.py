"""Storages over files, and memory of NumPy's under another dtype."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau as torch


def test_a_file_as_a_storage(tmp_path) -> None:
    path = tmp_path / "bytes"
    path.write_bytes(bytes(range(64)))
    whole = torch.UntypedStorage.from_file(str(path), False, 64)
    part = torch.asarray(whole[8:24], dtype=torch.uint8)
    assert len(whole) == 64 and part.tolist() == list(range(8, 24))
    part[0] = 99
    assert whole[8] == 99 and path.read_bytes()[8] == 8  # private
    shared = torch.UntypedStorage.from_file(str(path), True, 64)
    torch.asarray(shared)[1] = 77
    assert path.read_bytes()[1] == 77
    with pytest.raises(ValueError):
        torch.UntypedStorage.from_file(str(path), False, 100)


def test_memory_of_numpy_under_another_dtype() -> None:
    array = np.arange(8, dtype=np.uint8)
    view = torch.from_numpy(array).view(torch.int16)
    assert view.tolist() == array.view(np.int16).tolist()
    view[0] = 0
    assert array[:2].tolist() == [0, 0]
