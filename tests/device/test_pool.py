"""The thread pool under stress: every part once, all writes seen, two callers, hogs, forks, resizing, a clean end."""

import ctypes
import multiprocessing
import os
import random
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from native_kernels import Steps, kernel, run_child

from flambeau.device import threads
from flambeau.device.pool import POOL
from flambeau.device.runner import NativeProgram


@pytest.fixture(autouse=True)
def restore():
    before = threads.get_num_threads()
    yield
    threads.set_num_threads(before)


def marks(program, frame, runs):
    counts = (ctypes.c_int64 * 64)()
    struct.pack_into("q", frame.table, 8, ctypes.addressof(counts))
    for _ in range(runs):
        assert program.run(frame) == -1
    return list(counts)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9])
def test_every_part_runs_once(count):
    threads.set_num_threads(count)
    program = NativeProgram([(kernel("mark"), [1], 64, True)] * 100, 2)
    runs = 3000 if count == 2 else 300  # a part taken twice is rare: it needs many chances
    found = marks(program, program.take(), runs)
    each = 100 * runs
    assert found == [each] * count + [0] * (63 - count) + [each]  # the last is the epilogue (tid = -1)


def test_no_more_parts_than_asked_for():
    threads.set_num_threads(6)
    program = NativeProgram([(kernel("mark"), [1], parts, False) for parts in (1, 2, 4)], 2)
    assert marks(program, program.take(), 10)[:7] == [30, 20, 10, 10, 0, 0, 0]


@pytest.mark.parametrize("count", [2, 4])
def test_writes_are_seen_by_the_next_entry(count):
    threads.set_num_threads(count)
    steps = Steps(300)
    assert all(steps.check() for _ in range(5))


@pytest.mark.parametrize("shared", [True, False])
def test_two_callers_at_once(shared):
    threads.set_num_threads(3)
    one = Steps(200)
    programs = [one, one, one] if shared else [Steps(200), Steps(201), Steps(7)]
    wrong = []

    def work(steps):
        for _ in range(8):
            if not steps.check():
                wrong.append(steps.count)

    callers = [threading.Thread(target=work, args=(steps,)) for steps in programs]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert wrong == []


def test_other_python_threads_run_meanwhile():
    program = NativeProgram([(kernel("busy"), [1], 1, False)], 2)
    frame = program.take()
    struct.pack_into("q", frame.table, 8, 50_000_000)
    counted, stop = [0], threading.Event()

    def count():
        while not stop.is_set():
            counted[0] += 1

    other = threading.Thread(target=count)
    other.start()
    before = counted[0]
    program.run(frame)
    during = counted[0] - before
    stop.set()
    other.join()
    assert during > 1000


def test_resizing_while_programs_run():
    steps, stop, wrong = Steps(100), threading.Event(), []

    def work():
        while not stop.is_set():
            if not steps.check():
                wrong.append(1)

    callers = [threading.Thread(target=work) for _ in range(2)]
    for caller in callers:
        caller.start()
    rng = random.Random(3)
    for _ in range(60):
        threads.set_num_threads(rng.randrange(1, 7))
        time.sleep(0.004)
    stop.set()
    for caller in callers:
        caller.join()
    assert wrong == []


def native_threads():
    return len(os.listdir("/proc/self/task"))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_threads_leave_when_there_are_too_many():
    steps = Steps(10)
    threads.set_num_threads(2)
    steps.check()
    time.sleep(0.05)
    few = native_threads()
    threads.set_num_threads(12)
    assert steps.check()
    many = native_threads()
    time.sleep(0.1)  # all of them sleep
    threads.set_num_threads(2)
    deadline = time.monotonic() + 5
    while native_threads() > few and time.monotonic() < deadline:
        time.sleep(0.01)
    assert many >= few + 10
    assert native_threads() <= few
    assert steps.check()


