"""In-place writes are seen through every view, whatever the offsets turn out to be; and they never recompile."""

from __future__ import annotations

import random

import numpy as np
import pytest

import flambeau as torch
from flambeau.stream.program import STATS


def test_write_one_row_read_another() -> None:
    for i, j in [(0, 1), (2, 2), (1, 3), (3, 3), (0, 0), (2, 1)]:
        x = torch.arange(8.0).reshape(4, 2).clone()
        a = np.arange(8.0).reshape(4, 2)
        x[i].mul_(2)
        y = x[j] + 1
        a[i] *= 2
        assert y.tolist() == (a[j] + 1).tolist(), (i, j)
        assert x.tolist() == a.tolist()


def test_rows_as_arguments_do_not_recompile() -> None:
    def step(i: int, j: int) -> None:
        x = torch.arange(64.0).reshape(16, 4).clone()
        x[i].mul_(2)
        y = x[j] + 1
        expected = np.arange(64.0).reshape(16, 4)
        expected[i] *= 2
        assert y.tolist() == (expected[j] + 1).tolist()

    for i, j in [(1, 2), (3, 5), (4, 4), (6, 6), (7, 2), (2, 7), (1, 2), (5, 5)]:
        step(i, j)
    before = STATS["kernels"]
    for i, j in [(8, 3), (9, 9), (2, 11), (15, 15), (0, 1), (1, 0)]:
        step(i, j)
    assert STATS["kernels"] - before <= 2  # row 0 has no offset: another form


def test_overlapping_views() -> None:
    for _ in range(3):
        x = torch.arange(10.0)
        a = np.arange(10.0, dtype=np.float32)
        x[1:].add_(x[:-1])  # the operand is read before anything is written
        a[1:] += a[:-1].copy()
        x[2:8].mul_(x[4:10])
        a[2:8] = a[2:8] * a[4:10].copy()
        y = x[::2] - x[1::2]
        x[::3].zero_()
        b = a[::2] - a[1::2]
        a[::3] = 0
        assert x.tolist() == a.tolist() and y.tolist() == b.tolist()


def test_a_copy_between_overlapping_rows() -> None:
    x, a = torch.arange(12.0).reshape(4, 3).clone(), np.arange(12.0).reshape(4, 3)
    x[1:].copy_(x[:-1])
    a[1:] = a[:-1].copy()
    x.t()[0].add_(x[0, 0])
    a.T[0] += a[0, 0]
    assert x.tolist() == a.tolist()


def test_values_read_before_a_write_keep_their_value() -> None:
    x = torch.ones(5)
    before = x * 3
    x.add_(1)
    between = x * 3
    x.fill_(0)
    assert (before.tolist(), between.tolist(), x.tolist()) == ([3] * 5, [6] * 5, [0] * 5)


def test_random_programs_of_views_and_writes_agree_with_numpy() -> None:
    rng = random.Random(11)
    for _ in range(60):
        x, a = torch.arange(24.0).reshape(4, 6).clone(), np.arange(24, dtype=np.float32).reshape(4, 6)
        results, expected = [], []
        for _ in range(rng.randint(2, 9)):
            r, c = rng.randrange(4), rng.randrange(5)
            view = rng.choice(
                [lambda t: t[r], lambda t: t[:, c], lambda t: t[r:, c:], lambda t: t.T[c], lambda t: t]
            )
            source = rng.choice(
                [lambda t: t[-1 - r], lambda t: t[:, -1 - c], lambda t: t[0, 0], lambda t: t[r:, c:]]
            )
            what = rng.randrange(4)
            if what == 0:
                view(x).mul_(0.5)
                view(a)[...] *= 0.5
            elif what == 1 and source(a).shape in ((), view(a).shape):
                view(x).add_(source(x))
                view(a)[...] += source(a).copy()
            elif what == 2:
                results.append(view(x) + 1)
                expected.append(view(a) + 1)
            elif rng.random() < 0.4:
                assert x.tolist() == a.tolist()
        assert [t.tolist() for t in results] == [t.tolist() for t in expected]
        assert x.tolist() == a.tolist()


