"""What became of a call: the instructions it recorded, the kernels they became, the bytes each kernel moves."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..loop.recipes.contraction import Spec
from ..loop.recipes.conv_image import ConvSpec
from . import flush, placing, program
from .access import synchronize
from .value import Storage


class Kernel(NamedTuple):
    """One launch: what it computes, how many buffers it touches, the bytes of those, the parts it can be split into; of
    a matrix product how it is computed."""

    title: str
    buffers: int
    nbytes: int
    parts: int
    choice: str = ""


class Flush(NamedTuple):
    """What ran at once: instructions (name, results) and the kernels that they became."""

    instructions: list[str]
    kernels: list[Kernel]


WATCHED: list[list[Flush]] = []  # where calls that were captured before report what they replayed


class Explanation:
    """All flushes of one call, in order; `result` is what the call returned."""

    def __init__(self, flushes: list[Flush], result: Any):
        self.flushes, self.result = flushes, result

    @property
    def kernels(self) -> list[Kernel]:
        """The kernels of all flushes."""
        return [kernel for one in self.flushes for kernel in one.kernels]

    def __str__(self) -> str:
        lines = []
        for number, one in enumerate(self.flushes, 1):
            lines.append(f"flush {number}: {len(one.instructions)} instructions, {len(one.kernels)} kernels")
            lines += [f"  {text}" for text in one.instructions]
            total = sum(kernel.nbytes for kernel in one.kernels)
            lines.append(f"  {'kernel':40}{'buffers':>9}{'bytes':>14}")
            for k in one.kernels:
                lines.append(f"  {k.title[:39]:40}{k.buffers:9}{k.nbytes:14,}")
                lines += [f"    {k.choice}"] if k.choice else []
            lines.append(f"  {'':40}{'':9}{total:14,}")
        return "\n".join(lines) or "nothing was recorded"

    def __repr__(self) -> str:
        count = sum(len(one.instructions) for one in self.flushes)
        return f"Explanation({count} instructions, {len(self.kernels)} kernels)"


def explain(fn: Callable[..., Any], *args: Any, **options: Any) -> Explanation:
    """Call fn(*args), planned as a whole, and print what it became; the Explanation holds the same as data.

    The call is run as it would run when its sequence of operations comes again.
    """
    synchronize()
    flushes: list[Flush] = []
    run, assemble = flush.run, program.assemble
    now: list[Any] = [()]
    flush.run = _watched_run(flushes, now)  # type: ignore[assignment]
    program.assemble = _watched_assemble(flushes, assemble, now)  # type: ignore[assignment]
    WATCHED.append(flushes)
    try:
        result = fn(*args, **options)
        synchronize()
    finally:
        flush.run, program.assemble = run, assemble
        WATCHED.pop()
    found = Explanation(flushes, result)
    print(found)
    return found


def trace(level: int) -> None:
    """FLAMBEAU_DEBUG: 1 prints the kernels of every program that runs, with its time; 2 and more every one planned."""
    run, assemble = program.run, program.assemble

    def traced(p: program.Program, *rest: Any) -> None:
        begun = time.perf_counter()
        run(p, *rest)
        spent = 1e6 * (time.perf_counter() - begun)
        print(f"run {spent:9.1f} us  {', '.join(x.title for x in p.launches)}", file=sys.stderr)

    def planned(launches: list[program.Launch], *rest: Any) -> Any:
        made: list[Flush] = [Flush([], [])]
        result = _watched_assemble(made, assemble, [()])(launches, *rest)
        for k in made[0].kernels:
            print(
                f"plan {k.title}: {k.buffers} buffers, {k.nbytes:,} bytes, {k.parts} parts", file=sys.stderr
            )
        return result

    program.run = traced  # type: ignore[assignment]
    if level >= 2:
        program.assemble = planned  # type: ignore[assignment]


def _watched_run(flushes: list[Flush], now: list[Any]) -> Callable[..., None]:
    """flush.run, which plans every sequence anew and whole, and notes its instructions; now: holds its slots."""

    def run(progress: Any, slots: list[Any], pending: int) -> None:
        known = progress.known
        now[:] = [slots]  # the table itself: a copy would keep temporaries alive
        flushes.append(Flush([_instruction(form) for form, _ in known.lines], []))
        known.programs.clear()
        flush.run_whole(known, slots, progress, True)
        now[:] = [()]

    return run


def _size(buf: Any, slots: Sequence[Any]) -> int:
    """The bytes of a buffer: of what comes from outside, which has no shape here, those of its storage."""
    st = slots[buf.sid] if 0 <= buf.sid < len(slots) else None
    return st.nbytes if type(st) is Storage and not buf.shape else placing.size_of(buf)


def _watched_assemble(
    flushes: list[Flush], assemble: Callable[..., Any], now: list[Any]
) -> Callable[..., Any]:
    """program.assemble, which notes the launches it is given."""

    def watched(launches: list[program.Launch], *rest: Any) -> Any:
        note(flushes[-1], launches, now[0])
        return assemble(launches, *rest)

    return watched


def note(flush: Flush, launches: list[program.Launch], slots: Any) -> None:
    """Add the kernels of launches to what is said of a flush."""
    for launch in launches:
        sizes = {buf.id: _size(buf, slots) for buf, _, _ in launch.bufs}
        nbytes = sum(sizes.values()) + sum(launch.scratch)
        flush.kernels.append(Kernel(launch.title, len(sizes), nbytes, launch.parts, _choice(launch)))


def _choice(launch: program.Launch) -> str:
    """How a matrix product or convolution is computed: tile, packing, parts."""
    spec = launch.key[0] if type(launch.key) is tuple and launch.key else launch.key
    if not isinstance(spec, (Spec, ConvSpec)):
        return ""
    blocks = ""
    if isinstance(spec, Spec) and (rows := launch.values.get("mp", 0) * spec.rows):
        blocks = f", {rows} rows and {launch.values['nc']} columns at a time"
    parts = f", {launch.parts} parts" if launch.parts > 1 else ""
    return spec.describe() + blocks + parts


def _instruction(form: Any) -> str:
    """An instruction in words: its name and what it makes."""
    made = ", ".join(f"{tuple(meta.shape)} {meta.dtype.name}" for meta, *_ in form.outs)
    return f"{form.name}" + (f" -> {made}" if made else "")
