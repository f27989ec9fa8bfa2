"""Loop IR to LLVM IR text: `module(kernels, symbols, target)`.

A `VFor` becomes a loop of full vectors and one masked round for the rest. An i64 value that is affine in the lane stays
a scalar base and a step until it is used: step 1 makes vector loads and stores, 0 scalar ones, anything else gathers.
Registers are allocas, which LLVM's SROA turns into values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..loop import ir
from . import transpose
from .bundle import Bundles, neighbours
from .function import MEMORY, Buffer
from .memory import LINE
from .runtime import FUNCTIONS
from .target import Target
from .types import REGISTER, Value, constant, llvm_type

_MODULE = """target triple = "{triple}"
{functions}
attributes #0 = {{ nounwind {width} }}
attributes #1 = {{ nounwind cold noinline }}
!0 = !{{!"branch_weights", i32 2000, i32 1}}
{metadata}
"""


def module(kernels: Sequence[ir.Kernel], symbols: Sequence[str], target: Target) -> str:
    """The LLVM IR of a module that defines each kernel under its symbol."""
    shared = Module(target)
    for kernel, symbol in zip(kernels, symbols, strict=True):
        emitter = Emitter(shared, kernel)
        shared.functions.append(emitter.function(symbol))
        shared.needed |= emitter.needed
    return shared.text()


class Module:
    """What the functions of one module share: declarations, metadata, called functions of our own."""

    def __init__(self, target: Target):
        self.target = target
        self.functions: list[str] = []
        self.needed: set[str] = set()
        self.metadata: list[str] = []

    def node(self, text: str) -> str:
        """A new metadata node; `self` in the text is the node."""
        name = f"!{len(self.metadata) + 1}"
        self.metadata.append(f"{name} = {text.replace('self', name)}")
        return name

    def text(self) -> str:
        """The whole module."""
        return _MODULE.format(
            triple=self.target.triple,
            functions="\n".join([*(FUNCTIONS[n] for n in sorted(self.needed)), *self.functions]),
            width=f'"prefer-vector-width"="{max(self.target.vector_bits, 128)}"',
            metadata="\n".join(self.metadata),
        )


class Emitter(Bundles):
    """Emits one kernel: a Function that knows the names in scope."""

    def __init__(self, shared: Module, kernel: ir.Kernel):
        super().__init__(shared.target)
        self.shared, self.kernel = shared, kernel
        self.names: dict[str, Value] = {}
        self.constants: dict[ir.Const, Value] = {}
        self.registers: dict[str, tuple[str, str, int]] = {}
        self.fence = ""  # before a part ends
        self.private: set[str] = set()  # registers declared in the VFor being emitted
        self.buffers: dict[str, Buffer] = {}
        self.most: dict[str, int] = {}  # bounds of names that are minima of something and a constant

    # the function

    def function(self, symbol: str) -> str:
        """The whole function."""
        self._parameters()
        if self.kernel.epilogue:
            main, after = self.labels(2)
            self.branch(self.line("icmp eq i64 %tid, -1"), after, main)
            self.block(after)
            self.enter()
            self.statements(self.kernel.epilogue)
            self.leave()
            self.out.append(f"{self.fence}  ret void")
            self.block(main)
        self.statements(self.kernel.body)
        self.out.append(f"{self.fence}  ret void")
        lines = list(self.allocas)
        for part in self.out:
            if part.__class__ is str:
                lines.append(part)
            else:
                lines += part
        body = "\n".join(lines)
        head = f"define void @{symbol}(ptr %table, ptr %where, i64 %tid, i64 %nt) #0 {{"
        return f"{head}\nentry:\n{body}\n}}"

    def _parameters(self) -> None:
        self.names = {"tid": Value("%tid", "i64"), "nt": Value("%nt", "i64")}
        tags = self._scopes()
        for k, p in enumerate(self.kernel.params):
            at = self.line(f"getelementptr i32, ptr %where, i64 {k}")
            at = self.line(f"sext i32 {self.line(f'load i32, ptr {at}')} to i64")
            at = self.line(f"getelementptr i64, ptr %table, i64 {at}")
            if isinstance(p, ir.Buf):
                self.buffers[p.name] = Buffer(self.line(f"load ptr, ptr {at}"), p.type, tags.get(p.name, ""))
            else:
                type = p.type if isinstance(p, ir.Num) else "i64"
                self.names[p.name] = Value(self.line(f"load {REGISTER[type]}, ptr {at}"), type)

    def _scopes(self) -> dict[str, str]:
        """Alias metadata by buffer: buffers with alias = True share one scope, every other has its own."""
        buffers = [p for p in self.kernel.params if isinstance(p, ir.Buf)]
        groups = list(dict.fromkeys("" if p.alias else p.name for p in buffers))
        if len(groups) < 2 or all(p.mode == "r" for p in buffers):
            return {}
        node = self.shared.node
        domain = node("distinct !{self}")
        scopes = {g: node(f"distinct !{{self, {domain}}}") for g in groups}
        tags = {}
        for g in groups:
            own = node(f"!{{{scopes[g]}}}")
            others = node(f"!{{{', '.join(s for h, s in scopes.items() if h != g)}}}")
            tags[g] = f", !alias.scope {own}, !noalias {others}"
        return {p.name: tags["" if p.alias else p.name] for p in buffers}

    # expressions

    def value(self, e: ir.Expr) -> Value:
        """The value of an expression: computed once in a statement."""
        memo = self.memo
        known = memo.get(e)
        if known is not None:
            return known
        stack = [e]  # no recursion: expanded mathematical functions nest deeply
        while stack:
            top: Any = stack[-1]
            kind = top.__class__
            parts: Sequence[ir.Expr] = ()
            if kind is ir.Op:
                parts = top.args
            elif kind is ir.Load:
                parts = (top.index,) if top.mask is None else (top.index, top.mask)
            for part in parts:
                if part not in memo:
                    leaf = _LEAVES.get(part.__class__)
                    if leaf is None:
                        stack.append(part)
                        break
                    memo[part] = leaf(self, part)
            else:
                stack.pop()
                memo[top] = _EXPRESSIONS[kind](self, top)
        return memo[e]

    def scalar(self, e: ir.Expr) -> str | int:
        """A value that is the same for all lanes."""
        v = self.value(e)
        if v.width:
            raise ValueError(f"codegen: kernel {self.kernel.name}: this must not depend on the lane")
        return v.text

    def _const(self, e: ir.Const) -> Value:
        known = self.constants.get(e)
        if known is None:
            known = self.constants[e] = Value(constant(e.type, e.value), e.type)
        return known

    def _var(self, e: ir.Var) -> Value:
        return self.names[e.name]

    def _get(self, e: ir.Get) -> Value:
        pointer, type, lanes = self.registers[e.name]
        return Value(self.line(f"load {llvm_type(type, lanes)}, ptr {pointer}"), type, lanes)

    def _op(self, e: ir.Op) -> Value:
        memo, op = self.memo, e.op
        args = [memo[a] for a in e.args]  # known: `value` comes from below
        source = args[0].type
        if source == "i64":
            quick = self._index(op, args)
            if quick is not None:
                return quick
        if op == "select" and args[0].text in ("true", "false"):
            return args[1 if args[0].text == "true" else 2]
        width = max([a.width for a in args])
        const = None
        if len(args) > 1 and not args[1].step:
            const = 1 if args[1].text == "%nt" else args[1].text  # the number of parts is never 0 or -1
        texts: list[Any] = [a.text if a.width and a.step is None else self.at(a, width) for a in args]
        return Value(self.operations.apply(op, e.type, source, texts, width, const), e.type, width)

    def _index(self, op: str, args: list[Value]) -> Value | None:
        """i64 arithmetic that folds or stays affine in the lane; None if it does neither."""
        a = args[0]
        if len(args) != 2 or (a.width and a.step is None):
            return None
        b = args[1]
        if b.width and b.step is None:
            return None
        width = a.width or b.width
        if not width and (op == "add" or op == "sub" or op == "mul"):
            return Value(self.arithmetic(op, a.text, b.text), "i64")
        if op == "add" or op == "sub":
            step = self.arithmetic(op, a.step or 0, b.step or 0)
            return self.affine(self.arithmetic(op, a.text, b.text), step, width)
        if op == "mul":
            if isinstance(a.text, int) and not a.step:
                a, b = b, a
            if isinstance(b.text, int) and not b.step:
                step = self.arithmetic(op, a.step or 0, b.text)
                return self.affine(self.arithmetic(op, a.text, b.text), step, width)
            if a.step or b.step:
                a, b = (b, a) if b.step else (a, b)
                if b.step:
                    return None
            step = self.arithmetic(op, a.step or 0, b.text)
            return self.affine(self.arithmetic(op, a.text, b.text), step, width)
        elif op in _FOLD and not width and isinstance(a.text, int) and isinstance(b.text, int):
            return Value("true" if _FOLD[op](a.text, b.text) else "false", "b1")
        return None

    # registers

    def _hreduce(self, e: ir.HReduce) -> Value:
        pointer, type, width = self.registers[e.name]
        text = self.line(f"load {llvm_type(type, width)}, ptr {pointer}")
        while width > 1:
            t, half = llvm_type(type, width), width // 2
            parts = []
            for first in (0, half):
                order = ", ".join(f"i32 {k}" for k in range(first, first + half))
                parts.append(self.line(f"shufflevector {t} {text}, {t} poison, <{half} x i32> <{order}>"))
            if half == 1:
                t = llvm_type(type, 1)
                parts = [self.line(f"extractelement {t} {p}, i32 0") for p in parts]
            text = self.operations.apply(e.op, type, type, parts, half if half > 1 else 0)
            width = half
        return Value(text, type)

    def _reg(self, s: ir.Reg) -> None:
        type, lanes = s.init.type, s.lanes if s.lanes > 1 else 0
        v = self.value(s.init)
        self.count += 1
        pointer, t = f"%r{self.count}", llvm_type(type, lanes)
        self.allocas.append(f"  {pointer} = alloca {t}, align {min(64, (lanes or 1) * ir.SIZE[type])}")
        self.registers[s.name] = (pointer, type, lanes)
        if self.width:
            self.private.add(s.name)
        self.out.append(f"  store {t} {self.at(v, lanes)}, ptr {pointer}")

    def _set(self, s: ir.Set) -> None:
        pointer, type, lanes = self.registers[s.name]
        text, t = self.at(self.value(s.value), lanes), llvm_type(type, lanes)
        if lanes and self.mask and s.name not in self.private:
            old = self.line(f"load {t}, ptr {pointer}")
            text = self.line(f"select <{lanes} x i1> {self.mask}, {t} {text}, {t} {old}")
        self.out.append(f"  store {t} {text}, ptr {pointer}")

    def around_tag(self) -> str:
        """The mark of a store around the caches."""
        return f", !nontemporal {self.shared.node('!{i32 1}')}"

    # statements

    def statements(self, body: list[ir.Stmt]) -> None:
        """Emit a list of statements."""
        done = 0
        for k, s in enumerate(body):
            if k < done:
                continue
            self.memo = {}
            if self.width and not self.mask and isinstance(s, ir.Let) and isinstance(s.value, ir.Load):
                block = transpose.run_of_loads(body, k, self.width)
                if block and self.transposed(block):
                    done = k + self.width
                    continue
            if self.width and (many := self.bundle(body, k)):
                done = k + many
                continue
            _STATEMENTS[s.__class__](self, s)

    def transposed(self, block: list[ir.Let]) -> bool:
        """Emit the columns of a block as row loads and a transpose; False if the rows are not strided."""
        load = block[0].value
        assert isinstance(load, ir.Load)
        index = self.value(load.index)
        if not index.step or index.step in (1, -1) or load.type == "b1":
            return False
        mask = self.at(self.value(load.mask), self.width) if load.mask is not None else ""
        rows = self.rows(self.buffers[load.buf], index, mask)
        columns = transpose.transpose(rows, ir.SIZE[load.type], REGISTER[load.type], self.line)
        for s, text in zip(block, columns, strict=True):
            self.names[s.name] = Value(text, load.type, self.width)
        return True

    def _let(self, s: ir.Let) -> None:
        e = s.value
        self.names[s.name] = self.value(e)
        if e.__class__ is ir.Op and e.op == "min" and e.type == "i64" and isinstance(e.args[1], ir.Const):
            self.most[s.name] = e.args[1].value

    def _alloc(self, s: ir.Alloc) -> None:
        self.count += 1
        base = f"%a{self.count}"
        self.allocas.append(f"  {base} = alloca [{s.size} x {MEMORY[s.type]}], align 64")
        self.buffers[s.name] = Buffer(base, s.type, loose=s.loose)

    def _for(self, s: ir.For) -> None:
        lo, hi, step = self.scalar(s.lo), self.scalar(s.hi), self.scalar(s.step)
        if isinstance(lo, int) and isinstance(hi, int) and isinstance(step, int):
            rounds = range(lo, hi, step)
            if s.unroll or len(rounds) < 2:
                for k in rounds:
                    self.names[s.var] = Value(k, "i64")
                    self.statements(s.body)
                return
        if s.unroll:
            raise ValueError(f"codegen: kernel {self.kernel.name}: an unrolled loop needs constant bounds")

        def body(i: str | int) -> None:
            self.names[s.var] = Value(i, "i64")
            self.statements(s.body)

        self.loop(lo, hi, step, body)

    def _vfor(self, s: ir.VFor) -> None:
        if self.width:
            raise ValueError(f"codegen: kernel {self.kernel.name}: a vfor inside a vfor")
        lo, hi, width = self.scalar(s.lo), self.scalar(s.hi), s.width
        if width == 1:
            self._for(ir.For(s.var, s.lo, s.hi, ir.i64(1), s.body))
            return

        def body(i: str | int, mask: str = "", rest: str = "") -> None:
            self.names[s.var] = Value(i, "i64", width, 1)
            self.width, self.mask, self.rest, self.private = width, mask, rest, set()
            self.statements(s.body)
            self.width, self.mask, self.rest = 0, "", ""

        if isinstance(lo, int) and isinstance(hi, int):
            self._constant_rounds(lo, hi, width, body)
        elif s.full:
            self.loop(lo, hi, width, body)
        else:
            n = self.arithmetic("sub", hi, lo)
            n = self.pure(f"call i64 @llvm.smax.i64(i64 {n}, i64 0)", n)
            few = isinstance(s.hi, ir.Var) and lo == 0 and self.most.get(s.hi.name, width + 1) <= width
            if few and self.target.avx512:  # masks cost nothing there, and there is no other round
                self._masked_round(lo, n, width, body)
                return
            rest = self.pure(f"and i64 {n}, {width - 1}", n)
            middle = self.arithmetic("add", lo, self.arithmetic("sub", n, rest))
            if not (s.past and self._around(s, lo, n, middle, body)):
                self.loop(lo, middle, width, body)
            self._masked_round(middle, rest, width, body)

    def _masked_round(self, first: Any, count: str, width: int, body: Callable[..., None]) -> None:
        """The round of the first `count` lanes, if there are any."""
        some, done = self.labels(2)
        self.branch(self.line(f"icmp ne i64 {count}, 0"), some, done)
        self.block(some)
        self.enter()
        active = self.spread(Value(self.line(f"trunc i64 {count} to i32"), "i32"), width)
        lanes = ", ".join(f"i32 {k}" for k in range(width))
        body(first, self.line(f"icmp sgt <{width} x i32> {active}, <{lanes}>"), count)
        self.leave()
        self.jump(done)
        self.block(done)

    def _around(self, s: ir.VFor, lo: Any, n: str, middle: Any, body: Callable[..., None]) -> bool:
        """The full rounds twice: with stores around the caches if there are many and all are aligned, and without."""
        self.memo, self.names[s.var], joined = {}, Value(lo, "i64", s.width, 1), ""
        stores = {t for t in s.body if isinstance(t, ir.Store)}
        inside = {t.name for t in s.body if isinstance(t, ir.Let)}
        done = 0
        for k, t in enumerate(s.body):
            if k < done or not isinstance(t, ir.Store):
                continue
            buffer = self.buffers[t.buf]
            if t.mask or ir.SIZE[buffer.type] * s.width % LINE or not _known(t.index, inside):
                return False
            index = self.value(t.index)
            step = index.step if isinstance(index.step, int) else 0
            if step < 1 or (step > 1 and step > len(neighbours(s.body, k))):
                return False
            done = k + step
            at = self.line(f"ptrtoint ptr {self._address(buffer, index.text)} to i64")
            joined = self.line(f"or i64 {joined}, {at}") if joined else at
        if not joined:
            return False
        aligned = self.line(f"icmp eq i64 {self.line(f'and i64 {joined}, {LINE - 1}')}, 0")
        many = self.line(f"icmp sge i64 {self.line(f'mul i64 {n}, %nt')}, {s.past}")
        around, through, after = self.labels(3)
        self.branch(self.line(f"and i1 {aligned}, {many}"), around, through)
        for label, those in ((around, stores), (through, set())):
            self.block(label)
            self.enter()
            self.around = those
            self.loop(lo, middle, s.width, body)
            self.leave()
            self.jump(after)
        self.block(after)
        self.fence = (
            "  fence seq_cst\n"  # such stores are not ordered by what tells the others that this is done
        )
        return True

    def _constant_rounds(self, lo: int, hi: int, width: int, body: Callable[..., None]) -> None:
        rounds, rest = divmod(max(hi - lo, 0), width)
        if rounds == 1:
            body(lo)
        elif rounds:
            self.loop(lo, lo + rounds * width, width, body)
        if rest:
            body(lo + rounds * width, f"<{', '.join(f'i1 {str(k < rest).lower()}' for k in range(width))}>")

    def _if(self, s: ir.If) -> None:
        found = self.value(s.cond)
        cond = self.any(self.at(found, self.width)) if found.width else self.scalar(s.cond)
        if cond in ("true", "false"):
            self.statements(s.then if cond == "true" else s.orelse)
            return
        yes, no, done = self.labels(3)
        self.branch(str(cond), yes, no if s.orelse else done)
        for label, body in ((yes, s.then), (no, s.orelse)):
            if body or label == yes:
                self.block(label)
                self.enter()
                self.statements(body)
                self.leave()
                self.jump(done)
        self.block(done)

    def _while(self, s: ir.While) -> None:
        head, body, done = self.labels(3)
        before = self.opened()
        self.jump(head)
        self.enter(before)
        self.block(head)
        self.branch(str(self.scalar(s.cond)), body, done)
        self.block(body)
        self.statements(s.body)
        self.leave()
        self.jump(head)
        self.block(done)

    def _prefetch(self, s: ir.Prefetch) -> None:
        pointer = self._address(self.buffers[s.buf], self.scalar(s.index))
        self.out.append(
            f"  call void @llvm.prefetch.p0(ptr {pointer}, i32 {int(s.write)}, i32 {2 if s.far else 3}, i32 1)"
        )

    def _check(self, s: ir.Check) -> None:
        cond = self.value(s.cond)
        width, failed = (cond.width, "") if cond.width else (0, "")
        text = str(cond.text)
        if width:
            t, line = llvm_type("b1", width), self.line
            failed = line(f"xor {t} {text}, splat (i1 true)")
            if self.mask:
                failed = line(f"and {t} {failed}, {self.mask}")
            text = line(f"xor i1 {self.any(failed)}, true")
        good, bad = self.labels(2)
        self.branch(text, good, bad, ", !prof !0")
        self.block(bad)
        self.enter()
        outer, self.memo = self.memo, dict(self.memo)
        lane = ""
        if failed or self.width:
            lane = self._first(failed)
        numbers = [self._lane_of(self.value(e), lane) for e in (s.value, s.position)]
        self.memo = outer
        self.needed.add("flambeau.record")
        record = self.line("load ptr, ptr %table")
        self.out.append(
            f"  call void @flambeau.record(ptr {record}, i64 {s.code}, i64 {numbers[0]}, i64 {numbers[1]})"
        )
        self.out.append("  ret void")
        self.leave()
        self.block(good)

    def _first(self, failed: str) -> str:
        """The number of the first lane that is set in a mask (0 for a mask that is uniform)."""
        if not failed:
            return "0"
        t = f"i{self.width}"
        bits = self.line(f"bitcast <{self.width} x i1> {failed} to {t}")
        first = self.line(f"call {t} @llvm.cttz.{t}({t} {bits}, i1 true)")
        if self.width < 64:
            return self.line(f"zext {t} {first} to i64")
        return first if self.width == 64 else self.line(f"trunc {t} {first} to i64")

    def _lane_of(self, v: Value, lane: str) -> str:
        if not v.width:
            return str(v.text)
        return self.line(f"extractelement <{v.width} x i64> {self.at(v, v.width)}, i64 {lane}")


def _known(e: ir.Expr, inside: set[str]) -> bool:
    """Whether an expression is made of constants and of names that are not `inside` a loop's body."""
    if isinstance(e, ir.Op):
        return all(_known(a, inside) for a in e.args)
    return isinstance(e, ir.Const) or (isinstance(e, ir.Var) and e.name not in inside)


_FOLD: dict[str, Callable[[int, int], bool]] = {
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
}
_LEAVES: dict[type, Callable[[Emitter, Any], Value]] = {
    ir.Const: Emitter._const,
    ir.Var: Emitter._var,
    ir.Get: Emitter._get,
}
_EXPRESSIONS: dict[type, Callable[[Emitter, Any], Value]] = _LEAVES | {
    ir.Op: Emitter._op,
    ir.Load: Emitter.load,
    ir.HReduce: Emitter._hreduce,
}
_STATEMENTS: dict[type, Callable[[Emitter, Any], None]] = {
    ir.Let: Emitter._let,
    ir.Reg: Emitter._reg,
    ir.Set: Emitter._set,
    ir.Store: Emitter.store,
    ir.For: Emitter._for,
    ir.VFor: Emitter._vfor,
    ir.If: Emitter._if,
    ir.While: Emitter._while,
    ir.Alloc: Emitter._alloc,
    ir.Check: Emitter._check,
    ir.Prefetch: Emitter._prefetch,
}
