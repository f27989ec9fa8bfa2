"""A transposed block: W neighbouring strided loads of W lanes as W row loads and a transpose in registers.

The pattern is W consecutive `Let`s of the loads buf[row + 0], ..., buf[row + W-1] in a `VFor` of W lanes, where
`row` is affine in the lane with a step other than 0, 1 and -1: lane l needs elements 0..W-1 from row + l*step on,
which are one row load. Gathers would take W*W loads."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..loop import ir


def run_of_loads(body: Sequence[ir.Stmt], at: int, width: int) -> list[ir.Let] | None:
    """The `width` statements from body[at] on, if they are the columns of one block."""
    lets = body[at : at + width]
    if len(lets) < width or not isinstance(lets[-1], ir.Let):
        return None
    found: list[ir.Let] = []
    first: ir.Load | None = None
    for u, s in enumerate(lets):
        if not isinstance(s, ir.Let) or not isinstance(s.value, ir.Load):
            return None
        load = s.value
        first = first or load
        if load.buf != first.buf or not _same_mask(load, first) or not _offset(load.index, first.index, u):
            return None
        found.append(s)
    return found


def _same_mask(a: ir.Load, b: ir.Load) -> bool:
    """No mask, or both the same register."""
    if a.mask is None or b.mask is None:
        return a.mask is b.mask
    return isinstance(a.mask, ir.Get) and isinstance(b.mask, ir.Get) and a.mask.name == b.mask.name


def _offset(index: ir.Expr, row: ir.Expr, u: int) -> bool:
    """Whether index is row + u."""
    if u == 0:
        return isinstance(row, ir.Var)
    if not isinstance(index, ir.Op) or index.op != "add" or not isinstance(row, ir.Var):
        return False
    base, by = index.args
    return isinstance(base, ir.Var) and base.name == row.name and isinstance(by, ir.Const) and by.value == u


def transpose(rows: list[str], size: int, element: str, line: Callable[[str], str]) -> list[str]:
    """The columns of a W x W block: interleave within 128-bit groups, then collect the groups."""
    width = len(rows)
    group = max(1, min(width, 16 // size))
    t = f"<{width} x {element}>"

    def shuffle(a: str, b: str, order: list[int]) -> str:
        lanes = ", ".join(f"i32 {k}" for k in order)
        return line(f"shufflevector {t} {a}, {t} {b}, <{width} x i32> <{lanes}>")

    def fence(v: str) -> str:
        # LLVM looks for a shorter way through all levels at once, for three times as long as all the rest takes.
        if width * size < 64:
            return v
        name, kind = ("v{}f64", "double") if element == "double" else ("v{}f32", "float")
        n = width * size // (8 if element == "double" else 4)
        as_float = f"<{n} x {kind}>"
        if as_float != t:
            v = line(f"bitcast {t} {v} to {as_float}")
        v = line(f"call {as_float} @llvm.arithmetic.fence.{name.format(n)}({as_float} {v})")
        return v if as_float == t else line(f"bitcast {as_float} {v} to {t}")

    blocks = {(r, 0): v for r, v in enumerate(rows)}  # (first row, first column) of what a vector holds
    held = 1
    while held < group:
        half, merged = group // (2 * held), {}
        for (r, c), a in blocks.items():
            if r // held % 2 == 0:
                b = blocks[r + held, c]
                merged[r, c] = shuffle(a, b, _interleave(width, group, held, 0))
                merged[r, c + half] = shuffle(a, b, _interleave(width, group, held, group // 2))
        blocks, held = merged, 2 * held
    columns = [""] * width
    for c in range(group):
        collected = _collect([fence(blocks[r, c]) for r in range(0, width, group)], group, shuffle, fence)
        for k, v in enumerate(collected):
            columns[k * group + c] = v
    return columns


def _interleave(width: int, group: int, chunk: int, start: int) -> list[int]:
    """Chunks of a and b in turn, from one half of every group."""
    order = []
    for g in range(0, width, group):
        for k in range(start, start + group // 2, chunk):
            for source in (0, width):
                order += [source + g + k + e for e in range(chunk)]
    return order


def _collect(
    vectors: list[str],
    group: int,
    shuffle: Callable[[str, str, list[int]], str],
    fence: Callable[[str], str],
) -> list[str]:
    """Vector k of the result is group k of every vector, in order; there are as many groups as vectors."""
    width = group * len(vectors)

    def split(level: list[str]) -> list[str]:
        if len(level) == 1:
            return level
        if len(level) == 2 < len(vectors):
            level = [fence(v) for v in level]
        halves = []
        for odd in (0, 1):
            order = [k * group + e for k in range(odd, 2 * width // group, 2) for e in range(group)]
            halves.append(split([shuffle(a, b, order) for a, b in zip(level[::2], level[1::2], strict=True)]))
        return [v for pair in zip(*halves, strict=True) for v in pair]

    return split(vectors)
