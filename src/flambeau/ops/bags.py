"""Sums and means of rows of a table over bags that lie one behind the other, in one pass."""

from __future__ import annotations

from typing import Any

from ..shapes import numel
from ..stream.graph import blank, opaque
from .entry import FUNCTIONS, T, op
from .gather import base_shape
from .places import check


def _in_range(weight: Any, indices: Any, *rest: Any) -> None:
    check("embedding_bag", indices, weight._meta.shape[0], 0, IndexError)


def _embedding_bag_sum_back(
    grad: Any, indices: Any, starts: Any, mean: bool, padding_idx: int, form: Any
) -> Any:
    return FUNCTIONS["_embedding_bag_spread"](grad, indices, starts, base_shape(form)[0], mean, padding_idx)


@op(method=False, check=_in_range, node="EmbeddingBagBackward0", grad={"weight": _embedding_bag_sum_back})
def _embedding_bag_sum(weight: T, indices: T, starts: T, mean: bool, padding_idx: int = -1) -> Any:
    """The sum (mean) of weight[indices[i]] over the i from starts[b] up to starts[b + 1], for each b."""
    shape = (starts.shape[0], weight.shape[1])
    if not numel(shape) or not numel(indices.shape):
        return blank(shape, weight.dtype)
    return opaque("bags", (weight, indices, starts), [(shape, weight.dtype)], ((), mean, padding_idx))[0]


@op(
    method=False,
    node="EmbeddingBagBackward1",
    grad={
        "grad": lambda grad, indices, starts, mean, padding_idx: FUNCTIONS["_embedding_bag_sum"](
            grad, indices, starts, mean, padding_idx
        )
    },
)
def _embedding_bag_spread(
    grad: T, indices: T, starts: T, rows: int, mean: bool, padding_idx: int = -1
) -> Any:
    """The gradient of `_embedding_bag_sum` for its table: the rows of grad added where the indices of their bags point."""
    out = blank((rows, grad.shape[1]), grad.dtype)
    if numel(grad.shape) and numel(indices.shape):
        opaque("bags", (out, grad, indices, starts), [], (("writes", (0,)), mean, padding_idx))
    return out
