"""torch.amp: operations in a lower precision where that is safe, and losses scaled for float16."""

from __future__ import annotations

from .casting import autocast as autocast
from .casting import custom_bwd as custom_bwd
from .casting import custom_fwd as custom_fwd
from .casting import is_autocast_available as is_autocast_available
from .scaling import GradScaler as GradScaler

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]
