"""`torch.special`: mathematical functions, elementwise."""

from .ops.entry import FACES

__all__ = list(FACES.get("special", ()))
globals().update(FACES.get("special", {}))
