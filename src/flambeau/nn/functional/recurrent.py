"""Recurrent layers as functions: all steps of one layer in one direction, and the stack of layers.

The part of the gates that comes from the inputs is one product over the whole sequence; what is left for each step
is one small product and the gates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flambeau as torch

from .dropping import dropout
from .table import ops

Tensor = Any
# (gates of one step from the inputs, states, W_hh, b_hh, W_hr or None) -> states; the first state is the output.
Step = Callable[[Tensor, tuple, Tensor, Any, Any], tuple]


def lstm_step(
    gates: Tensor, state: tuple, w_hh: Tensor, b_hh: Tensor | None, w_hr: Tensor | None = None
) -> tuple:
    """(h, c) -> (o tanh(c'), c'), c' = f c + i g; gates are stacked i, f, g, o (Hochreiter and Schmidhuber 1997)."""
    h, c = state
    h, c, _ = ops._lstm_gates(gates + ops.linear(h, w_hh, b_hh), c)
    return (h if w_hr is None else ops.linear(h, w_hr)), c


def gru_step(
    gates: Tensor, state: tuple, w_hh: Tensor, b_hh: Tensor | None, w_hr: Tensor | None = None
) -> tuple:
    """h -> n + z (h - n), n = tanh(n_x + r n_h); gates are stacked r, z, n (Cho et al. 2014)."""
    h = state[0]
    return (ops._gru_gates(gates, ops.linear(h, w_hh, b_hh), h)[0],)


def tanh_step(
    gates: Tensor, state: tuple, w_hh: Tensor, b_hh: Tensor | None, w_hr: Tensor | None = None
) -> tuple:
    """h -> tanh(x + W h + b) (Elman 1990)."""
    return (torch.tanh(gates + ops.linear(state[0], w_hh, b_hh)),)


def relu_step(
    gates: Tensor, state: tuple, w_hh: Tensor, b_hh: Tensor | None, w_hr: Tensor | None = None
) -> tuple:
    """h -> max(0, x + W h + b)."""
    return (torch.relu(gates + ops.linear(state[0], w_hh, b_hh)),)


STEPS: dict[str, Step] = {"LSTM": lstm_step, "GRU": gru_step, "RNN_TANH": tanh_step, "RNN_RELU": relu_step}


def _whole(gates: Tensor, state: tuple) -> bool:
    """Whether all steps are one op: there is something to do, in float32 or float64."""
    kinds = (torch.float32, torch.float64)
    return gates.numel() > 0 and gates.dtype in kinds and all(s.dtype == gates.dtype for s in state)


def _run(
    step: Step, x: Tensor, state: tuple, weights: tuple, sizes: list[int] | None, reverse: bool
) -> tuple[Tensor, tuple]:
    """One layer, one direction. x (T, N, in), or packed rows with batch `sizes`; weights (w_ih, w_hh,
    b_ih, b_hh, w_hr)."""
    w_ih, w_hh, b_ih, b_hh, w_hr = weights
    gates = ops.linear(x, w_ih, b_ih)
    if step is lstm_step and sizes is None and w_hr is None and _whole(gates, state):
        gates = gates if b_hh is None else gates + b_hh
        output, cells, _ = ops._lstm_steps(gates, *state, w_hh, reverse)
        last = 0 if reverse else -1
        return output, (output[last], cells[last])
    if sizes is not None:
        return _run_packed(step, gates, state, (w_hh, b_hh, w_hr), sizes, reverse)
    outputs = []
    steps = gates.unbind(0)
    for gate in reversed(steps) if reverse else steps:
        state = step(gate, state, w_hh, b_hh, w_hr)
        outputs.append(state[0])
    return torch.stack(outputs[::-1] if reverse else outputs), state


def _run_packed(
    step: Step, gates: Tensor, state: tuple, weights: tuple, sizes: list[int], reverse: bool
) -> tuple[Tensor, tuple]:
    """As `_run` over sequences of different lengths, longest first: step t concerns the first sizes[t] of them."""
    steps = gates.split(sizes)
    outputs: list[Any] = []
    ended: list[tuple] = []  # the last states of the sequences that are over, shortest last
    full = state
    if reverse:
        state = tuple(s[: sizes[-1]] for s in full)
        for gate, size in zip(reversed(steps), reversed(sizes)):
            have = state[0].size(0)
            if size > have:
                state = tuple(torch.cat([s, f[have:size]]) for s, f in zip(state, full))
            state = step(gate, state, *weights)
            outputs.append(state[0])
        return torch.cat(outputs[::-1]), state
    for gate, size in zip(steps, sizes):
        if size < state[0].size(0):
            ended.append(tuple(s[size:] for s in state))
            state = tuple(s[:size] for s in state)
        state = step(gate, state, *weights)
        outputs.append(state[0])
    if ended:
        state = tuple(torch.cat([s, *parts]) for s, parts in zip(state, zip(*reversed(ended))))
    return torch.cat(outputs), state


def run_layers(
    mode: str,
    x: Tensor,
    states: tuple,
    weights: list[tuple],
    sizes: list[int] | None,
    directions: int,
    drop: float,
) -> tuple[Tensor, tuple]:
    """The whole stack: x (T, N, in) or packed; each of `states` (layers x directions, N, size); `weights` in the order
    of layers, then directions. Dropout acts between layers. Returns (output, last states)."""
    step = STEPS[mode]
    last: list[tuple] = []
    layers = len(weights) // directions
    for layer in range(layers):
        outputs = []
        for direction in range(directions):
            at = layer * directions + direction
            output, state = _run(step, x, tuple(s[at] for s in states), weights[at], sizes, direction == 1)
            outputs.append(output)
            last.append(state)
        x = outputs[0] if directions == 1 else torch.cat(outputs, -1)
        if drop and layer < layers - 1:
            x = dropout(x, drop, True)
    return x, tuple(torch.stack(parts) for parts in zip(*last))
