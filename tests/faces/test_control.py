"""Branches, loops and scans as functions."""

from __future__ import annotations

import pytest

import flambeau as torch
from flambeau._higher_order_ops import associative_scan, scan


def test_branches_and_loops() -> None:
    x = torch.tensor([1.0, 2.0])
    assert torch.cond(x.sum() > 2, lambda v: v + 1, lambda v: v - 1, (x,)).tolist() == [2.0, 3.0]
    count, total = torch.while_loop(lambda i, t: i < 3, lambda i, t: (i + 1, t * 2), (torch.tensor(0), x))
    assert count.item() == 3 and total.tolist() == [8.0, 16.0]


@pytest.mark.parametrize("length", [2, 5, 8])
@pytest.mark.parametrize("reverse", [False, True])
def test_scans(length: int, reverse: bool) -> None:
    a, b = torch.rand(3, length, requires_grad=True), torch.rand(3, length)

    def combine(left, right):  # of the maps h -> a h + b
        return left[0] * right[0], right[0] * left[1] + right[1]

    def step(h, x):
        h = x[0] * h + x[1]
        return h, h

    _, states = associative_scan(combine, (a, b), 1, reverse)
    last, wanted = scan(step, torch.zeros(3), (a, b), dim=1, reverse=reverse)
    assert torch.allclose(states, wanted.t()) and torch.equal(last, wanted[0 if reverse else -1])
    (ours,), (theirs,) = (torch.autograd.grad(y.square().sum(), a) for y in (states, wanted))
    assert torch.allclose(ours, theirs, atol=1e-5)
