"""Transposed blocks: the values of strided loads, and that no gather is left."""

from __future__ import annotations

import numpy as np
import pytest
from codegen_native import NUMPY, run, runnable

from flambeau.codegen import engine, target
from flambeau.loop import ir
from flambeau.loop.build import Builder


def block(type: str, size: int, masked: bool) -> ir.Kernel:
    """out[u, lane] = src[lane, u]; with a mask, the first size - 3 lanes."""
    b = Builder("block")
    src, out = b.buf("src", type), b.buf("out", type, "w")
    ld = b.integer("ld")
    live = b.reg("live", False, "b1", size)
    with b.vfor("x", 0, size, size, full=True) as x:
        live.set(x < (size - 3))
    with b.vfor("t", 0, size, size, full=True) as t:
        row = b.let(t * ld + 5)
        values = [b.let(src.load(row + u, live.get() if masked else None)) for u in range(size)]
        for u, value in enumerate(values):
            out[t + u * size] = value
    return b.kernel()


@pytest.mark.parametrize("on", runnable(), ids=lambda t: t.name)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("type", "size"), [("f32", 16), ("f32", 8), ("f64", 8), ("i64", 4), ("i16", 8)])
def test_block(type: str, size: int, masked: bool, on: target.Target) -> None:
    ld = size + 7
    src = np.arange(5 + size * ld).astype(NUMPY[type])
    out = np.full((size, size), -1, NUMPY[type])
    run(block(type, size, masked), src, out, ld, on=on)
    want = src[5 : 5 + size * ld].reshape(size, ld)[:, :size].T.copy()
    if masked:
        want[:, size - 3 :] = 0
    assert (out == want).all()


def test_no_gather() -> None:
    text = engine.emit([block("f32", 16, False)], target.named("x86-64-v4"), "assembly")
    assert "gather" not in str(text)
