"""The recipe of the node `draw`: random numbers from a generator's state, which is written in place."""

from __future__ import annotations

from collections.abc import Sequence

from ..loop.recipes import random as kernels
from ..shapes import numel
from .contraction import named_launch, whole
from .nodes import PNode
from .program import Launch
from .recipes import recipe
from .sharing import SERIAL_WORK

# kind -> the kernel's name of the tensor that is read, where it is not p
SOURCE = {"poisson": "rate", "multinomial": "cumulated"}
# kind -> names of its number parameters, as the kernels of loop/recipes/random.py declare them
NUMBERS = {
    "uniform": ("low", "high"),
    "normal": ("mean", "std"),
    "normal_serial": ("mean", "std"),
    "log_normal": ("mean", "std"),
    "integers": ("count", "low"),
    "bernoulli": ("p",),
    "dropout": ("keep",),
    "exponential": ("rate",),
    "cauchy": ("median", "sigma"),
    "geometric": ("p",),
    "permutation": (),
    "bernoulli_each": (),
    "poisson": (),
    "multinomial": (),
    "manual_seed": ("seed",),
}


@recipe("draw")
def draw(node: PNode) -> Sequence[Launch]:
    """attrs: (("writes", (0,)), kind, bits of a draw); inputs: state, tensors, numbers; result: the numbers drawn."""
    _, kind, bits = node.attrs
    tensors = [v for v in node.ins if not v.buf.number]
    numbers = [v for v in node.ins if v.buf.number]
    bufs = {"state": tensors[0]}
    ints = {}
    dtype = ""
    if node.outs:
        out = whole(node.outs[0])
        dtype = out.buf.dtype.short
        bufs["out"] = out
        ints["n"] = numel(out.shape)
    if len(tensors) > 1:
        bufs[SOURCE.get(kind, "p")] = tensors[1]
    if kind == "multinomial":
        *rows, ints["categories"] = tensors[1].shape
        ints["rows"], ints["samples"] = numel(rows), node.outs[0].shape[-1]
        del ints["n"]
        dtype = tensors[1].buf.dtype.short
    source = tensors[1].buf.dtype.short if len(tensors) > 1 else ""
    launch = named_launch(
        ("draw", kind, dtype, bits, source),
        lambda: make(kind, dtype, bits, source),
        1,
        f"random_{kind}",
        bufs,
        ints,
        {},
    )
    launch.numbers = [(v.buf.sid, "d" if v.buf.dtype.short == "f64" else "q") for v in numbers]
    launch.number_names = NUMBERS[kind]
    launch.work = 1 + 8 * ints.get("n", SERIAL_WORK)
    return [launch]


def make(kind: str, dtype: str, bits: int, source: str):  # type: ignore[no-untyped-def]
    """The kernel of a kind of random numbers."""
    if kind == "manual_seed":
        return kernels.manual_seed()
    if kind == "integers":
        return kernels.integers(dtype, bits)
    if kind == "log_normal":
        return kernels.normal_serial(dtype, exponential=True)
    if kind == "bernoulli_each":
        return kernels.bernoulli_each(dtype, source)
    return getattr(kernels, kind)(dtype)
