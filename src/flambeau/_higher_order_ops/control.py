"""Branches and loops as functions: Python's own, since nothing is traced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..ops.entry import FUNCTIONS
from ..utils import _pytree as pytree


def cond(pred: Any, true_fn: Callable[..., Any], false_fn: Callable[..., Any], operands: Any = ()) -> Any:
    """true_fn(*operands) if the condition (a bool or a tensor of one element) holds, else false_fn(*operands)."""
    return true_fn(*operands) if bool(pred) else false_fn(*operands)


def while_loop(cond_fn: Callable[..., Any], body_fn: Callable[..., Any], carried_inputs: Any) -> Any:
    """The values after body_fn has run as long as cond_fn of them holds."""
    values = tuple(carried_inputs)
    while bool(cond_fn(*values)):
        made = body_fn(*values)
        values = tuple(made) if isinstance(made, (tuple, list)) else (made,)
    return values


def scan(
    combine_fn: Callable[[Any, Any], Any], init: Any, xs: Any, *, dim: int = 0, reverse: bool = False
) -> Any:
    """(last carry, results stacked) of carry, y = combine_fn(carry, x) over the slices x of a tree along dim."""
    leaves, spec = pytree.tree_flatten(xs)
    order = range(leaves[0].shape[dim])
    carry, made = init, []
    for i in reversed(order) if reverse else order:
        carry, y = combine_fn(carry, spec.unflatten([x.select(dim, i) for x in leaves]))
        made.append(y)
    made = made[::-1] if reverse else made
    return carry, pytree.tree_map(lambda *ys: FUNCTIONS["stack"](ys, 0), made[0], *made[1:])
