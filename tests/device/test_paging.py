"""Pages made ahead: those that will be written, without a change to what is in them, and never behind an unmapping."""

import os
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

BEGIN = """
import time
import flambeau as torch
from flambeau.device import limits, memory, paging

limits.available_cores = lambda: 2


def resident(start, end):
    total, inside = 0, False
    for line in open("/proc/self/smaps"):
        first = line.split()[0]
        if "-" in first and not first.endswith(":"):
            low, high = (int(x, 16) for x in first.split("-"))
            inside = low < end and start < high
        elif inside and first == "Rss:":
            total += int(line.split()[1]) << 10
    return total


def none(): return ()


def waited():
    with paging._idle:
        pass
"""


def run(body):
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + textwrap.dedent(body)],
        env={**os.environ, "PYTHONFAULTHANDLER": "1"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr


def test_what_comes_has_its_pages():
    run("""
        memory.empty_cache()
        paging.ahead(64 << 20, none)
        waited()
        start, end = memory._fresh
        assert end - start >= 32 << 20 and resident(start, end) >= 32 << 20
        block = memory.alloc(40 << 20)
        assert start <= block.ptr < end
        """)


def test_little_is_left_alone():
    run("""
        before = memory.memory_stats()["mapped"]
        paging.ahead(paging.LEAST - (4 << 20), none)
        assert memory.memory_stats()["mapped"] == before and not paging._idle.locked()
        """)


def test_blocks_that_are_written_as_a_whole():
    run("""
        x, y = torch.empty(16 << 18), torch.empty(16 << 18)
        begin = x.data_ptr()
        paging.ahead(0, lambda: {begin})
        waited()
        assert resident(begin, begin + (16 << 20)) >= 16 << 20
        """)


def test_a_new_sequence_says_what_it_writes():
    run("""
        calls = []
        paging.ahead = lambda nbytes, written: calls.append((nbytes, written()))
        x, part = torch.empty(1 << 20), torch.empty(1 << 20)
        x.fill_(1)
        part[5:].fill_(1)
        y = x + 1
        y.sum().item()
        (nbytes, written), = [call for call in calls if call[1]]
        assert nbytes >= 4 << 20 and written == {x.data_ptr()}
        """)


def test_values_stay_and_memory_may_go():
    run("""
        import ctypes, os
        for k in range(20):
            block = memory.alloc(24 << 20)
            memory._new[block.ptr] = 24 << 20
            start = block.ptr
            paging.ahead(16 << 20, lambda: {start})
            ctypes.memset(start, 7, 24 << 20)
            if k == 10:
                child = os.fork()
                if not child:
                    paging.ahead(16 << 20, none)
                    waited()
                    os._exit(0)
                assert os.waitpid(child, 0)[1] == 0
            if k % 2:
                waited()
                assert ctypes.string_at(start, 24 << 20) == bytes([7]) * (24 << 20)
            del block
            memory.empty_cache()
        """)


def test_the_process_may_end_meanwhile():
    run("""
        paging.ahead(256 << 20, none)
        """)


def test_memory_may_go_while_it_is_looked_for():
    run("""
        x = torch.empty(16 << 18)

        def written():
            paging.settle()  # as what unmaps does, on this thread
            return {x.data_ptr()}

        paging.ahead(16 << 20, written)
        assert not paging._idle.locked() and not paging._stop.value
        paging.ahead(16 << 20, none)
        waited()
        """)
