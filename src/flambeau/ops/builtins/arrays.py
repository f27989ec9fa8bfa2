"""Tensors as NumPy arrays, and arrays as tensors or copied to some, as builtin functions.

`as_numpy` of stream/host.py and `foreign` of tensor/exchange.py take every case that is not the usual one: dtypes that
`reading` has no code for, empty tensors, protected memory, arrays that are not row-major."""

from __future__ import annotations

import ctypes
from typing import Any

from ...device.cpython import ITEMS, SIZE, TYPE, Function, Module
from ...device.memory import COUNTED, Block
from ...stream.host import Exported
from ...stream.value import Meta, Storage, StorageInfo, Stream, Tensor
from .flushing import answered
from .reading import KINDS, Table, width_of
from .recording import Offsets, allocated

# What is known of NumPy once an array is made: its class, the addresses of two functions, the dtypes of `KINDS`.
API: list[Any] = []
CLASS, NEW, SET_BASE, DTYPES = range(4)
# Where NumPy's table has what tells it, and those functions; where its objects have what (all fixed since NumPy 1.7).
PLACES = {CLASS: 2, NEW: 94, SET_BASE: 282}
DATA, NDIM, DIMS, DESCR, FLAGS, WATCHED = 16, 24, 32, 56, 64, 72
ROWS, OWNED, ALIGNED, WRITEABLE = 0x1, 0x4, 0x100, 0x400
MOST = 32  # dimensions of an array


def learn() -> None:
    """Fill `API`; of a NumPy that is not as expected, the class alone is known."""
    import numpy as np

    API.append(np.ndarray)
    core: Any = getattr(np, "_core", None) or np.core
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    table = ctypes.cast(get(core._multiarray_umath._ARRAY_API, None), ctypes.POINTER(ctypes.c_void_p))
    if table[PLACES[CLASS]] == id(np.ndarray):
        API.extend([table[PLACES[NEW]], table[PLACES[SET_BASE]], *map(np.dtype, KINDS)])


def declare(m: Module, o: Table) -> None:
    """All functions of this file."""
    known(m)
    counted(m, o)
    exported(m, o)
    shape_of(m)
    row_major(m)
    copied(m)
    storages(m, o)
    foreign(m, o)


def known(m: Module) -> None:
    """array_api(): the elements of `API`; null: NumPy is not as expected."""
    f = m.function("array_api", "p")
    api = f.object("array api")
    with f.when(f.test("eq", f.load(api, SIZE, "i64"), 0, "i64")):
        done = f.invoke(f.object("learn arrays"))
        f.jump_if(f.test("eq", done, "null"), "odd")
        f.decref(done)
    f.jump_if(f.test("sle", f.load(api, SIZE, "i64"), DTYPES, "i64"), "odd")
    f.ret(f.load(api, ITEMS))
    f.label("odd")
    f.call("PyErr_Clear")
    f.ret("null")
    f.end()


def function_of(f: Function, api: str, which: int) -> str:
    """The address of one of NumPy's functions."""
    return f.value(f"inttoptr i64 {f.call('PyLong_AsSsize_t', f.item(api, which))} to ptr")


def made_info(f: Function, info_: Offsets, owner: str) -> str:
    """A new StorageInfo; null, at the label `out`, if there is no memory."""
    none, false = f.object("None"), f.object("False")
    own = f.test("eq", owner, none)
    resizable = f.value(f"select i1 {own}, ptr {f.object('True')}, ptr {false}")
    return allocated(
        *(f, "StorageInfo", (info_.owner, owner), (info_.exported, f.object("zero"))),
        *((info_.readonly, false), (info_.poison, none), (info_.resizable, resizable)),
    )


def counted(m: Module, o: Table) -> None:
    """window(storage): a new object that keeps it alive, counted as a view of others; null: protected, or an error."""
    st_, info_ = o[Storage], o[StorageInfo]
    f = m.function("window", "pp")
    with f.when(f.test("eq", f.load("%a0", st_.info), f.object("None"))):
        f.swap(made_info(f, info_, f.object("None")), "%a0", st_.info)
    info = f.load("%a0", st_.info)
    f.jump_if(f.test("ne", f.load(info, info_.readonly), f.object("False")), "out")
    made = allocated(f, "Exported", (o[Exported].st, "%a0"))
    now = f.whole("add", f.call("small", f.load(info, info_.exported)), 1)
    f.swap(f.call("PyLong_FromSsize_t", now), info, info_.exported)
    f.ret(made)
    f.label("out")
    f.ret("null")
    f.end()


