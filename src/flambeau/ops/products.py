"""Products of matrices and vectors, and what is made of them."""

from __future__ import annotations

from typing import Any

from ..dtypes import bfloat16, float32, int64
from ..errors import fail
from ..shapes import numel, wrap_dim
from ..stream.external import of_stacks, routine
from ..stream.graph import cast, empty, store
from .entry import FACES, FUNCTIONS, NONE, T, composite, op
from .linalg import (
    FACE,
    _solve,
    external,
    from_lower,
    inv,
    matrices,
    mH,
    mT,
    outputs,
    reflected,
    square,
    svdvals,
)
from .modes import for_product
from .structures import named


@composite(aliases=("ger",))
def outer(input: Any, vec2: Any, *, out: Any = None) -> Any:
    """The products of every element of one vector with every element of another."""
    for x in (input, vec2):
        if x.ndim != 1:
            fail(RuntimeError, f"outer: Expected 1-D argument self, but got {x.ndim}-D")
    return outputs(input.unsqueeze(1) * vec2, out)


@composite()
def vdot(input: Any, other: Any, *, out: Any = None) -> Any:
    """The dot product of two vectors, the first conjugated."""
    return outputs(FUNCTIONS["dot"](input.conj(), other), out)


@composite()
def inner(input: Any, other: Any, *, out: Any = None) -> Any:
    """The sums of products over the last dimension of both."""
    if not input.ndim or not other.ndim:
        return outputs(input * other, out)
    if input.shape[-1] != other.shape[-1]:
        fail(
            RuntimeError,
            f"inner() the last dimension must match on both input tensors but got shapes {list(input.shape)} and {list(other.shape)}",
        )
    return outputs(FUNCTIONS["tensordot"](input, other, ([-1], [-1])), out)


@composite(**FACE, faces={"linalg": "vecdot"})
def vecdot(x: Any, y: Any, *, dim: int = -1, out: Any = None) -> Any:
    """The dot products along a dimension, those of the conjugate of x."""
    x, y = for_product(x, y)
    return outputs((x.conj() * y).sum(dim), out)


def cheapest_cuts(extents: list[int]) -> dict[tuple[int, int], int]:
    """Where to cut the chain of matrices i..j so that the multiplications are fewest (Cormen and others, 15.2)."""
    count = len(extents) - 1
    cost = {(i, i): 0 for i in range(count)}
    cut = {}
    for length in range(1, count):
        for i in range(count - length):
            j = i + length
            prices = [
                (cost[i, k] + cost[k + 1, j] + extents[i] * extents[k + 1] * extents[j + 1], k)
                for k in range(i, j)
            ]
            cost[i, j], cut[i, j] = min(prices)
    return cut


@composite(**FACE, faces={"linalg": "multi_dot"})
def multi_dot(tensors: Any, *, out: Any = None) -> Any:
    """The product of several matrices; the first and the last may be vectors."""
    tensors = list(tensors)
    if len(tensors) < 2:
        fail(RuntimeError, f"multi_dot(): expected at least 2 tensors but got {len(tensors)}")
    first, last = tensors[0].ndim == 1, tensors[-1].ndim == 1
    if first:
        tensors[0] = tensors[0].unsqueeze(0)
    if last:
        tensors[-1] = tensors[-1].unsqueeze(-1)
    for i, x in enumerate(tensors):
        if x.ndim != 2:
            fail(RuntimeError, f"multi_dot(): tensor {i} must be 2D but got {x.ndim}D")
    cut = cheapest_cuts([x.shape[0] for x in tensors] + [tensors[-1].shape[1]])

    def multiplied(i: int, j: int) -> Any:
        return tensors[i] if i == j else multiplied(i, cut[i, j]) @ multiplied(cut[i, j] + 1, j)

    result = multiplied(0, len(tensors) - 1)
    result = result.squeeze(0) if first else result
    return outputs(result.squeeze(-1) if last else result, out)


@composite(method=False)
def chain_matmul(*matrices: Any, out: Any = None) -> Any:
    """The product of several matrices."""
    return matrices[0] if len(matrices) == 1 else multi_dot(matrices, out=out)


def _cross(a: Any, b: Any, dim: int) -> Any:
    d = wrap_dim(dim, max(a.ndim, b.ndim), "cross")
    if a.shape[d] != 3 or b.shape[d] != 3:
        fail(
            RuntimeError,
            f"linalg.cross: inputs dimension {dim} must have length 3. Got {a.shape[d]} and {b.shape[d]}",
        )
    if a.shape != b.shape:
        a, b = FUNCTIONS["broadcast_tensors"](a, b)
    return _cross_product(a, b, d)


