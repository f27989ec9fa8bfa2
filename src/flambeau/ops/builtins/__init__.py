"""Recording at native speed: what record.py and generate.py define in Python, as builtin functions of generated code.

They are made after the first flush, when LLVM is loaded anyway; where they cannot be made the Python definitions serve,
and they take every case that is not the usual one."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from typing import Any

from ... import dtypes
from ...device import memory
from ...device.base import Frame
from ...device.memory import Block, alloc
from ...errors import site
from ...shapes import Size
from ...stream import flush as flushes
from ...stream import fragments, gradient, host, rebind, storages, value
from ...stream import program as programs
from ...stream.flush import Progress
from ...stream.program import TALLY, Program, outcome
from ...stream.value import (
    AT_FIRST_KERNEL,
    AT_FLUSH,
    ENTERING,
    LOCAL,
    PLAIN,
    RELEASED,
    Meta,
    Storage,
    Stream,
    Tensor,
    Version,
)
from .. import calls, kin, places, record, viewing
from ..entry import Entry
from ..family import Family
from ..record import Form
from ..sizes import Sizes

BUILTINS = (
    "op",
    "write",
    "known",
    "commit",
    "record_grad",
    "walk",
    "count",
    "survey",
    "piece",
    "launch",
    "drive",
    "fresh",
    "furnish",
    "holder",
    "plain",
    "within",
    "places",
    "truths",
    "same",
    "exported",
    "foreign",
    "settle",
    "flush",
    "viewed",
    "free",
    "quick",
    "detach",
)
# Methods of Tensor that read values, and their definitions in Python.
READ = ("item", "tolist", "__float__", "__int__", "__bool__", "__index__")
READERS: dict[str, Any] = {}
NAMES = ("flambeau_objects", *[f"flambeau_{name.strip('_')}" for name in (*BUILTINS, *READ)])
# The files that decide the text of the functions, beside those that compile it.
SOURCES = ("device", "ops/builtins", "ops/kin.py", "ops/record.py", "stream")
COMMIT, RECORD_GRAD = record.commit, record.record_grad  # the definitions in Python
FREE: Any = Block.__del__
ADDRESSES: dict[str, int] = {}
MADE: dict[str, Any] = {}


def objects() -> dict[str, Any]:
    """What the generated code calls by a name."""
    from . import arrays, retiring
    from .reading import KINDS

    others = [cls for cls in PLAIN if cls is not Tensor]
    return {
        **{"None": None, "True": True, "False": False, "zero": 0, "minus one": -1, "s": "s", "": ""},
        **{c.__name__: c for c in (int, float, bool, list, tuple, Size, Storage, Tensor, Block, Form, Meta)},
        **{"LOCAL": LOCAL, "Parameter": others[0] if others else Tensor, "entering": ENTERING.locked},
        **{"flush_at_bound": lambda S: S.flush_at_bound(), "edge": gradient.edge},
        **{
            "one": 1,
            "Version": Version,
            "AccumulateGrad": gradient.AccumulateGrad,
            "OpNode": record.OpNode,
            "RELEASED": RELEASED,
        },
        **{"accumulate": gradient.BOOK["accumulate_grad"], "receive_slot": receive_slot, "apply": apply},
        **{"site": site, "release": lambda node: node.release()},
        **{
            "python fresh": storages.fresh,
            "alloc": alloc,
            "address": lambda block: block.ptr,
            "outcome": outcome,
            "derived unit": kin.unit,
            "derived moved_unit": kin.moved_unit,
            "Exception": Exception,
            "structured": calls.structured,
            "derived": Entry.derived,
            "derived outcome": derived_outcome,
            "family form": Family.derived,
            "single outs": kin.SINGLE,
            "single": kin.single,
            "TALLY": TALLY,
            **{"sequences": flushes.CACHE, "lengths": flushes.LENGTHS, "at flush": AT_FLUSH, "run": "run"},
            **{"flush names": vars(flushes), "flush run": flushes.RUN},
            **{"program names": vars(programs), "program run": programs.RUN},
            "free lists": memory._lists,
            **{"array api": arrays.API, "learn arrays": arrays.learn},
            **{"fresh metadata": value._fresh, "fresh meta": value.fresh_meta},
            **{"Exported": host.Exported, "StorageInfo": value.StorageInfo},
            **{"storages": retiring.STORAGES, "blocks": retiring.BLOCKS},
            "run recorded": flushes.flush,
            "resumed": flushes.resumed,
            **{f"dtype {name}": dtypes.ALL[name] for name in KINDS},
            **{f"python {name}": READERS[name] for name in READ},
            "python commit": COMMIT,
            "python viewed": viewing.view_tensor,
            "python detach": READERS["detach"],
            "python record_grad": RECORD_GRAD,
        },
    }


def apply(node: Any, given: Any) -> Any:
    """The gradients of a node's inputs from that of its one output."""
    made = node.apply((given,))
    return made if type(made) is tuple else (made,)


