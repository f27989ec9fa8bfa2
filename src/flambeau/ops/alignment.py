"""The loss of sequences whose labels have no place in time (`ctc_loss`), by kernels of its own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ..loop.recipes.alignment import PAD
from ..stream.graph import Val, contiguous, opaque
from .entry import FUNCTIONS, T, op

# The gradient as ops that have one themselves: a formula of the layers above, which give it before they call the op.
OP_BY_OP: dict[str, Callable[..., Any]] = {}
FUNCTIONS["_ctc_op_by_op"] = functools.partial(OP_BY_OP.__setitem__, "ctc")


def _back(
    grads: Any, log_probs: Any, states: Any, ends: Any, lasts: Any, forgiving: bool, loss: Any, alpha: Any
) -> Any:
    if type(log_probs) is not Val:
        return OP_BY_OP["ctc"](grads[0], log_probs, states, ends, lasts, forgiving)
    given = [contiguous(x) for x in (log_probs, states, ends, lasts, alpha, loss, grads[0])]
    return opaque("ctc", given, [(tuple(log_probs.shape), log_probs.dtype)], (True, forgiving))[0]


@op(
    method=False,
    node="CtcLossBackward0",
    results=("loss", "alpha"),
    grad={"log_probs": _back},
)
def _ctc(log_probs: T, states: T, ends: T, lasts: T, forgiving: bool) -> Any:
    """(-log of the probability of all alignments, forward variables) of log_probs (T, N, C).

    states (N, L): labels with blanks around them; ends, lasts (N): steps, and the last state, of each sequence."""
    steps, batch, _ = log_probs.shape
    given = [contiguous(x) for x in (log_probs, states, ends, lasts)]
    d = log_probs.dtype
    outs = [((batch,), d), ((batch, steps, states.shape[1] + PAD), d)]
    return tuple(opaque("ctc", given, outs, (False, forgiving)))
