"""Gradients of slices that do not meet are written into one value: bits and memory as if they were added."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau.stream import flush, pieces, program
from flambeau.stream.value import LOCAL

rng = np.random.default_rng(3)
VALUES = rng.standard_normal((6, 8, 5)).astype(np.float32)


def loop(y: Any) -> Any:
    """Over all places of a dimension: nothing is left that is zero."""
    h = torch.zeros(6, 5)
    for t in range(8):
        h = torch.tanh(y[:, t] * h)
    return h


def twice(y: Any) -> Any:
    """Each place belongs to two pieces."""
    h = torch.zeros(6, 5)
    for t in range(8):
        h = torch.tanh(y[:, t] * h + y[:, t])
    return h


def ends(y: Any) -> Any:
    """Zeros remain, and one piece is -0."""
    return (y[:3] * -0.0).sum() + (y[4:5] ** 2).sum() + (y[5] * 3).sum()


def comb(y: Any) -> Any:
    """Even and odd places, as in rotary embeddings."""
    a, b = y[..., ::2], y[..., 1::2]
    return a.exp().sum() + (b * 2).sum() + (y[:, :, 1] * 0).sum()


def blocks(y: Any) -> Any:
    """Pieces of pieces."""
    return (y[:, 1:4][..., 2] * 2).sum() + (y[:, 4:][..., 1:] ** 3).sum() + (y[:, 4:][..., :1] * 5).sum()


def meeting(y: Any) -> Any:
    """Places of several pieces have their sum, -0 and another zero among them."""
    pieces = [y[1:5] * 3, y[2:6] ** 3, y[:4] / 7, y[:1] * -0.0, y[:1] * -0.0]
    return sum(piece.sum() for piece in pieces)


def same(y: Any) -> Any:
    """Elements of all pieces have no zero among their terms."""
    return (y[1:5] * -0.0).sum() + (y[:4] * -0.0).sum() + (y[2:, 3:] * -0.0).sum() + (y[:] * -0.0).sum()


def pairs(y: Any) -> Any:
    """Sums of sums."""
    a, b = y * 2, y * 2
    for x in (a, b):
        x.retain_grad()
    return (a[:1] * 3).sum() + (a[1:2] * 5).sum() + (b[:2] * 7).sum() + (b[2:4] * 9).sum()


@pytest.mark.parametrize("f", [loop, twice, ends, comb, blocks, meeting, same, pairs])
@pytest.mark.parametrize("leaf", [False, True])
def test_bits_of_the_sum(f: Callable[[Any], Any], leaf: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def gradient() -> bytes:
        x = torch.tensor(VALUES, requires_grad=True)
        f(x if leaf else x * 1.5).sum().backward()
        return bytes(x.grad.numpy().tobytes())

    flush.CACHE.clear()
    flush.Novelty.level = 0.0
    found = [gradient() for _ in range(4)]
    monkeypatch.setattr(LOCAL.s, "eager", True)
    assert set(found) == {gradient()}


def launches(f: Callable[[Any], Any]) -> int:
    x = torch.tensor(VALUES, requires_grad=True)
    flush.CACHE.clear()
    flush.Novelty.level = 0.0
    for _ in range(4):
        torch.synchronize()
        before = program.STATS["launches"]
        f(x * 1.5).sum().backward()
        x.grad.numpy()
        x.grad = None
    return program.STATS["launches"] - before


@pytest.mark.parametrize("f", [loop, twice, ends, meeting])
def test_no_value_for_each_piece(f: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    joined = pieces.joined
    monkeypatch.setattr(pieces, "joined", lambda *a: (made.append(len(a[0].pieces)), joined(*a))[1])
    few = launches(f)
    assert made
    monkeypatch.setattr(pieces, "together", lambda nodes, builder: nodes)
    assert few <= launches(f)
