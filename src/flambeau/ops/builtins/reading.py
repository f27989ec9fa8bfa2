"""Values read out of tensors as builtin functions: `item`, `tolist`, Python's conversions, and whether two are equal.

The definitions in Python (tensor/exchange.py) take every case that is not the usual one: subclasses, a capture under
way, storages without bytes, dtypes that Python has no numbers for, and whatever is an error."""

from __future__ import annotations

from collections.abc import Callable

from ...device.cpython import ITEMS, SIZE, TYPE, Function, Module
from ...stream.value import Meta, Storage, StorageInfo, Stream, Tensor
from .flushing import answered
from .recording import Offsets

# dtype: its LLVM type and bytes. The position is its code; those below WHOLE are floating-point numbers.
KINDS = {
    **{"float32": ("float", 4), "float64": ("double", 8)},
    **{"int64": ("i64", 8), "int32": ("i32", 4), "int16": ("i16", 2), "int8": ("i8", 1)},
    **{"uint8": ("i8", 1), "bool": ("i8", 1)},
}
WHOLE, BOOL = 2, len(KINDS) - 1
FEW = 1024  # elements of which `same` compares one after the other
Table = dict[type, Offsets]


def declare(m: Module, o: Table) -> None:
    """All functions of this file."""
    widths = ", ".join(f"i64 {width}" for _, width in KINDS.values())
    m.globals.append(f"@widths = internal constant [{len(KINDS)} x i64] [{widths}]")
    kind_of(m, o[Meta])
    readable(m, o[Storage], o[StorageInfo])
    place(m, o)
    numbers(m)
    python_number(m)
    list_of(m)
    for name, make in METHODS.items():
        method(m, o, name, make)
    same(m, o)


def kind_of(m: Module, meta_: Offsets) -> None:
    """kind_of(meta): the code of its dtype; -1 if there is none."""
    f = m.function("kind_of", "ip")
    dtype = f.load("%a0", meta_.dtype)
    for code, name in enumerate(KINDS):
        with f.when(f.test("eq", dtype, f.object(f"dtype {name}"))):
            f.ret(code)
    f.ret(-1)
    f.end()


def width_of(f: Function, code: str) -> str:
    """Bytes of a number."""
    return f.load(f.value(f"getelementptr i64, ptr @widths, i64 {code}"), kind="i64")


def readable(m: Module, st_: Offsets, info_: Offsets) -> None:
    """readable(storage): whether nothing unusual about it keeps its bytes from being read."""
    f = m.function("readable", "ip")
    info, none = f.load("%a0", st_.info), f.object("None")
    with f.when(f.test("eq", info, none)):
        f.ret(1)
    f.jump_if(f.test("ne", f.load(info, TYPE), f.object("StorageInfo")), "no")
    f.jump_if(f.test("ne", f.load(info, info_.poison), none), "no")
    f.ret(1)
    f.label("no")
    f.ret(0)
    f.end()


def place(m: Module, o: Table) -> None:
    """place(tensor, code): the address of its first element, whose bytes are there; 0: a case for Python, or an error."""
    t_, st_, s_ = o[Tensor], o[Storage], o[Stream]
    f = m.function("place", "ipi")
    f.jump_if(f.test("eq", f.call("is_plain", "%a0"), 0, "i64"), "odd")
    S, none, st = f.call("current"), f.object("None"), f.load("%a0", t_.st)
    for x in (S, st):
        f.jump_if(f.test("eq", x, "null"), "odd")
    f.jump_if(f.test("ne", f.load(S, s_.capture), none), "odd")
    f.jump_if(f.test("eq", f.call("readable", st), 0, "i64"), "odd")
    pend = f.load(st, st_.pend)
    with f.when(f.test("ne", pend, none)):
        f.jump_if(f.test("ne", pend, S), "odd")
        f.jump_if(f.test("eq", f.call("flushed", S), "null"), "odd")
        f.jump_if(f.test("ne", f.load(st, st_.pend), none), "odd")
        f.jump_if(f.test("eq", f.call("readable", st), 0, "i64"), "odd")
    home = f.load(st, st_.home)
    with f.when(f.test("ne", home, none)):
        # what is recorded may write here; a name table that was run is empty
        f.jump_if(f.test("ne", f.load(home, SIZE, "i64"), 0, "i64"), "odd")
    start = f.call("PyLong_AsSsize_t", f.load(st, st_.ptr))
    offset = f.call("PyLong_AsSsize_t", f.load("%a0", t_.off))
    with f.when(f.test("sle", start, 0, "i64")):
        f.call("PyErr_Clear")
        f.ret(0)
    f.ret(f.whole("add", start, f.whole("mul", offset, width_of(f, "%a1"))))
    f.label("odd")
    f.ret(0)
    f.end()


