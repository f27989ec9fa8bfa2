"""A tensor that stands for one sample of a batch: what a function under vmap sees.

The batch is dimension 0 of `value`, an ordinary tensor (or one that is batched at an outer level). Every op and view of
it comes to `__torch_function__`, which applies the rule of rules.py to the whole batch at once; composites need none,
they are made of ops. The graph of gradients is that of the values: no gradient formula knows of batches.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..ops.entry import FUNCTIONS
from ..stream.value import LOCAL, Tensor, intern_meta

_NUMBERS = itertools.count(1)


class Level:
    """One vmap under way: its number (inner ones were made later: they have greater ones), the size of its batch, and
    what random functions do."""

    def __init__(self, size: int, randomness: str):
        self.size, self.randomness = size, randomness
        self.number, self.depth = next(_NUMBERS), len(levels()) + 1

    def __enter__(self) -> Level:
        LOCAL.s.vmaps = [*levels(), self]  # type: ignore[attr-defined]
        return self

    def stirred(self, state: Any) -> Any:
        """The state of a generator for draws inside: RuntimeError if they are not wanted."""
        if self.randomness == "error":
            raise RuntimeError(
                "vmap: called random operation while in randomness error mode. Please either use the 'same' or "
                "'different' randomness flags on vmap or perform the randomness operation out of vmap"
            )
        if self.randomness == "same":
            return state
        t = wrap(FUNCTIONS["expand"](state, (self.size, *state.shape)), self)
        t.value = state
        return t

    def __exit__(self, *error: object) -> None:
        LOCAL.s.vmaps = levels()[:-1]  # type: ignore[attr-defined]


def levels() -> list[Level]:
    """The vmaps under way in this thread, from the outermost."""
    return getattr(LOCAL.s, "vmaps", [])


@contextmanager
def among(these: Sequence[Level]) -> Iterator[None]:
    """Run as if these vmaps were under way."""
    before = levels()
    LOCAL.s.vmaps = list(these)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        LOCAL.s.vmaps = before  # type: ignore[attr-defined]


def refused(what: str) -> RuntimeError:
    """The error of asking one sample for its value."""
    return RuntimeError(
        f"vmap: It looks like you're {what}. We don't support vmap over that: the function runs once, for all samples "
        "together; use torch.where or another op that works on every sample"
    )


def _no_values() -> Any:
    raise refused("reading the values of a Tensor, as indexing with a mask, nonzero, unique and resize_ do")


class Batched(Tensor):
    """One sample of `value`, whose dimension 0 is the batch of `level`."""

    value: Any
    level: Level
    _st = property(lambda self: _no_values(), lambda self, to: None)  # type: ignore[assignment]
    _rg = property(lambda self: self.value._rg, lambda self, to: None)  # type: ignore[assignment]
    _gf = property(lambda self: self.value._gf, lambda self, to: None)
    _nr = property(lambda self: self.value._nr, lambda self, to: None)  # type: ignore[assignment]

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        from . import rules

        return rules.apply(func, args, kwargs or {})

    def in_samples(self, made: Any) -> Any:
        """A new tensor, made in the shape of a sample, for each sample apart: each writes into its own."""
        if is_batched(made, self.level):
            return made
        whole = FUNCTIONS["expand"](made.detach(), (self.level.size, *made.shape)).contiguous()
        if isinstance(self.value, Batched):
            whole = self.value.in_samples(whole)
        return wrap(whole.requires_grad_(made.requires_grad), self.level)

    def detach(self) -> Any:
        """The same samples outside the graph."""
        return wrap(self.value.detach(), self.level)

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """As Tensor.requires_grad_, of all samples."""
        self.value.requires_grad_(requires_grad)
        return self

    def item(self) -> Any:
        """RuntimeError: samples have no value of their own."""
        raise refused("calling .item() on a Tensor")

    def tolist(self) -> Any:
        """RuntimeError, as `item`."""
        raise refused("calling .tolist() on a Tensor")

    def numpy(self, *, force: bool = False) -> Any:
        """RuntimeError, as `item`."""
        raise refused("calling .numpy() on a Tensor")

    def __bool__(self) -> bool:
        raise refused("attempting to use a Tensor in some data-dependent control flow")

    def __float__(self) -> float:
        raise refused("converting a Tensor to a number")

    __int__ = __index__ = __complex__ = __float__  # type: ignore[assignment]

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise refused("converting a Tensor to an array")

    def __repr__(self, **options: Any) -> str:
        return f"BatchedTensor(lvl={self.level.depth}, bdim=0, value=\n    {self.value!r}\n)"

    def contiguous(self, memory_format: Any = None) -> Any:
        """The samples in row-major order."""
        return wrap(self.value.contiguous(), self.level)


def wrap(value: Any, level: Level) -> Any:
    """A batch as one sample of it."""
    t: Any = Tensor.__new__(Batched)
    t.value, t.level = value, level
    t._st, t._off, t._ver, t._vw, t._x = None, 0, None, None, None
    meta = value._meta
    t._meta = intern_meta(tuple(meta.shape[1:]), tuple(meta.strides[1:]), meta.dtype, meta.device)
    return t


def wrap_within(value: Any, level: Level) -> Any:
    """As `wrap`, for a value that may be a sample of batches made since: those stay the inner ones."""
    if type(value) is Batched and value.level.number > level.number:
        return wrap(wrap_within(FUNCTIONS["movedim"](value.value, 1, 0), level), value.level)
    return wrap(value, level)


def top(tensors: Any) -> Level | None:
    """The innermost level among tensors."""
    found = [t.level for t in tensors if type(t) is Batched]
    return max(found, key=lambda level: level.number) if found else None


def base(t: Any) -> Any:
    """The tensor that holds the samples of all levels."""
    while type(t) is Batched:
        t = t.value
    return t


def is_batched(t: Any, level: Level) -> bool:
    """Whether t is a sample of this level's batch."""
    return type(t) is Batched and t.level is level


