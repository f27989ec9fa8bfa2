"""Maps of vectors and matrices: onto simplices, factors of matrices, and several maps side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flambeau as torch
import flambeau.nn.functional as F

from . import constraints
from .distribution import Tensor
from .scalar_transforms import Transform


class _Fixed(Transform):
    """A map without parameters: two of a class are the same."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    __hash__ = object.__hash__


class SoftmaxTransform(_Fixed):
    """exp(x) over its sum along the last dimension; log as an inverse. Not one to one."""

    domain, codomain = constraints.real_vector, constraints.simplex

    def _call(self, x: Tensor) -> Tensor:
        probs = (x - x.max(-1, True)[0]).exp()
        return probs / probs.sum(-1, True)

    def _inverse(self, y: Tensor) -> Tensor:
        return y.log()


class StickBreakingTransform(_Fixed):
    """Vectors of n numbers onto the simplex of n + 1: each takes its share of what the ones before have left."""

    domain, codomain = constraints.real_vector, constraints.simplex
    bijective = True

    @staticmethod
    def _left(x: Tensor, like: Tensor) -> Tensor:
        """log of how many places come after each."""
        n = x.shape[-1]
        return torch.arange(n, 0, -1, dtype=like.dtype).log()

    def _call(self, x: Tensor) -> Tensor:
        z = torch.sigmoid(x - self._left(x, x))
        rest = (1 - z).cumprod(-1)
        return F.pad(z, [0, 1], value=1.0) * F.pad(rest, [1, 0], value=1.0)

    def _inverse(self, y: Tensor) -> Tensor:
        head = y[..., :-1]
        rest = (1 - head.cumsum(-1)).clamp(min=torch.finfo(y.dtype).tiny)
        return head.log() - rest.log() + self._left(head, y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """See `Transform.log_abs_det_jacobian`."""
        x = x - self._left(x, x)
        return (-x + F.logsigmoid(x) + y[..., :-1].log()).sum(-1)

    def forward_shape(self, shape: Any) -> Any:
        """See `Transform.forward_shape`."""
        return torch.Size((*shape[:-1], shape[-1] + 1))

    def inverse_shape(self, shape: Any) -> Any:
        """See `Transform.inverse_shape`."""
        return torch.Size((*shape[:-1], shape[-1] - 1))


class LowerCholeskyTransform(_Fixed):
    """Matrices onto lower triangular ones with a positive diagonal: exp of it."""

    domain, codomain = constraints.independent(constraints.real, 2), constraints.lower_cholesky

    def _call(self, x: Tensor) -> Tensor:
        return x.tril(-1) + x.diagonal(0, -2, -1).exp().diag_embed()

    def _inverse(self, y: Tensor) -> Tensor:
        return y.tril(-1) + y.diagonal(0, -2, -1).log().diag_embed()


class PositiveDefiniteTransform(_Fixed):
    """Matrices onto positive definite ones."""

    domain, codomain = constraints.independent(constraints.real, 2), constraints.positive_definite

    def _call(self, x: Tensor) -> Tensor:
        factor = LowerCholeskyTransform()(x)
        return factor @ factor.mT

    def _inverse(self, y: Tensor) -> Tensor:
        return LowerCholeskyTransform().inv(torch.linalg.cholesky(y))


class CorrCholeskyTransform(_Fixed):
    """Vectors of n (n - 1) / 2 numbers onto the Cholesky factors of correlation matrices: rows of length 1."""

    domain, codomain = constraints.real_vector, constraints.corr_cholesky
    bijective = True

    def _call(self, x: Tensor) -> Tensor:
        x = torch.tanh(x)
        eps = torch.finfo(x.dtype).eps
        r = _lower(x.clamp(-1 + eps, 1 - eps), -1)
        left = (1 - r * r).sqrt().cumprod(-1)
        r = r + torch.eye(r.shape[-1], dtype=r.dtype)
        return r * F.pad(left[..., :-1], [1, 0], value=1.0)

    def _inverse(self, y: Tensor) -> Tensor:
        left = F.pad((1 - (y * y).cumsum(-1))[..., :-1], [1, 0], value=1.0)
        t = _below(y, -1) / _below(left, -1).sqrt()
        return (t.log1p() - t.neg().log1p()) / 2

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """See `Transform.log_abs_det_jacobian`."""
        left = 1 - (y * y).cumsum(-1)
        scale = 0.5 * _below(left, -2).log().sum(-1)
        tanh = -2 * (x + F.softplus(-2 * x) - 0.6931471805599453).sum(-1)
        return scale + tanh

    def forward_shape(self, shape: Any) -> Any:
        """See `Transform.forward_shape`."""
        n = round((0.25 + 2 * shape[-1]) ** 0.5 + 0.5)
        if n * (n - 1) // 2 != shape[-1]:
            raise ValueError("Input is not a flattened lower-diagonal number")
        return torch.Size((*shape[:-1], n, n))

    def inverse_shape(self, shape: Any) -> Any:
        """See `Transform.inverse_shape`."""
        if len(shape) < 2 or shape[-2] != shape[-1]:
            raise ValueError("Input is not square")
        return torch.Size((*shape[:-2], shape[-1] * (shape[-1] - 1) // 2))


def _lower(x: Tensor, diagonal: int) -> Tensor:
    """Vectors as the triangles of square matrices below a diagonal."""
    n = round(((1 + 8 * x.shape[-1]) ** 0.5 - 1) / 2) - diagonal
    rows, columns = torch.tril_indices(n, n, diagonal)
    flat = torch.zeros(*x.shape[:-1], n * n, dtype=x.dtype)
    return flat.index_copy(-1, rows * n + columns, x).reshape(*x.shape[:-1], n, n)


def _below(x: Tensor, diagonal: int) -> Tensor:
    """The triangles of square matrices below a diagonal, as vectors."""
    rows, columns = torch.tril_indices(x.shape[-1], x.shape[-1], diagonal)
    return x[..., rows, columns]


class CumulativeDistributionTransform(Transform):
    """The cumulative distribution function of a distribution."""

    bijective = True
    codomain = constraints.unit_interval
    sign: Any = 1

    def __init__(self, distribution: Any, cache_size: int = 0):
        super().__init__(cache_size)
        self.distribution = distribution

    domain = property(lambda self: self.distribution.support)  # type: ignore[assignment]

    def _call(self, x: Tensor) -> Tensor:
        return self.distribution.cdf(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return self.distribution.icdf(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """See `Transform.log_abs_det_jacobian`."""
        return self.distribution.log_prob(x)


class _Several(Transform):
    """A map for each part along a dimension."""

    def __init__(self, tseq: Sequence[Transform], dim: int = 0, cache_size: int = 0):
        if not all(isinstance(t, Transform) for t in tseq):
            raise AssertionError("All elements of tseq must be Transform instances")
        super().__init__(cache_size)
        self.transforms, self.dim = [t.with_cache(cache_size) for t in tseq], dim

    bijective = property(lambda self: all(t.bijective for t in self.transforms))  # type: ignore[assignment]

    def _parts(self, x: Tensor) -> list[Tensor]:
        raise NotImplementedError

    def _join(self, parts: list[Tensor]) -> Tensor:
        raise NotImplementedError

    def _call(self, x: Tensor) -> Tensor:
        return self._join([t(v) for t, v in zip(self.transforms, self._parts(x))])

    def _inverse(self, y: Tensor) -> Tensor:
        return self._join([t.inv(v) for t, v in zip(self.transforms, self._parts(y))])


class StackTransform(_Several):
    """A map for each place along a dimension."""

    def _parts(self, x: Tensor) -> list[Tensor]:
        return [x.select(self.dim, i) for i in range(x.shape[self.dim])]

    def _join(self, parts: list[Tensor]) -> Tensor:
        return torch.stack(parts, self.dim)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """See `Transform.log_abs_det_jacobian`."""
        each = zip(self.transforms, self._parts(x), self._parts(y))
        return torch.stack([t.log_abs_det_jacobian(a, b) for t, a, b in each], self.dim)

    @property
    def domain(self) -> constraints.Constraint:  # type: ignore[override]
        """The domains, side by side."""
        return constraints.stack([t.domain for t in self.transforms], self.dim)

    @property
    def codomain(self) -> constraints.Constraint:  # type: ignore[override]
        """The codomains, side by side."""
        return constraints.stack([t.codomain for t in self.transforms], self.dim)


class CatTransform(_Several):
    """A map for each piece along a dimension."""

    def __init__(self, tseq: Sequence[Transform], dim: int = 0, lengths: Any = None, cache_size: int = 0):
        super().__init__(tseq, dim, cache_size)
        self.lengths = [1] * len(self.transforms) if lengths is None else list(lengths)

    @property
    def event_dim(self) -> int:
        """The largest of the parts."""
        return max(t.event_dim for t in self.transforms)

    length = property(lambda self: sum(self.lengths))

    def _parts(self, x: Tensor) -> list[Tensor]:
        return list(x.split(self.lengths, self.dim))

    def _join(self, parts: list[Tensor]) -> Tensor:
        return torch.cat(parts, self.dim)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """See `Transform.log_abs_det_jacobian`."""
        found = []
        for t, a, b in zip(self.transforms, self._parts(x), self._parts(y)):
            slope = t.log_abs_det_jacobian(a, b)
            more = self.event_dim - t.event_dim
            found.append(slope.sum(tuple(range(-more, 0))) if more else slope)
        dim = self.dim if self.dim < 0 else self.dim - x.dim()
        dim += self.event_dim
        return torch.cat(found, dim) if dim < 0 else sum(found)

    @property
    def domain(self) -> constraints.Constraint:  # type: ignore[override]
        """The domains, one after the other."""
        return constraints.cat([t.domain for t in self.transforms], self.dim, self.lengths)

    @property
    def codomain(self) -> constraints.Constraint:  # type: ignore[override]
        """The codomains, one after the other."""
        return constraints.cat([t.codomain for t in self.transforms], self.dim, self.lengths)
