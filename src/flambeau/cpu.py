"""torch.cpu: the processor as a device. Work of a thread runs in order: streams and events have nothing to do."""

from __future__ import annotations

import contextlib
from typing import Any

from .stream.access import synchronize as _synchronize


class Stream:
    """The one order in which things run."""

    def __init__(self, priority: int = -1):
        self.priority = priority

    def wait_stream(self, stream: Any) -> None:
        """Nothing: what the other has is done first."""


class Event:
    """A mark in it, which is passed."""

    def record(self, stream: Any = None) -> None:
        """Nothing."""

    def query(self) -> bool:
        """True."""
        return True

    def synchronize(self) -> None:
        """Run what is recorded."""
        _synchronize()

    def wait(self, stream: Any = None) -> None:
        """Nothing."""


_current = Stream()


def is_available() -> bool:
    """True."""
    return True


def is_initialized() -> bool:
    """True."""
    return True


def device_count() -> int:
    """1."""
    return 1


def current_device() -> str:
    """ "cpu"."""
    return "cpu"


def set_device(device: Any) -> None:
    """Nothing: there is one."""


def synchronize(device: Any = None) -> None:
    """Run what this thread has recorded."""
    _synchronize()


def current_stream(device: Any = None) -> Stream:
    """The one there is."""
    return _current


def stream(stream: Any) -> contextlib.AbstractContextManager[Any]:
    """A context that changes nothing."""
    return contextlib.nullcontext(stream)
