"""What a step of a recurrent network does after its products: the gates, one op each (one record, one kernel)."""

from __future__ import annotations

from typing import Any

from ..errors import fail
from ..stream.graph import map_
from .entry import FUNCTIONS, T, composite, op
from .view import slice_


def parts(x: Any, count: int) -> list[Any]:
    """Equal parts along the last dimension."""
    size = x.shape[-1] // count
    return [slice_(x, x.ndim - 1, k * size, (k + 1) * size, 1) for k in range(count)]


def fitting(name: str, count: int, state: Any, *gates: Any) -> None:
    """RuntimeError for gates that are not `count` parts of the state's size."""
    if any(tuple(x.shape) != (*state.shape[:-1], count * state.shape[-1]) for x in gates):
        fail(
            RuntimeError,
            f"{name}: gates have {count} parts of the size of the state",
            gates=gates[0],
            state=state,
        )


def joined(values: list[Any]) -> Any:
    """Parts along the last dimension, one after another."""
    return FUNCTIONS["cat"](values, values[0].ndim - 1)


def total(*terms: Any) -> Any:
    """The sum of the terms that are there, or None."""
    found = [t for t in terms if t is not None]
    out = found[0] if found else None
    for t in found[1:]:
        out = out + t
    return out


def times(a: Any, b: Any) -> Any:
    """a b, or None where a gradient a is not there."""
    return None if a is None else a * b


def lstm_back(grads: Any, c0: Any, result_c: Any, result_gates: Any) -> tuple[Any, Any]:
    """(gradient of the gates before their functions, of c0); grads: of h, c and of the gates after their functions."""
    i, f, g, o = parts(result_gates, 4)
    of_i, of_f, of_g, of_o = (None,) * 4 if grads[2] is None else parts(grads[2], 4)
    t = result_c.tanh()
    of_c = total(grads[1], times(grads[0], o * (1 - t * t)))
    zero = FUNCTIONS["zeros_like"](i)
    pre = [
        (total(times(of_c, g), of_i), i * (1 - i)),
        (total(times(of_c, c0), of_f), f * (1 - f)),
        (total(times(of_c, i), of_g), 1 - g * g),
        (total(times(grads[0], t), of_o), o * (1 - o)),
    ]
    of_gates = joined([zero if a is None else a * b for a, b in pre])
    return of_gates, zero if of_c is None else of_c * f


@op(
    method=False,
    node="ThnnFusedLstmCellBackward0",
    results=("result_h", "result_c", "result_gates"),
    grad={"gates, c0": lstm_back},
)
def _lstm_gates(gates: T, c0: T) -> Any:
    """(o tanh(c), c, (i, f, g, o)) with c = f c0 + i g; i, f, o = sigmoid and g = tanh of the gates' parts.

    gates (N, 4 H) in the order i, f, g, o; c0 (N, H). Hochreiter and Schmidhuber (1997), with the forget gate of
    Gers et al. (2000)."""
    fitting("_lstm_gates", 4, c0, gates)
    i, f, g, o = parts(gates, 4)
    i, f, g, o = map_("sigmoid", i), map_("sigmoid", f), map_("tanh", g), map_("sigmoid", o)
    c = map_("add", map_("mul", f, c0), map_("mul", i, g))
    return map_("mul", o, map_("tanh", c)), c, joined([i, f, g, o])


def gru_back(grads: Any, h_gates: Any, h0: Any, result_gates: Any) -> tuple[Any, Any, Any]:
    """(gradients of the gates from the input, of those from the state, of h0)."""
    r, z, n = parts(result_gates, 3)
    n_h = parts(h_gates, 3)[2]
    of_r, of_z, of_n = (None,) * 3 if grads[1] is None else parts(grads[1], 3)
    zero = FUNCTIONS["zeros_like"](r)
    pre_n = total(times(grads[0], 1 - z), of_n)
    pre_n = zero if pre_n is None else pre_n * (1 - n * n)
    pre_r = total(pre_n * n_h, of_r) * (r * (1 - r))
    pre_z = total(times(grads[0], h0 - n), of_z)
    pre_z = zero if pre_z is None else pre_z * (z * (1 - z))
    of_h0 = times(grads[0], z)
    return joined([pre_r, pre_z, pre_n]), joined([pre_r, pre_z, pre_n * r]), zero if of_h0 is None else of_h0


@op(
    method=False,
    node="ThnnFusedGruCellBackward0",
    results=("result_h", "result_gates"),
    grad={"x_gates, h_gates, h0": gru_back},
)
def _gru_gates(x_gates: T, h_gates: T, h0: T) -> Any:
    """(n + z (h0 - n), (r, z, n)) with r, z = sigmoid and n = tanh(n_x + r n_h).

    x_gates, h_gates (N, 3 H) in the order r, z, n; h0 (N, H). Cho et al. (2014)."""
    fitting("_gru_gates", 3, h0, x_gates, h_gates)
    r_x, z_x, n_x = parts(x_gates, 3)
    r_h, z_h, n_h = parts(h_gates, 3)
    r, z = map_("sigmoid", map_("add", r_x, r_h)), map_("sigmoid", map_("add", z_x, z_h))
    n = map_("tanh", map_("add", n_x, map_("mul", r, n_h)))
    return map_("add", n, map_("mul", z, map_("sub", h0, n))), joined([r, z, n])


# --- cells as functions --------------------------------------------------------------------------------------------


def _gates_of(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> tuple[Any, Any]:
    """What the input and what the state give to the gates."""
    for what, x, w in (("input", input, w_ih), ("hidden0", hx, w_hh)):
        if x.shape[-1] != w.shape[1]:
            size = f"{'input' if what == 'input' else 'hidden'}_size"
            fail(RuntimeError, f"{what} has inconsistent {size}: got {x.shape[-1]}, expected {w.shape[1]}")
    linear = FUNCTIONS["linear"]
    return linear(input, w_ih, b_ih), linear(hx, w_hh, b_hh)


@composite(method=False)
def lstm_cell(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    """(h, c) after a step of an LSTM from the states hx = (h, c)."""
    own, of_state = _gates_of(input, hx[0], w_ih, w_hh, b_ih, b_hh)
    return FUNCTIONS["_lstm_gates"](own + of_state, hx[1])[:2]


@composite(method=False)
def gru_cell(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    """The state after a step of a GRU."""
    return FUNCTIONS["_gru_gates"](*_gates_of(input, hx, w_ih, w_hh, b_ih, b_hh), hx)[0]


@composite(method=False)
def rnn_tanh_cell(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    """The state after a step of a simple recurrent cell: tanh of what input and state give."""
    own, of_state = _gates_of(input, hx, w_ih, w_hh, b_ih, b_hh)
    return (own + of_state).tanh()


@composite(method=False)
def rnn_relu_cell(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    """The state after a step of a simple recurrent cell: what input and state give, where it is positive."""
    own, of_state = _gates_of(input, hx, w_ih, w_hh, b_ih, b_hh)
    return (own + of_state).relu()
