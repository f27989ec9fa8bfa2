"""The short ways of the scheduler and of the builder find what the long ones find."""

from __future__ import annotations

from typing import Any

import pytest

import flambeau as torch
from flambeau.stream import flush
from flambeau.stream.nodes import Builder
from flambeau.stream.schedule import Scheduler

nn, F = torch.nn, torch.nn.functional


def net() -> tuple[Any, Any]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.GELU(), nn.BatchNorm1d(8), nn.Linear(8, 5))
    return model, torch.optim.AdamW(model.parameters(), 0.01)


def train(model: Any, optimizer: Any, steps: int) -> list[float]:
    x, y = torch.randn(7, 6), torch.randint(0, 5, (7,))
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x).softmax(-1), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def written_in_place() -> list[float]:
    x = torch.randn(6, 4)
    for _ in range(4):
        y = x * 2
        y[1:3].mul_(3)
        y.add_(x.t().reshape(6, 4)).relu_()
        z = (y - y.mean(1, keepdim=True)).exp() + y[:, :1] * x
        x = z / (1 + z.abs().sum())
    return list(x.reshape(-1).tolist())


def test_what_lies_beside_others_is_where_it_fits(monkeypatch):
    beside = Scheduler.beside
    found = []

    def checked(self: Scheduler, node: Any, group: Any) -> Any:
        at = beside(self, node, group)
        if at is not None:
            found.append(at == self.fits(node, group))
        return at

    monkeypatch.setattr(Scheduler, "beside", checked)
    train(*net(), 4)
    written_in_place()
    assert len(found) > 50 and all(found)


def test_the_usual_case_changes_no_bits(monkeypatch):
    usual = train(*net(), 4), (torch.manual_seed(1), written_in_place())[1]
    flush.CACHE.clear()
    flush.MET.clear()
    monkeypatch.setattr(Scheduler, "beside", lambda self, node, group: None)
    assert usual == (train(*net(), 4), (torch.manual_seed(1), written_in_place())[1])


def test_rows_share_what_is_computed_of_numbers(monkeypatch: pytest.MonkeyPatch):
    """Each row more brings the nodes over its tensors, and none over the numbers of the rule."""
    numbers, node = 0, Builder.node

    def counted(self: Builder, g: Any, *rest: Any) -> None:
        nonlocal numbers
        numbers += bool(g.outs) and not g.outs[0].shape
        node(self, g, *rest)

    monkeypatch.setattr(Builder, "node", counted)
    counts = []
    for n in (4, 12):
        made = [nn.Parameter(torch.ones(5, 3)) for _ in range(n)]
        for p in made:
            p.grad = torch.ones_like(p)
        torch.synchronize()
        numbers = 0
        torch.optim.RAdam(made, 0.01).step()
        counts.append(numbers)
    assert 0 < counts[1] <= counts[0] + 2  # of eight rows more
