"""Distributions built on gamma variables. Samples move with their parameters as their probabilities stay."""

from __future__ import annotations

from typing import Any

import flambeau as torch

from . import constraints
from .distribution import Distribution, ExponentialFamily, Tensor, numbers


class Gamma(ExponentialFamily):
    """The density rate^a x^(a-1) e^(-rate x) / Gamma(a), a = concentration."""

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.nonnegative  # type: ignore[assignment]

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None):
        self.concentration, self.rate = numbers(concentration, rate)
        super().__init__(self.concentration.size(), validate_args=validate_args)

    has_rsample = True

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """See `Distribution.rsample`."""
        shape = self._extended_shape(sample_shape)
        value = torch._standard_gamma(self.concentration.expand(shape)) / self.rate.expand(shape)
        return value.clamp(min=torch.finfo(value.dtype).tiny)

    def cdf(self, value: Tensor) -> Tensor:
        """See `Distribution.cdf`."""
        if self._validate_args:
            self._validate_sample(value)
        return torch.special.gammainc(self.concentration, self.rate * value)

    mean = property(lambda self: self.concentration / self.rate)
    mode = property(lambda self: ((self.concentration - 1) / self.rate).clamp(min=0))
    variance = property(lambda self: self.concentration / self.rate.pow(2))

    def log_prob(self, value: Tensor) -> Tensor:
        """See `Distribution.log_prob`."""
        if self._validate_args:
            self._validate_sample(value)
        a, rate = self.concentration, self.rate
        return torch.xlogy(a, rate) + torch.xlogy(a - 1, value) - rate * value - torch.lgamma(a)

    def entropy(self) -> Tensor:
        """See `Distribution.entropy`."""
        a = self.concentration
        return a - self.rate.log() + torch.lgamma(a) + (1 - a) * torch.digamma(a)


class Chi2(Gamma):
    """The sum of df squared standard normal variables."""

    arg_constraints = {"df": constraints.positive}

    def __init__(self, df: Any, validate_args: bool | None = None):
        (df,) = numbers(df)
        super().__init__(0.5 * df, 0.5, validate_args)

    df = property(lambda self: 2 * self.concentration)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Distribution:
        """See `Distribution.expand`."""
        return Chi2(self.df.expand(batch_shape), validate_args=False)


class Dirichlet(ExponentialFamily):
    """Vectors of positive numbers that add up to 1, of density proportional to the product of x^(a - 1)."""

    arg_constraints = {"concentration": constraints.independent(constraints.positive, 1)}
    support = constraints.simplex  # type: ignore[assignment]

    def __init__(self, concentration: Any, validate_args: bool | None = None):
        if concentration.dim() < 1:
            raise ValueError("`concentration` parameter must be at least one-dimensional.")
        self.concentration = concentration
        super().__init__(concentration.shape[:-1], concentration.shape[-1:], validate_args)

    has_rsample = True

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Gamma variables over their sum, which is also how the gradient passes."""
        return torch._sample_dirichlet(self.concentration.expand(self._extended_shape(sample_shape)))

    mean = property(lambda self: self.concentration / self.concentration.sum(-1, keepdim=True))

    @property
    def mode(self) -> Tensor:
        """The most likely event; a corner of the simplex where every concentration is below 1."""
        above = (self.concentration - 1).clamp(min=0.0)
        inside = above / above.sum(-1, True)
        corner = torch.nn.functional.one_hot(inside.argmax(-1), above.shape[-1]).to(above)
        return torch.where((self.concentration < 1).all(-1, True), corner, inside)

    @property
    def variance(self) -> Tensor:
        """The expected squared distance from the mean."""
        total = self.concentration.sum(-1, keepdim=True)
        a = self.concentration
        return a * (total - a) / (total.pow(2) * (total + 1))

    def log_prob(self, value: Tensor) -> Tensor:
        """See `Distribution.log_prob`."""
        if self._validate_args:
            self._validate_sample(value)
        a = self.concentration
        return torch.xlogy(a - 1, value).sum(-1) + torch.lgamma(a.sum(-1)) - torch.lgamma(a).sum(-1)

    def entropy(self) -> Tensor:
        """See `Distribution.entropy`."""
        a = self.concentration
        k, total = a.shape[-1], a.sum(-1)
        beta = torch.lgamma(a).sum(-1) - torch.lgamma(total)
        return beta - (k - total) * torch.digamma(total) - ((a - 1) * torch.digamma(a)).sum(-1)


class Beta(ExponentialFamily):
    """The density proportional to x^(a-1) (1-x)^(b-1), a = concentration1, b = concentration0."""

    arg_constraints = {"concentration1": constraints.positive, "concentration0": constraints.positive}
    support = constraints.unit_interval  # type: ignore[assignment]

    def __init__(self, concentration1: Any, concentration0: Any, validate_args: bool | None = None):
        a, b = numbers(concentration1, concentration0)
        self._dirichlet = Dirichlet(torch.stack([a, b], -1), validate_args)
        super().__init__(a.size(), validate_args=validate_args)

    concentration1 = property(lambda self: self._dirichlet.concentration[..., 0])
    concentration0 = property(lambda self: self._dirichlet.concentration[..., 1])
    has_rsample = True

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """See `Distribution.rsample`."""
        return self._dirichlet.rsample(sample_shape).select(-1, 0)

    mean = property(lambda self: self.concentration1 / (self.concentration1 + self.concentration0))
    mode = property(lambda self: self._dirichlet.mode[..., 0])

    @property
    def variance(self) -> Tensor:
        """The expected squared distance from the mean."""
        a, b = self.concentration1, self.concentration0
        return a * b / ((a + b).pow(2) * (a + b + 1))

    def expand(self, batch_shape: Any, _instance: Any = None) -> Distribution:
        """See `Distribution.expand`."""
        made = super().expand(batch_shape)
        made._dirichlet = self._dirichlet.expand(batch_shape)  # type: ignore[attr-defined]
        return made

    def log_prob(self, value: Tensor) -> Tensor:
        """See `Distribution.log_prob`."""
        if self._validate_args:
            self._validate_sample(value)
        return self._dirichlet.log_prob(torch.stack([value, 1 - value], -1))

    def entropy(self) -> Tensor:
        """See `Distribution.entropy`."""
        return self._dirichlet.entropy()
