"""Distributions of vectors and matrices that are given by factors."""

from __future__ import annotations

import math
from typing import Any

import flambeau as torch

from . import constraints
from .distribution import HALF_LOG_2PI, Distribution, ExponentialFamily, Tensor, numbers
from .gammas import Beta, Chi2


def _log_diagonal(factor: Tensor) -> Tensor:
    """The sum of the logarithms of a diagonal."""
    return factor.diagonal(0, -2, -1).log().sum(-1)


class LowRankMultivariateNormal(Distribution):
    """The normal distribution of vectors with covariance cov_factor cov_factor^T + diag(cov_diag)."""

    arg_constraints = {
        "loc": constraints.real_vector,
        "cov_factor": constraints.independent(constraints.real, 2),
        "cov_diag": constraints.independent(constraints.positive, 1),
    }
    support = constraints.real_vector  # type: ignore[assignment]
    has_rsample = True

    def __init__(self, loc: Tensor, cov_factor: Tensor, cov_diag: Tensor, validate_args: bool | None = None):
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        if cov_factor.dim() < 2:
            raise ValueError(
                "cov_factor must be at least two-dimensional, with optional leading batch dimensions"
            )
        size = loc.shape[-1]
        if cov_factor.shape[-2] != size:
            raise ValueError(f"cov_factor must be a batch of matrices with shape {size} x m")
        if cov_diag.shape[-1] != size:
            raise ValueError(f"cov_diag must be a batch of vectors with shape ({size},)")
        batch = torch.broadcast_shapes(loc.shape[:-1], cov_factor.shape[:-2], cov_diag.shape[:-1])
        self.loc, self.cov_diag = loc.expand(*batch, size), cov_diag.expand(*batch, size)
        self.cov_factor = cov_factor.expand(*batch, *cov_factor.shape[-2:])
        super().__init__(batch, loc.shape[-1:], validate_args)

    mean = property(lambda self: self.loc)
    mode = property(lambda self: self.loc)
    variance = property(lambda self: self.cov_factor.pow(2).sum(-1) + self.cov_diag)

    @property
    def covariance_matrix(self) -> Tensor:
        """The covariance."""
        return self.cov_factor @ self.cov_factor.mT + torch.diag_embed(self.cov_diag)

    @property
    def scale_tril(self) -> Tensor:
        """Its Cholesky factor."""
        return torch.linalg.cholesky(self.covariance_matrix)

    @property
    def precision_matrix(self) -> Tensor:
        """Its inverse."""
        return torch.linalg.inv(self.covariance_matrix)

    def _inner(self) -> tuple[Tensor, Tensor]:
        """(cov_factor^T / cov_diag, the Cholesky factor of 1 + that cov_factor)."""
        weighted = self.cov_factor.mT / self.cov_diag.unsqueeze(-2)
        inner = weighted @ self.cov_factor
        return weighted, torch.linalg.cholesky(inner + torch.eye(inner.shape[-1], dtype=inner.dtype))

    def _half_log_det(self) -> Tensor:
        return _log_diagonal(self._inner()[1]) + 0.5 * self.cov_diag.log().sum(-1)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """See `Distribution.rsample`."""
        shape, kind = self._extended_shape(sample_shape), self.loc.dtype
        w = torch.empty((*shape[:-1], self.cov_factor.shape[-1]), dtype=kind).normal_()
        d = torch.empty(shape, dtype=kind).normal_()
        return self.loc + (self.cov_factor @ w.unsqueeze(-1)).squeeze(-1) + self.cov_diag.sqrt() * d

    def log_prob(self, value: Tensor) -> Tensor:
        """See `Distribution.log_prob`."""
        if self._validate_args:
            self._validate_sample(value)
        difference = value - self.loc
        weighted, factor = self._inner()
        z = (weighted @ difference.unsqueeze(-1)).squeeze(-1)
        z = torch.linalg.solve_triangular(
            factor.expand(*z.shape[:-1], *factor.shape[-2:]), z.unsqueeze(-1), upper=False
        )
        distance = (difference.pow(2) / self.cov_diag).sum(-1) - z.squeeze(-1).pow(2).sum(-1)
        return -0.5 * distance - self._event_shape[0] * HALF_LOG_2PI - self._half_log_det()

    def entropy(self) -> Tensor:
        """See `Distribution.entropy`."""
        return self._event_shape[0] * (0.5 + HALF_LOG_2PI) + self._half_log_det()


