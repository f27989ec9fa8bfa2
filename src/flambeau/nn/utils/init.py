"""Making modules without filling their parameters."""

from __future__ import annotations

import inspect
from typing import Any

import flambeau as torch

from ..module import Module


def skip_init(module_cls: type[Module], *args: Any, **kwargs: Any) -> Module:
    """A module whose parameters hold whatever the memory held; the class must take `device`."""
    if not issubclass(module_cls, Module):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    if "device" not in inspect.signature(module_cls).parameters:
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    kwargs["device"] = final = kwargs.pop("device", "cpu")
    state = torch.get_rng_state()
    try:
        return module_cls(*args, **kwargs).to_empty(device=final)
    finally:
        torch.set_rng_state(state)
