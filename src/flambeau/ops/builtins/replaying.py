"""Storages and the memory of results as builtin functions, for replays and for programs.

The definitions in Python, stream/storages.py, serve where there are no builtins and where no memory is cached."""

from __future__ import annotations

from ...device.cpython import ITEMS, SIZE, Function, Module
from ...device.memory import Block
from ...stream.value import Storage
from .recording import Offsets, allocated
from .retiring import taken


def declare(m: Module, o: dict[type, Offsets]) -> None:
    """All functions of this file."""
    new_storage(m, o[Storage])
    new_block(m, o[Block])
    fresh(m, o[Block])
    free(m, o[Block])
    give(m, o[Storage], o[Block])
    furnish(m)
    holder(m)
    plain(m)


def new_storage(m: Module, st_: Offsets) -> None:
    """storage(bytes, block, address): one that has its memory; null if there is none for the object."""
    f = m.function("storage", "pppp")
    none = f.object("None")
    st = allocated(
        *(f, "Storage", (st_.nbytes, "%a0"), (st_.block, "%a1"), (st_.ptr, "%a2"), (st_.pend, none)),
        *((st_.home, none), (st_.info, none), (st_.sid, f.object("minus one"))),
    )
    f.label("out")
    f.ret(st)
    f.end()


def new_block(m: Module, block_: Offsets) -> None:
    """cached(free list, bytes): a block of the list; null, without an error, if it is empty."""
    f = m.function("cached", "ppp")
    home, nbytes = "%a0", "%a1"
    f.jump_if(f.test("eq", f.load(home, SIZE, "i64"), 0, "i64"), "empty")
    block_of = f.var()
    f.store(taken(f, f.object("blocks"), "new"), block_of)
    f.jump("fill")
    f.label("new")
    made = f.call("PyType_GenericAlloc", f.object("Block"), 0)
    f.jump_if(f.test("eq", made, "null"), "failed")
    f.call("PyObject_GC_UnTrack", made)  # it refers to numbers only: the collector has nothing to find
    f.store(made, block_of)
    f.label("fill")
    block = f.load(block_of)
    f.keep(nbytes, block, block_.nbytes)
    left = f.whole("sub", f.load(home, SIZE, "i64"), 1)  # making an object may have collected garbage
    f.jump_if(f.test("slt", left, 0, "i64"), "taken")
    f.store(left, home, SIZE, "i64")
    f.store(f.item(f.load(home, ITEMS), left), block, block_.ptr)  # the list's reference
    f.keep(home, block, block_.home)
    f.ret(block)
    f.label("taken")  # a block without memory: its finaliser puts None on a list that nobody reads
    f.keep(f.object("None"), block, block_.ptr)
    f.store(f.call("PyList_New", 0), block, block_.home)
    f.decref(block)
    f.jump("empty")
    f.label("failed")
    f.call("PyErr_Clear")
    f.label("empty")
    f.ret("null")
    f.end()


def fresh(m: Module, block_: Offsets) -> None:
    """flambeau_fresh(free list, bytes of the block, bytes of the storage): a storage of a cached block."""
    f = m.function("flambeau_fresh", "pppi", exported=True)
    args, n = "%a1", "%a2"
    home, nbytes, size = (f.item(args, i) for i in range(3))
    block = f.call("cached", home, nbytes)
    f.jump_if(f.test("eq", block, "null"), "odd")
    st = f.call("storage", size, block, f.load(block, block_.ptr))
    f.decref(block)
    f.ret(st)
    f.label("odd")
    f.ret(f.call("PyObject_Vectorcall", f.object("python fresh"), args, n, "null"))
    f.end()


def free(m: Module, block_: Offsets) -> None:
    """flambeau_free(block): its finaliser, `Block.__del__`."""
    f = m.function("flambeau_free", "ppp", exported=True)
    home, ptr, none = f.load("%a0", block_.home), f.load("%a0", block_.ptr), f.object("None")
    unmade = f.value(
        f"or i1 {f.test('eq', home, 'null')}, {f.test('eq', ptr, 'null')}"
    )  # an interrupt came between
    f.jump_if(unmade, "out")
    f.call("PyList_Append", home, ptr)
    f.label("out")
    f.incref(none)
    f.ret(none)
    f.end()


def settle(f: Function, st: str, st_: Offsets, block: str, block_: Offsets) -> None:
    """A storage lies in a block, whose reference it takes."""
    ptr = f.load(block, block_.ptr)
    f.incref(ptr)
    f.swap(ptr, st, st_.ptr)
    f.swap(block, st, st_.block)


def give(m: Module, st_: Offsets, block_: Offsets) -> None:
    """give(slots, ((slot, bytes, free list or None), ...)): these storages have memory; 0: an exception."""
    f = m.function("give", "ipp")
    slots, wanted = "%a0", "%a1"
    none, block_of = f.object("None"), f.var()
    with f.each(f.load(wanted, SIZE, "i64")) as k:
        one = f.item(f.at(wanted, ITEMS), k)
        nbytes, home = f.load(one, ITEMS + 8), f.load(one, ITEMS + 16)
        st = f.item(slots, f.call("small", f.load(one, ITEMS)))
        f.store("null", block_of)
        with f.when(f.test("ne", home, none)):
            f.store(f.call("cached", home, nbytes), block_of)
        with f.when(f.test("eq", f.load(block_of), "null")):
            f.store(f.invoke(f.object("alloc"), nbytes), block_of)
            f.jump_if(f.test("eq", f.load(block_of), "null"), "failed")
        block = f.load(block_of)
        settle(f, st, st_, block, block_)
    f.ret(1)
    f.label("failed")
    f.ret(0)
    f.end()


def furnish(m: Module) -> None:
    """flambeau_furnish(slots, wanted): as `give`; None."""
    f = m.function("flambeau_furnish", "pppi", exported=True)
    given = f.call("give", f.load(f.load("%a1"), ITEMS), f.load("%a1", 8))
    with f.when(f.test("eq", given, 0, "i64")):
        f.ret("null")
    none = f.object("None")
    f.incref(none)
    f.ret(none)
    f.end()


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
