"""The peak of a step that is planned as a whole is not above that of its instructions one by one."""

from __future__ import annotations

import gc
from typing import Any

import pytest

import flambeau as torch
from flambeau.device import memory
from flambeau.stream import flush

nn = torch.nn
ROWS, WIDTH = 2048, 64


def tanh() -> Any:
    return nn.Sequential(*[nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh()) for _ in range(12)])


def relu() -> Any:
    return nn.Sequential(*[nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU()) for _ in range(12)])


def norm() -> Any:
    return nn.Sequential(
        *[nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH), nn.GELU()) for _ in range(6)]
    )


def peak(model: Any, x: Any) -> int:
    torch.synchronize()
    memory.reset_peak()
    before = memory.memory_stats()["counted"]
    model(x).sum().backward()
    torch.synchronize()
    found = memory.memory_stats()["peak"] - before
    model.zero_grad()
    return found


@pytest.mark.parametrize(("make", "most"), [(tanh, 1.1), (relu, 1.1), (norm, 1.25)])
def test_planned_peak(make: Any, most: float) -> None:
    torch.manual_seed(0)
    model, x = make(), torch.randn(ROWS, WIDTH)
    flush.CACHE.clear()
    flush.Novelty.level = 0.0
    runs = flush.STATS["units"]
    first = peak(model, x)  # instruction by instruction
    assert flush.STATS["units"] > runs
    planned = [peak(model, x) for _ in range(3)]
    assert max(planned) <= most * first, (first, planned)


def test_results_have_their_bits_when_memory_comes_and_goes() -> None:
    torch.manual_seed(0)
    model, x = tanh(), torch.randn(ROWS, WIDTH)
    found = []
    for _ in range(4):
        out = model(x)
        out.sum().backward()
        found.append((out.detach().numpy().tobytes(), [p.grad.numpy().tobytes() for p in model.parameters()]))
        model.zero_grad()
    assert all(f == found[0] for f in found[1:])
    assert any(p.parts for known in flush.CACHE.values() for p in known.programs)


def test_a_captured_step_whose_memory_comes_and_goes() -> None:
    trails = []
    for compiled in (False, True):
        torch.manual_seed(0)
        model, x = tanh(), torch.randn(ROWS, WIDTH)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

        def step(x: Any, model: Any = model, optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
            return loss

        f = torch.compile(step) if compiled else step
        trails.append(
            [f(x).item() for _ in range(7)] + [p.grad.numpy().tobytes() for p in model.parameters()]
        )
    assert trails[0] == trails[1] and len(f.captured.replays) == 1 and f.captured.replays[0].program.parts


def test_without_memory_the_error_names_the_largest_tensors() -> None:
    from flambeau import config

    kept = [torch.zeros(3 << 20) + i for i in range(2)]
    torch.synchronize()
    before = config.memory_limit
    config.set("memory_limit", str(memory.memory_stats()["mapped"] + (1 << 20)))
    try:
        with pytest.raises(torch.OutOfMemoryError) as caught:
            torch.empty(1 << 28).fill_(0).sum().item()
    finally:
        config.set("memory_limit", str(before))
    text = str(caught.value)
    assert "the largest tensors:" in text and "(3145728,) float32" in text and "12.00 MiB" in text
    assert "kept[1] at " in text and "test_memory.py:" in text
    assert kept[1][0].item() == 1 and torch.ones(2).sum().item() == 2


def test_memory_stats() -> None:
    gc.collect()  # what earlier tests left
    torch.synchronize()
    before = torch.memory_stats()["counted"]
    torch.reset_peak_memory_stats()
    x = torch.zeros(1 << 20) + 1
    torch.synchronize()
    assert torch.memory_stats()["counted"] - before == 4 << 20
    del x
    stats = torch.memory_stats()
    assert (
        stats["counted"] == before
        and stats["peak"] >= before + (4 << 20)
        and stats["mapped"] >= stats["live"]
    )
