"""torch.backends.cudnn: may be set, changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

enabled = True
benchmark = False
deterministic = False
allow_tf32 = True


def is_available() -> bool:
    """Whether cuDNN is used: no."""
    return False


def version() -> None:
    """The version of cuDNN: none."""


@contextmanager
def flags(*args: Any, **options: Any) -> Iterator[None]:
    """A context with other switches, which change nothing."""
    yield
