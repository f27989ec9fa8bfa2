"""Compilation and loading: `compile_kernels`, `compile_ir`; `emit` makes code for any target without running it.

Addresses are kept by the digest of the kernel, so that a kernel is compiled once in a process, and its machine code
once on a machine (cache.py). Machine code is never unloaded. All functions may be called from any thread."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import config, heap
from ..loop import ir
from . import cache, image, keys, target
from .target import Target

if TYPE_CHECKING:
    from . import pipeline
    from .objects import Order
    from .workers import Job

_REFERENCE = b"see "
_lock = threading.RLock()
_addresses: dict[str, int] = {}
_loaded: set[str] = set()
_groups: dict[str, str] = {}  # the entries on disk that hold the code of kernels, by the kernels' keys
_functions: dict[str, int] = {}  # of images
_engine: list[Any] = []
_ahead: dict[str, Job] = {}  # texts that another process compiles
MODULE = 8000  # bytes of the keys' content up to which kernels are compiled as one module
MANY = 8  # kernels compiled after which the C library's heap has much to give back
_stats = {"compiled": 0, "from_disk": 0, "from_memory": 0, "emit_ms": 0.0, "llvm_ms": 0.0, "load_ms": 0.0}


class Known(NamedTuple):
    """A kernel that need not be made again: its address, whether it has an epilogue, the names of its parameters."""

    address: int
    epilogue: bool
    names: tuple[str, ...]


def recall(texts: Sequence[str], cores: int = 1) -> list[Known | None]:
    """The kernels that earlier processes made of these launches' keys; None where the disk cache has none.

    These will be compiled: with several cores, processes that help start now, while their loops are made."""
    with _lock:
        on = target.chosen()
        found = recall_named([_launch_key(text, on) for text in texts])
        _others(min(cores, found.count(None)) - 1)
        return found


def recall_named(names: Sequence[str]) -> list[Known | None]:
    """The same by the names that `names` gives to launches' keys."""
    with _lock:
        store = cache.current()
        return [None if store is None else _recalled(store, name) for name in names]


def names(texts: Sequence[str]) -> list[str]:
    """The names of launches' keys in the disk cache. A key that shows an address of this process has none."""
    on = target.chosen()
    return ["" if " at 0x" in text else _launch_key(text, on) for text in texts]


def kept(facts: bytes) -> bytes | None:
    """What an earlier process has made of these facts and kept, for this machine and by this source."""
    store = cache.current()
    return None if store is None else store.get(_plan_key(facts))


def keep(facts: bytes, content: bytes) -> None:
    """Keep what was made of facts for later processes."""
    store = cache.current()
    if store is not None:
        store.put(_plan_key(facts), content)


def _plan_key(facts: bytes) -> str:
    on = target.chosen()
    return keys.digest("plan", f"{on.caches} {sys.version}\0".encode() + facts, on, keys.OF_PLANS)


def _recalled(store: cache.Cache, key: str) -> Known | None:
    content = store.get(key)
    if content is None or not content.startswith(_REFERENCE):
        return None
    _, group, symbol, epilogue, *names = content.decode().split()
    if not _from_disk(group):
        return None
    _stats["from_disk"] += 1
    return Known(_address(symbol), epilogue == "1", tuple(names))


def _remember(texts: Sequence[str], kernels: Sequence[ir.Kernel], found: Sequence[str], on: Target) -> None:
    """Note what was made of launches' keys. A key that shows an address of this process is nothing for others."""
    store = cache.current()
    if store is None:
        return
    for text, kernel, key in zip(texts, kernels, found):
        group = _groups.get(key)
        if group is not None and " at 0x" not in text:
            words = (
                group,
                _symbol(key, kernel),
                "1" if kernel.epilogue else "0",
                *[p.name for p in kernel.params],
            )
            store.put(_launch_key(text, on), _REFERENCE + " ".join(words).encode())


def _launch_key(text: str, on: Target) -> str:
    return keys.digest("launch", f"{on.caches} {text}", on, keys.OF_LAUNCHES)


