"""Hooks of modules: handles, the hooks that every module shares, and the way of a call that has hooks."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import flambeau as torch

from ..autograd.handles import EDITS
from ..autograd.handles import RemovableHandle as RemovableHandle

# Tables of these names come into being when they are first asked for; asking puts the module on the hooked path.
CALL_TABLES = frozenset(
    (
        "_forward_hooks",
        "_forward_hooks_with_kwargs",
        "_forward_hooks_always_called",
        "_forward_pre_hooks",
        "_forward_pre_hooks_with_kwargs",
        "_backward_hooks",
        "_backward_pre_hooks",
    )
)
STATE_TABLES = frozenset(
    (
        "_state_dict_hooks",
        "_state_dict_pre_hooks",
        "_load_state_dict_pre_hooks",
        "_load_state_dict_post_hooks",
    )
)
TABLES = CALL_TABLES | STATE_TABLES
_NONE: OrderedDict = OrderedDict()


class GlobalHooks:
    """The hooks of every module there is; registering one of the call hooks sends all modules the hooked way."""

    forward: OrderedDict = OrderedDict()
    forward_with_kwargs: OrderedDict = OrderedDict()
    forward_always: OrderedDict = OrderedDict()
    forward_pre: OrderedDict = OrderedDict()
    backward: OrderedDict = OrderedDict()
    backward_pre: OrderedDict = OrderedDict()
    backward_is_full: bool | None = None
    on_buffer: OrderedDict = OrderedDict()
    on_module: OrderedDict = OrderedDict()
    on_parameter: OrderedDict = OrderedDict()


def add_hook(table: OrderedDict, hook: Any, prepend: bool = False, marks: tuple = ()) -> RemovableHandle:
    """Puts `hook` into `table` (first if `prepend`) and True into each of the tables `marks`."""
    EDITS[0] += 1
    handle = RemovableHandle(table, extra_dict=list(marks))
    table[handle.id] = hook
    if prepend:
        table.move_to_end(handle.id, last=False)
    for mark in marks:
        mark[handle.id] = True
    return handle


def announce(table: OrderedDict, module: Any, name: str, value: Any) -> Any:
    """Runs the registration hooks; each may replace the value that is being registered."""
    for hook in table.values():
        replaced = hook(module, name, value)
        if replaced is not None:
            value = replaced
    return value


def call_with_hooks(module: Any, args: tuple, kwargs: dict) -> Any:
    """`module(*args, **kwargs)` where hooks may exist: pre-hooks, forward, forward hooks, backward hooks."""
    table = module.__dict__.get
    called: set[int] = set()
    try:
        args, kwargs = _run_pre_hooks(module, args, kwargs)
        full, plain = backward_hooks(module)
        pre = [*GlobalHooks.backward_pre.values(), *table("_backward_pre_hooks", _NONE).values()]
        watch = BackwardWatch(module, full, pre) if full or pre else None
        if watch is not None:
            args = watch.inputs(args)
        result = module.forward(*args, **kwargs)
        for key, hook, with_kwargs, _ in _forward_hooks(module):
            called.add(key)
            changed = hook(module, args, kwargs, result) if with_kwargs else hook(module, args, result)
            if changed is not None:
                result = changed
        if watch is not None:
            result = watch.outputs(result)
        if plain:
            _attach_plain(module, plain, result)
        return result
    except Exception:
        _run_always_called(module, args, kwargs, called)
        raise


def _run_pre_hooks(module: Any, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    table = module.__dict__.get
    takes_kwargs = table("_forward_pre_hooks_with_kwargs", _NONE)
    hooks = [*GlobalHooks.forward_pre.items(), *table("_forward_pre_hooks", _NONE).items()]
    for key, hook in hooks:
        if key in takes_kwargs:
            changed = hook(module, args, kwargs)
            if changed is None:
                continue
            if not (isinstance(changed, tuple) and len(changed) == 2):
                raise RuntimeError(
                    f"forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got {changed}."
                )
            args, kwargs = changed
        else:
            changed = hook(module, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
    return args, kwargs


def _forward_hooks(module: Any) -> list[tuple[int, Any, bool, bool]]:
    """(key, hook, takes kwargs, always called) of the global hooks and then the module's own."""
    g, table = GlobalHooks, module.__dict__.get
    found = [(k, h, k in g.forward_with_kwargs, k in g.forward_always) for k, h in g.forward.items()]
    kwargs_keys, always = (
        table("_forward_hooks_with_kwargs", _NONE),
        table("_forward_hooks_always_called", _NONE),
    )
    found += [(k, h, k in kwargs_keys, k in always) for k, h in table("_forward_hooks", _NONE).items()]
    return found


def _run_always_called(module: Any, args: tuple, kwargs: dict, called: set[int]) -> None:
    """After an exception: the hooks that asked to be always called and were not yet, with result None."""
    for key, hook, with_kwargs, always in _forward_hooks(module):
        if not always or key in called:
            continue
        try:
            if with_kwargs:
                hook(module, args, kwargs, None)
            else:
                hook(module, args, None)
        except Exception as error:
            import warnings

            warnings.warn(
                "module forward hook with ``always_call=True`` raised an exception that was silenced as another "
                f"error was raised in forward: {error}",
                stacklevel=3,
            )


def backward_hooks(module: Any) -> tuple[list, list]:
    """The full and the old-style backward hooks that concern `module`, global ones first."""
    full: list[Any] = []
    plain: list[Any] = []
    if GlobalHooks.backward:
        (full if GlobalHooks.backward_is_full else plain).extend(GlobalHooks.backward.values())
    own = module.__dict__.get("_backward_hooks")
    if own:
        (full if module._is_full_backward_hook else plain).extend(own.values())
    return full, plain


