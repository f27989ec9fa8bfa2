"""Indexing, gather and scatter, counting and searching, beside PyTorch."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau

torch = pytest.importorskip("torch")

INDICES: dict[str, Callable[[Any], Any]] = {
    "tensor": lambda t: t.tensor([0, 2, -1]),
    "list": lambda t: [1, 1, 0],
    "two": lambda t: (t.tensor([[0, 1], [2, 0]]), t.tensor([1, 3])),
    "apart": lambda t: (t.tensor([0, 2]), slice(None), t.tensor([1, 0])),
    "inner": lambda t: (slice(1, None), t.tensor([[0, 3]])),
    "number": lambda t: (1, t.tensor([2, 0])),
    "none": lambda t: (None, t.tensor([0]), ..., t.tensor([1])),
    "mask": lambda t: t.tensor([True, False, True]),
    "mask2": lambda t: (t.arange(12).reshape(3, 4) % 3) == 0,
    "mask and slice": lambda t: (slice(None), t.tensor([True, False, False, True]), 1),
    "zero-dim": lambda t: t.tensor(2),
    "empty": lambda t: t.tensor([], dtype=t.int64),
    "true": lambda t: True,
}


def test_views_without_history_are_those_with() -> None:
    """Numbers, slices, None and Ellipsis in one step or one by one, and as PyTorch's: geometry and errors."""
    chance = random.Random(0)

    def bound() -> int | None:
        return chance.choice([None, *range(-6, 7)])

    def item() -> Any:
        part = slice(bound(), bound(), chance.choice([None, 1, 2, 3]))
        return chance.choice([part, part, chance.randrange(-5, 5), None, ...])

    def seen(t: Any, shape: list[int], order: list[int], index: Any, history: bool) -> Any:
        x = t.arange(float(np.prod(shape))).reshape(shape).permute(order).requires_grad_(history)
        try:
            y = x[index]
        except IndexError:
            return IndexError
        return tuple(y.shape), y.stride(), y.storage_offset(), y._base is not None or history

    for _ in range(600):
        shape = [chance.randrange(5) for _ in range(chance.randrange(1, 5))]
        order = chance.sample(range(len(shape)), len(shape))
        index = tuple(item() for _ in range(chance.randrange(5))) if chance.random() < 0.8 else item()
        want = seen(torch, shape, order, index, False)
        assert seen(flambeau, shape, order, index, False) == want, (shape, order, index)
        assert seen(flambeau, shape, order, index, True) == want, (shape, order, index)


@pytest.mark.parametrize("name", INDICES)
def test_reading_writing_and_gradients(name: str) -> None:
    results = []
    for t in (flambeau, torch):
        a = t.arange(24.0).reshape(3, 4, 2).requires_grad_()
        i = INDICES[name](t)
        y = a[i]
        (y * y).sum().backward()
        b = (a * 1).detach()
        b[i] = -1.0
        c = a * 1
        c[i] = t.ones(y.shape) * 5
        c.sum().backward()
        results.append((y.detach().numpy(), b.numpy(), c.detach().numpy(), a.grad.numpy()))
    for got, want in zip(*results):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    ("index", "exc", "words"),
    [
        (3, IndexError, "index 3 is out of bounds for dimension 0 with size 3"),
        ((0, 0, 0), IndexError, "too many indices"),
        ((..., ..., 0), IndexError, "out of bounds for dimension 2 with size 0"),
        ("a", TypeError, "invalid data type"),
        (slice(None, None, -1), ValueError, "step must be greater than zero"),
        (1.5, IndexError, "only integers"),
    ],
)
def test_errors_of_indices(index: Any, exc: type[Exception], words: str) -> None:
    with pytest.raises(exc, match=words):
        flambeau.zeros(3, 4)[index]


def test_index_tensors_out_of_range_fail_in_the_call() -> None:
    x, bad = flambeau.zeros(3, 4), flambeau.tensor([0, 3])
    with pytest.raises(IndexError, match=r"index 3 is out of bounds for dimension 0 with size 3.*position 1"):
        x[bad]
    with pytest.raises(IndexError, match="index 3"):
        x[bad] = 1.0
    with pytest.raises(RuntimeError, match="index 3 is out of bounds"):
        x.gather(0, bad.reshape(1, 2))
    with pytest.raises(RuntimeError, match="index -1 is out of bounds"):
        x.scatter_(0, flambeau.tensor([[-1]]), 1.0)
    assert x.abs().sum().item() == 0


