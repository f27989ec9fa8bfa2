"""Normalisation, norms and distances against PyTorch's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import flambeau  # noqa: E402


def sample(*shape: int, seed: int = 3) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def test_layer_norm(agree: Any) -> None:
    call = lambda t, x, w, b: t.nn.functional.layer_norm(x, (4, 5), w, b, 1e-3)
    agree(call, sample(3, 2, 4, 5), sample(4, 5, seed=4), sample(4, 5, seed=5), second=True)


@pytest.mark.parametrize(
    "call",
    [
        lambda f, x: f.layer_norm(x, (6,)),
        lambda f, x: f.rms_norm(x, (6,)),
        lambda f, x: f.group_norm(x, 2),
        lambda f, x: f.batch_norm(x, None, None, training=True),
        lambda f, x: f.gelu(x),
        lambda f, x: f.huber_loss(x, x * 2, reduction="none"),
    ],
)
def test_one_kernel(call: Any) -> None:
    from flambeau.stream import flush
    from flambeau.stream.program import STATS

    flush.Novelty.level = 0.0  # a sequence that comes again is planned at once
    x = flambeau.randn(8, 4, 6)
    x.numpy()
    call(flambeau.nn.functional, x).numpy()
    before = STATS["launches"]
    call(flambeau.nn.functional, x).numpy()
    assert STATS["launches"] - before == 1


def test_rms_norm(agree: Any) -> None:
    agree(
        lambda t, x, w: t.nn.functional.rms_norm(x, (5,), w), sample(3, 4, 5), sample(5, seed=4), second=True
    )


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_norm(agree: Any, groups: int) -> None:
    call = lambda t, x, w, b: t.nn.functional.group_norm(x, groups, w, b)
    agree(call, sample(3, 6, 2, 4), sample(6, seed=4), sample(6, seed=5), tolerance=1e-4)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 6), (2, 3, 4, 5)])
def test_batch_norm(agree: Any, training: bool, shape: Any) -> None:
    mean, var = sample(3, seed=6).detach(), sample(3, seed=7).detach() ** 2

    def call(t: Any, x: Any, w: Any, b: Any, mean: Any, var: Any) -> Any:
        y = t.nn.functional.batch_norm(x, mean, var, w, b, training, 0.2)
        return y, mean, var

    agree(call, sample(*shape), sample(3, seed=4), sample(3, seed=5), mean, var, tolerance=1e-4)


def test_running_statistics_that_move_do_not_disturb_the_gradient() -> None:
    norm = flambeau.nn.BatchNorm1d(3)
    x = flambeau.randn(8, 3, requires_grad=True)
    loss = norm(x).sum() + norm(x * 2).sum()
    loss.backward()
    assert x.grad.shape == (8, 3)
    assert norm.num_batches_tracked.item() == 2


def test_instance_norm(agree: Any) -> None:
    def call(t: Any, x: Any, mean: Any, var: Any) -> Any:
        y = t.nn.functional.instance_norm(x, mean, var, use_input_stats=True, momentum=0.3)
        return y, mean, var

    agree(call, sample(3, 4, 6), torch.zeros(4), torch.ones(4), tolerance=1e-4)


def test_local_response_norm(agree: Any) -> None:
    agree(lambda t, x: t.nn.functional.local_response_norm(x, 3), sample(2, 5, 4))


@pytest.mark.parametrize("p", [0, 0.5, 1, 1.5, 2, 3, math.inf, -math.inf])
@pytest.mark.parametrize("dim", [None, 1, (0, 2)])
def test_vector_norm(agree: Any, p: float, dim: Any) -> None:
    agree(lambda t, x: t.linalg.vector_norm(x, p, dim, keepdim=True), sample(3, 4, 2), tolerance=1e-4)


@pytest.mark.parametrize("order", ["fro", "nuc", 1, -1, 2, -2, math.inf])
def test_matrix_norm(agree: Any, order: Any) -> None:
    agree(lambda t, x: t.linalg.matrix_norm(x, order), sample(2, 4, 3), tolerance=1e-4)


def test_norm_of_zero_has_gradient_zero(agree: Any) -> None:
    agree(lambda t, x: t.norm(x), torch.zeros(4).requires_grad_())


def test_normalize_and_similarity(agree: Any) -> None:
    agree(lambda t, x: t.nn.functional.normalize(x, dim=-1), sample(3, 4))
    agree(lambda t, x, y: t.nn.functional.cosine_similarity(x, y, dim=1), sample(3, 4), sample(3, 4, seed=8))
    agree(lambda t, x, y: t.nn.functional.pairwise_distance(x, y), sample(3, 4), sample(3, 4, seed=8))


@pytest.mark.parametrize("p", [1.0, 2.0, math.inf])
def test_distances(agree: Any, p: float) -> None:
    agree(lambda t, x, y: t.cdist(x, y, p), sample(2, 3, 4), sample(2, 5, 4, seed=8), tolerance=1e-4)
    agree(lambda t, x: t.pdist(x, p), sample(5, 4))
    agree(lambda t, x: t.renorm(x, p, 0, 0.5), sample(3, 4))


@pytest.mark.parametrize(
    "mode", ["use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist"]
)
@pytest.mark.parametrize("shapes", [((26, 5), (7, 5)), ((3, 1, 30, 4), (2, 5, 4)), ((20, 4), (25, 4))])
def test_distances_of_many_rows(agree: Any, mode: Any, shapes: Any) -> None:
    """By a product or one by one; the first row of both is the same: what its distance is depends on rounding."""
    x, y = sample(*shapes[0]).double(), sample(*shapes[1], seed=8).double()
    agree(lambda t, x, y: t.cdist(x, y, compute_mode=mode), x, y)
    same = flambeau.zeros(30, 3, requires_grad=True)
    found = flambeau.cdist(same, same, compute_mode=mode)
    (slope,) = flambeau.autograd.grad(found.sum(), same)
    assert not found.any() and not slope.any()


@pytest.mark.parametrize("way", ["triu_indices", "tril_indices"])
def test_places_of_a_triangle(way: str) -> None:
    for row, col in ((4, 4), (3, 5), (5, 3), (0, 2), (2, 0), (1, 1)):
        for offset in range(-6, 7):
            want = getattr(torch, way)(row, col, offset)
            found = getattr(flambeau, way)(row, col, offset)
            assert (
                found.dtype is flambeau.int64
                and found.shape == want.shape
                and found.tolist() == want.tolist()
            )


@pytest.mark.parametrize(
    "call",
    [
        lambda t: t.nn.functional.layer_norm(t.ones(2, 3), (4,)),
        lambda t: t.nn.functional.group_norm(t.ones(2, 3), 2),
        lambda t: t.nn.functional.batch_norm(t.ones(2, 3), t.ones(2), t.ones(3)),
        lambda t: t.linalg.vector_norm(t.ones(3, dtype=t.int64)),
        lambda t: t.cdist(t.ones(2, 3), t.ones(2, 4)),
    ],
)
def test_errors(call: Any) -> None:
    for t in (torch, flambeau):
        with pytest.raises(RuntimeError):
            call(t)
        with pytest.raises(ValueError):
            t.cdist(t.ones(2, 3), t.ones(2, 3), compute_mode="fast")


def test_large_mean_keeps_its_variance() -> None:
    x = np.random.default_rng(0).normal(1000.0, 1.0, (4, 256)).astype(np.float32)
    y = flambeau.nn.functional.layer_norm(flambeau.from_numpy(x), (256,)).numpy()
    assert abs(y.std() - 1) < 1e-2


@pytest.mark.parametrize("shape", [(2, 1), (17, 3), (40, 20)])
def test_distances_of_all_pairs(agree: Any, shape: tuple[int, int]) -> None:
    """More points than lanes, two of them equal."""
    x = sample(*shape).detach()
    x[1] = x[0] if shape[0] > 2 else x[1]
    agree(lambda t, x: t.pdist(x), x.requires_grad_())
    points = flambeau.randn(5, 3, dtype=flambeau.float64).requires_grad_()
    assert flambeau.autograd.gradgradcheck(flambeau.pdist, (points,))