def derived_outcome(form: Any, frame: Any, result: int, progress: Any) -> None:
    """`outcome` of a derived form that ran without a program."""
    outcome(form.kin.program(form), frame, result, progress)


def receive_slot(buffers: dict[Any, Any], node: Any, number: int, g: Any) -> None:
    """Add to one of the gradients of a node with several outputs."""
    slots = buffers.get(node)
    if slots is None:
        slots = buffers[node] = [None] * len(node.out)
    if g is not None:
        old = slots[number]
        slots[number] = g if old is None else old + g


def module() -> Any:
    """All functions."""
    from ...device.cpython import Module
    from . import (
        aliasing,
        arrays,
        calling,
        cutting,
        deriving,
        finding,
        flushing,
        making,
        quick,
        ranges,
        reading,
        recording,
        replaying,
        retiring,
        running,
        walking,
    )

    o = {cls: recording.Offsets(cls) for cls in recording.SLOTS}
    m = Module()
    retiring.promise(m, o[Storage])
    recording.declare(m, o)
    deriving.numbered(m)
    deriving.metadata(m, o[Meta])
    deriving.structure(m)
    deriving.result_of(m)
    deriving.results_like(m, o[Meta])
    deriving.derived(m, o[Form], o[kin.Kin])
    calling.declare(m, o)
    making.known(m, o[Stream])
    for part in ("unpack", "gradients", "leaf", "receive", "distribute", "walk", "count"):
        getattr(walking, part)(m, o)
    cutting.declare(m, o)
    ranges.within(m)
    finding.truths(m)
    finding.places(m)
    replaying.declare(m, o)
    deriving.recipe(m, o[Form], o[kin.Kin], o[rebind.Pattern], o[rebind.Recipe])
    deriving.memory(m, o[Storage], o[Form], o[Block])
    deriving.fill(m, o[Storage])
    running.fill(m, o[Storage])
    running.launched(m, o[Frame], o[Progress])
    deriving.launched(m, o[Form], o[Block], o[Frame])
    running.launch(m, o[Program])
    running.unit(m, o[Form])
    retiring.declare(m, o)
    flushing.declare(m, o)
    quick.declare(m, o)
    aliasing.declare(m, o)
    reading.declare(m, o)
    arrays.declare(m, o)
    running.free_dead(m, o[Storage], o[Form])
    kinds = {"node": fragments.Node, "program": Program, "progress": Progress}
    running.drive(m, {name: o[cls] for name, cls in kinds.items()})
    return m


def facts() -> str:
    """What the text of the functions follows from, beside `SOURCES`: the interpreter, and where classes keep slots."""
    from . import recording

    return repr(
        (sys.version, [(cls.__name__, vars(recording.Offsets(cls))) for cls in recording.SLOTS], NAMES)
    )


def recalled() -> bool:
    """Take over what an earlier process has made; whether there was anything."""
    from ...codegen.engine import recall_ir

    found = recall_ir(facts(), SOURCES, NAMES)
    try:
        if found is not None:
            adopt(*found)
    except KeyError:  # no such object
        return False
    return found is not None


def written() -> tuple[str, list[str]]:
    """The text of all functions and the names of the objects in it, which later processes will recall."""
    from ...codegen.engine import remember_ir

    m = module()
    text, words = m.text(), list(m.objects)
    remember_ir(facts(), SOURCES, text, NAMES, words)
    return text, words


