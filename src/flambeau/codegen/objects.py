"""LLVM IR to object code, in this process or as a process of its own.

`python objects.py FOLDER NICE` (FOLDER: where llvmlite is found) answers requests on its input until that ends or
nothing has come for a while; NICE: how far it stands back for other processes. It is run as a file and imports nothing
of the package: it must start fast."""

from __future__ import annotations

import os
import struct
import sys
import time
from typing import Any, BinaryIO, NamedTuple

# Kernels are vector code already, and their addresses are computed once, in front of the loops that do not change them
# (places.py): LLVM's vectorisers and unrollers, its search for what is computed twice and its combination of
# instructions (which its code generator does again) would only take time. What was written as text needs them.
KERNEL = ("always_inliner", "sroa", "simplify_cfg", "dead_code_elimination")
TEXT = (*KERNEL[:2], "instruction_combine", "simplify_cfg", "new_gvn", *KERNEL[2:])
# Nor does its code generator do to kernels what takes time and makes them no faster (it looked for better addresses in
# loops, which took longer than everything else). Options are the process's, and end it where they are unknown; each has
# what stands here for kernels, and the contrary for others.
_NOT = (
    *("lsr", "cgp", "select-optimize", "early-taildup", "tail-duplicate", "early-ifcvt"),
    *("machine-sink", "postra-machine-sink", "postra-machine-licm"),
)
_OPTIONS = {f"disable-{name}": True for name in _NOT} | {
    "combiner-store-merging": False,
    "enable-shrink-wrap": False,
}
_HAVE_OPTIONS = (22,)  # versions of LLVM
_set = [False]  # whether they are those for kernels
IDLE = 20.0  # seconds after which a process without work ends
_REQUEST, _ANSWER = struct.Struct("<5I"), struct.Struct("<?dI")
_machines: dict[tuple[str, str, str], Any] = {}


class Order(NamedTuple):
    """What is to be compiled, and for which processor; kernel: "" if it is no kernel."""

    triple: str
    cpu: str
    features: str
    text: str
    kernel: str = "kernel"


def machine(triple: str, cpu: str, features: str) -> Any:
    """LLVM's code generator for a target."""
    known = _machines.get((triple, cpu, features))
    if known is None:
        import llvmlite.binding as llvm

        if triple == llvm.get_process_triple():
            llvm.initialize_native_target()
            llvm.initialize_native_asmprinter()
        else:
            llvm.initialize_all_targets()
            llvm.initialize_all_asmprinters()
        # Small code: llvmlite keeps the sections of one object together, and calls out of it go through stubs.
        # Level 1: a quarter less time than level 2, and code that is measurably as fast.
        known = llvm.Target.from_triple(triple).create_target_machine(
            cpu=cpu, features=features, opt=1, reloc="pic", codemodel="small", jit=True
        )
        _machines[triple, cpu, features] = known
    return known


def optimise(text: str, machine: Any, kernel: bool) -> Any:
    """The module of a text after LLVM's passes: registers to values, simpler control flow."""
    import llvmlite.binding as llvm

    module = llvm.parse_assembly(text)
    module.data_layout = str(machine.target_data)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = False
    options.loop_unrolling = options.loop_interleaving = False
    manager = llvm.create_new_module_pass_manager()
    for name in KERNEL if kernel else TEXT:
        getattr(manager, f"add_{name}_pass")()
    manager.run(module, llvm.create_pass_builder(machine, options))
    return module


def prepare(kernel: bool) -> None:
    """Set LLVM's options for kernels, or for others, as it has them."""
    if kernel == _set[0]:
        return
    import llvmlite.binding as llvm

    if llvm.llvm_version_info[0] in _HAVE_OPTIONS:
        for name, value in _OPTIONS.items():
            llvm.set_option("flambeau", f"-{name}={str(value == kernel).lower()}")
        _set[0] = kernel


def emitted(module: Any, machine: Any, kernel: bool, what: str = "object") -> Any:
    """The machine code of a module, as an object (bytes) or as assembly (text). LLVM's options stay as they then are:
    after kernels, whoever shares the process with others prepares for these."""
    prepare(kernel)
    return machine.emit_object(module) if what == "object" else machine.emit_assembly(module)


def compiled(order: Order) -> bytes:
    """The object of a text."""
    on = machine(order.triple, order.cpu, order.features)
    kernel = bool(order.kernel)
    made: bytes = emitted(optimise(order.text, on, kernel), on, kernel)
    return made


def send(stream: BinaryIO, order: Order) -> None:
    """Write a request."""
    parts = [part.encode() for part in order]
    write(stream, b"".join((_REQUEST.pack(*map(len, parts)), *parts)))


def receive(stream: BinaryIO) -> tuple[bytes | None, float]:
    """Read an answer: the object (None: there is none) and the milliseconds it took; OSError if no answer comes."""
    good, ms, size = _ANSWER.unpack(exactly(stream, _ANSWER.size))
    content = exactly(stream, size)
    return (content if good else None), ms


def write(stream: BinaryIO, data: bytes) -> None:
    """Write all of the data to a stream without a buffer."""
    rest = memoryview(data)
    while rest:
        rest = rest[stream.write(rest) or 0 :]


def exactly(stream: BinaryIO, size: int) -> bytes:
    """So many bytes from a stream without a buffer; OSError if it ends before."""
    parts = []
    while size:
        part = stream.read(size)
        if not part:
            raise OSError("the other side is gone")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def waits(stream: BinaryIO) -> bool:
    """Whether something comes within the time."""
    import select

    try:
        return bool(select.select([stream], [], [], IDLE)[0])
    except (OSError, ValueError):  # only sockets can be waited for here
        return True


def serve(given: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests."""
    while waits(given):
        try:
            sizes = _REQUEST.unpack(exactly(given, _REQUEST.size))
            order = Order(*[exactly(given, size).decode() for size in sizes])
        except OSError:
            return
        begun, good = time.perf_counter(), True
        try:
            content = compiled(order)
        except Exception as error:  # whoever asked compiles it again, and meets the error
            content, good = str(error).encode(), False
        write(answers, _ANSWER.pack(good, 1e3 * (time.perf_counter() - begun), len(content)) + content)


def main() -> None:
    """Serve standard input; Ctrl-C is for the process that started this one."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what LLVM prints is no answer
    sys.path.append(sys.argv[1])
    if hasattr(os, "nice"):
        os.nice(int(sys.argv[2]))
    prepare(True)  # before the first request, which this would delay: it opens LLVM
    serve(os.fdopen(0, "rb", buffering=0), answers)


if __name__ == "__main__":
    main()
