"""Products built on the contraction: vectors, sums with a product added, chains, contractions over several dimensions."""

from __future__ import annotations

import functools
from typing import Any

from ..dtypes import bool_, int64
from ..errors import fail
from ..shapes import numel, wrap_dim
from ..stream.graph import Val, cast, const, expand, map_, reduce_
from .contraction import _mt, bmm, dot, mm, product, same_dtype, shaped
from .elementwise import both, into
from .entry import FUNCTIONS, N, T, composite, op


def finish(result: Any, out: Any) -> Any:
    return result if out is None else into(out, result)


def _column(v: Val) -> Val:
    return v.view_as((v.shape[0], 1), (v.strides[0], 0), v.off)


def _plus(self: Val, beta: Val, result: Val, alpha: Val) -> Val:
    """beta * self + alpha * result; a beta of 0 leaves self out, also where it is not a number."""
    b = cast(beta, self.dtype)
    kept = map_("select", map_("ne", b, const(0, b.dtype), out=bool_), self * b, const(0, self.dtype))
    return expand(kept, tuple(result.shape)) + result * cast(alpha, result.dtype)


def _must_be(name: str, argument: str, x: Any, ndim: int) -> None:
    if x.ndim != ndim:
        fail(RuntimeError, f"{name}: Expected {ndim}-D argument {argument}, but got {x.ndim}-D")


def _matrix_by_vector(name: str, mat: Val, vec: Val) -> Val:
    if mat.ndim != 2 or vec.ndim != 1:
        fail(RuntimeError, f"{name}: vector + matrix @ vector expected, got {mat.ndim}, {vec.ndim}")
    same_dtype(name, mat, vec)
    if mat.shape[1] != vec.shape[0]:
        fail(
            RuntimeError,
            f"{name}: size mismatch, got input ({mat.shape[0]}), mat ({mat.shape[0]}x{mat.shape[1]}), vec ({vec.shape[0]})",
        )
    return shaped(product(mat, _column(vec), name), (mat.shape[0],))


@op(grad={"self": lambda grad, vec: outer(grad, vec), "vec": lambda grad, self: mv(_mt(self), grad)})
def mv(self: T, vec: T) -> Any:
    """The product of a matrix (n, m) and a vector (m)."""
    return _matrix_by_vector("mv", self, vec)


@op(
    inplace=True,
    grad={
        "self": lambda grad, beta: grad * beta,
        "mat": lambda grad, vec, alpha: outer(grad, vec) * alpha,
        "vec": lambda grad, mat, alpha: mv(_mt(mat), grad) * alpha,
    },
)
def addmv(self: T, mat: T, vec: T, *, beta: N = 1, alpha: N = 1) -> Any:
    """beta * self + alpha * (mat @ vec)."""
    return _plus(self, beta, _matrix_by_vector("addmv", mat, vec), alpha)


@op(
    inplace=True,
    grad={
        "self": lambda grad, beta: grad * beta,
        "vec1": lambda grad, vec2, alpha: mv(grad, vec2) * alpha,
        "vec2": lambda grad, vec1, alpha: mv(_mt(grad), vec1) * alpha,
    },
)
def addr(self: T, vec1: T, vec2: T, *, beta: N = 1, alpha: N = 1) -> Any:
    """beta * self + alpha * (the outer product of vec1 and vec2)."""
    _must_be("addr", "vec1", vec1, 1)
    _must_be("addr", "vec2", vec2, 1)
    a, b = both(_column(vec1), vec2, "addr")
    result = map_("and" if a.dtype is bool_ else "mul", a, b)
    return (
        _plus(self, beta, result, alpha)
        if result.dtype is not bool_
        else expand(self, tuple(result.shape)) | result
    )


def _stacks(name: str, batch1: Val, batch2: Val) -> None:
    for argument, x in (("batch1", batch1), ("batch2", batch2)):
        if x.ndim != 3:
            fail(RuntimeError, f"{name}: {argument} must be a 3D tensor; got {tuple(x.shape)}")
    n, _, k = batch1.shape
    if batch2.shape[0] != n or batch2.shape[1] != k:
        got = f"[{batch2.shape[0]}, {batch2.shape[1]}]"
        fail(
            RuntimeError,
            f"{name}: Expected size for first two dimensions of batch2 tensor to be: [{n}, {k}] but got: {got}.",
        )


@op(
    inplace=True,
    grad={
        "self": lambda grad, beta: grad * beta,
        "batch1": lambda grad, batch2, alpha: bmm(grad, _mt(batch2)) * alpha,
        "batch2": lambda grad, batch1, alpha: bmm(_mt(batch1), grad) * alpha,
    },
)
def baddbmm(self: T, batch1: T, batch2: T, *, beta: N = 1, alpha: N = 1) -> Any:
    """beta * self + alpha * (batch1 @ batch2), for stacks (batch, n, k) and (batch, k, m)."""
    _stacks("baddbmm", batch1, batch2)
    return _plus(self, beta, product(batch1, batch2, "baddbmm"), alpha)


def _of_stack(grad: Any, count: int) -> Any:
    return grad.unsqueeze(0).expand(count, *grad.shape)


