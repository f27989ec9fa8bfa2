"""Loops, lanes, memory and checks: NumPy, the interpreter and the code of every target give the same."""

from __future__ import annotations

from collections.abc import Callable

import codegen_native as native
import numpy as np
import pytest

from flambeau.codegen import engine, target
from flambeau.loop import ir
from flambeau.loop.build import Builder, const, fma, op, select

rng = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 64, 100])
@pytest.mark.parametrize("nt", [1, 3])
def test_elementwise_in_parts(n: int, nt: int) -> None:
    b = Builder("axpy")
    size, alpha = b.integer("n"), b.num("alpha", "f64")
    x, y = b.buf("x", "f32"), b.buf("y", "f32", "rw")
    lo, hi = b.partition(size, 8)
    with b.vfor("i", lo, hi, 16) as i:
        y[i] = x[i] * alpha.cast("f32") + y[i]
    p, q = floats(n + 3), floats(n + 3)
    (_, _, _, got), _ = native.compare(b.kernel(), n, 2.5, p, q, nt=nt)
    assert (got[:n] == p[:n] * np.float32(2.5) + q[:n]).all()
    assert (got[n:] == q[n:]).all()


@pytest.mark.parametrize("n", [5, 100, 1000])
@pytest.mark.parametrize("type", ["f32", "f64", "u8"])
@pytest.mark.parametrize("shift", [0, 1])
def test_stores_around_the_caches(type: str, n: int, shift: int) -> None:
    """Aligned or not, many elements or few, in parts."""
    b = Builder(f"around_{type}")
    size = b.integer("n")
    x, y = b.buf("x", type), b.buf("y", type, "w")
    lo, hi = b.partition(size, 64)
    with b.vfor("i", lo, hi, 16, past=100) as i:
        y[i] = x[i] + x[i]
    v = rng.integers(0, 100, n).astype(native.NUMPY[type])
    room = np.zeros(n * v.itemsize + 192, np.uint8)
    start = -room.ctypes.data % 64 + shift * v.itemsize
    out = room[start : start + n * v.itemsize].view(v.dtype)
    (_, _, got), _ = native.compare(b.kernel(), n, v, out, nt=3)
    native.run(b.kernel(), n, v, out, nt=3)  # what `compare` gives the kernels is a copy somewhere
    assert (got == v + v).all() and (out == got).all()
    assert not room[:start].any() and not room[start + out.nbytes :].any()