def exported(m: Module, o: Table) -> None:
    """flambeau_exported(tensor): the array over its memory; None: a case for Python, or an error."""
    t_, meta_ = o[Tensor], o[Meta]
    f = m.function("flambeau_exported", "pppi", exported=True)
    t, dims, strides = f.load("%a1"), f.var("i64", count=MOST), f.var("i64", count=MOST)
    f.jump_if(f.test("eq", f.call("is_plain", t), 0, "i64"), "odd")
    meta = f.load(t, t_.meta)
    f.jump_if(f.test("eq", meta, "null"), "odd")
    f.jump_if(f.test("ne", f.load(t, t_.rg), f.object("False")), "odd")
    f.jump_if(f.test("eq", f.load(meta, meta_.numel), f.object("zero")), "odd")
    shape, steps = f.load(meta, meta_.shape), f.load(meta, meta_.strides)
    ndim, code = f.load(shape, SIZE, "i64"), f.call("kind_of", meta)
    f.jump_if(f.test("sgt", ndim, MOST, "i64"), "odd")
    f.jump_if(f.test("slt", code, 0, "i64"), "odd")
    at = f.call("place", t, code)
    f.jump_if(f.test("eq", at, 0, "i64"), "unread")
    api, width = f.call("array_api"), width_of(f, code)
    f.jump_if(f.test("eq", api, "null"), "odd")
    with f.each(ndim) as k:
        n, step = (f.call("small", f.item(f.at(x, ITEMS), k)) for x in (shape, steps))
        f.store(n, dims, f.whole("mul", k, 8), "i64")
        f.store(f.whole("mul", step, width), strides, f.whole("mul", k, 8), "i64")
    base = f.call("window", f.load(t, t_.st))
    f.jump_if(f.test("eq", base, "null"), "odd")
    rows = f.test("eq", f.load(meta, meta_.contiguous), f.object("True"))
    given = f.value(f"select i1 {rows}, ptr null, ptr {strides}")
    flags = f.value(f"select i1 {rows}, i32 {ROWS | ALIGNED | WRITEABLE}, i32 {ALIGNED | WRITEABLE}")
    dtype = f.item(api, f.whole("add", code, DTYPES))
    f.incref(dtype)
    count, data = f.value(f"trunc i64 {ndim} to i32"), f.value(f"inttoptr i64 {at} to ptr")
    made = f.value(
        f"call ptr {function_of(f, api, NEW)}(ptr {f.item(api, CLASS)}, ptr {dtype}, i32 {count}, ptr {dims}, "
        f"ptr {given}, ptr {data}, i32 {flags}, ptr null)"
    )
    with f.when(f.test("eq", made, "null")):
        f.decref(base)
        f.ret("null")
    f.value(f"call i32 {function_of(f, api, SET_BASE)}(ptr {made}, ptr {base})")  # of a new array it succeeds
    f.ret(made)
    f.label("unread")
    with f.when(f.test("ne", f.call("PyErr_Occurred"), "null")):
        f.ret("null")
    f.label("odd")
    f.call("PyErr_Clear")
    answered(f, "None", ())
    f.end()


def dtype_of(f: Function, api: str, array: str) -> tuple[str, str]:
    """Where the dtype of an array and its bytes are kept; at the label `odd` if it is none of `KINDS`."""
    dtype, width, descr = f.var(), f.var("i64"), f.load(array, DESCR)
    for code, (name, (_, nbytes)) in enumerate(KINDS.items()):
        with f.when(f.test("eq", descr, f.item(api, DTYPES + code))):
            f.store(f.object(f"dtype {name}"), dtype)
            f.store(str(nbytes), width, kind="i64")
    f.jump_if(f.test("eq", f.load(dtype), "null"), "odd")
    return dtype, width


def shape_of(m: Module) -> None:
    """shape_of(array, bytes of an element): a new tuple, and all bytes where the second points to."""
    f = m.function("shape_of", "ppp")
    dims, ndim = f.load("%a0", DIMS), f.value(f"zext i32 {f.load('%a0', NDIM, 'i32')} to i64")
    made = f.call("PyTuple_New", ndim)
    f.jump_if(f.test("eq", made, "null"), "out")
    with f.each(ndim) as k:
        n = f.load(dims, f.whole("mul", k, 8), "i64")
        f.store(f.whole("mul", f.load("%a1", kind="i64"), n), "%a1", kind="i64")
        f.put(f.call("PyLong_FromSsize_t", n), f.at(made, ITEMS), k)
    f.label("out")
    f.ret(made)
    f.end()


def copied(m: Module) -> None:
    """copied(from, to, bytes)"""
    f = m.function("copied", "vppi")
    whole = f.whole("and", "%a2", -8)
    with f.each(f.whole("lshr", "%a2", 3)) as k:
        at = f.whole("mul", k, 8)
        f.store(f.value(f"load i64, ptr {f.at('%a0', at)}, align 1"), "%a1", at, "i64")
    with f.each(f.whole("and", "%a2", 7)) as k:
        at = f.whole("add", whole, k)
        f.lines.append(f"  store i8 {f.load('%a0', at, 'i8')}, ptr {f.at('%a1', at)}, align 1")
    f.ret("")
    f.end()


def row_major(m: Module) -> None:
    """row_major(shape, dtype): as value.fresh_meta, a new reference."""
    f = m.function("row_major", "ppp")
    f.incref("%a0")
    key, found = f.call("pair", "%a0", "%a1"), f.var()
    f.store(f.call("PyDict_GetItemWithError", f.object("fresh metadata"), key), found)
    with f.when(f.test("ne", f.load(found), "null")):
        f.incref(f.load(found))
        f.decref(key)
        f.ret(f.load(found))
    f.decref(key)
    f.ret(f.invoke(f.object("fresh meta"), "%a0", "%a1"))
    f.end()


