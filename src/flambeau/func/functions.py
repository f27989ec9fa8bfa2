"""Operations written by the user (autograd.Function) under vmap: one node in the graph of the batches.

With a `vmap` of its own, that is asked. Else forward and backward run once, on samples: `Whole` is the operation on the
batch, so that a batch of batches is the same once more.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..autograd.function import BATCHED, Function
from ..ops.entry import FUNCTIONS
from ..stream.value import Tensor
from .batched import Batched, Level, among, batch_of, is_batched, levels, top, wrap, wrap_within
from .trees import leaves, rebuild


class VmapInfo(NamedTuple):
    """What `vmap` of an operation is told of the batch."""

    batch_size: int
    randomness: str


class Samples:
    """The ctx that forward and backward see: that of the batch, from which they save, and get, samples."""

    _OWN = ("ctx", "level", "which", "saved", "inner")

    def __init__(self, ctx: Any, level: Level, which: tuple[bool, ...]):
        self.ctx, self.level, self.which = ctx, level, which
        self.saved: list[bool] = []
        self.inner: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ctx, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._OWN:
            object.__setattr__(self, name, value)
        else:
            setattr(self.ctx, name, value)

    def _values(self, tensors: tuple[Any, ...]) -> list[Any]:
        return [t.value if is_batched(t, self.level) else t for t in tensors]

    def save_for_backward(self, *tensors: Any) -> None:
        """As that of the batch."""
        self.saved = [is_batched(t, self.level) for t in tensors]
        self.ctx.save_for_backward(*self._values(tensors))

    save_for_forward = save_for_backward

    def mark_dirty(self, *tensors: Any) -> None:
        """As that of the batch."""
        self.ctx.mark_dirty(*self._values(tensors))

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """As that of the batch."""
        self.ctx.mark_non_differentiable(*self._values(tensors))

    @property
    def needs_input_grad(self) -> tuple[bool, ...]:
        """Of the arguments of each sample; those of `_whole` begin with three of its own."""
        return tuple(self.ctx.needs_input_grad[3:])

    @property
    def shapes(self) -> list[Any]:
        """Of the arguments of each sample, None where no gradient is wanted."""
        ctx = self.ctx
        whole = ctx.shapes if isinstance(ctx, Samples) else [m if m is None else m.shape for m in ctx.of]
        return [s if s is None else tuple(s[w:]) for s, w in zip(whole[3:], self.which)]

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What was saved, as samples."""
        whole = self.ctx.saved_tensors
        return tuple([wrap(t, self.level) if is_sample else t for t, is_sample in zip(whole, self.saved)])


def _whole(cls: Any) -> Any:
    """The operation on a batch that does cls to each sample."""

    def forward(ctx: Any, level: Level, which: tuple[bool, ...], options: Any, *values: Any) -> Any:
        mine = Samples(ctx, level, which)
        samples = tuple([wrap(v, level) if w else v for v, w in zip(values, which)])
        if cls.setup_context is not Function.setup_context:
            result = cls.forward(*samples, **options)
            cls.setup_context(mine, samples, result)
        else:
            result = cls.forward(mine, *samples, **options)
        ctx.inner, mine.ctx = mine, None
        if isinstance(result, (tuple, list)):
            return tuple([batch_of(t, level) if isinstance(t, Tensor) else t for t in result])
        return batch_of(result, level)

    def backward(ctx: Any, *grads: Any) -> Any:
        mine = ctx.inner
        level, mine.ctx = mine.level, ctx
        given = [None if g is None else wrap_within(g, level) for g in grads]
        now, shapes = levels(), mine.shapes
        try:
            with among(now if level in now else [*now, level]):
                made = cls.backward(mine, *given)
        finally:
            mine.ctx = None
        made = made if isinstance(made, tuple) else (made,)
        whole = [gradient(level, *given) for given in zip(made, mine.which, shapes)]
        return (None, None, None, *whole)

    def gradient(level: Level, grad: Any, is_sample: bool, shape: Any) -> Any:
        """What backward gave for a sample, for the batch, summed over what was broadcast."""
        if grad is None or shape is None:
            return None
        fitting = grad if tuple(grad.shape) == shape else FUNCTIONS["sum_to_size"](grad, *shape)
        whole = batch_of(fitting, level)
        return whole if is_sample else whole.sum(0)

    body = {
        "forward": staticmethod(forward),
        "backward": staticmethod(backward),
        "__module__": cls.__module__,
    }
    return type(f"Vmapped{cls.__name__}", (Function,), body)


def apply(cls: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """cls.apply of samples."""
    level: Any = top(args)
    which = tuple([is_batched(a, level) for a in args])
    values = [a.value if w else a for a, w in zip(args, which)]
    if cls.vmap is not Function.vmap:
        info = VmapInfo(level.size, level.randomness)
        with among([v for v in levels() if v is not level]):
            result, dims = cls.vmap(info, tuple([0 if w else None for w in which]), *values, **options)
        flat = leaves(result)
        spread = [dims] * len(flat) if dims is None or isinstance(dims, int) else leaves(dims)
        return rebuild(result, iter([_sample(t, d, level) for t, d in zip(flat, spread)]))
    if "_whole" not in cls.__dict__:
        cls._whole = _whole(cls)
    result = cls._whole.apply(level, which, options, *values)
    if isinstance(result, tuple):
        return tuple([wrap(t, level) if isinstance(t, Tensor) else t for t in result])
    return wrap(result, level)


def _sample(t: Any, dim: int | None, level: Level) -> Any:
    if dim is None or not isinstance(t, Tensor):
        return t
    return wrap(FUNCTIONS["movedim"](t, dim, 0) if dim else t, level)


BATCHED[Batched] = apply
