"""Results of bool and integer tensors that have PyTorch's dtypes and values."""

from __future__ import annotations

from typing import Any

import pytest

import flambeau as torch

BOOL = torch.tensor([True, False])
ONES = torch.ones(3, 2, dtype=torch.bool)


@pytest.mark.parametrize(
    ("made", "values", "dtype"),
    [
        (lambda: torch.square(BOOL), [1, 0], torch.int64),
        (lambda: torch.clamp_max(BOOL, torch.tensor(False)), [False, False], torch.bool),
        (lambda: BOOL.clone().clamp_min_(torch.tensor([True, True])), [True, True], torch.bool),
        (lambda: torch.clamp(BOOL, 0, 1), [1, 0], torch.int64),
        (lambda: ONES.sum_to_size(1, 2), [[3, 3]], torch.int64),
        (lambda: ONES.int().sum_to_size(2), [3, 3], torch.int64),
        (lambda: ONES.sum_to_size(3, 2), [[True, True]] * 3, torch.bool),
        (lambda: torch.masked.sum(torch.tensor(True)), 1, torch.int64),
        (lambda: torch.masked.prod(BOOL), 0, torch.int64),
        (lambda: torch.logspace(0.5, 3.7, 4, dtype=torch.int32), [1, 10, 100, 1000], torch.int32),
        (lambda: torch.logspace(0.9, 3.9, 5, base=2, dtype=torch.int64), [1, 1, 2, 4, 8], torch.int64),
    ],
)
def test_values_and_dtypes(made: Any, values: Any, dtype: Any) -> None:
    x = made()
    assert x.tolist() == values and x.dtype is dtype


def test_in_place_forms_refuse_what_does_not_fit() -> None:
    for call in (lambda: BOOL.clone().square_(), lambda: torch.ones(2, dtype=torch.int64).mvlgamma_(1)):
        with pytest.raises(RuntimeError, match="can't be cast to the desired output type"):
            call()


def test_unravel_index() -> None:
    places = torch.unravel_index(torch.tensor([[5, 7]]), (2, 2, 3))
    assert [p.tolist() for p in places] == [[[0, 1]], [[1, 0]], [[2, 1]]]
    assert torch.unravel_index(torch.tensor(5), 6)[0].item() == 5
    x = torch.arange(24).reshape(2, 3, 4)
    flat = torch.tensor([0, 5, 23, -1])
    assert torch.equal(x[torch.unravel_index(flat, x.shape)], flat % 24)
    for indices, shape, error, text in (
        (torch.tensor([1.0]), (2,), TypeError, "integer dtype, but got torch.float32"),
        (torch.tensor([1]), (-1,), ValueError, "negative values"),
        (torch.tensor([1]), "a", TypeError, "sequence of ints"),
        (torch.tensor([1]), (1.5,), TypeError, "only contain ints"),
    ):
        with pytest.raises(error, match=text):
            torch.unravel_index(indices, shape)


def test_zeta_below_one() -> None:
    x, q = torch.tensor([-2.0, 0.0, 1.0, 2.0]), torch.tensor([-2.0, 3.0, -2.0, -2.0])
    y = torch.special.zeta(x, q)
    assert y.isnan().tolist() == [True, True, False, False] and y[2:].isinf().all()
