"""The flush of a few microseconds of work as a method of streams: `Stream.flush`, whose definition is stream/flush.py.

A sequence whose program is ready and small, and for whose results memory is cached, runs within the interpreter's lock:
nobody can come between, so neither the stream's lock nor a note of what is under way is needed. The collector, which
might run anything, is held back meanwhile. Every other case is the definition's, before anything has changed."""

from __future__ import annotations

from ...device.base import Frame
from ...device.cpython import ITEMS, SIZE, Function, Module
from ...stream.flush import Progress
from ...stream.known import Known
from ...stream.value import Stream
from .flushing import answered, counted, emptied, program_of, put, replaced
from .recording import Offsets
from .running import ARENA, HOME, IDLE, LAUNCHES, QUICK, SPEC, WANTED, number, started, table_of

# What `quick` answers: the definition has to do it, it was done, an exception.
DEFINED, DONE, FAILED = 0, 1, 2
Table = dict[type, Offsets]


def declare(m: Module, o: Table) -> None:
    """All functions of this file."""
    cached(m)
    renewed(m, o[Stream])
    quick(m, o)
    method(m)


def cached(m: Module) -> None:
    """all_cached(ready): whether memory for all results and temporaries, and a frame, can be taken at once."""
    f = m.function("all_cached", "ip")
    none, wanted = f.object("None"), f.load("%a0", WANTED)
    count = f.load(wanted, SIZE, "i64")
    with f.each(count) as k:
        home = f.load(f.item(f.at(wanted, ITEMS), k), ITEMS + 16)
        f.jump_if(f.test("eq", home, none), "no")
        f.jump_if(f.test("slt", f.load(home, SIZE, "i64"), count, "i64"), "no")
    with f.when(f.test("ne", f.load("%a0", ARENA), none)):
        home = f.load("%a0", HOME)
        f.jump_if(f.test("eq", home, none), "no")
        f.jump_if(f.test("sle", f.load(home, SIZE, "i64"), count, "i64"), "no")  # it may be that of results
    f.jump_if(f.test("eq", f.load(f.load("%a0", IDLE), SIZE, "i64"), 0, "i64"), "no")
    f.ret(1)
    f.label("no")
    f.ret(0)
    f.end()


def renewed(m: Module, s_: Offsets) -> None:
    """renewed(S, lists): it records into these new lists (slots, code, sites), whose places those before them take."""
    f = m.function("renewed", "vpp")
    S = "%a0"
    for k, place in enumerate((s_.slots, s_.code, s_.sites)):
        before = f.load(S, place)
        f.store(f.load("%a1", 8 * k), S, place)
        f.store(before, "%a1", 8 * k)
    for place, clear in ((s_.ids, "PyDict_Clear"), (s_.written, "PySet_Clear")):
        x = f.load(S, place)
        with f.when(f.test("ne", f.load(x, SIZE, "i64"), 0, "i64")):  # of a set: whether it ever had elements
            f.call(clear, x)
    put(f, f.object("zero"), S, s_.pending_bytes)
    f.ret("")
    f.end()


def last(f: Function, home: str) -> str:
    """The last element of a list."""
    return f.item(f.load(home, ITEMS), f.whole("sub", f.load(home, SIZE, "i64"), 1))


def usual(f: Function, S: str, s_: Offsets) -> None:
    """The tests of the stream; at the label `defined` where something is unusual."""
    false, none = f.object("False"), f.object("None")
    for test in (
        f.test("ne", f.load(S, s_.running), none),
        f.test("ne", f.load(S, s_.busy), false),
        f.test("ne", f.load(S, s_.flush_after), false),
        f.test("eq", f.load(S, s_.progress), none),
        f.test("ne", f.load(f.load(S, s_.snapshots), SIZE, "i64"), 0, "i64"),
        f.test("ne", f.load(f.object("at flush"), SIZE, "i64"), 0, "i64"),
        f.test("ne", f.call("current"), S),
        replaced(f, "flush"),
        replaced(f, "program"),
    ):
        f.jump_if(test, "defined")


def filled(f: Function, ready: str, spec: str, slots: str, o: Table) -> tuple[str, str]:
    """Memory is given and the table filled: the frame and its address; at `odd` if the definition has to.

    The block of the temporaries stays on its free list, below those that results take: nobody else takes it meanwhile."""
    arena = f.var("ptr", "null")
    with f.when(f.test("ne", f.load(ready, ARENA), f.object("None"))):
        base = f.call("PyLong_AsSsize_t", f.item(f.load(f.load(ready, HOME), ITEMS), 0))
        f.store(f.value(f"inttoptr i64 {base} to ptr"), arena)
    frame = last(f, f.load(ready, IDLE))
    address = number(f, f.load(frame, o[Frame].address))
    _, table = table_of(f, frame, o[Frame])
    f.jump_if(f.test("eq", f.call("give", f.load(slots, ITEMS), f.load(ready, WANTED)), 0, "i64"), "odd")
    done = f.call("fill_table", table, spec, f.load(slots, ITEMS), f.load(arena))
    f.jump_if(f.test("ne", done, 0, "i64"), "odd")
    return frame, address


