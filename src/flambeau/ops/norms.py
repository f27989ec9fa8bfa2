"""Norms of vectors and matrices, distances, renormalisation."""

from __future__ import annotations

import math
from typing import Any

from ..dtypes import bool_, dtype
from ..errors import fail
from ..shapes import wrap_dim, wrap_dims
from ..stream.graph import Val, cast, const, contiguous, map_, opaque, permuted
from .activation import number
from .compare import _where
from .elementwise import into
from .entry import FUNCTIONS, N, T, composite, op
from .reduction import reduced, spread

Dims = Any
INF = math.inf


def _pick(mask: Any, shape_of: Any, dims: Any) -> Any:
    """Equal shares of 1 among the true elements."""
    m = mask.to(shape_of.dtype)
    return m / m.sum(dims, keepdim=True)


def _norm_slope(x: Any, norm: Any, p: float, dims: Any) -> Any:
    """The derivative of the norm (kept dimensions) by each element."""
    if p == 0:
        return x * 0
    if p == 1:
        return x.sign()
    if p == 2:
        return _where(norm == 0, 0, x / norm)
    if p in (INF, -INF):
        return x.sign() * _pick((x.abs() == norm) | ((x != x) & (norm != norm)), x, dims)
    if p < 1:
        return _where(x == 0, 0, x.sign() * x.abs().pow(p - 1)) * norm.pow(1 - p)
    if p < 2:
        return _where(norm == 0, 0, x.sign() * x.abs().pow(p - 1) / norm.pow(p - 1))
    return _where(norm == 0, 0, x * (x.abs() / norm).pow(p - 2) / norm)


def _norm_back(grad: Any, self: Any, result: Any, ord: float, dim: Any, keepdim: bool, form: Any) -> Any:
    dims = wrap_dims(dim, self.ndim)
    if not keepdim:
        for d in dims:
            result = result.unsqueeze(d)
    size = self.abs() if self.dtype.is_complex else self
    slope = spread(grad, form, dim, keepdim) * _norm_slope(size, result, ord, dims)
    return slope * self.sgn() if self.dtype.is_complex else slope


def _reduced_norm(x: Val, p: float, dims: tuple[int, ...], keepdim: bool) -> Val:
    a = map_("abs", x)
    x = a if x.dtype.is_complex else x
    if p == INF:
        return reduced("max", a, dims, keepdim)
    if p == -INF:
        return reduced("min", a, dims, keepdim)
    if p == 0:
        return reduced("add", cast(map_("ne", x, const(0, x.dtype), out=bool_), x.dtype), dims, keepdim)
    if p == 1:
        return reduced("add", a, dims, keepdim)
    if p == 2:
        return map_("sqrt", reduced("add", map_("mul", x, x), dims, keepdim))
    total = reduced("add", map_("pow", a, const(p, x.dtype)), dims, keepdim)
    return map_("pow", total, const(1 / p, x.dtype))


@op(method=False, function=False, node="LinalgVectorNormBackward0", wirtinger=True, grad={"self": _norm_back})
def _vector_norm(
    self: T, ord: float, dim: Dims = None, keepdim: bool = False, *, dtype: dtype | None = None
) -> Any:
    x = self if dtype is None else cast(self, dtype)
    if not x.dtype.is_inexact:
        fail(
            RuntimeError,
            f"linalg.vector_norm: Expected a floating point or complex tensor as input. Got {_title(x.dtype)}",
        )
    dims = wrap_dims(dim, x.ndim, "linalg.vector_norm")
    if 0 in [x.shape[d] for d in dims] and (ord < 0 or ord == INF):
        fail(
            RuntimeError,
            f"linalg.vector_norm: linalg.vector_norm cannot compute the {ord} norm on an empty tensor because the operation does not have "
            "an identity",
        )
    return _reduced_norm(x, ord, dims, keepdim)


def _title(d: Any) -> str:
    from .entry import SCALAR_NAMES

    return SCALAR_NAMES.get(d.name, d.name)


def _dims(dim: Any) -> Any:
    return tuple(int(d) for d in dim) if isinstance(dim, (list, tuple)) else dim


