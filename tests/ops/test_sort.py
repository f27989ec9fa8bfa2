"""Sorting, selection and running sums, beside PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flambeau

torch = pytest.importorskip("torch")


def sample(shape: tuple[int, ...], kind: Any) -> np.ndarray:
    a = (np.random.default_rng(7).standard_normal(shape) * 5).astype(kind)
    if a.dtype.kind == "f":
        a.flat[2], a.flat[3], a.flat[4] = np.nan, -0.0, 0.0
    return a


def same(got: Any, want: Any) -> None:
    np.testing.assert_array_equal(got.numpy(), want.numpy())


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, np.int32, np.uint8])
@pytest.mark.parametrize(("shape", "dim"), [((37,), 0), ((5, 33), 0), ((4, 19, 3), 1), ((3, 40), -1)])
def test_order(kind: Any, shape: tuple[int, ...], dim: int) -> None:
    a = sample(shape, kind)
    x, y = flambeau.tensor(a), torch.tensor(a)
    for descending in (False, True):
        got, want = x.sort(dim, descending, stable=True), y.sort(dim=dim, descending=descending, stable=True)
        same(got[0], want[0])
        same(got[1], want[1])
    same(x.topk(3, dim)[0], y.topk(3, dim)[0])
    same(x.kthvalue(2, dim)[0], y.kthvalue(2, dim)[0])
    same(x.median(dim)[0], y.median(dim)[0])
    for name in ("cummax", "cummin"):
        got, want = getattr(x, name)(dim), getattr(y, name)(dim)
        same(got[0], want[0])
        same(got[1], want[1])


@pytest.mark.parametrize("name", ["cumsum", "cumprod", "logcumsumexp"])
@pytest.mark.parametrize(("shape", "dim"), [((9,), 0), ((5, 33), 0), ((4, 7, 3), 1), ((3, 40), -1)])
def test_running(name: str, shape: tuple[int, ...], dim: int) -> None:
    a = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    x, y = flambeau.tensor(a).requires_grad_(), torch.tensor(a).requires_grad_()
    got, want = getattr(x, name)(dim), getattr(y, name)(dim)
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=1e-5, atol=1e-6)
    (got * got).sum().backward()
    (want * want).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-4, atol=1e-4)


def test_products_with_zeros_have_gradients() -> None:
    grads = []
    for t in (flambeau, torch):
        x = t.tensor([2.0, 0.0, 3.0, 0.0, 5.0], requires_grad=True)
        (t.cumprod(x, 0) * t.arange(1.0, 6.0)).sum().backward()
        grads.append(x.grad.tolist())
    assert grads[0] == grads[1]


@pytest.mark.parametrize("name", ["sort", "topk", "kthvalue", "median", "mode", "cummax", "msort"])
def test_gradients_go_where_the_elements_came_from(name: str) -> None:
    grads = []
    for t in (flambeau, torch):
        x = t.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 4.0]], requires_grad=True)
        y = {
            "topk": lambda: x.topk(2, 1)[0],
            "kthvalue": lambda: x.kthvalue(2, 1)[0],
            "cummax": lambda: t.cummax(x, 1)[0],
            "msort": lambda: t.msort(x),
        }.get(name, lambda: getattr(x, name)(1)[0])()
        (y * t.arange(1.0, y.numel() + 1).reshape(y.shape)).sum().backward()
        grads.append(x.grad.tolist())
    assert grads[0] == grads[1]


def test_long_rows_in_parts() -> None:
    a = np.random.default_rng(2).standard_normal((40, 1000)).astype(np.float32)
    values, places = flambeau.tensor(a).sort(1)
    np.testing.assert_array_equal(places.numpy(), np.argsort(a, 1, kind="stable"))
    np.testing.assert_array_equal(values.numpy(), np.sort(a, 1))
    np.testing.assert_allclose(
        flambeau.tensor(a).cumsum(1).numpy(), np.cumsum(a, 1, dtype=np.float64), rtol=1e-5, atol=1e-5
    )


def test_differences_and_integrals() -> None:
    for t in (flambeau, torch):
        x = t.tensor([1.0, 4.0, 9.0, 16.0])
        assert t.diff(x).tolist() == [3, 5, 7] and t.diff(x, 2).tolist() == [2, 2]
        assert t.trapezoid(x).item() == 21.5
        assert t.cumulative_trapezoid(x, dx=2).tolist() == [5, 18, 43]
        assert t.nanmedian(t.tensor([1.0, float("nan"), 3.0])).item() == 1
        assert t.median(t.tensor([2.0, 1.0, 3.0, 4.0])).item() == 2


def test_errors() -> None:
    x = flambeau.zeros(3, 4)
    for call, words in (
        (lambda: x.topk(5), "selected index k out of range"),
        (lambda: x.kthvalue(0), "out of range"),
        (lambda: x.sort(2), "Dimension out of range"),
        (lambda: x.cumsum(3), "Dimension out of range"),
    ):
        with pytest.raises((RuntimeError, IndexError), match=words):
            call()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.int16, np.uint8])
@pytest.mark.parametrize("kind", ["spread", "ties", "nan"])
def test_long_rows(dtype: type, kind: str) -> None:
    """Rows that are sorted by radix, and their k first by each of the ways there are."""
    a = np.random.default_rng(0).standard_normal((2, 3000)) * 50
    a = (np.round(a / 25) if kind == "ties" else a).astype(dtype)
    if kind == "nan" and np.issubdtype(dtype, np.floating):
        a[:, ::3], a[:, 1::7] = np.nan, -0.0
    key = a.astype(np.float64)
    nan, x = np.isnan(key), flambeau.tensor(a)
    for descending in (False, True):
        keys = np.where(nan, 0, -key if descending else key)
        order = np.stack([np.lexsort((k, ~m if descending else m)) for k, m in zip(keys, nan)])
        values, places = flambeau.sort(x, dim=1, descending=descending)
        assert (places.numpy() == order).all()
        assert (values.numpy().tobytes()) == np.take_along_axis(a, order, 1).tobytes()
        for k in (5, 100, 750, 751, 2999):
            assert (flambeau.topk(x, k, largest=descending)[1].numpy() == order[:, :k]).all()
