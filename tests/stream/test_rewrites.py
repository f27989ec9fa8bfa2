"""Rewrites keep the meaning: values against NumPy where memory is shared, written, dead, empty or equal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau.stream import products, program
from flambeau.stream.flush import Novelty
from flambeau.stream.value import LOCAL

rng = np.random.default_rng(1)
Count = Callable[[Callable[[], Any]], int]


def numbers(*shape: int) -> Any:
    return rng.standard_normal(shape).astype(np.float32)


def three_times(fn: Callable[[], Any]) -> Any:
    """The results once the sequence is planned as a whole."""
    for _ in range(3):
        LOCAL.s.flush()
        Novelty.level = 0.0
        found = fn()
    return found


def test_a_write_is_seen_by_later_reads_only() -> None:
    a = numbers(6, 5)

    def run() -> Any:
        x = torch.tensor(a)
        before = x * 2
        x.add_(1)
        after = x * 2
        return before, after

    before, after = three_times(run)
    np.testing.assert_array_equal(before.numpy(), a * 2)
    np.testing.assert_array_equal(after.numpy(), (a + np.float32(1)) * 2)


def test_a_write_through_a_view() -> None:
    a = numbers(6, 5)

    def run() -> Any:
        x = torch.tensor(a) * 1.5
        row = x[2]
        total = x.sum(1)
        row.zero_()
        return x + 1, total

    x, total = three_times(run)
    expected = a * np.float32(1.5)
    np.testing.assert_allclose(total.numpy(), expected.sum(1), rtol=1e-5)
    expected[2] = 0
    np.testing.assert_array_equal(x.numpy(), expected + 1)


def test_overlapping_views_written_in_order() -> None:
    a = np.arange(10, dtype=np.float32)

    def run() -> Any:
        x = torch.tensor(a) + 0
        x[0:4].add_(10)
        x[2:6].mul_(2)
        return x

    expected = a.copy()
    expected[0:4] += 10
    expected[2:6] *= 2
    np.testing.assert_array_equal(three_times(run).numpy(), expected)


def test_shifted_read_of_what_is_written() -> None:
    a = np.arange(10, dtype=np.float32)

    def run() -> Any:
        x = torch.tensor(a) * 1
        x[1:] = x[:-1] + 1
        return x

    expected = a.copy()
    expected[1:] = a[:-1] + 1
    np.testing.assert_array_equal(three_times(run).numpy(), expected)


def test_transposed_read_of_what_is_written() -> None:
    a = numbers(5, 5)

    def run() -> Any:
        x = torch.tensor(a) * 1
        x.add_(x.t())
        return x

    np.testing.assert_array_equal(three_times(run).numpy(), a + a.T)


def test_swap_through_temporaries() -> None:
    a, b = numbers(8), numbers(8)

    def run() -> Any:
        x, y = torch.tensor(a) * 1, torch.tensor(b) * 1
        old = x.clone()
        x.copy_(y)
        y.copy_(old)
        return x, y

    x, y = three_times(run)
    np.testing.assert_array_equal(x.numpy(), b)
    np.testing.assert_array_equal(y.numpy(), a)


def test_equal_results_that_are_written_stay_two(count: Count) -> None:
    a = numbers(4, 4)

    def run() -> Any:
        x = torch.tensor(a)
        p, q = x * 2, x * 2
        p.add_(1)
        return p, q

    p, q = three_times(run)
    np.testing.assert_array_equal(p.numpy(), a * 2 + 1)
    np.testing.assert_array_equal(q.numpy(), a * 2)


def test_equal_results_are_computed_once(count: Count) -> None:
    x = torch.tensor(numbers(8, 8))

    def run() -> Any:
        return (x.softmax(1) + x.softmax(1)) * x.softmax(1)

    program_launches = count(run)
    assert program_launches == 1
    s = x.softmax(1).numpy()
    np.testing.assert_allclose(run().numpy(), (s + s) * s, rtol=1e-6)


def test_random_numbers_are_never_merged() -> None:
    def run() -> Any:
        torch.manual_seed(0)
        return torch.rand(5), torch.rand(5)

    p, q = three_times(run)
    assert (p.numpy() != q.numpy()).all()


def test_dead_draw_still_counts() -> None:
    def run(dead: bool) -> Any:
        torch.manual_seed(0)
        if dead:
            torch.rand(5)
        return torch.rand(5)

    with_dead, without = three_times(lambda: run(True)), three_times(lambda: run(False))
    assert (with_dead.numpy() != without.numpy()).any()


def test_a_check_on_a_dead_result_is_not_dead() -> None:
    x, i = torch.tensor(numbers(5)), torch.tensor([1, 7])
    for _ in range(3):
        with pytest.raises(IndexError, match="7"):
            x[i]
            LOCAL.s.flush()


def test_a_failed_check_precedes_writes() -> None:
    x, i = torch.tensor(numbers(5)), torch.tensor([1, 7])
    before = x.numpy().copy()
    for _ in range(3):
        with pytest.raises(IndexError):
            x[i] * 2
            x.zero_()
            LOCAL.s.flush()
    np.testing.assert_array_equal(x.numpy(), before)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (1,), (1, 1), (1, 3, 1), ()])
def test_sizes_zero_and_one(shape: tuple[int, ...]) -> None:
    a = numbers(*shape) if shape else np.float32(0.5)

    def run() -> Any:
        x = torch.tensor(a)
        y = x * 2 + 1
        return y, y.sum(), (x - x.sum()).exp()

    y, total, e = three_times(run)
    expected = a * np.float32(2) + 1
    np.testing.assert_allclose(y.numpy(), expected)
    np.testing.assert_allclose(total.item(), expected.sum(), rtol=1e-5)
    np.testing.assert_allclose(e.numpy(), np.exp(a - a.sum()), rtol=1e-5)


@pytest.mark.parametrize("m,k,n", [(0, 3, 2), (2, 0, 3), (2, 3, 0), (1, 1, 1)])
def test_products_of_sizes_zero_and_one(m: int, k: int, n: int) -> None:
    a, b, c = numbers(m, k), numbers(k, n), numbers(n)
    got = three_times(lambda: torch.relu(torch.tensor(a) @ torch.tensor(b) + torch.tensor(c)))
    np.testing.assert_allclose(got.numpy(), np.maximum(a @ b + c, 0), rtol=1e-5)


def arena_of(fn: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes of temporary memory of the program that fn becomes."""
    made: list[int] = []
    original = program.place_memory

    def place(p: Any, *rest: Any) -> None:
        original(p, *rest)
        made.append(p.arena)

    monkeypatch.setattr(program, "place_memory", place)
    monkeypatch.setattr(products, "SEEN", {})  # few sizes: the kernel is fitted to them
    three_times(fn)
    LOCAL.s.flush()
    monkeypatch.undo()
    return made[-1]


def test_temporaries_share_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten products in a row need the memory of two results."""
    w = torch.tensor(numbers(64, 64))

    def run() -> Any:
        x = w
        for _ in range(10):
            x = x @ w
        return x

    one = 64 * 64 * 4
    assert one < arena_of(run, monkeypatch) <= 3 * one


def test_what_fuses_needs_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.tensor(numbers(64, 64))
    assert arena_of(lambda: ((x * 2 + 1).exp() - x).tanh() * x, monkeypatch) == 0
    assert arena_of(lambda: torch.relu(x @ x + 1), monkeypatch) <= 64 * 64 * 4
