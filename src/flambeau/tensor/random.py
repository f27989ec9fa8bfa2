"""Functions that make random tensors, and the default generator's state."""

from __future__ import annotations

import math
from typing import Any

from .. import dtypes
from ..errors import fail
from ..ops import random as ops
from ..ops.absent import placed
from ..ops.elementwise import into
from ..ops.entry import FUNCTIONS as OPS
from ..ops.random import Generator, default_generator, draw, fresh
from ..ops.sizes import instruction
from ..ops.sizes import run as commit
from ..shapes import is_contiguous
from ..stream.capture import outside
from ..stream.value import LOCAL, Tensor
from .creation import finish, shape_of
from .factories import factory


def sampler(name: str, kind: str, values: tuple[float, float]) -> Any:
    """The function that draws tensors of one distribution."""

    def make(
        *size: Any, generator: Any = None, out: Any = None, dtype: Any = None, device: Any = None, **rest: Any
    ) -> Tensor:
        shape = shape_of((rest.pop("size"),) if "size" in rest else size, name)
        d = dtype or dtypes.default_dtype()
        if not d.is_inexact:
            fail(NotImplementedError, f"{name}: expected a floating-point dtype; got {d.name}")
        t = drawn(kind, shape, d, values, generator)
        return into(out, t) if out is not None else finish(t, rest.get("requires_grad", False))

    make.__name__ = make.__qualname__ = name
    make.__doc__ = "Uniform numbers in [0, 1)." if kind == "uniform" else "Standard normal numbers."
    return make


def drawn(kind: str, shape: tuple[int, ...], d: Any, values: tuple[float, float], generator: Any) -> Tensor:
    """New random numbers; the parts of complex normal numbers have half the variance each."""
    if not d.is_complex:
        return fresh(kind, shape, d, values, generator)
    mean, spread = values
    if kind == "normal":
        values = mean, spread * math.sqrt(0.5)
    return OPS["view_as_complex"](fresh(kind, (*shape, 2), d.part, values, generator))


def batched() -> bool:
    """Whether a vmap is under way, which may want other numbers for each sample."""
    return bool(getattr(LOCAL.s, "vmaps", None))


def run_draw(found: Any) -> Any:
    """Record such an instruction, where the state of the default generator is what it draws from."""
    return None if batched() else commit(found)


def short_draw(kind: str, size: Any, d: Any) -> Any:
    """The instruction that draws from the default generator, for calls without options; None for complex numbers."""
    if not d.is_floating_point or 0 in size or batched():
        return None
    return instruction(*draw(kind, tuple(size), d, (0.0, 1.0), None))


rand, randn = sampler("rand", "uniform", (0.0, 1.0)), sampler("randn", "normal", (0.0, 1.0))


def sampler_like(name: str, make: Any) -> Any:
    """The function that draws in another tensor's shape."""

    def like(
        input: Tensor,
        *,
        dtype: Any = None,
        memory_format: Any = None,
        requires_grad: bool = False,
        **rest: Any,
    ) -> Tensor:
        rest.pop("device", None)
        rest.pop("layout", None)
        d = dtype or input._meta.dtype
        if input._meta.contiguous and d.is_inexact:
            kind, values = ("uniform", (0.0, 1.0)) if make is rand else ("normal", (0.0, 1.0))
            t = drawn(kind, tuple(input._meta.shape), d, values, rest.get("generator"))
            return finish(t, requires_grad)
        t = OPS["empty_like"](input, dtype=dtype)
        return finish(
            getattr(t, "uniform_" if make is rand else "normal_")(generator=rest.get("generator")),
            requires_grad,
        )

    like.__name__, like.__doc__ = name, f"As {make.__name__}, in the shape and dtype of input."
    return like


