"""The steps of an LSTM and the gates of an LSTM or GRU, over other functions."""

from __future__ import annotations

from typing import Any

import flambeau as torch

Tensor = Any


def _lstm_gates(gates: Tensor, c0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(o tanh(c), c, gates after their functions), c = f c0 + i g."""
    i, f, g, o = gates.chunk(4, -1)
    i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
    c = f * c0 + i * g
    return o * torch.tanh(c), c, torch.cat([i, f, g, o], -1)


def _gru_gates(x_gates: Tensor, h_gates: Tensor, h0: Tensor) -> tuple[Tensor, Tensor]:
    """(n + z (h0 - n), gates after their functions), n = tanh(n_x + r n_h)."""
    r_x, z_x, n_x = x_gates.chunk(3, -1)
    r_h, z_h, n_h = h_gates.chunk(3, -1)
    r, z = torch.sigmoid(r_x + r_h), torch.sigmoid(z_x + z_h)
    n = torch.tanh(n_x + r * n_h)
    return n + z * (h0 - n), torch.cat([r, z, n], -1)


def _lstm_steps(
    gates: Tensor, h0: Tensor, c0: Tensor, w_hh: Tensor, reverse: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """(h, c, gates after their functions) of each step; gates (T, N, 4 H) are what inputs and biases give."""
    h, c, found = h0, c0, []
    steps = gates.unbind(0)
    for gate in reversed(steps) if reverse else steps:
        h, c, acts = _lstm_gates(gate + torch.matmul(h, w_hh.t()), c)
        found.append((h, c, acts))
    h, c, acts = (torch.stack(parts) for parts in zip(*(found[::-1] if reverse else found)))
    return h, c, acts
