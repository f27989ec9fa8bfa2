"""torch.random: the default generator, and a context that restores it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .tensor.random import get_rng_state as get_rng_state
from .tensor.random import initial_seed as initial_seed
from .tensor.random import manual_seed as manual_seed
from .tensor.random import seed as seed
from .tensor.random import set_rng_state as set_rng_state

__all__ = ["fork_rng", "get_rng_state", "initial_seed", "manual_seed", "seed", "set_rng_state"]


@contextmanager
def fork_rng(devices: Any = None, enabled: bool = True, **rest: Any) -> Iterator[None]:
    """What is drawn inside leaves the default generator as it was."""
    state = get_rng_state() if enabled else None
    try:
        yield
    finally:
        if state is not None:
            set_rng_state(state)
