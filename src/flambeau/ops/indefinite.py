"""L D L^T of symmetric and Hermitian matrices, by NumPy: pivots of one or two rows, as Bunch and Kaufman choose them."""

from __future__ import annotations

import math
from typing import Any

from ..dtypes import int32
from ..errors import fail
from ..shapes import broadcast
from ..stream.external import routine
from .entry import FUNCTIONS, NONE, T, composite, op
from .linalg import external, linalg, outputs, square
from .structures import named

ALPHA = (1 + math.sqrt(17)) / 8  # bounds the growth of elements equally for both kinds of pivots


def _size(x: Any) -> Any:
    return abs(x.real) + abs(x.imag)  # LAPACK's measure


def _chosen(a: Any, k: int) -> tuple[int, int]:
    """(the row that comes to the end of the next pivot, the pivot's rows); row -1: the column is zero."""
    here, column = _size(a[k, k]), _size(a[k + 1 :, k])
    far = k + 1 + int(column.argmax()) if len(column) else k
    most = column.max() if len(column) else 0.0
    if max(here, most) == 0 or here != here:
        return -1, 1
    if here >= ALPHA * most:
        return k, 1
    row = max(_size(a[far, k:far]).max(), _size(a[far + 1 :, far]).max(initial=0))
    if here >= ALPHA * most * (most / row):
        return k, 1
    return far, 1 if _size(a[far, far]) >= ALPHA * row else 2


def _exchange(a: Any, k: int, to: int, rows: int, conj: Any) -> None:
    """Exchange two rows and columns of what is not eliminated yet, of which the lower half is there."""
    at = k + rows - 1
    if to == at:
        return
    a[to + 1 :, at], a[to + 1 :, to] = a[to + 1 :, to].copy(), a[to + 1 :, at].copy()
    a[at + 1 : to, at], a[to, at + 1 : to] = conj(a[to, at + 1 : to].copy()), conj(a[at + 1 : to, at].copy())
    a[to, at] = conj(a[to, at])
    a[at, at], a[to, to] = a[to, to], a[at, at]
    if rows == 2:
        a[k + 1, k], a[to, k] = a[to, k], a[k + 1, k]


def _factored(a: Any, hermitian: bool) -> tuple[Any, list[int], int]:
    """(L and D in the lower half of one matrix, pivots, the number of the first column without one)."""
    import numpy as np

    n, k, info = len(a), 0, 0
    pivots = list(range(1, n + 1))
    conj = np.conj if hermitian else np.asarray
    while k < n:
        if hermitian:
            a[k, k] = a[k, k].real
        to, rows = _chosen(a, k)
        if to < 0:
            info, k = info or k + 1, k + 1
            continue
        _exchange(a, k, to, rows, conj)
        end = k + rows
        D, below = a[k:end, k:end].copy(), a[end:, k:end].copy()
        if rows == 2:
            D[0, 1] = conj(D[1, 0])
            pivots[k] = pivots[k + 1] = -(to + 1)
        else:
            pivots[k] = to + 1
        if len(below):
            L = below / D[0, 0] if rows == 1 else _by_two(below, D)
            a[end:, end:] -= np.tril(L @ conj(below).T)
            a[end:, k:end] = L
        k = end
    return np.tril(a), pivots, info


def _by_two(x: Any, D: Any) -> Any:
    """x D^-1 for D of two rows, scaled by its off-diagonal element, which is the greatest."""
    import numpy as np

    low, high = D[1, 0], D[0, 1]
    first, second = D[1, 1] / low, D[0, 0] / high
    t = 1 / (first * second - 1)
    return np.stack(
        [t * (first * x[:, 0] / high - x[:, 1] / high), t * (second * x[:, 1] / low - x[:, 0] / low)], 1
    )


@routine
def ldl_compact(A: Any, hermitian: bool, name: str) -> Any:
    """(L and D in one matrix, pivots, info) of a batch; RuntimeError for a column of zeros if there is a name."""
    import numpy as np

    n = A.shape[-1]
    with np.errstate(all="ignore"):
        found = [_factored(np.tril(a), hermitian) for a in A.reshape(math.prod(A.shape[:-2]), n, n)]
    LD = np.array([f[0] for f in found], A.dtype).reshape(A.shape)
    pivots, info = (np.array([f[i] for f in found], np.int32) for i in (1, 2))
    if name and info.any():
        raise RuntimeError(f"{name}: the block of D at row {info.max()} is zero; D is singular")
    return LD, pivots.reshape(A.shape[:-1]), info.reshape(A.shape[:-2])


