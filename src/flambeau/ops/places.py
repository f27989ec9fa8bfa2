"""Index checks inside the call, for indices whose bytes exist: the error comes at the user's line."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

from ..dtypes import int64
from ..errors import fail
from ..stream.value import LOCAL, Tensor
from .rules import check_fits

LIMIT = 1 << 16  # indices with more elements are checked by the kernel alone

FLOATS = ("float32", "float64")
BUILTINS: dict[str, Any] = {}  # "within", once there is one of generated code


def there(t: Any) -> bool:
    """Whether a tensor has elements, not too many, whose bytes exist and are not written by what is recorded."""
    if not isinstance(t, Tensor):
        return False
    st, n, S = t._st, t._meta.numel, LOCAL.s
    written = st.home is S.slots and st.sid in S.written
    return st.pend is None and 0 < n <= LIMIT and not written and bool(st.ptr)


def known(t: Any, floats: bool = False) -> Any:
    """The values of an integer tensor (floats: or a float one) as a NumPy array if nothing must run for it, else None."""
    if not there(t):
        return None
    st, meta = t._st, t._meta
    if meta.dtype.name not in FLOATS[: 2 * floats] and meta.dtype.is_floating_point:
        return None
    import numpy as np

    size = meta.dtype.itemsize
    span = 1 + sum((n - 1) * s for n, s in zip(meta.shape, meta.strides))
    flat = np.frombuffer((ctypes.c_char * (span * size)).from_address(st.ptr + t._off * size), meta.dtype.np)
    if meta.contiguous:
        return flat
    return np.lib.stride_tricks.as_strided(flat, tuple(meta.shape), [s * size for s in meta.strides])


def at_hand(t: Any, floats: bool = False) -> Any:
    """As `known`, for a decision that holds for this call alone: None where the call is captured for others."""
    return known(t, floats) if LOCAL.s.capture is None else None


def check(name: str, index: Any, extent: int, dim: int, exc: type[Exception], negative: bool = False) -> None:
    """Every element of a known index is in range, else an error with the value, its position and the range."""
    if not there(index):
        return
    low, meta, within = -extent if negative else 0, index._meta, BUILTINS.get("within")
    if not meta.contiguous or meta.dtype is not int64:
        within = None
    if within is not None and within(index._st.ptr + 8 * index._off, meta.numel, low, extent - 1):
        return
    if "numpy" not in sys.modules and meta.contiguous and meta.dtype is int64:
        values = (ctypes.c_int64 * meta.numel).from_address(index._st.ptr + 8 * index._off)[:]
        if min(values) >= low and max(values) < extent:
            return  # a tenth of a second for a program that needs no NumPy otherwise
    a = known(index)
    if a is None:
        return
    if a.min() >= low and a.max() < extent:
        return
    import numpy as np

    flat = np.asarray(a).reshape(-1)
    at = int(np.argmax((flat < low) | (flat >= extent)))
    fail(
        exc,
        f"{name}: index {int(flat[at])} is out of bounds for dimension {dim} with size {extent} (index out of range in self); got "
        f"{int(flat[at])} at position {at}; valid values are in the range [{low}, {extent - 1}]",
    )


def along(name: str, exc: type[Exception], negative: bool = False, number: bool = False) -> Any:
    """The check of an op (self, dim, index, ...). number: the next argument may be a number that is written."""

    def run(self: Any, dim: Any, index: Any, *rest: Any) -> None:
        if number:
            check_fits(self.dtype, rest[0])
        if not isinstance(index, Tensor) or not isinstance(dim, int):
            return
        shape = self.shape
        rank = max(len(shape), 1)
        if -rank <= dim < rank:
            check(name, index, shape[dim] if shape else 1, dim % rank, exc, negative)

    return run


def distinct(name: str, dest: Any) -> None:
    """RuntimeError if several elements of what is to be written, of which `dest` has shape and strides, share a place."""
    if 0 not in dest.shape and 0 in [s for s, n in zip(dest.strides, dest.shape) if n > 1]:
        fail(
            RuntimeError,
            f"{name}: unsupported operation: more than one element of the written-to tensor refers to a single memory location. "
            "Please clone() the tensor before performing the operation.",
        )


def apart(name: str, out: Any, *inputs: Any) -> None:
    """RuntimeError if a result is to be written over an input, or several elements of it to one place."""
    if out is None:
        return
    distinct(name, out._meta)
    from ..shapes import extent_bytes

    for t in inputs:
        if isinstance(t, Tensor) and t._st is out._st and t._meta.numel and out._meta.numel:
            a, b = t._meta, out._meta
            if t._off < extent_bytes(b.shape, b.strides, out._off) and out._off < extent_bytes(
                a.shape, a.strides, t._off
            ):
                fail(
                    RuntimeError,
                    f"{name}: unsupported operation: some elements of the input tensor and the written-to tensor refer to a single memory "
                    "location. Please clone() the tensor before performing the operation.",
                )
