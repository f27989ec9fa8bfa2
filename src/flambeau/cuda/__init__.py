"""torch.cuda: the names are here and no device is; what needs one says so with PyTorch's error."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, NoReturn

from ..errors import fail
from . import amp as amp

__all__ = ["amp", "current_device", "device_count", "is_available", "manual_seed_all", "synchronize"]


def is_available() -> bool:
    """Whether a CUDA device can be used: no."""
    return False


def is_initialized() -> bool:
    """Whether CUDA has been used: no."""
    return False


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether the device computes with bfloat16: there is none."""
    return False


def device_count() -> int:
    """How many CUDA devices there are: none."""
    return 0


def _refuse(name: str) -> NoReturn:
    fail(
        AssertionError,
        f"cuda.{name}: Torch not compiled with CUDA enabled",
        "flambeau computes on the CPU for now",
    )


def current_device() -> int:
    """AssertionError: there is no CUDA device."""
    _refuse("current_device")


def set_device(device: Any) -> None:
    """AssertionError: there is no CUDA device."""
    _refuse("set_device")


def synchronize(device: Any = None) -> None:
    """AssertionError: there is no CUDA device."""
    _refuse("synchronize")


def get_device_name(device: Any = None) -> str:
    """AssertionError: there is no CUDA device."""
    _refuse("get_device_name")


def get_device_properties(device: Any = None) -> Any:
    """AssertionError: there is no CUDA device."""
    _refuse("get_device_properties")


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """AssertionError: there is no CUDA device."""
    _refuse("get_device_capability")


def manual_seed(seed: int) -> None:
    """Nothing: without a device PyTorch ignores it too."""


def manual_seed_all(seed: int) -> None:
    """Nothing: without a device PyTorch ignores it too."""


def empty_cache() -> None:
    """Nothing: there is no memory of a device to give back."""


def reset_peak_memory_stats(device: Any = None) -> None:
    """Nothing: there is no memory of a device."""


def memory_allocated(device: Any = None) -> int:
    """Bytes in use on the device: 0."""
    return 0


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes that were in use on the device: 0."""
    return 0


def memory_reserved(device: Any = None) -> int:
    """Bytes that the allocator holds on the device: 0."""
    return 0


class _Absent:
    """Something that only exists on a device."""

    def __init__(self, *args: Any, **options: Any):
        _refuse(type(self).__name__)


class Stream(_Absent):
    """AssertionError when made: there is no CUDA device."""


class Event(_Absent):
    """AssertionError when made: there is no CUDA device."""


class device(_Absent):
    """AssertionError when made: there is no CUDA device."""


class CUDAGraph(_Absent):
    """AssertionError when made: there is no CUDA device."""


class StreamContext(_Absent):
    """AssertionError when made: there is no CUDA device."""


class graph(_Absent):
    """AssertionError when made: there is no CUDA device."""


def stream(stream: Any) -> Any:
    """The context of a stream; of None, which is all there is, one that does nothing."""
    return nullcontext() if stream is None else _refuse("stream")


def is_current_stream_capturing() -> bool:
    """Whether a graph of the device's work is being captured: no."""
    return False


def current_stream(device: Any = None) -> NoReturn:
    """AssertionError: there is no CUDA device."""
    _refuse("current_stream")


def default_stream(device: Any = None) -> NoReturn:
    """AssertionError: there is no CUDA device."""
    _refuse("default_stream")


def mem_get_info(device: Any = None) -> NoReturn:
    """AssertionError: there is no CUDA device."""
    _refuse("mem_get_info")


default_generators: tuple[Any, ...] = ()


def get_rng_state_all() -> list[Any]:
    """The states of the devices' generators: none."""
    return []


def set_rng_state_all(new_states: Any) -> None:
    """Set what `get_rng_state_all` gave: there are none."""
