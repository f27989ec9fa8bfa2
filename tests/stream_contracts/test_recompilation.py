"""Offsets, extents and numbers are arguments: what changes from step to step compiles nothing new."""

from __future__ import annotations

import random
import time
from collections import Counter

import flambeau as torch
from flambeau.stream.program import KERNELS, STATS

F = torch.nn.functional


def counted(warm: list[int], then: list[int], step) -> int:  # type: ignore[no-untyped-def]
    """Kernels made in the second series of steps."""
    for n in warm:
        step(n)
    before = STATS["kernels"]
    for n in then:
        step(n)
    return STATS["kernels"] - before


def test_a_learning_rate_that_changes_each_step() -> None:
    w = torch.ones(10, requires_grad=True)
    optimizer = torch.optim.Adam([w], lr=0.1)

    def step(n: int) -> None:
        for group in optimizer.param_groups:
            group["lr"] = 0.1 / (n + 1)
        optimizer.zero_grad()
        (w * w).sum().backward()
        optimizer.step()

    assert counted(list(range(5)), list(range(5, 30)), step) == 0


def test_a_number_that_changes() -> None:
    x = torch.arange(6.0)
    assert counted([1, 2, 3], list(range(4, 40)), lambda n: (x * (n + 0.5) + n).sum().item()) == 0


def test_an_offset_that_changes() -> None:
    x = torch.arange(400.0)
    assert counted([1, 2, 3], list(range(4, 40)), lambda n: (x[n : n + 50] * 2).sum().item()) == 0


def test_lengths_from_1_to_200() -> None:
    w, v = torch.ones(8, 16), torch.ones(16)
    before, kernels = STATS["kernels"], set(KERNELS)
    start = time.perf_counter()
    for n in range(1, 201):
        x = torch.ones(n, 8)
        y = torch.relu(x * 2 + 1).softmax(0)
        assert abs(y.sum().item() - 8) < 1e-3
        assert (torch.exp(x @ w) + v).shape == (n, 16)
        (x @ w + v).mean().item()
    assert time.perf_counter() - start <= 6
    made = STATS["kernels"] - before
    titles = Counter(KERNELS[key][2] for key in set(KERNELS) - kernels)
    assert made <= 24, titles


def test_a_last_batch_of_another_size() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(n: int) -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(torch.ones(n, 6)), torch.zeros(n, dtype=torch.int64)).backward()
        optimizer.step()

    epochs = [64, 64, 64, 64, 37]
    assert counted(epochs * 3, epochs * 3, step) == 0


def test_trees_that_never_repeat() -> None:
    torch.manual_seed(0)
    embedding, combine, out = torch.nn.Embedding(20, 8), torch.nn.Linear(16, 8), torch.nn.Linear(8, 2)
    params = [*embedding.parameters(), *combine.parameters(), *out.parameters()]
    optimizer = torch.optim.SGD(params, lr=0.01)
    rng = random.Random(0)
    leaves = [torch.tensor([i]) for i in range(20)]
    target = torch.tensor([1])

    def build(depth: int):  # type: ignore[no-untyped-def]
        if depth == 0 or rng.random() < 0.3:
            return rng.randrange(20)
        return build(depth - 1), build(depth - 1)

    def value(tree):  # type: ignore[no-untyped-def]
        if isinstance(tree, int):
            return embedding(leaves[tree])
        return torch.tanh(combine(torch.cat([value(tree[0]), value(tree[1])], 1)))

    def step(_: int) -> None:
        optimizer.zero_grad()
        F.cross_entropy(out(value(build(4))), target).backward()
        optimizer.step()

    assert counted(list(range(100)), list(range(400)), step) == 0


def test_a_long_run_leaves_nothing_behind() -> None:
    import gc

    from flambeau.stream.flush import CACHE
    from flambeau.stream.value import Storage

    w = torch.zeros(8, 4, requires_grad=True)
    optimizer = torch.optim.AdamW([w], lr=0.01)

    def step(n: int) -> None:
        x = torch.rand(16, 8)
        loss = F.cross_entropy(x @ w, torch.randint(0, 4, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if n % 50 == 0:
            loss.item()

    def state() -> tuple[int, int, int, int]:
        gc.collect()
        storages = sum(type(o) is Storage for o in gc.get_objects())
        return len(CACHE), storages, STATS["kernels"], live_bytes()

    def live_bytes() -> int:
        from flambeau.stream.backend import current

        return current().memory_stats()["live"]

    for n in range(300):
        step(n)
    first = state()
    for n in range(2000):
        step(n)
    assert state() == first
