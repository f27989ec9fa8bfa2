"""A new shape of a known structure as builtin functions: its form, made of its kin's, and its run without a program.

The definitions in Python are `derive` of ops/kin.py and `program` of stream/rebind.py; they take every other case."""

from __future__ import annotations

from ...device.cpython import ITEMS, SIZE, TYPE, Function, Module
from ...device.native import FRAME_TABLE
from ...stream.placing import ARENA_ALIGN as ALIGN
from ...stream.rebind import PRIMES, SCRATCHES
from ..kin import METAS, OTHER, SIZED, STRIDED
from .recording import Offsets, allocated
from .replaying import settle
from .running import DONE, FAILED, IDLE, ODD, SPEC, number, popped

EXTENTS, WORDS = len(PRIMES), 256  # of more, Python takes care
# The words of a recipe (rebind.readied_anew); the number of launches stands where it stands in a specification.
BASES, FLOATS, WHOLES, INTS = (8 * k for k in range(4))
CALL, SCRATCH, MOST, AXES = (8 * k for k in range(5, 9))
SHARED = "arity args checks diff effects entry into name plans slots structure writes"


def write(f: Function, to: str, word: str | int) -> None:
    """Append a word where `to` points."""
    at = f.load(to)
    f.store(str(word), at, kind="i64")
    f.store(f.at(at, 8), to)


def read(f: Function, at: str) -> str:
    """The next word."""
    p = f.load(at)
    f.store(f.at(p, 8), at)
    return f.load(p, kind="i64")


def numbered(m: Module) -> None:
    """ids(numbers, least, to, extents, counts): append the number of each extent of a shape (or strides), -1: 1, -2: 0;
    0: too many, or one below the least.

    to: where the place of the next word stands; extents: those met so far, counts: how many, and the words left."""
    f = m.function("ids", "ipippp")
    shape, least, to, extents, counts = (f"%a{i}" for i in range(5))
    count = f.load(shape, SIZE, "i64")
    left = f.whole("sub", f.load(counts, 8, "i64"), f.whole("add", count, 3))
    f.jump_if(f.test("slt", left, 0, "i64"), "odd")
    f.store(left, counts, 8, "i64")
    with f.each(count) as k:
        n = f.call("PyLong_AsSsize_t", f.item(f.at(shape, ITEMS), k))
        f.jump_if(f.test("slt", n, least, "i64"), "odd")
        found = f.var("i64", f.whole("sub", n, 2))
        f.jump_if(f.test("sle", n, 1, "i64"), "known")
        known = f.load(counts, kind="i64")
        f.store("0", found, kind="i64")
        f.label("search")
        i = f.load(found, kind="i64")
        f.jump_if(f.test("eq", i, known, "i64"), "new")
        f.jump_if(f.test("eq", f.load(extents, f.whole("mul", i, 8), "i64"), n, "i64"), "known")
        f.store(f.whole("add", i, 1), found, kind="i64")
        f.jump("search")
        f.label("new")
        f.jump_if(f.test("eq", known, EXTENTS, "i64"), "odd")
        f.store(n, extents, f.whole("mul", known, 8), "i64")
        f.store(f.whole("add", known, 1), counts, kind="i64")
        f.label("known")
        write(f, to, f.load(found, kind="i64"))
    f.ret(1)
    f.label("odd")
    f.ret(0)
    f.end()


def metadata(m: Module, meta_: Offsets) -> None:
    """about(metadata, to, extents, counts): append the words of metadata; 0: forms of such are no kin."""
    f = m.function("about", "ipppp")
    f.jump_if(f.test("ne", f.load("%a0", TYPE), f.object("Meta")), "odd")
    write(f, "%a1", f.value(f"ptrtoint ptr {f.load('%a0', meta_.dtype)} to i64"))
    shape = f.load("%a0", meta_.shape)
    write(f, "%a1", f.load(shape, SIZE, "i64"))
    good = f.call("ids", shape, 1, "%a1", "%a2", "%a3")
    with f.when(f.test("eq", f.load("%a0", meta_.plain), f.object("True"))):
        f.ret(good)
    f.jump_if(f.test("eq", good, 0, "i64"), "odd")
    write(f, "%a1", STRIDED)
    f.ret(f.call("ids", f.load("%a0", meta_.strides), 0, "%a1", "%a2", "%a3"))
    f.label("odd")
    f.ret(0)
    f.end()


