"""Compilation and loading: `compile_kernels`, `compile_ir`; `emit` makes code for any target without running it.

Addresses are kept by the digest of the kernel, so that a kernel is compiled once in a process, and its machine code
once on a machine (cache.py). Machine code is never unloaded. All functions may be called from any thread."""

from __future__ import annotations

import hashlib
import os
import re
import struct
import threading
import time
from collections.abc import Sequence
from typing import Any

from ..loop import ir
from . import cache, pipeline, target
from .target import Target

_REFERENCE = b"see "
_AT_ONCE = 16  # kernels in one object: between objects, signals are served
_lock = threading.RLock()
_addresses: dict[str, int] = {}
_loaded: set[str] = set()
_machines: dict[str, Any] = {}
_engine: list[Any] = []
_stats = {"compiled": 0, "from_disk": 0, "from_memory": 0, "emit_ms": 0.0, "llvm_ms": 0.0, "load_ms": 0.0}


def compile_kernels(kernels: Sequence[ir.Kernel], on: Target | None = None) -> list[int]:
    """The addresses of the native functions of kernels (see ir.Kernel), compiled as far as needed.

    `on` is the CPU to compile for (it must be able to run here); without it, the one that the flag `target` names."""
    with _lock:
        on = on or target.chosen()
        keys = [kernel_key(kernel, on) for kernel in kernels]
        missing = {key: kernel for key, kernel in zip(keys, kernels, strict=True) if key not in _addresses}
        _stats["from_memory"] += len(keys) - len(missing)
        for key in [key for key in missing if _from_disk(key)]:
            _stats["from_disk"] += 1
            _addresses[key] = _address(_symbol(key, missing.pop(key)))
        names = list(missing)
        for at in range(0, len(names), _AT_ONCE):
            _compile({key: missing[key] for key in names[at : at + _AT_ONCE]}, on)
        return [_addresses[key] for key in keys]


def _compile(kernels: dict[str, ir.Kernel], on: Target) -> None:
    """Compile kernels by key into one object, keep it and load it."""
    symbols = [_symbol(key, kernel) for key, kernel in kernels.items()]
    unit = pipeline.Unit(list(kernels.values()), symbols, on, machine(on))
    _run(unit, pipeline.PASSES)
    called = undefined_symbols(unit.object)
    if called:
        raise RuntimeError(
            f"codegen: kernels {', '.join(symbols)} call {', '.join(called)}: kernels call nothing"
        )
    _stats["compiled"] += len(kernels)
    _keep(list(kernels), unit.object)
    _load(unit.object)
    for key, symbol in zip(kernels, symbols, strict=True):
        _addresses[key] = _address(symbol)


def compile_ir(text: str, names: Sequence[str], keep: bool = True) -> list[int]:
    """The addresses of the functions `names` that the text of LLVM IR defines.

    The text may call symbols of the process (libc, Python); RuntimeError if one does not exist. keep: use the disk."""
    with _lock:
        on = target.host()
        key = _digest("llvm", text, on)
        renamed = {name: f"{name}.{key[:16]}" for name in names}
        if key not in _loaded:
            if not (keep and _from_disk(key)):
                unit = pipeline.Unit([], list(renamed.values()), on, machine(on))
                pattern = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
                unit.text = re.sub(rf"@({pattern})(?![\w.$-])", lambda m: f"@{renamed[m[1]]}", text)
                _run(unit, pipeline.text_passes())
                _stats["compiled"] += len(names)
                if keep:
                    _keep([key], unit.object)
                _load(unit.object)
            _loaded.add(key)
        return [_address(symbol) for symbol in renamed.values()]


def emit(kernels: Sequence[ir.Kernel], on: Target, what: str = "object") -> bytes | str:
    """Code for any target, not run: what = "object" (bytes), "assembly" or "llvm" (text)."""
    with _lock:
        symbols = [f"{_clean(kernel.name)}_{k}" for k, kernel in enumerate(kernels)]
        unit = pipeline.Unit(kernels, symbols, on, machine(on))
        _run(unit, pipeline.PASSES if what != "llvm" else pipeline.PASSES[:-2])
        if what == "assembly":
            return unit.machine.emit_assembly(unit.module)
        return unit.text if what == "llvm" else unit.object


def stats() -> dict[str, float]:
    """Kernels compiled, loaded from disk, found in memory; milliseconds in our code, in LLVM, and loading."""
    return dict(_stats)


def machine(on: Target) -> Any:
    """LLVM's code generator for a target."""
    if on.key() not in _machines:
        import llvmlite.binding as llvm

        if on is target.host() or on.triple == llvm.get_process_triple():
            llvm.initialize_native_target()
            llvm.initialize_native_asmprinter()
        else:
            llvm.initialize_all_targets()
            llvm.initialize_all_asmprinters()
        found = llvm.Target.from_triple(on.triple)
        # Small code: llvmlite keeps the sections of one object together, and calls out of it go through stubs.
        # Level 1: a quarter less time than level 2, and code that is measurably as fast.
        _machines[on.key()] = found.create_target_machine(
            cpu=on.cpu, features=on.features, opt=1, reloc="pic", codemodel="small", jit=True
        )
    return _machines[on.key()]


def kernel_key(kernel: ir.Kernel, on: Target) -> str:
    """The digest of everything that decides the machine code of a kernel; `where` does not."""
    return _digest("loop", fingerprint(kernel), on)


def _digest(kind: str, text: str, on: Target) -> str:
    import llvmlite

    parts = (kind, pipeline.version(), llvmlite.__version__, on.key(), text)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _symbol(key: str, kernel: ir.Kernel) -> str:
    return f"{_clean(kernel.name)}_{key[:24]}"


