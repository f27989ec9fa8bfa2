"""What this installation is and has done: `flambeau env`, `flambeau cache`, the counters of the engine."""

from __future__ import annotations

import os.path
import platform
from typing import NamedTuple

from .. import config
from ..version import __version__


class Counters(NamedTuple):
    """How often the engine did what, since the process began."""

    compiled: int = 0
    from_disk: int = 0
    programs: int = 0
    runs: int = 0


def counters() -> Counters:
    """The counters as they stand now."""
    from ..codegen import engine
    from ..stream import program

    kernels, streams = engine.stats(), program.STATS
    return Counters(int(kernels["compiled"]), int(kernels["from_disk"]), streams["planned"], streams["runs"])


def version_of(package: str) -> str:
    """The installed version of a distribution, or "not installed"."""
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def facts() -> list[tuple[str, str]]:
    """What a report of a fault should say: versions, processor, threads, cache."""
    from ..codegen.target import host

    target = host()
    lines = [
        ("flambeau", __version__),
        ("python", f"{platform.python_version()} ({platform.python_implementation()})"),
        ("system", platform.platform()),
        ("processor", f"{target.cpu}, vectors of {target.vector_bits} bits"),
    ]
    lines += [(name, version_of(name)) for name in ("numpy", "llvmlite", "scipy", "pillow", "matplotlib")]
    lines.append(("kernel cache", cache_info()))
    return [*lines, ("flags changed", ", ".join(changed_flags()) or "none")]


def changed_flags() -> list[str]:
    """The flags that do not have their default, as one would write them in the environment."""
    values = {name: (flag, getattr(config, name)) for name, flag in config.FLAGS.items()}
    defaults = {
        name: flag.default() if callable(flag.default) else flag.default for name, (flag, _) in values.items()
    }
    return [f"{flag.env}={value}" for name, (flag, value) in values.items() if value != defaults[name]]


def cached_files() -> list[str]:
    """The paths of all entries of the kernel cache."""
    return [os.path.join(top, name) for top, _, names in os.walk(config.cache_dir) for name in names]


def cache_info() -> str:
    """Where the kernel cache is, how many entries it holds, how large they are."""
    paths = cached_files()
    size = sum(os.path.getsize(path) for path in paths)
    bound = f"at most {config.cache_size / 1e6:,.0f} MB"
    return f"{config.cache_dir}: {len(paths):,} entries, {size / 1e6:,.1f} MB ({bound})"


def cache_clear() -> str:
    """Remove every entry of the kernel cache."""
    paths = cached_files()
    for path in paths:
        os.remove(path)
    return f"{config.cache_dir}: {len(paths):,} entries removed"
