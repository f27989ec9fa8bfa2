"""What is set once for all calls of `save` and `load`, and questions about a file."""

from __future__ import annotations

import enum
from typing import Any

from ..errors import fail


class LoadEndianness(enum.Enum):
    """The byte order of files that do not say theirs."""

    NATIVE = 1
    LITTLE = 2
    BIG = 3


_options: dict[str, Any] = {"endianness": None, "crc32": True}


def get_default_load_endianness() -> LoadEndianness | None:
    """The byte order assumed for files that do not say theirs (None: this machine's)."""
    return _options["endianness"]


def set_default_load_endianness(endianness: LoadEndianness | None) -> None:
    """Set the byte order assumed for files that do not say theirs."""
    if endianness is not None and not isinstance(endianness, LoadEndianness):
        fail(TypeError, "set_default_load_endianness: Invalid argument type", endianness=endianness)
    _options["endianness"] = endianness


def get_crc32_options() -> bool:
    """Whether checksums are written: always."""
    return _options["crc32"]


def set_crc32_options(compute_crc32: bool) -> None:
    """Accepted for compatibility: checksums are always written."""
    _options["crc32"] = bool(compute_crc32)


def get_default_mmap_options() -> Any:
    """The flag of memory maps: private (copy on write)."""
    import mmap

    return getattr(mmap, "MAP_PRIVATE", None)


class set_default_mmap_options:
    """Accepted for compatibility: memory maps are private."""

    def __init__(self, flags: Any):
        if flags is not None and flags != get_default_mmap_options():
            fail(
                NotImplementedError, "set_default_mmap_options: only private maps are supported", flags=flags
            )

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: Any) -> None:
        pass


def get_unsafe_globals_in_checkpoint(f: Any) -> list[str]:
    """The names in a file that `load` with weights_only refuses, without loading it."""
    import os

    from .allowed import lookup
    from .archive import ArchiveReader
    from .restricted import globals_of

    if isinstance(f, (str, os.PathLike)):
        with open(f, "rb") as file:
            return get_unsafe_globals_in_checkpoint(file)
    if f.read(4) != b"PK\3\4":
        fail(
            ValueError,
            "get_unsafe_globals_in_checkpoint: Expected input to be a checkpoint returned by torch.save",
        )
    found = globals_of(ArchiveReader(f).read("data.pkl"))
    return [path for path in found if lookup(*path.rpartition(".")[::2]) is None]