def _solved(LD: Any, pivots: Any, b: Any, conj: Any) -> Any:
    """x of P L D L^T P^T x = b."""
    import numpy as np

    n, k, starts = len(LD), 0, []
    while k < n:
        rows = 1 if pivots[k] > 0 else 2
        end, to = k + rows, abs(int(pivots[k])) - 1
        b[[end - 1, to]] = b[[to, end - 1]]
        b[end:] -= LD[end:, k:end] @ b[k:end]
        D = LD[k:end, k:end].copy()
        if rows == 2:
            D[0, 1] = conj(D[1, 0])
        b[k:end] = _by_two(b[k:end].T, D.T).T if rows == 2 else b[k:end] / D
        starts.append((k, end, to))
        k = end
    for k, end, to in reversed(starts):
        b[k:end] -= conj(LD[end:, k:end]).T @ b[end:]
        b[[end - 1, to]] = b[[to, end - 1]]
    return np.asarray(b)


@routine
def ldl_substitute(LD: Any, pivots: Any, B: Any, hermitian: bool) -> Any:
    """The solutions of a batch of systems."""
    import numpy as np

    n, m = B.shape[-2:]
    conj, count = np.conj if hermitian else np.asarray, math.prod(B.shape[:-2])
    flat = zip(LD.reshape(count, n, n), pivots.reshape(count, n), B.reshape(count, n, m).copy())
    with np.errstate(all="ignore"):
        return (np.array([_solved(*one, conj) for one in flat], B.dtype).reshape(B.shape),)


@op(method=False, function=False, grad=NONE)
def _ldl_factor(A: T, hermitian: bool, name: str, check: bool) -> Any:
    square(name, A)
    *batch, n, _ = A.shape
    outs = [(tuple(A.shape), A.dtype), ((*batch, n), int32), (tuple(batch), int32)]
    return tuple(external("ldl_compact", [A], outs, hermitian and A.dtype.is_complex, name if check else ""))


@op(method=False, function=False, grad=NONE)
def _ldl_solve(LD: T, pivots: T, B: T, hermitian: bool) -> Any:
    return external(
        "ldl_substitute", [LD, pivots, B], [(tuple(B.shape), B.dtype)], hermitian and B.dtype.is_complex
    )[0]


LdlFactorEx = named("linalg_ldl_factor_ex", ["LD", "pivots", "info"])
LdlFactor = named("linalg_ldl_factor", ["LD", "pivots"])


@composite(**linalg("ldl_factor_ex"))
def ldl_factor_ex(A: Any, *, hermitian: bool = False, check_errors: bool = False, out: Any = None) -> Any:
    """(L and D in one matrix, pivots, info): A = P L D L^T P^T, of which the lower half is read."""
    return outputs(LdlFactorEx(*_ldl_factor(A, hermitian, "torch.linalg.ldl_factor_ex", check_errors)), out)


@composite(**linalg("ldl_factor"))
def ldl_factor(A: Any, *, hermitian: bool = False, out: Any = None) -> Any:
    """(L and D in one matrix, pivots); RuntimeError if D is singular."""
    return outputs(LdlFactor(*_ldl_factor(A, hermitian, "torch.linalg.ldl_factor", True)[:2]), out)


@composite(**linalg("ldl_solve"))
def ldl_solve(LD: Any, pivots: Any, B: Any, *, hermitian: bool = False, out: Any = None) -> Any:
    """X of A X = B for A given by its factors."""
    name = "torch.linalg.ldl_solve"
    square(name, LD)
    if LD.dtype is not B.dtype:
        fail(
            RuntimeError,
            f"{name}: expected B and LD to have the same dtype; got {B.dtype.name} and {LD.dtype.name}",
        )
    if B.ndim < 2 or LD.shape[-1] != B.shape[-2]:
        fail(RuntimeError, f"{name}: Incompatible matrix sizes; got LD={tuple(LD.shape)}, B={tuple(B.shape)}")
    if tuple(pivots.shape) != tuple(LD.shape[:-1]):
        fail(
            RuntimeError,
            f"{name}: Expected LD.shape[:-1] and pivots.shape to be the same; got {tuple(pivots.shape)}",
        )
    batch, n = broadcast(name, tuple(LD.shape[:-2]), tuple(B.shape[:-2])), LD.shape[-1]
    wide = [(LD, (n, n)), (pivots, (n,)), (B, tuple(B.shape[-2:]))]
    ins = [FUNCTIONS["expand"](x, (*batch, *last)) for x, last in wide]
    return outputs(_ldl_solve(*ins, hermitian), out)
