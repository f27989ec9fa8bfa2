"""One call under capture: what it was given, what it recorded, what it changed; and whether that can be replayed."""

from __future__ import annotations

import ast
import gc
import weakref
from collections.abc import Callable
from functools import cached_property
from typing import Any

from .. import dtypes
from ..device import memory
from ..stream import flush as flushing
from ..stream.capture import Session, alive
from ..stream.gradient import grad_fn
from ..stream.value import LOCAL, NUMBERS, PLAIN, Storage, Stream, Tensor
from .scalars import scalars
from .state import VALUES, State, TooMuch, holds, same

SMALL = 1 << 16  # bytes of a constant that a call may make of Python's numbers


class Refused(Exception):
    """The call cannot be replayed; the text says why."""


class Inputs:
    """The arguments of a call, flattened: guards as Python text, tensors with the text that finds them, the rest."""

    def __init__(self, args: tuple[Any, ...], options: dict[str, Any]):
        self.tests = [f"len(args) == {len(args)}", f"len(options) == {len(options)}"]
        self.tensors: list[tuple[str, Tensor]] = []
        self.floats: dict[str, float] = {}  # arguments by the text that finds them
        self.constants: list[Any] = []
        self.roots: list[Any] = []
        for i, x in enumerate(args):
            self.add(f"args[{i}]", x)
        for name, x in options.items():
            self.tests.append(f"{name!r} in options")
            self.add(f"options[{name!r}]", x)

    def add(self, text: str, x: Any) -> None:
        """Note an argument and the test that another call's argument must pass. Refused for unknown classes."""
        kind = type(x)
        if isinstance(x, Tensor):
            if kind not in PLAIN:
                raise Refused(f"an argument is a {kind.__name__}")
            if x.__dict__:
                raise Refused("an argument has attributes of its own")
            self.tensors.append((text, x))
        elif kind in VALUES:
            if kind is float:
                self.floats[text] = x
            self.tests.append(f"same({text}, {self.constant(x)})")
        elif kind in (list, tuple) or (isinstance(x, tuple) and hasattr(x, "_fields")):
            self.tests += [f"type({text}) is {self.constant(kind)}", f"len({text}) == {len(x)}"]
            for i, part in enumerate(x):
                self.add(f"{text}[{i}]", part)
        elif kind is dict and all(type(key) in VALUES for key in x):
            self.tests += [f"type({text}) is dict", f"tuple({text}) == {self.constant(tuple(x))}"]
            for key, part in x.items():
                self.add(f"{text}[{self.constant(key)}]", part)
        else:
            self.tests.append(f"{text} is {self.constant(x)}")
            self.roots.append(x)

    def constant(self, x: Any) -> str:
        """The name of an object that the source text refers to."""
        self.constants.append(x)
        return f"c{len(self.constants) - 1}"


class Before:
    """What a tensor was when the call began."""

    __slots__ = ("fields", "given", "grad", "n", "tensor", "version")

    def __init__(self, t: Tensor, given: bool = False):
        self.tensor, self.given = t, given  # given: as an argument
        self.fields = self.now(t)
        self.version = t._ver
        self.n = 0 if t._ver is None else t._ver.n
        self.grad = None if t._x is None else t._x.grad

    @staticmethod
    def now(t: Tensor) -> tuple[Any, ...]:
        """What of a tensor a call may change."""
        return t._st, t._meta, t._off, t._rg, t._gf, t._nr, None if t._vw is None else t._vw[0]


def modes(S: Stream) -> tuple[Any, ...]:
    """What else a recording depends on."""
    return S.grad, S.inference, dtypes.default_dtype()


def host_random(draws: list[Callable[[], Any]]) -> tuple[int, ...]:
    """The state of Python's and NumPy's random numbers, and of the generators that `draws` reads."""
    import random
    import sys

    numpy = sys.modules.get("numpy.random")
    shared = hash(random.getstate()), 0 if numpy is None else hash(str(numpy.get_state()))
    return *shared, *[hash(draw()) for draw in draws]


