"""The backward walk as a builtin function: what autograd/engine.py does with a node that has nothing unusual about it."""

from __future__ import annotations

from ...device.cpython import ITEMS, SIZE, TYPE, Function, Module
from ...stream.gradient import AccumulateGrad
from ...stream.value import Extras, Meta, Node, Storage, Stream, Tensor, Version
from ..record import Form, GradPlan
from .recording import OPERANDS, RESULTS, Offsets

Table = dict[type, Offsets]


def unpack(m: Module, o: Table) -> None:
    """unpack(saved list, versions, version of the result, operands, made): operands 1, 2, ... from it; their number; -1: a case for Python.

    made: new tensors among them, to be dropped, and in its first place how many."""
    v_ = o[Version]
    f = m.function("unpack", "ippppp")
    saved, versions, written, operands, made = (f"%a{i}" for i in range(5))
    count, items = f.load(saved, SIZE, "i64"), f.load(saved, ITEMS)
    none, then, counter = f.object("None"), f.var("i64"), f.var()
    f.jump_if(f.test("sge", count, OPERANDS - 1, "i64"), "odd")
    with f.each(count) as k:
        a, to = f.item(items, k), f.whole("add", k, 1)
        with f.when(f.test("eq", f.load(a, TYPE), f.object("tuple"))):
            own = f.test("eq", f.load(a, SIZE, "i64"), 5, "i64")  # a result with a version of its own
            f.store(written, counter)
            with f.when(own):
                f.store(f.load(a, ITEMS + 32), counter)
            version = f.load(counter)
            with f.when(f.test("ne", version, none)):
                now, before = f.load(version, v_.n), f.load(a, ITEMS + 24)
                number, saw = f.call("PyLong_AsSsize_t", now), f.call("PyLong_AsSsize_t", before)
                same = f.test("eq", number, saw, "i64")
                f.jump_unless(same, "odd")
            st, off, meta = (f.load(a, ITEMS + 8 * i) for i in range(3))
            t = f.call("tensor", st, meta, off)
            f.jump_if(f.test("eq", t, "null"), "odd")
            n = f.whole("add", f.load(made, kind="i64"), 1)
            f.put(t, made, n)
            f.store(n, made, kind="i64")
            f.put(t, operands, to)
            f.jump("next")
        f.put(a, operands, to)
        with f.when(f.test("eq", f.call("is_number", a), 0, "i64")):
            f.jump_if(f.test("eq", f.call("is_tensor", a), 0, "i64"), "odd")
            f.store("0", then, kind="i64")
            with f.when(f.test("ne", versions, none)):
                f.store(f.call("PyLong_AsSsize_t", f.item(f.at(versions, ITEMS), k)), then, kind="i64")
            f.jump_if(f.test("ne", f.call("version", a), f.load(then, kind="i64"), "i64"), "odd")
        f.label("next")
    f.ret(count)
    f.label("odd")
    f.call("PyErr_Clear")
    f.ret(-1)
    f.end()


