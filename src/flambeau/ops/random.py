"""Random numbers: every draw is an in-place instruction on the generator's state, ordered and never dead."""

from __future__ import annotations

import math
from typing import Any

from ..dtypes import META, default_dtype, dtype, int64, uint64
from ..errors import fail
from ..shapes import is_contiguous, is_dense, memory_order, numel
from ..stream.graph import Val, cast, contiguous, map_, opaque
from ..stream.value import LOCAL, Tensor
from .elementwise import into
from .entry import FUNCTIONS, TN, N, T, composite, op
from .rules import check_cast

WORDS = 632


class Generator:
    """A source of random numbers, with PyTorch's algorithm and state (mt19937)."""

    def __init__(self, device: Any = "cpu"):
        self.device = FUNCTIONS_device(device)
        self._seed = 67280421310721
        self._state = _new_state()
        _seed(self._state, self._seed)

    def manual_seed(self, seed: int) -> Generator:
        """Start anew from a seed."""
        seed = int(seed)
        if not -(2**63) <= seed < 2**64:
            raise RuntimeError(f"Overflow when unpacking long long; got seed {seed}")
        seed %= 2**64
        self._seed = seed
        _seed(self._state, seed - 2**64 if seed >= 2**63 else seed)
        return self

    def seed(self) -> int:
        """Start anew from a seed that the system gives, and return it."""
        import os

        value = int.from_bytes(os.urandom(8), "little") & (2**53 - 1)
        self.manual_seed(value)
        return value

    def initial_seed(self) -> int:
        """The seed last set."""
        return self._seed

    def get_state(self) -> Tensor:
        """The state, as PyTorch's 5056 bytes."""
        import numpy as np

        from ..dtypes import uint8
        from ..stream.host import as_numpy, from_bytes

        words = np.ascontiguousarray(as_numpy(self._state))
        return from_bytes(words.view(np.uint8).copy(), uint8, (8 * WORDS,))

    def set_state(self, new_state: Tensor) -> Generator:
        """Take a state that `get_state` gave."""
        import ctypes

        import numpy as np

        from ..stream.access import pointer
        from ..stream.host import as_numpy

        if new_state._meta.dtype.name != "uint8" or new_state._meta.numel != 8 * WORDS:
            raise RuntimeError("RNG state must be a torch.ByteTensor of 5056 bytes")
        data = np.ascontiguousarray(as_numpy(new_state))
        ctypes.memmove(pointer(self._state), data.ctypes.data, 8 * WORDS)
        self._seed = int(data[:8].view(np.uint64)[0])
        return self

    def clone_state(self) -> Generator:
        """Another generator in the same state."""
        return Generator().set_state(self.get_state())

    def __reduce__(self) -> Any:
        return _restore, (self.get_state().tolist(),)  # type: ignore[attr-defined]


def _restore(state: list[int]) -> Generator:
    from ..dtypes import uint8
    from ..stream.host import from_data

    return Generator().set_state(from_data(state, uint8))


def FUNCTIONS_device(device: Any) -> Any:
    """The device of a generator, checked."""
    from ..stream.host import check_device

    return check_device(device)


def _new_state() -> Tensor:
    from ..stream.host import empty_of

    return empty_of((WORDS,), uint64)


_default: list[Generator] = []


def default_generator() -> Generator:
    """The generator that functions use when none is given; seeded by the system on first use."""
    if not _default:
        _default.append(Generator())
        _default[0].seed()
    return _default[0]


def state_of(generator: Any) -> Tensor:
    """The state of a generator, or of the default one, as a tensor."""
    state = (generator if generator is not None else default_generator())._state
    vmaps = getattr(LOCAL.s, "vmaps", None)
    return state if not vmaps else vmaps[-1].stirred(state)


def drawn(kind: str, state: Val, shape: tuple[int, ...], d: dtype, *rest: Val, bits: int = 0) -> Val:
    """The node of a draw: it writes the generator's state and gives the numbers."""
    return opaque("draw", (state, *rest), [(shape, d)], (("writes", (0,)), kind, bits))[0]


