"""Padding."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from ..module import Module
from .sizes import single

Tensor = Any
Sizes = Any


class _Pad(Module):
    """Pads the last `_count` dimensions; `padding` is one number or (before, after) per dimension, last first."""

    __constants__ = ["padding"]
    _count = 1
    _mode = "constant"

    def __init__(self, padding: Sizes) -> None:
        super().__init__()
        self.padding = single(padding, 2 * self._count)

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, self._mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _CircularPadNd(_Pad):
    _mode = "circular"

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        return F.pad(input, self.padding, "circular")

    def _check_input_dim(self, input: Tensor) -> None:
        n = self._count
        if input.dim() not in (n + 1, n + 2):
            raise ValueError(f"expected {n + 1}D or {n + 2}D input (got {input.dim()}D input)")


class CircularPad1d(_CircularPadNd):
    """Continues (C, L) or (N, C, L) with its other end."""


class CircularPad2d(_CircularPadNd):
    """Continues (C, H, W) or (N, C, H, W) with its other ends."""

    _count = 2


class CircularPad3d(_CircularPadNd):
    """Continues (C, D, H, W) or (N, C, D, H, W) with its other ends."""

    _count = 3


class _ConstantPadNd(_Pad):
    __constants__ = ["padding", "value"]

    def __init__(self, padding: Sizes, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPadNd):
    """Adds `value` at the ends of the last dimension."""


class ConstantPad2d(_ConstantPadNd):
    """Adds `value` around the last two dimensions."""

    _count = 2


class ConstantPad3d(_ConstantPadNd):
    """Adds `value` around the last three dimensions."""

    _count = 3


class _ReflectionPadNd(_Pad):
    _mode = "reflect"


class ReflectionPad1d(_ReflectionPadNd):
    """Continues the last dimension by its reflection, without repeating the border."""


class ReflectionPad2d(_ReflectionPadNd):
    """Continues the last two dimensions by their reflection, without repeating the border."""

    _count = 2


class ReflectionPad3d(_ReflectionPadNd):
    """Continues the last three dimensions by their reflection, without repeating the border."""

    _count = 3


class _ReplicationPadNd(_Pad):
    _mode = "replicate"


class ReplicationPad1d(_ReplicationPadNd):
    """Continues the last dimension by its border."""


class ReplicationPad2d(_ReplicationPadNd):
    """Continues the last two dimensions by their border."""

    _count = 2


class ReplicationPad3d(_ReplicationPadNd):
    """Continues the last three dimensions by their border."""

    _count = 3


class _ZeroPad(_ConstantPadNd):
    def __init__(self, padding: Sizes) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad1d(_ZeroPad, ConstantPad1d):
    """Adds zeros at the ends of the last dimension."""


class ZeroPad2d(_ZeroPad, ConstantPad2d):
    """Adds zeros around the last two dimensions."""


class ZeroPad3d(_ZeroPad, ConstantPad3d):
    """Adds zeros around the last three dimensions."""
