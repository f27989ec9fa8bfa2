"""New storages and tensors, and memory for results: the definitions of what ops/builtins makes where it can."""

from __future__ import annotations

from collections.abc import Sequence
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


def furnish(slots: list[Any], wanted: Sequence[tuple[int, int, list[int] | None]]) -> None:
    """Memory for the storages in these slots: (slot, bytes, free list of such blocks)."""
    for sid, nbytes, _ in wanted:
        st = slots[sid]
        st.block = block = alloc(nbytes)
        st.ptr = block.ptr


def makers() -> dict[str, Any]:
    """fresh, furnish, holder(bytes, block, address), plain(storage, metadata, offset)."""
    return {"fresh": fresh, "furnish": furnish, "holder": Storage, "plain": make_tensor} | BUILTINS
