"""vmap: a function of one sample applied to a whole batch at once (batched.py, rules.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..ops.entry import FUNCTIONS
from ..stream.value import Tensor
from . import functions as functions
from . import rules_nn as rules_nn
from .batched import Level, batch_of, is_batched, wrap
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
        size = sizes.pop()
        if chunk_size is not None and 0 < chunk_size < size:
            return chunked(
                func,
                (args, flat, dims),
                (kwargs, options, option_dims),
                (size, chunk_size),
                out_dims,
                randomness,
            )
        with Level(size, randomness) as level:
            sample = rebuild(args, iter([at(t, d, level) for t, d in zip(flat, dims)]))
            named = rebuild(kwargs, iter([at(t, d, level) for t, d in zip(options, option_dims)]))
            result = func(*sample, **named)
        return together(result, out_dims, level)

    return batched


def at(t: Any, dim: int | None, level: Level) -> Any:
    """One sample of an argument that is batched along dim; one that is not, whole."""
    if not isinstance(t, Tensor) or dim is None:
        return t
    return wrap(t if dim == 0 else FUNCTIONS["movedim"](t, dim, 0), level)


def together(result: Any, out_dims: Any, level: Level) -> Any:
    """The results of a function of one sample as batches."""
    made = []
    for t, d in zip(leaves(result), spread(out_dims, result)):
        if not isinstance(t, Tensor):
            raise ValueError(f"vmap({result!r}): the function must only return Tensors, got type {type(t)}")
        if d is None:
            if is_batched(t, level):
                raise ValueError(
                    "vmap: out_dims can only be None for a result that does not depend on the batch"
                )
            made.append(t)
        else:
            whole = batch_of(t, level)
            made.append(whole if d == 0 else FUNCTIONS["movedim"](whole, 0, d))
    return rebuild(result, iter(made))


def chunked(func: Any, given: Any, named: Any, sizes: tuple[int, int], out_dims: Any, randomness: str) -> Any:
    """As many samples at once as chunk_size says; the results are joined."""
    (args, flat, dims), (kwargs, options, option_dims) = given, named
    size, step = sizes
    parts = []
    for start in range(0, size, step):

        def cut(t: Any, d: Any, start: int = start) -> Any:
            n = min(step, size - start)
            return t.narrow(d, start, n) if isinstance(t, Tensor) and d is not None else t  # type: ignore[attr-defined]

        some = rebuild(args, iter([cut(t, d) for t, d in zip(flat, dims)]))
        more = rebuild(kwargs, iter([cut(t, d) for t, d in zip(options, option_dims)]))
        parts.append(vmap(func, rebuild(args, iter(dims)), out_dims, randomness)(*some, **more))
    columns = zip(*[leaves(p) for p in parts])
    whole = [
        column[0] if d is None else FUNCTIONS["cat"](list(column), d)
        for column, d in zip(columns, spread(out_dims, parts[0]))
    ]
    return rebuild(parts[0], iter(whole))
