"""The recipes of opaque nodes: contraction, convolution, sorting, scatter, random numbers, external routines.

A recipe is a function of a node that gives its launches; `recipe(name)` registers one.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .nodes import PNode
    from .program import Launch

FILES = (
    "alignment",
    "attention",
    "bags",
    "contraction",
    "draws",
    "elimination",
    "pooling",
    "recurrence",
    "rows",
    "sampled",
    "scatter",
    "external",
)  # loaded when the first recipe is wanted
RECIPES: dict[str, Callable[..., Sequence[Any]]] = {}


def recipe(name: str) -> Callable[[Callable[..., Sequence[Any]]], Callable[..., Sequence[Any]]]:
    """Register the recipe of an opaque node."""

    def declare(fn: Callable[..., Sequence[Any]]) -> Callable[..., Sequence[Any]]:
        RECIPES[name] = fn
        return fn

    return declare


def launches(node: PNode, tail: Any = None, *then: Any) -> list[Launch]:
    """The launches of an opaque node. tail, then: what a product computes besides (see fusion.py)."""
    if node.op not in RECIPES:
        for name in FILES:
            importlib.import_module("." + name, __package__)
    make = RECIPES[node.op]
    return list(make(node) if tail is None else make(node, tail, *then))
