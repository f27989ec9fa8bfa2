"""torch.utils.checkpoint: results and gradients as with recomputation; memory is not saved yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["checkpoint", "checkpoint_sequential"]

_OWN = ("context_fn", "debug", "determinism_check", "early_stop", "preserve_rng_state", "use_reentrant")


def checkpoint(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """function(*args); what it keeps for backward is kept, not computed again."""
    return function(*args, **{name: value for name, value in options.items() if name not in _OWN})


def checkpoint_sequential(functions: Any, segments: int, input: Any, **options: Any) -> Any:
    """The functions (or the modules of a Sequential) one after the other."""
    steps: Sequence[Any] = list(functions.children()) if hasattr(functions, "children") else list(functions)
    for step in steps:
        input = checkpoint(step, input, **options)
    return input
