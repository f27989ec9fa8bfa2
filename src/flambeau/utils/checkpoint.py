"""torch.utils.checkpoint: parts of a model whose values are computed again in backward instead of being kept."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import flambeau as torch

from ..autograd.checkpoint import CheckpointError as CheckpointError
from ..autograd.checkpoint import checkpoint as without_reentrance
from ..autograd.checkpoint import rng_from, rng_state
from ..stream.capture import outside
from ..stream.value import LOCAL

__all__ = [
    "CheckpointError",
    "CheckpointFunction",
    "check_backward_validity",
    "checkpoint",
    "checkpoint_sequential",
    "detach_variable",
    "noop_context_fn",
    "set_checkpoint_debug_enabled",
    "set_checkpoint_early_stop",
]

_UNSAID = (
    "torch.utils.checkpoint: the use_reentrant parameter should be passed explicitly. Starting in PyTorch 2.9, calling "
    "checkpoint without use_reentrant will raise an exception. use_reentrant=False is recommended, but if you need to "
    "preserve the current default behavior, you can pass use_reentrant=True. Refer to docs for more details on the "
    "differences between the two variants."
)


def get_device_states(*args: Any) -> tuple[list[int], list[Any]]:
    """The accelerators of the tensors, and the states of their generators: none."""
    return [], []


def set_device_states(devices: Any, states: Any, *, device_type: str | None = None) -> None:
    """Set the states that `get_device_states` gave: there are none."""


def noop_context_fn() -> tuple[Any, Any]:
    """No contexts for the first and for the second computation."""
    return nullcontext(), nullcontext()


def set_checkpoint_early_stop(enable: bool) -> Any:
    """Accepted: only what backward needs is computed again anyway."""
    return nullcontext()


def set_checkpoint_debug_enabled(enabled: bool | None) -> Any:
    """Accepted: there is nothing more to say."""
    return nullcontext()


def detach_variable(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The inputs, their tensors outside of the graph but requiring gradients as before."""
    return tuple(
        [t.detach().requires_grad_(t.requires_grad) if isinstance(t, torch.Tensor) else t for t in inputs]
    )


def check_backward_validity(inputs: Iterable[Any]) -> None:
    """A warning if no input requires a gradient."""
    if not any(isinstance(t, torch.Tensor) and t.requires_grad for t in inputs):
        warnings.warn("None of the inputs have requires_grad=True. Gradients will be None", stacklevel=2)


class CheckpointFunction(torch.autograd.Function):
    """The variant with use_reentrant=True: a backward within backward, which fills .grad of the leaves it meets."""

    @staticmethod
    def forward(ctx: Any, run_function: Any, preserve_rng_state: bool, *args: Any) -> Any:
        """run_function(*args), without a graph."""
        check_backward_validity(args)
        ctx.run_function = run_function
        ctx.state = rng_state() if preserve_rng_state else None
        ctx.at = [i for i, a in enumerate(args) if isinstance(a, torch.Tensor)]
        ctx.rest = [None if isinstance(a, torch.Tensor) else a for a in args]
        ctx.save_for_backward(*[args[i] for i in ctx.at])
        with torch.no_grad():
            result = run_function(*args)
        outside("a checkpoint computes again what it does not keep")
        LOCAL.s.flush()  # what was computed for the first time must not serve the second
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """The gradients of args, after run_function was run again."""
        inputs = list(ctx.rest)
        for i, t in zip(ctx.at, ctx.saved_tensors):
            inputs[i] = t
        with rng_from(ctx.state):
            detached = detach_variable(tuple(inputs))
            with torch.enable_grad():
                outputs = ctx.run_function(*detached)
        outputs = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
        pairs = [(t, g) for t, g in zip(outputs, grads) if isinstance(t, torch.Tensor) and t.requires_grad]
        if not pairs:
            raise RuntimeError("none of output has requires_grad=True, this checkpoint() is not necessary")
        torch.autograd.backward([t for t, _ in pairs], [g for _, g in pairs])
        return None, None, *[t.grad if isinstance(t, torch.Tensor) else None for t in detached]


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    context_fn: Callable[[], tuple[Any, Any]] = noop_context_fn,
    determinism_check: str = "default",
    debug: bool = False,
    early_stop: bool = True,
    **kwargs: Any,
) -> Any:
    """function(*args, **kwargs), keeping only its arguments: backward computes the rest again.

    preserve_rng_state (True): random numbers are the same the second time. use_reentrant: True runs a backward within
    backward (one argument at least must require a gradient); False makes one node, with the gradients of the call.
    context_fn gives contexts for the first and the second computation; determinism_check="none" leaves out the
    comparison of both results' metadata.
    """
    if use_reentrant is None:
        warnings.warn(_UNSAID, stacklevel=2)
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if not use_reentrant:
        contexts = None if context_fn is noop_context_fn else context_fn
        return without_reentrance(function, args, kwargs, preserve, contexts, determinism_check != "none")
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    if context_fn is not noop_context_fn or debug:
        raise ValueError("Passing `context_fn` or `debug` is only supported when use_reentrant=False.")
    return CheckpointFunction.apply(function, preserve, *args)


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """The functions (or the modules of a Sequential) one after the other, all segments but the last checkpointed."""
    if use_reentrant is None:
        warnings.warn(_UNSAID.replace("checkpoint:", "checkpoint.checkpoint_sequential:"), stacklevel=2)
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    steps = list(functions.children()) if isinstance(functions, torch.nn.Sequential) else list(functions)

    def chain(part: list[Any]) -> Callable[[Any], Any]:
        def forward(x: Any) -> Any:
            for step in part:
                x = step(x)
            return x

        return forward

    size = len(steps) // segments
    end = size * (segments - 1)
    for start in range(0, end, size or 1):
        input = checkpoint(
            chain(steps[start : start + size]),
            input,
            use_reentrant=use_reentrant,
            preserve_rng_state=preserve,
        )
    return chain(steps[end:])(input)
