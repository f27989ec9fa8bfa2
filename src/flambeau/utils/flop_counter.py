"""torch.utils.flop_counter: counting the operations of a model is not there yet; a counter that counts nothing is."""

from __future__ import annotations

from typing import Any, NoReturn

from ..absent import functions
from ..errors import fail

globals().update(functions("utils.flop_counter", "counting operations", "register_flop_formula"))


class FlopCounterMode:
    """Has counted nothing; entering it raises NotImplementedError."""

    def __init__(self, mods: Any = None, depth: int = 2, display: bool = True, custom_mapping: Any = None):
        self.display = display

    def get_total_flops(self) -> int:
        """0: nothing was counted."""
        return 0

    def get_flop_counts(self) -> dict[str, Any]:
        """None for any module."""
        return {}

    def __enter__(self) -> NoReturn:
        fail(NotImplementedError, "utils.flop_counter.FlopCounterMode: counting operations is not there yet")

    def __exit__(self, *error: object) -> None:
        """Never reached."""