@op(
    **FACE,
    node="LinalgCrossBackward0",
    grad={
        "self": lambda grad, other, dim: _cross_product(other, grad, dim),
        "other": lambda grad, self, dim: _cross_product(grad, self, dim),
    },
)
def _cross_product(self: T, other: T, dim: int) -> Any:
    """The cross products along a dimension."""
    x, y, z = (self.narrow(dim, k, 1) for k in range(3))
    u, v, w = (other.narrow(dim, k, 1) for k in range(3))
    parts = [y * w - z * v, z * u - x * w, x * v - y * u]
    out = empty(tuple(self.shape), parts[0].dtype)
    for k, part in enumerate(parts):
        store(out.narrow(dim, k, 1), part)
    return out


@composite(**FACE, faces={"linalg": "cross"}, name="linalg_cross")
def linalg_cross(input: Any, other: Any, *, dim: int = -1, out: Any = None) -> Any:
    """The cross products of vectors of three elements along a dimension."""
    if input.ndim != other.ndim:
        fail(
            RuntimeError,
            f"linalg.cross: inputs must have the same number of dimensions. Got {input.ndim} and {other.ndim}",
        )
    return outputs(_cross(input, other, dim), out)


@composite()
def cross(input: Any, other: Any, dim: Any = None, *, out: Any = None) -> Any:
    """The cross products along a dimension (default: the first of extent 3)."""
    if dim is None:
        dims = [d for d, n in enumerate(input.shape) if n == 3]
        if not dims:
            fail(RuntimeError, "no dimension of size 3 in input", input=input)
        dim = dims[0]
    return linalg_cross(input, other, dim=dim, out=out)


# --- powers and exponentials of matrices --------------------------------------------------------------------------


@composite(faces={"linalg": "matrix_power"})
def matrix_power(input: Any, n: int, *, out: Any = None) -> Any:
    """The n-th power of square matrices; n < 0: of their inverses."""
    if input.ndim < 2 or input.shape[-1] != input.shape[-2]:
        fail(
            RuntimeError,
            f"linalg.matrix_power: A must be batches of square matrices, but they are {tuple(input.shape[-2:])} matrices",
        )
    if n == 0:
        eye = FUNCTIONS["eye"](input.shape[-1], dtype=input.dtype, device=input.device)
        return outputs(eye.expand(tuple(input.shape)).clone() + input * 0, out)
    base, result = (inv(input) if n < 0 else input), None
    k = abs(n)
    while k:
        if k & 1:
            result = base if result is None else result @ base
        k >>= 1
        base = base @ base if k else base
    return outputs(result.clone() if result is input else result, out)


@routine
def exponential_of(A: Any) -> Any:
    """exp of matrices by scaling and squaring of a Taylor polynomial, in float64."""
    import numpy as np

    x = A.astype(np.result_type(A, np.float64))
    n = x.shape[-1]
    size = np.abs(x).sum(-1).max() if x.size else 0.0
    k = max(0, int(np.ceil(np.log2(size))) + 2) if size > 0.25 else 0
    x = x / 2.0**k
    result = term = np.broadcast_to(np.eye(n), x.shape).copy()
    for i in range(1, 16):
        term = term @ x / i
        result = result + term
    for _ in range(k):
        result = result @ result
    return result


def _exp_back(grad: Any, self: Any) -> Any:
    """The upper right block of exp([[A^T, G], [0, A^T]])."""
    n = self.shape[-1]
    cat, t = FUNCTIONS["cat"], mT(self)
    block = cat([cat([t, grad], -1), cat([t * 0, t], -1)], -2)
    return matrix_exp(block).narrow(-2, 0, n).narrow(-1, n, n)


@op(faces={"linalg": "matrix_exp"}, node="LinalgMatrixExpBackward0", grad={"self": _exp_back})
def matrix_exp(self: T) -> Any:
    """The matrix exponential."""
    x = cast(self, float32) if self.dtype is bfloat16 else self
    square("linalg.matrix_exp", x)
    return cast(external("exponential_of", [x], [(tuple(x.shape), x.dtype)])[0], self.dtype)


# --- pseudo-inverses, ranks, conditions ---------------------------------------------------------------------------


@of_stacks
def pseudo_inverse(A: Any, rtol: Any, atol: float, hermitian: bool) -> Any:
    """The Moore-Penrose inverses of matrices."""
    import numpy as np

    m, n = A.shape[-2:]
    if hermitian:
        A = from_lower(A)
    u, s, vh = np.linalg.svd(A, False)
    if rtol is None:
        rtol = max(m, n) * np.finfo(A.dtype).eps if atol == 0 else 0.0
    top = s.max(-1, keepdims=True, initial=0.0)
    keep = s > np.maximum(atol, rtol * top)
    r = np.where(keep, 1 / np.where(keep, s, 1), 0)
    return np.swapaxes(vh.conj(), -1, -2) @ (r[..., None] * np.swapaxes(u.conj(), -1, -2))


