"""Linear algebra by NumPy's LAPACK: inverses, determinants, solutions, and the decompositions with their gradients."""

from __future__ import annotations

from typing import Any

from ..dtypes import int32
from ..errors import LinAlgError, fail
from ..stream.external import of_stacks, routine
from ..stream.graph import Val, expand, map_, opaque, reduce_
from . import elimination
from .compare import _where
from .diagonal import _diagonal
from .elementwise import into
from .entry import FACES, FUNCTIONS, NONE, T, composite, op
from .rules import SCALAR_NAMES
from .structures import named

FACE = {"method": False, "function": False}


FACES.setdefault("linalg", {})["LinAlgError"] = LinAlgError


def linalg(name: str) -> dict[str, Any]:
    """The facts of an op that is public as torch.linalg.name alone."""
    return {"name": f"linalg_{name}", "faces": {"linalg": name}, **FACE}


def external(name: str, ins: Any, outs: Any, *args: Any) -> Any:
    """A routine on real buffers; outs: (shape, dtype) of each result."""
    return opaque("external", ins, outs, (name, args))


def matrices(name: str, *xs: Val) -> None:
    """RuntimeError for what is no matrix of floats."""
    for x in xs:
        if x.ndim < 2:
            fail(
                RuntimeError,
                f"{name}: The input tensor A must have at least 2 dimensions.; got shape {tuple(x.shape)}",
            )
        if x.dtype.name not in ("float32", "float64", "complex64", "complex128"):
            low = x.dtype.name in ("float16", "bfloat16")
            kind = SCALAR_NAMES.get(x.dtype.name, x.dtype.name)
            text = (
                f"Low precision dtypes not supported. Got {kind}"
                if low
                else f"Expected a floating point or complex tensor as input. Got {kind}"
            )
            fail(RuntimeError, f"{name}: {text}")


def square(name: str, x: Val) -> None:
    """RuntimeError for what is no square matrix of floats."""
    matrices(name, x)
    if x.shape[-1] != x.shape[-2]:
        fail(
            RuntimeError,
            f"{name}: A must be batches of square matrices, but they are {x.shape[-2]} by {x.shape[-1]} matrices",
        )


def mT(x: Any) -> Any:
    """The matrices, transposed."""
    return x.transpose(-2, -1)


def mH(x: Any) -> Any:
    """The matrices, transposed and, of complex numbers, conjugated."""
    return mT(x).conj() if x.dtype.is_complex else mT(x)


def reflected(input: Any, tau: Any) -> Any:
    """The product of the reflections I - tau_i v_i v_i^H; v_i lies below the diagonal of column i, where it is 1."""
    m, k = input.shape[-2], tau.shape[-1]
    eye = FUNCTIONS["eye"](m, dtype=input.dtype, device=input.device)
    v = input.narrow(-1, 0, k).tril(-1) + eye.narrow(-1, 0, k)
    Q = eye.expand([*input.shape[:-2], m, m])
    for i in range(k):
        u = v.narrow(-1, i, 1)
        Q = Q - (Q @ u) @ mH(u) * tau.narrow(-1, i, 1).unsqueeze(-1)
    return Q


def from_lower(A: Any) -> Any:
    """The Hermitian matrices, as arrays, whose lower triangles are these."""
    import numpy as np

    whole = np.tril(A) + np.swapaxes(np.tril(A, -1).conj(), -1, -2)
    if np.iscomplexobj(A):
        at = np.arange(A.shape[-1])
        whole[..., at, at] = whole[..., at, at].real
    return whole


def outputs(result: Any, out: Any) -> Any:
    """The result, or its parts in the tensors given as out=."""
    if out is None:
        return result
    if isinstance(out, (tuple, list)):
        return type(result)(*[into(o, r) for o, r in zip(out, result)])
    return into(out, result)


# --- inverses and determinants ------------------------------------------------------------------------------------


