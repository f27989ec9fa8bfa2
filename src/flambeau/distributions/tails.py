"""Distributions of real numbers that are made of others, have heavy tails, or live on a circle or an interval."""

from __future__ import annotations

import math
from typing import Any

import flambeau as torch
import flambeau.nn.functional as F

from . import constraints
from .continuous import Cauchy
from .discrete import _Binary, _clamped
from .distribution import Distribution, ExponentialFamily, Tensor, numbers
from .gammas import Chi2, Gamma
from .scalar_transforms import AbsTransform
from .transformed import _Named


class StudentT(Distribution):
    """loc + scale times a normal variable over the root of a Chi2 one of df degrees over df."""

    arg_constraints = {"df": constraints.positive, "loc": constraints.real, "scale": constraints.positive}
    support = constraints.real  # type: ignore[assignment]
    has_rsample = True

    def __init__(self, df: Any, loc: Any = 0.0, scale: Any = 1.0, validate_args: bool | None = None):
        self.df, self.loc, self.scale = numbers(df, loc, scale)
        super().__init__(self.df.size(), validate_args=validate_args)

    mode = property(lambda self: self.loc)
    mean = property(lambda self: torch.where(self.df > 1, self.loc, math.nan))

    @property
    def variance(self) -> Tensor:
        """The expected squared distance from the mean: inf for df up to 2, NaN up to 1."""
        df = self.df
        inside = self.scale.pow(2) * df / (df - 2)
        return torch.where(df > 2, inside, torch.where(df > 1, math.inf, torch.full_like(df, math.nan)))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """See `Distribution.rsample`."""
        x = torch.empty(self._extended_shape(sample_shape), dtype=self.df.dtype).normal_()
        z = Chi2(self.df, validate_args=False).rsample(sample_shape)
        return self.loc + self.scale * (x * torch.rsqrt(z / self.df))

    def log_prob(self, value: Tensor) -> Tensor:
        """See `Distribution.log_prob`."""
        if self._validate_args:
            self._validate_sample(value)
        y, df = (value - self.loc) / self.scale, self.df
        norm = self.scale.log() + 0.5 * df.log() + 0.5 * math.log(math.pi)
        norm = norm + torch.lgamma(0.5 * df) - torch.lgamma(0.5 * (df + 1))
        return -0.5 * (df + 1) * torch.log1p(y**2 / df) - norm

    def entropy(self) -> Tensor:
        """See `Distribution.entropy`."""
        df = self.df
        beta = torch.lgamma(0.5 * df) + math.lgamma(0.5) - torch.lgamma(0.5 * (df + 1))
        spread = 0.5 * (df + 1) * (torch.digamma(0.5 * (df + 1)) - torch.digamma(0.5 * df))
        return self.scale.log() + spread + 0.5 * df.log() + beta


class FisherSnedecor(Distribution):
    """The quotient of two Chi2 variables, each over its degrees of freedom."""

    arg_constraints = {"df1": constraints.positive, "df2": constraints.positive}
    support = constraints.positive  # type: ignore[assignment]
    has_rsample = True

    def __init__(self, df1: Any, df2: Any, validate_args: bool | None = None):
        self.df1, self.df2 = numbers(df1, df2)
        super().__init__(self.df1.size(), validate_args=validate_args)

    mean = property(lambda self: torch.where(self.df2 > 2, self.df2 / (self.df2 - 2), math.nan))

    @property
    def mode(self) -> Tensor:
        """The most likely event; NaN for df1 up to 2."""
        a, b = self.df1, self.df2
        return torch.where(a > 2, (a - 2) / a * b / (b + 2), math.nan)

    @property
    def variance(self) -> Tensor:
        """The expected squared distance from the mean; NaN for df2 up to 4."""
        a, b = self.df1, self.df2
        inside = 2 * b.pow(2) * (a + b - 2) / (a * (b - 2).pow(2) * (b - 4))
        return torch.where(b > 4, inside, math.nan)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """See `Distribution.rsample`."""
        x, y = (Gamma(0.5 * d, d, validate_args=False).rsample(sample_shape) for d in (self.df1, self.df2))
        tiny = torch.finfo(x.dtype).tiny
        return (x / y.clamp(min=tiny)).clamp(min=tiny)

    def log_prob(self, value: Tensor) -> Tensor:
        """See `Distribution.log_prob`."""
        if self._validate_args:
            self._validate_sample(value)
        a, b, ratio = self.df1 * 0.5, self.df2 * 0.5, self.df1 / self.df2
        front = torch.lgamma(a + b) - torch.lgamma(a) - torch.lgamma(b)
        middle = a * ratio.log() + (a - 1) * value.log()
        return front + middle - (a + b) * torch.log1p(ratio * value)


