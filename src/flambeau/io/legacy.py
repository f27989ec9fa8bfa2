"""The format before 2020: one pickle after another, then the storages."""

from __future__ import annotations

import io
import pickle
import struct
import sys
from collections.abc import Callable
from typing import Any

from ..errors import fail

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001


def write(obj: Any, file: Any, protocol: int) -> None:
    """Write obj to a binary file."""
    from .pickler import Pickler, Storages

    sizes = {"short": 2, "int": 4, "long": 4}
    system = {"protocol_version": PROTOCOL, "little_endian": sys.byteorder == "little", "type_sizes": sizes}
    for part in (MAGIC, PROTOCOL, system):
        pickle.dump(part, file, protocol)
    storages, stream = Storages(), io.BytesIO()
    Pickler(stream, protocol, storages, legacy=True).dump(obj)
    file.write(stream.getbuffer())
    keys = range(len(storages.tensors))
    pickle.dump([str(key) for key in keys], file, protocol)
    for key in keys:
        data = storages.bytes(key)
        file.write(struct.pack("<q", len(data) // storages.tensors[key].element_size()))
        file.write(data)


class LegacyReader:
    """Reads such a file from its bytes; run(data, position, persistent_load) gives (object, new position)."""

    def __init__(self, data: bytes, run: Callable[..., Any], make_storage: Callable[..., Any]):
        self.data, self.run, self.make_storage = data, run, make_storage
        self.storages: dict[str, Any] = {}
        self.fills: dict[str, memoryview] = {}
        self.position = 0

    def _next(self, persistent_load: Callable[[Any], Any] | None = None) -> Any:
        value, self.position = self.run(self.data, self.position, persistent_load)
        return value

    def load(self) -> Any:
        """The object."""
        if self._next() != MAGIC:
            fail(RuntimeError, "load: Invalid magic number; corrupt file?")
        if (version := self._next()) != PROTOCOL:
            fail(RuntimeError, f"load: Invalid protocol version: {version}")
        little = self._next().get("little_endian", True)
        result = self._next(self._storage)
        for key in self._next():
            self._fill(str(key), little)
        if self.fills:
            fail(RuntimeError, f"load: the file ends without the storages {sorted(self.fills)}")
        return result

    def _storage(self, pid: tuple[Any, ...]) -> Any:
        kind = pid[0].decode() if isinstance(pid[0], bytes) else pid[0]
        if kind == "module":  # (module, class, source file, source): the source was for a warning
            return pid[1]
        if kind != "storage":
            fail(RuntimeError, f"load: Unknown saved id type: {kind}")
        _, type_, key, location, count, view = (*pid, None)[:6]
        if view is not None:
            fail(NotImplementedError, "load: views of storages as PyTorch 0.3 and older wrote them")
        key = str(key)
        if key not in self.storages:
            if count * type_.dtype.itemsize > len(self.data) - self.position:
                fail(RuntimeError, f"load: storage {key} claims {count} elements, more than the file has")
            self.storages[key], self.fills[key] = self.make_storage(type_, count, location)
        return self.storages[key]

    def _fill(self, key: str, little: bool) -> None:
        target = self.fills.pop(key, None)
        if target is None:
            fail(RuntimeError, f"load: storage {key} is listed but not used, or listed twice")
        start = self.position + 8
        (count,) = struct.unpack("<q" if little else ">q", self.data[self.position : start])
        storage = self.storages[key]
        if count != len(storage) or start + len(target) > len(self.data):
            fail(RuntimeError, f"load: storage {key} has {count} elements instead of {len(storage)}")
        target[:] = self.data[start : start + len(target)]
        self.position = start + len(target)
        swap(target, storage, little)


def swap(target: memoryview, storage: Any, little: bool) -> None:
    """Turn the bytes of a storage round if they were written by a machine of the other byte order."""
    if little == (sys.byteorder == "little"):
        return
    import numpy as np

    dtype = storage.dtype
    size = dtype.itemsize // (2 if dtype.is_complex else 1)
    if size > 1:
        np.frombuffer(target, f"u{size}").byteswap(inplace=True)
