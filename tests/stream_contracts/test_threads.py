"""Threads record into streams of their own; a tensor may be used anywhere while it is still pending; fork."""

from __future__ import annotations

import os
import sys
import threading
import time

import pytest

import flambeau as torch

F = torch.nn.functional


def in_threads(*bodies) -> None:  # type: ignore[no-untyped-def]
    errors: list[BaseException] = []

    def guarded(body):  # type: ignore[no-untyped-def]
        try:
            body()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(body,)) for body in bodies]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert not any(t.is_alive() for t in threads)
    if errors:
        raise errors[0]


def train(seed: int, steps: int) -> list[float]:
    g = torch.Generator()
    g.manual_seed(seed)
    w = torch.zeros(6, 3).requires_grad_()
    optimizer = torch.optim.AdamW([w], lr=0.05)
    losses = []
    for n in range(steps):
        x = torch.rand(8, 6, generator=g)
        loss = F.cross_entropy(x @ w, torch.tensor([0, 1, 2, 0, 1, 2, 0, n % 3]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if n % 7 == 0:
            losses.append(loss.item())
    return losses


def test_two_threads_train_at_once() -> None:
    alone = {seed: train(seed, 60) for seed in (1, 2)}
    for _ in range(3):
        found: dict[int, list[float]] = {}
        in_threads(*[lambda s=s: found.__setitem__(s, train(s, 60)) for s in (1, 2)])
        assert found == alone


def test_a_pending_tensor_is_used_in_another_thread() -> None:
    x = torch.ones(4)
    y = x * 2 + 1
    seen: list[object] = []
    in_threads(lambda: seen.append((y * 10).tolist()))
    assert seen == [[30] * 4] and y.tolist() == [3] * 4


def test_writes_of_one_thread_are_seen_by_another() -> None:
    x = torch.zeros(4)
    x.tolist()
    x.add_(5)
    seen: list[object] = []
    in_threads(lambda: seen.append(x.tolist()))
    assert seen == [[5] * 4]


@pytest.mark.parametrize("seconds", [1.5])
def test_a_stream_is_flushed_while_its_owner_records(seconds: float) -> None:
    """Each number is counted once: no instruction is lost, none runs twice."""
    total = torch.zeros(3)
    total.tolist()
    shared: list[object] = [torch.zeros(3) + 0]
    stop = time.monotonic() + seconds
    counts = [0]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def owner() -> None:
        while time.monotonic() < stop:
            for _ in range(20):
                total.add_(1)
                counts[0] += 1
                shared[0] = torch.ones(3) * 2 + 1

    def reader() -> None:
        while time.monotonic() < stop:
            t = shared[0]
            value = (t + 0).tolist()
            assert value in ([3] * 3, [0] * 3), value

    try:
        in_threads(owner, reader, reader)
    finally:
        sys.setswitchinterval(before)
    assert total.tolist() == [counts[0]] * 3


def test_threads_begin_together_when_others_have_ended() -> None:
    """Whoever comes first forgets the streams of those that ended; nobody minds that they are gone."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(80):
            in_threads(*[lambda: torch.ones(2).sum().item()] * 8)
    finally:
        sys.setswitchinterval(before)


def test_gradients_from_a_thread_reach_shared_parameters() -> None:
    w = torch.ones(3, requires_grad=True)
    for n in range(3):
        in_threads(lambda n=n: (w * (n + 1.0)).sum().backward())
    assert w.grad.tolist() == [6] * 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_fork_in_the_middle_of_a_stream() -> None:
    x = torch.arange(4.0)
    y = x * 3
    x.add_(1)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            z = (y + x).tolist()
            big = torch.ones(300, 300) @ torch.ones(300, 300)
            os.write(write, repr((z, big.sum().item())).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(write)
    assert (y + x).tolist() == [1, 5, 9, 13]
    data = os.read(read, 1000)
    os.close(read)
    assert os.waitpid(pid, 0)[1] == 0
    assert eval(data) == ([1, 5, 9, 13], 300.0**3)
    assert (torch.ones(300, 300) @ torch.ones(300, 300)).sum().item() == 300.0**3


def test_a_write_recorded_elsewhere_comes_before_a_read_recorded_here() -> None:
    x = torch.zeros(4)
    x.tolist()
    x.add_(5)
    seen: list[object] = []
    in_threads(lambda: seen.append((x * 2).tolist()))
    assert seen == [[10] * 4]


def test_what_a_thread_recorded_before_it_ended_is_not_lost() -> None:
    x = torch.zeros(4)
    x.tolist()
    in_threads(lambda: x.add_(3))
    for _ in range(3):
        in_threads(lambda: None)
    assert (x * 2).tolist() == [6] * 4
    in_threads(lambda: x.add_(3))
    assert x.tolist() == [6] * 4


def test_a_list_of_kernels_that_are_not_shared_out_runs_each_once() -> None:
    """Together they are work enough for two threads, of which each would add every sum to its number again."""
    xs = [torch.rand(700) for _ in range(6)]
    wanted = [x.exp().sin().exp().tanh().sum().item() for x in xs]
    totals = [torch.zeros(()) for _ in xs]
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for rounds in range(1, 40):
            for t, x in zip(totals, xs):
                t += x.exp().sin().exp().tanh().sum()
            assert [t.item() for t in totals] == pytest.approx([rounds * w for w in wanted], rel=1e-5), rounds
    finally:
        torch.set_num_threads(before)
