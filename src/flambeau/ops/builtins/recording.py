"""Recording as generated code: `commit` and `record_grad` of record.py, and the plain call of an op, as builtin functions.

They do what the Python definitions do in the usual case, and leave every other case to those, before anything is
changed: that is what the label `odd` stands for. The interpreter is not given up between the look at the stream and
the last append, so nothing can come between (`late` in record.py has no counterpart here)."""

from __future__ import annotations

from ...device import cpython
from ...device.base import Frame
from ...device.cpython import ITEMS, SIZE, TYPE, Function, Module
from ...device.memory import Block
from ...stream.flush import Progress
from ...stream.fragments import Node as Fragment
from ...stream.gradient import AccumulateGrad
from ...stream.host import Exported
from ...stream.known import Known
from ...stream.program import Program
from ...stream.rebind import Pattern, Recipe
from ...stream.value import Extras, Meta, Node, Storage, StorageInfo, Stream, Tensor, Version
from ..kin import Kin
from ..record import Form, GradPlan

OPERANDS, RESULTS = 64, 16  # of more, the Python definitions record
SLOTS: dict[type, str] = {
    Tensor: "_st _off _meta _rg _gf _nr _ver _vw _x",
    Storage: "block home info nbytes pend ptr sid",
    StorageInfo: "exported owner poison readonly resizable",
    Exported: "st",
    Block: "_home nbytes ptr",
    Version: "n where",
    Extras: "acc grad hooks post_hooks",
    AccumulateGrad: "variable",
    Meta: "contiguous dtype numel outs shape strides plain",
    Node: "edges form hooks metadata_ needs out result_version saved versions",
    Form: "arity args backward checks diff effects entry extents fresh into key kin moved_unit name outs plain_unit plans "
    "slots structure unit writes",
    Kin: "family pattern template",
    Pattern: "quick",
    Recipe: "ready",
    Fragment: "named next wirings",
    Known: "_promised programs used",
    Program: "kept ready",
    Progress: "consumed done failed known pending sites slots started",
    Frame: "address",
    GradPlan: "inputs node_type results saved_args",
    Stream: "bound busy byte_bound capture code depth eager flush_after fresh grad ids pending_bytes progress running "
    "sites slots snapshots written",
}


class Offsets:
    """Where the slots of a class are."""

    def __init__(self, cls: type):
        for slot in SLOTS[cls].split():
            setattr(self, slot.strip("_"), cpython.offset_of(cls, slot))

    def __getattr__(self, name: str) -> int:
        raise AttributeError(name)


def declare(m: Module, o: dict[type, Offsets]) -> None:
    """All functions of this file."""
    kind_tests(m)
    stream_of_thread(m)
    drop(m)
    append(m)
    usable(m, o[Storage])
    slot_number(m, o[Storage], o[Stream])
    new_tensor(m, o[Tensor])
    new_result(m, o[Tensor], o[Stream])
    commit(m, o[Tensor], o[Storage], o[Stream], o[Form])
    edge(m, o[Tensor], o[Extras], o[Version])
    version_number(m, o[Tensor], o[Version])
    edges_and_saved(m, o[Node], o[GradPlan])
    record_grad(m, o)


def stream_of_thread(m: Module) -> None:
    """The stream of the thread that calls, a borrowed reference; null if there is an error."""
    m.globals += ["@thread = internal global i64 -1", "@stream = internal global ptr null"]
    f = m.function("current", "p")
    number = f.call("PyThreadState_GetID", f.call("PyThreadState_Get"))
    with f.when(f.test("eq", number, f.load("@thread", kind="i64"), "i64")):
        f.ret(f.load("@stream"))
    found = f.call("PyObject_GetAttr", f.object("LOCAL"), f.object("s"))
    with f.when(f.test("ne", found, "null")):
        f.store(number, "@thread", kind="i64")
        f.swap(found, "@stream", 0)
    f.ret(found)
    f.end()


def usable(m: Module, st_: Offsets) -> None:
    """usable(S, slots, storage): whether `number` can give it a number."""
    f = m.function("usable", "ippp")
    S, slots, st = "%a0", "%a1", "%a2"
    none = f.object("None")
    f.jump_if(f.test("eq", st, "null"), "odd")
    f.jump_if(f.test("ne", f.load(st, TYPE), f.object("Storage")), "odd")
    f.jump_if(f.test("ne", f.load(st, st_.info), none), "odd")
    home = f.load(st, st_.home)
    with f.when(f.test("eq", home, slots)):
        f.ret(1)
    with f.when(f.test("ne", home, none)):
        f.jump_if(f.test("ne", f.load(home, SIZE, "i64"), 0, "i64"), "odd")
    pend = f.load(st, st_.pend)
    with f.when(f.test("ne", pend, none)):
        f.jump_if(f.test("ne", pend, S), "odd")
    held = f.invoke(f.object("entering"))  # another thread may be between two writes
    f.decref(held)
    f.jump_if(f.test("ne", held, f.object("False")), "odd")
    f.ret(1)
    f.label("odd")
    f.ret(0)
    f.end()


