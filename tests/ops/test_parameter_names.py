"""Parameters by name: PyTorch's own, `input` for the first, and NumPy's axis and keepdims."""

from __future__ import annotations

import pytest

import flambeau as torch

X = torch.arange(6.0).view(2, 3)
INDEX = torch.tensor([[0], [2]])


@pytest.mark.parametrize(
    ("by_name", "by_position"),
    [
        (lambda: torch.add(input=X, other=2, alpha=3), lambda: X + 6),
        (lambda: torch.exp(input=X), lambda: X.exp()),
        (lambda: torch.gather(input=X, dim=1, index=INDEX), lambda: X.gather(1, INDEX)),
        (lambda: torch.matmul(input=X, other=X.t()), lambda: X @ X.t()),
        (lambda: torch.pow(input=X, exponent=2), lambda: X**2),
        (lambda: torch.zeros_like(input=X), lambda: X * 0),
        (lambda: torch.unsqueeze(input=X, dim=1), lambda: X[:, None]),
        (lambda: X.unsqueeze(dim=-1), lambda: X[..., None]),
        (lambda: X.select(dim=1, index=2), lambda: X[:, 2]),
        (lambda: X.narrow(dim=1, start=1, length=2), lambda: X[:, 1:3]),
        (lambda: X.unfold(dimension=1, size=2, step=1), lambda: X.unfold(1, 2, 1)),
        (lambda: torch.permute(X, dims=(1, 0)), lambda: X.t()),
        (lambda: torch.reshape(input=X, shape=(3, 2)), lambda: X.view(3, 2)),
        (lambda: X.view(size=(3, 2)), lambda: X.view(3, 2)),
        (lambda: X.view(dtype=torch.int32), lambda: X.view(torch.int32)),
        (lambda: X.expand(size=(2, 2, 3)), lambda: X.expand(2, 2, 3)),
        (lambda: X.sum_to_size(size=(1, 3)), lambda: X.sum(0, keepdim=True)),
        (lambda: torch.mean(X, axis=1, keepdims=True), lambda: X.mean(1, keepdim=True)),
        (lambda: X.argmax(axis=1), lambda: X.argmax(1)),
        (lambda: torch.cumsum(X, axis=0), lambda: X.cumsum(0)),
        (lambda: torch.softmax(X, axis=1), lambda: X.softmax(1)),
        (lambda: torch.std(X, axis=0), lambda: X.std(0)),
        (lambda: torch.squeeze(X[None], axis=0), lambda: X),
        (lambda: torch.gather(X, axis=1, index=INDEX), lambda: X.gather(1, INDEX)),
    ],
)
def test_names(by_name, by_position) -> None:
    found, wanted = by_name(), by_position()
    assert found.shape == wanted.shape and torch.equal(found, wanted)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: X.cumsum(), 'missing 1 required positional arguments: "dim"'),
        (lambda: torch.gather(X, 1), "missing 1 required positional"),
        (lambda: X.cumsum(1, axis=0), "multiple values for argument 'dim'"),
        (lambda: X.unsqueeze(), "missing 1 required positional argument: 'dim'"),
        (lambda: X.unsqueeze(0, dim=1), "multiple values for argument 'dim'"),
        (lambda: X.unsqueeze(axes=1), "unexpected keyword argument 'axes'"),
        (lambda: torch.unsqueeze(dim=1), "missing 1 required positional argument: 'input'"),
        (lambda: torch.exp(inputs=X), "unexpected keyword argument 'inputs'"),
    ],
)
def test_other_names_are_refused(call, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        call()