def drawn_in_memory_order(kind: str, state: Val, like: Val, d: dtype, *rest: Val) -> Val:
    """`drawn` for a new tensor that lies in memory as `like` does: the numbers come in the order of its memory."""
    order = memory_order(like.shape, like.strides)
    made = drawn(kind, state, tuple([like.shape[e] for e in order]), d, *rest)
    back = [order.index(e) for e in range(len(order))]
    return Val(made.buf, like.shape, tuple([made.strides[k] for k in back]), 0)


@op(method=False, function=False)
def _seed_op(state: T, seed: N) -> Any:
    from ..stream.graph import emit

    emit("opaque", "draw", (state, cast(seed, int64)), (("writes", (0,)), "manual_seed", 0), [])
    return ()


def _seed(state: Tensor, seed: int) -> None:
    _seed_op(state, seed)


@op(method=False, function=False, sized="shape")
def _draw1(state: T, kind: str, shape: tuple[int, ...], dtype: dtype, a: N, bits: int = 0) -> Any:
    return drawn(kind, state, shape, dtype, a, bits=bits)


@op(method=False, function=False, sized="shape")
def _draw2(state: T, kind: str, shape: tuple[int, ...], dtype: dtype, a: N, b: N, bits: int = 0) -> Any:
    return drawn(kind, state, shape, dtype, a, b, bits=bits)


@op(method=False, function=False, sized="shape")
def _draw0(state: T, kind: str, shape: tuple[int, ...], dtype: dtype) -> Any:
    return drawn(kind, state, shape, dtype)


@op(method=False, function=False, node="BernoulliBackward0", grad={"p": lambda grad: 0})
def _draw_each(state: T, p: T, dtype: dtype) -> Any:
    return drawn("bernoulli_each", state, tuple(p.shape), dtype, contiguous(p))


def fill_random(t: Any, kind: str, values: tuple[float, ...], generator: Any, bits: int = 0) -> Any:
    """Fill t in place; a dense tensor in memory order, another one in row-major order."""
    meta = t._meta
    shape = tuple(meta.shape)
    order = None
    if not is_contiguous(shape, meta.strides):
        if is_dense(shape, meta.strides):
            order = memory_order(shape, meta.strides)
        if kind == "normal":
            kind = "normal_serial"
    if kind == "normal" and meta.numel < 16:
        kind = "normal_serial"
    state = state_of(generator)
    made = shape if order is None else tuple(shape[d] for d in order)
    if meta.numel == 0 or meta.device is META:
        return t
    if len(values) == 2:
        x = _draw2(state, kind, made, meta.dtype, *values, bits)
    elif len(values) == 1:
        x = _draw1(state, kind, made, meta.dtype, *values, bits)
    else:
        x = _draw0(state, kind, made, meta.dtype)
    if order is not None:
        x = FUNCTIONS["permute"](x, *[order.index(d) for d in range(len(shape))])
    return FUNCTIONS["copy_"](t, x)


def fresh(
    kind: str, shape: tuple[int, ...], d: dtype, values: tuple[float, ...], generator: Any, bits: int = 0
) -> Any:
    """A new tensor of random numbers."""
    if numel(shape) == 0 or LOCAL.s.place is not None:
        from ..stream.host import empty_of

        return empty_of(shape, d)
    made, *arguments = draw(kind, shape, d, values, generator, bits)
    return made(*arguments)


def draw(
    kind: str, shape: tuple[int, ...], d: dtype, values: tuple[float, ...], generator: Any, bits: int = 0
) -> tuple[Any, ...]:
    """The op that draws a new tensor, and its arguments."""
    if kind == "normal" and numel(shape) < 16:
        kind = "normal_serial"
    made = (_draw0, _draw1, _draw2)[len(values)]
    return (made, state_of(generator), kind, shape, d, *values, *([bits] if values else []))


# --- in-place methods ---------------------------------------------------------------------------------------------


