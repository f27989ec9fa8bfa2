"""New storages and tensors of a replay: the definitions of what ops/builtins makes where it can."""

from __future__ import annotations

from typing import Any

from ..device.memory import Block, alloc
from .value import Storage, make_tensor

BUILTINS: dict[str, Any] = {}  # those of generated code, once they are made


def fresh(home: list[int], nbytes: int, size: int) -> Storage:
    """A storage of `size` bytes in a block of nbytes from its free list."""
    try:
        block = Block(home.pop(), nbytes, home)
    except IndexError:
        block = alloc(nbytes)
    return Storage(size, block, block.ptr)


def makers() -> dict[str, Any]:
    """fresh(free list, bytes of the block, bytes), holder(bytes, block, address), plain(storage, metadata, offset)."""
    return {"fresh": fresh, "holder": Storage, "plain": make_tensor} | BUILTINS
