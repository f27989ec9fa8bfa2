"""torch.amp: mixed precision is not there yet; programs that ask for it on CUDA run on without it, as in PyTorch.

PyTorch switches autocast and GradScaler off, with a warning, where there is no CUDA device; so does flambeau.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from .errors import fail

__all__ = ["GradScaler", "autocast", "is_autocast_available"]


class autocast:
    """A context (or decorator) in which some operations run in a lower precision; here it must be off.

    "cuda" is switched off with a warning; an enabled "cpu" is a NotImplementedError.
    """

    def __init__(
        self, device_type: str, dtype: Any = None, enabled: bool = True, cache_enabled: bool | None = None
    ):
        self.device, self.fast_dtype = str(device_type), dtype
        if enabled and self.device == "cuda":
            warnings.warn(
                "User provided device_type of 'cuda', but CUDA is not available. Disabling", stacklevel=2
            )
            enabled = False
        if enabled:
            fail(
                NotImplementedError,
                f"autocast: mixed precision on {self.device!r} is not there yet",
                "call .bfloat16() on the model and its inputs, or pass enabled=False",
            )
        self._enabled = enabled

    def __enter__(self) -> autocast:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def inside(*args: Any, **options: Any) -> Any:
            with self:
                return function(*args, **options)

        return inside


class GradScaler:
    """Scales a loss so that small gradients survive float16; switched off, it passes everything through.

    `GradScaler()` asks for CUDA, which is not there: it switches itself off with a warning.
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ):
        if enabled and str(device) == "cuda":
            text = "torch.cuda.amp.GradScaler is enabled, but CUDA is not available.  Disabling."
            warnings.warn(text, stacklevel=2)
        elif enabled:
            fail(
                NotImplementedError,
                f"GradScaler: scaling on {device!r} is not there yet",
                "pass enabled=False",
            )

    def is_enabled(self) -> bool:
        """Whether losses are scaled: no."""
        return False

    def get_scale(self) -> float:
        """The factor of the loss: 1."""
        return 1.0

    def scale(self, outputs: Any) -> Any:
        """The outputs as they are."""
        return outputs

    def unscale_(self, optimizer: Any) -> None:
        """Nothing: gradients were not scaled."""

    def step(self, optimizer: Any, *args: Any, **options: Any) -> Any:
        """`optimizer.step(*args, **options)`."""
        return optimizer.step(*args, **options)

    def update(self, new_scale: Any = None) -> None:
        """Nothing: there is no factor to change."""

    def state_dict(self) -> dict[str, Any]:
        """Empty, as that of a scaler that is off."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing: a scaler that is off has no state."""


def is_autocast_available(device_type: str) -> bool:
    """Whether autocast can be enabled for a kind of device: not yet."""
    return False
