"""What the framework does for each of n things does not depend on n: calls are counted, not time."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

import flambeau as torch
from flambeau.stream import program, value

nn = torch.nn


def calls(fn: Callable[[], Any]) -> int:
    """How many functions of Python or C a call runs, in this thread."""
    count = 0

    def note(frame: Any, event: str, arg: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        fn()
    finally:
        sys.setprofile(None)
    return count


def model(n: int) -> tuple[nn.Module, Any]:
    made = nn.Sequential(*[nn.Linear(3, 3) for _ in range(n)])
    optimizer = torch.optim.SGD(made.parameters(), 0.01, momentum=0.9)
    x = torch.ones(2, 3)

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        loss = made(x).pow(2).mean()
        loss.backward()
        optimizer.step()
        return loss

    return made, step


def trained(n: int) -> Callable[[], Any]:
    step = model(n)[1]
    return lambda: step().item()


def captured(n: int) -> Callable[[], Any]:
    step = torch.compile(model(n)[1])
    return lambda: step().item()


def adam(n: int) -> Callable[[], Any]:
    parameters = [nn.Parameter(torch.ones(3)) for _ in range(n)]
    optimizer = torch.optim.Adam(parameters)
    for p in parameters:
        p.grad = torch.ones(3)

    def step() -> Any:
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        return parameters[-1][0].item()

    return step


def joined(n: int) -> Callable[[], Any]:
    pieces = [torch.ones(3, requires_grad=True) for _ in range(n)]

    def step() -> Any:
        torch.stack([p * 2 for p in pieces], 1).pow(2).sum().backward()
        return pieces[-1].grad[0].item()

    return step


def picked(n: int) -> Callable[[], Any]:
    def step() -> Any:
        x = torch.ones(n, 3, requires_grad=True)
        torch.stack([torch.tanh(row) for row in x.unbind(0)]).sum().backward()
        return x.grad[0, 0].item()

    return step


def added(n: int) -> Callable[[], Any]:
    x = torch.ones(3, requires_grad=True)

    def step() -> Any:
        x.grad = None
        y = x * 2
        sum([(y * float(i)).sum() for i in range(n)]).backward()
        return x.grad[0].item()

    return step


def rows(n: int) -> Callable[[], Any]:
    def step() -> Any:
        x = torch.zeros(n, 3)
        for i, v in enumerate([x[i] for i in range(n)]):
            v.add_(i)
        for i in range(1, n):
            x[i] = x[i - 1] * 0.5
        return x.sum().item()

    return step


def tree(n: int) -> Callable[[], Any]:
    leaves = {str(i): torch.ones(3) for i in range(n)}
    grads = torch.func.grad(lambda p: sum([(v * v).sum() for v in p.values()]))
    return lambda: grads(leaves)["0"][0].item()


@pytest.mark.parametrize("make", [trained, captured, adam, joined, picked, added, rows, tree])
def test_calls_for_each_thing(make: Callable[[int], Callable[[], Any]]) -> None:
    """The first four times: recorded, planned, captured, replayed."""
    counts = []
    for n in (60, 240):
        step = make(n)
        counts.append([calls(step) / n for _ in range(4)])
    few, many = counts
    assert max(many) <= 1.5 * max(few), counts
    assert sum(many) <= 1.3 * sum(few), counts


def test_metadata_that_nobody_uses_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables that know every shape ever met are bounded; what somebody holds stays the one object of its shape."""
    monkeypatch.setattr(value, "KEPT", [0])
    value.forget_metadata()
    before = len(value._metas)  # of tensors of other tests
    monkeypatch.setattr(value, "KEPT", [before + 100])
    held = [torch.ones(3, 5), torch.ones(4, 7).t(), torch.empty(2, 9, dtype=torch.int64)]
    metas = [x._meta for x in held]
    for n in range(2, 2002 + before):
        value.intern_meta((n, 1000), (1000, 1), torch.float32)
        value.fresh_meta((n, 999), torch.float32)
    assert len(value._metas) <= value.KEPT[0] + 1
    assert value.KEPT[0] < 2 * before + 1000
    for x, meta in zip(held, metas):
        assert value.intern_meta(tuple(x.shape), x.stride(), x.dtype) is meta
        assert x.sum().tolist() == x.numpy().sum()


def test_one_thread_at_a_time_forgets_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one is about to delete, another could have deleted meanwhile."""
    counted = []
    held = value.held

    def beside(objects: list[Any]) -> list[int]:
        counted.append(len(objects))
        if len(counted) == 1:
            other = threading.Thread(target=value.forget_metadata)
            other.start()
            other.join()
        return held(objects)

    monkeypatch.setattr(value, "KEPT", [0])
    monkeypatch.setattr(value, "held", beside)
    value.forget_metadata()
    assert len(counted) == 2  # of metadata and of their outs, once each


def test_a_new_shape_leaves_few_objects() -> None:
    w, base = torch.ones(4, 3, 3, 3), torch.ones(3 * 50 * 50)
    shapes = [(n, m) for n in range(8, 48) for m in range(8, 48) if n != m]

    def left_by(series: list[tuple[int, int]]) -> int:
        gc.collect()
        before = len(gc.get_objects())
        for n, m in series:
            nn.functional.conv2d(base[: 3 * n * m].view(1, 3, n, m), w).sum().item()
        gc.collect()
        return len(gc.get_objects()) - before

    left_by(shapes[:300])
    assert left_by(shapes[300:1300]) < 40 * 1000


def test_planning_lets_go_of_what_found_equal_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The peak of planning is where groups become launches: by then the keys of all nodes are gone."""
    left = []
    together = program.pieces.together

    def watched(found: Any, builder: Any) -> Any:
        left.append((len(found), len(builder.seen)))
        return together(found, builder)

    monkeypatch.setattr(program.pieces, "together", watched)
    for _ in range(4):  # at first its instructions run one by one
        x = torch.ones(3, 11)
        for n in range(20):
            x = torch.tanh(x * 0.5) if n % 3 else torch.asinh(x).cos()
        x.sum().item()
    assert left and max(left)[0] >= 2 and not any(keys for _, keys in left), left