def slot_number(m: Module, st_: Offsets, s_: Offsets) -> None:
    """number(S, slots, storage): its number in the table, which it enters now if it is not there; a borrowed int."""
    f = m.function("number", "pppp")
    S, slots, st = "%a0", "%a1", "%a2"
    with f.when(f.test("eq", f.load(st, st_.home), slots)):
        f.ret(f.load(st, st_.sid))
    key, ids, number = f.call("PyLong_FromVoidPtr", st), f.load(S, s_.ids), f.var()
    found = f.call("PyDict_GetItemWithError", ids, key)
    count = f.load(slots, SIZE, "i64")
    f.jump_if(f.test("eq", found, "null"), "new")
    known = f.call("small", found)
    f.jump_unless(f.test("ult", known, count, "i64"), "new")
    f.jump_if(f.test("ne", f.item(f.load(slots, ITEMS), known), st), "new")
    f.incref(found)
    f.store(found, number)
    f.jump("enter")
    f.label("new")
    made = f.call("PyLong_FromSsize_t", count)
    f.store(made, number)
    f.call("PyDict_SetItem", ids, key, made)
    f.call("PyList_Append", slots, st)
    f.label("enter")
    f.decref(key)
    f.incref(slots)
    f.swap(slots, st, st_.home)
    sid = f.load(number)
    f.swap(sid, st, st_.sid)
    f.ret(sid)
    f.end()


def kind_tests(m: Module) -> None:
    """is_number(x) and is_tensor(x)."""
    f = m.function("is_number", "ip")
    kind = f.load("%a0", TYPE)
    for name in ("float", "int", "bool"):
        with f.when(f.test("eq", kind, f.object(name))):
            f.ret(1)
    f.ret(0)
    f.end()
    f = m.function("is_tensor", "ip")
    kind = f.load("%a0", TYPE)
    for name in ("Tensor", "Parameter"):
        with f.when(f.test("eq", kind, f.object(name))):
            f.ret(1)
    f.ret(f.value(f"zext i32 {f.call('PyType_IsSubtype', kind, f.object('Tensor'))} to i64"))
    f.end()


def allocated(f: Function, cls: str, *slots: tuple[int, str]) -> str:
    """A new object with these slots, (offset, value) each; where there is no memory: null, at the label `out`."""
    x = f.call("PyType_GenericAlloc", f.object(cls), 0)
    f.jump_if(f.test("eq", x, "null"), "out")
    for at, value in slots:
        f.keep(value, x, at)
    return x


def new_tensor(m: Module, t_: Offsets) -> None:
    """tensor(storage, meta, offset): a new one; null if there is no memory."""
    f = m.function("tensor", "pppp")
    none = f.object("None")
    t = allocated(
        *(f, "Tensor", (t_.st, "%a0"), (t_.meta, "%a1"), (t_.off, "%a2"), (t_.rg, f.object("False"))),
        *((t_.gf, none), (t_.nr, f.object("zero")), (t_.ver, none), (t_.vw, none), (t_.x, none)),
    )
    f.label("out")
    f.ret(t)
    f.end()


def new_result(m: Module, t_: Offsets, s_: Offsets) -> None:
    """result(S, (meta, offset, bytes)): a tensor of a storage that S promises; it has no number yet."""
    f = m.function("result", "ppp")
    meta, off, nbytes = (f.load("%a1", ITEMS + 8 * k) for k in range(3))
    st = f.call("promise", "%a0", nbytes)
    f.jump_if(f.test("eq", st, "null"), "out")
    t = f.call("tensor", st, meta, off)
    f.decref(st)
    f.jump_if(f.test("eq", t, "null"), "out")
    fresh = f.load("%a0", s_.fresh)
    f.incref(fresh)
    f.swap(fresh, t, t_.ver)
    f.ret(t)
    f.label("out")
    f.ret("null")
    f.end()


