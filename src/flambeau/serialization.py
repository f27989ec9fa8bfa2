"""torch.serialization: saving, loading, and what may be in a file."""

from collections.abc import Callable
from typing import Any, TypeAlias

from .io import load, save
from .io.allowed import add_safe_globals, clear_safe_globals, get_safe_globals, safe_globals
from .io.options import (
    LoadEndianness,
    get_crc32_options,
    get_default_load_endianness,
    get_default_mmap_options,
    get_unsafe_globals_in_checkpoint,
    set_crc32_options,
    set_default_load_endianness,
    set_default_mmap_options,
)

MAP_LOCATION: TypeAlias = Callable[[Any, str], Any] | dict[str, str] | str | None

__all__ = [
    "LoadEndianness",
    "add_safe_globals",
    "clear_safe_globals",
    "get_crc32_options",
    "get_default_load_endianness",
    "get_default_mmap_options",
    "get_safe_globals",
    "get_unsafe_globals_in_checkpoint",
    "load",
    "safe_globals",
    "save",
    "set_crc32_options",
    "set_default_load_endianness",
    "set_default_mmap_options",
]