def compile_kernels(
    kernels: Sequence[ir.Kernel], on: Target | None = None, cores: int = 1, texts: Sequence[str] = ()
) -> list[int]:
    """The addresses of the native functions of kernels (see ir.Kernel), compiled as far as needed.

    `on` is the CPU to compile for (it must be able to run here); without it, the one that the flag `target` names.
    cores: with several, other processes may compile too (workers.py). texts: what `recall` will find the kernels by."""
    with _lock:
        on = on or target.chosen()
        prints = [keys.fingerprint(kernel) for kernel in kernels]
        found = [keys.digest("loop", content, on) for content in prints]
        missing = {key: kernel for key, kernel in zip(found, kernels, strict=True) if key not in _addresses}
        _stats["from_memory"] += len(found) - len(missing)
        for key in [key for key in missing if _from_disk(key)]:
            _stats["from_disk"] += 1
            _addresses[key] = _address(_symbol(key, missing.pop(key)))
        if missing:
            _compile(missing, on, cores, {key: len(content) for key, content in zip(found, prints)})
        _remember(texts, kernels, found, on)
        return [_addresses[key] for key in found]


def _together(sizes: dict[str, int], limit: int) -> Iterator[list[str]]:
    """What is compiled at once: LLVM takes a millisecond or two for a module whatever is in it."""
    some: list[str] = []
    room = limit
    for key, size in sizes.items():
        if size >= limit:
            yield [key]
            continue
        if size > room:
            yield some
            some, room = [], limit
        some.append(key)
        room -= size
    if some:
        yield some


def _compile(kernels: dict[str, ir.Kernel], on: Target, cores: int, sizes: dict[str, int]) -> None:
    """Compile kernels by key, link their objects to one, keep it and load it. sizes: of all that was asked for."""
    from . import objects, pipeline, workers
    from .objects import Order

    named = {key: _symbol(key, kernel) for key, kernel in kernels.items()}
    limit = MODULE if len(kernels) > 2 * cores else 0  # every core has something to do first
    groups = list(_together({key: sizes[key] for key in kernels}, limit))
    groups.sort(key=lambda some: -sum(sizes[key] for key in some))  # the others begin with what takes longest

    def emitted() -> Iterator[Order]:
        for some in groups:
            unit = pipeline.Unit([kernels[key] for key in some], [named[key] for key in some], on, None)
            _run(unit, pipeline.PASSES[:-2])
            yield Order(*on.code, unit.text)

    try:
        if _others(min(cores, len(groups)) - 1):
            made = workers.CREW.compiled(emitted(), _in_place)
        else:
            made = [_in_place(order) for order in emitted()]
    finally:
        objects.prepare(False)
    for some, content in zip(groups, made):
        if called := undefined_symbols(content):
            names = ", ".join(named[key] for key in some)
            raise RuntimeError(f"codegen: kernel {names} calls {', '.join(called)}: kernels call nothing")
    before = _stats["compiled"]
    _stats["compiled"] += len(kernels)
    _add(groups, made)
    if _stats["compiled"] // MANY > before // MANY:
        heap.release()
    for key, symbol in named.items():
        _addresses[key] = _address(symbol)


def _add(groups: list[list[str]], made: list[bytes], keep: bool = True) -> None:
    """Load and keep objects, each of a group of keys, linked to one image where that is possible."""
    whole = image.link(made)
    if whole is not None and _load(whole):
        pairs = [([key for some in groups for key in some], whole)]
    else:
        pairs = list(zip(groups, made))
        for content in made:
            _load(content)
    for group, content in pairs if keep else ():
        _keep(group, content)


def _in_place(order: Order) -> bytes:
    """An object, compiled in this process."""
    from . import objects, pipeline

    names = re.findall(r"^define (?!internal)[^@]*@([\w.]+)", order.text, re.MULTILINE)
    unit = pipeline.Unit([], names, target.host(), objects.machine(*order[:3]))
    unit.text, unit.kernel = order.text, bool(order.kernel)
    _run(unit, pipeline.text_passes())
    return unit.object


def compile_ir(text: str, names: Sequence[str], keep: bool = True) -> list[int]:
    """The addresses of the functions `names` that the text of LLVM IR defines.

    The text may call symbols of the process (libc, Python); RuntimeError if one does not exist. keep: use the disk."""
    with _lock:
        key, renamed = _text_key(text, names)
        if key not in _loaded and not (keep and _from_disk(key)):
            _add_text(key, _text_made(key, _text_order(text, renamed)), len(names), keep)
        _loaded.add(key)
        return [_address(symbol) for symbol in renamed.values()]