class Recording:
    """A call that was recorded: everything that the code of its replay is made from."""

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]):
        S = LOCAL.s
        self.S, self.modes, self.refusal = S, modes(S), ""
        try:
            self.inputs: Any = Inputs(args, options)
            self.state: Any = State(fn, tuple(self.inputs.roots), {})
        except (Refused, TooMuch) as error:
            self.refusal = str(error)
            return
        if self.state.every or "hasattr" in self.state.names:
            self.inputs.tests += [f"not {text}.__dict__" for text, _ in self.inputs.tensors]
        self.floats, self.flows = self.inputs.floats, {}
        self.scalars = self.expressions(fn, args, options)
        self.tensors: dict[int, Before] = {}
        for _, t in self.inputs.tensors:
            if t._vw is not None:
                grad_fn(t)  # made anew after writes to its base
            self.tensors[id(t)] = Before(t, True)
        for t in self.state.tensors.values():
            self.tensors.setdefault(id(t), Before(t))
        for b in list(self.tensors.values()):
            if b.grad is not None:
                self.tensors.setdefault(id(b.grad), Before(b.grad))
        self.random = host_random(self.state.draws)
        self.session = Session(S)
        self.session.before = {t._gf for _, t in self.inputs.tensors if t._gf is not None}

    def expressions(self, fn: Any, args: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
        """The scalar expressions of float arguments that only feed arithmetic."""
        if not self.floats:
            return {}
        code = getattr(getattr(fn, "__func__", fn), "__code__", None)
        if code is None:
            return {}
        names = code.co_varnames[hasattr(fn, "__func__") : code.co_argcount]
        places = {name: (f"args[{i}]", x) for i, (name, x) in enumerate(zip(names, args))}
        places |= {name: (f"options[{name!r}]", x) for name, x in options.items()}
        given = {name: place for name, place in places.items() if place[0] in self.floats}
        return scalars(fn, given, {name for name, (_, x) in places.items() if isinstance(x, Tensor)})

    def scalar(self, code: Any) -> Any:
        """What an expression gives for the arguments of this call."""
        values = self.floats
        args = {int(text[5:-1]): x for text, x in values.items() if text.startswith("args")}
        options = {
            ast.literal_eval(text[8:-1]): x for text, x in values.items() if text.startswith("options")
        }
        try:
            return eval(code, {"args": args, "options": options, "__builtins__": {}})
        except (ArithmeticError, LookupError):
            return None

    def flow(self, other: Recording, n: int, x: Any, y: Any) -> bool:
        """Whether two different numbers at one place are what one expression of the arguments gives."""
        texts = [
            text
            for text, code in self.scalars.items()
            if alike(self.scalar(code), x) and alike(other.scalar(code), y)
        ]
        if len(texts) != 1 or self.scalars.keys() != other.scalars.keys():
            return False
        self.flows[n] = texts[0]
        return True

    def finish(self, result: Any) -> None:
        """The call has returned: look at what it recorded while the name table is still there."""
        S = self.S
        self.result = result
        self.code = tuple(S.code)
        self.lines = flushing.split(self.code)
        self.promised = flushing.promised(self.lines)
        self.promised_set = frozenset(self.promised)
        self.sids: dict[int, int] = {id(x): n for n, x in enumerate(S.slots) if type(x) is Storage}
        self.numbers = {n: x for n, x in enumerate(S.slots) if type(x) in NUMBERS}
        self.copies = {id(copy): original for original, copy in S.snapshots.items()}
        self.written = {n for form, line in self.lines for n in written(form, line)}

    def check(self) -> None:
        """Refused if Python's state changed in a way that a replay could not repeat."""
        if self.session.ended:
            raise Refused(self.session.ended)
        for fact in (*self.state.facts, *self.state.module_facts):
            if not holds(fact):
                raise Refused(f"the call changes {named(fact)}")
        for b in self.tensors.values():
            if Before.now(b.tensor) != b.fields or (b.given and b.tensor.__dict__):
                raise Refused("the call changes what a tensor is, not only its values")
        if host_random(self.state.draws) != self.random:
            raise Refused("the call draws random numbers of Python or NumPy")
        if modes(self.S) != self.modes:
            raise Refused("the call changes a mode")

    def escaped(self, used: set[int]) -> bool:
        """Whether something that nobody replays (a list of the user's, say) keeps a result of the call."""
        if not set(alive(self.S.slots, self.promised)) <= used:
            gc.collect()
        return not set(alive(self.S.slots, self.promised)) <= used

    @cached_property
    def counters(self) -> set[int]:
        """The counters of writes that were there before, by identity."""
        return {id(b.tensor._ver) for b in self.tensors.values()}

    def foreign(self) -> dict[int, Any]:
        """Storages of the code that are neither promised nor a known tensor's: by slot, to compare two recordings."""
        known = {id(b.tensor._st) for b in self.tensors.values()} | self.copies.keys()
        promised = set(self.promised)
        found: dict[int, Any] = {}
        for n, x in enumerate(self.S.slots):
            if type(x) is Storage and n not in promised and id(x) not in known:
                small = x.nbytes <= SMALL and x.info is None and n not in self.written and x.pend is None
                found[n] = weakref.ref(x), bytes(memory_of(x)) if small else None
        return found

    @cached_property
    def moving(self) -> dict[int, Tensor]:
        """The arguments whose offset may be another in each call, by storage: those that share theirs with no other."""
        owners: dict[int, list[Tensor]] = {}
        for b in self.tensors.values():
            owners.setdefault(id(b.fields[0]), []).append(b.tensor)
        given = {id(t) for _, t in self.inputs.tensors}
        alone = {st: ts[0] for st, ts in owners.items() if len(ts) == 1}
        return {st: t for st, t in alone.items() if id(t) in given and t._off}

    def offsets(self) -> dict[int, tuple[int, int]]:
        """The slots that hold offsets of arguments: (id of the argument, what is added to its own)."""
        moving = self.moving
        found: dict[int, tuple[int, int]] = {}
        if moving:
            slots = self.S.slots
            for _, line in self.lines:
                for at, sid in enumerate(line):
                    t = moving.get(id(slots[~sid])) if sid < 0 else None
                    if t is not None:
                        found[line[at + 1]] = id(t), slots[line[at + 1]] - t._off
        return found

    def summary(self) -> None:
        """What must be the same in the next recording."""
        self.strangers = self.foreign()
        self.shifts = {slot: delta for slot, (_, delta) in self.offsets().items()}

    def strip(self) -> None:
        """Let go of everything but what the next recording is compared with."""
        self.result = self.state = self.inputs = None
        self.tensors, self.moving = {}, {}

    def agrees(self, other: Recording) -> bool:
        """Whether two recordings are of the same replay."""
        fixed = self.arguments().keys() | self.shifts.keys()
        if self.shifts != other.shifts:
            return False
        if self.code != other.code or len(self.session.actions) != len(other.session.actions):
            return False
        if not all(a.same(b) for a, b in zip(self.session.actions, other.session.actions)):
            return False
        for n, x in self.numbers.items():
            y = other.numbers.get(n)
            if n not in fixed and not alike(x, y) and not self.flow(other, n, x, y):
                return False
            if n not in fixed and self.flows and alike(x, y) and self.constant_flow(other, x):
                return False
        if self.strangers.keys() != other.strangers.keys():
            return False
        for n, (ref, data) in self.strangers.items():
            then, before = other.strangers[n]
            if ref() is not then() and (data is None or data != before):
                return False
        return True

    def constant_flow(self, other: Recording, x: Any) -> bool:
        """Whether a number that two calls have in common may be that of an expression whose arguments they have not."""
        return any(
            alike(self.scalar(code), x) and alike(other.scalar(code), x)
            for text, code in self.scalars.items()
            if any(a in text and self.floats[a] != other.floats.get(a) for a in self.floats)
        )

    def arguments(self) -> dict[int, tuple[int, int]]:
        """The slots that an action fills: (action, its value)."""
        return {
            slot: (k, i)
            for k, action in enumerate(self.session.actions)
            for i, slot in enumerate(action.slots)
        }


def alike(x: Any, y: Any) -> bool:
    """Whether two numbers are the same, bit for bit but for the kind of nan."""
    return same(x, y) or (type(x) is type(y) and x != x and y != y)


def memory_of(st: Storage) -> Any:
    """The bytes of a storage."""
    import ctypes

    return (ctypes.c_char * st.nbytes).from_address(st.ptr) if st.nbytes and st.ptr else b""


def written(form: Any, line: Any) -> list[int]:
    """The slots that an instruction writes in place."""
    from ..stream.program import written as slots

    return slots(form, line)


def named(fact: Any) -> str:
    """What a fact is about, in words."""
    kind, holder, key, _ = fact
    if kind in ("item", "attr") and type(key) is str:
        return f"'{key}'"
    return (
        f"a {type(holder).__name__} that it can reach"
        if kind != "cell"
        else "a variable of an outer function"
    )


__all__ = ["Recording", "Refused", "memory"]
