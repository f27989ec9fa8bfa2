"""Sequences that never come again: once their parts are known nothing is planned, and builtins run all of them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau.ops import builtins
from flambeau.stream import flush, fragments, program
from flambeau.stream.program import STATS


@pytest.fixture(autouse=True)
def made() -> None:
    torch.ones(1).sum().item()
    builtins.install()
    assert "drive" in fragments.BUILTINS


def watched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Where each call of the builtin that runs pieces began and ended, as counts from the end of the code."""
    calls: list[tuple[int, int]] = []
    drive = fragments.BUILTINS["drive"]

    def noted(code: Any, at: int, *rest: Any) -> int:
        stop = drive(code, at, *rest)
        calls.append((at, len(code) - stop))
        return stop

    monkeypatch.setitem(fragments.BUILTINS, "drive", noted)
    return calls


def chain(n: int) -> tuple[float, Any]:
    """A body n times, there and back."""
    x = torch.full((5,), 0.5, requires_grad=True)
    w = torch.full((5,), 0.25)
    y = x
    for i in range(n):
        y = torch.tanh(y * w + 0.5 * i) - w
    y.sum().backward()
    return y.sum().item(), x.grad.tolist()


def test_known_bodies_run_in_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new number of known bodies is one call of the builtin, from the first instruction to the last."""
    lengths = random.Random(0).sample(range(8, 90), 60)
    for n in lengths[:40]:
        chain(n)
    planned = STATS["planned"], STATS["kernels"]
    calls = watched(monkeypatch)
    for n in lengths[40:]:
        chain(n)
    whole = [at for at, left in calls if at == 0 and not left]
    assert len(whole) >= 18, calls  # a wiring at one end may be new
    assert (STATS["planned"], STATS["kernels"]) <= (planned[0] + 4, planned[1])


def test_pieces_have_the_same_bits_with_dead_results_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By instructions, by builtins, and by builtins that free on the way."""
    results = []
    for change, freeing in ((builtins.remove, 1 << 40), (builtins.install, 1 << 40), (builtins.install, -1)):
        change()
        monkeypatch.setattr(flush, "FREEING", freeing)
        results.append([chain(n) for _ in range(4) for n in (9, 13, 21, 11, 17)])
    builtins.install()
    assert results[0] == results[1] == results[2]


