"""The recipe of the node `external`: a NumPy routine on the real buffers. It ends a native call."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from typing import Any

from .. import config
from ..shapes import numel
from .backend import current
from .contraction import whole
from .program import Launch
from .recipes import recipe
from .schedule import PNode, PVal

ROUTINES: dict[str, Callable[..., Any]] = {}
STACKED: set[str] = set()
SMALL = 32  # rows and columns of matrices up to which threads do not meet in a library that has its own
WORTH = 10000  # multiplications, about, for which a thread is worth its start
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


def of_stacks(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Likewise of a function of a stack of matrices, which does to each what it does to it alone."""
    STACKED.add(fn.__name__)
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


def shares_of(shape: tuple[int, ...]) -> int:
    """How many threads share a stack of matrices."""
    if len(shape) < 3 or max(shape[-2:]) > SMALL:
        return 1
    work = numel(shape) * min(shape[-2:])
    return min(current().get_num_threads(), shape[0], work // WORTH)


def shared_out(run: Callable[[int, int], None], count: int, shares: int) -> None:
    """run(begin, end) for all of `count` at once, in so many threads; the error is that of the first share."""
    errors: dict[int, BaseException] = {}

    def share(k: int) -> None:
        try:
            run(k * count // shares, (k + 1) * count // shares)
        except BaseException as error:
            errors[k] = error

    threads = [threading.Thread(target=share, args=(k,)) for k in range(1, shares)]
    for thread in threads:
        thread.start()
    share(0)
    for thread in threads:
        while thread.is_alive():  # an interrupt waits: they write to memory that would be given away
            try:
                thread.join()
            except BaseException as error:
                errors[-1] = error
    if errors:
        raise errors[min(errors)]


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

        def run(begin: int | None = None, end: int | None = None) -> None:
            results = ROUTINES[name](*[a[begin:end] for a in given] if end else given, *args)
            made = results if isinstance(results, tuple) else (results,)
            for out, x, b in zip(arrays[count:], made, short[count:]):
                x = semantics.bits_bf16(semantics.round_bf16(x.astype("f"))) if b else x
                if end:
                    out[begin:end] = x
                else:
                    out[...] = x

        shares = shares_of(given[0].shape) if name in STACKED else 1
        if shares > 1:
            shared_out(run, given[0].shape[0], shares)
        else:
            run()

    launch = Launch(None, lambda: None, 1, name)
    launch.bufs = [(v.buf, v.off, v.offslot) for v in values]
    launch.call = call
    return [launch]
