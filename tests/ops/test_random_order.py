"""Random numbers of tensors that are not row-major come in the order of memory, as in PyTorch."""

from __future__ import annotations

from typing import Any

import pytest

import flambeau

torch = pytest.importorskip("torch")

DRAWS = {
    "rand_like": lambda T, v: T.rand_like(v),
    "randn_like": lambda T, v: T.randn_like(v),
    "randint_like": lambda T, v: T.randint_like(v, 10),
    "bernoulli": lambda T, v: T.bernoulli(v / 30),
    "dropout": lambda T, v: T.nn.functional.dropout(v + 1, 0.5),
    "alpha_dropout": lambda T, v: T.nn.functional.alpha_dropout(v, 0.5, training=True) > 3,
    "native_dropout": lambda T, v: T.native_dropout(v + 1, 0.5, True)[0],
    "gumbel_softmax": lambda T, v: T.nn.functional.gumbel_softmax(v, hard=True),
    "uniform_": lambda T, v: v.clone().uniform_(),
    "normal_": lambda T, v: v.clone().normal_(),
}
VIEWS = {
    "turned": lambda b: b.transpose(0, 2),
    "planes": lambda b: b.permute(1, 0, 2),
    "steps": lambda b: b[:, ::2],
    "turned steps": lambda b: b[:, :, ::2].transpose(0, 2),
    "turned expanded": lambda b: b[:, :1].expand(2, 3, 4).transpose(0, 2),
    "stacked": lambda b: b[0].t().unsqueeze(-1).expand(4, 3, 2),
    "small": lambda b: b[0].t(),
    "expanded": lambda b: b[:, :1].expand(2, 3, 4),
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("draw", DRAWS)
def test_order(draw: str, view: str) -> None:
    def numbers(T: Any) -> Any:
        T.manual_seed(1)
        x = DRAWS[draw](T, VIEWS[view](T.arange(24.0).reshape(2, 3, 4)))
        return x.tolist(), tuple(x.stride())

    assert numbers(flambeau) == numbers(torch)
