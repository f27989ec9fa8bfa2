"""Checkpoints: the values and gradients of a call that keeps everything, random numbers included, in less memory."""

from __future__ import annotations

from typing import Any

import pytest

import flambeau as torch
from flambeau.device import memory
from flambeau.utils.checkpoint import checkpoint, checkpoint_sequential

nn = torch.nn


def bits(t: Any) -> Any:
    return None if t is None else t.detach().clone().numpy().tobytes()


def block(width: int = 8, p: float = 0.5) -> Any:
    return nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Dropout(p), nn.Linear(width, width))


def run(how: Any, hand_on: bool = True) -> list[Any]:
    torch.manual_seed(0)
    blocks = [block() for _ in range(3)]
    head = torch.randn(8, requires_grad=True)
    trail = []
    for _ in range(3):
        x = torch.randn(4, 8, requires_grad=True)
        h = x * 1.5 if hand_on else x
        for b in blocks:
            h = b(h) if how is None else checkpoint(b, h, use_reentrant=how)
        (h @ head).sum().backward()
        trail += [
            bits(h),
            bits(x.grad),
            bits(head.grad),
            *[bits(p.grad) for b in blocks for p in b.parameters()],
        ]
        trail.append(bits(torch.rand(2)))
    return trail


@pytest.mark.parametrize("how", [False, True])
def test_the_same_bits_as_without(how: bool) -> None:
    assert run(how) == run(None) and run(how, False) == run(None, False)


@pytest.mark.parametrize("how", [False, True])
def test_the_function_runs_again_in_backward(how: bool) -> None:
    calls = []

    def f(x: Any) -> Any:
        calls.append(torch.is_grad_enabled())
        return x.exp().sin()

    x = torch.ones(3, requires_grad=True)
    y = checkpoint(f, x, use_reentrant=how)
    assert len(calls) == 1
    y.sum().backward()
    assert calls == [not how, True]
    with pytest.raises(RuntimeError, match="second time"):
        y.sum().backward()


def test_several_results_closures_keywords_and_no_grad() -> None:
    w = torch.randn(3, requires_grad=True)
    inner = w * 2  # belongs to a graph of its own

    def f(x: Any, *, scale: float) -> Any:
        return {"a": x * inner * scale, "b": (x + 1, "text", x.detach())}

    def grads(call: Any) -> list[Any]:
        x, w.grad = torch.ones(3, requires_grad=True), None
        out = call(x)
        (out["a"].sum() + (out["b"][0] ** 2).sum()).backward(retain_graph=True)
        return [bits(x.grad), bits(w.grad), out["b"][1]]

    want = grads(lambda x: f(x, scale=3.0))
    assert grads(lambda x: checkpoint(f, x, use_reentrant=False, scale=3.0)) == want
    with torch.no_grad():
        assert not checkpoint(torch.exp, w, use_reentrant=False).requires_grad


def test_second_order() -> None:
    x = torch.tensor([0.3, 0.7], requires_grad=True)
    found = []
    for call in (
        lambda t: t.exp().sin(),
        lambda t: checkpoint(lambda u: u.exp().sin(), t, use_reentrant=False),
    ):
        (g,) = torch.autograd.grad(call(x).sum(), x, create_graph=True)
        (h,) = torch.autograd.grad((g**2).sum(), x)
        found.append((bits(g), bits(h)))
    assert found[0] == found[1]


def test_errors_and_warnings() -> None:
    x = torch.ones(2)
    with pytest.warns(UserWarning, match="passed explicitly"):
        checkpoint(torch.exp, x.clone().requires_grad_())
    with pytest.warns(UserWarning, match="None of the inputs"):
        checkpoint(torch.exp, x, use_reentrant=True)
    with pytest.raises(ValueError, match="Unexpected keyword"):
        checkpoint(torch.exp, x, use_reentrant=True, out=None)
    sizes = iter([2, 3])
    y = checkpoint(lambda t: t.expand(next(sizes), 2) * 1, x.requires_grad_(), use_reentrant=False)
    with pytest.raises(torch.utils.checkpoint.CheckpointError, match="different metadata"):
        y.sum().backward()


