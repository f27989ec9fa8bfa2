"""Sums with a product added (addmv, addr, addbmm, baddbmm) and the product of a matrix and a vector: each one node."""

from __future__ import annotations

from typing import Any

from ..dtypes import bool_
from ..errors import fail
from ..stream.graph import Val, cast, const, expand, map_, reduce_
from .contraction import _mt, bmm, product, same_dtype, shaped
from .elementwise import both
from .entry import FUNCTIONS, N, T, op


def outer(a: Any, b: Any) -> Any:
    """torch.outer, which is declared later."""
    return FUNCTIONS["outer"](a, b)


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
    a, b = both(_column(vec1), vec2)
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
