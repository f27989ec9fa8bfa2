"""Running programs as builtin functions: memory for results, the table, the native call, piece after piece.

The definitions in Python are `run` and `run_pieces` of stream/program.py and stream/flush.py. They take every program
that is not ready (see `filling.prepare`) and every case that is not the usual one: that is what `odd` stands for."""

from __future__ import annotations

from ...device.cpython import ITEMS, SIZE, TYPE, Function, Module
from ...device.native import FRAME_TABLE
from ...stream.filling import HEAD, POINTER
from .cutting import LINES, LOCAL, MOVED, NAME, NODE, OPERANDS, STOP, entry, references
from .recording import Offsets

# What `ready` holds (filling.prepare), and the words of its specification.
SPEC, IDLE, RUN, WANTED, ARENA, HOME = (ITEMS + 8 * k for k in range(6))
POINTERS, FLOATS, WHOLES, TAIL, LAUNCHES, FRAMED, QUICK = (8 * k for k in range(HEAD))
DONE, ODD, FAILED = 0, 1, 2


def number(f: Function, x: str) -> str:
    """A Python integer; at the label `odd` if it is none of 64 bits."""
    found = f.call("PyLong_AsSsize_t", x)
    with f.when(f.test("eq", found, -1, "i64")):
        f.jump_if(f.test("ne", f.call("PyErr_Occurred"), "null"), "odd")
    return found


def fill(m: Module, st_: Offsets) -> None:
    """fill_table(table, specification, slots, arena): addresses, floats, whole numbers and constants; 1 if Python has to."""
    f = m.function("fill_table", "ipppp")
    spec, slots, arena = "%a1", "%a2", "%a3"
    table, at = f.var("ptr", f.at("%a0", 8)), f.var("ptr", f.at(spec, 8 * HEAD))

    def next_word() -> str:
        p = f.load(at)
        f.store(f.at(p, 8), at)
        return f.load(p, kind="i64")

    def put(x: str, kind: str = "i64") -> None:
        to = f.load(table)
        f.store(x, to, kind=kind)
        f.store(f.at(to, 8), table)

    with f.each(f.load(spec, POINTERS, "i64")):
        p, address = f.load(at), f.var("i64", f.value(f"ptrtoint ptr {arena} to i64"))
        f.store(f.at(p, 8 * POINTER), at)
        slot, off, index, scale = (f.load(p, 8 * k, "i64") for k in range(POINTER))
        with f.when(f.test("sge", slot, 0, "i64")):
            st = f.item(slots, slot)
            f.jump_if(f.test("ne", f.load(st, TYPE), f.object("Storage")), "odd")
            f.store(number(f, f.load(st, st_.ptr)), address, kind="i64")
        f.store(f.whole("add", f.load(address, kind="i64"), off), address, kind="i64")
        with f.when(f.test("sge", index, 0, "i64")):
            moved = f.whole("mul", number(f, f.item(slots, index)), scale)
            f.store(f.whole("add", f.load(address, kind="i64"), moved), address, kind="i64")
        put(f.load(address, kind="i64"))
    with f.each(f.load(spec, FLOATS, "i64")):
        x = f.call("PyFloat_AsDouble", f.item(slots, next_word()))
        with f.when(f.value(f"fcmp oeq double {x}, -1.0")):
            f.jump_if(f.test("ne", f.call("PyErr_Occurred"), "null"), "odd")
        put(x, "double")
    with f.each(f.load(spec, WHOLES, "i64")):
        put(number(f, f.item(slots, next_word())))
    with f.each(f.load(spec, TAIL, "i64")):
        put(next_word())
    f.ret(0)
    f.label("odd")
    f.ret(1)
    f.end()


def popped(f: Function, home: str, otherwise: str) -> str:
    """The last element of a list, its reference taken over; at the label `otherwise` if there is none."""
    left = f.whole("sub", f.load(home, SIZE, "i64"), 1)
    f.jump_if(f.test("slt", left, 0, "i64"), otherwise)
    f.store(left, home, SIZE, "i64")
    return f.item(f.load(home, ITEMS), left)


def started(f: Function, progress: str, progress_: Offsets, name: str) -> None:
    """Note whether a native call is under way."""
    with f.when(f.test("ne", progress, f.object("None"))):
        x = f.object(name)
        f.incref(x)
        f.swap(x, progress, progress_.started)


