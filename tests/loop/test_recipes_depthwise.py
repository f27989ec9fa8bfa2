"""Depthwise kernels whose lanes are channels: values, the bits of rows of planes, of any target and the interpreter."""

from __future__ import annotations

import numpy as np
import pytest
from tests.loop.recipe_runner import NARROW, SMALL, WIDE, Machine, bits, elements, random, run
from tests.loop.test_recipes_conv import KINDS, RESULT, Case, close, five, innermost, reference
from tests.loop.test_recipes_conv import compute as by_planes

from flambeau.loop.recipes import depthwise

CASES = [
    Case((2, 19, 9, 11), (19, 1, 3, 3), padding=1, groups=19),
    Case((2, 33, 8, 9), (33, 1, 3, 3), stride=2, padding=1, groups=33),
    Case((1, 16, 12, 14), (16, 1, 5, 3), padding=(2, 3), dilation=2, groups=16),
    Case((3, 5, 10, 10), (5, 1, 4, 4), stride=3, padding=1, groups=5),
    Case((1, 3, 2, 2), (3, 1, 7, 9), padding=4, groups=3),
    Case((2, 20, 6, 5), (20, 1, 1, 1), stride=2, groups=20),
]


def arrays(case: Case, dtype: str) -> dict[str, np.ndarray]:
    rng, g = np.random.default_rng(7), case.geometry()
    shapes = {"x": case.x, "w": case.w, "y": (g.images, g.cout, *g.out[1:])}
    return {name: innermost(random(rng, shape, dtype)) for name, shape in shapes.items()}


def compute(
    kind: str,
    case: Case,
    a: dict[str, np.ndarray],
    on: Machine = WIDE,
    nt: int = 1,
    interpreted: bool = False,
) -> np.ndarray:
    result = np.full_like(a[RESULT[kind]], 77)
    a = a | {RESULT[kind]: result}
    dtype = "f32" if result.dtype == np.float32 else "f64"
    p = depthwise.plan(kind, case.geometry(), *[elements(a[k]) for k in "xwy"], dtype, on, nt)
    kernel = depthwise.depthwise(p.spec)
    buffers = a | {"work": np.full(p.work * nt + 64, 255, np.uint8)}
    if kind == "data":
        buffers |= {"x": a["y"], "y": a["x"]}
    run(kernel, depthwise.args(kernel, p), buffers, nt, interpreted)
    return result


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values(case: Case, kind: str) -> None:
    for dtype in ("f32", "f64"):
        a = arrays(case, dtype)
        wide = {k: five(np.ascontiguousarray(v)) for k, v in a.items()}
        want = reference(kind, case.geometry(), wide)
        got = compute(kind, case, a)
        assert close(five(np.ascontiguousarray(got)), want)
        if kind != "weight":  # the sums of row-major images
            assert bits(np.ascontiguousarray(got)) == bits(by_planes(kind, case, wide))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_same_bits(case: Case, kind: str) -> None:
    a = arrays(case, "f32")
    want = bits(compute(kind, case, a))
    for on, nt in ((NARROW, 1), (SMALL, 1), (WIDE, 2), (NARROW, 3)):
        assert bits(compute(kind, case, a, on, nt)) == want


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", [CASES[1], CASES[4]], ids=str)
def test_interpreter(case: Case, kind: str) -> None:
    a = arrays(case, "f32")
    assert bits(compute(kind, case, a, nt=2, interpreted=True)) == bits(compute(kind, case, a, nt=2))