class Wishart(ExponentialFamily):
    """The sum of df outer products of normal vectors, of a covariance, its inverse or its Cholesky factor."""

    arg_constraints = {
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
        "df": constraints.greater_than(0),
    }
    support = constraints.positive_definite  # type: ignore[assignment]
    has_rsample = True

    def __init__(
        self,
        df: Any,
        covariance_matrix: Any = None,
        precision_matrix: Any = None,
        scale_tril: Any = None,
        validate_args: bool | None = None,
    ):
        given = [m for m in (covariance_matrix, precision_matrix, scale_tril) if m is not None]
        if len(given) != 1:
            raise ValueError(
                "Exactly one of covariance_matrix or precision_matrix or scale_tril may be specified."
            )
        (matrix,) = given
        if matrix.dim() < 2:
            raise ValueError(
                "scale_tril must be at least two-dimensional, with optional leading batch dimensions"
            )
        (df,) = numbers(df if isinstance(df, torch.Tensor) else torch.tensor(df, dtype=matrix.dtype))
        batch, size = torch.broadcast_shapes(matrix.shape[:-2], df.shape), matrix.shape[-1]
        self.df = df.expand(batch)
        if not (self.df > size - 1).all().item():
            raise ValueError(f"Value of df={self.df} expected to be greater than ndim - 1 = {size - 1}.")
        matrix = matrix.expand(*batch, size, size)
        if precision_matrix is not None:
            matrix = torch.linalg.inv(matrix)
        self._factor = matrix if scale_tril is not None else torch.linalg.cholesky(matrix)
        super().__init__(batch, matrix.shape[-2:], validate_args)

    scale_tril = property(lambda self: self._factor)
    covariance_matrix = property(lambda self: self._factor @ self._factor.mT)
    precision_matrix = property(lambda self: torch.linalg.inv(self.covariance_matrix))
    mean = property(lambda self: self.df[..., None, None] * self.covariance_matrix)

    @property
    def mode(self) -> Tensor:
        """The most likely event; NaN where there is none."""
        factor = self.df - self._event_shape[-1] - 1
        return torch.where(factor > 0, factor, math.nan)[..., None, None] * self.covariance_matrix

    @property
    def variance(self) -> Tensor:
        """The expected squared distance from the mean."""
        v = self.covariance_matrix
        diagonal = v.diagonal(0, -2, -1)
        return self.df[..., None, None] * (v.pow(2) + diagonal.unsqueeze(-1) * diagonal.unsqueeze(-2))

    def expand(self, batch_shape: Any, _instance: Any = None) -> Distribution:
        """See `Distribution.expand`."""
        factor = self._factor.expand(*batch_shape, *self._event_shape)
        return Wishart(self.df.expand(batch_shape), scale_tril=factor, validate_args=False)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """By Bartlett's decomposition: Chi variables on the diagonal, normal ones below it."""
        n = self._event_shape[-1]
        df = self.df.unsqueeze(-1) - torch.arange(n, dtype=self.df.dtype)
        noise = Chi2(df, validate_args=False).rsample(sample_shape).sqrt().diag_embed()
        rows, columns = torch.tril_indices(n, n, -1)
        below = torch.randn((*sample_shape, *self._batch_shape, n * (n - 1) // 2), dtype=self.df.dtype)
        flat = torch.zeros(*below.shape[:-1], n * n, dtype=below.dtype)
        noise = noise + flat.index_copy(-1, rows * n + columns, below).reshape(noise.shape)
        factor = self._factor @ noise
        return factor @ factor.mT

    def log_prob(self, value: Tensor) -> Tensor:
        """See `Distribution.log_prob`."""
        if self._validate_args:
            self._validate_sample(value)
        n, df = self._event_shape[-1], self.df
        trace = torch.cholesky_solve(value, self._factor).diagonal(0, -2, -1).sum(-1)
        norm = 0.5 * df * n * math.log(2) + df * _log_diagonal(self._factor) + torch.mvlgamma(0.5 * df, n)
        return 0.5 * (df - n - 1) * torch.linalg.slogdet(value).logabsdet - 0.5 * trace - norm

    def entropy(self) -> Tensor:
        """See `Distribution.entropy`."""
        n, df = self._event_shape[-1], self.df
        places = torch.arange(n, dtype=df.dtype)
        digammas = torch.digamma((df.unsqueeze(-1) - places) / 2).sum(-1)
        sizes = (n + 1) * (_log_diagonal(self._factor) + 0.5 * n * math.log(2))
        return sizes + torch.mvlgamma(0.5 * df, n) - 0.5 * (df - n - 1) * digammas + 0.5 * df * n


class LKJCholesky(Distribution):
    """Cholesky factors of correlation matrices, of density proportional to det^(concentration - 1)."""

    arg_constraints = {"concentration": constraints.positive}
    support = constraints.corr_cholesky  # type: ignore[assignment]

    def __init__(self, dim: int, concentration: Any = 1.0, validate_args: bool | None = None):
        if dim < 2:
            raise ValueError(f"Expected dim to be an integer greater than or equal to 2. Found dim={dim}.")
        self.dim = dim
        (self.concentration,) = numbers(concentration)
        super().__init__(self.concentration.size(), (dim, dim), validate_args)

    def _beta(self) -> Beta:
        kind = self.concentration.dtype
        offset = torch.cat([torch.zeros(1, dtype=kind), torch.arange(self.dim - 1, dtype=kind)])
        marginal = self.concentration + 0.5 * (self.dim - 2)
        return Beta(offset + 0.5, marginal.unsqueeze(-1) - 0.5 * offset, validate_args=False)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """By the onion method: the length of each row, and a direction."""
        with torch.no_grad():
            y = self._beta().sample(sample_shape).unsqueeze(-1)
            z = torch.randn(self._extended_shape(sample_shape), dtype=y.dtype).tril(-1)
            direction = z / z.norm(dim=-1, keepdim=True)
            first = torch.arange(self.dim).unsqueeze(-1) == 0
            w = y.sqrt() * torch.where(first, 0.0, direction)
            rest = (1 - (w * w).sum(-1)).clamp(min=torch.finfo(w.dtype).tiny).sqrt()
            return w + torch.diag_embed(rest)

    def log_prob(self, value: Tensor) -> Tensor:
        """See `Distribution.log_prob`."""
        if self._validate_args:
            self._validate_sample(value)
        n, concentration = self.dim - 1, self.concentration
        places = torch.arange(2, self.dim + 1, dtype=concentration.dtype)
        order = 2 * (concentration - 1).unsqueeze(-1) + self.dim - places
        inside = (order * value.diagonal(0, -2, -1)[..., 1:].log()).sum(-1)
        alpha = concentration + 0.5 * n
        norm = 0.5 * n * math.log(math.pi) + torch.mvlgamma(alpha - 0.5, n) - torch.lgamma(alpha) * n
        return inside - norm
