"""Contractions over named dimensions, einsum and tensordot: permutations and products of pairs of operands."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from ..errors import fail
from ..shapes import numel, wrap_dim
from .contraction import mm
from .elementwise import into
from .entry import composite

Shape = tuple[int, ...]
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
Labels = tuple[Any, ...]  # a letter, or (place,) for a dimension of the ellipsis counted from its end


def _wrong(what: str) -> Any:
    fail(RuntimeError, f"einsum(): {what}")


def _read(text: str, where: str, start: int) -> list[str]:
    """The subscripts of one operand, the ellipsis as one of them."""
    found: list[str] = []
    i = 0
    while i < len(text):
        c = text[i]
        if c == " ":
            i += 1
        elif c == ".":
            if "..." in found:
                _wrong(f"found '.' for {where} for which an ellipsis was already found")
            if text[i : i + 3] != "...":
                _wrong(f"found '.' for {where} that is not part of any ellipsis")
            found.append("...")
            i += 3
        elif c in LETTERS:
            found.append(c)
            i += 1
        else:
            _wrong(
                f"invalid subscript given at index {start + i} in the equation string, subscripts must be in [a-zA-Z]"
            )
    return found


def _labels(found: list[str], shape: Shape, i: int) -> Labels:
    """One label for each dimension of operand i."""
    named, given = len(found) - ("..." in found), len(shape)
    if "..." not in found and named != given:
        _wrong(
            f"the number of subscripts in the equation ({named}) does not match the number of dimensions ({given}) for operand {i} and no "
            "ellipsis was given"
        )
    if named > given:
        _wrong(
            f"the number of subscripts in the equation ({named}) is more than the number of dimensions ({given}) for operand {i}"
        )
    labels: list[Any] = []
    for s in found:
        labels += [(k,) for k in range(given - named, 0, -1)] if s == "..." else [s]
    return tuple(labels)


def _result_labels(right: str | None, left: list[Labels], start: int) -> Labels:
    every = [s for labels in left for s in labels]
    dots = sorted({s for s in every if isinstance(s, tuple)}, reverse=True)
    if right is None:
        return (*dots, *sorted(s for s in set(every) - set(dots) if every.count(s) == 1))
    result: list[Any] = []
    for s in _read(right, "output", start):
        if s != "..." and s in result:
            _wrong(f"output subscript {s} appears more than once in the output")
        if s != "..." and s not in every:
            _wrong(f"output subscript {s} does not appear in the equation for any input operand")
        result += dots if s == "..." else [s]
    return tuple(result)


def _sizes(left: list[Labels], shapes: tuple[Shape, ...]) -> dict[Any, int]:
    sizes: dict[Any, int] = {}
    for i, (labels, shape) in enumerate(zip(left, shapes)):
        for s, n in zip(labels, shape):
            own = {m for t, m in zip(labels, shape) if t == s}
            if len(own) > 1:
                a, b = shape[labels.index(s)], next(m for m in own if m != shape[labels.index(s)])
                _wrong(f"subscript {s} is repeated for operand {i} but the sizes don't match, {b} != {a}")
            if n != 1 and sizes.get(s, 1) not in (1, n):
                _wrong(
                    f"subscript {s if isinstance(s, str) else '...'} has size {n} for operand {i} which does not broadcast "
                    f"with previously seen size {sizes[s]}"
                )
            if n != 1 or s not in sizes:
                sizes[s] = n
    return sizes


@functools.lru_cache(1024)
def _parse(equation: str, shapes: tuple[Shape, ...]) -> tuple[tuple[Labels, ...], Labels]:
    """(labels of each operand, labels of the result)."""
    head, arrow, tail = equation.partition("->")
    parts = head.split(",")
    if len(parts) > len(shapes):
        _wrong("fewer operands were provided than specified in the equation")
    if len(parts) < len(shapes):
        _wrong("more operands were provided than specified in the equation")
    left, at = [], 0
    for i, (part, shape) in enumerate(zip(parts, shapes)):
        left.append(_labels(_read(part, f"operand {i}", at), shape, i))
        at += len(part) + 1
    result = _result_labels(tail if arrow else None, left, len(head) + 2)
    _sizes(left, shapes)
    return tuple(left), result


def _prepared(x: Any, labels: Labels) -> tuple[Any, Labels]:
    """Repeated labels become diagonals; extents of 1, which broadcast, are dropped."""
    while len(set(labels)) < len(labels):
        s = next(s for s in labels if labels.count(s) > 1)
        i = labels.index(s)
        j = labels.index(s, i + 1)
        x = x.diagonal(0, i, j)
        labels = (*labels[:i], *labels[i + 1 : j], *labels[j + 1 :], s)
    ones = [d for d, n in enumerate(x.shape) if n == 1]
    if ones:
        x = x.squeeze(tuple(ones))
    return x, tuple(s for d, s in enumerate(labels) if d not in ones)


def _summed(x: Any, labels: Labels, kept: Iterable[Any]) -> tuple[Any, Labels]:
    """Sums over the labels that nothing else needs."""
    kept = set(kept)
    dims = tuple(d for d, s in enumerate(labels) if s not in kept)
    if dims:
        x = x.sum(dims)
    return x, tuple(s for s in labels if s in kept)


def _arranged(x: Any, labels: Labels, order: Labels) -> Any:
    dims = [labels.index(s) for s in order]
    return x if dims == list(range(len(dims))) else x.permute(*dims)


def _pair(a: Any, left: Labels, b: Any, right: Labels, kept: set[Any]) -> tuple[Any, Labels]:
    """The product of two operands, summed over what both have and nothing else needs."""
    a, left = _summed(a, left, kept | set(right))
    b, right = _summed(b, right, kept | set(left))
    shared = [s for s in left if s in right]
    batch = tuple(s for s in shared if s in kept)
    inner = tuple(s for s in shared if s not in kept)
    rows, cols = tuple(s for s in left if s not in shared), tuple(s for s in right if s not in shared)
    result = (*batch, *rows, *cols)
    if not inner:
        a = _arranged(a, left, (*batch, *rows))
        b = _arranged(b, right, (*batch, *cols))
        a = a.reshape([*a.shape, *[1] * len(cols)]) if cols else a
        shape = [*b.shape[: len(batch)], *[1] * len(rows), *b.shape[len(batch) :]]
        return a * (b.reshape(shape) if rows and batch else b), result
    size = dict(zip(left, a.shape)) | dict(zip(right, b.shape))
    count = lambda labels: numel([size[s] for s in labels])
    x = _arranged(a, left, (*batch, *rows, *inner))
    y = _arranged(b, right, (*batch, *inner, *cols))
    if len(batch) == 0 and len(rows) <= 1 and len(cols) <= 1 and len(inner) == 1:
        return x.matmul(y), result
    lead = [size[s] for s in batch]
    x = x.reshape([*lead, count(rows), count(inner)])
    y = y.reshape([*lead, count(inner), count(cols)])
    return x.matmul(y).reshape([size[s] for s in result]), result


def _next(terms: list[tuple[Any, Labels]], result: Labels) -> tuple[int, int]:
    """The pair whose product is smallest by comparison with its operands (the first of equals)."""
    if len(terms) == 2:
        return 0, 1
    best, choice = None, (0, 1)
    for i in range(len(terms)):
        for j in range(i + 1, len(terms)):
            (a, left), (b, right) = terms[i], terms[j]
            others = set(result).union(*(labels for k, (_, labels) in enumerate(terms) if k not in (i, j)))
            size = dict(zip(left, a.shape)) | dict(zip(right, b.shape))
            grown = numel([n for s, n in size.items() if s in others]) - numel(a.shape) - numel(b.shape)
            price = (not set(left) & set(right), grown, numel(size.values()))
            if best is None or price < best:
                best, choice = price, (i, j)
    return choice


def _order(terms: list[tuple[Any, Labels]], result: Labels) -> list[tuple[int, int]]:
    """The pairs in the order of opt_einsum where it is installed (what a pair gives goes to the end of the list)."""
    if len(terms) < 3:
        return []
    try:
        from opt_einsum import paths  # type: ignore[import-not-found]  # optional: found when it is wanted
    except ImportError:
        return []
    sizes = {s: n for x, labels in terms for s, n in zip(labels, x.shape)}
    path = paths.auto([frozenset(labels) for _, labels in terms], frozenset(result), sizes)
    return [tuple(sorted(pair)) for pair in path] if all(len(pair) == 2 for pair in path) else []


def _from_lists(args: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """The form einsum(a, [0, 1], b, [1, 2], [0, 2]) as an equation and operands."""

    def letters(subscripts: Any) -> str:
        text = ""
        for s in subscripts:
            if s is not Ellipsis and not 0 <= s < 52:
                fail(ValueError, f"einsum: subscripts must be in [0, 52); got {s}")
            text += "..." if s is Ellipsis else LETTERS[s]
        return text

    pairs = len(args) // 2
    equation = ",".join(letters(args[2 * i + 1]) for i in range(pairs))
    return equation + ("->" + letters(args[-1]) if len(args) % 2 else ""), args[: 2 * pairs : 2]


@composite(method=False)
def einsum(*args: Any) -> Any:
    """Products of the operands summed over the subscripts that the result lacks: einsum("bij,bjk->bik", a, b).

    The operands may also come as a list, or each with a list of numbers: einsum(a, [0, 1], b, [1, 2], [0, 2]).
    Three and more operands are contracted in pairs: in the order of opt_einsum if it is installed, else those with the
    smallest products first."""
    if len(args) < 2:
        fail(
            ValueError,
            "einsum(): must specify the equation string and at least one operand, or at least one operand and its subscripts list",
        )
    if isinstance(args[0], str):
        equation, operands = args[0], args[1:]
        if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
            operands = tuple(operands[0])
    else:
        equation, operands = _from_lists(args)
    shapes = tuple(tuple(x.shape) for x in operands)
    if not shapes:
        _wrong("must provide at least one operand")
    given, result = _parse(equation, shapes)
    terms = [_prepared(x, labels) for x, labels in zip(operands, given)]
    order = _order(terms, result)
    while len(terms) > 1:
        i, j = order.pop(0) if order else _next(terms, result)
        kept = set(result).union(*(labels for k, (_, labels) in enumerate(terms) if k not in (i, j)))
        made = _pair(*terms[i], *terms[j], kept)
        terms = [term for k, term in enumerate(terms) if k not in (i, j)]
        terms.append(made)
    x, labels = _summed(*terms[0], result)
    x = _arranged(x, labels, tuple(s for s in result if s in labels))
    return _unsqueezed(x, labels, result) if len(labels) < len(result) else x


def _unsqueezed(x: Any, labels: Labels, result: Labels) -> Any:
    """Puts the extents of 1 back where the result has them."""
    for d, s in enumerate(result):
        if s not in labels:
            x = x.unsqueeze(d)
    return x


def _contracted(dims: Any, a: Any, b: Any) -> tuple[list[int], list[int]]:
    if hasattr(dims, "tolist"):
        dims = dims.tolist()
    if isinstance(dims, int):
        if dims < 0:
            fail(RuntimeError, f"tensordot: tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(a.ndim, b.ndim):
            fail(RuntimeError, f"tensordot: tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        return list(range(a.ndim - dims, a.ndim)), list(range(dims))
    first, second = ([d] if isinstance(d, int) else list(d) for d in dims)
    if len(first) != len(second):
        fail(
            RuntimeError, f"tensordot: both dimension lists should have same length; got {first} and {second}"
        )
    return [wrap_dim(d, a.ndim, "tensordot") for d in first], [
        wrap_dim(d, b.ndim, "tensordot") for d in second
    ]


@composite(method=False)
def tensordot(a: Any, b: Any, dims: Any = 2, *, out: Any = None) -> Any:
    """The sums of products over pairs of dimensions: the last `dims` of a with the first of b, or two lists of them."""
    first, second = _contracted(dims, a, b)
    for i, j in zip(first, second):
        if a.shape[i] == 1:
            b = b.sum(j, keepdim=True)
        elif b.shape[j] == 1:
            a = a.sum(i, keepdim=True)
        elif a.shape[i] != b.shape[j]:
            sizes = f"but got {a.shape[i]} and {b.shape[j]}"
            fail(
                RuntimeError,
                f"tensordot: contracted dimensions need to match, {sizes} in dimensions {i} and {j}",
            )
    rows = [d for d in range(a.ndim) if d not in first]
    cols = [d for d in range(b.ndim) if d not in second]
    shape = [a.shape[d] for d in rows] + [b.shape[d] for d in cols]
    depth = numel([a.shape[i] for i in first])
    left = a.permute(*rows, *first).reshape(numel([a.shape[d] for d in rows]), depth)
    right = b.permute(*second, *cols).reshape(depth, numel([b.shape[d] for d in cols]))
    result = mm(left, right).reshape(shape)
    return result if out is None else into(out, result)