def test_index_computed_later_fails_when_the_value_is_needed() -> None:
    x, bad = flambeau.zeros(3, 4), flambeau.tensor([0, 2]) + 1
    with pytest.raises(IndexError, match="index 3 is out of bounds"):
        x[bad].sum().item()


WRITES: dict[str, Callable[[Any, Any, Any, Any], Any]] = {
    "scatter": lambda t, x, i, s: x.scatter(0, t.tensor([[0, 1, 2], [1, 2, 0]]), s[:2, :3]),
    "scatter value": lambda t, x, i, s: x.scatter(1, i[:3].reshape(-1, 1), 2.5),
    "scatter_add": lambda t, x, i, s: x.scatter_add(1, i.expand(3, 4), s),
    "sum": lambda t, x, i, s: x.scatter_reduce(1, i.expand(3, 4), s, "sum"),
    "prod": lambda t, x, i, s: x.scatter_reduce(1, i.expand(3, 4), s, "prod"),
    "mean": lambda t, x, i, s: x.scatter_reduce(1, i.expand(3, 4), s, "mean", include_self=False),
    "amax": lambda t, x, i, s: x.scatter_reduce(0, i.expand(3, 4) % 3, s, "amax"),
    "amin": lambda t, x, i, s: x.scatter_reduce(1, i.expand(3, 4), s, "amin", include_self=False),
    "index_add": lambda t, x, i, s: x.index_add(1, i, s, alpha=2),
    "index_copy": lambda t, x, i, s: x.index_copy(1, t.tensor([2, 0, 3, 1]), s),
    "index_fill": lambda t, x, i, s: x.index_fill(1, i, 3.0),
    "index_put": lambda t, x, i, s: x.index_put((i % 3, i), s[0], accumulate=True),
    "put": lambda t, x, i, s: x.put(i, s[0], accumulate=True),
    "masked_scatter": lambda t, x, i, s: x.masked_scatter(x > 0, s),
    "gather": lambda t, x, i, s: x.gather(1, i.expand(3, 4)),
    "index_select": lambda t, x, i, s: x.index_select(1, i),
    "take": lambda t, x, i, s: x.take(i * 2),
    "take_along_dim": lambda t, x, i, s: t.take_along_dim(x, i.reshape(1, 4), 1),
    "masked_select": lambda t, x, i, s: x.masked_select(x > 0),
    "embedding": lambda t, x, i, s: t.nn.functional.embedding(i % 3, x, padding_idx=1),
}


@pytest.mark.parametrize("name", WRITES)
def test_gather_and_scatter(name: str) -> None:
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal((3, 4)).astype(np.float32), rng.standard_normal((3, 4)).astype(np.float32)
    results = []
    for t in (flambeau, torch):
        x, s = t.tensor(a).requires_grad_(), t.tensor(b).requires_grad_()
        y = WRITES[name](t, x, t.tensor([3, 0, 0, 2]), s)
        (y * y).sum().backward()
        results.append((y.detach().numpy(), x.grad.numpy(), None if s.grad is None else s.grad.numpy()))
    for got, want in zip(*results):
        if want is not None:
            np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-6)


def test_many_that_meet_add_up_in_order() -> None:
    rng = np.random.default_rng(0)
    index, rows = rng.integers(0, 50, 4000), rng.standard_normal((4000, 64)).astype(np.float32)
    want = np.zeros((50, 64), np.float32)
    for i, row in zip(index, rows):
        want[i] += row
    got = flambeau.zeros(50, 64).index_add_(0, flambeau.tensor(index), flambeau.tensor(rows))
    np.testing.assert_array_equal(got.numpy(), want)