def recall_ir(facts: str, parts: tuple[str, ...], names: Sequence[str]) -> tuple[list[str], list[int]] | None:
    """What `remember_ir` has noted under these facts, now or in an earlier process: the words, and the addresses of the
    functions of the text, which need not be written again; None if the disk cache has not all of it."""
    with _lock:
        store = cache.current()
        content = None if store is None else store.get(_facts_key(facts, parts))
        if content is None or not content.startswith(_REFERENCE):
            return None
        key, *words = content[len(_REFERENCE) :].decode(errors="replace").split("\n")
        try:
            if key not in _loaded and not _from_disk(key):
                return None
            return words, [_address(symbol) for symbol in _renamed(key, names).values()]
        except RuntimeError:  # it is there, but is not what it was
            return None


def remember_ir(
    facts: str, parts: tuple[str, ...], text: str, names: Sequence[str], words: Sequence[str]
) -> None:
    """Note which text of LLVM IR followed from facts and source files, and words (of one line) that belong to it."""
    store = cache.current()
    if store is not None:
        content = "\n".join((_text_key(text, names)[0], *words))
        store.put(_facts_key(facts, parts), _REFERENCE + content.encode())


def _facts_key(facts: str, parts: tuple[str, ...]) -> str:
    return keys.digest("facts", facts, target.host(), (*keys.OF_KERNELS, *parts))


def _text_made(key: str, order: Order) -> bytes:
    job = _ahead.pop(key, None)
    if job is None:
        return _in_place(order)
    from . import workers

    return workers.CREW.collected([job], _in_place)[0]


def compile_ir_ahead(text: str, names: Sequence[str], cores: int) -> None:
    """`compile_ir` will be called with this text soon: another process begins with it, if it has to be compiled."""
    with _lock:
        if target.is_new():
            _others(min(cores - 1, 1))  # it starts while this process opens LLVM to look at the machine
        key, renamed = _text_key(text, names)
        if key not in _loaded and key not in _ahead and not _from_disk(key) and _others(min(cores - 1, 1)):
            from . import workers

            _ahead[key] = workers.Job(_text_order(text, renamed))
            workers.CREW.give([_ahead[key]], True)


def compile_ir_later(
    text: str, names: Sequence[str], then: Callable[[list[int] | None], None], cores: int
) -> None:
    """`then` gets the addresses of the functions: at once if they are in the disk cache, or if no other process can
    compile them; later, in another thread, if one can; None if that went wrong."""
    with _lock:
        key, renamed = _text_key(text, names)
        if key in _loaded or _from_disk(key) or not _others(cores - 1, True):
            now = compile_ir(text, names)
        else:
            now = None

    def finish(content: bytes | None) -> None:
        if content is None:
            then(None)
            return
        with _lock:
            _add_text(key, content, len(names), True)
            _loaded.add(key)
            addresses = [_address(symbol) for symbol in renamed.values()]
        then(addresses)

    if now is not None:
        then(now)
        return
    from . import workers

    workers.LATER.give([workers.Job(_text_order(text, renamed), finish)], False)


def _others(wanted: int, later: bool = False) -> bool:
    """Have so many other processes that compile (later: one that takes its time), if at all; whether there are any."""
    if wanted < 1 or config.debug >= 6:  # what they make is not shown
        return False
    from . import workers

    return workers.LATER.hire(1) if later else workers.CREW.hire(wanted)


