"""The caching allocator of host memory: blocks are reused, their pages are never given back unasked.

Every block is 64-byte aligned and may be read 64 bytes past its end. All come from regions, which are mapped in huge
pages where the system has them. Free blocks of one size class wait on one list; list.pop and list.append are atomic, so
the usual way needs no lock and a finaliser may free at any time. These blocks are carved from slabs.
Blocks of 64 KiB and more wait on one list for the next request: one of its size takes one of the last there, if it is
below 1 MiB. For any other, all of them are put together with their neighbours, and it is cut from the smallest free
piece that is large enough; only then is memory taken that was never used. Blocks that waited by size would keep the
space between them: a step whose sequence changes once would need a fifth more memory than it holds.
"""

from __future__ import annotations

import bisect
import ctypes
import mmap
import os
import threading
from typing import Any

from .. import config
from ..errors import OutOfMemoryError, TooLargeError, fail
from ..heap import for_ever
from . import limits

ALIGN = 64
SLACK = 64  # readable bytes after the end of every block
HUGE = 2 << 20
COUNTED = 64 << 10  # blocks of this size and more are counted one by one (live and peak bytes)
_SLAB = 512 << 10
_REGION = 16 << 20  # the least that is mapped at once; an eighth of what is mapped already, if that is more
_SMALL_PAGES = 4 << 20  # at the start of the first region: a small program does not pay for huge pages
_SPARE = 512 << 20  # cached bytes that are kept at least, whatever the sizes asked for
_HOT = 1 << 20  # below this size a block that was just freed may still be in a cache of the processor

_lists: dict[int, list[int]] = {}  # bytes asked for -> the free list of its size class; only below COUNTED
_sizes: dict[int, int] = {}  # bytes asked for -> size of the class; only from COUNTED on
_classes: dict[int, list[int]] = {}  # size of the class -> its free list; of small blocks
_held: dict[int, int] = {}  # address -> size of counted blocks, in use or freed since pieces were last joined
_freed: list[int] = []  # addresses of the latter
_pieces: list[tuple[int, int]] = []  # (size, address) of what else is free, in order; none next to another
_starts: dict[int, int] = {}  # address -> size of the same
_ends: dict[int, int] = {}  # end -> address
_mappings: dict[int, tuple[mmap.mmap, int]] = {}  # address -> mapping and usable bytes of a region
_fresh = [0, 0]  # of the newest region: the first address that was never used, the end
_slabs: set[int] = set()  # addresses
_slab = [0, 0]  # of the present one: next free address, end
# address -> size of counted blocks of memory never used before, since somebody asked last
_new: dict[int, int] = {}
_counts = [0, 0]  # bytes of live counted blocks, their peak
_mapped = [0]  # bytes
_busy: list[bool] = []
_lock = threading.RLock()
BEFORE_UNMAPPING: list[Any] = []  # what sees to it that no thread touches memory that is free (paging.py)
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
    return _CountedBlock(ptr, nbytes, _freed)


def alloc_ptr(nbytes: int, _lists: dict[int, list[int]] = _lists, _counts: list[int] = _counts) -> int:
    """The address of nbytes bytes, to be given back with `free_ptr(ptr, nbytes)`."""
    if nbytes < COUNTED:
        try:
            return _lists[nbytes].pop()
        except (KeyError, IndexError):
            _home(nbytes)
            return _carve(_class_of(nbytes))
    size = _sizes.get(nbytes) or _class_of(nbytes)
    ptr = (size < _HOT and _recent(size)) or _cut(nbytes, size)
    _held[ptr] = size
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
    _freed.append(ptr)


def _recent(size: int) -> int:
    """One of the four counted blocks that were freed last, if it has this size; else 0."""
    try:
        for k in (-1, -2, -3, -4):
            if _held.get(_freed[k]) == size:
                ptr = _freed.pop(k)
                if _held.get(ptr) == size:
                    return ptr
                _freed.append(ptr)  # another thread was faster
                return 0
    except IndexError:
        pass
    return 0


def _class_of(nbytes: int) -> int:
    """The size of the block that serves nbytes: in steps of 64 bytes up to 1 KiB, then of an eighth of an octave, for
    counted blocks of a thirty-second, at most of 4 KiB."""
    size = (max(nbytes, 1) + SLACK + ALIGN - 1) & -ALIGN
    if size <= 1024:
        return size
    step = 1 << ((size - 1).bit_length() - (4 if nbytes < COUNTED else 6))
    step = min(step, 4096) if nbytes >= COUNTED else step
    size = (size + step - 1) & -step
    if nbytes >= COUNTED:
        if len(_sizes) >= 1 << 16:
            _sizes.clear()
        _sizes[nbytes] = size
    return size


def free_list(nbytes: int) -> list[int] | None:
    """The list from which `alloc(nbytes)` takes small blocks, always the same one; None for counted blocks."""
    if nbytes >= COUNTED:
        return None
    home = _lists.get(nbytes)
    return _home(nbytes) if home is None else home


def _home(nbytes: int) -> list[int]:
    """The free list that serves nbytes (below COUNTED), remembered for the next time."""
    if len(_lists) >= 1 << 16:
        _lists.clear()
    home = _lists[nbytes] = _classes.setdefault(_class_of(nbytes), [])
    return home


def _carve(size: int) -> int:
    """A new small block, cut from the present slab."""
    while True:
        with _lock:  # no call inside: a finaliser or signal handler that comes between sees whole values
            ptr = _slab[0]
            if ptr + size <= _slab[1]:
                _slab[0] = ptr + size
                return ptr
        start = _cut(size, _SLAB)
        with _lock:
            rest, _slab[:] = tuple(_slab), (start, start + _SLAB)
        _slabs.add(start)
        _keep_rest(*rest)


def _keep_rest(ptr: int, end: int) -> None:
    """Put what is left of a full slab on the free lists, in the largest pieces that are a class."""
    while end - ptr >= 2 * ALIGN:
        size = min(end - ptr, COUNTED)
        if size > 1024:
            size &= -(1 << (size.bit_length() - 4))
        _classes.setdefault(size, []).append(ptr)
        ptr += size


def _cut(nbytes: int, size: int) -> int:
    """A block of this size from the smallest free piece that is large enough, or from a new region."""
    with _lock:
        if _busy:  # a finaliser wants memory while pieces are in flux
            ptr = _map(size, nbytes, keep=True)
            if rest := _mappings[ptr][1] - size:
                _held[ptr + size] = rest
                _freed.append(ptr + size)
            return ptr
        _busy.append(True)
        try:
            _join()
            ptr = _fitting(size)
            if not ptr:
                ptr = _unused(size) or _grown(nbytes, size)
                _new[ptr] = size
        finally:
            _busy.pop()
        return ptr


def _fitting(size: int) -> int:
    """The start of the smallest piece that is large enough, cut off; 0 if there is none."""
    at = bisect.bisect_left(_pieces, (size, 0))
    if at == len(_pieces):
        return 0
    found, ptr = _pieces.pop(at)
    del _starts[ptr]
    if found > size:
        bisect.insort(_pieces, (found - size, ptr + size))
        _starts[ptr + size], _ends[ptr + found] = found - size, ptr + size
    else:
        del _ends[ptr + found]
    return ptr


def _join() -> None:
    """Put all that was freed together with its neighbours."""
    for ptr in _take_all(_freed):
        _add(ptr, _held.pop(ptr))


def _add(ptr: int, size: int) -> None:
    """A free piece, with the free neighbours that lie in its region."""
    end = ptr + size
    if ptr in _ends and ptr not in _mappings:
        ptr = _ends[ptr]
        _remove(ptr)
    if end in _starts and end not in _mappings:
        end += _starts[end]
        _remove(_ends[end])
    bisect.insort(_pieces, (end - ptr, ptr))
    _starts[ptr], _ends[end] = end - ptr, ptr


def _remove(ptr: int) -> None:
    """A piece is free no more, or part of another."""
    size = _starts.pop(ptr)
    del _ends[ptr + size]
    _pieces.pop(bisect.bisect_left(_pieces, (size, ptr)))


def _unused(size: int) -> int:
    """A block that ends in memory that was never used; 0 if there is none."""
    start, end = _fresh
    ptr = _ends.get(start, start) if start not in _mappings else start
    if ptr + size > end:
        return 0
    if ptr < start:
        _remove(ptr)
    _fresh[0] = ptr + size
    return ptr


def _grown(nbytes: int, size: int) -> int:
    """A block at the start of a new region."""
    if sum(n for n, _ in _pieces) > max(_SPARE, _counts[0]):
        _release_regions()
    least = (size + HUGE - 1) & -HUGE
    usual = max(_REGION, (_mapped[0] >> 3) & -HUGE)
    limit = config.memory_limit or limits.memory()
    if least < usual and (not limit or _mapped[0] + 2 * usual <= limit):
        least = usual
    ptr = _region(least, nbytes)
    _fresh[0] += size
    return ptr


def _region(size: int, asked: int) -> int:
    """What is never used is a new region from now on; what was left of the last one is a piece."""
    ptr = _map(size, asked)
    if _fresh[0] < _fresh[1]:
        _add(_fresh[0], _fresh[1] - _fresh[0])
    _fresh[:] = ptr, ptr + size
    return ptr


def new_blocks(least: int) -> list[tuple[int, int]]:
    """The counted blocks that nobody had before and that were taken since this was asked last, as (start, end) in
    order; nothing if they are smaller than `least` together."""
    with _lock:
        found = sorted(_new.items())
        _new.clear()
    return [(start, start + size) for start, size in found] if sum(n for _, n in found) >= least else []


