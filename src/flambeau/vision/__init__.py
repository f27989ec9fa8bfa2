"""Images: the part of torchvision that programs need, under its names (torchvision itself in `flambeau run`)."""

from __future__ import annotations

import importlib
from typing import Any

from ..version import __version__ as __version__
from . import datasets as datasets
from . import transforms as transforms
from . import utils as utils
from .images import get_image_backend as get_image_backend
from .images import set_image_backend as set_image_backend


def __getattr__(name: str) -> Any:
    if name in ("io", "models", "ops"):  # `from . import models` would ask this function again
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
