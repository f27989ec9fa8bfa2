"""From which launch to which a program needs each of its buffers."""

from __future__ import annotations

from typing import Any

from .nodes import PBuf

LEAST = 64 << 10  # bytes from which on a temporary is worth a kernel of its own


def size_of(b: PBuf) -> int:
    """The bytes that a buffer spans."""
    n = 1
    for e, s in zip(b.shape, b.strides):
        if e == 0:
            return 0
        n += (e - 1) * s
    return n * b.dtype.itemsize


def temporary(buf: PBuf) -> bool:
    """Whether only the program sees a buffer."""
    return not (buf.kept or buf.bytes_exist)


class Lives:
    """The launches that use each buffer first and last. homes: the buffers in whose place others lie."""

    def __init__(self, launches: list[Any], homes: dict[int, PBuf]):
        self.first: dict[int, int] = {}
        self.last: dict[int, int] = {}
        self.homes = homes
        for at, x in enumerate(launches):
            for buf in self.used(x):
                self.first.setdefault(buf.id, at)
                self.last[buf.id] = at

    def used(self, launch: Any) -> set[PBuf]:
        """The buffers of a launch."""
        return {self.homes.get(buf.id, buf) for buf, _, _ in launch.bufs}

    def ends(self, buf: PBuf, at: int) -> bool:
        """Whether nobody reads a buffer after launch `at`."""
        return self.last[buf.id] == at and temporary(buf)

    def begins(self, buf: PBuf, at: int) -> bool:
        """Whether a buffer has no contents before launch `at`."""
        return self.first[buf.id] == at and temporary(buf)

    def exchange_pays(self, at: int, x: Any, then: Any) -> bool:
        """Whether launch `at` (x) and the next one (then) take less memory at the most the other way round."""
        mine, others = self.used(x), self.used(then)
        takes = sum([size_of(b) for b in mine if self.first[b.id] == at and not b.bytes_exist])
        frees = sum([size_of(b) for b in mine if self.ends(b, at)])
        needs = sum([size_of(b) for b in others if self.first[b.id] == at + 1 and not b.bytes_exist])
        leaves = sum([size_of(b) for b in others - mine if self.ends(b, at + 1)])
        work, then_work = sum(x.scratch), sum(then.scratch)
        usual = max(takes + work, takes - frees + needs + then_work)
        return max(needs + then_work, needs - leaves + takes + work) < usual

    def exchanged(self, at: int, first: Any, then: Any) -> None:
        """Launches `at` (now first) and the next one (then) have changed places."""
        for place, launch, before in ((at, first, at + 1), (at + 1, then, at)):
            for b in self.used(launch):
                if self.first[b.id] == before:
                    self.first[b.id] = place
                if self.last[b.id] == before:
                    self.last[b.id] = place
        for b in self.used(first) & self.used(then):
            self.first[b.id] = min(self.first[b.id], at)
            self.last[b.id] = max(self.last[b.id], at + 1)
