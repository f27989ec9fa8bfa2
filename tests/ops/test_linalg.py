"""Decompositions and solutions of real and complex matrices beside PyTorch: values, gradients, second order, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau

torch = pytest.importorskip("torch")
rng = np.random.default_rng(0)


def drawn(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


A, B, TALL, WIDE = drawn(2, 4, 4), drawn(2, 4, 3), drawn(2, 5, 3), drawn(2, 3, 5)
HERMITIAN = A + np.swapaxes(A.conj(), -1, -2)
POSITIVE = A @ np.swapaxes(A.conj(), -1, -2) + np.eye(4)
FACTOR = np.linalg.cholesky(POSITIVE)


def absolute(found: Any) -> Any:
    """What of vectors does not hang on their phases."""
    return [x.abs() for x in found]


CASES: dict[str, tuple[Any, ...]] = {
    "inv": (lambda m, a: m.linalg.inv(a), A),
    "inv_ex": (lambda m, a: m.linalg.inv_ex(a)[0], A),
    "cross": (lambda m, a, b: m.linalg.cross(a, b, dim=1), TALL[0].T[None], drawn(2, 3, 1)),
    "det": (lambda m, a: m.linalg.det(a), A),
    "slogdet": (lambda m, a: m.linalg.slogdet(a), A),
    "logdet": (lambda m, a: m.logdet(a), POSITIVE),
    "solve": (lambda m, a, b: m.linalg.solve(a, b), A, B),
    "solve_triangular": (lambda m, a, b: m.linalg.solve_triangular(a, b, upper=False), FACTOR, B),
    "cholesky": (lambda m, a: m.linalg.cholesky(a), POSITIVE),
    "cholesky, upper": (lambda m, a: m.linalg.cholesky(a, upper=True), POSITIVE),
    "cholesky_solve": (lambda m, b, a: m.cholesky_solve(b, a), B, FACTOR),
    "cholesky_inverse": (lambda m, a: m.cholesky_inverse(a), FACTOR),
    "eigvalsh": (lambda m, a: m.linalg.eigvalsh(a), HERMITIAN),
    "eigh": (lambda m, a: absolute(m.linalg.eigh(a)), HERMITIAN),
    "svdvals": (lambda m, a: m.linalg.svdvals(a), TALL),
    "svd, tall": (lambda m, a: absolute(m.linalg.svd(a, full_matrices=False)), TALL),
    "svd, wide": (lambda m, a: absolute(m.linalg.svd(a, full_matrices=False)), WIDE),
    "svd, put together": (lambda m, a: (lambda u, s, v: (u @ v, s))(*m.linalg.svd(a, False)), TALL),
    "qr, tall": (lambda m, a: m.linalg.qr(a), TALL),
    "qr, wide": (lambda m, a: m.linalg.qr(a), WIDE),
    "lu_factor": (lambda m, a: m.linalg.lu_factor(a)[:1], TALL),
    "lu_solve": (lambda m, a, b: m.linalg.lu_solve(*m.linalg.lu_factor(a), b), A, B),
    "pinv": (lambda m, a: m.linalg.pinv(a), TALL),
    "pinv of Hermitian": (lambda m, a: m.linalg.pinv(a, hermitian=True), HERMITIAN),
    "lstsq": (lambda m, a, b: m.linalg.lstsq(a, b)[0], TALL, drawn(2, 5, 2)),
    "matrix_exp": (lambda m, a: m.matrix_exp(a * 0.1), A),
    "matrix_power": (lambda m, a: m.linalg.matrix_power(a, -2), A),
    "cond": (lambda m, a: m.linalg.cond(a), A),
    "nuclear norm": (lambda m, a: m.linalg.matrix_norm(a, "nuc"), TALL),
    "householder_product": (lambda m, a, b: m.linalg.householder_product(a, b[:, 0]), TALL, WIDE[:, :, :3]),
    "ormqr": (
        lambda m, a, b, c: m.ormqr(a, b[:, 0], c, transpose=False),
        TALL,
        WIDE[:, :, :3],
        drawn(2, 5, 2),
    ),
    "eigvals": (lambda m, a: m.linalg.eigvals(a), A),
    "eig": (lambda m, a: (lambda found: (found[0], found[1].abs()))(m.linalg.eig(a)), A),
}


def outcome(m: Any, call: Callable[..., Any], *arrays: np.ndarray) -> tuple[list[Any], list[Any]]:
    """The results of a call and, for one weighting of them all, the gradients of its operands."""
    given = [m.tensor(a).requires_grad_() for a in arrays]
    found = call(m, *given)
    found = list(found) if isinstance(found, (tuple, list)) else [found]
    weights = np.random.default_rng(5)
    total: Any = 0
    for x in found:
        w = weights.standard_normal(tuple(x.shape))
        w = w + 1j * weights.standard_normal(tuple(x.shape)) if x.is_complex() else w
        part = (x * m.tensor(w)).sum()
        total = total + (part.real + 2 * part.imag if x.is_complex() else part)
    grads = m.autograd.grad(total, given)
    return [(str(x.dtype), array(x)) for x in found], [array(g) for g in grads]


def array(x: Any) -> np.ndarray:
    return np.asarray(x.detach().resolve_conj().numpy())


@pytest.mark.parametrize("kind", ["complex", "real"])
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name, kind):
    call, *arrays = CASES[name]
    if kind == "real":
        if name == "logdet":
            arrays = [np.eye(4) + POSITIVE.real]
        else:
            arrays = [np.ascontiguousarray(a.real) for a in arrays]
    got, grads = outcome(flambeau, call, *arrays)
    want, expected = outcome(torch, call, *arrays)
    for (d, a), (e, b) in zip(got, want):
        assert d == e.replace("torch", d.partition(".")[0])
        np.testing.assert_allclose(a, b, 1e-9, 1e-9)
    for a, b in zip(grads, expected):
        np.testing.assert_allclose(a, b, 1e-8, 1e-8)


def test_the_gradient_of_eigenvectors_is_symmetric_as_in_PyTorch():
    matrix = rng.standard_normal((4, 4))
    matrix += matrix.T
    call = lambda m, a: m.linalg.eigh(a).eigenvectors.abs()
    (g,), (w,) = outcome(flambeau, call, matrix)[1], outcome(torch, call, matrix)[1]
    np.testing.assert_allclose(g, w, 1e-9, 1e-9)
    np.testing.assert_allclose(g, g.T, 1e-9, 1e-9)


@pytest.mark.parametrize("name", ["eigvals", "eigh", "svdvals", "cholesky", "qr, tall", "slogdet", "pinv"])
def test_second_order(name):
    call, *arrays = CASES[name]
    given = [flambeau.tensor(a[0]).requires_grad_() for a in arrays]

    def of(*xs: Any) -> Any:
        if name == "cholesky":
            xs = (xs[0] @ xs[0].mH + flambeau.eye(4, dtype=flambeau.complex128),)
        elif name == "eigh":
            xs = (xs[0] + xs[0].mH,)
        return call(flambeau, *xs)

    assert flambeau.autograd.gradcheck(of, given)
    assert flambeau.autograd.gradgradcheck(of, given)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_eig_takes_matrices_apart(dtype):
    matrix = flambeau.randn(3, 5, 5, dtype=getattr(flambeau, dtype))
    values, vectors = flambeau.linalg.eig(matrix)
    assert values.dtype == vectors.dtype == matrix.dtype.to_complex()
    tolerance = 1e-4 if "32" in dtype or dtype == "complex64" else 1e-10
    np.testing.assert_allclose(
        array(matrix.to(values.dtype) @ vectors), array(vectors * values.unsqueeze(-2)), tolerance, tolerance
    )
    np.testing.assert_allclose(array(flambeau.linalg.eigvals(matrix)), array(values), tolerance, tolerance)
    assert flambeau.linalg.eig(matrix[:0]).eigenvectors.shape == (0, 5, 5)


def test_eig_of_what_has_no_eigenvalues():
    with pytest.raises(RuntimeError, match=r"torch.linalg.eig: input tensor should not contain infs or NaNs"):
        flambeau.linalg.eig(flambeau.tensor([[1.0, float("nan")], [0.0, 1.0]])).eigenvalues.tolist()
    with pytest.raises(RuntimeError, match="must be batches of square matrices"):
        flambeau.linalg.eigvals(flambeau.ones(2, 3))


def test_pivots_of_complex_matrices_are_chosen_as_LAPACK_does():
    matrix = np.array([[3 + 3j, 1], [5 + 0j, 2]])  # |3 + 3j| < 5 < |3| + |3|
    assert flambeau.linalg.lu_factor(flambeau.tensor(matrix)).pivots.tolist() == [1, 2]
    assert torch.linalg.lu_factor(torch.tensor(matrix)).pivots.tolist() == [1, 2]


def test_a_cross_product_is_one_node_of_the_graph() -> None:
    for m in (flambeau, torch):
        x, y = m.tensor(TALL.real, requires_grad=True), m.tensor(TALL.imag)
        assert type(m.cross(x, y, dim=2).grad_fn).__name__ == "LinalgCrossBackward0"
    x, y = flambeau.tensor(TALL.real), flambeau.tensor(TALL.imag[0])
    for found in (
        flambeau.vmap(flambeau.linalg.cross)(x, y.expand(2, 5, 3)),
        flambeau.vmap(flambeau.linalg.cross, (0, None))(x, y),
    ):
        np.testing.assert_allclose(found.numpy(), np.cross(TALL.real, TALL.imag[0]))
