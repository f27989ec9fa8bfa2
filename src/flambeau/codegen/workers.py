"""Compilation in other processes: LLVM takes most of the time of a cold start, and llvmlite lets one thread into it.

Each process (objects.py) has a thread here that hands it one order after the other. Whoever waits for orders compiles
too. What a process does not answer, because it could not be started or was killed, is compiled in place."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from .. import config
from . import objects
from .objects import Order

MOST = 15
BACK = 5  # how far processes stand back that compile what nobody waits for yet
_POSIX = {"process_group": 0} if os.name == "posix" else {}


class Job:
    """An order; result: the object, None if it has to be compiled in place. later: what is done with the result."""

    __slots__ = ("done", "later", "ms", "order", "result", "urgent")

    def __init__(self, order: Order, later: Callable[[bytes | None], None] | None = None):
        self.order, self.later = order, later
        self.result: bytes | None = None
        self.done = self.urgent = False
        self.ms = 0.0

    def give_up(self) -> None:
        """No worker does it."""
        if self.later is not None:
            self.later(None)


class Worker(threading.Thread):
    """A process and the thread that feeds it."""

    def __init__(self, crew: Crew):
        super().__init__(name="flambeau compiler", daemon=True)
        self.crew = crew
        self.process: Any = None

    def run(self) -> None:
        """Hand over jobs until the crew is dismissed or the process is gone."""
        crew = self.crew
        try:
            self.process = start_process(crew.nice)
        except OSError as error:
            say(f"no process to compile in could be started: {error}")
        while self.process is not None and (job := crew.next()) is not None:
            try:
                objects.send(self.process.stdin, job.order)
                job.result, job.ms = objects.receive(self.process.stdout)
            except (OSError, ValueError):
                self.end()
            crew.finish(job)
        self.end()
        crew.leave(self)

    def end(self) -> None:
        """End the process."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                try:
                    stream.close()
                except OSError:
                    pass


class Crew:
    """Workers of this process, and the jobs that wait for them. nice: how far they stand back for other processes."""

    def __init__(self, nice: int = 0) -> None:
        self.nice = nice
        self.lock = threading.Condition()
        self.workers: list[Worker] = []
        self.jobs: list[Job] = []
        self.dismissed = False
        self.refused = not may_start()

    def hire(self, wanted: int) -> bool:
        """Have so many workers; whether there are any."""
        with self.lock:
            count = 0 if self.refused or self.dismissed else min(wanted, MOST) - len(self.workers)
            for _ in range(count):
                worker = Worker(self)
                try:
                    worker.start()
                except RuntimeError:  # no more threads
                    break
                self.workers.append(worker)
            return bool(self.workers)

    def next(self) -> Job | None:
        """The next job for a worker; None: there will be none."""
        with self.lock:
            while not (self.jobs or self.dismissed):
                if not self.lock.wait(objects.IDLE / 2) and not self.jobs:
                    return None  # the process would end anyway
            return None if self.dismissed else self.jobs.pop(0)

    def finish(self, job: Job) -> None:
        """A worker is done with a job, or its process is gone."""
        with self.lock:
            job.done = True
            self.lock.notify_all()
        if job.later is not None:  # it may have to wait for those who wait for this worker
            threading.Thread(target=job.later, args=(job.result,), daemon=True).start()

    def leave(self, worker: Worker) -> None:
        """A worker ends. With the last one go the jobs that nobody waits for."""
        with self.lock:
            if worker in self.workers:
                self.workers.remove(worker)
            left = [] if self.workers else self.abandoned()
            self.lock.notify_all()
        for job in left:
            job.give_up()

    def abandoned(self) -> list[Job]:
        """The jobs that no worker will do."""
        left, self.jobs = self.jobs, []
        for job in left:
            job.done = True
        return left

    def give(self, jobs: Sequence[Job], urgent: bool) -> None:
        """Have jobs done. The urgent ones come first, and of them the longest."""
        with self.lock:
            for job in jobs:
                job.urgent = urgent
            self.jobs += jobs
            self.jobs.sort(key=lambda job: (not job.urgent, -len(job.order.text)))
            self.lock.notify_all()
            left = [] if self.workers or urgent else self.abandoned()
        for job in left:
            job.give_up()

    def compiled(self, orders: Iterable[Order], in_place: Callable[[Order], bytes]) -> list[bytes]:
        """The objects of orders, compiled by the workers, from the first one on, and here."""
        jobs: list[Job] = []
        try:
            for order in orders:
                jobs.append(Job(order))
                self.give(jobs[-1:], True)
            return self.collected(jobs, in_place)
        except BaseException:
            self.withdraw(jobs)
            raise

    def collected(self, jobs: list[Job], in_place: Callable[[Order], bytes]) -> list[bytes]:
        """The objects of jobs that were given; those that nobody has begun are compiled here."""
        while (job := self.mine(jobs)) is not None:
            job.result, job.done = in_place(job.order), True
        with self.lock:
            while not all(job.done for job in jobs):
                self.lock.wait(1.0)
        return [job.result if job.result is not None else in_place(job.order) for job in jobs]

    def mine(self, jobs: list[Job]) -> Job | None:
        """One of these jobs that nobody has begun: the shortest, which holds the others up least."""
        with self.lock:
            for job in reversed(self.jobs):
                if job in jobs:
                    self.jobs.remove(job)
                    return job
            return None

    def withdraw(self, jobs: list[Job]) -> None:
        """Nobody waits for these jobs any more."""
        with self.lock:
            self.jobs = [job for job in self.jobs if job not in jobs]

    def dismiss(self) -> None:
        """End all processes at once."""
        with self.lock:
            self.dismissed = True
            workers, self.jobs = self.workers[:], []
            self.lock.notify_all()
        for worker in workers:
            if (process := worker.process) is not None:
                process.kill()
        for worker in workers:
            worker.join(2.0)


def may_start() -> bool:
    """Whether the interpreter can be started as a program (it may be part of one)."""
    name = os.path.basename(sys.executable or "").lower()
    return name.startswith(("python", "pypy")) and not getattr(sys, "frozen", False)


def start_process(nice: int = 0) -> Any:
    """A process that compiles; OSError if there can be none."""
    import importlib.util

    found = importlib.util.find_spec("llvmlite")
    if found is None or found.origin is None:
        raise OSError("llvmlite is not a folder of files")
    folder = str(Path(found.origin).parents[1])
    command = [sys.executable, "-I", "-S", str(Path(__file__).with_name("objects.py")), folder, str(nice)]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        **_POSIX,  # type: ignore[call-overload]
    )


def say(text: str) -> None:
    """A line for those who debug."""
    if config.debug:
        sys.stderr.write(f"flambeau: {text}; kernels are compiled in place\n")


CREW, LATER = Crew(), Crew(BACK)  # whose jobs are waited for, and what may take its time


def _after_fork_in_child() -> None:
    """The threads are not here, and the processes are the parent's: a child has its own."""
    global CREW, LATER
    for worker in (*CREW.workers, *LATER.workers):
        if (process := worker.process) is not None:
            process.returncode = 0  # as far as this process is concerned
            process.stdin.close()
            process.stdout.close()
    CREW, LATER = Crew(), Crew(BACK)


def _at_exit() -> None:
    CREW.dismiss()
    LATER.dismiss()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
