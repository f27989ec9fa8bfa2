"""What the tests of the stream share: counting launches, running one function in several ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flambeau.device import threads
from flambeau.stream.flush import CACHE, MET, Novelty
from flambeau.stream.program import STATS
from flambeau.stream.value import LOCAL


@pytest.fixture(autouse=True)
def nothing_is_known() -> None:
    """No sequence that another test recorded is planned, or planned sooner for it."""
    CACHE.clear()
    MET.clear()


def flush() -> None:
    LOCAL.s.flush()


def launches(fn: Callable[[], Any], runs: int = 3) -> int:
    """Kernels launched by the last of several runs (the first ones run instruction by instruction, or plan)."""
    count = -1
    for _ in range(runs):
        flush()
        Novelty.level = 0.0
        before = STATS["launches"]
        kept = fn()
        flush()
        count = STATS["launches"] - before
        del kept
    return count


def bits(value: Any) -> Any:
    """Tensors (in any nesting) as bytes."""
    if isinstance(value, (tuple, list)):
        return [bits(v) for v in value]
    return value.detach().numpy().tobytes()


@pytest.fixture
def each_way() -> Iterator[Callable[[Callable[[], Any]], list[Any]]]:
    """Results of a function as bytes: op by op, then three times as recorded, on 1, 2 and 3 threads."""
    before = threads.get_num_threads()

    def ways(fn: Callable[[], Any]) -> list[Any]:
        flush()
        LOCAL.s.eager = True
        try:
            found = [bits(fn())]
        finally:
            LOCAL.s.eager = False
        for count in (1, 2, 3):
            threads.set_num_threads(count)
            for _ in range(3):
                flush()
                Novelty.level = 0.0
                found.append(bits(fn()))
        return found

    yield ways
    threads.set_num_threads(before)


@pytest.fixture
def count() -> Callable[[Callable[[], Any]], int]:
    return launches
