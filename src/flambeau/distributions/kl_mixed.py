"""Divergences between different families: minus the entropy of p minus the expectation of q's log density under p."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import flambeau as torch

from .continuous import Exponential, Laplace, Normal, Uniform
from .discrete import Bernoulli, Poisson
from .distribution import HALF_LOG_2PI, Tensor
from .gammas import Beta, Gamma
from .kl import register_kl
from .relaxed import Binomial
from .tails import ContinuousBernoulli
from .transformed import EULER, Gumbel, Pareto

Moment = Callable[[Any], Tensor]


def _infinite(p: Any, q: Any) -> Tensor:
    """Some of p's mass lies where q has none."""
    return torch.full(torch.broadcast_shapes(p.batch_shape, q.batch_shape), math.inf, dtype=p.mean.dtype)


_EVERYWHERE = (Beta, ContinuousBernoulli, Exponential, Gamma, Pareto, Uniform)
_BOUNDED = (Beta, ContinuousBernoulli, Pareto, Uniform)
for _kind, _others in {
    Beta: (Pareto,),
    ContinuousBernoulli: (Pareto,),
    Exponential: _BOUNDED,
    Gamma: _BOUNDED,
    Gumbel: _EVERYWHERE,
    Laplace: _EVERYWHERE,
    Normal: _EVERYWHERE,
    Pareto: (Beta, ContinuousBernoulli, Uniform),
    Poisson: (Bernoulli, Binomial),
}.items():
    for _other in _others:
        register_kl(_kind, _other)(_infinite)

# the expectation of log(x)
LOG: dict[type, Moment] = {
    Beta: lambda p: torch.digamma(p.concentration1) - torch.digamma(p.concentration1 + p.concentration0),
    Exponential: lambda p: -EULER - p.rate.log(),
    Gamma: lambda p: torch.digamma(p.concentration) - p.rate.log(),
    Pareto: lambda p: p.scale.log() + p.alpha.reciprocal(),
    Uniform: lambda p: (_x_log_x(p.high) - _x_log_x(p.low)) / (p.high - p.low) - 1,
}
# the expectation of exp(-x / s)
DECAY: dict[type, Callable[[Any, Tensor], Tensor]] = {
    Exponential: lambda p, s: p.rate / (p.rate + 1 / s),
    Gamma: lambda p, s: (p.rate / (p.rate + 1 / s)).pow(p.concentration),
    Normal: lambda p, s: (-p.loc / s + 0.5 * (p.scale / s).pow(2)).exp(),
    Uniform: lambda p, s: s * ((-p.low / s).exp() - (-p.high / s).exp()) / (p.high - p.low),
}


def _x_log_x(x: Tensor) -> Tensor:
    return torch.special.xlogy(x, x)


def _square(p: Any, at: Tensor) -> Tensor:
    """The expectation of (x - at)^2."""
    return p.variance + (p.mean - at).pow(2)


def _to_normal(p: Any, q: Any) -> Tensor:
    return _square(p, q.loc) / (2 * q.scale.pow(2)) + q.scale.log() + HALF_LOG_2PI - p.entropy()


def _to_exponential(p: Any, q: Any) -> Tensor:
    return q.rate * p.mean - q.rate.log() - p.entropy()


def _to_gamma(p: Any, q: Any) -> Tensor:
    a = q.concentration
    norm = torch.lgamma(a) - a * q.rate.log()
    return norm - (a - 1) * LOG[_family(p, LOG)](p) + q.rate * p.mean - p.entropy()


def _to_gumbel(p: Any, q: Any) -> Tensor:
    decay = DECAY[_family(p, DECAY)](p, q.scale)
    return q.scale.log() + (p.mean - q.loc) / q.scale + decay * (q.loc / q.scale).exp() - p.entropy()


def _to_bernoulli_of_numbers(p: Any, q: Any) -> Tensor:
    return -p.entropy() - p.mean * q.logits - torch.log1p(-q.probs) - q._log_norm()


def _family(p: Any, table: dict[type, Any]) -> type:
    return next(kind for kind in type(p).__mro__ if kind in table)


def _unless(outside: Callable[[Any, Any], Tensor], formula: Callable[[Any, Any], Tensor]) -> Any:
    """A formula, inf where p leaves the support of q."""
    return lambda p, q: torch.where(outside(p, q), math.inf, formula(p, q))


_below_zero = lambda p, q: p.low < 0
_beyond_unit = lambda p, q: (p.low < 0) | (p.high > 1)
_wider_than_unit = lambda p, q: (q.low > 0) | (q.high < 1)
_to_uniform = lambda p, q: (q.high - q.low).log() - p.entropy()

for _kind in (Beta, ContinuousBernoulli, Exponential, Gamma, Gumbel, Laplace, Uniform):
    register_kl(_kind, Normal)(_to_normal)
for _kind in (Beta, ContinuousBernoulli, Gamma):
    register_kl(_kind, Exponential)(_to_exponential)
for _kind in (Beta, Exponential):
    register_kl(_kind, Gamma)(_to_gamma)
for _kind in (Exponential, Gamma, Normal, Uniform):
    register_kl(_kind, Gumbel)(_to_gumbel)
register_kl(Beta, Uniform)(_unless(_wider_than_unit, _to_uniform))
register_kl(Beta, ContinuousBernoulli)(_to_bernoulli_of_numbers)
# as in PyTorch, inf also where an end of the interval is 0 or 1
register_kl(ContinuousBernoulli, Uniform)(_unless(lambda p, q: (q.low >= 0) | (q.high <= 1), _to_uniform))
register_kl(Uniform, ContinuousBernoulli)(
    _unless(lambda p, q: (p.low <= 0) | (p.high >= 1), _to_bernoulli_of_numbers)
)
register_kl(Uniform, Exponential)(_unless(_below_zero, _to_exponential))
register_kl(Uniform, Gamma)(_unless(_below_zero, _to_gamma))
register_kl(Pareto, Exponential)(_unless(lambda p, q: p.alpha <= 1, _to_exponential))
register_kl(Pareto, Gamma)(_unless(lambda p, q: p.alpha <= 1, _to_gamma))
register_kl(Pareto, Normal)(_unless(lambda p, q: p.alpha <= 2, _to_normal))


@register_kl(Uniform, Beta)
def _uniform_to_beta(p: Any, q: Any) -> Tensor:
    a, b = q.concentration1, q.concentration0
    norm = torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
    rest = (_x_log_x(1 - p.low) - _x_log_x(1 - p.high)) / (p.high - p.low) - 1
    inside = norm - (a - 1) * LOG[Uniform](p) - (b - 1) * rest - p.entropy()
    return torch.where(_beyond_unit(p, q), math.inf, inside)


@register_kl(Uniform, Pareto)
def _uniform_to_pareto(p: Any, q: Any) -> Tensor:
    norm = q.alpha.log() + q.alpha * q.scale.log()
    inside = (q.alpha + 1) * LOG[Uniform](p) - norm - p.entropy()
    return torch.where(p.low < q.scale, math.inf, inside)


@register_kl(Normal, Laplace)
def _normal_to_laplace(p: Any, q: Any) -> Tensor:
    distance = p.loc - q.loc
    z = distance / p.scale
    near = math.sqrt(2 / math.pi) * p.scale * (-0.5 * z * z).exp()
    size = near + distance * torch.erf(math.sqrt(0.5) * z)
    return (2 * q.scale).log() + size / q.scale - p.entropy()


@register_kl(Bernoulli, Poisson)
def _bernoulli_to_poisson(p: Any, q: Any) -> Tensor:
    return q.rate - p.probs * q.rate.log() - p.entropy()
