"""Distributions made of others: independent dimensions, mixtures, and the normal distribution of vectors."""

from __future__ import annotations

from typing import Any

import flambeau as torch

from . import constraints
from .discrete import Categorical
from .distribution import HALF_LOG_2PI, Distribution, Tensor, sum_rightmost
from .utils import lazy_property


class Independent(Distribution):
    """A distribution whose last batch dimensions count as dimensions of one event."""

    def __init__(
        self,
        base_distribution: Distribution,
        reinterpreted_batch_ndims: int,
        validate_args: bool | None = None,
    ):
        count, base = reinterpreted_batch_ndims, base_distribution
        if count > len(base.batch_shape):
            raise ValueError(
                "Expected reinterpreted_batch_ndims <= len(base_distribution.batch_shape), actual "
                f"{count} vs {len(base.batch_shape)}"
            )
        shape, cut = (*base.batch_shape, *base.event_shape), len(base.batch_shape) - count
        self.base_dist, self.reinterpreted_batch_ndims = base, count
        super().__init__(shape[:cut], shape[cut:], validate_args)

    has_rsample = property(lambda self: self.base_dist.has_rsample)  # type: ignore[assignment]
    mean = property(lambda self: self.base_dist.mean)
    mode = property(lambda self: self.base_dist.mode)
    variance = property(lambda self: self.base_dist.variance)

    @property
    def support(self) -> constraints.Constraint:
        """The set in which events lie."""
        count = self.reinterpreted_batch_ndims
        return constraints.independent(self.base_dist.support, count) if count else self.base_dist.support

    def expand(self, batch_shape: Any, _instance: Any = None) -> Distribution:
        """See `Distribution.expand`."""
        kept = self.event_shape[: self.reinterpreted_batch_ndims]
        base = self.base_dist.expand((*batch_shape, *kept))
        return Independent(base, self.reinterpreted_batch_ndims, validate_args=False)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """See `Distribution.sample`."""
        return self.base_dist.sample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """See `Distribution.rsample`."""
        return self.base_dist.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """See `Distribution.log_prob`."""
        return sum_rightmost(self.base_dist.log_prob(value), self.reinterpreted_batch_ndims)

    def entropy(self) -> Tensor:
        """See `Distribution.entropy`."""
        return sum_rightmost(self.base_dist.entropy(), self.reinterpreted_batch_ndims)

    def __repr__(self) -> str:
        return f"Independent({self.base_dist}, {self.reinterpreted_batch_ndims})"


