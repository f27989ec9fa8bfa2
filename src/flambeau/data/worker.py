"""What runs in a worker process of a loader."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import flambeau as torch

from ..device.threads import set_num_threads
from . import channel
from .fetch import fetcher


class WorkerInfo(NamedTuple):
    """Which worker this is: id, num_workers, seed (of its random numbers), dataset (its copy)."""

    id: int
    num_workers: int
    seed: int
    dataset: Any
    rng: Any = None
    worker_method: str = "multiprocessing"


_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """In a worker process of a DataLoader its WorkerInfo, elsewhere None."""
    return _info


class KeyErrorMessage(str):
    """A text that a KeyError shows as it is, lines and all."""

    def __repr__(self) -> str:
        return str(self)


class Failure:
    """An exception with its traceback as text, to be raised again in another process."""

    def __init__(self, where: str):
        import traceback

        kind, error, trace = sys.exc_info()
        self.kind, self.where = kind, where
        self.text = "".join(traceback.format_exception(kind, error, trace))

    def reraise(self) -> None:
        """Raise an exception of the same type, whose message is the traceback of the original."""
        kind: Any = self.kind
        text = f"Caught {kind.__name__} {self.where}.\nOriginal {self.text}"
        try:
            if getattr(kind, "message", None):
                error = kind(message=text)
            else:
                error = kind(KeyErrorMessage(text) if kind is KeyError else text)
        except Exception:
            error = RuntimeError(text)
        raise error

    def plain(self) -> Failure:
        """The same as a RuntimeError: for types that cannot be sent."""
        self.kind = RuntimeError
        return self


class Ended(NamedTuple):
    """A worker's part of an iterable data set has come to its end."""

    worker: int


class Resume(NamedTuple):
    """Begin another pass; the worker sends it back."""


class Job(NamedTuple):
    """What a worker needs to know."""

    iterable: bool
    dataset: Any
    batched: bool
    collate_fn: Callable[[Any], Any]
    drop_last: bool
    base_seed: int
    init_fn: Callable[[int], Any] | None
    id: int
    num_workers: int


def _seed(job: Job) -> int:
    import random

    import numpy as np

    seed = job.base_seed + job.id
    random.seed(seed)
    torch.manual_seed(seed)
    entropy = [job.id, job.base_seed & 0xFFFFFFFF, job.base_seed >> 32, 0]
    np.random.seed(np.random.SeedSequence(entropy).generate_state(4))
    return seed


def main(job: Job, tasks: Any, results: Any, slots: Any, stop: Any, others: list[Any]) -> None:
    """Answer (freed slots, number, index) from `tasks` with (number, batch) until it is None or closed."""
    try:
        for end in others:
            end.close()
        _work(job, tasks, results, slots, stop)
    except (KeyboardInterrupt, EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the loader is gone, or is told of the interrupt itself


def _work(job: Job, tasks: Any, results: Any, slots: Any, stop: Any) -> None:
    global _info
    where = f"in DataLoader worker process {job.id}"
    set_num_threads(1)
    _info = WorkerInfo(job.id, job.num_workers, _seed(job), job.dataset)
    failed: Failure | None = None
    make = lambda: fetcher(job.iterable, job.dataset, job.batched, job.collate_fn, job.drop_last)
    reader: Any = None
    try:
        if job.init_fn is not None:
            job.init_fn(job.id)
        reader = make()
    except Exception:
        failed = Failure(where)
    ended = False
    while (task := _next(tasks)) is not None:
        free, number, index = task
        if slots is not None:
            slots.free.extend(free)
        if stop is not None and stop[0]:
            break
        if isinstance(index, Resume):
            channel.send(results, (number, index))
            ended = False
            try:
                reader = make()
            except Exception:
                failed = Failure(where)
            continue
        if ended:
            continue
        try:
            if failed is not None:
                data, failed = failed, None
            else:
                data = reader.fetch(index)
        except Exception as error:
            ended = job.iterable and isinstance(error, StopIteration)
            data = Ended(job.id) if ended else Failure(where)
        _answer(results, number, data, slots, where)


def _next(tasks: Any) -> Any:
    message = channel.receive(tasks)[0]
    if not isinstance(message, str):
        return message
    import os
    import pickle

    with open(message, "rb") as file:  # a list of indices too long for the pipe
        task = pickle.load(file)
    os.remove(message)
    return task


def _answer(results: Any, number: int, data: Any, slots: Any, where: str) -> None:
    try:
        channel.send(results, (number, data), slots)
    except (BrokenPipeError, ConnectionResetError):
        raise
    except Exception:
        failure = data.plain() if isinstance(data, Failure) else Failure(where)
        try:
            channel.send(results, (number, failure))
        except (BrokenPipeError, ConnectionResetError):
            raise
        except Exception:
            channel.send(results, (number, failure.plain()))
