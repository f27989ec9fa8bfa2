"""The caching allocator: alignment, slack, reuse, accounting, running out, threads, forks, the end of the process."""

import ctypes
import gc
import os
import random
import subprocess
import sys
import threading
from itertools import pairwise

import pytest

from flambeau import config
from flambeau.device import memory
from flambeau.errors import OutOfMemoryError

SIZES = [
    0,
    1,
    63,
    64,
    65,
    960,
    961,
    4000,
    65535,
    65536,
    200_000,
    262_144,
    1 << 20,
    (2 << 20) - 64,
    2 << 20,
    5_000_000,
]


@pytest.fixture
def limit():
    yield
    config.set("memory_limit", 0)


@pytest.mark.parametrize("nbytes", SIZES)
def test_alignment_and_slack(nbytes):
    block = memory.alloc(nbytes)
    assert block.nbytes == nbytes
    assert block.ptr % 64 == 0
    ctypes.memset(block.ptr, 1, nbytes)
    ctypes.string_at(block.ptr + nbytes, memory.SLACK)


@pytest.mark.parametrize("nbytes", SIZES)
def test_reuse(nbytes):
    first = memory.alloc(nbytes)
    address = first.ptr
    del first
    second = memory.alloc(nbytes)
    assert second.ptr == address
    raw = memory.alloc_ptr(nbytes)
    memory.free_ptr(raw, nbytes)
    assert memory.alloc(nbytes).ptr == raw


def test_blocks_do_not_overlap():
    rng = random.Random(1)
    held = {}
    for step in range(3000):
        if held and rng.random() < 0.45:
            ptr, nbytes, byte, raw = held.pop(rng.choice(list(held)))
            assert ctypes.string_at(ptr, nbytes) == bytes([byte]) * nbytes
            if raw is None:
                memory.free_ptr(ptr, nbytes)
        else:
            nbytes = int(2 ** rng.uniform(0, 17))
            raw = memory.alloc(nbytes) if rng.random() < 0.5 else None
            ptr = raw.ptr if raw else memory.alloc_ptr(nbytes)
            ctypes.memset(ptr, step % 256, nbytes)
            held[step] = (ptr, nbytes, step % 256, raw)
    for ptr, nbytes, byte, raw in held.values():
        assert ctypes.string_at(ptr, nbytes) == bytes([byte]) * nbytes
        if raw is None:
            memory.free_ptr(ptr, nbytes)


def test_every_class_is_a_fixed_point():
    for nbytes in [*range(1, 3000), *(int(2 ** (k / 7)) for k in range(70, 220))]:
        size = memory._class_of(nbytes)
        assert size % 64 == 0
        assert size >= nbytes + memory.SLACK
        assert memory._class_of(size - memory.SLACK) == size
        assert size <= nbytes * (1.13 if nbytes < memory.COUNTED else 1.04) + 128


def test_rests_of_slabs_are_classes():
    before = {size: len(home) for size, home in memory._classes.items()}
    room = memory.alloc(60_000)
    base = (room.ptr + 63) & -64
    memory._keep_rest(base, base + 55_040)
    pieces = []
    for size, home in memory._classes.items():
        for _ in range(len(home) - before.get(size, 0)):
            pieces.append((home.pop(), size))
    assert sum(size for _, size in pieces) > 55_040 - 128
    assert all(memory._class_of(size - memory.SLACK) == size for _, size in pieces)


def test_live_and_peak():
    gc.collect()
    memory.reset_peak()
    start = memory.memory_stats()
    blocks = [memory.alloc(1 << 20) for _ in range(3)]
    raw = memory.alloc_ptr(3 << 20)
    assert memory.memory_stats()["counted"] == start["counted"] + (6 << 20)
    blocks.clear()
    memory.free_ptr(raw, 3 << 20)
    end = memory.memory_stats()
    assert end["counted"] == start["counted"]
    assert end["live"] == start["live"]
    assert end["peak"] == start["counted"] + (6 << 20)
    memory.reset_peak()
    assert memory.memory_stats()["peak"] == start["counted"]


def test_empty_cache_gives_back_what_is_free_only():
    keep = memory.alloc(1000)
    ctypes.memset(keep.ptr, 7, 1000)
    many = [memory.alloc(30_000) for _ in range(300)] + [memory.alloc(700_000) for _ in range(60)]
    large = memory.alloc(9 << 20)
    full = memory.memory_stats()["mapped"]
    del many, large
    memory.empty_cache()
    after = memory.memory_stats()
    assert after["mapped"] < full - (40 << 20)
    assert ctypes.string_at(keep.ptr, 1000) == b"\7" * 1000
    again = [memory.alloc(30_000) for _ in range(300)]
    assert len({block.ptr for block in again}) == 300


def test_a_larger_cached_block_serves_a_smaller_request():
    memory.empty_cache()
    block = memory.alloc(90 << 20)
    address = block.ptr
    del block
    smaller = memory.alloc(80 << 20)
    assert smaller.ptr == address
    del smaller
    assert memory.alloc(90 << 20).ptr == address


def test_out_of_memory_releases_the_cache_then_says_what_is_held(limit):
    gc.collect()
    memory.empty_cache()
    config.set("memory_limit", memory.memory_stats()["mapped"] + (64 << 20))
    first = memory.alloc(40 << 20)
    del first
    second = memory.alloc(1 << 20)
    third = memory.alloc(60 << 20)  # only after the 40 MiB were given back
    with pytest.raises(
        OutOfMemoryError, match=r"asked for 100.00 MiB, tensors hold .* MiB of at most"
    ) as info:
        memory.alloc(100 << 20)
    assert isinstance(info.value, RuntimeError)
    del second, third
    memory.alloc(60 << 20)


