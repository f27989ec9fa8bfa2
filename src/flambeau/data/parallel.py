"""A pass over a loader whose batches are read by worker processes."""

from __future__ import annotations

import itertools
import os
import time
import warnings
import weakref
from typing import Any

from ..errors import fail
from . import channel
from .loader import DataLoader, _BaseDataLoaderIter, default_context
from .worker import Ended, Failure, Job, Resume, main

_PATIENCE = 2.0  # seconds a worker is given to end by itself
_ours: weakref.WeakSet[Any] = (
    weakref.WeakSet()
)  # pipes and slots of this process: no worker must keep them open


class _Worker:
    """One process, the pipes to and from it, its slots of shared memory."""

    def __init__(self, context: Any, job: Job, depth: int, stop: Any):
        forked = context.get_start_method() == "fork"
        self.slots = channel.Slots(depth) if forked else None
        task_end, self.tasks = context.Pipe(duplex=False)
        self.results, result_end = context.Pipe(duplex=False)
        self.limit = channel.capacity(self.tasks) // (depth + 2)
        self.free: list[int] = []
        self.running = True  # takes tasks
        self.gone = False
        _ours.update((self.tasks, self.results))
        arguments = (job, task_end, result_end, self.slots, stop, list(_ours) if forked else [])
        self.process = context.Process(target=main, args=arguments, daemon=True)
        with (
            warnings.catch_warnings()
        ):  # Python warns of every fork while threads exist; ours are made for it
            warnings.simplefilter("ignore", DeprecationWarning)
            self.process.start()
        task_end.close()
        result_end.close()
        if self.slots is not None:
            _ours.add(self.slots)

    def put(self, number: int, index: Any) -> None:
        """Give a task; lists too long for the pipe go through a file, so that this never waits."""
        free, self.free = self.free, []
        task = (free, number, index)
        import pickle

        if isinstance(index, list) and len(index) * 3 > self.limit:
            import tempfile

            with tempfile.NamedTemporaryFile(prefix="flambeau-task-", delete=False) as file:
                pickle.dump(task, file)
            task = file.name  # type: ignore[assignment]
        try:
            channel.send(self.tasks, task)
        except (BrokenPipeError, ConnectionResetError):
            self.fail()

    def get(self) -> tuple[int, Any]:
        """The next answer, which must be there (or the process has ended)."""
        try:
            answer, slot = channel.receive(self.results, self.slots)
        except (EOFError, ConnectionResetError):
            self.fail()
        if slot >= 0:
            self.free.append(slot)
        return answer

    def fail(self) -> Any:
        """Raise RuntimeError: the process has ended although it should not."""
        self.gone = True
        self.process.join(_PATIENCE)
        pid, code = self.process.pid, self.process.exitcode
        how = f"with exit code {code}"
        if code is not None and code < 0:
            import signal

            how = f"killed by signal: {signal.Signals(-code).name}"
        fail(
            RuntimeError,
            f"DataLoader worker (pid(s) {pid}) exited unexpectedly ({how})",
            "a worker that was killed may have been out of memory",
        )


