"""Offsets, extents and numbers are arguments: what changes from step to step compiles nothing new."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import flambeau as torch
from flambeau.stream import constants, contraction, kernels, program
from flambeau.stream import products as plans
from flambeau.stream.novelty import Novelty
from flambeau.stream.program import STATS

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


def test_an_exponent_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first few are part of kernels, the others an argument of one, with the same bits."""
    from flambeau.ops import compare

    def step(n: int) -> list[bytes]:
        x = (torch.arange(6.0) + 0.5).requires_grad_()
        y = x.pow(n * 0.29 + 1.07)
        y.sum().backward()
        return [y.detach().numpy().tobytes(), x.grad.numpy().tobytes()]

    monkeypatch.setattr(compare, "EXPONENTS", set())
    monkeypatch.setattr(compare, "FEW", 2)
    assert counted(list(range(5)), list(range(5, 20)), step) == 0
    found = step(20)
    monkeypatch.setattr(compare, "FEW", 9)
    monkeypatch.setattr(constants, "FEW", 9)
    monkeypatch.setattr(constants, "SEEN", {})
    assert step(20) == found and counted([], [21], step) > 0
    assert step(1) != step(2)


def test_an_offset_that_changes() -> None:
    x = torch.arange(400.0)
    assert counted([1, 2, 3], list(range(4, 40)), lambda n: (x[n : n + 50] * 2).sum().item()) == 0


def kernel_of(key: Any) -> Any:
    """What a nest computes, without what is chosen for extents: schedule, strides. None for a product."""
    made = key[1]
    if type(made) is tuple and made and type(made[0]).__name__ == "Nest":
        return tuple([(n.values, n.kept > 0, tuple([a[:3] for a in n.accesses])) for n in made])
    return None if "Spec(" in repr(made) else made


@contextmanager
def few_variants(monkeypatch: pytest.MonkeyPatch, static: set[int], seconds: float) -> Iterator[None]:
    """At most two variants of each kernel are made inside, and planning takes at most so long, compiling included.

    static: the extents of products that tell one place from another."""
    spent, plan, plan_product = [0.0], program.plan, contraction.planning.plan
    products: dict[Any, set[Any]] = {}

    def timed(*given: Any) -> Any:
        start = time.thread_time()
        made = plan(*given)
        spent[0] += time.thread_time() - start
        return made

    def noted(m: int, n: int, k: int, *given: Any, **named: Any) -> Any:
        made = plan_product(m, n, k, *given, **named)
        place = (*[size if size in static else "length" for size in (m, n, k)], made.spec.b)
        products.setdefault(place, set()).add(made.spec)
        return made

    monkeypatch.setattr(program, "plan", timed)
    monkeypatch.setattr(contraction.planning, "plan", noted)
    monkeypatch.setattr(plans, "SEEN", {})
    monkeypatch.setattr(kernels, "KERNELS", made := {})
    monkeypatch.setattr(kernels, "NAMED", {})
    yield
    variants = Counter([found for key in made if (found := kernel_of(key)) is not None])
    assert variants and products
    assert max(variants.values()) <= 2, variants.most_common(3)
    assert max(map(len, products.values())) <= 2, products
    assert spent[0] <= seconds


def test_sentences_of_1_to_200_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    words, layer = torch.nn.Embedding(30, 8), torch.nn.Linear(8, 16)
    optimizer = torch.optim.SGD([*words.parameters(), *layer.parameters()], lr=0.1)
    w, v = torch.ones(8, 16), torch.ones(16)
    torch.synchronize()
    with few_variants(monkeypatch, {8, 16}, 3):
        for n in range(1, 201):
            x = torch.ones(n, 8)
            assert abs(torch.relu(x * 2 + 1).softmax(0).sum().item() - 8) < 1e-3
            assert (torch.exp(x @ w) + v).shape == (n, 16)
            (x @ w + v).mean().item()
            optimizer.zero_grad()
            F.cross_entropy(layer(words(torch.arange(n) % 30)), torch.zeros(n, dtype=torch.int64)).backward()
            optimizer.step()


def test_a_last_batch_of_another_size(monkeypatch: pytest.MonkeyPatch) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(n: int) -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(torch.ones(n, 6)), torch.zeros(n, dtype=torch.int64)).backward()
        optimizer.step()

    torch.synchronize()
    epochs = [64, 64, 64, 64, 37]
    with few_variants(monkeypatch, {3, 6, 8}, 3):
        assert counted(epochs * 3, epochs * 3, step) == 0


def test_statistics_over_images_of_ever_new_sizes() -> None:
    """n / (n - 1) of a running variance is not a number of the kernel."""
    norms = torch.nn.BatchNorm2d(4), torch.nn.InstanceNorm2d(4, track_running_stats=True)

    def step(n: int) -> None:
        for norm in norms:
            norm(torch.ones(2, 4, n, n + 3)).sum().item()
            norm.running_var.sum().item()  # type: ignore[union-attr]

    assert counted(list(range(10, 40)), list(range(40, 70)), step) <= 2


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


@pytest.mark.parametrize(("between", "planned"), [(1, False), (500, True)])
def test_what_is_planned_counts_by_its_work(between: int, planned: bool) -> None:
    """A number that is read after each step of a decoder has a program; that says nothing of the step itself."""
    for _ in range(60):
        Novelty.note(False)
        STATS["launches"] += 50
        Novelty.ran()
        STATS["launches"] += between
    Novelty.note(False)
    Novelty.ran()
    assert (Novelty.unplanned < Novelty.CALM) is planned


def test_planning_takes_no_longer_than_what_it_is_for() -> None:
    """Episodes of forty lengths, each step of which reads a number: all come again, none at once."""
    from flambeau.stream.flush import CACHE

    w = torch.rand(4, requires_grad=True)

    def episode(length: int) -> None:
        steps = []
        for n in range(length):
            steps.append((w * n).sum())
            steps[-1].item()
        w.grad = None
        torch.stack(steps).sum().backward()
        w.grad.sum().item()

    before = STATS["launches"] - Novelty.earned
    for n in range(160):
        episode(10 + n * 7 % 40)
    planned = sum(known.size for known in CACHE.values() if known.size > 10)
    assert planned * Novelty.PRICE <= STATS["launches"] - before


def test_a_few_steps_on_each_of_ever_new_sizes_are_not_planned() -> None:
    """They come again at once, but earn nothing; a long loop is planned nevertheless, and then others are again."""

    from flambeau.stream.flush import CACHE

    def steps(n: int, times: int) -> int:
        Novelty.level = 0.0  # another rule is not asked
        w = torch.ones(4, requires_grad=True)
        before = len([known for known in CACHE.values() if len(known.lines) > 1])
        for _ in range(times):
            w.grad = None
            for _ in range(n):  # another sequence for each length
                (w * w).sum().backward()
            w.grad.sum().item()
        return len([known for known in CACHE.values() if len(known.lines) > 1]) - before

    for n in range(2, 16):
        steps(n, 3)
    assert len(Novelty.bets) == Novelty.BETS
    assert not any(steps(n, 3) for n in range(16, 20))
    assert steps(20, 400) > 0
    assert steps(21, 3) > 0