def append(m: Module) -> None:
    """add(list, new reference): append it."""
    f = m.function("add", "vpp")
    f.call("PyList_Append", "%a0", "%a1")
    f.decref("%a1")
    f.ret("")
    f.end()


def append_operands(f: Function, S: str, code: str, slots: str, operands: str, n: str, t_: Offsets) -> None:
    """A slot number for each operand: of its storage, or of a new slot for a number; ~n for one with an offset."""
    zero = f.object("zero")
    with f.each(n) as i:
        a = f.item(operands, i)
        with f.when(f.test("ne", f.call("is_number", a), 0, "i64")):
            f.call("add", code, f.call("PyLong_FromSsize_t", f.load(slots, SIZE, "i64")))
            f.call("PyList_Append", slots, a)
            f.jump("next")
        sid, off = f.call("number", S, slots, f.load(a, t_.st)), f.load(a, t_.off)
        with f.when(f.test("eq", off, zero)):
            f.call("PyList_Append", code, sid)
            f.jump("next")
        inverse = f.whole("xor", f.call("small", sid), -1)
        f.call("add", code, f.call("PyLong_FromSsize_t", inverse))
        f.call("add", code, f.call("PyLong_FromSsize_t", f.load(slots, SIZE, "i64")))
        f.call("PyList_Append", slots, off)
        f.label("next")


def commit(m: Module, t_: Offsets, st_: Offsets, s_: Offsets, form_: Offsets) -> None:
    """record(S, form, operands, how many, results): 0: done, results holds new tensors; 1: nothing done; 2: an error."""
    f = m.function("record", "ipppip")
    S, form, operands, n, results = (f"%a{i}" for i in range(5))
    false = f.object("False")
    outs = f.load(form, form_.outs)
    count, out = f.load(outs, SIZE, "i64"), f.load(outs, ITEMS)
    made, site = f.var("i64", "0"), f.var()
    f.jump_if(f.test("sgt", count, RESULTS, "i64"), "odd")
    for at in (s_.eager, s_.flush_after):
        f.jump_if(f.test("ne", f.load(S, at), false), "odd")
    with f.when(f.test("ne", f.load(form, form_.checks), false)):
        f.store(f.invoke(f.object("site")), site)
        f.jump_if(f.test("eq", f.load(site), "null"), "odd")
    with f.each(count) as k:  # may collect garbage, and so run anything
        t = f.call("result", S, f.item(out, k))
        f.jump_if(f.test("eq", t, "null"), "odd")
        f.put(t, results, k)
        f.store(f.whole("add", k, 1), made, kind="i64")
    slots, code = f.load(S, s_.slots), f.load(S, s_.code)
    with f.each(n) as i:
        a = f.item(operands, i)
        with f.when(f.test("eq", f.call("is_number", a), 0, "i64")):
            f.jump_if(f.test("eq", f.call("is_tensor", a), 0, "i64"), "odd")
            f.jump_if(f.test("eq", f.call("usable", S, slots, f.load(a, t_.st)), 0, "i64"), "odd")
    with f.when(f.test("ne", f.load(site), "null")):
        f.call("add", f.load(S, s_.sites), f.load(site))
    f.call("PyList_Append", code, form)
    append_operands(f, S, code, slots, operands, n, t_)
    writes = f.load(form, form_.writes)
    with f.each(f.load(writes, SIZE, "i64")) as k:
        i = f.call("small", f.item(f.at(writes, ITEMS), k))
        f.call("PySet_Add", f.load(S, s_.written), f.load(f.load(f.item(operands, i), t_.st), st_.sid))
    pending = f.var("i64", f.call("small", f.load(S, s_.pending_bytes)))
    with f.each(count) as k:
        st = f.load(f.item(results, k), t_.st)
        sid = f.call("PyLong_FromSsize_t", f.load(slots, SIZE, "i64"))
        f.incref(slots)
        f.swap(slots, st, st_.home)
        f.swap(sid, st, st_.sid)
        f.call("PyList_Append", code, sid)
        f.call("PyList_Append", slots, st)
        nbytes = f.call("small", f.load(st, st_.nbytes))
        f.store(f.whole("add", f.load(pending, kind="i64"), nbytes), pending, kind="i64")
    total = f.load(pending, kind="i64")
    with f.when(f.test("ne", count, 0, "i64")):
        f.swap(f.call("PyLong_FromSsize_t", total), S, s_.pending_bytes)
    flush_when_long(f, S, code, total, s_)
    f.ret(0)
    f.label("odd")
    f.call("PyErr_Clear")
    f.decref(f.load(site))
    f.call("drop", results, f.load(made, kind="i64"))
    f.ret(1)
    f.label("failed")
    f.call("drop", results, count)
    f.ret(2)
    f.end()


