"""Cutting a sequence into the fragments that are known, as builtin functions: what stream/fragments.py does in Python.

The code of a sequence is flat: a form, then its slot numbers, ~n for one that is followed by its offset's. `survey`
looks at all of it once, `piece` finds the longest fragment from a place on and everything its program is found by."""

from __future__ import annotations

import sys

from ...device.cpython import COUNT, ITEMS, SIZE, TYPE, Function, Module
from ...stream.fragments import Node as Fragment
from ..record import Form
from .recording import Offsets

NUMBERS = 1536  # of pieces whose names would be longer Python finds the program
OPERANDS = 32  # and results of a single instruction; of more, Python finds the program
# What `piece` gives: where it stops, how many instructions, the node, the name, the slots, whether there are offsets.
STOP, LINES, NODE, NAME, LOCAL, MOVED = (8 * k for k in range(6))
MARK = 8  # two words of each slot: its last use, a mark with its number in the piece under way


def declare(m: Module, o: dict[type, Offsets]) -> None:
    """All functions of this file."""
    survey(m, o[Form])
    step(m, o[Form])
    longest(m, o[Fragment])
    number_of(m)
    alone(m, o[Form])
    moved(m, o[Form])
    cut(m, o[Form])
    piece(m)


def references(f: Function, x: str) -> str:
    """The reference count of an object."""
    if sys.version_info < (3, 12):
        return f.load(x, COUNT, "i64")
    return f.value(f"zext i32 {f.load(x, COUNT, 'i32')} to i64")


def entry(f: Function, items: str, position: str) -> tuple[str, str, str]:
    """The operand at a place of the code: (its slot, 1 if an offset follows else 0, the place after it)."""
    given = f.call("small", f.item(items, position))
    offset = f.test("slt", given, 0, "i64")
    slot = f.value(f"select i1 {offset}, i64 {f.whole('xor', given, -1)}, i64 {given}")
    more = f.value(f"zext i1 {offset} to i64")
    return slot, more, f.whole("add", position, 1)


def survey(m: Module, form_: Offsets) -> None:
    """survey(code, slots): (what it promises, the number of instructions, two words for each slot, how many of the
    instructions are of forms that stood in no sequence before)."""
    f = m.function("flambeau_survey", "pppi", exported=True)
    code, slots = f.load("%a1"), f.load("%a1", 8)
    count, items = f.load(code, SIZE, "i64"), f.at(code, ITEMS)
    names = f.load(slots, SIZE, "i64")
    table = f.call("PyByteArray_FromStringAndSize", "null", f.whole("mul", f.whole("add", names, 1), 16))
    f.jump_if(f.test("eq", table, "null"), "failed")
    words = f.call("PyByteArray_AsString", table)
    with f.each(names) as k:
        f.store("-1", words, f.whole("mul", k, 16), "i64")
        f.store("-1", words, f.whole("add", f.whole("mul", k, 16), MARK), "i64")
    promised, at, lines, fresh = f.call("PyList_New", 0), f.var("i64"), f.var("i64"), f.var("i64")
    f.label("next")
    start = f.load(at, kind="i64")
    f.jump_unless(f.test("slt", start, count, "i64"), "end")
    form = f.item(items, start)
    with f.when(f.test("eq", f.load(form, form_.fresh), f.object("True"))):
        false = f.object("False")
        f.incref(false)
        f.swap(false, form, form_.fresh)
        f.store(f.whole("add", f.load(fresh, kind="i64"), 1), fresh, kind="i64")
    f.store(f.whole("add", start, 1), at, kind="i64")
    with f.each(f.call("small", f.load(form, form_.slots))):
        slot, offset, then = entry(f, items, f.load(at, kind="i64"))
        f.store(start, words, f.whole("mul", slot, 16), "i64")
        with f.when(f.test("ne", offset, 0, "i64")):
            other = f.call("small", f.item(items, then))
            f.store(start, words, f.whole("mul", other, 16), "i64")
        f.store(f.whole("add", then, offset), at, kind="i64")
    outs = f.load(f.load(form, form_.outs), SIZE, "i64")
    first = f.whole("sub", f.load(at, kind="i64"), outs)
    with f.each(outs) as k:
        f.call("PyList_Append", promised, f.item(items, f.whole("add", first, k)))
    f.store(f.whole("add", f.load(lines, kind="i64"), 1), lines, kind="i64")
    f.jump("next")
    f.label("end")
    answer = f.call("PyTuple_New", 4)
    f.store(promised, answer, ITEMS)
    f.store(f.call("PyLong_FromSsize_t", f.load(lines, kind="i64")), answer, ITEMS + 8)
    f.store(table, answer, ITEMS + 16)
    f.store(f.call("PyLong_FromSsize_t", f.load(fresh, kind="i64")), answer, ITEMS + 24)
    f.ret(answer)
    f.label("failed")
    f.ret("null")
    f.end()


