"""Matrices in compressed rows beside PyTorch's: parts, text, products, conversions, gradients, refusals."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import pytest

import flambeau

reference = pytest.importorskip("torch")
DENSE = [[0.0, 2, 0], [0, 0, 0], [1, 0, 3]]


def both(program: Any) -> None:
    """A program gives the same with either library."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns that it is not finished
        theirs = program(reference)
    assert program(flambeau) == theirs


def test_parts_and_text() -> None:
    def program(m: Any) -> list[Any]:
        d = m.tensor(DENSE)
        c = d.to_sparse_csr()
        z = m.sparse_csr_tensor([0, 1, 1, 3], [1, 0, 2], [1.0, 2, 3])
        wide = m.sparse_csr_tensor(
            m.tensor([0, 2, 2]), m.tensor([0, 3]), m.tensor([1.0, 2]), (2, 5), dtype=m.float64
        )
        parts = [c.crow_indices(), c.col_indices(), c.values(), c.to_dense(), c.sum()]
        made = [c, z, wide, d.to_sparse(layout=m.sparse_csr), d.to_sparse().to_sparse_csr(), c.to_sparse()]
        facts = [c.is_sparse, c.is_sparse_csr, d.is_sparse_csr, str(c.layout), c._nnz(), tuple(c.shape)]
        return [*map(repr, made), *(p.tolist() for p in parts), *facts]

    both(program)


def test_ops() -> None:
    def program(m: Any) -> list[Any]:
        m.manual_seed(0)
        c, x = m.tensor(DENSE).to_sparse_csr(), m.randn(3, 4)
        products = [c @ x, c @ x[:, 0], m.sparse.mm(c, x), m.mm(c, x)]
        sampled = m.sparse.sampled_addmm(c, x, x.t(), beta=0.5, alpha=2.0)
        same = [c * 2, c + c, c.double(), c.to(m.float64), -c, c.clone(), c.detach(), sampled]
        return [*([round(v, 5) for v in p.reshape(-1).tolist()] for p in products), *map(repr, same)]

    both(program)


def test_gradients() -> None:
    """Of the dense operand as in PyTorch, and of the values."""
    w = flambeau.tensor([1.0, 2, 3], dtype=flambeau.float64, requires_grad=True)
    x = flambeau.rand(3, 2, dtype=flambeau.float64, requires_grad=True)
    matrix = lambda v: flambeau.sparse_csr_tensor(
        flambeau.tensor([0, 1, 1, 3]), flambeau.tensor([1, 0, 2]), v
    )
    assert flambeau.autograd.gradcheck(lambda v, y: matrix(v) @ y, (w, x))
    assert flambeau.autograd.gradgradcheck(lambda v, y: matrix(v) @ y, (w, x))
    sampled = lambda v, y: flambeau.sparse.sampled_addmm(matrix(v), y, y.t(), beta=0.5).values()
    assert flambeau.autograd.gradcheck(sampled, (w, x))


def test_copies() -> None:
    c = flambeau.tensor(DENSE).to_sparse_csr()
    for made in (copy.deepcopy(c), copy.copy(c), pickle.loads(pickle.dumps(c))):
        assert repr(made) == repr(c)


def test_refused() -> None:
    d = flambeau.tensor(DENSE)
    with pytest.raises(RuntimeError, match="row compressed tensor layout but got Strided"):
        d.crow_indices()
    with pytest.raises(RuntimeError, match="row compressed tensor layout but got Sparse"):
        d.to_sparse().col_indices()
    with pytest.raises(RuntimeError, match="layout but got SparseCsr"):
        d.to_sparse_csr().indices()
    with pytest.raises(RuntimeError, match="crow_indices"):
        flambeau.sparse_csr_tensor([0, 1, 1, 2], [1, 0, 2], [1.0, 2, 3])
    with pytest.raises(RuntimeError, match="layout SparseCsr"):
        flambeau.sparse.sampled_addmm(d, d, d)
    with pytest.raises(NotImplementedError, match="compressed rows"):
        d.to_sparse_csr().mul_(2)