def test_a_hog_delays_but_does_not_break():
    threads.set_num_threads(2)
    steps = Steps(100)
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            assert steps.check()
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_fork_in_the_middle():
    threads.set_num_threads(3)
    steps, stop, wrong = Steps(100), threading.Event(), []

    def work():
        while not stop.is_set():
            if not steps.check():
                wrong.append(1)

    caller = threading.Thread(target=work)
    caller.start()
    try:
        for _ in range(12):
            time.sleep(random.random() * 0.003)
            child = os.fork()
            if not child:
                signal.alarm(20)
                good = not POOL.ready and steps.check() and POOL.ready and steps.check()
                os._exit(0 if good else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        caller.join()
    assert wrong == []
    assert steps.check()


def _in_worker(count):
    return Steps(count).check()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_multiprocessing_by_fork():
    assert Steps(50).check()
    with multiprocessing.get_context("fork").Pool(2) as workers:
        assert workers.map(_in_worker, [5, 60, 61]) == [True] * 3


def test_a_sleeping_pool_wakes():
    threads.set_num_threads(2)
    steps = Steps(40)
    for _ in range(5):
        time.sleep(0.01)
        assert steps.check()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("count", [2, 12])
def test_a_woken_thread_may_run_everywhere_again(count):
    """Few are moved by their waker, many by themselves; none stays away for good."""
    threads.set_num_threads(count)
    before = os.sched_getaffinity(0)
    program = NativeProgram([(kernel("mark"), [1], 64, True)] * 10, 2)
    frame = program.take()
    for _ in range(4):
        marks(program, frame, 5)
        time.sleep(0.03)
    marks(program, frame, 5)
    deadline = time.monotonic() + 20
    while {frozenset(os.sched_getaffinity(int(t))) for t in os.listdir("/proc/self/task")} != {
        frozenset(before)
    }:
        assert time.monotonic() < deadline


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_woken_thread_leaves_the_processor_of_its_waker():
    here = os.sched_getaffinity(0)
    if len(here) < 2:
        pytest.skip("one processor")
    threads.set_num_threads(2)
    program = NativeProgram([(kernel("mark"), [1], 2, True)] * 10, 2)
    frame = program.take()
    marks(program, frame, 5)
    main = threading.get_native_id()
    others = {int(t) for t in os.listdir("/proc/self/task")} - {
        main,
        *(t.native_id for t in threading.enumerate()),
    }
    beside = 0
    os.sched_setaffinity(0, {min(here)})
    try:
        for _ in range(20):
            time.sleep(0.02)
            marks(program, frame, 1)
            fields = [Path(f"/proc/self/task/{t}/stat").read_text().rsplit(")", 1)[1].split() for t in others]
            beside += any(int(f[36]) == min(here) and f[0] == "R" for f in fields)
    finally:
        os.sched_setaffinity(0, here)
    assert beside < 10


@pytest.mark.parametrize("end", ["", "import sys; sys.exit(3)", "raise SystemExit(3)", "1/0"])
def test_the_process_ends_cleanly(end):
    code = f"from native_kernels import Steps\nassert Steps(100).check()\n{end}"
    done = run_child(code, FLAMBEAU_NUM_THREADS="4", FLAMBEAU_SPIN_US="20000")
    assert done.returncode == {"": 0, "1/0": 1}.get(end, 3)
    assert "ZeroDivisionError" in done.stderr if end == "1/0" else done.stderr == ""


def test_the_process_ends_cleanly_under_a_running_daemon():
    code = """
import threading, time
from native_kernels import Steps
steps = Steps(100)
def work():
    while True: steps.check()
threading.Thread(target=work, daemon=True).start()
time.sleep(0.2)
"""
    for _ in range(3):
        done = run_child(code, FLAMBEAU_NUM_THREADS="3")
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
def test_interrupt_comes_between_slices():
    code = """
import os, signal, struct, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background begins with it ignored
from native_kernels import Steps, kernel
from flambeau.device.runner import NativeProgram
program = NativeProgram([(kernel("busy"), [1], 4, False)] * 10_000, 2)
frame = program.take()
struct.pack_into("q", frame.table, 8, 10_000_000)
threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
start = time.perf_counter()
try:
    program.run(frame)
except KeyboardInterrupt:
    print(time.perf_counter() - start < 5)
struct.pack_into("q", frame.table, 8, 1)
print(program.run(frame), Steps(50).check())
"""
    done = run_child(code, FLAMBEAU_NUM_THREADS="2")
    assert done.stdout.split() == ["True", "-1", "True"], done.stderr