def step(m: Module, form_: Offsets) -> None:
    """step(items, at): where the instruction after the one at `at` begins."""
    f = m.function("step", "ipi")
    at = f.var("i64", f.whole("add", "%a1", 1))
    with f.each(f.call("small", f.load(f.item("%a0", "%a1"), form_.slots))):
        _, offset, then = entry(f, "%a0", f.load(at, kind="i64"))
        f.store(f.whole("add", then, offset), at, kind="i64")
    f.ret(f.load(at, kind="i64"))
    f.end()


def longest(m: Module, node_: Offsets) -> None:
    """longest(items, at, count, root, found): how many instructions the longest fragment from `at` on has; found: where
    it stops, and the node; without a fragment 1, the next instruction and null."""
    f = m.function("longest", "ipiipp")
    items, start, count, root, found = (f"%a{i}" for i in range(5))
    at, lines, best, node = f.var("i64", start), f.var("i64"), f.var("i64", "1"), f.var("ptr", root)
    f.store(f.call("step", items, start), found, kind="i64")
    f.store("null", found, 8)
    f.label("next")
    now = f.load(at, kind="i64")
    f.jump_unless(f.test("slt", now, count, "i64"), "end")
    below = f.call("PyDict_GetItemWithError", f.load(f.load(node), node_.next), f.item(items, now))
    f.jump_if(f.test("eq", below, "null"), "end")
    f.store(below, node)
    f.store(f.call("step", items, now), at, kind="i64")
    f.store(f.whole("add", f.load(lines, kind="i64"), 1), lines, kind="i64")
    with f.when(f.test("ne", f.load(below, node_.wirings), f.object("None"))):
        f.store(f.load(at, kind="i64"), found, kind="i64")
        f.store(below, found, 8)
        f.store(f.load(lines, kind="i64"), best, kind="i64")
    f.jump("next")
    f.label("end")
    f.ret(f.load(best, kind="i64"))
    f.end()


def number_of(m: Module) -> None:
    """enter(slot, words, piece, local, slots): the number of a slot in a piece, which it gets now if it has none."""
    f = m.function("enter", "iipipp")
    slot, words, piece, local, slots = (f"%a{i}" for i in range(5))
    place = f.at(words, f.whole("mul", slot, 16))
    mark, base = f.load(place, MARK, "i64"), f.whole("shl", piece, 16)
    with f.when(f.test("eq", f.whole("and", mark, -65536), base, "i64")):
        f.ret(f.whole("and", mark, 65535))
    number = f.load(local, SIZE, "i64")
    f.store(f.whole("or", base, number), place, MARK, "i64")
    f.call("PyList_Append", local, f.item(f.load(slots, ITEMS), slot))
    f.ret(number)
    f.end()


