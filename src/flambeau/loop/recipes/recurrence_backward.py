"""The gradient of a recurrent layer's steps: against time, da of each step from dh, and dh of the step before from da.

Results: da (of the gates from the inputs), dg (gru: of those from the state), dp (with a projection: of h), earlier
(the state before each step, for the weights' gradient), dh0 and dc0.
"""

from __future__ import annotations

from collections.abc import Callable

from ..build import Buffer, Value, const, op, select
from ..ir import Kernel
from .recurrence import GATES, Spec, Steps

Earlier = Callable[[str], tuple[Buffer, Value]]  # of "h" or "c": the memory and place of the state before


def kernel(spec: Spec) -> Kernel:
    """All steps against time."""
    lstm, gru = spec.mode == "lstm", spec.mode == "gru"
    read = (*(("grad",) if spec.outer else ()), "of_h", *(("of_c", "cells") if lstm else ()))
    read += (*(("acts",) if lstm or gru else ()), "out", "h0", *(("c0",) if lstm else ()), "w")
    read += (*(("wr",) if spec.proj else ()), *(("sizes",) if spec.packed else ()))
    written = ("da", *(("dg",) if gru else ()), *(("dp",) if spec.proj else ()), "earlier", "dh0")
    s = Steps(spec, read, (*written, *(("dc0",) if lstm else ())))
    s.states(True, lambda name: "of_" + name)
    with s.walk(True) as (place, size, earlier, before):
        _step(s, place, s.of_part(size) if spec.packed else s.share, earlier, before)
    s.states(False, lambda name: f"d{name}0")
    return s.b.kernel()


def _step(s: Steps, place: Value, count: Value, earlier: Value, before: Value) -> None:
    spec, b = s.spec, s.b
    width = GATES[spec.mode] * spec.size
    if spec.proj:
        _through_projection(s, place, count)
    had = s.of_part(before)  # rows that have a step before this one; the others begin here
    had = b.let(select(had < count, had, count))
    for lo, hi, begun in ((0, had, True), (had, count, False)):
        with s.each(hi, lo) as (i, at):

            def state(name: str, i: Value = i, begun: bool = begun) -> tuple[Buffer, Value]:
                size = spec.out if name == "h" else spec.size
                if not begun:
                    return s.bufs[name + "0"], b.let(i * size)
                return s.bufs["out" if name == "h" else "cells"], b.let((earlier + i) * size)

            row = b.let(place + i)
            source, start = state("h")
            with s.units(spec.out) as u:
                s.bufs["earlier"][row * spec.out + u] = source[start + u]
            _CELLS[spec.mode](s, row, at, state)
    add = None
    if spec.mode == "gru":
        add = lambda i, j: s.work[i * s.at["end"] + s.at["direct"] + j]
    da = s.bufs["dg" if spec.mode == "gru" else "da"]
    s.product(count, da, lambda i: (place + i) * width, width, spec.out, "h", add)


def _through_projection(s: Steps, place: Value, count: Value) -> None:
    proj, dp = s.spec.proj, s.bufs["dp"]
    with s.each(count) as (i, at):
        to = s.b.let((place + i) * proj)
        with s.units(proj) as u:
            dp[to + u] = _of_output(s, at, to, u)
    s.product(count, dp, lambda i: (place + i) * proj, proj, s.spec.size, "inner", w="wr")


def _of_output(s: Steps, at: Value, to: Value, u: Value) -> Value:
    """The gradient of h as the layer gives it."""
    dh = s.work[at + s.at["h"] + u]
    return dh + s.bufs["grad"][to + u] if s.spec.outer else dh


def _of_h(s: Steps, at: Value, to: Value, u: Value) -> Value:
    """The gradient of what leaves the cell."""
    return s.b.let(s.work[at + s.at["inner"] + u] if s.spec.proj else _of_output(s, at, to, u))


def _lstm(s: Steps, row: Value, at: Value, state: Earlier) -> None:
    b, size = s.b, s.spec.size
    to = b.let(row * size)
    cells, start = state("c")
    with s.units(size) as u:
        i, f, g, o = (b.let(s.bufs["acts"][to * 4 + k * size + u]) for k in range(4))
        t = b.let(op("tanh", s.bufs["cells"][to + u]))
        dh = _of_h(s, at, to, u)
        dc = b.let(s.work[at + s.at["c"] + u] + dh * (o * (1 - t * t)))
        found = (
            dc * g * (i * (1 - i)),
            dc * cells[start + u] * (f * (1 - f)),
            dc * i * (1 - g * g),
            dh * t * (o * (1 - o)),
        )
        for k, value in enumerate(found):
            s.bufs["da"][to * 4 + k * size + u] = value
        s.work[at + s.at["c"] + u] = dc * f


def _gru(s: Steps, row: Value, at: Value, state: Earlier) -> None:
    b, size = s.b, s.spec.size
    to = b.let(row * size)
    h, start = state("h")
    with s.units(size) as u:
        r, z, n, inner = (b.let(s.bufs["acts"][to * 4 + k * size + u]) for k in range(4))
        dh = _of_h(s, at, to, u)
        dn = b.let(dh * (1 - z) * (1 - n * n))
        dr = b.let(dn * inner * (r * (1 - r)))
        dz = b.let(dh * (h[start + u] - n) * (z * (1 - z)))
        for k, (outer, own) in enumerate(((dr, dr), (dz, dz), (dn, dn * r))):
            s.bufs["da"][to * 3 + k * size + u] = outer
            s.bufs["dg"][to * 3 + k * size + u] = own
        s.work[at + s.at["direct"] + u] = dh * z


def _plain(s: Steps, row: Value, at: Value, state: Earlier) -> None:
    b, size = s.b, s.spec.size
    to = b.let(row * size)
    with s.units(size) as u:
        h = b.let(s.bufs["out"][to + u])
        dh = _of_h(s, at, to, u)
        if s.spec.mode == "tanh":
            s.bufs["da"][to + u] = dh * (1 - h * h)
        else:
            s.bufs["da"][to + u] = select(h > 0, dh, const(s.spec.dtype, 0))


_CELLS = {"lstm": _lstm, "gru": _gru, "tanh": _plain, "relu": _plain}
