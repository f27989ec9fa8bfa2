"""bfloat16 and float16: one op rounds once, numbers are as in PyTorch, and programs give PyTorch's bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import flambeau

CASES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "mul": lambda t, x, y: x * 0.1,
    "mul by a tensor of no dimensions": lambda t, x, y: x * t.tensor(0.1),
    "mul of a tensor of no dimensions": lambda t, x, y: t.tensor(0.1) * x,
    "add": lambda t, x, y: x + 0.1,
    "add of a tensor of no dimensions": lambda t, x, y: x + t.tensor(0.1),
    "rsub": lambda t, x, y: 0.1 - x,
    "div": lambda t, x, y: x / 0.3,
    "rdiv": lambda t, x, y: 0.3 / x,
    "pow": lambda t, x, y: x.abs() ** 0.3,
    "compare": lambda t, x, y: x > 0.3,
    "in place": lambda t, x, y: x.clone().mul_(0.1).add_(y).div_(0.3),
    "addcmul": lambda t, x, y: t.addcmul(x, y, y, value=0.3),
    "addcdiv": lambda t, x, y: t.addcdiv(x, y, y + 5, value=0.3),
    "leaky_relu": lambda t, x, y: t.nn.functional.leaky_relu(x, 0.3),
    "elu": lambda t, x, y: t.nn.functional.elu(x, 0.3),
    "softplus": lambda t, x, y: t.nn.functional.softplus(x, 0.3),
    "silu": lambda t, x, y: t.nn.functional.silu(x),
    "hardswish": lambda t, x, y: t.nn.functional.hardswish(x),
    "clamp": lambda t, x, y: x.clamp(-0.3, 0.7),
    "logit": lambda t, x, y: t.logit(x.sigmoid()),
    "nextafter": lambda t, x, y: t.nextafter(x, y),
    "linspace": lambda t, x, y: t.linspace(0, 1, 50, dtype=x.dtype),
}
# A last bit of the sum of products or of exp is open: at most these few of 1,000 elements differ by it.
NEARLY: dict[str, Callable[[Any, Any, Any], Any]] = {
    "add alpha": lambda t, x, y: t.add(x, y, alpha=0.1),
    "lerp": lambda t, x, y: t.lerp(x, y, 0.3),
    "gelu": lambda t, x, y: t.nn.functional.gelu(x),
    "softmax": lambda t, x, y: x.softmax(0),
    "layer_norm": lambda t, x, y: t.nn.functional.layer_norm(x, (1000,)),
    "mish": lambda t, x, y: t.nn.functional.mish(x),
}


def both(fn: Callable[[Any, Any, Any], Any], dtype: str) -> list[list[float]]:
    results = []
    for t in (flambeau, pytest.importorskip("torch")):
        t.manual_seed(0)
        x, y = (t.randn(1000).mul(k).to(getattr(t, dtype)) for k in (2, 1))
        results.append(fn(t, x, y).double().tolist())
    return results


@pytest.mark.torch
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", CASES)
def test_bits_of_pytorch(name: str, dtype: str) -> None:
    ours, theirs = both(CASES[name], dtype)
    assert ours == theirs


@pytest.mark.torch
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", NEARLY)
def test_nearly_the_bits_of_pytorch(name: str, dtype: str) -> None:
    ours, theirs = both(NEARLY[name], dtype)
    assert sum(a != b for a, b in zip(ours, theirs)) <= 30
    assert ours == pytest.approx(theirs, rel=2**-7, abs=1e-6)


@pytest.mark.parametrize("dtype", [flambeau.bfloat16, flambeau.float16])
def test_one_op_rounds_once(dtype: Any) -> None:
    """What an op computes in several steps is float32's result, rounded; so is its gradient."""
    F = flambeau.nn.functional
    flambeau.manual_seed(1)
    x = flambeau.randn(500).to(dtype)
    for fn in (F.gelu, F.silu, lambda x: x.softmax(0), lambda x: x.var(), lambda x: x * 0.7):
        assert fn(x).tolist() == fn(x.float()).to(dtype).tolist()
    low, wide = x.clone().requires_grad_(), x.float().requires_grad_()
    for z in (low, wide):
        F.silu(z).backward(flambeau.ones_like(z))
    assert low.grad.tolist() == wide.grad.to(dtype).tolist()


def test_eager_and_recorded_are_the_same_bits() -> None:
    def run() -> list[float]:
        flambeau.manual_seed(2)
        x = flambeau.randn(64, 33).to(flambeau.bfloat16)
        y = flambeau.nn.functional.layer_norm(x * 0.3 + 1, (33,)).softmax(-1)
        return (y.T @ flambeau.nn.functional.gelu(x)).float().reshape(-1).tolist()

    deferred = run()
    flambeau.set_eager(True)
    try:
        assert run() == deferred
    finally:
        flambeau.set_eager(False)
