"""Results that take the place of an input that dies: where they do, and that each condition for it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import flambeau as torch
from flambeau.device import memory
from flambeau.stream import flush, lifetimes, overwrite

N = 256


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, int]]]:
    """The kernels that write over an input, with the bytes of it."""
    noted: list[tuple[str, int]] = []
    pairs = overwrite.pairs

    def watched(bound: Any, at: int, lives: Any) -> Any:
        made = pairs(bound, at, lives)
        noted.extend((bound.title, lifetimes.size_of(bound.bufs[new][0])) for _, new in made)
        return made

    tail_pair = overwrite.tail_pair

    def watched_tail(tail: Any, ids: Any, at: int, lives: Any) -> Any:
        made = tail_pair(tail, ids, at, lives)
        if made is not None:
            noted.append((tail.title, lifetimes.size_of(tail.bufs[made[1]].buf)))
        return made

    monkeypatch.setattr(overwrite, "pairs", watched)
    monkeypatch.setattr(overwrite, "tail_pair", watched_tail)
    level = flush.Novelty.level
    flush.CACHE.clear()
    flush.MET.clear()
    flush.Novelty.level = 0.0
    yield noted
    flush.CACHE.clear()  # plans made without a condition
    flush.MET.clear()
    flush.Novelty.level = level


def operands() -> tuple[Any, Any]:
    torch.manual_seed(0)
    a, b = torch.randn(N, N) / 16, torch.randn(N, N) / 16
    torch.synchronize()
    return a, b


def sequential(fn: Callable[..., Any], *given: Any) -> bytes:
    torch.set_eager(True)  # type: ignore[attr-defined]
    try:
        return fn(*given).numpy().tobytes()
    finally:
        torch.set_eager(False)  # type: ignore[attr-defined]


def planned(fn: Callable[..., Any], *given: Any) -> bytes:
    for _ in range(4):
        result = fn(*given).numpy().tobytes()
    return result


def sorted_rows(a: Any, b: Any) -> Any:
    """A temporary in a kernel of its own, so that nothing fuses with what made it."""
    return torch.sort(a @ b, -1)[0]


def chain(a: Any, b: Any) -> Any:
    return torch.sort((sorted_rows(a, b) * 2 + a).sigmoid(), -1)[0]


def summed(a: Any, b: Any) -> Any:
    """A gradient and its sums over rows: one pass that stores and reduces."""
    y = sorted_rows(a, b) * a
    return torch.sort(y, -1)[0] + y.sum(0)


def centred(a: Any, b: Any) -> Any:
    y = sorted_rows(a, b)
    return torch.sort(y - y.mean(-1, keepdim=True), -1)[0]


def both(a: Any, b: Any) -> Any:
    """The same kernel has a result of its own for each."""
    y = sorted_rows(a, b)
    return torch.sort(y * 2, -1)[0] + torch.sort(y + a, 0)[0]


def factor(a: Any, b: Any) -> Any:
    """A product times what nobody else reads, as the gradient of an activation."""
    y = sorted_rows(a, b)
    return torch.sort((b @ a) * y, -1)[0]


def batched(a: Any, b: Any) -> Any:
    """Several products, a scale for each column, and two results."""
    y = sorted_rows(a, b).view(4, N // 4, N)
    z = torch.bmm(a.view(4, N // 4, N), b.expand(4, N, N)) * a[0] - y
    return torch.sort(z, -1)[0] + torch.sort(z, 1)[0]


def product(x: Any) -> Any:
    """Two die at once: three are there without the place of one."""
    return (x.cumsum(0) * x.cumprod(0)).cumsum(0)


@pytest.mark.parametrize("fn", [chain, summed, centred, both, factor, batched])
def test_a_result_takes_the_place_of_what_dies(found: list[Any], fn: Callable[..., Any]) -> None:
    a, b = operands()
    assert planned(fn, a, b) == sequential(fn, a, b)
    assert found and all(nbytes == 4 * N * N for _, nbytes in found)


def test_the_peak_is_lower(found: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(1 << 20)

    def peak() -> int:
        flush.CACHE.clear()
        for _ in range(4):
            product(x).numpy()
        memory.reset_peak()
        before = memory.memory_stats()["counted"]
        product(x).numpy()
        return memory.memory_stats()["peak"] - before

    low = peak()
    assert found
    monkeypatch.setattr(overwrite, "LEAST", 1 << 60)
    assert low <= peak() - (4 << 20)


# --- conditions: what they refuse, and that the bits would be wrong without them -------------------------------------


def read_again(a: Any, b: Any) -> Any:
    """Read by a later kernel."""
    y = sorted_rows(a, b)
    z = torch.sort(y * 2 + a, -1)[0]
    return torch.sort(y + z, -1)[0]


def through_a_view(a: Any, b: Any) -> Any:
    """Read by a later kernel, through a view of a part."""
    y = sorted_rows(a, b)
    z = torch.sort(y * 2 + a, -1)[0]
    return torch.sort(y[3:7].t(), -1)[0].sum() + z


def factor_again(a: Any, b: Any) -> Any:
    """A factor of a product that a later kernel reads."""
    y = sorted_rows(a, b)
    return torch.sort((b @ a) * y, -1)[0] + torch.sort(y, 0)[0]


def factor_turned(a: Any, b: Any) -> Any:
    """A factor that is read in another order than the result is written."""
    y = sorted_rows(a, b)
    return torch.sort((b @ a) * y.t(), -1)[0]


def factor_multiplied(a: Any, b: Any) -> Any:
    """A factor that is an operand of the product as well."""
    y = sorted_rows(a, b)
    return torch.sort((y.t() @ a) * y, -1)[0]


def kept(a: Any, b: Any) -> Any:
    """Read by nobody in this program, but held by the user."""
    y = sorted_rows(a, b)
    z = torch.sort(y * 2, -1)[0]
    z.numpy()
    return y + z


def mirrored(a: Any, b: Any) -> Any:
    """Read at other places of the same kernel, too."""
    y = sorted_rows(a, b)
    return torch.sort(y * 2 + y.flip(0), -1)[0]


def broadcast(a: Any, b: Any) -> Any:
    """One row is read for all rows of the result, which is as large as the whole that the row lies in."""
    y = sorted_rows(a, b)
    return torch.sort(y[:1] + a, -1)[0]


def two_passes(a: Any, b: Any) -> Any:
    """y is read again for the reduction's second result after the first result could be stored."""
    y = sorted_rows(a, b)
    w = y * 2
    v = (y - y.mean(-1, keepdim=True)).exp()
    return torch.sort(w, -1)[0] + torch.sort(v, -1)[0]