def test_freed_neighbours_serve_a_larger_block():
    gc.collect()
    memory.empty_cache()
    memory.alloc(30 << 20)
    mapped = memory.memory_stats()["mapped"]
    blocks = [memory.alloc(n) for n in (3 << 20, 5 << 20, 100_000, 20 << 20)]
    tags = [ctypes.memset(b.ptr, k, b.nbytes) for k, b in enumerate(blocks)]
    assert len(set(tags)) == 4
    keep = blocks.pop()
    del blocks
    again = memory.alloc(8 << 20)
    assert memory.memory_stats()["mapped"] == mapped
    assert again.ptr + again.nbytes <= keep.ptr or again.ptr >= keep.ptr + keep.nbytes
    assert ctypes.string_at(keep.ptr, keep.nbytes) == b"\3" * keep.nbytes


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_trim_gives_pages_back_and_keeps_what_is_used():
    blocks = [memory.alloc(1 << 20) for _ in range(60)]
    for k, block in enumerate(blocks):
        ctypes.memset(block.ptr, k, block.nbytes)
    kept = blocks[::6]
    del blocks, block
    before = resident()
    memory.trim()
    assert resident() < before - (15 << 20)
    for k, block in enumerate(kept):
        assert ctypes.string_at(block.ptr, block.nbytes) == bytes([6 * k]) * block.nbytes


def test_blocks_of_other_sizes_take_the_place_of_those_that_were_freed():
    """Blocks that waited by size would hold half of the space while the other half is asked for."""
    sizes, orders = random.Random(3), random.Random(4)
    memory.empty_cache()
    start, most = memory.memory_stats()["mapped"], 40 << 20
    for _ in range(20):
        held, total = [], 0
        while (nbytes := sizes.randrange(65536, 4_000_000)) + total <= most:
            held.append(memory.alloc(nbytes))
            total += nbytes
        orders.shuffle(held)
        del held[::2]
        held.clear()
    grown = memory.memory_stats()["mapped"] - start
    assert grown <= most + 2 * memory._REGION


def test_a_block_that_was_just_freed_is_taken_again():
    several = [memory.alloc(n) for n in (100_000, 200_000, 300_000)]
    places = {block.nbytes: block.ptr for block in several}
    several.clear()
    for nbytes in (200_000, 100_000, 300_000):
        several.append(memory.alloc(nbytes))
        assert several[-1].ptr == places[nbytes]


def test_pieces_are_known_by_size_start_and_end():
    rng = random.Random(5)
    held = []
    for _ in range(2000):
        held.append(memory.alloc(rng.randrange(65536, 2_000_000)))
        if len(held) > 30:
            del held[rng.randrange(30)]
    memory.trim()
    assert sorted((n, p) for p, n in memory._starts.items()) == memory._pieces
    assert {p + n: p for n, p in memory._pieces} == memory._ends
    assert not [end for end in memory._ends if end in memory._starts and end not in memory._mappings]
    used = [(block.ptr, block.ptr + block.nbytes + memory.SLACK) for block in held]
    spans = sorted(used + [(p, p + n) for n, p in memory._pieces])
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))


def test_absurd_sizes():
    for nbytes in (1 << 50, 1 << 70):
        with pytest.raises(OutOfMemoryError):
            memory.alloc(nbytes)


def test_threads():
    failures = []

    def work(seed):
        rng = random.Random(seed)
        held = []
        for i in range(4000):
            nbytes = rng.choice((16, 400, 5000, 70_000))
            block = memory.alloc(nbytes)
            tag = seed << 32 | i
            ctypes.c_int64.from_address(block.ptr).value = tag
            held.append((block, tag))
            if len(held) > 30:
                block, tag = held.pop(rng.randrange(30))
                if ctypes.c_int64.from_address(block.ptr).value != tag:
                    failures.append(tag)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(1, 5)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failures == []


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_has_its_own_copy():
    block = memory.alloc(100)
    ctypes.memset(block.ptr, 1, 100)
    child = os.fork()
    if not child:
        ctypes.memset(block.ptr, 2, 100)
        memory.alloc(3 << 20)
        os._exit(0 if ctypes.string_at(block.ptr, 1) == b"\2" else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert ctypes.string_at(block.ptr, 100) == b"\1" * 100


def test_finalisers_at_the_end_of_the_process():
    code = """
import builtins
from flambeau.device import memory
builtins.kept = [memory.alloc(n) for n in (10, 100_000, 4 << 20)]
class Late:
    def __init__(self): self.block, self.raw = memory.alloc(50), memory.alloc_ptr(70_000)
    def __del__(self, free=memory.free_ptr): free(self.raw, 70_000)
builtins.late = Late()
builtins.late.me = builtins.late
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_steady_use_maps_nothing_new():
    def step():
        blocks = [memory.alloc(n) for n in (100, 3000, 90_000, 900_000, 3 << 20)]
        for block in blocks:
            ctypes.memset(block.ptr, 1, block.nbytes)

    for _ in range(5):
        step()
    mapped, before = memory.memory_stats()["mapped"], resident()
    for _ in range(500):
        step()
    assert memory.memory_stats()["mapped"] == mapped
    assert resident() - before < 1 << 20
