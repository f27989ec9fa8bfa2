"""What machine code depends on, as digests: the names of entries in the disk cache."""

from __future__ import annotations

import functools
import hashlib
import marshal
import os
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

from ..loop import ir
from .target import Target

_PACKAGE = Path(__file__).parents[1]


def _fields(*kinds: Any, first: tuple[str, ...] = ()) -> dict[type, Callable[[Any], Iterable]]:
    return {kind: attrgetter(*first, *kind.__slots__) for kind in kinds if kind.__slots__}


_LEAVES = _fields(ir.Const, ir.Var, ir.Get, ir.HReduce, first=("type",))
_FIELDS = _fields(*ir.Stmt.__subclasses__(), ir.Buf, ir.Num) | {ir.Int: lambda p: (p.name,)}
# The source of everything that decides what code is made of a kernel, and what kernel is made of a launch's key.
OF_KERNELS = ("codegen", "loop/ir.py")
OF_LAUNCHES = ("codegen", "loop", "stream")
# And of a plan: how programs lie in memory.
OF_PLANS = (*OF_LAUNCHES, "device", "shapes.py", "symbols.py", "dtypes.py")


@functools.cache
def version(parts: tuple[str, ...]) -> str:
    """A digest of source files; of chance where there are none: nothing on disk may be taken for this version's."""
    return hashlib.sha256("".join(map(_read, parts)).encode()).hexdigest()


@functools.cache
def _read(part: str) -> str:
    """The digest of one file or folder, which is read once."""
    digest = hashlib.sha256()
    path = _PACKAGE / part
    for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
        try:
            digest.update(file.read_bytes())
        except OSError:
            digest.update(os.urandom(32))
    return digest.hexdigest()


def digest(kind: str, content: str | bytes, on: Target, parts: tuple[str, ...] = OF_KERNELS) -> str:
    """The name of what is made of a content for a target."""
    import llvmlite

    made = hashlib.sha256("\0".join((kind, version(parts), llvmlite.__version__, on.key(), "")).encode())
    made.update(content if isinstance(content, bytes) else content.encode())
    return made.hexdigest()


def fingerprint(kernel: ir.Kernel) -> bytes:
    """What is equal for kernels of equal meaning to the compiler: linear in the number of nodes."""
    items: list[Any] = [
        kernel.name,
        *[(p.__class__.__name__, *_FIELDS[p.__class__](p)) for p in kernel.params],
    ]
    numbers: dict[ir.Expr, int] = {}  # negative: no other field looks like one
    _block(kernel.body, items, numbers)
    items.append("epilogue")
    _block(kernel.epilogue, items, numbers)
    try:
        return marshal.dumps(items, 2)  # later formats show which of equal strings are one object
    except ValueError:  # a constant that the verifier will refuse
        return repr(items).encode()


def _block(body: Sequence[ir.Stmt], items: list[Any], numbers: dict[ir.Expr, int]) -> None:
    """Append what a list of statements shows, behind the expressions in it."""
    for s in body:
        made: list[Any] = [s.__class__.__name__]
        inner = []
        for field in _FIELDS.get(s.__class__, repr)(s):
            if isinstance(field, ir.Expr):
                number = numbers.get(field)
                made.append(_number(field, items, numbers) if number is None else number)
            elif isinstance(field, list):
                inner.append(field)
            else:
                made.append(field)
        items += made
        for block in inner:
            _block(block, items, numbers)
            items.append("]")


def _number(root: ir.Expr, items: list[Any], numbers: dict[ir.Expr, int]) -> int:
    """Append what an expression and all below it show; its number. No recursion: expressions nest deeply."""
    stack = [root]
    while stack:
        top: Any = stack[-1]
        kind = top.__class__
        parts: tuple[ir.Expr, ...] = ()
        if kind is ir.Op:
            made, parts = [top.type, top.op], top.args
        elif kind is ir.Load:
            made, parts = (
                ["load", top.type, top.buf],
                (top.index,) if top.mask is None else (top.index, top.mask),
            )
        else:
            made = [kind.__name__, *_LEAVES.get(kind, repr)(top)]
        for part in parts:
            number = numbers.get(part)
            if number is None:
                leaf = _LEAVES.get(part.__class__)
                if leaf is None:
                    stack.append(part)
                    break
                number = numbers[part] = ~len(numbers)
                items.append(part.__class__.__name__)
                items += leaf(part)
            made.append(number)
        else:
            stack.pop()
            numbers[top] = ~len(numbers)
            items += made
    return numbers[root]