def alone(m: Module, form_: Offsets) -> None:
    """alone(items, at, slots, offsets, out): what the slots of a single instruction hold, as `units.placed` has it where
    there are no offsets, and the offset of each; nothing where Python finds the program."""
    f = m.function("alone", "vpippp")
    items, start, slots, offsets, out = (f"%a{i}" for i in range(5))
    form = f.item(items, start)
    count = f.call("small", f.load(form, form_.slots))
    f.jump_if(f.test("sgt", count, OPERANDS, "i64"), "out")
    made, at, any_ = f.call("PyList_New", 0), f.var("i64", f.whole("add", start, 1)), f.var("i64")
    with f.each(count) as k:
        slot, offset, then = entry(f, items, f.load(at, kind="i64"))
        f.call("PyList_Append", made, f.item(f.load(slots, ITEMS), slot))
        f.store("0", offsets, f.whole("mul", k, 8), "i64")
        with f.when(f.test("ne", offset, 0, "i64")):
            given = f.item(f.load(slots, ITEMS), f.call("small", f.item(items, then)))
            f.store(f.call("PyLong_AsSsize_t", given), offsets, f.whole("mul", k, 8), "i64")
            f.store("1", any_, kind="i64")
        f.store(f.whole("add", then, offset), at, kind="i64")
    with f.when(f.test("ne", f.load(f.load(form, form_.writes), SIZE, "i64"), 0, "i64")):
        held = f.load(made, ITEMS)
        with f.each(count) as i, f.each(i) as j:  # what is written may be no other operand
            f.jump_if(f.test("eq", f.item(held, i), f.item(held, j)), "odd")
    f.store(made, out, LOCAL)
    f.store(f.load(any_, kind="i64"), out, MOVED, "i64")
    f.jump("out")
    f.label("odd")
    f.decref(made)
    f.label("out")
    f.ret("")
    f.end()


def moved(m: Module, form_: Offsets) -> None:
    """moved(items, at, slots): what the slots of a single instruction hold if all tensors have an offset; owned."""
    f = m.function("moved", "ppip")
    items, start, slots = (f"%a{i}" for i in range(3))
    form, held = f.item(items, start), f.load(slots, ITEMS)
    count = f.call("small", f.load(form, form_.slots))
    operands = f.whole("sub", count, f.load(f.load(form, form_.outs), SIZE, "i64"))
    made, at = f.call("PyList_New", 0), f.var("i64", f.whole("add", start, 1))
    with f.each(count) as k:
        slot, offset, then = entry(f, items, f.load(at, kind="i64"))
        x = f.item(held, slot)
        f.call("PyList_Append", made, x)
        f.store(f.whole("add", then, offset), at, kind="i64")
        f.jump_if(f.test("sge", k, operands, "i64"), "next")
        f.jump_if(f.test("ne", f.load(x, TYPE), f.object("Storage")), "next")
        has, given = f.test("ne", offset, 0, "i64"), f.var("ptr", f.object("zero"))
        with f.when(has):
            f.store(f.item(held, f.call("small", f.item(items, then))), given)
        f.call("PyList_Append", made, f.load(given))
        f.label("next")
    f.ret(made)
    f.end()