def quick(m: Module, o: Table) -> None:
    """quick(S): run what is recorded, if that is the usual case; DEFINED, DONE or FAILED."""
    s_, known_ = o[Stream], o[Known]
    f = m.function("quick", "ip")
    S, none, lists = "%a0", f.object("None"), f.var(count=3)
    nothing = f.test("eq", f.load(f.load(S, s_.code), SIZE, "i64"), 0, "i64")
    with f.when(f.both(nothing, f.test("eq", f.load(S, s_.running), none))):
        f.ret(DONE)
    usual(f, S, s_)
    collecting = f.call("PyGC_Disable")
    for k in range(3):
        f.store("null", lists, 8 * k)
    slots = f.load(S, s_.slots)
    known, promised, program, ready = program_of(f, S, slots, o, "unknown")
    spec = f.call("PyBytes_AsString", f.load(ready, SPEC))
    run = f.load(spec, QUICK, "i64")
    f.jump_if(f.test("eq", run, 0, "i64"), "unknown")
    f.jump_if(f.test("eq", f.call("all_cached", ready), 0, "i64"), "unknown")
    for k in range(3):
        made = f.call("PyList_New", 0)
        f.store(made, lists, 8 * k)
        f.jump_if(f.test("eq", made, "null"), "odd")
    frame, address = filled(f, ready, spec, slots, o)
    call, given = (f.value(f"inttoptr i64 {x} to ptr") for x in (run, address))
    result = f.value(f"call i64 {call}(ptr {given})")
    put(f, f.object("True"), known, known_.used)
    f.jump_if(f.test("ne", result, -1, "i64"), "stopped")
    counted(f, f.load(spec, LAUNCHES, "i64"))
    f.call("renewed", S, lists)
    collect(f, collecting)
    f.call("settled", slots, promised)  # storages know the table as their home
    emptied(f, f.load(lists, 8))  # what is recorded meanwhile looks at the code
    f.call("drop", lists, 3)
    f.ret(DONE)
    stopped(f, (S, known, program, ready, frame, result, lists, collecting), o)
    f.label("odd")
    f.call("drop", lists, 3)
    f.label("unknown")
    f.call("PyErr_Clear")
    collect(f, collecting)
    f.label("defined")
    f.ret(DEFINED)
    f.end()


def stopped(f: Function, of: tuple[str, ...], o: Table) -> None:
    """A check has failed: the definition raises the error, as of a sequence that was taken over."""
    S, known, program, ready, frame, result, lists, collecting = of
    s_, progress_ = o[Stream], o[Progress]
    f.label("stopped")
    idle, progress = f.load(ready, IDLE), f.load(S, s_.progress)
    for x in (program, ready, frame):
        f.incref(x)
    f.call(
        "PyList_SetSlice",
        idle,
        f.whole("sub", f.load(idle, SIZE, "i64"), 1),
        f.load(idle, SIZE, "i64"),
        "null",
    )
    put(f, f.object("True"), known, o[Known].used)
    f.call("noted", S, known, progress)
    started(f, progress, progress_, "True")
    put(f, f.load(S, s_.slots), S, s_.running)
    f.call("renewed", S, lists)
    emptied(f, f.load(lists, 8))
    collect(f, collecting)
    number_of = f.call("PyLong_FromSsize_t", result)
    then = f.invoke(f.object("resumed"), S, program, frame, number_of)
    f.decref(number_of)
    f.call("add", idle, frame)
    f.call("drop", lists, 3)
    for x in (program, ready, then):
        f.decref(x)
    f.jump_if(f.test("eq", then, "null"), "failed")
    f.ret(DONE)
    f.label("failed")
    f.ret(FAILED)


def collect(f: Function, before: str) -> None:
    """The collector works again if it did before."""
    with f.when(f.test("ne", before, 0, "i32")):
        f.call("PyGC_Enable")


def method(m: Module) -> None:
    """flambeau_quick(S): `Stream.flush`. flushed(S): the same, borrowed; null with an exception."""
    f = m.function("flushed", "pp")
    done = f.call("quick", "%a0")
    with f.when(f.test("eq", done, DONE, "i64")):
        f.ret(f.object("None"))
    with f.when(f.test("eq", done, FAILED, "i64")):
        f.ret("null")
    answer = f.invoke(f.object("run recorded"), "%a0")
    f.decref(answer)
    f.ret(answer)
    f.end()
    f = m.function("flambeau_quick", "ppp", exported=True)
    done = f.call("flushed", "%a0")
    with f.when(f.test("eq", done, "null")):
        f.ret("null")
    answered(f, "None", ())
    f.end()
