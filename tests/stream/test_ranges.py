"""Accesses of one buffer, found by where they lie: all that may meet a view are found, and few others are looked at."""

from __future__ import annotations

import random
from typing import Any

import pytest

import flambeau as torch
from flambeau import dtypes
from flambeau.stream import ranges
from flambeau.stream.nodes import Group, PBuf, PVal
from flambeau.stream.ranges import Accesses, overlap

ROWS, COLUMNS = 12, 20


def elements(v: PVal) -> set[int]:
    found = {v.off}
    for n, s in zip(v.shape, v.strides):
        found = {e + i * s for e in found for i in range(n)}
    return found if 0 not in v.shape else set()


def some_view(rng: random.Random, buf: PBuf, slots: bool) -> PVal:
    """A row, a column, a block, every k-th element, or windows that overlap."""
    kind = rng.randrange(6)
    slot = rng.choice([-1, -1, -1, 3, 4, 5]) if slots else -1
    r, c = rng.randrange(ROWS), rng.randrange(COLUMNS)
    if kind == 0:
        return PVal(buf, (COLUMNS - c,), (1,), r * COLUMNS + c, slot)
    if kind == 1:
        return PVal(buf, (ROWS - r, rng.randint(1, COLUMNS - c)), (COLUMNS, 1), r * COLUMNS + c, slot)
    if kind == 2:
        return PVal(buf, (rng.randint(0, ROWS - r), 1), (COLUMNS, 1), r * COLUMNS + c, slot)
    if kind == 3:
        step = rng.randint(1, 5)
        return PVal(buf, (ROWS - r, (COLUMNS - c + step - 1) // step), (COLUMNS, step), r * COLUMNS + c, slot)
    if kind == 4:
        return PVal(buf, (3, 2), (rng.randint(1, 7), rng.randint(1, 7)), rng.randrange(100), slot)
    return PVal(buf, (ROWS, COLUMNS), (COLUMNS, 1), 0, slot)


@pytest.mark.parametrize("seed", range(20))
def test_views_taken_for_disjoint_are(seed: int) -> None:
    rng = random.Random(seed)
    buf = PBuf(0, (), (), dtypes.float32)
    for _ in range(500):
        a, b = some_view(rng, buf, False), some_view(rng, buf, False)
        assert overlap(a, b) or elements(a).isdisjoint(elements(b)), (a.view, b.view)


def test_every_second_column_of_odd_rows_meets_that_of_later_rows() -> None:
    buf = PBuf(0, (), (), dtypes.float32)
    assert overlap(PVal(buf, (4, 4), (7, 2), 0), PVal(buf, (3, 4), (7, 2), 7))


@pytest.mark.parametrize("seed", range(20))
def test_what_may_meet_a_view_is_found(seed: int) -> None:
    rng = random.Random(seed)
    buf = PBuf(0, (), (), dtypes.float32)
    accesses, groups = Accesses(), [Group(i, ()) for i in range(60)]
    everything: list[Any] = []
    for n in range(200):
        v = some_view(rng, buf, seed % 2 == 1)
        access = (groups[min(59, max(0, n // 4 + rng.randint(-9, 9)))], v, ())
        everything.append(access)
        accesses.append(access)
        asked, least = some_view(rng, buf, seed % 2 == 1), rng.randint(0, 50)
        right = [a for a in everything if a[0].index >= least and overlap(a[1], asked)]
        found = list(accesses.meeting(asked, least))
        same_slot = [id(a) for a in right if a[1].offslot == asked.offslot]
        assert {id(a) for a in found if a[1].offslot == asked.offslot} == set(same_slot)
        latest = max((a[0].index for a in right), default=-1)
        assert max((a[0].index for a in found), default=-1) == latest
        assert max((a[0].index for a in accesses.meeting(asked, least, True)), default=-1) == latest
        first, end = rng.randint(0, 60), rng.randint(0, 60)
        assert accesses.between(first, end) == any(first <= a[0].index < end for a in everything)


def joined(n: int) -> Any:
    return torch.cat([torch.ones(3) * i for i in range(n)])


def stacked(n: int) -> Any:
    return torch.stack([torch.ones(3) * i for i in range(n)], 1)


def by_columns(n: int) -> Any:
    return torch.cat([torch.ones(3, 1 + i % 5) * i for i in range(n)], 1)


def written(n: int) -> Any:
    x = torch.zeros(n, 3)
    for i in range(n):
        x[i] = float(i)
    return x


def of_the_last(n: int) -> Any:
    x = torch.zeros(n, 3)
    for i in range(1, n):
        x[i] = x[i - 1] * 0.5 + 1
    return x


@pytest.mark.parametrize("what", [joined, stacked, by_columns, written, of_the_last])
def test_pieces_are_compared_with_a_few_others(what: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many comparisons for each of 1,600 pieces as for each of 400, the first time and when planned as a whole."""
    counted = 0
    right = ranges.overlap

    def counting(a: PVal, b: PVal) -> bool:
        nonlocal counted
        counted += 1
        return right(a, b)

    monkeypatch.setattr(ranges, "overlap", counting)
    seen = []
    for n in (400, 1600):
        torch.synchronize()
        counted, results = 0, []
        for _ in range(4):
            results.append(what(n).tolist())
        assert all(r == results[0] for r in results)
        seen.append(counted / n)
    assert seen[1] <= 1.3 * seen[0] + 1, seen
