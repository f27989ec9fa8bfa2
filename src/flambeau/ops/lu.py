"""LU and related factors: elimination with partial pivoting, by NumPy, over batches."""

from __future__ import annotations

import math
from typing import Any

from ..dtypes import int32, int64
from ..errors import fail
from ..stream.external import routine
from . import elimination
from .entry import FUNCTIONS, NONE, T, composite, op
from .linalg import (
    FACE,
    LinAlgError,
    _solve,
    external,
    matrices,
    mH,
    mT,
    outputs,
    reflected,
)
from .solutions import solve_triangular
from .structures import named


def _eliminate(A: Any, pivot: bool) -> tuple[Any, Any, Any]:
    """(LU in one matrix, 1-based pivots, info) of a batch of matrices."""
    import numpy as np

    m, n = A.shape[-2:]
    x = A.reshape(math.prod(A.shape[:-2]), m, n).copy()
    k = min(m, n)
    pivots = np.tile(np.arange(1, k + 1, dtype=np.int32), (len(x), 1))
    info = np.zeros(len(x), np.int32)
    each = np.arange(len(x))
    with np.errstate(all="ignore"):
        for j in range(k):
            if pivot and len(x):
                column = x[:, j:, j]
                p = j + (np.abs(column.real) + np.abs(column.imag)).argmax(1)  # LAPACK's measure
                pivots[:, j] = p + 1
                x[each, j], x[each, p] = x[each, p].copy(), x[each, j].copy()
            top = x[:, j, j]
            info = np.where((top == 0) & (info == 0), j + 1, info)
            safe = np.where(top == 0, 1, top)
            x[:, j + 1 :, j] /= safe[:, None]
            x[:, j + 1 :, j + 1 :] -= x[:, j + 1 :, j, None] * x[:, j, None, j + 1 :]
    batch = A.shape[:-2]
    return x.reshape(A.shape), pivots.reshape(*batch, k), info.reshape(batch).astype(np.int32)


def _order(pivots: Any, m: int) -> Any:
    """Row i of P A is row order[i] of A."""
    import numpy as np

    flat = pivots.reshape(math.prod(pivots.shape[:-1]), pivots.shape[-1])
    order = np.tile(np.arange(m), (len(flat), 1))
    each = np.arange(len(flat))
    for j in range(flat.shape[-1]):
        p = flat[:, j] - 1
        order[each, j], order[each, p] = order[each, p].copy(), order[each, j].copy()
    return order.reshape(*pivots.shape[:-1], m)


@routine
def lu_compact(A: Any, pivot: bool, check: bool) -> Any:
    """(LU in one matrix, pivots, info, the order of rows); LinAlgError for a zero pivot if asked to check."""
    LU, pivots, info = _eliminate(A, pivot)
    if check and info.any():
        raise LinAlgError(
            f"torch.linalg.lu_factor: U[{info.max()},{info.max()}] is zero and using it on lu_solve would result in a division by zero."
        )
    return LU, pivots, info, _order(pivots, A.shape[-2])


@routine
def permutation_of(pivots: Any, m: int) -> Any:
    """P of A = P L U."""
    import numpy as np

    return np.swapaxes(np.eye(m)[_order(pivots, m)], -1, -2)


@op(method=False, function=False, grad=NONE)
def _permutation(pivots: T, m: int, like: T) -> Any:
    return external("permutation_of", [pivots], [((*pivots.shape[:-1], m, m), like.dtype)], m)[0]


def _factors(LU: Any) -> tuple[Any, Any]:
    """(L with a unit diagonal, U) of the compact form."""
    m, n = LU.shape[-2:]
    k = min(m, n)
    eye = FUNCTIONS["eye"](m, k, dtype=LU.dtype, device=LU.device)
    return LU.narrow(-1, 0, k).tril(-1) + eye, LU.narrow(-2, 0, k).triu()


def _lu_back(grads: Any, LU: Any, pivots: Any) -> Any:
    """The gradient of A = P L U; the part of a factor beyond the square is solved for first."""
    m, n = LU.shape[-2:]
    k = min(m, n)
    L, U = _factors(LU)
    g = grads[0]
    gL, gU = g.narrow(-1, 0, k).tril(-1), g.narrow(-2, 0, k).triu()
    L1, U1 = L.narrow(-2, 0, k), U.narrow(-1, 0, k)
    gL1, gU1, tail = gL.narrow(-2, 0, k), gU.narrow(-1, 0, k), None
    if m > k:
        tail = mT(_solve(U1, mT(gL.narrow(-2, k, m - k))))
        gU1 = gU1 - mT(L.narrow(-2, k, m - k)) @ tail
    if n > k:
        tail = _solve(mT(L1), gU.narrow(-1, k, n - k))
        gL1 = gL1 - tail @ mT(U.narrow(-1, k, n - k))
    inner = (mT(L1) @ gL1).tril(-1) + (gU1 @ mT(U1)).triu()
    square = mT(_solve(U1, mT(_solve(mT(L1), inner))))
    whole = square if tail is None else FUNCTIONS["cat"]([square, tail], -2 if m > k else -1)
    return _permutation(pivots, m, LU) @ whole


LuFactorEx = named("linalg_lu_factor_ex", ["LU", "pivots", "info"])
LuFactor = named("linalg_lu_factor", ["LU", "pivots"])
Lu = named("linalg_lu", ["P", "L", "U"])
LuUnpack = named("lu_unpack", ["P", "L", "U"])


