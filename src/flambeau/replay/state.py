"""What a function can reach: the Python values that a recording may have read (facts), and the tensors.

A fact is (kind, holder, key, value); a replay is valid while all facts hold. The values of modules change only through
their own methods, which count edits: their facts are looked at again when the count has moved.
"""

from __future__ import annotations

import dis
import math
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import lru_cache, partial
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from ..dtypes import device, dtype
from ..nn.hooks import CALL_TABLES, GlobalHooks
from ..nn.module import Module
from ..optim.lr_base import LRScheduler
from ..optim.optimizer import Optimizer
from ..optim.per_tensor import PerTensorOptimizer
from ..shapes import Size
from ..stream.value import Tensor

VALUES = frozenset(
    (int, float, bool, str, bytes, complex, type(None), dtype, device, Size, slice, range, type(...))
)
OURS = frozenset((*sys.stdlib_module_names, "flambeau", "numpy", "torch", "llvmlite", "_pytest", "pytest"))
SPECIAL = frozenset(("training", "forward", "_hooked", "_compiled_call_impl", *CALL_TABLES))
MOST = 20_000  # objects of a walk
MOST_ITEMS = 1024  # of a dictionary or list that is looked at item by item
MOST_BYTES = 4096  # of an array whose bytes are compared
ABSENT = object()
Fact = tuple[str, Any, Any, Any]


class TooMuch(Exception):
    """What the function can reach cannot be watched."""


def signs(x: Any) -> Any:
    """The signs of a number's parts, if they have some where they are zero."""
    if type(x) is float:
        return math.copysign(1, x)
    return (math.copysign(1, x.real), math.copysign(1, x.imag)) if type(x) is complex else None


def same(x: Any, v: Any) -> bool:
    """Whether x is the value v: the same object, or an equal number, text or tuple of such."""
    if x is v:
        return True
    if type(x) is not type(v):
        return False
    if type(x) in VALUES:
        return bool(x == v) and (bool(x) or signs(x) == signs(v))
    return type(x) is tuple and len(x) == len(v) and all(map(same, x, v))


READ: dict[str, Callable[[Any, Any], Any]] = {
    "cell": lambda holder, key: holder.cell_contents,
    "item": lambda holder, key: holder.get(key, ABSENT),
    "entry": lambda holder, key: holder[key] if key < len(holder) else ABSENT,
    "attr": lambda holder, key: getattr(holder, key, ABSENT),
    "absent": lambda holder, key: key not in holder,
    "len": lambda holder, key: len(holder),
    "order": lambda holder, key: tuple(holder),
    "set": lambda holder, key: frozenset(holder),
    "keys": lambda holder, key: frozenset(holder) if key is None else key & holder.keys(),
    "call": lambda holder, key: holder(),
    "hooked": lambda t, key: t._x is not None and bool(t._x.hooks or t._x.post_hooks),
}
# The same as the text of a replay: x0 is the holder, x1 the key (for a whole: the value).
PARTS = {
    "cell": "x0.cell_contents",
    "item": "x0.get(x1)",
    "entry": "x0[x1]",
    "attr": "x0.{}",
    "absent": "(x1 not in x0)",
    "call": "x0()",
}
WHOLE = {"len": "len(x0) == x1", "order": "tuple(x0) == x1", "set": "x0 == x1"}


def holds(fact: Fact) -> bool:
    """Whether a fact is still true."""
    kind, holder, key, value = fact
    try:
        found = READ[kind](holder, key)
    except (ValueError, KeyError):  # an empty cell
        found = ABSENT
    return found == value if kind in ("keys", "order", "set") else same(found, value)


