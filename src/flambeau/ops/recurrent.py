"""All steps of a recurrent layer as one op."""

from __future__ import annotations

from typing import Any

from ..loop.recipes.recurrence import LANES, panels
from ..stream.graph import Val, const, contiguous, empty, expand, opaque, store
from .cells import parts
from .contraction import matmul
from .entry import FUNCTIONS, T, op
from .view import slice_


def _in_panels(w: Any) -> Any:
    """A matrix (rows, columns), rows reduced, as (panels of columns, rows, LANES); what is past the end is undefined."""
    rows, columns = w.shape
    count = panels(columns)
    if columns % LANES:
        padded = empty((rows, count * LANES), w.dtype)
        store(slice_(padded, 1, 0, columns, 1), w)
        w = padded
    a, b = w.strides
    return contiguous(w.view_as((count, rows, LANES), (b * LANES, a, b), w.off))


def _turned(w: Any) -> Any:
    return w.view_as(w.shape[::-1], w.strides[::-1], w.off)


def _dense(grad: Any, like: Any) -> Any:
    return contiguous(expand(const(0, like.dtype), tuple(like.shape)) if grad is None else grad)


def _back(
    grads: Any, gates: Any, h0: Any, c0: Any, w_hh: Any, reverse: bool, output: Any, cells: Any, acts: Any
) -> Any:
    if type(gates) is not Val:
        return _composed_back(grads, gates, h0, c0, w_hh, reverse)
    of_cells = () if grads[1] is None else (contiguous(grads[1]),)
    ins = (_dense(grads[0], cells), *of_cells, *(contiguous(v) for v in (cells, acts, c0)), _in_panels(w_hh))
    state = (tuple(h0.shape), h0.dtype)
    attrs = ("backward", reverse, bool(of_cells))
    da, dh0, dc0 = opaque("lstm", ins, [(tuple(gates.shape), gates.dtype), state, state], attrs)
    steps, batch, size = output.shape
    kept = slice_(output, 0, 1, steps, 1) if reverse else slice_(output, 0, 0, steps - 1, 1)
    first = h0.view_as((1, batch, size), (0, *h0.strides), h0.off)
    earlier = FUNCTIONS["cat"]([kept, first] if reverse else [first, kept], 0)
    rows = steps * batch
    return da, dh0, dc0, matmul(_turned(da.reshape([rows, 4 * size])), earlier.reshape([rows, size]))


def _composed_back(grads: Any, gates: Any, h0: Any, c0: Any, w_hh: Any, reverse: bool) -> Any:
    """The same, step by step, of ops that are differentiable themselves."""
    h, c, kept = h0, c0, []
    order = list(range(gates.shape[0]))[:: -1 if reverse else 1]
    for t in order:
        i, f, g, o = parts(gates[t] + matmul(h, w_hh.t()), 4)
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        before = (i, f, g, o, h, c)
        c = f * c + i * g
        kept.append((*before, c.tanh()))
        h = o * kept[-1][-1]
    dh, dc, dw = h0 * 0, c0 * 0, w_hh * 0
    found: dict[int, Any] = {}
    for t, (i, f, g, o, h, c, tanh) in zip(reversed(order), reversed(kept)):
        dh = dh if grads[0] is None else dh + grads[0][t]
        dc = dc + dh * o * (1 - tanh * tanh)
        dc = dc if grads[1] is None else dc + grads[1][t]
        pre = (dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g * g), dh * tanh * o * (1 - o))
        found[t] = FUNCTIONS["cat"](list(pre), -1)
        dw = dw + matmul(found[t].t(), h)
        dh, dc = matmul(found[t], w_hh), dc * f
    return FUNCTIONS["stack"]([found[t] for t in sorted(found)]), dh, dc, dw


@op(
    method=False,
    no_out=True,
    node="LstmBackward0",
    results=("output", "cells", "acts"),
    grad={"gates, h0, c0, w_hh": _back},
)
def _lstm_steps(gates: T, h0: T, c0: T, w_hh: T, reverse: bool) -> Any:
    """(h of each step, c of each step, the gates after their functions); gates (T, N, 4 H) are what inputs and biases
    give (i, f, g, o), w_hh (4 H, H). Hochreiter and Schmidhuber (1997)."""
    steps, batch, width = gates.shape
    shape = (steps, batch, width // 4)
    ins = (*(contiguous(v) for v in (gates, h0, c0)), _in_panels(_turned(w_hh)))
    outs = [(shape, gates.dtype), (shape, gates.dtype), ((steps, batch, width), gates.dtype)]
    return tuple(opaque("lstm", ins, outs, ("forward", reverse, False)))
