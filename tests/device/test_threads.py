"""The number of threads: its default, its setting, what the pool makes of it."""

import os
import shutil
import subprocess
import sys

import pytest

from flambeau import config
from flambeau.device import limits, threads

SHOW = "from flambeau.device import threads; print(threads.get_num_threads())"


@pytest.fixture
def restore():
    before = threads.get_num_threads()
    yield
    threads.set_num_threads(before)


def in_child(prefix=(), **env):
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("FLAMBEAU_", "OMP_", "MKL_"))}
    done = subprocess.run(
        [*prefix, sys.executable, "-c", SHOW], env=keep | env, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_default_is_what_is_available():
    assert in_child() == str(limits.available_cores())


@pytest.mark.skipif(not shutil.which("taskset"), reason="no taskset here")
def test_affinity_limits():
    cpu = min(os.sched_getaffinity(0))
    assert in_child(("taskset", "-c", str(cpu))) == "1"


def test_environment_rules():
    assert in_child(OMP_NUM_THREADS="3") == "3"
    assert in_child(OMP_NUM_THREADS="3", FLAMBEAU_NUM_THREADS="7") == "7"


def test_set(restore):
    threads.set_num_threads(5)
    assert threads.get_num_threads() == 5
    threads.set_num_threads(100_000)
    assert threads.get_num_threads() == 256
    config.set("num_threads", 2)
    assert threads.get_num_threads() == 2


@pytest.mark.parametrize("count", [0, -1])
def test_set_refuses_numbers(count):
    with pytest.raises(RuntimeError, match="set_num_threads: expects a positive integer"):
        threads.set_num_threads(count)


@pytest.mark.parametrize("count", [2.0, "2", True])
def test_set_refuses_other_things(count):
    with pytest.raises(TypeError, match="set_num_threads: expects an int"):
        threads.set_num_threads(count)
