"""A variable of one distribution, mapped: and the families that are made so."""

from __future__ import annotations

import math
from typing import Any

import flambeau as torch

from . import constraints
from .compound import Independent
from .continuous import Exponential, Normal, Uniform
from .distribution import Distribution, Tensor, numbers, sum_rightmost
from .gammas import Gamma
from .scalar_transforms import AffineTransform, ComposeTransform, ExpTransform, PowerTransform, Transform
from .vector_transforms import StickBreakingTransform

EULER = 0.5772156649015329


class TransformedDistribution(Distribution):
    """What maps make of a variable of base_distribution: transforms one after the other."""

    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(self, base_distribution: Distribution, transforms: Any, validate_args: bool | None = None):
        self.transforms = [transforms] if isinstance(transforms, Transform) else transforms
        if not isinstance(self.transforms, list) or not all(
            isinstance(t, Transform) for t in self.transforms
        ):
            raise ValueError(
                f"transforms must be a Transform or list, but was {type(transforms).__name__}"
                if not isinstance(self.transforms, list)
                else "transforms must be a Transform or a list of Transforms"
            )
        base = base_distribution
        shape, dims = (*base.batch_shape, *base.event_shape), len(base.event_shape)
        whole = ComposeTransform(self.transforms)
        if len(shape) < whole.domain.event_dim:
            raise ValueError(
                f"base_distribution needs to have shape with size at least {whole.domain.event_dim}, "
                f"but got {torch.Size(shape)}."
            )
        forward = whole.forward_shape(torch.Size(shape))
        wanted = tuple(whole.inverse_shape(forward))
        if tuple(shape) != wanted:
            base = base.expand(wanted[: len(wanted) - dims])
        more = whole.domain.event_dim - dims
        self.base_dist = Independent(base, more) if more > 0 else base
        change = whole.codomain.event_dim - whole.domain.event_dim
        event_dim = max(whole.codomain.event_dim, dims + change)
        cut = len(forward) - event_dim
        super().__init__(forward[:cut], forward[cut:], validate_args)

    has_rsample = property(lambda self: self.base_dist.has_rsample)  # type: ignore[assignment]

    @property
    def support(self) -> constraints.Constraint:
        """The set in which events lie."""
        if not self.transforms:
            return self.base_dist.support
        last = self.transforms[-1].codomain
        more = len(self._event_shape) - last.event_dim
        return constraints.independent(last, more) if more > 0 else last

    def expand(self, batch_shape: Any, _instance: Any = None) -> Distribution:
        """See `Distribution.expand`."""
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        shape = torch.Size((*batch_shape, *self._event_shape))
        for t in reversed(self.transforms):
            shape = t.inverse_shape(shape)
        made.base_dist = self.base_dist.expand(shape[: len(shape) - len(self.base_dist.event_shape)])
        made._batch_shape = torch.Size(batch_shape)
        return made

    def _mapped(self, x: Tensor) -> Tensor:
        for t in self.transforms:
            x = t(x)
        return x

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """See `Distribution.sample`."""
        with torch.no_grad():
            return self._mapped(self.base_dist.sample(sample_shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """See `Distribution.rsample`."""
        return self._mapped(self.base_dist.rsample(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """See `Distribution.log_prob`."""
        if self._validate_args:
            self._validate_sample(value)
        dims, total, y = len(self._event_shape), 0.0, value
        for t in reversed(self.transforms):
            x = t.inv(y)
            dims += t.domain.event_dim - t.codomain.event_dim
            total = total - sum_rightmost(t.log_abs_det_jacobian(x, y), dims - t.domain.event_dim)
            y = x
        return total + sum_rightmost(self.base_dist.log_prob(y), dims - len(self.base_dist.event_shape))

    def _rising(self, value: Tensor) -> Tensor:
        sign = math.prod(t.sign for t in self.transforms)
        return value if isinstance(sign, int) and sign == 1 else sign * (value - 0.5) + 0.5

    def cdf(self, value: Tensor) -> Tensor:
        """See `Distribution.cdf`."""
        for t in reversed(self.transforms):
            value = t.inv(value)
        if self._validate_args:
            self.base_dist._validate_sample(value)
        return self._rising(self.base_dist.cdf(value))

    def icdf(self, value: Tensor) -> Tensor:
        """See `Distribution.icdf`."""
        return self._mapped(self.base_dist.icdf(self._rising(value)))


class _Named(TransformedDistribution):
    """A family with parameters: larger batches are made of expanded ones."""

    def expand(self, batch_shape: Any, _instance: Any = None) -> Distribution:
        """See `Distribution.expand`."""
        given = [getattr(self, name).expand(batch_shape) for name in self.arg_constraints]
        return type(self)(*given, validate_args=False)  # type: ignore[arg-type]


class Gumbel(_Named):
    """loc - scale log(-log(u)): the largest of many exponential variables."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real  # type: ignore[assignment]

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None):
        self.loc, self.scale = numbers(loc, scale)
        info = torch.finfo(self.loc.dtype)
        low, high = torch.full_like(self.loc, info.tiny), torch.full_like(self.loc, 1 - info.eps)
        inner = [ExpTransform().inv, AffineTransform(0, -torch.ones_like(self.scale))]
        parts = [*inner, ExpTransform().inv, AffineTransform(self.loc, -self.scale)]
        super().__init__(Uniform(low, high, validate_args=validate_args), parts, validate_args)

    mean = property(lambda self: self.loc + self.scale * EULER)
    mode = property(lambda self: self.loc)
    stddev = property(lambda self: math.pi / math.sqrt(6) * self.scale)
    variance = property(lambda self: self.stddev.pow(2))

    def log_prob(self, value: Tensor) -> Tensor:
        """See `Distribution.log_prob`."""
        if self._validate_args:
            self._validate_sample(value)
        y = (self.loc - value) / self.scale
        return (y - y.exp()) - self.scale.log()

    def entropy(self) -> Tensor:
        """See `Distribution.entropy`."""
        return self.scale.log() + (1 + EULER)


class Pareto(_Named):
    """The density alpha scale^alpha / x^(alpha + 1) from scale on."""

    arg_constraints = {"scale": constraints.positive, "alpha": constraints.positive}

    def __init__(self, scale: Any, alpha: Any, validate_args: bool | None = None):
        self.scale, self.alpha = numbers(scale, alpha)
        parts = [ExpTransform(), AffineTransform(0, self.scale)]
        super().__init__(Exponential(self.alpha, validate_args=validate_args), parts, validate_args)

    mode = property(lambda self: self.scale)
    support = property(lambda self: constraints.greater_than_eq(self.scale))  # type: ignore[assignment]

    @property
    def mean(self) -> Tensor:
        """The expected value; inf for alpha up to 1."""
        a = self.alpha.clamp(min=1)
        return a * self.scale / (a - 1)

    @property
    def variance(self) -> Tensor:
        """The expected squared distance from the mean; inf for alpha up to 2."""
        a = self.alpha.clamp(min=2)
        return self.scale.pow(2) * a / ((a - 1).pow(2) * (a - 2))

    def entropy(self) -> Tensor:
        """See `Distribution.entropy`."""
        return (self.scale / self.alpha).log() + (1 + self.alpha.reciprocal())


class Weibull(_Named):
    """scale times an exponential variable to the power 1 / concentration."""

    arg_constraints = {"scale": constraints.positive, "concentration": constraints.positive}
    support = constraints.positive  # type: ignore[assignment]

    def __init__(self, scale: Any, concentration: Any, validate_args: bool | None = None):
        self.scale, self.concentration = numbers(scale, concentration)
        self.concentration_reciprocal = self.concentration.reciprocal()
        base = Exponential(torch.ones_like(self.scale), validate_args=validate_args)
        parts = [PowerTransform(self.concentration_reciprocal), AffineTransform(0, self.scale)]
        super().__init__(base, parts, validate_args)

    def _moment(self, n: int) -> Tensor:
        return torch.lgamma(1 + n * self.concentration_reciprocal).exp()

    mean = property(lambda self: self.scale * self._moment(1))
    variance = property(lambda self: self.scale.pow(2) * (self._moment(2) - self._moment(1).pow(2)))

    @property
    def mode(self) -> Tensor:
        """The most likely event."""
        k = self.concentration
        return self.scale * ((k - 1) / k) ** k.reciprocal()

    def entropy(self) -> Tensor:
        """See `Distribution.entropy`."""
        r = self.concentration_reciprocal
        return EULER * (1 - r) + torch.log(self.scale * r) + 1


class Kumaraswamy(_Named):
    """(1 - (1 - u)^(1 / b))^(1 / a): like a beta variable, with a distribution function in closed form."""

    arg_constraints = {"concentration1": constraints.positive, "concentration0": constraints.positive}
    support = constraints.unit_interval  # type: ignore[assignment]

    def __init__(self, concentration1: Any, concentration0: Any, validate_args: bool | None = None):
        self.concentration1, self.concentration0 = numbers(concentration1, concentration0)
        one = torch.ones_like(self.concentration0)
        base = Uniform(torch.zeros_like(one), one, validate_args=validate_args)
        parts = [PowerTransform(self.concentration0.reciprocal()), AffineTransform(1.0, -1.0)]
        parts.append(PowerTransform(self.concentration1.reciprocal()))
        super().__init__(base, parts, validate_args)

    def _moment(self, n: int) -> Tensor:
        a, b = 1 + n / self.concentration1, self.concentration0
        return (b.log() + torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)).exp()

    mean = property(lambda self: self._moment(1))
    variance = property(lambda self: self._moment(2) - self.mean.pow(2))

    @property
    def mode(self) -> Tensor:
        """The most likely event; NaN where there is none inside."""
        a, b = self.concentration1, self.concentration0
        value = (a.reciprocal() * ((a - 1) / (a * b - 1)).log()).exp()
        return torch.where((a < 1) | (b < 1), math.nan, value)

    def entropy(self) -> Tensor:
        """See `Distribution.entropy`."""
        a, b = self.concentration1, self.concentration0
        harmonic = torch.digamma(b + 1) + EULER
        return (1 - b.reciprocal()) + (1 - a.reciprocal()) * harmonic - a.log() - b.log()


class InverseGamma(_Named):
    """One over a gamma variable."""

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.positive  # type: ignore[assignment]

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None):
        base = Gamma(concentration, rate, validate_args)
        super().__init__(base, PowerTransform(-base.rate.new_ones(())), validate_args)

    concentration = property(lambda self: self.base_dist.concentration)
    rate = property(lambda self: self.base_dist.rate)
    mode = property(lambda self: self.rate / (self.concentration + 1))

    @property
    def mean(self) -> Tensor:
        """The expected value; inf for a concentration up to 1."""
        return torch.where(self.concentration > 1, self.rate / (self.concentration - 1), math.inf)

    @property
    def variance(self) -> Tensor:
        """The expected squared distance from the mean; inf for a concentration up to 2."""
        a = self.concentration
        return torch.where(a > 2, self.rate.square() / ((a - 1).square() * (a - 2)), math.inf)

    def entropy(self) -> Tensor:
        """See `Distribution.entropy`."""
        a = self.concentration
        return a + self.rate.log() + torch.lgamma(a) - (1 + a) * torch.digamma(a)


class LogisticNormal(TransformedDistribution):
    """Vectors on the simplex: normal ones broken like a stick."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.simplex  # type: ignore[assignment]

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None):
        base = Normal(loc, scale, validate_args=validate_args)
        if not base.batch_shape:
            base = base.expand([1])  # type: ignore[assignment]
        super().__init__(base, StickBreakingTransform(), validate_args)

    loc = property(lambda self: self.base_dist.base_dist.loc)
    scale = property(lambda self: self.base_dist.base_dist.scale)
