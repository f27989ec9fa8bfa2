"""Nested tuples, lists and dicts of tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..stream.value import Tensor


def leaves(tree: Any) -> list[Any]:
    """The leaves of a tree in order."""
    if isinstance(tree, (tuple, list)):
        return [x for part in tree for x in leaves(part)]
    if isinstance(tree, dict):
        return [x for part in tree.values() for x in leaves(part)]
    return [tree]


def rebuild(tree: Any, values: Any) -> Any:
    """A tree of the same form with the leaves taken from an iterator."""
    if isinstance(tree, (tuple, list)):
        made = [rebuild(part, values) for part in tree]
        return type(tree)(*made) if hasattr(tree, "_fields") else type(tree)(made)
    if isinstance(tree, dict):
        return type(tree)((k, rebuild(part, values)) for k, part in tree.items())
    return next(values)


def change(fn: Callable[[Any], Any], tree: Any) -> Any:
    """fn of every leaf."""
    return rebuild(tree, iter([fn(x) for x in leaves(tree)]))


def tensors(tree: Any) -> list[Any]:
    """The tensors among the leaves of a tree, in order."""
    return [x for x in leaves(tree) if isinstance(x, Tensor)]
