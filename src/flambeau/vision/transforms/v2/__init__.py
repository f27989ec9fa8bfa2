"""torchvision.transforms.v2: its functions alone, for tensors and pictures; the modules are those of `transforms`."""

from __future__ import annotations

from ...images import InterpolationMode as InterpolationMode
from . import functional as functional