class HalfCauchy(_Named):
    """The absolute value of a Cauchy variable around 0."""

    arg_constraints = {"scale": constraints.positive}
    support = constraints.nonnegative  # type: ignore[assignment]
    has_rsample = True  # type: ignore[assignment]

    def __init__(self, scale: Any, validate_args: bool | None = None):
        super().__init__(Cauchy(0, scale, validate_args=False), AbsTransform(), validate_args)

    scale = property(lambda self: self.base_dist.scale)
    mean = property(lambda self: torch.full_like(self.scale, math.inf))
    mode = property(lambda self: torch.zeros_like(self.scale))
    variance = property(lambda self: self.base_dist.variance)

    def log_prob(self, value: Tensor) -> Tensor:
        """See `Distribution.log_prob`."""
        if self._validate_args:
            self._validate_sample(value)
        inside = math.log(2 / math.pi) - self.scale.log() - (value / self.scale).pow(2).log1p()
        return torch.where(value >= 0, inside, -math.inf)

    def cdf(self, value: Tensor) -> Tensor:
        """See `Distribution.cdf`."""
        return 2 * self.base_dist.cdf(value) - 1

    def icdf(self, value: Tensor) -> Tensor:
        """See `Distribution.icdf`."""
        return self.base_dist.icdf((value + 1) / 2)

    def entropy(self) -> Tensor:
        """See `Distribution.entropy`."""
        return self.base_dist.entropy() - math.log(2)


class GeneralizedPareto(Distribution):
    """What exceeds a high threshold loc: exponential for a concentration of 0, bounded below it, heavy-tailed above."""

    arg_constraints = {
        "loc": constraints.real,
        "scale": constraints.positive,
        "concentration": constraints.real,
    }
    has_rsample = True

    def __init__(self, loc: Any, scale: Any, concentration: Any, validate_args: bool | None = None):
        self.loc, self.scale, self.concentration = numbers(loc, scale, concentration)
        super().__init__(self.loc.size(), validate_args=validate_args)

    mode = property(lambda self: self.loc)

    def _by_kind(self, zero: Tensor, other: Any) -> Tensor:
        """zero where the concentration is (nearly) 0, else other(concentration)."""
        flat = torch.isclose(self.concentration, torch.zeros_like(self.concentration))
        return torch.where(flat, zero, other(torch.where(flat, 1.0, self.concentration)))

    @property
    def support(self) -> constraints.Constraint:  # type: ignore[override]
        """From loc on, up to loc - scale / concentration where that is negative."""
        top = self.loc - self.scale / self.concentration
        return constraints.interval(self.loc, torch.where(self.concentration < 0, top, math.inf))

    @property
    def mean(self) -> Tensor:
        """The expected value; inf for a concentration from 1 on."""
        c = self.concentration
        return torch.where(c < 1, self.loc + self.scale / (1 - c), math.inf)

    @property
    def variance(self) -> Tensor:
        """The expected squared distance from the mean; NaN for a concentration from 1/2 on, as in PyTorch."""
        c = self.concentration
        return torch.where(c < 0.5, self.scale**2 / ((1 - c) ** 2 * (1 - 2 * c)), math.nan)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """See `Distribution.rsample`."""
        return self.icdf(torch.rand(self._extended_shape(sample_shape), dtype=self.loc.dtype))

    def log_prob(self, value: Tensor) -> Tensor:
        """See `Distribution.log_prob`."""
        if self._validate_args:
            self._validate_sample(value)
        y = (value - self.loc) / self.scale
        return -self.scale.log() - self._by_kind(y, lambda c: (1 + c.reciprocal()) * torch.log1p(c * y))

    def cdf(self, value: Tensor) -> Tensor:
        """See `Distribution.cdf`."""
        y = (value - self.loc) / self.scale
        log_rest = self._by_kind(-y, lambda c: -torch.log1p(c * y) / c)
        return -torch.expm1(log_rest)

    def icdf(self, value: Tensor) -> Tensor:
        """See `Distribution.icdf`."""
        log = -torch.log1p(-value)
        return self.loc + self.scale * self._by_kind(log, lambda c: torch.expm1(c * log) / c)

    def entropy(self) -> Tensor:
        """See `Distribution.entropy`."""
        return self.scale.log() + self.concentration + 1


