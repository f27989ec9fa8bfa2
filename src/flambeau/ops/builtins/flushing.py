"""The flush of a sequence whose program is ready, as a builtin function: what `flush` of stream/flush.py does in Python.

The interpreter is not given up between the look at what is recorded and its taking over, so nothing can come between."""

from __future__ import annotations

from collections.abc import Sequence

from ...device.cpython import ITEMS, SIZE, Function, Module
from ...stream.flush import Progress
from ...stream.known import Known
from ...stream.program import Program
from ...stream.value import Stream
from ..record import Form
from .cutting import LOCAL, MOVED, OPERANDS, references
from .recording import Offsets
from .running import DONE, FAILED, LAUNCHES, ODD, SPEC

UNKNOWN = 3  # nothing was taken over
LONG = 250  # of a code that is longer, the length is looked at first


def declare(m: Module, o: dict[type, Offsets]) -> None:
    """All functions of this file."""
    fitting(m, o[Program])
    take(m, o[Stream])
    noted(m, o[Stream], o[Progress])
    first_of_all(m, o[Form])
    run_first(m, o[Form], o[Program])
    flush_first(m, o)
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


def counted(f: Function, launches: str, known: bool = True) -> None:
    """One hit, or one instruction by itself, and one run more, of so many launches: see `Counts` in stream/program.py."""
    tally = f.call("PyByteArray_AsString", f.object("TALLY"))
    for k, more in enumerate((str(int(known)), "1", launches, str(int(not known)))):
        f.store(f.whole("add", f.load(tally, 8 * k, "i64"), more), tally, 8 * k, "i64")


def noted(m: Module, s_: Offsets, progress_: Offsets) -> None:
    """noted(S, known, progress): what a failure would have to know."""
    f = m.function("noted", "vppp")
    S, known, progress = (f"%a{i}" for i in range(3))
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


def first_of_all(m: Module, form_: Offsets) -> None:
    """first_of_all(code): whether it is one derived instruction, the first of its form."""
    f = m.function("first_of_all", "ip")
    items, count = f.load("%a0", ITEMS), f.load("%a0", SIZE, "i64")
    f.jump_if(f.test("eq", count, 0, "i64"), "no")
    form = f.item(items, 0)
    f.jump_if(f.test("eq", f.load(form, form_.kin), f.object("None")), "no")
    f.jump_if(f.test("ne", f.load(form, form_.fresh), f.object("True")), "no")
    slots = f.call("small", f.load(form, form_.slots))
    f.jump_if(f.test("sgt", slots, OPERANDS, "i64"), "no")
    f.jump_if(f.test("slt", count, f.whole("add", slots, 1), "i64"), "no")
    f.jump_if(f.test("ne", f.call("step", items, 0), count, "i64"), "no")
    f.ret(1)
    f.label("no")
    f.ret(0)
    f.end()


