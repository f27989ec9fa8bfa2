"""`torch.fft`: discrete Fourier transforms."""

from .ops.entry import FACES

__all__ = list(FACES.get("fft", ()))
globals().update(FACES.get("fft", {}))
