"""Float arguments of captured functions: arguments of the replay where they only feed arithmetic, else guards."""

from __future__ import annotations

import math
from typing import Any

import pytest

import flambeau as torch

F = torch.nn.functional
MODEL = torch.nn.Linear(4, 3)
SCALE = 0.7


def train(x: Any, y: Any, lr: float, temperature: float = 1.3) -> Any:
    loss = F.cross_entropy(MODEL(x) / temperature, y)
    loss.backward()
    with torch.no_grad():
        for p in MODEL.parameters():
            p -= lr * p.grad
            p.grad = None
    return loss


def blend(x: Any, y: Any, a: float) -> Any:
    kept = (1 - a) * x
    more = kept + a * x.abs()
    return torch.add(more, x, alpha=-a / 3), x.mul(a)


def keyword(x: Any, y: Any, a: float) -> Any:
    return torch.softmax(x / a, -1) * (2 * a - 0.3)


def branch(x: Any, y: Any, a: float) -> Any:
    return x * a if a < 0.345 else x - a


def renamed_branch(x: Any, y: Any, a: float) -> Any:
    b = SCALE * a
    return x * a + 1 if b < 0.24 else x * a


def library(x: Any, y: Any, a: float) -> Any:
    return x * math.exp(a) + x * a


def limit(v: Any) -> Any:
    return v if not isinstance(v, float) or v < 0.345 else v * 3


def own_function(x: Any, y: Any, a: float) -> Any:
    return x * limit(a)


def length(x: Any, y: Any, a: float) -> Any:
    return torch.arange(0, SCALE * a * 10) + x[0, 0] * a


def closure(x: Any, y: Any, a: float) -> Any:
    def scaled(v: Any) -> Any:
        return v * a if a < 0.345 else v

    return scaled(x)


def text(x: Any, y: Any, a: float) -> Any:
    return x * len(f"{a}") + x * a


def number(x: Any, y: Any, a: float) -> Any:
    return x * a, a * 2


def bits(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().numpy().tobytes(), tuple(value.shape)
    return [bits(v) for v in value] if isinstance(value, (list, tuple)) else value


def trail(fn: Any, values: list[float]) -> list[Any]:
    torch.manual_seed(0)
    with torch.no_grad():
        for p in MODEL.parameters():
            p.copy_(torch.randn(p.shape))
    x, y = torch.randn(8, 4), torch.randint(0, 3, (8,))
    found = []
    for v in values:
        try:
            found.append(bits(fn(x, y, v)))
        except Exception as error:
            found.append((type(error), str(error)))
    return [*found, *(bits(p) for p in MODEL.parameters())]


VALUES = [0.31 + 0.0137 * i for i in range(9)] + [
    0.0,
    1.0,
    -0.3,
    0.5,
    2.0,
    math.inf,
    math.nan,
    1.7,
    1e-30,
    0.33,
    -0.0,
]


@pytest.mark.parametrize("fn", [train, blend, keyword])
def test_arithmetic_is_captured_once(fn: Any) -> None:
    compiled = torch.compile(fn)
    assert trail(compiled, VALUES[:9]) == trail(fn, VALUES[:9])
    assert len(compiled.captured.replays) == 1 and not compiled.captured.pending
    assert trail(compiled, VALUES) == trail(fn, VALUES)


@pytest.mark.filterwarnings("ignore:torch.compile")
@pytest.mark.parametrize(
    "fn",
    [branch, renamed_branch, library, own_function, length, closure, text, number],
    ids=lambda f: f.__name__,
)
def test_other_uses_are_guards(fn: Any) -> None:
    """A naive replay takes what agrees in two calls for arithmetic, and goes on past the branch."""
    compiled = torch.compile(fn)
    values = [v for v in VALUES[:9] for _ in range(3)]
    assert trail(compiled, values) == trail(fn, values)
    assert all("fits(" not in replay.text for replay in compiled.captured.replays)


def test_two_arguments_keywords_and_a_fixed_one() -> None:
    compiled = torch.compile(train)
    x, y = torch.randn(8, 4), torch.randint(0, 3, (8,))
    state = [p.detach().clone() for p in MODEL.parameters()]

    def run(fn: Any) -> list[Any]:
        with torch.no_grad():
            for p, old in zip(MODEL.parameters(), state):
                p.copy_(old)
        found = [bits(fn(x, y, lr=0.1 + 0.011 * i, temperature=1.7)) for i in range(6)]
        return found + [bits(fn(x, y, lr=0.1 + 0.011 * i, temperature=1.7 + 0.1 * i)) for i in range(6)]

    assert run(compiled) == run(train)
    assert len(compiled.captured.replays) == 2