class _MultiProcessingDataLoaderIter(_BaseDataLoaderIter):
    """Tasks go round the workers; answers are given out in the order of the tasks (in_order) or as they come."""

    def __init__(self, loader: DataLoader[Any]):
        super().__init__(loader)
        depth = loader.prefetch_factor or 0
        if depth <= 0:
            fail(AssertionError, "DataLoader: prefetch_factor must be greater than 0", prefetch_factor=depth)
        self._prefetch_factor, self._in_order = depth, loader.in_order
        self._persistent_workers = loader.persistent_workers
        context = loader.multiprocessing_context or default_context()
        import mmap

        import numpy.random  # noqa: F401  here, once, and not in each worker

        self._stop = mmap.mmap(-1, 1) if context.get_start_method() == "fork" else None
        self._workers: list[_Worker] = []
        self._finalizer = weakref.finalize(self, _shut_down, self._workers, self._stop, os.getpid())
        for i in range(self._num_workers):
            job = Job(
                self._iterable, self._dataset, self._auto_collation, self._collate_fn, self._drop_last,
                self._base_seed, loader.worker_init_fn, i, self._num_workers,
            )  # fmt: skip
            self._workers.append(_Worker(context, job, depth, self._stop))
        self._start()

    def _start(self) -> None:
        self._send_idx = self._rcvd_idx = 0
        self._owner: dict[int, _Worker] = {}  # tasks under way
        self._ready: dict[int, Any] = {}  # answers before their turn
        self._loads = {id(worker): 0 for worker in self._workers}
        self._turns = itertools.cycle(self._workers)
        for worker in self._workers:
            worker.running = True
        for _ in range(self._prefetch_factor * self._num_workers):
            self._put()

    def _reset(self, loader: DataLoader[Any]) -> None:
        """Begin another pass with the same workers; what they still send of the last one is dropped."""
        self._begin(loader)
        for worker in self._workers:
            worker.put(-1, Resume())
        waiting = set(self._workers)
        while waiting:
            worker, (_, data) = self._receive()
            if isinstance(data, Resume):
                waiting.discard(worker)
        self._start()

    def _put(self) -> None:
        """Give the next task to the next worker that takes one."""
        try:
            index = next(self._sampler_iter)
        except StopIteration:
            return
        running = [worker for worker in self._workers if worker.running]
        share = self._prefetch_factor * self._num_workers // max(len(running), 1)
        for worker in itertools.islice(self._turns, self._num_workers):
            if worker.running and (self._in_order or self._loads[id(worker)] < share):
                break
        else:
            return
        worker.put(self._send_idx, index)
        self._owner[self._send_idx] = worker
        self._loads[id(worker)] += 1
        self._send_idx += 1

    def _receive(self) -> tuple[_Worker, tuple[int, Any]]:
        """One answer, from whichever worker has one."""
        from multiprocessing.connection import wait

        pipes = {worker.results: worker for worker in self._workers if not worker.gone}
        deadline = time.monotonic() + self._timeout if self._timeout > 0 else None
        ready = wait(list(pipes), None if deadline is None else max(0.0, deadline - time.monotonic()))
        if not ready:
            fail(RuntimeError, f"DataLoader timed out after {self._timeout} seconds")
        worker = pipes[ready[0]]  # type: ignore[index]
        return worker, worker.get()

    def _next_data(self) -> Any:
        while True:
            while self._rcvd_idx < self._send_idx and not self._expected(self._rcvd_idx):
                self._rcvd_idx += 1
            if self._rcvd_idx >= self._send_idx:
                if not self._persistent_workers:
                    self._finalizer()
                raise StopIteration
            if self._rcvd_idx in self._ready:
                self._rcvd_idx += 1
                return self._give(self._ready.pop(self._rcvd_idx - 1))
            worker, (number, data) = self._receive()
            self._owner.pop(number, None)
            self._loads[id(worker)] -= 1
            if isinstance(data, Ended):
                worker.running = False
                for other in [n for n, w in self._owner.items() if w is worker]:
                    del self._owner[other]  # what it was still to do
                self._put()
            elif self._in_order and number != self._rcvd_idx:
                self._ready[number] = data
            else:
                return self._give(data)

    def _expected(self, number: int) -> bool:
        return number in self._ready or number in self._owner

    def _give(self, data: Any) -> Any:
        self._put()
        if isinstance(data, Failure):
            data.reraise()
        return data

    def _shutdown_workers(self) -> None:
        self._finalizer()


def _shut_down(workers: list[_Worker], stop: Any, pid: int) -> None:
    """End the workers: they are told, then waited for, then ended."""
    if os.getpid() != pid:
        return  # a copy of the loader in another process
    if stop is not None:
        stop[0] = 1
    for worker in workers:
        try:
            channel.send(worker.tasks, None)
        except OSError:
            pass  # it has ended already
        worker.tasks.close()
        worker.results.close()
    deadline = time.monotonic() + _PATIENCE
    for worker in workers:
        worker.process.join(max(0.0, deadline - time.monotonic()))
        if worker.process.is_alive():
            worker.process.terminate()
            worker.process.join(_PATIENCE)
        if worker.slots is not None:
            worker.slots.close()
