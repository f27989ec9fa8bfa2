"""The recipe of the node `external`: a NumPy routine on the real buffers. It ends a native call."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

from ..shapes import numel
from .contraction import whole
from .program import Launch
from .recipes import recipe
from .schedule import PNode, PVal

ROUTINES: dict[str, Callable[..., Any]] = {}
KINDS = {
    "b1": "?",
    "f16": "e",
    "f32": "f",
    "f64": "d",
    "i8": "b",
    "i16": "h",
    "i32": "i",
    "i64": "q",
    "u8": "B",
}


def routine(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Register a function of arrays and static arguments; it returns one array for each result of its node."""
    ROUTINES[fn.__name__] = fn
    return fn


def array(address: int, shape: tuple[int, ...], strides: tuple[int, ...], kind: str) -> Any:
    """Memory as a NumPy array (strides in elements)."""
    import numpy as np

    d = np.dtype(kind)
    if not numel(shape):
        return np.empty(shape, d)
    count = 1 + sum((n - 1) * s for n, s in zip(shape, strides))
    memory = (ctypes.c_char * (count * d.itemsize)).from_address(address)
    return np.ndarray(shape, d, memory, 0, tuple(s * d.itemsize for s in strides))


def geometry(v: PVal) -> tuple[Any, ...]:
    """(shape, strides, NumPy's kind) of a value."""
    return v.shape, v.strides, KINDS[v.buf.dtype.short]


@recipe("external")
def external(node: PNode) -> Sequence[Launch]:
    """attrs: (name of the routine, its static arguments)."""
    name, args = node.attrs
    values = [*node.ins, *[whole(b) for b in node.outs]]
    places = [geometry(v) for v in values]
    count = len(node.ins)

    def call(addresses: Sequence[int]) -> None:
        arrays = [array(a, *place) for a, place in zip(addresses, places)]
        results = ROUTINES[name](*arrays[:count], *args)
        for out, made in zip(arrays[count:], results if isinstance(results, tuple) else (results,)):
            out[...] = made

    launch = Launch(None, lambda: None, 1, name)
    launch.bufs = [(v.buf, v.off, v.offslot) for v in values]
    launch.call = call
    return [launch]