def flush_when_long(f: Function, S: str, code: str, total: str, s_: Offsets) -> None:
    """Run what is recorded if a bound was passed."""
    long = f.test("sgt", f.load(code, SIZE, "i64"), f.call("small", f.load(S, s_.bound)), "i64")
    large = f.test("sgt", total, f.call("small", f.load(S, s_.byte_bound)), "i64")
    with f.when(f.value(f"or i1 {long}, {large}")):
        done = f.invoke(f.object("flush_at_bound"), S)
        f.jump_if(f.test("eq", done, "null"), "failed")
        f.decref(done)


def drop(m: Module) -> None:
    """drop(references, how many)."""
    f = m.function("drop", "vpi")
    with f.each("%a1") as k:
        f.decref(f.item("%a0", k))
    f.ret("")
    f.end()


def edge(m: Module, t_: Offsets, x_: Offsets, v_: Offsets) -> None:
    """edge(tensor): (node, number) or None, a new reference; null if there is an error."""
    f = m.function("pair", "ppp")  # takes the reference to the first over
    made = f.call("PyTuple_New", 2)
    f.store("%a0", made, ITEMS)
    f.keep("%a1", made, ITEMS + 8)
    f.ret(made)
    f.end()
    f = m.function("edge", "pp")
    t, none = "%a0", f.object("None")
    node, number = f.var(), f.object("zero")
    view = f.load(t, t_.vw)
    with f.when(f.test("ne", view, none)):  # one whose base was not written since has its history
        version = f.load(t, t_.ver)
        f.jump_if(f.test("eq", version, none), "odd")
        now, then = (f.call("small", x) for x in (f.load(version, v_.n), f.load(view, ITEMS + 16)))
        f.jump_if(f.test("ne", now, then, "i64"), "odd")
    gf = f.load(t, t_.gf)
    with f.when(f.test("ne", gf, none)):
        f.incref(gf)
        f.store(gf, node)
        number_of = f.load(t, t_.nr)
        f.ret(f.call("pair", gf, number_of))
    f.jump_if(f.test("ne", f.load(t, t_.rg), f.object("True")), "odd")
    x = f.load(t, t_.x)
    f.jump_if(f.test("eq", x, none), "odd")
    ref = f.load(x, x_.acc)
    f.jump_if(f.test("eq", ref, none), "odd")
    leaf = f.invoke(ref)
    f.jump_if(f.test("eq", leaf, "null"), "odd")
    with f.when(f.test("eq", leaf, none)):
        f.decref(leaf)
        f.jump("odd")
    f.ret(f.call("pair", leaf, number))
    f.label("odd")
    f.call("PyErr_Clear")
    f.ret(f.invoke(f.object("edge"), t))
    f.end()


def version_number(m: Module, t_: Offsets, v_: Offsets) -> None:
    """version(tensor or number): how often it was written in place."""
    f = m.function("version", "ip")
    f.jump_if(f.test("ne", f.call("is_number", "%a0"), 0, "i64"), "none")
    version = f.load("%a0", t_.ver)
    f.jump_if(f.test("eq", version, f.object("None")), "none")
    f.ret(f.call("small", f.load(version, v_.n)))
    f.label("none")
    f.ret(0)
    f.end()


def edges_and_saved(m: Module, node_: Offsets, plan_: Offsets) -> None:
    """fill(node, plan, operands): its edges and what it saves; 1: a case for Python (the node is dropped by the caller)."""
    f = m.function("fill", "ippp")
    node, plan, operands = "%a0", "%a1", "%a2"
    inputs = f.load(plan, plan_.inputs)
    count = f.load(inputs, SIZE, "i64")
    edges = f.call("PyTuple_New", count)
    f.store(edges, node, node_.edges)
    with f.each(count) as k:
        i = f.call("small", f.item(f.load(inputs, ITEMS), k))
        found = f.call("edge", f.item(operands, i))
        f.jump_if(f.test("eq", found, "null"), "odd")
        f.put(found, f.at(edges, ITEMS), k)
    args = f.load(plan, plan_.saved_args)
    saves = f.load(args, SIZE, "i64")
    saved = f.call("PyList_New", saves)
    f.store(saved, node, node_.saved)
    written = f.var("i64", "0")
    with f.each(saves) as k:
        a = f.item(operands, f.call("small", f.item(f.load(args, ITEMS), k)))
        f.incref(a)
        f.put(a, f.load(saved, ITEMS), k)
        version = f.call("version", a)
        f.store(f.whole("or", f.load(written, kind="i64"), version), written, kind="i64")
    f.jump_if(f.test("eq", f.load(written, kind="i64"), 0, "i64"), "done")
    versions = f.call("PyTuple_New", saves)
    with f.each(saves) as k:
        now = f.call("version", f.item(f.load(saved, ITEMS), k))
        f.jump_if(f.test("slt", now, 0, "i64"), "refused")
        f.put(f.call("PyLong_FromSsize_t", now), f.at(versions, ITEMS), k)
    f.swap(versions, node, node_.versions)
    f.label("done")
    f.ret(0)
    f.label("refused")
    f.decref(versions)
    f.label("odd")
    f.call("PyErr_Clear")
    f.ret(1)
    f.end()