def _finish(result: Any, out: Any) -> Any:
    return result if out is None else into(out, result)


@composite(method=False, function=False, faces={"linalg": "vector_norm"})
def vector_norm(
    x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, out: Any = None
) -> Any:
    """(sum |x|^ord)^(1 / ord); ord inf: the largest, -inf: the smallest, 0: how many are not 0."""
    return _finish(_vector_norm(x, float(ord), _dims(dim), keepdim, dtype=dtype), out)


def _pair(x: Any, dim: Any) -> tuple[int, int]:
    if x.ndim < 2:
        fail(
            RuntimeError,
            f"linalg.matrix_norm: The input tensor A must have at least 2 dimensions.; got {x.ndim}",
        )
    dims = _dims(dim)
    if not isinstance(dims, tuple) or len(dims) != 2:
        fail(RuntimeError, f"linalg.matrix_norm: dim must be a 2-tuple. Got {dims}")
    a, b = (wrap_dim(d, x.ndim, "linalg.matrix_norm") for d in dims)
    if a == b:
        fail(RuntimeError, f"linalg.matrix_norm: dims must be different. Got ({a}, {b})")
    return a, b


@composite(method=False, function=False, faces={"linalg": "matrix_norm"})
def matrix_norm(
    A: Any,
    ord: Any = "fro",
    dim: Any = (-2, -1),
    keepdim: bool = False,
    *,
    dtype: Any = None,
    out: Any = None,
) -> Any:
    """The Frobenius ("fro"), nuclear ("nuc"), column (1, -1), row (inf, -inf) or spectral (2, -2) norm of matrices."""
    x = A if dtype is None else A.to(dtype)
    a, b = _pair(x, dim)
    if ord == "fro":
        return _finish(_vector_norm(x, 2.0, (a, b), keepdim), out)
    if ord in ("nuc", 2, -2):
        return _finish(_spectral(x, ord, a, b, keepdim), out)
    if ord not in (1, -1, INF, -INF):
        fail(RuntimeError, f"linalg.matrix_norm: Order {ord} not supported.")
    first, second = (a, b) if ord in (1, -1) else (b, a)
    sums = _vector_norm(x, 1.0, (first,), keepdim)
    if not keepdim and second > first:
        second -= 1
    best = FUNCTIONS["amax" if ord > 0 else "amin"](sums, (second,), keepdim)
    return _finish(best, out)


def _spectral(x: Any, ord: Any, a: int, b: int, keepdim: bool) -> Any:
    order = [d for d in range(x.ndim) if d not in (a, b)] + [a, b]
    from .entry import FACES

    s = FACES["linalg"]["svdvals"](x.permute(order))
    if ord == "nuc":
        r = s.sum(-1)
    else:
        r = s.amax(-1) if ord == 2 else s.amin(-1)
    if keepdim:
        for d in sorted((a, b)):
            r = r.unsqueeze(d)
    return r


@composite(method=False, function=False, name="_linalg_norm", faces={"linalg": "norm"})
def linalg_norm(
    A: Any, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, out: Any = None
) -> Any:
    """A vector norm (no ord, one dim, or a vector) or a matrix norm."""
    dims = _dims(dim)
    if dims is not None and not isinstance(dims, tuple):
        dims = (dims,)
    if dims is not None and len(dims) not in (1, 2):
        fail(RuntimeError, f"linalg.norm: If dim is specified, it must be of length 1 or 2. Got {list(dims)}")
    if ord is None:
        return vector_norm(A, 2, dims, keepdim, dtype=dtype, out=out)
    if dims is None:
        if A.ndim not in (1, 2):
            fail(
                RuntimeError,
                f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got {A.ndim}D.",
            )
        dims = tuple(range(A.ndim))
    if len(dims) == 2:
        return matrix_norm(A, ord, dims, keepdim, dtype=dtype, out=out)
    if isinstance(ord, str):
        fail(RuntimeError, f"linalg.norm: ord={ord!r} is for matrices")
    return vector_norm(A, ord, dims, keepdim, dtype=dtype, out=out)


