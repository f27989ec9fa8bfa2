"""Pooling kernels against windows written out in NumPy."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np
import pytest
from tests.loop.recipe_runner import bits, elements, run

from flambeau.loop.recipes import pool
from flambeau.loop.recipes.pool_channels import pool_channels


class Case(NamedTuple):
    """Source shape; windows by axis, or (adaptive) the extents of the output."""

    x: tuple[int, ...]
    taps: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    ceil: bool = False
    out: tuple[int, ...] = ()

    def output(self) -> tuple[int, ...]:
        if self.out:
            return self.out
        out = []
        for a, n in enumerate(self.x[2:]):
            k, s, p, d = self.axis(a)
            count = n + 2 * p - d * (k - 1) - 1
            o = (-(-count // s) if self.ceil else count // s) + 1
            out.append(o - (self.ceil and (o - 1) * s >= n + p))
        return tuple(out)

    def axis(self, a: int) -> tuple[int, int, int, int]:
        k = self.taps[a]
        return (
            k,
            self.stride[a] if self.stride else k,
            self.padding[a] if self.padding else 0,
            self.dilation[a] if self.dilation else 1,
        )

    def windows(self, o: tuple[int, ...]) -> tuple[list[tuple[int, ...]], int]:
        """Positions of the window of an output in the source, in order; elements with padding."""
        ranges, whole = [], 1
        for a, (n, place) in enumerate(zip(self.x[2:], o)):
            if self.out:
                lo, hi = place * n // self.out[a], math.ceil((place + 1) * n / self.out[a])
                ranges.append(range(lo, hi))
                whole *= hi - lo
                continue
            k, s, p, d = self.axis(a)
            start = place * s - p
            ranges.append([q for q in range(start, start + k * d, d) if 0 <= q < n])
            whole *= min(start + k, n + p) - start
        return list(itertools.product(*ranges)), whole


MAX = [
    Case((2, 3, 8, 8), (2, 2)),
    Case((2, 3, 9, 11), (3, 2), (2, 1), (1, 1)),
    Case((2, 2, 11, 21), (3, 3), (2, 2), (1, 1), (2, 2)),
    Case((2, 3, 9, 10), (3, 3), (2, 2), (1, 1), ceil=True),
    Case((1, 2, 3, 40), (2, 12), (1, 5), (0, 6)),
    Case((2, 3, 40), (3,), (2,), (1,)),
    Case((1, 2, 4, 101), (2, 3), (1, 2), (1, 1)),  # vectors at both edges and between them
    Case((1, 1, 3, 70), (2, 3), (1, 1), (0, 1)),
    Case((1, 2, 5, 6, 7), (2, 3, 2), (2, 1, 2), (1, 1, 0)),
    Case((2, 3, 9, 11), out=(4, 5)),
    Case((2, 3, 8, 12), out=(4, 4)),
    Case((2, 3, 7, 9), out=(1, 1)),
    Case((2, 3, 7, 9), (7, 9)),
    Case((1, 3, 5, 5), out=(7, 8)),
]
AVERAGE = [c for c in MAX if not c.dilation]


def source(case: Case, dtype: type = np.float32) -> np.ndarray:
    """Numbers with many ties; NaN and -inf among the floats."""
    rng = np.random.default_rng(3)
    x = rng.integers(-4, 5, case.x)
    if dtype is np.int32:
        return x.astype(dtype)
    x = x.astype(dtype)
    x.flat[5:9] = -np.inf
    x.flat[::17] = np.nan
    return x


def compute(
    kind: str, case: Case, buffers: dict[str, np.ndarray], nt: int, interpreted: bool, **o: object
) -> None:
    x = buffers["x"]
    name = {"float32": "f32", "float64": "f64", "int32": "i32"}[x.dtype.name]
    p = pool.plan(
        kind,
        case.x,
        elements(x),
        case.output(),
        name,
        case.taps,
        case.stride,
        case.padding,
        case.dilation,
        **o,  # type: ignore[arg-type]
    )
    kernel = pool.pool(p.spec)
    run(kernel, pool.args(kernel, p), buffers, nt, interpreted)


@pytest.mark.parametrize("interpreted", [False, True])
@pytest.mark.parametrize("case", MAX, ids=str)
def test_max(case: Case, interpreted: bool) -> None:
    x, shape = source(case), (*case.x[:2], *case.output())
    y, index = np.zeros(shape, np.float32), np.full(shape, -1, np.int64)
    compute("max", case, {"x": x, "y": y, "index": index}, 2, interpreted)
    alone = np.zeros(shape, np.float32)
    compute("most", case, {"x": x, "y": alone}, 2, interpreted)
    assert bits(alone) == bits(y)
    gradient = np.random.default_rng(5).standard_normal(shape).astype(np.float32)
    back, want_back = np.full_like(x, 7), np.zeros_like(x)
    compute("max_back", case, {"index": index, "y": gradient, "x": back}, 2, interpreted)
    for n, c in np.ndindex(*case.x[:2]):
        for o in np.ndindex(*case.output()):
            places = case.windows(o)[0]
            best, at = -np.inf, places[0]
            for place in places:
                v = x[(n, c, *place)]
                if v > best or np.isnan(v):
                    best, at = v, place
            got = (n, c, *o)
            assert y[got] == best or (np.isnan(y[got]) and np.isnan(best))
            assert index[got] == np.ravel_multi_index(at, case.x[2:])
            want_back[(n, c, *at)] += gradient[got]
    assert bits(back) == bits(want_back)


@pytest.mark.parametrize("interpreted", [False, True])
@pytest.mark.parametrize("case", MAX, ids=str)
def test_max_with_channels_innermost(case: Case, interpreted: bool) -> None:
    """The bits of row-major images; small windows look at each tap for where a gradient goes."""

    def turned(a: np.ndarray) -> np.ndarray:
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)

    x, shape = source(case), (*case.x[:2], *case.output())
    gradient = np.random.default_rng(5).standard_normal(shape).astype(np.float32)
    want = {"y": np.zeros(shape, np.float32), "index": np.full(shape, -1, np.int64)}
    compute("max", case, {"x": x, **want}, 1, False)
    back = np.full_like(x, 7)
    compute("max_back", case, {"index": want["index"], "y": gradient, "x": back}, 1, False)
    got, got_back = {k: turned(np.zeros_like(a)) for k, a in want.items()}, turned(np.full_like(x, 7))
    windows = (case.taps, case.stride, case.padding, case.dilation)
    for kind, buffers in (
        ("max", {"x": turned(x), **got}),
        ("max_back", {"index": turned(want["index"]), "y": turned(gradient), "x": got_back}),
    ):
        strides = elements(buffers["x"])
        p = pool.plan(kind, case.x, strides, case.output(), "f32", *windows, threads=3, last=True)
        kernel = pool_channels(p.spec)
        run(kernel, pool.args(kernel, p), buffers, 3, interpreted)
    assert [bits(a) for a in (*got.values(), got_back)] == [bits(a) for a in (*want.values(), back)]


@pytest.mark.parametrize("columns", [3, 5, 8, 14, 37])
def test_max_of_narrow_rows_and_large_planes(columns: int) -> None:
    """The last vector of a row overlaps the one before; planes whose elements need 64 bits are numbered so."""
    case = Case((2, 3, 7, 2 * columns + 1), (3, 2), (2, 2))
    x, shape = source(case), (2, 3, 3, columns)
    p = pool.plan("max", case.x, elements(x), case.output(), "f32", case.taps, case.stride)
    found = []
    for spec in (p.spec, p.spec._replace(small=False), p.spec._replace(within=False, inside=False)):
        for interpreted in (False, True):
            y, index = np.zeros(shape, np.float32), np.full(shape, -1, np.int64)
            kernel = pool.pool(spec)
            buffers = {"x": x, "y": y, "index": index}
            run(kernel, pool.args(kernel, p._replace(spec=spec)), buffers, 2, interpreted)
            found.append(bits(y) + bits(index))
    assert len(set(found)) == 1


def test_max_of_integers_and_strides() -> None:
    case = Case((2, 3, 7, 9), (3, 3), (2, 2), (1, 1))
    x = source(case, np.int32)
    first = [np.zeros((2, 3, 4, 5), np.int32), np.zeros((2, 3, 4, 5), np.int64)]
    second = [np.ones_like(a) for a in first]
    compute("max", case, {"x": x, "y": first[0], "index": first[1]}, 1, False)
    last = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    compute("max", case, {"x": last, "y": second[0], "index": second[1]}, 3, False)
    assert [bits(a) for a in first] == [bits(a) for a in second]
    assert first[0].max() == x.max()


def test_windows_with_all_their_elements_have_one_divisor() -> None:
    """Windows that reach over the padding (ceil) have not; nor do those that count what is in the source."""
    whole, over = (
        Case((2, 3, 9, 9), (3, 3), (2, 2), (1, 1)),
        Case((2, 3, 9, 10), (3, 3), (2, 2), (1, 1), ceil=True),
    )

    def plan(case: Case, count: str) -> pool.PoolPlan:
        settings = (case.taps, case.stride, case.padding, (1, 1))
        strides = elements(np.zeros(case.x, np.float32))
        return pool.plan("avg", case.x, strides, case.output(), "f32", *settings, count=count)

    assert (plan(whole, "taps").spec.divide, plan(whole, "taps").ints["div"]) == ("given", 9)
    assert plan(whole, "inside").spec.divide == "inside"
    assert plan(over, "taps").spec.divide == "taps"


@pytest.mark.parametrize("count", ["taps", "inside", "given"])
@pytest.mark.parametrize("case", AVERAGE, ids=str)
def test_average(case: Case, count: str) -> None:
    if case.out and count != "taps":
        return
    rng = np.random.default_rng(9)
    x, shape = rng.standard_normal(case.x).astype(np.float32), (*case.x[:2], *case.output())
    gradient = rng.standard_normal(shape).astype(np.float32)
    y, back, again = np.zeros(shape, np.float32), np.full_like(x, 7), np.full_like(x, 3)
    compute("avg", case, {"x": x, "y": y}, 2, False, count=count, divisor=3)
    compute("avg_back", case, {"x": back, "y": gradient}, 2, False, count=count, divisor=3)
    compute("avg_back", case, {"x": again, "y": gradient}, 3, True, count=count, divisor=3)
    assert bits(back) == bits(again)
    want_y, want_back = np.zeros(shape), np.zeros(case.x)
    for n, c in np.ndindex(*case.x[:2]):
        for o in np.ndindex(*case.output()):
            places, whole = case.windows(o)
            by = {"taps": whole, "inside": len(places), "given": 3}[count]
            want_y[(n, c, *o)] = sum(float(x[(n, c, *p)]) for p in places) / by
            for p in places:
                want_back[(n, c, *p)] += gradient[(n, c, *o)] / by
    assert np.allclose(y, want_y, atol=1e-5)
    assert np.allclose(back, want_back, atol=1e-5)