def singular(A: Any, name: str, what: str) -> Any:
    """The error for the first singular matrix of a batch."""
    import numpy as np

    n = A.shape[-1]
    flat = A.reshape(-1, n, n)
    for i, m in enumerate(flat):
        if np.linalg.matrix_rank(m) < n:
            where = f"(Batch element {i}): " if A.ndim > 2 else ""
            raise LinAlgError(
                f"{name}: {where}The {what} is singular: the diagonal element {n} of its factor U is zero."
            )
    raise LinAlgError(f"{name}: the {what} is singular.")


@routine
def inverse(A: Any, name: str, check: bool) -> Any:
    """The inverses of matrices."""
    import numpy as np

    try:
        return np.linalg.inv(A)
    except np.linalg.LinAlgError:
        if check:
            singular(A, name, "input matrix")
        return np.full_like(A, np.nan)


_INVERSE: dict[str, Any] = {
    "node": "LinalgInvExBackward0",
    "grad": {"A": lambda grad, result: -(mT(result) @ grad @ mT(result))},
}


def _inverted(A: Val, check: bool) -> Val:
    square("linalg.inv", A)
    if elimination.own(A):
        return elimination.solved(A, elimination.identity(A), "linalg.inv" if check else "")
    return external("inverse", [A], [(tuple(A.shape), A.dtype)], "linalg.inv", check)[0]


@op(**linalg("inv"), **_INVERSE)
def inv(A: T) -> Any:
    """The inverse of square matrices."""
    return _inverted(A, True)


@op(**linalg("_inv_unchecked"), **_INVERSE)
def _inv_unchecked(A: T) -> Any:
    return _inverted(A, False)


@composite(name="inverse")
def inverse_of(input: Any, *, out: Any = None) -> Any:
    """The inverse of square matrices."""
    return outputs(inv(input), out)


@routine
def singular_at(A: Any) -> Any:
    """1-based position of the first zero of the diagonal of U, 0 for an invertible matrix."""
    import numpy as np

    n = A.shape[-1]
    signs = np.linalg.slogdet(A)[0] if n else np.ones(A.shape[:-2])
    return np.where(signs == 0, n, 0).astype(np.int32)


@op(**linalg("_singular"), grad=NONE)
def _singular(A: T) -> Any:
    if elimination.own(A):
        return elimination.factors(A)[3]
    return external("singular_at", [A], [(tuple(A.shape[:-2]), int32)])[0]


InvEx = named("linalg_inv_ex", ["inverse", "info"])


@composite(**FACE, faces={"linalg": "inv_ex"})
def inv_ex(A: Any, *, check_errors: bool = False, out: Any = None) -> Any:
    """(inverse, info): info is 0 where the matrix is invertible."""
    return outputs(InvEx((inv if check_errors else _inv_unchecked)(A), _singular(A.detach())), out)


@routine
def determinant(A: Any) -> Any:
    """The determinants of matrices."""
    import numpy as np

    return np.linalg.det(A)


@routine
def cofactor_matrix(A: Any) -> Any:
    """The derivative of the determinant by each element, by singular values: also of singular matrices."""
    import numpy as np

    u, s, vh = np.linalg.svd(A.astype(np.result_type(A, np.float64)))
    n = s.shape[-1]
    others = np.stack([np.prod(np.delete(s, i, -1), -1) for i in range(n)], -1) if n else s
    sign = np.linalg.det(u @ vh)[..., None, None]
    return sign * ((u * others[..., None, :]) @ vh).conj()


@routine
def cofactor_slope(A: Any, G: Any) -> Any:
    """The gradient of the sum of G times the cofactors: with A = U S Vh it is that of S, which is diagonal, turned back."""
    import numpy as np

    u, s, vh = np.linalg.svd(A.astype(np.result_type(A, np.float64)))
    n = s.shape[-1]
    H = np.swapaxes(u.conj(), -1, -2) @ G @ np.swapaxes(vh.conj(), -1, -2)
    inner = np.zeros_like(H)
    for i in range(n):
        for j in range(i):
            others = np.prod(np.delete(s, (i, j), -1), -1)
            inner[..., i, i] += H[..., j, j] * others
            inner[..., j, j] += H[..., i, i] * others
            inner[..., i, j] = -H[..., j, i] * others
            inner[..., j, i] = -H[..., i, j] * others
    return np.linalg.det(u @ vh)[..., None, None] * (u.conj() @ inner @ vh.conj())


