"""torch.compile: a call is captured, whole, and replayed as one native call; and torch.compiler.

    step = torch.compile(step)      # a training step with backward and optimizer, a function, a module, a bound method

The first calls run as they would uncaptured and are recorded. When two recordings agree, the next call with inputs of
the same metadata runs none of the function's Python: it checks what the recording has read (metadata and aliasing of
the inputs, Python numbers and other values that the function can reach, flags of modules, the gradient mode), runs one
program, and leaves what the function would have left: results, gradients, states, random numbers, versions. Up to
CACHED captures of one function are kept. What cannot be captured runs as it is, with one warning that says why.
"""

from __future__ import annotations

import functools
import threading
import warnings
import weakref
from collections.abc import Callable
from typing import Any

from . import config
from .nn.module import Module
from .replay.build import MISS, Replay
from .replay.record import Recording, Refused
from .stream.capture import outside
from .stream.explain import WATCHED
from .stream.flush import look_up
from .stream.value import LOCAL

__all__ = [
    "allow_in_graph",
    "assume_constant_result",
    "compile",
    "cudagraph_mark_step_begin",
    "disable",
    "is_compiling",
    "is_dynamo_compiling",
    "is_exporting",
    "list_backends",
    "reset",
    "set_stance",
]

CACHED = 8  # captures of one function
PATIENCE = 3  # calls in a row that cannot be captured, after which it is not tried again
NOVEL = 24  # recordings without a single replay, after which it is not tried again
BACKENDS = ("inductor", "flambeau", "eager", "aot_eager", "cudagraphs", "openxla", "tvm", "onnxrt")
MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
TAKING = threading.RLock()  # two threads may have recorded one function
_captured: weakref.WeakSet[Any] = weakref.WeakSet()


