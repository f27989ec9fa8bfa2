"""Winograd's convolution: where it is chosen, values, error beside the direct form, equal bits everywhere."""

from __future__ import annotations

import numpy as np
import pytest
from tests.loop.recipe_runner import NARROW, SMALL, WIDE, Machine, bits, elements
from tests.loop.test_recipes_conv import Case, arrays, compute, reference

from flambeau.loop.build import Builder
from flambeau.loop.recipes import conv_planning, winograd, winograd_weight
from flambeau.loop.recipes.contraction import Emit
from flambeau.loop.recipes.winograd_tiles import FOUR, FOUR_BACK, PLAIN, TWO, TWO_BACK, Tiles

CASES = [
    Case((2, 64, 9, 13), (64, 64, 3, 3), padding=1),
    Case((1, 33, 17, 16), (47, 33, 3, 3)),
    Case((3, 40, 14, 14), (32, 40, 3, 3), padding=1),
    Case((2, 32, 14, 6), (70, 32, 3, 3), padding=2),
    Case((1, 17, 40, 40), (18, 17, 3, 3), padding=1),
    Case((1, 16, 3, 130), (22, 16, 3, 3), padding=(1, 0)),
    Case((2, 300, 8, 8), (34, 300, 3, 3), padding=1),
]
STRIDED = [
    Case((2, 64, 17, 25), (64, 64, 3, 3), stride=2, padding=1),
    Case((1, 33, 18, 16), (47, 33, 3, 3), stride=2),
    Case((3, 40, 28, 28), (32, 40, 3, 3), stride=2, padding=1),
    Case((2, 32, 14, 9), (70, 32, 3, 3), stride=2, padding=2),
    Case((1, 16, 3, 130), (22, 16, 3, 3), stride=2, padding=(1, 0)),
    Case((2, 300, 8, 7), (34, 300, 3, 3), stride=2, padding=1),
]
BACK = [  # the padding is odd
    *(STRIDED[k] for k in (0, 2, 5)),
    Case((2, 32, 14, 9), (70, 32, 3, 3), stride=2, padding=3),
    Case((1, 20, 3, 130), (22, 20, 3, 3), stride=2, padding=(1, 3)),
]
KINDS = ("forward", "data", "weight")
WAYS = [
    *((kind, case, PLAIN) for kind in KINDS for case in CASES),
    *(("forward", case, tiles) for case in STRIDED for tiles in (FOUR, TWO)),
    *(("data", case, tiles) for case in BACK for tiles in (FOUR_BACK, TWO_BACK)),
]
TURNED = [way for way in WAYS if way[1] in (CASES[0], CASES[3], STRIDED[0], STRIDED[3])]
MANY = [way for way in TURNED if way[1] in (CASES[0], STRIDED[0])]  # tiles
SMALLEST = [
    *((kind, Case((2, 9, 10, 11), (11, 9, 3, 3), padding=1), PLAIN) for kind in KINDS),
    *(("forward", Case((2, 9, 12, 19), (11, 9, 3, 3), stride=2, padding=1), tiles) for tiles in (FOUR, TWO)),
]
FEW = Machine(256, caches=(1 << 10, 16 << 10, 1 << 20))  # not all filters are one block


def named(value: object) -> str | None:
    """What a test is called after its arguments."""
    return f"{value.out}x{value.out}" if isinstance(value, Tiles) else str(value)


def by(kind: str, case: Case, on: Machine = WIDE, threads: int = 1, dtype: str = "f32") -> str:
    strides = [elements(a) for a in arrays(case).values()]
    return conv_planning.plan(kind, case.geometry(), *strides, dtype, on, threads).spec.by


def go_by(monkeypatch: pytest.MonkeyPatch, tiles: Tiles | None) -> None:
    """By these tiles, also where it does not pay; None: by the direct form."""
    monkeypatch.setattr(conv_planning, "by_winograd", lambda *_: tiles)


