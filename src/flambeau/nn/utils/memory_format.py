"""Memory formats of convolution weights."""

from __future__ import annotations

from typing import Any


def _convert(module: Any, memory_format: Any, dims: int, kinds: tuple[str, ...]) -> Any:
    for each in module.modules():
        if any(c.__name__ in kinds for c in type(each).__mro__) and each.weight.dim() == dims:
            each.weight.data = each.weight.detach().clone().contiguous(memory_format=memory_format)
    return module


def convert_conv2d_weight_memory_format(module: Any, memory_format: Any) -> Any:
    """Puts the weights of all 2-d convolutions into a memory format; returns the module."""
    return _convert(module, memory_format, 4, ("Conv2d", "ConvTranspose2d"))


def convert_conv3d_weight_memory_format(module: Any, memory_format: Any) -> Any:
    """Puts the weights of all 3-d convolutions into a memory format; returns the module."""
    return _convert(module, memory_format, 5, ("Conv3d", "ConvTranspose3d"))
