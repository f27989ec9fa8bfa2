"""Convolutions of images whose channels are innermost: the bits of row-major images, on any target, with any number of
threads and in the interpreter."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from tests.loop.recipe_runner import NARROW, SMALL, WIDE, Machine, bits, elements, run
from tests.loop.test_recipes_conv import KINDS, RESULT, Case, arrays, five, innermost
from tests.loop.test_recipes_conv import compute as row_major
from tests.loop.test_recipes_winograd import WAYS, go_by, named

from flambeau.loop.build import Builder
from flambeau.loop.recipes import conv_planning
from flambeau.loop.recipes.contraction import Emit, Epilogue
from flambeau.loop.recipes.winograd_tiles import Tiles

ON = ((WIDE, 1), (NARROW, 2), (SMALL, 3))


def compute(
    kind: str,
    case: Case,
    a: dict[str, np.ndarray],
    on: Machine = WIDE,
    nt: int = 1,
    weights: bool = True,
    interpreted: bool = False,
    epilogue: Epilogue | None = None,
    **more: np.ndarray,
) -> np.ndarray:
    """The result; weights: those that are read lie in the same order, too."""
    kept = () if weights or kind == "weight" else ("w",)
    a = {k: v if k in kept else innermost(v) for k, v in a.items()}
    result = innermost(np.full_like(a[RESULT[kind]], 77))
    a |= {RESULT[kind]: result}
    dtype = "f32" if result.dtype == np.float32 else "f64"
    strides = [elements(a[k]) for k in "xwy"]
    p = conv_planning.plan(kind, case.geometry(), *strides, dtype, on, nt, plain=epilogue is None, last=True)
    assert p.spec.last  # type: ignore[union-attr]
    kernel = conv_planning.build(p.spec, epilogue)
    work, table = np.full(p.work * nt + 64, 255, np.uint8), np.zeros(p.table * nt, np.uint8)
    buffers = a | {"work": work, "table": table}
    if kind == "data":
        buffers |= {"x": a["y"], "y": a["x"]}
    run(kernel, conv_planning.args(kernel, p), buffers | more, nt, interpreted)
    return result


@pytest.mark.parametrize("kind, case, tiles", WAYS, ids=named)
def test_winograd(kind: str, case: Case, tiles: Tiles, monkeypatch: pytest.MonkeyPatch) -> None:
    go_by(monkeypatch, tiles)
    a = arrays(case)
    want = bits(row_major(kind, case, a))
    for on, nt in (*ON, (Machine(256, caches=(1 << 10, 16 << 10, 1 << 20)), 2)):
        for weights in (False, True):
            assert bits(compute(kind, case, a, on, nt, weights)) == want, (on, nt, weights)


def some(seed: int) -> Case:
    """A convolution of any kind."""
    r = random.Random(seed)
    dims, groups = r.choice([1, 2, 2, 2, 3]), r.choice([1, 1, 1, 2, 3])
    cout, cin = (groups * r.choice(c) for c in ([16, 17, 20, 33, 48], [1, 3, 8, 16, 19, 32]))
    taps = [r.randint(1, 4) for _ in range(dims)]
    dilation, stride, padding = r.choice([1, 1, 2]), r.randint(1, 3), r.randint(0, 2)
    size = [max(r.randint(1, 9), dilation * (k - 1) + 1 - 2 * padding) for k in taps]
    x, w = (r.randint(1, 4), cin, *size), (cout, cin // groups, *taps)
    return Case(x, w, stride, padding, dilation, groups)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(12))
def test_direct(kind: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    go_by(monkeypatch, None)
    case = some(seed)
    for dtype in ("f32", "f64"):
        a = arrays(case, dtype)
        want = bits(row_major(kind, case, a))
        for on, nt in ON:
            for weights in (False, True):
                assert bits(compute(kind, case, a, on, nt, weights)) == want, (case, dtype, on, weights)


FEW = Case((2, 5, 4, 5), (18, 5, 3, 2), 2, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_interpreter(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for case in (FEW, Case((1, 9, 6, 5), (10, 9, 3, 3), padding=1)):
        go_by(monkeypatch, None if case is FEW else WAYS[0][2])
        a = arrays(case)
        want = bits(compute(kind, case, a, NARROW, 2))
        assert bits(compute(kind, case, a, NARROW, 2, interpreted=True)) == want


@pytest.mark.parametrize("winograd", [False, True])
def test_epilogue(winograd: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Called with image, position, channel; each element comes once, also those of panels that overlap."""
    go_by(monkeypatch, WAYS[0][2] if winograd else None)
    case = Case((2, 18, 7, 9), (38, 18, 3, 3), padding=1)
    a, g = arrays(case), case.geometry()
    area = math.prod(g.out)

    def add_bias(b: Builder) -> Emit:
        bias, out = b.buf("bias", "f32"), b.buf("out", "f32", "rw")

        def emit(acc, image, position, channel) -> None:  # type: ignore[no-untyped-def]
            at = (image * area + position) * g.cout + channel
            out[at] = out[at] + (acc + bias[channel])

        return emit

    for on in (WIDE, NARROW):
        bias, out = np.arange(g.cout, dtype=np.float32), innermost(np.zeros_like(a["y"]))
        compute("forward", case, a, on, 3, epilogue=add_bias, bias=bias, out=out)
        assert bits(out) == bits(row_major("forward", case, a) + five(bias[None, :, None, None]))