@pytest.mark.parametrize("kind, case, tiles", WAYS, ids=named)
def test_values(kind: str, case: Case, tiles: Tiles, monkeypatch: pytest.MonkeyPatch) -> None:
    a = arrays(case)
    want = reference(kind, case.geometry(), a)
    go_by(monkeypatch, tiles)
    assert by(kind, case) == "winograd"
    assert np.abs(compute(kind, case, a) - want).max() <= 3e-6 * np.abs(want).max()


@pytest.mark.parametrize("kind, case, tiles", WAYS, ids=named)
def test_same_bits(kind: str, case: Case, tiles: Tiles, monkeypatch: pytest.MonkeyPatch) -> None:
    a = arrays(case)
    go_by(monkeypatch, tiles)
    want = bits(compute(kind, case, a))
    for on, nt in ((NARROW, 1), (SMALL, 1), (WIDE, 2), (NARROW, 3), (FEW, 1), (FEW, 2)):
        assert bits(compute(kind, case, a, on, nt)) == want
    monkeypatch.setattr(winograd, "KEPT", 1 << 16)  # the tiles are cut into many units
    monkeypatch.setattr(winograd_weight, "SUMS", 1 << 16)
    assert bits(compute(kind, case, a, FEW, 2)) == want


@pytest.mark.parametrize("kind, case, tiles", TURNED, ids=named)
def test_channels_last(kind: str, case: Case, tiles: Tiles, monkeypatch: pytest.MonkeyPatch) -> None:
    a = arrays(case)
    kept = ("w",) if kind == "weight" else ()  # a gradient is contiguous
    turned = {
        k: v if k in kept else np.moveaxis(np.ascontiguousarray(np.moveaxis(v, 1, -1)), -1, 1)
        for k, v in a.items()
    }
    go_by(monkeypatch, tiles)
    assert bits(compute(kind, case, turned)) == bits(compute(kind, case, a))


@pytest.mark.parametrize("kind, case, tiles", SMALLEST, ids=named)
def test_interpreter(kind: str, case: Case, tiles: Tiles, monkeypatch: pytest.MonkeyPatch) -> None:
    a = arrays(case)
    go_by(monkeypatch, tiles)
    assert bits(compute(kind, case, a, NARROW, 2, interpreted=True)) == bits(
        compute(kind, case, a, NARROW, 2)
    )


