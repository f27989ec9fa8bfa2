"""`torch.lstm_cell` and its like beside the modules; their errors."""

from __future__ import annotations

from typing import Any

import pytest

import flambeau as torch

CELLS: list[tuple[str, Any]] = [
    ("lstm_cell", torch.nn.LSTMCell),
    ("gru_cell", torch.nn.GRUCell),
    ("rnn_tanh_cell", torch.nn.RNNCell),
    ("rnn_relu_cell", lambda *a, **k: torch.nn.RNNCell(*a, nonlinearity="relu", **k)),
]


@pytest.mark.parametrize(("name", "module"), CELLS, ids=[n for n, _ in CELLS])
def test_cells_are_the_modules(name: str, module: Any) -> None:
    for bias in (True, False):
        cell = module(3, 4, bias=bias)
        weights = [cell.weight_ih, cell.weight_hh] + ([cell.bias_ih, cell.bias_hh] if bias else [])
        x, state = torch.randn(2, 3), torch.randn(2, 4)
        hx = (state, torch.randn(2, 4)) if name == "lstm_cell" else state
        found, want = getattr(torch, name)(x, hx, *weights), cell(x, hx)
        for a, b in zip(found, want, strict=True):
            assert torch.allclose(a, b, atol=1e-6)
        first = found[0] if name == "lstm_cell" else found
        assert all(g.abs().sum() > 0 for g in torch.autograd.grad(first.sum(), weights))


def test_sizes_that_do_not_fit() -> None:
    x, h = torch.ones(2, 3), torch.ones(2, 4)
    with pytest.raises(RuntimeError, match="input has inconsistent input_size: got 3, expected 5"):
        torch.gru_cell(x, h, torch.ones(12, 5), torch.ones(12, 4))
    with pytest.raises(RuntimeError, match="hidden0 has inconsistent hidden_size: got 4, expected 5"):
        torch.lstm_cell(x, (h, h), torch.ones(16, 3), torch.ones(16, 5))
