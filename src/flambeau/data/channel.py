"""How batches come from a worker: small things through a pipe, the elements of arrays through shared memory.

A slot is an anonymous file that both processes map. The worker writes a batch into a free slot, the loader copies it
into tensors of its own at once, and says with the next task that the slot is free again: pages are touched once, and
nothing is left behind whatever dies.
"""

from __future__ import annotations

import mmap
import os
import pickle
import struct
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np

import flambeau as torch

from ..io import memory

SMALL = 2048  # bytes that go through the pipe itself
_ALIGN = 64
_HEAD = struct.Struct("<iQI")  # slot (-1: none), bytes of the pickle, number of arrays


class _Pickler(pickle.Pickler):
    """Takes the elements of tensors and arrays out of the pickle."""

    def __init__(self, file: Any):
        super().__init__(file, 5, buffer_callback=self._outside)
        self.arrays: list[Any] = []
        self._ours: list[pickle.PickleBuffer] = []

    def _outside(self, buffer: pickle.PickleBuffer) -> bool:
        return not any(buffer is mine for mine in self._ours[-1:])  # True keeps it inside the pickle

    def reducer_override(self, obj: Any) -> Any:
        """Tensors and arrays as (function, type, shape, elements)."""
        kind = type(obj)
        if kind is torch.Tensor or (isinstance(obj, torch.Tensor) and kind is torch.nn.Parameter):
            name, shape = str(obj.dtype).removeprefix("torch."), tuple(obj.shape)
            elements = self._add(memory.array_of(obj))
            return _tensor, (name, shape, bool(obj.requires_grad), kind is not torch.Tensor, elements)
        if kind is np.ndarray and not obj.dtype.hasobject:
            return _array, (obj.dtype, obj.shape, self._add(obj))
        return NotImplemented

    def _add(self, array: Any) -> pickle.PickleBuffer:
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        self.arrays.append(flat)
        self._ours.append(pickle.PickleBuffer(flat))
        return self._ours[-1]


def _tensor(name: str, shape: tuple[int, ...], grad: bool, parameter: bool, elements: Any) -> Any:
    count = 1
    for n in shape:
        count *= n
    base, raw = memory.blank(count, getattr(torch, name))
    raw[:] = memoryview(elements)
    tensor = memory.shaped(base, shape)
    return torch.nn.Parameter(tensor, grad) if parameter else tensor.requires_grad_(grad) if grad else tensor


def _array(dtype: Any, shape: tuple[int, ...], elements: Any) -> Any:
    return np.frombuffer(bytearray(elements), dtype).reshape(shape)


def _offsets(sizes: Sequence[int]) -> list[int]:
    """Where each part of a message begins, and where the last ends."""
    out, at = [], 0
    for size in sizes:
        at = -(-at // _ALIGN) * _ALIGN
        out.append(at)
        at += size
    return [*out, at]


class Slots:
    """Anonymous files, made before the fork; `free` is the worker's list."""

    def __init__(self, count: int):
        self.files = [_anonymous_file() for _ in range(count)]
        self.maps: list[mmap.mmap | None] = [None] * count
        self.free = list(range(count))

    def room(self, slot: int, nbytes: int) -> memoryview:
        """The memory of a slot, made larger if it has to be."""
        mapped, file = self.maps[slot], self.files[slot]
        if mapped is None or len(mapped) < nbytes:
            if os.fstat(file).st_size < nbytes:
                size = -(-(nbytes + nbytes // 8) // mmap.PAGESIZE) * mmap.PAGESIZE
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file, 0, size)  # a full memory is an error here, not a bus error later
                else:
                    os.ftruncate(file, size)
            mapped = self.maps[slot] = mmap.mmap(file, os.fstat(file).st_size)
        return memoryview(mapped)[:nbytes]

    def close(self) -> None:
        """Give the files back."""
        while self.files:
            os.close(self.files.pop())
        self.maps = []


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("flambeau-batch")
    import tempfile

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def send(pipe: Any, message: Any, slots: Slots | None = None) -> None:
    """Send a message; large ones through a free slot if there is one."""
    stream = BytesIO()
    pickler = _Pickler(stream)
    pickler.dump(message)
    parts: list[Any] = [stream.getbuffer(), *pickler.arrays]
    sizes = [len(part) for part in parts]
    offsets = _offsets(sizes)
    slot = slots.free.pop() if slots is not None and offsets[-1] > SMALL and slots.free else -1
    head = _HEAD.pack(slot, sizes[0], len(parts) - 1) + struct.pack(f"<{len(parts) - 1}Q", *sizes[1:])
    if slot >= 0 and slots is not None:
        try:
            target = slots.room(slot, offsets[-1])
        except OSError as error:
            slots.free.append(slot)
            raise MemoryError(f"no shared memory for a batch of {offsets[-1]} bytes: {error}") from error
    else:
        target = memoryview(bytearray(offsets[-1]))
    for part, size, at in zip(parts, sizes, offsets):
        target[at : at + size] = memoryview(part)
    pipe.send_bytes(head if slot >= 0 else head + target)


def receive(pipe: Any, slots: Slots | None = None) -> tuple[Any, int]:
    """The next message and the slot it came in (-1: none), now free again. EOFError: the sender is gone."""
    data = memoryview(pipe.recv_bytes())
    slot, first, count = _HEAD.unpack_from(data)
    sizes = [first, *struct.unpack_from(f"<{count}Q", data, _HEAD.size)]
    offsets = _offsets(sizes)
    body = slots.room(slot, offsets[-1]) if slot >= 0 and slots else data[_HEAD.size + 8 * count :]
    parts = [body[at : at + size] for size, at in zip(sizes, offsets)]
    return pickle.loads(parts[0], buffers=parts[1:]), slot


def capacity(pipe: Any) -> int:
    """Bytes that a pipe holds before a send waits."""
    try:
        import fcntl

        return fcntl.fcntl(pipe.fileno(), fcntl.F_GETPIPE_SZ)
    except (ImportError, AttributeError, OSError):
        return 4096
