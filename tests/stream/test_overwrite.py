"""Results that take the place of an input whose last use it is: where they may, where not, and with which bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import flambeau as torch
from flambeau.device import memory
from flambeau.stream import flush, overwrite, placing

N = 256


def chain(a: Any, b: Any) -> Any:
    y = a @ b
    z = y.cumsum(0)  # a kernel of its own, as are the products
    u = (z * 2 + a).sigmoid()
    return u @ b


def centred(a: Any, b: Any) -> Any:
    y = a @ b
    return (y - y.mean(-1, keepdim=True)) @ b


def two(a: Any, b: Any) -> Any:
    y = (a @ b).cumsum(1)
    u, v = y * 2, y - y.mean(-1, keepdim=True)  # y is read once more after 2 y is there
    return u @ b + v @ a


def turned(a: Any, b: Any) -> Any:
    y = (a @ b).cumsum(0)
    return (y.t() * 2) @ b


def again(a: Any, b: Any) -> Any:
    y = (a @ b).cumsum(0)
    return ((y + y.t()) * 2) @ b


def spread(a: Any, b: Any) -> Any:
    y = (a @ b).cumsum(0)
    return (y + y[:1]) @ b


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> Any:
    found: list[Any] = []

    def noted(*args: Any) -> Any:
        made = list(overwrite.overwrites(*args))
        found.extend(made)
        return made

    monkeypatch.setattr(placing, "overwrites", noted)
    flush.CACHE.clear()
    flush.MET.clear()
    flush.Novelty.level = 0.0
    return found


@pytest.mark.parametrize(
    ("fn", "least", "most"),
    [(chain, 1, 9), (centred, 1, 9), (two, 0, 9), (turned, 0, 9), (again, 0, 0), (spread, 0, 0)],
)
def test_same_bits(pairs: list[Any], fn: Callable[..., Any], least: int, most: int) -> None:
    torch.manual_seed(0)
    a, b = torch.randn(N, N) / 16, torch.randn(N, N) / 16
    torch.synchronize()
    torch.set_eager(True)  # type: ignore[attr-defined]
    try:
        expected = fn(a, b).numpy().tobytes()
    finally:
        torch.set_eager(False)  # type: ignore[attr-defined]
    pairs.clear()
    for _ in range(5):
        assert fn(a, b).numpy().tobytes() == expected
    assert least <= len(pairs) <= most, pairs


def test_peak_of_a_chain(pairs: list[Any]) -> None:
    torch.manual_seed(0)
    a, b = torch.randn(1024, 1024) / 32, torch.randn(1024, 1024) / 32

    def step() -> Any:
        return (torch.sort(a @ b, -1)[0] * 2 + 1).exp()

    for _ in range(4):
        float(step()[0, 0])
    torch.synchronize()
    memory.reset_peak()
    before = memory.memory_stats()["counted"]
    float(step()[0, 0])
    assert pairs
    assert memory.memory_stats()["peak"] - before < 21 << 20
