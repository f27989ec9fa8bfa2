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


def current_device_index() -> int:
    """The number of the accelerator in use: 0."""
    return 0


def set_device_index(device: Any) -> None:
    """Nothing: there is no accelerator."""


current_device_idx, set_device_idx = current_device_index, set_device_index