def codes(code: CodeType) -> Iterator[CodeType]:
    """A code object and those inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


@lru_cache(maxsize=1024)
def loaded(code: CodeType) -> frozenset[str]:
    """The globals that a code object reads; its names are those of attributes as well."""
    found = dis.get_instructions(code)
    return frozenset([i.argval for i in found if i.opname.startswith(("LOAD_GLOBAL", "LOAD_NAME"))])


def is_iterator(x: Any) -> bool:
    """Whether an object gives other values each time and does not show that it did. Files are written to."""
    kind = type(x)
    return hasattr(kind, "__next__") and owner(kind) in OURS and not hasattr(kind, "readline")


def random_state(x: Any) -> Callable[[], Any] | None:
    """What reads the state of a generator of random numbers of Python's or NumPy's; None for any other object."""
    python, numpy = sys.modules.get("random"), sys.modules.get("numpy.random")
    if python is not None and isinstance(x, python.Random):
        return x.getstate  # type: ignore[no-any-return]
    if numpy is not None and isinstance(x, numpy.Generator):
        return lambda: str(x.bit_generator.state)
    return (lambda: str(x.get_state())) if numpy is not None and isinstance(x, numpy.RandomState) else None


def owner(x: Any) -> str:
    """The top package that a function, class or module belongs to."""
    name = x.__name__ if isinstance(x, ModuleType) else getattr(x, "__module__", None)
    return str(name or "").partition(".")[0]


class State:
    """One walk over what a function and its arguments reach."""

    def __init__(self, fn: Any, args: tuple[Any, ...], options: dict[str, Any]):
        self.names: set[str] = set()
        self.every = False  # attributes are looked up by computed names
        while True:
            before = len(self.names), self.every
            self.facts: list[Fact] = []
            self.module_facts: list[Fact] = []
            self.tensors: dict[int, Tensor] = {}
            self.seen: dict[int, Any] = {}
            self.optimizers: list[Any] = []
            self.draws: list[Callable[[], Any]] = []  # the states of generators of random numbers
            todo: list[Any] = [fn, *args, *options.values()]
            while todo:
                self.visit(todo.pop(), todo)
                if len(self.seen) > MOST:
                    raise TooMuch("the function can reach too many objects")
            if (len(self.names), self.every) == before:
                break

    def visit(self, x: Any, todo: list[Any]) -> None:
        """Note what an object holds; what it refers to is to be visited next."""
        kind = type(x)
        if kind in VALUES or id(x) in self.seen:
            return
        self.seen[id(x)] = x
        if isinstance(x, Tensor):
            self.tensors[id(x)] = x
        elif kind is FunctionType:
            self.function(x, todo)
        elif kind is MethodType:
            todo += (x.__func__, x.__self__)
        elif isinstance(x, type):
            if owner(x) not in OURS:
                self.type(x, todo)
            if owner(kind) not in OURS:
                self.type(kind, todo, made=True)
        elif kind is ModuleType:
            if owner(x) not in OURS:
                self.some(vars(x), self.facts, todo)
        elif isinstance(x, Module):
            self.module(x, todo)
        elif isinstance(x, Optimizer):
            self.optimizer(x, todo)
        elif isinstance(x, LRScheduler):
            return
        elif kind is BuiltinFunctionType:
            if type(x.__self__) is not ModuleType:
                todo.append(x.__self__)
        elif kind.__name__ == "partial":
            todo += (x.func, x.args, x.keywords)
        else:
            self.contents(x, todo)
            if owner(kind) not in OURS:
                self.instance(x, todo)

    def contents(self, x: Any, todo: list[Any]) -> None:
        """What a container or another object of Python's own, or of a class made of it, holds."""
        kind = type(x)
        state = random_state(x)
        if isinstance(x, dict):
            self.dictionary(x, self.facts, todo)
        elif isinstance(x, (list, deque)):
            self.sequence(x, todo)
        elif isinstance(x, (tuple, frozenset)):
            todo += x
        elif isinstance(x, set):
            self.facts.append(("set", x, None, frozenset(x)))
            todo += x
        elif state is not None:
            self.draws.append(state)
        elif is_iterator(x):
            raise TooMuch(f"the function can reach a {kind.__name__}, which gives other values each time")
        elif isinstance(x, threading.local):
            for name in self.names & vars(x).keys():
                self.note(self.facts, "attr", x, name, getattr(x, name), todo)
        elif isinstance(x, ContextVar):
            self.note(self.facts, "call", partial(x.get, None), None, x.get(None), todo)
        elif isinstance(x, bytearray):
            self.facts.append(("call", partial(bytes, x), None, bytes(x)))
        elif hasattr(kind, "tobytes") and hasattr(x, "itemsize"):  # an array
            if memoryview(x).nbytes <= MOST_BYTES if hasattr(x, "buffer_info") else x.nbytes <= MOST_BYTES:
                self.facts.append(("call", x.tobytes, None, x.tobytes()))
        elif owner(kind) in sys.stdlib_module_names and type(getattr(x, "__dict__", None)) is dict:
            self.some(vars(x), self.facts, todo)

    def note(self, facts: list[Fact], kind: str, holder: Any, key: Any, value: Any, todo: list[Any]) -> None:
        """Note one fact: (kind, holder, key, value)."""
        facts.append((kind, holder, key, value))
        if type(value) not in VALUES:
            todo.append(value)

    def function(self, f: Any, todo: list[Any]) -> None:
        """Note the variables that a function closes over, its defaults and the globals it names."""
        inner = getattr(f, "__wrapped_by_capture__", None)
        if inner is not None:
            todo.append(inner)
            return
        for cell in f.__closure__ or ():
            try:
                self.note(self.facts, "cell", cell, None, cell.cell_contents, todo)
            except ValueError:
                self.facts.append(("cell", cell, None, ABSENT))
        if owner(f) in OURS:
            return
        self.facts.append(("attr", f, "__code__", f.__code__))
        self.note(self.facts, "attr", f, "__defaults__", f.__defaults__, todo)
        self.note(self.facts, "attr", f, "__kwdefaults__", f.__kwdefaults__, todo)
        if f.__dict__:
            self.some(vars(f), self.facts, todo)
        space = f.__globals__
        for code in codes(f.__code__):
            self.names.update(code.co_names)
            self.names.update(c for c in code.co_consts if type(c) is str)
            for name in code.co_names:
                if name in space:
                    if not is_iterator(space[name]) or name in loaded(code):
                        self.note(self.facts, "item", space, name, space[name], todo)
                elif name in ("getattr", "vars", "setattr", "eval", "__dict__"):
                    self.every = True

    def dictionary(self, d: Any, facts: list[Fact], todo: list[Any]) -> None:
        """Note the entries of a dict, in order; of a large one only their number."""
        if 1 < len(d) <= MOST_ITEMS:
            facts.append(("order", d, None, tuple(d)))
        else:
            facts.append(("len", d, None, len(d)))
        if len(d) <= MOST_ITEMS:
            for key, value in d.items():
                self.note(facts, "item", d, key, value, todo)

    def sequence(self, items: Any, todo: list[Any]) -> None:
        """Note the entries of a list; of a long one only their number."""
        self.facts.append(("len", items, None, len(items)))
        if len(items) <= MOST_ITEMS:
            for i, value in enumerate(items):
                self.note(self.facts, "entry", items, i, value, todo)

    def some(self, d: dict[str, Any], facts: list[Fact], todo: list[Any]) -> None:
        """The entries of a namespace that the code may name."""
        wanted = frozenset(d) | self.names if self.every else frozenset(self.names)
        facts.append(("keys", d, wanted, wanted & d.keys()))
        for name in wanted & d.keys():
            self.note(facts, "item", d, name, d[name], todo)

    def type(self, cls: type, todo: list[Any], made: bool = False) -> None:
        """What the code may name of a class and its bases. made: an instance was there before the call."""
        for base in cls.__mro__:
            if owner(base) in OURS:
                continue
            for name, found in vars(base).items():
                special = name.startswith("__") and type(found) is FunctionType
                if special and made and name in ("__init__", "__new__", "__init_subclass__"):
                    continue
                if not (special or self.every or name == "forward" or name in self.names):
                    continue
                self.note(self.facts, "item", vars(base), name, found, todo)
                value = getattr(found, "__func__", found)
                if isinstance(value, property):
                    todo += [f for f in (value.fget, value.fset) if f is not None]
                else:
                    todo.append(value)

    def instance(self, x: Any, todo: list[Any]) -> None:
        """Note the attributes of an object that its code may name."""
        self.type(type(x), todo, made=True)
        if hasattr(x, "__dict__"):
            self.some(vars(x), self.facts, todo)
            named = {name for cls in type(x).__mro__ if cls is not object for name in vars(cls)}
            for name in self.names & named - vars(x).keys():  # what the class has an instance may hide
                self.facts.append(("absent", vars(x), name, True))
        for cls in type(x).__mro__:
            slots = cls.__dict__.get("__slots__", ())
            for name in (slots,) if type(slots) is str else slots:
                if not name.startswith("__"):
                    self.note(self.facts, "attr", x, name, getattr(x, name, ABSENT), todo)

    def module(self, m: Any, todo: list[Any]) -> None:
        """A module: its tables and attributes; those of a user's class that the code does not name are left out."""
        facts, d = self.module_facts, m.__dict__
        self.type(type(m), todo, made=True)
        facts.append(("attr", Module, "_hooked", Module._hooked))
        if Module._hooked:
            todo += [table for table in vars(GlobalHooks).values() if isinstance(table, dict)]
        tables = {*d["_parameters"], *d["_buffers"], *d["_modules"]}
        ours = owner(type(m)) in OURS
        for name, value in d.items():
            if name in ("_parameters", "_buffers", "_modules"):
                facts.append(("len", value, None, len(value)))
                for key, part in value.items():
                    self.note(facts, "item", value, key, part, todo)
            elif name.endswith("_hooks") and isinstance(value, dict):
                self.dictionary(value, self.facts, todo)
            elif ours or self.every or name in tables or name in self.names or name in SPECIAL:
                self.note(facts, "item", d, name, value, todo)
        wanted = self.names | SPECIAL
        facts.append(("keys", d, wanted, wanted & d.keys()))

    def optimizer(self, o: Any, todo: list[Any]) -> None:
        """One of ours tells itself when it has changed; of another every option and state is a fact."""
        self.optimizers.append(o)
        self.facts.append(("attr", o, "param_groups", o.param_groups))
        self.facts.append(("attr", o, "state", o.state))
        for table in ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks"):
            todo.append(getattr(o, table))
        for group in o.param_groups:
            todo += group["params"]
        todo += [
            t for s in o.state.values() if isinstance(s, dict) for t in s.values() if isinstance(t, Tensor)
        ]
        if not isinstance(o, PerTensorOptimizer):
            todo += (o.param_groups, o.state)
            self.instance(o, todo)
        elif owner(type(o)) not in OURS:
            self.instance(o, todo)
