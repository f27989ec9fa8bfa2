"""Reading and writing the rows of a dense state that a coalesced sparse gradient names."""

from __future__ import annotations

from typing import Any


def at_rows(state: Any, indices: Any) -> Any:
    """The elements or rows of `state` at indices (sparse_dim, nnz)."""
    if indices.shape[0] == 1:
        return state.index_select(0, indices.reshape(-1))
    return state[tuple(indices.unbind(0))]


def put_rows(state: Any, indices: Any, values: Any) -> None:
    """Write them, in place; no two indices are equal."""
    if indices.shape[0] == 1:
        state.index_copy_(0, indices.reshape(-1), values)
    else:
        state.index_put_(tuple(indices.unbind(0)), values)
