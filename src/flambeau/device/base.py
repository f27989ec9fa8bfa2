"""What a backend must offer: one abstract class, and the two things it makes, Program and Frame.

The stream prepares a program once and runs it often:

    handles = device.load(kernels)                                     # compile
    program = device.program([(handle, where, parts, epilogue), ...], slots)
    frame = program.take()                                             # a table of its own: safe from any thread
    struct.pack_into("3q", frame.table, 8, a, b, n)                    # slot 0 belongs to the device
    failed = program.run(frame)                                        # -1, or the entry whose check failed
    if failed >= 0: code, value, position = frame.error
    program.give(frame)                                                # for the next take

Slot s of the table is the i64 at byte 8 * s: an address, a whole number or the bits of an f64, native byte order.
`where` gives the slot of each parameter of the kernel. parts: 1, or the most parts worth making. epilogue: the kernel
has one.
"""

from __future__ import annotations

import ctypes
import struct
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Container, Sequence
from typing import TYPE_CHECKING, Any

from . import native

if TYPE_CHECKING:
    from ..codegen.target import Target
    from ..loop.ir import Kernel
    from .memory import Block

# handle, where, parts, epilogue; a fifth item is a count: that many calls of the kernel (one without an
# epilogue), which
# may run at once and in any order; `where` then gives the parameters of all, call by call. A sixth is two slots: the
# kernel runs as often as the second says, one turn after the other, and the first holds the number of the turn.
Entry = tuple[Any, ...]
# Slots that a run computes before the first entry: slot, base, offset, index, scale mean
# table[slot] = table[base] + offset + table[index] * scale; where there is no index, scale = 0 and index any slot.
Derived = tuple[int, int, int, int, int]


class Frame:
    """One activation of a program: `table` (a writable buffer, slot 0 first) and, after a run, `error`."""

    __slots__ = ("_pin", "address", "memory", "table")

    def __init__(self, slots: int, entries: int, count: int, derived: int):
        self.memory = bytearray(native.FRAME_TABLE + 8 * max(slots, 1))
        self._pin = ctypes.c_char.from_buffer(self.memory)  # the bytearray can no longer move
        self.address = ctypes.addressof(self._pin)
        struct.pack_into("=3q", self.memory, 0, entries, 0, count)
        struct.pack_into("=q", self.memory, native.DERIVED, derived)
        self.table = memoryview(self.memory)[native.FRAME_TABLE :]
        struct.pack_into("=q", self.table, 0, self.address + native.ERROR)

    @property
    def error(self) -> tuple[int, int, int]:
        """(code, value, position) of the check that failed in the last run; code 0: none did."""
        return struct.unpack_from("=3q", self.memory, native.ERROR)  # type: ignore[return-value]


class Program(ABC):
    """A sequence of kernel calls over one table. Two threads may run it at once, each with a frame of its own."""

    __slots__ = ("_derived", "_entries", "_idle", "count", "slots")

    def __init__(self, entries: Sequence[Entry], slots: int, derived: Sequence[Derived]):
        self.count, self.slots = len(entries), slots
        self._idle: list[Frame] = []
        self._entries = array("q", [0])  # as generated code reads them; a device may need none
        self._derived = array("q", [len(derived), *(word for five in derived for word in five)])
        used = {slot for entry in entries for slot in entry[1]}
        used |= {slot for to, base, _, index, _ in derived for slot in (to, base, index)}
        if used and not 0 <= min(used) <= max(used) < slots:
            raise ValueError(
                f"program: slot {min(used)} or {max(used)} is outside the table of {slots} slots"
            )

    def take(self) -> Frame:
        """A frame that nobody uses. Its table holds what it held when it was given back."""
        try:
            return self._idle.pop()
        except IndexError:
            return self.frame()

    def give(self, frame: Frame) -> None:
        """Give a frame back after its run. One that is not given back is collected as any object."""
        self._idle.append(frame)

    def frame(self) -> Frame:
        """A new frame."""
        entries, derived = self._entries.buffer_info()[0], self._derived.buffer_info()[0]
        return Frame(self.slots, entries, self.count, derived)

    @abstractmethod
    def run(self, frame: Frame) -> int:
        """Run all entries in order; -1, or the number of the entry whose check failed (later ones did not run).

        KeyboardInterrupt may come between two entries of a program that runs longer than config.slice_ms.
        """


