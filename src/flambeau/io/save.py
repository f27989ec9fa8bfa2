"""`save`: to a file in PyTorch's format, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from ..errors import fail
from .archive import ALIGNMENT, ArchiveWriter


def save(
    obj: Any,
    f: Any,
    pickle_module: Any = None,
    pickle_protocol: int = 2,
    _use_new_zipfile_serialization: bool = True,
    _disable_byteorder_record: bool = False,
) -> None:
    """Write obj to the path or writable binary file f; PyTorch reads the file too.

    Tensors that share a storage share it in the file; a view keeps its whole storage. A path is written beside and
    renamed when it is complete: a full disk or an interrupt leaves what was there.
    """
    if isinstance(f, (str, os.PathLike)):
        path = os.fspath(f)
        root = os.path.splitext(os.path.basename(path))[0] or "archive"
        with replacing(path) as file:
            _write(obj, file, root, pickle_protocol, _use_new_zipfile_serialization)
    elif hasattr(f, "write"):
        _write(obj, f, "archive", pickle_protocol, _use_new_zipfile_serialization)
    else:
        fail(AttributeError, "save: expected 'f' to be a path or a file with a 'write' attribute", f=type(f))


def _write(obj: Any, file: Any, root: str, protocol: int, zipped: bool) -> None:
    import io
    import sys

    from .pickler import Pickler, Storages

    if not zipped:
        from .legacy import write

        write(obj, file, protocol)
        return
    storages, stream = Storages(), io.BytesIO()
    Pickler(stream, protocol, storages).dump(obj)
    archive = ArchiveWriter(file, root)
    archive.add("data.pkl", stream.getbuffer())
    archive.add(".format_version", b"1")
    archive.add(".storage_alignment", str(ALIGNMENT).encode())
    archive.add("byteorder", sys.byteorder.encode())
    for key in range(len(storages.tensors)):
        archive.add(f"data/{key}", storages.bytes(key))
    archive.add("version", b"3\n")
    archive.close()


@contextmanager
def replacing(path: str | bytes) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` when the block ends well, and is gone when it does not."""
    target = os.path.realpath(os.fsdecode(path))
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        fail(RuntimeError, f"save: Parent directory {folder} does not exist.")
    if os.path.exists(target) and not os.path.isfile(
        target
    ):  # a pipe or a device, or a folder: its own error
        with open(target, "wb") as file:
            yield file
        return
    temporary = f"{target}.{os.getpid()}-{os.urandom(4).hex()}.part"
    file = open(temporary, "xb")  # noqa: SIM115
    try:
        with file:
            yield file
        if os.path.exists(target):
            os.chmod(temporary, os.stat(target).st_mode & 0o7777)
        os.replace(temporary, target)
    except BaseException:
        with_suppressed_removal(temporary)
        raise


def with_suppressed_removal(path: str) -> None:
    """Remove a file; an error of that is not the one to report."""
    try:
        os.remove(path)
    except OSError:
        pass
