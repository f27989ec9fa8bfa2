"""The reference interpreter: a kernel run on real memory, one numpy operation for each operation of the IR.

A kernel is translated once to Python source, cached. Inside a `VFor` the lanes of a round are numpy arrays; a body
that is plain elementwise code runs many rounds at a time, which no kernel can tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import semantics
from .algebra import children, postorder
from .ir import (
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
from .text import show_expr

_BATCH = 1 << 16  # elements of a plain elementwise loop at a time
_SPAN = 1 << 40  # bytes that a view of a buffer covers: sizes are not known here
_LIMIT = 512  # translated kernels kept

_cache: dict[int, tuple[Kernel, Callable]] = {}


def interpret(
    kernel: Kernel, table: Any, where: Sequence[int], tid: int, nt: int, sizes: Sequence[int] | None = None
) -> None:
    """Run one part of a kernel: the native ABI `void k(i64* table, i32* where, i64 tid, i64 nt)`.

    `table`: the address of the table, a ctypes pointer to it, or a numpy int64 array. `sizes`: the number of elements
    of the buffer at each parameter; every access is then checked (IndexError), without it none is. Raises
    NotImplementedError for a mathematical function that has not been expanded."""
    if not isinstance(table, np.ndarray):
        table = _view(table if isinstance(table, int) else _address(table), np.dtype(np.int64))
    with np.errstate(all="ignore"):
        found = _cache.get(id(kernel))
        if found is None:
            if len(_cache) >= _LIMIT:
                _cache.clear()
            found = _cache[id(kernel)] = (kernel, translate(kernel))
        found[1](table, where, np.int64(tid), np.int64(nt), sizes)


def call(kernel: Kernel, *args: Any, nt: int = 1) -> list[int]:
    """Run all parts and the epilogue on numpy arrays and numbers, one for each parameter; the error record [4].

    Every access to memory is checked against the sizes of the arrays: IndexError names the buffer."""
    record = np.zeros(4, np.int64)
    table = np.zeros(len(args) + 1, np.int64)
    table[0] = record.ctypes.data
    for k, (p, value) in enumerate(zip(kernel.params, args, strict=True), 1):
        if isinstance(p, Buf):
            table[k] = value.ctypes.data
        else:
            table[k] = np.float64(value).view(np.int64) if isinstance(p, Num) and p.type == "f64" else value
    where, sizes = range(1, len(args) + 1), [np.size(a) for a in args]
    for tid in [*range(nt), *([-1] if kernel.epilogue else [])]:
        interpret(kernel, table, where, tid, nt, sizes)
    return record.tolist()


def translate(kernel: Kernel) -> Callable[[np.ndarray, Sequence[int], Any, Any, Sequence[int] | None], None]:
    """The kernel as a Python function of (table, where, tid, nt, sizes)."""
    return _Translator(kernel).function()


def _address(pointer: Any) -> int:
    import ctypes

    return ctypes.cast(pointer, ctypes.c_void_p).value or 0


def _view(address: int, dtype: np.dtype) -> np.ndarray:
    """Memory from an address on as an array (an empty buffer may be at address 0)."""
    import ctypes

    if not address:
        return np.zeros(0, dtype)
    memory: Any = (ctypes.c_char * _SPAN).from_address(int(address))
    return np.frombuffer(memory, dtype)


class _Checked:
    """A buffer whose every index is checked."""

    def __init__(self, name: str, memory: np.ndarray):
        self.name, self.memory, self.dtype = name, memory, memory.dtype

    def check(self, index: Any) -> Any:
        size = len(self.memory)
        if type(index) is np.ndarray:
            if not index.size or (index.min() >= 0 and index.max() < size):
                return index
        elif 0 <= index < size:
            return index
        bad = next(k for k in np.ravel(index).tolist() if not 0 <= k < size)
        raise IndexError(f"{self.name}[{bad}]: it has {size} elements")

    def __getitem__(self, index: Any) -> Any:
        return self.memory[self.check(index)]

    def __setitem__(self, index: Any, value: Any) -> None:
        self.memory[self.check(index)] = value


class _Memory:
    """A buffer whose size is not known. A line that is walked backwards is read before its address, too."""

    def __init__(self, address: int, dtype: np.dtype):
        self.address, self.dtype, self.memory = address, dtype, _view(address, dtype)

    def place(self, index: Any) -> tuple[np.ndarray, Any]:
        lowest = index if type(index) is int else index.min() if index.size else 0
        if lowest >= 0:
            return self.memory, index
        return _view(self.address + int(lowest) * self.dtype.itemsize, self.dtype), index - lowest

    def __getitem__(self, index: Any) -> Any:
        memory, index = self.place(index)
        return memory[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        memory, index = self.place(index)
        memory[index] = value


def _buffer(name: str, address: int, dtype: np.dtype, size: int | None) -> Any:
    return _Memory(address, dtype) if size is None else _Checked(name, _view(address, dtype)[:size])


def _record(table: np.ndarray, code: int, bad: Any, value: Any, position: Any) -> None:
    """Write the error record for the first bad lane."""
    lane = int(np.argmax(bad))
    record = _view(int(table[0]), np.dtype(np.int64))
    record[0] = code
    for k, v in ((1, value), (2, position)):
        record[k] = v[lane] if np.ndim(v) else v


def _scratch(name: str, dtype: np.dtype, size: int, sizes: Sequence[int] | None) -> Any:
    """Undefined contents, which no kernel takes for zeros."""
    memory = np.full(size * dtype.itemsize, 1 if dtype.kind == "b" else 0xA5, np.uint8).view(dtype)
    return memory if sizes is None else _Checked(name, memory)


class _Translator:
    def __init__(self, kernel: Kernel):
        self.kernel = kernel
        self.lines: list[str] = []
        self.depth = 1
        self.env: dict[str, Any] = {
            "np": np, "buffer": _buffer, "record": _record, "scratch": _scratch, "I64": np.int64,
            "load_masked": semantics.load_masked, "store_masked": semantics.store_masked, "tree": semantics.tree,
            "load_bf16": semantics.load_bf16, "bits_bf16": semantics.bits_bf16, "F32": np.float32,
        }  # fmt: skip
        self.fresh = 0
        self.buffers: dict[str, str] = {}
        self.alias: set[str] = set()
        self.lanes: dict[str, int] = {}
        self.varying: set[str] = set()

    def function(self) -> Callable:
        emit = self.emit
        emit("v_tid, v_nt = tid, nt")
        for k, p in enumerate(self.kernel.params):
            if isinstance(p, Int) or (isinstance(p, Num) and p.type == "i64"):
                emit(f"v_{p.name} = table[where[{k}]]")
            elif isinstance(p, Num):
                emit(f"v_{p.name} = table[where[{k}]].view(np.float64)")
            else:
                dtype, size = self.object(semantics.MEMORY[p.type]), f"sizes and sizes[{k}]"
                self.buffer(p.name, p.type, f"buffer({p.name!r}, table[where[{k}]], {dtype}, {size})")
                if p.alias:
                    self.alias.add(p.name)
        emit("if tid >= 0:")
        self.block(self.kernel.body)
        emit("else:")
        self.block(self.kernel.epilogue)
        source = "def run(table, where, tid, nt, sizes):\n" + "\n".join(self.lines) + "\n"
        exec(compile(source, f"<kernel {self.kernel.name}>", "exec"), self.env)
        return self.env["run"]

    def emit(self, line: str) -> None:
        self.lines.append("    " * self.depth + line)

    def name(self) -> str:
        self.fresh += 1
        return f"t{self.fresh}"

    def object(self, value: Any) -> str:
        """The name of a Python object in the translated source."""
        name = f"g{len(self.env)}"
        self.env[name] = value
        return name

    def buffer(self, name: str, type: str, value: str) -> None:
        self.buffers[name] = type
        self.emit(f"b_{name} = {value}")

    # expressions

    def texts(self, *roots: Expr) -> tuple[list[str], bool]:
        """Source for the values (computed in lines of their own), and whether the last one differs between lanes."""
        text: dict[int, str] = {}
        varying: dict[int, bool] = {}
        for e in postorder(roots):
            text[id(e)], varying[id(e)] = self.expr(e, text, varying)
        return [text[id(r)] for r in roots], varying[id(roots[-1])]

    def expr(self, e: Expr, text: dict[int, str], varying: dict[int, bool]) -> tuple[str, bool]:
        if isinstance(e, Const):
            return self.object(semantics.constant(e.type, e.value)), False
        if isinstance(e, Var):
            return f"v_{e.name}", e.name in self.varying
        if isinstance(e, Get):
            return (f"r_{e.name}[:lanes].copy()", True) if self.lanes[e.name] else (f"r_{e.name}", False)
        name = self.name()
        if isinstance(e, HReduce):
            self.emit(f"{name} = tree(r_{e.name}, {self.object(semantics.function(e.op, e.type, e.type))})")
            return name, False
        if isinstance(e, Load):
            parts = children(e)
            self.emit(f"{name} = {self.load(e, text)}")
        else:
            assert isinstance(e, Op)
            parts = children(e)
            self.emit(f"{name} = {self.operation(e, [text[id(a)] for a in parts], varying)}")
        return name, any(varying[id(p)] for p in parts)

    def load(self, e: Load, text: dict[int, str]) -> str:
        source = f"b_{e.buf}[{text[id(e.index)]}]"
        if e.mask is not None:
            source = f"load_masked(b_{e.buf}, {text[id(e.index)]}, {text[id(e.mask)]})"
        return (
            f"load_bf16({source})"
            if e.type == "bf16"
            else f"{source}.astype(F32)"
            if e.type == "f16"
            else source
        )

    def operation(self, e: Op, args: list[str], varying: dict[int, bool]) -> str:
        source = e.args[0].type
        if e.op == "select" and not varying[id(e.args[0])]:
            return f"{args[1]} if {args[0]} else {args[2]}"
        symbol = _SYMBOLS.get(e.op)
        if symbol and e.type not in semantics.HALVES:
            return f"{args[0]} {symbol} {args[1]}"
        if e.op == "idiv" and not any(varying[id(a)] for a in e.args) and e.type == "i64":
            a, b = args
            return f"{a} // {b} if {a} >= 0 < {b} else {self.object(semantics.idiv)}({a}, {b})"
        return f"{self.object(semantics.function(e.op, e.type, source))}({', '.join(args)})"

    # statements

    def block(self, body: list[Stmt]) -> None:
        self.depth += 1
        self.emit("pass")
        for s in body:
            _STATEMENTS[type(s)](self, s)
        self.depth -= 1

    def let(self, s: Let) -> None:
        (value,), varying = self.texts(s.value)
        if varying:
            self.varying.add(s.name)
        self.emit(f"v_{s.name} = {value}")

    def reg(self, s: Reg) -> None:
        (value,), _ = self.texts(s.init)
        self.lanes[s.name] = s.lanes
        if s.lanes:
            size = "lanes" if self.inside else str(s.lanes)
            self.emit(f"r_{s.name} = np.empty({size}, {self.object(semantics.DTYPE[s.init.type])})")
        self.emit(f"r_{s.name}{'[:]' if s.lanes else ''} = {value}")

    def set(self, s: Set) -> None:
        (value,), _ = self.texts(s.value)
        self.emit(f"r_{s.name}{'[:lanes]' if self.lanes[s.name] else ''} = {value}")

    def store(self, s: Store) -> None:
        (index, value, *mask), _ = self.texts(*[e for e in (s.index, s.value, s.mask) if e is not None])
        if self.buffers[s.buf] == "bf16":
            value = f"bits_bf16({value})"
        if mask:
            self.emit(f"store_masked(b_{s.buf}, {index}, {value}, {mask[0]})")
        else:
            self.emit(f"b_{s.buf}[{index}] = {value}")

    def for_(self, s: For) -> None:
        (lo, hi, step), _ = self.texts(s.lo, s.hi, s.step)
        self.emit(f"for v_{s.var} in range({lo}, {hi}, {step}):")
        self.depth += 1
        self.emit(f"v_{s.var} = I64(v_{s.var})")
        self.depth -= 1
        self.block(s.body)

    inside = False

    def vfor(self, s: VFor) -> None:
        (lo, hi), _ = self.texts(s.lo, s.hi)
        width = _BATCH if self.plain(s) else s.width
        first, last = self.name(), self.name()
        self.emit(f"{last} = int({hi})")
        self.emit(f"for {first} in range({lo}, {last}, {width}):")
        self.depth += 1
        self.emit(f"v_{s.var} = np.arange({first}, min({first} + {width}, {last}), dtype=I64)")
        self.emit(f"lanes = len(v_{s.var})")
        self.depth -= 1
        self.varying.add(s.var)
        self.inside = True
        self.block(s.body)
        self.inside = False

    def plain(self, loop: VFor) -> bool:
        """Whether rounds may run together: straight code, and a buffer that is stored to is used at one index only."""
        places: dict[str, set[str]] = {}
        stored: set[str] = set()
        own: set[str] = set()
        for s in loop.body:
            if not isinstance(s, (Let, Store, Reg, Set)) or (isinstance(s, Set) and s.name not in own):
                return False
            if isinstance(s, Reg):
                own.add(s.name)
            uses = [(s.buf, s.index)] if isinstance(s, Store) else []
            stored.update("alias" if b in self.alias else b for b, _ in uses)
            roots = (
                (s.index, s.value, s.mask)
                if isinstance(s, Store)
                else (s.init if isinstance(s, Reg) else s.value,)
            )
            uses += [
                (e.buf, e.index) for e in postorder(r for r in roots if r is not None) if isinstance(e, Load)
            ]
            for buf, index in uses:
                changing = any(isinstance(e, (Get, Load)) for e in postorder((index,)))
                place = self.name() if changing else show_expr(index)
                places.setdefault("alias" if buf in self.alias else buf, set()).add(place)
        return all(len(places[b]) == 1 for b in stored)

    def if_(self, s: If) -> None:
        (cond,), varying = self.texts(s.cond)
        self.emit(f"if np.any({cond}):" if varying else f"if {cond}:")
        self.block(s.then)
        self.emit("else:")
        self.block(s.orelse)

    def while_(self, s: While) -> None:
        self.emit("while True:")
        self.depth += 1
        (cond,), _ = self.texts(s.cond)
        self.emit(f"if not {cond}: break")
        self.depth -= 1
        self.block(s.body)

    def alloc(self, s: Alloc) -> None:
        dtype = self.object(semantics.MEMORY[s.type])
        self.buffer(s.name, s.type, f"scratch({s.name!r}, {dtype}, {s.size}, sizes)")

    def check(self, s: Check) -> None:
        (cond, value, position), _ = self.texts(s.cond, s.value, s.position)
        bad = self.name()
        self.emit(f"{bad} = ~{cond}")
        self.emit(f"if {bad}.any(): return record(table, {s.code}, {bad}, {value}, {position})")


_SYMBOLS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "and": "&", "or": "|", "xor": "^"}
_SYMBOLS |= {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
_STATEMENTS: dict[type, Callable] = {
    Let: _Translator.let,
    Reg: _Translator.reg,
    Set: _Translator.set,
    Store: _Translator.store,
    For: _Translator.for_,
    VFor: _Translator.vfor,
    If: _Translator.if_,
    While: _Translator.while_,
    Alloc: _Translator.alloc,
    Check: _Translator.check,
    Prefetch: lambda translator, s: translator.emit("pass"),
}
