"""Eigenvalues and eigenvectors of matrices that need not be symmetric, by NumPy's LAPACK; they are complex numbers."""

from __future__ import annotations

from typing import Any

from ..stream.external import routine
from .entry import NONE, T, composite, op
from .linalg import FACE, LinAlgError, _over, _solve, external, linalg, mH, outputs, square
from .structures import named


@routine
def eigen_of_any(A: Any, name: str) -> Any:
    """(eigenvalues, eigenvectors of length 1)."""
    import numpy as np

    return tuple(_found(np.linalg.eig, A, name))


@routine
def eigenvalues_of_any(A: Any, name: str) -> Any:
    """The eigenvalues."""
    import numpy as np

    return _found(np.linalg.eigvals, A, name)


def _found(decompose: Any, A: Any, name: str) -> Any:
    import numpy as np

    if not np.isfinite(A).all():
        raise RuntimeError(f"{name}: input tensor should not contain infs or NaNs.")
    try:
        return decompose(A)
    except np.linalg.LinAlgError:
        raise LinAlgError(
            f"{name}: The algorithm failed to converge because the input matrix is ill-conditioned."
        ) from None


def _eig_back(grads: Any, eigenvalues: Any, eigenvectors: Any) -> Any:
    """V^-H (diag gl + (V^H gv - V^H V diag Re(V^H gv)) / conj(l_j - l_i)) V^H; each vector keeps its length."""
    gl, gv = grads
    V, inner = eigenvectors, None if gl is None else gl.diag_embed()
    if gv is not None:
        turned = mH(V) @ gv
        stretch = turned.diagonal(dim1=-2, dim2=-1).real.unsqueeze(-2)
        gap = (eigenvalues.unsqueeze(-2) - eigenvalues.unsqueeze(-1)).conj()
        moved = _over(turned - mH(V) @ (V * stretch), gap)
        inner = moved if inner is None else inner + moved
    return None if inner is None else _solve(mH(V), inner @ mH(V))


Eig = named("linalg_eig", ["eigenvalues", "eigenvectors"])


@op(
    **linalg("_eig"),
    wirtinger=True,
    node="LinalgEigBackward0",
    results=("eigenvalues", "eigenvectors"),
    grad={"A": _eig_back},
)
def _eig(A: T, name: str) -> Any:
    square(name, A)
    d = A.dtype.to_complex()
    outs = [(tuple(A.shape[:-1]), d), (tuple(A.shape), d)]
    return Eig(*external("eigen_of_any", [A], outs, name))


@composite(**FACE, faces={"linalg": "eig"})
def eig(A: Any, *, out: Any = None) -> Any:
    """(eigenvalues, eigenvectors) of square matrices, complex and in no order: A V = V diag(L)."""
    return outputs(_eig(A, "torch.linalg.eig"), out)


@op(**linalg("_eigenvalues_of_any"), grad=NONE)
def _eigenvalues_of_any(A: T, name: str) -> Any:
    return external("eigenvalues_of_any", [A], [(tuple(A.shape[:-1]), A.dtype.to_complex())], name)[0]


@composite(**FACE, faces={"linalg": "eigvals"})
def eigvals(A: Any, *, out: Any = None) -> Any:
    """The eigenvalues of square matrices, complex and in no order."""
    name = "torch.linalg.eigvals"
    square(name, A)
    return outputs(_eig(A, name)[0] if A.requires_grad else _eigenvalues_of_any(A, name), out)
