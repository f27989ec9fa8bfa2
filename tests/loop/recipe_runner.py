"""Running planned kernels on NumPy arrays, natively and in the interpreter."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from flambeau.codegen import engine
from flambeau.loop import interp, ir

FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
NUMPY = {"f32": np.float32, "f64": np.float64, "i32": np.int32, "i64": np.int64, "u8": np.uint8}


class Machine(NamedTuple):
    """A target, as far as the planners look."""

    vector_bits: int
    triple: str = "x86_64"
    caches: tuple[int, int, int] = (32 << 10, 512 << 10, 8 << 20)
    bf16: bool = False


WIDE, NARROW, SMALL = Machine(512), Machine(256), Machine(128, "aarch64")


def strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Row-major strides in elements."""
    out = [1]
    for n in reversed(shape[1:]):
        out.insert(0, out[0] * n)
    return tuple(out)


def elements(a: np.ndarray) -> tuple[int, ...]:
    """The strides of an array in elements."""
    return tuple(s // a.itemsize for s in a.strides)


def extent(p: ir.Buf, a: np.ndarray) -> int:
    """How many elements of the buffer's type lie between the first and the last of an array."""
    return (
        (sum((n - 1) * s for n, s in zip(a.shape, a.strides)) + a.itemsize) // ir.SIZE[p.type]
        if a.size
        else 0
    )


def run(
    kernel: ir.Kernel,
    params: Sequence[tuple[str, int | None]],
    buffers: dict[str, np.ndarray],
    nt: int = 1,
    interpreted: bool = False,
) -> None:
    """All parts of a kernel; buffers by name."""
    record = np.zeros(4, np.int64)
    values = [record.ctypes.data]
    values += [buffers[name].ctypes.data if value is None else value for name, value in params]
    table, where = np.array(values, np.int64), np.arange(1, len(values), dtype=np.int32)
    if interpreted:
        sizes = [
            0 if value is not None else extent(p, buffers[name])
            for p, (name, value) in zip(kernel.params, params)
        ]
        for tid in range(nt):
            interp.interpret(kernel, table, where.tolist(), tid, nt, sizes)
        return
    call = native(kernel)
    for tid in range(nt):
        call(table.ctypes.data, where.ctypes.data, tid, nt)


def native(kernel: ir.Kernel) -> Callable[..., None]:
    """The compiled kernel."""
    return FUNCTION(engine.compile_kernels([kernel])[0])


def bits(a: np.ndarray) -> bytes:
    """What two equal results share."""
    return np.ascontiguousarray(a).tobytes()


def random(rng: np.random.Generator, shape: Sequence[int], dtype: str) -> np.ndarray:
    """Normal floats, small integers."""
    if dtype[0] == "f":
        return rng.standard_normal(shape).astype(NUMPY[dtype])
    return rng.integers(0 if dtype[0] == "u" else -50, 50, shape).astype(NUMPY[dtype])