def code_and_frame(f: Function) -> tuple[str, str]:
    """Where the outcome of a run is kept, and the frame that it takes."""
    return f.var("i64", str(ODD)), f.var()


def table_of(f: Function, frame: str, frame_: Offsets) -> tuple[str, str]:
    """The address of a frame (an object), and that of its table."""
    address = f.load(frame, frame_.address)
    return address, f.value(f"inttoptr i64 {f.whole('add', number(f, address), FRAME_TABLE)} to ptr")


def ran(f: Function, run: str, given: str, after: tuple[str, str, str, str]) -> None:
    """The native call; after: the function that is asked where it did not come to its end, and its arguments."""
    result = f.invoke(run, given)
    f.jump_if(f.test("eq", result, "null"), "failed")
    with f.when(f.test("ne", f.call("small", result), -1, "i64")):  # a time slice is over, a check failed
        name, program, frame, progress = after
        then = f.invoke(f.object(name), program, frame, result, progress)
        f.decref(result)
        f.jump_if(f.test("eq", then, "null"), "failed")
        f.decref(then)
        f.jump("done")
    f.decref(result)
    f.label("done")


def cleared(f: Function, code: str, frame: str, ready: str) -> None:
    """The ends of a run, `odd` and `failed` too: its outcome is known, the frame is given back."""
    f.store(str(DONE), code, kind="i64")
    f.jump("out")
    f.label("odd")
    f.call("PyErr_Clear")
    f.jump("out")
    f.label("failed")
    f.store(str(FAILED), code, kind="i64")
    f.label("out")
    kept = f.load(frame)
    with f.when(f.test("ne", kept, "null")):
        f.call("PyList_Append", f.load(ready, IDLE), kept)
        f.decref(kept)


def launched(m: Module, frame_: Offsets, progress_: Offsets) -> None:
    """launched(program, ready, slots, progress): run it once; DONE, ODD (nothing ran) or FAILED (with an exception)."""
    f = m.function("launched", "ipppp")
    program, ready, slots, progress = (f"%a{i}" for i in range(4))
    none, spec = f.object("None"), f.call("PyBytes_AsString", f.load(ready, SPEC))
    arena, block = f.var("ptr", "null"), f.var()
    code, frame = code_and_frame(f)
    f.jump_if(f.test("eq", f.call("give", slots, f.load(ready, WANTED)), 0, "i64"), "failed")
    nbytes, home, idle = f.load(ready, ARENA), f.load(ready, HOME), f.load(ready, IDLE)
    with f.when(f.test("ne", nbytes, none)):
        f.jump_if(f.test("ne", home, none), "small")
        made = f.invoke(f.object("alloc"), nbytes)
        f.jump_if(f.test("eq", made, "null"), "failed")
        f.store(made, block)
        f.store(f.value(f"inttoptr i64 {number(f, f.invoke(f.object('address'), made))} to ptr"), arena)
        f.jump("has")
        f.label("small")
        f.store(popped(f, home, "odd"), block)
        f.store(f.value(f"inttoptr i64 {number(f, f.load(block))} to ptr"), arena)
        f.label("has")
    f.store(popped(f, idle, "odd"), frame)
    address, table = table_of(f, f.load(frame), frame_)
    f.jump_if(f.test("ne", f.call("fill_table", table, spec, slots, f.load(arena)), 0, "i64"), "odd")
    started(f, progress, progress_, "True")
    framed = f.test("ne", f.load(spec, FRAMED, "i64"), 0, "i64")
    given = f.value(f"select i1 {framed}, ptr {f.load(frame)}, ptr {address}")
    ran(f, f.load(ready, RUN), given, ("outcome", program, f.load(frame), progress))
    cleared(f, code, frame, ready)
    held = f.load(block)
    with f.when(f.test("ne", held, "null")):
        with f.when(f.test("ne", f.load(ready, HOME), none)):
            f.call("PyList_Append", f.load(ready, HOME), held)
        f.decref(held)
    f.ret(f.load(code, kind="i64"))
    f.end()


