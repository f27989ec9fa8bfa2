"""Every family beside PyTorch's: densities and their gradients, moments, samples of a seed, larger batches,
divergences; the maps, one by one."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau

reference = pytest.importorskip("torch")

A, B, U = [0.5, 2.0], [1.5, 3.0], [0.3, 0.7]
MATRIX = [[2.0, 0.5], [0.5, 1.0]]


def family(name: str, *args: Any, **named: Any) -> Callable[[Any], Any]:
    """The distribution of lists of numbers, made by either library."""
    given = lambda m, v: m.tensor(v) if isinstance(v, list) else v
    return lambda m: getattr(m.distributions, name)(
        *(given(m, v) for v in args), **{k: given(m, v) for k, v in named.items()}
    )


CASES: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "Normal": (family("Normal", A, B), U),
    "LogNormal": (family("LogNormal", A, B), U),
    "HalfNormal": (family("HalfNormal", A), U),
    "Cauchy": (family("Cauchy", A, B), U),
    "HalfCauchy": (family("HalfCauchy", A), U),
    "Laplace": (family("Laplace", A, B), U),
    "Exponential": (family("Exponential", A), U),
    "Uniform": (family("Uniform", [0.0, 0.1], [1.0, 0.9]), U),
    "Gumbel": (family("Gumbel", A, B), U),
    "Gamma": (family("Gamma", A, B), U),
    "InverseGamma": (family("InverseGamma", A, B), U),
    "InverseGamma of few": (family("InverseGamma", [3.0, 0.5], B), U),
    "Chi2": (family("Chi2", A), U),
    "Beta": (family("Beta", A, B), U),
    "Kumaraswamy": (family("Kumaraswamy", B, [2.0, 2.5]), U),
    "Dirichlet": (family("Dirichlet", [[0.5, 2.0, 1.0], [3.0, 1.0, 2.0]]), [[0.2, 0.3, 0.5]] * 2),
    "Pareto": (family("Pareto", A, [2.5, 0.5]), [1.3, 2.7]),
    "Weibull": (family("Weibull", A, B), U),
    "StudentT": (family("StudentT", [0.5, 3.0], A, B), U),
    "FisherSnedecor": (family("FisherSnedecor", [3.0, 1.0], [5.0, 2.0]), U),
    "GeneralizedPareto": (family("GeneralizedPareto", [0.0, 0.1], B, [0.0, 0.3]), U),
    "GeneralizedPareto bounded": (family("GeneralizedPareto", [0.0, 0.1], B, [-0.3, 0.6]), U),
    "VonMises": (family("VonMises", A, B), U),
    "ContinuousBernoulli": (family("ContinuousBernoulli", [0.3, 0.5002]), U),
    "Bernoulli": (family("Bernoulli", U), [0.0, 1.0]),
    "Geometric": (family("Geometric", U), [0.0, 3.0]),
    "Poisson": (family("Poisson", A), [0.0, 3.0]),
    "Binomial": (family("Binomial", 5, U), [0.0, 3.0]),
    "Binomial logits": (family("Binomial", [5.0, 30.0], logits=A), [0.0, 3.0]),
    "NegativeBinomial": (family("NegativeBinomial", [5.0, 1.5], U), [0.0, 3.0]),
    "Categorical": (family("Categorical", [[0.2, 0.8], [0.5, 0.5]]), [0, 1]),
    "OneHotCategoricalStraightThrough": (
        family("OneHotCategoricalStraightThrough", [[0.2, 0.8], [0.5, 0.5]]),
        [[0.0, 1.0], [1.0, 0.0]],
    ),
    "RelaxedBernoulli": (family("RelaxedBernoulli", [0.7], U), U),
    "RelaxedOneHotCategorical": (
        family("RelaxedOneHotCategorical", [0.7], [[0.2, 0.3, 0.5]]),
        [[0.2, 0.3, 0.5]],
    ),
    "LogisticNormal": (family("LogisticNormal", A, B), [0.2, 0.3, 0.5]),
    "LowRankMultivariateNormal": (
        family("LowRankMultivariateNormal", A, [[1.0], [0.5]], B),
        U,
    ),
    "MultivariateNormal": (family("MultivariateNormal", A, MATRIX), U),
    "Wishart": (
        family("Wishart", [6.5, 8.0], [[0.02, 0.005], [0.005, 0.01]]),
        [MATRIX, [[1.0, 0.0], [0.0, 1.0]]],
    ),
    "LKJCholesky": (
        family("LKJCholesky", 3, A),
        [[[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.0, 0.6, 0.8]]] * 2,
    ),
}


def close(a: Any, b: Any, rtol: float = 1e-4) -> None:
    assert tuple(a.shape) == tuple(b.shape) and str(a.dtype).split(".")[1] == str(b.dtype).split(".")[1]
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=rtol, atol=3e-6)


@pytest.mark.parametrize("name", CASES)
def test_formulas(name: str) -> None:
    make, value = CASES[name]
    ours, theirs = make(flambeau), make(reference)
    assert tuple(ours.batch_shape) == tuple(theirs.batch_shape)
    assert tuple(ours.event_shape) == tuple(theirs.event_shape)
    assert ours.has_rsample == theirs.has_rsample
    assert ours.support.event_dim == theirs.support.event_dim
    close(ours.log_prob(flambeau.tensor(value)), theirs.log_prob(reference.tensor(value)))
    for what in ("mean", "variance", "stddev", "mode", "entropy", "cdf", "icdf"):
        results = []
        for m, d in ((flambeau, ours), (reference, theirs)):
            try:
                found = getattr(d, what)
                if what == "entropy":
                    found = found()
                results.append(found if what[-3:] != "cdf" else found(m.tensor(value)))
            except NotImplementedError:
                results.append(None)
        if results[1] is not None and (name, what) != ("Kumaraswamy", "mode"):  # NaN in PyTorch
            close(*results)
    wide = ours.expand((3, *ours.batch_shape))
    assert tuple(wide.batch_shape) == (3, *theirs.batch_shape)
    many = np.broadcast_to(np.array(value, np.float32), (3, *np.shape(value))).tolist()
    shape = theirs.expand((3, *theirs.batch_shape)).log_prob(reference.tensor(many))
    close(wide.log_prob(flambeau.tensor(many)), shape)


@pytest.mark.parametrize("name", [n for n in CASES if n != "Wishart"])
def test_samples_of_a_seed(name: str) -> None:
    make, _ = CASES[name]
    drawn = []
    for m in (flambeau, reference):
        d = make(m)
        m.manual_seed(3)
        drawn.append([d.sample(), d.sample((4, 2)), *([d.rsample((2,))] if d.has_rsample else []), m.rand(2)])
    for a, b in zip(*drawn):
        close(a, b)


@pytest.mark.parametrize("name", ["Normal", "Gumbel", "StudentT", "Weibull", "Gamma", "VonMises", "Pareto"])
def test_gradients_of_densities(name: str) -> None:
    found = []
    for m in (flambeau, reference):
        given = [m.tensor(v, requires_grad=True) for v in ([1.5, 2.0], [1.2, 0.8], [0.9, 1.1])]
        kind = getattr(m.distributions, name)
        d = kind(*given) if name == "StudentT" else kind(*given[:2])
        d.log_prob(m.tensor([2.3, 2.7])).sum().backward()
        found.append([g.grad for g in given if g.grad is not None])
    for a, b in zip(*found):
        close(a, b)


@pytest.mark.parametrize("name", ["Gamma", "Chi2", "StudentT", "InverseGamma"])
def test_samples_move_with_their_parameters(name: str) -> None:
    found = []
    for m in (flambeau, reference):
        given = m.tensor([0.8, 2.5], requires_grad=True)
        kind = getattr(m.distributions, name)
        m.manual_seed(1)
        d = kind(given, 1.0) if "Gamma" in name else kind(given)
        d.rsample((50,)).log1p().sum().backward() if name != "StudentT" else d.rsample(
            (50,)
        ).abs().log1p().sum().backward()
        found.append(given.grad)
    close(*found, rtol=2e-3)


def test_the_gradient_of_dirichlet_samples_is_that_of_their_mean() -> None:
    """One sample moves otherwise than PyTorch's, their average does not."""
    flambeau.manual_seed(0)
    a = flambeau.tensor([0.7, 2.0, 1.3], dtype=flambeau.float64, requires_grad=True)
    weights = flambeau.tensor([1.0, -2.0, 0.5], dtype=flambeau.float64)
    x = flambeau.distributions.Dirichlet(a).rsample((200000,))
    (got,) = flambeau.autograd.grad((x * weights).sum(-1).mean(), a)
    (wanted,) = flambeau.autograd.grad((a / a.sum() * weights).sum(), a)
    np.testing.assert_allclose(got.numpy(), wanted.numpy(), atol=2e-3)


