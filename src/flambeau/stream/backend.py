"""The device that programs run on: `cpu`, or one of the two tiny ones, by config.backend."""

from __future__ import annotations

from typing import Any

from .. import config

_made: dict[str, Any] = {}


def current() -> Any:
    """The backend in force; made on first use."""
    name = config.backend
    device = _made.get(name)
    if device is None:
        kind: Any
        if name == "python":
            from ..device.python import Python

            kind = Python
        elif name == "null":
            from ..device.null import Null

            kind = Null
        else:
            from ..device.cpu import CPU

            kind = CPU
        device = _made[name] = kind()
    return device