@op(method=False, function=False, grad={"A": lambda grad, A: _cofactors_back(A, grad)})
def _cofactors(A: T) -> Any:
    return external("cofactor_matrix", [A], [(tuple(A.shape), A.dtype)])[0]


def _third(name: str) -> Any:
    raise NotImplementedError(f"{name}: its third derivative is not there yet")


@op(
    method=False,
    function=False,
    grad={"A": lambda grad: _third("det"), "G": lambda grad, A: _cofactors_back(A, grad)},
)
def _cofactors_back(A: T, G: T) -> Any:
    return external("cofactor_slope", [A, G], [(tuple(A.shape), A.dtype)])[0]


@op(
    faces={"linalg": "det"},
    node="LinalgDetBackward0",
    grad={"A": lambda grad, A: grad[..., None, None] * _cofactors(A)},
)
def det(A: T) -> Any:
    """The determinant of square matrices."""
    square("linalg.det", A)
    if elimination.own(A):
        lu, pivots, _, _ = elimination.factors(A)
        size = reduce_("mul", _diagonal(lu, 0, -2, -1), (A.ndim - 2,))
        return map_("mul", size, elimination.parity(pivots, A.dtype))
    return external("determinant", [A], [(tuple(A.shape[:-2]), A.dtype)])[0]


@routine
def sign_and_log(A: Any) -> Any:
    """(sign, log of the absolute value) of determinants."""
    import numpy as np

    return tuple(np.linalg.slogdet(A))


SignAndLog = named("linalg_slogdet", ["sign", "logabsdet"])
SlogDet = named("slogdet", ["sign", "logabsdet"])


def _slogdet_back(grads: Any, A: Any, sign: Any) -> Any:
    """The derivative of log det is the inverse: its real part moves the logarithm, its imaginary part turns the sign."""
    turn, grad = grads
    if A.dtype.is_complex and turn is not None:
        turned = FUNCTIONS["complex"](FUNCTIONS["zeros_like"](sign.real), (sign.conj() * turn).imag)
        grad = turned if grad is None else grad + turned
    return None if grad is None else grad[..., None, None] * mH(inv(A))


@op(
    method=False,
    function=False,
    wirtinger=True,
    faces={"linalg": "slogdet"},
    node="LinalgSlogdetBackward0",
    results=("sign", "logabsdet"),
    grad={"A": _slogdet_back},
)
def linalg_slogdet(A: T) -> Any:
    """(sign, log |determinant|) of square matrices; of complex ones the sign is a number of absolute value 1."""
    square("linalg.slogdet", A)
    shape = tuple(A.shape[:-2])
    if elimination.own(A):
        lu, pivots, _, _ = elimination.factors(A)
        d, last = _diagonal(lu, 0, -2, -1), (A.ndim - 2,)
        sign = map_("mul", reduce_("mul", map_("sign", d), last), elimination.parity(pivots, A.dtype))
        return SignAndLog(sign, reduce_("add", map_("log", map_("abs", d)), last))
    return SignAndLog(*external("sign_and_log", [A], [(shape, A.dtype), (shape, A.dtype.part)]))


@composite()
def slogdet(input: Any) -> Any:
    """`linalg.slogdet`."""
    return SlogDet(*linalg_slogdet(input))


@composite()
def logdet(input: Any) -> Any:
    """The logarithm of the determinant, NaN where it is negative."""
    sign, value = slogdet(input)
    return value + sign.log() if sign.dtype.is_complex else _where(sign < 0, float("nan"), value)