def gradients(m: Module, o: Table) -> None:
    """gradients(S, node of an op, its gradient): the tuple of those of its inputs; null with no error: a case for Python."""
    node_, form_, plan_, s_, t_ = (o[c] for c in (Node, Form, GradPlan, Stream, Tensor))
    f = m.function("gradients", "pppp")
    S, node, g = (f"%a{i}" for i in range(3))
    none = f.object("None")
    operands, made, results = f.var(count=OPERANDS), f.var(count=OPERANDS), f.var(count=RESULTS)
    f.store("null", made)
    form, saved, edges = (f.load(node, at) for at in (node_.form, node_.saved, node_.edges))
    f.jump_if(f.test("ne", f.load(saved, TYPE), f.object("list")), "odd")
    f.jump_if(f.test("ne", f.load(S, s_.grad), f.object("False")), "odd")
    f.jump_if(f.test("eq", f.call("is_tensor", g), 0, "i64"), "odd")
    needs = f.load(node, node_.needs)
    plan = f.call("PyDict_GetItemWithError", f.load(form, form_.plans), needs)
    f.jump_if(f.test("eq", plan, "null"), "odd")
    wanted = f.load(f.load(plan, plan_.inputs), SIZE, "i64")
    f.jump_if(f.test("ne", wanted, f.load(edges, SIZE, "i64"), "i64"), "odd")
    known = f.load(form, form_.backward)
    f.jump_if(f.test("eq", known, none), "odd")
    f.incref(needs)
    key = f.call("pair", needs, f.load(g, t_.meta))
    found = f.call("PyDict_GetItemWithError", known, key)
    f.decref(key)
    f.jump_if(f.test("eq", found, "null"), "odd")
    f.store(g, operands)
    versions = [f.load(node, at) for at in (node_.versions, node_.result_version)]
    more = f.call("unpack", saved, *versions, operands, made)
    f.jump_if(f.test("slt", more, 0, "i64"), "odd")
    back, where = f.load(found, ITEMS), f.load(found, ITEMS + 8)
    count = f.load(f.load(back, form_.outs), SIZE, "i64")
    f.incref(found)  # recording may run anything
    f.incref(saved)
    with f.when(f.test("ne", count, 0, "i64")):
        done = f.call("record", S, back, operands, f.whole("add", more, 1), results)
        with f.when(f.test("ne", done, 0, "i64")):
            f.decref(found)
            f.decref(saved)
            f.jump("odd")  # with an error, or a case for Python
    answer = f.call("PyTuple_New", wanted)
    with f.each(wanted) as k:
        place = f.item(f.load(where, ITEMS), k)
        with f.when(f.test("eq", place, none)):
            f.incref(none)
            f.put(none, f.at(answer, ITEMS), k)
            f.jump("next")
        at = f.call("PyLong_AsSsize_t", place)
        own = f.test("sge", at, 0, "i64")
        start = f.value(f"select i1 {own}, ptr {results}, ptr {operands}")
        x = f.item(start, f.value(f"select i1 {own}, i64 {at}, i64 {f.whole('xor', at, -1)}"))
        f.incref(x)
        f.put(x, f.at(answer, ITEMS), k)
        f.label("next")
    f.call("drop", results, count)
    f.call("drop", f.at(made, 8), f.load(made, kind="i64"))
    f.decref(found)
    f.decref(saved)
    f.ret(answer)
    f.label("odd")
    f.call("drop", f.at(made, 8), f.load(made, kind="i64"))
    f.ret("null")
    f.end()


def leaf(m: Module, o: Table) -> None:
    """leaf(S, AccumulateGrad node, gradient, shared): 0, or 1 with an error."""
    t_, x_, s_, st_, meta_ = (o[c] for c in (Tensor, Extras, Stream, Storage, Meta))
    f = m.function("leaf", "ipppp")
    S, node, g, shared = (f"%a{i}" for i in range(4))
    none, false, true = (f.object(x) for x in ("None", "False", "True"))
    key = f.call("PyLong_FromVoidPtr", g)
    known = f.call("PyDict_GetItemWithError", shared, key)
    f.decref(key)
    f.jump_if(f.test("ne", known, "null"), "odd")
    t = f.load(node, o[AccumulateGrad].variable)
    x = f.load(t, t_.x)
    f.jump_if(f.test("eq", x, none), "odd")
    for at in (x_.hooks, x_.post_hooks, x_.grad):
        f.jump_if(f.test("ne", f.load(x, at), none), "odd")
    f.jump_if(f.test("ne", f.load(S, s_.grad), false), "odd")
    f.jump_if(f.test("eq", f.call("is_tensor", g), 0, "i64"), "odd")
    f.jump_if(f.test("ne", f.load(g, t_.vw), none), "odd")
    f.jump_if(f.test("ne", f.load(g, t_.rg), false), "odd")
    mine, its = f.load(g, t_.meta), f.load(t, t_.meta)
    with f.when(f.test("ne", mine, its)):
        for meta in (mine, its):
            f.jump_if(f.test("ne", f.load(meta, meta_.contiguous), true), "odd")
    f.jump_if(f.test("eq", f.load(f.load(g, t_.st), st_.pend), none), "odd")
    f.incref(g)
    f.swap(g, x, x_.grad)
    f.ret(0)
    f.label("odd")
    fresh = f.value(f"select i1 {f.test('eq', known, 'null')}, ptr {true}, ptr {false}")
    done = f.invoke(f.object("accumulate"), f.load(node, o[AccumulateGrad].variable), g, fresh)
    with f.when(f.test("eq", done, "null")):
        f.ret(1)
    f.decref(done)
    f.ret(0)
    f.end()


