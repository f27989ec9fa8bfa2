"""nonzero and masks as indices: the builtin that finds places against NumPy, and the way without it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau.device import cpython
from flambeau.ops import builtins, gather, places

SHAPES = [
    (1,),
    (5,),
    (16,),
    (1000,),
    (3, 5),
    (40, 33),
    (1, 7),
    (7, 1),
    (2, 3, 4),
    (5, 1, 3, 17),
    (0,),
    (3, 0),
    (0, 4),
]


@pytest.fixture(params=["builtin", "numpy"], autouse=True)
def way(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "builtin":
        if not cpython.supported():
            pytest.skip("another interpreter")
        builtins.install()
        assert "places" in places.BUILTINS
    else:
        builtins.remove()
    yield
    builtins.install()


def masks(shape: Any) -> Iterator[np.ndarray]:
    draw = np.random.default_rng(3)
    for share in (0, 0.01, 0.5, 1):
        yield draw.random(shape) < share


@pytest.mark.parametrize("shape", SHAPES)
def test_places_are_numpys(shape: Any) -> None:
    for mask in masks(shape):
        t = torch.tensor(mask)
        rows, apart = torch.nonzero(t), torch.nonzero(t, as_tuple=True)
        assert rows.dtype is torch.int64 and rows.is_contiguous()
        assert np.array_equal(rows.numpy(), np.argwhere(mask)) and rows.shape == np.argwhere(mask).shape
        assert len(apart) == mask.ndim
        assert all(np.array_equal(a.numpy(), b) for a, b in zip(apart, mask.nonzero()))
        x = np.arange(mask.size, dtype=np.float32).reshape(shape)
        assert np.array_equal(torch.tensor(x)[t].numpy(), x[mask])
        assert np.array_equal(torch.masked_select(torch.tensor(x), t).numpy(), x[mask])


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "int8", "int64", "uint8", "complex64"])
def test_every_dtype_and_views(dtype: str) -> None:
    x = torch.tensor([[0, 2, 0, -0.0], [1, 0, 0, 3], [0, 0, 0, 4]]).to(getattr(torch, dtype))
    dense = np.array([[0, 2, 0, 0], [1, 0, 0, 3], [0, 0, 0, 4]])
    for a, b in ((x, dense), (x.t(), dense.T), (x[:, ::2], dense[:, ::2]), (x[1:, 1:], dense[1:, 1:])):
        assert np.array_equal(torch.nonzero(a).numpy(), np.argwhere(b))
    assert np.array_equal(
        torch.nonzero(x[1].expand(3, 4)).numpy(), np.argwhere(np.broadcast_to(dense[1], (3, 4)))
    )


def test_special_cases() -> None:
    assert torch.nonzero(torch.tensor(2.0)).shape == (1, 0) and torch.nonzero(torch.tensor(0)).shape == (0, 0)
    assert [p.tolist() for p in torch.nonzero(torch.tensor(2.0), as_tuple=True)] == [[0]]
    nan = torch.tensor([float("nan"), 0.0, float("inf")])
    assert torch.nonzero(nan).tolist() == [[0], [2]]
    out = torch.empty(0, dtype=torch.int64)
    torch.nonzero(torch.tensor([0, 1, 1]), out=out)
    assert out.tolist() == [[1], [2]]
    with torch.inference_mode():
        assert torch.nonzero(torch.tensor([0, 1]))[0, 0].item() == 1


def test_nothing_is_written_behind_the_places() -> None:
    mask = torch.zeros(64, dtype=torch.bool)
    mask[:3] = True
    for _ in range(50):  # blocks of the same size lie beside each other
        kept = [torch.full((3,), 7) for _ in range(4)]
        found = [torch.nonzero(mask, as_tuple=True)[0] for _ in range(4)]
        assert all(t.tolist() == [7] * 3 for t in kept) and all(t.tolist() == [0, 1, 2] for t in found)


def test_gradients_of_what_a_mask_selects() -> None:
    x = torch.arange(12.0).reshape(3, 4).requires_grad_()
    (x[x > 5] * 2).sum().backward()
    assert x.grad.tolist() == [[0] * 4, [0, 0, 2, 2], [2] * 4]
    assert gather.coordinates(np.ones((2, 2)))[1].tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [0, 1, 7, 5003])
@pytest.mark.parametrize(
    "bins", [3, [-1.0, 0.0, 0.5, 2.0], [0.0, 3.0, -1.0, 1.0, 2.0], [-1.0, np.nan, 0.5, 2.0]]
)
def test_histograms(dtype: str, n: int, bins: Any) -> None:
    """Counts and weights in bins, also of edges out of order, as a search by halves finds them."""
    a = (np.random.default_rng(0).standard_normal(2 * n) * 2).astype(dtype)
    a[8:11] = [np.nan, np.inf, -0.5][: len(a[8:11])]
    a[:2] = 2.0
    x, w = torch.tensor(a)[::2], torch.tensor(np.arange(n).astype(dtype) % 3)
    edges = np.linspace(-1, 2, 4) if bins == 3 else np.array(bins)
    at = np.array([sum(_right(edges, v)) for v in a[::2]], np.int64)
    inside = (a[::2] >= edges[0]) & (a[::2] <= edges[-1])
    place = np.clip(at - 1, 0, len(edges) - 2)[inside]
    given = {"bins": 3, "range": (-1.0, 2.0)} if bins == 3 else {"bins": torch.tensor(edges.astype(dtype))}
    for weight in (None, w):
        want = np.bincount(
            place, None if weight is None else weight.numpy()[inside], minlength=len(edges) - 1
        )
        found, ends = torch.histogram(x, weight=weight, **given)
        np.testing.assert_array_equal(found.numpy(), want.astype(dtype))
        np.testing.assert_allclose(ends.numpy(), edges, rtol=1e-6)
    if n and bins == 3:
        pairs = torch.stack([x, w], 1)
        found = torch.histogramdd(pairs, [3, 2], range=(-1.0, 2.0, 0.0, 2.0))[0].numpy()
        ok = inside & np.isfinite(a[::2])
        want, _, _ = np.histogram2d(a[::2][ok], w.numpy()[ok], [edges, np.linspace(0, 2, 3)])
        np.testing.assert_array_equal(found, want)


def _right(edges: Any, v: Any) -> list[int]:
    """The steps to the right that a search by halves takes: as many as there are in front of v."""
    first, count, steps = 0, len(edges), [0]
    while count:
        step = count // 2
        if not v < edges[first + step]:
            steps.append(step + 1)
            first, count = first + step + 1, count - step - 1
        else:
            count = step
    return steps


def test_histograms_without_bins_are_refused() -> None:
    x = torch.randn(10)
    for bins, text in (
        (torch.tensor([1.0]), "bins must be > 0"),
        (torch.zeros(0), "at least 1 element"),
        (0, "must be > 0"),
    ):
        with pytest.raises(RuntimeError, match=text):
            torch.histogram(x, bins)
