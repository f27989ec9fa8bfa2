"""The second derivative through dropout: what was drawn is a constant, whatever the op saves of it."""

from __future__ import annotations

from typing import Any

import pytest

import flambeau

torch = pytest.importorskip("torch")

DROPOUTS = ["dropout", "alpha_dropout", "dropout1d", "feature_alpha_dropout"]


def second(T: Any, name: str) -> Any:
    T.manual_seed(0)
    x = T.arange(1.0, 25.0).reshape(2, 3, 4).requires_grad_()
    y = getattr(T.nn.functional, name)(x * x, 0.4, training=True)
    (first,) = T.autograd.grad((y * y).sum(), x, create_graph=True)
    return T.autograd.grad((first**2).sum(), x)[0].tolist()


@pytest.mark.parametrize("name", DROPOUTS)
def test_second_derivative(name: str) -> None:
    ours, theirs = second(flambeau, name), second(torch, name)
    assert flambeau.allclose(flambeau.tensor(ours), flambeau.tensor(theirs), rtol=1e-5)


def test_a_penalty_on_the_gradient_trains_through_dropout() -> None:
    def losses(T: Any) -> list[float]:
        T.manual_seed(0)
        nn = T.nn
        model = nn.Sequential(nn.Linear(2, 8), nn.LeakyReLU(0.2), nn.Dropout(0.3), nn.Linear(8, 1))
        optimizer = T.optim.SGD(model.parameters(), lr=0.1)
        found = []
        for _ in range(4):
            x = T.randn(16, 2, requires_grad=True)
            y = model(x)
            (g,) = T.autograd.grad(y, x, T.ones_like(y), create_graph=True)
            loss = y.mean() + ((g.norm(2, dim=1) - 1) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    assert losses(flambeau) == pytest.approx(losses(torch), rel=1e-4)
