"""Images: objects linked into one block of bytes that is copied into memory as it stands.

LLVM loads objects too, but it is 100 MB of library: a process whose kernels are all in the disk cache need not open it.
Only what our own code generator makes for x86-64 and ELF is linked here; `link` says None to anything else.

An image is a header, the table of its functions, the names of what it needs from the process, then code and constants
(mapped to be executed), then variables with the addresses of those needs (mapped to be written)."""

from __future__ import annotations

import ctypes
import mmap
import struct
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..heap import for_ever

MAGIC = b"flambeau image 1\n"
_HEADER = struct.Struct(
    "<5I"
)  # bytes of code, of variables stored, of all variables; bytes of functions, of needs
_PAGE = mmap.PAGESIZE
_STUB = b"\xff\x25"  # jmp [rip + distance]
_PC32, _PLT32 = 2, 4
STATE = {"usable": sys.platform == "linux" and sys.implementation.name == "cpython" and sys.maxsize > 1 << 32}


class Section(NamedTuple):
    """A section of an ELF object."""

    name: int
    kind: int
    flags: int
    offset: int
    size: int
    link: int
    info: int
    align: int


class Symbol(NamedTuple):
    """A symbol of an ELF object; section: 0 where it is needed from elsewhere."""

    name: str
    info: int
    section: int
    value: int


def sections(content: bytes) -> list[Section]:
    """The sections of an ELF object; none of another format."""
    if content[:6] != b"\x7fELF\x02\x01":
        return []
    (table,) = struct.unpack_from("<Q", content, 40)
    size, count = struct.unpack_from("<HH", content, 58)
    rows = [struct.unpack_from("<IIQQQQIIQQ", content, table + k * size) for k in range(count)]
    return [Section(*row[:3], *row[4:9]) for row in rows]


def symbols(content: bytes, found: Sequence[Section]) -> list[Symbol]:
    """The symbols of an ELF object, in its order."""
    names = []
    for section in found:
        if section.kind == 2:  # SHT_SYMTAB; link: the section of its strings
            strings = found[section.link].offset
            for at in range(section.offset, section.offset + section.size, 24):
                name, info, _, where, value = struct.unpack_from("<IBBHQ", content, at)
                end = content.index(b"\0", strings + name)
                names.append(Symbol(content[strings + name : end].decode(), info, where, value))
    return names