def _attach_plain(module: Any, hooks: list, result: Any) -> None:
    """Old-style backward hooks sit on the node that made the (first) result."""
    first = result
    while not isinstance(first, torch.Tensor):
        first = (
            next(v for v in first.values() if isinstance(v, torch.Tensor))
            if isinstance(first, dict)
            else first[0]
        )
    node = first.grad_fn
    if node is not None:
        for hook in hooks:
            node.register_hook(
                lambda grad_input, grad_output, hook=hook: hook(module, grad_input, grad_output)
            )


class BackwardWatch:
    """One call's full backward hooks: two identity nodes around the call see its gradients come and go."""

    def __init__(self, module: Any, hooks: list, pre_hooks: list):
        self.module, self.hooks, self.pre_hooks = module, hooks, pre_hooks
        self.grad_outputs: tuple | None = None
        self.input_count, self.input_at = -1, None
        self.output_at: list[int] = []

    def inputs(self, args: tuple) -> tuple:
        """`args`, with its tensors passed through the node that reports grad_input."""
        self.input_count = len(args)
        args, self.input_at = self._through(args, self._on_grad_inputs)
        return args

    def outputs(self, result: Any) -> Any:
        """`result`, with its tensors passed through the node that reports grad_output."""
        single = not isinstance(result, tuple)
        items = (result,) if single else result
        self.output_count = len(items)
        items, at = self._through(items, self._on_grad_outputs)
        self.output_at = at or []
        return items[0] if single else items

    def _through(self, items: tuple, on_grads: Any) -> tuple[tuple, list[int] | None]:
        at = [i for i, x in enumerate(items) if isinstance(x, torch.Tensor)]
        if not (torch.is_grad_enabled() and any(items[i].requires_grad for i in at)):
            return items, None
        made = _identity().apply(on_grads, *(items[i] for i in at))
        passed = list(items)
        for i, tensor in zip(at, made, strict=True):
            passed[i] = tensor
        if hasattr(items, "_fields"):
            return type(items)(*passed), at
        return type(items)(passed), at

    def _on_grad_outputs(self, grads: tuple) -> tuple:
        grad_outputs = _spread(grads, self.output_at, self.output_count)
        for hook in self.pre_hooks:
            changed = hook(self.module, grad_outputs)
            if changed is None:
                continue
            changed = changed if isinstance(changed, tuple) else (changed,)
            if len(changed) != len(grad_outputs):
                raise RuntimeError(
                    "Backward pre hook returned an invalid number of grad_output, "
                    f"got {len(changed)}, but expected {len(grad_outputs)}"
                )
            grad_outputs = changed
        self.grad_outputs = grad_outputs
        if self.input_at is None:
            self._report_without_inputs()
        return tuple(grad_outputs[i] for i in self.output_at)

    def _report_without_inputs(self) -> None:
        import warnings

        warnings.warn(
            "Full backward hook is firing when gradients are computed with respect to module outputs since no inputs "
            "require gradients. See https://docs.pytorch.org/docs/main/generated/torch.nn.Module.html#torch.nn.Module."
            "register_full_backward_hook for more details.",
            stacklevel=5,
        )
        nothing = (None,) * self.input_count
        for hook in self.hooks:
            changed = hook(self.module, nothing, self.grad_outputs)
            if changed is not None and not (isinstance(changed, tuple) and all(g is None for g in changed)):
                raise RuntimeError(
                    "Backward hook for Modules where no input requires gradient should always return None or None "
                    "for all gradients."
                )
        self.grad_outputs = None

    def _on_grad_inputs(self, grads: tuple) -> tuple:
        grad_inputs = _spread(grads, self.input_at, self.input_count)
        if self.grad_outputs is None:  # the output took no part in this backward
            return grads
        for hook in self.hooks:
            changed = hook(self.module, grad_inputs, self.grad_outputs)
            if changed is None:
                continue
            changed = changed if isinstance(changed, tuple) else (changed,)
            if len(changed) != len(grad_inputs):
                raise RuntimeError(
                    "Backward hook returned an invalid number of grad_input, "
                    f"got {len(changed)}, but expected {len(grad_inputs)}"
                )
            grad_inputs = changed
        self.grad_outputs = None
        return tuple(grad_inputs[i] for i in self.input_at or ())


def _spread(values: tuple, at: list[int] | None, count: int) -> tuple:
    """A tuple of `count` entries: `values` at the places `at`, None elsewhere."""
    out: list[Any] = [None] * count
    for i, value in zip(at or (), values, strict=True):
        out[i] = value
    return tuple(out)


_IDENTITY: Any = None


def _identity() -> Any:
    """The autograd Function that returns its tensors and hands their gradients to a callback."""
    global _IDENTITY
    if _IDENTITY is None:

        class BackwardHookFunction(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, on_grads: Any, *tensors: Any) -> tuple:
                ctx.on_grads = on_grads
                ctx.mark_non_differentiable(*(t for t in tensors if not t.requires_grad))
                ctx.set_materialize_grads(False)
                return tuple(t.view_as(t) for t in tensors)

            @staticmethod
            def backward(ctx: Any, *grads: Any) -> tuple:
                return None, *ctx.on_grads(grads)

        _IDENTITY = BackwardHookFunction
    return _IDENTITY
