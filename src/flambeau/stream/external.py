"""The recipe of the node `external`: a NumPy routine on the real buffers. It ends a native call."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

from .. import config
from ..shapes import numel
from .contraction import whole
from .program import Launch
from .recipes import recipe
from .schedule import PNode, PVal

ROUTINES: dict[str, Callable[..., Any]] = {}
WRITERS: set[str] = set()  # those that take the array of their one result, `out`, and return nothing
KINDS = {
    "b1": "?",
    "f16": "e",
    "bf16": "H",  # NumPy has no such type: routines get float32
    "f32": "f",
    "f64": "d",
    "i8": "b",
    "i16": "h",
    "i32": "i",
    "i64": "q",
    "u8": "B",
    "u16": "H",
    "u32": "I",
    "u64": "Q",
}


def routine(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Register a function of arrays and static arguments; it returns one array for each result of its node."""
    ROUTINES[fn.__name__] = fn
    return fn


def writer(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Likewise of a function that writes its result to `out`, its last argument."""
    WRITERS.add(fn.__name__)
    return routine(fn)


def arrays_of(shape: tuple[int, ...], strides: tuple[int, ...], kind: str) -> Callable[[int], Any]:
    """What makes memory at an address a NumPy array (strides in elements)."""
    import numpy as np

    d = np.dtype(kind)
    if not numel(shape):
        return lambda address: np.empty(shape, d)
    memory: Any = ctypes.c_char * ((1 + sum((n - 1) * s for n, s in zip(shape, strides))) * d.itemsize)
    steps, view = tuple(s * d.itemsize for s in strides), np.ndarray
    return lambda address: view(shape, d, memory.from_address(address), 0, steps)


def complex_arrays_of(shape: tuple[int, ...], strides: tuple[int, ...], kind: str) -> Callable[[int], Any]:
    """What makes memory of real and imaginary parts in turn a NumPy array of complex numbers."""
    return arrays_of(shape[:-1], tuple([s // 2 for s in strides[:-1]]), {"f": "F", "d": "D"}[kind])


def geometry(v: PVal) -> tuple[Any, ...]:
    """(shape, strides, NumPy's kind) of a value."""
    return v.shape, v.strides, KINDS[v.buf.dtype.short]


@recipe("external")
def external(node: PNode) -> Sequence[Launch]:
    """attrs: (name of the routine, its static arguments)."""
    from ..loop import semantics  # not at import: few programs need its tables

    name, args, *which = node.attrs
    paired: Sequence[bool] = (
        which[0] if which else (False,) * (len(node.ins) + len(node.outs))
    )  # see pairs.py
    values = [*node.ins, *[whole(b) for b in node.outs]]
    making = [(complex_arrays_of if c else arrays_of)(*geometry(v)) for v, c in zip(values, paired)]
    count = len(node.ins)
    short = [v.buf.dtype.short == "bf16" for v in values]

    def call(addresses: Sequence[int]) -> None:
        if config.backend == "null":
            return  # it runs nothing: what a routine would read are no numbers
        arrays = [make(a) for make, a in zip(making, addresses)]
        if name in WRITERS:
            ROUTINES[name](*arrays[:count], *args, arrays[count])
            return
        given = [semantics.load_bf16(a) if b else a for a, b in zip(arrays[:count], short)]
        results = ROUTINES[name](*given, *args)
        made = results if isinstance(results, tuple) else (results,)
        for out, x, b in zip(arrays[count:], made, short[count:]):
            out[...] = semantics.bits_bf16(semantics.round_bf16(x.astype("f"))) if b else x

    launch = Launch(None, lambda: None, 1, name)
    launch.bufs = [(v.buf, v.off, v.offslot) for v in values]
    launch.call = call
    return [launch]
