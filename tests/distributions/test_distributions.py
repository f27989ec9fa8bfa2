"""Distributions beside PyTorch's: densities, moments, samples of a seed, divergences, text, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flambeau

reference = pytest.importorskip("torch")

P = [[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]]
CASES: dict[str, tuple[Any, Any]] = {
    "normal": (lambda m: m.distributions.Normal(m.tensor([0.5, -1.0]), m.tensor([1.0, 2.0])), [0.3, 0.7]),
    "lognormal": (lambda m: m.distributions.LogNormal(m.tensor([0.5, -1.0]), 1.5), [0.3, 0.7]),
    "uniform": (lambda m: m.distributions.Uniform(m.tensor([0.0, -1.0]), m.tensor([1.0, 2.0])), [0.3, 0.7]),
    "exponential": (lambda m: m.distributions.Exponential(m.tensor([0.5, 2.0])), [0.3, 0.7]),
    "laplace": (lambda m: m.distributions.Laplace(m.tensor([0.5, 2.0]), 1.0), [0.3, 0.7]),
    "cauchy": (lambda m: m.distributions.Cauchy(m.tensor([0.5, 2.0]), 1.0), [0.3, 0.7]),
    "halfnormal": (lambda m: m.distributions.HalfNormal(m.tensor([0.5, 2.0])), [0.3, 0.7]),
    "bernoulli": (lambda m: m.distributions.Bernoulli(m.tensor([0.3, 0.8])), [0.0, 1.0]),
    "bernoulli_logits": (lambda m: m.distributions.Bernoulli(logits=m.tensor([0.3, -0.8])), [0.0, 1.0]),
    "geometric": (lambda m: m.distributions.Geometric(m.tensor([0.3, 0.8])), [0.0, 3.0]),
    "categorical": (lambda m: m.distributions.Categorical(m.tensor(P)), [0, 2]),
    "categorical_logits": (lambda m: m.distributions.Categorical(logits=m.tensor(P)), [0, 2]),
    "multinomial": (lambda m: m.distributions.Multinomial(4, m.tensor(P)), [[1.0, 1, 2], [0, 0, 4]]),
    "one_hot": (lambda m: m.distributions.OneHotCategorical(m.tensor(P)), [[1.0, 0, 0], [0, 0, 1]]),
    "poisson": (lambda m: m.distributions.Poisson(m.tensor([0.5, 20.0])), [1.0, 18.0]),
    "independent": (
        lambda m: m.distributions.Independent(m.distributions.Normal(m.zeros(2), 1.0), 1),
        [0.3, 0.7],
    ),
    "gamma": (lambda m: m.distributions.Gamma(m.tensor([0.5, 2.0]), 1.0), [0.3, 0.7]),
    "beta": (lambda m: m.distributions.Beta(m.tensor([0.5, 2.0]), 1.5), [0.3, 0.7]),
    "dirichlet": (lambda m: m.distributions.Dirichlet(m.tensor([0.5, 2.0])), [0.3, 0.7]),
    "vector": (
        lambda m: m.distributions.MultivariateNormal(
            m.tensor([0.5, 2.0]), m.tensor([[2.0, 0.5], [0.5, 1.0]])
        ),
        [0.3, 0.7],
    ),
}


def close(a: Any, b: Any) -> None:
    assert tuple(a.shape) == tuple(b.shape) and str(a.dtype).split(".")[1] == str(b.dtype).split(".")[1]
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", CASES)
def test_formulas(name: str) -> None:
    make, value = CASES[name]
    ours, theirs = make(flambeau), make(reference)
    assert repr(ours) == repr(theirs) and ours.batch_shape == tuple(theirs.batch_shape)
    assert tuple(ours.event_shape) == tuple(theirs.event_shape)
    close(ours.log_prob(flambeau.tensor(value)), theirs.log_prob(reference.tensor(value)))
    for what in ("mean", "variance", "stddev", "mode", "entropy", "cdf"):
        try:
            expected = getattr(theirs, what)
            expected = expected if what != "entropy" else expected()
            expected = expected if what != "cdf" else expected(reference.tensor(value))
        except (NotImplementedError, AttributeError):
            continue
        got = getattr(ours, what)
        got = got if what != "entropy" else got()
        close(got if what != "cdf" else got(flambeau.tensor(value)), expected)


@pytest.mark.parametrize("name", CASES)
def test_samples_of_a_seed(name: str) -> None:
    make, _ = CASES[name]
    drawn = []
    for m in (flambeau, reference):
        d = make(m)
        m.manual_seed(3)
        drawn.append(d.sample((5,)))
        if d.has_rsample:
            drawn[-1] = drawn[-1] + d.rsample((5,))
    close(*drawn)


@pytest.mark.parametrize(
    "name", [n for n in CASES if n not in ("geometric", "lognormal", "multinomial", "halfnormal", "cauchy")]
)
def test_divergence(name: str) -> None:
    make, _ = CASES[name]
    results = []
    for m in (flambeau, reference):
        p = make(m)
        q = p.expand(p.batch_shape)
        for key, v in q.__dict__.items():
            if key in ("loc", "rate", "scale", "concentration"):
                q.__dict__[key] = v + 0.25
        results.append(m.distributions.kl_divergence(p, q))
    close(*results)


def test_gradient_through_a_sample() -> None:
    loc = flambeau.zeros(3, requires_grad=True)
    scale = flambeau.ones(3, requires_grad=True)
    d = flambeau.distributions.Normal(loc, scale)
    d.rsample((4,)).sum().backward()
    assert loc.grad.tolist() == [4.0] * 3 and scale.grad is not None
    assert not d.sample().requires_grad


@pytest.mark.parametrize(
    "wrong",
    [
        lambda m: m.distributions.Normal(0.0, -1.0),
        lambda m: m.distributions.Bernoulli(2.0),
        lambda m: m.distributions.Bernoulli(),
        lambda m: m.distributions.Uniform(1.0, 0.0),
        lambda m: m.distributions.Categorical(m.tensor(3.0)),
        lambda m: m.distributions.Categorical(m.tensor([-1.0, 2.0])),
        lambda m: m.distributions.Categorical(m.ones(2)).log_prob(m.tensor(3)),
        lambda m: m.distributions.Normal(0.0, 1.0).log_prob("a"),
        lambda m: m.distributions.Normal(m.zeros(2), 1.0).log_prob(m.zeros(3)),
        lambda m: m.distributions.kl_divergence(
            m.distributions.Normal(0.0, 1.0), m.distributions.Categorical(m.ones(3))
        ),
    ],
)
def test_same_errors(wrong: Any) -> None:
    with pytest.raises((ValueError, NotImplementedError)) as theirs:
        wrong(reference)
    with pytest.raises(theirs.type) as ours:
        wrong(flambeau)
    assert str(ours.value) == str(theirs.value)


def test_a_transform_of_ones_own() -> None:
    class Tripled(flambeau.distributions.Transform):
        domain = codomain = flambeau.distributions.constraints.real
        bijective, sign = True, 1

        def _call(self, x):
            return 3 * x

        def _inverse(self, y):
            return y / 3

        def log_abs_det_jacobian(self, x, y):
            return flambeau.full_like(x, 3.0).log()

    normal = flambeau.distributions.Normal(0.0, 1.0)
    made = flambeau.distributions.TransformedDistribution(normal, [Tripled(cache_size=1)])
    x = flambeau.tensor([-1.0, 6.0])
    assert Tripled().inv(x).tolist() == pytest.approx([-1 / 3, 2.0]) and Tripled().inv.inv(x).tolist() == [
        -3.0,
        18.0,
    ]
    assert flambeau.allclose(made.log_prob(x), flambeau.distributions.Normal(0.0, 3.0).log_prob(x))


def test_a_subclass_may_make_the_factor_of_a_normal_when_it_is_read() -> None:
    class Late(flambeau.distributions.MultivariateNormal):
        def __init__(self, loc: Any, covariance: Any):
            self.loc, self.given = loc, covariance
            flambeau.distributions.Distribution.__init__(
                self, loc.shape[:-1], loc.shape[-1:], validate_args=False
            )

        @property
        def _unbroadcasted_scale_tril(self) -> Any:
            return flambeau.linalg.cholesky(self.given)

    covariance = flambeau.tensor([[2.0, 0.5], [0.5, 1.0]])
    late, plain = (
        Late(flambeau.zeros(3, 2), covariance),
        flambeau.distributions.MultivariateNormal(flambeau.zeros(3, 2), covariance),
    )
    value = flambeau.tensor([0.3, -1.0])
    for of in (
        lambda d: d.log_prob(value),
        lambda d: d.entropy(),
        lambda d: d.variance,
        lambda d: d.scale_tril,
    ):
        assert flambeau.equal(of(late), of(plain)) and of(late).shape[0] == 3
    flambeau.testing.assert_close(late.covariance_matrix, covariance.expand(3, 2, 2))
    assert plain._unbroadcasted_scale_tril.shape == (2, 2)  # one factor for the whole batch
