"""Sparse tensors in coordinates beside PyTorch's: printed forms, sums, products, gradients of tables, errors."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import numpy as np
import pytest

import flambeau

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:Sparse invariant checks")
BOTH = (torch, flambeau)


def matrix(T: Any, values: Any = (3.0, 4.0, 5.0, 6.0), size: Any = (2, 3)) -> Any:
    return T.sparse_coo_tensor(T.tensor([[0, 1, 1, 0], [2, 0, 2, 2]]), T.tensor(values), size)


def rows(T: Any) -> Any:
    return T.sparse_coo_tensor(T.tensor([[4, 0, 4]]), T.arange(6.0).reshape(3, 2), (6, 2))


SAME = {
    "itself": lambda T, m, r: m,
    "rows": lambda T, m, r: r,
    "coalesced": lambda T, m, r: m.coalesce(),
    "coalesced rows": lambda T, m, r: (r.coalesce(), r.coalesce().indices(), r.coalesce().values()),
    "dense": lambda T, m, r: (m.to_dense(), r.to_dense()),
    "facts": lambda T, m, r: (
        *(m.sparse_dim(), m.dense_dim(), m._nnz(), m.shape, m.dim(), m.numel(), m.is_coalesced(), r.dense_dim()),
        *(m.is_sparse, str(m.layout), m.layout == T.sparse_coo, str(m.dtype), m.size(1), len(m), m.type(), m.stride()),
        *(m.element_size(), m.is_contiguous(), m.requires_grad, T.ones(2).sparse_dim(), T.ones(2, 2).dense_dim()),
    ),
    "parts": lambda T, m, r: (m._indices(), m._values(), r._indices(), r._values()),
    "products": lambda T, m, r: (m * 2, 2 * m, m * T.tensor(2.0), m / 2, -m, m.coalesce() * 2),
    "in place": lambda T, m, r: (m.mul_(3), m.div_(2), m.mul_(T.tensor(0.5)), m.zero_(), m.is_coalesced()),
    "powers": lambda T, m, r: (m**2, m.pow(3), m.abs(), m.sqrt()),
    "dtypes": lambda T, m, r: (m.double(), m.to(T.float16), m.int(), m.bool(), m.long().to_dense()),
    "coalesced sum": lambda T, m, r: (m.coalesce() + m.coalesce(), m.coalesce() - m.coalesce()),
    "sums": lambda T, m, r: ((m + m).to_dense(), T.add(r, r, alpha=3).to_dense(), (r - r).coalesce()),
    "dense + sparse": lambda T, m, r: (T.ones(2, 3) + m, T.ones(6, 2) - r, T.ones(6, 2).double() + r),
    "dense.add_": lambda T, m, r: (T.ones(6, 2).add_(r, alpha=-0.5), T.ones(2, 3).add_(m), T.ones(2, 3).sub_(m)),
    "mm": lambda T, m, r: (m @ T.ones(3, 2), T.mm(m, T.ones(3, 2)), T.sparse.mm(m, T.ones(3, 1)), m @ T.ones(3)),
    "transposed": lambda T, m, r: (m.t(), m.transpose(0, 1) @ T.ones(2, 2)),
    "sum": lambda T, m, r: (m.sum(), T.sparse.sum(r), r.norm(), m.coalesce().norm(1)),
    "copies": lambda T, m, r: (m.clone(), m.detach(), copy.deepcopy(m), copy.copy(m), pickle.loads(pickle.dumps(m))),
    "aliases": lambda T, m, r: (m.detach().mul_(2), m, m.data),
    "to_sparse": lambda T, m, r: (
        m.to_dense().to_sparse(), r.to_dense().to_sparse(1), T.zeros(2, 2).to_sparse(), T.tensor(3.0).to_sparse(),
        T.arange(24.0).reshape(2, 3, 4).to_sparse(2), m.to_sparse(), T.ones(2, 2).to_sparse().is_coalesced(),
    ),
    "constructor": lambda T, m, r: (
        T.sparse_coo_tensor([[0, 1]], [1.0, 2.0], (3,)), T.sparse_coo_tensor((2, 3)),
        T.sparse_coo_tensor(T.tensor([[0, 1]]).int(), [1, 2])._indices().dtype is T.int64,
        T.sparse_coo_tensor([[0, 1]], [1, 2], dtype=T.float64), T.sparse_coo_tensor([[0, 1]], T.ones(2, 3)),
        T.sparse_coo_tensor([[0, 1]], [1.0, 2.0], is_coalesced=True, check_invariants=True).is_coalesced(),
    ),
    "many": lambda T, m, r: T.sparse_coo_tensor(T.arange(2000).reshape(1, -1), T.ones(2000, 1), (2000, 1)),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_as_pytorch(name: str) -> None:
    want, got = (str(SAME[name](T, matrix(T), rows(T))) for T in BOTH)
    assert got == want


ERRORS = {
    "two indices": lambda T, m: T.sparse_coo_tensor(T.tensor([[0, 1]]), T.ones(3)),
    "dimensions": lambda T, m: T.sparse_coo_tensor(T.tensor([[0, 1]]), T.ones(2), (2, 3)),
    "negative": lambda T, m: T.sparse_coo_tensor(T.tensor([[0, -1]]), T.ones(2), (2,), check_invariants=True),
    "beyond": lambda T, m: T.sparse_coo_tensor(T.tensor([[0, 2]]), T.ones(2), (2,), check_invariants=True),
    "order": lambda T, m: T.sparse_coo_tensor([[1, 0]], T.ones(2), is_coalesced=True, check_invariants=True),
    "indices": lambda T, m: m.indices(),
    "values": lambda T, m: m.values(),
    "sparse + dense": lambda T, m: m + T.ones(2, 3),
    "sparse += dense": lambda T, m: m.add_(T.ones(2, 3)),
    "sizes": lambda T, m: m + matrix(T, size=(2, 4)),
    "dense of another size": lambda T, m: T.ones(3, 3) + m,
    "integers": lambda T, m: T.ones(2, 3).long().add_(m),
    "mm": lambda T, m: m @ T.ones(2, 2),
    "mm dtype": lambda T, m: m.double() @ T.ones(3, 2),
    "numpy": lambda T, m: m.numpy(),
    "to_sparse": lambda T, m: T.ones(2, 2).to_sparse(3),
    "to_sparse(0)": lambda T, m: T.ones(2, 2).to_sparse(0),
    "transpose": lambda T, m: rows(T).transpose(0, 1),
    "item": lambda T, m: m.item(),
    "truth": lambda T, m: bool(m),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_as_pytorch(name: str) -> None:
    found = []
    for T in BOTH:
        with pytest.raises((RuntimeError, TypeError, ValueError)) as e:
            ERRORS[name](T, matrix(T))
        found.append((type(e.value), str(e.value).split("\n")[0]))
    assert found[1][0] is found[0][0]
    if name not in ("item", "truth"):
        assert found[0][1] in found[1][1]


def test_what_is_not_there_says_so() -> None:
    """No op and no method makes a dense tensor of a sparse one but those that do it rightly, or look at its shape."""
    right = "add sub subtract add_ sub_ subtract_ __add__ __radd__ __iadd__ __sub__ __isub__ dist sum norm vector_norm"
    right += " to_dense pairwise_distance __array_wrap__ unique cuda"  # the last three do not look at it, or refuse
    of_shape = (
        "bernoulli resize_as_ expand_as reshape_as new new_empty new_zeros new_ones new_full new_tensor"
    )
    silent = set()
    for where in (flambeau.Tensor, flambeau.nn.functional, flambeau.linalg, flambeau.special):
        for name in dir(where):
            fn = getattr(where, name)
            if not callable(fn) or isinstance(fn, type) or name in (right + " " + of_shape).split():
                continue
            for rest in ((), (0,), (1, 0), (flambeau.ones(6, 2),)):
                try:
                    result = fn(rows(flambeau), *rest)
                except Exception:
                    continue
                if isinstance(result, flambeau.Tensor) and not result.is_sparse:
                    silent.add(name)
            try:
                result = fn(flambeau.ones(6, 2), rows(flambeau))
                if isinstance(result, flambeau.Tensor) and not result.is_sparse:
                    assert result.tolist() == [[1.0] * 2] * 6  # the other operand was not looked at
            except AssertionError:
                silent.add(name)
            except Exception:
                continue
    assert silent == set()


def test_history_is_that_of_the_values() -> None:
    found = []
    for T in BOTH:
        v = T.tensor([3.0, 4.0, 5.0, 6.0], requires_grad=True)
        x = T.arange(6.0).reshape(3, 2).requires_grad_()
        d = T.tensor([[0.0, 2.0], [3.0, 0.0]], requires_grad=True)
        s = T.sparse_coo_tensor(T.tensor([[0, 1, 1, 0], [2, 0, 2, 2]]), v, (2, 3))
        assert s.requires_grad
        loss = ((s @ x) ** 2).sum() + (s.to_dense() ** 2).sum() + (T.ones(2, 3) + s).pow(2).sum()
        loss.backward()
        (d.to_sparse().to_dense() ** 2).sum().backward()
        found.append([v.grad.numpy(), x.grad.numpy(), d.grad.numpy()])
    for want, got in zip(*found):
        np.testing.assert_allclose(got, want, rtol=1e-6)


def test_gradients_of_products_and_sums() -> None:
    indices = flambeau.tensor([[0, 1, 1, 0], [2, 0, 2, 2]])

    def f(v: Any, x: Any) -> Any:
        s = flambeau.sparse_coo_tensor(indices, v, (2, 3))
        return s @ x, (s + s.coalesce()).to_dense()

    v, x = (flambeau.randn(n, dtype=flambeau.float64, requires_grad=True) for n in ((4,), (3, 2)))
    assert flambeau.autograd.gradcheck(f, (v, x))


def table(T: Any, **options: Any) -> Any:
    e = T.nn.Embedding(6, 3, sparse=True, **options)
    with T.no_grad():
        e.weight.copy_(T.arange(18.0).reshape(6, 3))
    return e


@pytest.mark.parametrize("padding", [None, 1])
@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_gradient_of_an_embedding(padding: int | None, dtype: str) -> None:
    found = []
    for T in BOTH:
        e = table(T, padding_idx=padding)
        index = T.tensor([[0, 1, 4], [0, 5, 1]]).to(getattr(T, dtype))
        y = e(index)
        assert type(y.grad_fn).__name__ == "EmbeddingBackward0"
        (y * y).sum().backward()
        first = str(e.weight.grad)
        (e(T.tensor([5])) * 3).sum().backward()
        total = e.weight.grad
        assert not total.is_coalesced()
        found.append((first, str(total.to_dense()), str(total.coalesce())))
    assert found[1] == found[0]


def test_sums_with_dense_gradients_are_dense() -> None:
    for T in BOTH:
        e = table(T)
        dense = lambda e=e, T=T: T.nn.functional.embedding(T.tensor([1, 2]), e.weight).sum()
        for steps in ((e, dense), (dense, e)):
            e.weight.grad = None
            for step in steps:
                (step() if step is dense else step(T.tensor([2, 3])).sum()).backward()
            assert not e.weight.grad.is_sparse
            assert e.weight.grad[:, 0].tolist() == [0, 1, 2, 1, 0, 0]
        for loss in (e(T.tensor([2, 3])).sum() + dense(), dense() + e(T.tensor([2, 3])).sum()):
            e.weight.grad = None
            loss.backward()
            assert not e.weight.grad.is_sparse and e.weight.grad[:, 0].tolist() == [0, 1, 2, 1, 0, 0]


@pytest.mark.parametrize("mode", ["sum", "mean", "weighted"])
@pytest.mark.parametrize("padding", [None, 1])
def test_gradient_of_bags(mode: str, padding: int | None) -> None:
    found = []
    for T in BOTH:
        e = T.nn.EmbeddingBag(
            6, 3, mode="sum" if mode == "weighted" else mode, sparse=True, padding_idx=padding
        )
        with T.no_grad():
            e.weight.copy_(T.arange(18.0).reshape(6, 3))
        w = T.tensor([1.0, 2, 3, 4, 5], requires_grad=True) if mode == "weighted" else None
        y = e(T.tensor([0, 1, 1, 4, 2]), T.tensor([0, 3]), w)
        (y * y).sum().backward()
        found.append([str(e.weight.grad), None if w is None else str(w.grad)])
    assert found[1] == found[0]


def test_what_an_embedding_refuses() -> None:
    for T in BOTH:
        y = table(T, scale_grad_by_freq=True)(T.tensor([0, 0])).sum()
        with pytest.raises(RuntimeError, match="scale_grad_by_freq not supported with sparse gradients"):
            y.backward()
        y = table(T)(T.tensor([0, 0])).sum()
        y.backward()
        with pytest.raises(RuntimeError, match="second time"):
            y.backward()
        index = T.tensor([0, 1])
        y = table(T)(index).sum()
        index.add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.backward()


def test_foreign_indices_are_those_of_the_call() -> None:
    a = np.array([0, 1])
    e = table(flambeau)
    y = e(flambeau.from_numpy(a)).sum()
    a[:] = 5
    y.backward()
    assert e.weight.grad.coalesce().indices().tolist() == [[0, 1]]


def test_gradients_of_gradients_and_grad() -> None:
    found = []
    for T in BOTH:
        e = table(T)
        (g,) = T.autograd.grad((e(T.tensor([1, 4, 1])) ** 3).sum(), e.weight, create_graph=True)
        assert g.is_sparse and g.requires_grad
        (second,) = T.autograd.grad((g.to_dense() ** 2).sum(), e.weight)
        found.append((str(g.detach()), str(second.to_dense())))
    assert found[1] == found[0]


def test_hooks_and_assigned_gradients() -> None:
    for T in BOTH:
        e = table(T)
        e.weight.register_hook(lambda g: g * 2)
        e(T.tensor([1])).sum().backward()
        assert e.weight.grad.to_dense()[1].tolist() == [2, 2, 2]
        e.weight.grad = T.sparse_coo_tensor([[0]], T.ones(1, 3), (6, 3))
        assert e.weight.grad.is_sparse
        with pytest.raises(RuntimeError):
            e.weight.grad = T.sparse_coo_tensor([[0]], T.ones(1, 3), (7, 3))


def test_a_captured_call_with_sparse_gradients_runs_uncaptured() -> None:
    e = table(flambeau)
    o = flambeau.optim.SGD(e.parameters(), lr=1.0)

    @flambeau.compile
    def step(index: Any) -> Any:
        o.zero_grad()
        loss = e(index).sum()
        loss.backward()
        o.step()
        return loss

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        losses = [float(step(flambeau.tensor([0, 2])).detach()) for _ in range(4)]
    assert losses == [24.0, 18.0, 12.0, 6.0]


def test_no_dense_gradient_is_made() -> None:
    count = 200_000
    e = flambeau.nn.Embedding(count, 16, sparse=True)
    o = flambeau.optim.SparseAdam(e.parameters())

    def step() -> None:
        o.zero_grad()
        (e(flambeau.randint(0, count, (64,))) ** 2).sum().backward()
        o.step()

    step()
    before = flambeau.memory_stats()["live"]
    flambeau.reset_peak_memory_stats()
    for _ in range(3):
        step()
    assert flambeau.memory_stats()["peak"] - before < count * 16 * 4 // 8


@pytest.mark.parametrize("weights_only", [True, False])
def test_files_in_both_directions(tmp_path: Any, weights_only: bool) -> None:
    real = pytest.importorskip("torch")
    x = flambeau.sparse_coo_tensor([[2, 0, 2], [1, 1, 1]], [1.0, 2.0, 3.0], (3, 2))
    path = tmp_path / "sparse.pt"
    for made, read in ((flambeau, flambeau), (flambeau, real), (real, flambeau)):
        one = made.sparse_coo_tensor([[2, 0, 2], [1, 1, 1]], [1.0, 2.0, 3.0], (3, 2))
        made.save({"as it is": one, "in order": one.coalesce()}, path)
        back = read.load(path, weights_only=weights_only)
        assert str(back["as it is"]) == str(x) and str(back["in order"]) == str(x.coalesce())
        assert [t.is_coalesced() for t in back.values()] == [False, True]


def test_a_file_that_says_what_is_not_so(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x = flambeau.sparse_coo_tensor([[2, 0]], [1.0, 2.0], (3,))
    monkeypatch.setattr(type(x), "is_coalesced", lambda t: True)
    flambeau.save(x, tmp_path / "a.pt")
    monkeypatch.setattr(type(x), "size", lambda t, *d: (2,))
    flambeau.save(x, tmp_path / "b.pt")
    monkeypatch.undo()
    with pytest.raises(RuntimeError, match="uncoalesced"):
        flambeau.load(tmp_path / "a.pt")
    with pytest.raises(RuntimeError, match="found index 2"):
        flambeau.load(tmp_path / "b.pt")


def test_a_resumed_run_with_sparse_momentum(tmp_path: Any) -> None:
    def steps(table: Any, optimizer: Any, places: list[int]) -> None:
        for p in places:
            optimizer.zero_grad()
            table(flambeau.tensor([p, p + 1])).square().sum().backward()
            optimizer.step()

    tables = []
    for resumed in (False, True):
        flambeau.manual_seed(0)
        table = flambeau.nn.Embedding(6, 2, sparse=True)
        optimizer = flambeau.optim.SGD(table.parameters(), lr=0.1, momentum=0.9)
        steps(table, optimizer, [0, 2])
        if resumed:
            flambeau.save([table.state_dict(), optimizer.state_dict()], tmp_path / "run.pt")
            state, of_optimizer = flambeau.load(tmp_path / "run.pt")
            table.load_state_dict(state)
            optimizer = flambeau.optim.SGD(table.parameters(), lr=0.1, momentum=0.9)
            optimizer.load_state_dict(of_optimizer)
        steps(table, optimizer, [1, 3])
        tables.append(table.weight.detach())
    assert flambeau.equal(*tables)
