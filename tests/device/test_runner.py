"""Native programs: order, parameters, the error record, slices, frames, the cost of a call."""

import ctypes
import struct
import time

import pytest
from native_kernels import Steps, kernel

from flambeau import config
from flambeau.device import native, threads
from flambeau.device.base import pack_values
from flambeau.device.pool import POOL
from flambeau.device.runner import NativeProgram


@pytest.fixture
def restore():
    before, slice_ms = threads.get_num_threads(), config.slice_ms
    yield
    threads.set_num_threads(before)
    config.set("slice_ms", slice_ms)


def test_an_empty_program():
    program = NativeProgram([], 1)
    assert program.run(program.take()) == -1


def test_entries_run_in_order_on_the_right_slots():
    for count in (1, 2, 7):
        assert Steps(count, parts=1).check()


@pytest.mark.parametrize("parts", [1, 8])
@pytest.mark.parametrize("at", [0, 3, 5])
def test_a_failed_check_stops_the_program(restore, parts, at):
    threads.set_num_threads(2)
    counts = (ctypes.c_int64 * 64)()
    entries = [(kernel("mark"), [1], 1, False)] * 6
    entries[at] = (kernel("fail"), [2], parts, False)
    program = NativeProgram(entries, 3)
    frame = program.take()
    pack_values(frame, [ctypes.addressof(counts), 42])
    assert program.run(frame) == at
    assert frame.error[:2] == (42, 7)
    assert counts[0] == at
    pack_values(frame, [0], slot=2)  # code 0: no error, and the record of the last run is forgotten
    assert program.run(frame) == -1
    assert frame.error[0] == 0
    assert counts[0] == at + 5


def test_frames_are_reused_and_independent():
    program = NativeProgram([(kernel("mark"), [1], 1, False)], 2)
    first, second = program.take(), program.take()
    assert first.address != second.address
    counts = [(ctypes.c_int64 * 64)() for _ in range(2)]
    for frame, count in zip((first, second), counts, strict=True):
        pack_values(frame, [ctypes.addressof(count)])
    program.run(first)
    program.run(second)
    program.run(second)
    assert (counts[0][0], counts[1][0]) == (1, 2)
    program.give(first)
    assert program.take() is first


def test_values_are_the_bits_of_the_table():
    program = NativeProgram([], 4)
    frame = program.take()
    pack_values(frame, [-5, 0.5, 1 << 40])
    assert struct.unpack_from("=qdq", frame.table, 8) == (-5, 0.5, 1 << 40)
    assert struct.unpack_from("=q", frame.table, 0)[0] == frame.address + native.ERROR


def test_slots_outside_the_table_are_refused():
    for where in ([3], [-1]):
        with pytest.raises(ValueError, match="outside the table"):
            NativeProgram([(kernel("mark"), where, 1, False)], 3)


@pytest.mark.parametrize(("count", "parts"), [(1, 2), (2, 2), (2, 1)])
def test_slices_resume_where_they_stopped(restore, count, parts):
    threads.set_num_threads(count)
    config.set("slice_ms", 1)
    counts = (ctypes.c_int64 * 64)()
    entries = [(kernel("mark"), [1], 1, False), (kernel("busy"), [2], parts, False)] * 40
    program = NativeProgram(entries, 3)
    frame = program.take()
    pack_values(frame, [ctypes.addressof(counts), 1_000_000])
    POOL.start()
    assert POOL.run(frame.address) < -1  # it did stop in between
    counts[0] = 0
    assert program.run(frame) == -1
    assert counts[0] == 40
    pack_values(frame, [1], slot=2)
    counts[0] = 0
    assert program.run(frame) == -1
    assert counts[0] == 40


@pytest.mark.parametrize(("count", "parts"), [(1, 2), (2, 2), (2, 1)])
@pytest.mark.parametrize("slice_ms", [1, 1000])
def test_turns_come_one_after_the_other_and_are_counted_anew(restore, count, parts, slice_ms):
    threads.set_num_threads(count)
    config.set("slice_ms", slice_ms)
    counts, plain, turns = (ctypes.c_int64 * 8)(), (ctypes.c_int64 * 8)(), 100_000
    entries = [
        (kernel("turn"), [1, 2], parts, False, 1, (2, 3)),
        (kernel("mark"), [4], 1, False),
        (kernel("turn"), [5, 2], parts, False, 1, (2, 6)),
    ]
    program = NativeProgram(entries, 7)
    frame = program.take()
    one, two = ctypes.addressof(counts), ctypes.addressof(counts) + 16
    pack_values(frame, [one, 0, turns, ctypes.addressof(plain), two, 3])
    for run in range(1, 3):
        assert program.run(frame) == -1
        assert list(counts) == [
            turns,
            turns * min(count, parts) * run,
            3,
            3 * min(count, parts) * run,
            0,
            0,
            0,
            0,
        ]
        assert plain[0] == run
        counts[0] = counts[2] = 0


def test_an_interrupted_program_begins_with_the_first_turn(restore):
    threads.set_num_threads(1)
    config.set("slice_ms", 1)
    counts, turns = (ctypes.c_int64 * 8)(), 1_000_000
    program = NativeProgram([(kernel("turn"), [1, 2], 1, False, 1, (2, 3))], 4)
    frame = program.take()
    pack_values(frame, [ctypes.addressof(counts), 0, turns])
    run, POOL.run = POOL.run, interrupted
    try:
        with pytest.raises(KeyboardInterrupt):
            program.go_on(frame, run(frame.address))
    finally:
        POOL.run = run
    assert 0 < counts[0] < turns
    counts[0] = 0
    assert program.run(frame) == -1
    assert counts[0] == turns


def interrupted(_):
    raise KeyboardInterrupt


def test_costs(restore):
    """Generous bounds: an entry is a few nanoseconds, a call and a fork are a fraction of a microsecond."""
    threads.set_num_threads(2)

    def best(program, runs):
        frame, found = program.take(), []
        for _ in range(30):
            start = time.perf_counter()
            for _ in range(runs):
                program.run(frame)
            found.append((time.perf_counter() - start) / runs)
        return min(found) * 1e9

    empty = kernel("empty")
    assert best(NativeProgram([(empty, [], 1, False)] * 1000, 1), 1) / 1000 < 30
    assert best(NativeProgram([(empty, [], 2, False)] * 1000, 1), 1) / 1000 < 3000
    assert best(NativeProgram([(empty, [], 1, False)], 1), 100) < 3000
