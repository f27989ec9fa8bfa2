"""The backward pass: an iterative walk over the graph of nodes, each after all that feed it."""

from __future__ import annotations

import importlib
import struct
import sys
from collections import OrderedDict
from collections.abc import Sequence, Set
from typing import Any

from ..dtypes import META
from ..errors import fail
from ..ops.entry import FUNCTIONS
from ..shapes import contiguous_strides, is_dense, same_order
from ..stream.gradient import BOOK, AccumulateGrad, edge
from ..stream.host import from_bytes
from ..stream.value import LOCAL, PLAIN, Node, Tensor, absent_tensor, extras

Grad = Tensor | None
CHECK: list[Any] = [None]  # the watch of anomaly detection, which runs the nodes while it is on


def run(
    tensors: Sequence[Tensor],
    grads: Sequence[Grad],
    retain_graph: bool,
    create_graph: bool,
    inputs: Sequence[Tensor] | None = None,
    accumulate: bool = True,
    ends: Set[Node] = frozenset(),
) -> list[Grad]:
    """Push gradients from `tensors` to the leaves (accumulate) or to `inputs` (their gradients are returned).

    ends: nodes of inputs that another walk goes on from, which runs their hooks."""
    S = LOCAL.s
    before, S.grad = S.grad, create_graph
    S.backward += 1
    try:
        return _Walk(tensors, grads, retain_graph, inputs, accumulate, ends).walk()
    finally:
        S.grad = before
        S.backward -= 1


