"""What sees the calls of a thread while a profile is on: a mode, the watch of backward passes, steps of optimisers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..autograd import engine
from ..device.memory import memory_stats
from ..stream.access import synchronize
from ..stream.value import LOCAL, Tensor
from .events import FunctionEvent, Shapes

NOW: list[Any] = [None]  # the recorder that is on


def shapes_of(args: tuple[Any, ...]) -> Shapes:
    """The shapes of a call's positional arguments; those of no tensor are empty."""
    return [list(a.shape) if isinstance(a, Tensor) else [] for a in args]


class Recorder:
    """Every call as an event. What is recorded runs before and after it, so that its time is its own."""

    def __init__(self, shapes: bool, memory: bool):
        self.shapes, self.memory = shapes, memory
        self.events: list[FunctionEvent] = []
        self.open: list[FunctionEvent] = []
        self.thread = threading.get_native_id()
        self.before: Any = None

    # --- on and off -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """See the calls of this thread from now on."""
        from ..optim import optimizer

        synchronize()
        self.begun = time.perf_counter_ns()
        S = LOCAL.s
        S.modes = [*S.modes, self]
        S.depth += 1
        self.before, engine.CHECK[0], NOW[0] = engine.CHECK[0], self, self
        self.hooks = [
            optimizer.register_optimizer_step_pre_hook(lambda o, *_: self._step(o)),
            optimizer.register_optimizer_step_post_hook(lambda *_: self.end()),
        ]

    def stop(self) -> None:
        """See nothing any more; what is open ends now."""
        S = LOCAL.s
        while self.open:
            self.end()
        for hook in self.hooks:
            hook.remove()
        S.modes = [m for m in S.modes if m is not self]
        S.depth -= 1
        engine.CHECK[0], NOW[0] = self.before, None

    # --- events ---------------------------------------------------------------------------------------------------

    def _now(self) -> float:
        return (time.perf_counter_ns() - self.begun) / 1000

    def begin(self, name: str, shapes: Shapes | None = None, user: bool = False) -> FunctionEvent:
        """Open an event within the one that is open."""
        synchronize()
        held = memory_stats()["live"] if self.memory else 0
        event = FunctionEvent(len(self.events) + 1, name, self.thread, 0.0, shapes or [], user)
        if self.open:
            event.cpu_parent = self.open[-1]
            self.open[-1].cpu_children.append(event)
        self.events.append(event)
        self.open.append(event)
        event.cpu_memory_usage = -held
        event.time_range.start = self._now()
        return event

    def end(self) -> None:
        """Run what is recorded, and close the event that was opened last."""
        synchronize()
        event = self.open.pop()
        event.time_range.end = self._now()
        if self.memory:
            event.cpu_memory_usage += memory_stats()["live"]

    @contextmanager
    def within(self, name: str, shapes: Shapes | None = None) -> Iterator[None]:
        """An event as a context."""
        event = self.begin(name, shapes)
        try:
            yield
        finally:
            while event in self.open:
                self.end()

    def _step(self, optimizer: Any) -> None:
        kind = type(optimizer).__name__
        self.begin(f"Optimizer.step#{kind}.step", user=True)

    # --- what is seen ---------------------------------------------------------------------------------------------

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name: str = func.__name__
        name = name[1:] if name.startswith("_") and not name.startswith("__") else name
        with self.within("aten::" + name, shapes_of(args) if self.shapes else None):
            return func(*args, **(kwargs or {}))

    def run(self, node: Any, grads: tuple[Any, ...]) -> Any:
        """The gradients that a node makes."""
        name = node.name()
        outer = self.within(f"autograd::engine::evaluate_function: {name}")
        with outer, self.within(name, shapes_of(grads) if self.shapes else None):
            return node.apply(grads) if self.before is None else self.before.run(node, grads)

    def note(self, node: Any) -> None:
        """A custom function's node, for the watch that was on before."""
        if self.before is not None:
            self.before.note(node)
