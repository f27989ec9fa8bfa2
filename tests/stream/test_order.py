"""Products with the rule of an optimiser run within the backward pass: operands die early, no check comes too late."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import flambeau as torch
from flambeau.device import memory
from flambeau.stream import flush, fusion, order, program
from flambeau.stream.value import LOCAL

nn = torch.nn
ROWS, WIDTH = 2048, 64


class Reader(nn.Module):
    """Rows of a table, through layers that keep what they read."""

    def __init__(self, *layers: Any) -> None:
        super().__init__()
        self.table, self.layers = nn.Embedding(100, WIDTH), nn.Sequential(*layers)

    def forward(self, x: Any) -> Any:
        return self.layers(self.table(x))


def deep() -> Any:
    return Reader(*[nn.Sequential(nn.Linear(WIDTH, WIDTH, bias=False), nn.Tanh()) for _ in range(8)])


def gelus() -> Any:
    return Reader(*[nn.Sequential(nn.Linear(WIDTH, WIDTH, bias=False), nn.GELU()) for _ in range(8)])


def wide() -> Any:
    return Reader(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))


class Pair(nn.Module):
    """Backward, two values are computed of one product: none is what that is written as."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(WIDTH, 4 * WIDTH)

    def forward(self, x: Any) -> Any:
        return torch.tanh(self.left(x)) * torch.sigmoid(self.right(x))


def paired() -> Any:
    return Reader(Pair(), nn.Linear(4 * WIDTH, WIDTH))


def peaks(make: Any, times: int = 6) -> int:
    """The highest peak of a step of training with AdamW, once it is planned."""
    torch.manual_seed(0)
    model, x = make(), torch.randint(0, 100, (ROWS,))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    flush.CACHE.clear()
    flush.MET.clear()
    found = []
    for _ in range(times):
        torch.synchronize()
        memory.reset_peak()
        before = memory.memory_stats()["counted"]
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
        found.append(memory.memory_stats()["peak"] - before)
    return max(found[2:])


@pytest.fixture
def planning() -> Iterator[None]:
    level = flush.Novelty.level
    flush.Novelty.level = 0.0
    yield
    flush.CACHE.clear()  # plans made without a condition
    flush.MET.clear()
    flush.Novelty.level = level


def late(pairs: Any) -> Any:
    return [(group, tail) for group, tail, _ in pairs]


@pytest.mark.usefixtures("planning")
@pytest.mark.parametrize("make", [deep, gelus, wide, paired])
def test_a_step_needs_no_more_than_its_instructions(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = peaks(make)
    monkeypatch.setattr(LOCAL.s, "eager", True)
    assert planned <= 1.02 * peaks(make)


@pytest.mark.usefixtures("planning")
def test_what_products_read_dies_within_the_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    early = peaks(deep)
    monkeypatch.setattr(fusion, "hastened", late)
    assert peaks(deep) > early + 4 * 4 * ROWS * WIDTH


@pytest.mark.usefixtures("planning")
def test_an_index_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradient of a table writes at indices that its forward pass has read at: rules need not wait for it."""
    known = peaks(deep)
    monkeypatch.setattr(order.Proofs, "holds", lambda *_: False)
    assert peaks(deep) > known + 4 * 4 * ROWS * WIDTH


@pytest.mark.usefixtures("planning")
@pytest.mark.parametrize("proved", [False, True])
def test_a_failed_check_comes_before_the_rules(proved: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is recorded between backward and the rules may fail: then no weight has changed."""
    if proved:  # where each index is taken for one in range, the rules come first
        monkeypatch.setattr(order.Proofs, "holds", lambda *_: True)
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64)), torch.randn(256, 64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for bad in (0, 0, 0, 0, 1):
        before = [p.detach().clone() for p in model.parameters()]
        torch.synchronize()
        optimizer.zero_grad()
        model(x).square().mean().backward()
        index = torch.tensor([3]) + 10_000 * bad
        counts = torch.zeros(8).index_add_(0, index, torch.ones(1))
        if not bad:
            optimizer.step()
            assert counts.sum().item() == 1
            continue
        with pytest.raises(IndexError):
            optimizer.step()
        same = all(torch.equal(p, q) for p, q in zip(model.parameters(), before))
        assert same is not proved


@pytest.mark.usefixtures("planning")
def test_a_product_lets_a_kernel_go_first_that_frees_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    calm = peaks(paired)
    monkeypatch.setattr(program, "calmed", lambda launches, _: launches)
    assert peaks(paired) > calm


def test_many_writes_to_one_buffer_are_planned_in_linear_time(monkeypatch):
    """The ranges of a view and its own twin are not computed, whatever the number of writes."""
    from flambeau.stream import ranges

    asked = []
    extent_bytes = ranges.extent_bytes
    monkeypatch.setattr(ranges, "extent_bytes", lambda *view: asked.append(1) or extent_bytes(*view))
    total = torch.zeros(3)
    total.tolist()
    for _ in range(3):
        flush.Novelty.level = 0.0
        for _ in range(200):
            total.add_(1)
            torch.ones(3) * 2 + 1
        value = total.tolist()
    assert value == [600.0] * 3
    assert flush.STATS["planned"] and len(asked) < 2000
