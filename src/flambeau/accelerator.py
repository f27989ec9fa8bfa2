"""torch.accelerator: the device beside the processor; there is none."""

from __future__ import annotations

from typing import Any


def is_available() -> bool:
    """Whether there is an accelerator: no."""
    return False


def device_count() -> int:
    """How many there are: none."""
    return 0


def current_accelerator(check_available: bool = False) -> Any:
    """The accelerator's device: None."""
    return None


def synchronize(device: Any = None) -> None:
    """Nothing: there is no accelerator."""
