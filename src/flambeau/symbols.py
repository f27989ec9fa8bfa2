"""Whole numbers that write down what is computed of them.

A `Record` gives symbols for some numbers. What Python code computes of these is a symbol in its turn, and each
comparison that was decided is noted as a condition. `Record.function` makes a function of it all: for other numbers it
gives what that code would have given, as long as every comparison comes out as it did; else None.

    record = Record([3, 5])
    n, m = record.symbols
    area = n * m if n < m else n
    of = record.function([area])
    of(4, 10)   # [40]
    of(7, 2)    # None

What code cannot do with a symbol and still be written down makes its value a condition (`Record.fixed`): int, float and
bool of it are plain, and where its value goes without a trace (a range, an index) the caller has to compare results.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

BINARY = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
    "/": operator.truediv,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
    "<<": operator.lshift,
    ">>": operator.rshift,
}
NAMES = {"+": "add", "-": "sub", "*": "mul", "//": "floordiv", "%": "mod", "/": "truediv"}
NAMES |= {"&": "and", "|": "or", "^": "xor", "<<": "lshift", ">>": "rshift"}
COMPARED = {"==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le}
COMPARED |= {">": operator.gt, ">=": operator.ge}
NAME = re.compile(r"\b[te]\d+\b")
LEAST = 2  # what a symbol of the record stands for is no less
NOTHING = -math.inf


class Whole(int):
    """A whole number with a name in a record. least: it is never less; factors: a number and the names whose product it
    is, which are the same for equal products."""

    name: str
    record: Record
    least: float
    factors: tuple[int, tuple[str, ...]]


class Real(float):
    """A number with a fraction, likewise."""

    name: str
    record: Record
    least: float


NUMBERS = (int, float, Whole, Real)


class Record:
    """What was computed of some numbers, all of them at least 2 and different from each other."""

    def __init__(self, values: Sequence[int]):
        self.open = True
        self.lines: dict[str, str] = {}  # expression -> its name
        self.known: dict[str, Any] = {}  # name -> symbol
        self.conditions: dict[str, None] = {}
        self.scope: dict[str, Any] = {"ceil": math.ceil, "inf": math.inf, "nan": math.nan}
        self.count = len(values)
        self.symbols = [self.symbol(value, f"e{k}", LEAST) for k, value in enumerate(values)]

    def symbol(self, value: Any, name: str, least: float) -> Any:
        """A symbol for a value."""
        made: Any = (Real if type(value) is float else Whole)(value)
        made.name, made.record, made.least = name, self, least
        if type(made) is Whole:
            made.factors = 1, (name,)
        self.known[name] = made
        return made

    def made(self, text: str, value: Any, least: float = NOTHING) -> Any:
        """The symbol of an expression."""
        name = self.lines.get(text)
        if name is None:
            name = self.lines[text] = f"t{len(self.lines)}"
            return self.symbol(value, name, least)
        return self.known[name]

    def quotient(self, op: str, a: Any, b: Any) -> Any:
        """a // b or a % b where that is a product (0); else None."""
        (m, some), (n, others) = (factors_of(x) for x in (a, b))
        left = list(some)
        for name in others:
            if name not in left:
                return None
            left.remove(name)
        if n == 0 or m % n:
            return None
        made: Any = m // n if op == "//" else 0
        for name in left if op == "//" else ():
            made = self.known[name] * made
        return made

    def product(self, a: Any, b: Any) -> Any:
        """The product of two whole numbers."""
        (m, some), (n, others) = factors_of(a), factors_of(b)
        names = tuple(sorted((*some, *others), key=order))
        text = " * ".join([*([repr(m * n)] if m * n != 1 else []), *names])
        made = (
            self.made(text, int(a) * int(b), bound("*", a, b))
            if len(names) > 1 or m * n != 1
            else self.known[names[0]]
        )
        made.factors = m * n, names
        return made

    def condition(self, text: str, holds: bool) -> None:
        """Note how a comparison came out."""
        self.conditions[text if holds else f"not {text}"] = None

    def fixed(self, x: Any) -> Any:
        """A value without its symbols, whose values become conditions; of tuples, lists and data classes, a copy."""
        kind = type(x)
        if kind is Whole or kind is Real:
            plain = int(x) if kind is Whole else float(x)
            if self.open:
                self.condition(f"{x.name} == {plain!r}", True)
            return plain
        if isinstance(x, tuple):
            parts = [self.fixed(part) for part in x]
            if all(a is b for a, b in zip(parts, x)):
                return x
            return kind(*parts) if hasattr(x, "_fields") else kind(parts)
        if hasattr(x, "__dataclass_fields__"):
            fields = {name: getattr(x, name) for name in x.__dataclass_fields__}
            return kind(**{name: self.fixed(value) for name, value in fields.items()})
        return x

    def called(self, function: Callable[..., Any], arguments: Sequence[Any], result: Any) -> str:
        """The name of what a function gave for arguments. What it is made of may be named from here on (`made`)."""
        call = f"call{len(self.scope)}"
        text = f"{call}({', '.join(map(text_of, arguments))})"
        self.scope[call] = function
        name = self.lines[text] = f"t{len(self.lines)}"
        self.known[name] = result
        return name

    def same(self, text: str, value: Any) -> None:
        """Note that what is named so is this value."""
        name = f"value{len(self.scope)}"
        self.scope[name] = value
        self.condition(f"{text} == {name}", True)

    def function(self, results: Sequence[Any]) -> Callable[..., Any]:
        """A function of the numbers that gives these results as a list; None where a condition does not hold."""
        wanted = [text_of(x) for x in results]
        needed = set(words(" ".join([*wanted, *self.conditions])))
        lines: list[tuple[str, str]] = []
        for text, name in reversed(self.lines.items()):
            if name in needed:
                needed.update(words(text))
                lines.append((name, text))
        lines.append(("", ""))
        tests: dict[str, list[str]] = {}
        for text in self.conditions:
            last = max(words(text), key=order, default="")
            tests.setdefault(last if last[:1] == "t" else "", []).append(text)
        body: list[str] = []
        for name, text in reversed(lines):  # what is tested is tested as soon as it is known
            body += [f"  {name} = {text}\n"] if name else []
            body += [f"  if not ({' and '.join(tests[name])}): return None\n"] if name in tests else []
        parameters = ", ".join(f"e{k}" for k in range(self.count))
        source = f"def of({parameters}):\n try:\n{''.join(body)}  return [{', '.join(wanted)}]\n"
        source += " except ZeroDivisionError:\n  return None\n"
        scope = dict(self.scope)
        exec(source, scope)
        made: Callable[..., Any] = scope["of"]
        return made