# --- solutions ----------------------------------------------------------------------------------------------------


@routine
def solution(A: Any, B: Any, name: str) -> Any:
    """X of A X = B."""
    import numpy as np

    try:
        return np.linalg.solve(A, B)
    except np.linalg.LinAlgError:
        singular(A, name, "solver's matrix")


def _solve_A(grad: Any, A: Any, result: Any) -> Any:
    return -(_solve(mT(A), grad) @ mT(result))


@op(
    method=False,
    function=False,
    node="LinalgSolveExBackward0",
    grad={"A": _solve_A, "B": lambda grad, A: _solve(mT(A), grad)},
)
def _solve(A: T, B: T) -> Any:
    square("linalg.solve", A)
    from ..shapes import broadcast

    if A.shape[-1] != B.shape[-2]:
        fail(
            RuntimeError,
            f"linalg.solve: Incompatible shapes of A and B for the equation AX = B ({A.shape[-2]}x{A.shape[-1]} and "
            f"{B.shape[-2]}x{B.shape[-1]})",
        )
    batch = broadcast("linalg.solve", tuple(A.shape[:-2]), tuple(B.shape[:-2]))
    if elimination.own(A) and elimination.own(B) and A.dtype is B.dtype:
        return elimination.solved(A, expand(B, (*batch, *B.shape[-2:])), "torch.linalg.solve")
    return external("solution", [A, B], [((*batch, *B.shape[-2:]), A.dtype)], "torch.linalg.solve")[0]


def is_vector(A: Any, B: Any) -> bool:
    """Whether B is a vector, or a batch of them for a batch of matrices."""
    return B.ndim == 1 or (A.ndim - 1 == B.ndim and tuple(B.shape) == tuple(A.shape[:-1]))


@composite(**FACE, faces={"linalg": "solve"})
def solve(A: Any, B: Any, *, left: bool = True, out: Any = None) -> Any:
    """X of A X = B (of X A = B if not left)."""
    if is_vector(A, B):
        return outputs(_solve(A, B.unsqueeze(-1)).squeeze(-1), out)
    result = _solve(A, B) if left else mT(_solve(mT(A), mT(B)))
    return outputs(result, out)


SolveEx = named("linalg_solve_ex", ["result", "info"])


@composite(**FACE, faces={"linalg": "solve_ex"})
def solve_ex(A: Any, B: Any, *, left: bool = True, check_errors: bool = False, out: Any = None) -> Any:
    """(X of A X = B, info): info is 0 where A is invertible."""
    return outputs(SolveEx(solve(A, B, left=left), _singular(A.detach())), out)


# --- decompositions -----------------------------------------------------------------------------------------------


@routine
def cholesky_factor(A: Any, upper: bool, check: bool) -> Any:
    """(the Cholesky factor of symmetric matrices, info)."""
    import numpy as np

    info = np.zeros(A.shape[:-2], np.int32)
    lower = np.swapaxes(A.conj(), -1, -2) if upper else A
    try:
        L = np.linalg.cholesky(lower)  # it reads the lower triangles alone
    except np.linalg.LinAlgError:
        if check:
            where = "(Batch element 0): " if A.ndim > 2 else ""
            raise LinAlgError(
                f"linalg.cholesky: {where}The factorization could not be completed because the input is not positive-definite "
                f"(the leading minor of order {A.shape[-1]} is not positive-definite)."
            ) from None
        L, info = np.full_like(A, np.nan), info + A.shape[-1]
    return (np.swapaxes(L.conj(), -1, -2) if upper else L), info


def _cholesky_back(grads: Any, L: Any, upper: bool) -> Any:
    g = grads[0]
    if g is None:
        return None
    if upper:
        L, g = mH(L), mH(g)
    phi = mH(L) @ g
    phi = (phi.tril() + mH(phi.tril(-1))) * 0.5
    if elimination.own(L):
        half = FUNCTIONS["_triangular"](mT(L), phi, True, False)
        return mT(FUNCTIONS["_triangular"](mT(L), mT(half), True, False))
    inverse = inv(L)
    return mH(inverse) @ phi @ inverse