@op(
    method=False,
    function=False,
    node="LinalgLuFactorExBackward0",
    results=("LU", "pivots", "info", "order"),
    grad={"A": _lu_back},
)
def _lu_factor(A: T, pivot: bool, check: bool) -> Any:
    matrices("torch.linalg.lu_factor", A)
    *batch, m, n = A.shape
    if elimination.own(A):
        LU, pivots, order, info = elimination.factors(A, pivot, "torch.linalg.lu_factor" if check else "")
        return LU, pivots, info, order
    outs = [
        (tuple(A.shape), A.dtype),
        ((*batch, min(m, n)), int32),
        (tuple(batch), int32),
        ((*batch, m), int64),
    ]
    return tuple(external("lu_compact", [A], outs, pivot, check))


@composite(**FACE, faces={"linalg": "lu_factor_ex"})
def lu_factor_ex(A: Any, *, pivot: bool = True, check_errors: bool = False, out: Any = None) -> Any:
    """(L and U in one matrix, pivots, info)."""
    return outputs(LuFactorEx(*_lu_factor(A, pivot, check_errors)[:3]), out)


@composite(**FACE, faces={"linalg": "lu_factor"})
def lu_factor(A: Any, *, pivot: bool = True, out: Any = None) -> Any:
    """(L and U in one matrix, pivots)."""
    LU, pivots, *_ = _lu_factor(A, pivot, False)
    return outputs(LuFactor(LU, pivots), out)


@composite(name="_linalg_lu", **FACE, faces={"linalg": "lu"})
def linalg_lu(A: Any, *, pivot: bool = True, out: Any = None) -> Any:
    """(P, L, U): A = P L U."""
    LU, _, _, order = _lu_factor(A, pivot, False)
    L, U = _factors(LU)
    rows = FUNCTIONS["arange"](A.shape[-2]).unsqueeze(-1)
    P = (
        (order.unsqueeze(-2) == rows).to(LU.dtype)
        if pivot
        else FUNCTIONS["zeros_like"](LU.detach().narrow(-1, 0, 0).reshape([-1])[:0])
    )
    return outputs(Lu(P, L, U), out)


@composite()
def lu(input: Any, pivot: bool = True, get_infos: bool = False, out: Any = None) -> Any:
    """(L and U in one matrix, pivots[, info])."""
    LU, pivots, info, _ = _lu_factor(input, pivot, False)
    result: Any = LuFactorEx(LU, pivots, info) if get_infos else LuFactor(LU, pivots)
    if out is not None:
        from .elementwise import into

        return type(result)(*[into(o, r) for o, r in zip(out, result)])
    return result


@composite(method=False)
def lu_unpack(
    LU_data: Any, LU_pivots: Any, unpack_data: bool = True, unpack_pivots: bool = True, *, out: Any = None
) -> Any:
    """(P, L, U) of the compact form; what is not unpacked is empty."""
    if LU_pivots.dtype is not int32:
        fail(
            RuntimeError,
            "torch.lu_unpack: LU_pivots is expected to be a contiguous tensor of torch.int32 dtype.",
        )
    nothing = FUNCTIONS["full"]((0,), 0, dtype=LU_data.dtype)
    L, U = _factors(LU_data) if unpack_data else (nothing, nothing.clone())
    P = _permutation(LU_pivots, LU_data.shape[-2], LU_data.detach()) if unpack_pivots else nothing.clone()
    return outputs(LuUnpack(P, L, U), out)


@composite(name="_linalg_lu_solve", **FACE, faces={"linalg": "lu_solve"})
def linalg_lu_solve(
    LU: Any, pivots: Any, B: Any, *, left: bool = True, adjoint: bool = False, out: Any = None
) -> Any:
    """X of A X = B (X A = B if not left; of A^H if adjoint) for A given by its compact factors."""
    if not left:
        return outputs(mH(linalg_lu_solve(LU, pivots, mH(B), adjoint=not adjoint)), out)
    L, U = _factors(LU)
    P = _permutation(pivots, LU.shape[-2], LU.detach())
    if elimination.own(LU) and elimination.own(B):
        solve = solve_triangular
        if adjoint:
            return outputs(P @ solve(mT(L), solve(mT(U), B, upper=False), upper=True), out)
        return outputs(solve(U, solve(L, mT(P) @ B, upper=False, unitriangular=True), upper=True), out)
    A = P @ L @ U
    A = mH(A) if adjoint else A
    return outputs(_solve(A, B), out)


@composite()
def lu_solve(input: Any, LU_data: Any, LU_pivots: Any, *, out: Any = None) -> Any:
    """X of A X = input for A given by its compact factors."""
    return linalg_lu_solve(LU_data, LU_pivots, input, out=out)


@routine
def raw_qr(A: Any) -> Any:
    """(the reflections of a QR decomposition, their factors)."""
    import numpy as np

    h, tau = np.linalg.qr(A, "raw")
    return np.swapaxes(h, -1, -2), tau


Geqrf = named("geqrf", ["a", "tau"])


@op(grad=NONE, no_out=True)
def _geqrf(self: T) -> Any:
    matrices("geqrf", self)
    k = min(self.shape[-2:])
    return external("raw_qr", [self], [(tuple(self.shape), self.dtype), ((*self.shape[:-2], k), self.dtype)])


@composite()
def geqrf(input: Any, *, out: Any = None) -> Any:
    """(the reflections of a QR decomposition below R, their factors)."""
    return outputs(Geqrf(*_geqrf(input)), out)


@composite()
def ormqr(
    input: Any, input2: Any, input3: Any, left: bool = True, transpose: bool = False, *, out: Any = None
) -> Any:
    """Q input3 (input3 Q if not left; of Q^H if transpose), Q the product of all reflections."""
    matrices("ormqr", input, input3)
    Q = reflected(input, input2)
    Q = mH(Q) if transpose else Q
    return outputs(Q @ input3 if left else input3 @ Q, out)