def _text_key(text: str, names: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The key of a text of LLVM IR, and the symbols of its functions in the process."""
    key = keys.digest("llvm", text, target.host())
    return key, _renamed(key, names)


def _renamed(key: str, names: Sequence[str]) -> dict[str, str]:
    return {name: f"{name}.{key[:16]}" for name in names}


def _text_order(text: str, renamed: dict[str, str]) -> Order:
    from .objects import Order

    pattern = "|".join(re.escape(name) for name in sorted(renamed, key=len, reverse=True))
    text = re.sub(rf"@({pattern})(?![\w.$-])", lambda m: f"@{renamed[m[1]]}", text)
    return Order(*target.host().code, text, "")


def _add_text(key: str, made: bytes, count: int, keep: bool) -> None:
    """Keep and load the object of a text."""
    _stats["compiled"] += count
    _add([[key]], [made], keep)


def emit(kernels: Sequence[ir.Kernel], on: Target, what: str = "object") -> bytes | str:
    """Code for any target, not run: what = "object" (bytes), "assembly" or "llvm" (text)."""
    from . import objects, pipeline

    with _lock:
        symbols = [f"{_clean(kernel.name)}_{k}" for k, kernel in enumerate(kernels)]
        unit = pipeline.Unit(kernels, symbols, on, machine(on))
        try:
            _run(unit, pipeline.PASSES if what != "llvm" else pipeline.PASSES[:-2])
            if what == "assembly":
                return objects.emitted(unit.module, unit.machine, True, "assembly")
        finally:
            objects.prepare(False)
        return unit.text if what == "llvm" else unit.object


def stats() -> dict[str, float]:
    """Kernels compiled, loaded from disk, found in memory; milliseconds in our code, in LLVM, and loading."""
    return dict(_stats)


def machine(on: Target) -> Any:
    """LLVM's code generator for a target."""
    from . import objects

    return objects.machine(*on.code)


def kernel_key(kernel: ir.Kernel, on: Target) -> str:
    """The digest of everything that decides the machine code of a kernel; `where` does not."""
    return keys.digest("loop", keys.fingerprint(kernel), on)


def _symbol(key: str, kernel: ir.Kernel) -> str:
    return f"{_clean(kernel.name)}_{key[:24]}"


def _clean(name: str) -> str:
    return "k_" + re.sub(r"\W", "_", name, flags=re.ASCII)[:40]


def _run(unit: pipeline.Unit, passes: Sequence[pipeline.Pass]) -> None:
    """Run passes and book their time as ours or LLVM's."""
    from . import pipeline

    for step in passes:
        start = time.perf_counter()
        pipeline.run(unit, (step,))
        kind = "llvm_ms" if step.name in ("optimise", "object") else "emit_ms"
        _stats[kind] += 1e3 * (time.perf_counter() - start)


def _keep(some: list[str], content: bytes) -> None:
    """Put an object on disk: under the key of its one kernel, or under its digest, to which its kernels' keys refer."""
    store = cache.current()
    if store is None:
        return
    group = some[0] if len(some) == 1 else hashlib.sha256(content).hexdigest()
    store.put(group, content)
    _groups.update(dict.fromkeys(some, group))
    for key in some if len(some) > 1 else ():
        store.put(key, _REFERENCE + group.encode())


def _from_disk(key: str) -> bool:
    """Load the object that belongs to a key from the disk, if it is there."""
    store = cache.current()
    if store is None:
        return False
    content = b"" if key in _loaded else store.get(key)
    group = key
    if content is not None and content.startswith(_REFERENCE):
        group = content[len(_REFERENCE) :].decode("ascii")
        content = b"" if group in _loaded else store.get(group)
    if content is None:
        return False
    _groups[key] = key = group
    if key not in _loaded:
        if not _load(content):
            return False
        _loaded.add(key)
    return True


def _load(content: bytes) -> bool:
    """Add an object or an image to the process; False if the system does not let us load images."""
    start = time.perf_counter()
    if content.startswith(image.MAGIC):
        found = image.load(content)
        _functions.update(found or {})
        _stats["load_ms"] += 1e3 * (time.perf_counter() - start)
        return found is not None
    import llvmlite.binding as llvm

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
    return True


def _address(symbol: str) -> int:
    address = _functions.get(symbol) or (_engine[0].get_function_address(symbol) if _engine else 0)
    if not address:
        raise RuntimeError(f"codegen: no function {symbol} was loaded")
    return address


def undefined_symbols(content: bytes) -> list[str]:
    """The symbols that an ELF object needs from elsewhere (nothing is known of other formats)."""
    found = image.symbols(content, image.sections(content))
    return [symbol.name for symbol in found if symbol.section == 0 and symbol.name]


def _before_fork() -> None:
    _lock.acquire()


def _after_fork_in_parent() -> None:
    try:
        _lock.release()
    except RuntimeError:
        pass  # what a stream ran before the fork imported this file


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()
    _ahead.clear()  # the processes are the parent's


if hasattr(os, "register_at_fork"):
    # A fork waits until no thread is inside LLVM, whose own lock could not be opened in the child.
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )
