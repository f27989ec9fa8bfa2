"""multinomial, poisson, gamma and binomial numbers: PyTorch's numbers, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

import flambeau as torch


def test_one_place_follows_the_weights() -> None:
    torch.manual_seed(0)
    weights = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 5.0]])
    assert torch.multinomial(weights, 1).tolist() == [[1], [2]]
    assert weights.multinomial(4, True).tolist() == [[1] * 4, [2] * 4]


def test_without_replacement_is_a_permutation() -> None:
    drawn = torch.multinomial(torch.rand(50) + 0.1, 50)
    assert sorted(drawn.tolist()) == list(range(50))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_of_few_bits_are_added_up_in_float32(dtype: str) -> None:
    reference = pytest.importorskip("torch")
    results = []
    for m in (torch, reference):
        m.manual_seed(3)
        w = (m.arange(1.0, 301.0) / 7).to(getattr(m, dtype)).reshape(3, 100)
        results.append([m.multinomial(w, 300, True).tolist(), m.rand(1).item()])
    assert results[0] == results[1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_same_numbers_as_pytorch(dtype: str) -> None:
    reference = pytest.importorskip("torch")
    for seed in (0, 1):
        results = []
        for m in (torch, reference):
            m.manual_seed(seed)
            w = m.rand(3, 20, dtype=getattr(m, dtype))
            rate = m.rand(40, dtype=getattr(m, dtype)) * 30
            one, many, again = (
                m.multinomial(w, 1),
                m.multinomial(w, 7),
                m.multinomial(w, 30, replacement=True),
            )
            turned = (
                (w + 1).T.contiguous().T
            )  # the numbers come in the order of its memory, whether it exists or not
            late = m.multinomial(turned, 1)
            turned.tolist()
            early, first = m.multinomial(turned, 1), m.multinomial(turned[0], 1)
            drawn = (one, many, again, late, early, first, m.poisson(rate), m.rand(2))
            results.append([x.tolist() for x in drawn])
        assert results[0] == results[1]


def test_gamma_and_binomial_numbers() -> None:
    """float32 has PyTorch's bits, float64 differs in the last ones of a power; the state afterwards is the same."""
    reference = pytest.importorskip("torch")
    for dtype in ("float32", "float64"):
        results = []
        for m in (torch, reference):
            m.manual_seed(7)
            m.randn(3)
            alpha = m.tensor([0.1, 0.5, 1.0, 2.5, 30.0, 1e3] * 60, dtype=getattr(m, dtype))
            count = m.tensor([1.0, 5, 20, 100, 1000, 3] * 60, dtype=getattr(m, dtype))
            p = m.rand(360, dtype=getattr(m, dtype)) * 1.2 - 0.1
            drawn = [
                m._standard_gamma(alpha),
                m._sample_dirichlet(alpha.reshape(-1, 5)),
                m.binomial(count, p),
            ]
            results.append([x.tolist() for x in (*drawn, m.poisson(alpha), m.rand(3), m.randn(3))])
        ours, theirs = results
        assert ours[2:] == theirs[2:]
        assert ours[:2] == theirs[:2] or dtype == "float64"
        np.testing.assert_allclose(ours[0], theirs[0], rtol=2e-15)


def test_gamma_numbers_move_with_their_concentration() -> None:
    torch.manual_seed(0)
    alpha = torch.tensor([0.3, 2.0, 50.0], dtype=torch.float64, requires_grad=True)
    x = torch._standard_gamma(alpha)
    (slope,) = torch.autograd.grad(x.sum(), alpha)
    step = 1e-5
    at = lambda b: special.gammaincinv(b, special.gammainc(alpha.detach().numpy(), x.detach().numpy()))
    expected = (at(alpha.detach().numpy() + step) - at(alpha.detach().numpy() - step)) / (2 * step)
    np.testing.assert_allclose(slope.numpy(), expected, rtol=1e-6)


