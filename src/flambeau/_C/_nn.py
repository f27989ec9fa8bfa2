"""torch._C._nn: how the arguments of Module.to are read, and functions that nn.functional has from here."""

from typing import Any

from ..nn.conversion import _parse_to as _parse_to


def __getattr__(name: str) -> Any:
    from ..nn import functional

    if name in functional.__all__:
        return getattr(functional, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