CholeskyEx = named("linalg_cholesky_ex", ["L", "info"])


@op(
    **linalg("cholesky_ex"),
    wirtinger=True,
    node="LinalgCholeskyExBackward0",
    results=("L", "info"),
    grad={"self": _cholesky_back},
)
def cholesky_ex(self: T, *, upper: bool = False, check_errors: bool = False) -> Any:
    """(L, info): info is 0 where the matrix is positive-definite."""
    square("linalg.cholesky", self)
    outs = [(tuple(self.shape), self.dtype), (tuple(self.shape[:-2]), int32)]
    if elimination.own(self):
        check = "linalg.cholesky" if check_errors else ""
        return CholeskyEx(*elimination.cholesky(self, upper, check))
    return CholeskyEx(*external("cholesky_factor", [self], outs, upper, check_errors))


@composite(**FACE, faces={"linalg": "cholesky"}, name="linalg_cholesky")
def linalg_cholesky(A: Any, *, upper: bool = False, out: Any = None) -> Any:
    """The lower triangular L of A = L L^H (the upper U of U^H U if upper)."""
    return outputs(cholesky_ex(A, upper=upper, check_errors=True)[0], out)


@composite()
def cholesky(input: Any, upper: bool = False, *, out: Any = None) -> Any:
    """The lower triangular L of A = L L^H (the upper U of U^H U if upper)."""
    return linalg_cholesky(input, upper=upper, out=out)


@of_stacks
def eigen(A: Any, uplo: Any) -> Any:
    """(eigenvalues, eigenvectors) of symmetric matrices."""
    import numpy as np

    return tuple(np.linalg.eigh(A, uplo))


def _over(x: Any, gap: Any) -> Any:
    """x / gap, 0 where gap is 0 (on the diagonal), in every derivative too."""
    same = gap == 0
    return _where(same, 0, x / _where(same, 1, gap))


def _skew(x: Any) -> Any:
    return x - mH(x)


def _eigh_back(grads: Any, eigenvalues: Any, eigenvectors: Any) -> Any:
    gl, gv = grads
    V = eigenvectors
    if gv is None:
        return None if gl is None else (V * gl.unsqueeze(-2)) @ mH(V)
    gap = eigenvalues.unsqueeze(-2) - eigenvalues.unsqueeze(-1)
    inner = _over(_skew(mH(V) @ gv) * 0.5, gap)  # what is not skew would stretch the vectors
    if gl is not None:
        inner = inner + gl.diag_embed()
    return V @ inner @ mH(V)


Eigh = named("linalg_eigh", ["eigenvalues", "eigenvectors"])