def receive(m: Module, o: Table) -> None:
    """receive(buffers, node, number, gradient): add to what a node was given; 0, or 1 with an error."""
    f = m.function("receive", "ipppp")
    buffers, node, number, g = (f"%a{i}" for i in range(4))
    none = f.object("None")
    out = f.load(node, o[Node].out)
    old = f.call("PyDict_GetItemWithError", buffers, node)
    with f.when(f.test("ne", f.load(out, TYPE), f.object("tuple"))):
        with f.when(f.test("eq", old, "null")):
            f.call("PyDict_SetItem", buffers, node, g)
            f.ret(0)
        with f.when(f.test("eq", g, none)):
            f.ret(0)
        with f.when(f.test("eq", old, none)):
            f.call("PyDict_SetItem", buffers, node, g)
            f.ret(0)
        f.incref(old)
        total = f.call("PyNumber_Add", old, g)
        f.decref(old)
        f.jump_if(f.test("eq", total, "null"), "failed")
        f.call("PyDict_SetItem", buffers, node, total)
        f.decref(total)
        f.ret(0)
    done = f.invoke(f.object("receive_slot"), buffers, node, number, g)
    f.jump_if(f.test("eq", done, "null"), "failed")
    f.decref(done)
    f.ret(0)
    f.label("failed")
    f.ret(1)
    f.end()


def distribute(m: Module, o: Table) -> None:
    """distribute(edges, made, given, ready, counts, buffers, shared): pass gradients on; 0, or 1 with an error."""
    f = m.function("distribute", "ippppppp")
    edges, made, given, ready, counts, buffers, shared = (f"%a{i}" for i in range(7))
    none = f.object("None")
    n, have = f.load(edges, SIZE, "i64"), f.load(made, SIZE, "i64")
    fewer = f.value(f"select i1 {f.test('slt', n, have, 'i64')}, i64 {n}, i64 {have}")
    with f.each(fewer) as k:
        e, g = f.item(f.at(edges, ITEMS), k), f.item(f.at(made, ITEMS), k)
        f.jump_if(f.test("eq", e, none), "next")
        child, number = f.load(e, ITEMS), f.load(e, ITEMS + 8)
        with f.when(f.both(f.test("ne", g, none), f.test("eq", g, given))):
            key = f.call("PyLong_FromVoidPtr", g)
            f.call("PyDict_SetItem", shared, key, g)
            f.decref(key)
        f.jump_if(f.test("ne", f.call("receive", buffers, child, number, g), 0, "i64"), "failed")
        before = f.call("PyDict_GetItemWithError", counts, child)
        f.jump_if(f.test("eq", before, "null"), "next")
        left = f.whole("sub", f.call("PyLong_AsSsize_t", before), 1)
        left_object = f.call("PyLong_FromSsize_t", left)
        f.call("PyDict_SetItem", counts, child, left_object)
        f.decref(left_object)
        with f.when(f.test("eq", left, 0, "i64")):
            f.call("PyList_Append", ready, child)
        f.label("next")
    f.ret(0)
    f.label("failed")
    f.ret(1)
    f.end()


def release(f: Function, node: str, is_op: str, node_: Offsets) -> None:
    """What was saved is forgotten."""
    f.jump_if(f.test("eq", is_op, 0, "i32"), "release")
    saved = f.load(node, node_.saved)
    f.jump_if(f.test("ne", f.load(saved, TYPE), f.object("list")), "release")
    with f.when(f.test("ne", f.load(saved, SIZE, "i64"), 0, "i64")):
        released = f.object("RELEASED")
        f.incref(released)
        f.swap(released, node, node_.saved)
    f.jump("released")
    f.label("release")
    done = f.invoke(f.object("release"), node)
    f.jump_if(f.test("eq", done, "null"), "wrong")
    f.decref(done)
    f.label("released")


def next_node(f: Function, ready: str) -> str:
    """The last node that is ready, taken off the list; a reference of its own. Jumps to "out" if there is none."""
    left = f.load(ready, SIZE, "i64")
    f.jump_if(f.test("eq", left, 0, "i64"), "out")
    last = f.whole("sub", left, 1)
    node = f.item(f.load(ready, ITEMS), last)
    f.incref(node)
    f.call("PyList_SetSlice", ready, last, left, "null")
    return node


