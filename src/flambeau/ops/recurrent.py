"""All steps of a recurrent layer as one op."""

from __future__ import annotations

from typing import Any

from ..dtypes import bfloat16, float32
from ..loop.recipes.recurrence import GATES, KEPT, blocks, width
from ..shapes import numel
from ..stream.graph import Val, cast, const, contiguous, empty, expand, map_, opaque, store, turned
from .cells import gru_back, lstm_back, parts
from .contraction import matmul
from .entry import FUNCTIONS, OT, T, op
from .view import slice_


def _in_blocks(w: Any, gates: int = 1) -> Any:
    """A matrix (depth, gates x units), depth reduced, as (blocks of units, depth, gates, units of a block); what is past
    the end is undefined. Of bfloat16, two neighbours along an even depth lie side by side, and what is past the end is
    zero, since the least factor counts."""
    depth, units = w.shape[0], w.shape[1] // gates
    wide, count = width(units, gates), blocks(units, gates)
    a, b = w.strides
    w = w.view_as((depth, gates, units), (a, units * b, b), w.off)
    if units % wide:
        padded = empty((depth, gates, count * wide), w.dtype)
        if w.dtype is bfloat16:
            store(padded, expand(const(0, w.dtype), padded.shape))
        store(slice_(padded, 2, 0, units, 1), w)
        w = padded
    a, g, b = w.strides
    if w.dtype is bfloat16 and depth % 2 == 0:
        lie = (wide * b, 2 * a, g, b, a)
        return contiguous(w.view_as((count, depth // 2, gates, wide, 2), lie, w.off))
    return contiguous(w.view_as((count, depth, gates, wide), (wide * b, a, g, b), w.off))


def _fine(dtype: Any) -> Any:
    """The dtype of what is summed from step to step."""
    return float32 if dtype is bfloat16 else dtype


def _launch(
    kind: str, mode: str, reverse: bool, steps: int, ins: dict[str, Any], outs: dict[str, Any]
) -> dict:
    """The node `recurrent`; ins: values by the kernel's names (None: not there), outs: (shape, dtype)."""
    ins = {name: contiguous(v) for name, v in ins.items() if v is not None}
    attrs = (kind, mode, reverse, steps, (*ins, *outs))
    return dict(zip(outs, opaque("recurrent", list(ins.values()), list(outs.values()), attrs)))


def _back(
    grads: Any, gates: Any, h0: Any, c0: Any, w_hh: Any, b_hh: Any, w_hr: Any, sizes: Any, mode: str, reverse: bool,
    output: Any, cells: Any, acts: Any,
) -> Any:  # fmt: skip
    """The gradients of gates, h0, c0, w_hh, b_hh and w_hr, None for what is not there."""
    lstm, gru, dtype = mode == "lstm", mode == "gru", gates.dtype
    if type(gates) is not Val:
        fine: Any = [
            x if x is None else x.to(_fine(dtype)) for x in (gates, h0, c0, w_hh, b_hh, w_hr, *grads)
        ]
        made = _Composed(fine[:6], sizes, mode, reverse).back(fine[6:])
        return tuple(x if x is None else x.to(dtype) for x in made)
    steps = gates.shape[0] if sizes is None else sizes.shape[0]
    lead, (batch, out) = tuple(gates.shape[:-1]), h0.shape
    size = gates.shape[-1] // GATES[mode]

    def dense(grad: Any, size: int) -> Any:
        return expand(const(0, dtype), (batch, size)) if grad is None else grad

    ins = {"grad": grads[0], "of_h": dense(grads[1], out), "of_c": dense(grads[2], size) if lstm else None}
    ins |= {"cells": cells if lstm else None, "acts": acts if KEPT[mode] else None, "out": output}
    ins |= {"h0": h0, "c0": c0 if lstm else None, "w": _in_blocks(w_hh), "sizes": sizes}
    ins |= {"wr": None if w_hr is None else _in_blocks(w_hr)}
    outs: dict[str, Any] = {"da": (tuple(gates.shape), dtype), "earlier": ((*lead, out), dtype)}
    outs |= {"dg": outs["da"]} if gru else {}
    outs |= {"dp": ((*lead, out), dtype)} if w_hr is not None else {}
    outs |= {"dh0": ((batch, out), _fine(dtype))} | ({"dc0": ((batch, size), _fine(dtype))} if lstm else {})
    found = _launch("backward", mode, reverse, steps, ins, outs)
    found |= {name: cast(found[name], dtype) for name in ("dh0", "dc0") if name in found}
    rows = numel(lead)

    def flat(x: Any) -> Any:
        return x.reshape([rows, x.shape[-1]])

    of_state = flat(found["dg" if gru else "da"])
    dw = matmul(turned(of_state), flat(found["earlier"]))
    db = None if b_hh is None else of_state.sum(0)
    dwr = None
    if w_hr is not None:
        inner = map_("mul", parts(acts, 4)[3], map_("tanh", cells))
        dwr = matmul(turned(flat(found["dp"])), flat(inner))
    return found["da"], found["dh0"], found.get("dc0"), dw, db, dwr


class _Composed:
    """The same, step by step, of ops that are differentiable themselves."""

    def __init__(self, ins: list[Any], sizes: Any, mode: str, reverse: bool):
        gates, self.h0, self.c0, self.w_hh, self.b_hh, self.w_hr = ins
        self.mode = mode
        self.shape = gates.shape
        self.sizes = [gates.shape[1]] * gates.shape[0] if sizes is None else sizes.tolist()
        self.gates = gates.reshape(-1, gates.shape[-1])
        starts = [sum(self.sizes[:t]) for t in range(len(self.sizes))]
        self.spans = list(zip(starts, self.sizes))[:: -1 if reverse else 1]  # in the order of time

    def of_state(self, h: Any) -> Any:
        """What the state adds to the gates."""
        made = matmul(h, self.w_hh.t())
        return made if self.b_hh is None else made + self.b_hh

    def forth(self) -> list[tuple]:
        """What each step has seen: h and c before it, and what its cell keeps."""
        h, c = self.h0, self.c0
        kept: list[tuple] = []
        for at, n in self.spans:
            x, before = self.gates[at : at + n], h[:n]
            g = self.of_state(before)
            if self.mode == "lstm":
                made, cell, acts = FUNCTIONS["_lstm_gates"](x + g, c[:n])
                kept.append((before, c[:n], made, cell, acts))
                made, c = made if self.w_hr is None else matmul(made, self.w_hr.t()), _over(c, cell)
            elif self.mode == "gru":
                made, acts = FUNCTIONS["_gru_gates"](x, g, before)
                kept.append((before, g, acts))
            else:
                made = (x + g).tanh() if self.mode == "tanh" else (x + g).relu()
                kept.append((before, made))
            h = _over(h, made)
        return kept

    def back(self, grads: Any) -> Any:
        """The gradients of the inputs, for those of the results."""
        of_output = None if grads[0] is None else grads[0].reshape(-1, self.h0.shape[-1])
        dh = self.h0 * 0 if grads[1] is None else grads[1]
        dc: Any = None if self.c0 is None else self.c0 * 0 if grads[2] is None else grads[2]
        dw, dwr, found = self.w_hh * 0, None if self.w_hr is None else self.w_hr * 0, {}
        db = None if self.b_hh is None else self.b_hh * 0
        for (at, n), kept in zip(reversed(self.spans), reversed(self.forth())):
            d = dh[:n] if of_output is None else dh[:n] + of_output[at : at + n]
            direct = None
            if self.mode == "lstm":
                before, c, made, cell, acts = kept
                if self.w_hr is not None:
                    dwr = dwr + matmul(d.t(), made)
                    d = matmul(d, self.w_hr)
                own, of_c = lstm_back((d, dc[:n], None), c, cell, acts)
                found[at], dc = own, _over(dc, of_c)
            elif self.mode == "gru":
                before, g, acts = kept
                found[at], own, direct = gru_back((d, None), g, before, acts)
            else:
                before, made = kept
                own = d * (1 - made * made) if self.mode == "tanh" else d * (made > 0).to(d.dtype)
                found[at] = own
            dw = dw + matmul(own.t(), before)
            db = None if db is None else db + own.sum(0)
            state = matmul(own, self.w_hh)
            dh = _over(dh, state if direct is None else direct + state)
        da = FUNCTIONS["cat"]([found[at] for at in sorted(found)]).reshape(self.shape)
        return da, dh, dc, dw, db, dwr


def _over(full: Any, first: Any) -> Any:
    """The rows of `full`, the first of them replaced."""
    n = first.shape[0]
    return first if n == full.shape[0] else FUNCTIONS["cat"]([first, full[n:]])


@op(
    method=False,
    no_out=True,
    results=("output", "last_h", "last_c", "cells", "acts"),
    grad={"gates, h0, c0, w_hh, b_hh, w_hr": _back},
)
def _recurrent_steps(
    gates: T, h0: T, c0: OT, w_hh: T, b_hh: OT, w_hr: OT, sizes: OT, mode: str, reverse: bool, keep: bool
) -> Any:
    """(h of each step, last h, last c, c of each step, the gates after their functions); what there is not is empty.

    mode: lstm (Hochreiter and Schmidhuber 1997, w_hr: Sak et al. 2014), gru (Cho et al. 2014; b_hh is its alone), tanh or
    relu (Elman 1990). gates (T, N, G H): what inputs and biases give; or (rows, G H) of sequences of several lengths,
    longest first, the rows of one step after another, `sizes` (T) of each. w_hh (G H, size of h). keep: whether the last
    two results, which the gradient wants, are made. Of bfloat16, h is rounded after each step, c at the end."""
    lstm, dtype, size = mode == "lstm", gates.dtype, gates.shape[-1] // GATES[mode]
    steps = gates.shape[0] if sizes is None else sizes.shape[0]
    lead, (batch, out) = tuple(gates.shape[:-1]), h0.shape
    ins = {
        "x": gates,
        "h0": h0,
        "c0": c0,
        "w": _in_blocks(turned(w_hh), GATES[mode]),
        "bias": b_hh,
        "sizes": sizes,
    }
    ins |= {"wr": None if w_hr is None else _in_blocks(turned(w_hr))}
    outs: dict[str, Any] = {"out": ((*lead, out), dtype), "last_h": ((batch, out), dtype)}
    if lstm:
        outs["last_c"] = ((batch, size), _fine(dtype))
    if lstm and keep:
        outs["cells"] = ((*lead, size), dtype)
    if keep and KEPT[mode]:
        outs["acts"] = ((*lead, KEPT[mode] * size), dtype)
    if dtype is bfloat16:  # read by words as well
        outs |= {"work": ((2, batch, out), dtype)} | (
            {"inner": ((batch, size), dtype)} if w_hr is not None else {}
        )
    found = _launch("forward", mode, reverse, steps, ins, outs)
    if lstm:
        found["last_c"] = cast(found["last_c"], dtype)
    names = ("out", "last_h", "last_c", "cells", "acts")
    return tuple(found[n] if n in found else empty((0,), dtype) for n in names)
