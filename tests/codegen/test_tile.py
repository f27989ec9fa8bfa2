"""Matrices turned tile by tile: on every target as interpreted, whatever ends where."""

from __future__ import annotations

import numpy as np
import pytest
from codegen_native import NUMPY, compare

from flambeau.loop.ir import Kernel
from flambeau.loop.recipes.analysis import Nest
from flambeau.loop.recipes.nest import lower

SHAPES = [(16, 16), (70, 130), (129, 33), (540, 21)]


def turned(types: tuple[str, ...], values: tuple[tuple[object, ...], ...], past: int) -> Kernel:
    """The kernel of a map whose first access is read across the others, the last of which is written."""
    accesses = [(types[0], "r", False, (1, "s")), *[(t, "r", False, ("s", 1)) for t in types[1:-1]]]
    accesses.append((types[-1], "w", False, ("s", 1)))
    stores = ((len(values) - 1, len(accesses) - 1),)
    return lower((Nest("tile", 2, 0, values, tuple(accesses), stores, "outer", past=past),), "turned")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("type", ["u8", "i16", "bf16", "f32", "f64", "i64"])
def test_copies(type: str, shape: tuple[int, int]) -> None:
    """Rows with something behind them, lines that begin anywhere, and results around the caches where they may be."""
    n, m = shape
    rng = np.random.default_rng(0)
    for gap, past in ((0, 1), (3, 1), (5, 0), (2048 - n, 0)):  # the last one: rows that are copied first
        source = rng.integers(0, 100, (m, n + gap)).astype(NUMPY[type])
        out = np.full((n, m + gap), 77, NUMPY[type])
        kernel = turned((type, type), (("load", 0),), past)
        (_, found, *_), _ = compare(kernel, source, out, n, m, n + gap, m + gap, nt=2)
        assert np.array_equal(found[:, :m], source[:, :n].T)
        assert (found[:, m:] == 77).all()


@pytest.mark.parametrize("shape", SHAPES[1:])
@pytest.mark.parametrize(("type", "other"), [("u8", "f32"), ("f32", "f64"), ("f64", "f32"), ("i16", "i16")])
def test_sums(type: str, other: str, shape: tuple[int, int]) -> None:
    """A matrix turned and another one of its own type, added up."""
    n, m = shape
    rng = np.random.default_rng(1)
    x = rng.integers(0, 100, (m, n)).astype(NUMPY[type])
    y = rng.integers(0, 100, (n, m)).astype(NUMPY[other])
    cast = ("map", "cast", other, 0)
    values = (("load", 0), cast, ("load", 1), ("map", "add", other, 1, 2))
    if type == other:
        values = (("load", 0), ("load", 1), ("map", "add", other, 0, 1))
    out = np.zeros((n, m), NUMPY[other])
    (*_, found, _, _, _, _, _), _ = compare(turned((type, other, other), values, 1), x, y, out, n, m, n, m, m)
    assert np.array_equal(found, x.T.astype(NUMPY[other]) + y)
