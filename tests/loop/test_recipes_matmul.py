"""Contraction kernels: values, and the same bits whatever the tile, the packing and the number of parts."""

from __future__ import annotations

import numpy as np
import pytest
from tests.loop.recipe_runner import NARROW, NUMPY, SMALL, WIDE, Machine, bits, elements, random, run

from flambeau.loop.build import Builder, maximum
from flambeau.loop.recipes import planning
from flambeau.loop.recipes.contraction import Emit, Epilogue, Spec
from flambeau.loop.recipes.planning import Plan, Strides
from flambeau.loop.recipes.tail import Tail, epilogue
from flambeau.loop.text import show


def problem(
    m: int, n: int, k: int, layout: str = "nn", batch: int = 1, dtype: str = "f32"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A, B and a C to fill, [batch, ...]; layout: n, t (transposed) or s (every second element) for A and B."""
    rng = np.random.default_rng(m * 10007 + n * 101 + k)

    def operand(rows: int, cols: int, how: str) -> np.ndarray:
        if how == "t":
            return random(rng, (batch, cols, rows), dtype).transpose(0, 2, 1)
        if how == "s":
            return random(rng, (batch, rows * 2, cols * 3), dtype)[:, ::2, ::3]
        return random(rng, (batch, rows, cols), dtype)

    return operand(m, k, layout[0]), operand(k, n, layout[1]), np.full((batch, m, n), 77, NUMPY[dtype])


def strides_of(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> Strides:
    return Strides(*elements(a), *elements(b), *elements(c))


def planned(a: np.ndarray, b: np.ndarray, c: np.ndarray, on: Machine = WIDE, **options: object) -> Plan:
    batch, m, k = a.shape
    dtype = next(t for t, np_type in NUMPY.items() if np_type == a.dtype)
    return planning.plan(m, b.shape[2], k, batch, strides_of(a, b, c), dtype, on, **options)  # type: ignore[arg-type]


def compute(
    p: Plan,
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray,
    nt: int | None = None,
    epilogue: Epilogue | None = None,
    interpreted: bool = False,
    **more: np.ndarray,
) -> np.ndarray:
    nt = nt or p.parts
    kernel = planning.build(p.spec, epilogue)
    work = np.full(p.work * nt + 64, 255, np.uint8)
    run(kernel, planning.args(kernel, p), {"a": a, "b": b, "c": c, "work": work, **more}, nt, interpreted)
    return c


def exact(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    wide = np.float64 if a.dtype.kind == "f" else np.int64
    return a.astype(wide) @ b.astype(wide)


def check(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    want = exact(a, b)
    if a.dtype.kind == "f":
        bound = (np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64)) * np.finfo(a.dtype).eps * 24
        assert (np.abs(c - want) <= bound + 1e-300).all()
    else:
        assert (c == want.astype(c.dtype)).all()


SIZES = [
    (1, 1, 1),
    (2, 3, 4),
    (13, 40, 17),
    (20, 16, 385),
    (33, 70, 50),
    (4, 120, 400),
    (64, 10, 128),
    (9, 5, 0),
]


@pytest.mark.parametrize(("m", "n", "k"), SIZES)
@pytest.mark.parametrize("layout", ["nn", "nt", "tn", "ss"])
def test_values(m: int, n: int, k: int, layout: str) -> None:
    a, b, c = problem(m, n, k, layout)
    check(a, b, compute(planned(a, b, c), a, b, c))


@pytest.mark.parametrize("dtype", ["f64", "i32", "i64", "u8"])
@pytest.mark.parametrize("layout", ["nn", "nt"])
def test_dtypes(dtype: str, layout: str) -> None:
    a, b, c = problem(19, 37, 29, layout, dtype=dtype)
    check(a, b, compute(planned(a, b, c), a, b, c))


@pytest.mark.parametrize(
    ("m", "n", "k"), [(1, 300, 900), (300, 1, 900), (1, 5000, 20), (2, 70, 600), (5000, 3, 8)]
)
@pytest.mark.parametrize("layout", ["nn", "nt", "tn"])
def test_thin(m: int, n: int, k: int, layout: str) -> None:
    a, b, c = problem(m, n, k, layout)
    check(a, b, compute(planned(a, b, c, threads=2), a, b, c))


@pytest.mark.parametrize("layout", ["nn", "nt", "tn", "tt"])
def test_large(layout: str) -> None:
    """Several blocks of rows, columns and k: the same bits whatever the caches."""
    a, b, c = problem(150, 1100, 512, layout)
    p = planned(a, b, c, threads=2)
    assert p.spec.pack_b and p.parts == 2
    check(a, b, compute(p, a, b, c))
    tiny = planned(a, b, c, TINY)
    assert tiny.ints["mp"] * tiny.spec.rows < 150 and tiny.ints["nc"] < 1100
    assert bits(compute(tiny, a, b, np.zeros_like(c))) == bits(c)


def test_batched_and_strided_output() -> None:
    a, b, _ = problem(6, 40, 20, "nt", batch=5)
    c = np.zeros((5, 40, 6), np.float32).transpose(0, 2, 1)
    check(a, b, compute(planned(a, b, c), a, b, c, nt=2))
    shared = np.broadcast_to(b[:1], b.shape)
    check(a, shared, compute(planned(a, shared, c), a, shared, c, nt=3))


@pytest.mark.parametrize("layout", ["nn", "nt"])
def test_shared_b(layout: str) -> None:
    """All batches have one B: each part packs it once; the same bits as packed again for each."""
    a, b, c = problem(30, 100, 170, layout, batch=7)
    b = np.broadcast_to(b[:1], b.shape)
    p = planned(a, b, c, NARROW)
    assert p.spec.shared == (layout == "nt")
    for nt in (1, 2, 3, 9):
        results = []
        for shared in (True, False):
            spec = p.spec._replace(pack_b=True, shared=shared)
            ints = planning.blocking(spec, p.ints, NARROW)
            out = np.zeros_like(c)
            check(a, b, compute(Plan(spec, ints, nt, 4 * ints["ws"]), a, b, out))
            results.append(bits(out))
        assert results[0] == results[1]


TINY = Machine(256, caches=(1 << 10, 8 << 10, 64 << 10))


def variants(p: Plan) -> list[Plan]:
    """Other kernels and other caches for the same problem."""
    if p.spec.kind != "gemm":
        return []
    found = []
    for spec in other_specs(p):
        for on in (WIDE, TINY):
            ints = planning.blocking(spec, p.ints, on)
            one = spec.single and p.ints["n"] <= ints["nc"]
            found.append(Plan(spec._replace(single=one), ints, p.parts, 4 * ints["ws"]))
    return found


def other_specs(p: Plan) -> list[Spec]:
    s = p.spec._replace(even=False, tail=p.spec.lanes)
    other = s._replace(pack_a=not s.pack_a, narrow="ab")
    return [
        s,
        s._replace(rows=5, lanes=16, tail=16),
        s._replace(rows=3, lanes=64, tail=64),
        other,
        s._replace(single=False),
    ]


@pytest.mark.parametrize(("m", "n", "k"), [(29, 50, 801), (1, 90, 500), (3, 200, 400), (70, 2, 390)])
@pytest.mark.parametrize("layout", ["nn", "nt", "tn"])
def test_same_bits(m: int, n: int, k: int, layout: str) -> None:
    """Tiles, targets, generic kernels, numbers of parts: one result."""
    a, b, c = problem(m, n, k, layout)
    first = planned(a, b, c)
    want = bits(compute(first, a, b, c, nt=1))
    others = [(first, 2), (first, 3), (planned(a, b, c, generic=True), 2)]
    others += [(planned(a, b, c, on), 1) for on in (NARROW, SMALL, TINY)]
    others += [(other, 1) for other in variants(first)]
    for p, nt in others:
        assert bits(compute(p, a, b, np.full_like(c, 7), nt=nt)) == want, p.spec


@pytest.mark.parametrize(
    ("m", "n", "k", "packed"),
    [
        (1024, 70, 390, True),
        (601, 120, 256, True),
        (96, 24, 30, True),
        (64, 64, 64, False),
        (512, 16, 90, False),
    ],
)
def test_transposed_rows(m: int, n: int, k: int, packed: bool) -> None:
    """A transposed is packed where its k steps lie far apart, or a tile has many rows; the same bits as without."""
    a, b, c = problem(m, n, k, "tn")
    p = planned(a, b, c, NARROW, threads=2)
    assert p.spec.pack_a == packed
    check(a, b, compute(p, a, b, c))
    other = p.spec._replace(pack_a=not packed)
    ints = planning.blocking(other, p.ints, TINY)
    assert bits(compute(Plan(other, ints, p.parts, 4 * ints["ws"]), a, b, np.zeros_like(c))) == bits(c)


@pytest.mark.parametrize(
    ("m", "n", "k", "layout"), [(3, 20, 390, "nn"), (2, 17, 20, "nt"), (1, 64, 400, "nn"), (18, 18, 18, "nt")]
)
def test_interpreter(m: int, n: int, k: int, layout: str) -> None:
    a, b, c = problem(m, n, k, layout)
    for generic in (False, True):
        p = planned(a, b, c, generic=generic)
        want = bits(compute(p, a, b, np.full_like(c, 3), nt=2))
        assert bits(compute(p, a, b, np.full_like(c, 5), nt=2, interpreted=True)) == want


def test_blocks_of_k() -> None:
    """Sums of 384 products are added, not one chain: 2**24 + (1 + 1), where (2**24 + 1) + 1 is 2**24."""
    a, b = np.zeros((1, 20, 386), np.float32), np.ones((1, 386, 32), np.float32)
    a[..., 0], a[..., 384:] = 2**24, 1
    for layout in (b, b.transpose(0, 2, 1).copy().transpose(0, 2, 1)):
        for rows in (20, 1):
            c = np.zeros((1, rows, 32), np.float32)
            compute(planned(a[:, :rows], layout, c), a[:, :rows], layout, c)
            assert (c == 2**24 + 2).all()


@pytest.mark.parametrize("layout", ["nn", "nt", "tn"])
def test_groups_of_blocks(layout: str) -> None:
    """Sums are kept in scratch between blocks of a group, in C or the workspace between groups: the same bits."""
    a, b, c = problem(80, 50, 1700, layout)
    p = planned(a, b, c, threads=2)
    assert p.spec.deep and p.spec.groups and p.ints["kg"] == 3 * 384
    check(a, b, compute(p, a, b, c))
    shallow = p.spec._replace(deep=False)
    ints = planning.blocking(shallow, p.ints, WIDE)
    assert ints["kg"] == 384
    assert bits(compute(Plan(shallow, ints, 2, 4 * ints["ws"]), a, b, np.zeros_like(c))) == bits(c)
    out, zero = np.zeros((80, 40), np.float32), np.zeros((80, 40), np.float32)
    part = b[:, :, :40]
    emitted = planned(a, part, c[:, :, :40], plain=False)
    assert emitted.spec.deep
    more = {"bias": zero[0].copy(), "residual": zero, "out": out}
    compute(emitted, a, part, c, epilogue=bias_relu, **more)
    assert bits(out) == bits(np.maximum(c[0, :, :40], 0))


def bias_relu(b: Builder) -> Emit:
    """out[row, col] = max(acc + bias[col], 0) + residual[row, col]."""
    bias, residual, out = b.buf("bias", "f32"), b.buf("residual", "f32"), b.buf("out", "f32", "w")

    def emit(acc, batch, row, col) -> None:  # type: ignore[no-untyped-def]
        at = row * 40 + col
        out[at] = maximum(acc + bias[col], 0) + residual[at]

    return emit


@pytest.mark.parametrize(("m", "k"), [(1, 30), (17, 30), (33, 500), (3, 900)])
@pytest.mark.parametrize("layout", ["nn", "nt"])
@pytest.mark.parametrize("generic", [False, True])
def test_epilogue(m: int, k: int, layout: str, generic: bool) -> None:
    a, b, c = problem(m, 40, k, layout)
    rng = np.random.default_rng(0)
    bias, residual, out = (
        random(rng, (40,), "f32"),
        random(rng, (m, 40), "f32"),
        np.zeros((m, 40), np.float32),
    )
    plain = compute(planned(a, b, c, generic=generic), a, b, c)[0]
    p = planned(a, b, c, plain=False, generic=generic)
    compute(p, a, b, c, nt=2, epilogue=bias_relu, bias=bias, residual=residual, out=out)
    assert bits(out) == bits(np.maximum(plain + bias, 0) + residual)


@pytest.mark.parametrize("k", [64, 900])
def test_tail_is_fetched(k: int) -> None:
    """What a tail reads is asked for, once for each row of a tile and line; what it writes is not."""
    a, b, c = problem(20, 40, k)
    added = np.arange(800, dtype=np.float32).reshape(20, 40)
    row = ("f32", "r", False, (0, "s", 1))
    values = (("product",), ("load", 0), ("map", "add", "f32", 0, 1))
    tail = Tail(values, (row, ("f32", "w", False, row[3])), ((2, 1),), 0, "f32")
    p = planned(a, b, c, plain=False)
    kernel, out = planning.build(p.spec, epilogue(tail)), np.zeros_like(added)
    text = show(kernel)
    assert text.count("prefetch tail0[") == p.spec.lanes // 16  # in a loop over the rows
    assert "prefetch tail1" not in text
    far = show(planning.build(p.spec._replace(far=True), epilogue(tail)))
    assert far.count("prefetch tail1[") == p.spec.lanes // 16
    ints = [(n, 40 if n in ("tail0_1", "tail1_1") else v) for n, v in planning.args(kernel, p)]
    work = np.full(p.work + 64, 255, np.uint8)
    run(kernel, ints, {"a": a, "b": b, "work": work, "tail0": added, "tail1": out}, 1)
    plain = compute(planned(a, b, c), a, b, c)[0]
    assert bits(out) == bits(plain + added)


@pytest.mark.parametrize("k", [64, 900])
def test_what_comes_next_is_fetched(k: int) -> None:
    """The place of a large C, each line of a tile once, and what is packed of B with the next strip, k step by k step
    while the first tile of a panel is computed."""
    a, b, c = problem(20, 100, k)
    p = planned(a, b, c)
    assert not p.spec.far and planned(*problem(300, 300, 20)).spec.far == "far"
    spec = p.spec._replace(pack_b=True, far="far", deep=p.spec.blocks, groups=False, tail=0)
    text = show(planning.build(spec))
    assert text.count("prefetch c[") == spec.lanes // 16
    assert "prefetch c[" not in show(planning.build(spec._replace(far="")))
    asked = [line.endswith(" far") for line in text.splitlines() if "prefetch b[" in line]
    assert asked.count(False) == spec.lanes // 16 and asked.count(True) == spec.lanes // 16 * spec.unroll


def test_rows_of_tiles() -> None:
    """Many tiles may be a row or two lower, where fewer rows that do not exist are computed then."""
    chosen = {m: planning.tile(m, 512, 16, 32, False, product=True) for m in (100, 256, 384, 512, 1024)}
    assert chosen == {100: (13, 2), 256: (13, 2), 384: (12, 2), 512: (14, 2), 1024: (13, 2)}
    assert planning.tile(1024, 512, 16, 32, False) == (14, 2)
    assert planning.tile(1024, 512, 8, 16, False, product=True) == (6, 2)


@pytest.mark.parametrize("on", [WIDE, NARROW, SMALL])
def test_places_in_the_workspace(on: Machine) -> None:
    """Each part's panels of B, and its sums, begin with a line."""
    for m, n, k in ((37, 70, 500), (1022, 96, 900), (30, 1000, 1700)):
        for plain in (True, False):
            p = planned(*problem(m, n, k, "nt"), on=on, threads=3, plain=plain)
            assert p.spec.deep and not any(p.ints[name] % 16 for name in ("ws", "wp", "wt"))


LITTLE = Machine(512, caches=(1 << 10, 1 << 10, 1 << 20))  # any result is beyond its second cache


def test_lines_of_a_vast_result() -> None:
    """They are asked for before the tile, and A is packed; the bits are those of another machine."""
    a, b, c = problem(20, 520, 30)
    near, far = planned(a, b, c), planned(a, b, c, LITTLE)
    assert far.spec.far == "vast" and far.spec.pack_a and not near.spec.far and not near.spec.pack_a
    asked = [line for line in show(planning.build(far.spec)).splitlines() if "prefetch c[" in line]
    assert len(asked) == far.spec.lanes // 16 and all(line.endswith("write") for line in asked)
    assert "prefetch c[" not in show(planning.build(near.spec))
    assert bits(compute(far, a, b, c.copy())) == bits(compute(near, a, b, c.copy()))
    row = ("f32", "w", False, (0, "s", 1))
    tail = Tail((("product",), ("map", "neg", "f32", 0)), (row,), ((1, 0),), 0, "f32")
    text = show(planning.build(planned(a, b, c, LITTLE, plain=False).spec, epilogue(tail)))
    asked = [line for line in text.splitlines() if "prefetch tail0[" in line]
    assert len(asked) == far.spec.lanes // 16 and all(line.endswith("write") for line in asked)


@pytest.mark.parametrize(
    ("m", "rows", "groups", "want"),
    [
        (256, 14, 1, 13),
        (512, 14, 1, 14),
        (512, 14, 2, 13),
        (1024, 14, 2, 14),
        (64, 13, 4, 8),
        (14, 14, 1, 14),
    ],
)
def test_largest_share_of_rows(m: int, rows: int, groups: int, want: int) -> None:
    """19 panels of 14 rows hold 266, 20 of 13 but 260; 37 of 14 are 19 and 18 for two parts."""
    assert planning.even_rows(m, rows, groups) == want


@pytest.mark.parametrize(
    ("m", "n", "k", "layout", "want"),
    [
        (128, 784, 64, "tn", (2, 1)),
        (120, 400, 4, "tn", (2, 1)),
        (96, 96, 96, "nn", (2, 1)),
        (64, 128, 784, "nt", (1, 2)),
        (20, 1024, 256, "nt", (1, 2)),
        (1024, 1024, 1024, "nn", (1, 2)),
    ],
)
def test_two_parts_share_rows_only_where_that_saves_packing(
    m: int, n: int, k: int, layout: str, want: tuple[int, int]
) -> None:
    """Two threads that write pieces of the same rows disturb each other at each seam; a B that is packed twice costs
    more, and one that is read as it lies nothing."""
    a, b, c = problem(m, n, k, layout)
    ints = planned(a, b, c, threads=2).ints
    assert (ints["gr"], ints["gc"]) == want


@pytest.mark.parametrize(("m", "k"), [(1, 30), (2, 600), (17, 30), (33, 500)])
@pytest.mark.parametrize("layout", ["nn", "nt"])
def test_long_epilogue(m: int, k: int, layout: str) -> None:
    """Its code in a loop over the rows of a tile gives what one copy for each row gives."""
    a, b, c = problem(m, 40, k, layout)
    rng = np.random.default_rng(0)
    bias, residual = random(rng, (40,), "f32"), random(rng, (m, 40), "f32")
    results = []
    for staged in (False, True):
        out = np.zeros((m, 40), np.float32)
        p = planned(a, b, c, plain=False, staged=staged)
        compute(p, a, b, c, nt=2, epilogue=bias_relu, bias=bias, residual=residual, out=out)
        results.append(bits(out))
    assert results[0] == results[1]


@pytest.mark.parametrize("n", [1, 7, 8, 9, 24, 31, 33, 40, 47, 63, 100])
@pytest.mark.parametrize("on", [WIDE, NARROW, SMALL])
def test_last_columns(n: int, on: Machine) -> None:
    """Nothing is written beside C, whatever is left of the last tile."""
    a, b, _ = problem(9, n, 20)
    wide = np.full((1, 9, n + 70), 5, np.float32)
    compute(planned(a, b, wide[..., :n], on), a, b, wide)
    check(a, b, wide[..., :n])
    assert (wide[..., n:] == 5).all()


@pytest.mark.parametrize(("m", "n", "k"), [(9, 20, 33), (1, 40, 500), (2, 300, 200), (40, 1, 90)])
@pytest.mark.parametrize("layout", ["nn", "nt"])
def test_two_batch_dimensions(m: int, n: int, k: int, layout: str) -> None:
    """Heads beside batches in memory: the same bits as of copies."""
    a, b, c = problem(m, n, k, layout, batch=6)
    want = bits(compute(planned(a, b, c), a, b, c))
    pa, pb = (np.ascontiguousarray(x.reshape(2, 3, *x.shape[1:]).transpose(0, 2, 1, 3)) for x in (a, b))
    va, vb = elements(pa), elements(pb)
    strides = Strides(va[0], va[1], va[3], vb[0], vb[1], vb[3], *elements(c), bn=3, ab2=va[2], bb2=vb[2])
    for generic in (False, True):
        p = planning.plan(m, n, k, 6, strides, "f32", WIDE, 2, generic=generic)  # type: ignore[arg-type]
        assert bits(compute(p, pa, pb, np.zeros_like(c), nt=3)) == want


def test_epilogue_of_a_transposed_problem() -> None:
    """Few columns: lanes run over rows; the epilogue still gets (row, column)."""
    a, b, c = problem(50, 2, 30)
    p = planned(a, b, c, plain=False)
    assert p.spec.swap

    def accumulate(b: Builder) -> Emit:
        out = b.buf("out", "f32", "rw")

        def emit(acc, batch, row, col) -> None:  # type: ignore[no-untyped-def]
            out[row * 2 + col] = out[row * 2 + col] + acc

        return emit

    out = np.ones((50, 2), np.float32)
    compute(p, a, b, c, epilogue=accumulate, out=out)
    assert np.allclose(out, 1 + exact(a, b)[0], atol=1e-5)


def test_few_keys() -> None:
    """A sequence of lengths needs two kernels: that of one row and the generic one."""
    specs = set()
    for length in range(1, 201):
        a, b, c = (
            np.empty((1, length, 256), "f"),
            np.empty((1, 128, 256), "f").transpose(0, 2, 1),
            np.empty((1, length, 128), "f"),
        )
        specs.add(planned(a, b, c, generic=True).spec)
    assert len(specs) == 2


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("layout", ["nn", "nt", "tn", "tt", "ss"])
def test_a_kernel_has_the_workspace_that_it_takes(layout: str, plain: bool) -> None:
    for generic in (False, True):
        for m, n, k in ((64, 32, 16), (5, 7, 3), (64, 48, 400), (37, 64, 1500)):
            p = planned(*problem(m, n, k, layout), plain=plain, generic=generic)
            assert p.work or not p.spec.works(plain and p.spec.out == p.spec.acc)


def test_few_rows_ask_for_the_next_columns_of_a_transposed_matrix() -> None:
    p = planned(*problem(1, 64, 64, "nt"))
    assert p.spec.kind == "rows"
    lines = [line for line in show(planning.build(p.spec)).splitlines() if "prefetch b[" in line]
    assert len(lines) == p.spec.lanes // p.spec.block  # in a loop over the columns of each block
    assert all(f"{2 * p.spec.lanes}" in line for line in lines)


def test_many_rows_have_one_kernel_with_the_bits_of_their_own() -> None:
    specs, fitted = set(), set()
    for m in range(257, 300):
        a, b, c = problem(m, 40, 24, "nt")
        specs.add(planned(a, b, c, tall=True).spec)
        fitted.add(planned(a, b, c).spec)
    assert len(specs) == 1 and len(fitted) > 3
    a, b, c = problem(260, 40, 24, "nt")
    own, shared = planned(a, b, c), planned(a, b, c, tall=True)
    assert own.spec != shared.spec
    assert compute(own, a, b, c)[0].tobytes() == compute(shared, a, b, c)[0].tobytes()
