"""What the operating system and the container grant this process: processors and memory."""

from __future__ import annotations

import os

_CGROUP = "/sys/fs/cgroup"
_UNLIMITED = 1 << 60  # cgroup v1 writes "no limit" as a huge number


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except (OSError, ValueError):
        return ""


def _folders(controller: str) -> list[str]:
    """The cgroup folders that bind this process, from its own up to the root, for v2 and for a v1 controller.

    In a container the path names the host's tree and the mount is the container's own: hence all ancestors are tried.
    """
    found = []
    for line in _read("/proc/self/cgroup").splitlines():
        number, names, path = (line.split(":", 2) + ["", ""])[:3]
        if number == "0" and not names:
            root = _CGROUP
        elif controller in names.split(","):
            root = f"{_CGROUP}/{controller}"
        else:
            continue
        while True:
            found.append(root + path.rstrip("/"))
            if path in ("", "/"):
                break
            path = path.rpartition("/")[0]
    return found


def _number(text: str) -> float:
    """A number, or 0 for anything else ("max", "-1", "")."""
    try:
        return max(float(text), 0.0)
    except ValueError:
        return 0.0


def cpu_quota() -> float:
    """Processors' worth of time that the container may use; 0 if there is no limit."""
    quotas = []
    for folder in _folders("cpu"):
        quota, _, period = _read(f"{folder}/cpu.max").partition(" ")
        if not quota:
            quota, period = _read(f"{folder}/cpu.cfs_quota_us"), _read(f"{folder}/cpu.cfs_period_us")
        if _number(quota) and _number(period):
            quotas.append(_number(quota) / _number(period))
    return min(quotas, default=0.0)


def cores() -> int:
    """Physical cores among the processors that this process may run on (all processors where that is unknown)."""
    try:
        allowed = os.sched_getaffinity(0)
    except (AttributeError, OSError):  # not on macOS and Windows
        return os.cpu_count() or 1
    siblings = {
        _read(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") or str(cpu)
        for cpu in allowed
    }
    return max(len(siblings), 1)


def available_cores() -> int:
    """Cores for one process: its affinity, and the whole cores of its quota, since a throttled part delays the join."""
    quota = int(cpu_quota())
    count = cores()
    return min(count, max(quota, 1)) if cpu_quota() else count


def memory() -> int:
    """Bytes of memory that this process may use: the machine's, or the container's if that is less; 0 if unknown."""
    try:
        limits = [float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))]
    except (AttributeError, OSError, ValueError):
        limits = []
    for folder in _folders("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limit = _number(_read(f"{folder}/{name}"))
            if 0 < limit < _UNLIMITED:
                limits.append(limit)
    return int(min(limits, default=0))