@pytest.mark.parametrize("pitch", [128, 130])
@pytest.mark.parametrize("columns", [64, 100])
def test_rows_stored_around_the_caches(pitch: int, columns: int) -> None:
    """Some rows begin at a line, others do not; the places beside them stay."""
    b = Builder("rows_around")
    ld, m = b.integer("ld"), b.integer("m")
    x, y, z = b.buf("x", "f32"), b.buf("y", "f32", "w"), b.buf("z", "f32", "w")
    lo, hi = b.partition(const("i64", 8))
    with b.for_("r", lo, hi) as r:
        at = b.let(r * ld)
        with b.vfor("i", 0, m, 16, past=1) as i:
            y[at + i] = x[at + i] + 1
            z[i + at] = x[at + i] * 2
    room = np.zeros((2, 8 * pitch + 32), np.float32)
    outs = [row[-row.ctypes.data % 64 // 4 :][: 8 * pitch] for row in room]
    v = floats(8 * pitch)
    text = str(engine.emit([b.kernel()], target.named("x86-64-v4"), "llvm"))
    assert text.count("!nontemporal") == 2 and text.count("fence") == 1
    native.run(b.kernel(), pitch, columns, v, *outs, nt=2)
    want = np.zeros((8, pitch), np.float32)
    want[:, :columns] = v.reshape(8, pitch)[:, :columns]
    assert (outs[1].reshape(8, pitch) == want * 2).all()
    want[:, :columns] += 1
    assert (outs[0].reshape(8, pitch) == want).all()


@pytest.mark.parametrize("n", [3, 16, 37])
@pytest.mark.parametrize("type", ["f32", "f64", "i8", "u16", "b1", "bf16"])
def test_strides_gathers_and_scatters(type: str, n: int) -> None:
    b = Builder(f"strided_{type}")
    size, stride = b.integer("n"), b.integer("stride")
    x, at = b.buf("x", type), b.buf("at", "i64")
    names = [
        "twice",
        "back",
        "stride",
        "gather",
        "other",
        "one",
        "thrice",
        "away",
        "scatter",
        "every3",
        "every4",
    ]
    out = {name: b.buf(name, type, "w") for name in names}
    with b.vfor("i", 0, size, 16) as i:
        out["twice"][i] = x[i * 2 + 1]
        out["back"][i] = x[(size - 1) - i]
        out["stride"][i] = x[i * stride]
        out["gather"][i] = x[at[i]]
        out["other"][i] = x[(i * 7) % 5]
        out["one"][i] = x[stride]
        out["thrice"][i * 3] = x[i]
        out["away"][size * 2 - i] = x[i]
        out["scatter"][at[i]] = x[i]
        out["every3"][i] = x[i * 3 + 2]
        out["every4"][i] = x[i * 4]
    v = rng.integers(0, 100, 5 * n + 5).astype(native.NUMPY[type])
    where = rng.permutation(n)
    zeros = [np.zeros(4 * n + 8, v.dtype) for _ in names]
    args, _ = native.compare(b.kernel(), n, 4, v, where, *zeros)
    got, k = dict(zip(names, args[4:], strict=True)), np.arange(n)
    wants = [v[2 * k + 1], v[n - 1 - k], v[4 * k], v[where], v[k * 7 % 5], np.full(n, v[4])]
    for name, want in zip(names, wants, strict=False):
        assert (got[name][:n] == want).all(), name
    assert (got["thrice"][: 3 * n : 3] == v[:n]).all() and not got["thrice"][1::3].any()
    assert (got["away"][2 * n - k] == v[:n]).all()
    assert (got["every3"][:n] == v[3 * k + 2]).all() and (got["every4"][:n] == v[4 * k]).all()
    assert (got["scatter"][where] == v[:n]).all() and not got["scatter"][n:].any()


def test_no_gather_and_no_scatter_of_lanes_evenly_apart() -> None:
    """Gathers are slow, and scatters where strides do: only the last round, with masks, has some."""
    b = Builder("apart")
    size, stride = b.integer("n"), b.integer("stride")
    x, at, y, z = b.buf("x", "f32"), b.buf("at", "i64"), b.buf("y", "f32", "w"), b.buf("z", "f32", "w")
    with b.vfor("i", 0, size, 16, full=True) as i:
        inside = b.let(i < size - 3)
        y[i] = x[i * stride] + x[i * 2] + x[i * 9] + x[stride - i * 3] + x.load(i * 4, inside) + x[at[i]]
        y[i * stride] = x[i] + 1
        z[i * 9] = x[i]
        b.store(z, i * 3, x[i], inside)
    text = str(engine.emit([b.kernel()], target.named("x86-64-v4"), "llvm"))
    assert "@llvm.masked.load" in text and "gather" not in text and "scatter" not in text


@pytest.mark.parametrize("n", [5, 16, 50])
def test_masks(n: int) -> None:
    b = Builder("masks")
    size, switch = b.integer("n"), b.integer("switch")
    x, at, far = b.buf("x", "f32"), b.buf("at", "i64"), b.integer("far")
    outs = [b.buf(f"o{k}", "f32", "rw") for k in range(13)]
    on = b.let(switch.eq(1))
    with b.vfor("i", 0, size, 16) as i:
        odd = b.let((i % 2).eq(1))
        outs[0][i] = x.load(i, odd)
        outs[1][i] = x.load(i * far, i.eq(0))  # other lanes are out of bounds
        outs[2][i] = x.load(at[i], at[i] < size)
        outs[3][i] = x.load(far, i < 0)  # no lane at all: the place does not exist
        outs[4][i] = x.load(i * far, on)
        b.store(outs[5], i, x[i], odd)
        b.store(outs[6], at[i], x[i], at[i] < size)
        b.store(outs[7], i * far, x[i], on)
        b.store(outs[8], i + 1 - 1, 3.0, odd & (i < 20))
        for k, step in enumerate((2, 3), 9):
            outs[k][i] = x.load(i * step, i * step < size)  # what lies beyond is not read
            b.store(outs[k + 2], i * step, x[i], odd & (i * step < size))
    with b.if_(x.load(far, on) > 0.0):
        outs[7][0] = 5.0
    v, out = floats(n), [np.full(n + 1, 9, np.float32) for _ in outs]
    where = np.where(rng.random(n) < 0.5, rng.permutation(n), 1 << 50)
    args, _ = native.compare(b.kernel(), n, 0, v, where, 1 << 50, *out)
    got, k = args[5:], np.arange(n)
    assert (got[0][:n] == np.where(k % 2, v, 0)).all()
    assert got[1][0] == v[0] and not got[1][1:n].any()
    assert (got[2][:n] == np.where(where < n, v[where % n], 0)).all()
    assert not got[3][:n].any() and not got[4][:n].any() and (got[7] == 9).all()
    assert (got[5][:n] == np.where(k % 2, v, 9)).all()
    assert (got[6][where[where < n]] == v[where < n]).all()
    assert (got[8][:n] == np.where((k % 2 == 1) & (k < 20), 3, 9)).all()
    for step, loaded, stored in ((2, got[9], got[11]), (3, got[10], got[12])):
        inside = -(-n // step)
        assert (loaded[:inside] == v[::step]).all() and not loaded[inside:n].any()
        want = np.full(n, 9, np.float32)
        want[step : n : 2 * step] = v[1 : -(-n // step) : 2]
        assert (stored[:n] == want).all()


REDUCERS: dict[str, Callable] = {"add": np.add, "mul": np.multiply, "min": np.minimum, "max": np.maximum}
REDUCERS |= {"and": np.bitwise_and, "or": np.bitwise_or}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("type", ["f32", "f64", "i32", "u8", "b1"])
@pytest.mark.parametrize("lanes", [1, 2, 16, 64])
def test_registers_with_lanes_and_horizontal_reductions(type: str, lanes: int) -> None:
    names = [r for r in ir.REDUCTIONS if (r in ("and", "or")) == (type == "b1") or (type == "i32")]
    start = {"add": 0, "mul": 1, "min": 100, "max": 0, "and": 1, "or": 0}
    b = Builder(f"reduce_{type}_{lanes}")
    size, x, out = b.integer("n"), b.buf("x", type), b.buf("out", type, "w")
    regs = [b.reg(name, float(start[name]) if type[0] == "f" else start[name], type, lanes) for name in names]
    with b.vfor("i", 0, size, lanes) as i:
        for name, r in zip(names, regs, strict=True):
            r.set(op(name, r.get(), x[i]))
    for k, (name, r) in enumerate(zip(names, regs, strict=True)):
        out[k] = r.reduce(name)
    n = 3 * lanes + (5 if lanes > 2 else 1)
    v = (rng.integers(0, 2, n) if type == "b1" else rng.uniform(0, 1.5, n)).astype(native.NUMPY[type])
    args, _ = native.compare(b.kernel(), n, v, np.zeros(len(names), v.dtype))
    for name, got in zip(names, args[2], strict=True):
        parts = np.full(lanes, start[name], v.dtype)
        for at in range(0, n, lanes):
            piece = v[at : at + lanes]
            parts[: len(piece)] = REDUCERS[name](parts[: len(piece)], piece)
        while len(parts) > 1:
            parts = REDUCERS[name](parts[: len(parts) // 2], parts[len(parts) // 2 :])
        assert got == parts[0], name


def test_loops_inside_lanes() -> None:
    """Column sums: a counting loop, a while and an if inside a vfor, in full rounds and in the masked one."""
    b = Builder("columns")
    rows, columns = b.integer("rows"), b.integer("columns")
    x, out, last = b.buf("x", "f32"), b.buf("out", "f32", "w"), b.buf("last", "i32", "w")
    with b.vfor("j", 0, columns, 16) as j:
        acc, count = b.reg("acc", 0.0, "f32", lanes=16), b.reg("count", 0, "i64")
        hits = b.reg("hits", 0, "i32", lanes=16)
        with b.for_("r", 0, rows) as r:
            acc.set(acc.get() + x[r * columns + j])
            with b.if_((r % 2).eq(0)):
                acc.set(acc.get() + 1.0)
            with b.else_():
                acc.set(acc.get() - x[j])
        with b.while_(count.get() < rows):
            hits.set(hits.get() + (x[count.get() * columns + j] > 0.0).cast("i32"))
            count.set(count.get() + 2)
        out[j], last[j] = acc.get(), hits.get()
    m, n = 7, 41
    v = floats(m, n)
    (_, _, _, got, hits), _ = native.compare(b.kernel(), m, n, v, np.zeros(n, "f"), np.zeros(n, "i4"))
    want = np.zeros(n, np.float32)
    for r in range(m):
        want = want + v[r]
        want = want + np.float32(1) if r % 2 == 0 else want - v[0]
    assert (got == want).all() and (hits == (v[::2] > 0).sum(0)).all()


def test_unrolled_loops_scratch_and_scalars() -> None:
    b = Builder("unrolled")
    x, out = b.buf("x", "f32"), b.buf("out", "f32", "rw")
    scratch, total = b.alloc("scratch", "f32", 64), b.reg("total", 0.0, "f32")
    with b.for_("k", 0, 4, unroll=True) as k:
        with b.vfor("i", 0, 16, 16, full=True) as i:
            scratch[k * 16 + i] = fma(x[k * 16 + i], x[i], 1.0)
        with b.if_(k.eq(2)):
            total.set(total.get() + 100.0)
    with b.for_("k", 63, 0, 1) as k:
        total.set(total.get() + 1e6)  # an empty range
    with b.for_("k", 0, 64, 3) as k:
        total.set(select(scratch[k] > total.get(), scratch[k], total.get()))
    with b.vfor("i", 2, 45, 16) as i:  # constant bounds: full rounds and a constant mask
        out[i] = scratch[i] * total.get()
    v = floats(64)
    (_, got), _ = native.compare(b.kernel(), v, np.zeros(64, "f"))
    made = (v.reshape(4, 16).astype("d") * v[:16] + 1).astype("f").ravel()
    assert (got[2:45] == made[2:45] * np.float32(100)).all() and not got[45:].any() and not got[:2].any()


@pytest.mark.parametrize("n", [3, 16, 40])
@pytest.mark.parametrize("bad", [None, 0, 2, 37])
def test_checks(n: int, bad: int | None) -> None:
    b = Builder("gather_rows")
    size, limit = b.integer("n"), b.integer("limit")
    at, x, out = b.buf("at", "i64"), b.buf("x", "f32"), b.buf("out", "f32", "w")
    with b.vfor("i", 0, size, 16) as i:
        k = b.let(at[i])
        b.check((k >= 0) & (k < limit), 7, k, i)
        out[i] = x[k]
    b.check(size < 1000, 8, size, 0)
    where = rng.integers(0, 10, n)
    v = floats(10)
    if bad is not None and bad < n:
        where[bad], where[-1] = 12, -3
    args, record = native.compare(b.kernel(), n, 10, where, v, np.zeros(n, "f"))
    if bad is not None and bad < n:
        first = bad if bad < n - 1 else n - 1
        assert record[:3] == [7, int(where[first]), first]
        assert not args[4][first // 16 * 16 :].any()
    else:
        assert record[0] == 0 and (args[4] == v[where]).all()


def test_the_epilogue_runs_after_all_parts() -> None:
    b = Builder("total")
    size, x, part, out = (
        b.integer("n"),
        b.buf("x", "f64"),
        b.buf("part", "f64", "rw"),
        b.buf("out", "f64", "w"),
    )
    lo, hi = b.partition(size, 16)
    acc = b.reg("acc", 0.0, "f64", lanes=16)
    with b.vfor("i", lo, hi, 16) as i:
        acc.set(acc.get() + x[i])
    part[b.tid] = acc.reduce("add")
    with b.epilogue():
        total = b.reg("total", 0.0, "f64")
        with b.for_("t", 0, 3) as t:
            total.set(total.get() + part[t])
        out[0] = total.get()
    v = rng.integers(0, 100, 1000).astype(np.float64)
    args, _ = native.compare(b.kernel(), 1000, v, np.zeros(3), np.zeros(1), nt=3)
    assert args[3][0] == v.sum()


def test_buffers_that_may_overlap_are_read_in_order() -> None:
    b = Builder("overlap")
    x, y = b.buf("x", "f32", "r", alias=True), b.buf("y", "f32", "rw", alias=True)
    with b.for_("i", 0, 31) as i:
        y[i + 1] = x[i] + 1.0
        y[i + 2] = x[i + 1] + x[i]
    v = floats(64)
    want = v.copy()
    for k in range(31):
        want[k + 1] = want[k] + np.float32(1)
        want[k + 2] = want[k + 1] + want[k]
    native.run(b.kernel(), v, v)
    assert (v == want).all()


def test_deep_expressions_need_no_recursion() -> None:
    b = Builder("deep")
    x, out = b.buf("x", "f32"), b.buf("out", "f32", "w")
    with b.vfor("i", 0, 16, 16) as i:
        v = x[i]
        for _ in range(3000):
            v = v * 0.5 + 1.0
        out[i] = v
    got = np.zeros(16, np.float32)
    native.run(b.kernel(), floats(16), got)
    assert (got == 2).all()
