"""The Kullback-Leibler divergence KL(p || q) = E_p[log p(x) - log q(x)], in closed form for pairs of families."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import flambeau as torch
import flambeau.nn.functional as F

from .compound import Independent, MultivariateNormal
from .continuous import Cauchy, Exponential, HalfNormal, Laplace, LogNormal, Normal, Uniform
from .discrete import Bernoulli, Categorical, Geometric, OneHotCategorical, Poisson
from .distribution import Distribution, Tensor, sum_rightmost
from .gammas import Beta, Dirichlet, Gamma
from .matrices import LowRankMultivariateNormal, Wishart
from .relaxed import Binomial
from .tails import ContinuousBernoulli
from .transformed import EULER, Gumbel, Pareto, TransformedDistribution

_FORMULAS: dict[tuple[type, type], Callable[[Any, Any], Tensor]] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[Any], Any]:
    """Declare the formula for a pair of classes (a decorator)."""

    def declare(fn: Any) -> Any:
        _FORMULAS[type_p, type_q] = fn
        return fn

    return declare


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """KL(p || q), one number for each element of the batch."""
    for a in type(p).__mro__:
        for b in type(q).__mro__:
            if (a, b) in _FORMULAS:
                return _FORMULAS[a, b](p, q)
    raise NotImplementedError(
        f"No KL(p || q) is implemented for p type {type(p).__name__} and q type {type(q).__name__}"
    )


@register_kl(Normal, Normal)
def _normals(p: Any, q: Any) -> Tensor:
    ratio = (p.scale / q.scale).pow(2)
    return 0.5 * (ratio + ((p.loc - q.loc) / q.scale).pow(2) - 1 - ratio.log())


_FORMULAS[LogNormal, LogNormal] = _normals


@register_kl(Bernoulli, Bernoulli)
def _bernoullis(p: Any, q: Any) -> Tensor:
    a = p.probs
    one = a * (F.softplus(-q.logits) - F.softplus(-p.logits))
    return one + (1 - a) * (F.softplus(q.logits) - F.softplus(p.logits))


@register_kl(Categorical, Categorical)
def _categoricals(p: Any, q: Any) -> Tensor:
    t = p.probs * (p.logits - q.logits)
    t = torch.where(q.probs == 0, math.inf, t)
    return torch.where(p.probs == 0, 0, t).sum(-1)


@register_kl(OneHotCategorical, OneHotCategorical)
def _one_hots(p: Any, q: Any) -> Tensor:
    return _categoricals(p._categorical, q._categorical)


@register_kl(Uniform, Uniform)
def _uniforms(p: Any, q: Any) -> Tensor:
    result = ((q.high - q.low) / (p.high - p.low)).log()
    return torch.where((q.low > p.low) | (q.high < p.high), math.inf, result)


@register_kl(Exponential, Exponential)
def _exponentials(p: Any, q: Any) -> Tensor:
    ratio = q.rate / p.rate
    return ratio - ratio.log() - 1


@register_kl(Laplace, Laplace)
def _laplaces(p: Any, q: Any) -> Tensor:
    ratio, distance = p.scale / q.scale, (p.loc - q.loc).abs()
    return distance / q.scale + ratio * (-distance / p.scale).exp() - ratio.log() - 1


@register_kl(Poisson, Poisson)
def _poissons(p: Any, q: Any) -> Tensor:
    return p.rate * (p.rate.log() - q.rate.log()) - (p.rate - q.rate)


@register_kl(Gamma, Gamma)
def _gammas(p: Any, q: Any) -> Tensor:
    a, b = p.concentration, q.concentration
    logs = b * (p.rate / q.rate).log() + torch.lgamma(b) - torch.lgamma(a)
    return logs + (a - b) * torch.digamma(a) + (q.rate - p.rate) * (a / p.rate)


@register_kl(Dirichlet, Dirichlet)
def _dirichlets(p: Any, q: Any) -> Tensor:
    a, b = p.concentration, q.concentration
    total = a.sum(-1)
    logs = torch.lgamma(total) - torch.lgamma(b.sum(-1)) - (torch.lgamma(a) - torch.lgamma(b)).sum(-1)
    return logs + ((a - b) * (torch.digamma(a) - torch.digamma(total).unsqueeze(-1))).sum(-1)


@register_kl(Beta, Beta)
def _betas(p: Any, q: Any) -> Tensor:
    return _dirichlets(p._dirichlet, q._dirichlet)


@register_kl(MultivariateNormal, MultivariateNormal)
def _vectors(p: Any, q: Any) -> Tensor:
    if p.event_shape != q.event_shape:
        raise ValueError("KL-divergence between two Multivariate Normals with different event shapes")
    trace = torch.linalg.solve_triangular(q.scale_tril, p.scale_tril, upper=False).pow(2).sum((-2, -1))
    z = torch.linalg.solve_triangular(q.scale_tril, (q.loc - p.loc).unsqueeze(-1), upper=False)
    return q._half_log_det() - p._half_log_det() + 0.5 * (trace + z.pow(2).sum((-2, -1)) - p.event_shape[0])


@register_kl(Independent, Independent)
def _blocks(p: Any, q: Any) -> Tensor:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError
    return sum_rightmost(kl_divergence(p.base_dist, q.base_dist), p.reinterpreted_batch_ndims)


@register_kl(TransformedDistribution, TransformedDistribution)
def _mapped(p: Any, q: Any) -> Tensor:
    if p.transforms != q.transforms or p.event_shape != q.event_shape:
        raise NotImplementedError
    base = kl_divergence(p.base_dist, q.base_dist)
    return sum_rightmost(base, len(p.event_shape) - len(p.base_dist.event_shape))


@register_kl(HalfNormal, HalfNormal)
def _half_normals(p: Any, q: Any) -> Tensor:
    ratio = (p.scale / q.scale).pow(2)
    return 0.5 * (ratio - 1 - ratio.log())


@register_kl(Cauchy, Cauchy)
def _cauchys(p: Any, q: Any) -> Tensor:
    spread = ((p.scale + q.scale).pow(2) + (p.loc - q.loc).pow(2)).log()
    return spread - (4 * p.scale * q.scale).log()


@register_kl(Geometric, Geometric)
def _geometrics(p: Any, q: Any) -> Tensor:
    return -p.entropy() - torch.log1p(-q.probs) / p.probs - q.logits


@register_kl(Binomial, Binomial)
def _binomials(p: Any, q: Any) -> Tensor:
    each = p.probs * (p.logits - q.logits) + torch.log1p(-p.probs) - torch.log1p(-q.probs)
    return torch.where(p.total_count > q.total_count, math.inf, p.total_count * each)


@register_kl(Gumbel, Gumbel)
def _gumbels(p: Any, q: Any) -> Tensor:
    ratio = p.scale / q.scale
    a, b = q.loc / q.scale, p.loc / q.scale
    return -ratio.log() - a + b + ratio * EULER + (a + torch.lgamma(1 + ratio) - b).exp() - (1 + EULER)


@register_kl(Pareto, Pareto)
def _paretos(p: Any, q: Any) -> Tensor:
    ratio = q.alpha / p.alpha
    inside = q.alpha * (p.scale / q.scale).log() - ratio.log() + ratio - 1
    return torch.where(p.scale < q.scale, math.inf, inside)


@register_kl(ContinuousBernoulli, ContinuousBernoulli)
def _continuous_bernoullis(p: Any, q: Any) -> Tensor:
    norms = p._log_norm() + torch.log1p(-p.probs) - q._log_norm() - torch.log1p(-q.probs)
    return p.mean * (p.logits - q.logits) + norms


def _gauss(p: Any, q: Any, trace: Tensor, distance: Tensor) -> Tensor:
    """Of normal vectors: the trace of covariance(p) / covariance(q), and how far apart the means are."""
    if p.event_shape != q.event_shape:
        raise ValueError("KL-divergence between two Multivariate Normals with different event shapes")
    return q._half_log_det() - p._half_log_det() + 0.5 * (trace + distance - p.event_shape[0])


def _length(factor: Tensor, x: Tensor) -> Tensor:
    """The sum of the squares of factor^-1 x."""
    batch = torch.broadcast_shapes(factor.shape[:-2], x.shape[:-2])
    factor, x = (m.expand(*batch, *m.shape[-2:]) for m in (factor, x))
    return torch.linalg.solve_triangular(factor, x, upper=False).pow(2).sum((-2, -1))


@register_kl(MultivariateNormal, LowRankMultivariateNormal)
@register_kl(LowRankMultivariateNormal, LowRankMultivariateNormal)
def _to_low_rank(p: Any, q: Any) -> Tensor:
    weighted, factor = q._inner()
    within = lambda x: (x.pow(2) / q.cov_diag.unsqueeze(-1)).sum((-2, -1)) - _length(factor, weighted @ x)
    if isinstance(p, MultivariateNormal):
        trace = within(p.scale_tril)
    else:
        trace = within(p.cov_factor) + within(torch.diag_embed(p.cov_diag.sqrt()))
    return _gauss(p, q, trace, within((q.loc - p.loc).unsqueeze(-1)))


@register_kl(LowRankMultivariateNormal, MultivariateNormal)
def _from_low_rank(p: Any, q: Any) -> Tensor:
    trace = _length(q.scale_tril, p.cov_factor) + _length(q.scale_tril, torch.diag_embed(p.cov_diag.sqrt()))
    return _gauss(p, q, trace, _length(q.scale_tril, (q.loc - p.loc).unsqueeze(-1)))


@register_kl(Wishart, Wishart)
def _wisharts(p: Any, q: Any) -> Tensor:
    n, half = p.event_shape[-1], 0.5 * p.df
    diagonal = lambda d: d.scale_tril.diagonal(0, -2, -1).log().sum(-1)
    digammas = torch.digamma(half.unsqueeze(-1) - 0.5 * torch.arange(n, dtype=half.dtype)).sum(-1)
    norms = torch.mvlgamma(0.5 * q.df, n) - torch.mvlgamma(half, n) + (half - 0.5 * q.df) * digammas
    return q.df * (diagonal(q) - diagonal(p)) + half * (_length(q.scale_tril, p.scale_tril) - n) + norms
