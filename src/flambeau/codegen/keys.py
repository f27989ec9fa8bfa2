"""What machine code depends on, as digests: the names of entries in the disk cache."""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path

from .target import Target

_PACKAGE = Path(__file__).parents[1]
# The source of everything that decides what code is made of a kernel, and what kernel is made of a launch's key.
OF_KERNELS = ("codegen", "loop/ir.py")
OF_LAUNCHES = ("codegen", "loop", "stream")


@functools.cache
def version(parts: tuple[str, ...]) -> str:
    """A digest of source files; of chance where there are none: nothing on disk may be taken for this version's."""
    digest = hashlib.sha256()
    for part in parts:
        path = _PACKAGE / part
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            try:
                digest.update(file.read_bytes())
            except OSError:
                digest.update(os.urandom(32))
    return digest.hexdigest()


def digest(kind: str, text: str, on: Target, parts: tuple[str, ...] = OF_KERNELS) -> str:
    """The name of what is made of a text for a target."""
    import llvmlite

    fields = (kind, version(parts), llvmlite.__version__, on.key(), text)
    return hashlib.sha256("\0".join(fields).encode()).hexdigest()