def history(f: Function, made: str, of: tuple[str, ...], o: dict[type, Offsets]) -> None:
    """The node knows its results, and they it."""
    form, results, count, kept, one = of
    t_, form_, node_ = o[Tensor], o[Form], o[Node]
    true = f.object("True")
    diff = f.load(f.load(form, form_.diff), ITEMS)
    with f.when(one):
        t = f.load(results)
        f.keep(f.load(t, t_.meta), made, node_.out)
        with f.when(f.test("ne", kept, 0, "i64")):
            result = f.call("PyTuple_New", 4)
            for j, x in enumerate(
                (f.load(t, t_.st), f.load(t, t_.off), f.load(t, t_.meta), f.object("zero"))
            ):
                f.keep(x, result, ITEMS + 8 * j)
            f.call("add", f.load(made, node_.saved), result)
        f.jump("history")
    metas = f.call("PyTuple_New", count)
    f.store(metas, made, node_.out)
    with f.each(count) as i:
        meta = f.load(f.item(results, i), t_.meta)
        f.incref(meta)
        f.put(meta, f.at(metas, ITEMS), i)
    f.label("history")
    with f.each(count) as i, f.when(f.test("eq", f.item(diff, i), true)):
        t = f.item(results, i)
        for at, x in ((t_.gf, made), (t_.rg, true)):
            f.incref(x)
            f.swap(x, t, at)
        f.swap(f.call("PyLong_FromSsize_t", i), t, t_.nr)


def record_grad(m: Module, o: dict[type, Offsets]) -> None:
    """record_node(S, form, operands, how many, results, needs): as `record`, with a gradient node."""
    form_, node_, plan_ = (o[c] for c in (Form, Node, GradPlan))
    f = m.function("record_node", "ipppipi")
    S, form, operands, n, results, bits = (f"%a{i}" for i in range(6))
    none = f.object("None")
    node = f.var("ptr", "null")
    needs = f.call("PyLong_FromSsize_t", bits)
    plan = f.call("PyDict_GetItemWithError", f.load(form, form_.plans), needs)
    f.jump_if(f.test("eq", plan, "null"), "odd")
    f.jump_if(f.test("ne", f.load(form, form_.into), f.object("minus one")), "odd")
    count = f.load(f.load(form, form_.outs), SIZE, "i64")
    kept = f.load(f.load(plan, plan_.results), SIZE, "i64")
    one = f.test("eq", count, 1, "i64")
    f.jump_if(f.both(f.value(f"xor i1 {one}, true"), f.test("ne", kept, 0, "i64")), "odd")
    made = f.call("PyType_GenericAlloc", f.load(plan, plan_.node_type), 0)
    f.store(made, node)
    f.jump_if(f.test("eq", made, "null"), "odd")
    for at, x in (
        *((node_.form, form), (node_.needs, needs), (node_.result_version, none), (node_.hooks, none)),
        *((node_.metadata, none), (node_.versions, none)),
    ):
        f.keep(x, made, at)
    f.jump_if(f.test("ne", f.call("fill", made, plan, operands), 0, "i64"), "odd")
    done = f.call("record", S, form, operands, n, results)
    f.jump_if(f.test("eq", done, 1, "i64"), "odd")
    f.decref(needs)
    with f.when(f.test("eq", done, 2, "i64")):
        f.decref(made)
        f.ret(2)
    history(f, made, (form, results, count, kept, one), o)
    f.decref(made)
    f.ret(0)
    f.label("odd")
    f.call("PyErr_Clear")
    f.decref(needs)
    f.decref(f.load(node))
    f.ret(1)
    f.end()
