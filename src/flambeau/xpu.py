"""torch.xpu: no such device is there."""

from __future__ import annotations

from .cuda import _names

globals().update(_names.names("xpu", "XPU", "XPUGraph"))
