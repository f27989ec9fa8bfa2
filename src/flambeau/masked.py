"""`torch.masked`: reductions over the elements that a mask selects."""

from .ops.entry import FACES

__all__ = list(FACES.get("masked", ()))
globals().update(FACES.get("masked", {}))
