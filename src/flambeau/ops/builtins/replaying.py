"""What a replay makes at the end of a captured call, as builtin functions: storages of new memory, tensors of them.

The definitions in Python are in replay/emit.py; they serve where there are no builtins, and where no memory is cached."""

from __future__ import annotations

from ...device.cpython import ITEMS, SIZE, Function, Module
from .recording import Offsets


def new_storage(m: Module, st_: Offsets) -> None:
    """storage(bytes, block, address): one that has its memory; null if there is none for the object."""
    f = m.function("storage", "pppp")
    st = f.call("PyType_GenericAlloc", f.object("Storage"), 0)
    f.jump_if(f.test("eq", st, "null"), "out")
    none = f.object("None")
    for at, x in (
        *((st_.nbytes, "%a0"), (st_.block, "%a1"), (st_.ptr, "%a2"), (st_.pend, none), (st_.home, none)),
        *((st_.info, none), (st_.sid, f.object("minus one"))),
    ):
        f.keep(x, st, at)
    f.label("out")
    f.ret(st)
    f.end()


def fresh(m: Module, block_: Offsets) -> None:
    """flambeau_fresh(free list, bytes of the block, bytes of the storage): a storage of a cached block."""
    f = m.function("flambeau_fresh", "pppi", exported=True)
    args, n = "%a1", "%a2"
    home, nbytes, size = (f.item(args, i) for i in range(3))
    count = f.load(home, SIZE, "i64")
    f.jump_if(f.test("eq", count, 0, "i64"), "odd")
    block = f.call("PyType_GenericAlloc", f.object("Block"), 0)
    f.jump_if(f.test("eq", block, "null"), "failed")
    left = f.whole("sub", f.load(home, SIZE, "i64"), 1)  # making an object may have collected garbage
    f.jump_if(f.test("slt", left, 0, "i64"), "taken")
    ptr = f.item(f.load(home, ITEMS), left)
    f.store(left, home, SIZE, "i64")
    f.store(ptr, block, block_.ptr)  # the list's reference
    f.keep(nbytes, block, block_.nbytes)
    f.keep(home, block, block_.home)
    st = f.call("storage", size, block, ptr)
    f.decref(block)
    f.ret(st)
    f.label("taken")
    drop_empty(f, block, block_)
    f.label("odd")
    f.ret(f.call("PyObject_Vectorcall", f.object("python fresh"), args, n, "null"))
    f.label("failed")
    f.ret("null")
    f.end()


def drop_empty(f: Function, block: str, block_: Offsets) -> None:
    """Let go of a block without memory: its finaliser puts None on a list that nobody reads."""
    f.keep(f.object("None"), block, block_.ptr)
    f.keep(f.object("None"), block, block_.nbytes)
    f.store(f.call("PyList_New", 0), block, block_.home)
    f.decref(block)


def holder(m: Module) -> None:
    """flambeau_holder(bytes, block, address): a storage of a block."""
    f = m.function("flambeau_holder", "pppi", exported=True)
    f.ret(f.call("storage", *[f.item("%a1", i) for i in range(3)]))
    f.end()


def plain(m: Module) -> None:
    """flambeau_plain(storage, metadata, offset): a tensor without history."""
    f = m.function("flambeau_plain", "pppi", exported=True)
    f.ret(f.call("tensor", *[f.item("%a1", i) for i in range(3)]))
    f.end()