def cut(m: Module, form_: Offsets) -> None:
    """piece(items, at, count, slots, words, root, mark, offsets, out): the piece from `at` on; out gets where it stops,
    how many instructions it has, the node of its fragment (borrowed) or null, its name and its slots (owned) or null, and
    whether a single instruction has offsets, which `offsets` gets. No two calls over the same words have the same mark."""
    f = m.function("piece", "vpiipppipp")
    items, start, count, slots, words, root, mark, offsets, out = (f"%a{i}" for i in range(9))
    found = f.var("ptr", count=2)
    lines = f.call("longest", items, start, count, root, found)
    stop, fragment = f.load(found, kind="i64"), f.load(found, 8)
    name, at, used = f.var("i16", count=NUMBERS), f.var("i64", start), f.var("i64")
    number = f.var()
    for field in (LOCAL, MOVED):
        f.store("null", out, field)
    with f.when(f.test("eq", fragment, "null")):
        f.call("alone", items, start, slots, offsets, out)
        f.jump("answer")
    f.jump_if(f.test("sgt", f.whole("sub", stop, start), NUMBERS // 2, "i64"), "answer")
    made = f.call("PyList_New", 0)
    f.store(made, out, LOCAL)
    with f.each(lines):
        form = f.item(items, f.load(at, kind="i64"))
        f.store(f.whole("add", f.load(at, kind="i64"), 1), at, kind="i64")
        all_slots = f.call("small", f.load(form, form_.slots))
        operands = f.whole("sub", all_slots, f.load(f.load(form, form_.outs), SIZE, "i64"))
        with f.each(all_slots) as k:
            slot, offset, then = entry(f, items, f.load(at, kind="i64"))
            f.jump_unless(f.test("sge", k, operands, "i64"), "operand")
            x = f.item(f.load(slots, ITEMS), slot)
            seen = f.test("sgt", references(f, x), 1, "i64")
            last = f.load(words, f.whole("mul", slot, 16), "i64")
            later = f.test("sge", last, stop, "i64")
            needed = f.value(f"zext i1 {f.value(f'or i1 {seen}, {later}')} to i64")
            append_name(f, name, used, needed)
            f.label("operand")
            k_th = f.call("enter", slot, words, mark, made, slots)
            sign = f.whole("sub", 0, offset)  # ~n of one with an offset
            append_name(f, name, used, f.whole("xor", k_th, sign))
            with f.when(f.test("ne", offset, 0, "i64")):
                other = f.call("small", f.item(items, then))
                append_name(f, name, used, f.call("enter", other, words, mark, made, slots))
            f.store(f.whole("add", then, offset), at, kind="i64")
    f.store(f.call("PyBytes_FromStringAndSize", name, f.whole("mul", f.load(used, kind="i64"), 2)), number)
    f.label("answer")
    f.store(stop, out, STOP, "i64")
    f.store(lines, out, LINES, "i64")
    f.store(fragment, out, NODE)
    f.store(f.load(number), out, NAME)
    f.ret("")
    f.end()


def piece(m: Module) -> None:
    """piece(code, at, slots, words, root): (where the piece from `at` on stops, how many instructions, the node of its
    fragment or None, its name, its slots).

    The name says which operand is which earlier result and what has to be kept: a program is found by it. None: too
    long for this function, or a single instruction, whose slots are None if it has offsets."""
    f = m.function("flambeau_piece", "pppi", exported=True)
    code, start, slots, table, root = (f.load("%a1", 8 * k) for k in range(5))
    words, out, offsets = f.call("PyByteArray_AsString", table), f.var(count=6), f.var("i64", count=OPERANDS)
    at = f.call("small", start)
    mark = f.whole("or", f.whole("shl", at, 1), 1)
    f.call("piece", f.at(code, ITEMS), at, f.load(code, SIZE, "i64"), slots, words, root, mark, offsets, out)
    with f.when(f.test("ne", f.load(out, MOVED, "i64"), 0, "i64")):
        f.decref(f.load(out, LOCAL))
        f.store("null", out, LOCAL)
    answer, fragment = f.call("PyTuple_New", 5), f.load(out, NODE)
    f.store(f.call("PyLong_FromSsize_t", f.load(out, kind="i64")), answer, ITEMS)
    f.store(f.call("PyLong_FromSsize_t", f.load(out, 8, "i64")), answer, ITEMS + 8)
    with f.when(f.test("ne", fragment, "null")):
        f.incref(fragment)
    for k in range(2, 5):
        own_or_none(f, f.load(out, 8 * k), answer, ITEMS + 8 * k)
    f.ret(answer)
    f.end()


def own_or_none(f: Function, x: str, p: str, offset: int) -> None:
    """Write the reference x (taken over), or None for null."""
    none, missing = f.object("None"), f.test("eq", x, "null")
    with f.when(missing):
        f.incref(none)
    f.store(f.value(f"select i1 {missing}, ptr {none}, ptr {x}"), p, offset)


def append_name(f: Function, name: str, used: str, x: str) -> None:
    """Append the 16 bits of a number to a name."""
    at = f.load(used, kind="i64")
    short = f.value(f"trunc i64 {x} to i16")
    place = f.value(f"getelementptr i16, ptr {name}, i64 {at}")
    f.lines.append(f"  store i16 {short}, ptr {place}, align 2")
    f.store(f.whole("add", at, 1), used, kind="i64")