def _pinv_back(grad: Any, A: Any, result: Any) -> Any:
    g, p, pt = mH(grad), result, mH(result)
    if A.shape[-2] <= A.shape[-1]:
        k = g @ p
        kpt = k @ pt
        return -mH(p @ k) + kpt - (A @ p) @ kpt + (pt @ p) @ (g - k @ A)
    k = p @ g
    ptk = pt @ k
    return -mH(k @ p) + (g - A @ k) @ p @ pt + ptk - (ptk @ p) @ A


@op(method=False, function=False, wirtinger=True, node="LinalgPinvBackward0", grad={"A": _pinv_back})
def _pinv(A: T, rtol: float | None, atol: float, hermitian: bool) -> Any:
    matrices("linalg.pinv", A)
    return external(
        "pseudo_inverse", [A], [((*A.shape[:-2], A.shape[-1], A.shape[-2]), A.dtype)], rtol, atol, hermitian
    )[0]


def _plain(x: Any) -> Any:
    return x if x is None else float(x)


@composite(**FACE, faces={"linalg": "pinv"})
def pinv(
    A: Any, rcond: Any = None, hermitian: Any = False, *, atol: Any = None, rtol: Any = None, out: Any = None
) -> Any:
    """The Moore-Penrose inverse: singular values below max(atol, rtol * the largest) count as 0."""
    rtol = rcond if rtol is None else rtol
    return outputs(_pinv(A, _plain(rtol), _plain(atol) or 0.0, hermitian), out)


@composite()
def pinverse(input: Any, rcond: float = 1e-15) -> Any:
    """The Moore-Penrose inverse."""
    return _pinv(input, float(rcond), 0.0, False)


@routine
def ranks(A: Any, rtol: Any, atol: float, hermitian: bool) -> Any:
    """How many singular values exceed the tolerance."""
    import numpy as np

    s = np.abs(np.linalg.eigvalsh(A)) if hermitian else np.linalg.svd(A, compute_uv=False)
    if rtol is None:
        rtol = max(A.shape[-2:]) * np.finfo(A.dtype).eps if atol == 0 else 0.0
    top = s.max(-1, keepdims=True, initial=0.0)
    return (s > np.maximum(atol, rtol * top)).sum(-1)


@op(method=False, function=False, grad=NONE)
def _rank(A: T, rtol: float | None, atol: float, hermitian: bool) -> Any:
    matrices("linalg.matrix_rank", A)
    return external("ranks", [A], [(tuple(A.shape[:-2]), int64)], rtol, atol, hermitian)[0]


@composite(**FACE, faces={"linalg": "matrix_rank"})
def matrix_rank(
    A: Any, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None, out: Any = None
) -> Any:
    """How many singular values are above max(atol, rtol * the largest)."""
    atol = tol if atol is None else atol
    if hasattr(atol, "shape") or hasattr(rtol, "shape"):
        return outputs(_rank_within(A, atol, rtol, hermitian), out)
    return outputs(_rank(A, _plain(rtol), _plain(atol) or 0.0, hermitian), out)


def _rank_within(A: Any, atol: Any, rtol: Any, hermitian: bool) -> Any:
    """The rank with tolerances that are tensors."""
    from ..dtypes import finfo

    matrices("linalg.matrix_rank", A)
    s = FACES["linalg"]["eigvalsh"](A).abs() if hermitian else svdvals(A)
    if rtol is None:
        rtol = (atol <= 0).to(A.dtype) * (max(A.shape[-2:]) * finfo(A.dtype).eps)
    bound = FUNCTIONS["maximum"](
        *FUNCTIONS["broadcast_tensors"](
            _tensor(atol, s), _tensor(rtol, s) * (s.amax(-1) if s.shape[-1] else s.sum(-1))
        )
    )
    return (s > bound.unsqueeze(-1)).sum(-1)


def _tensor(x: Any, like: Any) -> Any:
    return x if hasattr(x, "shape") else FUNCTIONS["full"]((), float(x or 0), dtype=like.dtype)


@composite(**FACE, faces={"linalg": "cond"})
def cond(A: Any, p: Any = None, *, out: Any = None) -> Any:
    """The condition number in the norm p (default 2: the ratio of the extreme singular values)."""
    matrices("linalg.cond", A)
    if p is None or p in (2, -2):
        s = svdvals(A)
        high, low = s.select(-1, 0), s.select(-1, -1)
        return outputs(low / high if p == -2 else high / low, out)
    from .norms import matrix_norm

    return outputs(matrix_norm(A, p) * matrix_norm(inv(A), p), out)


Lstsq = named("linalg_lstsq", ["solution", "residuals", "rank", "singular_values"])


