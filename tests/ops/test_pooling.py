"""Averages over windows that share out the input, beside the mean over the same elements as axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flambeau as torch
import flambeau.nn.functional as F


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("tiles", [(4, 4), (3, 4), (2, 8), (1, 16)])
def test_windows_that_tile(tiles: tuple[int, int], adaptive: bool) -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((2, 3, 16, 12))
    x = torch.tensor(a).transpose(2, 3).requires_grad_()  # 12 x 16, and not contiguous
    out = (12 // tiles[0], 16 // tiles[1])
    y = F.adaptive_avg_pool2d(x, out) if adaptive else F.avg_pool2d(x, tiles)
    g = rng.standard_normal(tuple(y.shape))
    y.backward(torch.tensor(g))
    parts = a.swapaxes(2, 3).reshape(2, 3, out[0], tiles[0], out[1], tiles[1])
    np.testing.assert_allclose(y.detach().numpy(), parts.mean((3, 5)), rtol=1e-12, atol=1e-12)
    want = np.repeat(np.repeat(g, tiles[0], 2), tiles[1], 3) / (tiles[0] * tiles[1])
    np.testing.assert_allclose(x.grad.numpy(), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "options", [{"stride": 2}, {"padding": 1}, {"divisor_override": 3}, {"ceil_mode": True}]
)
def test_other_windows_are_none_that_tile(options: dict[str, Any]) -> None:
    """The same kernel size, each in a way that forbids it."""
    x = torch.tensor(np.random.default_rng(1).standard_normal((1, 2, 8, 10)), requires_grad=True)
    k, s, p = 4, options.get("stride", 4), options.get("padding", 0)
    y = F.avg_pool2d(x, k, **options)
    wide = np.pad(x.detach().numpy(), ((0, 0), (0, 0), (p, p + 2), (p, p + 2)))
    rows, columns = y.shape[2:]
    for i in range(rows):
        for j in range(columns):
            part = wide[:, :, i * s : i * s + k, j * s : j * s + k]
            number = options.get("divisor_override", 16 if j * s + k <= 10 + 2 * p else 4 * (10 - j * s))
            np.testing.assert_allclose(y.detach().numpy()[:, :, i, j], part.sum((2, 3)) / number, rtol=1e-12)


def test_gradients_of_gradients() -> None:
    x = torch.tensor(np.random.default_rng(2).standard_normal((1, 2, 8, 8)), requires_grad=True)
    f = lambda x: F.avg_pool2d(x, 4) ** 2
    assert torch.autograd.gradcheck(f, (x,)) and torch.autograd.gradgradcheck(f, (x,))


def test_the_largest_in_wide_tiles() -> None:
    """Windows of rows of 16 elements and more that share out the image: values, places and gradients are PyTorch's."""
    reference = pytest.importorskip("torch")
    a = np.round(np.random.default_rng(1).standard_normal((2, 3, 12, 64)) * 2).astype(np.float32)
    a[0, 0, 3, 3] = a[0, 0, 5, 8] = a[0, 1, 11, 63] = np.nan
    a[1, 1], a[1, 2, :6] = -np.inf, 5
    made = []
    for t in (torch, reference):
        P, results = t.nn.functional, []
        x = t.tensor(a).requires_grad_()
        for y, size in ((x, (3, 2)), (x.transpose(0, 1), (2, 4)), (x[:, :, ::2, 16:], (1, 3))):
            results += P.adaptive_max_pool2d(y, size, return_indices=True)
        results += P.max_pool2d(x, (4, 32), return_indices=True)
        results += P.max_pool1d(x.flatten(1, 2), 16, return_indices=True)
        results += P.adaptive_max_pool3d(x, (3, 2, 2), return_indices=True)
        weight = [t.arange(float(r.numel())).reshape(tuple(r.shape)) + 1 for r in results[::2]]
        loss = sum([(r.nan_to_num(0, 0, 0) * w).sum() for r, w in zip(results[::2], weight)])
        made.append([*[r.detach().numpy() for r in results], t.autograd.grad(loss, x)[0].numpy()])
    for got, want in zip(*made, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)


def test_the_largest_of_all() -> None:
    """Windows that are the whole image, however it is asked for and in either order of memory: of equal elements the
    first, of several NaN the last."""
    a = np.round(np.random.default_rng(0).standard_normal((3, 4, 7, 9)) * 2).astype(np.float32)
    a[0, 0, 3, 3] = a[0, 0, 6, 8] = np.nan
    a[1, 1], a[1, 2] = -np.inf, 5
    flat = a.reshape(3, 4, 63)
    at = np.where(np.isnan(flat).any(2), 62, np.argmax(np.nan_to_num(flat, nan=-9, neginf=-8), 2))
    x = torch.tensor(a)
    for y in (
        x,
        x.contiguous(memory_format=torch.channels_last),
        x.transpose(0, 1).contiguous().transpose(0, 1),
    ):
        y.requires_grad_()
        for found, index in (
            F.adaptive_max_pool2d(y, 1, return_indices=True),
            F.max_pool2d(y, (7, 9), return_indices=True),
            F.max_pool1d(y.flatten(2), 63, return_indices=True),
        ):
            assert np.array_equal(index.numpy().reshape(3, 4), at)
            best = np.take_along_axis(flat, at[..., None], 2)
            assert np.array_equal(found.detach().numpy().reshape(3, 4, 1), best, equal_nan=True)
            (grad,) = torch.autograd.grad(found.sum(), y)
            assert np.array_equal(np.flatnonzero(grad.numpy()), (np.arange(12) * 63 + at.reshape(-1)))
    y = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: F.adaptive_max_pool2d(x, 1), y)
    assert torch.autograd.gradgradcheck(lambda x: F.adaptive_max_pool2d(x, 1), y)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32"])
def test_maxima_without_places(dtype: str, last: bool) -> None:
    """Places that nobody asks for are not written: the same maxima, also where a gradient asks for them later."""
    a = np.random.default_rng(2).integers(-4, 5, (2, 5, 9, 37)).astype(np.float32)
    if dtype != "int32":
        a.flat[::23], a.flat[7::31] = np.nan, -np.inf
    x = torch.tensor(a).to(getattr(torch, dtype))
    x = x.to(memory_format=torch.channels_last) if last else x
    for options in (
        {"kernel_size": 2},
        {"kernel_size": 3, "stride": 1, "padding": 1},
        {"kernel_size": (3, 9)},
    ):
        y, places = F.max_pool2d(x, **options, return_indices=True)
        flat = x.float().numpy().reshape(2, 5, -1)
        found = np.take_along_axis(flat, places.numpy().reshape(2, 5, -1), 2)
        for _ in range(3):
            alone = F.max_pool2d(x, **options)
            np.testing.assert_array_equal(alone.float().numpy(), y.float().numpy())
            del alone
        np.testing.assert_array_equal(y.float().numpy().reshape(found.shape), found)
        if dtype == "float32":
            z = x.detach().requires_grad_()
            F.max_pool2d(z, **options).sum().backward()
            counts = np.zeros(flat.shape)
            for p in np.ndindex(2, 5):
                np.add.at(counts[p], places.numpy().reshape(2, 5, -1)[p], 1)
            np.testing.assert_array_equal(z.grad.numpy().reshape(counts.shape), counts)
