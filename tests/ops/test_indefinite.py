"""L D L^T with pivots of one and two rows, and solutions by it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flambeau as torch


def matrix(n: int, batch: tuple[int, ...], kind: Any, hermitian: bool, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((*batch, n, n))
    if np.dtype(kind).kind == "c":
        a = a + 1j * rng.standard_normal((*batch, n, n))
    t = np.swapaxes(a, -1, -2)
    a = a + (t.conj() if hermitian else t)
    for i in range(0, n, 2):  # small diagonals ask for pivots of two rows
        a[..., i, i] = 0
    return a.astype(kind)


CASES = [
    (n, batch, kind, hermitian)
    for n, batch in ((1, ()), (2, ()), (5, (2, 3)), (12, ()), (40, ()), (0, (2,)))
    for kind, hermitian in (("f8", False), ("f4", True), ("c16", False), ("c16", True))
]


@pytest.mark.parametrize(("n", "batch", "kind", "hermitian"), CASES)
def test_solutions(n: int, batch: tuple[int, ...], kind: str, hermitian: bool) -> None:
    a = matrix(n, batch, kind, hermitian)
    if n == 1:
        a[...] = 2
    LD, pivots, info = torch.linalg.ldl_factor_ex(torch.tensor(a), hermitian=hermitian)
    assert info.tolist() == np.zeros(batch, int).tolist() and pivots.dtype is torch.int32
    b = np.random.default_rng(1).standard_normal((*batch, n, 3)).astype(kind)
    x = torch.linalg.ldl_solve(LD, pivots, torch.tensor(b), hermitian=hermitian)
    np.testing.assert_allclose(a @ x.numpy(), b, atol=1e-9 if kind != "f4" else 2e-3)


@pytest.mark.torch
@pytest.mark.parametrize(("n", "batch", "kind", "hermitian"), CASES)
def test_factors_are_pytorchs(n: int, batch: tuple[int, ...], kind: str, hermitian: bool) -> None:
    other = pytest.importorskip("torch")

    if kind == "f4":
        kind = "f8"
    a = matrix(n, batch, kind, hermitian, 3)
    want = other.linalg.ldl_factor_ex(other.tensor(a), hermitian=hermitian)
    got = torch.linalg.ldl_factor_ex(torch.tensor(a), hermitian=hermitian)
    assert got.pivots.tolist() == want.pivots.tolist() and got.info.tolist() == want.info.tolist()
    np.testing.assert_allclose(got.LD.numpy(), want.LD.numpy(), atol=1e-8)


def test_shapes_that_broadcast_and_errors() -> None:
    a = torch.tensor(matrix(3, (), "f8", False))
    LD, pivots = torch.linalg.ldl_factor(a)
    b = torch.ones(4, 3, 2, dtype=torch.float64)
    assert (a @ torch.linalg.ldl_solve(LD, pivots, b) - b).abs().max() < 1e-12
    assert torch.linalg.ldl_factor_ex(torch.zeros(2, 2)).info.item() == 1
    for call in (
        lambda: torch.linalg.ldl_factor(torch.zeros(2, 2)).LD.tolist(),
        lambda: torch.linalg.ldl_factor(torch.ones(2, 3)),
        lambda: torch.linalg.ldl_solve(LD, pivots, b.float()),
        lambda: torch.linalg.ldl_solve(LD, pivots, b[:, :2]),
        lambda: torch.linalg.ldl_solve(LD, pivots[:2], b),
    ):
        with pytest.raises(RuntimeError, match=r"torch.linalg.ldl_"):
            call()


def test_hashes() -> None:
    x = torch.tensor([[1.5, 2.0], [3.0, 4.0], [7.0, -1.0]])
    bits = x.double().numpy().view(np.uint64)
    for dim, want in (((), np.bitwise_xor.reduce(bits, None)), (0, np.bitwise_xor.reduce(bits, 0))):
        found = torch.hash_tensor(x, dim)
        assert found.dtype is torch.uint64 and found.tolist() == want.tolist()
    assert torch.hash_tensor(torch.tensor([-1, 2], dtype=torch.int8)).item() == (2**64 - 1) ^ 2
    assert torch.hash_tensor(x, (0, 1), keepdim=True).shape == (1, 1)
    with pytest.raises(IndexError, match="non-zero size"):
        torch.hash_tensor(torch.zeros(0, 3), 0)