def test_wishart_samples() -> None:
    """Their mean, and that they move with the covariance (PyTorch draws again what rounding has made asymmetric)."""
    flambeau.manual_seed(0)
    v = flambeau.tensor(MATRIX, dtype=flambeau.float64, requires_grad=True)
    x = flambeau.distributions.Wishart(flambeau.tensor(6.0, dtype=flambeau.float64), v).rsample((20000,))
    np.testing.assert_allclose(x.mean(0).detach().numpy(), 6 * np.array(MATRIX), rtol=0.05, atol=0.1)
    (slope,) = flambeau.autograd.grad(x.mean(0)[0, 0], v)
    np.testing.assert_allclose(slope.numpy(), [[6.0, 0.0], [0.0, 0.0]], atol=0.2)


def test_divergences() -> None:
    compared = 0
    for p, q in itertools.product(CASES, repeat=2):
        pairs = [(CASES[p][0](m), CASES[q][0](m)) for m in (flambeau, reference)]
        try:
            expected = reference.distributions.kl_divergence(*pairs[1])
        except (NotImplementedError, ValueError, RuntimeError):
            continue
        try:
            got = flambeau.distributions.kl_divergence(*pairs[0])
        except NotImplementedError:
            raise AssertionError(f"KL({p} || {q}) is missing") from None
        got, expected = got.detach().numpy(), expected.detach().numpy()
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-5, err_msg=f"{p} {q}")
        compared += 1
    assert compared > 100