def begin() -> None:
    """Put the builtins in their places as soon as there are any: another process may have to compile them first."""
    from ...codegen.engine import compile_ir_later
    from ...device import cpython
    from ...device.limits import available_cores

    def then(addresses: list[int] | None) -> None:
        try:
            if addresses is not None:
                adopt(words, addresses)
                AT_FLUSH.append(install)
            else:
                AT_FIRST_KERNEL.append(begin)  # what went wrong may go well when something is compiled again
        except ODD:
            pass

    try:
        if MADE:
            install()
        elif cpython.supported() and recalled():
            AT_FLUSH.append(install)
        elif cpython.supported():
            text, words = written()
            compile_ir_later(text, NAMES, then, available_cores())
    except ODD:
        pass


ODD = (AttributeError, ImportError, OSError, RuntimeError, TypeError)  # Python as nobody knows it


def make() -> bool:
    """Make the builtins; whether that was possible."""
    from ...codegen.engine import compile_ir
    from ...device import cpython

    if not cpython.supported():
        return False
    if not recalled():
        text, words = written()
        adopt(words, compile_ir(text, NAMES))
    return True


def adopt(words: Sequence[str], addresses: list[int]) -> None:
    """Take over the functions of a module; words: the names of the objects in its table."""
    from ...device import cpython

    table, *functions = addresses
    for name in (*READ, "detach"):
        READERS.setdefault(name, Tensor.__dict__[name])  # another thread may have been here before
    address = ctypes.PYFUNCTYPE(ctypes.c_void_p)(table)()
    known = objects()
    cpython.set_objects(address, [known[name] for name in words])
    for name, function in zip((*BUILTINS, *READ), functions):
        ADDRESSES[name] = function
    MADE.update({name: cpython.builtin(name, ADDRESSES[name], cpython.FAST) for name in BUILTINS[3:-3]})
    MADE["flush"] = cpython.builtin("flush", ADDRESSES["flush"], cpython.ONE)
    MADE["quick"] = cpython.method(Stream, "flush", ADDRESSES["quick"], flushes.flush.__doc__)
    MADE["free"] = cpython.method(Block, "__del__", ADDRESSES["free"])
    MADE.update(
        {name: cpython.method(Tensor, name, ADDRESSES[name], fn.__doc__) for name, fn in READERS.items()}
    )


def install() -> None:
    """Put the builtins in the places of the Python definitions."""
    try:
        if not MADE and not make():
            return
    except ODD:
        return
    from ...device import cpython

    def of_op(context: Any, inplace: bool) -> Any:
        return cpython.builtin("op", ADDRESSES["write" if inplace else "op"], cpython.FAST, context)

    calls.use(MADE["commit"], MADE["record_grad"], of_op)
    for table in Sizes.every:
        table.look = cpython.builtin("known", ADDRESSES["known"], cpython.FAST, table.found)
    gradient.BOOK["walk"], gradient.BOOK["count"] = MADE["walk"], MADE["count"]
    places.BUILTINS.update({name: MADE[name] for name in ("within", "places", "truths", "same")})
    host.ARRAYS.update({name: MADE[name] for name in ("exported", "foreign")})
    fragments.BUILTINS.update({name: MADE[name] for name in ("survey", "piece", "drive")})
    storages.BUILTINS.update({name: MADE[name] for name in ("fresh", "furnish", "holder", "plain", "launch")})
    flushes.BUILTINS.update({name: MADE[name] for name in ("flush", "settle")})
    viewing.VIEWED[0] = MADE["viewed"]
    for name in READERS:
        setattr(Tensor, name, MADE[name])
    setattr(Stream, "flush", MADE["quick"])  # noqa: B010
    setattr(Block, "__del__", MADE["free"])  # noqa: B010


def remove() -> None:
    """Let the Python definitions serve again."""
    calls.use(COMMIT, RECORD_GRAD, None)
    for table in Sizes.every:
        table.look = table.known
    for name in ("walk", "count"):
        gradient.BOOK.pop(name, None)
    places.BUILTINS.clear()
    host.ARRAYS.update(exported=host.no_builtin, foreign=host.no_builtin)
    fragments.BUILTINS.clear()
    storages.BUILTINS.clear()
    flushes.BUILTINS.update(flush=flushes.no_builtin, settle=flushes.settle)
    viewing.VIEWED[0] = viewing.view_tensor
    for name, fn in READERS.items():
        setattr(Tensor, name, fn)
    setattr(Stream, "flush", flushes.flush)  # noqa: B010
    setattr(Block, "__del__", FREE)  # noqa: B010