def walk(m: Module, o: Table) -> None:
    """flambeau_walk(ready, counts, buffers, shared, retain, visit, unusual): until no node is ready; None.

    visit: the Python definition for a node that is not usual; unusual: a set of such nodes, or None."""
    node_ = o[Node]
    f = m.function("flambeau_walk", "pppi", exported=True)
    ready, counts, buffers, shared, retain, visit, unusual = (f.item("%a1", i) for i in range(7))
    none = f.object("None")
    S = f.call("current")
    made_of = f.var()
    f.jump_if(f.test("eq", S, "null"), "failed")
    f.label("top")
    node = next_node(f, ready)
    with f.when(f.test("ne", unusual, none)):
        f.jump_if(f.test("ne", f.call("PySet_Contains", unusual, node), 0, "i32"), "visit")
    held = f.call("PyDict_GetItemWithError", buffers, node)
    f.jump_if(f.test("eq", held, "null"), "visit")
    f.jump_if(f.test("eq", held, none), "visit")
    f.jump_if(f.test("eq", f.load(held, TYPE), f.object("list")), "visit")
    f.jump_if(f.test("ne", f.load(node, node_.hooks), none), "visit")
    f.incref(held)
    f.call("PyDict_DelItem", buffers, node)
    with f.when(f.test("eq", f.load(node, TYPE), f.object("AccumulateGrad"))):
        wrong = f.call("leaf", S, node, held, shared)
        f.decref(held)
        f.decref(node)
        f.jump_if(f.test("ne", wrong, 0, "i64"), "failed")
        f.jump("top")
    is_op = f.call("PyType_IsSubtype", f.load(node, TYPE), f.object("OpNode"))
    f.store("null", made_of)
    with f.when(f.test("ne", is_op, 0, "i32")):
        f.store(f.call("gradients", S, node, held), made_of)
    with f.when(f.test("eq", f.load(made_of), "null")):
        f.jump_if(f.test("ne", f.call("PyErr_Occurred"), "null"), "wrong")
        f.store(f.invoke(f.object("apply"), node, held), made_of)
        f.jump_if(f.test("eq", f.load(made_of), "null"), "wrong")
    with f.when(f.test("eq", retain, f.object("False"))):
        release(f, node, is_op, node_)
    made = f.load(made_of)
    edges = f.call("PySequence_Tuple", f.load(node, node_.edges))
    failed = f.call("distribute", edges, made, held, ready, counts, buffers, shared)
    for x in (edges, made, held, node):
        f.decref(x)
    f.jump_if(f.test("ne", failed, 0, "i64"), "failed")
    f.jump("top")
    f.label("visit")
    seen = f.invoke(visit, node)
    f.decref(node)
    f.jump_if(f.test("eq", seen, "null"), "failed")
    f.decref(seen)
    f.jump("top")
    f.label("out")
    f.incref(none)
    f.ret(none)
    f.label("wrong")
    f.decref(held)
    f.decref(node)
    f.label("failed")
    f.ret("null")
    f.end()


def count(m: Module, o: Table) -> None:
    """flambeau_count(roots, set of them): how many edges lead to each node that can be reached."""
    f = m.function("flambeau_count", "pppi", exported=True)
    roots, seen = f.item("%a1", 0), f.item("%a1", 1)
    none = f.object("None")
    counts, todo = f.call("PyDict_New"), f.call("PySequence_List", roots)
    f.label("top")
    left = f.load(todo, SIZE, "i64")
    f.jump_if(f.test("eq", left, 0, "i64"), "out")
    last = f.whole("sub", left, 1)
    node = f.item(f.load(todo, ITEMS), last)
    edges = f.call("PySequence_Tuple", f.load(node, o[Node].edges))
    f.call("PyList_SetSlice", todo, last, left, "null")
    f.jump_if(f.test("eq", edges, "null"), "failed")
    with f.each(f.load(edges, SIZE, "i64")) as k:
        e = f.item(f.at(edges, ITEMS), k)
        f.jump_if(f.test("eq", e, none), "next")
        child = f.load(e, ITEMS)
        before = f.call("PyDict_GetItemWithError", counts, child)
        with f.when(f.test("ne", before, "null")):
            more = f.call("PyLong_FromSsize_t", f.whole("add", f.call("PyLong_AsSsize_t", before), 1))
            f.call("PyDict_SetItem", counts, child, more)
            f.decref(more)
            f.jump("next")
        f.call("PyDict_SetItem", counts, child, f.object("one"))
        with f.when(f.test("eq", f.call("PySet_Contains", seen, child), 0, "i32")):
            f.call("PyList_Append", todo, child)
        f.label("next")
    f.decref(edges)
    f.jump("top")
    f.label("failed")
    f.decref(counts)
    f.decref(todo)
    f.ret("null")
    f.label("out")
    f.decref(todo)
    f.ret(counts)
    f.end()
