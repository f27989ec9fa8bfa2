"""The look-up of a constructor's call by its size: `known` of ops/sizes.py."""

from __future__ import annotations

from ...device.cpython import ITEMS, SIZE, TYPE, Module
from .recording import Offsets


def known(m: Module, s_: Offsets) -> None:
    """flambeau_known(arguments): what the context, a dict, knows of them or of the one tuple in them; None: nothing, or
    they are not all ints, or a mode has to see the call."""
    f = m.function("flambeau_known", "pppi", exported=True)
    size = f.var(first=f.item("%a1", 0))
    S = f.call("current")
    f.jump_if(f.test("eq", S, "null"), "failed")
    f.jump_if(f.test("ne", f.load(S, s_.depth), f.object("zero")), "no")
    given = f.load(size)
    with f.when(f.test("eq", f.load(given, SIZE, "i64"), 1, "i64")):
        first = f.load(given, ITEMS)
        kind = f.load(first, TYPE)
        whole = f.value(
            f"or i1 {f.test('eq', kind, f.object('tuple'))}, {f.test('eq', kind, f.object('Size'))}"
        )
        with f.when(whole):
            f.store(first, size)
    taken = f.load(size)
    with f.each(f.load(taken, SIZE, "i64")) as i:
        n = f.item(f.at(taken, ITEMS), i)
        f.jump_if(f.test("ne", f.load(n, TYPE), f.object("int")), "no")
    found = f.call("PyDict_GetItemWithError", "%a0", taken)
    f.jump_if(f.test("eq", found, "null"), "no")
    f.incref(found)
    f.ret(found)
    f.label("no")
    f.call("PyErr_Clear")
    none = f.object("None")
    f.incref(none)
    f.ret(none)
    f.label("failed")
    f.ret("null")
    f.end()