@composite()
def norm(
    input: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, out: Any = None, dtype: Any = None
) -> Any:
    """The p-norm over the given dimensions (default: of all elements); "fro" is 2, "nuc" the sum of singular values."""
    dims = _dims(dim)
    if isinstance(dims, int):
        dims = (dims,)
    if p == "nuc":
        return matrix_norm(input, "nuc", (-2, -1) if dims is None else dims, keepdim, dtype=dtype, out=out)
    if isinstance(p, str) and p != "fro":
        fail(RuntimeError, f"norm: only 'fro' and 'nuc' are known; got {p!r}")
    order = 2.0 if p == "fro" or p is None else float(p)
    return _finish(_vector_norm(input, order, dims or None, keepdim, dtype=dtype), out)


@composite(method=False)
def norm_except_dim(v: Any, pow: int = 2, dim: int = 0) -> Any:
    """The norm over all dimensions but one, kept."""
    if dim == -1:
        return norm(v, pow)
    return norm(v, pow, [d for d in range(v.ndim) if d != dim % v.ndim], True)


@composite(method=False)
def frobenius_norm(input: Any, dim: Any = None, keepdim: bool = False, *, out: Any = None) -> Any:
    """The 2-norm over the given dimensions."""
    return norm(input, 2, dim or None, keepdim, out)


@composite()
def dist(input: Any, other: Any, p: float = 2) -> Any:
    """The p-norm of input - other."""
    return norm(input - other, p)


def _renorm_scale(x: Any, p: float, dim: int, maxnorm: Any) -> Any:
    dims = tuple(d for d in range(x.ndim) if d != wrap_dim(dim, x.ndim))
    size = _vector_norm(x, float(p), dims, True)
    return _where(size > maxnorm, maxnorm / (size + 1e-7), 1)


@composite()
def renorm(input: Any, p: float, dim: int, maxnorm: float, *, out: Any = None) -> Any:
    """Each slice along dim scaled down to a p-norm of at most maxnorm."""
    if p <= 0:
        fail(RuntimeError, f"renorm: non-positive-norm not supported; got p={p}")
    if input.ndim < 2:
        fail(RuntimeError, f"renorm: input needs at least 2 dimensions, got {input.ndim} dimensions")
    return _finish(input * _renorm_scale(input, p, dim, maxnorm).to(input.dtype), out)


@composite(function=False)
def renorm_(input: Any, p: float, dim: int, maxnorm: float) -> Any:
    """`renorm`, in place."""
    return input.mul_(_renorm_scale(input.clone(), p, dim, maxnorm))


# --- distances ----------------------------------------------------------------------------------------------------