def numbers(m: Module) -> None:
    """real(address, code), whole(address, code): the number there; whole for integers and bool alone."""
    for name, result, first in (("real", "d", 0), ("whole", "i", WHOLE)):
        f = m.function(name, f"{result}ii")
        p, to = f.value("inttoptr i64 %a0 to ptr"), "double" if result == "d" else "i64"
        for code, (dtype, (kind, width)) in enumerate(KINDS.items()):
            if code < first:
                continue
            with f.when(f.test("eq", "%a1", code, "i64")):
                x = f.value(f"load {kind}, ptr {p}, align {width}")
                if kind != to:
                    x = f.value(f"{cast(dtype, result)} {kind} {x} to {to}")
                f.ret(x)
        f.end()


def cast(dtype: str, result: str) -> str:
    """The instruction that makes a double (d) or an i64 of a number."""
    unsigned = dtype in ("uint8", "bool")
    if result == "i":
        return "zext" if unsigned else "sext"
    return "fpext" if dtype == "float32" else "uitofp" if unsigned else "sitofp"


def python_number(m: Module) -> None:
    """number(address, code): the Python number there."""
    f = m.function("number_at", "pii")
    with f.when(f.test("slt", "%a1", WHOLE, "i64")):
        f.ret(f.call("PyFloat_FromDouble", f.call("real", "%a0", "%a1")))
    found = f.call("whole", "%a0", "%a1")
    with f.when(f.test("eq", "%a1", BOOL, "i64")):
        f.ret(f.call("PyBool_FromLong", found))
    f.ret(f.call("PyLong_FromSsize_t", found))
    f.end()


def list_of(m: Module) -> None:
    """list_of(address, code, lengths, strides, dimensions): nested lists of the numbers there; null: an error."""
    f = m.function("list_of", "piippi")
    address, code, lengths, strides, ndim = (f"%a{i}" for i in range(5))
    with f.when(f.test("eq", ndim, 0, "i64")):
        f.ret(f.call("number_at", address, code))
    count = f.call("PyLong_AsSsize_t", f.load(lengths))
    step = f.whole("mul", f.call("PyLong_AsSsize_t", f.load(strides)), width_of(f, code))
    inner = [f.at(x, 8) for x in (lengths, strides)]
    rest = f.whole("sub", ndim, 1)
    made = f.call("PyList_New", count)
    f.jump_if(f.test("eq", made, "null"), "failed")
    with f.each(count) as i:
        at = f.whole("add", address, f.whole("mul", i, step))
        x = f.call("list_of", at, code, *inner, rest)
        f.put(x, f.load(made, ITEMS), i)
        f.jump_if(f.test("eq", x, "null"), "failed")
    f.ret(made)
    f.label("failed")
    f.decref(made)
    f.ret("null")
    f.end()


def item(f: Function, at: str, code: str, meta: str, meta_: Offsets) -> str:
    """t.item()"""
    return f.call("number_at", at, code)


def as_float(f: Function, at: str, code: str, meta: str, meta_: Offsets) -> str:
    """float(t)"""
    return f.call("PyFloat_FromDouble", f.call("real", at, code))


def as_int(f: Function, at: str, code: str, meta: str, meta_: Offsets) -> str:
    """int(t)"""
    with f.when(f.test("slt", code, WHOLE, "i64")):
        f.ret(f.call("PyLong_FromDouble", f.call("real", at, code)))
    return f.call("PyLong_FromSsize_t", f.call("whole", at, code))


def as_index(f: Function, at: str, code: str, meta: str, meta_: Offsets) -> str:
    """operator.index(t)"""
    f.jump_if(f.test("slt", code, WHOLE, "i64"), "odd")
    return f.call("PyLong_FromSsize_t", f.call("whole", at, code))


