"""Sums and means of rows of a table over bags that lie one behind the other, in one pass."""

from __future__ import annotations

from typing import Any

from ..shapes import numel
from ..stream.graph import blank, contiguous, opaque
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
    return opaque("bags", (weight, indices, starts), [(shape, weight.dtype)], ((), mean, padding_idx, False))[
        0
    ]


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
        opaque("bags", (out, grad, indices, starts), [], (("writes", (0,)), mean, padding_idx, False))
    return out


def _weighted_bag_dots(grad: Any, weight: Any, indices: Any, bag: Any) -> Any:
    """What each number of a weighted sum is multiplied by: its row of the table times the gradient of its bag."""
    rows, given = FUNCTIONS["index_select"](weight, 0, indices), FUNCTIONS["index_select"](grad, 0, bag)
    return (rows * given).sum(-1)


def _weighted_bag_back(
    grad: Any, indices: Any, starts: Any, weights: Any, bag: Any, padding_idx: int, form: Any
) -> Any:
    rows = base_shape(form)[0]
    return FUNCTIONS["_weighted_bag_spread"](grad, indices, starts, weights, bag, rows, padding_idx)


def _kept(dots: Any, indices: Any, padding_idx: int) -> Any:
    return dots if padding_idx < 0 else FUNCTIONS["where"](indices == padding_idx, 0, dots)


@op(
    method=False,
    check=_in_range,
    node="EmbeddingBagBackward2",
    grad={
        "weight": _weighted_bag_back,
        "weights": lambda grad, weight, indices, bag, padding_idx: _kept(
            _weighted_bag_dots(grad, weight, indices, bag), indices, padding_idx
        ),
    },
)
def _weighted_bag_sum(weight: T, indices: T, starts: T, weights: T, bag: T, padding_idx: int = -1) -> Any:
    """The sum of weights[i] * weight[indices[i]] over the i of each bag, bag[i] being its number."""
    shape = (starts.shape[0], weight.shape[1])
    if not numel(shape) or not numel(indices.shape):
        return blank(shape, weight.dtype)
    operands = (weight, contiguous(weights), indices, starts)
    return opaque("bags", operands, [(shape, weight.dtype)], ((), False, padding_idx, True))[0]


@op(
    method=False,
    node="EmbeddingBagBackward3",
    grad={
        "g": lambda grad, indices, starts, weights, bag, padding_idx: _weighted_bag_sum(
            grad, indices, starts, weights, bag, padding_idx
        ),
        "weights": lambda grad, g, indices, bag, padding_idx: _kept(
            _weighted_bag_dots(g, grad, indices, bag), indices, padding_idx
        ),
    },
)
def _weighted_bag_spread(
    g: T, indices: T, starts: T, weights: T, bag: T, rows: int, padding_idx: int = -1
) -> Any:
    """The gradient of `_weighted_bag_sum` for its table."""
    out = blank((rows, g.shape[1]), g.dtype)
    if numel(g.shape) and numel(indices.shape):
        operands = (out, g, contiguous(weights), indices, starts)
        opaque("bags", operands, [], (("writes", (0,)), False, padding_idx, True))
    return out