@composite(method=False, nn=True)
def pairwise_distance(x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Any:
    """|x1 - x2 + eps|_p along the last dimension."""
    return norm(x1 - x2 + eps, p, -1, keepdim)


@op(method=False, function=False, grad={"self": lambda grad, self, eps: _where(self >= eps, grad, 0)})
def _at_least(self: T, eps: N = 1e-8) -> Any:
    return map_("max", self, number(eps, self))


@composite(method=False, nn=True)
def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    """x1 . x2 / (max(|x1|, eps) max(|x2|, eps))."""
    if x1.dtype is not x2.dtype:
        d = FUNCTIONS["promote_types"](x1.dtype, x2.dtype) if "promote_types" in FUNCTIONS else x1.dtype
        x1, x2 = x1.to(d), x2.to(d)
    x1, x2 = FUNCTIONS["broadcast_tensors"](x1, x2)
    n1 = _at_least(_vector_norm(x1, 2.0, (dim,), True), float(eps))
    n2 = _at_least(_vector_norm(x2, 2.0, (dim,), True), float(eps))
    return ((x1 / n1) * (x2 / n2)).sum(dim)


def _distances(x1: Any, x2: Any, p: float) -> Any:
    return _vector_norm(x1.unsqueeze(-2) - x2.unsqueeze(-3), float(p), (-1,), False)


@composite(method=False)
def cdist(x1: Any, x2: Any, p: float = 2.0, compute_mode: str = "use_mm_for_euclid_dist_if_necessary") -> Any:
    """The p-norm distances of every row of x1 (..., P, M) from every row of x2 (..., R, M). With p = 2 and more than 25
    rows (compute_mode as in PyTorch) by a matrix product, whose rounding shows between rows that are close."""
    if x1.ndim < 2 or x2.ndim < 2:
        which, x = ("X1", x1) if x1.ndim < 2 else ("X2", x2)
        fail(RuntimeError, f"cdist only supports at least 2D tensors, {which} got: {x.ndim}D")
    if x1.shape[-1] != x2.shape[-1]:
        fail(
            RuntimeError,
            f"X1 and X2 must have the same number of columns. X1: {x1.shape[-1]} X2: {x2.shape[-1]}",
        )
    if p < 0:
        fail(RuntimeError, f"cdist only supports non-negative p values; got {p}")
    if compute_mode not in MODES:
        fail(ValueError, f"{compute_mode} is not a valid value for compute_mode")
    if x1.shape[-1] == 0:
        return (x1.unsqueeze(-2) - x2.unsqueeze(-3)).sum(-1)
    wide = max(x1.shape[-2], x2.shape[-2]) > 25 if MODES[compute_mode] is None else MODES[compute_mode]
    if p == 2 and wide and x1.dtype is x2.dtype and x1.dtype.itemsize >= 4 and x1.dtype.is_floating_point:
        return _by_product(x1, x2)
    return _distances(x1, x2, p)


MODES = {
    "use_mm_for_euclid_dist_if_necessary": None,
    "use_mm_for_euclid_dist": True,
    "donot_use_mm_for_euclid_dist": False,
}


def _by_product(x1: Any, x2: Any) -> Any:
    """Euclidean distances as sqrt(|x|^2 + |y|^2 - 2 x y): as inexact for close rows as PyTorch's."""
    squares = x1.square().sum(-1, keepdim=True) + x2.square().sum(-1).unsqueeze(-2)
    return _root(FUNCTIONS["matmul"](x1 * -2, x2.transpose(-2, -1)) + squares)


@op(
    method=False,
    function=False,
    grad={"self": lambda grad, result: _where(result == 0, 0, grad / (result * 2))},
)
def _root(self: T) -> Any:
    return map_("sqrt", map_("max", self, const(0, self.dtype)))


@composite(method=False, nn=True)
def pdist(input: Any, p: float = 2) -> Any:
    """The p-norm distances of all pairs of rows, in the order (0, 1), (0, 2), ..., (1, 2), ..."""
    if input.ndim != 2:
        fail(RuntimeError, f"pdist only supports 2D tensors, got: {input.ndim}D")
    n, m = input.shape
    if p == 2 and n > 1 and m and input.dtype.is_floating_point and input.dtype.itemsize >= 4:
        return FUNCTIONS["_pairs"](input)
    i, j = FUNCTIONS["triu_indices"](n, n, 1)
    return _distances(input, input, p).reshape(-1).index_select(0, i * n + j)


def _pairs_back(grad: Any, self: Any, result: Any) -> Any:
    n, m = self.shape
    if type(self) is Val:
        given = [_points(self), contiguous(result), contiguous(grad)]
        found = opaque("pdist", given, [((m, n), self.dtype)], (True,))[0]
        return permuted(found, (1, 0))
    i, j = FUNCTIONS["triu_indices"](n, n, 1)
    same = result == 0
    moved = (self[i] - self[j]) * _where(same, 0, grad / _where(same, 1, result)).unsqueeze(-1)
    return (self * 0).index_add(0, i, moved).index_add(0, j, -moved)


def _points(x: Val) -> Val:
    return contiguous(permuted(x, (1, 0)))


@op(method=False, function=False, node="PdistBackward0", grad={"self": _pairs_back})
def _pairs(self: T) -> Any:
    """The Euclidean distances of all pairs of rows."""
    n = self.shape[0]
    return opaque("pdist", [_points(self)], [((n * (n - 1) // 2,), self.dtype)], (False,))[0]


@composite(method=False, function=False, nn=True)
def normalize(input: Any, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, out: Any = None) -> Any:
    """x / max(|x|_p, eps) along `dim`."""
    size = norm(input, p, dim, keepdim=True).clamp_min(eps).expand_as(input)
    return _finish(input / size, out)
