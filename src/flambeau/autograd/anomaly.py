"""Anomaly detection: a backward pass that yields NaN names the node that made it, and where its forward ran."""

from __future__ import annotations

from typing import Any

from ..stream.value import Node
from . import engine


class set_detect_anomaly:
    """Switch the check of every node's gradients on or off, at once; as a context, until its end."""

    def __init__(self, mode: bool, check_nan: bool = True):
        self.before = engine.CHECK[0]
        engine.CHECK[0] = check if mode and check_nan else None

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        engine.CHECK[0] = self.before


class detect_anomaly(set_detect_anomaly):
    """As a context: a NaN that a backward function returns raises RuntimeError."""

    def __init__(self, check_nan: bool = True):
        super().__init__(True, check_nan)


def is_anomaly_enabled() -> bool:
    """Whether gradients are checked."""
    return engine.CHECK[0] is not None


def check(node: Node, made: tuple[Any, ...]) -> None:
    for i, g in enumerate(made):
        if g is not None and bool((g != g).any()):
            raise RuntimeError(f"Function '{node.name()}' returned nan values in its {i}th output.")
