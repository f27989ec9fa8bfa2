"""Approximate factors of low rank, by random projections (Halko et al. 2009)."""

from __future__ import annotations

from typing import Any

from ..errors import fail
from .entry import FUNCTIONS, composite
from .linalg import _qr, linalg_svd, mH


def _range(A: Any, q: int, niter: int, M: Any) -> Any:
    """Orthonormal columns that nearly span the range of A - M."""
    X = FUNCTIONS["randn"](A.shape[-1], q, dtype=A.dtype)
    B = A if M is None else A - M
    Q = _qr(B @ X, "reduced")[0]
    for _ in range(niter):
        Q = _qr(mH(B) @ Q, "reduced")[0]
        Q = _qr(B @ Q, "reduced")[0]
    return Q


@composite(method=False)
def svd_lowrank(A: Any, q: int | None = 6, niter: int | None = 2, M: Any = None) -> Any:
    """(U, S, V) of the q largest singular values of A - M, nearly."""
    q = 6 if q is None else q
    m, n = A.shape[-2:]
    B = A if M is None else A - M.expand(tuple(A.shape))
    if m < n:
        B = mH(B)
    Q = _range(B, q, niter or 0, None)
    U, S, Vh = linalg_svd(mH(Q) @ B, full_matrices=False)
    U, V = Q @ U, mH(Vh)
    return (V, S, U) if m < n else (U, S, V)


@composite(method=False)
def pca_lowrank(A: Any, q: int | None = None, center: bool = True, niter: int = 2) -> Any:
    """(U, S, V): the q principal components of the rows of A."""
    m, n = A.shape[-2:]
    q = min(6, m, n) if q is None else q
    if not 0 <= q <= min(m, n):
        fail(ValueError, f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(m, n)}")
    if center:
        A = A - A.mean(-2, keepdim=True)
    return svd_lowrank(A, q, niter)
