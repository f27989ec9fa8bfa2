"""Counts of successes, and classes that are relaxed so that gradients pass (Jang et al. 2016, Maddison et al. 2016)."""

from __future__ import annotations

from typing import Any

import flambeau as torch
import flambeau.nn.functional as F

from . import constraints
from .discrete import Categorical, OneHotCategorical, _Binary, _clamped, _one_of
from .distribution import Distribution, Tensor, numbers
from .gammas import Gamma
from .scalar_transforms import ExpTransform, SigmoidTransform
from .transformed import TransformedDistribution


class _Trials(_Binary):
    """A distribution of the number of trials and the probability of success."""

    def __init__(self, total_count: Any, probs: Any, logits: Any, validate_args: bool | None):
        _one_of(probs, logits)
        name, value = ("probs", probs) if probs is not None else ("logits", logits)
        self.total_count, self.__dict__[name] = numbers(total_count, value)
        self.total_count = self.total_count.type_as(self.__dict__[name])
        Distribution.__init__(self, self.__dict__[name].size(), validate_args=validate_args)


class Binomial(_Trials):
    """How many of total_count trials succeed."""

    arg_constraints = {
        "total_count": constraints.nonnegative_integer,
        "probs": constraints.unit_interval,
        "logits": constraints.real,
    }
    has_enumerate_support = True

    def __init__(
        self, total_count: Any = 1, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ):
        super().__init__(total_count, probs, logits, validate_args)

    support = property(lambda self: constraints.integer_interval(0, self.total_count))  # type: ignore[assignment]
    mean = property(lambda self: self.total_count * self.probs)
    variance = property(lambda self: self.total_count * self.probs * (1 - self.probs))

    @property
    def mode(self) -> Tensor:
        """The most likely event."""
        return torch.minimum(((self.total_count + 1) * self.probs).floor(), self.total_count)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """See `Distribution.sample`."""
        shape = self._extended_shape(sample_shape)
        with torch.no_grad():
            return torch.binomial(self.total_count.expand(shape), self.probs.expand(shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """See `Distribution.log_prob`."""
        if self._validate_args:
            self._validate_sample(value)
        n = self.total_count
        rest = n * F.softplus(self.logits, threshold=1e30) - torch.lgamma(n + 1)
        return value * self.logits - torch.lgamma(value + 1) - torch.lgamma(n - value + 1) - rest

    def _most(self, what: str) -> int:
        most = int(self.total_count.max().item())
        if self.total_count.min().item() != most:
            raise NotImplementedError(f"Inhomogeneous total count not supported by `{what}`.")
        return most

    def entropy(self) -> Tensor:
        """See `Distribution.entropy`."""
        self._most("entropy")
        log = self.log_prob(self.enumerate_support(False))
        return -(log.exp() * log).sum(0)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """See `Distribution.enumerate_support`."""
        count = 1 + self._most("enumerate_support")
        values = torch.arange(count, dtype=self.total_count.dtype).view(-1, *[1] * len(self._batch_shape))
        return values.expand(-1, *self._batch_shape) if expand else values


class NegativeBinomial(_Trials):
    """How many trials succeed before total_count fail."""

    arg_constraints = {
        "total_count": constraints.nonnegative,
        "probs": constraints.half_open_interval(0.0, 1.0),
        "logits": constraints.real,
    }
    support = constraints.nonnegative_integer  # type: ignore[assignment]

    def __init__(
        self, total_count: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ):
        super().__init__(total_count, probs, logits, validate_args)

    mean = property(lambda self: self.total_count * self.logits.exp())
    mode = property(lambda self: ((self.total_count - 1) * self.logits.exp()).floor().clamp(min=0))
    variance = property(lambda self: self.mean / torch.sigmoid(-self.logits))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """See `Distribution.sample`."""
        with torch.no_grad():
            gamma = Gamma(self.total_count, (-self.logits).exp(), validate_args=False)
            return torch.poisson(gamma.sample(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """See `Distribution.log_prob`."""
        if self._validate_args:
            self._validate_sample(value)
        n = self.total_count
        ways = torch.lgamma(n + value) - torch.lgamma(1 + value) - torch.lgamma(n)
        ways = torch.where(n + value == 0, 0.0, ways)
        return n * F.logsigmoid(-self.logits) + value * F.logsigmoid(self.logits) + ways


class OneHotCategoricalStraightThrough(OneHotCategorical):
    """A class as a vector of 0 and one 1, whose gradient is that of the probabilities (Bengio et al. 2013)."""

    has_rsample = True

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """See `Distribution.rsample`."""
        return self.sample(sample_shape) + (self.probs - self.probs.detach())


class LogitRelaxedBernoulli(_Binary):
    """The logit of a relaxed Bernoulli variable."""

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.real  # type: ignore[assignment]
    has_rsample = True

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ):
        self.temperature = temperature
        super().__init__(probs, logits, validate_args)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """See `Distribution.rsample`."""
        shape = self._extended_shape(sample_shape)
        p = _clamped(self.probs.expand(shape))
        u = _clamped(torch.rand(shape, dtype=p.dtype))
        return (u.log() - (-u).log1p() + p.log() - (-p).log1p()) / self.temperature

    def log_prob(self, value: Tensor) -> Tensor:
        """See `Distribution.log_prob`."""
        if self._validate_args:
            self._validate_sample(value)
        logits, value = torch.broadcast_tensors(self.logits, value)
        difference = logits - value.mul(self.temperature)
        return torch.as_tensor(self.temperature).log() + difference - 2 * difference.exp().log1p()


class _Relaxed(TransformedDistribution):
    """What a map makes of a relaxed variable."""

    has_rsample = True  # type: ignore[assignment]
    temperature = property(lambda self: self.base_dist.temperature)
    logits = property(lambda self: self.base_dist.logits)
    probs = property(lambda self: self.base_dist.probs)


class RelaxedBernoulli(_Relaxed):
    """A Bernoulli variable, relaxed to numbers between 0 and 1; the lower the temperature, the nearer to either."""

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.unit_interval  # type: ignore[assignment]

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ):
        super().__init__(LogitRelaxedBernoulli(temperature, probs, logits), SigmoidTransform(), validate_args)


class ExpRelaxedCategorical(Distribution):
    """The logarithm of a relaxed one-hot variable."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.real_vector  # type: ignore[assignment]
    has_rsample = True

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ):
        self._categorical, self.temperature = Categorical(probs, logits), temperature
        shape = self._categorical.param_shape
        super().__init__(self._categorical.batch_shape, shape[-1:], validate_args)

    logits = property(lambda self: self._categorical.logits)
    probs = property(lambda self: self._categorical.probs)
    param_shape = property(lambda self: self._categorical.param_shape)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Distribution:
        """See `Distribution.expand`."""
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        made._batch_shape, made._categorical = torch.Size(batch_shape), self._categorical.expand(batch_shape)
        return made

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """See `Distribution.rsample`."""
        u = _clamped(torch.rand(self._extended_shape(sample_shape), dtype=self.logits.dtype))
        scores = (self.logits - (-u.log()).log()) / self.temperature
        return scores - scores.logsumexp(-1, keepdim=True)

    def log_prob(self, value: Tensor) -> Tensor:
        """See `Distribution.log_prob`."""
        if self._validate_args:
            self._validate_sample(value)
        n, t = self._event_shape[0], torch.as_tensor(self.temperature, dtype=self.logits.dtype)
        logits, value = torch.broadcast_tensors(self.logits, value)
        scale = torch.full_like(t, float(n)).lgamma() + t.log() * (n - 1)
        score = logits - value.mul(self.temperature)
        return (score - score.logsumexp(-1, keepdim=True)).sum(-1) + scale


class RelaxedOneHotCategorical(_Relaxed):
    """A one-hot variable, relaxed to the simplex; the lower the temperature, the nearer to a corner."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.simplex  # type: ignore[assignment]

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ):
        base = ExpRelaxedCategorical(temperature, probs, logits, validate_args)
        super().__init__(base, ExpTransform(), validate_args)