def test_refused() -> None:
    with pytest.raises(RuntimeError, match="Found dtype Double but expected Float"):
        torch.binomial(torch.ones(2), torch.ones(2, dtype=torch.float64))
    with pytest.raises(ValueError, match="floating-point dtypes for count, got: Long"):
        torch.binomial(torch.ones(2, dtype=torch.int64), torch.ones(2, dtype=torch.int64))
    w = torch.rand(4)
    with pytest.raises(RuntimeError, match="without replacement"):
        torch.multinomial(w, 5)
    with pytest.raises(RuntimeError, match="n_sample <= 0"):
        torch.multinomial(w, 0)
    with pytest.raises(RuntimeError, match="1 or 2 dim"):
        torch.multinomial(torch.rand(2, 2, 2), 1)
    with pytest.raises(RuntimeError, match="floating-point"):
        torch.multinomial(torch.ones(3, dtype=torch.int64), 1)
    with pytest.raises(RuntimeError, match="element < 0"):
        torch.multinomial(torch.tensor([-1.0, 2.0]), 1).tolist()
    with pytest.raises(RuntimeError, match="sum of probabilities"):
        torch.multinomial(torch.zeros(3), 1).tolist()
    assert torch.multinomial(w, 4).sum().item() == 6


def test_draws_have_gradients_of_zero() -> None:
    x = torch.full((5,), 0.5, requires_grad=True)
    for drawn in (torch.bernoulli(x), torch.bernoulli(x, 0.3), torch.normal(x, 1.0), torch.normal(x, x)):
        assert drawn.requires_grad
        assert torch.autograd.grad(drawn.sum(), x)[0].tolist() == [0.0] * 5


def test_results_are_not_written_over_what_is_read() -> None:
    x, at = torch.rand(6), torch.tensor([0, 1, 2, 3, 4, 5])
    for call in (lambda o: torch.gather(x, 0, at, out=o), lambda o: torch.take(x, at, out=o)):
        with pytest.raises(RuntimeError, match="unsupported operation"):
            call(x)
        with pytest.raises(RuntimeError, match="unsupported operation"):
            call(torch.rand(1).expand(6))
    with pytest.raises(RuntimeError, match="dtype"):
        torch.gather(x, 0, at, out=torch.empty(6, dtype=torch.float64))
    with pytest.raises(RuntimeError, match="unsupported operation"):
        torch.cat([x, x], out=x)


def test_weights_that_are_looked_at_early_and_late() -> None:
    """Where the weights exist they are checked by the call, else when it runs; a captured call checks each time."""
    good, bad = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, -1.0]])
    assert torch.multinomial(good, 1).tolist() == [[1]]
    for wrong in (
        bad,
        torch.tensor([0.0, 0.0]),
        torch.tensor([1.0, float("nan")]),
        torch.tensor([float("inf")]),
        torch.tensor([1.0] * 99 + [-1.0]),
    ):
        with pytest.raises(RuntimeError, match="multinomial"):
            torch.multinomial(wrong, 1)
        for many in (False, True):
            with pytest.raises(RuntimeError, match="multinomial"):
                torch.multinomial(wrong * 1, 1 + many, many).tolist()
    assert torch.multinomial(torch.ones(0, 3), 1).shape == (0, 1)
    draw = torch.compile(lambda p: torch.multinomial(p, 1))
    for _ in range(3):
        assert draw(good).tolist() == [[1]]
    with pytest.raises(RuntimeError, match="multinomial"):
        draw(bad).tolist()


def test_one_hot_looks_at_each_call() -> None:
    encode = torch.compile(lambda x: torch.nn.functional.one_hot(x, 3))
    with pytest.warns(UserWarning, match="a value is read"):
        encode(torch.tensor([0]))
    for place in (0, 1, 2):
        assert encode(torch.tensor([place])).argmax().item() == place
    for index in (torch.tensor([3]), torch.tensor([2]) + 1, torch.tensor([-1])):
        with pytest.raises(RuntimeError, match="Class values must be"):
            encode(index)
        with pytest.raises(RuntimeError, match="Class values must be"):
            torch.nn.functional.one_hot(index, 3)