class Linker:
    """Objects as they are put together; `refused`: something is not as our code generator makes it."""

    def __init__(self) -> None:
        self.code, self.data, self.zeros = bytearray(), bytearray(), 0
        self.functions: dict[str, int] = {}
        self.needs: dict[str, int] = {}  # number of its stub
        self.fixes: list[tuple[int, tuple[str, int], int]] = []  # where, (part, offset in it), addend
        self.refused = False

    def add(self, content: bytes) -> None:
        """Place the sections of an object, note its functions and what has to be filled in."""
        found = sections(content)
        named = symbols(content, found)
        if not found or content[18:20] != b"\x3e\0":
            self.refused = True
            return
        homes: dict[int, tuple[str, int]] = {}
        for number, section in enumerate(found):
            if section.flags & 2 and section.size:  # SHF_ALLOC
                homes[number] = self.place(content, section)
        for symbol in named:
            if symbol.info == 0x12 and symbol.section in homes:  # a function that others may call
                part, offset = homes[symbol.section]
                self.refused |= part != "code" or symbol.name in self.functions
                self.functions[symbol.name] = offset + symbol.value
        for section in found:
            if section.kind == 4 and section.info in homes:  # SHT_RELA
                self.note(content, section, homes, named)
            self.refused |= section.kind in (9, 14, 15)  # REL, constructors, destructors

    def place(self, content: bytes, section: Section) -> tuple[str, int]:
        """Put a section where it belongs."""
        if section.kind == 8:  # SHT_NOBITS: only zeros, behind all that is stored
            at = -(-self.zeros // section.align) * section.align
            self.zeros = at + section.size
            return "zeros", at
        part = self.data if section.flags & 1 else self.code  # SHF_WRITE
        part += b"\0" * (-len(part) % max(section.align, 1))
        at = len(part)
        part += content[section.offset : section.offset + section.size]
        return ("data" if section.flags & 1 else "code"), at

    def note(self, content: bytes, section: Section, homes: Any, named: list[Symbol]) -> None:
        """What a section wants filled in."""
        part, base = homes[section.info]
        for at in range(section.offset, section.offset + section.size, 24):
            where, info, addend = struct.unpack_from("<QQq", content, at)
            symbol = named[info >> 32]
            self.refused |= info & 0xFFFFFFFF not in (_PC32, _PLT32) or part != "code"
            if symbol.section in homes:
                target, offset = homes[symbol.section]
                self.fixes.append((base + where, (target, offset + symbol.value), addend))
            else:
                # Only what is called can be reached over a stub.
                self.refused |= symbol.section != 0 or info & 0xFFFFFFFF != _PLT32
                number = self.needs.setdefault(symbol.name, len(self.needs))
                self.fixes.append((base + where, ("stub", 8 * number), addend))

    def linked(self) -> bytes | None:
        """The image; None if something was refused."""
        if self.refused:
            return None
        self.code += b"\0" * (-len(self.code) % 16)
        stubs = len(self.code)
        size = -(-(stubs + 8 * len(self.needs)) // _PAGE) * _PAGE
        self.data += b"\0" * (-len(self.data) % 64)
        words = size + len(self.data)  # the addresses of what is needed: behind the variables
        self.data += b"\0" * (8 * len(self.needs))
        zeros = -(-(size + len(self.data)) // 64) * 64
        for number in range(len(self.needs)):
            self.code += _STUB + struct.pack("<i", words + 8 * number - (len(self.code) + 6)) + b"\0\0"
        starts = {"code": 0, "data": size, "zeros": zeros, "stub": stubs}
        for where, (part, offset), addend in self.fixes:
            struct.pack_into("<i", self.code, where, starts[part] + offset + addend - where)
        table = "".join(f"{name} {offset}\n" for name, offset in self.functions.items()).encode()
        wanted = "".join(f"{name}\n" for name in self.needs).encode()
        whole = zeros + self.zeros - size
        header = _HEADER.pack(len(self.code), len(self.data), whole, len(table), len(wanted))
        return b"".join((MAGIC, header, table, wanted, self.code, self.data))


def link(objects: Sequence[bytes]) -> bytes | None:
    """One image of objects; None if they cannot be linked here."""
    if not STATE["usable"]:
        return None
    linker = Linker()
    for content in objects:
        linker.add(content)
    return linker.linked()


def load(image: bytes) -> dict[str, int] | None:
    """The addresses of the functions of an image; None if the system refuses. RuntimeError: a need is not met."""
    at = len(MAGIC) + _HEADER.size
    if not STATE["usable"]:
        return None
    code, stored, variables, table, wanted = _HEADER.unpack_from(image, len(MAGIC))
    functions = image[at : at + table].decode().split()
    needs = image[at + table : at + table + wanted].decode().split()
    addresses = [address_in_process(name) for name in needs]
    unknown = [name for name, address in zip(needs, addresses) if not address]
    if unknown:
        raise RuntimeError(f"codegen: the object needs symbols that do not exist: {', '.join(unknown)}")
    size = -(-code // _PAGE) * _PAGE
    memory = mmap.mmap(-1, max(size + variables, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    body = at + table + wanted
    memory[:code] = image[body : body + code]
    memory[size : size + stored] = image[body + code : body + code + stored]
    memory[size + stored - 8 * len(needs) : size + stored] = struct.pack(f"<{len(needs)}Q", *addresses)
    view = (ctypes.c_char * len(memory)).from_buffer(memory)
    for_ever(view)
    start = ctypes.addressof(view)
    protect = ctypes.CDLL(None).mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    if protect(start, size, mmap.PROT_READ | mmap.PROT_EXEC):
        STATE["usable"] = False
        return None
    return {name: start + int(offset) for name, offset in zip(functions[::2], functions[1::2])}


def address_in_process(name: str) -> int:
    """Where a function of the process (Python's, the C library's) is; 0: nowhere."""
    try:
        return ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0
    except AttributeError:
        return 0
