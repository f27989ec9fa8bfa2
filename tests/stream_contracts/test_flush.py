"""When the stream is flushed, what of it is given bytes, and what makes two sequences one."""

from __future__ import annotations

import pytest

import flambeau as torch
from flambeau import config
from flambeau.stream import flush, program
from flambeau.stream.flush import CACHE
from flambeau.stream.program import STATS
from flambeau.stream.value import LOCAL


def pending(t: torch.Tensor) -> bool:
    return t._st.pend is not None


def test_an_optimisers_step_ends_with_everything_computed() -> None:
    w = torch.ones(4, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.1)
    (w * w).sum().backward()
    kept = (w * 3).detach()
    loss = (w * w).sum()
    loss.backward()
    assert pending(loss)
    optimizer.step()
    assert not any(map(pending, (kept, loss, w, w.grad)))


def test_a_loop_that_reads_nothing_is_cut_in_whole_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.synchronize()
    cuts: list[int] = []
    right = flush.run

    def noted(progress, *rest):  # type: ignore[no-untyped-def]
        cuts.append(len(progress.known.lines))
        right(progress, *rest)

    monkeypatch.setattr(flush, "run", noted)
    monkeypatch.setattr(LOCAL.s, "bound", 200)
    x, y = torch.ones(8), torch.zeros(8)
    for _ in range(200):
        y = torch.tanh((x * 2 + 1).exp() - y)
    assert len(cuts) >= 5 and not any(n % 5 for n in cuts[1:]), cuts
    assert len(set(cuts[1:])) == 1  # the same sequence at every cut
    assert torch.isfinite(y).all()


def test_promised_bytes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.synchronize()
    monkeypatch.setattr(LOCAL.s, "byte_bound", 1 << 16)
    y = torch.zeros(1024)
    for _ in range(200):
        y = y + 1
        assert LOCAL.s.pending_bytes <= 1 << 16
    assert y[0].item() == 200


def test_only_what_somebody_holds_is_given_bytes() -> None:
    x = torch.ones(8)

    def step(hold: bool) -> tuple[torch.Tensor, ...]:
        a = x * 2
        b = a + 1
        c = b.exp()
        held = (a, c) if hold else (c,)
        del a, b
        torch.synchronize()
        return held

    for _ in range(3):
        step(False)
    last = next(reversed(CACHE.values()))
    assert [len(p.kept) for p in last.programs] == [1]
    for _ in range(3):
        assert torch.equal(step(True)[0], x * 2)
    assert sorted(len(p.kept) for p in last.programs) == [1, 2]


def test_after_two_variants_only_the_superset_is_planned() -> None:
    x = torch.ones(8)
    torch.synchronize()

    def step(kept: int) -> None:
        made = [x * 2 + 1, x * 3 + 1, x * 4 + 1, x * 5 + 1]
        sums = made[0] + made[1] + made[2] + made[3]
        held = made[kept]
        del made
        torch.synchronize()
        assert sums[0].item() == 18 and held[0].item() == kept + 3

    for kept in (0, 0, 1, 2, 3):
        step(kept)
    planned = STATS["planned"]
    for kept in (0, 1, 2, 3, 2, 1):
        step(kept)
    assert STATS["planned"] == planned


def test_programs_are_forgotten_in_the_order_of_their_use(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.synchronize()
    CACHE.clear()
    monkeypatch.setattr(config, "program_cache", 8)
    x = torch.ones(4)

    def step(n: int) -> None:
        y = x
        for _ in range(n):
            y = torch.sin(y)
        torch.synchronize()

    step(1)
    for n in range(2, 40):
        step(n)
        step(1)
        assert len(CACHE) <= 8
    assert min(len(known.lines) for known in CACHE.values()) == 1


@pytest.mark.parametrize("runs", [1, 4])
def test_equal_and_different_rows_and_extents_are_told_apart(runs: int) -> None:
    def rows(i: int, j: int) -> float:
        x = torch.ones(3, 4)
        x[i].mul_(2)
        return (x[j] + 1).sum().item()

    def extents(n: int, m: int) -> float:
        return (torch.ones(n, 1) + torch.ones(1, m)).sum().item()

    for _ in range(runs):
        assert [rows(0, 1), rows(1, 1), rows(2, 0), rows(0, 0)] == [8, 12, 8, 12]
        assert [extents(3, 3), extents(3, 5), extents(5, 3), extents(5, 5)] == [18, 30, 30, 50]


def test_algebra_that_is_not_exact_is_not_done() -> None:
    x = torch.tensor([-0.0, float("inf"), float("nan"), 1.0])
    for _ in range(3):
        plus, times, minus = x + 0, x * 0, x - x
        torch.synchronize()
        assert str(plus.tolist()) == "[0.0, inf, nan, 1.0]"
        assert str(times.tolist()) == "[-0.0, nan, nan, 0.0]"
        assert str(minus.tolist()) == "[0.0, nan, nan, 0.0]"


def test_planning_is_linear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the instructions take twice the steps of the scheduler, not four times."""
    counts: list[int] = []
    right = program.Scheduler.fits

    def fits(self, node, group):  # type: ignore[no-untyped-def]
        counts[-1] += 1
        return right(self, node, group)

    monkeypatch.setattr(program.Scheduler, "fits", fits)
    for n in (100, 200):
        counts.append(0)
        for _ in range(2):
            y = torch.ones(16)
            for _ in range(n):
                y = torch.tanh(y) * 0.5
            y.sum().item()
    assert counts[0] and counts[1] <= 2.5 * counts[0]


def test_an_opening_instruction_that_stands_twice_in_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut at its last recurrence, whichever it is, the parts would begin now at the one, now at the other."""
    torch.synchronize()
    cuts: list[tuple[object, ...]] = []
    right = flush.run

    def noted(progress, *rest):  # type: ignore[no-untyped-def]
        cuts.append(tuple(form for form, _ in progress.known.lines))
        right(progress, *rest)

    monkeypatch.setattr(flush, "run", noted)
    x, y = torch.ones(8), torch.zeros(8)
    for bound in (200, 210, 221):
        torch.synchronize()
        cuts.clear()
        monkeypatch.setattr(LOCAL.s, "bound", bound)
        for _ in range(200):
            y = torch.tanh((x * 2 * 3).exp() * 2 - y)
        assert len(cuts) >= 5 and not any(len(forms) % 6 for forms in cuts), [len(forms) for forms in cuts]
        assert len(set(cuts)) == 1