def test_dead_results_are_freed_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody refers to is gone before the flush is over: later results have its memory."""
    monkeypatch.setattr(flush, "FREEING", -1)

    def addresses(n: int) -> int:
        kept = []
        x = torch.full((3000,), 0.5)
        for _ in range(n):
            x = torch.exp(torch.tanh(x) * 0.5)
            kept.append(x._st)
        kept[-1].pend.flush_for_other()
        return len({st.ptr for st in kept})

    for n in range(20, 40):
        assert addresses(n) == n  # all are referred to

    x = torch.full((3000,), 0.5)
    first = (x * 2)._st
    y = x * 2
    for i in range(40):
        y = torch.exp(torch.tanh(y) * 0.5 + i)
    del x
    assert y.sum().item() > 0 and first.ptr


def test_a_failed_check_names_its_instruction() -> None:
    """The program of a piece fails where it would have failed by itself; what came before has its value."""
    table = torch.arange(12.0).reshape(4, 3)

    def take(numbers: list[int], n: int) -> Any:
        y = torch.full((3,), 0.5)
        for _ in range(n):
            y = torch.tanh(y * 0.5) + 0.25
        at = torch.full((len(numbers),), 0, dtype=torch.int64)
        for k, number in enumerate(numbers):
            at[k : k + 1].add_(number)
        return y, table.index_select(0, at)

    for n in range(9, 30):
        y, rows = take([1, 3], n)
        assert rows.tolist() == [[3.0, 4.0, 5.0], [9.0, 10.0, 11.0]]
    y, rows = take([1, 7], 31)
    with pytest.raises(RuntimeError, match="index_select: an index 7"):
        rows.tolist()
    assert y.isfinite().all()
    assert take([2], 33)[1].tolist() == [[6.0, 7.0, 8.0]]


@pytest.mark.parametrize("cut", [lambda x: x.unbind(0), lambda x: x.split(1)])
def test_a_new_number_of_pieces_plans_nothing(cut: Callable[[Any], Any]) -> None:
    """The gradients of 33 to 99 pieces are put together by what every other number is put together by."""
    lengths = [*random.Random(1).sample(range(33, 80), 47), *range(80, 100)]

    def step(n: int) -> None:
        x = torch.full((n, 7), 2.0, requires_grad=True)
        loss = torch.zeros(())
        for i, v in enumerate(cut(x)):
            if i % 5 != 3:
                loss = loss + (v * float(i)).sum()
        loss.backward()
        rows = [float(i) if i % 5 != 3 else 0.0 for i in range(n)]
        assert np.array_equal(x.grad.numpy(), np.tile(np.array(rows, "f")[:, None], (1, 7)))

    for n in lengths[:47]:
        step(n)
    before = STATS["planned"], STATS["kernels"]
    for n in lengths[47:]:
        step(n)
    assert STATS["kernels"] == before[1] and STATS["planned"] - before[0] <= 3


def test_a_tool_sees_every_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """FLAMBEAU_DEBUG=1 puts a function in the place of `program.run`: then no builtin runs programs by itself."""
    for n in range(9, 30):
        chain(n)
    seen = []
    run = program.run
    monkeypatch.setattr(program, "run", lambda p, *rest: (seen.append(len(p.launches)), run(p, *rest))[1])
    before = STATS["launches"]
    chain(31)
    assert sum(seen) == STATS["launches"] - before > 0


def test_a_new_shape_is_derived_in_the_call() -> None:
    """Third and later shapes of a call: the builtin finds the form by its kin, with gradient, numbers and lists."""

    def calls(a: Any, b: Any) -> list[Any]:
        return [
            a * 2.5 + b,
            torch.add(a, b, alpha=3),
            torch.clamp(a, 0.0, 1.0),
            a.softmax(1),
            a.sum(0),
            a.gelu(),
        ]

    torch.Tensor.gelu = torch.nn.functional.gelu
    try:
        for rows in range(3, 12):
            a, b = torch.full((rows, rows + 2), 0.5, requires_grad=True), torch.full((rows + 2,), 0.25)
            found = calls(a, b)
            sum(t.sum() for t in found).backward()
            want = [calls(torch.full((2, 4), 0.5), torch.full((4,), 0.25))[k] for k in (0, 1, 2)]
            assert all((t == w[0, 0]).all() for t, w in zip(found, want))
            assert a.grad.shape == a.shape and a.grad.isfinite().all()
    finally:
        del torch.Tensor.gelu


def test_one_storage_twice_and_offsets_plan_nothing_for_new_extents(monkeypatch: pytest.MonkeyPatch) -> None:
    """An instruction whose operands are views of one storage, with offsets or not, has the program of its form, and a
    new extent is derived: by the builtin and by its definition in Python, with the same bits."""
    table = torch.arange(4000.0).reshape(1000, 4) * 0.37 + 1.0
    rows = table.numpy()

    def step(n: int) -> list[Any]:
        a, b = table[:n], table[7 : 7 + n]
        x, y = rows[:n], rows[7 : 7 + n]
        found = [
            a + a,
            b * b[0] - b[3],
            b[1:] - b[:-1],
            (b[:, 2] - b[:, 0]) * (a[:, 3] - b[:, 1]),
            b[2:].max(1).values,
        ]
        want = [
            x + x,
            y * y[0] - y[3],
            y[1:] - y[:-1],
            (y[:, 2] - y[:, 0]) * (x[:, 3] - y[:, 1]),
            y[2:].max(1),
        ]
        assert all(np.array_equal(t.numpy(), w) for t, w in zip(found, want))
        return [t.tolist() for t in found]

    lengths = random.Random(2).sample(range(5, 900), 40)
    for n in lengths[:20]:
        step(n)
    before = STATS["planned"], STATS["kernels"]
    calls = watched(monkeypatch)
    results = [step(n) for n in lengths[20:]]
    assert STATS["planned"] - before[0] <= 2 and STATS["kernels"] == before[1]
    assert sum(at == 0 and not left for at, left in calls) >= 18, calls
    builtins.remove()
    assert [step(n) for n in lengths[20:]] == results
    assert STATS["planned"] - before[0] <= 2
    builtins.install()


def test_a_write_over_views_of_one_storage_is_another_program() -> None:
    """Where an operand is what is written, the programs of distinct storages do not serve."""
    for n in (5, 9, 13, 21):
        x, other = torch.arange(float(n)), torch.arange(float(n)) * 2
        want = x.numpy().copy()
        for _ in range(3):
            x[1:].add_(other[1:])
            want[1:] += other.numpy()[1:]
            x.mul_(x)
            want *= want
            x[: n // 2].sub_(x[n // 2 : 2 * (n // 2)])
            want[: n // 2] -= want[n // 2 : 2 * (n // 2)]
            assert np.array_equal(x.numpy(), want)
            x /= 100.0
            want /= np.float32(100)
