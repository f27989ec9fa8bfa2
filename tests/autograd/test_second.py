"""Second derivatives where a quotient has none: at zeros, at equal values, of indices and of determinants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import flambeau

VALUES = [[0.5, 0.0, 2.0], [1.5, -1.0, 0.0], [0.0, 0.25, 0.0]]


def apart(torch: Any, x: Any) -> Any:
    """x without equal elements."""
    return x + torch.arange(9.0).reshape(3, 3) * 0.01


CASES: dict[str, Callable[[Any, Any], Any]] = {
    "prod": lambda t, x: x.prod(1),
    "prod of all": lambda t, x: (x + 0.5).prod(),
    "cumprod": lambda t, x: x.cumprod(1),
    "logcumsumexp": lambda t, x: x.logcumsumexp(0),
    "det of a singular matrix": lambda t, x: t.linalg.det(x[:, :1] @ x[:1]),
    "det": lambda t, x: t.linalg.det(x + 0.25),
    "svd": lambda t, x: t.linalg.svd(x + t.eye(3)).S,
    "eigh": lambda t, x: t.linalg.eigh(x + x.T).eigenvectors.abs(),
    "digamma": lambda t, x: t.digamma(x + 3),
    "ldexp": lambda t, x: t.ldexp(x, x),
    "kthvalue": lambda t, x: apart(t, x).kthvalue(2).values,
    "topk": lambda t, x: apart(t, x).topk(2).values,
    "sort": lambda t, x: apart(t, x).sort().values ** 2,
    "cummax": lambda t, x: apart(t, x).cummax(0).values,
    "max_pool1d": lambda t, x: t.nn.functional.max_pool1d(apart(t, x), 2),
    "median": lambda t, x: apart(t, x).median(),
}


def second(torch: Any, fn: Callable[[Any, Any], Any]) -> list[list[float]]:
    """The gradient of the gradient, each weighted so that no symmetry hides an error."""
    x = torch.tensor(VALUES, dtype=torch.float64, requires_grad=True)
    y = fn(torch, x)
    w = torch.arange(1.0, y.numel() + 1, dtype=torch.float64).reshape(y.shape).requires_grad_()
    (first,) = torch.autograd.grad(y, x, w, create_graph=True)
    v = torch.linspace(0.5, 2, 9, dtype=torch.float64).reshape(3, 3)
    found = torch.autograd.grad(first, (x, w), v, allow_unused=True)
    return [[] if g is None else g.reshape(-1).tolist() for g in (first, *found)]


@pytest.mark.torch
@pytest.mark.parametrize("name", CASES)
def test_as_in_pytorch(name: str) -> None:
    reference = pytest.importorskip("torch")
    ours, theirs = second(flambeau, CASES[name]), second(reference, CASES[name])
    for a, b in zip(ours, theirs):
        assert (a or [0.0] * 9) == pytest.approx(b or [0.0] * 9, rel=1e-6, abs=1e-9)


def test_determinant_of_a_singular_matrix_by_differences() -> None:
    x = flambeau.tensor(VALUES, dtype=flambeau.float64, requires_grad=True)
    assert flambeau.autograd.gradgradcheck(lambda x: flambeau.linalg.det(x[:, :1] @ x[:1] + x * 0.5), x)
