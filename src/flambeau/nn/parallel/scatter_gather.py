"""torch.nn.parallel.scatter_gather: what is split over devices, of which there is one here."""

from __future__ import annotations

from typing import Any

from ...errors import fail


def _one(name: str, devices: Any) -> None:
    if len(devices) > 1:
        fail(NotImplementedError, f"{name}: there is one device", devices=devices)


def scatter(inputs: Any, target_gpus: Any, dim: int = 0) -> tuple[Any, ...]:
    """The inputs for each device: all of them for the one."""
    _one("scatter", target_gpus)
    return (inputs,)


def scatter_kwargs(inputs: Any, kwargs: Any, target_gpus: Any, dim: int = 0) -> tuple[Any, Any]:
    """The arguments by position and by name for each device."""
    _one("scatter_kwargs", target_gpus)
    return (tuple(inputs),), (dict(kwargs or {}),)


def gather(outputs: Any, target_device: Any, dim: int = 0) -> Any:
    """What the devices gave, as one."""
    _one("gather", outputs)
    return outputs[0]
