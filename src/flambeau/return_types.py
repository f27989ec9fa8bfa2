"""The classes of results with names, as `torch.return_types`: `topk`, `linalg_svd`, ..."""

from __future__ import annotations

from typing import Any

from .ops.structures import TYPES


def __getattr__(name: str) -> Any:
    try:
        return TYPES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return sorted(TYPES)
