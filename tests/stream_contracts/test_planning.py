"""What is planned as a whole, and when: a program has to earn what planning it takes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import flambeau as torch
from flambeau.stream import program
from flambeau.stream.placing import Space
from flambeau.stream.program import STATS

F = torch.nn.functional


@pytest.fixture
def wholes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The lengths of the sequences that are planned, fragments and single instructions left out."""
    lengths: list[int] = []
    plan = program.plan

    def noted(lines: Any, *given: Any) -> Any:
        if len(lines) > 60:
            lengths.append(len(lines))
        return plan(lines, *given)

    monkeypatch.setattr(program, "plan", noted)
    yield lengths


def over_words(width: int) -> Callable[[int], Any]:
    """A training step of a cell in a Python loop over so many words; each width is new."""
    cell, head = torch.nn.LSTMCell(width, width), torch.nn.Linear(width, 2)
    optimizer = torch.optim.SGD([*cell.parameters(), *head.parameters()], lr=0.1)
    label = torch.tensor([1])

    def step(length: int) -> None:
        h = c = torch.zeros(1, width)
        for vector in torch.ones(length, 1, width).unbind(0):
            h, c = cell(vector, (h, c))
        optimizer.zero_grad()
        F.cross_entropy(head(h), label).backward()
        optimizer.step()

    return step


def test_a_loop_of_fixed_shape_has_its_program_when_the_sequence_comes_again(wholes: list[int]) -> None:
    step = over_words(7)
    torch.synchronize()
    for _ in range(2):
        step(20)
    assert len(wholes) == 1
    before = STATS["hits"]
    for _ in range(5):
        step(20)
    assert len(wholes) == 1
    assert STATS["hits"] == before + 5


def test_the_last_batch_of_an_epoch_has_its_program_in_the_second(wholes: list[int]) -> None:
    step = over_words(9)
    torch.synchronize()
    for length in ([20] * 9 + [13]) * 2:
        step(length)
    assert len(wholes) == 2


def test_lengths_that_come_back_now_and_then_are_not_planned(wholes: list[int]) -> None:
    chance, step = random.Random(1), over_words(11)
    torch.synchronize()
    for _ in range(150):
        step(chance.randrange(8, 88))
    assert len(wholes) <= 4


def test_memory_of_temporaries() -> None:
    """Each has the lowest place that is free all its life."""
    chance = random.Random(2)
    for _ in range(20):
        space = Space()
        living: list[tuple[int, int, int]] = []  # (offset, end, last)
        for at in range(60):
            space.now = at
            for _ in range(chance.randrange(4)):
                size, last = chance.randrange(1, 900), at + chance.choice((0, 0, 1, 3, 20, 60))
                taken = (size + 127) & -64
                places = sorted([0, *(end for _, end, _ in living)])
                lowest = next(p for p in places if all(p + taken <= o or e <= p for o, e, _ in living))
                assert space.fit(size, last) == lowest
                living.append((lowest, lowest + taken, last))
            space.leave()
            living = [x for x in living if x[2] > at]
