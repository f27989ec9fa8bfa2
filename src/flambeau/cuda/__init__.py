"""torch.cuda: the names are here and no device is; what needs one says so with PyTorch's error."""

from __future__ import annotations

import sys

from . import _names
from . import amp as amp

globals().update(_names.names("cuda", "CUDA", "CUDAGraph", "CUDAPluggableAllocator", "GreenContext"))
has_half, has_magma = True, False


# PyTorch has the same functions in modules of their own as well.
for _module in ("graphs", "memory", "random", "streams"):
    sys.modules[f"{__name__}.{_module}"] = globals()[_module] = sys.modules[__name__]
