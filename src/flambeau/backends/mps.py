"""torch.backends.mps: not used."""

from __future__ import annotations


def is_available() -> bool:
    """Whether it is used: no."""
    return False


def is_built() -> bool:
    """Whether Apple's GPUs are supported: no."""
    return False
