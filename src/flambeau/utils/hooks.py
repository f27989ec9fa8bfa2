"""Handles of hooks (torch.utils.hooks)."""

from ..nn.hooks import RemovableHandle

__all__ = ["RemovableHandle"]
