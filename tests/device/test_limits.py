"""What the system grants: affinity, quotas of cgroup v1 and v2, memory."""

import os
import sys

import pytest

from flambeau.device import limits


@pytest.fixture
def files(monkeypatch):
    """A made-up file system."""
    found = {}
    monkeypatch.setattr(limits, "_read", lambda path: found.get(path, ""))
    return found


def test_no_limit(files):
    assert limits.cpu_quota() == 0
    files["/proc/self/cgroup"] = "0::/user"
    files["/sys/fs/cgroup/user/cpu.max"] = "max 100000"
    assert limits.cpu_quota() == 0


def test_quota_v2_is_the_least_of_the_ancestors(files):
    files["/proc/self/cgroup"] = "0::/a/b"
    files["/sys/fs/cgroup/a/b/cpu.max"] = "400000 100000"
    files["/sys/fs/cgroup/a/cpu.max"] = "250000 100000"
    assert limits.cpu_quota() == 2.5


def test_quota_v1(files):
    files["/proc/self/cgroup"] = "7:memory:/m\n4:cpu,cpuacct:/docker/0123\n0::/"
    files["/sys/fs/cgroup/cpu/cpu.cfs_quota_us"] = "150000"
    files["/sys/fs/cgroup/cpu/cpu.cfs_period_us"] = "100000"
    assert limits.cpu_quota() == 1.5
    files["/sys/fs/cgroup/cpu/cpu.cfs_quota_us"] = "-1"
    assert limits.cpu_quota() == 0


def test_memory(files):
    machine = limits.memory()
    files["/proc/self/cgroup"] = "4:memory:/box\n0::/a"
    files["/sys/fs/cgroup/memory/memory.limit_in_bytes"] = "9223372036854771712"
    assert limits.memory() == machine
    files["/sys/fs/cgroup/a/memory.max"] = str(1 << 28)
    assert limits.memory() == 1 << 28


@pytest.mark.parametrize(("quota", "count"), [(0.0, 4), (0.5, 1), (2.9, 2), (8.0, 4)])
def test_available_cores(monkeypatch, quota, count):
    monkeypatch.setattr(limits, "cores", lambda: 4)
    monkeypatch.setattr(limits, "cpu_quota", lambda: quota)
    assert limits.available_cores() == count


@pytest.mark.skipif(sys.platform != "linux", reason="needs sched_getaffinity")
def test_siblings_count_once(files, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 5})
    assert limits.cores() == 4
    for cpu, siblings in ((0, "0,4"), (1, "1,5"), (5, "1,5"), (2, "2,6")):
        files[f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"] = siblings
    assert limits.cores() == 3