MAPS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "AbsTransform": (lambda t: t.AbsTransform(), [-1.0, 2.0]),
    "AffineTransform": (lambda t: t.AffineTransform(1.0, -2.0), [-1.0, 2.0]),
    "AffineTransform of vectors": (lambda t: t.AffineTransform(1.0, -2.0, event_dim=1), [-1.0, 2.0]),
    "ExpTransform": (lambda t: t.ExpTransform(), [-1.0, 2.0]),
    "PowerTransform": (lambda t: t.PowerTransform(2.0), [1.0, 2.0]),
    "SigmoidTransform": (lambda t: t.SigmoidTransform(), [-1.0, 2.0]),
    "SoftplusTransform": (lambda t: t.SoftplusTransform(), [-1.0, 2.0]),
    "TanhTransform": (lambda t: t.TanhTransform(), [-1.0, 2.0]),
    "SoftmaxTransform": (lambda t: t.SoftmaxTransform(), [-1.0, 2.0]),
    "StickBreakingTransform": (lambda t: t.StickBreakingTransform(), [[-1.0, 2.0, 0.5]]),
    "LowerCholeskyTransform": (lambda t: t.LowerCholeskyTransform(), MATRIX),
    "PositiveDefiniteTransform": (lambda t: t.PositiveDefiniteTransform(), MATRIX),
    "CorrCholeskyTransform": (lambda t: t.CorrCholeskyTransform(), [[0.1, -0.7, 1.2], [0.3, 0.0, 2.0]]),
    "ReshapeTransform": (lambda t: t.ReshapeTransform((4,), (2, 2)), [[1.0, 2.0, 3.0, 4.0]]),
    "StackTransform": (lambda t: t.StackTransform([t.ExpTransform(), t.TanhTransform()], -1), [[1.0, 0.5]]),
    "CatTransform": (
        lambda t: t.CatTransform([t.ExpTransform(), t.TanhTransform()], -1, [2, 1]),
        [[1.0, 0.5, 2.0]],
    ),
    "IndependentTransform": (lambda t: t.IndependentTransform(t.ExpTransform(), 1), [[1.0, 0.5]]),
    "ComposeTransform": (
        lambda t: t.ComposeTransform([t.AffineTransform(0.5, 2.0), t.StickBreakingTransform()]),
        [[1.0, 0.5]],
    ),
}