def batch_of(t: Any, level: Level) -> Any:
    """The whole batch of a tensor: one that is the same for all samples is repeated without a copy."""
    if is_batched(t, level):
        return t.value
    if type(t) is Batched and t.level.number > level.number:
        return wrap(FUNCTIONS["movedim"](batch_of(t.value, level), 0, 1), t.level)
    return FUNCTIONS["expand"](t, (level.size, *t.shape))


def aligned(t: Any, level: Level, rank: int) -> Any:
    """The batch of a sample with `rank` dimensions behind the batch's (new ones in front); any other tensor itself."""
    if not is_batched(t, level):
        return t
    return widened(t.value, rank)


def widened(value: Any, rank: int) -> Any:
    """A batch with at least `rank` dimensions behind the batch's: new ones stand before the others."""
    lacking = rank - (value.ndim - 1)
    return value.reshape(value.shape[0], *[1] * lacking, *value.shape[1:]) if lacking > 0 else value


def inside(x: Any, among: list[Level] | None = None) -> Any:
    """A new place in the graph for an input of a transform that runs under vmap: every sample has its own."""
    among = levels() if among is None else among
    if not among:
        return FUNCTIONS["alias"](x) if x.requires_grad else x.detach().requires_grad_()
    level = among[-1]
    if is_batched(x, level):
        return wrap(inside(x.value, among[:-1]), level)
    whole = FUNCTIONS["expand"](x, (level.size, *x.shape))
    return wrap(inside(whole, among[:-1]), level)


def gradients(find: Any, outs: list[Any], xs: list[Any], seeds: list[Any]) -> list[Any]:
    """find(outs, xs, seeds) of samples: the gradients of the batches, whose samples do not depend on each other."""
    level = top([*outs, *xs])
    if level is None:
        return list(find(outs, xs, seeds))
    if not all(is_batched(x, level) for x in xs):
        return each_gradient(find, outs, xs, seeds, level)
    whole = [batch_of(o, level) for o in outs]
    starts = [None if s is None else batch_of(s, level) for s in seeds]
    found = gradients(find, whole, [x.value for x in xs], starts)
    return [g if g is None else wrap_within(g, level) for g in found]


def each_gradient(find: Any, outs: list[Any], xs: list[Any], seeds: list[Any], level: Level) -> list[Any]:
    """The same where an x is shared by all samples: one sample after the other."""
    whole = [batch_of(o, level) for o in outs]
    starts = [None if s is None else batch_of(s, level) for s in seeds]
    inner = [x.value if is_batched(x, level) else x for x in xs]
    rows = []
    for i in range(level.size):
        row = gradients(find, [o[i] for o in whole], inner, [None if s is None else s[i] for s in starts])
        rows.append([g[i] if g is not None and is_batched(x, level) else g for g, x in zip(row, xs)])
    return [None if c[0] is None else wrap(FUNCTIONS["stack"](list(c)), level) for c in zip(*rows)]


def of_many(grad: Any, outputs: Any, inputs: Any, seeds: Any, options: Any) -> tuple[Any, ...]:
    """autograd.grad for many gradients of the outputs at once, which are stacked along a new dimension 0."""
    given = [seeds] if isinstance(seeds, Tensor) else list(seeds)
    with Level(next(g.shape[0] for g in given if g is not None), "different") as level:
        found = grad(outputs, inputs, [g if g is None else wrap(g, level) for g in given], *options)
    return tuple([g if g is None else batch_of(g, level) for g in found])