def stored(f: Function, st_: Offsets, block: str, size: str, address: str, info: str) -> str:
    """A new storage; null, at the label `out`, if there is no memory. size and address: numbers that are taken over."""
    none = f.object("None")
    st = allocated(
        *(f, "Storage", (st_.block, block), (st_.nbytes, size), (st_.ptr, address), (st_.pend, none)),
        *((st_.home, none), (st_.info, info), (st_.sid, f.object("minus one"))),
    )
    for x in (size, address):
        f.decref(x)
    return st


def storages(m: Module, o: Table) -> None:
    """storage_over(array, owner, alone, bytes): that of its memory. storage_of_copy(array, bytes): one of its own."""
    st_, info_ = o[Storage], o[StorageInfo]
    f = m.function("storage_over", "ppppi")
    array, owner, info = "%a0", "%a1", f.var("ptr", f.object("None"))
    flags = f.load(array, FLAGS, "i32")
    owned = f.value(f"icmp ne i32 {f.value(f'and i32 {flags}, {OWNED}')}, 0")
    unwatched = f.test("eq", f.load(array, WATCHED), "null")
    ours = f.both(f.test("eq", "%a2", f.object("True")), owned, unwatched)
    theirs = f.value(f"xor i1 {ours}, true")
    with f.when(theirs):  # others may write there
        f.store(made_info(f, info_, owner), info)
    at = f.value(f"ptrtoint ptr {f.load(array, DATA)} to i64")
    size, address = (f.call("PyLong_FromSsize_t", x) for x in ("%a3", at))
    st = stored(f, st_, owner, size, address, f.load(info))
    with f.when(theirs):
        f.decref(f.load(info))
    f.ret(st)
    f.label("out")
    f.ret("null")
    f.end()
    f = m.function("storage_of_copy", "ppi")
    size = f.call("PyLong_FromSsize_t", "%a1")
    block = f.call("block", size)
    f.jump_if(f.test("eq", block, "null"), "out")
    address = f.load(block, o[Block].ptr)
    f.incref(address)
    to = f.value(f"inttoptr i64 {f.call('PyLong_AsSsize_t', address)} to ptr")
    f.call("copied", f.load("%a0", DATA), to, "%a1")
    st = stored(f, st_, block, size, address, f.object("None"))
    f.decref(block)
    f.ret(st)
    f.label("out")
    f.ret("null")
    f.end()


def foreign(m: Module, o: Table) -> None:
    """flambeau_foreign(array, owner, alone): the tensor over its memory; None: a case for Python. alone: nobody else
    refers to the array; None: the tensor has a copy, and the owner is not asked for."""
    t_, s_ = o[Tensor], o[Stream]
    f = m.function("flambeau_foreign", "pppi", exported=True)
    array, owner, alone = (f.item("%a1", k) for k in range(3))
    none, held = f.object("None"), [f.var() for _ in range(2)]
    S, api = f.call("current"), f.call("array_api")
    for x in (S, api):
        f.jump_if(f.test("eq", x, "null"), "odd")
    f.jump_if(f.test("ne", f.load(S, s_.capture), none), "odd")
    f.jump_if(f.test("ne", f.load(array, TYPE), f.item(api, CLASS)), "odd")
    flags, usual = f.load(array, FLAGS, "i32"), ROWS | ALIGNED | WRITEABLE
    f.jump_if(f.value(f"icmp ne i32 {f.value(f'and i32 {flags}, {usual}')}, {usual}"), "odd")
    dtype, nbytes = dtype_of(f, api, array)
    shape = f.call("shape_of", array, nbytes)
    f.store(shape, held[0])
    f.jump_if(f.test("eq", shape, "null"), "out")
    size, copy = f.load(nbytes, kind="i64"), f.test("eq", alone, none)
    f.jump_if(f.test("eq", size, 0, "i64"), "odd")
    f.jump_if(f.both(copy, f.test("sge", size, COUNTED, "i64")), "odd")
    meta, st = f.call("row_major", shape, f.load(dtype)), f.var()
    f.store(meta, held[1])
    f.jump_if(f.test("eq", meta, "null"), "out")
    with f.when(copy):
        f.store(f.call("storage_of_copy", array, size), st)
    with f.when(f.value(f"xor i1 {copy}, true")):
        f.store(f.call("storage_over", array, owner, alone, size), st)
    f.jump_if(f.test("eq", f.load(st), "null"), "out")
    t = f.call("tensor", f.load(st), meta, f.object("zero"))
    f.decref(f.load(st))
    f.jump_if(f.test("eq", t, "null"), "out")
    fresh = f.load(S, s_.fresh)
    f.incref(fresh)
    f.swap(fresh, t, t_.ver)
    for x in held:
        f.decref(f.load(x))
    f.ret(t)
    f.label("odd")
    f.decref(f.load(held[0]))
    f.call("PyErr_Clear")
    answered(f, "None", ())
    f.label("out")
    for x in held:
        f.decref(f.load(x))
    f.ret("null")
    f.end()
