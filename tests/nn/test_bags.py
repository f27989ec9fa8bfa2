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
