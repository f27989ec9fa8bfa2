"""The book of ops: one entry for each op, one file for each family; `entry` turns entries into functions and methods."""

from importlib.util import find_spec
from typing import Any


def __getattr__(name: str) -> Any:
    """torch.ops.<namespace>: the operators of that name before the colons. Not for what `from .ops import` looks for."""
    if name.startswith("_") or find_spec(f"{__name__}.{name}") is not None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .namespaces import namespace

    return namespace(name)
