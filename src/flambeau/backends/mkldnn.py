"""torch.backends.mkldnn: not used."""

from __future__ import annotations


def is_available() -> bool:
    """Whether it is used: no."""
    return False
