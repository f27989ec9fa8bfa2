"""The text of one LLVM function as it grows: instructions, blocks, loops, values at a width."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .operations import Operations
from .places import Places, wrap
from .target import Target
from .types import REGISTER, Value, llvm_type

MEMORY = REGISTER | {"b1": "i8"}


class Buffer:
    """A buffer in scope: base pointer, element type, the metadata of its loads and stores, and whether these need no
    mask in the last round."""

    __slots__ = ("base", "loose", "memory", "tag", "type")

    def __init__(self, base: str, type: str, tag: str = "", loose: bool = False):
        self.base, self.type, self.tag, self.loose, self.memory = base, type, tag, loose, MEMORY[type]


class Function(Places):
    """State: the block being filled, the lane context (width, mask) and the values known in this statement."""

    def __init__(self, target: Target):
        super().__init__()
        self.target = target
        self.out: list[Any] = []  # lines, and lists of lines in front of loops
        self.allocas: list[str] = []
        self.needed: set[str] = set()  # functions of our own that are called
        self.label = "entry"
        self.width, self.mask = 0, ""
        self.rest = ""  # in a masked round: how many lanes, from the first on, are active
        self.memo: dict[object, Value] = {}
        self.operations = Operations(self)

    # lines and blocks

    def line(self, text: str) -> str:
        """Append an instruction with a result; its name."""
        self.count += 1
        name = f"%v{self.count}"
        self.out.append(f"  {name} = {text}")
        depth = len(self.scopes) - 1
        if depth:
            self.level[name] = depth
        return name

    def block(self, label: str) -> None:
        """Begin a block."""
        self.out.append(f"{label}:")
        self.label = label

    def labels(self, n: int) -> list[str]:
        """New labels."""
        self.count += 1
        return [f"b{self.count}.{k}" for k in range(n)]

    def jump(self, label: str) -> None:
        """End the block by a branch to `label`."""
        self.out.append(f"  br label %{label}")

    def branch(self, cond: str, yes: str, no: str, hint: str = "") -> None:
        """End the block by a conditional branch."""
        self.out.append(f"  br i1 {cond}, label %{yes}, label %{no}{hint}")

    def unless(self, cond: str, quick: str, type: str, slow: Callable[[], str]) -> str:
        """`quick` if cond is true, as expected, else what `slow` emits; `type` is LLVM's."""
        before = self.label
        rare, join = self.labels(2)
        self.branch(cond, join, rare, ", !prof !0")
        self.block(rare)
        self.enter()
        value = slow()
        self.leave()
        after = self.label
        self.jump(join)
        self.block(join)
        return self.line(f"phi {type} [ {quick}, %{before} ], [ {value}, %{after} ]")

    def loop(self, lo: str | int, hi: str | int, step: str | int, body: Callable[[str], None]) -> None:
        """for i in range(lo, hi, step), tested at the entry (unless known) and at the bottom."""
        head, done = self.labels(2)
        before = self.opened()
        if isinstance(lo, int) and isinstance(hi, int) and lo < hi:
            self.jump(head)
        else:
            self.branch(self.line(f"icmp slt i64 {lo}, {hi}"), head, done)
        entry = self.label
        scope = self.enter(before)
        self.block(head)
        self.count += 1
        i, after = f"%i{self.count}", f"%n{self.count}"
        scope.variable, scope.start, scope.step = i, lo, step
        self.level[i] = self.level[after] = len(self.scopes) - 1
        phis: list[str] = []
        self.out.append(phis)
        body(i)
        phis.append(f"  {i} = phi i64 [ {lo}, %{entry} ], [ {after}, %{self.label} ]")
        self.out.append(f"  {after} = add nsw i64 {i}, {step}")
        for name, first, by in scope.counted:
            phis.append(f"  {name} = phi i64 [ {first}, %{entry} ], [ {name}.n, %{self.label} ]")
            self.out.append(f"  {name}.n = add i64 {name}, {by}")
        self.branch(self.line(f"icmp slt i64 {after}, {hi}"), head, done)
        self.leave()
        self.block(done)

    def each_lane(
        self, element: str, type: str, args: Sequence[str], width: int, one: Callable[..., str]
    ) -> str:
        """The vector of `one(elements of a lane)`, in a loop over copies of the vectors `args` on the stack."""
        places = [self.scratch(type) for _ in args]
        for place, a in zip(places, args, strict=True):
            self.out.append(f"  store {type} {a}, ptr {place}")

        def body(lane: str) -> None:
            at = [self.line(f"getelementptr {element}, ptr {place}, i64 {lane}") for place in places]
            value = one(*[self.line(f"load {element}, ptr {p}") for p in at])
            self.out.append(f"  store {element} {value}, ptr {at[0]}")

        self.loop(0, width, 1, body)
        return self.line(f"load {type}, ptr {places[0]}")

    def scratch(self, type: str) -> str:
        """A place on the stack for a value of an LLVM type."""
        self.count += 1
        name = f"%s{self.count}"
        self.allocas.append(f"  {name} = alloca {type}, align 64")
        return name

    # values

    def at(self, v: Value, width: int) -> str:
        """The text of a value at a width."""
        if not width:
            assert not v.width, "a value that varies by lane is used as a scalar"
            return str(v.text)
        if v.width and v.step is None:
            return v.text  # type: ignore[return-value]
        key = (v.text, v.type, v.step)
        known = self.memo.get(key)
        if known is None:
            known = self.memo[key] = Value(self.spread(v, width), v.type, width)
        return known.text  # type: ignore[return-value]

    def spread(self, v: Value, width: int) -> str:
        """A scalar or affine value as a vector."""
        t = llvm_type(v.type, width)
        if isinstance(v.text, int) or v.text[0] != "%":
            base = f"splat ({REGISTER[v.type]} {v.text})"
        else:
            one = self.line(f"insertelement {t} poison, {REGISTER[v.type]} {v.text}, i32 0")
            base = self.line(f"shufflevector {t} {one}, {t} poison, <{width} x i32> zeroinitializer")
        if not v.step:
            return base
        if isinstance(v.step, str):
            numbers = ", ".join(f"i64 {lane}" for lane in range(width))
            lanes = self.line(f"mul {t} {self.spread(Value(v.step, 'i64'), width)}, <{numbers}>")
            return lanes if v.text == 0 else self.line(f"add {t} {base}, {lanes}")
        lanes = ", ".join(f"i64 {wrap(v.step * lane)}" for lane in range(width))
        return f"<{lanes}>" if v.text == 0 else self.line(f"add {t} {base}, <{lanes}>")

    def affine(self, base: str | int, step: int | str, width: int) -> Value:
        """The i64 that is base + step * lane."""
        step = step if isinstance(step, str) else wrap(step)
        return Value(base, "i64", width, step) if step else Value(base, "i64")
