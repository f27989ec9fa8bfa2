"""Fetching and unpacking of data sets: only when asked for, digests checked, sizes and names bounded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import IO, Any

from ...errors import fail

MAX_DOWNLOAD = 8 << 30  # bytes of one file
MAX_UNPACKED = 32 << 30  # bytes of one archive, unpacked
MAX_MEMBERS = 5_000_000
CHUNK = 1 << 20


def md5_of(path: str) -> str:
    """The MD5 digest of a file, in hexadecimal: it names the file that was published and protects from nothing."""
    import hashlib

    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def check_integrity(path: str, md5: str | None = None) -> bool:
    """Whether the file is there and, if a digest is given, has it."""
    return os.path.isfile(path) and (md5 is None or md5_of(path) == md5)


def refuse_download(name: str, root: Any) -> None:
    """Raise the RuntimeError that says which files are missing and how to have them."""
    fail(
        RuntimeError,
        f"{name}: dataset not found or corrupted",
        "You can use download=True to download it; no network access is made unless you ask for it",
        root=str(root),
    )


def download(url: str, folder: str, md5: str | None = None) -> str:
    """Fetch a file over http(s) into a folder, once; its path. RuntimeError if its digest is another one."""
    from urllib.parse import urlsplit
    from urllib.request import Request, urlopen

    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        fail(ValueError, "download: only http and https are fetched", url=url)
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, os.path.basename(parts.path))
    if check_integrity(path, md5):
        return path
    partial = f"{path}.{os.getpid()}.part"
    try:
        with (
            urlopen(Request(url, headers={"User-Agent": "flambeau"}), timeout=60) as source,
            open(partial, "wb") as sink,
        ):
            copy_bounded(source, sink, MAX_DOWNLOAD, url)
        if md5 is not None and md5_of(partial) != md5:
            fail(
                RuntimeError,
                f"download: {url} is not the file it should be",
                md5=md5_of(partial),
                expected=md5,
            )
        os.replace(partial, path)
    finally:
        if os.path.exists(partial):
            os.remove(partial)
    return path


def copy_bounded(source: IO[bytes], sink: IO[bytes], bound: int, name: str) -> int:
    """Copy to the end; RuntimeError after `bound` bytes. The number of bytes copied."""
    total = 0
    while block := source.read(CHUNK):
        total += len(block)
        if total > bound:
            fail(RuntimeError, f"{name}: more than {bound:,} bytes")
        sink.write(block)
    return total


def unpack(path: str, folder: str) -> None:
    """Unpack a .tar(.gz, .bz2, .xz), .zip or .gz into a folder; links and names that lead outside are refused."""
    os.makedirs(folder, exist_ok=True)
    budget = MAX_UNPACKED
    for count, (name, source) in enumerate(_members(path), 1):
        target = os.path.realpath(os.path.join(folder, name))
        if count > MAX_MEMBERS or os.path.commonpath([target, os.path.realpath(folder)]) != os.path.realpath(
            folder
        ):
            fail(RuntimeError, f"unpack: {path} holds too many files, or one outside its folder", name=name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with source, open(target, "wb") as sink:
            budget -= copy_bounded(source, sink, budget, path)


def _members(path: str) -> Iterator[tuple[str, IO[bytes]]]:
    """(name, stream) of each regular file of an archive."""
    if path.endswith(".zip"):
        import zipfile

        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    yield info.filename, archive.open(info)
    elif ".tar" in os.path.basename(path) or path.endswith(".tgz"):
        import tarfile

        with tarfile.open(path) as tar:
            for member in tar:
                stream = tar.extractfile(member) if member.isreg() else None
                if stream is not None:
                    yield member.name, stream
                elif not member.isdir():
                    fail(RuntimeError, f"unpack: {path} holds a link or a device", name=member.name)
    elif path.endswith(".gz"):
        import gzip

        yield os.path.basename(path)[:-3], gzip.open(path)  # type: ignore[misc] # noqa: SIM115
    else:
        fail(RuntimeError, "unpack: not a kind of archive that is known", path=path)
