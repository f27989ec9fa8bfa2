"""Sets that parameters and values must lie in: `constraint.check(x)` says for each event whether it does."""

from __future__ import annotations

from typing import Any

__all__ = [
    "Constraint",
    "MixtureSameFamilyConstraint",
    "boolean",
    "cat",
    "corr_cholesky",
    "dependent",
    "dependent_property",
    "greater_than",
    "greater_than_eq",
    "half_open_interval",
    "independent",
    "integer_interval",
    "interval",
    "is_dependent",
    "less_than",
    "lower_cholesky",
    "lower_triangular",
    "multinomial",
    "nonnegative",
    "nonnegative_integer",
    "one_hot",
    "positive",
    "positive_definite",
    "positive_integer",
    "positive_semidefinite",
    "real",
    "real_vector",
    "simplex",
    "square",
    "stack",
    "symmetric",
    "unit_interval",
]


class Constraint:
    """A set; event_dim: how many last dimensions make one element of it."""

    is_discrete = False
    event_dim = 0

    def check(self, value: Any) -> Any:
        """Whether each event of value lies in the set, as a tensor of bools."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return type(self).__name__.lstrip("_") + "()"


class _Bounded(Constraint):
    """A set between bounds, which are numbers or tensors."""

    def __init__(self, **bounds: Any):
        self.__dict__.update(bounds)
        self._names = tuple(bounds)

    def __repr__(self) -> str:
        inner = ", ".join(f"{n}={getattr(self, n)}" for n in self._names)
        return f"{type(self).__name__.lstrip('_')}({inner})"


class _Real(Constraint):
    def check(self, value: Any) -> Any:
        """See `Constraint.check`."""
        return value == value


class _Boolean(Constraint):
    is_discrete = True

    def check(self, value: Any) -> Any:
        """See `Constraint.check`."""
        return (value == 0) | (value == 1)


class _GreaterThan(_Bounded):
    def check(self, value: Any) -> Any:
        """See `Constraint.check`."""
        return value > self.lower_bound


class _GreaterThanEq(_Bounded):
    def check(self, value: Any) -> Any:
        """See `Constraint.check`."""
        return value >= self.lower_bound


class _LessThan(_Bounded):
    def check(self, value: Any) -> Any:
        """See `Constraint.check`."""
        return value < self.upper_bound


class _Interval(_Bounded):
    def check(self, value: Any) -> Any:
        """See `Constraint.check`."""
        return (value >= self.lower_bound) & (value <= self.upper_bound)


class _IntegerInterval(_Interval):
    is_discrete = True

    def check(self, value: Any) -> Any:
        """See `Constraint.check`."""
        return (value % 1 == 0) & super().check(value)


class _IntegerGreaterThan(_GreaterThanEq):
    is_discrete = True

    def check(self, value: Any) -> Any:
        """See `Constraint.check`."""
        return (value % 1 == 0) & super().check(value)


class _Simplex(Constraint):
    event_dim = 1

    def check(self, value: Any) -> Any:
        """See `Constraint.check`."""
        return (value >= 0).all(-1) & ((value.sum(-1) - 1).abs() < 1e-6)


class _OneHot(Constraint):
    is_discrete = True
    event_dim = 1

    def check(self, value: Any) -> Any:
        """See `Constraint.check`."""
        return ((value == 0) | (value == 1)).all(-1) & (value.sum(-1) == 1)


class _Multinomial(Constraint):
    is_discrete = True
    event_dim = 1

    def __init__(self, upper_bound: int):
        self.upper_bound = upper_bound

    def check(self, value: Any) -> Any:
        """See `Constraint.check`."""
        return (value >= 0).all(-1) & (value.sum(-1) <= self.upper_bound)


class _LowerCholesky(Constraint):
    event_dim = 2

    def check(self, value: Any) -> Any:
        """See `Constraint.check`."""
        return (value.tril() == value).all(-1).all(-1) & (value.diagonal(0, -2, -1) > 0).all(-1)


class _PositiveDefinite(Constraint):
    event_dim = 2

    def check(self, value: Any) -> Any:
        """See `Constraint.check`."""
        import flambeau as torch

        near = 1e-6 * value.abs().amax((-2, -1), keepdim=True)
        symmetric = ((value - value.mT).abs() <= near).all(-1).all(-1)
        return symmetric & (torch.linalg.eigvalsh(value) > 0).all(-1)


class independent(Constraint):
    """The set of blocks (over more dimensions) whose every element lies in a base set."""

    def __init__(self, base_constraint: Constraint, reinterpreted_batch_ndims: int):
        self.base_constraint, self.reinterpreted_batch_ndims = base_constraint, reinterpreted_batch_ndims
        self.is_discrete = base_constraint.is_discrete
        self.event_dim = base_constraint.event_dim + reinterpreted_batch_ndims

    def check(self, value: Any) -> Any:
        """See `Constraint.check`."""
        inside = self.base_constraint.check(value)
        for _ in range(self.reinterpreted_batch_ndims):
            inside = inside.all(-1)
        return inside

    def __repr__(self) -> str:
        return f"IndependentConstraint({self.base_constraint!r}, {self.reinterpreted_batch_ndims})"


class _Dependent(Constraint):
    """A set that depends on the parameters: known only for a distribution, not for its class."""

    def __init__(self, *, is_discrete: bool = False, event_dim: int = 0):
        self.is_discrete, self.event_dim = is_discrete, event_dim

    def __call__(self, *, is_discrete: bool = False, event_dim: int = 0) -> _Dependent:
        """The same with what is known of it."""
        return _Dependent(is_discrete=is_discrete, event_dim=event_dim)


def is_dependent(constraint: Constraint) -> bool:
    """Whether a set is known for a distribution alone, not for its class."""
    return isinstance(constraint, _Dependent)


class dependent_property(property, _Dependent):
    """A property that is a set which depends on the parameters."""

    def __init__(self, fn: Any = None, *, is_discrete: bool = False, event_dim: int = 0):
        super().__init__(fn)
        self.is_discrete, self.event_dim = is_discrete, event_dim

    def __call__(self, fn: Any) -> dependent_property:  # type: ignore[override]
        """The property of a function (a decorator with arguments)."""
        return dependent_property(fn, is_discrete=self.is_discrete, event_dim=self.event_dim)


class _HalfOpenInterval(_Bounded):
    def check(self, value: Any) -> Any:
        """See `Constraint.check`."""
        return (value >= self.lower_bound) & (value < self.upper_bound)


class _LowerTriangular(Constraint):
    event_dim = 2

    def check(self, value: Any) -> Any:
        """See `Constraint.check`."""
        return (value.tril() == value).all(-1).all(-1)


class _CorrCholesky(Constraint):
    event_dim = 2

    def check(self, value: Any) -> Any:
        """See `Constraint.check`."""
        import flambeau as torch

        near = torch.finfo(value.dtype).eps * value.size(-1) * 10  # what rounding may add up to
        rows = ((value.square().sum(-1) - 1).abs() < near).all(-1)
        return _LowerCholesky().check(value) & rows


class _Square(Constraint):
    event_dim = 2

    def check(self, value: Any) -> Any:
        """See `Constraint.check`."""
        import flambeau as torch

        return torch.full(value.shape[:-2], value.shape[-2] == value.shape[-1], dtype=torch.bool)


class _Symmetric(_Square):
    def check(self, value: Any) -> Any:
        """See `Constraint.check`."""
        square = super().check(value)
        if not square.all().item():
            return square
        return ((value - value.mT).abs() <= 1e-6).all(-2).all(-1)


class _PositiveSemidefinite(_Symmetric):
    def check(self, value: Any) -> Any:
        """See `Constraint.check`."""
        import flambeau as torch

        symmetric = super().check(value)
        return torch.linalg.eigvalsh(value).ge(0).all(-1) if symmetric.all().item() else symmetric


class cat(Constraint):
    """Pieces along a dimension, each in a set of its own."""

    def __init__(self, cseq: Any, dim: int = 0, lengths: Any = None):
        self.cseq, self.dim = list(cseq), dim
        self.lengths = [1] * len(self.cseq) if lengths is None else list(lengths)
        self.is_discrete = any(c.is_discrete for c in self.cseq)
        self.event_dim = max(c.event_dim for c in self.cseq)

    def check(self, value: Any) -> Any:
        """See `Constraint.check`."""
        import flambeau as torch

        pieces = value.split(self.lengths, self.dim)
        return torch.cat([c.check(v) for c, v in zip(self.cseq, pieces)], self.dim)


class stack(Constraint):
    """Places along a dimension, each in a set of its own."""

    def __init__(self, cseq: Any, dim: int = 0):
        self.cseq, self.dim = list(cseq), dim
        self.is_discrete = any(c.is_discrete for c in self.cseq)
        dims = max(c.event_dim for c in self.cseq)
        self.event_dim = dims + 1 if dim + dims < 0 else dims

    def check(self, value: Any) -> Any:
        """See `Constraint.check`."""
        import flambeau as torch

        places = [value.select(self.dim, i) for i in range(value.size(self.dim))]
        return torch.stack([c.check(v) for c, v in zip(self.cseq, places)], self.dim)


class MixtureSameFamilyConstraint(Constraint):
    """The support of a mixture: that of any of its parts, `base_constraint` being that of all of them."""

    def __init__(self, base_constraint: Constraint):
        self.base_constraint = base_constraint
        self.is_discrete, self.event_dim = base_constraint.is_discrete, base_constraint.event_dim

    def check(self, value: Any) -> Any:
        """See `Constraint.check`."""
        return self.base_constraint.check(value.unsqueeze(-1 - self.event_dim)).any(-1)


def greater_than(lower_bound: Any) -> Constraint:
    """Numbers above a bound."""
    return _GreaterThan(lower_bound=lower_bound)


def greater_than_eq(lower_bound: Any) -> Constraint:
    """Numbers not below a bound."""
    return _GreaterThanEq(lower_bound=lower_bound)


def less_than(upper_bound: Any) -> Constraint:
    """Numbers below a bound."""
    return _LessThan(upper_bound=upper_bound)


def interval(lower_bound: Any, upper_bound: Any) -> Constraint:
    """Numbers between two bounds, both included."""
    return _Interval(lower_bound=lower_bound, upper_bound=upper_bound)


def half_open_interval(lower_bound: Any, upper_bound: Any) -> Constraint:
    """Numbers between two bounds, the lower one included."""
    return _HalfOpenInterval(lower_bound=lower_bound, upper_bound=upper_bound)


def integer_interval(lower_bound: Any, upper_bound: Any) -> Constraint:
    """Whole numbers between two bounds, both included."""
    return _IntegerInterval(lower_bound=lower_bound, upper_bound=upper_bound)


multinomial = _Multinomial
real, boolean, simplex, one_hot, dependent = _Real(), _Boolean(), _Simplex(), _OneHot(), _Dependent()
lower_cholesky, positive_definite = _LowerCholesky(), _PositiveDefinite()
positive, nonnegative = greater_than(0.0), greater_than_eq(0.0)
unit_interval = interval(0.0, 1.0)
nonnegative_integer, positive_integer = _IntegerGreaterThan(lower_bound=0), _IntegerGreaterThan(lower_bound=1)
real_vector, positive_vector = independent(real, 1), independent(positive, 1)
lower_triangular, corr_cholesky = _LowerTriangular(), _CorrCholesky()
square, symmetric, positive_semidefinite = _Square(), _Symmetric(), _PositiveSemidefinite()
