"""Sums of products written with indices: einsum and tensordot, by batched matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import fail
from ..shapes import numel, wrap_dim
from .entry import composite

Labels = list[Any]


def _subscripts(text: str, ndim: int) -> Labels:
    """The labels of one operand; an ellipsis stands for numbers ..., -2, -1, counted from its end."""
    text = text.replace(" ", "")
    if "..." not in text:
        labels: Labels = list(text)
        if len(labels) != ndim:
            fail(
                RuntimeError,
                f"einsum(): the number of subscripts in the equation ({len(labels)}) does not match the number of dimensions ({ndim}) for "
                "an operand and no ellipsis was given",
            )
        return labels
    left, right = text.split("...", 1)
    rest = ndim - len(left) - len(right)
    if rest < 0 or "." in left + right:
        fail(RuntimeError, f"einsum(): the subscripts {text!r} do not fit an operand of {ndim} dimensions")
    return [*left, *range(-rest, 0), *right]


def _parse(equation: str, operands: Sequence[Any]) -> tuple[list[Labels], Labels]:
    given, arrow, wanted = equation.partition("->")
    parts = given.split(",")
    if len(parts) != len(operands):
        more = "more" if len(parts) < len(operands) else "fewer"
        fail(RuntimeError, f"einsum(): {more} operands were provided than specified in the equation; got {len(operands)} for {equation!r}")
    for c in equation.replace("->", "").replace("...", ""):
        if not (c.isalpha() or c in ", "):
            fail(RuntimeError, f"einsum(): invalid subscript given at index {equation.index(c)} in the equation string, subscripts must be in [a-zA-Z]")
    inputs = [_subscripts(p, x.ndim) for p, x in zip(parts, operands)]
    dots = sorted({x for labels in inputs for x in labels if isinstance(x, int)})
    if arrow:
        text = wanted.replace(" ", "")
        if "..." in text:
            left, right = text.split("...", 1)
            return inputs, [*left, *dots, *right]
        return inputs, list(text)
    letters = [x for labels in inputs for x in labels if isinstance(x, str)]
    return inputs, [*dots, *sorted(c for c in set(letters) if letters.count(c) == 1)]


def _merge_repeated(x: Any, labels: Labels) -> tuple[Any, Labels]:
    """A label that occurs twice in one operand means its diagonal."""
    for c in list(dict.fromkeys(labels)):
        while labels.count(c) > 1:
            i = labels.index(c)
            j = labels.index(c, i + 1)
            if x.shape[i] != x.shape[j]:
                fail(RuntimeError, f"einsum(): subscript {c} is repeated for an operand, but the sizes don't match; got {x.shape[i]} and {x.shape[j]}")
            x = x.diagonal(0, i, j)
            labels = [v for k, v in enumerate(labels) if k not in (i, j)] + [c]
    return x, labels


def _sum_out(x: Any, labels: Labels, keep: set[Any]) -> tuple[Any, Labels]:
    gone = [d for d, c in enumerate(labels) if c not in keep]
    if not gone:
        return x, labels
    return x.sum(gone), [c for c in labels if c in keep]


def _arranged(x: Any, labels: Labels, groups: Sequence[Labels]) -> Any:
    """x with its dimensions in the order of the groups, each group joined into one."""
    x = x.permute([labels.index(c) for g in groups for c in g])
    at, shape = 0, []
    for g in groups:
        shape.append(numel(x.shape[at : at + len(g)]))
        at += len(g)
    return x.reshape(shape)


def _contract(a: Any, la: Labels, b: Any, lb: Labels, keep: set[Any]) -> tuple[Any, Labels]:
    """The product of two operands, summed over the labels of both that nobody needs any more."""
    size = {c: n for labels, x in ((la, a), (lb, b)) for c, n in zip(labels, x.shape) if n != 1}
    wide_a = {c for c, n in zip(la, a.shape) if n != 1}
    wide_b = {c for c, n in zip(lb, b.shape) if n != 1}
    both = [c for c in la if c in lb]
    summed = [c for c in both if c not in keep and c in wide_a and c in wide_b]
    a, la = _sum_out(a, la, keep | set(summed) | (set(lb) & wide_a))
    b, lb = _sum_out(b, lb, keep | set(summed) | (set(la) & wide_b))
    if not summed:
        labels = [*la, *[c for c in lb if c not in la]]
        x = _spread(a, la, labels) * _spread(b, lb, labels)
        return _sum_out(x, labels, keep)
    batch = [c for c in both if c in keep and c in wide_a and c in wide_b]
    left = [c for c in la if c not in summed and c not in batch and not (c in lb and c not in wide_a)]
    right = [c for c in lb if c not in summed and c not in batch and c not in left]
    a = a.squeeze([la.index(c) for c in la if c not in [*batch, *left, *summed]])
    b = b.squeeze([lb.index(c) for c in lb if c not in [*batch, *right, *summed]])
    la = [c for c in la if c in [*batch, *left, *summed]]
    lb = [c for c in lb if c in [*batch, *right, *summed]]
    x = _arranged(a, la, (batch, left, summed)).bmm(_arranged(b, lb, (batch, summed, right)))
    labels = [*batch, *left, *right]
    return _sum_out(x.reshape([size.get(c, 1) for c in labels]), labels, keep)


def _spread(x: Any, have: Labels, want: Labels) -> Any:
    """x with a dimension for each wanted label."""
    x = x.permute([have.index(c) for c in want if c in have])
    for d, c in enumerate(want):
        if c not in have:
            x = x.unsqueeze(d)
    return x


@composite(method=False)
def einsum(*args: Any) -> Any:
    """The sum of products that the equation describes: "ij,jk->ik" is a matrix product."""
    equation, operands = args[0], args[1:]
    if not isinstance(equation, str):
        equation, operands = _from_lists(args)
    elif len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    if not operands:
        fail(RuntimeError, "einsum(): must provide at least one operand")
    inputs, wanted = _parse(equation, operands)
    known = {c for labels in inputs for c in labels}
    for c in wanted:
        if c not in known:
            fail(RuntimeError, f"einsum(): output subscript {c} does not appear in the equation for any input operand")
    pairs = [_merge_repeated(x, labels) for x, labels in zip(operands, inputs)]
    x, labels = pairs[0]
    for i in range(1, len(pairs)):
        keep = {*wanted, *[c for _, later in pairs[i + 1 :] for c in later]}
        x, labels = _contract(x, labels, *pairs[i], keep)
    x, labels = _sum_out(x, labels, set(wanted))
    return x.permute([labels.index(c) for c in wanted])


def _from_lists(args: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """operand, sublist, operand, sublist, ..., (output sublist)."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

    def word(sub: Any) -> str:
        return "".join("..." if s is Ellipsis else letters[s] for s in sub)

    out = "->" + word(args[-1]) if len(args) % 2 else ""
    count = len(args) // 2
    return ",".join(word(args[2 * i + 1]) for i in range(count)) + out, tuple(args[0 : 2 * count : 2])


