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


def bits(x: Any) -> bytes:
    """All that a tensor holds; the bits of NaN do not count."""
    a = x.double().numpy() if x.dtype.is_floating_point else x.numpy()
    return np.where(np.isnan(a), np.array(7, a.dtype), a).tobytes() if a.dtype.kind == "f" else a.tobytes()


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


KINDS = ["float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]


def both(kind: str, n: int, rows: int = 3) -> tuple[Any, Any]:
    """Equal tensors of a dtype, with repeated elements and, of floats, one NaN, infinities and both zeros."""
    y = (torch.randn(rows, n, generator=torch.Generator().manual_seed(3)) * 50).to(getattr(torch, kind))
    if y.dtype.is_floating_point and n > 20:
        y[0, 5], y[1, 7], y[1, 8], y[1, 3], y[1, 4] = float("nan"), float("inf"), float("-inf"), -0.0, 0.0
    wide = y.float() if kind == "bfloat16" else y
    return flambeau.tensor(wide.numpy()).to(getattr(flambeau, kind)), y


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 2, 37, 600, 9000])
def test_ranks_and_first_ones_are_those_of_the_sorted_rows(kind: str, n: int) -> None:
    x, y = both(kind, n)
    values, places = (v.tolist() for v in y.sort(dim=1, stable=True))
    for k in {1, (n + 1) // 2, n}:
        got = x.kthvalue(k, 1)
        assert got[1].tolist() == [row[k - 1] for row in places]
        np.testing.assert_array_equal(got[0].tolist(), [row[k - 1] for row in values])
        np.testing.assert_array_equal(x.t().kthvalue(k, 0, True)[1].tolist(), [got[1].tolist()])
    for name in ("median", "nanmedian"):
        if kind != "bool":
            np.testing.assert_array_equal(getattr(x, name)(1)[0].tolist(), getattr(y, name)(1)[0].tolist())
    for k in {1, min(n, 5), n // 8, n // 3}:
        for largest in (False, True):
            order = y.sort(dim=1, descending=largest, stable=True)[1][:, :k]
            assert x.topk(k, 1, largest)[1].tolist() == order.tolist()
            np.testing.assert_array_equal(
                x.t().topk(k, 0, largest)[0].t().tolist(), y.gather(1, order).tolist()
            )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [0, 1, 2, 37, 3000])
def test_unique(kind: str, n: int) -> None:
    def agree(got: Any, want: Any) -> None:
        for g, w in zip(got, want, strict=True):
            assert (tuple(g.shape), str(g.dtype)) == (tuple(w.shape), str(w.dtype))
            np.testing.assert_array_equal(g.tolist(), w.tolist())

    x, y = both(kind, n)
    for a, b in ((x, y), (x.t()[::2], y.t()[::2]), (x[1:2].expand(4, n), y[1:2].expand(4, n))):
        for flags in ({"return_inverse": True, "return_counts": True}, {"return_counts": True}):
            agree(flambeau.unique(a, **flags), torch.unique(b, **flags))
            if a.numel() != 1:  # where PyTorch leaves out the counts
                agree(flambeau.unique_consecutive(a, **flags), torch.unique_consecutive(b, **flags))
        agree((flambeau.unique(a),), (torch.unique(b),))


def test_order_of_u64_and_bits_of_zeros() -> None:
    given = np.array([2**63 + 5, 3, 2**64 - 1, 0, 3], np.uint64)
    assert flambeau.tensor(given).sort()[0].tolist() == sorted(given.tolist())
    assert flambeau.unique(flambeau.tensor(given)).tolist() == sorted(set(given.tolist()))
    values = flambeau.tensor([0.0, -0.0, 1.0, -0.0, -1.0]).sort()[0]
    assert values.signbit().tolist() == [True, False, True, True, False]


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


@pytest.mark.parametrize("kind", ["float32", "float64", "bfloat16", "int64", "uint8", "bool"])
@pytest.mark.parametrize("shape", [(23, 1100), (2, 6, 530), (38, 37), (33, 16)])
def test_running_values_are_those_of_each_row_alone(kind: str, shape: tuple[int, ...]) -> None:
    """In panels of columns and turned squares, whole and not, there and along memory: the bits of one row."""
    x, y = both(kind, shape[-1], int(np.prod(shape[:-1])))
    x = x.reshape(shape)
    scans: dict[str, Any] = {
        "cumsum": lambda v, d: (v.cumsum(d),),
        "cumprod": lambda v, d: (v.cumprod(d),),
        "cummax": lambda v, d: v.cummax(d),
        "cummin": lambda v, d: v.cummin(d),
        "logcumsumexp": lambda v, d: (v.logcumsumexp(d),) if y.dtype.is_floating_point else (),
    }
    for name, scan in scans.items():
        for dim in (-2, -1):
            rows, found = x.movedim(dim, 0), scan(x, dim)
            for at in {(0,) * (len(shape) - 1), tuple(n // 2 for n in rows.shape[1:])}:
                row = (slice(None), *at)
                for got, want in zip(found, scan(rows[row].clone(), 0)):
                    assert bits(got.movedim(dim, 0)[row]) == bits(want), (name, dim, at)


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


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 64, 1001])
@pytest.mark.parametrize("name", ["cumsum", "cumprod"])
def test_running_sums_have_one_order_along_every_axis(name: str, n: int) -> None:
    """Rows, columns and one long row: the same bits, those of float64 rounded once."""
    a = np.random.default_rng(n).standard_normal((n, 37)).astype("f")
    down = getattr(flambeau.tensor(a), name)(0).numpy()
    across = getattr(flambeau.tensor(np.ascontiguousarray(a.T)), name)(1).numpy()
    alone = [getattr(flambeau.tensor(a[:, k].copy()), name)(0).numpy() for k in (0, 36)]
    assert down.tobytes() == np.ascontiguousarray(across.T).tobytes()
    assert (down[:, [0, 36]] == np.stack(alone, 1)).all()
    want = getattr(np, name)(a.astype("d"), 0).astype("f")
    np.testing.assert_allclose(down, want, rtol=1.2e-7, atol=0)


@pytest.mark.parametrize("n", [127, 128, 255, 511, 512, 2047, 2048, 4095, 4096])
@pytest.mark.parametrize("kind", ["f", "q"])
def test_ways_of_sorting_change_with_the_length_of_rows(n: int, kind: str) -> None:
    """Merging, digits of 8 and of 11 bits, the first ones by sorting and by sieving: all stable."""
    a = (np.random.default_rng(n).standard_normal((3, n)) * 40).round().astype(kind)
    x = flambeau.tensor(a)
    for descending in (False, True):
        got = flambeau.sort(x, dim=1, descending=descending, stable=True)
        want = torch.sort(torch.tensor(a), dim=1, descending=descending, stable=True)
        assert (got[0].numpy() == want[0].numpy()).all()
        assert (got[1].numpy() == want[1].numpy()).all()
        first = flambeau.topk(x, 30, 1, largest=descending)
        assert (first[0].numpy() == want[0].numpy()[:, :30]).all()
        assert (np.take_along_axis(a, first[1].numpy(), 1) == first[0].numpy()).all()


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.float16, np.int64, np.uint8])
@pytest.mark.parametrize("order", ["random", "rising", "ties", "first NaN", "late NaN", "least"])
def test_running_extrema_of_long_rows(kind: Any, order: str) -> None:
    """Stretches with and without a new extremum, along memory and across it."""
    for shape in ((1,), (64,), (65,), (3, 200), (2, 150, 3)):
        a = (np.random.default_rng(3).standard_normal(shape) * 9).astype(kind)
        a = np.sort(a, -1) if order == "rising" else a // 9 if order == "ties" else a
        if a.dtype.kind == "f" and "NaN" in order:
            a.flat[0 if order == "first NaN" else a.size * 2 // 3] = np.nan
        if order == "least":
            a[:] = -np.inf if a.dtype.kind == "f" else 0
        for dim in range(a.ndim):
            for name in ("cummax", "cummin"):
                x, y = (getattr(T.tensor(a), name)(dim) for T in (flambeau, torch))
                same(x.values, y.values)
                same(x.indices, y.indices)


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
@pytest.mark.parametrize("descending", [False, True])
def test_long_rows_of_bytes_keep_the_order_of_equal_ones(kind: Any, descending: bool) -> None:
    info = np.iinfo(kind)
    for shape in ((128,), (3, 500), (2, 300, 3)):
        a = np.random.default_rng(5).integers(info.min, info.max + 1, shape).astype(kind)
        for dim in range(a.ndim):
            x, y = (T.tensor(a).sort(dim=dim, descending=descending, stable=True) for T in (flambeau, torch))
            same(x.values, y.values)
            same(x.indices, y.indices)
            k = min(a.shape[dim], 100)
            got = flambeau.tensor(a).topk(k, dim, descending)
            same(got.indices, y.indices.narrow(dim, 0, k))
