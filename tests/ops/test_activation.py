"""Activation functions against PyTorch's: values, gradients, second gradients, in-place forms, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import flambeau  # noqa: E402

CASES: list[tuple[str, tuple[Any, ...]]] = [
    ("relu", ()),
    ("relu6", ()),
    ("hardtanh", (-0.5, 0.7)),
    ("leaky_relu", ()),
    ("leaky_relu", (0.2,)),
    ("elu", (1.3,)),
    ("selu", ()),
    ("celu", (1.5,)),
    ("threshold", (0.1, 20.0)),
    ("hardshrink", (0.3,)),
    ("softshrink", (0.3,)),
    ("hardsigmoid", ()),
    ("hardswish", ()),
    ("silu", ()),
    ("mish", ()),
    ("gelu", ()),
    ("softplus", (2, 5)),
    ("logsigmoid", ()),
    ("glu", (1,)),
    ("tanhshrink", ()),
    ("softsign", ()),
]
SMOOTH = ("silu", "mish", "gelu", "softplus", "logsigmoid", "glu")
IN_PLACE = (
    "relu",
    "relu6",
    "hardtanh",
    "leaky_relu",
    "elu",
    "selu",
    "celu",
    "threshold",
    "hardsigmoid",
    "hardswish",
    "silu",
    "mish",
)


def sample(*shape: int, dtype: Any = None) -> Any:
    generator = torch.Generator().manual_seed(7)
    return (torch.randn(*shape, generator=generator, dtype=dtype or torch.float32) * 3).requires_grad_()


@pytest.mark.parametrize(("name", "args"), CASES)
@pytest.mark.parametrize("kind", ["contiguous", "transposed", "empty"])
def test_values_and_gradients(agree: Any, name: str, args: Any, kind: str) -> None:
    x = sample(0, 4) if kind == "empty" else sample(6, 4)
    if kind == "transposed":
        x = x.detach().t().contiguous().t().requires_grad_()
    agree(
        lambda t, x: getattr(t.nn.functional, name)(x, *args),
        x,
        second=name in SMOOTH and kind == "contiguous",
    )


@pytest.mark.parametrize("name", ["relu", "silu", "gelu", "softplus", "elu"])
def test_double(agree: Any, name: str) -> None:
    agree(lambda t, x: getattr(t.nn.functional, name)(x), sample(5, 3, dtype=torch.float64), tolerance=1e-12)


def test_gelu_tanh(agree: Any) -> None:
    agree(lambda t, x: t.nn.functional.gelu(x, approximate="tanh"), sample(6, 4), second=True)


def test_the_lower_tail_of_gelu_keeps_its_digits() -> None:
    x = np.linspace(-12, -3, 101).astype(np.float32)
    wide = torch.from_numpy(x).double()
    want = (wide * 0.5 * torch.erfc(-wide * 0.5**0.5)).numpy()
    assert (want != 0).all()
    np.testing.assert_allclose(flambeau.nn.functional.gelu(flambeau.from_numpy(x)).numpy(), want, rtol=5e-7)


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place(agree: Any, name: str) -> None:
    args = dict(CASES)[name]
    agree(lambda t, x: getattr(t.nn.functional, name)(x * 1, *args, inplace=True), sample(6, 4))


@pytest.mark.parametrize("count", [1, 4])
def test_prelu(agree: Any, count: int) -> None:
    weight = torch.linspace(0.1, 0.4, count).requires_grad_()
    agree(lambda t, x, w: t.nn.functional.prelu(x, w), sample(3, 4, 2), weight)


def test_rrelu_is_leaky_in_evaluation_and_draws_in_training(agree: Any) -> None:
    agree(lambda t, x: t.nn.functional.rrelu(x, 0.1, 0.3), sample(6, 4))
    x = flambeau.full((1000,), -1.0)
    y = flambeau.rrelu(x, 0.1, 0.3, training=True).numpy()
    assert y.min() >= -0.3 and y.max() <= -0.1 and y.std() > 0.01


def test_one_node_each() -> None:
    x = flambeau.ones(4, requires_grad=True)
    for name, node in [
        ("gelu", "GeluBackward0"),
        ("relu", "ReluBackward0"),
        ("silu", "SiluBackward0"),
        ("selu", "EluBackward0"),
    ]:
        made = getattr(flambeau.nn.functional, name)(x)
        assert made.grad_fn.name() == node
        assert made.grad_fn.next_functions[0][0].name().endswith("AccumulateGrad")


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda t: t.nn.functional.glu(t.ones(3)), RuntimeError),
        (lambda t: t.nn.functional.softshrink(t.ones(3), -1.0), RuntimeError),
        (lambda t: t.nn.functional.gelu(t.ones(3), approximate="no"), RuntimeError),
        (lambda t: t.nn.functional.elu(t.ones(3, dtype=t.int64)), NotImplementedError),
        (lambda t: t.nn.functional.prelu(t.ones(2, 3), t.ones(2)), RuntimeError),
    ],
)
def test_errors(call: Any, error: type[Exception]) -> None:
    for t in (torch, flambeau):
        with pytest.raises(error):
            call(t)
