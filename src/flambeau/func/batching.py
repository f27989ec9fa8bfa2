"""vmap: a function of one sample applied to a batch, sample by sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..ops.entry import FUNCTIONS
from ..stream.value import Tensor
from .trees import leaves, rebuild


def spread(dims: Any, tree: Any) -> list[Any]:
    """`dims` (a number or None for a whole subtree) for each leaf of a tree."""
    if isinstance(dims, int) or dims is None:
        return [dims] * len(leaves(tree))
    if isinstance(tree, dict):
        return [d for k, part in tree.items() for d in spread(dims[k], part)]
    return [d for part, inner in zip(tree, dims) for d in spread(inner, part)]


def vmap(
    func: Callable[..., Any],
    in_dims: Any = 0,
    out_dims: Any = 0,
    randomness: str = "error",
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """func over dimension in_dims of its arguments (None: shared); results are stacked along out_dims."""

    def batched(*args: Any, **kwargs: Any) -> Any:
        flat, dims = leaves(args), spread(in_dims, args)
        if len(flat) != len(dims):
            raise ValueError(
                f"vmap: in_dims is not compatible with the structure of inputs; got in_dims={in_dims}"
            )
        options, option_dims = leaves(kwargs), [0] * len(leaves(kwargs))
        every = [
            (t, d)
            for t, d in zip((*flat, *options), (*dims, *option_dims))
            if isinstance(t, Tensor) and d is not None
        ]
        sizes = {t._meta.shape[d] for t, d in every}
        if not sizes:
            raise ValueError("vmap: at least one of the inputs must be mapped; in_dims are all None")
        if len(sizes) > 1:
            raise ValueError(
                f"vmap: Expected all tensors to have the same size in the mapped dimension, got sizes {sorted(sizes)}"
            )
        results = []
        for i in range(sizes.pop()):
            sample = rebuild(args, iter([at(t, d, i) for t, d in zip(flat, dims)]))
            named = rebuild(kwargs, iter([at(t, d, i) for t, d in zip(options, option_dims)]))
            results.append(func(*sample, **named))
        return stacked(results, out_dims)

    return batched


def at(t: Any, dim: int | None, i: int) -> Any:
    """Sample i of an argument that is batched along dim; one that is not, whole."""
    return t.select(dim, i) if isinstance(t, Tensor) and dim is not None else t  # type: ignore[attr-defined]


def stacked(results: list[Any], out_dims: Any) -> Any:
    """The results of all samples as one tree of tensors."""
    first = results[0]
    columns = zip(*[leaves(r) for r in results])
    made = []
    for column, d in zip(columns, spread(out_dims, first)):
        if not isinstance(column[0], Tensor):
            raise ValueError(f"vmap: the function must only return Tensors, got type {type(column[0])}")
        if d is None:
            made.append(column[0])
        else:
            made.append(FUNCTIONS["stack"](list(column), d))
    return rebuild(first, iter(made))