def parts_of(self: Any) -> Any:
    """The real and imaginary parts of a tensor, to be drawn."""
    return FUNCTIONS["view_as_real"](self)


def _floating(name: str, t: Any) -> None:
    if not t.dtype.is_inexact:
        fail(NotImplementedError, f'"{name}" not implemented for {t.dtype.name.capitalize()!r}')


@composite(function=False)
def uniform_(input: Any, from_: float = 0.0, to: float = 1.0, *, generator: Any = None, **rest: Any) -> Any:
    """Uniform numbers in [from, to)."""
    _floating("check_uniform_bounds", input)
    if input.dtype.is_complex:
        parts_of(input).uniform_(from_, to, generator=generator, **rest)
        return input
    low = rest.get("from", from_)
    if low > to:
        fail(RuntimeError, f"uniform_ expects to return a [from, to) range, but found from={low} > to={to}")
    return fill_random(input, "uniform", (float(low), float(to)), generator)


@composite(function=False)
def normal_(input: Any, mean: float = 0.0, std: float = 1.0, *, generator: Any = None) -> Any:
    """Normal numbers of the given mean and standard deviation."""
    _floating("normal_kernel_cpu", input)
    if std < 0:
        fail(RuntimeError, f"normal expects std >= 0.0, but found std {std}")
    if input.dtype.is_complex:  # each part has half the variance
        fill_random(parts_of(input), "normal", (float(mean), float(std) / math.sqrt(2)), generator)
        return input
    return fill_random(input, "normal", (float(mean), float(std)), generator)


@composite(function=False)
def log_normal_(input: Any, mean: float = 1.0, std: float = 2.0, *, generator: Any = None) -> Any:
    """exp of normal numbers."""
    if std <= 0:
        fail(RuntimeError, f"log_normal_ expects std > 0.0, but found std={std}")
    return fill_random(input, "log_normal", (float(mean), float(std)), generator)


@composite(function=False)
def exponential_(input: Any, lambd: float = 1.0, *, generator: Any = None) -> Any:
    """Exponentially distributed numbers of rate lambd."""
    _floating("exponential_kernel_cpu", input)
    if lambd <= 0:
        fail(RuntimeError, f"exponential_ expects lambda > 0.0, but found lambda={lambd}")
    return fill_random(input, "exponential", (float(lambd),), generator)


@composite(function=False)
def cauchy_(input: Any, median: float = 0.0, sigma: float = 1.0, *, generator: Any = None) -> Any:
    """Cauchy distributed numbers."""
    if sigma <= 0:
        fail(RuntimeError, f"cauchy_ expects sigma > 0.0, but found sigma={sigma}")
    return fill_random(input, "cauchy", (float(median), float(sigma)), generator)


@composite(function=False)
def geometric_(input: Any, p: float, *, generator: Any = None) -> Any:
    """Geometrically distributed numbers: trials until the first success."""
    if not 0 < p < 1:
        fail(RuntimeError, f"geometric_ expects p to be in (0, 1), but got p={p}")
    return fill_random(input, "geometric", (float(p),), generator)


_RANGE = {"int64": 2**63, "int32": 2**31, "int16": 2**15, "int8": 2**7, "uint8": 2**8, "bool": 2}
_RANGE |= {"float32": 2**24 + 1, "float64": 2**53 + 1, "float16": 2**11 + 1, "bfloat16": 2**8 + 1}


@composite(function=False)
def random_(input: Any, from_: Any = None, to: Any = None, *, generator: Any = None, **rest: Any) -> Any:
    """Whole numbers, uniform: all that the dtype holds exactly, [0, to), or [from, to)."""
    from_ = rest.get("from", from_)
    if from_ is None and to is None:
        count, low = _RANGE[input.dtype.name], 0
        bits = 64 if input.dtype.name in ("int64", "float64") else 32
    else:
        low, high = (0, from_) if to is None and "to" not in rest else (from_ or 0, to)
        count = high - low
        if count <= 0:
            fail(
                RuntimeError, f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}"
            )
        bits = 64 if count >= 2**28 else 32
    return fill_random(input, "integers", (_bits(count), low), generator, bits)