@pytest.mark.parametrize(
    "kind, case, tiles",
    [
        ("forward", CASES[3], PLAIN),
        ("forward", STRIDED[3], FOUR),
        ("forward", STRIDED[3], TWO),
        ("data", BACK[3], FOUR_BACK),
        ("data", BACK[3], TWO_BACK),
    ],
    ids=named,
)
def test_epilogue(kind: str, case: Case, tiles: Tiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bias by channel; each element comes once, also those of panels that overlap."""
    go_by(monkeypatch, tiles)
    a, g = arrays(case), case.geometry()
    channels, size = (g.cin, g.size) if kind == "data" else (g.cout, g.out)
    area = size[1] * size[2]

    def add_bias(b: Builder) -> Emit:
        bias, out = b.buf("bias", "f32"), b.buf("out", "f32", "rw")

        def emit(acc, image, channel, position) -> None:  # type: ignore[no-untyped-def]
            at = (image * channels + channel) * area + position
            out[at] = out[at] + (acc + bias[channel])

        return emit

    bias, out = np.arange(channels, dtype=np.float32), np.zeros_like(a["x" if kind == "data" else "y"])
    compute(kind, case, a, NARROW, 3, epilogue=add_bias, bias=bias, out=out)
    assert bits(out) == bits(compute(kind, case, a) + bias[:, None, None, None])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize("channels, images, size", [(16, 2, 32), (64, 1, 28), (256, 3, 14), (512, 16, 7)])
def test_error_is_within_four_times_that_of_the_direct_form(
    channels: int, images: int, size: int, rectified: bool, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "weight":  # its sums are over images and positions
        images, channels, size = images * 8, 64, max(size, 14)
    other = 64 if kind == "weight" else 32
    counts = (other, channels) if kind == "data" else (channels, other)
    case = Case((images, counts[0], size, size), (counts[1], counts[0], 3, 3), padding=1)
    a = arrays(case)
    read = {"forward": "x", "data": "y", "weight": "x"}[kind]
    if rectified:
        a[read] = np.maximum(a[read], 0)
    want = reference(kind, case.geometry(), a)
    found = [compute(kind, case, a) - want]
    assert by(kind, case) == "winograd"
    go_by(monkeypatch, None)
    assert by(kind, case) != "winograd"
    found.append(compute(kind, case, a) - want)
    fast, direct = found
    assert np.abs(fast).max() <= 4 * np.abs(direct).max()
    assert np.sqrt(np.mean(fast**2)) <= 3.5 * np.sqrt(np.mean(direct**2))


@pytest.mark.parametrize("tiles", [FOUR, TWO, FOUR_BACK, TWO_BACK], ids=named)
@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize("channels, images, size", [(16, 2, 64), (64, 1, 56), (256, 3, 28), (512, 4, 14)])
def test_error_with_a_stride_is_near_that_of_the_direct_form(
    channels: int, images: int, size: int, rectified: bool, tiles: Tiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = "forward" if tiles in (FOUR, TWO) else "data"
    given, made = (channels, 32) if kind == "forward" else (32, channels)
    case = Case((images, given, size, size), (made, given, 3, 3), stride=2, padding=1)
    a = arrays(case)
    if rectified:
        read = "x" if kind == "forward" else "y"
        a[read] = np.maximum(a[read], 0)
    want, found = reference(kind, case.geometry(), a), []
    for way in (tiles, None):
        go_by(monkeypatch, way)
        assert (by(kind, case) == "winograd") is (way is not None)
        found.append(compute(kind, case, a) - want)
    fast, direct = found
    most, mean = (2, 1.5) if kind == "forward" else (4, 2.5)
    assert np.abs(fast).max() <= most * np.abs(direct).max()
    assert np.sqrt(np.mean(fast**2)) <= mean * np.sqrt(np.mean(direct**2))


def chosen(case: Case, kind: str = "forward", dtype: str = "f32") -> Tiles | None:
    return conv_planning.by_winograd(kind, case.geometry(), dtype)


def test_tiles_with_a_stride() -> None:
    """The larger ones where they fill maps and vectors; none where filters would cost more than they save."""

    def at(images: int, given: int, made: int, size: int) -> Case:
        return Case((images, given, size, size), (made, given, 3, 3), stride=2, padding=1)

    for case in (at(4, 128, 128, 56), at(4, 512, 512, 14), at(1, 64, 128, 56), at(32, 256, 512, 8)):
        assert chosen(case) is FOUR
    for case in (at(8, 256, 512, 8), at(2, 128, 256, 16)):
        assert chosen(case) is TWO
    for case in (at(1, 512, 512, 14), at(4, 8, 64, 64), at(2, 16, 16, 64)):
        assert chosen(case) is None
    for case in (at(4, 128, 128, 56), at(4, 512, 512, 14), at(1, 64, 128, 56), at(32, 256, 512, 8)):
        assert chosen(case, "data") is FOUR_BACK
    for case in (at(8, 256, 512, 8), at(2, 128, 256, 16), at(1, 512, 512, 14)):
        assert chosen(case, "data") is TWO_BACK
    for case in (at(1, 512, 512, 7), at(4, 8, 64, 64), at(4, 64, 64, 64)._replace(padding=0)):
        assert chosen(case, "data") is None
    plain = at(4, 128, 128, 56)
    others = [
        plain._replace(stride=3),
        plain._replace(dilation=2),
        plain._replace(w=(128, 64, 3, 3), groups=2),
        plain._replace(w=(128, 128, 3, 2)),
    ]
    assert not any(chosen(case, kind) for case in others for kind in KINDS)
    assert not chosen(plain, "weight") and not any(chosen(plain, kind, "f64") for kind in KINDS)
    machines = (WIDE, NARROW, SMALL, FEW)
    for kind in ("forward", "data"):
        assert {by(kind, plain, on, n) for on in machines for n in (1, 2, 64)} == {"winograd"}
    uneven = conv_planning.geometry((4, 128, 56, 56), (128, 128, 3, 3), [2, 1], [1, 1], [1, 1])
    assert conv_planning.by_winograd("forward", uneven, "f32") is None


def test_shape_alone_decides() -> None:
    plain = Case((8, 64, 14, 14), (64, 64, 3, 3), padding=1)
    machines = (WIDE, NARROW, SMALL, FEW)
    for case in (plain, Case((2, 64, 28, 28), (64, 64, 3, 3))):
        for kind in KINDS:
            assert {by(kind, case, on, n) for on in machines for n in (1, 2, 64)} == {"winograd"}
    assert (
        by("weight", Case((64, 64, 7, 7), (64, 64, 3, 3), padding=1)) != "winograd"
    )  # its error is out of reach
    others = [
        plain._replace(stride=2, x=(1, 64, 14, 14)),
        plain._replace(dilation=2),
        plain._replace(w=(64, 32, 3, 3), groups=2),
        plain._replace(w=(64, 64, 3, 2)),
        Case((1, 512, 7, 7), (512, 512, 3, 3), padding=1),  # the filters would cost more than the tiles save
        Case((4, 8, 16, 16), (8, 8, 3, 3), padding=1),
    ]
    assert "winograd" not in {by(kind, case) for case in others for kind in KINDS}
    assert "winograd" not in {by(kind, plain, dtype="f64") for kind in KINDS}


@pytest.mark.parametrize("kind, case, tiles", MANY, ids=named)
def test_a_vector_of_tiles(kind: str, case: Case, tiles: Tiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """With AVX-512, of 16 lanes; narrower vectors go by two."""
    go_by(monkeypatch, tiles)
    for on in (WIDE, NARROW):
        strides = [elements(a) for a in arrays(case).values()]
        assert conv_planning.plan(kind, case.geometry(), *strides, "f32", on).spec.lanes == 16


def test_workspace_is_bounded() -> None:
    """What is kept of the transformed source does not grow with the number of images."""
    sizes = []
    for images in (8, 64, 512):
        g = Case((images, 256, 14, 14), (256, 256, 3, 3), padding=1).geometry()
        strides = (256 * 196, 196, 0, 14, 1)
        p = conv_planning.plan("forward", g, strides, (2304, 9, 0, 3, 1), strides, "f32", NARROW, 2)
        assert p.spec.by == "winograd"
        sizes.append(p.work)
    assert max(sizes) <= 16 << 20


@pytest.mark.parametrize("kind", ["forward", "data"])
@pytest.mark.parametrize("given, made, size", [(64, 128, 32), (128, 256, 16), (256, 512, 8)])
def test_workspace_with_a_stride(given: int, made: int, size: int, kind: str) -> None:
    """The layers of a residual net over 32 images, in two parts: no more than its layers without a stride take."""
    case = Case((32, given, size, size), (made, given, 3, 3), stride=2, padding=1)
    strides = [
        (c * area, area, 0, row, 1)
        for c, area, row in ((given, size**2, size), (given, 9, 3), (made, size**2 // 4, size // 2))
    ]
    on = Machine(512, caches=(32 << 10, 1 << 20, 32 << 20))
    p = conv_planning.plan(kind, case.geometry(), *strides, "f32", on, 2)
    assert p.spec.by == "winograd" and p.parts * (p.work + p.table) < 8 << 20


def test_one_kernel_for_many_shapes() -> None:
    strides = (1 << 16, 1 << 12, 0, 1 << 6, 1)
    specs = set()
    for channels, size, padding in ((64, 32, 1), (64, 28, 0), (75, 57, 1)):
        g = Case((4, channels, size, size), (64, channels, 3, 3), padding=padding).geometry()
        specs |= {
            conv_planning.plan(k, g, strides, (9, 9, 0, 3, 1), strides, "f32", WIDE).spec for k in KINDS
        }
    assert len(specs) == 3