class Device(ABC):
    """A backend. Addresses are ints, of whatever memory the device has."""

    name: str

    # Memory
    @abstractmethod
    def alloc(self, nbytes: int) -> Block:
        """A block (ptr, nbytes), 64-byte aligned, readable 64 bytes past its end; it lives as long as the object."""

    @abstractmethod
    def alloc_ptr(self, nbytes: int) -> int:
        """As `alloc`, but a plain address, to be given back with `free_ptr`."""

    @abstractmethod
    def free_ptr(self, ptr: int, nbytes: int) -> None:
        """Give back what `alloc_ptr(nbytes)` gave; safe in a finaliser."""

    @abstractmethod
    def empty_cache(self) -> None:
        """Give memory that nothing uses back to the system."""

    @abstractmethod
    def memory_stats(self) -> dict[str, int]:
        """Bytes: live, cached, mapped, counted, peak."""

    @abstractmethod
    def reset_peak(self) -> None:
        """Begin the peak anew."""

    # Bytes
    @abstractmethod
    def copy_in(self, ptr: int, source: Any) -> None:
        """Copy a C-contiguous buffer of the host to ptr."""

    @abstractmethod
    def copy_out(self, target: Any, ptr: int) -> None:
        """Fill a writable C-contiguous buffer of the host from ptr."""

    @abstractmethod
    def copy(self, to: int, source: int, nbytes: int) -> None:
        """Copy within the device; the two may overlap."""

    @abstractmethod
    def fill(self, ptr: int, nbytes: int, byte: int) -> None:
        """Set every byte."""

    @abstractmethod
    def view(self, ptr: int, nbytes: int) -> memoryview:
        """The memory itself as a writable buffer; TypeError where the host cannot see it."""

    # Programs
    @abstractmethod
    def target(self) -> Target:
        """What the code generator must know of the device."""

    @abstractmethod
    def load(self, kernels: Sequence[Kernel], texts: Sequence[str] = ()) -> list[Any]:
        """Compile kernels (together, which is cheaper); one handle each, good for the life of the process.

        texts: by what `recall` of a later process will find them."""

    def expect(self) -> None:  # noqa: B027  most have nothing to prepare
        """A sequence comes that is new to this process: kernels may have to be compiled soon."""

    def ahead(self, nbytes: int, written: Callable[[], Container[int]]) -> None:  # noqa: B027
        """A new sequence will take so many bytes at least, and write them; written: where blocks begin that exist and
        that it writes as a whole."""

    def recall(self, texts: Sequence[str]) -> list[Any]:
        """For each text (handle, whether there is an epilogue, names of parameters) of a kernel that an earlier process
        made, or None."""
        return [None] * len(texts)

    def plans(self) -> Any:
        """What keeps plans for later processes: an object with the functions `names`, `recall_named`, `kept` and `keep`
        of codegen/engine.py; None if nothing does."""
        return None

    @abstractmethod
    def program(self, entries: Sequence[Entry], slots: int, derived: Sequence[Derived] = ()) -> Program:
        """Prepare a sequence of kernel calls over a table of `slots` i64, slot 0 included.

        `derived` slots are computed by each run, a nanosecond each: views into an arena need not be filled in."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait for everything that runs."""

    # The machine
    @abstractmethod
    def get_num_threads(self) -> int:
        """Threads (or what the device calls so) in one operation."""

    @abstractmethod
    def set_num_threads(self, count: int) -> None:
        """Change that number."""

    @abstractmethod
    def properties(self) -> dict[str, Any]:
        """Facts for people: name, memory in bytes, threads, ..."""

    def launch(
        self, handle: Any, values: Sequence[int | float], parts: int = 1, epilogue: bool = False
    ) -> None:
        """Run one kernel with these parameters; RuntimeError if its check fails. For tests and tools."""
        program = self.program([(handle, range(1, len(values) + 1), parts, epilogue)], len(values) + 1)
        frame = program.take()
        pack_values(frame, values)
        if program.run(frame) >= 0:
            raise RuntimeError("launch: a check failed: code {}, value {}, position {}".format(*frame.error))


def pack_values(frame: Frame, values: Sequence[int | float], slot: int = 1) -> None:
    """Write parameters into a table: ints as i64, floats as the bits of an f64."""
    kinds = "".join("d" if isinstance(value, float) else "q" for value in values)
    struct.pack_into("=" + kinds, frame.table, 8 * slot, *values)