def _clean(name: str) -> str:
    return "k_" + re.sub(r"\W", "_", name, flags=re.ASCII)[:40]


def _run(unit: pipeline.Unit, passes: Sequence[pipeline.Pass]) -> None:
    """Run passes and book their time as ours or LLVM's."""
    for step in passes:
        start = time.perf_counter()
        pipeline.run(unit, (step,))
        kind = "llvm_ms" if step.name in ("optimise", "object") else "emit_ms"
        _stats[kind] += 1e3 * (time.perf_counter() - start)


def _keep(keys: list[str], content: bytes) -> None:
    """Put an object on disk: under the key of its one kernel, or under its digest, to which its kernels' keys refer."""
    store = cache.current()
    if store is None:
        return
    if len(keys) == 1:
        store.put(keys[0], content)
        return
    group = hashlib.sha256(content).hexdigest()
    store.put(group, content)
    for key in keys:
        store.put(key, _REFERENCE + group.encode())


def _from_disk(key: str) -> bool:
    """Load the object that belongs to a key from the disk, if it is there."""
    store = cache.current()
    if store is None:
        return False
    content = store.get(key)
    if content is not None and content.startswith(_REFERENCE):
        key = content[len(_REFERENCE) :].decode("ascii")
        content = b"" if key in _loaded else store.get(key)
    if content is None:
        return False
    if key not in _loaded:
        _load(content)
        _loaded.add(key)
    return True


def _load(content: bytes) -> None:
    """Add an object to the process."""
    import llvmlite.binding as llvm

    start = time.perf_counter()
    if not _engine:  # which makes the symbols of the process known
        # The engine owns its TargetMachine: it must not be the one that emits objects.
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        host = target.host()
        own = llvm.Target.from_triple(host.triple).create_target_machine(cpu=host.cpu, features=host.features)
        empty = llvm.parse_assembly(f'target triple = "{host.triple}"\n')
        _engine.append(llvm.create_mcjit_compiler(empty, own))
    unknown = [name for name in undefined_symbols(content) if not llvm.address_of_symbol(name)]
    if unknown:
        raise RuntimeError(f"codegen: the object needs symbols that do not exist: {', '.join(unknown)}")
    _engine[0].add_object_file(llvm.ObjectFileRef.from_data(content))
    _engine[0].finalize_object()
    _stats["load_ms"] += 1e3 * (time.perf_counter() - start)


def _address(symbol: str) -> int:
    address = _engine[0].get_function_address(symbol)
    if not address:
        raise RuntimeError(f"codegen: no function {symbol} was loaded")
    return address


def undefined_symbols(content: bytes) -> list[str]:
    """The symbols that an ELF object needs from elsewhere (nothing is known of other formats)."""
    if content[:6] != b"\x7fELF\x02\x01":
        return []
    (table,) = struct.unpack_from("<Q", content, 40)
    size, count = struct.unpack_from("<HH", content, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", content, table + k * size) for k in range(count)]
    names = []
    for _, kind, _, _, offset, length, link, _, _, entry in sections:
        if kind == 2:  # SHT_SYMTAB; link: the section of its strings
            strings = sections[link][4]
            for at in range(offset + entry, offset + length, entry):
                name, _, _, where = struct.unpack_from("<IBBH", content, at)
                if where == 0 and name:
                    end = content.index(b"\0", strings + name)
                    names.append(content[strings + name : end].decode())
    return names


def fingerprint(kernel: ir.Kernel) -> str:
    """A text that is equal for kernels of equal meaning to the compiler: linear in the number of nodes."""
    lines: list[str] = []
    numbers: dict[ir.Expr, int] = {}

    def number(e: ir.Expr | None) -> str:
        if e is None:
            return "-"
        stack = [e]
        while stack:
            top = stack[-1]
            missing = [part for part in _operands(top) if part not in numbers]
            if missing:
                stack.extend(missing)
                continue
            stack.pop()
            if top not in numbers:
                numbers[top] = len(numbers)
                lines.append(_describe(top, numbers))
        return str(numbers[e])

    def block(body: Sequence[ir.Stmt]) -> None:
        for s in body:
            slots: tuple[str, ...] = s.__slots__
            fields = [getattr(s, slot) for slot in slots]
            texts = [
                number(f) if isinstance(f, ir.Expr) else repr(f) for f in fields if not isinstance(f, list)
            ]
            lines.append(f"{s.__class__.__name__} {' '.join(texts)} [")
            for inner in fields:
                if isinstance(inner, list):
                    block(inner)
                    lines.append("]")

    lines.append(f"{kernel.name} {kernel.params!r}")
    block(kernel.body)
    lines.append("epilogue")
    block(kernel.epilogue)
    return "\n".join(lines)


def _operands(e: ir.Expr) -> Sequence[ir.Expr]:
    if isinstance(e, ir.Op):
        return e.args
    if isinstance(e, ir.Load):
        return (e.index,) if e.mask is None else (e.index, e.mask)
    return ()


def _describe(e: ir.Expr, numbers: dict[ir.Expr, int]) -> str:
    operands = " ".join(str(numbers[part]) for part in _operands(e))
    if isinstance(e, ir.Const):
        return f"const {e.type} {e.value!r}"
    what = e.op if isinstance(e, (ir.Op, ir.HReduce)) else ""
    name = e.buf if isinstance(e, ir.Load) else getattr(e, "name", "")
    return f"{e.__class__.__name__} {e.type} {what} {name} {operands}"


def _before_fork() -> None:
    _lock.acquire()


def _after_fork_in_parent() -> None:
    _lock.release()


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    # A fork waits until no thread is inside LLVM, whose own lock could not be opened in the child.
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )
