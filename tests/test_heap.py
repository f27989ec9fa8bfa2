"""Free pages of the C library's heap go back to the system."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from flambeau import heap


def resident() -> int:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmRSS"))
    return int(line.split()[1]) << 10


@pytest.mark.skipif(heap._trim() is None, reason="another C library than glibc")
def test_free_pages_below_one_that_is_in_use_go_back() -> None:
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    size, count = 100_000, 300
    blocks = [libc.malloc(ctypes.c_size_t(size)) for _ in range(count)]
    for block in blocks:
        ctypes.memset(block, 1, size)
    for block in blocks[:-1]:
        libc.free(block)
    before = resident()
    heap.release()
    assert resident() < before - size * count // 2
    libc.free(blocks[-1])


def test_another_c_library_keeps_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap, "_trim", lambda: None)
    heap.release()
