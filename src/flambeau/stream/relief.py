"""Workspaces of products that give way where they would decide how much memory a program takes at the most."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from .lifetimes import Lives, size_of, temporary
from .nodes import PBuf

LARGE = 1 << 20  # bytes of a workspace from which on less is worth a look
SHARE = 8  # a product with more than this part of a program's work keeps its workspace


def relieve(launches: list[Any], homes: dict[int, PBuf]) -> None:
    """Launches whose results, temporaries and workspace are more than any needs with little workspace take less."""
    if not any(sum(x.scratch) >= LARGE for x in launches if x.less is not None):
        return
    held = tensors(launches, homes)
    work = sum([x.work for x in launches])
    yielding = [x.less is not None and x.work * SHARE <= work and sum(x.scratch) >= LARGE for x in launches]
    least = [
        sum(x.scratch) if not y else min(sum(x.scratch), x.parts * x.less().work)
        for x, y in zip(launches, yielding)
    ]
    peak = max(map(sum, zip(held, least)))
    for x, bytes_held, y in zip(launches, held, yielding):
        if y and bytes_held + sum(x.scratch) > peak:
            lessen(x)


def lessen(x: Any) -> None:
    """The launch of a product takes the least workspace that costs little time."""
    if x.less is None or sum(x.scratch) < LARGE:
        return
    p = x.less()
    if p.work * x.parts < x.scratch[0]:
        x.values, x.scratch = x.values | p.ints, [p.work * x.parts]


def tensors(launches: list[Any], homes: dict[int, PBuf]) -> list[int]:
    """The bytes of results and temporaries during each launch."""
    lives = Lives(launches, homes)
    change = [0] * (len(launches) + 1)
    for buf in {b.id: b for x in launches for b in lives.used(x) if not b.bytes_exist}.values():
        change[lives.first[buf.id]] += size_of(buf)
        change[lives.last[buf.id] + 1 if temporary(buf) else -1] -= size_of(buf)
    return list(accumulate(change))[:-1]
