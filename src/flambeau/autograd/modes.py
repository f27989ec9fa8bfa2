"""Gradient modes: contexts and decorators that switch recording of the graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..stream.value import INFERENCE, LOCAL, Stream


class _Mode:
    """A context manager that is also a decorator (of functions and generators)."""

    def __enter__(self) -> Any:
        raise NotImplementedError

    def __exit__(self, *error: object) -> None:
        raise NotImplementedError

    def clone(self) -> _Mode:
        return type(self)()

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        import functools
        import inspect

        if inspect.isclass(fn):
            fn.__init__ = self(fn.__init__)  # type: ignore[method-assign]
            return fn
        if inspect.isgeneratorfunction(fn):
            return self._generator(fn)

        @functools.wraps(fn)
        def wrapped(*args: Any, **options: Any) -> Any:
            with self.clone():
                return fn(*args, **options)

        return wrapped

    def _generator(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        import functools

        @functools.wraps(fn)
        def wrapped(*args: Any, **options: Any) -> Any:
            generator = fn(*args, **options)
            try:
                with self.clone():
                    value = generator.send(None)
                while True:
                    try:
                        sent = yield value
                    except GeneratorExit:
                        with self.clone():
                            generator.close()
                        raise
                    except BaseException as error:
                        with self.clone():
                            value = generator.throw(error)
                    else:
                        with self.clone():
                            value = generator.send(sent)
            except StopIteration as stop:
                return stop.value

        return wrapped


def switch(S: Stream, on: bool) -> None:
    """Record gradients or not. In inference mode nothing is recorded, but the mode is noted."""
    if S.inference:
        S.inference = "grad" if on else True
    else:
        S.grad = on


def restore(before: tuple[bool, Any]) -> None:
    """The modes as they were."""
    S = LOCAL.s
    S.grad, S.inference = before
    S.fresh = INFERENCE if S.inference else None


class no_grad(_Mode):
    """Nothing computed inside requires a gradient."""

    __slots__ = ("before",)

    def __new__(cls, orig_func: Callable[..., Any] | None = None) -> Any:
        made = object.__new__(cls)
        return made if orig_func is None else made(orig_func)

    def __init__(self, orig_func: Any = None) -> None:
        pass

    def __enter__(self) -> None:
        S = LOCAL.s
        self.before = S.grad, S.inference
        switch(S, False)

    def __exit__(self, *error: object) -> None:
        restore(self.before)


class enable_grad(no_grad):
    """Gradients are recorded inside, whatever the mode outside."""

    def __enter__(self) -> None:
        S = LOCAL.s
        self.before = S.grad, S.inference
        switch(S, True)


class set_grad_enabled(_Mode):
    """Switch recording on or off, at once; as a context, until its end."""

    def __init__(self, mode: bool):
        self.mode = mode
        S = LOCAL.s
        self.before = S.grad, S.inference
        switch(S, bool(mode))

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        restore(self.before)
        return super().__call__(fn)

    def __enter__(self) -> None:
        switch(LOCAL.s, bool(self.mode))

    def __exit__(self, *error: object) -> None:
        restore(self.before)

    def clone(self) -> set_grad_enabled:
        """The same mode, to be entered anew."""
        return type(self)(self.mode)

    def __repr__(self) -> str:
        return f"set_grad_enabled(mode={self.mode})"


class inference_mode(_Mode):
    """As no_grad, and new tensors are inference tensors: they count no writes, and can neither be saved for backward
    nor be written outside. With mode=False: gradients are recorded inside, whatever the mode outside."""

    def __new__(cls, mode: Any = True) -> Any:
        made = object.__new__(cls)
        if isinstance(mode, bool):
            return made
        made.mode = True
        return made(mode)

    def __init__(self, mode: bool = True):
        if isinstance(mode, bool):
            self.mode = mode

    def __enter__(self) -> None:
        S = LOCAL.s
        self.before = S.grad, S.inference
        restore((not self.mode, bool(self.mode)))

    def __exit__(self, *error: object) -> None:
        restore(self.before)

    def clone(self) -> inference_mode:
        """The same mode, to be entered anew."""
        return type(self)(self.mode)


def is_grad_enabled() -> bool:
    """Whether operations are recorded for gradients."""
    S = LOCAL.s
    return S.grad or S.inference == "grad"


def is_inference_mode_enabled() -> bool:
    """Whether inference mode is on."""
    return bool(LOCAL.s.inference)


NAMES = (
    "no_grad",
    "enable_grad",
    "set_grad_enabled",
    "inference_mode",
    "is_grad_enabled",
    "is_inference_mode_enabled",
)
