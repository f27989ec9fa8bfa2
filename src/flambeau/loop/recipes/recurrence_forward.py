"""The steps of a recurrent layer: what is done after a step's product, for each kind of cell.

lstm: i, f, o = sigmoid, g = tanh; c = f c + i g; h = o tanh(c), with a projection W_hr times that
gru: r, z = sigmoid; n = tanh(n_x + r n_h); h = n + z (h - n)
tanh, relu: h = tanh(a), max(a, 0)
"""

from __future__ import annotations

from ..build import Value, maximum, op
from ..ir import Kernel
from .recurrence import GATES, Spec, Steps


def kernel(spec: Spec) -> Kernel:
    """All steps: the output of each, the last states, and what the gradient wants."""
    lstm, keep = spec.mode == "lstm", spec.keep
    read = ("x", "h0", *(("c0",) if lstm else ()), "w", *(("bias",) if spec.bias else ()))
    read += (*(("wr",) if spec.proj else ()), *(("sizes",) if spec.packed else ()))
    written = ("out", "last_h", *(("last_c",) if lstm else ()), *(("cells",) if lstm and keep else ()))
    s = Steps(spec, read, (*written, *(("acts",) if keep and spec.mode in ("lstm", "gru") else ())))
    s.states(True, lambda name: name + "0")
    with s.walk(False) as (place, size, _, _):
        _step(s, place, s.of_part(size) if spec.packed else s.share)
    s.states(False, lambda name: "last_" + name)
    return s.b.kernel()


def _step(s: Steps, place: Value, count: Value) -> None:
    spec, x = s.spec, s.bufs["x"]
    width, h = GATES[spec.mode] * spec.size, s.at["h"]
    add = None
    if spec.mode != "gru":
        add = lambda i, j: x[(place + i) * width + j]
    elif spec.bias:
        add = lambda _, j: s.bufs["bias"][j]
    pitch = s.at["end"]
    s.product(count, s.work, lambda i: i * pitch + h, spec.out, width, "product", add)
    with s.each(count) as (i, at):
        row = s.b.let(place + i)
        _CELLS[spec.mode](s, row, at)
    if spec.proj:
        inner = s.at["inner"]
        s.product(count, s.work, lambda i: i * pitch + inner, spec.size, spec.proj, "h", w="wr")
        with s.each(count) as (i, at):
            to = s.b.let((place + i) * spec.proj)
            with s.units(spec.proj) as u:
                s.bufs["out"][to + u] = s.work[at + h + u]


def _lstm(s: Steps, row: Value, at: Value) -> None:
    b, spec, size = s.b, s.spec, s.spec.size
    to = b.let(row * size)
    with s.units(size) as u:
        a = [s.work[at + k * size + u] for k in range(4)]
        gates = [b.let(op("tanh" if k == 2 else "sigmoid", a[k])) for k in range(4)]
        c = b.let(gates[1] * s.work[at + s.at["c"] + u] + gates[0] * gates[2])
        h = b.let(gates[3] * op("tanh", c))
        s.work[at + s.at["c"] + u] = c
        s.work[at + s.at["inner" if spec.proj else "h"] + u] = h
        if not spec.proj:
            s.bufs["out"][to + u] = h
        if spec.keep:
            s.bufs["cells"][to + u] = c
            for k in range(4):
                s.bufs["acts"][to * 4 + k * size + u] = gates[k]


def _gru(s: Steps, row: Value, at: Value) -> None:
    b, size, x = s.b, s.spec.size, s.bufs["x"]
    to = b.let(row * size)
    with s.units(size) as u:
        r, z = (b.let(op("sigmoid", x[to * 3 + k * size + u] + s.work[at + k * size + u])) for k in (0, 1))
        inner = b.let(s.work[at + 2 * size + u])
        n = b.let(op("tanh", x[to * 3 + 2 * size + u] + r * inner))
        h = b.let(n + z * (s.work[at + s.at["h"] + u] - n))
        s.work[at + s.at["h"] + u] = h
        s.bufs["out"][to + u] = h
        if s.spec.keep:
            for k, value in enumerate((r, z, n, inner)):
                s.bufs["acts"][to * 4 + k * size + u] = value


def _plain(s: Steps, row: Value, at: Value) -> None:
    b, size = s.b, s.spec.size
    to = b.let(row * size)
    with s.units(size) as u:
        a = s.work[at + u]
        h = b.let(op("tanh", a) if s.spec.mode == "tanh" else maximum(a, 0))
        s.work[at + s.at["h"] + u] = h
        s.bufs["out"][to + u] = h


_CELLS = {"lstm": _lstm, "gru": _gru, "tanh": _plain, "relu": _plain}