def structure(m: Module) -> None:
    """structure_of(key, sized, extents, counts): a new reference, as kin.signature; null: Python has to look."""
    f = m.function("structure_of", "ppipp")
    key, sized, extents, counts = (f"%a{i}" for i in range(4))
    words, count = f.var("i64", count=WORDS), f.load(key, SIZE, "i64")
    to, made, none = f.var("ptr", words), f.var(), f.object("None")
    f.store("0", counts, kind="i64")
    f.store(str(WORDS - 8), counts, 8, "i64")
    f.jump_if(f.test("sgt", count, WORDS // 8, "i64"), "odd")
    parts = f.call("PyTuple_New", f.whole("add", count, 1))
    f.store(parts, made)
    with f.each(count) as k:
        part, kept = f.item(f.at(key, ITEMS), k), f.var("ptr", none)
        with f.when(f.test("eq", f.load(part, TYPE), f.object("Meta"))):
            f.jump_if(f.test("eq", f.call("about", part, to, extents, counts), 0, "i64"), "odd")
            f.jump("next")
        with f.when(f.test("eq", k, sized, "i64")):
            f.jump_if(f.test("ne", f.load(part, TYPE), f.object("tuple")), "odd")
            write(f, to, SIZED)
            write(f, to, f.load(part, SIZE, "i64"))
            f.jump_if(f.test("eq", f.call("ids", part, 1, to, extents, counts), 0, "i64"), "odd")
            f.jump("next")
        with f.when(f.test("eq", f.load(part, TYPE), f.object("tuple"))):
            length, items = f.load(part, SIZE, "i64"), f.at(part, ITEMS)
            f.jump_if(f.test("eq", length, 0, "i64"), "other")
            f.jump_if(f.test("ne", f.load(f.load(items), TYPE), f.object("Meta")), "other")
            write(f, to, METAS)
            write(f, to, length)
            with f.each(length) as i:
                good = f.call("about", f.item(items, i), to, extents, counts)
                f.jump_if(f.test("eq", good, 0, "i64"), "odd")
            f.jump("next")
        f.label("other")
        write(f, to, OTHER)
        f.store(part, kept)
        f.label("next")
        x = f.load(kept)
        f.incref(x)
        f.put(x, f.at(parts, ITEMS + 8), k)
    f.jump_if(f.test("eq", f.load(counts, kind="i64"), 0, "i64"), "odd")
    first = f.value(f"ptrtoint ptr {words} to i64")
    used = f.whole("sub", f.value(f"ptrtoint ptr {f.load(to)} to i64"), first)
    f.store(f.call("PyBytes_FromStringAndSize", words, used), parts, ITEMS)
    f.ret(parts)
    f.label("odd")
    f.decref(f.load(made))
    f.ret("null")
    f.end()


def result_of(m: Module) -> None:
    """outs(numbers of extents, dtype, extents): as kin.single, a new reference; null with an exception."""
    f = m.function("outs", "pppp")
    numbers, dtype, extents = f.call("PyBytes_AsString", "%a0"), "%a1", "%a2"
    count = f.value(f"lshr i64 {f.call('PyObject_Size', '%a0')}, 3")
    shape, found = f.call("PyTuple_New", count), f.var()
    with f.each(count) as k:
        n, i = f.var("i64", "1"), f.load(numbers, f.whole("mul", k, 8), "i64")
        with f.when(f.test("sge", i, 0, "i64")):
            f.store(f.load(extents, f.whole("mul", i, 8), "i64"), n, kind="i64")
        f.put(f.call("PyLong_FromSsize_t", f.load(n, kind="i64")), f.at(shape, ITEMS), k)
    key = f.call("pair", shape, dtype)
    known = f.call("PyDict_GetItemWithError", f.object("single outs"), key)
    f.store(known, found)
    with f.when(f.test("ne", known, "null")):
        f.incref(known)
    with f.when(f.test("eq", known, "null")):
        f.store(f.invoke(f.object("single"), shape, dtype), found)
    f.decref(key)
    f.ret(f.load(found))
    f.end()


def results_like(m: Module, meta_: Offsets) -> None:
    """like(key, part of it): the `outs` that are kept with metadata of the key, a new reference; null: none are."""
    f = m.function("like", "ppp")
    part = f.call("small", "%a1")
    f.jump_if(f.test("slt", part, 0, "i64"), "none")
    outs = f.load(f.item(f.at("%a0", ITEMS), part), meta_.outs)
    f.jump_if(f.test("eq", outs, f.object("None")), "none")
    f.incref(outs)
    f.ret(outs)
    f.label("none")
    f.ret("null")
    f.end()


def derived(m: Module, form_: Offsets, kin_: Offsets) -> None:
    """derived(cache, kin, sized, key): a new form, which the cache keeps, or None: it has to be traced; null: Python has
    to make it, or an exception."""
    f = m.function("derived", "pppip")
    cache, table, sized, key = (f"%a{i}" for i in range(4))
    extents, counts = f.var("i64", count=EXTENTS), f.var("i64", count=2)
    outs_of, none = f.var(), f.object("None")
    f.jump_if(f.test("sgt", f.call("PyObject_Size", cache), 4096, "i64"), "odd")
    name = f.call("structure_of", key, sized, extents, counts)
    f.jump_if(f.test("eq", name, "null"), "odd")
    kin = f.call("PyDict_GetItemWithError", table, name)
    f.decref(name)
    f.jump_if(f.test("eq", kin, "null"), "odd")
    of_family(f, kin, kin_, cache, key, (extents, f.load(counts, kind="i64")))
    template = f.load(kin, kin_.template)
    f.jump_if(f.test("eq", template, none), "odd")
    first, ids, dtype, like = (f.load(template, ITEMS + 8 * k) for k in range(4))
    fixed = [(getattr(form_, name), f.load(first, getattr(form_, name))) for name in SHARED.split()]
    fixed += [(getattr(form_, name), none) for name in ("unit", "plain_unit", "moved_unit", "backward")]
    fixed += [(form_.fresh, f.object("True")), (form_.kin, kin), (form_.key, key)]
    form = allocated(f, "Form", *fixed)  # it keeps what follows alive
    f.store(f.call("like", key, like), outs_of)
    with f.when(f.test("eq", f.load(outs_of), "null")):
        f.store(f.call("outs", ids, dtype, extents), outs_of)
    f.jump_if(f.test("eq", f.load(outs_of), "null"), "failed")
    f.store(f.load(outs_of), form, form_.outs)
    size = f.whole("mul", f.load(counts, kind="i64"), 8)
    f.store(f.call("PyBytes_FromStringAndSize", extents, size), form, form_.extents)
    done = f.value(f"icmp eq i32 {f.call('PyDict_SetItem', cache, key, form)}, 0")
    with f.when(done):
        f.call("PyObject_GC_UnTrack", key)  # metadata and static values: nothing for the collector
        f.call(
            "PyObject_GC_UnTrack", form
        )  # there are thousands; it is part of no circle but its entry's cache
        f.ret(form)
    f.label("failed")
    f.decref(form)
    f.label("out")
    f.label("odd")
    f.ret("null")
    f.end()


def of_family(f: Function, kin: str, kin_: Offsets, cache: str, key: str, extents: tuple[str, str]) -> None:
    """Return the form that the family of kin derives in Python, or None, if they have one."""
    family = f.load(kin, kin_.family)
    with f.when(f.test("ne", family, f.object("None"))):
        numbers = f.call("PyList_New", extents[1])
        with f.each(extents[1]) as k:
            n = f.load(extents[0], f.whole("mul", k, 8), "i64")
            f.put(f.call("PyLong_FromSsize_t", n), f.load(numbers, ITEMS), k)
        made = f.invoke(f.object("family form"), family, key, numbers)
        f.decref(numbers)
        f.jump_if(f.test("eq", made, "null"), "out")
        with f.when(f.test("ne", made, f.object("None"))):
            kept = f.value(f"icmp eq i32 {f.call('PyDict_SetItem', cache, key, made)}, 0")
            with f.when(f.value(f"xor i1 {kept}, true")):
                f.decref(made)
                f.ret("null")
        f.ret(made)


def product(f: Function, at: str, extents: str) -> str:
    """The product of some extents: how many and which is written from `at` on."""
    n = f.var("i64")
    f.store("1", n, kind="i64")
    with f.each(read(f, at)):
        extent = f.load(extents, f.whole("mul", read(f, at), 8), "i64")
        f.store(f.whole("mul", f.load(n, kind="i64"), extent), n, kind="i64")
    return f.load(n, kind="i64")


def recipe(m: Module, form_: Offsets, kin_: Offsets, pattern_: Offsets, recipe_: Offsets) -> None:
    """recipe(form, moved): what a derived form runs by (`Recipe.ready`, borrowed); null: it needs a program, or has one.
    moved: not 0 if there are offsets."""
    f = m.function("recipe", "ppi")
    none, kin = f.object("None"), f.load("%a0", form_.kin)
    f.jump_if(f.test("eq", kin, none), "no")
    made = f.test("ne", f.load("%a0", form_.plain_unit), none)
    f.jump_if(f.both(made, f.test("eq", "%a1", 0, "i64")), "no")
    quick = f.load(f.load(kin, kin_.pattern), pattern_.quick)
    f.jump_if(f.test("eq", quick, none), "no")
    ready = f.load(quick, recipe_.ready)
    f.jump_if(f.test("eq", ready, none), "no")
    spec = f.call("PyBytes_AsString", f.load(ready, SPEC))
    at, extents = f.var("ptr", f.at(spec, AXES)), f.call("PyBytes_AsString", f.load("%a0", form_.extents))
    elements = product(f, at, extents)
    f.jump_if(f.test("sge", elements, f.load(spec, MOST, "i64"), "i64"), "no")
    f.ret(ready)
    f.label("no")
    f.ret("null")
    f.end()


def memory(m: Module, st_: Offsets, form_: Offsets, block_: Offsets) -> None:
    """block(bytes, an int): a new block; null with an exception. give_results(form, slots): 0: an exception."""
    f = m.function("block", "pp")
    home = f.call("PyDict_GetItemWithError", f.object("free lists"), "%a0")
    with f.when(f.test("ne", home, "null")):
        found = f.call("cached", home, "%a0")
        f.jump_if(f.test("ne", found, "null"), "found")
    f.ret(f.invoke(f.object("alloc"), "%a0"))
    f.label("found")
    f.ret(found)
    f.end()
    f = m.function("give_results", "ipp")
    outs = f.load("%a0", form_.outs)
    count = f.load(outs, SIZE, "i64")
    first = f.whole("sub", f.call("small", f.load("%a0", form_.slots)), count)
    with f.each(count) as k:
        st = f.item("%a1", f.whole("add", first, k))
        block = f.call("block", f.load(f.item(f.load(outs, ITEMS), k), ITEMS + 16))
        f.jump_if(f.test("eq", block, "null"), "failed")
        settle(f, st, st_, block, block_)
    f.ret(1)
    f.label("failed")
    f.ret(0)
    f.end()


def fill(m: Module, st_: Offsets) -> None:
    """fill_derived(table, recipe, words, slots, scratch, extents, offsets): the table of a recipe; 1: Python has to.
    offsets: of each operand, or null."""
    f = m.function("fill_derived", "ippppppp")
    spec, at_first, slots, scratch, extents, offsets = (f"%a{i}" for i in range(1, 7))
    table, at = f.var("ptr", f.at("%a0", 8)), f.var("ptr", at_first)
    with f.each(f.load(spec, BASES, "i64")):
        slot, scale = read(f, at), read(f, at)
        st = f.item(slots, slot)
        f.jump_if(f.test("ne", f.load(st, TYPE), f.object("Storage")), "odd")
        address = f.var("i64", number(f, f.load(st, st_.ptr)))
        with f.when(f.both(f.test("ne", offsets, "null"), f.test("ne", scale, 0, "i64"))):
            moved = f.whole("mul", f.load(offsets, f.whole("mul", slot, 8), "i64"), scale)
            f.store(f.whole("add", f.load(address, kind="i64"), moved), address, kind="i64")
        write(f, table, f.load(address, kind="i64"))
    with f.each(f.load(spec, SCRATCH, "i64")) as k:
        write(f, table, f.load(scratch, f.whole("mul", k, 8), "i64"))
    with f.each(f.load(spec, FLOATS, "i64")):
        x = f.call("PyFloat_AsDouble", f.item(slots, read(f, at)))
        with f.when(f.value(f"fcmp oeq double {x}, -1.0")):
            f.jump_if(f.test("ne", f.call("PyErr_Occurred"), "null"), "odd")
        write(f, table, f.value(f"bitcast double {x} to i64"))
    with f.each(f.load(spec, WHOLES, "i64")):
        write(f, table, number(f, f.item(slots, read(f, at))))
    with f.each(f.load(spec, INTS, "i64")):
        write(f, table, product(f, at, extents))
    f.ret(0)
    f.label("odd")
    f.ret(1)
    f.end()


def launched(m: Module, form_: Offsets, block_: Offsets, frame_: Offsets) -> None:
    """launched_derived(form, ready, slots, progress, offsets): run it once; see `launched` of running.py.

    So little work is done by one thread within the interpreter's lock: nobody else takes the frame meanwhile."""
    f = m.function("launched_derived", "ippppp")
    form, ready, slots, progress, given_offsets = (f"%a{i}" for i in range(5))
    spec, extents = (
        f.call("PyBytes_AsString", x) for x in (f.load(ready, SPEC), f.load(form, form_.extents))
    )
    code, idle = f.var("i64", str(FAILED)), f.load(ready, IDLE)
    arena, offsets = f.var(), f.var("i64", count=SCRATCHES)
    at, total = f.var("ptr", f.at(spec, AXES)), f.var("i64")
    f.jump_if(f.test("eq", f.call("give_results", form, slots), 0, "i64"), "out")
    f.store(f.at(f.load(at), f.whole("mul", f.whole("add", f.load(spec, AXES, "i64"), 1), 8)), at)
    with f.each(f.load(spec, SCRATCH, "i64")) as k:
        size = read(f, at)
        nbytes = f.whole("mul", size, product(f, at, extents))
        f.store(f.load(total, kind="i64"), offsets, f.whole("mul", k, 8), "i64")
        more = f.whole("and", f.whole("add", nbytes, 2 * ALIGN - 1), -ALIGN)
        f.store(f.whole("add", f.load(total, kind="i64"), more), total, kind="i64")
    with f.when(f.test("ne", f.load(total, kind="i64"), 0, "i64")):
        wanted = f.call("PyLong_FromSsize_t", f.load(total, kind="i64"))
        f.store(f.call("block", wanted), arena)
        f.decref(wanted)
        f.jump_if(f.test("eq", f.load(arena), "null"), "out")
        base = number(f, f.load(f.load(arena), block_.ptr))
        with f.each(f.load(spec, SCRATCH, "i64")) as k:
            place = f.at(offsets, f.whole("mul", k, 8))
            f.store(f.whole("add", f.load(place, kind="i64"), base), place, kind="i64")
    frames = f.load(idle, SIZE, "i64")
    f.jump_if(f.test("eq", frames, 0, "i64"), "odd")
    frame = f.item(f.load(idle, ITEMS), f.whole("sub", frames, 1))
    address = number(f, f.load(frame, frame_.address))
    table = f.value(f"inttoptr i64 {f.whole('add', address, FRAME_TABLE)} to ptr")
    filled = f.call("fill_derived", table, spec, f.load(at), slots, offsets, extents, given_offsets)
    f.jump_if(f.test("ne", filled, 0, "i64"), "odd")
    call, given = (f.value(f"inttoptr i64 {x} to ptr") for x in (f.load(spec, CALL, "i64"), address))
    result = f.value(f"call i64 {call}(ptr {given})")
    with f.when(f.test("ne", result, -1, "i64")):  # a time slice is over
        taken, number_of = popped(f, idle, "out"), f.call("PyLong_FromSsize_t", result)
        then = f.invoke(f.object("derived outcome"), form, taken, number_of, progress)
        f.decref(number_of)
        f.call("add", idle, taken)
        f.jump_if(f.test("eq", then, "null"), "out")
        f.decref(then)
    f.store(str(DONE), code, kind="i64")
    f.jump("out")
    f.label("odd")
    f.call("PyErr_Clear")
    f.store(str(ODD), code, kind="i64")
    f.label("out")
    f.decref(f.load(arena))
    f.ret(f.load(code, kind="i64"))
    f.end()