class _Walk:
    def __init__(
        self, tensors: Any, grads: Any, retain: bool, inputs: Any, accumulate: bool, ends: Set[Node]
    ):
        self.retain, self.accumulate, self.ends = retain, accumulate, ends
        self.buffers: dict[
            Node, Any
        ] = {}  # node -> its gradient, or a list of them if it has several outputs
        self.captured: dict[tuple[Node, int], list[int]] = {}
        self.results: list[Grad] = [None] * len(inputs or ())
        self.roots: list[Node] = []
        self.shared: dict[int, Grad] = {
            id(g): g for g in grads
        }  # gradients that more than one place may hold
        for t, g in zip(tensors, grads):
            e = edge(t)
            if e is None:
                continue
            node, nr = e
            if node not in self.buffers:
                self.roots.append(node)
            self.receive(node, nr, g)
        self.limit: set[Node] | None = None
        self.unusual: set[Node] | None = None  # nodes at which a gradient is captured, or that need not run
        if inputs is not None:
            self.targets(inputs)
        self.counts = self.count()

    def targets(self, inputs: Sequence[Tensor]) -> None:
        for i, t in enumerate(inputs):
            e = edge(t)
            if e is None:
                raise RuntimeError("One of the differentiated Tensors does not require grad")
            self.captured.setdefault(e, []).append(i)

    def receive(self, node: Node, nr: int, g: Grad) -> None:
        buffers = self.buffers
        if type(node.out) is not tuple:
            old = buffers.get(node)
            buffers[node] = g if old is None else old if g is None else old + g
            return
        slots = buffers.get(node)
        if slots is None:
            slots = buffers[node] = [None] * len(node.out)
        if g is not None:
            old = slots[nr]
            slots[nr] = g if old is None else old + g

    def count(self) -> dict[Node, int]:
        """How many edges lead to each node that can be reached; with inputs, only nodes on a way to one matter."""
        native = BOOK.get("count")
        counts = self.counted() if native is None or self.ends else native(self.roots, set(self.roots))
        session = LOCAL.s.capture
        if session is not None:
            session.walked([*counts, *self.roots])
        if self.captured:
            seen, inputs = {*counts, *self.roots}, {node for node, _ in self.captured}
            self.limit = self.useful(seen, inputs)
            self.unusual = seen - self.limit | inputs
        return counts

    def counted(self) -> dict[Node, int]:
        counts: dict[Node, int] = {}
        todo = [node for node in self.roots if node not in self.ends]
        seen = {*self.roots, *self.ends}
        while todo:
            for e in todo.pop().edges:
                if e is None:
                    continue
                child = e[0]
                n = counts.get(child)
                if n is not None:
                    counts[child] = n + 1
                    continue
                counts[child] = 1
                if child not in seen:
                    seen.add(child)
                    todo.append(child)
        return counts

    def useful(self, seen: set[Node], inputs: set[Node]) -> set[Node]:
        """Nodes from which an input can be reached (the inputs' own nodes need not run)."""
        if inputs == {node for node in seen if type(node) is AccumulateGrad}:
            return seen - inputs  # they are all that there is to reach
        parents: dict[Node, list[Node]] = {}
        for node in seen:
            for e in node.edges:
                if e is not None:
                    parents.setdefault(e[0], []).append(node)
        useful: set[Node] = set()
        todo = list(inputs)
        while todo:
            for parent in parents.get(todo.pop(), ()):
                if parent not in useful:
                    useful.add(parent)
                    todo.append(parent)
        return useful

    def walk(self) -> list[Grad]:
        counts = self.counts
        self.ready = ready = [n for n in reversed(self.roots) if not counts.get(n)]
        native = BOOK.get("walk")  # what does as `visit` with nodes that have nothing unusual about them
        if native is not None and CHECK[0] is None and PLAIN.issuperset(map(type, self.shared.values())):
            native(ready, counts, self.buffers, self.shared, self.retain, self.visit, self.unusual)
        while ready:
            self.visit(ready.pop())
        return self.results

    def visit(self, node: Node) -> None:
        """Run one node, all of whose gradients are there, and pass on what it makes."""
        held = self.buffers.pop(node, None)
        given = tuple(held) if type(held) is list else (held,)
        if self.captured:
            given = self.capture(node, given)
            if node in self.ends:
                return
            if node not in self.limit:  # type: ignore[operator]
                self.skip(node)
                return
        if node.hooks is not None:
            given = self.before(node, given)
        if type(node) is AccumulateGrad:
            if given[0] is not None:
                accumulate(node.variable, given[0], id(given[0]) not in self.shared)
            if node.hooks is not None:
                run_posthooks(node, (), given)
            return
        if held is None or (len(given) == 1 and given[0] is None):
            made: Any = (None,) * len(node.edges)
        else:
            made = node.apply(given) if CHECK[0] is None else CHECK[0].run(node, given)
            if type(made) is not tuple:
                made = (made,)
        if node.hooks is not None:
            made = run_posthooks(node, made, given)
        if not self.retain:
            node.release()
        self.pass_on(node, made, given)

    def pass_on(self, node: Node, made: tuple[Grad, ...], given: tuple[Grad, ...]) -> None:
        counts, shared = self.counts, self.shared
        for e, g in zip(node.edges, made):
            if e is None:
                continue
            child, nr = e
            if g is not None:
                for h in given:
                    if h is g:
                        shared[id(g)] = g
            self.receive(child, nr, g)
            counts[child] -= 1
            if not counts[child]:
                self.ready.append(child)

    def skip(self, node: Node) -> None:
        for e in node.edges:
            if e is not None:
                self.counts[e[0]] -= 1
                if not self.counts[e[0]]:
                    self.ready.append(e[0])

    def capture(self, node: Node, given: tuple[Grad, ...]) -> tuple[Grad, ...]:
        grads = list(given)
        for nr in range(len(grads)):
            wanted = self.captured.get((node, nr), ())
            if wanted:
                g = grads[nr]
                hooked = node not in self.ends
                if hooked and node.hooks is not None and g is not None:
                    g = tensor_hooks(node, nr, g)
                if (
                    hooked
                    and not self.accumulate
                    and type(node) is AccumulateGrad
                    and g is not None
                    and extras(node.variable).hooks
                ):
                    g = leaf_hooks(node.variable, g)
                for i in wanted:
                    self.results[i] = g
        return tuple(grads)

    def before(self, node: Node, given: tuple[Grad, ...]) -> tuple[Grad, ...]:
        grads = [None if g is None else tensor_hooks(node, nr, g) for nr, g in enumerate(given)]
        return run_prehooks(node, tuple(grads))


