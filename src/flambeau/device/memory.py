"""The caching allocator of host memory: blocks are reused, their pages are never given back unasked.

Every block is 64-byte aligned and may be read 64 bytes past its end. Small blocks are carved from slabs, blocks of
2 MiB and more have a mapping of their own, aligned to 2 MiB, in huge pages where the system has them. Free blocks of
one size class wait on one list; list.pop and list.append are atomic, so the usual way needs no lock and a finaliser
may free at any time.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
from typing import Any

from .. import config
from ..errors import OutOfMemoryError, TooLargeError, fail
from . import limits

ALIGN = 64
SLACK = 64  # readable bytes after the end of every block
HUGE = 2 << 20
COUNTED = 64 << 10  # blocks of this size and more are counted one by one (live and peak bytes)
_MIDDLE = 256 << 10  # blocks of this size and more come from the larger slabs
_SPARE = 512 << 20  # cached bytes that are kept at least, whatever the sizes asked for

_lists: dict[int, list[int]] = {}  # bytes asked for -> the free list of its size class; only below COUNTED
_sizes: dict[int, int] = {}  # bytes asked for -> size of the class; only from COUNTED on
_classes: dict[int, list[int]] = {}  # size of the class -> its free list
_mappings: dict[
    int, tuple[mmap.mmap, int]
] = {}  # address -> mapping and usable bytes, of slabs and large blocks
_large: dict[int, int] = {}  # address of a large block -> its size
_slabs: dict[bool, list[int]] = {
    False: [0, 0],
    True: [0, 0],
}  # is it a larger one -> [next free address, end]
_counts = [0, 0]  # bytes of live counted blocks, their peak
_mapped = [0, 0]  # bytes mapped: in all, in slabs
_lock = threading.RLock()
DESCRIBE: list[Any] = []  # what says which tensors hold the memory (stream/live.py)


class Block:
    """Memory: ptr, nbytes. It goes back to the cache when the object dies."""

    __slots__ = ("_home", "nbytes", "ptr")

    def __init__(self, ptr: int, nbytes: int, home: list[int]):
        self.ptr, self.nbytes, self._home = ptr, nbytes, home

    def __del__(self) -> None:
        self._home.append(self.ptr)

    def __repr__(self) -> str:
        return f"Block({self.ptr:#x}, {self.nbytes})"


class _CountedBlock(Block):
    __slots__ = ()

    def __del__(self, _counts: list[int] = _counts) -> None:
        _counts[0] -= self.nbytes
        self._home.append(self.ptr)


def alloc(nbytes: int, _lists: dict[int, list[int]] = _lists) -> Block:
    """A block of nbytes, contents undefined; OutOfMemoryError if there is none even after the cache was given back."""
    if nbytes < COUNTED:
        try:
            home = _lists[nbytes]
            return Block(home.pop(), nbytes, home)
        except (KeyError, IndexError):
            ptr = _carve(_class_of(nbytes))
            return Block(ptr, nbytes, _home(nbytes))
    ptr = alloc_ptr(nbytes)
    return _CountedBlock(ptr, nbytes, _home_of_counted(ptr, nbytes))


def alloc_ptr(nbytes: int, _lists: dict[int, list[int]] = _lists, _counts: list[int] = _counts) -> int:
    """The address of nbytes bytes, to be given back with `free_ptr(ptr, nbytes)`."""
    if nbytes < COUNTED:
        try:
            return _lists[nbytes].pop()
        except (KeyError, IndexError):
            _home(nbytes)
            return _carve(_class_of(nbytes))
    size = _sizes.get(nbytes) or _class_of(nbytes)
    try:
        ptr = _classes[size].pop()
    except (KeyError, IndexError):
        ptr = _reuse_or_map(nbytes, size) if size >= HUGE else _carve(size)
    _counts[0] += nbytes
    if _counts[0] > _counts[1]:
        _counts[1] = _counts[0]
    return ptr


def free_ptr(
    ptr: int,
    nbytes: int,
    _lists: dict[int, list[int]] = _lists,
    _counts: list[int] = _counts,
) -> None:
    """Give back what `alloc_ptr(nbytes)` gave. Safe in a finaliser; bind it as a default argument there."""
    if nbytes < COUNTED:
        try:
            _lists[nbytes].append(ptr)
        except KeyError:
            _home(nbytes).append(ptr)
        return
    _counts[0] -= nbytes
    _home_of_counted(ptr, nbytes).append(ptr)


def _class_of(nbytes: int) -> int:
    """The size of the block that serves nbytes: in steps of 64 bytes up to 1 KiB, then of an eighth of an octave.

    Large blocks have their slack in the rest of their mapping.
    """
    size = (max(nbytes, 1) + SLACK + ALIGN - 1) & -ALIGN
    if size >= HUGE:
        size = max(nbytes, HUGE)
    elif size <= 1024:
        return size
    step = 1 << ((size - 1).bit_length() - 4)
    if size >= HUGE:
        step = max(step, HUGE)
    size = (size + step - 1) & -step
    if len(_sizes) >= 1 << 16:
        _sizes.clear()
    if nbytes >= COUNTED:
        _sizes[nbytes] = size
    return size


def free_list(nbytes: int) -> list[int] | None:
    """The list from which `alloc(nbytes)` takes small blocks, always the same one; None for counted blocks."""
    return _home(nbytes) if nbytes < COUNTED else None


def _home(nbytes: int) -> list[int]:
    """The free list that serves nbytes (below COUNTED), remembered for the next time."""
    if len(_lists) >= 1 << 16:
        _lists.clear()
    home = _lists[nbytes] = _classes.setdefault(_class_of(nbytes), [])
    return home


def _home_of_counted(
    ptr: int,
    nbytes: int,
    _large: dict[int, int] = _large,
    _sizes: dict[int, int] = _sizes,
    _classes: Any = _classes,
) -> list[int]:
    size = _large.get(ptr) or _sizes.get(nbytes) or _class_of(nbytes)
    home: list[int] = _classes.get(size)
    return home if home is not None else _classes.setdefault(size, [])


def _carve(size: int) -> int:
    """A new block of a class below HUGE, cut from the present slab."""
    slab = _slabs[size >= _MIDDLE]
    while True:
        with _lock:  # no call inside: a finaliser or signal handler that comes between sees whole values
            ptr = slab[0]
            if ptr + size <= slab[1]:
                slab[0] = ptr + size
                return ptr
        length = 8 * HUGE if size >= _MIDDLE else HUGE
        start = _map(length, size)
        with _lock:
            rest, slab[0], slab[1] = (slab[0], slab[1]), start, start + length
            _mapped[1] += length
        _keep_rest(*rest)


def _keep_rest(ptr: int, end: int) -> None:
    """Put what is left of a full slab on the free lists, in the largest pieces that are a class."""
    while end - ptr >= 2 * ALIGN:
        size = min(end - ptr, HUGE // 2)
        if size > 1024:
            size &= -(1 << (size.bit_length() - 4))
        _classes.setdefault(size, []).append(ptr)
        ptr += size


def _reuse_or_map(nbytes: int, size: int) -> int:
    """A large block: a cached one that is at most half again as large, else a new mapping."""
    for other in sorted(other for other in list(_classes) if size <= other <= size * 3 // 2):
        try:
            return _classes[other].pop()
        except IndexError:
            pass
    spare = sum(length * len(_classes.get(length, ())) for length in set(_large.values()))
    if spare > max(_SPARE, _counts[0]):
        _release_large()
    ptr = _map(size, nbytes)
    _large[ptr] = size
    return ptr


def _map(size: int, asked: int) -> int:
    """The address of `size` new bytes (a multiple of HUGE), aligned to HUGE, with slack behind them."""
    limit = config.memory_limit or limits.memory()
    for attempt in (0, 1):
        if not limit or _mapped[0] + size <= limit:
            try:
                return _mapping(size)
            except (OSError, ValueError, OverflowError, MemoryError):
                pass
        if not attempt:
            empty_cache()
    live = memory_stats()["live"]
    fail(
        TooLargeError if limit and size > limit else OutOfMemoryError,
        f"alloc: out of memory; asked for {readable(asked)}, tensors hold {readable(live)}"
        + (f" of at most {readable(limit)}" if limit else ""),
        "free tensors, use smaller batches, or raise FLAMBEAU_MEMORY_LIMIT"
        + "".join(call() for call in DESCRIBE),
    )


def _mapping(size: int) -> int:
    """Map memory that is private to the process (a child gets a copy) and never unmapped as the interpreter ends."""
    length = size + HUGE
    if os.name == "nt":
        area = mmap.mmap(-1, length)
    else:
        area = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    ctypes.pythonapi.Py_IncRef(
        ctypes.py_object(area)
    )  # daemon threads may run in it until the process is gone
    base = ctypes.addressof(ctypes.c_char.from_buffer(area))
    ptr = (base + HUGE - 1) & -HUGE
    if config.huge_pages and hasattr(mmap, "MADV_HUGEPAGE"):
        try:
            area.madvise(mmap.MADV_HUGEPAGE, ptr - base, size)
        except OSError:  # a kernel without them
            pass
    with _lock:
        _mappings[ptr] = (area, size)
        _mapped[0] += size
    return ptr


def _unmap(ptr: int) -> None:
    area, size = _mappings.pop(ptr)
    area.close()
    with _lock:
        _mapped[0] -= size


def _take_all(home: list[int]) -> list[int]:
    """Empty a free list while other threads use it."""
    taken = []
    while True:
        try:
            taken.append(home.pop())
        except IndexError:
            return taken


def _release_large() -> None:
    for size in set(_large.values()):
        for ptr in _take_all(_classes.get(size, [])):
            del _large[ptr]
            _unmap(ptr)


def _release_slabs() -> None:
    """Unmap the slabs none of whose blocks is in use; the present ones stay."""
    present = [slab[1] for slab in _slabs.values()]
    slabs = {ptr: size for ptr, (_, size) in list(_mappings.items()) if ptr not in _large}
    pieces: dict[int, list[tuple[int, list[int]]]] = {}
    for size, home in list(_classes.items()):
        for ptr in _take_all(home):
            if ptr in _large:
                home.append(ptr)
                continue
            start = ptr & -HUGE
            while start not in slabs:
                start -= HUGE
            pieces.setdefault(start, []).append((ptr, home))
            slabs[start] -= size
    for start, blocks in pieces.items():
        length = _mappings[start][1]
        if slabs[start] < 2 * ALIGN and start + length not in present:
            _unmap(start)
            with _lock:
                _mapped[1] -= length
        else:
            for ptr, home in blocks:
                home.append(ptr)


def empty_cache() -> None:
    """Give memory that no tensor uses back to the operating system."""
    _release_large()
    _release_slabs()


def memory_stats() -> dict[str, int]:
    """Bytes: live (in use), cached (free, kept), mapped (all); counted, peak: blocks from 64 KiB on, now and most."""
    cached = sum(size * len(home) for size, home in list(_classes.items()))
    cached += sum(end - ptr for ptr, end in _slabs.values())
    mapped = _mapped[0]
    return {
        "live": mapped - cached,
        "cached": cached,
        "mapped": mapped,
        "counted": _counts[0],
        "peak": _counts[1],
    }


def reset_peak() -> None:
    """Begin the peak anew at what is live now."""
    _counts[1] = _counts[0]


def readable(nbytes: int) -> str:
    """A number of bytes for people."""
    for unit, scale in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if nbytes >= scale:
            return f"{nbytes / scale:.2f} {unit}"
    return f"{nbytes} bytes"


def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