def run_first(m: Module, form_: Offsets, program_: Offsets) -> None:
    """run_first(code, slots, progress): run the one instruction that this tuple is, by its recipe or its program; DONE,
    ODD or FAILED."""
    f = m.function("run_first", "ippp")
    code, slots, progress = (f"%a{i}" for i in range(3))
    items, form = f.at(code, ITEMS), f.item(f.at(code, ITEMS), 0)
    out, offsets, answer = f.var(count=6), f.var("i64", count=OPERANDS), f.var("i64", str(ODD))
    ready_of, program_of_it = f.var(), f.var()
    for place in (LOCAL, MOVED):
        f.store("null", out, place)
    f.call("alone", items, 0, slots, offsets, out)
    f.jump_if(f.test("eq", f.load(out, LOCAL), "null"), "out")
    moved = f.test("ne", f.load(out, MOVED, "i64"), 0, "i64")
    quick = f.call("recipe", form, f.load(out, MOVED, "i64"))
    with f.when(f.test("ne", quick, "null")):
        f.keep(quick, ready_of, 0)
        given = f.value(f"select i1 {moved}, ptr {offsets}, ptr null")
        local = f.load(f.load(out, LOCAL), ITEMS)
        f.store(f.call("launched_derived", form, quick, local, progress, given), answer, kind="i64")
        f.jump("ran")
    with f.when(moved):
        f.decref(f.load(out, LOCAL))
        f.store(f.call("moved", items, 0, slots), out, LOCAL)
        f.store(f.call("moved_unit", form, f.load(out, LOCAL)), program_of_it)
        f.jump("found")
    f.store(f.call("unit", form), program_of_it)
    f.label("found")
    program = f.load(program_of_it)
    f.jump_if(f.test("eq", program, "null"), "out")
    f.jump_if(f.test("eq", program, f.object("None")), "out")
    ready = f.load(program, program_.ready)
    f.jump_if(f.test("eq", ready, f.object("None")), "out")
    f.incref(program)
    f.keep(ready, ready_of, 0)
    done = f.call("launched", program, ready, f.load(f.load(out, LOCAL), ITEMS), progress)
    f.store(done, answer, kind="i64")
    f.decref(program)
    f.label("ran")
    with f.when(f.test("eq", f.load(answer, kind="i64"), DONE, "i64")):
        spec = f.call("PyBytes_AsString", f.load(f.load(ready_of), SPEC))
        counted(f, f.load(spec, LAUNCHES, "i64"), False)
    f.decref(f.load(ready_of))
    f.label("out")
    f.decref(f.load(out, LOCAL))
    f.ret(f.load(answer, kind="i64"))
    f.end()


def flush_first(m: Module, o: dict[type, Offsets]) -> None:
    """flush_first(S, progress): run what is recorded if that is one derived instruction, the first of its form; DONE,
    FAILED, ODD (it has been taken over) or UNKNOWN. Nothing is kept of it but that its form is no longer fresh."""
    s_, form_ = o[Stream], o[Form]
    f = m.function("flush_first", "ipp")
    S, progress = "%a0", "%a1"
    code, slots = f.load(S, s_.code), f.load(S, s_.slots)
    with f.when(f.test("eq", f.call("first_of_all", code), 0, "i64")):
        f.ret(UNKNOWN)
    taken = f.call("PyList_AsTuple", code)
    form, count = f.item(f.at(taken, ITEMS), 0), f.load(taken, SIZE, "i64")
    outs, answer = f.load(f.load(form, form_.outs), SIZE, "i64"), f.var("i64", str(FAILED))
    f.incref(slots)
    f.call("noted", S, taken, progress)
    f.jump_if(f.test("eq", f.call("take", S), 0, "i64"), "out")
    f.store(f.call("run_first", taken, slots, progress), answer, kind="i64")
    f.jump_if(f.test("ne", f.load(answer, kind="i64"), DONE, "i64"), "out")
    put(f, f.object("False"), form, form_.fresh)
    promised = f.call("PyList_New", 0)
    with f.each(outs) as k:
        place = f.whole("add", f.whole("sub", count, outs), k)
        f.call("PyList_Append", promised, f.item(f.at(taken, ITEMS), place))
    f.call("settled", slots, promised)
    f.decref(promised)
    put(f, f.object("None"), S, s_.running)
    f.label("out")
    f.decref(slots)
    f.decref(taken)
    f.ret(f.load(answer, kind="i64"))
    f.end()


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
    known, promised, program, ready = program_of(f, S, slots, o, "unknown")
    held = (known, program, ready, slots, progress)
    for x in held:
        f.incref(x)
    put(f, f.object("True"), known, o[Known].used)
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
    f.label("unknown")
    f.call("PyErr_Clear")
    first = f.call("flush_first", S, progress)
    with f.when(f.test("eq", first, FAILED, "i64")):
        f.ret("null")
    for outcome, name in ((DONE, "True"), (ODD, "False")):
        with f.when(f.test("eq", first, outcome, "i64")):
            answered(f, name, ())
    f.label("nothing")
    answered(f, "None", ())
    f.end()


def answered(f: Function, name: str, held: Sequence[str]) -> None:
    """Return an object by its name; held: what the function has kept alive."""
    for x in held:
        f.decref(x)
    answer = f.object(name)
    f.incref(answer)
    f.ret(answer)
