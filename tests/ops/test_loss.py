"""Losses against PyTorch's, for each reduction and both inputs."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

import flambeau  # noqa: E402


def made(kind: str, *shape: int, seed: int = 3, grad: bool = True) -> Any:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(*shape, generator=generator)
    if kind == "probability":
        x = x.sigmoid()
    elif kind == "log":
        x = x.log_softmax(-1)
    return x.requires_grad_(grad)


PAIRS = [
    ("mse_loss", {}, "real", "real"),
    ("l1_loss", {}, "real", "real"),
    ("smooth_l1_loss", {"beta": 0.7}, "real", "real"),
    ("huber_loss", {"delta": 0.6}, "real", "real"),
    ("kl_div", {}, "log", "probability"),
    ("kl_div", {"log_target": True}, "log", "log"),
    ("binary_cross_entropy", {}, "probability", "probability"),
    ("binary_cross_entropy_with_logits", {}, "real", "probability"),
    ("poisson_nll_loss", {}, "real", "probability"),
    ("soft_margin_loss", {}, "real", "real"),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize(("name", "options", "left", "right"), PAIRS)
def test_pairs(agree: Any, name: str, options: dict[str, Any], left: str, right: str, reduction: str) -> None:
    x, y = made(left, 5, 4), made(right, 5, 4, seed=5)
    if name == "soft_margin_loss":
        y = y.detach().sign()
    agree(lambda t, x, y: getattr(t.nn.functional, name)(x, y, reduction=reduction, **options), x, y)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_weights_of_binary_cross_entropy(agree: Any, reduction: str) -> None:
    x, y, w, p = (
        made("real", 5, 4),
        made("probability", 5, 4, seed=5, grad=False),
        torch.rand(5, 4),
        torch.rand(4),
    )
    call = lambda t, x, y, w, p: t.nn.functional.binary_cross_entropy_with_logits(
        x, y, weight=w, pos_weight=p, reduction=reduction
    )
    agree(call, x, y, w, p, second=reduction == "mean")


def test_extreme_logits_stay_finite() -> None:
    x = flambeau.tensor([-200.0, 200.0], requires_grad=True)
    loss = flambeau.nn.functional.binary_cross_entropy_with_logits(x, flambeau.tensor([1.0, 0.0]))
    loss.backward()
    assert loss.item() == 200.0
    assert x.grad.tolist() == [-0.5, 0.5]


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy(agree: Any, reduction: str, smoothing: float) -> None:
    x, y, w = made("real", 6, 5, 2), torch.randint(0, 5, (6, 2)), torch.rand(5)
    y[0, 0] = -100
    call = lambda t, x, y, w: t.nn.functional.cross_entropy(
        x, y, weight=w, reduction=reduction, label_smoothing=smoothing
    )
    agree(call, x, y, w)


def test_cross_entropy_of_probabilities(agree: Any) -> None:
    agree(
        lambda t, x, y: t.nn.functional.cross_entropy(x, y),
        made("real", 6, 5),
        made("real", 6, 5, seed=9, grad=False).softmax(-1),
    )


def test_nll(agree: Any) -> None:
    agree(
        lambda t, x, y: t.nn.functional.nll_loss(x, y, ignore_index=2),
        made("log", 6, 5),
        torch.tensor([0, 1, 2, 3, 4, 2]),
    )


def test_errors() -> None:
    for t in (torch, flambeau):
        with pytest.raises(ValueError):
            t.nn.functional.binary_cross_entropy(t.ones(3), t.ones(2))
        with pytest.raises(ValueError):
            t.nn.functional.l1_loss(t.ones(3), t.ones(3), reduction="no")
        with pytest.raises(RuntimeError):
            t.nn.functional.huber_loss(t.ones(3), t.ones(3), delta=0.0)
