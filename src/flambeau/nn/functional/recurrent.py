"""Recurrent layers as functions: all steps of one layer in one direction, and the stack of layers.

The part of the gates that comes from the inputs is one product over the whole sequence; what is left for each step is
one small product and the gates: one op for all steps. float16 is cast for it: states are rounded where the layer gives
them, not between its steps.
"""

from __future__ import annotations

from typing import Any

import flambeau as torch

from ..formulas import recurrent as formulas
from .dropping import dropout
from .table import ops

Tensor = Any
MODES = {"LSTM": "lstm", "GRU": "gru", "RNN_TANH": "tanh", "RNN_RELU": "relu"}


def _whole(gates: Tensor, states: tuple) -> bool:
    """Whether all steps are one op: there is something to do, in a float type."""
    for s in states:
        if s.dtype != gates.dtype:
            raise RuntimeError(
                f"expected input and states of the same dtype, but got {gates.dtype} and {s.dtype}"
            )
    return gates.numel() > 0 and gates.is_floating_point()


def _run(
    mode: str, x: Tensor, states: tuple, weights: tuple, sizes: Tensor | None, reverse: bool
) -> tuple[Tensor, tuple]:
    """One layer, one direction: (output, last states). x (T, N, in), or packed rows with `sizes` in each step; weights
    (w_ih, w_hh, b_ih, b_hh, w_hr)."""
    w_ih, w_hh, b_ih, b_hh, w_hr = weights
    if mode != "gru" and b_hh is not None:  # its n has a factor on what the state gives
        b_ih, b_hh = b_ih + b_hh, None
    gates = ops.linear(x, w_ih, b_ih)
    given_c = states[-1].dtype
    if torch.is_autocast_enabled("cpu"):
        if mode == "gru" or (mode == "lstm" and sizes is not None):  # steps run in the dtype of the states
            gates = gates.to(states[0].dtype)
        states = tuple(s.to(gates.dtype) for s in states)
        w_hh, b_hh, w_hr = (None if w is None else w.to(gates.dtype) for w in (w_hh, b_hh, w_hr))
    steps = ops._recurrent_steps if _whole(gates, states) else formulas._recurrent_steps
    given, dtype = (gates, *(*states, None)[:2], w_hh, b_hh, w_hr), gates.dtype
    if short := dtype == torch.float16:
        given = tuple(None if x is None else x.to(torch.float32) for x in given)
    made = steps(*given, sizes, mode, reverse, torch.is_grad_enabled())
    output, *last = (x.to(dtype) for x in made[: 1 + len(states)]) if short else made[: 1 + len(states)]
    if w_hr is not None:  # which autocast keeps
        last[-1] = last[-1].to(given_c)
    return output, tuple(last)


def run_layers(
    mode: str,
    x: Tensor,
    states: tuple,
    weights: list[tuple],
    sizes: Tensor | None,
    directions: int,
    drop: float,
) -> tuple[Tensor, tuple]:
    """The whole stack: x (T, N, in) or packed; each of `states` (layers x directions, N, size); `weights` in the order
    of layers, then directions. Dropout acts between layers. Returns (output, last states)."""
    kind = MODES[mode]
    last: list[tuple] = []
    layers = len(weights) // directions
    for layer in range(layers):
        outputs = []
        for direction in range(directions):
            at = layer * directions + direction
            output, state = _run(kind, x, tuple(s[at] for s in states), weights[at], sizes, direction == 1)
            outputs.append(output)
            last.append(state)
        x = outputs[0] if directions == 1 else torch.cat(outputs, -1)
        if drop and layer < layers - 1:
            x = dropout(x, drop, True)
    return x, tuple(torch.stack(parts) for parts in zip(*last))