@composite(**FACE, faces={"linalg": "lstsq"})
def lstsq(A: Any, B: Any, rcond: Any = None, *, driver: Any = None, out: Any = None) -> Any:
    """(X that minimises |A X - B|, residuals, rank, singular values)."""
    vector = B.ndim == A.ndim - 1
    rhs = B.unsqueeze(-1) if vector else B
    X = _pinv(A, _plain(rcond), 0.0, False) @ rhs
    m, n = A.shape[-2:]
    empty = (X.real if X.dtype.is_complex else X).reshape(-1).narrow(0, 0, 0) * 1
    residuals = ((A @ X - rhs).abs() ** 2).sum(-2) if m > n and driver != "gelsy" else empty
    rank = matrix_rank(A.detach()) if driver != "gels" else FUNCTIONS["zeros"](0, dtype=int64)
    s = svdvals(A) if driver in ("gelsd", "gelss") else empty
    return outputs(Lstsq(X.squeeze(-1) if vector else X, residuals, rank, s), out)


@composite(**FACE, faces={"linalg": "tensorinv"})
def tensorinv(A: Any, ind: int = 2, *, out: Any = None) -> Any:
    """The inverse for tensordot with ind dimensions."""
    if ind <= 0:
        fail(RuntimeError, f"Expected a strictly positive integer for 'ind'; got {ind}")
    first, last = tuple(A.shape[:ind]), tuple(A.shape[ind:])
    if numel(first) != numel(last):
        fail(
            RuntimeError,
            "Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind])",
            A=A,
        )
    return outputs(inv(A.reshape([numel(first), numel(last)])).reshape([*last, *first]), out)


@composite(**FACE, faces={"linalg": "tensorsolve"})
def tensorsolve(A: Any, B: Any, dims: Any = None, *, out: Any = None) -> Any:
    """X of tensordot(A, X, X.ndim) = B."""
    if dims is not None:
        dims = [wrap_dim(d, A.ndim, "linalg.tensorsolve") for d in dims]
        A = A.permute([d for d in range(A.ndim) if d not in dims] + list(dims))
    rest = tuple(A.shape[B.ndim :])
    if numel(rest) != numel(B.shape):
        fail(
            RuntimeError,
            "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == prod(self.shape[:other.ndim])",
            A=A,
            B=B,
        )
    n = numel(rest)
    return outputs(_solve(A.reshape([n, n]), B.reshape([n, 1])).reshape(list(rest)), out)


@composite(**FACE, faces={"linalg": "vander"})
def vander(x: Any, N: Any = None, *, out: Any = None) -> Any:
    """The powers 0 ... N - 1 of every element."""
    n = x.shape[-1] if N is None else N
    if n <= 1:
        fail(RuntimeError, f"N must be greater than 1.; got {n}")
    x = x if x.ndim else x.reshape(1)
    ones = FUNCTIONS["ones_like"](x).unsqueeze(-1)
    powers = [ones]
    for _ in range(n - 1):
        powers.append(powers[-1] * x.unsqueeze(-1))
    return outputs(FUNCTIONS["cat"](powers, -1), out)


@composite(method=False, name="vander")
def powers_of(x: Any, N: Any = None, increasing: bool = False) -> Any:
    """The matrix whose rows are the powers of the elements of a vector, highest first unless increasing."""
    if x.ndim != 1:
        fail(RuntimeError, f"vander: x must be a one-dimensional tensor.; got {tuple(x.shape)}")
    n = x.shape[0] if N is None else N
    if n < 0:
        fail(RuntimeError, f"vander: N must be non-negative.; got {N}")
    x = x if x.dtype.is_floating_point else x.to(int64)
    result = vander(x, n) if n > 1 else FUNCTIONS["ones_like"](x).unsqueeze(-1)[:, :n]
    return result if increasing else result.flip(1)


@composite(**FACE, faces={"linalg": "matmul"}, name="linalg_matmul")
def linalg_matmul(input: Any, other: Any, *, out: Any = None) -> Any:
    """The matrix product."""
    return FUNCTIONS["matmul"](input, other, out=out)


@composite(**FACE, faces={"linalg": "diagonal"}, name="linalg_diagonal")
def linalg_diagonal(A: Any, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """The diagonals of matrices."""
    return A.diagonal(offset, dim1, dim2)


@composite(faces={"linalg": "householder_product"}, aliases=("orgqr",))
def householder_product(input: Any, tau: Any, *, out: Any = None) -> Any:
    """The first columns of the product of the reflections I - tau_i v_i v_i^H."""
    result = reflected(input, tau).narrow(-1, 0, input.shape[-1])
    return outputs(result * 1 if tau.shape[-1] else result + input * 0, out)
