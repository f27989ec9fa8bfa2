"""torch.utils: data loading, hooks, and what else PyTorch keeps there; each part is imported when it is first used."""

from __future__ import annotations

import importlib
from typing import Any

_PARTS = ("_pytree", "backcompat", "checkpoint", "collect_env", "data", "dlpack", "flop_counter", "hooks")


def __getattr__(name: str) -> Any:
    if name in _PARTS:
        try:
            return importlib.import_module(f"{__name__}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
