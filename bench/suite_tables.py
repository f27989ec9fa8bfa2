"""The workloads of the suite by group, and how one is made."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import Any

from dynamic import DYNAMIC
from halves import HALVES
from models import MODELS
from operations import OPERATIONS
from workloads import Step
from zoo_language import LANGUAGE
from zoo_other import OTHER
from zoo_vision import INNERMOST, VISION

DIFFERENT = (
    5  # calls one after the other that have operands of their own: the same expressions would be merged
)
TABLES: dict[str, dict[str, tuple[Callable[..., Step], str, int]]] = {
    "models": MODELS,
    "dynamic": DYNAMIC,
    "operations": OPERATIONS,
    "halves": HALVES,
    "zoo": {**VISION, **LANGUAGE, **OTHER},
    "innermost": INNERMOST,
}


def made(torch: Any, group: str, name: str, best: bool) -> Step:
    """The step of a workload; only some models are written in JAX."""
    if torch.__name__ == "jax":
        import jax_models

        if name not in jax_models.MODELS:
            raise NotImplementedError(f"{name} is not written in JAX")
        return jax_models.MODELS[name]()
    maker, _, calls = TABLES[group][name]
    if group not in ("operations", "halves"):
        return maker(torch, best)
    steps = cycle([maker(torch, best) for _ in range(min(calls, DIFFERENT))])
    return lambda: next(steps)()
