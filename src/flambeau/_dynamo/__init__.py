"""torch._dynamo: what programs ask of PyTorch's compiler. Capture (flambeau.compile) has no settings of these names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..compiler import OptimizedModule as OptimizedModule
from ..compiler import allow_in_graph as allow_in_graph
from ..compiler import assume_constant_result as assume_constant_result
from ..compiler import disable as disable
from ..compiler import is_compiling as is_compiling
from ..compiler import list_backends as list_backends
from ..compiler import reset as reset
from . import eval_frame as eval_frame


class Settings:
    """Settings that may be set, and change nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return None

    @contextmanager
    def patch(self, *names: Any, **values: Any) -> Iterator[None]:
        """Settings for a while, or for a function that this decorates."""
        yield


config = Settings()


def mark_dynamic(t: Any, index: Any, **options: Any) -> None:
    """Nothing: several shapes are captured anyway."""


mark_static = maybe_mark_dynamic = mark_dynamic


def mark_static_address(t: Any, guard: bool = True) -> None:
    """Nothing: a captured call may be given any tensors."""


def graph_break(msg: str = "") -> None:
    """Nothing outside a capture; within one, the call runs uncaptured."""
    disable(lambda: None)()
