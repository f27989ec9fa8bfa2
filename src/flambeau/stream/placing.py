"""Where the buffers of a program live: slots of the name table, ranges of an arena, blocks that come and go.

An arena serves temporaries by lifetime. A program over much memory is cut into native calls, between which large
temporaries, scratch and results have blocks of their own."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Any

from ..device import memory
from .lifetimes import size_of
from .nodes import PAIRS, Builder, PBuf

if TYPE_CHECKING:
    from .program import Launch, Program

ARENA_ALIGN = 64
# A program over so many bytes runs in several native calls; temporaries from OWN_BLOCK bytes on have memory only from
# the first to the last call that needs them, results from the first. There are as many calls as it takes for
# a peak that is at most by the share EXTRA above that of launches that run one by one, if MOST_PARTS allow.
LARGE, MOST_PARTS, OWN_BLOCK, EXTRA = 2 << 20, 64, 64 << 10, 0.01


def place_memory(program: Program, launches: list[Launch], builder: Builder) -> None:
    """Decide where every buffer lives: a slot of the name table, or a range of the arena (by lifetime, first fit)."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    bufs: dict[int, PBuf] = {}
    for at, x in enumerate(launches):
        x.bufs = [(builder.homes.get(buf.id, buf), off, slot) for buf, off, slot in x.bufs]
        for buf, _, _ in x.bufs:
            bufs[buf.id] = buf
            first.setdefault(buf.id, at)
            last[buf.id] = at
    temps = [b for b in bufs.values() if not (b.bytes_exist or b.kept)]
    outputs = [b for b in builder.bufs if b.kept and not b.bytes_exist]
    apart: dict[Any, int] = {}  # the number of a block: of a temporary, or of (launch, which scratch)
    large: dict[Any, Any] = {
        b.id: (size_of(b), first[b.id], last[b.id]) for b in temps if size_of(b) >= OWN_BLOCK
    }
    for at, x in enumerate(launches):
        large |= {(at, k): (nbytes, at, at) for k, nbytes in enumerate(x.scratch) if nbytes >= OWN_BLOCK}
    forever = [(size_of(b), first.get(b.id, 0), len(launches)) for b in outputs]
    program.cuts = cuts_for([*large.values(), *forever], len(launches))
    if program.cuts:
        memory.trim()
        apart = {key: n for n, key in enumerate(large)}
        program.blocks = list(large.values())
        temps = [b for b in temps if b.id not in apart]
        program.ending = {b.sid: last[b.id] for b in bufs.values() if b.bytes_exist}
    program.arena, at_offset, scratch = arena(launches, temps, first, last, apart)
    bases: list[int] = sorted({b.sid for b in bufs.values() if b.bytes_exist or b.kept})
    program.externals = bases
    index = {sid: i for i, sid in enumerate(bases)}
    pointers: dict[tuple[int, int, int], int] = {}
    for at, x in enumerate(launches):
        places = []
        for buf, off, offslot in x.bufs:
            size = buf.dtype.itemsize
            slot = offslot if offslot < 0 else offslot * 16 + size.bit_length()
            if offslot >= PAIRS:
                slot = (offslot - PAIRS) * 16 + (2 * size).bit_length()
            if buf.bytes_exist or buf.kept:
                key = (index[buf.sid], off * size, slot)
            elif buf.id in apart:
                key = (len(bases) + 1 + apart[buf.id], off * size, slot)
            else:
                key = (len(bases), at_offset[buf.id] + off * size, slot)
            places.append(pointers.setdefault(key, len(pointers)))
        for k in range(len(x.scratch)):
            block = apart.get((at, k))
            key = (len(bases), scratch[at, k], -1) if block is None else (len(bases) + 1 + block, 0, -1)
            places.append(pointers.setdefault(key, len(pointers)))
        x.bufs = places
    program.pointers = list(pointers)
    program.outputs = [(b.sid, size_of(b)) for b in outputs]
    program.born = {b.sid: first.get(b.id, 0) for b in outputs}


def cuts_for(spans: list[tuple[int, int, int]], count: int) -> frozenset[int]:
    """The launches that begin a native call, for spans (bytes, first, last launch) of memory that live at once.

    Within a call all that begins in it has memory from its start, and what ends in it has it to its end: a call is cut
    off where that would lift the peak."""
    if sum(nbytes for nbytes, _, _ in spans) < LARGE:
        return frozenset()
    born, dead, live = [0] * (count + 1), [0] * (count + 1), [0] * count
    for nbytes, first, last in spans:
        born[first] += nbytes
        dead[last] += nbytes
    now = 0
    for at in range(count):
        now += born[at]
        live[at] = now
        now -= dead[at]
    peak = max(live)
    extra = max(int(peak * EXTRA), LARGE >> 5)
    while True:
        cuts, most, more = [], live[0], 0
        for at in range(1, count):
            more += born[at] + dead[at - 1]
            most = max(most, live[at])
            if most + more > peak + extra:
                cuts.append(at)
                most, more = live[at], 0
        if len(cuts) < MOST_PARTS:
            return frozenset(cuts)
        extra *= 2


def arena(
    launches: list[Launch], temps: list[PBuf], first: dict[int, int], last: dict[int, int], apart: Any
) -> tuple[int, dict[int, int], dict[tuple[int, int], int]]:
    """The size of the arena, the offset of each temporary and of each launch's scratch: memory is taken where it is
    first written and given back after the last launch that needs it."""
    starting: dict[int, list[PBuf]] = {}
    for b in temps:
        starting.setdefault(first[b.id], []).append(b)
    space, offsets, scratch = Space(), {}, {}
    for at, x in enumerate(launches):
        space.now = at
        for b in starting.get(at, ()):
            offsets[b.id] = space.fit(size_of(b), last[b.id])
        for k, nbytes in enumerate(x.scratch):
            if (at, k) not in apart:
                scratch[at, k] = space.fit(nbytes, at)
        space.leave()
    return space.end, offsets, scratch


class Space:
    """The arena while launches are walked through: what is free below `end`, what ends with which launch."""

    __slots__ = ("end", "free", "now", "taken")

    def __init__(self) -> None:
        self.now = 0  # the launch that is walked through
        self.free: list[tuple[int, int]] = []  # (offset, end), in order, none next to another
        self.taken: dict[int, list[tuple[int, int]]] = {}
        self.end = 0

    def fit(self, nbytes: int, last: int) -> int:
        """The lowest offset of so many free bytes, taken until launch `last` is over."""
        size = (max(nbytes, 1) + ARENA_ALIGN + ARENA_ALIGN - 1) & -ARENA_ALIGN
        free = self.free
        for k, (offset, end) in enumerate(free):
            if offset + size <= end:
                free[k : k + 1] = [(offset + size, end)] if offset + size < end else []
                break
        else:
            offset = free.pop()[0] if free and free[-1][1] == self.end else self.end
            self.end = offset + size
        self.taken.setdefault(last, []).append((offset, offset + size))
        return offset

    def leave(self) -> None:
        """The launch is over."""
        free = self.free
        for offset, end in self.taken.pop(self.now, ()):
            k = bisect.bisect(free, (offset, end))
            if k < len(free) and free[k][0] == end:
                end = free.pop(k)[1]
            if k and free[k - 1][1] == offset:
                k -= 1
                offset = free.pop(k)[0]
            free.insert(k, (offset, end))
