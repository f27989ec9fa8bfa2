"""Initialisation draws the same numbers in the same order as torch.nn.init."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

CALLS = {
    "uniform": lambda i, t: i.uniform_(t, -1, 2),
    "normal": lambda i, t: i.normal_(t, 1, 2),
    "trunc_normal": lambda i, t: i.trunc_normal_(t, 0.5, 0.7, -1, 1.5),
    "trunc_normal far away": lambda i, t: i.trunc_normal_(t, 10.0, 1.0),
    "constant": lambda i, t: i.constant_(t, 3.5),
    "ones": lambda i, t: i.ones_(t),
    "zeros": lambda i, t: i.zeros_(t),
    "eye": lambda i, t: i.eye_(t),
    "dirac": lambda i, t: i.dirac_(torch.empty(6, 4, 3, 2)),
    "dirac groups": lambda i, t: i.dirac_(torch.empty(6, 4, 3), 2),
    "dirac wrong groups": lambda i, t: i.dirac_(torch.empty(6, 4, 3), 4),
    "dirac of a matrix": lambda i, t: i.dirac_(t),
    "xavier_uniform": lambda i, t: i.xavier_uniform_(t, 1.3),
    "xavier_normal": lambda i, t: i.xavier_normal_(t),
    "xavier of a vector": lambda i, t: i.xavier_normal_(torch.empty(3)),
    "kaiming_uniform": lambda i, t: i.kaiming_uniform_(t, 5**0.5),
    "kaiming_uniform fan_out": lambda i, t: i.kaiming_uniform_(t, mode="fan_out", nonlinearity="relu"),
    "kaiming_normal": lambda i, t: i.kaiming_normal_(t, nonlinearity="tanh"),
    "kaiming wrong mode": lambda i, t: i.kaiming_normal_(t, mode="x"),
    "kaiming empty": lambda i, t: i.kaiming_normal_(torch.empty(0, 3)),
    "kaiming wrong nonlinearity": lambda i, t: i.kaiming_uniform_(t, nonlinearity="x"),
    "orthogonal": lambda i, t: i.orthogonal_(t),
    "orthogonal tall": lambda i, t: i.orthogonal_(torch.empty(7, 2, 2), 1.5),
    "orthogonal of a vector": lambda i, t: i.orthogonal_(torch.empty(3)),
    "sparse": lambda i, t: i.sparse_(t, 0.4),
    "deprecated": lambda i, t: i.xavier_uniform(t),
    "gains": lambda i, t: [
        i.calculate_gain(n) for n in ("linear", "conv2d", "sigmoid", "tanh", "relu", "selu", "leaky_relu")
    ],
    "gain of a slope": lambda i, t: i.calculate_gain("leaky_relu", 0.2),
    "gain of nonsense": lambda i, t: i.calculate_gain("leaky_relu", True),
    "generator": lambda i, t: i.normal_(t, generator=torch.Generator().manual_seed(5)),
}


@pytest.mark.parametrize("name", CALLS)
def test_init(same, name) -> None:
    same(lambda nn: (CALLS[name](nn.init, torch.empty(5, 4)), torch.rand(1)))


def test_init_records_no_gradient(mirror) -> None:
    w = mirror.nn.Parameter(torch.empty(3, 3))
    assert mirror.nn.init.xavier_uniform_(w) is w
    assert w.grad_fn is None and w.requires_grad
