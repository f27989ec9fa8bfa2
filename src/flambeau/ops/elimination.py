"""Triangular systems and factors of stacks of real matrices by kernels of their own; complex ones are LAPACK's (linalg.py)."""

from __future__ import annotations

from typing import Any

from ..dtypes import bool_, int32, int64
from ..shapes import numel
from ..stream.graph import Val, cast, const, empty, expand, index_, map_, opaque, reduce_, store, turned
from .entry import FUNCTIONS, T, op


def own(x: Any) -> bool:
    """Whether there are kernels for these matrices."""
    return not x.dtype.is_complex and bool(numel(x.shape))


def _stack(x: Val, batch: tuple[int, ...]) -> Val:
    return expand(x, (*batch, *x.shape[-2:]))


def triangular(a: Val, b: Val, upper: bool, unit: bool, order: Val | None = None) -> Val:
    """X of a X = b, b broadcast; order: in which rows of b are taken."""
    batch = tuple(b.shape[:-2])
    ins = [_stack(a, batch), b]
    if order is not None:
        ins.append(expand(order, (*batch, order.shape[-1])))
    return opaque("triangular", ins, [(tuple(b.shape), b.dtype)], (upper, unit))[0]


def factors(a: Val, pivot: bool = True, check: str = "") -> list[Val]:
    """(LU in one matrix, pivots, the order of rows, info); check: the function whose error a zero pivot is."""
    *batch, m, n = a.shape
    k = min(m, n)
    outs = [(tuple(a.shape), a.dtype), ((*batch, k), int32), ((*batch, m), int64), (tuple(batch), int32)]
    return opaque("lu", [a], outs, (pivot, check))


def solved(a: Val, b: Val, name: str) -> Val:
    """X of a X = b."""
    lu, _, order, _ = factors(a, check=name)
    return triangular(lu, triangular(lu, b, False, True, order), True, False)


def identity(like: Val) -> Val:
    """Unit matrices."""
    shape = tuple(like.shape)
    same = map_("eq", index_(shape, len(shape) - 2), index_(shape, len(shape) - 1), out=bool_)
    out = empty(shape, like.dtype)
    store(out, cast(same, like.dtype))
    return out


def cholesky(a: Val, upper: bool, check: str) -> tuple[Val, Val]:
    """(the factor, info)."""
    outs = [(tuple(a.shape), a.dtype), (tuple(a.shape[:-2]), int32)]
    made, info = opaque("cholesky", [a], outs, (upper, check))
    return made if upper else turned(made), info


def parity(pivots: Val, dtype: Any) -> Val:
    """1 or -1: the determinant of an exchange of rows."""
    shape = tuple(pivots.shape)
    own_place = map_("add", cast(index_(shape, len(shape) - 1), int32), const(1, int32))
    moved = cast(map_("ne", pivots, own_place, out=bool_), int32)
    odd = map_("and", reduce_("add", moved, (len(shape) - 1,)), const(1, int32))
    return cast(map_("sub", const(1, int32), map_("mul", odd, const(2, int32))), dtype)


def _side(grad: Any, a: Any, upper: bool, unit: bool) -> Any:
    return FUNCTIONS["_triangular"](a.transpose(-2, -1), grad, not upper, unit)


def _matrix_back(grad: Any, A: Any, upper: bool, unit: bool, result: Any) -> Any:
    whole = -(_side(grad, A, upper, unit) @ result.transpose(-2, -1))
    return whole.triu(1 if unit else 0) if upper else whole.tril(-1 if unit else 0)


@op(
    method=False,
    function=False,
    node="LinalgSolveTriangularBackward0",
    grad={"A": _matrix_back, "B": lambda grad, A, upper, unit: _side(grad, A, upper, unit)},
)
def _triangular(A: T, B: T, upper: bool, unit: bool) -> Any:
    """X of A X = B for real triangles A, of the same stack as B; what lies beside a triangle is not read."""
    return triangular(A, B, upper, unit)


def _solved_back(grad: Any, B: Any, L: Any, upper: bool, result: Any) -> Any:
    of_b = FUNCTIONS["_cholesky_solved"](grad, L, upper)
    both = of_b @ result.transpose(-2, -1)
    both = both + both.transpose(-2, -1)
    return of_b, -(L @ both if upper else both @ L)


@op(method=False, function=False, node="CholeskySolveBackward0", grad={"B, L": _solved_back})
def _cholesky_solved(B: T, L: T, upper: bool) -> Any:
    """X of L L^T X = B (U^T U X = B if upper) for real triangles, of the same stack as B."""
    first, second = (turned(L), L) if upper else (L, turned(L))
    return triangular(second, triangular(first, B, False, False), True, False)