def test_a_growing_cache_never_recompiles() -> None:
    length, width = 64, 8
    keys, values = torch.zeros(length, width), torch.zeros(length, width)

    def token(n: int) -> float:
        k = torch.full((width,), float(n % 5))
        keys[n] = k
        values[n] = k + 1
        q = torch.ones(1, width)
        scores = (q @ keys[: n + 1].t()).softmax(-1)
        return (scores @ values[: n + 1]).sum().item()

    def expected(n: int) -> float:
        k = np.arange(n + 1) % 5
        w = np.exp(8.0 * k - 8.0 * k.max())
        return float(((k + 1) * (w / w.sum())).sum() * width)

    for n in range(24):
        assert token(n) == pytest.approx(expected(n), rel=1e-4)
    before = STATS["kernels"]
    for n in range(24, length):
        assert token(n) == pytest.approx(expected(n), rel=1e-4)
    assert STATS["kernels"] - before <= 3  # the matrix product has a recipe for each class of sizes


def test_gradients_flow_through_writes_on_views() -> None:
    a = torch.ones(3, requires_grad=True)
    b = a * 2
    v = b[1:]
    v.mul_(3)
    b.sum().backward()
    assert a.grad.tolist() == [2, 6, 6]


def test_what_is_read_at_an_index_is_read_before_the_write_beside_it() -> None:
    """A result of the same flush is read backwards and then written: both have one domain."""
    a = np.arange(1.0, 17.0, dtype=np.float32).reshape(4, 4)
    for _ in range(4):  # from units, then planned as a whole
        x = torch.tensor(a).clone()
        y = x.flip(0)
        x.neg_()
        rows = x[torch.tensor([3, 0, 1, 2])]
        x.mul_(2)
        assert y.tolist() == a[::-1].tolist()
        assert rows.tolist() == (-a[[3, 0, 1, 2]]).tolist()
        assert x.tolist() == (-2 * a).tolist()


def test_a_write_into_a_product_comes_after_it() -> None:
    """The product could be computed where it is read, were it not written into before."""
    a = np.arange(24.0, dtype=np.float32).reshape(2, 3, 4)
    expected = a @ a.transpose(0, 2, 1)
    expected[0] = 1.5
    for _ in range(4):  # from units, then planned as a whole
        x = torch.tensor(a)
        product = x @ x.transpose(1, 2)
        product[0] = 1.5
        twice = product * 2
        assert twice.tolist() == (2 * expected).tolist()
        assert product.tolist() == expected.tolist()


def test_an_expanded_tensor_without_elements_can_be_written() -> None:
    x = torch.ones(0).expand(2, 0)
    assert x.zero_().add_(1).shape == (2, 0)
    assert torch.add(torch.ones(2, 0), 1, out=x) is x
    with pytest.raises(RuntimeError, match="refers to a single memory location"):
        torch.ones(1).expand(2).add_(1)


def test_what_threads_reduce_is_written_in_the_same_kernel() -> None:
    """A norm of a gradient that is scaled in place: the chunks of a sum that threads share are all that reads it."""
    a = np.random.default_rng(0).standard_normal((300, 400)).astype(np.float32)
    total, finite = float((a.astype(float) ** 2).sum()), True
    x = torch.tensor(a)
    for rounds in range(1, 7):  # from units, then planned as a whole
        norm, sound = x.square().sum(), x.isfinite().all()
        x.mul_(0.5)
        assert (x.flatten()[::7].tolist() == (a * 0.5**rounds).ravel()[::7]).all(), rounds
        assert norm.item() == pytest.approx(total * 0.25 ** (rounds - 1), rel=1e-5)
        assert sound.item() is finite


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (2,)])
def test_a_number_that_is_written_is_not_computed_again(shape: tuple[int, ...]) -> None:
    """`total = zeros(1); total += loss; total / n`: what total began with is a number that readers would compute."""
    a = np.linspace(1, 3, 300, dtype=np.float32)
    for _ in range(5):  # from units, then planned as a whole
        x = torch.tensor(a)
        total, count = torch.zeros(shape), torch.full(shape, 2.0)
        before = total - 1
        for i in range(3):
            total += x.mean() * i
            count.mul_(2)
        mean, twice = total / count, x * total.sum()
        del total, count
        assert mean.flatten().tolist() == pytest.approx([6 / 16] * mean.numel())
        assert before.flatten().tolist() == [-1.0] * before.numel()
        assert twice.tolist() == pytest.approx((a * 6 * mean.numel()).tolist())