def test_counts_and_searches() -> None:
    for t in (flambeau, torch):
        v, inv, counts = t.unique(t.tensor([3, 1, 2, 1]), return_inverse=True, return_counts=True)
        assert (v.tolist(), inv.tolist(), counts.tolist()) == ([1, 2, 3], [2, 0, 1, 0], [2, 1, 1])
        assert t.unique_consecutive(t.tensor([1, 1, 2, 1])).tolist() == [1, 2, 1]
        assert t.bincount(t.tensor([0, 1, 1, 3]), minlength=5).tolist() == [1, 2, 0, 1, 0]
        assert t.histc(t.tensor([1.0, 2, 1, 3]), 4, 0, 3).tolist() == [0, 2, 1, 1]
        edges = t.tensor([1.0, 3, 5, 7])
        assert t.searchsorted(edges, t.tensor([0.0, 3, 8])).tolist() == [0, 1, 4]
        assert t.bucketize(t.tensor([3.0, float("nan")]), edges, right=True).tolist() == [2, 4]
        assert t.isin(t.arange(4), t.tensor([1, 3])).tolist() == [False, True, False, True]
        assert t.nn.functional.one_hot(t.tensor([0, 2])).tolist() == [[1, 0, 0], [0, 0, 1]]
        assert t.nonzero(t.tensor([[0, 1], [2, 0]])).tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize(
    "to",
    [{"scale_factor": 2}, {"scale_factor": 1.7}, {"size": 5}, {"scale_factor": 0.4}, {"scale_factor": 9}],
)
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "linear", "bilinear", "bicubic", "trilinear"])
def test_interpolation_and_its_gradient(mode: str, to: dict[str, Any], kind: str) -> None:
    """Up, down and far up, where the gradient is scattered."""
    dims = {"linear": 1, "trilinear": 3}.get(mode, 2)
    a = np.random.default_rng(0).standard_normal((2, 3, *range(7, 7 + dims))).astype(kind)
    for corners in (None,) if mode[0] == "n" else (False, True):
        found = []
        for t in (flambeau, torch):
            x = t.tensor(a, requires_grad=True)
            y = t.nn.functional.interpolate(x, mode=mode, align_corners=corners, **to)
            weight = t.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)
            (y * weight).sum().backward()
            found.append((y.detach().numpy(), x.grad.numpy()))
        for got, want in zip(*found, strict=True):
            np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize(
    "shape, to", [((16, 20), 0.5), ((64, 30), (5, 6)), ((7, 5), (20, 11)), ((90, 9), (10, 30))]
)
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_interpolation_with_wide_taps(mode: str, shape: tuple[int, int], to: Any, kind: str) -> None:
    """antialias: by a few taps, or, where there are many, by a matrix."""
    a = np.random.default_rng(0).standard_normal((2, 3, *shape)).astype(kind)
    how = {"scale_factor": to} if isinstance(to, float) else {"size": to}
    for corners in (False, True):
        found = []
        for t in (flambeau, torch):
            x = t.tensor(a, requires_grad=True)
            y = t.nn.functional.interpolate(x, mode=mode, align_corners=corners, antialias=True, **how)
            (y * t.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)).sum().backward()
            found.append((y.detach().numpy(), x.grad.numpy()))
        for got, want in zip(*found, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-5 if kind == "float32" else 1e-6, atol=3e-6)


def test_interpolation_has_second_derivatives_and_whole_images() -> None:
    F = flambeau.nn.functional
    x = flambeau.randn(1, 2, 4, 5, dtype=flambeau.float64).requires_grad_()
    for mode in ("nearest", "bilinear", "bicubic"):
        assert flambeau.autograd.gradcheck(lambda x, m=mode: F.interpolate(x, scale_factor=2, mode=m), (x,))
        assert flambeau.autograd.gradgradcheck(
            lambda x, m=mode: F.interpolate(x, scale_factor=2, mode=m), (x,)
        )
    image = np.random.default_rng(0).integers(0, 256, (1, 3, 8, 8)).astype(np.uint8)
    for mode, off in (("nearest", 0), ("bilinear", 1)):
        got = F.interpolate(flambeau.tensor(image), scale_factor=2, mode=mode).numpy().astype(int)
        want = torch.nn.functional.interpolate(torch.tensor(image), scale_factor=2, mode=mode).numpy()
        assert abs(got - want).max() <= off


@pytest.mark.parametrize("dim", [0, 1, 2])
@pytest.mark.parametrize("shape", [(40, 7, 130), (3, 65, 40), (1, 300, 200)])
def test_equal_places_are_written_in_order_along_every_axis(shape: tuple[int, ...], dim: int) -> None:
    """Whichever axis is walked innermost, and however parts share the others: the sums are those of a loop."""
    rng = np.random.default_rng(dim)
    a, s = rng.standard_normal((2, *shape)).astype("f")
    i = rng.integers(0, min(shape[dim], 5), shape)
    want, last = a.copy(), a.copy()
    moved = [np.moveaxis(x, dim, 0) for x in (want, last, s, i)]
    for source, at in zip(*moved[2:], strict=True):
        for d, new in ((moved[0], np.take_along_axis(moved[0], at[None], 0)[0] + source), (moved[1], source)):
            np.put_along_axis(d, at[None], new[None], 0)
    for strided in (False, True):
        x, y, k = (flambeau.tensor(v) for v in (a, s, i))
        if strided:
            x, y, k = (flambeau.stack([v, v], -1)[..., 0] for v in (x, y, k))
        assert (x.scatter_add(dim, k, y).numpy() == want).all()
        assert (x.scatter(dim, k, y).numpy() == last).all()


