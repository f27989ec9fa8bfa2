"""torch.xpu: no such device is there."""

from __future__ import annotations


def is_available() -> bool:
    """Whether such a device can be used: no."""
    return False


def device_count() -> int:
    """How many there are: none."""
    return 0


def manual_seed(seed: int) -> None:
    """Nothing: there is no device."""


def synchronize(device: object = None) -> None:
    """Nothing: there is no device."""


def empty_cache() -> None:
    """Nothing: there is no device."""
