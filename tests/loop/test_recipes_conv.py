"""Convolution kernels: values against sums written out, equal bits across targets, parts and the interpreter."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np
import pytest
from tests.loop.recipe_runner import NARROW, SMALL, WIDE, Machine, bits, elements, random, run

from flambeau.loop.build import Builder
from flambeau.loop.recipes import conv_planning
from flambeau.loop.recipes.contraction import Emit, Epilogue, Spec
from flambeau.loop.recipes.conv_image import ConvSpec
from flambeau.loop.recipes.conv_planning import Geometry
from flambeau.loop.text import show


class Case(NamedTuple):
    """Shapes of the input (images, channels, ...) and the weights, and the options of every axis."""

    x: tuple[int, ...]
    w: tuple[int, ...]
    stride: int = 1
    padding: int | tuple[int, ...] = 0
    dilation: int = 1
    groups: int = 1

    def geometry(self) -> Geometry:
        dims = len(self.x) - 2
        padding = [self.padding] * dims if isinstance(self.padding, int) else self.padding
        return conv_planning.geometry(
            self.x, self.w, [self.stride] * dims, padding, [self.dilation] * dims, self.groups
        )


CASES = [
    Case((4, 3, 32, 32), (6, 3, 5, 5)),
    Case((4, 6, 14, 14), (16, 6, 5, 5)),
    Case((3, 1, 8, 8), (16, 1, 3, 3), padding=1),
    Case((2, 40, 8, 8), (20, 40, 3, 3), padding=1),
    Case((2, 4, 9, 11), (6, 2, 3, 2), stride=2, padding=1, groups=2),
    Case((2, 4, 9, 11), (6, 4, 3, 2), padding=2, dilation=2),
    Case((3, 4, 13, 9), (8, 4, 3, 3), stride=3, padding=2, dilation=2),
    Case((2, 3, 7, 7), (5, 3, 3, 3), padding=4),
    Case((2, 3, 20), (4, 3, 5), stride=2, padding=3),
    Case((2, 2, 5, 6, 7), (3, 2, 2, 3, 3), stride=2, padding=1),
    Case((1, 8, 7, 7), (8, 1, 3, 3), padding=1, groups=8),
    Case((2, 4, 9, 21), (4, 2, 3, 2), stride=2, padding=1, groups=2),
    Case((1, 2, 2, 2), (3, 2, 2, 2)),
    Case((2, 2, 5, 5), (3, 2, 1, 1), stride=2),
    Case((5, 60, 7, 7), (96, 60, 3, 3), padding=1),
    Case((3, 33, 9, 8), (40, 33, 3, 3), stride=2, padding=1, dilation=2),
    Case((3, 62, 9, 7), (60, 31, 1, 1), stride=2, groups=2),
    Case((2, 30, 4, 5, 3), (29, 30, 2, 1, 2), stride=2, padding=1),
    Case((5, 400, 7, 7), (96, 400, 1, 1)),
    Case((2, 64, 9, 13), (64, 64, 1, 1), stride=2),
    Case((2, 64, 6, 5), (40, 64, 1, 1), padding=1),
]
ONE_TAP = [
    Case((1, 33, 5, 5), (16, 33, 1, 1)),
    Case((2, 3, 3, 3), (20, 3, 1, 1)),
    Case((2, 8, 2, 5), (24, 8, 1, 1)),
]
KINDS = ("forward", "data", "weight")


def five(a: np.ndarray) -> np.ndarray:
    """With depth (and height) 1."""
    return a.reshape(*a.shape[:2], *[1] * (5 - a.ndim), *a.shape[2:])


def innermost(a: np.ndarray) -> np.ndarray:
    """With channels innermost, extents of 1 with the strides that they would have."""
    moved = np.moveaxis(a, 1, -1)
    moved = np.array(moved.ravel()).reshape(moved.shape)
    strides = [moved.itemsize]
    for n in reversed(moved.shape[1:]):
        strides.insert(0, strides[0] * n)
    return np.moveaxis(np.lib.stride_tricks.as_strided(moved, moved.shape, strides), -1, 1)


def arrays(case: Case, dtype: str = "f32") -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    g = case.geometry()
    shapes = {"x": case.x, "w": case.w, "y": (g.images, g.cout, *g.out)}
    return {name: five(random(rng, shape, dtype)) for name, shape in shapes.items()}


def reference(kind: str, g: Geometry, a: dict[str, np.ndarray]) -> np.ndarray:
    """The same sums in float64, one tap at a time."""
    x, w, y = (a[k].astype(np.float64) for k in "xwy")
    p = g.padding
    wide = np.pad(x, ((0, 0), (0, 0), *((n, n) for n in p)))
    into = np.zeros_like({"forward": y, "data": wide, "weight": w}[kind])
    for k, tap in itertools.product(range(g.groups), np.ndindex(*g.taps)):
        i = slice(k * (g.cin // g.groups), (k + 1) * (g.cin // g.groups))
        o = slice(k * (g.cout // g.groups), (k + 1) * (g.cout // g.groups))
        at = tuple(
            slice(t * d, t * d + (n - 1) * s + 1, s) for t, d, n, s in zip(tap, g.dilation, g.out, g.stride)
        )
        part, weight = (slice(None), i, *at), w[(o, slice(None), *tap)]
        if kind == "forward":
            into[:, o] += np.einsum("nczyx,oc->nozyx", wide[part], weight)
        elif kind == "data":
            into[part] += np.einsum("nozyx,oc->nczyx", y[:, o], weight)
        else:
            into[(o, slice(None), *tap)] += np.einsum("nozyx,nczyx->oc", y[:, o], wide[part])
    if kind == "data":
        return into[(..., *(slice(n, n + s) for n, s in zip(p, g.size)))]
    return into


RESULT = {"forward": "y", "data": "x", "weight": "w"}


def compute(
    kind: str,
    case: Case,
    a: dict[str, np.ndarray],
    on: Machine = WIDE,
    nt: int | None = None,
    interpreted: bool = False,
    epilogue: Epilogue | None = None,
    **more: np.ndarray,
) -> np.ndarray:
    """The result, in an array with the strides of a[result]."""
    result = np.full_like(a[RESULT[kind]], 77)
    a = a | {RESULT[kind]: result}
    dtype = "f32" if result.dtype == np.float32 else "f64"
    strides = (elements(a[k]) for k in "xwy")
    plain = epilogue is None
    p = conv_planning.plan(kind, case.geometry(), *strides, dtype, on, threads=nt or 1, plain=plain)
    nt = nt or p.parts
    kernel = conv_planning.build(p.spec, epilogue)
    buffers = a | {
        "work": np.full(p.work * nt + 64, 255, np.uint8),
        "table": np.zeros(p.table * nt, np.uint8),
    }
    if kind == "data":
        buffers |= {"x": a["y"], "y": a["x"]}
    buffers |= {"a": a["w"], "b": buffers["x"], "c": buffers["y"]}  # of a product of matrices
    run(kernel, conv_planning.args(kernel, p), buffers | more, nt, interpreted)
    return result


def close(got: np.ndarray, want: np.ndarray) -> bool:
    return bool(np.abs(got - want).max() <= 40 * np.finfo(got.dtype).eps * np.abs(want).max())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values(case: Case, kind: str) -> None:
    a = arrays(case)
    assert close(compute(kind, case, a), reference(kind, case.geometry(), a))


@pytest.mark.parametrize("on", [SMALL, Machine(128)], ids=["32 registers", "16 registers"])
@pytest.mark.parametrize("case", [*CASES, *ONE_TAP], ids=str)
def test_short_vectors(case: Case, on: Machine) -> None:
    """Two or four lanes, also of numbers of positions that fill no vector, have the bits of eight."""
    for dtype, kind in itertools.product(("f32", "f64"), KINDS):
        a = arrays(case, dtype)
        assert bits(compute(kind, case, a, on)) == bits(compute(kind, case, a)), (dtype, kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", [CASES[1], CASES[4]], ids=str)
def test_float64(case: Case, kind: str) -> None:
    a = arrays(case, "f64")
    assert close(compute(kind, case, a), reference(kind, case.geometry(), a))


@pytest.mark.parametrize("kind", ["forward", "data"])
@pytest.mark.parametrize("case", [CASES[1], CASES[6], CASES[18]], ids=str)
def test_channels_last(case: Case, kind: str) -> None:
    a = {k: np.moveaxis(np.ascontiguousarray(np.moveaxis(v, 1, -1)), -1, 1) for k, v in arrays(case).items()}
    assert close(compute(kind, case, a), reference(kind, case.geometry(), a))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", [CASES[k] for k in (1, 3, 4, 11, 14, 15, 16, 18, 19)], ids=str)
def test_same_bits(case: Case, kind: str) -> None:
    a = arrays(case)
    want = bits(compute(kind, case, a))
    for on, nt in ((NARROW, 1), (SMALL, 1), (WIDE, 2), (WIDE, 3)):
        assert bits(compute(kind, case, a, on, nt)) == want


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "case",
    [
        Case((2, 2, 4, 5), (3, 2, 3, 2), 1, 1),
        Case((1, 2, 5, 5), (2, 1, 3, 3), 2, 1, 1, 2),
        Case((2, 3, 5, 13), (32, 3, 1, 1)),
    ],
    ids=str,
)
def test_interpreter(case: Case, kind: str) -> None:
    a = arrays(case)
    assert bits(compute(kind, case, a, nt=2, interpreted=True)) == bits(compute(kind, case, a, nt=2))


def biased(channels: int, area: int) -> Epilogue:
    """A bias by channel; positions are counted in the plane."""

    def add_bias(b: Builder) -> Emit:
        bias, out = b.buf("bias", "f32"), b.buf("out", "f32", "w")

        def emit(acc, image, channel, position) -> None:  # type: ignore[no-untyped-def]
            out[(image * channels + channel) * area + position] = acc + bias[channel]

        return emit

    return add_bias


@pytest.mark.parametrize("case", [CASES[1], CASES[4]], ids=str)
def test_epilogue(case: Case) -> None:
    a, g = arrays(case), case.geometry()
    bias, out = np.arange(g.cout, dtype=np.float32), np.zeros_like(a["y"])
    plain = compute("forward", case, a)
    compute("forward", case, a, epilogue=biased(g.cout, math.prod(g.out)), bias=bias, out=out)
    assert bits(out) == bits(plain + bias[:, None, None, None])


def test_epilogue_of_strided_gradient() -> None:
    """The gradient of the data is made by residues of the position; each element comes once."""
    case = CASES[4]
    a = arrays(case)

    def accumulate(b: Builder) -> Emit:
        out = b.buf("out", "f32", "rw")

        def emit(acc, image, channel, position) -> None:  # type: ignore[no-untyped-def]
            at = (image * 4 + channel) * 99 + position
            out[at] = out[at] + acc

        return emit

    out = np.ones_like(a["x"])
    compute("data", case, a, epilogue=accumulate, out=out)
    assert bits(out) == bits(1 + compute("data", case, a))


def test_one_tap_reads_its_source() -> None:
    """Without a copy in the workspace, which would be as large as the images."""
    case = Case((8, 256, 5, 5), (64, 256, 1, 1))
    g, a = case.geometry(), arrays(case)
    strides = [elements(a[name]) for name in "xwy"]
    p = conv_planning.plan("forward", g, *strides, "f32", WIDE)
    padded = conv_planning.plan("forward", g._replace(padding=(0, 1, 1)), *strides, "f32", WIDE)
    assert p.spec.direct and not padded.spec.direct and p.ints["wp"] == 0 < padded.ints["wp"]


@pytest.mark.parametrize("kind", ["forward", "data"])
@pytest.mark.parametrize(
    "case",
    [
        Case((2, 70, 5, 5), (66, 70, 3, 3), padding=1),
        Case((2, 64, 5, 5), (96, 32, 3, 3), padding=1, groups=2),
        Case((1, 70, 7, 6), (64, 70, 3, 3), stride=2, padding=1),
        Case((50, 32, 5, 5), (32, 32, 3, 3), padding=1),
    ],
    ids=str,
)
def test_pieces_of_channels(case: Case, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that makes several pieces finds copies of its images and tables as the piece before left them."""
    a = arrays(case)
    want = compute(kind, case, a)
    monkeypatch.setattr(conv_planning, "PIECE", 1)
    p = conv_planning.plan(kind, case.geometry(), *[elements(a[n]) for n in "xwy"], "f32", NARROW)
    assert p.spec.by == "channels" and (p.ints["go"] * case.groups >= 3 or case.x[0] == 50)
    for machine, nt in ((NARROW, 1), (NARROW, 2), (WIDE, 3)):
        assert bits(compute(kind, case, a, machine, nt)) == bits(want)
    if case.x[0] < 50:
        assert bits(compute(kind, case, a, NARROW, 2, interpreted=True)) == bits(want)


