"""A part of the graph that is computed again when backward comes to it, instead of being kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from ..ops.entry import FUNCTIONS
from ..ops.random import default_generator
from ..stream import gradient
from ..stream.capture import outside
from ..stream.value import LOCAL, RELEASED, Node, Storage, Tensor, make_tensor
from . import engine


class CheckpointError(RuntimeError):
    """What was computed again is not what was computed first."""


@contextmanager
def grad_mode(on: bool) -> Iterator[None]:
    """Recording of the graph switched, for a while."""
    S = LOCAL.s
    before, S.grad = S.grad, on
    try:
        yield
    finally:
        S.grad = before


def rng_state() -> Any:
    """A copy of the default generator's state; nothing runs for it."""
    with grad_mode(False):
        return FUNCTIONS["clone"](default_generator()._state)


@contextmanager
def rng_from(saved: Any) -> Iterator[None]:
    """Random numbers as from a saved state (None: as they come), and afterwards as if none had been drawn."""
    if saved is None:
        yield
        return
    before, state = rng_state(), default_generator()._state
    with grad_mode(False):
        FUNCTIONS["copy_"](state, saved)
    try:
        yield
    finally:
        with grad_mode(False):
            FUNCTIONS["copy_"](state, before)


def tensors_in(x: Any) -> list[Tensor]:
    """The tensors of a nested result, in order."""
    if isinstance(x, Tensor):
        return [x]
    if isinstance(x, dict):
        return [t for v in x.values() for t in tensors_in(v)]
    return [t for v in x for t in tensors_in(v)] if isinstance(x, (list, tuple)) else []


def boundary(tops: list[Node], inputs: set[Node]) -> list[tuple[Node, int]]:
    """Where a graph ends: the places in the inputs' nodes and leaves that its edges lead to."""
    found: dict[tuple[Node, int], None] = {}
    todo, seen = list(tops), set(tops)
    while todo:
        for e in todo.pop().edges:
            if e is None:
                continue
            node = e[0]
            if node in inputs or type(node) is gradient.AccumulateGrad:
                found[e] = None
            elif node not in seen:
                seen.add(node)
                todo.append(node)
    return list(found)


def at_edge(edge: tuple[Node, int]) -> Tensor:
    """A tensor that stands for a place in the graph."""
    node, nr = edge
    if type(node) is gradient.AccumulateGrad:
        return node.variable
    t = make_tensor(Storage(), node.out[nr] if type(node.out) is tuple else node.out)
    t._gf, t._nr, t._rg = node, nr, True
    return t


class CheckpointBackward(Node):
    """The node of a checkpointed call: it holds the arguments, and records the call again."""

    __slots__ = ("again", "check", "places")

    again: Any
    check: Any
    places: Any

    def apply(self, grads: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        if self.saved is RELEASED:
            raise RuntimeError(
                "Trying to backward through the graph a second time (or directly access saved tensors after they "
                "have already been freed). Specify retain_graph=True if you need to backward through the graph a "
                "second time."
            )
        create = LOCAL.s.grad
        with grad_mode(True):
            made = tensors_in(self.again())
        metas = tuple([t._meta for t in made])
        if self.check and metas != self.check:
            raise CheckpointError(
                "torch.utils.checkpoint: Recomputed values for the following tensors have different metadata than "
                f"during the forward pass: {', '.join(map(str, self.check))} and {', '.join(map(str, metas))}"
            )
        pairs = [(made[i], g) for i, g in zip(self.places, grads) if g is not None]
        if not pairs:
            return (None,) * len(self.edges)
        tops, starts = [t for t, _ in pairs], [g for _, g in pairs]
        inputs = [at_edge(e) for e in self.edges if e is not None]
        ends = {e[0] for e in self.edges if e is not None}  # the walk that has come here goes on from there
        return tuple(engine.run(tops, starts, True, create, inputs, accumulate=False, ends=ends))


def checkpoint(
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    options: dict[str, Any],
    preserve_rng_state: bool = True,
    contexts: Callable[[], tuple[Any, Any]] | None = None,
    check: bool = True,
) -> Any:
    """fn(*args, **options), of which only the arguments are kept for backward."""
    S = LOCAL.s
    first, second = contexts() if contexts is not None else (nullcontext(), nullcontext())
    saved = rng_state() if preserve_rng_state and S.grad else None
    with first:
        result = fn(*args, **options)
    made = tensors_in(result)
    given = {id(t) for t in tensors_in([args, options])}
    places = [
        i for i, t in enumerate(made) if t._rg and gradient.grad_fn(t) is not None and id(t) not in given
    ]
    if not S.grad or not places:
        return result
    inputs = {e[0] for t in tensors_in([args, options]) if (e := gradient.edge(t)) is not None}
    node = CheckpointBackward()
    node.edges = tuple(boundary([made[i]._gf for i in places], inputs))

    def again() -> Any:
        with rng_from(saved), second:
            return fn(*args, **options)

    node.again, node.places, node.saved = again, places, [True]
    node.check = tuple([t._meta for t in made]) if check else None
    metas = tuple([made[i]._meta for i in places])
    node.out = metas if len(metas) > 1 else metas[0]
    for nr, i in enumerate(places):
        made[i]._gf, made[i]._nr, made[i]._vw = node, nr, None
    outside("a checkpoint computes again what it does not keep")
    S.flush()  # what was computed for the first time must not serve the second
    return result