@op(
    **linalg("_eigh"),
    wirtinger=True,
    node="LinalgEighBackward0",
    results=("eigenvalues", "eigenvectors"),
    grad={"A": _eigh_back},
)
def _eigh(A: T, UPLO: str) -> Any:
    square("linalg.eigh", A)
    if UPLO.upper() not in ("L", "U"):
        fail(RuntimeError, f"linalg.eigh: Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    outs = [(tuple(A.shape[:-1]), A.dtype.part), (tuple(A.shape), A.dtype)]
    return Eigh(*external("eigen", [A], outs, UPLO.upper()))


@composite(**FACE, faces={"linalg": "eigh"})
def eigh(A: Any, UPLO: str = "L", *, out: Any = None) -> Any:
    """(eigenvalues, ascending, eigenvectors) of symmetric or Hermitian matrices; one triangle is read."""
    return outputs(_eigh(A, UPLO), out)


@of_stacks
def eigenvalues(A: Any, uplo: Any) -> Any:
    """The eigenvalues of symmetric matrices."""
    import numpy as np

    return np.linalg.eigvalsh(A, uplo)


@op(**linalg("_eigenvalues"), grad=NONE)
def _eigenvalues(A: T, UPLO: str) -> Any:
    return external("eigenvalues", [A], [(tuple(A.shape[:-1]), A.dtype.part)], UPLO.upper())[0]


@composite(**FACE, faces={"linalg": "eigvalsh"})
def eigvalsh(A: Any, UPLO: str = "L", *, out: Any = None) -> Any:
    """The eigenvalues of symmetric matrices, ascending."""
    square("linalg.eigh", A)
    if A.requires_grad or UPLO.upper() not in ("L", "U"):  # the gradient needs the vectors
        return outputs(_eigh(A, UPLO)[0], out)
    return outputs(_eigenvalues(A, UPLO), out)


@of_stacks
def singular_values(A: Any, full: bool) -> Any:
    """(U, S, Vh)."""
    import numpy as np

    return tuple(np.linalg.svd(A, full))


def _svd_back(grads: Any, U: Any, S: Any, Vh: Any, full_matrices: bool) -> Any:
    k = S.shape[-1]
    gu, gs, gvh = grads
    m, n = U.shape[-2], Vh.shape[-1]
    if full_matrices:
        U, Vh = U.narrow(-1, 0, k), Vh.narrow(-2, 0, k)
        gu = None if gu is None else gu.narrow(-1, 0, k)
        gvh = None if gvh is None else gvh.narrow(-2, 0, k)
    if gu is None and gvh is None:
        return None if gs is None else (U * gs.unsqueeze(-2)) @ Vh
    E = S.unsqueeze(-2) ** 2 - S.unsqueeze(-1) ** 2
    row, inner = S.unsqueeze(-2), 0
    if gu is not None:
        turn = _skew(mH(U) @ gu)
        inner = _over(turn, E) * row
        if (
            turn.dtype.is_complex
        ):  # a phase common to a pair of vectors is free: half of what turns one is seen by each
            inner = inner + (turn.diagonal(dim1=-2, dim2=-1) / (2 * S)).diag_embed()
    if gvh is not None:
        inner = inner + S.unsqueeze(-1) * _over(_skew(Vh @ mH(gvh)), E)
    if gs is not None:
        inner = inner + gs.diag_embed()
    result = U @ inner @ Vh
    if gu is not None and m > k:
        rest = gu / row
        result = result + (rest - U @ (mH(U) @ rest)) @ Vh
    if gvh is not None and n > k:
        rest = gvh / S.unsqueeze(-1)
        result = result + U @ (rest - (rest @ mH(Vh)) @ Vh)
    return result


Svd = named("linalg_svd", ["U", "S", "Vh"])


@op(
    **linalg("_svd"),
    wirtinger=True,
    node="LinalgSvdBackward0",
    results=("U", "S", "Vh"),
    grad={"A": _svd_back},
)
def _svd(A: T, full_matrices: bool) -> Any:
    matrices("linalg.svd", A)
    *batch, m, n = A.shape
    k = min(m, n)
    a, b = (m, n) if full_matrices else (k, k)
    outs = [((*batch, m, a), A.dtype), ((*batch, k), A.dtype.part), ((*batch, b, n), A.dtype)]
    return Svd(*external("singular_values", [A], outs, full_matrices))


@composite(**FACE, faces={"linalg": "svd"}, name="linalg_svd")
def linalg_svd(A: Any, full_matrices: bool = True, *, driver: Any = None, out: Any = None) -> Any:
    """(U, S, Vh): A = U diag(S) Vh, the singular values S descending."""
    return outputs(_svd(A, full_matrices), out)


@of_stacks
def singular_values_alone(A: Any) -> Any:
    """S."""
    import numpy as np

    return np.linalg.svd(A, compute_uv=False)


@op(**linalg("_singular_values"), grad=NONE)
def _singular_values(A: T) -> Any:
    outs = [((*A.shape[:-2], min(A.shape[-2:])), A.dtype.part)]
    return external("singular_values_alone", [A], outs)[0]


@composite(**FACE, faces={"linalg": "svdvals"})
def svdvals(A: Any, *, driver: Any = None, out: Any = None) -> Any:
    """The singular values, descending."""
    matrices("linalg.svd", A)
    return outputs(_svd(A, False)[1] if A.requires_grad else _singular_values(A), out)


SvdV = named("svd", ["U", "S", "V"])


@composite()
def svd(input: Any, some: bool = True, compute_uv: bool = True, *, out: Any = None) -> Any:
    """(U, S, V): input = U diag(S) V^H."""
    U, S, Vh = _svd(input, not some)
    return outputs(SvdV(U, S, mH(Vh)), out)


@routine
def orthogonal(A: Any, mode: Any) -> Any:
    """(Q, R), or R alone."""
    import numpy as np

    if mode == "r":
        return (np.linalg.qr(A, "r"),)
    return tuple(np.linalg.qr(A, mode))


def _qr_square(gq: Any, gr: Any, Q: Any, R: Any) -> Any:
    """The gradient for a factor R that is square."""
    M: Any = 0
    if gr is not None:
        M = R @ mH(gr)
    if gq is not None:
        M = M - mH(gq) @ Q
    low = M.tril() - M.diagonal(dim1=-2, dim2=-1).diag_embed() * 0.5
    low = low + mH(low)
    inner = Q @ low if gq is None else gq + Q @ low
    return mH(_solve(R, mH(inner)))


def _qr_back(grads: Any, Q: Any, R: Any, mode: str) -> Any:
    gq, gr = grads
    m, n = Q.shape[-2], R.shape[-1]
    if mode == "r":
        fail(RuntimeError, "The derivative of linalg.qr depends on Q, which is not computed when mode='r'.")
    if mode == "complete" and m > n:
        fail(
            RuntimeError, "The QR decomposition is not differentiable when mode='complete' and nrows > ncols"
        )
    if m >= n:
        return _qr_square(gq, gr, Q, R)
    U, gu = R.narrow(-1, 0, m), None
    Y_grad = None
    if gr is not None:
        gu, gw = gr.narrow(-1, 0, m), gr.narrow(-1, m, n - m)
        Y = Q @ R.narrow(-1, m, n - m)
        Y_grad = Q @ gw
        extra = Y @ mH(gw)
        gq = extra if gq is None else gq + extra
    X_grad = _qr_square(gq, gu, Q, U)
    if Y_grad is None:
        Y_grad = (Q @ R.narrow(-1, m, n - m)) * 0
    return FUNCTIONS["cat"]([X_grad, Y_grad], -1)


Qr = named("linalg_qr", ["Q", "R"])


@op(**linalg("_qr"), wirtinger=True, node="LinalgQrBackward0", results=("Q", "R"), grad={"A": _qr_back})
def _qr(A: T, mode: str) -> Any:
    matrices("linalg.qr", A)
    if mode not in ("reduced", "complete", "r"):
        fail(
            RuntimeError,
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or 'complete'",
        )
    *batch, m, n = A.shape
    k = m if mode == "complete" else min(m, n)
    r = ((*batch, k, n), A.dtype)
    if mode == "r":
        from ..stream.graph import empty

        return Qr(empty((0,), A.dtype), external("orthogonal", [A], [r], mode)[0])
    return Qr(*external("orthogonal", [A], [((*batch, m, k), A.dtype), r], mode))


@composite(**FACE, faces={"linalg": "qr"}, name="linalg_qr")
def linalg_qr(A: Any, mode: str = "reduced", *, out: Any = None) -> Any:
    """(Q, R): A = Q R with orthonormal columns Q and upper triangular R."""
    return outputs(_qr(A, mode), out)


QrOld = named("qr", ["Q", "R"])


@composite()
def qr(input: Any, some: bool = True, *, out: Any = None) -> Any:
    """(Q, R) of input."""
    return outputs(QrOld(*_qr(input, "reduced" if some else "complete")), out)
