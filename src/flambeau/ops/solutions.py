"""Solutions by triangles: by kernels of their own for real matrices, by LAPACK for complex ones."""

from __future__ import annotations

from typing import Any

from ..errors import fail
from ..shapes import broadcast
from . import elimination
from .entry import FUNCTIONS, composite
from .linalg import FACE, _solve, inv, mH, mT, outputs, square
from .structures import named


def _masked(A: Any, upper: bool, unitriangular: bool) -> Any:
    part = A.triu(1 if unitriangular else 0) if upper else A.tril(-1 if unitriangular else 0)
    return part + FUNCTIONS["eye"](A.shape[-1], dtype=A.dtype) if unitriangular else part


def _one_stack(name: str, A: Any, B: Any) -> tuple[Any, Any]:
    """Two stacks of matrices, broadcast."""
    batch = broadcast(name, tuple(A.shape[:-2]), tuple(B.shape[:-2]))
    return A.expand((*batch, *A.shape[-2:])), B.expand((*batch, *B.shape[-2:]))


@composite(**FACE, faces={"linalg": "solve_triangular"})
def solve_triangular(
    A: Any, B: Any, *, upper: bool, left: bool = True, unitriangular: bool = False, out: Any = None
) -> Any:
    """X of A X = B (X A = B if not left) for a triangular A."""
    return outputs(_triangular_solution(A, B, upper, left, unitriangular), out)


def _triangular_solution(A: Any, B: Any, upper: bool, left: bool, unitriangular: bool) -> Any:
    if not left:
        return mT(_triangular_solution(mT(A), mT(B), not upper, True, unitriangular))
    if elimination.own(A) and elimination.own(B) and A.dtype is B.dtype:
        square("linalg.solve_triangular", A)
        if A.shape[-1] != B.shape[-2]:
            fail(
                RuntimeError,
                "linalg.solve_triangular: Incompatible shapes of A and B for the equation AX = B "
                f"({A.shape[-2]}x{A.shape[-1]} and {B.shape[-2]}x{B.shape[-1]})",
            )
        return FUNCTIONS["_triangular"](*_one_stack("linalg.solve_triangular", A, B), upper, unitriangular)
    return _solve(_masked(A, upper, unitriangular), B)


TriangularSolve = named("triangular_solve", ["solution", "cloned_coefficient"])


@composite()
def triangular_solve(
    input: Any,
    A: Any,
    upper: bool = True,
    transpose: bool = False,
    unitriangular: bool = False,
    *,
    out: Any = None,
) -> Any:
    """(X of A X = input for a triangular A, a copy of A)."""
    part = mT(A) if transpose else A
    solution = _triangular_solution(part, input, upper != transpose, True, unitriangular)
    return outputs(TriangularSolve(solution, A.clone()), out)


def _gram(L: Any, upper: bool) -> Any:
    """L L^H (U^H U if upper) of a triangle; its gradient is that of a full matrix, as in PyTorch."""
    part = (L.triu() if upper else L.tril()).detach() + (L - L.detach())
    return mH(part) @ part if upper else part @ mH(part)


@composite()
def cholesky_solve(input: Any, input2: Any, upper: bool = False, *, out: Any = None) -> Any:
    """X of L L^H X = input (U^H U X = input if upper), where input2 is L (or U)."""
    if not (elimination.own(input2) and elimination.own(input)) or input2.dtype is not input.dtype:
        return outputs(_solve(_gram(input2, upper), input), out)
    square("cholesky_solve", input2)
    input2, input = _one_stack("cholesky_solve", input2, input)
    return outputs(FUNCTIONS["_cholesky_solved"](input, input2, upper), out)


@composite()
def cholesky_inverse(input: Any, upper: bool = False, *, out: Any = None) -> Any:
    """The inverse of L L^H (of U^H U if upper), where input is L (or U)."""
    if elimination.own(input):
        square("cholesky_inverse", input)
        eye = FUNCTIONS["eye"](input.shape[-1], dtype=input.dtype).expand(input.shape)
        return outputs(FUNCTIONS["_cholesky_solved"](eye, input, upper), out)
    return outputs(inv(_gram(input, upper)), out)