@pytest.mark.parametrize(
    "shape", [(1, 600), (600, 1), (30, 40), (1, 30, 1, 40), (8, 16, 16), (0, 700), (2, 1, 300)]
)
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_places_of_many_elements(shape: tuple[int, ...], share: float) -> None:
    a = np.random.default_rng(0).random(shape) < share
    x = torch.tensor(a.tolist(), dtype=torch.bool).reshape(shape)
    assert np.array_equal(torch.nonzero(x).numpy(), np.argwhere(a))
    assert all(np.array_equal(p.numpy(), q) for p, q in zip(torch.nonzero(x, as_tuple=True), a.nonzero()))
    values = np.arange(a.size, dtype=np.float32).reshape(shape)
    assert np.array_equal(torch.from_numpy(values)[x].numpy(), values[a])
    turned = torch.from_numpy(values).transpose(0, -1)[x.transpose(0, -1)]
    assert np.array_equal(turned.numpy(), values.swapaxes(0, -1)[a.swapaxes(0, -1)])


@pytest.mark.parametrize("bad", [9, -1, 1000])
@pytest.mark.parametrize(
    "shape, view",
    [
        ((40, 50), lambda i: i),
        ((40, 50), lambda i: i.t()),
        ((40, 50), lambda i: i[::2, ::3]),
        ((3, 40, 50), lambda i: i[:, ::2]),
        ((7,), lambda i: i),
    ],
)
def test_the_place_of_a_bad_index_in_any_layout(shape: Any, view: Any, bad: int) -> None:
    rng = np.random.default_rng(0)
    base = flambeau.tensor(rng.integers(0, 9, shape)) + 0
    a = np.array(view(base).tolist())
    at = int(rng.integers(0, a.size))
    a.reshape(-1)[at] = bad
    i = view(base)
    i.copy_(flambeau.tensor(a))
    with pytest.raises((IndexError, RuntimeError), match=f"index {bad} is .* at position {at};"):
        flambeau.zeros(9, *a.shape[1:]).scatter_add(0, i, flambeau.ones(*a.shape)).sum().item()


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "float32", "float64", "bfloat16"])
@pytest.mark.parametrize("count", [1, 3, 1000])
def test_many_elements_that_meet_in_few_places(count: int, dtype: str) -> None:
    """Where their order makes no difference all threads take some, each into a copy: as one after the other."""
    rng, whole = np.random.default_rng(count), dtype[0] in "iu"
    at, x = rng.integers(0, count, 100_001), rng.integers(0 if dtype == "uint8" else -50, 50, 100_001)
    place, given = (
        flambeau.tensor(at),
        flambeau.tensor(x / 1.0 if whole else x / 3.0).to(getattr(flambeau, dtype)),
    )
    if not whole:
        given[77], given[1] = float("nan"), -0.0
    read: Callable[[Any], Any] = lambda t: t.numpy() if whole else t.double().numpy()
    modes = {"amax": np.maximum, "amin": np.minimum} | ({"sum": np.add, "prod": np.multiply} if whole else {})
    for mode, combine in modes.items():
        start = flambeau.full((2 * count,), 3, dtype=given.dtype)[::2]
        expected = read(start).copy()
        with np.errstate(all="ignore"):
            combine.at(expected, at, read(given))
        found = start.scatter_reduce(0, place, given, mode)
        assert np.array_equal(read(found), expected, equal_nan=not whole)
        start.scatter_reduce_(0, place - 0, given, mode)
        assert np.array_equal(read(start), expected, equal_nan=not whole)
    many = flambeau.zeros(count, dtype=flambeau.int64)
    many.index_put_((place - count,), flambeau.tensor(1), accumulate=True)
    assert np.array_equal(many.numpy(), np.bincount(at, minlength=count))
    assert np.array_equal(place.bincount(minlength=count + 5).numpy(), np.bincount(at, minlength=count + 5))
    with pytest.raises(RuntimeError):
        (place - count - 1).bincount()
    with pytest.raises(RuntimeError):
        many.scatter_reduce(0, place + 1, flambeau.ones_like(place), "sum").tolist()
