"""Routines of NumPy: stacks of small matrices are shared out among threads."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau as torch
from flambeau.stream import external

CALLS = {
    "svd": lambda x: torch.linalg.svd(x),
    "svdvals": lambda x: (torch.linalg.svdvals(x),),
    "eigh": lambda x: torch.linalg.eigh(x @ x.mT),
    "eigvalsh": lambda x: (torch.linalg.eigvalsh(x @ x.mT),),
    "pinv": lambda x: (torch.linalg.pinv(x),),
}


@pytest.mark.parametrize("name", CALLS)
def test_threads_share_a_stack(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bits on any number of threads, of contiguous stacks and of views."""
    shared, threads = [], external.shared_out
    monkeypatch.setattr(external, "shared_out", lambda *a: shared.append(a[1:]) or threads(*a))
    x = torch.tensor(np.random.default_rng(0).standard_normal((61, 3, 8, 7)))
    before, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            made = [t for y in (x, x.transpose(0, 1), x.flip(0)[::2]) for t in CALLS[name](y)]
            found.append([t.numpy().tobytes() for t in made])
            assert [n for _, n in shared] == ([] if count == 1 else [count] * 3), shared
            shared.clear()
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1] == found[2]


def test_few_and_large_matrices_are_not_shared() -> None:
    assert all(external.shares_of(s) <= 1 for s in ((8, 8), (40, 3, 3), (2, 64, 64), (0, 4, 4), (1, 32, 32)))


def test_the_first_error_is_raised_when_all_have_ended() -> None:
    ran = []

    def run(begin: int, end: int) -> None:
        ran.append((begin, end))
        if begin:
            raise ValueError(begin)

    with pytest.raises(ValueError, match="3"):
        external.shared_out(run, 11, 3)
    assert sorted(ran) == [(0, 3), (3, 7), (7, 11)]
