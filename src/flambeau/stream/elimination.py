"""Recipes of the nodes `triangular`, `cholesky` and `lu`: stacks of real matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import LinAlgError
from ..loop.recipes import elimination as kernels
from ..loop.recipes import stacks
from ..shapes import numel
from .contraction import named_launch, whole
from .nodes import PNode
from .program import Launch
from .recipes import recipe
from .rows import parts_of
from .scatter import merged

SERIAL_WORK = 8000  # multiplications below which one thread is faster
TEXTS = {
    "linalg.cholesky": "The factorization could not be completed because the input is not positive-definite (the "
    "leading minor of order {} is not positive-definite).",
    "torch.linalg.solve": "The solver failed because the input matrix is singular.",
    "linalg.inv": "The diagonal element {} is zero, the inversion could not be completed because the input matrix "
    "is singular.",
    "torch.linalg.lu_factor": "U[{0},{0}] is zero and using it on lu_solve would result in a division by zero.",
}


def refusal(name: str, stacked: bool) -> Any:
    """The error of a factor that a matrix does not have: a function of the pivot that failed and of the matrix."""

    def made(pivot: int, matrix: int) -> tuple[type[Exception], str]:
        where = f"(Batch element {matrix}): " if stacked else ""
        return LinAlgError, f"{name}: {where}{TEXTS[name].format(pivot)}"

    return made


def launched(
    node: PNode,
    kind: str,
    bufs: dict[str, Any],
    ints: dict[str, int],
    size: int,
    check: str = "",
    **facts: Any,
) -> list[Launch]:
    """One launch over all matrices; size: dimensions of a matrix in each buffer that is no vector."""
    out = bufs["out"]
    count = len(out.shape) - 2
    axes = merged([(out.shape[d], tuple([v.strides[d] for v in bufs.values()])) for d in range(count)])
    for i, (n, strides) in enumerate(axes):
        ints |= {f"a{i}": n} | {f"{x}_a{i}": s for x, s in zip(bufs, strides)}
    dtype = out.buf.dtype.short
    spec = kernels.Elimination(
        kind, dtype, kernels.width_of(dtype, out.shape[-1]), len(axes), check=bool(check), **facts
    )
    units, lanes = numel(out.shape[:-2]), stacks.lanes_of(dtype)
    small = units >= lanes and len(axes) == 1 and max(size, *out.shape[-2:]) <= stacks.LARGEST
    if small:
        units = -(-units // lanes)
    elif kind == "triangular":
        units *= -(-out.shape[-1] // spec.width)
    parts = parts_of(units, numel(out.shape) * size, SERIAL_WORK)
    make = stacks.kernel if small else kernels.kernel
    launch = named_launch((make.__module__, spec), lambda: make(spec), parts, kind, bufs, ints, {})
    if check:
        launch.checks = {kernels.FAILED: (refusal(check, count > 0), 0, node.form)}
    return [launch]


@recipe("triangular")
def triangular(node: PNode) -> Sequence[Launch]:
    """attrs: (upper, unit); a, b and perhaps the order in which rows of b are taken, all of the same stack."""
    upper, unit = node.attrs
    a, b, *order = node.ins
    out = whole(node.outs[0])
    n, k = out.shape[-2:]
    (ar, ac), (br, bc), orow = a.strides[-2:], b.strides[-2:], out.strides[-2]
    last = n - 1 if upper else 0
    sign = -1 if upper else 1
    bufs = {"a": a, "b": b} | ({"order": order[0]} if order else {}) | {"out": out}
    ints = {"m": n, "n": k, "ar": sign * ar, "ac": sign * ac, "br": sign * br, "orow": sign * orow, "bc": bc}
    ints |= {"a_0": last * (ar + ac), "b_0": last * br, "out_0": last * orow}
    return launched(node, "triangular", bufs, ints, n, unit=unit, ordered=bool(order), dense=bc == 1)


@recipe("cholesky")
def cholesky(node: PNode) -> Sequence[Launch]:
    """attrs: (upper, what is checked); the upper factor of each matrix, whose lower (or upper) triangle is read."""
    upper, check = node.attrs
    a, out = node.ins[0], whole(node.outs[0])
    ar, ac = a.strides[-2:][::-1] if upper else a.strides[-2:]
    ints = {"m": out.shape[-1], "n": out.shape[-1], "ar": ar, "ac": ac, "a_0": 0, "out_0": 0}
    return launched(
        node, "cholesky", {"a": a, "out": out, "info": whole(node.outs[1])}, ints, out.shape[-1], check
    )


@recipe("lu")
def lu(node: PNode) -> Sequence[Launch]:
    """attrs: (whether rows are exchanged, what is checked); LU in one matrix, pivots, the order of rows, info."""
    pivot, check = node.attrs
    a = node.ins[0]
    bufs = {"a": a} | dict(zip(("out", "pivots", "order", "info"), map(whole, node.outs)))
    (m, n), (ar, ac) = a.shape[-2:], a.strides[-2:]
    ints = {"m": m, "n": n, "ar": ar, "ac": ac, "a_0": 0, "out_0": 0}
    return launched(node, "lu", bufs, ints, min(m, n), check, pivot=pivot)
