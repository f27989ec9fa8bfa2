"""Reading weights: an interpreter of pickles that calls nothing but what allowed.py lists."""

from __future__ import annotations

import struct
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import Counter, OrderedDict
from collections.abc import Callable
from pickle import UnpicklingError, decode_long
from typing import Any

import flambeau as torch

from . import allowed

_MARK = object()
_RUNNERS = ("os", "posix", "nt", "sys", "subprocess", "builtins", "runpy", "importlib", "socket", "shutil")

NOT_ALLOWED = (
    "Weights only load failed: {reason}\n"
    "In load(), weights_only is True by default: nothing in the file is executed. If you trust the source of the file, "
    "load it with weights_only=False, which may run code that the file contains."
)


def refused(reason: str) -> UnpicklingError:
    """The error for a file that wants more than weights_only allows."""
    return UnpicklingError(NOT_ALLOWED.format(reason=reason))


def globals_of(data: bytes) -> list[str]:
    """The names of all globals in a pickle, without running it."""
    found: dict[str, None] = {}
    machine = Machine(data, persistent_load=lambda pid: None, find=lambda m, n: found.setdefault(f"{m}.{n}"))
    machine.dry = True
    machine.load()
    return list(found)


class Machine:
    """Runs the pickle at `position` in `data`."""

    def __init__(
        self,
        data: bytes,
        persistent_load: Callable[[Any], Any],
        position: int = 0,
        encoding: str = "utf-8",
        find: Callable[[str, str], Any] | None = None,
    ):
        self.data, self.position, self.encoding = data, position, encoding
        self.persistent_load = persistent_load
        self.find = find or find_allowed
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.dry = False  # only the names of globals are wanted: nothing is called

    def load(self) -> Any:
        """The object; `position` is then the byte after it."""
        steps, data = _STEPS, self.data
        while True:
            if self.position >= len(data):
                raise EOFError("the pickle ends before its STOP")
            code = data[self.position]
            self.position += 1
            if code == 0x2E:  # STOP
                return self.pop()
            step = steps.get(code)
            if step is None:
                raise refused(f"Unsupported operand {code}")
            step(self)

    # reading

    def take(self, n: int) -> bytes:
        """The next n bytes."""
        part = self.data[self.position : self.position + n]
        if len(part) != n:
            raise EOFError(f"the pickle ends {n - len(part)} bytes early")
        self.position += n
        return part

    def number(self, form: str) -> Any:
        """The next number, in struct notation."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> str:
        """The text up to the end of the line."""
        end = self.data.index(b"\n", self.position)
        part = self.data[self.position : end]
        self.position = end + 1
        return part.decode("utf-8")

    def text(self, raw: bytes) -> Any:
        """A byte string of protocol 2 and older as text, unless encoding is 'bytes'."""
        return raw if self.encoding == "bytes" else raw.decode(self.encoding, "strict")

    # the stack

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def pop(self) -> Any:
        """Take the last value off the stack."""
        if not self.stack or self.stack[-1] is _MARK:
            raise UnpicklingError("load: the pickle takes more from the stack than there is")
        return self.stack.pop()

    def top(self) -> Any:
        """The last value on the stack."""
        if not self.stack or self.stack[-1] is _MARK:
            raise UnpicklingError("load: the pickle looks at an empty stack")
        return self.stack[-1]

    def since_mark(self) -> list[Any]:
        """Take off everything since the last mark."""
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i] is _MARK:
                items = self.stack[i + 1 :]
                del self.stack[i:]
                return items
        raise UnpicklingError("load: the pickle has no mark where it needs one")

    def tuple_of(self, n: int) -> None:
        """The last n values as a tuple."""
        items = [self.pop() for _ in range(n)]
        self.push(tuple(reversed(items)))

    def get(self, key: int) -> None:
        """Push an object seen before."""
        if key not in self.memo:
            raise UnpicklingError(f"load: the pickle refers to object {key}, which it does not have")
        self.push(self.memo[key])

    def put(self, key: int) -> None:
        """Remember the last value under a number."""
        self.memo[key] = self.top()

    # what is restricted

    def named(self, module: str, name: str) -> None:
        """Push a global by its name, if it is allowed."""
        if (module, name) in NAME_MAPPING:
            module, name = NAME_MAPPING[module, name]
        else:
            module = IMPORT_MAPPING.get(module, module)
        self.push(self.find(module, name))

    def named_by_stack(self) -> None:
        """As `named`, its module and name from the stack."""
        name, module = self.pop(), self.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise refused("a global whose name is not text")
        self.named(module, name)

    def reduce(self) -> None:
        """Call an allowed function."""
        args, function = self.pop(), self.pop()
        if self.dry:
            return self.push(OrderedDict())
        if not isinstance(args, tuple) or not allowed.is_allowed(function):
            raise refused(f"Trying to call reduce for unrecognized function {function}")
        self.push(function(*args))

    def new(self) -> None:
        """Make an object of an allowed class, without its __init__."""
        args, kind = self.pop(), self.pop()
        if self.dry:
            return self.push(OrderedDict())
        if kind is torch.nn.Parameter:
            self.push(kind(*args))
        elif isinstance(kind, type) and allowed.is_allowed(kind):
            self.push(kind.__new__(kind, *args))
        else:
            raise refused(
                "Can only create new object for nn.Parameter or classes allowlisted via `add_safe_globals`, "
                f"but got {kind}"
            )

    def build(self) -> None:
        """Give an object its state."""
        state, target = self.pop(), self.top()
        if self.dry:
            return
        kind = type(target)
        if kind is OrderedDict:
            target.__dict__.update(state)
        elif allowed.is_marked(kind):
            if hasattr(target, "__setstate__"):
                target.__setstate__(state)
                return
            attributes, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
            if attributes:
                target.__dict__.update(attributes)
            for key, value in (slots or {}).items():
                setattr(target, key, value)
        else:
            raise refused(
                f"Can only build Tensor, Parameter, OrderedDict or types allowlisted via `add_safe_globals`, "
                f"but got {kind}"
            )

    def append(self, items: list[Any]) -> None:
        """Append values to the list below them."""
        target = self.top()
        if type(target) is not list and not self.dry:
            raise refused(f"Can only append to lists, but got {type(target)}")
        if not self.dry:
            target.extend(items)

    def add(self) -> None:
        """Add the values since the mark to the set below them."""
        items, target = self.since_mark(), self.top()
        if type(target) is not set:
            raise refused(f"Can only add to sets, but got {type(target)}")
        if not self.dry:
            target.update(items)

    def set_items(self, items: list[Any]) -> None:
        """Set keys and values, one after the other, of the dict below them."""
        target = self.top()
        if self.dry:
            return
        if type(target) not in (dict, OrderedDict, Counter):
            raise refused(f"Can only set items of dict, OrderedDict and Counter, but got {type(target)}")
        for key, value in zip(items[::2], items[1::2]):
            target[key] = value

    def persistent(self) -> None:
        """Push the storage that a persistent id stands for."""
        pid = self.pop()
        if type(pid) is not tuple or not pid or pid[0] not in ("storage", b"storage"):
            raise refused(f"Only persistent_load of storage is allowed, but got {pid!r:.80}")
        self.push(self.persistent_load(pid))


def find_allowed(module: str, name: str) -> Any:
    """The allowed global of this name; UnpicklingError names one that is not."""
    found = allowed.lookup(module, name)
    if found is not None:
        return found
    path = f"{module}.{name}"
    if module.partition(".")[0] in _RUNNERS:
        raise refused(f"Trying to load unsupported GLOBAL {path} whose module {module} is blocked.")
    raise refused(
        f"Unsupported global: GLOBAL {path} was not an allowed global by default. Please use "
        f"`torch.serialization.add_safe_globals([{name}])` or the "
        f"`torch.serialization.safe_globals([{name}])` context manager to allowlist this global if you trust this "
        "class/function."
    )


_M = Machine
_STEPS: dict[int, Callable[[Machine], Any]] = {
    ord("c"): lambda m: m.named(m.line(), m.line()),
    0x93: _M.named_by_stack,
    ord("R"): _M.reduce,
    0x81: _M.new,
    ord("b"): _M.build,
    ord("Q"): _M.persistent,
    ord("("): lambda m: m.push(_MARK),
    ord("0"): _M.pop,
    ord("1"): _M.since_mark,
    ord("2"): lambda m: m.push(m.top()),
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("]"): lambda m: m.push([]),
    ord("}"): lambda m: m.push({}),
    0x8F: lambda m: m.push(set()),
    ord(")"): lambda m: m.push(()),
    ord("t"): lambda m: m.push(tuple(m.since_mark())),
    ord("l"): lambda m: m.push(m.since_mark()),
    0x91: lambda m: m.push(frozenset(m.since_mark())),
    0x85: lambda m: m.tuple_of(1),
    0x86: lambda m: m.tuple_of(2),
    0x87: lambda m: m.tuple_of(3),
    ord("a"): lambda m: m.append([m.pop()]),
    ord("e"): lambda m: m.append(m.since_mark()),
    0x90: _M.add,
    ord("s"): lambda m: m.set_items([m.pop(), m.pop()][::-1]),
    ord("u"): lambda m: m.set_items(m.since_mark()),
    ord("J"): lambda m: m.push(m.number("<i")),
    ord("K"): lambda m: m.push(m.number("<B")),
    ord("M"): lambda m: m.push(m.number("<H")),
    0x8A: lambda m: m.push(decode_long(m.take(m.number("<B")))),
    0x8B: lambda m: m.push(decode_long(m.take(m.number("<I")))),
    ord("G"): lambda m: m.push(m.number(">d")),
    ord("X"): lambda m: m.push(m.take(m.number("<I")).decode("utf-8", "surrogatepass")),
    0x8C: lambda m: m.push(m.take(m.number("<B")).decode("utf-8", "surrogatepass")),
    0x8D: lambda m: m.push(m.take(m.number("<Q")).decode("utf-8", "surrogatepass")),
    ord("B"): lambda m: m.push(m.take(m.number("<I"))),
    ord("C"): lambda m: m.push(m.take(m.number("<B"))),
    0x8E: lambda m: m.push(m.take(m.number("<Q"))),
    0x96: lambda m: m.push(bytearray(m.take(m.number("<Q")))),
    ord("U"): lambda m: m.push(m.text(m.take(m.number("<B")))),
    ord("T"): lambda m: m.push(m.text(m.take(m.number("<I")))),
    ord("h"): lambda m: m.get(m.number("<B")),
    ord("j"): lambda m: m.get(m.number("<I")),
    ord("q"): lambda m: m.put(m.number("<B")),
    ord("r"): lambda m: m.put(m.number("<I")),
    0x94: lambda m: m.put(len(m.memo)),
    0x80: lambda m: m.number("<B"),
    0x95: lambda m: m.number("<Q"),
}