def record_of(*numbers: Any) -> Record | None:
    """The record of symbols among numbers, if it is open."""
    found = next((x.record for x in numbers if type(x) is Whole), None)
    return found if found is not None and found.open else None


def order(name: str) -> tuple[bool, int]:
    """Where a name stands among those of a record."""
    return name[0] == "t", int(name[1:])


def words(text: str) -> list[str]:
    """The names in an expression."""
    return NAME.findall(text)


def text_of(x: Any) -> str:
    """A value in an expression: its name, or itself."""
    kind = type(x)
    return x.name if kind is Whole or kind is Real else repr(x)


def factors_of(x: Any) -> tuple[int, tuple[str, ...]]:
    """A number and the names whose product a whole number is."""
    return x.factors if type(x) is Whole else (int(x), ())


def least_of(x: Any) -> float:
    """The least value that something can have."""
    return x.least if type(x) is Whole or type(x) is Real else x  # type: ignore[no-any-return]


def bound(op: str, a: Any, b: Any) -> float:
    """The least value of a result."""
    low, other = least_of(a), least_of(b)
    if op == "+":
        return low + other
    if low < 0 or other < 0:
        return NOTHING
    return low * other if op == "*" else 0 if op in ("//", "%", "/", "&", "|", ">>", "<<") else NOTHING


