"""`load`: what `save`, or PyTorch, wrote. By default nothing in the file is executed."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Any

import flambeau as torch

from ..errors import fail
from . import memory, names
from .archive import ArchiveReader
from .rebuild import GLOBALS, LoadedStorage

_DAMAGE = (
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)


def load(
    f: Any,
    map_location: Any = None,
    pickle_module: Any = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
    **pickle_load_args: Any,
) -> Any:
    """Read what is in the path or seekable binary file f, in either of PyTorch's formats.

    weights_only (the default): only tensors, containers, numbers, text and what `add_safe_globals` allows; anything
    else raises pickle.UnpicklingError naming it. False runs whatever the file asks for: only for files you trust.
    map_location: a device, a dict of devices' names, or function(storage, location) -> storage. mmap=True maps the
    file (a path) instead of reading it; writes to the tensors do not reach it.
    """
    if pickle_module is not None and weights_only:
        fail(RuntimeError, "load: Can not safely load weights when explicit pickle_module is specified")
    weights_only = pickle_module is None if weights_only is None else weights_only
    mmap = settings["mmap"] if mmap is None else mmap
    is_path = isinstance(f, (str, os.PathLike))
    if mmap and not is_path:
        fail(ValueError, "load: f must be a file name in order to use the mmap argument", f=type(f))
    if not is_path and not (hasattr(f, "seek") and hasattr(f, "tell") and hasattr(f, "read")):
        fail(
            AttributeError,
            "load: You can only torch.load from a file that is seekable. Please pre-load the data into a buffer "
            "like io.BytesIO and try to load from it instead.",
            f=type(f),
        )
    encoding = pickle_load_args.get("encoding", "utf-8")
    loader = Loader(map_location, weights_only, encoding)
    if not is_path:
        return loader.load(f, None)
    with open(f, "rb") as file:
        return loader.load(file, os.fspath(f) if mmap else None)


settings: dict[str, Any] = {"mmap": False}


class Loader:
    """One call of `load`."""

    def __init__(self, map_location: Any, weights_only: bool, encoding: str):
        self.map_location, self.weights_only, self.encoding = map_location, weights_only, encoding

    def load(self, file: Any, mapped: str | None) -> Any:
        """The object in a file; `mapped`: its path, if its storages are to be mapped."""
        start = file.tell()
        magic = file.read(4)
        file.seek(start)
        if magic == b"PK\3\4":
            if start:
                file = io.BytesIO(file.read())
            return self._load_zip(file, mapped)
        if mapped is not None:
            fail(
                RuntimeError, "load: mmap can only be used with files saved with torch.save in the zip format"
            )
        return self._load_legacy(file)

    # the two formats

    def _load_zip(self, file: Any, mapped: str | None) -> Any:
        archive = ArchiveReader(file)
        if "constants.pkl" in archive:
            fail(RuntimeError, "load: TorchScript archives cannot be loaded", "save the state_dict instead")
        little = "byteorder" not in archive or archive.read("byteorder") != b"big"
        storages: dict[str, Any] = {}
        whole = _map(mapped) if mapped is not None else None

        def persistent_load(pid: tuple[Any, ...]) -> Any:
            kind, type_, key, location, count = pid
            kind, key = (v.decode() if isinstance(v, bytes) else v for v in (kind, key))
            if kind != "storage":
                fail(RuntimeError, f"load: Unknown saved id type: {kind}")
            if key not in storages:
                storages[key] = self._read(archive, f"data/{key}", type_, count, location, little, whole)
            return storages[key]

        return self._unpickle(archive.read("data.pkl"), 0, persistent_load)[0]

    def _read(
        self, archive: Any, record: str, type_: Any, count: int, location: str, little: bool, whole: Any
    ) -> LoadedStorage:
        from .legacy import swap

        kind = _dtype_of(type_)
        nbytes = count * kind.itemsize
        if type(count) is not int or count < 0 or nbytes > archive.nbytes(record):
            fail(
                RuntimeError,
                f"load: record {record!r} has {archive.nbytes(record)} bytes, but its storage claims {count} elements "
                f"of {kind}; the file is damaged",
            )
        if isinstance(self.map_location, (str, torch.device)) and str(self.map_location) == "meta":
            return LoadedStorage(torch.empty(count, dtype=kind, device="meta"), "meta")
        start = archive.offset(record) if whole is not None and count else None
        if start is not None and little:
            part = memoryview(whole)[start : start + nbytes]
            return self._place(LoadedStorage(memory.over(part, count, kind)), location)
        base, target = memory.blank(count, kind)
        archive.read_into(record, target)
        storage = LoadedStorage(base)
        swap(target, storage, little)
        return self._place(storage, location)

    def _load_legacy(self, file: Any) -> Any:
        from .legacy import LegacyReader

        def make(type_: Any, count: int, location: str) -> tuple[Any, memoryview]:
            base, target = memory.blank(count, _dtype_of(type_))
            return self._place(LoadedStorage(base), location), target

        data = file.read()
        if data[:1] != b"\x80":
            fail(RuntimeError, "load: this is not a file that torch.save wrote", first_bytes=data[:8])
        return LegacyReader(data, self._unpickle, make).load()

    # pickles

    def _unpickle(self, data: bytes, position: int, persistent_load: Any) -> tuple[Any, int]:
        """The object in the pickle at `position`, and the position after it."""
        import pickle

        if self.weights_only:
            from .restricted import Machine

            machine = Machine(data, persistent_load or _no_storages, position, self.encoding)
            try:
                return machine.load(), machine.position
            except _DAMAGE as error:
                where = f"at byte {machine.position} of {len(data)}"
                raise pickle.UnpicklingError(
                    f"load: the pickle is damaged {where}: {type(error).__name__}: {error}"
                ) from error
        stream = io.BytesIO(data)
        stream.seek(position)
        reader = _unpickler()(stream, encoding=self.encoding)
        reader.persistent_load = persistent_load or _no_storages
        return reader.load(), stream.tell()

    # devices

    def _place(self, storage: LoadedStorage, location: Any) -> LoadedStorage:
        """The storage where map_location wants it."""
        location = location.decode() if isinstance(location, bytes) else location
        wanted = self.map_location
        if isinstance(wanted, dict):
            location = str(wanted.get(location, location))
        elif callable(wanted) and not isinstance(wanted, (str, torch.device)):
            placed = wanted(storage, location)
            if isinstance(placed, LoadedStorage):
                return placed
        elif wanted is not None:
            location = str(torch.device(wanted))
        if location.partition(":")[0] == "cpu":
            return storage
        if location == "meta":
            return LoadedStorage(torch.empty(len(storage), dtype=storage.dtype, device="meta"), location)
        fail(
            RuntimeError,
            f"load: Attempting to deserialize object on device {location!r}, which is not available. If you are "
            "running on a CPU-only machine, please use torch.load with map_location=torch.device('cpu') to map "
            "your storages to the CPU.",
        )


def _dtype_of(type_: Any) -> Any:
    if not isinstance(type_, names.StorageType):
        fail(RuntimeError, f"load: {type_!r} is not a type of storage")
    return type_.dtype


def _no_storages(pid: Any) -> Any:
    fail(RuntimeError, "load: a storage where there can be none")


def _map(path: str) -> Any:
    """The file in memory, private to this process (copy on write)."""
    import mmap

    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


_made: list[Any] = []


def _unpickler() -> Any:
    """The unpickler for files that are trusted."""
    import pickle

    if not _made:

        class Unpickler(pickle.Unpickler):
            """Finds PyTorch's names here."""

            def find_class(self, module: str, name: str) -> Any:
                """The class or function of this name."""
                if module.partition(".")[0] != "torch":
                    return super().find_class(module, name)
                return find_global(module, name)

        _made.append(Unpickler)
    return _made[0]


def find_global(module: str, name: str) -> Any:
    """What PyTorch's module.name is here; AttributeError if it is nothing."""
    known: Callable[..., Any] | None = GLOBALS.get(f"{module}.{name}")
    if known is not None:
        return known
    return names.storage_type(name) or names.found_as(module, name)