class MultivariateNormal(Distribution):
    """The normal distribution of vectors, given by a covariance matrix, its inverse, or its Cholesky factor."""

    arg_constraints = {
        "loc": constraints.real_vector,
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    support = constraints.real_vector  # type: ignore[assignment]
    has_rsample = True

    def __init__(
        self,
        loc: Tensor,
        covariance_matrix: Any = None,
        precision_matrix: Any = None,
        scale_tril: Any = None,
        validate_args: bool | None = None,
    ):
        given = {
            "covariance_matrix": covariance_matrix,
            "precision_matrix": precision_matrix,
            "scale_tril": scale_tril,
        }
        given = {name: m for name, m in given.items() if m is not None}
        if len(given) != 1:
            raise ValueError(
                "Exactly one of covariance_matrix or precision_matrix or scale_tril may be specified."
            )
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        ((name, matrix),) = given.items()
        if matrix.dim() < 2:
            raise ValueError(
                f"{name} must be at least two-dimensional, with optional leading batch dimensions"
            )
        batch = torch.broadcast_shapes(matrix.shape[:-2], loc.shape[:-1])
        self.loc = loc.expand(*batch, loc.shape[-1])
        own = matrix
        self.__dict__[name] = matrix.expand(*batch, *matrix.shape[-2:])
        super().__init__(batch, self.loc.shape[-1:], validate_args)
        if name == "precision_matrix":
            own = torch.linalg.inv(own)
        # Under PyTorch's name, which subclasses make a property of: theirs may have a covariance that is no matrix yet.
        self._unbroadcasted_scale_tril = own if name == "scale_tril" else torch.linalg.cholesky(own)

    @lazy_property
    def scale_tril(self) -> Tensor:
        """The lower Cholesky factor of the covariance."""
        factor = self._unbroadcasted_scale_tril
        return factor.expand(*self._batch_shape, *factor.shape[-2:])

    @lazy_property
    def covariance_matrix(self) -> Tensor:
        """The covariance."""
        factor = self._unbroadcasted_scale_tril
        return (factor @ factor.mT).expand(*self._batch_shape, *factor.shape[-2:])

    @lazy_property
    def precision_matrix(self) -> Tensor:
        """The inverse of the covariance."""
        return torch.linalg.inv(self.covariance_matrix)

    mean = property(lambda self: self.loc)
    mode = property(lambda self: self.loc)

    @property
    def variance(self) -> Tensor:
        """The diagonal of the covariance."""
        return self._unbroadcasted_scale_tril.pow(2).sum(-1).expand(self.loc.shape)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Distribution:
        """See `Distribution.expand`."""
        made = super().expand(batch_shape)
        made._unbroadcasted_scale_tril = self._unbroadcasted_scale_tril  # type: ignore[attr-defined]
        return made

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """See `Distribution.rsample`."""
        z = torch.empty(self._extended_shape(sample_shape), dtype=self.loc.dtype).normal_()
        return self.loc + (self._unbroadcasted_scale_tril @ z.unsqueeze(-1)).squeeze(-1)

    def _half_log_det(self) -> Tensor:
        return self._unbroadcasted_scale_tril.diagonal(0, -2, -1).log().sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """See `Distribution.log_prob`."""
        if self._validate_args:
            self._validate_sample(value)
        difference = (value - self.loc).unsqueeze(-1)
        factor = self._unbroadcasted_scale_tril
        factor = factor.expand(*difference.shape[:-2], *factor.shape[-2:])
        z = torch.linalg.solve_triangular(factor, difference, upper=False).squeeze(-1)
        return -0.5 * z.pow(2).sum(-1) - self._event_shape[0] * HALF_LOG_2PI - self._half_log_det()

    def entropy(self) -> Tensor:
        """See `Distribution.entropy`."""
        half = self._half_log_det().expand(self._batch_shape)
        return self._event_shape[0] * (0.5 + HALF_LOG_2PI) + half


class MixtureSameFamily(Distribution):
    """A choice (Categorical) among the distributions along the last batch dimension of another."""

    def __init__(
        self,
        mixture_distribution: Categorical,
        component_distribution: Distribution,
        validate_args: bool | None = None,
    ):
        if not isinstance(mixture_distribution, Categorical):
            raise ValueError(
                " The Mixture distribution needs to be an  instance of torch.distributions.Categorical"
            )
        self.mixture_distribution, self.component_distribution = mixture_distribution, component_distribution
        base = component_distribution
        super().__init__(base.batch_shape[:-1], base.event_shape, validate_args)

    support = property(lambda self: self.component_distribution.support)  # type: ignore[assignment]

    def _weights(self) -> Tensor:
        p = self.mixture_distribution.probs
        return p.reshape([*p.shape, *[1] * len(self._event_shape)])

    @property
    def mean(self) -> Tensor:
        """The expected value."""
        return (self._weights() * self.component_distribution.mean).sum(-1 - len(self._event_shape))

    @property
    def variance(self) -> Tensor:
        """The expected squared distance from the mean."""
        dim, parts = -1 - len(self._event_shape), self.component_distribution
        inside = (self._weights() * parts.variance).sum(dim)
        return inside + (self._weights() * (parts.mean - self.mean.unsqueeze(dim)).pow(2)).sum(dim)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """See `Distribution.sample`."""
        dim = -1 - len(self._event_shape)
        chosen = self.mixture_distribution.sample(sample_shape)
        drawn = self.component_distribution.sample(sample_shape)
        index = chosen.reshape([*chosen.shape, 1, *[1] * len(self._event_shape)])
        shape = [*index.shape[:dim], 1, *self._event_shape]
        return drawn.gather(dim, index.expand(shape)).squeeze(dim)

    def log_prob(self, value: Tensor) -> Tensor:
        """See `Distribution.log_prob`."""
        if self._validate_args:
            self._validate_sample(value)
        parts = self.component_distribution.log_prob(value.unsqueeze(-1 - len(self._event_shape)))
        return torch.logsumexp(parts + torch.log_softmax(self.mixture_distribution.logits, -1), -1)

    def __repr__(self) -> str:
        return f"MixtureSameFamily(\n  {self.mixture_distribution},\n  {self.component_distribution})"