class VonMises(Distribution):
    """Angles around loc, of density proportional to exp(concentration cos(x - loc))."""

    arg_constraints = {"loc": constraints.real, "concentration": constraints.positive}
    support = constraints.real  # type: ignore[assignment]
    has_rsample = False

    def __init__(self, loc: Any, concentration: Any, validate_args: bool | None = None):
        self.loc, self.concentration = numbers(loc, concentration)
        super().__init__(self.loc.size(), validate_args=validate_args)

    mean = property(lambda self: self.loc)
    mode = property(lambda self: self.loc)

    @property
    def variance(self) -> Tensor:
        """1 minus the length of the mean direction."""
        k = self.concentration
        return 1 - torch.special.i1e(k) / torch.special.i0e(k)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """By rejection from a wrapped Cauchy distribution (Best and Fisher 1979), in float64."""
        with torch.no_grad():
            shape, k = self._extended_shape(sample_shape), self.concentration.double()
            tau = 1 + (1 + 4 * k**2).sqrt()
            rho = (tau - (2 * tau).sqrt()) / (2 * k)
            r = torch.where(k < 1e-5, 1 / k + k, (1 + rho**2) / (2 * rho))
            k, r = k.expand(shape), r.expand(shape)
            x, done = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.bool)
            while not done.all().item():
                u, v, w = torch.rand((3, *shape), dtype=torch.float64).unbind()
                z = torch.cos(math.pi * u)
                f = (1 + r * z) / (r + z)
                c = k * (r - f)
                taken = ((c * (2 - c) - v) > 0) | ((c / v).log() + 1 - c >= 0)
                x = torch.where(taken, (w - 0.5).sign() * f.acos(), x)
                done = done | taken
            turned = (x + math.pi + self.loc.double()) % (2 * math.pi) - math.pi
            return turned.to(self.loc.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """See `Distribution.log_prob`."""
        if self._validate_args:
            self._validate_sample(value)
        k = self.concentration
        norm = math.log(2 * math.pi) + torch.special.i0e(k).log() + k
        return k * torch.cos(value - self.loc) - norm


class ContinuousBernoulli(_Binary, ExponentialFamily):
    """Numbers in [0, 1] of density proportional to p^x (1 - p)^(1 - x); within lims by series around 1/2."""

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.unit_interval  # type: ignore[assignment]
    has_rsample = True

    def __init__(
        self,
        probs: Any = None,
        logits: Any = None,
        lims: tuple[float, float] = (0.499, 0.501),
        validate_args: bool | None = None,
    ):
        self._lims = lims
        super().__init__(probs, logits, validate_args)
        if probs is not None:
            self.probs = _clamped(self.probs)

    def _outside(self) -> Tensor:
        return (self.probs <= self._lims[0]) | (self.probs > self._lims[1])

    def _cut(self) -> Tensor:
        return torch.where(self._outside(), self.probs, self._lims[0])

    def _log_norm(self) -> Tensor:
        p = self._cut()
        far = (torch.log1p(-p) - p.log()).abs().log() - (1 - 2 * p).abs().log()
        x = (self.probs - 0.5).pow(2)
        return torch.where(self._outside(), far, math.log(2) + (4 / 3 + 104 / 45 * x) * x)

    @property
    def mean(self) -> Tensor:
        """The expected value."""
        p, x = self._cut(), self.probs - 0.5
        far = p / (2 * p - 1) + 1 / (torch.log1p(-p) - p.log())
        return torch.where(self._outside(), far, 0.5 + (1 / 3 + 16 / 45 * x.pow(2)) * x)

    @property
    def variance(self) -> Tensor:
        """The expected squared distance from the mean."""
        p, x = self._cut(), (self.probs - 0.5).pow(2)
        far = p * (p - 1) / (1 - 2 * p).pow(2) + 1 / (torch.log1p(-p) - p.log()).pow(2)
        return torch.where(self._outside(), far, 1 / 12 - (1 / 15 - 128 / 945 * x) * x)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """See `Distribution.rsample`."""
        return self.icdf(torch.rand(self._extended_shape(sample_shape), dtype=self.probs.dtype))

    def log_prob(self, value: Tensor) -> Tensor:
        """See `Distribution.log_prob`."""
        if self._validate_args:
            self._validate_sample(value)
        logits, value = torch.broadcast_tensors(self.logits, value)
        return self._log_norm() - F.binary_cross_entropy_with_logits(logits, value, reduction="none")

    def cdf(self, value: Tensor) -> Tensor:
        """See `Distribution.cdf`."""
        p = self._cut()
        inside = (p.pow(value) * (1 - p).pow(1 - value) + p - 1) / (2 * p - 1)
        inside = torch.where(self._outside(), inside, value)
        return torch.where(value <= 0, 0.0, torch.where(value >= 1, 1.0, inside))

    def icdf(self, value: Tensor) -> Tensor:
        """See `Distribution.icdf`."""
        p = self._cut()
        inside = (torch.log1p(-p + value * (2 * p - 1)) - torch.log1p(-p)) / (p.log() - torch.log1p(-p))
        return torch.where(self._outside(), inside, value)

    def entropy(self) -> Tensor:
        """See `Distribution.entropy`."""
        failure, success = torch.log1p(-self.probs), self.probs.log()
        return self.mean * (failure - success) - self._log_norm() - failure
