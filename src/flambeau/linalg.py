"""`torch.linalg`: products, norms, decompositions, solutions."""

from .ops.entry import FACES

__all__ = list(FACES.get("linalg", ()))
globals().update(FACES.get("linalg", {}))
