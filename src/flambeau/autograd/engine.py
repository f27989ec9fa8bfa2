"""The backward pass: an iterative walk over the graph of nodes, each after all that feed it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import fail
from ..ops.entry import FUNCTIONS
from ..stream.gradient import BOOK, AccumulateGrad, edge
from ..stream.value import LOCAL, Node, Tensor, extras, fresh_meta

Grad = Tensor | None


def run(
    tensors: Sequence[Tensor],
    grads: Sequence[Grad],
    retain_graph: bool,
    create_graph: bool,
    inputs: Sequence[Tensor] | None = None,
    accumulate: bool = True,
) -> list[Grad]:
    """Push gradients from `tensors` to the leaves (accumulate) or to `inputs` (their gradients are returned)."""
    S = LOCAL.s
    before, S.grad = S.grad, create_graph
    S.backward += 1
    try:
        return _Walk(tensors, grads, retain_graph, inputs, accumulate).walk()
    finally:
        S.grad = before
        S.backward -= 1


class _Walk:
    def __init__(self, tensors: Any, grads: Any, retain: bool, inputs: Any, accumulate: bool):
        self.retain = retain
        self.buffers: dict[Node, list[Grad]] = {}
        self.captured: dict[tuple[Node, int], list[int]] = {}
        self.results: list[Grad] = [None] * len(inputs or ())
        self.roots: list[Node] = []
        self.shared: dict[int, Grad] = {id(g): g for g in grads}  # gradients that more than one place may hold
        for t, g in zip(tensors, grads):
            e = edge(t)
            if e is None:
                continue
            node, nr = e
            if node not in self.buffers:
                self.roots.append(node)
            self.receive(node, nr, g)
        self.limit: set[Node] | None = None
        if inputs is not None:
            self.accumulate_into = accumulate
            self.targets(inputs)
        self.counts = self.count()

    def targets(self, inputs: Sequence[Tensor]) -> None:
        for i, t in enumerate(inputs):
            e = edge(t)
            if e is None:
                raise RuntimeError("One of the differentiated Tensors does not require grad")
            self.captured.setdefault(e, []).append(i)

    def receive(self, node: Node, nr: int, g: Grad) -> None:
        slots = self.buffers.get(node)
        if slots is None:
            n = len(node.out) if type(node.out) is tuple else 1
            slots = self.buffers[node] = [None] * max(n, nr + 1)
        elif nr >= len(slots):
            slots.extend([None] * (nr + 1 - len(slots)))
        if g is None:
            return
        old = slots[nr]
        slots[nr] = g if old is None else old + g  # type: ignore[operator]

    def count(self) -> dict[Node, int]:
        """How many edges lead to each node that can be reached; with inputs, only nodes on a way to one matter."""
        counts: dict[Node, int] = {}
        order: list[Node] = []
        todo = list(self.roots)
        seen = set(todo)
        while todo:
            node = todo.pop()
            order.append(node)
            for e in node.edges:
                if e is None:
                    continue
                child = e[0]
                counts[child] = counts.get(child, 0) + 1
                if child not in seen:
                    seen.add(child)
                    todo.append(child)
        if self.captured:
            self.limit = self.useful(seen)
        return counts

    def useful(self, seen: set[Node]) -> set[Node]:
        """Nodes from which a captured input can be reached (the inputs' own nodes need not run)."""
        parents: dict[Node, list[Node]] = {}
        for node in seen:
            for e in node.edges:
                if e is not None:
                    parents.setdefault(e[0], []).append(node)
        useful: set[Node] = set()
        todo = [node for node, _ in self.captured]
        while todo:
            for parent in parents.get(todo.pop(), ()):
                if parent not in useful:
                    useful.add(parent)
                    todo.append(parent)
        return useful

    def walk(self) -> list[Grad]:
        counts = self.counts
        ready = [n for n in reversed(self.roots) if not counts.get(n)]
        while ready:
            node = ready.pop()
            grads = self.buffers.pop(node, None) or [None]
            if self.captured:
                self.capture(node, grads)
                if self.limit is not None and node not in self.limit:
                    self.skip(node, counts, ready)
                    continue
            made = self.apply(node, grads)
            edges = node.edges
            for e, g in zip(edges, made):
                if e is None:
                    continue
                child, nr = e
                if g is not None and (any(g is h for h in grads)):
                    self.shared[id(g)] = g
                self.receive(child, nr, g)
                counts[child] -= 1
                if not counts[child]:
                    ready.append(child)
        return self.results

    def skip(self, node: Node, counts: dict[Node, int], ready: list[Node]) -> None:
        for e in node.edges:
            if e is not None:
                counts[e[0]] -= 1
                if not counts[e[0]]:
                    ready.append(e[0])

    def capture(self, node: Node, grads: list[Grad]) -> None:
        for nr in range(len(grads)):
            for i in self.captured.get((node, nr), ()):
                g = grads[nr]
                if node.hooks is not None and g is not None:
                    grads[nr] = g = tensor_hooks(node, nr, g)
                self.results[i] = g

    def apply(self, node: Node, grads: list[Grad]) -> tuple[Grad, ...]:
        hooks = node.hooks
        if hooks is not None:
            for nr, g in enumerate(grads):
                if g is not None:
                    grads[nr] = tensor_hooks(node, nr, g)
            given = run_prehooks(node, tuple(grads))
        else:
            given = tuple(grads)
        if len(given) == 1 and given[0] is None and type(node) is not AccumulateGrad:
            made: tuple[Grad, ...] = (None,) * len(node.edges)
        elif type(node) is AccumulateGrad:
            accumulate(node.variable, given[0], given[0] is not None and id(given[0]) not in self.shared)
            made = ()
        else:
            made = node.apply(given)
            if type(made) is not tuple:
                made = (made,)
        if hooks is not None:
            made = run_posthooks(node, made, given)
        if not self.retain:
            node.release()
        return made


class Hooks:
    """What is hung on a node: of the tensors it makes (by output number), before it, after it; retained tensors."""

    __slots__ = ("post", "pre", "retained", "tensor")

    def __init__(self) -> None:
        self.tensor: dict[int, dict[int, Any]] = {}
        self.pre: dict[int, Any] = {}
        self.post: dict[int, Any] = {}
        self.retained: dict[int, Any] = {}


def hooks_of(node: Node) -> Hooks:
    if node.hooks is None:
        node.hooks = Hooks()
    return node.hooks


def tensor_hooks(node: Node, nr: int, g: Tensor) -> Tensor:
    hooks = node.hooks
    for hook in list(hooks.tensor.get(nr, {}).values()):
        changed = hook(g)
        if changed is not None:
            g = changed
    ref = hooks.retained.get(nr)
    if ref is not None:
        t = ref()
        if t is not None:
            x = extras(t)
            x.grad = g if x.grad is None else x.grad + g  # type: ignore[operator]
    return g


def run_prehooks(node: Node, grads: tuple[Grad, ...]) -> tuple[Grad, ...]:
    for hook in list(node.hooks.pre.values()):
        changed = hook(grads)
        if changed is not None:
            grads = changed if isinstance(changed, tuple) else (changed,)
    return grads


def run_posthooks(node: Node, made: tuple[Grad, ...], given: tuple[Grad, ...]) -> tuple[Grad, ...]:
    for hook in list(node.hooks.post.values()):
        changed = hook(made, given)
        if changed is not None:
            made = changed if isinstance(changed, tuple) else (changed,)
    return made


def start_grad(t: Tensor, g: Grad) -> Tensor:
    """The gradient backward begins with: the one given, or 1 for a number."""
    meta = t._meta
    if g is None:
        if meta.numel != 1:
            fail(
                RuntimeError,
                "backward: grad can be implicitly created only for scalar outputs",
                "call .sum().backward() or .mean().backward(), or pass gradient= of the output's shape",
                output=t,
            )
        return FUNCTIONS["ones_like"](t)
    if tuple(g._meta.shape) != tuple(meta.shape):
        fail(
            RuntimeError,
            f"Mismatch in shape: grad_output[0] has a shape of {g._meta.shape} and output[0] has a shape of {meta.shape}.",
        )
    return g


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Add the gradients of the given tensors to the .grad of the leaves they depend on.

    grad_tensors: the gradient of each (None: 1, for numbers only). retain_graph: keep what is saved for another walk.
    create_graph: make the gradients differentiable. inputs: the only leaves to add to.
    """
    outputs = (tensors,) if isinstance(tensors, Tensor) else tuple(tensors)
    given = (grad_tensors,) if grad_tensors is None or isinstance(grad_tensors, Tensor) else tuple(grad_tensors)
    if len(given) == 1 and len(outputs) > 1 and given[0] is None:
        given = given * len(outputs)
    if len(given) != len(outputs):
        raise RuntimeError(f"got {len(outputs)} tensors and {len(given)} gradients")
    check_outputs(outputs)
    retain = create_graph if retain_graph is None else retain_graph
    starts = [start_grad(t, g) for t, g in zip(outputs, given)]
    if inputs is None:
        run(outputs, starts, retain, create_graph)
        return
    inputs = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    if not inputs:
        raise RuntimeError("'inputs' argument to backward cannot be empty.")
    found = run(outputs, starts, retain, create_graph, inputs)
    for t, g in zip(inputs, found):
        if g is not None:
            accumulate(t, g)


def check_outputs(outputs: Sequence[Tensor]) -> None:
    for i, t in enumerate(outputs):
        if not t._rg:
            fail(RuntimeError, f"element {i} of tensors does not require grad and does not have a grad_fn")


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Grad, ...]:
    """The gradients of the outputs with respect to the inputs, as a tuple; nothing is added to .grad."""
    outs = (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
    ins = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    given = (grad_outputs,) if grad_outputs is None or isinstance(grad_outputs, Tensor) else tuple(grad_outputs)
    if len(given) == 1 and len(outs) > 1 and given[0] is None:
        given = given * len(outs)
    check_outputs(outs)
    retain = create_graph if retain_graph is None else retain_graph
    starts = [start_grad(t, g) for t, g in zip(outs, given)]
    found = run(outs, starts, retain, create_graph, ins, accumulate=False)
    if materialize_grads:
        return tuple(FUNCTIONS["zeros_like"](t) if g is None else g for t, g in zip(ins, found))
    if not allow_unused and any(g is None for g in found):
        raise RuntimeError(
            "One of the differentiated Tensors appears to not have been used in the graph. Set allow_unused=True if this is the "
            "desired behavior."
        )
    return tuple(found)


def accumulate(t: Tensor, g: Grad, owned: bool = False) -> None:
    """Add a gradient to .grad of a leaf: in place if there is one and no graph is made, else as a new tensor."""
    if g is None:
        return
    x = extras(t)
    if x.hooks:
        for hook in list(x.hooks.values()):
            changed = hook(g)
            g = changed if changed is not None else g
    S = LOCAL.s
    if x.grad is None:
        if S.grad:
            x.grad = g
        else:
            x.grad = own_gradient(g, owned)
    elif S.grad:
        x.grad = x.grad + g  # type: ignore[operator]
    else:
        FUNCTIONS["add_"](x.grad, g) if not x.grad._rg else setattr(x, "grad", x.grad + g)  # type: ignore[operator]
    if x.post_hooks:
        for hook in list(x.post_hooks.values()):
            hook(t)


def own_gradient(g: Tensor, owned: bool) -> Tensor:
    """A gradient that only .grad refers to: g itself if nobody else holds it and it is a fresh dense result, else a copy."""
    meta = g._meta
    if owned and g._vw is None and not g._rg and meta.contiguous and g._st.pend is not None and meta is fresh_meta(meta.shape, meta.dtype):
        from ..stream.value import make_tensor

        return make_tensor(g._st, meta, g._off)
    with_grad, LOCAL.s.grad = LOCAL.s.grad, False
    try:
        return FUNCTIONS["clone"](g)
    finally:
        LOCAL.s.grad = with_grad


BOOK["accumulate_grad"] = accumulate
