"""The bytes of tensors: read them, make tensors of them. Only host memory."""

from __future__ import annotations

import ctypes
from typing import Any

from ..device import memory
from ..dtypes import dtype
from ..stream.access import pointer
from ..stream.value import Storage, StorageInfo, Tensor, fresh_meta, intern_meta, make_tensor


def blank(count: int, kind: dtype) -> tuple[Tensor, memoryview]:
    """A new 1-d tensor of undefined contents and its bytes, to be filled at once."""
    nbytes = count * kind.itemsize
    block = memory.alloc(nbytes)
    return make_tensor(Storage(nbytes, block, block.ptr), fresh_meta((count,), kind)), _view(
        block.ptr, nbytes
    )


def over(buffer: Any, count: int, kind: dtype) -> Tensor:
    """A 1-d tensor over the memory of a writable buffer, which it keeps alive."""
    pointer = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
    storage = Storage(count * kind.itemsize, buffer, pointer)
    storage.info = StorageInfo()
    storage.info.owner, storage.info.resizable = buffer, False
    return make_tensor(storage, fresh_meta((count,), kind))


def alias(base: Tensor, size: Any, stride: Any, offset: int, kind: dtype | None = None) -> Tensor:
    """A tensor of its own (not a view) on the storage of base; `kind`: its dtype, if not that of base."""
    meta = intern_meta(tuple(size), tuple(stride), kind or base._meta.dtype, base._meta.device)
    return make_tensor(base._st, meta, offset)


def shaped(base: Any, shape: tuple[int, ...]) -> Any:
    """A contiguous tensor of this shape on the storage of the 1-d tensor base."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return alias(base, shape, tuple(reversed(strides)), 0)


def storage_of(t: Tensor) -> tuple[Any, int]:
    """What is the same object for all tensors that share t's storage, and the bytes of the storage."""
    return t._st, t._st.nbytes


def storage_bytes(t: Tensor) -> memoryview:
    """All bytes of t's storage, as of now; valid while t lives."""
    first = pointer(t) - t._off * t._meta.dtype.itemsize
    return _view(first, t._st.nbytes)


def array_of(t: Tensor) -> Any:
    """The elements of t as a NumPy array over its memory, to be read at once (bfloat16 as uint16)."""
    import numpy as np

    meta, size = t._meta, t._meta.dtype.itemsize
    kind = meta.dtype.np or np.dtype(np.uint16 if size == 2 else f"V{size}")
    if not meta.numel:
        return np.empty(tuple(meta.shape), kind)
    return np.ndarray(
        tuple(meta.shape),
        kind,
        storage_bytes(t),
        t._off * size,
        [stride * size for stride in meta.strides],
    )


def _view(pointer: int, nbytes: int) -> memoryview:
    if not nbytes:
        return memoryview(bytearray())
    return memoryview((ctypes.c_char * nbytes).from_address(pointer)).cast("B")
