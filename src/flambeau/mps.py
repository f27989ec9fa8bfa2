"""torch.mps: no such device is there."""

from __future__ import annotations

from .cuda import _names

_FIGURES = ("current_allocated_memory", "driver_allocated_memory", "recommended_max_memory")
_KNOWN = _names.names("mps", "MPS", error=RuntimeError)
_SHARED = ("device_count", "empty_cache", "is_available", "manual_seed", "seed", "synchronize", "Event")

globals().update({n: _KNOWN[n] for n in _SHARED})
globals().update(dict.fromkeys(_FIGURES, _KNOWN["memory_allocated"]))
