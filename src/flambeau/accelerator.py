"""torch.accelerator: the device beside the processor; there is none."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from .errors import fail

_REFUSED = (
    *("current_device_idx", "current_device_index", "current_stream", "empty_cache", "empty_host_cache"),
    *("get_device_capability", "get_memory_info", "max_memory_allocated", "max_memory_reserved"),
    *("memory_allocated", "memory_reserved", "memory_stats", "reset_accumulated_memory_stats"),
    *("reset_peak_memory_stats", "set_device_idx", "set_device_index", "set_stream", "synchronize"),
)


def is_available() -> bool:
    """Whether there is an accelerator: no."""
    return False


def device_count() -> int:
    """How many there are: none."""
    return 0


def current_accelerator(check_available: bool = False) -> Any:
    """The accelerator's device: None."""
    return None


def _refused(name: str) -> Any:
    def absent(*args: Any, **options: Any) -> Any:
        fail(RuntimeError, f"accelerator.{name}: Cannot access accelerator device when none is available.")

    absent.__name__ = absent.__qualname__ = name
    absent.__doc__ = "RuntimeError: there is no accelerator."
    return absent


globals().update({name: _refused(name) for name in _REFUSED})


class device_index(nullcontext):  # type: ignore[type-arg]
    """The context of a device by its number; of None, which is all there is, one that does nothing."""

    def __init__(self, device: int | None, /):
        super().__init__()
        if device is not None:
            _refused("device_index")()
