"""Where integer arithmetic goes: once, and in front of the loops that do not change it.

LLVM would find that out too, but it takes longer for it than for all the rest of a kernel."""

from __future__ import annotations


class Scope:
    """The function, the body of a loop or a branch: what has been computed in it holds until its end."""

    __slots__ = ("before", "counted", "known", "start", "step", "variable")

    def __init__(self, before: list[str] | None = None):
        self.before = before  # lines in front of the loop; None: no loop
        self.known: dict[str, str] = {}  # the names of instructions, by their text
        self.variable = ""  # of the loop, with its first value and step
        self.start: str | int = 0
        self.step: str | int = 1
        self.counted: list[tuple[str, str | int, str | int]] = []  # multiples of it: name, first value, step


class Places:
    """The scopes that are open where the next line goes, and the one that each name belongs to."""

    out: list[str | list[str]]

    def __init__(self) -> None:
        self.count = 0
        self.scopes = [Scope()]
        self.level: dict[str | int, int] = {}  # names that are not in the outermost scope
        self.sums: dict[str | int, tuple[str | int, str | int]] = {}  # operands of what different scopes know

    def opened(self) -> list[str]:
        """Open the scope of a loop that begins here; the lines in front of it."""
        before: list[str] = []
        self.out.append(before)  # type: ignore[arg-type]
        return before

    def enter(self, before: list[str] | None = None) -> Scope:
        """Begin a scope: of a branch, or of the loop behind the lines `before`."""
        scope = Scope(before)
        self.scopes.append(scope)
        return scope

    def leave(self) -> None:
        """End the innermost scope."""
        self.scopes.pop()

    def pure(self, text: str, a: str | int, b: str | int = 0) -> str:
        """An instruction without effects on the scalars a and b, in the outermost place where they are known."""
        scopes, level = self.scopes, self.level
        name = scopes[-1].known.get(text)
        if name is not None:
            return name
        of, other = level.get(a, 0), level.get(b, 0)
        if other > of:
            of = other
        at = len(scopes) - 1
        lines = self.out
        if of < at:
            for k in range(of + 1, at + 1):
                before = scopes[k].before
                if before is not None:
                    lines, at = before, k - 1  # type: ignore[assignment]
                    break
            for k in range(at, of - 1, -1):
                name = scopes[k].known.get(text)
                if name is not None:
                    return name
        self.count += 1
        name = scopes[at].known[text] = f"%v{self.count}"
        lines.append(f"  {name} = {text}")
        if at:
            level[name] = at
        return name

    def arithmetic(self, op: str, a: str | int, b: str | int) -> str | int:
        """Scalar i64 add, sub, mul with the trivial cases folded."""
        if isinstance(a, int):
            if isinstance(b, int):
                return wrap(a + b if op == "add" else a - b if op == "sub" else a * b)
            if op != "sub":
                a, b = b, a
        if isinstance(b, int):
            if b == 0:
                return a if op != "mul" else 0
            if b == 1 and op == "mul":
                return a
        elif op == "mul":
            multiple = self._multiple(a, b) or self._multiple(b, a)
            if multiple is not None:
                return multiple
        name = self.pure(f"{op} i64 {a}, {b}", a, b)
        if op == "add":
            if isinstance(b, int) or self.level.get(a, 0) != self.level.get(b, 0):
                self.sums[name] = a, b
        elif op == "sub" and isinstance(b, int):
            self.sums[name] = a, wrap(-b)
        return name

    def _multiple(self, a: str | int, b: str | int) -> str | int | None:
        """a * b if a is a loop's variable, perhaps plus what the loop does not change, and b does not change in it:
        counted beside the variable."""
        of, rest = self.level.get(a, 0), None
        if of and a in self.sums:
            a, rest = self.sums[a]
            if self.level.get(rest, 0) == of:
                a, rest = rest, a
        scope = self.scopes[of]
        if a != scope.variable or self.level.get(b, 0) >= of or self.level.get(rest or 0, 0) >= of:
            return None
        text = f"{a} * {b}"
        name = scope.known.get(text)
        if name is None:
            self.count += 1
            name = scope.known[text] = f"%m{self.count}"
            self.level[name] = of
            start, step = self.arithmetic("mul", b, scope.start), self.arithmetic("mul", b, scope.step)
            scope.counted.append((name, start, step))
        return name if rest is None else self.arithmetic("add", name, self.arithmetic("mul", b, rest))

    def moved(self, memory: str, base: str, index: str | int) -> str:
        """The address of an element: what a loop does not change is added in front of it."""
        terms: dict[int, str | int] = {}
        sums, constant, stack = self.sums, 0, [index]
        while stack:
            term = stack.pop()
            if isinstance(term, int):
                constant += term
            elif term in sums:
                stack += sums[term]
            else:
                of = self.level.get(term, 0)
                terms[of] = self.arithmetic("add", terms[of], term) if of in terms else term
        for of in sorted(terms) if len(terms) > 1 else terms:
            base = self.pure(f"getelementptr {memory}, ptr {base}, i64 {terms[of]}", base, terms[of])
        if constant := wrap(constant):
            base = self.pure(f"getelementptr {memory}, ptr {base}, i64 {constant}", base)
        return base


def wrap(value: int) -> int:
    """The i64 that a number is modulo 2**64."""
    return (value + 2**63) % 2**64 - 2**63
