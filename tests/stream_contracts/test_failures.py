"""Checks that depend on data, interrupts and lack of memory: what is left is sound, and the program goes on."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau.stream import flush, program
from flambeau.stream.access import synchronize

F = torch.nn.functional
TIMES = pytest.mark.parametrize("time", range(3))  # by instruction first, then as a whole


def late(*values):  # type: ignore[no-untyped-def]
    """Indices that have no bytes yet when they are used: they are checked when the stream runs."""
    return torch.tensor(values) * 1


def bad_row(table):  # type: ignore[no-untyped-def]
    return F.embedding(late(1, 7), table)


@TIMES
def test_later_promises_raise_again_and_earlier_ones_have_their_values(time: int) -> None:
    table = torch.ones(4, 3)
    before = table * 2
    table.add_(1)
    failing = bad_row(table)
    table.mul_(5)
    after = table * 2
    with pytest.raises(IndexError, match="out of bounds") as first:
        after.tolist()
    assert __file__ in str(first.value)
    for t in (after, failing, failing):
        with pytest.raises(IndexError, match="index 7"):
            t.tolist()
        with pytest.raises(IndexError, match="index 7"):
            t + 1
    assert before.tolist() == [[2] * 3] * 4
    assert table.tolist() == [[2] * 3] * 4
    assert torch.ones(2).sum().item() == 2


@TIMES
def test_memory_that_had_its_bytes_keeps_its_value(time: int) -> None:
    table, counter = torch.ones(4, 3), torch.zeros(2)
    table.tolist(), counter.tolist()
    counter.add_(1)
    rows = bad_row(table)
    counter.add_(10)
    table.zero_()
    with pytest.raises(IndexError):
        rows.sum().item()
    assert counter.tolist() == [1, 1]
    assert table.tolist() == [[1] * 3] * 4


@TIMES
def test_a_store_of_the_same_shape_does_not_overtake_a_check(time: int) -> None:
    state, table = torch.zeros(2, 3), torch.ones(4, 3)
    state.tolist(), table.tolist()
    a = state + 1  # a kernel of the shape of the rows, before the check
    rows = bad_row(table)
    state.add_(100)
    with pytest.raises(IndexError):
        rows.tolist()
    assert state.tolist() == [[0] * 3] * 2 and (time < 0 or a is not None)


@TIMES
def test_a_discarded_result_is_checked_all_the_same(time: int) -> None:
    F.cross_entropy(torch.zeros(2, 3), late(0, 3))
    with pytest.raises(IndexError, match="Target 3 is out of bounds"):
        torch.ones(2).sum().item()


def test_training_goes_on_after_a_bad_target() -> None:
    w = torch.zeros(3, 2, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.5)
    x = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])

    def step(target: list[int]) -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(x @ w, late(*target))
        loss.backward()
        optimizer.step()
        return loss.item()

    losses, reference = [], []
    for n in range(8):
        if n in (2, 5, 6):
            kept = w.tolist()
            with pytest.raises(IndexError, match="Target"):
                step([0, 5])
            w.grad = None
            assert w.tolist() == kept
        losses.append(step([0, 1]))
    with torch.no_grad():
        w.zero_()
    for _ in range(8):
        reference.append(step([0, 1]))
    assert losses == reference


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, RuntimeError])
def test_an_error_before_the_launch_leaves_the_stream_as_it_was(
    error: type[BaseException], monkeypatch
) -> None:
    x = torch.ones(3)
    y = x * 2 + 1
    x.add_(10)
    z = x * y

    def refuse(*args: object, **options: object) -> None:
        raise error("refused")

    with monkeypatch.context() as patch:
        patch.setattr(program, "plan", refuse)
        patch.setattr(program, "run", refuse)
        for _ in range(2):
            with pytest.raises(error, match="refused"):
                z.tolist()
    assert z.tolist() == [33] * 3 and y.tolist() == [3] * 3 and x.tolist() == [11] * 3


def test_an_interrupt_between_two_instructions_keeps_the_rest(monkeypatch) -> None:
    x = torch.ones(5, 7)
    a = x * 3
    b = a.cosh() + x.sum()
    run, calls = program.run, []

    def interrupted(*args, **options):  # type: ignore[no-untyped-def]
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return run(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(program, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            b.tolist()
    expected = np.cosh(3.0) + 35
    assert np.allclose(b.tolist(), expected) and a.tolist() == [[3] * 7] * 5


def test_a_failed_allocation_can_be_tried_again() -> None:
    with pytest.raises(RuntimeError):
        torch.empty(1 << 60)
    assert torch.ones(2).tolist() == [1, 1]


def test_a_forced_flush_that_fails_leaves_values_or_errors(monkeypatch) -> None:
    from flambeau.stream.value import LOCAL

    synchronize()
    table = torch.ones(4, 3)
    monkeypatch.setattr(LOCAL.s, "bound", 60)
    results = []
    with pytest.raises(IndexError):
        for n in range(400):
            results.append(F.embedding(late(n // 40), table) + 1)
        results[-1].tolist()
    monkeypatch.undo()
    assert len(results) >= 161
    for n, t in enumerate(results):
        if n < 160:
            assert t.tolist() == [[2, 2, 2]]
        else:
            with pytest.raises(IndexError):
                t.tolist()
    assert LOCAL.s.code == [] and (table + 1).sum().item() == 24


def test_gather_and_scatter_raise_what_pytorch_raises() -> None:
    x = torch.zeros(2, 3)
    for make in (
        lambda: x.gather(1, late([0, 5])),
        lambda: x.scatter(1, late([0, 5]), 1.0),
        lambda: x.clone().scatter_(1, late([0, 5]), x),
        lambda: x.scatter_add(1, late([0, 5]), x),
    ):
        with pytest.raises(RuntimeError, match="index 5 is out of bounds for dimension 1 with size 3"):
            make().tolist()


def test_eager_mode_finds_an_error_at_its_line() -> None:
    table = torch.ones(4, 3)
    torch.set_eager(True)
    try:
        with pytest.raises(IndexError):
            bad_row(table)
        y = table * 2
        assert y._st.pend is None
    finally:
        torch.set_eager(False)
    assert (table * 2)._st.pend is not None


def test_eager_and_deferred_give_the_same_bits() -> None:
    def losses() -> list[float]:
        torch.manual_seed(0)
        w = torch.randn(5, 3).requires_grad_()
        optimizer = torch.optim.Adam([w], lr=0.1)
        found = []
        for _ in range(4):
            x = torch.randn(7, 5)
            loss = F.cross_entropy(F.dropout((x @ w).tanh(), 0.2), torch.tensor([0, 1, 2, 0, 1, 2, 0]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return [*found, *w.flatten().tolist()]

    deferred = losses()
    torch.set_eager(True)
    try:
        eager = losses()
    finally:
        torch.set_eager(False)
    assert eager == deferred


def test_what_cannot_be_planned_fails_once(monkeypatch) -> None:
    """A bug in planning is no reason to refuse everything that comes after it."""
    from flambeau.stream import recipes

    def broken(*given: object) -> None:
        raise KeyError("no plan")

    x = torch.rand(7)
    before, bad, after = x.exp() * 3, x.sort().values, x.sin() + 11
    monkeypatch.setitem(recipes.RECIPES, "sort", broken)
    with pytest.raises(KeyError, match="no plan"):
        synchronize()
    monkeypatch.undo()
    assert before.tolist() == (x.exp() * 3).tolist()
    for lost in (bad, after):
        with pytest.raises(KeyError, match="no plan"):
            lost.tolist()
    assert x.sort().values.tolist() == sorted(x.tolist())
    assert (x - x).tolist() == [0.0] * 7


def test_routines_take_bfloat16() -> None:
    x = torch.rand(4, 4).bfloat16()
    weights = torch.rand(3, 20).bfloat16()
    assert torch.multinomial(weights, 3).shape == (3, 3)
    assert x.unique().dtype is torch.bfloat16


def test_a_tensor_larger_than_memory_is_refused_once() -> None:
    before = torch.ones(3) * 2
    for _ in range(2):
        with pytest.raises(RuntimeError, match="out of memory"):
            huge = torch.zeros(10**12) + 1
            huge.sum().item()
        assert (torch.ones(3) + 1).tolist() == [2.0] * 3
    with pytest.raises(torch.OutOfMemoryError):
        torch.empty(10**12)
    assert before.tolist() == [2.0] * 3


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_as_it_was(enabled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It rests while a new sequence is planned, and is found as it was left, also after an error."""
    was, seen = gc.isenabled(), []
    run_new = flush.run_new

    def noted(*args: Any) -> None:
        seen.append(gc.isenabled())
        run_new(*args)

    monkeypatch.setattr(flush, "run_new", noted)
    try:
        (gc.enable if enabled else gc.disable)()
        assert (torch.ones(3, 1, 5, 1, 2) * 3 - 1).tolist() and gc.isenabled() is enabled
        with pytest.raises(IndexError):
            (torch.ones(3, 1, 5)[torch.tensor([2]) * 7] + 1).tolist()
        assert gc.isenabled() is enabled and seen and not any(seen)
    finally:
        (gc.enable if was else gc.disable)()
