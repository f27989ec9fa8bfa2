"""Storages and blocks whose objects are used again, as builtin functions.

What a sequence makes and nobody wants dies at the end of its flush: thousands of small objects, which the next sequence
would make anew, and whose number would bring the collector to look at all others. They wait on two lists instead."""

from __future__ import annotations

from typing import Any

from ...device.cpython import ITEMS, SIZE, TYPE, Function, Module
from ...device.memory import Block
from ...stream.value import Storage
from .cutting import references
from .recording import Offsets, allocated

MOST = 4096  # objects that wait, of each kind
STORAGES: list[Any] = []  # they have no block, no home and no stream
BLOCKS: list[Any] = []  # they have nothing


def declare(m: Module, o: dict[type, Offsets]) -> None:
    """All functions of this file but `promise`, which recording needs first."""
    give_back(m, o[Block])
    retire(m, o[Storage])
    settled(m, o[Storage])


def taken(f: Function, waiting: str, label: str) -> str:
    """The last of the objects that wait, its reference taken over; at the label if there is none."""
    left = f.whole("sub", f.load(waiting, SIZE, "i64"), 1)
    f.jump_if(f.test("slt", left, 0, "i64"), label)
    f.store(left, waiting, SIZE, "i64")
    return f.item(f.load(waiting, ITEMS), left)


def promise(m: Module, st_: Offsets) -> None:
    """promise(S, bytes): a storage that S promises, without a number; null if there is no memory for the object."""
    f = m.function("promise", "ppp")
    none, zero = f.object("None"), f.object("zero")
    st = taken(f, f.object("storages"), "none")
    for x, place in ((zero, st_.ptr), ("%a1", st_.nbytes), ("%a0", st_.pend), (zero, st_.sid)):
        f.incref(x)
        f.swap(x, st, place)
    f.ret(st)
    f.label("none")
    made = allocated(
        *(f, "Storage", (st_.ptr, zero), (st_.nbytes, "%a1"), (st_.pend, "%a0"), (st_.home, none)),
        *((st_.info, none), (st_.block, none), (st_.sid, zero)),
    )
    f.label("out")
    f.ret(made)
    f.end()


def give_back(m: Module, block_: Offsets) -> None:
    """give_back(block): its memory is free, and the object waits; the caller's reference is taken over."""
    f = m.function("give_back", "vp")
    block, blocks = "%a0", f.object("blocks")
    home, ptr = f.load(block, block_.home), f.load(block, block_.ptr)
    f.jump_if(f.test("ne", f.load(block, TYPE), f.object("Block")), "other")
    f.jump_if(f.test("ne", references(f, block), 1, "i64"), "other")
    f.jump_if(f.test("eq", home, "null"), "other")
    f.jump_if(f.test("eq", ptr, "null"), "other")
    f.jump_if(f.test("sge", f.load(blocks, SIZE, "i64"), MOST, "i64"), "other")
    f.call("PyList_Append", home, ptr)
    for place in (block_.home, block_.ptr, block_.nbytes):
        f.swap("null", block, place)
    f.call("PyList_Append", blocks, block)
    f.label("other")
    f.decref(block)
    f.ret("")
    f.end()


def retire(m: Module, st_: Offsets) -> None:
    """retire(slots): those of its storages that nobody else refers to wait; the list keeps their last references."""
    f = m.function("retire", "vp")
    slots, none, waiting = "%a0", f.object("None"), f.object("storages")
    with f.each(f.load(slots, SIZE, "i64")) as i:
        st = f.item(f.load(slots, ITEMS), i)
        f.jump_if(f.test("ne", f.load(st, TYPE), f.object("Storage")), "next")
        f.jump_if(f.test("ne", references(f, st), 1, "i64"), "next")
        f.jump_if(f.test("ne", f.load(st, Storage.__weakrefoffset__), "null"), "next")
        f.jump_if(f.test("ne", f.load(st, st_.info), none), "next")
        f.jump_if(f.test("ne", f.load(st, st_.pend), none), "next")
        f.jump_if(f.test("sge", f.load(waiting, SIZE, "i64"), MOST, "i64"), "end")
        block = f.load(st, st_.block)
        with f.when(f.test("ne", block, none)):
            f.incref(none)
            f.store(none, st, st_.block)
            f.call("give_back", block)
        f.incref(none)
        f.swap(none, st, st_.home)
        f.call("PyList_Append", waiting, st)
        f.label("next")
    f.label("end")
    f.ret("")
    f.end()


def settled(m: Module, st_: Offsets) -> None:
    """settled(slots, promised): a flush is over: what it promised has its bytes, its name table is emptied."""
    f = m.function("settled", "vpp")
    slots, promised, none = "%a0", "%a1", f.object("None")
    with f.each(f.load(promised, SIZE, "i64")) as i:
        sid = f.call("small", f.item(f.load(promised, ITEMS), i))
        f.incref(none)
        f.swap(none, f.item(f.load(slots, ITEMS), sid), st_.pend)
    f.call("retire", slots)
    f.call("PyList_SetSlice", slots, 0, f.load(slots, SIZE, "i64"), "null")
    f.ret("")
    f.end()
    f = m.function("flambeau_settle", "pppi", exported=True)
    f.call("settled", f.load("%a1"), f.load("%a1", 8))
    f.incref(f.object("None"))
    f.ret(f.object("None"))
    f.end()
