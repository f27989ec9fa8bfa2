"""Plans that an earlier process made: the same bits from them, nothing planned anew, nothing taken for another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import flambeau as torch
from flambeau.codegen import engine
from flambeau.device import threads
from flambeau.stream import explain, flush, kept, kernels, program, units
from flambeau.stream.value import LOCAL


@pytest.fixture(autouse=True)
def nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> dict[bytes, bytes]:
    """A place for plans of its own, those of short sequences, too."""
    torch.synchronize()
    plans: dict[bytes, bytes] = {}
    monkeypatch.setattr(engine, "kept", plans.get)
    monkeypatch.setattr(engine, "keep", plans.__setitem__)
    monkeypatch.setattr(kept, "LEAST", 8)
    monkeypatch.setattr(kept, "FEWEST", 1)
    monkeypatch.setattr(kept, "LOOKS", [8])
    monkeypatch.setattr(flush.Novelty, "level", 0.0)
    return plans


def another_process() -> None:
    """What a process begins with that finds this cache, but for the forms."""
    flush.CACHE.clear()
    flush.MET.clear()
    kernels.KERNELS.clear()
    kernels.NAMED.clear()
    kept.LOOKS[0] = 8


def training(width: int = 8) -> Callable[[], list[bytes]]:
    """Steps of a small net whose optimizer goes through its parameters as a list."""
    torch.manual_seed(0)
    nn = torch.nn
    model = nn.Sequential(
        nn.Linear(width, 16), nn.GELU(), nn.Dropout(0.5), nn.Linear(16, 16), nn.Linear(16, 3)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    x, y = torch.randn(5, width), torch.randint(0, 3, (5,))

    def step() -> list[bytes]:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return [loss.detach().numpy().tobytes(), *[p.detach().numpy().tobytes() for p in model.parameters()]]

    return step


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The instructions of all that is planned anew."""
    found: list[int] = []
    plan = program.laid_out
    monkeypatch.setattr(
        program, "laid_out", lambda lines, *rest: found.append(len(lines)) or plan(lines, *rest)
    )
    return found


@pytest.mark.parametrize("width", [8, 1 << 17])  # of much memory, which comes and goes between native calls
def test_a_later_process_plans_nothing_and_finds_the_same_bits(width: int, planned: list[int]) -> None:
    kept.LEAST = 100  # of the steps alone
    step = training(width)
    first = [step() for _ in range(5)]
    assert any(n > 8 for n in planned)
    cut = [p for known in flush.CACHE.values() for p in known.programs if p.parts]
    assert bool(cut) == (width > 8)
    for _ in range(5):  # the fourth that it comes in plans the first step, too
        another_process()
        planned.clear()
        again = training(width)
        assert [again() for _ in range(5)] == first
    assert max(planned, default=0) < 20  # what makes the net is short


def test_instructions_that_come_once_are_kept_together(planned: list[int]) -> None:
    x = torch.randn(6, 7)

    def forms() -> list[tuple[Any, Any]]:
        _ = [torch.softmax(x, 1), x.t() @ x, x.sort(1), x.cumsum(0)]
        lines = flush.split(tuple(LOCAL.s.code))
        return [units.placed(form, line, LOCAL.s.slots) for form, line in lines]

    codes, tables = zip(*forms(), strict=True)
    found = units.plan_units(codes, tables)
    assert len(planned) == len(codes) > 3
    another_process()
    again = units.plan_units(codes, tables)
    assert len(planned) == len(codes)
    for mine, other in zip(again, found, strict=True):
        assert mine.pointers == other.pointers and mine.constants == other.constants
        assert [x.title for x in mine.launches] == [x.title for x in other.launches]
        assert [s[0].packed() for s in mine.segments if s[0]] == [
            s[0].packed() for s in other.segments if s[0]
        ]
    assert units.plan_units(codes[1:], tables[1:])
    assert len(planned) == 2 * len(codes) - 1


def step_of(value: float, index: int = 1, dim: int = 1) -> Any:
    x = torch.arange(16.0).reshape(4, 4)
    y = (x * x).sum(dim).sqrt() + x[:, torch.tensor([0, index]) * 1].sum(1)
    return torch.nn.functional.leaky_relu(y - 20, value).cumsum(0).exp2().log().sum()


def plan_of(*given: Any) -> None:
    for _ in range(3):
        step_of(*given).item()


def test_what_a_graph_says_is_part_of_its_name(planned: list[int]) -> None:
    plan_of(0.5)
    another_process()
    planned.clear()
    one = step_of(0.5).item()
    assert planned == [] and kept.LOOKS[0] == 16
    assert step_of(0.5, 1, 0).item() != one and kept.LOOKS[0] == 15
    assert step_of(0.25).item() != one  # a number is an argument


def test_a_failed_check_says_what_it_says_otherwise() -> None:
    plan_of(0.5)
    another_process()
    with pytest.raises(IndexError, match="index 4 is out of bounds for dimension 1 with size 4") as error:
        step_of(0.5, 4).item()
    assert kept.LOOKS[0] > 8 and "recorded at" in str(error.value)


def test_other_threads_other_plans(planned: list[int]) -> None:
    plan_of(0.5)
    another_process()
    planned.clear()
    before = threads.get_num_threads()
    threads.set_num_threads(before + 1)
    try:
        step_of(0.5).item()
        assert kept.LOOKS[0] == 7
    finally:
        threads.set_num_threads(before)


def test_a_plan_without_its_kernels_counts_for_nothing(planned: list[int]) -> None:
    plan_of(0.5)
    expected = step_of(0.5).item()
    another_process()
    store = kernels.current().plans()
    found = store.recall_named
    planned.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "recall_named", lambda names: [None, *found(names[1:])])
        assert step_of(0.5).item() == expected
    assert kept.LOOKS[0] == 7


def test_what_comes_once_in_each_process_is_planned_in_one_of_them(planned: list[int]) -> None:
    first = step_of(0.5).item()
    for _ in range(kept.MEETINGS - 1):
        another_process()
        assert step_of(0.5).item() == first
    assert max(planned, default=1) == 1
    another_process()
    assert step_of(0.5).item() == first and max(planned) > 1
    another_process()
    planned.clear()
    assert step_of(0.5).item() == first and planned == []
    assert [len(known.programs) for known in flush.CACHE.values()] == [1]


def test_explain_sees_what_was_kept() -> None:
    plan_of(0.5)
    another_process()
    assert len(explain.explain(step_of, 0.5).kernels) > 1


def test_a_program_of_new_sequences_stops_looking() -> None:
    for n in range(20):
        x = torch.arange(12.0)
        for k in range(6):
            x = x * 2 if n >> k & 1 else x + 1
        x.sum().item()
    assert kept.LOOKS[0] == 0
