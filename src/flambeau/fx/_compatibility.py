"""torch.fx._compatibility: marks of what stays as it is, which mean nothing here."""

from collections.abc import Callable
from typing import Any


def compatibility(is_backward_compatible: bool) -> Callable[[Any], Any]:
    """A decorator that changes nothing."""
    return lambda fn: fn
