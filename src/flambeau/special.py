"""`torch.special`: mathematical functions, elementwise."""

from .ops.entry import FACES

__all__ = sorted(FACES.get("special", ()))
globals().update(FACES.get("special", {}))