class Hooks:
    """What is hung on a node: of the tensors it makes (by output number), before it, after it; retained tensors."""

    __slots__ = ("post", "pre", "retained", "tensor")

    def __init__(self) -> None:
        self.tensor: dict[int, dict[int, Any]] = {}
        self.pre: dict[int, Any] = OrderedDict()  # a handle refers to it weakly
        self.post: dict[int, Any] = OrderedDict()
        self.retained: dict[int, Any] = {}


def hooks_of(node: Node) -> Hooks:
    """The hooks of a node, made on first need."""
    if node.hooks is None:
        node.hooks = Hooks()
    return node.hooks


def tensor_hooks(node: Node, nr: int, g: Tensor) -> Tensor:
    """Run the hooks on output number nr: the gradient as they changed it; a retained tensor gets it as .grad."""
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


def leaf_hooks(t: Tensor, g: Tensor) -> Tensor:
    """The gradient of a leaf after its hooks."""
    for hook in list((extras(t).hooks or {}).values()):
        changed = hook(g)
        g = g if changed is None else changed
    return g


def run_prehooks(node: Node, grads: tuple[Grad, ...]) -> tuple[Grad, ...]:
    """The gradients of a node's outputs after the hooks that come before it."""
    for hook in list(node.hooks.pre.values()):
        changed = hook(grads)
        if changed is not None:
            grads = changed if isinstance(changed, tuple) else (changed,)
    return grads


def run_posthooks(node: Node, made: tuple[Grad, ...], given: tuple[Grad, ...]) -> tuple[Grad, ...]:
    """The gradients that a node made after the hooks that follow it; given: those of its outputs."""
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
        if meta.dtype.is_complex:
            raise RuntimeError(
                f"grad can be implicitly created only for real scalar outputs but got {meta.dtype!r}"
            )
        return unit(meta)
    if tuple(g._meta.shape) != tuple(meta.shape):
        fail(
            RuntimeError,
            f"Mismatch in shape: grad_output[0] has a shape of {g._meta.shape} and output[0] has a "
            f"shape of {meta.shape}.",
        )
    if g._meta.dtype.is_complex is not meta.dtype.is_complex:
        raise RuntimeError(
            "For complex Tensors, both grad_output and output are required to have the same dtype. Mismatch in dtype: "
            f"grad_output[0] has a dtype of {g._meta.dtype!r} and output[0] has a dtype of {meta.dtype!r}."
        )
    return g


_ONES: dict[Any, Tensor] = {}
_ONE = {"f16": struct.pack("=e", 1), "f32": struct.pack("=f", 1), "f64": struct.pack("=d", 1)}
_ONE["bf16"] = _ONE["f32"][2:] if sys.byteorder == "little" else _ONE["f32"][:2]


def unit(meta: Any) -> Tensor:
    """A tensor of one 1: kept from one walk to the next (see `keep_units`), since most begin with it."""
    one = _ONES.pop(meta, None)
    if one is not None:
        return one
    if meta.device is META:
        return absent_tensor(meta.shape, meta.strides, meta.dtype)
    return from_bytes(_ONE[meta.dtype.short], meta.dtype, meta.shape)