def unused(nbytes: int, least: int) -> list[tuple[int, int]]:
    """What of nbytes that will be taken next was never used, as (start, end); nothing if that is less than `least`, or
    where memory is limited: a region for each large block leaves no pieces that nothing fits into."""
    with _lock:
        if _busy or config.memory_limit:
            return []
        _busy.append(True)
        try:
            _join()
            need = nbytes - sum(size for size, _ in _pieces)
            start, end = _fresh
            more = (start + need - end + HUGE - 1) & -HUGE
            limit = limits.memory()
            if need < least or (limit and _mapped[0] + max(more, 0) > limit):
                return []
            areas = [(start, min(end, start + need))]
            if more > 0:
                _region(more, more)
                areas.append((_fresh[0], _fresh[1]))
            return [(start, end) for start, end in areas if start < end]
        finally:
            _busy.pop()


def _map(size: int, asked: int, keep: bool = False) -> int:
    """The address of a new region of `size` bytes (to a multiple of HUGE), aligned to HUGE."""
    size = (size + HUGE - 1) & -HUGE
    limit = config.memory_limit or limits.memory()
    for attempt in (0, 1):
        if not limit or _mapped[0] + size <= limit:
            try:
                return _mapping(size)
            except (OSError, ValueError, OverflowError, MemoryError):
                pass
        if not attempt and not keep:
            _release()
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
    for_ever(area)
    base = ctypes.addressof(ctypes.c_char.from_buffer(area))
    ptr = (base + HUGE - 1) & -HUGE
    if config.huge_pages and hasattr(mmap, "MADV_HUGEPAGE"):
        try:
            skip = 0 if _mappings else min(_SMALL_PAGES, size)
            area.madvise(mmap.MADV_HUGEPAGE, ptr - base + skip, size - skip)
        except OSError:  # a kernel without them
            pass
    with _lock:
        _mappings[ptr] = (area, size)
        _mapped[0] += size
    return ptr


def _unmap(ptr: int) -> None:
    for call in BEFORE_UNMAPPING:
        call()
    area, size = _mappings.pop(ptr)
    area.close()
    with _lock:
        _new.clear()  # what is mapped there next may be smaller
        _mapped[0] -= size


def _take_all(home: list[int]) -> list[int]:
    """Empty a free list while other threads use it."""
    taken = []
    while True:
        try:
            taken.append(home.pop())
        except IndexError:
            return taken


def _release() -> None:
    """Unmap what no tensor uses; pages of free pieces inside of regions are given back."""
    _release_slabs()
    if _fresh[0] < _fresh[1]:
        _add(_fresh[0], _fresh[1] - _fresh[0])
        _fresh[:] = 0, 0
    _join()
    _release_regions()
    _drop_pages()


def _drop_pages() -> None:
    """Give the pages of free pieces back, huge ones only: one that is cut is no huge page any more."""
    if not hasattr(mmap, "MADV_DONTNEED"):
        return
    for size, ptr in _pieces:
        area = next(area for start, (area, length) in _mappings.items() if start <= ptr < start + length)
        first, last = (ptr + HUGE - 1) & -HUGE, (ptr + size) & -HUGE
        if last > first:
            base = ctypes.addressof(ctypes.c_char.from_buffer(area))
            area.madvise(mmap.MADV_DONTNEED, first - base, last - first)


def trim() -> None:
    """Give pages that are not used now back: what comes will want blocks of other sizes."""
    with _lock:
        if not _busy:
            _busy.append(True)
            try:
                _join()
                _drop_pages()
            finally:
                _busy.pop()


def _release_regions() -> None:
    """Unmap the regions that are one free piece."""
    whole = [(size, ptr) for size, ptr in _pieces if ptr in _mappings and _mappings[ptr][1] == size]
    for _, ptr in whole:
        _remove(ptr)
        _unmap(ptr)


def _release_slabs() -> None:
    """Make pieces of the slabs none of whose blocks is in use; the present one stays."""
    left = dict.fromkeys(_slabs, _SLAB)
    starts = sorted(_slabs)
    blocks: dict[int, list[tuple[int, list[int]]]] = {}
    for size, home in list(_classes.items()):
        for ptr in _take_all(home):
            start = starts[bisect.bisect(starts, ptr) - 1]
            blocks.setdefault(start, []).append((ptr, home))
            left[start] -= size
    for start, found in blocks.items():
        if left[start] < 2 * ALIGN and start + _SLAB != _slab[1]:
            _slabs.discard(start)
            _add(start, _SLAB)
        else:
            for ptr, home in found:
                home.append(ptr)


def empty_cache() -> None:
    """Give memory that no tensor uses back to the operating system."""
    with _lock:
        if not _busy:
            _busy.append(True)
            try:
                _release()
            finally:
                _busy.pop()


def memory_stats() -> dict[str, int]:
    """Bytes: live (in use), cached (free, kept), mapped (all); counted, peak: blocks from 64 KiB on, now and most."""
    cached = sum(size * len(home) for size, home in list(_classes.items()))
    cached += sum(_held.get(ptr, 0) for ptr in list(_freed))
    cached += sum(size for size, _ in list(_pieces)) + _slab[1] - _slab[0] + _fresh[1] - _fresh[0]
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