def updated(a: Any, b: Any) -> Any:
    """What is written in place is stored in the last pass that reads elements: its input is needed until then."""
    y = sorted_rows(a, b)
    z = torch.sort(a, -1)[0]
    w = y - 1
    z.mul_(w)
    m = (z - z.mean(0)).square().sum(0)
    return torch.sort(w, -1)[0] + torch.sort(z, -1)[0] + m


def turned(a: Any, b: Any) -> Any:
    """Read along another axis than it is written."""
    y = sorted_rows(a, b)
    return torch.sort(a - y.t(), -1)[0]


def looked_up(a: Any, b: Any) -> Any:
    """Read at an index."""
    y = sorted_rows(a, b)
    return torch.sort(y * 2 + y[INDEX], -1)[0]


INDEX = torch.arange(N - 1, -1, -1)
ALWAYS = lambda *_: True
CONDITIONS = [
    ("ends", lifetimes.Lives, read_again),
    ("ends", lifetimes.Lives, through_a_view),
    ("temporary", lifetimes, kept),
    ("alone", overwrite, mirrored),
    ("alone", overwrite, looked_up),
    ("same_walk", overwrite, broadcast),
    ("same_walk", overwrite, turned),
    ("in_time", overwrite, two_passes),
    ("in_time", overwrite, updated),
    ("ends", lifetimes.Lives, factor_again),
    ("places_match", overwrite, factor_turned),
    ("read_once", overwrite, factor_multiplied),
]


@pytest.mark.parametrize(("name", "where", "fn"), CONDITIONS, ids=lambda x: getattr(x, "__name__", str(x)))
def test_a_condition_is_needed(
    found: list[Any], monkeypatch: pytest.MonkeyPatch, name: str, where: Any, fn: Callable[..., Any]
) -> None:
    a, b = operands()
    expected = sequential(fn, a, b)
    assert planned(fn, a, b) == expected
    monkeypatch.setattr(where, name, ALWAYS)
    monkeypatch.setattr(overwrite, "modes_fit", lambda bound, old, new: bound.modes[old] == "r")
    flush.CACHE.clear()
    flush.MET.clear()
    assert planned(fn, a, b) != expected


@pytest.mark.parametrize(("hidden", "proj", "both"), [(64, 0, False), (64, 0, True), (64, 24, False)])
def test_gates_of_a_layer_of_lstm(hidden: int, proj: int, both: bool, found: Any) -> None:
    """What comes from the inputs, the gates and their gradients are written over each other, with the same bits."""
    torch.manual_seed(0)
    layer = torch.nn.LSTM(32, hidden, bidirectional=both, proj_size=proj)
    x = torch.randn(50, 40, 32)

    def step() -> Any:
        layer.zero_grad()
        layer(x)[0].square().sum().backward()
        torch.synchronize()
        return torch.cat([p.grad.flatten() for p in layer.parameters()])

    peaks = []
    for _ in range(4):
        memory.reset_peak()
        before = memory.memory_stats()["counted"]
        last = step().numpy().tobytes()
        peaks.append(memory.memory_stats()["peak"] - before)
    assert last == sequential(step)
    states = 4 * 50 * 40 * hidden
    assert peaks[-1] < (17 if both else 11) * states, peaks[-1] / states


def test_gates_that_somebody_holds(found: Any) -> None:
    """Backward twice through one graph: the gates of the forward pass are read again."""
    torch.manual_seed(0)
    layer, x = torch.nn.LSTM(32, 64), torch.randn(50, 40, 32)

    def step() -> Any:
        layer.zero_grad()
        loss = layer(x)[0].square().sum()
        loss.backward(retain_graph=True)
        loss.backward()
        return torch.cat([p.grad.flatten() for p in layer.parameters()])

    seen = [step().numpy().tobytes() for _ in range(4)]
    assert set(seen) == {sequential(step)}