def keep_units(starts: list[Tensor], given: Sequence[Grad]) -> None:
    """After a walk: keep the ones it began with that nobody wrote to and nobody has: a gradient may be that tensor."""
    for g in reversed(given):
        one = starts.pop()
        if g is None and sys.getrefcount(one) <= 2 and (one._ver is None or one._ver.n == 0):
            _ONES[one._meta] = one


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
    given = (
        (grad_tensors,) if grad_tensors is None or isinstance(grad_tensors, Tensor) else tuple(grad_tensors)
    )
    if len(given) == 1 and len(outputs) > 1 and given[0] is None:
        given = given * len(outputs)
    if len(given) != len(outputs):
        raise RuntimeError(f"got {len(outputs)} tensors and {len(given)} gradients")
    check_outputs(outputs)
    if create_graph:
        _warn_of_cycle()
    retain = create_graph if retain_graph is None else retain_graph
    starts = [start_grad(t, g) for t, g in zip(outputs, given)]
    if inputs is None:
        run(outputs, starts, retain, create_graph)
        keep_units(starts, given)
        return
    inputs = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    if not inputs:
        raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    found = run(outputs, starts, retain, create_graph, inputs)
    S = LOCAL.s
    before, S.grad = S.grad, create_graph
    try:
        for t, g in zip(inputs, found):
            if g is not None and not (t._x is not None and t._x.retains and t._gf is not None):
                accumulate(t, g)
    finally:
        S.grad = before


def _warn_of_cycle() -> None:
    import warnings

    warnings.warn(
        "Using backward() with create_graph=True will create a reference cycle between the parameter "
        "and its gradient which can "
        "cause a memory leak. We recommend using autograd.grad when creating the graph to avoid "
        "this. If you have to use this "
        "function, make sure to reset the .grad fields of your parameters to None after use to break "
        "the cycle and avoid the leak.",
        UserWarning,
        stacklevel=4,
    )


def check_outputs(outputs: Sequence[Tensor]) -> None:
    """RuntimeError for a tensor that does not require a gradient."""
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
    if is_grads_batched:
        options = (retain_graph, create_graph, only_inputs, allow_unused, False, materialize_grads)
        batched = importlib.import_module("flambeau.func.batched")
        return batched.of_many(grad, outputs, inputs, grad_outputs, options)  # type: ignore[no-any-return]
    outs = (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
    ins = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    given = (
        (grad_outputs,) if grad_outputs is None or isinstance(grad_outputs, Tensor) else tuple(grad_outputs)
    )
    if len(given) == 1 and len(outs) > 1 and given[0] is None:
        given = given * len(outs)
    check_outputs(outs)
    retain = create_graph if retain_graph is None else retain_graph
    starts = [start_grad(t, g) for t, g in zip(outs, given)]
    found = run(outs, starts, retain, create_graph, ins, accumulate=False)
    keep_units(starts, given)
    if materialize_grads:
        return tuple(FUNCTIONS["zeros_like"](t) if g is None else g for t, g in zip(ins, found))
    if not allow_unused and None in [g if g is None else 0 for g in found]:
        index = [g is None for g in found].index(True)
        raise RuntimeError(
            f"The differentiated Tensor at index {index} appears to not have been used in the graph. "
            "Set allow_unused=True if "
            "this is the desired behavior."
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
        x.grad = own_gradient(g, t, owned)
    elif x.grad.is_sparse and not g.is_sparse:  # type: ignore[attr-defined]
        x.grad = g + x.grad  # type: ignore[operator]
    elif S.grad:
        x.grad = x.grad + g  # type: ignore[operator]
    else:
        FUNCTIONS["add_"](x.grad, g) if not x.grad._rg else setattr(x, "grad", x.grad + g)  # type: ignore[operator]
    if x.post_hooks:
        for hook in list(x.post_hooks.values()):
            hook(t)


def own_gradient(g: Tensor, t: Tensor, owned: bool) -> Tensor:
    """A gradient of t that only .grad refers to: g itself if it is fresh, nobody else's and lies in memory as t does
    (row-major where t has gaps), else a copy that does."""
    mine, its = g._meta, t._meta
    strides = its.strides if is_dense(its.shape, its.strides) else contiguous_strides(its.shape)
    alike = same_order(mine.shape, mine.strides, strides)
    if owned and not LOCAL.s.grad and g._vw is None and not g._rg and alike and g._st.pend is not None:
        return g
    return FUNCTIONS["clone"](g, memory_format=strides)


BOOK["accumulate_grad"] = accumulate
