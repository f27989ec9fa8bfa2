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


CONVOLUTIONS = {  # images, channels given and made, side, stride, taps, padding -> instructions that are products
    "one tap, small planes": (3, 18, 20, 5, 1, 1, 0),
    "one tap, large planes": (2, 16, 17, 24, 1, 1, 0),
    "one tap, one image": (1, 33, 16, 5, 1, 1, 0),
    "one tap, steps": (2, 16, 16, 9, 2, 1, 0),
    "nine taps, steps": (2, 16, 64, 7, 2, 3, 1),
    "nine taps, one position": (1, 16, 65, 3, 3, 3, 0),
    "taps apart": (1, 16, 64, 30, 1, 3, 2),
    "few channels": (2, 3, 20, 8, 1, 1, 0),
    "sixteen taps, steps": (2, 17, 64, 11, 2, 4, 1),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("bias", [False, True])
def test_convolutions_are_those_of_float32_rounded_once(name: str, bias: bool) -> None:
    """Forward to the bit; the gradients are near those of float64."""
    images, given, made, side, stride, taps, padding = CONVOLUTIONS[name]
    flambeau.manual_seed(0)
    dilation = 2 if name == "taps apart" else 1
    shapes = (images, given, side, side), (made, given, taps, taps), (made,)
    operands = [flambeau.randn(*s).bfloat16() for s in shapes[: 2 + bias]]

    def results(dtype: Any) -> list[Any]:
        x, w, *b = [t.to(dtype).detach().requires_grad_() for t in operands]
        y = flambeau.nn.functional.conv2d(x, w, *(b or [None]), stride, padding, dilation)
        y.double().square().sum().backward()
        return [y.detach(), x.grad, w.grad]

    ours, single, exact = (results(getattr(flambeau, d)) for d in ("bfloat16", "float32", "float64"))
    assert ours[0].is_contiguous() and ours[1].is_contiguous()
    assert (ours[0] == single[0].bfloat16()).all()
    for mine, right in zip(ours, exact):
        assert (mine.double() - right).abs().max() < 2**-7 * right.abs().max()


def test_convolutions_that_are_products() -> None:
    """Products where there is one tap, or several and Winograd's tiles do not serve, or have a stride; not where copies
    were large. The gradient of the weights likewise."""
    F = flambeau.nn.functional

    def products(x: tuple[int, ...], w: tuple[int, ...], dtype: Any = flambeau.bfloat16, **how: Any) -> bool:
        a, b = flambeau.ones(*x, dtype=dtype), flambeau.ones(*w, dtype=dtype)
        return "contract" in str(flambeau.explain(lambda: F.conv2d(a, b, **how)))

    assert products((2, 16, 5, 5), (16, 16, 1, 1))
    assert products((2, 16, 5, 5), (64, 16, 3, 3), stride=2, padding=1)
    assert products((4, 64, 28, 28), (64, 64, 3, 3), stride=2, padding=1)
    assert not products((2, 16, 5, 5), (16, 16, 1, 1), flambeau.float16)
    assert not products((2, 8, 5, 5), (16, 8, 1, 1))
    assert not products((2, 32, 5, 5), (32, 16, 1, 1), groups=2)
    assert not products((2, 16, 5, 5), (32, 16, 3, 3), stride=2, padding=1)
    assert not products((4, 64, 56, 56), (64, 64, 3, 3), padding=1)
    assert not products((4, 64, 64, 64), (64, 64, 6, 6), padding=1)
    for size, side, stride, found in (
        ((64, 16, 3, 3), 12, 2, True),
        ((16, 16, 1, 1), 12, 2, True),
        ((32, 16, 3, 3), 12, 1, False),
        ((64, 16, 5, 5), 100, 1, False),
    ):
        a, b = flambeau.ones(3, 16, side, side).bfloat16(), flambeau.ones(*size).bfloat16().requires_grad_()

        def back() -> Any:
            y = F.conv2d(a, b, stride=stride, padding=size[2] // 2)
            return flambeau.autograd.grad(y, b, flambeau.ones_like(y))

        assert ("contract" in str(flambeau.explain(back))) is found


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "uint8", "float32"])
def test_every_second_element(dtype: str) -> None:
    """Also the third, fourth and fifth of rows that are no whole vectors, from any place on; and sums of them."""
    given = flambeau.arange(3 * 211).reshape(3, 211).remainder(251).to(getattr(flambeau, dtype))
    plain = given.float().numpy()
    for step in (2, 3, 4, 5):
        for start in (0, 1, step):
            for stop in (start + 1, start + 40, 200, 211):
                want = plain[:, start:stop:step]
                some = given[:, start:stop:step]
                assert (some.clone().float().numpy() == want).all()
                assert (
                    (some + some).float().numpy() == (2 * want if dtype != "uint8" else 2 * want % 256)
                ).all()
                assert (some.float().sum(1).numpy() == want.sum(1)).all()
