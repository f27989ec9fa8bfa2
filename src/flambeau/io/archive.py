"""The zip container of saved files, laid out as PyTorch's: no compression, every record at a multiple of 64 bytes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import Any

from ..errors import fail

ALIGNMENT = 64
_LOCAL, _CENTRAL = struct.Struct("<4s5H3I2H"), struct.Struct("<4s6H3I5H2I")
_ELSEWHERE = 0xFFFFFFFF  # in a 32-bit field: the value stands in the extra field
_BIG = _ELSEWHERE  # values from here on need 64 bits


def _flags(size: int) -> int:
    """Names are in UTF-8; size and checksum follow the data, if there is any."""
    return 0x0808 if size else 0x0800


class ArchiveWriter:
    """Writes records one after another to `file` (anything with `write`); `close` adds the directory."""

    def __init__(self, file: Any, root: str):
        self.file, self.root = file, root
        self.position = 0
        self.records: list[tuple[bytes, int, int, int]] = []  # name, checksum, bytes, where its header stands

    def _write(self, data: Any) -> None:
        self.file.write(data)
        self.position += len(data)

    def add(self, name: str, data: Any) -> None:
        """One record: `data` is bytes or a memoryview of them."""
        path, size, start = f"{self.root}/{name}".encode(), len(data), self.position
        extra = struct.pack("<2HQQ", 1, 16, 0, 0) if size >= _BIG else b""
        content = start + _LOCAL.size + len(path) + len(extra) + 4
        padding = -content % ALIGNMENT
        extra += struct.pack("<2sH", b"FB", padding) + b"Z" * padding
        seen = _ELSEWHERE if size >= _BIG else 0
        self._write(_LOCAL.pack(b"PK\3\4", 0, _flags(size), 0, 0, 0, 0, seen, seen, len(path), len(extra)))
        self._write(path + extra)
        checksum = 0
        for part in _pieces(data):
            checksum = zlib.crc32(part, checksum)
            self._write(part)
        if size:
            sizes = "QQ" if size >= _BIG else "II"
            self._write(struct.pack("<4sI" + sizes, b"PK\7\10", checksum, size, size))
        self.records.append((path, checksum, size, start))

    def close(self) -> None:
        """Write the identification of the contents and the directory."""
        names, sums = (
            zlib.crc32(b"".join(r[0] for r in self.records)),
            b"".join(b"%08x%x" % r[1:3] for r in self.records),
        )
        identity = f"{names:010d}{zlib.adler32(sums):010d}{zlib.crc32(sums):020d}"
        self.add(".data/serialization_id", identity.encode())
        start = self.position
        for path, checksum, size, header in self.records:
            large = [v for v in (size, size, header) if v >= _BIG]
            extra = struct.pack(f"<2H{len(large)}Q", 1, 8 * len(large), *large) if large else b""
            seen, at = (_ELSEWHERE if v >= _BIG else v for v in (size, header))
            fields = (
                0,
                0,
                _flags(size),
                0,
                0,
                0,
                checksum,
                seen,
                seen,
                len(path),
                len(extra),
                0,
                0,
                0,
                0,
                at,
            )
            self._write(_CENTRAL.pack(b"PK\1\2", *fields) + path + extra)
        size, count = self.position - start, len(self.records)
        whole = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 0x031E, 45, 0, 0, count, count, size, start)
        self._write(whole + struct.pack("<4sIQI", b"PK\6\7", 0, start + size, 1))
        ends = (_ELSEWHERE if v >= _BIG else v for v in (size, start))
        counts = (min(count, 0xFFFF), min(count, 0xFFFF), *ends, 0)
        self._write(struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, *counts))


def _pieces(data: Any, size: int = 16 << 20) -> Iterable[Any]:
    return (data[i : i + size] for i in range(0, len(data), size))


class ArchiveReader:
    """Reads records by name; nothing is ever unpacked to disk, and no record is larger than the file allows."""

    def __init__(self, file: Any):
        import zipfile

        try:
            self.zip = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, NotImplementedError, ArithmeticError, ValueError) as error:
            fail(RuntimeError, f"load: failed reading zip archive: {error}; the file is damaged or truncated")
        self.file = file
        infos = self.zip.infolist()
        if not infos:
            fail(RuntimeError, "load: the zip archive is empty")
        self.root = infos[0].filename.split("/", 1)[0]
        self.infos = {info.filename: info for info in infos}
        file.seek(0, 2)
        self.size = file.tell()
        stored = sum(info.file_size for info in infos if info.compress_type == 0)
        if stored > self.size:
            fail(RuntimeError, "load: the records of the archive claim more bytes than the file has")

    def __contains__(self, name: str) -> bool:
        return f"{self.root}/{name}" in self.infos

    def _info(self, name: str) -> Any:
        info = self.infos.get(f"{self.root}/{name}")
        if info is None:
            fail(RuntimeError, f"load: file in archive is not in the expected place: no record {name!r}")
        if info.compress_type and info.file_size > 1000 * max(info.compress_size, 64):
            fail(
                RuntimeError,
                f"load: record {name!r} claims to grow {info.file_size // max(info.compress_size, 1)} times",
            )
        return info

    def nbytes(self, name: str) -> int:
        """The size of a record."""
        return self._info(name).file_size

    def offset(self, name: str) -> int | None:
        """Where the bytes of a record begin in the file (None if it is compressed)."""
        info = self._info(name)
        if info.compress_type:
            return None
        if not 0 <= info.header_offset < self.size:
            fail(RuntimeError, f"load: record {name!r} is said to stand outside the file")
        self.file.seek(info.header_offset)
        header = self.file.read(_LOCAL.size)
        if len(header) < _LOCAL.size or header[:4] != b"PK\3\4":
            fail(RuntimeError, f"load: the header of record {name!r} is damaged")
        fields = _LOCAL.unpack(header)
        start = info.header_offset + _LOCAL.size + fields[9] + fields[10]
        if start + info.file_size > self.size:
            fail(RuntimeError, f"load: record {name!r} ends behind the end of the file")
        return start

    def read(self, name: str) -> bytes:
        """The bytes of a record."""
        out = bytearray(self.nbytes(name))
        self.read_into(name, memoryview(out))
        return bytes(out)

    def read_into(self, name: str, target: memoryview) -> None:
        """Fill `target` with the beginning of a record (all of it, as a rule); checks the checksum."""
        import zipfile

        info, checksum, got = self._info(name), 0, 0
        start = self.offset(name)
        if start is None:
            try:
                with self.zip.open(info) as file:
                    got = _fill(file, target)
            except (NotImplementedError, RuntimeError, zlib.error) as error:
                fail(RuntimeError, f"load: record {name!r} is damaged or encrypted: {error}")
        else:
            self.file.seek(start)
            got = _fill(self.file, target)
        if got < len(target):
            raise zipfile.BadZipFile(f"record {name!r} has {got} bytes instead of {len(target)}")
        if len(target) == info.file_size:
            for part in _pieces(target):
                checksum = zlib.crc32(part, checksum)
            if checksum != info.CRC:
                fail(RuntimeError, f"load: record {name!r} is damaged: its checksum does not agree")


def _fill(file: Any, target: memoryview) -> int:
    """Read into target until it is full or the file ends; returns the bytes read."""
    done = 0
    while done < len(target):
        if hasattr(file, "readinto"):
            n = file.readinto(target[done:])
        else:
            part = file.read(min(len(target) - done, 16 << 20))
            n = len(part)
            target[done : done + n] = part
        if not n:
            break
        done += n
    return done
