"""torch.cuda.amp: the older names of torch.amp, for "cuda"."""

from __future__ import annotations

from typing import Any

from .. import amp


class autocast(amp.autocast):
    """`torch.autocast("cuda", ...)`."""

    def __init__(self, enabled: bool = True, dtype: Any = None, cache_enabled: bool = True):
        super().__init__("cuda", dtype, enabled, cache_enabled)


class GradScaler(amp.GradScaler):
    """`torch.amp.GradScaler("cuda", ...)`."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__("cuda", *args, **options)
