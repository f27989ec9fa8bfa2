"""The disk cache of machine code: one file per entry in a folder that is the user's own.

The folder must belong to the user, with mode 0700, and not be a link; otherwise the cache is off, with one warning.
An entry is a magic word, the SHA-256 of the content, and the content; one that does not fit is removed. Entries are
written under a temporary name and renamed, so that processes can share the folder. When the folder grows beyond its
bound, the entries that were not used for longest are removed. How large it is says a file to which each process appends
the sizes of what it writes: to look at all entries takes a second where there are a hundred thousand."""

from __future__ import annotations

import hashlib
import itertools
import os
import stat
import time
import warnings
from array import array

from .. import config

_MAGIC = b"flambeau object 1\n"
_HEADER = len(_MAGIC) + 32
_SUFFIX, _TEMPORARY = ".object", ".tmp"
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_USE_DIR_FD = {os.open, os.unlink, os.stat, os.rename, os.utime, os.access} <= os.supports_dir_fd | {
    os.rename
}
_LEDGER, _RECORDS = "sizes", 4096  # the file of sizes, and how many it may have before they are put together
_DAY, _HOUR = 86400.0, 3600.0
_counter = itertools.count()


class Cache:
    """A folder of at most `limit` bytes of entries; every method does nothing if the folder cannot be trusted."""

    def __init__(self, folder: str, limit: int):
        self.folder, self.limit = folder, limit
        self.size = -1  # bytes in the folder, as far as this process knows; -1: not looked at
        self.fd: int | None = None
        self.usable = False
        try:
            self._open()
            self.usable = True
        except OSError as error:
            reason = error.strerror or str(error)
            warnings.warn(f"flambeau: compiled kernels are not kept: {folder}: {reason}", stacklevel=2)

    def _open(self) -> None:
        """Make, open and check the folder; OSError if it is not ours alone."""
        parent = os.path.dirname(os.path.abspath(self.folder))
        os.makedirs(parent, mode=0o700, exist_ok=True)
        try:
            os.mkdir(self.folder, 0o700)
        except FileExistsError:
            pass
        if _USE_DIR_FD:
            flags = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _NO_LINKS
            fd = os.open(self.folder, flags)
            try:
                _check_folder(os.fstat(fd))
                if not os.access(".", os.W_OK | os.X_OK, dir_fd=fd):
                    raise OSError("the folder is not writable")
            except OSError:
                os.close(fd)
                raise
            self.fd = fd
            return
        _check_folder(os.lstat(self.folder))
        if not os.access(self.folder, os.W_OK):
            raise OSError("the folder is not writable")

    def close(self) -> None:
        """Stop using the folder."""
        self.usable = False
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None

    def _at(self, name: str) -> str:
        return name if self.fd is not None else os.path.join(self.folder, name)

    def get(self, key: str) -> bytes | None:
        """The content stored under a key; None if there is none, or if it was damaged (and is now removed)."""
        if not self.usable:
            return None
        name = self._at(key + _SUFFIX)
        try:
            fd = os.open(name, os.O_RDONLY | _NO_LINKS, dir_fd=self.fd)
        except OSError:
            return None
        with open(fd, "rb") as file:
            status = os.fstat(fd)
            data = file.read() if _is_own_file(status) else b""
        content = data[_HEADER:]
        if data[:_HEADER] != _MAGIC + hashlib.sha256(content).digest():
            self.discard(key)
            return None
        if time.time() - status.st_mtime > _DAY:
            self._quietly(os.utime, name, dir_fd=self.fd)
        return content

    def put(self, key: str, content: bytes) -> None:
        """Store a content under a key; a failure (a full disk) only means that it will not be found."""
        if not self.usable:
            return
        temporary = self._at(f"{os.getpid()}-{next(_counter)}-{time.monotonic_ns()}{_TEMPORARY}")
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINKS, 0o600, dir_fd=self.fd)
            with open(fd, "wb") as file:
                file.write(_MAGIC + hashlib.sha256(content).digest() + content)
            os.replace(temporary, self._at(key + _SUFFIX), src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except OSError:
            self._quietly(os.unlink, temporary, dir_fd=self.fd)
            return
        if self.size < 0:
            self.size = self.counted()
        if self.size >= 0:
            self.size += _HEADER + len(content)
            self.count(_HEADER + len(content))
        if not 0 <= self.size <= self.limit:
            self.trim()

    def counted(self) -> int:
        """The bytes in the folder, as all processes have counted them; -1 if they have not."""
        try:
            fd = os.open(self._at(_LEDGER), os.O_RDONLY | _NO_LINKS, dir_fd=self.fd)
        except OSError:
            return -1
        with open(fd, "rb") as file:
            data = file.read() if _is_own_file(os.fstat(fd)) else b""
        sizes = array("q", data[: len(data) // 8 * 8])
        if not sizes or min(sizes) < 0:
            return -1
        if len(sizes) > _RECORDS:
            self.count(sum(sizes), anew=True)
        return sum(sizes)

    def count(self, size: int, anew: bool = False) -> None:
        """Note how many bytes more there are; anew: how many in all."""
        flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if anew else os.O_APPEND) | _NO_LINKS
        try:
            fd = os.open(self._at(_LEDGER), flags, 0o600, dir_fd=self.fd)
            with open(fd, "wb") as file:
                file.write(array("q", [size]).tobytes())
        except OSError:
            self._quietly(os.unlink, self._at(_LEDGER), dir_fd=self.fd)  # it would be wrong from now on

    def discard(self, key: str) -> None:
        """Remove an entry."""
        self._quietly(os.unlink, self._at(key + _SUFFIX), dir_fd=self.fd)

    def trim(self) -> None:
        """Remove what was not used for longest until nine tenths of the bound are left, and abandoned files."""
        try:
            names = os.listdir(self.folder if self.fd is None else self.fd)
        except OSError:
            return
        found, now = [], time.time()
        for name in names:
            try:
                status = os.stat(self._at(name), dir_fd=self.fd, follow_symlinks=False)
            except OSError:
                continue
            if name.endswith(_TEMPORARY) and now - status.st_mtime > _HOUR:
                self._quietly(os.unlink, self._at(name), dir_fd=self.fd)
            elif name.endswith(_SUFFIX):
                found.append((status.st_mtime, status.st_size, name))
        total = sum(size for _, size, _ in found)
        if total > self.limit:
            for _, size, name in sorted(found):
                if total <= self.limit * 9 // 10:
                    break
                self._quietly(os.unlink, self._at(name), dir_fd=self.fd)
                total -= size
        self.size = total
        self.count(total, anew=True)

    def _quietly(self, call, *args, **kwargs) -> None:  # type: ignore[no-untyped-def]
        try:
            call(*args, **kwargs)
        except OSError:
            pass


def _check_folder(status: os.stat_result) -> None:
    """OSError if the folder is not a folder of this user's, closed to others."""
    if stat.S_ISLNK(status.st_mode) or not stat.S_ISDIR(status.st_mode):
        raise OSError("it is not a folder")
    if hasattr(os, "geteuid"):
        if status.st_uid != os.geteuid():
            raise OSError("the folder belongs to another user")
        if status.st_mode & 0o077:
            raise OSError(f"the folder is open to others (mode {stat.S_IMODE(status.st_mode):o}, not 700)")


def _is_own_file(status: os.stat_result) -> bool:
    own = not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
    return own and stat.S_ISREG(status.st_mode)


_open: dict[str, Cache] = {}


def current() -> Cache | None:
    """The cache that the flags ask for (`cache_dir`, `cache_size`, `no_cache`)."""
    if config.no_cache or not config.cache_dir or not config.cache_size:
        return None
    cache = _open.get(config.cache_dir)
    if cache is None:
        cache = _open[config.cache_dir] = Cache(config.cache_dir, config.cache_size)
    cache.limit = config.cache_size
    return cache
