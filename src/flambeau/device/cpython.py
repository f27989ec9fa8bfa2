"""Builtin functions of CPython made of generated code: a small language for writing them, and their making.

`Module` collects the text of LLVM IR, `Function` one function of it, statement by statement, with C's means: loads and
stores at offsets, calls, jumps to labels. Values are the names of LLVM values; all objects are `ptr`, all numbers i64.
A call of such a builtin costs 11 to 40 ns."""

from __future__ import annotations

import ctypes
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..heap import for_ever

COUNT, TYPE, SIZE, ITEMS = (
    0,
    8,
    16,
    24,
)  # where objects keep them; a list's ITEMS is a pointer, a tuple's the first
NOARGS, ONE, FAST = 0x0004, 0x0008, 0x0080

# What generated code may call: the result's type, then the arguments' (p: object or pointer, i: i64, ".": any more).
_API = {
    "PyThreadState_Get": "p",
    "PyThreadState_GetID": "ip",
    "PyType_GenericAlloc": "ppi",
    "PyType_IsSubtype": "4pp",
    "PyObject_GetAttr": "ppp",
    "PyObject_CallFunctionObjArgs": "pp.",
    "PyObject_Vectorcall": "pppip",
    "PyObject_RichCompareBool": "4pp4",
    "PyObject_Size": "ip",
    "PyObject_GC_UnTrack": "vp",
    "PyDict_GetItemWithError": "ppp",
    "PyDict_SetItem": "4ppp",
    "PyDict_DelItem": "4pp",
    "PyDict_New": "p",
    "PyDict_Clear": "vp",
    "PySet_Clear": "4p",
    "PyGC_Disable": "4",
    "PyGC_Enable": "4",
    "PyBool_FromLong": "pi",
    "PyFloat_AsDouble": "dp",
    "PyFloat_FromDouble": "pd",
    "PyList_AsTuple": "pp",
    "PyList_New": "pi",
    "PyList_Append": "4pp",
    "PyList_SetSlice": "4piip",
    "PyNumber_Add": "ppp",
    "PySequence_List": "pp",
    "PySequence_Tuple": "pp",
    "PySet_New": "pp",
    "PySet_Add": "4pp",
    "PySet_Contains": "4pp",
    "PyTuple_New": "pi",
    "PyLong_FromSsize_t": "pi",
    "PyLong_AsSsize_t": "ip",
    "PyLong_FromDouble": "pd",
    "PyLong_FromVoidPtr": "pp",
    "PyBytes_AsString": "pp",
    "PyBytes_FromStringAndSize": "ppi",
    "PyByteArray_AsString": "pp",
    "PyByteArray_FromStringAndSize": "ppi",
    "PyErr_CheckSignals": "4",
    "PyErr_Clear": "v",
    "PyErr_GivenExceptionMatches": "4pp",
    "PyErr_Occurred": "p",
    "Py_IncRef": "vp",
    "Py_DecRef": "vp",
    "release": "vp",  # of the module's own, as is
    "small": "ip",  # the value of what is known to be an integer of 64 bits
}
_COUNTED = "i64" if sys.version_info < (3, 12) else "i32"  # of an immortal object the lower half is negative
_RELEASE = f"""define internal void @release(ptr %x) nounwind {{
entry:
  %none = icmp eq ptr %x, null
  br i1 %none, label %out, label %look
look:
  %count = load {_COUNTED}, ptr %x, align 8
  %shared = icmp sgt {_COUNTED} %count, 1
  br i1 %shared, label %less, label %last
less:
  %left = sub {_COUNTED} %count, 1
  store {_COUNTED} %left, ptr %x, align 8
  br label %out
last:
  tail call void @Py_DecRef(ptr %x)
  br label %out
out:
  ret void
}}"""
# A number below 2 ** 30 lies in one digit, behind a word that says so.
_ONE_DIGIT = 1 if sys.version_info < (3, 12) else 8
_SMALL = f"""define internal i64 @small(ptr %x) nounwind alwaysinline {{
entry:
  %at = getelementptr i8, ptr %x, i64 {SIZE}
  %kind = load i64, ptr %at, align 8
  %one = icmp eq i64 %kind, {_ONE_DIGIT}
  br i1 %one, label %digit, label %other
digit:
  %place = getelementptr i8, ptr %x, i64 {ITEMS}
  %word = load i32, ptr %place, align 4
  %long = zext i32 %word to i64
  ret i64 %long
other:
  %any = call i64 @PyLong_AsSsize_t(ptr %x)
  ret i64 %any
}}"""
_TYPES = {"p": "ptr", "i": "i64", "4": "i32", "b": "i1", "d": "double", "v": "void"}


