"""The named results of ops that have several: `torch.return_types` of PyTorch."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from typing import Any

TYPES: dict[str, Any] = {}


def named(name: str, fields: Sequence[str]) -> Any:
    """The class of an op's results, called as the op is: `torch.return_types.name`."""
    make: Any = namedtuple  # mypy wants the name written out
    plain = make(name, fields)
    found = TYPES[name] = type(name, (plain,), {"__slots__": (), "__repr__": text, "__reduce__": reduced})
    found.__module__ = "flambeau.return_types"
    return found


def text(results: Any) -> str:
    """repr of an op's named results."""
    values = ",\n".join(f"{name}={value!r}" for name, value in zip(results._fields, results))
    return f"torch.return_types.{type(results).__name__}(\n{values})"


def reduced(results: Any) -> Any:
    """How a pickle makes them anew."""
    return type(results), tuple(results)