class Captured:
    """The captures of one function."""

    def __init__(self, fn: Callable[..., Any], fullgraph: bool = False):
        self.fn, self.fullgraph = fn, fullgraph
        self.reset()
        _captured.add(self)

    def reset(self) -> None:
        """Forget all captures."""
        self.replays: list[Replay] = []
        self.pending: list[Recording] = []
        self.refused = self.novel = 0
        self.off = self.told = False

    def __call__(self, *args: Any, **options: Any) -> Any:
        S = LOCAL.s
        if S.depth or self.off or S.capture is not None or S.eager or S.backward:
            return self.fn(*args, **options)
        replays = self.replays
        for replay in replays:
            result = replay.call(S, args, options)
            if result is not MISS:
                if replay is not replays[0]:  # other threads may walk the list
                    self.replays = [replay, *[r for r in replays if r is not replay]]
                self.novel = 0
                if WATCHED:
                    WATCHED[-1].append(replay.flush)
                return result
        if config.backend != "cpu":
            return self.fn(*args, **options)
        return self.record(S, args, options)

    def record(self, S: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Run the call, uncaptured, and look at what it records."""
        r = Recording(self.fn, args, options)
        if r.refusal:
            result = self.fn(*args, **options)
            self.refuse(r.refusal, 1)
            return result
        r.session.forget = r.strip
        with r.session:
            result = self.fn(*args, **options)
            S.lock.acquire()  # until it was looked at, no other thread runs what was recorded
        try:
            with TAKING:
                why = r.session.ended or self.take(r, result)
        finally:
            S.lock.release()
        S.flush()
        if why:
            self.refuse(why, PATIENCE if r.session.passing or not r.session.ended else 1)
        return result

    def take(self, r: Recording, result: Any) -> str:
        """Make a replay of a recording that agrees with an earlier one; else keep it. Why not, if it cannot be one."""
        try:
            r.finish(result)
            r.check()
            r.summary()
            other = next((p for p in self.pending if p.code == r.code and r.agrees(p)), None)
            if other is not None:
                self.pending.remove(other)
                self.add(Replay(r))
                r.strip()
                self.refused = 0
                return ""
        except Refused as error:
            r.strip()
            return str(error)
        r.strip()
        self.pending.append(r)
        del self.pending[:-CACHED]
        self.novel += 1
        if self.novel > NOVEL:
            return "no two calls of it record the same"
        return ""

    def add(self, replay: Replay) -> None:
        """A capture more; the one that was used for longest ago goes."""
        known = look_up(replay.code)
        if not known.programs:
            known.programs.append(replay.program)
        self.replays = [replay, *self.replays[: CACHED - 1]]

    def refuse(self, why: str, patience: int) -> None:
        """A call could not be captured: say so once it is sure, and stop trying after a while."""
        self.refused += 1
        self.off = self.refused >= PATIENCE or self.novel > NOVEL
        if (self.refused >= patience or self.off) and not self.told:
            self.told = True
            name = getattr(self.fn, "__qualname__", None) or type(self.fn).__name__
            text = f"torch.compile: {name} runs uncaptured: {why}"
            if self.fullgraph:
                raise RuntimeError(text)
            warnings.warn(text, stacklevel=4)


class OptimizedModule(Module):
    """A compiled module: the module's own attributes, names, state and class; only its call is another.

    `_orig_mod` is the module itself. Pickling and copying give what they would give of the module."""

    _orig_mod: Any
    _call: Any

    @property
    def __class__(self) -> Any:  # type: ignore[override]
        return type(self._orig_mod)

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self._call(*args, **options)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._orig_mod.__reduce_ex__(protocol)

    def __deepcopy__(self, memo: Any) -> Any:
        import copy

        return compile(copy.deepcopy(self._orig_mod, memo))

    def _get_name(self) -> str:
        return self._orig_mod._get_name()


_classes: dict[type, type] = {}


def optimized(module: Module, fullgraph: bool) -> Any:
    """A module whose call is captured; it shares all attributes with `module`."""
    kind = type(module)
    cls = _classes.get(kind)
    if cls is None:
        body = {"__slots__": ("_orig_mod", "_call"), "__module__": kind.__module__, "__doc__": kind.__doc__}
        cls = _classes[kind] = type("OptimizedModule", (OptimizedModule, kind), body)
    made = object.__new__(cls)
    object.__setattr__(made, "__dict__", module.__dict__)
    object.__setattr__(made, "_orig_mod", module)
    object.__setattr__(made, "_call", Captured(module, fullgraph))
    return made


def compile(
    model: Any = None,
    *,
    fullgraph: bool = False,
    dynamic: bool | None = None,
    backend: Any = "inductor",
    mode: str | None = None,
    options: dict[str, Any] | None = None,
    disable: bool = False,
) -> Any:
    """The function, module or bound method with its calls captured and replayed; without one, a decorator.

    fullgraph: what cannot be captured raises RuntimeError instead of running as it is. dynamic: accepted; a capture is
    for the shapes it has seen, several are kept. backend: a name that PyTorch knows ("eager" leaves the function as it
    is). mode, options: accepted (not both); there is one way of compiling. disable: give back the function itself.
    """
    if model is None:
        return lambda fn: compile(
            fn,
            fullgraph=fullgraph,
            dynamic=dynamic,
            backend=backend,
            mode=mode,
            options=options,
            disable=disable,
        )
    if mode is not None and options is not None:
        raise RuntimeError(
            "Either mode or options can be specified, but both can't be specified at the same time."
        )
    if mode is not None and mode not in MODES:
        raise RuntimeError(f"Unrecognized mode={mode}, should be one of: {', '.join(MODES)}")
    if not isinstance(backend, str):
        raise NotImplementedError(
            "torch.compile: a backend of one's own would be given a graph that there is not"
        )
    if backend not in BACKENDS:
        raise RuntimeError(
            f"Invalid backend: {backend!r}, see `torch._dynamo.list_backends()` for available backends."
        )
    if disable or backend == "eager":
        return model
    if isinstance(model, OptimizedModule):
        return model
    if isinstance(model, Module):
        return optimized(model, fullgraph)
    if not callable(model):
        raise TypeError(f"torch.compile: expected a function or module; got {type(model).__name__}")
    return function(model, fullgraph)


def function(fn: Callable[..., Any], fullgraph: bool) -> Callable[..., Any]:
    """A function around the captures, which can be a method too."""
    captured = Captured(fn, fullgraph)

    def compiled(*args: Any, **kwargs: Any) -> Any:
        return captured(*args, **kwargs)

    functools.update_wrapper(compiled, fn)
    compiled.__wrapped_by_capture__ = fn  # type: ignore[attr-defined]
    compiled.captured = captured  # type: ignore[attr-defined]
    return compiled


def disable(fn: Callable[..., Any] | None = None, recursive: bool = True, **options: Any) -> Any:
    """The function, never captured: a captured function that calls it runs uncaptured. Without one, a decorator."""
    if fn is None:
        return lambda function: disable(function, recursive, **options)
    inner = getattr(fn, "__wrapped_by_capture__", fn)
    if isinstance(inner, OptimizedModule):
        return inner._orig_mod
    if isinstance(inner, Module):
        return inner

    @functools.wraps(inner)
    def uncaptured(*args: Any, **kwargs: Any) -> Any:
        outside("a function is called that compiler.disable has marked")
        return inner(*args, **kwargs)

    return uncaptured


def is_compiling() -> bool:
    """Whether a call is being captured."""
    return LOCAL.s.capture is not None


def is_dynamo_compiling() -> bool:
    """Whether a call is being captured."""
    return is_compiling()


def is_exporting() -> bool:
    """Whether a whole model is being exported: never."""
    return False


def allow_in_graph(fn: Any) -> Any:
    """The function itself: every function may be captured."""
    return fn


def assume_constant_result(fn: Any) -> Any:
    """The function itself: what it read is part of what is captured."""
    return fn


def cudagraph_mark_step_begin() -> None:
    """Nothing: the results of a captured call are not overwritten by the next."""


def list_backends(exclude_tags: Any = ()) -> list[str]:
    """The names that `compile` takes as backend."""
    return sorted(BACKENDS)


class set_stance:
    """A setting, a context or a decorator that PyTorch has for its compiler. Only "default" is there."""

    def __init__(self, stance: str = "default", **options: Any):
        if stance != "default":
            raise NotImplementedError(f"torch.compiler.set_stance: {stance!r} is not there yet")

    def __call__(self, fn: Any) -> Any:
        return fn

    def __enter__(self) -> None:
        """Nothing."""

    def __exit__(self, *error: object) -> None:
        """Nothing."""


def reset() -> None:
    """Forget what was captured."""
    for captured in list(_captured):
        captured.reset()