class Module:
    """The text of a module; `objects`: the Python objects that its code names."""

    def __init__(self) -> None:
        self.functions: list[Function] = []
        self.objects: dict[str, int] = {}
        self.globals: list[str] = []
        self.defined: dict[str, str] = {}
        self.used: set[str] = set()

    def function(self, name: str, signature: str, exported: bool = False) -> Function:
        """A new function; signature as in _API. Its parameters are %a0, %a1, ..."""
        self.defined[name] = signature
        made = Function(self, name, signature, exported)
        self.functions.append(made)
        return made

    def text(self) -> str:
        """All of it; a function `flambeau_objects` gives the address of the table of objects."""
        lines = [f"@objects = internal global [{max(len(self.objects), 1)} x ptr] zeroinitializer"]
        lines += self.globals
        if "release" in self.used:
            self.used |= {"Py_DecRef"}
            lines.append(_RELEASE)
        if "small" in self.used:
            self.used |= {"PyLong_AsSsize_t"}
            lines.append(_SMALL)
        lines.append("define ptr @flambeau_objects() nounwind {\n  ret ptr @objects\n}")
        for name in sorted(self.used - {"release", "small"}):
            result, arguments = _API[name][0], _API[name][1:]
            types = ", ".join("..." if c == "." else _TYPES[c] for c in arguments)
            lines.append(f"declare {_TYPES[result]} @{name}({types})")
        lines += [f.text() for f in self.functions]
        return "\n".join(lines) + "\n"


