"""Saving and loading (torch.save, torch.load, torch.serialization)."""

from .load import load
from .save import save

__all__ = ["load", "save"]