def randint(
    *args: Any,
    size: Any = None,
    generator: Any = None,
    out: Any = None,
    dtype: Any = None,
    device: Any = None,
    **rest: Any,
) -> Tensor:
    """Whole numbers, uniform in [low, high): randint(high, size) or randint(low, high, size)."""
    given = list(args)
    for name in ("low", "high"):
        if name in rest:
            given.insert(len(given) if name == "high" else 0, rest.pop(name))
    if size is None:
        size = given.pop()
    low, high = (0, given[0]) if len(given) == 1 else (given[0], given[1])
    low, high = int(low), int(high)
    if low >= high:
        fail(RuntimeError, f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    shape = shape_of((size,), "randint")
    bits = 64 if high - low >= 2**28 else 32
    t = fresh("integers", shape, dtype or dtypes.int64, (ops._bits(high - low), low), generator, bits)
    return into(out, t) if out is not None else finish(t, rest.get("requires_grad", False))


def randint_like(input: Tensor, *args: Any, dtype: Any = None, **rest: Any) -> Tensor:
    """As randint, in the shape and dtype of input."""
    rest.pop("memory_format", None)
    meta = input._meta
    if is_contiguous(meta.shape, meta.strides) or len(args) not in (1, 2) or rest:
        return randint(*args, size=tuple(meta.shape), dtype=dtype or meta.dtype, **rest)
    low, high = (0, *args)[-2:]
    return OPS["empty_like"](input, dtype=dtype).random_(low, high)  # in the order of memory


def randperm(
    n: int,
    *,
    generator: Any = None,
    out: Any = None,
    dtype: Any = dtypes.int64,
    device: Any = None,
    **rest: Any,
) -> Tensor:
    """A permutation of 0 .. n-1."""
    if n < 0:
        fail(RuntimeError, f"randperm: n must be non-negative; got {n}")
    t = fresh("permutation", (int(n),), dtype, (), generator)
    return into(out, t) if out is not None else t


def normal(
    mean: Any = 0.0,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: Any = None,
    out: Any = None,
    dtype: Any = None,
    **rest: Any,
) -> Tensor:
    """Normal numbers whose mean and standard deviation are numbers (with a size) or tensors."""
    if not isinstance(std, Tensor) and std < 0:
        fail(RuntimeError, f"normal: normal expects std >= 0.0, but found std {std}")
    if size is not None:
        t = fresh(
            "normal",
            shape_of((size,), "normal"),
            dtype or dtypes.default_dtype(),
            (float(mean), float(std)),
            generator,
        )
    else:
        from ..shapes import broadcast

        like = mean if isinstance(mean, Tensor) else std
        shape = broadcast("normal", *[tuple(v.shape) for v in (mean, std) if isinstance(v, Tensor)])  # type: ignore[attr-defined]
        with placed(like.device):
            z = fresh("normal", shape, like.dtype, (0.0, 1.0), generator)
        t = OPS["_normal_of"](z, mean, std)
    return into(out, t) if out is not None else finish(t, rest.get("requires_grad", False))


def manual_seed(seed: int) -> Generator:
    """Seed the default generator."""
    return default_generator().manual_seed(seed)


def seed() -> int:
    """Seed the default generator from the system; the seed."""
    return default_generator().seed()


def initial_seed() -> int:
    """The default generator's seed."""
    outside("the seed is read")
    return default_generator().initial_seed()


def get_rng_state() -> Tensor:
    """The default generator's state, as PyTorch's 5056 bytes."""
    return default_generator().get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Set the default generator's state."""
    default_generator().set_state(new_state)


FUNCTIONS: dict[str, Any] = {
    "Generator": Generator,
    "rand": factory(
        rand, short=lambda size: short_draw("uniform", size, dtypes.default_dtype()), run=run_draw
    ),
    "randn": factory(
        randn, short=lambda size: short_draw("normal", size, dtypes.default_dtype()), run=run_draw
    ),
    "rand_like": factory(
        sampler_like("rand_like", rand),
        True,
        lambda meta: short_draw("uniform", meta.shape, meta.dtype),
        run=run_draw,
    ),
    "randn_like": factory(
        sampler_like("randn_like", randn),
        True,
        lambda meta: short_draw("normal", meta.shape, meta.dtype),
        run=run_draw,
    ),
    **{f.__name__: factory(f) for f in (randint, randperm, normal)},
    "randint_like": factory(randint_like, like=True),
    **{f.__name__: f for f in (manual_seed, seed, initial_seed, get_rng_state, set_rng_state)},
}
