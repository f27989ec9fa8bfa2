"""torch._higher_order_ops.associative_scan: the results of all prefixes of a sequence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..ops.entry import FUNCTIONS
from ..utils import _pytree as pytree


def associative_scan(
    combine_fn: Callable[[Any, Any], Any],
    xs: Any,
    dim: int,
    reverse: bool = False,
    combine_mode: str = "pointwise",
) -> Any:
    """y[0] = x[0], y[i] = combine_fn(y[i - 1], x[i]) along a dimension of all tensors of a tree, for an associative
    combine_fn (Hillis and Steele 1986: as many calls of whole tensors as the length has bits).

    Example:
        >>> import flambeau as torch
        >>> from flambeau._higher_order_ops import associative_scan
        >>> associative_scan(torch.mul, torch.tensor([1.0, 2.0, 3.0]), 0)
        tensor([1., 2., 6.])
    """
    if combine_mode not in ("pointwise", "generic"):
        raise ValueError(f"Combine_mode must either 'pointwise' or 'generic', but got {combine_mode}")
    leaves, spec = pytree.tree_flatten(xs)
    if not leaves:
        raise ValueError("Expected at least 1 xs leaf")
    length = leaves[0].shape[dim]
    if any(x.shape[dim] != length for x in leaves):
        raise ValueError("All xs leaves must at least have 'dim' number of dimensions and scan dimension > 0")
    if reverse:
        leaves = [x.flip(dim) for x in leaves]
    step = 1
    while step < length:
        earlier = spec.unflatten([x.narrow(dim, 0, length - step) for x in leaves])
        later = spec.unflatten([x.narrow(dim, step, length - step) for x in leaves])
        made = pytree.tree_leaves(combine_fn(earlier, later))
        leaves = [FUNCTIONS["cat"]([x.narrow(dim, 0, step), y], dim) for x, y in zip(leaves, made)]
        step *= 2
    return spec.unflatten([x.flip(dim) for x in leaves] if reverse else leaves)
