"""Distributions of real numbers."""

from __future__ import annotations

import math
from typing import Any

import flambeau as torch

from . import constraints
from .distribution import HALF_LOG_2PI, Distribution, ExponentialFamily, Tensor, numbers


class _LocationScale(Distribution):
    """loc + scale * a standard variable."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    has_rsample = True
    support = constraints.real  # type: ignore[assignment]

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None):
        self.loc, self.scale = numbers(loc, scale)
        super().__init__(self.loc.size(), validate_args=validate_args)

    mean = property(lambda self: self.loc)
    mode = property(lambda self: self.loc)

    def _standard(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return (value - self.loc) / self.scale

    def _new(self, sample_shape: Any) -> Tensor:
        return torch.empty(self._extended_shape(sample_shape), dtype=self.loc.dtype)


class Normal(_LocationScale, ExponentialFamily):
    """The normal distribution of mean loc and standard deviation scale."""

    stddev = property(lambda self: self.scale)
    variance = property(lambda self: self.stddev.pow(2))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """See `Distribution.sample`."""
        shape = self._extended_shape(sample_shape)
        with torch.no_grad():
            return torch.normal(self.loc.expand(shape), self.scale.expand(shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """See `Distribution.rsample`."""
        return self.loc + self._new(sample_shape).normal_() * self.scale

    def log_prob(self, value: Tensor) -> Tensor:
        """See `Distribution.log_prob`."""
        if self._validate_args:
            self._validate_sample(value)
        return -((value - self.loc) ** 2) / (2 * self.variance) - self.scale.log() - HALF_LOG_2PI

    def cdf(self, value: Tensor) -> Tensor:
        """See `Distribution.cdf`."""
        return 0.5 * (1 + torch.erf(self._standard(value) / math.sqrt(2)))

    def icdf(self, value: Tensor) -> Tensor:
        """See `Distribution.icdf`."""
        return self.loc + self.scale * torch.erfinv(2 * value - 1) * math.sqrt(2)

    def entropy(self) -> Tensor:
        """See `Distribution.entropy`."""
        return 0.5 + HALF_LOG_2PI + self.scale.log()


class Laplace(_LocationScale):
    """The density exp(-|x - loc| / scale) / (2 scale)."""

    stddev = property(lambda self: 2**0.5 * self.scale)
    variance = property(lambda self: 2 * self.scale.pow(2))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """See `Distribution.rsample`."""
        u = self._new(sample_shape).uniform_(torch.finfo(self.loc.dtype).eps - 1, 1)
        return self.loc - self.scale * u.sign() * torch.log1p(-u.abs())

    def log_prob(self, value: Tensor) -> Tensor:
        """See `Distribution.log_prob`."""
        return -torch.log(2 * self.scale) - self._standard(value).abs()

    def cdf(self, value: Tensor) -> Tensor:
        """See `Distribution.cdf`."""
        z = self._standard(value)
        return 0.5 - 0.5 * z.sign() * torch.expm1(-z.abs())

    def icdf(self, value: Tensor) -> Tensor:
        """See `Distribution.icdf`."""
        term = value - 0.5
        return self.loc - self.scale * term.sign() * torch.log1p(-2 * term.abs())

    def entropy(self) -> Tensor:
        """See `Distribution.entropy`."""
        return 1 + torch.log(2 * self.scale)


class Cauchy(_LocationScale):
    """The density 1 / (pi scale (1 + ((x - loc) / scale)^2))."""

    mean = property(lambda self: torch.full(self._extended_shape(), math.nan, dtype=self.loc.dtype))
    variance = property(lambda self: torch.full(self._extended_shape(), math.inf, dtype=self.loc.dtype))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """See `Distribution.rsample`."""
        return self.loc + self._new(sample_shape).cauchy_() * self.scale

    def log_prob(self, value: Tensor) -> Tensor:
        """See `Distribution.log_prob`."""
        return -math.log(math.pi) - self.scale.log() - (1 + self._standard(value) ** 2).log()

    def cdf(self, value: Tensor) -> Tensor:
        """See `Distribution.cdf`."""
        return torch.atan(self._standard(value)) / math.pi + 0.5

    def icdf(self, value: Tensor) -> Tensor:
        """See `Distribution.icdf`."""
        return torch.tan(math.pi * (value - 0.5)) * self.scale + self.loc

    def entropy(self) -> Tensor:
        """See `Distribution.entropy`."""
        return math.log(4 * math.pi) + self.scale.log()


class LogNormal(Normal):
    """The exponential of a normal variable."""

    support = constraints.positive  # type: ignore[assignment]
    mean = property(lambda self: (self.loc + self.scale.pow(2) / 2).exp())
    mode = property(lambda self: (self.loc - self.scale.square()).exp())
    variance = property(lambda self: self.scale.pow(2).expm1() * (2 * self.loc + self.scale.pow(2)).exp())
    stddev = property(lambda self: self.variance.sqrt())

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """See `Distribution.sample`."""
        return super().sample(sample_shape).exp()

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """See `Distribution.rsample`."""
        return super().rsample(sample_shape).exp()

    def log_prob(self, value: Tensor) -> Tensor:
        """See `Distribution.log_prob`."""
        if self._validate_args:
            self._validate_sample(value)
        log = value.log()
        z = (log - self.loc) / self.scale
        return -(z**2) / 2 - self.scale.log() - HALF_LOG_2PI - log

    def cdf(self, value: Tensor) -> Tensor:
        """See `Distribution.cdf`."""
        return 0.5 * (1 + torch.erf((value.log() - self.loc) / self.scale / math.sqrt(2)))

    def icdf(self, value: Tensor) -> Tensor:
        """See `Distribution.icdf`."""
        return super().icdf(value).exp()

    def entropy(self) -> Tensor:
        """See `Distribution.entropy`."""
        return super().entropy() + self.loc

    def __repr__(self) -> str:
        return "LogNormal()"


class HalfNormal(Distribution):
    """The absolute value of a normal variable of mean 0."""

    arg_constraints = {"scale": constraints.positive}
    support = constraints.nonnegative  # type: ignore[assignment]
    has_rsample = True

    def __init__(self, scale: Any, validate_args: bool | None = None):
        (self.scale,) = numbers(scale)
        super().__init__(self.scale.size(), validate_args=validate_args)

    mean = property(lambda self: self.scale * math.sqrt(2 / math.pi))
    mode = property(lambda self: torch.zeros_like(self.scale))
    variance = property(lambda self: self.scale.pow(2) * (1 - 2 / math.pi))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """See `Distribution.rsample`."""
        shape = self._extended_shape(sample_shape)
        return (torch.empty(shape, dtype=self.scale.dtype).normal_() * self.scale).abs()

    def log_prob(self, value: Tensor) -> Tensor:
        """See `Distribution.log_prob`."""
        if self._validate_args:
            self._validate_sample(value)
        inside = math.log(2) - (value / self.scale) ** 2 / 2 - self.scale.log() - HALF_LOG_2PI
        return torch.where(value >= 0, inside, -math.inf)

    def cdf(self, value: Tensor) -> Tensor:
        """See `Distribution.cdf`."""
        return torch.erf(value / self.scale / math.sqrt(2))

    def icdf(self, value: Tensor) -> Tensor:
        """See `Distribution.icdf`."""
        return self.scale * torch.erfinv(value) * math.sqrt(2)

    def entropy(self) -> Tensor:
        """See `Distribution.entropy`."""
        return 0.5 + HALF_LOG_2PI - math.log(2) + self.scale.log()

    def __repr__(self) -> str:
        return "HalfNormal()"


class Uniform(Distribution):
    """The uniform distribution over [low, high)."""

    arg_constraints = {"low": constraints.dependent, "high": constraints.dependent}
    has_rsample = True

    def __init__(self, low: Any, high: Any, validate_args: bool | None = None):
        self.low, self.high = numbers(low, high)
        super().__init__(self.low.size(), validate_args=validate_args)
        if self._validate_args:
            self._check_parameter("low", constraints.less_than(self.high))

    mean = property(lambda self: (self.high + self.low) / 2)
    mode = property(lambda self: math.nan * self.high)
    stddev = property(lambda self: (self.high - self.low) / 12**0.5)
    variance = property(lambda self: (self.high - self.low).pow(2) / 12)
    support = property(lambda self: constraints.interval(self.low, self.high))  # type: ignore[assignment]

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """See `Distribution.rsample`."""
        u = torch.rand(self._extended_shape(sample_shape), dtype=self.low.dtype)
        return self.low + u * (self.high - self.low)

    def log_prob(self, value: Tensor) -> Tensor:
        """See `Distribution.log_prob`."""
        if self._validate_args:
            self._validate_sample(value)
        inside = ((value >= self.low) & (value < self.high)).type_as(self.low)
        return inside.log() - (self.high - self.low).log()

    def cdf(self, value: Tensor) -> Tensor:
        """See `Distribution.cdf`."""
        return ((value - self.low) / (self.high - self.low)).clamp(0, 1)

    def icdf(self, value: Tensor) -> Tensor:
        """See `Distribution.icdf`."""
        return value * (self.high - self.low) + self.low

    def entropy(self) -> Tensor:
        """See `Distribution.entropy`."""
        return (self.high - self.low).log()


class Exponential(ExponentialFamily):
    """The density rate * exp(-rate x)."""

    arg_constraints = {"rate": constraints.positive}
    support = constraints.nonnegative  # type: ignore[assignment]
    has_rsample = True

    def __init__(self, rate: Any, validate_args: bool | None = None):
        (self.rate,) = numbers(rate)
        super().__init__(self.rate.size(), validate_args=validate_args)

    mean = property(lambda self: self.rate.reciprocal())
    mode = property(lambda self: torch.zeros_like(self.rate))
    stddev = property(lambda self: self.rate.reciprocal())
    variance = property(lambda self: self.rate.pow(-2))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """See `Distribution.rsample`."""
        shape = self._extended_shape(sample_shape)
        return torch.empty(shape, dtype=self.rate.dtype).exponential_() / self.rate

    def log_prob(self, value: Tensor) -> Tensor:
        """See `Distribution.log_prob`."""
        if self._validate_args:
            self._validate_sample(value)
        return self.rate.log() - self.rate * value

    def cdf(self, value: Tensor) -> Tensor:
        """See `Distribution.cdf`."""
        return 1 - torch.exp(-self.rate * value)

    def icdf(self, value: Tensor) -> Tensor:
        """See `Distribution.icdf`."""
        return -torch.log1p(-value) / self.rate

    def entropy(self) -> Tensor:
        """See `Distribution.entropy`."""
        return 1 - self.rate.log()
