"""torch.backends.cudnn: may be set, changes nothing."""

from __future__ import annotations

enabled = True
benchmark = False
deterministic = False
allow_tf32 = True


def is_available() -> bool:
    """Whether cuDNN is used: no."""
    return False


def version() -> None:
    """The version of cuDNN: none."""