class Function:
    """One function, written statement by statement."""

    def __init__(self, module: Module, name: str, signature: str, exported: bool):
        self.module, self.name, self.signature, self.exported = module, name, signature, exported
        self.lines: list[str] = []
        self.variables: list[str] = []
        self.n = 0

    def text(self) -> str:
        """The function."""
        result, parameters = self.signature[0], self.signature[1:]
        given = ", ".join(f"{_TYPES[c]} %a{i}" for i, c in enumerate(parameters))
        kind = "" if self.exported else "internal "
        head = f"define {kind}{_TYPES[result]} @{self.name}({given}) nounwind {{"
        return "\n".join((head, "entry:", *self.variables, *self.lines, "}"))

    def _name(self) -> str:
        self.n += 1
        return f"%v{self.n}"

    def value(self, text: str) -> str:
        """The result of an instruction."""
        name = self._name()
        self.lines.append(f"  {name} = {text}")
        return name

    def var(self, kind: str = "ptr", first: str | None = None, count: int = 1) -> str:
        """A variable (or an array), to be loaded and stored."""
        name = self._name()
        of = kind if count == 1 else f"[{count} x {kind}]"
        self.variables.append(f"  {name} = alloca {of}, align 8")
        if count == 1:  # whatever is jumped over
            self.variables.append(f"  store {kind} {'null' if kind == 'ptr' else 0}, ptr {name}, align 8")
        if first is not None:
            self.store(first, name, kind=kind)
        return name

    def at(self, p: str, offset: int | str) -> str:
        """The address `offset` bytes behind p."""
        return p if offset == 0 else self.value(f"getelementptr i8, ptr {p}, i64 {offset}")

    def load(self, p: str, offset: int | str = 0, kind: str = "ptr") -> str:
        """What is at an address."""
        return self.value(f"load {kind}, ptr {self.at(p, offset)}, align {1 if kind == 'i8' else 8}")

    def store(self, x: str, p: str, offset: int | str = 0, kind: str = "ptr") -> None:
        """Write to an address."""
        self.lines.append(f"  store {kind} {x}, ptr {self.at(p, offset)}, align 8")

    def whole(self, operation: str, a: Any, b: Any) -> str:
        """Arithmetic on i64."""
        return self.value(f"{operation} i64 {a}, {b}")

    def item(self, start: str, i: Any) -> str:
        """Element i of an array of pointers."""
        return self.value(f"load ptr, ptr {self.value(f'getelementptr ptr, ptr {start}, i64 {i}')}, align 8")

    def put(self, x: str, start: str, i: Any) -> None:
        """Write element i of an array of pointers."""
        self.store(x, self.value(f"getelementptr ptr, ptr {start}, i64 {i}"))

    def object(self, name: str) -> str:
        """A Python object by its name in the table."""
        i = self.module.objects.setdefault(name, len(self.module.objects))
        return self.load("@objects", 8 * i)

    def call(self, name: str, *arguments: Any) -> str:
        """Call a function of the module or of Python's API."""
        signature = self.module.defined.get(name)
        if signature is None:
            signature = _API[name]
            self.module.used.add(name)
        result, kinds = signature[0], signature[1:]
        many = kinds[-1:] == "."
        types = [_TYPES[c] for c in kinds if c != "."] + ["ptr"] * (len(arguments) - len(kinds) + many)
        given = ", ".join(f"{t} {a}" for t, a in zip(types, arguments, strict=True))
        callee = f"{_TYPES[result]} (ptr, ...)" if many else _TYPES[result]
        text = f"call {callee} @{name}({given})"
        if result == "v":
            self.lines.append(f"  {text}")
            return ""
        return self.value(text)

    def invoke(self, function: str, *arguments: str) -> str:
        """Call a Python object."""
        return self.call("PyObject_CallFunctionObjArgs", function, *arguments, "null")

    def incref(self, x: str) -> None:
        """One reference more."""
        if sys.version_info < (3, 12):
            self.store(self.whole("add", self.load(x, COUNT, "i64"), 1), x, COUNT, "i64")
        elif sys.version_info < (3, 14):  # the lower half counts; of an immortal object it is -1
            now = self.load(x, COUNT, "i32")
            then = self.value(f"add i32 {now}, 1")
            immortal = self.value(f"icmp eq i32 {then}, 0")
            self.store(self.value(f"select i1 {immortal}, i32 {now}, i32 {then}"), x, COUNT, "i32")
        else:
            self.call("Py_IncRef", x)

    def decref(self, x: str) -> None:
        """One reference less; x may be null."""
        self.call("release" if sys.version_info < (3, 14) else "Py_DecRef", x)

    def keep(self, x: str, p: str, offset: int | str) -> None:
        """Write a new reference to x into an empty place."""
        self.incref(x)
        self.store(x, p, offset)

    def swap(self, x: str, p: str, offset: int) -> None:
        """Put the reference x (taken over) in the place of another."""
        old = self.load(p, offset)
        self.store(x, p, offset)
        self.decref(old)

    # --- control ---------------------------------------------------------------------------------------------------

    def test(self, comparison: str, a: Any, b: Any, kind: str = "ptr") -> str:
        """A comparison ("eq", "ne", "slt", ...)."""
        return self.value(f"icmp {comparison} {kind} {a}, {b}")

    def both(self, *tests: str) -> str:
        """Whether all tests hold (all are evaluated)."""
        found = tests[0]
        for t in tests[1:]:
            found = self.value(f"and i1 {found}, {t}")
        return found

    def label(self, name: str) -> None:
        """A place to jump to; what comes before falls through to it."""
        self.lines += [f"  br label %{name}", f"{name}:"]

    def jump(self, name: str) -> None:
        """Go on at a label."""
        self.lines += [f"  br label %{name}", f"{self._name()[1:]}.dead:"]

    def jump_if(self, test: str, name: str) -> None:
        """Go on at a label if a test holds."""
        then = self._name()[1:]
        self.lines += [f"  br i1 {test}, label %{name}, label %{then}.on", f"{then}.on:"]

    def jump_unless(self, test: str, name: str) -> None:
        """Go on at a label if a test does not hold."""
        self.jump_if(self.value(f"xor i1 {test}, true"), name)

    @contextmanager
    def when(self, test: str) -> Iterator[None]:
        """What is done if a test holds."""
        then = self._name()[1:]
        self.lines += [f"  br i1 {test}, label %{then}.yes, label %{then}.end", f"{then}.yes:"]
        yield
        self.label(f"{then}.end")

    @contextmanager
    def each(self, count: str) -> Iterator[str]:
        """What is done for each i below count."""
        i, name = self.var("i64", "0"), self._name()[1:]
        self.label(f"{name}.top")
        now = self.load(i, kind="i64")
        more = self.test("slt", now, count, "i64")
        self.lines += [f"  br i1 {more}, label %{name}.do, label %{name}.end", f"{name}.do:"]
        yield now
        self.store(self.whole("add", now, 1), i, kind="i64")
        self.lines += [f"  br label %{name}.top", f"{name}.end:"]

    def ret(self, x: Any) -> None:
        """Return."""
        kind = _TYPES[self.signature[0]]
        self.lines += [f"  ret {kind} {x}".rstrip(), f"{self._name()[1:]}.dead:"]

    def end(self) -> None:
        """The end of the text, which is not reached."""
        self.lines.append("  unreachable")


