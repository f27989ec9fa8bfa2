"""The steps of recurrent layers and the gates of an LSTM or GRU, over other functions."""

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


def one_step(mode: str, x: Tensor, states: tuple, w_hh: Tensor, b_hh: Any = None, w_hr: Any = None) -> tuple:
    """The states after a step (the first is the output); x: what the inputs give to the gates. lstm: gates are stacked
    i, f, g, o (Hochreiter and Schmidhuber 1997); gru: r, z, n (Cho et al. 2014); tanh, relu (Elman 1990)."""
    from ..functional.table import ops

    own = ops.linear(states[0], w_hh, b_hh)
    if mode == "lstm":
        h, c, _ = ops._lstm_gates(x + own, states[1])
        return (h if w_hr is None else ops.linear(h, w_hr)), c
    if mode == "gru":
        return (ops._gru_gates(x, own, states[0])[0],)
    return (torch.tanh(x + own) if mode == "tanh" else torch.relu(x + own),)


def _recurrent_steps(
    gates: Tensor,
    h0: Tensor,
    c0: Tensor | None,
    w_hh: Tensor,
    b_hh: Tensor | None,
    w_hr: Tensor | None,
    sizes: Tensor | None,
    mode: str,
    reverse: bool,
    keep: bool,
) -> tuple[Tensor, ...]:
    """(h of each step, last h, last c or None); gates (T, N, G H), or packed rows with `sizes` rows in each step.

    Step t concerns the first sizes[t] rows of the batch, whose states are kept from there on."""
    states = (h0,) if c0 is None else (h0, c0)
    steps = list(gates.unbind(0) if sizes is None else gates.split(sizes.tolist()))
    outputs = []
    for x in reversed(steps) if reverse else steps:
        n = x.size(0)
        made = one_step(mode, x, tuple(s[:n] for s in states), w_hh, b_hh, w_hr)
        outputs.append(made[0])
        states = made if n == h0.size(0) else tuple(torch.cat([m, s[n:]]) for m, s in zip(made, states))
    outputs = outputs[::-1] if reverse else outputs
    output = torch.stack(outputs) if sizes is None else torch.cat(outputs)
    return output, states[0], None if c0 is None else states[1]
