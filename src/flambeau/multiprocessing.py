"""torch.multiprocessing: Python's multiprocessing; tensors travel by value."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing import *  # noqa: F403
from typing import Any

from .errors import fail


def get_sharing_strategy() -> str:
    """How tensors reach another process: by value."""
    return "by_value"


def set_sharing_strategy(new_strategy: str) -> None:
    """Nothing: tensors travel by value."""


def get_all_sharing_strategies() -> set[str]:
    """The one way there is."""
    return {"by_value"}


def _begin(fn: Callable[..., Any], rank: int, args: tuple[Any, ...]) -> None:
    fn(rank, *args)


class SpawnContext:
    """The processes that `spawn` started."""

    def __init__(self, processes: list[Any]):
        self.processes = processes

    def pids(self) -> list[int]:
        """Their numbers."""
        return [p.pid for p in self.processes]

    def join(self, timeout: float | None = None) -> bool:
        """Wait for all; RuntimeError if one failed. False if the time was not enough."""
        for p in self.processes:
            p.join(timeout)
        failed = [i for i, p in enumerate(self.processes) if p.exitcode]
        if failed:
            for p in self.processes:
                p.terminate()
            fail(
                RuntimeError,
                f"spawn: process {failed[0]} ended with exit code {self.processes[failed[0]].exitcode}",
            )
        return all(p.exitcode is not None for p in self.processes)


def spawn(
    fn: Callable[..., Any],
    args: tuple[Any, ...] = (),
    nprocs: int = 1,
    join: bool = True,
    daemon: bool = False,
    start_method: str = "spawn",
) -> SpawnContext | None:
    """Run fn(rank, *args) in nprocs new processes; join: wait for them, else the context to wait with."""
    import multiprocessing

    context = multiprocessing.get_context(start_method)
    processes = [
        context.Process(target=_begin, args=(fn, rank, args), daemon=daemon) for rank in range(nprocs)
    ]
    for p in processes:
        p.start()
    made = SpawnContext(processes)
    if not join:
        return made
    while not made.join():
        pass
    return None
