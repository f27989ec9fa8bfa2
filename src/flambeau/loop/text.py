"""Kernels as text: `show` prints Python-like loops with types, `parse` reads them back.

    kernel axpy(n: i64, alpha: num f64, x: f32[r], y: f32[rw]):
        reg acc: f32 x 16 = 0.0:f32
        vfor i in range(0, n) by 16:
            %1 = (x[i] * f32(alpha))
            y[i] = (%1 + %1)
            acc = (acc + x[i if (i < n)])
        y[0] = reduce.add(acc)

Constants of i64 and b1 are bare, others carry their type. `f32(v)` casts, `bits.i32(v)` keeps the bits. `%n` is an
expression used more than once (or very long) in the statement that follows. The text is complete but for
`Kernel.where`, and equal kernels have equal texts: it is the key of the caches."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .algebra import children, postorder
from .ir import (
    COMPARE,
    FLOATS,
    TYPES,
    Alloc,
    Buf,
    Check,
    Const,
    Expr,
    For,
    Get,
    HReduce,
    If,
    Int,
    Kernel,
    Let,
    Load,
    Num,
    Op,
    Prefetch,
    Reg,
    Set,
    Stmt,
    Store,
    Var,
    VFor,
    While,
)
from .spec import LoopError

_INFIX = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "div": "/",
    "idiv": "//",
    "irem": "%",
    "and": "&",
    "or": "|",
    "xor": "^",
}
_INFIX |= {"shl": "<<", "shr": ">>", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
_BY_SYMBOL = {symbol: name for name, symbol in _INFIX.items()}
_LONG = 200  # a nested expression of more characters gets a name of its own


# printing


def show(kernel: Kernel) -> str:
    """The text of a kernel (without the user's line)."""
    params = ", ".join(map(_param, kernel.params))
    lines = [f"kernel {kernel.name}({params}):"]
    _show_block(kernel.body, "    ", lines)
    if kernel.epilogue:
        lines.append("epilogue:")
        _show_block(kernel.epilogue, "    ", lines)
    lines.append("")
    return "\n".join(lines)


def show_statement(stmt: Stmt) -> str:
    """The head of one statement as text, however wrong it is (for messages)."""
    lines: list[str] = []
    try:
        if isinstance(stmt, (For, VFor, While, If)):
            stmt = _without_body(stmt)
        _show_block([stmt], "", lines)
    except (TypeError, AttributeError, KeyError, LoopError):
        return repr(stmt)
    return "; ".join(lines)


def show_expr(expr: Expr) -> str:
    """One expression as text; shared parts come first, each on a line."""
    lines: list[str] = []
    lines.extend(_texts((expr,), "", lines))
    return "\n".join(lines)


def _without_body(stmt: Stmt) -> Stmt:
    import copy

    stmt = copy.copy(stmt)
    for name in ("body", "then", "orelse"):
        if hasattr(stmt, name):
            setattr(stmt, name, [])
    return stmt


def _param(p: Buf | Int | Num) -> str:
    if isinstance(p, Buf):
        return f"{p.name}: {p.type}[{p.mode}{', alias' if p.alias else ''}]"
    return f"{p.name}: i64" if isinstance(p, Int) else f"{p.name}: num {p.type}"


def _constant(e: Const) -> str:
    v, t = e.value, e.type
    if t == "b1":
        return "true" if v else "false"
    if t in FLOATS:
        v = float(v)
        return f"{'nan' if v != v else repr(v)}:{t}"
    return str(v) if t == "i64" else f"{v}:{t}"


def _texts(roots: Iterable[Expr], indent: str, lines: list[str]) -> list[str]:
    """The texts of the expressions of one statement; what they share is named in lines of its own before."""
    roots = tuple(roots)
    order = postorder(roots)
    uses: dict[int, int] = {}
    for e in (*order, None):
        for c in roots if e is None else children(e):
            uses[id(c)] = uses.get(id(c), 0) + 1
    text: dict[int, str] = {}
    count = 0
    for e in order:
        line = _text(e, text)
        if isinstance(e, (Op, Load)) and (uses[id(e)] > 1 or len(line) > _LONG):
            count += 1
            lines.append(f"{indent}%{count} = {line}")
            line = f"%{count}"
        text[id(e)] = line
    return [text[id(root)] for root in roots]


def _text(e: Expr, text: dict[int, str]) -> str:
    if isinstance(e, Op):
        args = [text[id(a)] for a in e.args]
        symbol = _INFIX.get(e.op)
        if symbol and len(args) == 2:
            return f"({args[0]} {symbol} {args[1]})"
        name = e.type if e.op == "cast" else f"bits.{e.type}" if e.op == "bitcast" else e.op
        return f"{name}({', '.join(args)})"
    if isinstance(e, (Var, Get)):
        return e.name
    if isinstance(e, Const):
        return _constant(e)
    if isinstance(e, Load):
        mask = "" if e.mask is None else f" if {text[id(e.mask)]}"
        return f"{e.buf}[{text[id(e.index)]}{mask}]"
    if isinstance(e, HReduce):
        return f"reduce.{e.op}({e.name})"
    raise LoopError(f"{e!r} is not an expression")


def _show_block(body: list[Stmt], indent: str, lines: list[str]) -> None:
    deeper = indent + "    "
    for s in body:
        roots = _roots(s)
        t = _texts(roots, indent, lines) if roots else []
        if isinstance(s, Let):
            lines.append(f"{indent}let {s.name}: {s.value.type} = {t[0]}")
        elif isinstance(s, Set):
            lines.append(f"{indent}{s.name} = {t[0]}")
        elif isinstance(s, Store):
            mask = f" if {t[2]}" if s.mask is not None else ""
            lines.append(f"{indent}{s.buf}[{t[0]}{mask}] = {t[1]}")
        elif isinstance(s, Reg):
            lines.append(f"{indent}reg {s.name}: {s.init.type}{f' x {s.lanes}' if s.lanes else ''} = {t[0]}")
        elif isinstance(s, Alloc):
            lines.append(f"{indent}alloc {s.name}: {s.type}[{s.size}]{' loose' if s.loose else ''}")
        elif isinstance(s, Check):
            lines.append(f"{indent}check {s.code}, {', '.join(t)}")
        elif isinstance(s, Prefetch):
            lines.append(
                f"{indent}prefetch {s.buf}[{t[0]}]{' write' if s.write else ''}{' far' if s.far else ''}"
            )
        else:
            lines.append(indent + _head(s, t))
            _show_block(s.then if isinstance(s, If) else s.body, deeper, lines)  # type: ignore[attr-defined]
            if isinstance(s, If) and s.orelse:
                lines.append(f"{indent}else:")
                _show_block(s.orelse, deeper, lines)


def _head(s: Stmt, t: list[str]) -> str:
    if isinstance(s, For):
        return f"for {s.var} in {'unroll' if s.unroll else 'range'}({', '.join(t)}):"
    if isinstance(s, VFor):
        more = f"{' full' if s.full else ''}{f' past {s.past}' if s.past else ''}"
        return f"vfor {s.var} in range({', '.join(t)}) by {s.width}{more}:"
    if isinstance(s, (If, While)):
        return f"{'if' if isinstance(s, If) else 'while'} {t[0]}:"
    raise LoopError(f"{s!r} is not a statement")


def _roots(s: Stmt) -> tuple[Expr, ...]:
    """The expressions of a statement in the order of its text."""
    if isinstance(s, (Let, Set)):
        return (s.value,)
    if isinstance(s, Store):
        return (s.index, s.value) if s.mask is None else (s.index, s.value, s.mask)
    if isinstance(s, For):
        return (s.lo, s.hi, s.step)
    if isinstance(s, VFor):
        return (s.lo, s.hi)
    if isinstance(s, (If, While)):
        return (s.cond,)
    if isinstance(s, Check):
        return (s.cond, s.value, s.position)
    if isinstance(s, Prefetch):
        return (s.index,)
    return (s.init,) if isinstance(s, Reg) else ()


# parsing

_TOKEN = re.compile(
    r"""(-?inf|nan|-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?::(\w+))?(?!\w)  # a number and its type
    | (%\d+ | (?:bits|reduce)\.\w+ | \w+) | (<<|>>|<=|>=|==|!=|//|[-+*/%&|^<>()\[\],=:])""",
    re.VERBOSE,
)
_LEVEL = 4  # columns


def parse(text: str) -> Kernel:
    """The kernel of a text as `show` prints it; raises LoopError with the number of the line."""
    return _Parser(text).kernel()


class _Parser:
    def __init__(self, text: str):
        self.lines = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
        self.at = 0
        self.kinds: dict[str, str] = {"tid": "i64", "nt": "i64"}  # the types of variables
        self.registers: dict[str, str] = {}
        self.buffers: dict[str, str] = {}
        self.shared: dict[str, Expr] = {}
        self.tokens: list[tuple[str, str, str, str]] = []
        self.next = 0

    def fail(self, what: str) -> LoopError:
        n, line = self.lines[min(self.at, len(self.lines) - 1)] if self.lines else (0, "")
        return LoopError(f"line {n}: {what}; in `{line.strip()}`")

    # tokens

    def scan(self) -> int:
        """Split the present line into tokens; its depth."""
        line = self.lines[self.at][1]
        body = line.lstrip(" ")
        self.tokens, self.next, place = [], 0, 0
        while place < len(body):
            match = _TOKEN.match(body, place)
            if match is None:
                raise self.fail(f"cannot read {body[place:]!r}")
            self.tokens.append(tuple(g or "" for g in match.groups()))  # type: ignore[arg-type]
            place = match.end()
            while place < len(body) and body[place] == " ":
                place += 1
        return (len(line) - len(body)) // _LEVEL

    def peek(self) -> str:
        if self.next >= len(self.tokens):
            return ""
        number, _, word, symbol = self.tokens[self.next]
        return number or word or symbol

    def take(self) -> str:
        token = self.peek()
        self.next += 1
        return token

    def expect(self, *wanted: str) -> None:
        for token in wanted:
            found = self.take()
            if found != token:
                raise self.fail(f"expected {token!r}, found {found!r}")

    def accept(self, token: str) -> bool:
        if self.peek() == token:
            self.next += 1
            return True
        return False

    def end(self) -> None:
        if self.next != len(self.tokens):
            raise self.fail(f"unexpected {self.peek()!r}")

    def type(self) -> str:
        name = self.take()
        if name not in TYPES:
            raise self.fail(f"unknown type {name!r}")
        return name

    # expressions

    def expr(self) -> Expr:
        if self.next >= len(self.tokens):
            raise self.fail("unexpected end of the line")
        number, type, word, symbol = self.tokens[self.next]
        self.next += 1
        if number:
            return self.number(number, type or "i64")
        if symbol == "(":
            left = self.expr()
            name = _BY_SYMBOL.get(self.take())
            if name is None:
                raise self.fail("expected an operator")
            right = self.expr()
            self.expect(")")
            return Op("b1" if name in COMPARE else left.type, name, left, right)
        if not word:
            raise self.fail(f"unexpected {symbol!r}")
        return self.word(word)

    def number(self, number: str, type: str) -> Const:
        if type not in TYPES:
            raise self.fail(f"unknown type {type!r}")
        return Const(type, float(number) if type in FLOATS else int(number))

    def word(self, word: str) -> Expr:
        if word in ("true", "false"):
            return Const("b1", word == "true")
        if word[0] == "%":
            if word not in self.shared:
                raise self.fail(f"{word} is not known here")
            return self.shared[word]
        following = self.peek()
        if following == "(":
            return self.call(word)
        if following == "[":
            index, mask = self.subscript()
            return Load(self.known(self.buffers, word), word, index, mask)
        if word in self.registers:
            return Get(self.registers[word], word)
        return Var(self.known(self.kinds, word), word)

    def known(self, table: dict[str, str], name: str) -> str:
        if name not in table:
            raise self.fail(f"{name} is not known here")
        return table[name]

    def subscript(self) -> tuple[Expr, Expr | None]:
        self.expect("[")
        index = self.expr()
        mask = self.expr() if self.accept("if") else None
        self.expect("]")
        return index, mask

    def call(self, word: str) -> Expr:
        kind, _, name = word.partition(".")
        if kind == "reduce":
            self.expect("(")
            reg = self.take()
            self.expect(")")
            return HReduce(self.known(self.registers, reg), name, reg)
        args = self.arguments()
        if word in TYPES:
            return Op(word, "cast", *args)
        if kind == "bits":
            return Op(name, "bitcast", *args)
        return Op(args[1].type if word == "select" else args[0].type, word, *args)

    def arguments(self) -> list[Expr]:
        self.expect("(")
        args = [self.expr()]
        while self.accept(","):
            args.append(self.expr())
        self.expect(")")
        return args

    # statements

    def kernel(self) -> Kernel:
        if not self.lines:
            raise self.fail("empty")
        self.scan()
        self.expect("kernel")
        name = self.take()
        self.expect("(")
        params: list[Buf | Int | Num] = []
        while not self.accept(")"):
            params.append(self.param())
            if self.peek() != ")":
                self.expect(",")
        self.expect(":")
        self.end()
        self.at += 1
        body = self.block(1)
        epilogue: list[Stmt] = []
        if self.at < len(self.lines) and self.lines[self.at][1] == "epilogue:":
            self.at += 1
            epilogue = self.block(1)
        if self.at < len(self.lines):
            raise self.fail("unexpected line")
        return Kernel(name, params, body, epilogue)

    def param(self) -> Buf | Int | Num:
        name = self.take()
        self.expect(":")
        if self.accept("num"):
            self.kinds[name] = self.type()
            return Num(name, self.kinds[name])
        type = self.type()
        if not self.accept("["):
            self.kinds[name] = type
            return Int(name)
        mode = self.take()
        alias = self.accept(",")
        if alias:
            self.expect("alias")
        self.expect("]")
        self.buffers[name] = type
        return Buf(name, type, mode, alias)

    def block(self, depth: int) -> list[Stmt]:
        body: list[Stmt] = []
        while self.at < len(self.lines):
            found = self.scan()
            if found > depth:
                raise self.fail("unexpected indentation")
            if found < depth or self.peek() == "else":
                break
            if self.peek()[:1] == "%":
                name = self.take()
                self.expect("=")
                self.shared[name] = self.expr()
                self.end()
                self.at += 1
            else:
                body.append(self.statement(depth))
        return body

    def statement(self, depth: int) -> Stmt:
        rule = _STATEMENTS.get(self.peek())
        if rule is not None:
            self.next += 1
            return rule(self, depth)
        name = self.take()
        stmt: Stmt
        if self.peek() == "[":
            index, mask = self.subscript()
            self.known(self.buffers, name)
            self.expect("=")
            stmt = Store(name, index, self.expr(), mask)
        else:
            self.known(self.registers, name)
            self.expect("=")
            stmt = Set(name, self.expr())
        return self.done(stmt)

    def done(self, stmt: Stmt) -> Stmt:
        """The line of a statement ends here."""
        self.end()
        self.shared = {}
        self.at += 1
        return stmt

    def let(self, depth: int) -> Stmt:
        name = self.take()
        self.expect(":")
        type = self.type()
        self.expect("=")
        value = self.expr()
        self.registers.pop(name, None)
        self.kinds[name] = type
        return self.done(Let(name, value))

    def reg(self, depth: int) -> Stmt:
        name = self.take()
        self.expect(":")
        type = self.type()
        lanes = int(self.take()) if self.accept("x") else 0
        self.expect("=")
        init = self.expr()
        self.registers[name] = type
        return self.done(Reg(name, init, lanes))

    def alloc(self, depth: int) -> Stmt:
        name = self.take()
        self.expect(":")
        type = self.type()
        self.expect("[")
        size = int(self.take())
        self.expect("]")
        self.buffers[name] = type
        return self.done(Alloc(name, type, size, self.accept("loose")))

    def check(self, depth: int) -> Stmt:
        code = int(self.take())
        parts = []
        for _ in range(3):
            self.expect(",")
            parts.append(self.expr())
        return self.done(Check(parts[0], code, parts[1], parts[2]))

    def prefetch(self, depth: int) -> Stmt:
        name = self.take()
        self.known(self.buffers, name)
        index, _ = self.subscript()
        return self.done(Prefetch(name, index, self.accept("write"), self.accept("far")))

    def for_(self, depth: int) -> Stmt:
        var = self.loop_var()
        unroll = self.take() == "unroll"
        lo, hi, step = self.arguments()
        self.expect(":")
        stmt = For(var, lo, hi, step, [], unroll)
        self.done(stmt)
        stmt.body = self.block(depth + 1)
        return stmt

    def vfor(self, depth: int) -> Stmt:
        var = self.loop_var()
        self.expect("range")
        lo, hi = self.arguments()
        self.expect("by")
        width = int(self.take())
        full = self.accept("full")
        past = int(self.take()) if self.accept("past") else 0
        self.expect(":")
        stmt = VFor(var, lo, hi, width, [], full, past)
        self.done(stmt)
        stmt.body = self.block(depth + 1)
        return stmt

    def loop_var(self) -> str:
        var = self.take()
        self.expect("in")
        self.registers.pop(var, None)
        self.kinds[var] = "i64"
        return var

    def if_(self, depth: int) -> Stmt:
        stmt = If(self.expr(), [])
        self.expect(":")
        self.done(stmt)
        stmt.then = self.block(depth + 1)
        if self.at < len(self.lines) and self.scan() == depth and self.accept("else"):
            self.expect(":")
            self.done(stmt)
            stmt.orelse = self.block(depth + 1)
        return stmt

    def while_(self, depth: int) -> Stmt:
        stmt = While(self.expr(), [])
        self.expect(":")
        self.done(stmt)
        stmt.body = self.block(depth + 1)
        return stmt


_STATEMENTS = {
    "let": _Parser.let,
    "reg": _Parser.reg,
    "alloc": _Parser.alloc,
    "check": _Parser.check,
    "prefetch": _Parser.prefetch,
    "for": _Parser.for_,
    "vfor": _Parser.vfor,
    "if": _Parser.if_,
    "while": _Parser.while_,
}
