"""Bags of embeddings beside PyTorch: every mode, rows or offsets, empty bags, padding, ties; work in proportion."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flambeau


@pytest.mark.parametrize("padding", [None, 3])
@pytest.mark.parametrize("kind", ["rows", "offsets", "last"])
@pytest.mark.parametrize("mode", ["sum", "weighted", "mean", "max"])
def test_values_and_gradients(mode: str, kind: str, padding: int | None) -> None:
    torch = pytest.importorskip("torch")
    r = np.random.RandomState(0)
    table, index = np.round(r.randn(10, 5) * 2).astype("f"), r.randint(0, 10, (4, 3))  # with ties
    begins = [0, 2, 2, 7, 12] + [12] * (kind == "last")
    factors = r.rand(4, 3).astype("f")
    found = []
    for T in (torch, flambeau):
        w, i, f = T.tensor(table, requires_grad=True), T.tensor(index), T.tensor(factors, requires_grad=True)
        options: dict[str, Any] = {"mode": "sum" if mode == "weighted" else mode, "padding_idx": padding}
        if mode == "weighted":
            options["per_sample_weights"] = f if kind == "rows" else f.view(-1)
        if kind == "rows":
            y = T.nn.functional.embedding_bag(i, w, **options)
        else:
            options["include_last_offset"] = kind == "last"
            y = T.nn.functional.embedding_bag(i.view(-1), w, T.tensor(begins), **options)
        (y * y * y).sum().backward()
        found.append([y.detach(), w.grad, *([f.grad] if mode == "weighted" else [])])
    for want, got in zip(*found):
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", ["sum", "max"])
def test_many_bags_need_no_table_of_indices_by_bags(mode: str) -> None:
    count = 100_000
    index = flambeau.arange(2 * count) % 50
    table = flambeau.arange(100.0).view(50, 2)
    y = flambeau.nn.functional.embedding_bag(index, table, flambeau.arange(0, 2 * count, 2), mode=mode)
    want = table[1::2] if mode == "max" else table[::2] + table[1::2]
    assert flambeau.equal(y, want.repeat(count // 25, 1))


@pytest.mark.parametrize("dtype", ["int64", "int32"])
@pytest.mark.parametrize("padding", [None, 3])
@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_bags_of_any_sizes(mode: str, padding: int | None, dtype: str) -> None:
    """Against a loop in float64: columns that fill vectors or not, empty bags, a table that is not contiguous."""
    r = np.random.default_rng(1)
    for n, count, size in (
        (1, 1, 1),
        (7, 3, 16),
        (50, 9, 70),
        (900, 40, 64),
        (901, 41, 65),
        (5000, 300, 130),
    ):
        table, index = r.standard_normal((size, 20)).T, r.integers(0, 20, n)
        begins = np.sort(np.concatenate([[0], r.integers(0, n + 1, count - 1)]))
        factors = r.standard_normal((count, size))
        want, slope = np.zeros((count, size)), np.zeros((20, size))
        for b, (lo, hi) in enumerate(zip(begins, [*begins[1:], n])):
            rows = [i for i in index[lo:hi] if i != padding]
            number = max(len(rows), 1) if mode == "mean" else 1
            for i in rows:
                want[b] += table[i] / number
                slope[i] += factors[b] / number
        w = flambeau.tensor(np.ascontiguousarray(table.T)).t().requires_grad_()
        i, o = (flambeau.tensor(a).to(getattr(flambeau, dtype)) for a in (index, begins))
        y = flambeau.nn.functional.embedding_bag(i, w, o, mode=mode, padding_idx=padding)
        y.backward(flambeau.tensor(factors))
        np.testing.assert_allclose(y.detach().numpy(), want, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(w.grad.numpy(), slope, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_gradients_of_gradients(mode: str) -> None:
    w = flambeau.tensor(np.random.default_rng(0).standard_normal((6, 5)), requires_grad=True)
    i, o = flambeau.tensor([1, 2, 2, 5, 0]), flambeau.tensor([0, 2, 2])
    f = lambda w: flambeau.nn.functional.embedding_bag(i, w, o, mode=mode, padding_idx=2) ** 2
    assert flambeau.autograd.gradcheck(f, (w,)) and flambeau.autograd.gradgradcheck(f, (w,))


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    "index, begins, what",
    [
        ([1, 9], [0], "9 is"),
        ([-1], [0], "-1 is"),
        ([1, 2], [1], "1 is"),
        ([1], [0, 9], "0 is"),
        ([1, 2], [0, 2, 1], "2 is"),
    ],
)
def test_refused(index: list[int], begins: list[int], what: str, late: bool) -> None:
    """Also where nobody reads the result, and in front of what is written to memory that exists."""
    w, out = flambeau.ones(6, 2), flambeau.zeros(2)
    flambeau.synchronize()
    i = flambeau.tensor(index) + 0 if late else flambeau.tensor(index)
    with pytest.raises(IndexError, match=what):
        flambeau.nn.functional.embedding_bag(i, w, flambeau.tensor(begins), mode="sum")
        out.add_(1)
        flambeau.synchronize()
    assert out.tolist() == [0, 0]


@pytest.mark.parametrize("padding", [None, 2])
def test_weighted_bags_have_gradients_of_both_orders(padding: int | None) -> None:
    """Of the table and of the numbers, which index_add over the rows gives as well."""
    flambeau.manual_seed(0)
    table = flambeau.rand(5, 3, dtype=flambeau.float64, requires_grad=True)
    weights = flambeau.rand(6, dtype=flambeau.float64, requires_grad=True)
    index, starts = flambeau.tensor([0, 2, 2, 4, 1, 0]), flambeau.tensor([0, 3, 3])

    def bags(t: Any, w: Any) -> Any:
        options = {"per_sample_weights": w, "padding_idx": padding}
        return flambeau.nn.functional.embedding_bag(index, t, starts, mode="sum", **options)

    kept = flambeau.ones(6, dtype=flambeau.float64) if padding is None else (index != padding).double()
    rows = (table[index] * (weights * kept)[:, None]).detach()
    expected = flambeau.stack([rows[:3].sum(0), rows[:0].sum(0), rows[3:].sum(0)])
    flambeau.testing.assert_close(bags(table, weights).detach(), expected)
    assert flambeau.autograd.gradcheck(bags, (table, weights))
    assert flambeau.autograd.gradgradcheck(bags, (table, weights))