def supported() -> bool:
    """Whether this interpreter lays out objects as generated code expects."""
    return (
        sys.implementation.name == "cpython"
        and sys.maxsize > 1 << 32
        and (3, 11) <= sys.version_info < (3, 15)
        and not sysconfig.get_config_var("Py_GIL_DISABLED")
        and not hasattr(sys, "getobjects")  # a build that traces references has larger objects
        and object.__basicsize__ == SIZE
        and tuple.__basicsize__ == ITEMS
        and list.__basicsize__ == ITEMS + 16
    )


class _Member(ctypes.Structure):
    """A member descriptor: object, type, name, qualified name, then the definition."""

    _fields_ = [("head", ctypes.c_void_p * 5), ("definition", ctypes.POINTER(ctypes.c_ssize_t))]


def offset_of(cls: type, slot: str) -> int:
    """Where the objects of a class keep a slot."""
    member = cls.__dict__[slot]
    if type(member).__name__ != "member_descriptor":
        raise TypeError(f"{cls.__name__}.{slot} is no slot")
    return _Member.from_address(id(member)).definition[2]


def check_offset(x: object, slot: str, offset: int) -> None:
    """TypeError if the slot of an object is not where it is thought to be."""
    found = ctypes.c_void_p.from_address(id(x) + offset).value
    if found != id(getattr(x, slot)):
        raise TypeError(f"{type(x).__name__}.{slot} is not at {offset}")


class _Method(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    ]


def builtin(name: str, function: int, flags: int, context: Any = None) -> Callable[..., Any]:
    """A builtin function of the code at an address, whose first parameter is `context`."""
    new = ctypes.pythonapi.PyCFunction_NewEx
    new.restype = ctypes.py_object
    new.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    method = _Method(name.encode(), function, flags, None)
    for_ever(method)
    made: Callable[..., Any] = new(ctypes.addressof(method), None if context is None else id(context), None)
    return made


def method(cls: type, name: str, function: int, doc: str | None = None) -> Any:
    """A method without arguments of the code at an address, to be put into a class."""
    new = ctypes.pythonapi.PyDescr_NewMethod
    new.restype = ctypes.py_object
    new.argtypes = [ctypes.py_object, ctypes.c_void_p]
    text = f"{name}($self, /)\n--\n\n{doc}".encode() if doc else None
    definition = _Method(name.encode(), function, NOARGS, text)
    for_ever(definition)
    return new(cls, ctypes.addressof(definition))


def set_objects(address: int, objects: Sequence[Any]) -> None:
    """Fill the table of objects of a module, which live for ever."""
    table = (ctypes.c_void_p * len(objects)).from_address(address)
    for i, x in enumerate(objects):
        for_ever(x)
        table[i] = id(x)
