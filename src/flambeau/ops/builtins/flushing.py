"""The flush of a sequence whose program is ready, as a builtin function: what `flush` of stream/flush.py does in Python.

The interpreter is not given up between the look at what is recorded and its taking over, so nothing can come between."""

from __future__ import annotations

from collections.abc import Sequence

from ...device.cpython import ITEMS, SIZE, Function, Module
from ...stream.flush import Progress
from ...stream.known import Known
from ...stream.program import Program
from ...stream.value import Stream
from .cutting import references
from .recording import Offsets
from .running import FAILED, LAUNCHES, ODD, SPEC

LONG = 250  # of a code that is longer, the length is looked at first


def declare(m: Module, o: dict[type, Offsets]) -> None:
    """All functions of this file."""
    fitting(m, o[Program])
    take(m, o[Stream])
    noted(m, o[Stream], o[Known], o[Progress])
    flush(m, o)


def fitting(m: Module, program_: Offsets) -> None:
    """fitting(slots, programs, promised): the program that gives bytes to all that somebody refers to, or null."""
    f = m.function("fitting", "pppp")
    items, programs, promised = (f"%a{i}" for i in range(3))
    missing = f.var("i64")
    with f.each(f.load(programs, SIZE, "i64")) as k:
        program = f.item(f.load(programs, ITEMS), k)
        kept = f.load(program, program_.kept)
        f.store("0", missing, kind="i64")
        with f.each(f.load(promised, SIZE, "i64")) as i:
            sid = f.item(f.load(promised, ITEMS), i)
            st = f.item(items, f.call("small", sid))
            f.jump_if(f.test("eq", references(f, st), 1, "i64"), "known")
            with f.when(f.test("ne", f.call("PySet_Contains", kept, sid), 1, "i32")):
                f.store("1", missing, kind="i64")
            f.label("known")
        with f.when(f.test("eq", f.load(missing, kind="i64"), 0, "i64")):
            f.ret(program)
    f.ret("null")
    f.end()


def emptied(f: Function, x: str) -> None:
    """A list loses its elements."""
    f.call("PyList_SetSlice", x, 0, f.load(x, SIZE, "i64"), "null")


def put(f: Function, x: str, p: str, offset: int) -> None:
    """Put a new reference to x in the place of another object."""
    f.incref(x)
    f.swap(x, p, offset)


def take(m: Module, s_: Offsets) -> None:
    """take(S): its name table is being run, it records into new ones; 0: an exception, nothing has changed."""
    f = m.function("take", "ip")
    S = "%a0"
    recorded, slots = f.load(S, s_.code), f.load(S, s_.slots)
    lists = {place: f.call("PyList_New", 0) for place in (s_.slots, s_.code, s_.sites)}
    others = {
        s_.ids: f.call("PyDict_New"),
        s_.snapshots: f.call("PyDict_New"),
        s_.written: f.call("PySet_New", "null"),
    }
    for x in (*lists.values(), *others.values()):
        f.jump_if(f.test("eq", x, "null"), "failed")
    put(f, slots, S, s_.running)
    f.incref(recorded)
    for place, x in (lists | others).items():
        f.swap(x, S, place)
    put(f, f.object("zero"), S, s_.pending_bytes)
    put(f, f.object("False"), S, s_.flush_after)
    emptied(f, recorded)
    f.decref(recorded)
    f.ret(1)
    f.label("failed")
    f.ret(0)
    f.end()


def counted(f: Function, launches: str) -> None:
    """One hit and one run more, of so many launches: see `Counts` in stream/program.py."""
    tally = f.call("PyByteArray_AsString", f.object("TALLY"))
    for k, more in enumerate(("1", "1", launches)):
        f.store(f.whole("add", f.load(tally, 8 * k, "i64"), more), tally, 8 * k, "i64")


