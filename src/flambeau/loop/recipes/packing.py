"""Packing operands of a contraction into panels whose rows are k steps.

A transposed block is read as `T` loads whose lane stride is the leading dimension and whose offsets are 0..T-1: codegen
turns them into row loads and an in-register transpose. Blocks at the end are moved back to stay inside the matrix, so
they rewrite what is already there; panels therefore have `SPARE` rows of slack in front."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..build import Buffer, Builder, Register, Value, const, minimum, select
from ..ir import SIZE

SPARE = 16

Turn = Callable[[Value], Value]
"""What is made of an element before it is stored in a panel, if not only a cast."""


def transposed(
    b: Builder,
    src: Buffer,
    base: Value,
    ld: Value,
    size: int,
    dst: Buffer,
    at: Value,
    pitch: Value | int,
    turn: Turn | None = None,
) -> None:
    """dst[at + u*pitch + lane] = src[base + lane*ld + u] for u, lane in 0..size-1."""
    with b.vfor("t", 0, size, size, full=True) as t:
        row = b.let(base + t * ld)
        column = [b.let(src[row + u]) for u in range(size)]
        for u, value in enumerate(column):
            dst[at + u * pitch + t] = turn(value) if turn else value.cast(dst.type)


class Window(NamedTuple):
    """The part of a matrix that a panel holds: lanes from `first` (there are `limit`), k steps kb..kb+kc-1 of k."""

    first: Value
    limit: Value
    kb: Value
    kc: Value
    k: Value


def transposed_panel(
    b: Builder,
    src: Buffer,
    origin: Value,
    ld: Value,
    w: Window,
    size: int,
    dst: Buffer,
    at: Value,
    pitch: int,
    count: int,
    turn: Turn | None = None,
    ahead: Value | None = None,
) -> None:
    """dst[at + kk*pitch + x] = src[origin + (first+x)*ld + kb + kk] for x in 0..count-1 with first+x < limit, kk in
    0..kc-1; limit and k are at least `size`. Whole lines are read and written while they are near.

    ahead: whether the panel after this one is brought near meanwhile. Lanes from `count` to the end of their block are
    written, too: into the next k step, which is written later."""
    line = max(size, 64 // SIZE[src.type])
    last = (count - 1) // size * size
    with b.for_("q", 0, w.kc, line) as q, b.for_("w", 0, count, size) as left:
        v = last - left
        lane0 = b.let(minimum(w.first + v, w.limit - size), "x")
        with b.for_("u", q, minimum(q + line, w.kc), size) as u:
            ks = b.let(minimum(w.kb + u, w.k - size), "ks")
            place = b.let(at + (ks - w.kb) * pitch + (lane0 - w.first), "place")
            if ahead is not None:
                with b.if_(ahead & ((ks - w.kb) % line).eq(0)):
                    for lane in range(size):
                        b.prefetch(src, origin + (lane0 + count + lane) * ld + ks, far=True)
            transposed(b, src, b.let(origin + lane0 * ld + ks), ld, size, dst, place, pitch, turn)


def masked_panel(
    b: Builder,
    src: Buffer,
    base: Value,
    ld: Value,
    kb: Value,
    kc: Value,
    k: Value,
    live: Register,
    dst: Buffer,
    at: Value,
    size: int,
) -> None:
    """dst[at + kk*size + x] = src[base + x*ld + kb + kk] for x in 0..size-1, zero where `live` is false; k >= size."""
    with b.for_("q", 0, kc, size) as q:
        ks = b.let(minimum(kb + q, k - size), "ks")
        origin = b.let(base + ks)
        place = b.let(at + (ks - kb) * size)
        with b.vfor("t", 0, size, size, full=True) as t:
            row = b.let(origin + t * ld)
            column = [b.let(src.load(row + u, live.get())) for u in range(size)]
            for u, value in enumerate(column):
                dst[place + u * size + t] = value.cast(dst.type)


def live(b: Builder, left: Value, lanes: int, dtype: str) -> Value:
    """A mask of the lanes below `left` that is kept in the form in which vector instructions take it: sign bits."""
    word = "i64" if SIZE[dtype] == 8 else "i32"
    signs = b.reg("live", const(word, 0), lanes=lanes)
    with b.vfor("x", 0, lanes, lanes, full=True) as x:
        signs.set(select(x < left, const(word, -1), const(word, 0)))
    return signs.get() < 0


def rows_panel(
    b: Builder,
    load: Callable[[Value, Any], Value],
    base: Value,
    ld: Value,
    step: Value,
    kc: Value,
    mask: Any,
    dst: Buffer,
    at: Value,
    lanes: int,
) -> None:
    """dst[at + kk*lanes + x] = load(base + kk*ld + x*step, mask): zero where the mask is false."""
    with b.for_("kk", 0, kc) as kk:
        row = b.let(base + kk * ld)
        put = b.let(at + kk * lanes)
        with b.vfor("x", 0, lanes, lanes, full=True) as x:
            dst[put + x] = load(row + x * step, mask)
