"""segment_reduce: each segment against NumPy, its gradients by differences, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flambeau as torch

NUMPY = {"sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min, "prod": np.prod}
EMPTY = {"sum": 0.0, "mean": np.nan, "max": -np.inf, "min": np.inf, "prod": 1.0}


@pytest.mark.parametrize("reduce", list(NUMPY))
def test_segments_along_rows_and_within_them(reduce: str) -> None:
    x = np.random.default_rng(0).integers(1, 5, (7, 3)).astype(np.float32)
    lengths = [2, 0, 4, 1]
    ends = np.cumsum(lengths)
    wanted = [
        NUMPY[reduce](x[e - n : e], 0) if n else np.full(3, EMPTY[reduce]) for n, e in zip(lengths, ends)
    ]
    given = torch.tensor(x)
    got = torch.segment_reduce(given, reduce, lengths=torch.tensor(lengths))
    np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-6)
    turned = torch.segment_reduce(given.T, reduce, lengths=torch.tensor([lengths] * 3), axis=1)
    np.testing.assert_allclose(turned.numpy(), np.transpose(wanted), rtol=1e-6)


def test_offsets_leave_out_what_no_segment_has() -> None:
    x = torch.arange(6.0)
    assert torch.segment_reduce(x, "sum", offsets=torch.tensor([1, 2, 5])).tolist() == [1, 9]
    assert torch.segment_reduce(x, "sum", lengths=torch.tensor([1, 2]), unsafe=True).tolist() == [0, 3]


def test_an_initial_number_takes_part() -> None:
    x, lengths = torch.arange(6.0), torch.tensor([2, 0, 4])
    wanted = {"sum": [3, 2, 16], "mean": [1.5, 2, 4], "max": [2, 2, 5], "min": [0, 2, 2], "prod": [0, 2, 240]}
    for reduce, values in wanted.items():
        assert torch.segment_reduce(x, reduce, lengths=lengths, initial=2).tolist() == values


@pytest.mark.parametrize("initial", [None, 2])
@pytest.mark.parametrize("reduce", list(NUMPY))
def test_gradients(reduce: str, initial: Any) -> None:
    x = torch.tensor([1.5, 3.0, 0.5, 4.0, 2.5], dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([2, 3])
    assert torch.autograd.gradcheck(
        lambda a: torch.segment_reduce(a, reduce, lengths=lengths, initial=initial), (x,)
    )


def test_equals_share_a_gradient_that_the_initial_number_has_no_part_of() -> None:
    x = torch.tensor([3.0, 3, 1, 4], requires_grad=True)
    torch.segment_reduce(x, "max", lengths=torch.tensor([3, 1]), initial=3).sum().backward()
    assert x.grad.tolist() == [0.5, 0.5, 0, 1]


def test_refused() -> None:
    x = torch.arange(6.0)
    for message, options in {
        "Either lengths or offsets": {},
        "negative value": {"lengths": torch.tensor([-2, 8])},
        "to sum to": {"lengths": torch.tensor([2, 3])},
        "last dimension of lengths": {"lengths": torch.tensor([[2, 4]])},
        "not supported yet": {"indices": torch.tensor([0, 0, 0, 1, 1, 1])},
    }.items():
        with pytest.raises(RuntimeError, match=message):
            torch.segment_reduce(x, "sum", **options)
    with pytest.raises(NotImplementedError, match="int64"):
        torch.segment_reduce(x.long(), "sum", lengths=torch.tensor([6]))