def noted(m: Module, s_: Offsets, known_: Offsets, progress_: Offsets) -> None:
    """noted(S, known, progress): what a failure would have to know."""
    f = m.function("noted", "vppp")
    S, known, progress = (f"%a{i}" for i in range(3))
    put(f, f.object("True"), known, known_.used)
    none, false, zero = f.object("None"), f.object("False"), f.object("zero")
    for x, place in (
        *((known, progress_.known), (zero, progress_.done), (false, progress_.started)),
        *((false, progress_.consumed), (none, progress_.failed)),
        *((f.load(S, s_.slots), progress_.slots), (f.load(S, s_.sites), progress_.sites)),
        (f.load(S, s_.pending_bytes), progress_.pending),
    ):
        put(f, x, progress, place)
    f.ret("")
    f.end()


def replaced(f: Function, module: str) -> str:
    """Whether a tool has put another function in the place of a module's `run`."""
    now = f.call("PyDict_GetItemWithError", f.object(f"{module} names"), f.object("run"))
    return f.test("ne", now, f.object(f"{module} run"))


def program_of(
    f: Function, S: str, slots: str, o: dict[type, Offsets], missing: str
) -> tuple[str, str, str, str]:
    """What is known of what is recorded, its promises, the program and what that has ready; at the label `missing` if it
    has none."""
    known_, none = o[Known], f.object("None")
    length = f.load(f.load(S, o[Stream].code), SIZE, "i64")
    with f.when(f.test("sgt", length, LONG, "i64")):
        size = f.call("PyLong_FromSsize_t", length)
        met = f.call("PySet_Contains", f.object("lengths"), size)
        f.decref(size)
        f.jump_if(f.test("ne", met, 1, "i32"), missing)
    code = f.call("PyList_AsTuple", f.load(S, o[Stream].code))
    f.jump_if(f.test("eq", code, "null"), missing)
    known = f.call("PyDict_GetItemWithError", f.object("sequences"), code)
    f.decref(code)
    f.jump_if(f.test("eq", known, "null"), missing)
    promised = f.load(known, known_.promised)
    f.jump_if(f.test("eq", promised, none), missing)
    program = f.call("fitting", f.load(slots, ITEMS), f.load(known, known_.programs), promised)
    f.jump_if(f.test("eq", program, "null"), missing)
    ready = f.load(program, o[Program].ready)
    f.jump_if(f.test("eq", ready, none), missing)
    return known, promised, program, ready


def flush(m: Module, o: dict[type, Offsets]) -> None:
    """flambeau_flush(S): True if what is recorded was run; None if nothing was done; False if it has been taken over
    (S.running, S.progress) and Python has to run it."""
    s_ = o[Stream]
    f = m.function("flambeau_flush", "ppp", exported=True)
    S, none = "%a1", f.object("None")
    slots, progress = f.load(S, s_.slots), f.load(S, s_.progress)
    for test in (
        f.test("ne", f.load(S, s_.running), none),
        f.test("eq", progress, none),
        f.test("ne", f.load(f.object("at flush"), SIZE, "i64"), 0, "i64"),
        replaced(f, "flush"),
        replaced(f, "program"),
    ):
        f.jump_if(test, "nothing")
    known, promised, program, ready = program_of(f, S, slots, o, "nothing")
    held = (known, program, ready, slots, progress)
    for x in held:
        f.incref(x)
    f.call("noted", S, known, progress)
    f.jump_if(f.test("eq", f.call("take", S), 0, "i64"), "failed")
    result = f.call("launched", program, ready, f.load(slots, ITEMS), progress)
    f.jump_if(f.test("eq", result, FAILED, "i64"), "failed")
    f.jump_if(f.test("eq", result, ODD, "i64"), "odd")
    f.call("settled", slots, promised)
    put(f, none, S, s_.running)
    spec = f.call("PyBytes_AsString", f.load(ready, SPEC))
    counted(f, f.load(spec, LAUNCHES, "i64"))
    answered(f, "True", held)
    f.label("odd")
    answered(f, "False", held)
    f.label("failed")
    for x in held:
        f.decref(x)
    f.ret("null")
    f.label("nothing")
    f.call("PyErr_Clear")
    answered(f, "None", ())
    f.end()


def answered(f: Function, name: str, held: Sequence[str]) -> None:
    """Return an object by its name; held: what the function has kept alive."""
    for x in held:
        f.decref(x)
    answer = f.object(name)
    f.incref(answer)
    f.ret(answer)