@pytest.mark.parametrize("name", MAPS)
def test_maps(name: str) -> None:
    make, value = MAPS[name]
    found = []
    for m in (flambeau, reference):
        t, x = make(m.distributions.transforms), m.tensor(value)
        y = t(x)
        back = t.inv(y)
        results = [y, back]
        try:
            results += [t.log_abs_det_jacobian(x, y), t.inv.log_abs_det_jacobian(y, x)]
        except NotImplementedError:
            pass
        shapes = [tuple(t.forward_shape(x.shape)), tuple(t.inverse_shape(y.shape)), t.bijective]
        if name != "CatTransform":
            shapes += [t.domain.event_dim, t.codomain.event_dim]
            assert t.codomain.check(y).all()
        found.append((results, shapes))
    assert found[0][1] == found[1][1] and len(found[0][0]) == len(found[1][0])
    for a, b in zip(found[0][0], found[1][0]):
        close(a, b)


def test_a_cache_gives_the_argument_itself() -> None:
    t = flambeau.distributions.transforms.TanhTransform(cache_size=1)
    x = flambeau.tensor([20.0])
    assert t.inv(t(x)) is x and flambeau.distributions.TanhTransform().inv(t(x)).item() == float("inf")
    assert t == flambeau.distributions.TanhTransform() and t.inv.inv is t


def test_a_squashed_policy() -> None:
    """tanh of a normal vector, as soft actor-critic has it: log probabilities and their gradients."""
    found = []
    for m in (flambeau, reference):
        d = m.distributions
        mean = m.tensor([[0.3, -0.2]], requires_grad=True)
        base = d.Independent(d.Normal(mean, 0.5), 1)
        policy = d.TransformedDistribution(base, [d.TanhTransform(cache_size=1)])
        m.manual_seed(0)
        action = policy.rsample()
        log = policy.log_prob(action)
        log.sum().backward()
        found.append([action, log, mean.grad])
    for a, b in zip(*found):
        close(a, b)


def test_registries() -> None:
    for registry in ("biject_to", "transform_to"):
        for name in ("positive", "unit_interval", "simplex", "real_vector", "nonnegative"):
            found = []
            for m in (flambeau, reference):
                constraint = getattr(m.distributions.constraints, name)
                t = getattr(m.distributions, registry)(constraint)
                y = t(m.tensor([[0.3, -1.0], [0.5, 2.0]]))
                assert constraint.check(y).all()
                found.append(y)
            close(*found)
    with pytest.raises(NotImplementedError, match="Cannot transform"):
        flambeau.distributions.biject_to(flambeau.distributions.constraints.boolean)


def test_constraints_check_as_pytorch_does() -> None:
    for matrix in ([[1.0, 0.0], [0.6, 0.8]], [[1.0, 0.5], [0.5, 1.0]], [[1.0, 2.0], [2.0, 1.0]]):
        triangles = ("corr_cholesky", "lower_cholesky", "lower_triangular")
        for name in (*triangles, "positive_definite", "positive_semidefinite", "square", "symmetric"):
            ours, theirs = (
                getattr(m.distributions.constraints, name).check(m.tensor(matrix)).item()
                for m in (flambeau, reference)
            )
            assert ours == theirs, (name, matrix)
