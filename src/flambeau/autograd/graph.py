"""What a program may do with the graph itself: nodes, edges, saved tensors, versions, hooks (torch.autograd.graph)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from ..stream import gradient
from ..stream.value import Node, Tensor, extras, version_of
from .engine import hooks_of

_HOOKS: list[tuple[Callable[..., Any], Callable[..., Any]]] = []


class GradientEdge(NamedTuple):
    """Output `output_nr` of a node."""

    node: Node
    output_nr: int
    ownership_token: Any = None


def get_gradient_edge(tensor: Tensor) -> GradientEdge:
    """The place in the graph where the gradient of a tensor arrives."""
    found = gradient.edge(tensor)
    if found is None:
        raise RuntimeError(
            "It is not possible to get the gradient edge for a Tensor that does not require gradients"
        )
    return GradientEdge(*found)


def increment_version(tensor: Tensor | Iterable[Tensor]) -> None:
    """Count a write to the tensors, as in-place operations do."""
    every: Iterable[Tensor] = (tensor,) if isinstance(tensor, Tensor) else tensor
    for t in every:
        version_of(t).n += 1


def current_hooks() -> tuple[Callable[..., Any], Callable[..., Any]] | None:
    """(pack, unpack) of the innermost `saved_tensors_hooks`, or None."""
    return _HOOKS[-1] if _HOOKS else None


class saved_tensors_hooks:
    """Within it, what custom functions save passes through pack_hook, and through unpack_hook when it is used."""

    def __init__(self, pack_hook: Callable[[Tensor], Any], unpack_hook: Callable[[Any], Tensor]):
        self.hooks = pack_hook, unpack_hook

    def __enter__(self) -> None:
        _HOOKS.append(self.hooks)

    def __exit__(self, *error: object) -> None:
        _HOOKS.pop()


class save_on_cpu(saved_tensors_hooks):
    """Saved tensors wait in the memory of the CPU (where they are anyway)."""

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda"):
        super().__init__(lambda t: t, lambda t: t)


@contextmanager
def disable_saved_tensors_hooks(error_message: str) -> Iterator[None]:
    """Within it, hooks on saved tensors are not in force."""
    before, _HOOKS[:] = list(_HOOKS), []
    try:
        yield
    finally:
        _HOOKS[:] = before


# --- hooks on tensors and nodes --------------------------------------------------------------------------------------


def _handle(table: Any, hook: Callable[..., Any], leaf: bool = False) -> Any:
    from .handles import EDITS, RemovableHandle

    EDITS[0] += leaf  # captured calls look whether their parameters have got hooks

    handle = RemovableHandle(table)
    table[handle.id] = hook
    return handle


def register_hook(t: Tensor, hook: Callable[[Tensor], Tensor | None]) -> Any:
    """Call hook(grad) when the gradient of t is known; what it returns, if not None, takes the gradient's place."""
    if not t.requires_grad:  # type: ignore[attr-defined]
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    found = gradient.edge(t)
    if found is None:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    node, nr = found
    if isinstance(node, gradient.AccumulateGrad):
        x = extras(t)
        if x.hooks is None:
            x.hooks = OrderedDict()
        return _handle(x.hooks, hook, True)
    return _handle(hooks_of(node).tensor.setdefault(nr, OrderedDict()), hook)


def register_post_accumulate_grad_hook(t: Tensor, hook: Callable[[Tensor], None]) -> Any:
    """Call hook(t) after a gradient was added to .grad of the leaf t."""
    if not t.requires_grad:  # type: ignore[attr-defined]
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if gradient.grad_fn(t) is not None:
        raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
    x = extras(t)
    if x.post_hooks is None:
        x.post_hooks = OrderedDict()
    return _handle(x.post_hooks, hook, True)


def _node_hook(node: Node, hook: Callable[..., Any]) -> Any:
    """Call hook(grad_inputs, grad_outputs) after the node has run."""
    return _handle(hooks_of(node).post, hook)


def _node_prehook(node: Node, hook: Callable[..., Any]) -> Any:
    """Call hook(grad_outputs) before the node runs."""
    return _handle(hooks_of(node).pre, hook)


def register_multi_grad_hook(tensors: Any, fn: Callable[..., Any], *, mode: str = "all") -> Any:
    """Call fn once the gradients of all the tensors are known (mode "any": of the first)."""
    state: dict[int, Any] = {}

    def hook_of(i: int) -> Callable[[Tensor], None]:
        def hook(g: Tensor) -> None:
            if mode == "any":
                if not state:
                    fn(g)
                state[i] = g
                return
            state[i] = g
            if len(state) == len(tensors):
                grads = [state[k] for k in range(len(tensors))]
                state.clear()
                fn(grads)

        return hook

    handles = [register_hook(t, hook_of(i)) for i, t in enumerate(tensors)]

    class Handle:
        def remove(self) -> None:
            for h in handles:
                h.remove()

    return Handle()


def install() -> None:
    """Put the hook methods on tensors and nodes."""
    Tensor.register_hook = register_hook  # type: ignore[attr-defined]
    Tensor.register_post_accumulate_grad_hook = register_post_accumulate_grad_hook  # type: ignore[attr-defined]
    Node.register_hook = _node_hook  # type: ignore[attr-defined]
    Node.register_prehook = _node_prehook  # type: ignore[attr-defined]
