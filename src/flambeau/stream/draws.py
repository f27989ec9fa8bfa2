"""The recipes of the nodes `draw`, random numbers from a generator's state, which is written in place, and `running`,
sums of weights that places are drawn by."""

from __future__ import annotations

from collections.abc import Sequence

from ..loop.recipes import random as kernels
from ..loop.recipes import random_rejection as rejection
from ..shapes import numel
from .contraction import named_launch, whole
from .nodes import PNode
from .program import Launch
from .recipes import recipe
from .rows import parts_of
from .sharing import SERIAL_WORK

# kind -> the kernel's names of the tensors that are read, where it is not one, p
SOURCE = {"poisson": ("rate",), "multinomial": ("sums",), "gamma": ("alpha",), "binomial": ("count", "p")}
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
    "gamma": (),
    "binomial": (),
    "multinomial": (),
    "manual_seed": ("seed",),
}


WEIGHT = "multinomial: probability tensor contains either `inf`, `nan` or element < 0"
SUM = "multinomial: invalid multinomial distribution (sum of probabilities <= 0)"


@recipe("running")
def running(node: PNode) -> Sequence[Launch]:
    """Running sums along the last dimension of weights, which are checked."""
    weights, sums = node.ins[0], whole(node.outs[0])
    *rows, categories = weights.shape
    dtype = weights.buf.dtype.short
    ints = {"rows": numel(rows), "categories": categories}
    abreast = kernels.ABREAST if ints["rows"] > 1 else 1
    launch = named_launch(
        ("running", dtype, abreast),
        lambda: kernels.running(dtype, abreast),
        parts_of(-(-numel(rows) // abreast), numel(weights.shape), SERIAL_WORK),
        "running_sums",
        {"weights": weights, "sums": sums},
        ints,
        {},
    )
    texts = {kernels.WEIGHT: WEIGHT, kernels.SUM: SUM}
    launch.checks = {
        code: (lambda *_, text=text: (RuntimeError, text), 0, node.form) for code, text in texts.items()
    }
    return [launch]


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
    bufs |= dict(zip(SOURCE.get(kind, ("p",)), tensors[1:]))
    if kind == "multinomial":
        *rows, ints["categories"] = tensors[1].shape
        ints["steps"] = ints["categories"].bit_length()
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
    return (getattr(kernels, kind, None) or getattr(rejection, kind))(dtype)