@op(
    inplace=True,
    grad={
        "self": lambda grad, beta: grad * beta,
        "batch1": lambda grad, batch2, alpha: bmm(_of_stack(grad, batch2.shape[0]), _mt(batch2)) * alpha,
        "batch2": lambda grad, batch1, alpha: bmm(_mt(batch1), _of_stack(grad, batch1.shape[0])) * alpha,
    },
)
def addbmm(self: T, batch1: T, batch2: T, *, beta: N = 1, alpha: N = 1) -> Any:
    """beta * self + alpha * (the sum over the batch of batch1 @ batch2)."""
    _stacks("addbmm", batch1, batch2)
    return _plus(self, beta, reduce_("add", product(batch1, batch2, "addbmm"), (0,)), alpha)


@composite(aliases=("ger",))
def outer(self: Any, vec2: Any, *, out: Any = None) -> Any:
    """The products of every element of one vector with every element of another, (n, m)."""
    for name, v in (("self", self), ("vec2", vec2)):
        if v.ndim != 1:
            fail(RuntimeError, f"outer: Expected 1-D argument {name}, but got {v.ndim}-D")
    return finish(self.unsqueeze(1) * vec2, out)


@composite()
def vdot(self: Any, other: Any, *, out: Any = None) -> Any:
    """The sum of the products of two vectors (the first one conjugated)."""
    return finish(dot(self, other), out)


@composite()
def inner(self: Any, other: Any, *, out: Any = None) -> Any:
    """The sums of products over the last dimension of both; with a 0-dim operand the product."""
    if self.ndim == 0 or other.ndim == 0:
        return finish(self * other, out)
    if self.shape[-1] != other.shape[-1]:
        fail(
            RuntimeError,
            "inner: inner() the last dimension must match on both input tensors but got shapes "
            f"{list(self.shape)} and {list(other.shape)}",
        )
    return finish(tensordot(self, other, ([-1], [-1])), out)


