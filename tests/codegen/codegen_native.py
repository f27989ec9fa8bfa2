"""Running a kernel on NumPy arrays, for the tests of this folder."""

from __future__ import annotations

import ctypes

import numpy as np

from flambeau.codegen import engine, target
from flambeau.loop import ir

FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
NUMPY = {"b1": np.bool_, "f16": np.float16, "bf16": np.uint16, "f32": np.float32, "f64": np.float64}
NUMPY |= {
    f"{kind[0]}{bits}": np.dtype(f"{kind}{bits}").type for kind in ("int", "uint") for bits in (8, 16, 32, 64)
}


def runnable() -> list[target.Target]:
    """The targets whose code this host can run."""
    host = target.host()
    if not host.triple.startswith("x86_64"):
        return [host]
    named = [target.named(f"x86-64-v{k}") for k in (2, 3, 4)]
    level = 4 if host.avx512 else 3 if host.fma and host.vector_bits >= 256 else 2
    return [*named[: level - 1], host]


def table_of(args: list[np.ndarray | int | float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The table, the places in it and the error record for arguments in the order of a kernel's parameters."""
    record = np.zeros(4, np.int64)
    table = np.zeros(len(args) + 1, np.int64)
    table[0] = record.ctypes.data
    for k, a in enumerate(args):
        number = np.float64(a).view(np.int64) if isinstance(a, float) else a
        table[k + 1] = a.ctypes.data if isinstance(a, np.ndarray) else number
    return table, np.arange(1, len(args) + 1, dtype=np.int32), record


def run(
    kernel: ir.Kernel, *args: np.ndarray | int | float, nt: int = 1, on: target.Target | None = None
) -> list[int]:
    """Run all parts (and the epilogue) of a kernel; the error record."""
    (address,) = engine.compile_kernels([kernel], on or target.host())
    table, where, record = table_of(list(args))
    for tid in [*range(nt), *([-1] if kernel.epilogue else [])]:
        FUNCTION(address)(table.ctypes.data, where.ctypes.data, tid, nt)
    return record.tolist()


def to_bf16(x: np.ndarray) -> np.ndarray:
    """f32 rounded to nearest even to the bits of a bf16."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32).astype(np.uint64)
    short = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(x), np.uint16(0x7FC0), short)


def from_bf16(x: np.ndarray) -> np.ndarray:
    """The bits of a bf16 as f32."""
    return (x.astype(np.uint32) << 16).view(np.float32)


def compare(kernel: ir.Kernel, *args: np.ndarray | int | float, nt: int = 1) -> tuple[list, list[int]]:
    """Run a kernel interpreted and as code of every target: the same bytes; the arguments and the record afterwards."""
    from flambeau.codegen.pipeline import Unit, expand_math, verify
    from flambeau.loop.interp import interpret

    unit = Unit([kernel], ["k"], target.host(), None)
    verify(unit)
    expand_math(unit)
    mine = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
    table, where, record = table_of(mine)
    for tid in [*range(nt), *([-1] if kernel.epilogue else [])]:
        interpret(unit.kernels[0], table, where, tid, nt, [np.size(a) for a in args])
    for on in runnable():
        theirs = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
        found = run(kernel, *theirs, nt=nt, on=on)
        assert found == record.tolist(), f"{on}: error record {found}, interpreted {record.tolist()}"
        for k, (a, b) in enumerate(zip(mine, theirs, strict=True)):
            assert equal(a, b), (
                f"{on}: {kernel.name}: {kernel.params[k].name}: {b} is not the interpreter's {a}"
            )
    return mine, record.tolist()


def equal(a: np.ndarray | int | float, b: np.ndarray | int | float) -> bool:
    """The same bits, one NaN being as good as another."""
    if not isinstance(a, np.ndarray):
        return a == b
    if a.dtype.kind != "f":
        return bool((a == b).all())
    bits = f"u{a.itemsize}"
    return bool(((a.view(bits) == b.view(bits)) | (np.isnan(a) & np.isnan(b))).all())