def as_bool(f: Function, at: str, code: str, meta: str, meta_: Offsets) -> str:
    """bool(t)"""
    nonzero = f.value(f"fcmp une double {f.call('real', at, code)}, 0.0")
    return f.call("PyBool_FromLong", f.value(f"zext i1 {nonzero} to i64"))


def tolist(f: Function, at: str, code: str, meta: str, meta_: Offsets) -> str:
    """t.tolist()"""
    shape, strides = f.load(meta, meta_.shape), f.load(meta, meta_.strides)
    places = [f.at(x, ITEMS) for x in (shape, strides)]
    return f.call("list_of", at, code, *places, f.load(shape, SIZE, "i64"))


# Methods of Tensor and what makes their results.
METHODS = {
    "item": item,
    "tolist": tolist,
    "__float__": as_float,
    "__int__": as_int,
    "__bool__": as_bool,
    "__index__": as_index,
}


def method(m: Module, o: Table, name: str, make: Callable[[Function, str, str, str, Offsets], str]) -> None:
    """A method without arguments: what `make` makes, and otherwise what the definition in Python says."""
    t_, meta_ = o[Tensor], o[Meta]
    f = m.function(f"flambeau_{name.strip('_')}", "ppp", exported=True)
    meta = f.load("%a0", t_.meta)
    f.jump_if(f.test("eq", meta, "null"), "odd")
    if name != "tolist":
        one = f.call("PyLong_AsSsize_t", f.load(meta, meta_.numel))
        f.jump_if(f.test("ne", one, 1, "i64"), "odd")
    code = f.call("kind_of", meta)
    f.jump_if(f.test("slt", code, 0, "i64"), "odd")
    at = f.call("place", "%a0", code)
    f.jump_if(f.test("eq", at, 0, "i64"), "unread")
    f.ret(make(f, at, code, meta, meta_))
    f.label("unread")
    with f.when(f.test("ne", f.call("PyErr_Occurred"), "null")):
        f.ret("null")
    f.label("odd")
    f.ret(f.invoke(f.object(f"python {name}"), "%a0"))
    f.end()


def same(m: Module, o: Table) -> None:
    """flambeau_same(context, arguments, count): whether two tensors of the same metadata are equal; None: a case for Python."""
    t_, meta_ = o[Tensor], o[Meta]
    f = m.function("flambeau_same", "pppi", exported=True)
    a, b = f.load("%a1"), f.load("%a1", 8)
    for x in (a, b):
        f.jump_if(f.test("eq", f.call("is_plain", x), 0, "i64"), "odd")
    meta = f.load(a, t_.meta)
    f.jump_if(f.test("eq", meta, "null"), "odd")
    f.jump_if(f.test("ne", f.load(b, t_.meta), meta), "odd")
    f.jump_if(f.test("ne", f.load(meta, meta_.contiguous), f.object("True")), "odd")
    count = f.call("PyLong_AsSsize_t", f.load(meta, meta_.numel))
    f.jump_if(f.test("sgt", count, FEW, "i64"), "odd")
    code = f.call("kind_of", meta)
    f.jump_if(f.test("slt", code, 0, "i64"), "odd")
    places = []
    for x in (a, b):
        places.append(f.call("place", x, code))
        f.jump_if(f.test("eq", places[-1], 0, "i64"), "unread")
    width = width_of(f, code)
    is_real = f.test("slt", code, WHOLE, "i64")
    with f.each(count) as i:
        at = [f.whole("add", p, f.whole("mul", i, width)) for p in places]
        with f.when(is_real):
            x, y = (f.call("real", p, code) for p in at)
            f.jump_if(f.value(f"fcmp une double {x}, {y}"), "known")
        with f.when(f.value(f"xor i1 {is_real}, true")):
            x, y = (f.call("whole", p, code) for p in at)
            f.jump_if(f.test("ne", x, y, "i64"), "known")
    answered(f, "True", ())
    f.label("known")
    answered(f, "False", ())
    f.label("unread")
    with f.when(f.test("ne", f.call("PyErr_Occurred"), "null")):
        f.ret("null")
    f.label("odd")
    answered(f, "None", ())
    f.end()