def launch(m: Module, program_: Offsets) -> None:
    """flambeau_launch(program, slots, progress): True if it ran, False if Python has to run it."""
    f = m.function("flambeau_launch", "pppi", exported=True)
    program, slots, progress = (f.item("%a1", i) for i in range(3))
    ready = f.load(program, program_.ready)
    f.incref(ready)
    code = f.call("launched", program, ready, f.load(slots, ITEMS), progress)
    f.decref(ready)
    with f.when(f.test("eq", code, FAILED, "i64")):
        f.ret("null")
    odd = f.test("eq", code, ODD, "i64")
    answer = f.value(f"select i1 {odd}, ptr {f.object('False')}, ptr {f.object('True')}")
    f.incref(answer)
    f.ret(answer)
    f.end()


def free_dead(m: Module, st_: Offsets, form_: Offsets) -> None:
    """free_dead(items, start, stop, slots, words): results that nobody refers to any more give back their bytes."""
    f = m.function("free_dead", "vpiipp")
    items, stop, slots, words = "%a0", "%a2", "%a3", "%a4"
    at, none = f.var("i64", "%a1"), f.object("None")
    f.label("instruction")
    here = f.load(at, kind="i64")
    f.jump_unless(f.test("slt", here, stop, "i64"), "end")
    f.store(f.whole("add", here, 1), at, kind="i64")
    with f.each(f.call("small", f.load(f.item(items, here), form_.slots))):
        slot, offset, then = entry(f, items, f.load(at, kind="i64"))
        f.store(f.whole("add", then, offset), at, kind="i64")
        st = f.item(slots, slot)
        dead = f.both(
            f.test("eq", f.load(st, TYPE), f.object("Storage")),
            f.test("slt", f.load(words, f.whole("mul", slot, 16), "i64"), stop, "i64"),
            f.test("eq", references(f, st), 1, "i64"),
        )
        f.jump_unless(dead, "next")
        f.jump_if(f.test("eq", f.load(st, st_.pend), none), "next")
        block, zero = f.load(st, st_.block), f.object("zero")
        f.jump_if(f.test("eq", block, none), "next")
        f.incref(zero)
        f.swap(zero, st, st_.ptr)
        f.keep(none, st, st_.block)
        f.call("give_back", block)
        f.label("next")
    f.jump("instruction")
    f.label("end")
    f.ret("")
    f.end()


def unit(m: Module, form_: Offsets) -> None:
    """unit(form): the program of one instruction without offsets, None or null; of a derived form it is made now.
    moved_unit(form, slots): likewise if all tensors have an offset; slots: what its slots hold."""
    for name, field, given in (("unit", form_.plain_unit, ()), ("moved_unit", form_.moved_unit, ("%a1",))):
        f = m.function(name, "pp" + "p" * len(given))
        none, known = f.object("None"), f.load("%a0", field)
        f.jump_if(f.test("ne", known, none), "out")
        f.jump_if(f.test("eq", f.load("%a0", form_.kin), none), "out")
        made = f.invoke(f.object(f"derived {name}"), "%a0", *given)
        with f.when(f.test("eq", made, "null")):
            f.call("PyErr_Clear")
            f.ret("null")
        f.decref(made)  # the form keeps it
        f.ret(made)
        f.label("out")
        f.ret(known)
        f.end()


def noted(f: Function, progress: str, progress_: Offsets, count: str) -> None:
    """So many instructions more have run."""
    before = f.call("small", f.load(progress, progress_.done))
    now = f.whole("add", before, f.load(count, kind="i64"))
    f.swap(f.call("PyLong_FromSsize_t", now), progress, progress_.done)


def counted(f: Function, ready: str, tally: str) -> None:
    """One program more, and its launches."""
    spec = f.call("PyBytes_AsString", f.load(ready, SPEC))
    f.store(f.whole("add", f.load(tally, kind="i64"), 1), tally, kind="i64")
    f.store(f.whole("add", f.load(tally, 8, "i64"), f.load(spec, LAUNCHES, "i64")), tally, 8, "i64")


def by_recipe(
    f: Function, form: str, out: str, offsets: str, progress: str, outcome: tuple[str, str]
) -> None:
    """Run a derived form that needs no program, and go on at the label `after`."""
    moved = f.load(out, MOVED, "i64")
    quick = f.call("recipe", form, moved)
    with f.when(f.test("ne", quick, "null")):
        f.incref(quick)
        f.store(quick, outcome[0])
        given = f.value(f"select i1 {f.test('ne', moved, 0, 'i64')}, ptr {offsets}, ptr null")
        local = f.load(f.load(out, LOCAL), ITEMS)
        done = f.call("launched_derived", form, quick, local, progress, given)
        f.store(done, outcome[1], kind="i64")
        f.jump("after")