def simpler(op: str, a: Any, b: Any) -> Any:
    """The result where it is no new symbol, or None."""
    if op == "*":
        return a if type(b) is int and b == 1 else b if type(a) is int and a == 1 else None
    if op == "+":
        return a if type(b) is int and b == 0 else b if type(a) is int and a == 0 else None
    return (
        a
        if (op in ("-", ">>", "<<") and type(b) is int and b == 0)
        or (op == "//" and type(b) is int and b == 1)
        else None
    )


def numeric(x: Any) -> bool:
    """Whether something is a number that a symbol can be computed with."""
    return type(x) in (Whole, Real, int, float, bool)


def combined(op: str, swap: bool) -> Any:
    """The method of an operation on two numbers."""
    compute = BINARY[op]

    def method(self: Any, other: Any) -> Any:
        if not numeric(other):
            return NotImplemented
        a, b = (other, self) if swap else (self, other)
        value = compute(plain(a), plain(b))
        record = self.record
        if not record.open:
            return value
        if op == "*" and ((type(a) is int and a == 0) or (type(b) is int and b == 0)):
            return 0
        found = simpler(op, a, b)
        if found is not None:
            return found
        if type(value) is int and op in "*//%":
            made = record.product(a, b) if op == "*" else record.quotient(op, a, b)
            if made is not None:
                return made
        return record.made(f"{text_of(a)} {op} {text_of(b)}", value, bound(op, a, b))

    return method


def plain(x: Any) -> Any:
    """A number without its name."""
    return int(x) if type(x) is Whole else float(x) if type(x) is Real else x


def certain(op: str, a: Any, b: Any) -> bool | None:
    """How a comparison of a symbol with a number comes out whatever the symbol stands for; None: that depends."""
    if type(b) in (Whole, Real):
        if a.name == b.name:
            return op in ("==", "<=", ">=")
        if op in ("==", "!=") and a.name[0] == b.name[0] == "e":
            return op == "!="
        return None
    if op in ("==", "!="):
        return op == "!=" if b < a.least else None
    if op in (">", "<="):
        return op == ">" if b < a.least else None
    return op == ">=" if b <= a.least else None


def compared(op: str) -> Any:
    """The method of a comparison."""
    compute = COMPARED[op]

    def method(self: Any, other: Any) -> Any:
        if not numeric(other):
            return NotImplemented
        holds = compute(plain(self), plain(other))
        if self.record.open and certain(op, self, other) is None:
            self.record.condition(f"{self.name} {op} {text_of(other)}", holds)
        return holds

    return method


def alone(text: str, compute: Any, least: float = NOTHING) -> Any:
    """The method of an operation on one number."""

    def method(self: Any, *rest: Any) -> Any:
        value = compute(plain(self))
        return self.record.made(text.format(self.name), value, least) if self.record.open else value

    return method


def truth(self: Any) -> bool:
    """Whether it is not 0."""
    return bool(self != 0)


def as_float(self: Any) -> float:
    """The number alone: a condition."""
    return float(self.record.fixed(self))


for _kind in (Whole, Real):
    for _op, _name in NAMES.items():
        if _kind is Whole or _op in "+-*//%":
            setattr(_kind, f"__{_name}__", combined(_op, False))
            setattr(_kind, f"__r{_name}__", combined(_op, True))
    for _op, _name in zip(COMPARED, ("eq", "ne", "lt", "le", "gt", "ge")):
        setattr(_kind, f"__{_name}__", compared(_op))
    for _name, _method in (
        ("__neg__", alone("-{}", operator.neg)),
        ("__ceil__", alone("ceil({})", math.ceil)),
        ("__abs__", alone("abs({})", abs, 0)),
        ("__bool__", truth),
        ("__hash__", _kind.__mro__[1].__hash__),
    ):
        setattr(_kind, _name, _method)
Whole.bit_length = alone("{}.bit_length()", int.bit_length, 0)  # type: ignore[method-assign]
Whole.__float__ = as_float  # type: ignore[method-assign]
Whole.__pos__ = lambda self: self  # type: ignore[method-assign]