def _bits(count: int) -> int:
    count %= 2**64
    return count - 2**64 if count >= 2**63 else count


@composite(function=False)
def bernoulli_(input: Any, p: Any = 0.5, *, generator: Any = None) -> Any:
    """1 with probability p (a number, or a tensor of them), else 0."""
    if isinstance(p, Tensor):
        p = p.expand(tuple(input.shape)) if tuple(p.shape) != tuple(input.shape) else p  # type: ignore[attr-defined]
        return FUNCTIONS["copy_"](input, _draw_each(state_of(generator), p, input.dtype))
    if not 0 <= p <= 1:
        fail(RuntimeError, f"bernoulli_ expects p to be in [0, 1], but got p={p}")
    return fill_random(input, "bernoulli", (float(p),), generator)


@op(method=False, function=False, node="BernoulliBackward1", grad={"self": lambda grad: 0})
def _drawn_like(self: T, x: T) -> Any:
    """x, which was drawn in the shape of self and does not depend on its values."""
    return map_("copy", x)


@op(
    method=False,
    function=False,
    node="NormalBackward3",
    grad={"mean": lambda grad: 0, "std": lambda grad: 0},
)
def _normal_of(x: T, mean: TN, std: TN) -> Any:
    """mean + std * x for standard normal x; as in PyTorch the gradients of mean and std are 0."""
    return map_("add", map_("mul", x, cast(std, x.dtype)), cast(mean, x.dtype))


@composite()
def bernoulli(input: Any, p: Any = None, *, generator: Any = None, out: Any = None) -> Any:
    """1 with the probability that input gives for each element (or with probability p), else 0.

    The shape is that of `input`; its gradient is 0. RuntimeError for a `p` outside [0, 1].
    """
    if p is None:
        result = _draw_each(state_of(generator), input, input.dtype)
    else:
        if not 0 <= p <= 1:
            fail(RuntimeError, f"bernoulli: expects p to be in [0, 1], but got p={p}")
        result = fresh("bernoulli", tuple(input.shape), input.dtype, (float(p),), generator)
        if input.requires_grad and out is None:
            result = _drawn_like(input, result)
    return result if out is None else into(out, result)


@op(
    method=False,
    function=False,
    node="MulBackward0",
    results=("result", "mask"),
    constant=("mask",),
    grad={"self": lambda grads, mask: grads[0] * mask},
)
def _dropout(self: T, state: T, keep: N) -> Any:
    """(self * mask, mask); mask: 1 / keep with probability keep, else 0."""
    mask = drawn_in_memory_order("dropout", state, self, self.dtype, keep)
    return map_("mul", self, mask), mask


def scaled(input: Any) -> None:
    """RuntimeError if what dropout scales are whole numbers."""
    if not input.dtype.is_inexact:
        check_cast("dropout", default_dtype(), input.dtype)


@composite(method=False, name="dropout")
def dropout(input: Any, p: float = 0.5, train: bool = True) -> Any:
    """Elements zeroed with probability p, the others divided by 1 - p; the input itself if not training."""
    if not 0 <= p <= 1:
        fail(ValueError, f"dropout: dropout probability has to be between 0 and 1, but got {p}")
    if not train or p == 0 or not numel(input.shape):
        return input
    if p == 1:
        return input * 0
    scaled(input)
    return _dropout(input, state_of(None), 1.0 - p)[0]


@composite(method=False, name="dropout_")
def dropout_(input: Any, p: float = 0.5, train: bool = True) -> Any:
    """As dropout, in place."""
    if train and p > 0:
        if p < 1:
            scaled(input)
        FUNCTIONS["mul_"](
            input, 0.0 if p == 1 else fresh("dropout", tuple(input.shape), input.dtype, (1.0 - p,), None)
        )
    return input
