"""Maps from free numbers onto constrained sets: `biject_to` one to one, `transform_to` also otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import constraints, vector_transforms
from . import scalar_transforms as transforms


class ConstraintRegistry:
    """Looks a set's map up by its class."""

    def __init__(self) -> None:
        self._makers: dict[type, Callable[[Any], transforms.Transform]] = {}

    def register(self, constraint: Any, factory: Any = None) -> Any:
        """Declare what makes the map of a set (or of a class of sets); without `factory` a decorator."""
        if factory is None:
            return lambda made: self.register(constraint, made)
        kind = type(constraint) if isinstance(constraint, constraints.Constraint) else constraint
        if not (isinstance(kind, type) and issubclass(kind, constraints.Constraint)):
            raise TypeError(
                f"Expected constraint to be either a Constraint subclass or instance, but got {constraint}"
            )
        self._makers[kind] = factory
        return factory

    def __call__(self, constraint: Any) -> transforms.Transform:
        """The map onto a set. NotImplementedError if none is known."""
        maker = self._makers.get(type(constraint))
        if maker is None:
            raise NotImplementedError(f"Cannot transform {type(constraint).__name__} constraints")
        return maker(constraint)


biject_to, transform_to = ConstraintRegistry(), ConstraintRegistry()


def _between(c: Any) -> transforms.Transform:
    low, high = c.lower_bound, c.upper_bound
    if isinstance(low, (int, float)) and isinstance(high, (int, float)) and (low, high) == (0, 1):
        return transforms.SigmoidTransform()
    parts = [transforms.SigmoidTransform(), transforms.AffineTransform(low, high - low)]
    return transforms.ComposeTransform(parts)


def _above(c: Any) -> transforms.Transform:
    parts = [transforms.ExpTransform(), transforms.AffineTransform(c.lower_bound, 1)]
    return transforms.ComposeTransform(parts)


def _below(c: Any) -> transforms.Transform:
    parts = [transforms.ExpTransform(), transforms.AffineTransform(c.upper_bound, -1)]
    return transforms.ComposeTransform(parts)


def _declare(registry: ConstraintRegistry) -> None:
    c = constraints
    registry.register(c.real, lambda _: transforms.identity_transform)
    registry.register(
        c.independent,
        lambda s: transforms.IndependentTransform(registry(s.base_constraint), s.reinterpreted_batch_ndims),
    )
    registry.register(c._GreaterThan, lambda s: transforms.ExpTransform() if _zero(s) else _above(s))
    registry.register(c._GreaterThanEq, lambda s: transforms.ExpTransform() if _zero(s) else _above(s))
    registry.register(c._LessThan, _below)
    registry.register(c._Interval, _between)
    registry.register(c._HalfOpenInterval, _between)
    registry.register(c.lower_cholesky, lambda _: vector_transforms.LowerCholeskyTransform())
    registry.register(c.corr_cholesky, lambda _: vector_transforms.CorrCholeskyTransform())
    for matrix in (c.positive_definite, c.positive_semidefinite):
        registry.register(matrix, lambda _: vector_transforms.PositiveDefiniteTransform())
    registry.register(
        c.cat,
        lambda s: vector_transforms.CatTransform([registry(k) for k in s.cseq], s.dim, s.lengths),
    )
    registry.register(
        c.stack, lambda s: vector_transforms.StackTransform([registry(k) for k in s.cseq], s.dim)
    )


def _zero(c: Any) -> bool:
    return isinstance(c.lower_bound, (int, float)) and c.lower_bound == 0


_declare(biject_to)
_declare(transform_to)
biject_to.register(constraints.simplex, lambda _: vector_transforms.StickBreakingTransform())
transform_to.register(constraints.simplex, lambda _: vector_transforms.SoftmaxTransform())