@pytest.mark.parametrize("kind", ["forward", "weight"])
@pytest.mark.parametrize("stride", [2, 3])
def test_columns_of_a_stride(kind: str, stride: int) -> None:
    """Every second element is read with a constant step: one known only at run time would be a gather."""
    case = Case((2, 3, 9, 70), (3, 1, 3, 3), stride=stride, padding=1, groups=3)
    a = arrays(case)
    p = conv_planning.plan(kind, case.geometry(), *[elements(a[n]) for n in "xwy"], "f32", WIDE)
    reads = [line for line in show(conv_planning.build(p.spec)).splitlines() if " = x[" in line]
    steps = ["2", "tw"] if kind == "weight" else [str(stride)]  # a depthwise kernel is one of its stride
    assert len(reads) == len(steps) and all(r.endswith(f" * {s}))]") for r, s in zip(reads, steps))
    want = compute(kind, case, a)
    assert close(want, reference(kind, case.geometry(), a))
    for machine, nt in ((NARROW, 1), (SMALL, 2)):
        assert bits(compute(kind, case, a, machine, nt)) == bits(want)


@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize(
    ("by", "x", "w"), [("pixels", (2, 3, 9, 70), (3, 1, 3, 3)), ("channels", (1, 32, 9, 70), (8, 32, 3, 3))]
)
def test_columns_of_a_gradient(by: str, x: tuple[int, ...], w: tuple[int, ...], stride: int) -> None:
    """Long rows of the gradient of the data are written with a constant step of 2; any other one is a scatter."""
    case = Case(x, w, stride=stride, padding=1, groups=x[1] // w[1])
    a = arrays(case)
    p = conv_planning.plan("data", case.geometry(), *[elements(a[n]) for n in "xwy"], "f32", WIDE)
    assert p.spec.by == by
    writes = [
        line for line in show(conv_planning.build(p.spec)).splitlines() if line.lstrip().startswith("y[")
    ]
    assert len(writes) == 2 and " * 2)" in writes[0] and " * 2)" not in writes[1] and "tw" in writes[1]
    want = compute("data", case, a)
    assert close(want, reference("data", case.geometry(), a))
    for machine, nt in ((NARROW, 1), (SMALL, 2)):
        assert bits(compute("data", case, a, machine, nt)) == bits(want)


DEPTHWISE = [
    Case((2, 3, 9, 21), (6, 1, 3, 3), padding=1, groups=3),
    Case((2, 2, 9, 35), (2, 1, 3, 3), stride=2, padding=1, groups=2),
    Case((1, 2, 11, 19), (2, 1, 5, 3), padding=(2, 1), dilation=2, groups=2),
    Case((1, 2, 17, 19), (2, 1, 3, 5), stride=3, padding=2, dilation=2, groups=2),
    Case((1, 2, 14, 14), (2, 1, 7, 7), padding=3, groups=2),
    Case((2, 2, 6, 18), (2, 1, 4, 4), stride=2, groups=2),
    Case((2, 3, 9, 33), (3, 1, 2, 3), groups=3),
]


@pytest.mark.parametrize("kind", ["forward", "data"])
@pytest.mark.parametrize("case", DEPTHWISE, ids=str)
def test_depthwise(case: Case, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several rows at a time share what they read, with the sums of the kernel that makes one."""
    a, g = arrays(case), case.geometry()
    p = conv_planning.plan(kind, g, *[elements(a[n]) for n in "xwy"], "f32", WIDE)
    assert (p.spec.by == "planes") == (kind == "forward" or (case.stride == 1 and g.cout == g.groups))
    got = compute(kind, case, a)
    assert close(got, reference(kind, g, a))
    for machine, nt in ((NARROW, 1), (SMALL, 2), (WIDE, 3)):
        assert bits(compute(kind, case, a, machine, nt)) == bits(got)
    assert bits(compute(kind, case, a, nt=2, interpreted=True)) == bits(got)
    last = {k: np.moveaxis(np.ascontiguousarray(np.moveaxis(v, 1, -1)), -1, 1) for k, v in a.items()}
    assert bits(compute(kind, case, last).copy()) == bits(got.copy())
    if kind == "forward":
        bias, out = np.arange(g.cout, dtype=np.float32), np.zeros_like(a["y"])
        compute(kind, case, a, epilogue=biased(g.cout, math.prod(g.out)), bias=bias, out=out)
        assert bits(out) == bits(got + bias[:, None, None, None])
    monkeypatch.setattr(conv_planning, "_by_planes", lambda kind, g: False)
    assert bits(compute(kind, case, a)) == bits(got)


def test_depthwise_reads_a_vector_once() -> None:
    """For all rows of a tile: 8 rows and 7 taps read 14 rows of the copy, not 56."""
    case = Case((1, 4, 56, 56), (4, 1, 7, 7), padding=3, groups=4)
    a = arrays(case)
    p = conv_planning.plan("forward", case.geometry(), *[elements(a[n]) for n in "xwy"], "f32", WIDE)
    text = show(conv_planning.build(p.spec))
    assert p.spec.rows == 8 and text.count("fma(") == 56 and text.count("for tap") == 14
    p = conv_planning.plan("forward", case.geometry(), *[elements(a[n]) for n in "xwy"], "f32", NARROW)
    assert (p.spec.rows, p.spec.lanes) == (6, 16)  # with 16 registers a weight serves two vectors


@pytest.mark.parametrize(
    ("kind", "case"),
    [
        ("forward", Case((1, 3, 60, 60), (48, 3, 3, 3), padding=1)),
        ("forward", Case((1, 3, 90, 90), (16, 3, 3, 3), stride=2)),
        ("data", Case((1, 48, 60, 61), (3, 48, 3, 3), stride=2, padding=1)),
    ],
    ids=str,
)
def test_pieces_of_positions(kind: str, case: Case) -> None:
    """Parts share the positions of one image where its panels of channels are not shared out evenly."""
    a = arrays(case)
    p = conv_planning.plan(kind, case.geometry(), *[elements(a[n]) for n in "xwy"], "f32", NARROW, 2)
    assert p.spec.by == "channels" and p.parts == p.ints["gk"] == 2 and p.ints["go"] == 1
    want = compute(kind, case, a)
    assert close(want, reference(kind, case.geometry(), a))
    for machine, nt in ((NARROW, 1), (NARROW, 2), (NARROW, 4), (WIDE, 2)):
        assert bits(compute(kind, case, a, machine, nt)) == bits(want)
    assert bits(compute(kind, case, a, NARROW, 2, interpreted=True)) == bits(want)


@pytest.mark.parametrize("kind", ["forward", "data"])
def test_images_of_a_block(kind: str) -> None:
    """Where weights are most of what is read they pass several images at once, in equal turns."""
    case = Case((5, 40, 7, 7), (40, 40, 5, 5), padding=2)
    a = arrays(case)
    strides = [elements(a[n]) for n in "xwy"]
    p = conv_planning.plan(kind, case.geometry(), *strides, "f32", NARROW)
    assert p.spec.by == "channels" and p.spec.large and p.ints["pg"] == 3
    many = conv_planning.plan(kind, case.geometry()._replace(images=500), *strides, "f32", NARROW)
    assert not many.spec.large
    want = compute(kind, case, a, NARROW)
    assert close(want, reference(kind, case.geometry(), a))
    for machine, nt in ((SMALL, 2), (WIDE, 3)):
        assert bits(compute(kind, case, a, machine, nt)) == bits(want)


@pytest.mark.parametrize(
    ("channels", "size", "most"), [(64, 32, 1.2), (128, 16, 1.3), (256, 8, 0.9), (512, 4, 1.0)]
)
def test_workspace_of_one_image(channels: int, size: int, most: float) -> None:
    """The layers of a residual net, in MiB for two parts: packed filters are the largest part."""
    case = Case((1, channels, size, size), (channels, channels, 3, 3), padding=1)
    planes, filters = (channels * size * size, size * size, size * size, size, 1), (channels * 9, 9, 9, 3, 1)
    p = conv_planning.plan("forward", case.geometry(), planes, filters, planes, "f32", NARROW, 2)
    assert p.parts == 2 and p.parts * (p.work + p.table) < most * (1 << 20)


@pytest.mark.parametrize(
    ("images", "channels", "size", "most"), [(32, 256, 8, 7), (1, 64, 32, 1.3), (1, 128, 16, 1.3)]
)
def test_workspace_of_winograd(images: int, channels: int, size: int, most: float) -> None:
    """In MiB: of the ways to share the work the one that takes little memory, tiles as few as there are."""
    case = Case((images, channels, size, size), (channels, channels, 3, 3), padding=1)
    planes, filters = (channels * size * size, size * size, size * size, size, 1), (channels * 9, 9, 9, 3, 1)
    p = conv_planning.plan("forward", case.geometry(), planes, filters, planes, "f32", WIDE, 2)
    assert p.spec.by == "winograd" and p.parts == 2 and p.parts * (p.work + p.table) < most * (1 << 20)


@pytest.mark.parametrize("target", [WIDE, NARROW, SMALL], ids=["wide", "narrow", "small"])
def test_tiles_whose_rows_have_addresses(target: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """x86 has sixteen general registers: a tile of 14 rows, as the vector registers allow, is for packed rows alone."""
    case = Case((8, 128, 28, 28), (128, 128, 3, 3), stride=2, padding=1)
    strides = [(c * s * s, s * s, 0, s, 1) for c, s in ((128, 28), (128, 3), (128, 14))]
    monkeypatch.setattr(conv_planning, "by_winograd", lambda *_: None)
    most = {WIDE: (7, 8), NARROW: (6, 6), SMALL: (14, 14)}[target]
    for kind, rows in zip(("forward", "data", "weight"), (most[0], *most), strict=True):
        assert conv_planning.plan(kind, case.geometry(), *strides, "f32", target).spec.rows == rows
    thin = Case((8, 256, 5, 5), (64, 256, 1, 1))
    one = [(256 * 25, 25, 0, 5, 1), (256, 1, 0, 1, 1), (64 * 25, 25, 0, 5, 1)]
    spec = conv_planning.plan("forward", thin.geometry(), *one, "f32", target).spec
    assert isinstance(spec, Spec) or (spec.direct and spec.rows == (6 if target is NARROW else 14))


def test_filters_are_packed_in_blocks() -> None:
    """Where they follow each other in the order of k; the stride of a depth of 1 is not asked."""
    case = Case((1, 256, 8, 8), (256, 256, 3, 3), stride=2, padding=1)
    planes, filters = (256 * 64, 64, 0, 8, 1), (256 * 9, 9, 0, 3, 1)
    p = conv_planning.plan("forward", case.geometry(), planes, filters, (256 * 16, 16, 0, 4, 1), "f32", WIDE)
    assert p.spec.narrow == "no"
    turned = (9, 256 * 9, 0, 3, 1)
    p = conv_planning.plan("forward", case.geometry(), planes, turned, (256 * 16, 16, 0, 4, 1), "f32", WIDE)
    assert p.spec.narrow == "yes"


@pytest.mark.parametrize(
    "case",
    [
        Case((1, 70, 5, 5), (67, 70, 3, 3), padding=1),
        Case((1, 64, 6, 5), (38, 32, 3, 2), padding=1, dilation=2, groups=2),
        Case((1, 40, 4, 3), (64, 40, 1, 1), stride=2),
        Case((1, 30, 3, 4, 3), (35, 30, 2, 1, 2), padding=1),
        Case((1, 60, 1, 1), (33, 60, 3, 3), padding=1),
    ],
    ids=str,
)
def test_weights_of_a_lone_image(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not packed where that would take longer than their few positions, with the same bits."""
    a, g = arrays(case), case.geometry()
    strides = [elements(a[name]) for name in "xwy"]
    want = compute("forward", case, a)
    assert close(want, reference("forward", g, a))
    monkeypatch.setattr(conv_planning, "FILTERS", 1)
    for machine, nt in ((WIDE, 1), (NARROW, 2), (SMALL, 3)):
        spec = conv_planning.plan("forward", g, *strides, "f32", machine, threads=nt).spec
        assert isinstance(spec, ConvSpec)
        assert spec.own == (machine is WIDE) and (machine is not WIDE or spec.rows <= 8)
        assert bits(compute("forward", case, a, machine, nt)) == bits(want)
    assert bits(compute("forward", case, a, WIDE, 2, interpreted=True)) == bits(want)
    bias, out = np.arange(g.cout, dtype=np.float32), np.zeros_like(a["y"])
    compute("forward", case, a, epilogue=biased(g.cout, math.prod(g.out)), bias=bias, out=out)
    assert bits(out) == bits(want + bias[:, None, None, None])
    turned = [strides[0], (strides[1][1], strides[1][0], *strides[1][2:]), strides[2]]
    assert not conv_planning.plan("forward", g, *turned, "f32", WIDE).spec.own
    monkeypatch.setattr(conv_planning, "FILTERS", a["w"].size + 1)
    assert not conv_planning.plan("forward", g, *strides, "f32", WIDE).spec.own


@pytest.mark.parametrize(
    "case", [Case((1, 70, 14, 14), (96, 70, 1, 1), stride=2), Case((1, 90, 7, 6), (64, 90, 1, 1))], ids=str
)
def test_one_tap_of_many_weights(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over few positions of one image weights are read where they lie, not packed for a product; the bits are its."""
    a, g = arrays(case), case.geometry()
    strides = [elements(a[name]) for name in "xwy"]
    want = compute("forward", case, a)
    assert isinstance(conv_planning.plan("forward", g, *strides, "f32", WIDE).spec, Spec)
    monkeypatch.setattr(conv_planning, "FILTERS", 1)
    monkeypatch.setattr(conv_planning, "VAST", 1)
    for machine, nt in ((WIDE, 1), (WIDE, 3), (NARROW, 2)):
        spec = conv_planning.plan("forward", g, *strides, "f32", machine, threads=nt).spec
        assert isinstance(spec, ConvSpec) == (machine is WIDE)
        assert bits(compute("forward", case, a, machine, nt)) == bits(want)
    assert isinstance(conv_planning.plan("data", g, *strides, "f32", WIDE).spec, ConvSpec)
    two = g._replace(images=2)
    assert isinstance(conv_planning.plan("forward", two, *strides, "f32", WIDE).spec, Spec)
    monkeypatch.setattr(conv_planning, "SMALL", 1)
    assert isinstance(conv_planning.plan("forward", g, *strides, "f32", WIDE).spec, Spec)


PLANES = [
    Case((2, 400, 23, 24), (36, 400, 1, 1)),
    Case((2, 17, 40, 16), (70, 17, 1, 1)),
    Case((5, 400, 7, 7), (37, 400, 1, 1)),
    Case((3, 30, 5, 9), (24, 30, 1, 1)),
    Case((40, 19, 4, 4), (18, 19, 1, 1)),
    Case((2, 1200, 14, 14), (1200, 1200, 1, 1)),
]
STEPPING = [Case((3, 20, 9, 14), (37, 20, 1, 1), 2), Case((1, 400, 17, 31), (18, 400, 1, 1), 3)]


@pytest.mark.parametrize(
    ("case", "kind"),
    [*itertools.product(PLANES, ("forward", "data")), *((case, "forward") for case in STEPPING)],
    ids=str,
)
def test_planes_are_products(case: Case, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the bits of the convolution, also before a bias."""
    a, g = arrays(case), case.geometry()
    _, high, wide = g.out if kind == "forward" else g.size
    area = high * wide
    channels = g.cout if kind == "forward" else g.cin

    bias, out = np.arange(channels, dtype=np.float32), np.zeros_like(a[RESULT[kind]])
    found = compute(kind, case, a, NARROW, 2)
    if a["x"].size < 8000:
        assert bits(found) == bits(compute(kind, case, a, NARROW, 2, interpreted=True))
    compute(kind, case, a, NARROW, 2, epilogue=biased(channels, area), bias=bias, out=out)
    strides = [elements(a[name]) for name in "xwy"]
    assert isinstance(conv_planning.plan(kind, g, *strides, "f32", NARROW).spec, Spec)
    monkeypatch.setattr(conv_planning, "_product", lambda *_: None)
    assert not isinstance(conv_planning.plan(kind, g, *strides, "f32", NARROW).spec, Spec)
    want = compute(kind, case, a)
    assert bits(found) == bits(want) and bits(out) == bits(want + bias[:, None, None, None])


def test_one_kernel_for_many_shapes() -> None:
    """Extents, taps, strides and paddings are run-time numbers; the larger ones of 3 x 3 are by Winograd."""
    specs = set()
    for size, taps, padding in itertools.product((8, 16, 31), (3, 5), (0, 1)):
        case = Case((2, 16, size, size), (32, 16, taps, taps), 1, padding)
        a = {k: np.empty(v.shape, "f") for k, v in arrays(case).items()}
        strides = [elements(a[k]) for k in "xwy"]
        specs |= {conv_planning.plan(kind, case.geometry(), *strides, "f32", WIDE).spec for kind in KINDS}
    assert len(specs) <= 8
