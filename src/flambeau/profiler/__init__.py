"""torch.profiler: the calls of a part of a program, with their times, as a table or as a trace.

While a profile is on, every operation runs in its call, so that its time is its own: the sum is what the program takes
operation by operation. Outside, neighbours run together.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import ContextDecorator
from enum import Enum
from typing import Any

from ..absent import classes
from ..errors import fail
from .events import EventList as EventList
from .events import FunctionEvent as FunctionEvent
from .events import FunctionEventAvg as FunctionEventAvg
from .recording import NOW, Recorder


class ProfilerActivity(Enum):
    """What a profile would watch."""

    CPU, CUDA, XPU = 0, 1, 2


class ProfilerAction(Enum):
    """What a schedule says of a step."""

    NONE, WARMUP, RECORD, RECORD_AND_SAVE = 0, 1, 2, 3


def schedule(
    *, wait: int, warmup: int, active: int, repeat: int = 0, skip_first: int = 0
) -> Callable[[int], ProfilerAction]:
    """The action of each step: `wait` idle ones, `warmup`, `active`, and so on, `repeat` times (0: for ever)."""

    def action(step: int) -> ProfilerAction:
        step -= skip_first
        length = wait + warmup + active
        if step < 0 or (repeat and step // length >= repeat) or step % length < wait:
            return ProfilerAction.NONE
        at = step % length
        if at < wait + warmup:
            return ProfilerAction.WARMUP
        return ProfilerAction.RECORD if at < length - 1 else ProfilerAction.RECORD_AND_SAVE

    return action


class record_function(ContextDecorator):
    """A named region of the program (a context or a decorator): an event of the profile that is on, if one is."""

    def __init__(self, name: str, args: str | None = None):
        self.name, self.args = name, args
        self.event: Any = None

    def __enter__(self) -> record_function:
        recorder = NOW[0]
        self.event = None if recorder is None else recorder.begin(self.name, user=True)
        return self

    def __exit__(self, *reason: Any) -> None:
        recorder = NOW[0]
        while recorder is not None and self.event in recorder.open:
            recorder.end()


def supported_activities() -> set[ProfilerActivity]:
    """What a profile can watch."""
    return {ProfilerActivity.CPU}


def tensorboard_trace_handler(
    dir_name: str, worker_name: str | None = None, use_gzip: bool = False
) -> Callable[[Any], None]:
    """What writes the trace of each profile that is ready into a folder."""
    os.makedirs(dir_name, exist_ok=True)
    worker = worker_name or f"{socket.gethostname()}_{os.getpid()}"

    def write(prof: Any) -> None:
        name = f"{worker}.{time.time_ns()}.pt.trace.json{'.gz' * use_gzip}"
        prof.export_chrome_trace(os.path.join(dir_name, name))

    return write


_RECORDING = (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)


class profile:
    """As a context: the calls made within it.

    With a schedule, `step()` ends each step, and `on_trace_ready(self)` is called at the end of each cycle.

    >>> import flambeau as torch
    >>> with torch.profiler.profile() as prof:
    ...     y = torch.ones(2, 3).exp()
    >>> [e.key for e in prof.key_averages()]
    ['aten::ones', 'aten::exp']
    """

    def __init__(
        self,
        *,
        activities: Iterable[ProfilerActivity] | None = None,
        schedule: Callable[[int], ProfilerAction] | None = None,
        on_trace_ready: Callable[[Any], Any] | None = None,
        record_shapes: bool = False,
        profile_memory: bool = False,
        with_stack: bool = False,
        with_flops: bool = False,
        with_modules: bool = False,
        experimental_config: Any = None,
        execution_trace_observer: Any = None,
        acc_events: bool = False,
        use_cuda: bool | None = None,
        custom_trace_id_callback: Any = None,
    ):
        self.activities = set(activities) if activities is not None else supported_activities()
        self.schedule, self.on_trace_ready = schedule, on_trace_ready
        self.record_shapes, self.profile_memory = record_shapes, profile_memory
        self.with_stack, self.with_flops, self.with_modules = with_stack, with_flops, with_modules
        self.acc_events, self.step_num = acc_events, 0
        self.current_action = self._action()
        self._recorder: Recorder | None = None
        self._seen: list[FunctionEvent] | None = None
        self._facts: dict[str, Any] = {}
        self._region: record_function | None = None

    def _action(self) -> ProfilerAction:
        return ProfilerAction.RECORD if self.schedule is None else self.schedule(self.step_num)

    def __enter__(self) -> Any:
        self.start()
        return self

    def __exit__(self, *reason: Any) -> None:
        self.stop()

    def start(self) -> None:
        """Begin, with the action of the first step."""
        self._enter()

    def stop(self) -> None:
        """End, and hand over what is not handed over yet."""
        if self._recorder is not None:
            self._leave()
            if self.on_trace_ready is not None:
                self.on_trace_ready(self)

    def step(self) -> None:
        """The end of a step of the schedule."""
        before = self.current_action
        self._close_region()
        self.step_num += 1
        self.current_action = self._action()
        ready = before is ProfilerAction.RECORD_AND_SAVE
        if self._recorder is not None and (ready or self.current_action not in _RECORDING):
            self._leave()
            if ready and self.on_trace_ready is not None:
                self.on_trace_ready(self)
        self._enter()

    def _enter(self) -> None:
        if self.current_action not in _RECORDING:
            return
        if self._recorder is None:
            if NOW[0] is not None:
                fail(RuntimeError, "profile: another profile is on; one at a time")
            self._recorder = Recorder(self.record_shapes, self.profile_memory)
            self._recorder.start()
        if self.schedule is not None:
            self._region = record_function(f"ProfilerStep#{self.step_num}")
            self._region.__enter__()

    def _close_region(self) -> None:
        if self._region is not None:
            self._region.__exit__()
            self._region = None

    def _leave(self) -> None:
        self._close_region()
        recorder, self._recorder = self._recorder, None
        recorder.stop()  # type: ignore[union-attr]
        kept = self._seen if self.acc_events and self._seen else []
        self._seen = kept + recorder.events  # type: ignore[union-attr]

    def events(self) -> EventList:
        """The calls of the last cycle (acc_events: of all), in the order of their begin."""
        if self._seen is None:
            fail(AssertionError, "profile: nothing was recorded yet; ask when it has ended")
        return EventList(self._seen, self.profile_memory)

    def key_averages(
        self, group_by_input_shape: bool = False, group_by_stack_n: int = 0, **_: Any
    ) -> EventList:
        """The sums of the calls with one name (and, if asked, one list of shapes)."""
        return self.events().key_averages(group_by_input_shape, group_by_stack_n)

    def export_chrome_trace(self, path: str) -> None:
        """Write the calls as a file that chrome://tracing and Perfetto show; as gzip if it is called so."""
        if not path.endswith(".gz"):
            self.events().export_chrome_trace(path, os.getpid(), self._facts)
            return
        import gzip

        plain = path[: -len(".gz")]
        self.events().export_chrome_trace(plain, os.getpid(), self._facts)
        with open(plain, "rb") as source, gzip.open(path, "wb") as packed:
            packed.write(source.read())
        os.remove(plain)

    def add_metadata_json(self, key: str, value: str) -> None:
        """A fact for the trace, as JSON."""
        import json

        self._facts[key] = json.loads(value)

    def add_metadata(self, key: str, value: str) -> None:
        """A fact for the trace."""
        self._facts[key] = value


def kineto_available() -> bool:
    """Whether `profile` takes a schedule and writes traces: yes."""
    return True


globals().update(classes("profiler", "a profile of CUDA's", "emit_itt", "emit_nvtx"))