@composite(method=False)
def tensordot(a: Any, b: Any, dims: Any = 2, out: Any = None) -> Any:
    """The sum of products over the last dims of a and the first of b, or over the given pairs of dims."""
    if hasattr(dims, "tolist"):
        dims = dims.tolist()
    if isinstance(dims, (list, tuple)):
        da, db = ([dims[0]], [dims[1]]) if isinstance(dims[0], int) else (list(dims[0]), list(dims[1]))
    else:
        if dims < 0:
            fail(RuntimeError, f"tensordot expects dims >= 0, but got dims={dims}")
        da, db = list(range(a.ndim - dims, a.ndim)), list(range(dims))
    da, db = [wrap_dim(d, a.ndim, "tensordot") for d in da], [wrap_dim(d, b.ndim, "tensordot") for d in db]
    for i, j in zip(da, db):
        if a.shape[i] != b.shape[j]:
            fail(
                RuntimeError,
                f"tensordot: contracted dimensions need to match, but first has size {a.shape[i]} in dim {i} and second has size "
                f"{b.shape[j]} in dim {j}",
            )
    la, lb = list(range(a.ndim)), list(range(b.ndim))
    ra, rb = [d for d in la if d not in da], [d for d in lb if d not in db]
    product = _arranged(a, la, (ra, da)) @ _arranged(b, lb, (db, rb))
    result = product.reshape([a.shape[d] for d in ra] + [b.shape[d] for d in rb])
    if out is None:
        return result
    from .elementwise import into

    return into(out, result)
