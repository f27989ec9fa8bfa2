"""Triangular systems, Cholesky's factors and LU factors by kernels, beside NumPy; derivatives, views, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flambeau as torch

SIZES = [1, 3, 8, 9, 17, 40, 67]


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape) + shape[-1]).standard_normal(shape)


def near(got: Any, want: np.ndarray, tolerance: float) -> None:
    got = got.detach().numpy()
    assert got.shape == want.shape
    assert abs(got - want).max() <= tolerance * abs(want).max()


@pytest.mark.parametrize(("kind", "tolerance"), [(np.float32, 3e-5), (np.float64, 1e-12)])
@pytest.mark.parametrize("n", SIZES)
def test_triangular_systems(n: int, kind: Any, tolerance: float) -> None:
    a, b = drawn(2, n, n) / n + 2 * np.eye(n), drawn(2, n, 37)
    solve = torch.linalg.solve_triangular
    for upper in (False, True):
        t = np.triu(a) if upper else np.tril(a)
        x = torch.tensor(np.where(t == 0, 7, a).astype(kind))  # what lies beside the triangle is not read
        y = torch.tensor(b.astype(kind))
        near(solve(x, y, upper=upper), np.linalg.solve(t, b), tolerance)
        near(
            solve(x, y.mT, upper=upper, left=False),
            np.linalg.solve(t.swapaxes(1, 2), b).swapaxes(1, 2),
            tolerance,
        )
        near(
            solve(x.mT, y[..., ::2], upper=not upper),
            np.linalg.solve(t.swapaxes(1, 2), b[..., ::2]),
            tolerance,
        )
        near(solve(x[0], y[..., :1], upper=upper), np.linalg.solve(t[0], b[..., :1]), tolerance)
        unit = t - t * np.eye(n) + np.eye(n)
        near(solve(x, y, upper=upper, unitriangular=True), np.linalg.solve(unit, b), tolerance)


@pytest.mark.parametrize(("kind", "tolerance"), [(np.float32, 2e-4), (np.float64, 1e-11)])
@pytest.mark.parametrize("n", SIZES)
def test_factors(n: int, kind: Any, tolerance: float) -> None:
    a = drawn(3, n, n)
    s, g, b = a @ a.swapaxes(1, 2) + n * np.eye(n), a + 2 * n**0.5 * np.eye(n), drawn(3, n, 5)
    given = lambda x: torch.tensor(x.astype(kind))
    factor = np.linalg.cholesky(s)
    near(torch.linalg.cholesky(given(np.tril(s))), factor, tolerance)
    near(torch.linalg.cholesky(given(np.triu(s)), upper=True), factor.swapaxes(1, 2), tolerance)
    near(torch.cholesky_solve(given(b), given(factor)), np.linalg.solve(s, b), tolerance)
    near(torch.cholesky_inverse(given(factor.swapaxes(1, 2)), upper=True), np.linalg.inv(s), tolerance)
    near(torch.linalg.solve(given(g), given(b)), np.linalg.solve(g, b), tolerance)
    near(torch.linalg.solve(given(g).mT, given(b[0])), np.linalg.solve(g.swapaxes(1, 2), b[0]), tolerance)
    near(torch.linalg.inv(given(g)), np.linalg.inv(g), tolerance)
    sign, size = np.linalg.slogdet(a)
    found = torch.linalg.slogdet(given(a))
    assert found[0].tolist() == sign.tolist()
    near(found[1], size, 20 * tolerance)
    if n < 20:
        near(torch.linalg.det(given(a)), np.linalg.det(a), 20 * tolerance)


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (20, 33), (33, 20), (1, 4), (4, 1), (24, 24)])
def test_exchanged_rows(shape: tuple[int, int]) -> None:
    a = drawn(2, *shape)
    P, L, U = torch.linalg.lu(torch.tensor(a))
    near(P @ L @ U, a, 1e-13)
    assert (P.sum(-1) == 1).all() and (L.abs() <= 1).all() and (U.tril(-1) == 0).all()
    compact, pivots = torch.linalg.lu_factor(torch.tensor(a))
    p, lower, upper = torch.lu_unpack(compact, pivots)
    assert (p == P).all() and (lower == L).all() and (upper == U).all()
    plain = torch.linalg.lu_factor(torch.tensor(a), pivot=False).pivots
    assert plain.tolist() == [[*range(1, min(shape) + 1)]] * 2


def test_the_same_bits_for_one_matrix_and_for_many() -> None:
    a = torch.randn(40, 33, 33)
    s = a @ a.mT + 33 * torch.eye(33)
    for f in (torch.linalg.cholesky, torch.linalg.inv, lambda x: torch.linalg.lu_factor(x)[0]):
        assert (f(s)[7] == f(s[7])).all()


def test_derivatives() -> None:
    a, b = torch.tensor(drawn(2, 4, 4)).requires_grad_(), torch.tensor(drawn(2, 4, 3)).requires_grad_()
    eye = 4 * torch.eye(4, dtype=torch.float64)

    def check(f: Any, *given: Any) -> None:
        assert torch.autograd.gradcheck(f, given) and torch.autograd.gradgradcheck(f, given)

    for upper in (False, True):
        for unit in (False, True):
            check(
                lambda a, b: torch.linalg.solve_triangular(a + eye, b, upper=upper, unitriangular=unit), a, b
            )
        part = torch.triu if upper else torch.tril
        check(lambda a, b: torch.cholesky_solve(b, part(a + eye), upper), a, b)
        check(lambda a: torch.cholesky_inverse(part(a + eye), upper), a)
        check(lambda a: torch.linalg.cholesky(a @ a.mT + eye, upper=upper), a)
    check(lambda a, b: torch.linalg.solve(a + eye, b), a, b)
    check(lambda a, b: torch.linalg.lu_solve(*torch.linalg.lu_factor(a + eye), b), a, b)
    check(lambda a: torch.linalg.solve_triangular(a[0] + eye, b, upper=True), a)


def test_samples_are_stacks() -> None:
    a, b = torch.randn(5, 4, 4) + 4 * torch.eye(4), torch.randn(5, 4, 2)
    f = lambda a, b: torch.linalg.solve_triangular(a, b, upper=False)
    assert (torch.func.vmap(f)(a, b) == f(a, b)).all()
    assert (torch.func.vmap(lambda b: f(a[0], b))(b) == f(a[0], b)).all()
    g = lambda a, b: torch.cholesky_solve(b, a)
    assert (torch.func.vmap(g)(a, b) == g(a, b)).all()


def test_what_has_no_factor_is_refused() -> None:
    indefinite = torch.tensor([[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(torch.linalg.LinAlgError, match=r"leading minor of order 2 is not positive-definite"):
        torch.linalg.cholesky(indefinite).tolist()
    with pytest.raises(torch.linalg.LinAlgError, match=r"\(Batch element 1\): .* order 1 is"):
        torch.linalg.cholesky(torch.tensor([[[1.0]], [[-1.0]]])).tolist()
    with pytest.raises(torch.linalg.LinAlgError, match=r"linalg.inv: The diagonal element 2 is zero"):
        torch.linalg.inv(torch.ones(2, 2)).tolist()
    with pytest.raises(torch.linalg.LinAlgError, match=r"\(Batch element 0\): The solver failed because"):
        torch.linalg.solve(torch.zeros(3, 2, 2), torch.ones(3, 2, 1)).tolist()
    with pytest.raises(RuntimeError, match="Incompatible shapes"):
        torch.linalg.solve_triangular(torch.eye(3), torch.ones(2, 2), upper=True)
    assert torch.linalg.cholesky_ex(indefinite).info.item() == 2
    assert torch.linalg.lu_factor_ex(torch.zeros(2, 2)).info.item() == 1
    assert torch.linalg.det(torch.ones(3, 3)).item() == 0
    assert torch.linalg.slogdet(torch.zeros(2, 2)).logabsdet.item() == float("-inf")
    assert torch.linalg.cholesky(torch.eye(2)).tolist() == [[1.0, 0.0], [0.0, 1.0]]  # the stream goes on
    assert torch.linalg.inv(torch.ones(0, 3, 3)).shape == (0, 3, 3)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("count", "n", "k"), [(16, 3, 1), (50, 4, 4), (33, 1, 2), (19, 8, 3), (21, 16, 16), (40, 5, 17)]
)
def test_stacks_of_small_matrices_have_the_bits_of_single_ones(count: int, n: int, k: int, kind: Any) -> None:
    a, b = drawn(count, n, n), drawn(count, n, k)
    given = lambda x: torch.tensor(x.astype(kind))
    s, g, r = given(a @ a.swapaxes(1, 2) + n * np.eye(n)), given(a), given(b)
    la = torch.linalg
    calls = [
        lambda i: la.lu_factor(g[i]).LU,
        lambda i: la.lu_factor(g[i]).pivots,
        lambda i: la.lu(g.mT[i]).L,
        lambda i: la.lu_factor(r[i]).LU,
        lambda i: la.solve(g[i], r[i]),
        lambda i: la.inv(g.mT[i]),
        lambda i: la.det(g[i]),
        lambda i: la.cholesky(s[i]),
        lambda i: la.cholesky(s.mT[i], upper=True),
        lambda i: la.solve_triangular(g[i], r[i], upper=False),
        lambda i: la.solve_triangular(g.mT[i], r.flip(1)[i], upper=True, unitriangular=True),
    ]
    for call in calls:
        whole = call(slice(None)).numpy()
        assert (whole == np.stack([call(i).numpy() for i in range(count)])).all()
    near(la.inv(s), np.linalg.inv(s.numpy().astype(np.float64)), 1e-4 if kind is np.float32 else 1e-11)


def test_a_stack_of_small_matrices_names_the_first_that_fails() -> None:
    a = drawn(60, 3, 3)
    a[37, :, 1] = a[53] = 0
    with pytest.raises(torch.linalg.LinAlgError, match=r"Batch element 37\): The diagonal element 2 is zero"):
        torch.linalg.inv(torch.tensor(a)).numpy()
    found = torch.linalg.inv_ex(torch.tensor(a)).info.tolist()
    assert {i: x for i, x in enumerate(found) if x} == {37: 2, 53: 1}
    with pytest.raises(
        torch.linalg.LinAlgError, match=r"Batch element 0\).*minor of order 1 is not positive"
    ):
        torch.linalg.cholesky(torch.tensor(-np.abs(a))).numpy()
