"""torch.fx.experimental.symbolic_shapes: conditions on sizes, which are numbers here and always known."""

from __future__ import annotations

from typing import Any


class GuardOnDataDependentSymNode(RuntimeError):
    """A size that depends on values was needed while tracing: never raised."""


def guard_or_false(a: Any) -> bool:
    """The condition."""
    return bool(a)


guard_or_true = guard_size_oblivious = statically_known_true = expect_true = guard_bool = guard_or_false


def guard_int(a: Any) -> int:
    """The number."""
    return int(a)


hint_int = guard_int


def free_symbols(x: Any) -> set[Any]:
    """Sizes that are not known: none."""
    return set()


free_unbacked_symbols = free_symbols


def is_concrete_bool(a: Any) -> bool:
    """Whether a condition is known: always."""
    return True


is_concrete_int = is_concrete_float = is_concrete_bool
