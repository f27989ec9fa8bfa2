"""torch.futures: results that are there already."""

from __future__ import annotations

from typing import Any

from .jit import Future as Future


def collect_all(futures: Any) -> Future:
    """The results of all, as one."""
    return Future(list(futures))


def wait_all(futures: Any) -> list[Any]:
    """The results of all."""
    return [f.wait() for f in futures]
