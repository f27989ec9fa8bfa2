"""Tensors over a storage that is there: views without history and `detach`, as builtin functions.

The definitions, `view_tensor` of ops/viewing.py and `detach` of tensor/attributes.py, take what is not the usual case."""

from __future__ import annotations

from ...device.cpython import ITEMS, Function, Module
from ...stream.value import Stream, Tensor, Version
from .recording import Offsets


def declare(m: Module, o: dict[type, Offsets]) -> None:
    """All functions of this file."""
    viewed(m, o[Stream], o[Tensor], o[Version])
    detach(m, o[Tensor])


def shared_counter(f: Function, source: str, t_: Offsets) -> str:
    """The counter of writes that a tensor shares with those made of it; a case for Python: at the label `odd`."""
    version = f.var("ptr", f.load(source, t_.ver))
    with f.when(f.test("eq", f.load(version), f.object("None"))):
        f.store(f.call("counter", source), version)
        f.jump_if(f.test("eq", f.load(version), "null"), "odd")
    return f.load(version)


def alias(f: Function, source: str, meta: str, off: str, t_: Offsets) -> str:
    """A tensor of the same storage and counter; at the label `odd` where there is none."""
    version = shared_counter(f, source, t_)
    t = f.call("tensor", f.load(source, t_.st), meta, off)
    f.jump_if(f.test("eq", t, "null"), "odd")
    f.incref(version)
    f.swap(version, t, t_.ver)
    return t


def viewed(m: Module, s_: Offsets, t_: Offsets, v_: Offsets) -> None:
    """flambeau_viewed(S, source, metadata, offset, mode): a view of source, without history."""
    f = m.function("flambeau_viewed", "pppi", exported=True)
    S, source, meta, off, mode = (f.item("%a1", k) for k in range(5))
    f.jump_if(f.test("ne", f.load(S, s_.grad), f.object("True")), "odd")
    t = alias(f, source, meta, off, t_)
    made = f.call("PyTuple_New", 3)  # which may collect garbage, and so run anything
    with f.when(f.test("eq", made, "null")):
        f.decref(t)
        f.ret("null")
    before, base, how = f.load(source, t_.vw), f.var("ptr", source), f.var("ptr", mode)
    with f.when(f.test("ne", before, f.object("None"))):
        f.store(f.load(before, ITEMS), base)
        with f.when(f.test("eq", mode, f.object(""))):
            f.store(f.load(before, ITEMS + 8), how)
    for k, x in enumerate((f.load(base), f.load(how), f.load(f.load(t, t_.ver), v_.n))):
        f.keep(x, made, ITEMS + 8 * k)
    f.swap(made, t, t_.vw)
    f.ret(t)
    f.label("odd")
    f.call("PyErr_Clear")
    f.ret(f.call("PyObject_Vectorcall", f.object("python viewed"), "%a1", "%a2", "null"))
    f.end()


def detach(m: Module, t_: Offsets) -> None:
    """flambeau_detach(tensor): `Tensor.detach`."""
    f = m.function("flambeau_detach", "ppp", exported=True)
    f.jump_if(f.test("eq", f.call("is_plain", "%a0"), 0, "i64"), "odd")
    off, meta = f.load("%a0", t_.off), f.load("%a0", t_.meta)
    for x in (off, meta):
        f.jump_if(f.test("eq", x, "null"), "odd")
    f.ret(alias(f, "%a0", meta, off, t_))
    f.label("odd")
    f.call("PyErr_Clear")
    f.ret(f.invoke(f.object("python detach"), "%a0"))
    f.end()
