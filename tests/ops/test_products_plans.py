"""What products become: kernels without copies, long activations within them, sums where no product is needed."""

from __future__ import annotations

from typing import Any

import pytest

import flambeau as ft
from flambeau.loop.recipes import planning
from flambeau.nn import functional as F
from flambeau.stream import products
from flambeau.stream.backend import current


def titles(call: Any) -> list[str]:
    return [kernel.title for kernel in ft.explain(call).kernels]


@pytest.mark.parametrize("name", ["gelu", "silu", "mish", "tanh"])
def test_activations_are_computed_with_the_product(name: str, capsys: Any) -> None:
    x, w, b = ft.randn(9, 20), ft.randn(12, 20), ft.randn(12)
    activation = {"tanh": lambda y: F.gelu(y, approximate="tanh")}.get(name) or getattr(F, name)
    want = activation(F.linear(x, w, b)).tolist()
    found = ft.explain(lambda: activation(F.linear(x, w, b)))
    assert len(found.kernels) == 1
    assert found.result.tolist() == want
    assert "tile" in capsys.readouterr().out


def test_heads_beside_batches_are_not_copied() -> None:
    q, k = ft.randn(2, 6, 3, 8), ft.randn(2, 5, 3, 8)
    found = ft.explain(lambda: ft.einsum("bqhd,bkhd->bhqk", q, k))
    assert [kernel.title for kernel in found.kernels] == ["contract"]
    copies = q.transpose(1, 2).contiguous() @ k.permute(0, 2, 3, 1).contiguous()
    assert found.result.tolist() == copies.tolist()


def test_single_products_and_dot_products_fuse() -> None:
    x, y = ft.randn(7, 1), ft.randn(1, 9)
    assert len(titles(lambda: (x @ y + 1).relu())) == 1
    u, v = ft.randn(50), ft.randn(50)
    assert len(titles(lambda: (u @ v) * 2)) == 1
    exact = sum(a * b for a, b in zip(u.tolist(), v.tolist()))
    assert float(u @ v) == pytest.approx(exact, rel=1e-4, abs=1e-4)
    assert (x @ y).tolist() == (x * y).tolist()


def test_the_order_of_a_chain() -> None:
    from flambeau.ops.products import cheapest_cuts

    assert cheapest_cuts([10, 100, 5, 50])[0, 2] == 1
    assert cheapest_cuts([30, 35, 15, 5, 10, 20, 25])[0, 5] == 2  # the book's example
    a, b, c = ft.randn(10, 100), ft.randn(100, 5), ft.randn(5, 50)
    assert ft.linalg.multi_dot([a, b, c]).tolist() == ((a @ b) @ c).tolist()


def test_as_many_tiles_of_rows_have_one_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel for any number of rows is planned once for each number of its tiles, with the numbers of each m."""
    for name in ("SEEN", "PLANS", "ROWS", "PANELS"):
        monkeypatch.setattr(products, name, {})
    asked: list[int] = []
    plan = planning.plan
    monkeypatch.setattr(planning, "plan", lambda m, *rest, **more: asked.append(m) or plan(m, *rest, **more))
    kinds = ("f32", "f32", True, False, "", True)
    target, threads = current().target(), current().get_num_threads()
    for m in range(1, 200):
        strides = planning.Strides(24 * m, 24, 1, 0, 1, 24, 40 * m, 40, 1)
        found = products.again(kinds, m, 40, 24, 1, *strides)
        assert found == plan(m, 40, 24, 1, strides, "f32", target, threads, generic=True), m
    assert len(asked) <= 1 + 199 // found.spec.rows + 1


def test_a_matrix_by_a_vector_is_one_instruction() -> None:
    w, v = ft.randn(5, 7, requires_grad=True), ft.randn(7, requires_grad=True)
    y = w @ v
    assert y.grad_fn.name() == "MvBackward0"
    assert ft.equal(y, (w @ v[:, None])[:, 0]) and ft.equal(y, ft.matmul(w, v))
    gw, gv = ft.autograd.grad((y * ft.arange(5.0)).sum(), (w, v))
    assert ft.allclose(gw, ft.outer(ft.arange(5.0), v)) and ft.allclose(gv, w.T @ ft.arange(5.0))
    with ft.autocast("cpu"):
        assert (w @ v).dtype is ft.bfloat16
    rows = ft.randn(3, 7)
    assert ft.allclose(ft.vmap(lambda r: w.detach() @ r)(rows), rows @ w.detach().T, atol=1e-6)
    with pytest.raises(RuntimeError, match=r"size mismatch, got input \(5\), mat \(5x7\), vec \(4\)"):
        w @ ft.ones(4)