def of_single(f: Function, items: str, start: str, slots: str, out: str, found: str) -> None:
    """Find the program of a single instruction, and go on at the label `found`."""
    form = f.item(items, start)
    with f.when(f.test("ne", f.load(out, MOVED, "i64"), 0, "i64")):
        f.decref(f.load(out, LOCAL))
        made = f.call("moved", items, start, slots)
        f.store(made, out, LOCAL)
        f.store(f.call("moved_unit", form, made), found)
        f.jump("found")
    f.store(f.call("unit", form), found)
    f.jump("found")


def drive(m: Module, o: dict[str, Offsets]) -> None:
    """flambeau_drive(code, at, slots, words, root, progress, tally, freeing): run pieces from `at` on that are ready.

    The place of the first that is not, or the end. tally: two words, the programs and their launches; freeing: whether
    dead results go at once."""
    node_, program_, progress_ = o["node"], o["program"], o["progress"]
    f = m.function("flambeau_drive", "pppi", exported=True)
    code, slots, root, progress, freeing = (f.item("%a1", i) for i in (0, 2, 4, 5, 7))
    words, tally = (f.call("PyByteArray_AsString", f.item("%a1", i)) for i in (3, 6))
    count, items, none = f.load(code, SIZE, "i64"), f.at(code, ITEMS), f.object("None")
    at, out = f.var("i64", f.call("PyLong_AsSsize_t", f.item("%a1", 1))), f.var(count=6)
    ran_so_far, offsets = f.var("i64"), f.var("i64", count=OPERANDS)
    f.label("next")
    start = f.load(at, kind="i64")
    f.jump_unless(f.test("slt", start, count, "i64"), "end")
    f.call("piece", items, start, count, slots, words, root, f.whole("shl", start, 1), offsets, out)
    stop, lines, fragment = f.load(out, STOP, "i64"), f.load(out, LINES, "i64"), f.load(out, NODE)
    name, found = f.load(out, NAME), f.var("ptr", "null")
    code_of, ready_of = f.var("i64", str(ODD)), f.var("ptr", "null")
    f.jump_if(f.test("eq", f.load(out, LOCAL), "null"), "after")
    with f.when(f.test("eq", fragment, "null")):
        by_recipe(f, f.item(items, start), out, offsets, progress, (ready_of, code_of))
        of_single(f, items, start, slots, out, found)
    f.jump_if(f.test("eq", name, "null"), "after")
    f.store(f.call("PyDict_GetItemWithError", f.load(fragment, node_.named), name), found)
    f.label("found")
    program = f.load(found)
    f.jump_if(f.test("eq", program, "null"), "after")
    f.jump_if(f.test("eq", program, none), "after")
    ready = f.load(program, program_.ready)
    f.jump_if(f.test("eq", ready, none), "after")
    f.incref(program)
    f.incref(ready)
    f.store(ready, ready_of)
    f.store(
        f.call("launched", program, ready, f.load(f.load(out, LOCAL), ITEMS), progress), code_of, kind="i64"
    )
    f.label("after")
    f.decref(name)
    f.decref(f.load(out, LOCAL))
    done = f.load(code_of, kind="i64")
    kept = f.load(ready_of)
    with f.when(f.test("ne", kept, "null")):
        with f.when(f.test("eq", done, DONE, "i64")):
            counted(f, kept, tally)
            f.store(f.whole("add", f.load(ran_so_far, kind="i64"), lines), ran_so_far, kind="i64")
            started(f, progress, progress_, "False")
        f.decref(kept)
        f.decref(f.load(found))
    f.jump_if(f.test("eq", done, FAILED, "i64"), "failed")
    f.jump_if(f.test("eq", done, ODD, "i64"), "end")
    with f.when(f.test("eq", freeing, f.object("True"))):
        f.call("free_dead", items, start, stop, f.load(slots, ITEMS), words)
    f.store(stop, at, kind="i64")
    f.jump_if(f.value(f"icmp ne i32 {f.call('PyErr_CheckSignals')}, 0"), "failed")
    f.jump("next")
    f.label("end")
    noted(f, progress, progress_, ran_so_far)
    f.ret(f.call("PyLong_FromSsize_t", f.load(at, kind="i64")))
    f.label("failed")
    noted(f, progress, progress_, ran_so_far)
    f.ret("null")
    f.end()