@pytest.mark.parametrize("how", [False, True])
def test_a_sequence_in_segments(how: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*[block(p=0.0) for _ in range(5)])
    x = torch.randn(2, 8, requires_grad=True)
    model(x).sum().backward()
    want = [bits(p.grad) for p in (x, *model.parameters())]
    x.grad = None
    model.zero_grad()
    checkpoint_sequential(model, 2, x, use_reentrant=how).sum().backward()
    assert [bits(p.grad) for p in (x, *model.parameters())] == want


def test_less_memory() -> None:
    torch.manual_seed(0)
    layers = [
        nn.Sequential(*[nn.Sequential(nn.Linear(64, 64), nn.Tanh()) for _ in range(4)]) for _ in range(6)
    ]
    model = nn.Sequential(*layers)
    x = torch.randn(2048, 64)
    peaks = []
    for segments in (1, 6):
        for _ in range(3):
            torch.synchronize()
            memory.reset_peak()
            before = memory.memory_stats()["counted"]
            y = checkpoint_sequential(model, segments, x, use_reentrant=False)
            y.sum().backward()
            torch.synchronize()
            peaks.append(memory.memory_stats()["peak"] - before)
            model.zero_grad()
            del y
    assert max(peaks[3:]) < 0.6 * min(peaks[:3]), peaks


def deep(checkpointed: bool, depth: int, hooked: bool = False) -> list[torch.Tensor]:
    """A chain of calls of one layer: its weight is reached through every call before."""
    torch.manual_seed(0)
    layer, x = torch.nn.Linear(4, 4), torch.ones(2, 4, requires_grad=True)
    z = x
    for _ in range(depth):
        z = checkpoint(layer, z, use_reentrant=False) if checkpointed else layer(z)
        if hooked:
            z.register_hook(lambda g: g * 1.5)
    if hooked:
        layer.weight.register_hook(lambda g: g * 2)
        x.register_hook(lambda g: g * 3)
    (z * z).sum().backward()
    return [layer.weight.grad, layer.bias.grad, x.grad]


@pytest.mark.parametrize("hooked", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_gradients_of_what_all_calls_of_a_chain_share(depth: int, hooked: bool) -> None:
    """What lies before the arguments of a call is the business of the walk that comes there later; so are hooks."""
    for a, b in zip(deep(True, depth, hooked), deep(False, depth, hooked)):
        torch.testing.assert_close(a, b)


def test_second_gradients_of_what_all_calls_of_a_chain_share() -> None:
    w = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)

    def chain(x: torch.Tensor, checkpointed: bool) -> torch.Tensor:
        for _ in range(3):
            x = (
                checkpoint(lambda y: torch.tanh(y @ w), x, use_reentrant=False)
                if checkpointed
                else torch.tanh(x @ w)
            )
        return x

    found = []
    for checkpointed in (True, False):
        x = torch.ones(2, 3, dtype=torch.float64, requires_grad=True)
        (first,) = torch.autograd.grad(chain(x, checkpointed).sum(), w, create_graph=True)
        found.append(torch.autograd.grad(first.pow(2).sum(), [w, x]))
    for a, b in zip(*found):
        torch.testing.assert_close(a, b)


def test_a_long_chain_is_walked_without_recursion() -> None:
    """Each call is done a second time, and no more."""
    calls = 0

    def step(x: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return x * w

    w = torch.ones(3, requires_grad=True)
    for n in (300, 1200):
        calls, w.grad = 0, None
        z = torch.ones(3, requires_grad=True)
        for _ in range(n):
            z = checkpoint(step, z, use_reentrant=False)
        z.sum().backward()
        assert calls == 2 * n and w.grad.tolist() == [n] * 3
