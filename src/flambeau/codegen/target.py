"""What the code generator must know of a CPU: the host (detected) and the named targets."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from .. import config
from . import cache

CACHES = (32 << 10, 512 << 10, 8 << 20)
NAMES = ("x86-64-v2", "x86-64-v3", "x86-64-v4", "aarch64")


class Target:
    """A CPU: LLVM's triple, CPU name and feature string, and the facts that change what is emitted.

    vector_bits: widest vector; fma: fused multiply-add in hardware; half: f16 <-> f32 conversions in hardware;
    avx512: masks and vscalef; bf16: products of pairs of bfloat16; bytes: shuffles of single bytes in
    wide vectors; caches: bytes of the first, second and last
    cache of data that a core has or shares (they choose blocks, never what is computed)."""

    __slots__ = (
        "avx512",
        "bf16",
        "bytes",
        "caches",
        "cpu",
        "features",
        "fma",
        "half",
        "name",
        "triple",
        "vector_bits",
    )

    def __init__(
        self,
        name: str,
        triple: str,
        cpu: str,
        features: str,
        has: frozenset[str],
        caches: tuple[int, int, int] | None = None,
    ):
        self.caches = caches or CACHES
        self.name, self.triple, self.cpu, self.features = name, triple, cpu, features
        arm = triple.startswith(("aarch64", "arm64"))
        self.avx512 = {"avx512f", "avx512vl", "avx512bw", "avx512dq"} <= has
        self.bf16 = self.avx512 and "avx512bf16" in has
        self.bytes = self.avx512 and "avx512vbmi" in has
        self.vector_bits = 512 if self.avx512 else 256 if "avx2" in has else 128
        self.fma = arm or "fma" in has
        self.half = arm or "f16c" in has

    @property
    def vector_bytes(self) -> int:
        """Bytes of a vector register."""
        return self.vector_bits // 8

    @property
    def code(self) -> tuple[str, str, str]:
        """What LLVM must know: triple, CPU, features."""
        return self.triple, self.cpu, self.features

    def key(self) -> str:
        """What machine code for this target depends on."""
        return f"{self.triple} {self.cpu} {self.features}"

    def __repr__(self) -> str:
        return f"Target({self.name}, {self.cpu}, {self.vector_bits} bits)"


_AVX2 = frozenset({"avx2", "fma", "f16c"})
_AVX512 = _AVX2 | {"avx512f", "avx512vl", "avx512bw", "avx512dq"}
_HAS = {"x86-64-v2": frozenset(), "x86-64-v3": _AVX2, "x86-64-v4": _AVX512, "aarch64": frozenset()}
_targets: dict[str, Target] = {}
_CHANGING = (
    "processor",
    "cpu MHz",
    "bogomips",
    "BogoMIPS",
    "core id",
    "apicid",
    "initial apicid",
    "physical id",
)


def host() -> Target:
    """The CPU of this process, with its features as LLVM detects them."""
    if "host" not in _targets:
        triple, cpu, features = _remembered() or _detected()
        has = frozenset(name[1:] for name in features.split(",") if name.startswith("+"))
        _targets["host"] = Target("host", triple, cpu, features, has, caches())
    return _targets["host"]


def is_new() -> bool:
    """Whether no process has looked at this machine yet: nothing is in the disk cache for it."""
    return "host" not in _targets and _remembered() is None


def _detected() -> tuple[str, str, str]:
    """Triple, CPU and features, as LLVM finds them; noted for later processes on this machine."""
    import llvmlite.binding as llvm

    found = (
        llvm.get_process_triple(),
        llvm.get_host_cpu_name(),
        llvm.get_host_cpu_features().flatten(),
    )
    store, key = cache.current(), _machine_key()
    if store is not None and key:
        store.put(key, "\n".join(found).encode())
    return found


def _remembered() -> tuple[str, str, str] | None:
    """The same as an earlier process found it: LLVM is 100 MB, and not needed if all kernels are in the disk cache."""
    store, key = cache.current(), _machine_key()
    content = store.get(key) if store is not None and key else None
    if content is None:
        return None
    triple, cpu, features = content.decode().split("\n")
    return triple, cpu, features


def _machine_key(path: str = "/proc/cpuinfo") -> str:
    """The name of the facts about this processor, a digest of what Linux says of the first one; "" elsewhere."""
    import llvmlite

    try:
        with open(path, encoding="ascii", errors="replace") as file:
            lines = file.read(16384).split("\n\n")[0].splitlines()
    except OSError:
        return ""
    steady = [line for line in lines if not line.startswith(_CHANGING)]
    text = "\n".join((llvmlite.__version__, sys.version, *steady))
    return hashlib.sha256(b"host\0" + text.encode()).hexdigest() if steady else ""


def caches(folder: str = "/sys/devices/system/cpu/cpu0/cache") -> tuple[int, int, int]:
    """Bytes of this machine's first, second and last cache as Linux tells them, usual sizes elsewhere."""
    found = {}
    for index in Path(folder).glob("index*"):
        try:
            level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
            if kind != "Instruction":
                found[int(level)] = int(size[:-1]) << {"K": 10, "M": 20}[size[-1]]
        except (OSError, ValueError, KeyError, IndexError):
            continue
    sizes = [found.get(level) or usual for level, usual in zip((1, 2, 3), CACHES)]
    return sizes[0], max(sizes[:2]), max(sizes)


def named(name: str) -> Target:
    """A target by name ("host" or one of NAMES); ValueError if there is none of that name."""
    if name == "host":
        return host()
    if name not in NAMES:
        raise ValueError(f"target: unknown target {name!r}; the targets are host, {', '.join(NAMES)}")
    if name not in _targets:
        _targets[name] = _make(name)
    return _targets[name]


def _make(name: str) -> Target:
    if name == "aarch64":
        return Target(name, "aarch64-unknown-linux-gnu", "generic", "+neon,+fp-armv8", _HAS[name])
    import llvmlite.binding as llvm

    triple = llvm.get_process_triple()
    if not triple.startswith("x86_64"):
        triple = "x86_64-unknown-linux-gnu"
    return Target(name, triple, name, "", _HAS[name])


def chosen() -> Target:
    """The target that kernels are made for: flag `target`, else the host."""
    return named(config.target)