def _contracted(dims: Any, a: Any, b: Any) -> tuple[list[int], list[int]]:
    if hasattr(dims, "tolist"):
        dims = dims.tolist()
    if isinstance(dims, int):
        if dims < 0:
            fail(RuntimeError, f"tensordot: tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(a.ndim, b.ndim):
            fail(RuntimeError, f"tensordot: tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        return list(range(a.ndim - dims, a.ndim)), list(range(dims))
    first, second = ([d] if isinstance(d, int) else list(d) for d in dims)
    if len(first) != len(second):
        fail(
            RuntimeError, f"tensordot: both dimension lists should have same length; got {first} and {second}"
        )
    return [wrap_dim(d, a.ndim, "tensordot") for d in first], [
        wrap_dim(d, b.ndim, "tensordot") for d in second
    ]


@composite(method=False)
def tensordot(a: Any, b: Any, dims: Any = 2, *, out: Any = None) -> Any:
    """The sums of products over pairs of dimensions: the last `dims` of a with the first of b, or two lists of them."""
    first, second = _contracted(dims, a, b)
    for i, j in zip(first, second):
        if a.shape[i] == 1:
            b = b.sum(j, keepdim=True)
        elif b.shape[j] == 1:
            a = a.sum(i, keepdim=True)
        elif a.shape[i] != b.shape[j]:
            sizes = f"but got {a.shape[i]} and {b.shape[j]}"
            fail(
                RuntimeError,
                f"tensordot: contracted dimensions need to match, {sizes} in dimensions {i} and {j}",
            )
    rows = [d for d in range(a.ndim) if d not in first]
    cols = [d for d in range(b.ndim) if d not in second]
    shape = [a.shape[d] for d in rows] + [b.shape[d] for d in cols]
    depth = numel([a.shape[i] for i in first])
    left = a.permute(*rows, *first).reshape(numel([a.shape[d] for d in rows]), depth)
    right = b.permute(*second, *cols).reshape(depth, numel([b.shape[d] for d in cols]))
    return finish(mm(left, right).reshape(shape), out)


@functools.lru_cache(512)
def _chain_order(sizes: tuple[int, ...]) -> dict[tuple[int, int], int]:
    """Where to split each chain of matrices sizes[i] x sizes[i + 1] for the fewest multiplications."""
    n = len(sizes) - 1
    cost: dict[tuple[int, int], int] = {(i, i): 0 for i in range(n)}
    split: dict[tuple[int, int], int] = {}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            price = {
                k: cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1] for k in range(i, j)
            }
            split[i, j] = min(price, key=price.__getitem__)
            cost[i, j] = price[split[i, j]]
    return split


def _chain(matrices: Any, split: dict[tuple[int, int], int], i: int, j: int) -> Any:
    if i == j:
        return matrices[i]
    k = split[i, j]
    return mm(_chain(matrices, split, i, k), _chain(matrices, split, k + 1, j))


@composite(method=False, function=False, faces={"linalg": "multi_dot"})
def multi_dot(tensors: Any, *, out: Any = None) -> Any:
    """The product of a chain of matrices, in the order of the fewest multiplications; the ends may be vectors."""
    given = list(tensors)
    if len(given) < 2:
        fail(RuntimeError, f"linalg.multi_dot: multi_dot(): expected at least 2 tensors but got {len(given)}")
    row, column = given[0].ndim == 1, given[-1].ndim == 1
    chain = [
        given[0].unsqueeze(0) if row else given[0],
        *given[1:-1],
        given[-1].unsqueeze(1) if column else given[-1],
    ]
    for i, m in enumerate(chain):
        if m.ndim != 2:
            fail(RuntimeError, f"linalg.multi_dot: multi_dot(): tensor {i} must be 2D but got {m.ndim}D")
        if i and chain[i - 1].shape[1] != m.shape[0]:
            fail(
                RuntimeError,
                f"linalg.multi_dot: multi_dot(): tensors {i - 1} and {i} with shapes {list(chain[i - 1].shape)} and {list(m.shape)} "
                "cannot be multiplied",
            )
    split = _chain_order((*(m.shape[0] for m in chain), chain[-1].shape[1]))
    result = _chain(chain, split, 0, len(chain) - 1)
    result = result.squeeze(0) if row else result
    return finish(result.squeeze(-1) if column else result, out)


@composite(method=False)
def chain_matmul(*matrices: Any, out: Any = None) -> Any:
    """The product of matrices (see linalg.multi_dot)."""
    return matrices[0] if len(matrices) == 1 else multi_dot(matrices, out=out)


@composite(method=False, function=False, faces={"linalg": "vecdot"})
def vecdot(x: Any, y: Any, *, dim: int = -1, out: Any = None) -> Any:
    """The sums of the products along one dimension, broadcast over the others."""
    return finish((x * y).sum(dim), out)


@op(
    method=False,
    function=False,
    node="LinalgCrossBackward0",
    grad={
        "self": lambda grad, other, dim: _cross(other.expand(*grad.shape), grad, dim),
        "other": lambda grad, self, dim: _cross(grad, self.expand(*grad.shape), dim),
    },
)
def _cross(self: T, other: T, dim: int) -> Any:
    a, b = both(self, other, "linalg.cross")
    return a.roll(-1, dim) * b.roll(-2, dim) - a.roll(-2, dim) * b.roll(-1, dim)


@composite(method=False, function=False, faces={"linalg": "cross"})
def linalg_cross(input: Any, other: Any, *, dim: int = -1, out: Any = None) -> Any:
    """The cross product of vectors of 3 elements along dim; the other dimensions broadcast."""
    if input.ndim != other.ndim:
        fail(
            RuntimeError,
            "linalg.cross: inputs must have the same number of dimensions.",
            input=input,
            other=other,
        )
    dim = wrap_dim(dim, input.ndim, "linalg.cross")
    if input.shape[dim] != 3 or other.shape[dim] != 3:
        sizes = f"{input.shape[dim]} and {other.shape[dim]}"
        fail(
            RuntimeError, f"linalg.cross: inputs dimension {dim - input.ndim} must have length 3. Got {sizes}"
        )
    return finish(_cross(input, other, dim - input.ndim), out)


@composite()
def cross(self: Any, other: Any, dim: int | None = None, *, out: Any = None) -> Any:
    """The cross product along dim (None: the first dimension of 3 elements)."""
    if dim is None:
        threes = [d for d, n in enumerate(self.shape) if n == 3]
        if not threes:
            fail(RuntimeError, f"linalg.cross: no dimension of size 3 in input; got {tuple(self.shape)}")
        dim = threes[0]
    return linalg_cross(self, other, dim=dim, out=out)


@composite(method=False, function=False, faces={"linalg": "vander"})
def linalg_vander(x: Any, *, N: int | None = None) -> Any:  # noqa: N803  (PyTorch's name)
    """The powers 0 .. N - 1 of each element, along a new last dimension."""
    x = x.unsqueeze(0) if x.ndim == 0 else x
    n = x.shape[-1] if N is None else N
    if N is not None and n <= 1:
        fail(RuntimeError, f"linalg.vander: N must be greater than 1.; got {N}")
    ones = FUNCTIONS["ones_like"](x).unsqueeze(-1)
    if n <= 1:
        return ones[..., :n]
    powers = x.unsqueeze(-1).expand(*x.shape, n - 1).cumprod(-1)
    return FUNCTIONS["cat"]([ones.to(powers.dtype), powers], -1)


@composite(method=False)
def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:  # noqa: N803  (PyTorch's name)
    """The matrix whose rows are the powers of the elements of a vector, highest first unless increasing."""
    if x.ndim != 1:
        fail(RuntimeError, f"vander: x must be a one-dimensional tensor.; got {tuple(x.shape)}")
    n = x.shape[0] if N is None else N
    if n < 0:
        fail(RuntimeError, f"vander: N must be non-negative.; got {N}")
    x = x if x.dtype.is_floating_point else x.to(int64)
    columns = [FUNCTIONS["ones_like"](x).unsqueeze(-1)]
    if n > 1:
        columns.append(x.unsqueeze(-1).expand(x.shape[0], n - 1).cumprod(-1))
    result = FUNCTIONS["cat"](columns, -1)[:, :n]
    return result if increasing else result.flip(1)
