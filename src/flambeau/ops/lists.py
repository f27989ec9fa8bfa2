"""Functions of lists of tensors (`torch._foreach_*`), which optimisers written by hand use: each tensor's operation is
recorded after the other, and the sequence runs as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import fail
from ..stream.value import NUMBERS, Tensor
from .entry import FUNCTIONS, METHODS, composite

UNARY = (
    *("abs", "acos", "asin", "atan", "ceil", "cos", "cosh", "erf", "erfc", "exp", "expm1", "floor", "frac"),
    *("lgamma", "log", "log10", "log1p", "log2", "neg", "reciprocal", "round", "rsqrt", "sigmoid", "sign"),
    *("sin", "sinh", "sqrt", "tan", "tanh", "trunc"),
)
# name: the operation, and the names of its second operand besides "other".
BINARY = {
    **{
        name: (name, ("scalar", "scalars")) for name in ("add", "sub", "mul", "div", "clamp_min", "clamp_max")
    },
    **{"maximum": ("clamp_min", ("scalar", "scalars")), "minimum": ("clamp_max", ("scalar", "scalars"))},
    **{"pow": ("pow", ("exponent",))},
}
EXTREMES = {"clamp_min": "maximum", "clamp_max": "minimum"}  # what takes tensors
POINTWISE = ("addcmul", "addcdiv")
Tensors = Sequence[Tensor]


def listed(name: str, given: Any, position: int = 1, of: str = "self") -> Tensors:
    """The tensors of an argument."""
    if not isinstance(given, (list, tuple)) or not all(isinstance(t, Tensor) for t in given):
        raise TypeError(
            f"_foreach_{name}(): argument '{of}' (position {position}) must be tuple of Tensors, not "
            f"{type(given).__name__}"
        )
    if not given:
        fail(RuntimeError, f"_foreach_{name}: Tensor list must have at least one tensor.")
    return given


def beside(name: str, tensors: Tensors, given: Any, position: int = 2, of: str = "other") -> Sequence[Any]:
    """What each tensor meets: tensors of a list of this length."""
    found = listed(name, given, position, of)
    if len(found) != len(tensors):
        fail(
            RuntimeError,
            f"_foreach_{name}: Tensor lists must have the same number of tensors, got {len(tensors)} and {len(found)}",
        )
    return found


def numbers(name: str, tensors: Tensors, given: Any) -> Sequence[Any]:
    """A number for each tensor: one for all, a list of them, or a tensor of them."""
    if type(given) in NUMBERS:
        return [given] * len(tensors)
    if isinstance(given, Tensor) and given._meta.ndim == 1:
        given = given.tolist()  # type: ignore[attr-defined]
    if not isinstance(given, (list, tuple)) or not all(type(x) in NUMBERS for x in given):
        raise TypeError(f"_foreach_{name}(): numbers are expected, not {type(given).__name__}")
    if len(given) != len(tensors):
        fail(RuntimeError, f"_foreach_{name}: Tensor list must have same number of elements as scalar list.")
    return given


def operands(name: str, tensors: Tensors, given: Any) -> Sequence[Any]:
    """What each tensor meets: a tensor of a list, one tensor of no dimension, or a number."""
    if isinstance(given, Tensor):
        if given._meta.ndim:
            fail(
                RuntimeError,
                f"_foreach_{name}: scalar tensor expected to be 0 dim but it has {given._meta.ndim} dimensions and "
                f"{given._meta.numel} elements.",
            )
        return [given] * len(tensors)
    if isinstance(given, (list, tuple)) and any(isinstance(x, Tensor) for x in given):
        return beside(name, tensors, given)
    return numbers(name, tensors, given)


def declare(name: str, run: Callable[..., Any], doc: str) -> None:
    """Publish _foreach_name."""
    run.__name__ = run.__qualname__ = f"_foreach_{name}"
    run.__doc__ = doc
    composite(name=f"_foreach_{name}", method=False)(run)


def unary(name: str) -> None:
    """_foreach_name and _foreach_name_."""

    def run(self: Any) -> Any:
        return tuple([FUNCTIONS[name](t) for t in listed(name, self)])

    def write(self: Any) -> Any:
        for t in listed(name + "_", self):
            METHODS[name + "_"](t)
        return self

    declare(name, run, f"`torch.{name}` of each tensor.")
    declare(name + "_", write, f"`Tensor.{name}_` of each tensor.")


def binary(name: str, op: str, keywords: Sequence[str]) -> None:
    """_foreach_name and _foreach_name_, with numbers, a tensor or a list."""

    def given(other: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        for keyword in keywords:
            other = named.pop(keyword, other)
        return other, named

    def run(self: Any, other: Any = None, **named: Any) -> Any:
        other, named = given(other, named)
        if name == "pow" and type(self) in NUMBERS:
            return tuple([FUNCTIONS[op](self, t) for t in listed(name, other, 2, "exponent")])
        tensors = listed(name, self)
        found = operands(name, tensors, other)
        if op in EXTREMES and isinstance(found[0], Tensor):
            return tuple([FUNCTIONS[EXTREMES[op]](t, x) for t, x in zip(tensors, found)])
        return tuple([FUNCTIONS[op](t, x, **named) for t, x in zip(tensors, found)])

    def write(self: Any, other: Any = None, **named: Any) -> Any:
        other, named = given(other, named)
        for t, x in zip(self, operands(name + "_", listed(name + "_", self), other)):
            if op in EXTREMES and isinstance(x, Tensor):
                METHODS["copy_"](t, FUNCTIONS[EXTREMES[op]](t, x))
            else:
                METHODS[op + "_"](t, x, **named)
        return self

    declare(name, run, f"`torch.{name}` of each tensor and its operand: one for all, or one of a list.")
    declare(
        name + "_", write, f"`Tensor.{name}_` of each tensor with its operand: one for all, or one of a list."
    )


def pointwise(name: str) -> None:
    """_foreach_name and _foreach_name_, with a value for each tensor."""

    def rows(as_: str, self: Any, a: Any, b: Any, value: Any) -> Any:
        tensors = listed(as_, self)
        columns = beside(as_, tensors, a, 2, "tensor1"), beside(as_, tensors, b, 3, "tensor2")
        return zip(tensors, *columns, numbers(as_, tensors, value))

    def run(self: Any, tensor1: Any, tensor2: Any, value: Any = 1, *, scalars: Any = None) -> Any:
        values = value if scalars is None else scalars
        return tuple(
            [FUNCTIONS[name](t, a, b, value=v) for t, a, b, v in rows(name, self, tensor1, tensor2, values)]
        )

    def write(self: Any, tensor1: Any, tensor2: Any, value: Any = 1, *, scalars: Any = None) -> Any:
        values = value if scalars is None else scalars
        for t, a, b, v in rows(name + "_", self, tensor1, tensor2, values):
            METHODS[name + "_"](t, a, b, value=v)
        return self

    declare(
        name, run, f"`torch.{name}` of each tensor and its operands; value: one for all, or one of a list."
    )
    declare(name + "_", write, f"`Tensor.{name}_` of each tensor; value: one for all, or one of a list.")


for _name in UNARY:
    unary(_name)
for _name, (_op, _keywords) in BINARY.items():
    binary(_name, _op, _keywords)
for _name in POINTWISE:
    pointwise(_name)


@composite(method=False)
def _foreach_clone(input: Any, *, memory_format: Any = None) -> Any:
    """A copy of each tensor."""
    return tuple([FUNCTIONS["clone"](t, memory_format=memory_format) for t in listed("clone", input)])


@composite(method=False)
def _foreach_zero_(input: Any) -> Any:
    """Zero in each tensor."""
    for t in listed("zero_", input):
        METHODS["zero_"](t)
    return input


@composite(method=False)
def _foreach_copy_(input: Any, src: Any, non_blocking: bool = False) -> Any:
    """The elements of each tensor of src, in the one at its place."""
    for t, x in zip(input, beside("copy_", listed("copy_", input), src, 2, "src")):
        METHODS["copy_"](t, x)
    return input


def weights(name: str, tensors: Tensors, ends: Any, weight: Any) -> Any:
    """Each tensor, the one it goes to, and its weight."""
    return zip(tensors, beside(name, tensors, ends, 2, "tensors1"), operands(name, tensors, weight))


@composite(method=False)
def _foreach_lerp(input: Any, tensors1: Any, weight: Any) -> Any:
    """`torch.lerp` of each tensor; weight: a number, or a list of numbers or tensors."""
    rows = weights("lerp", listed("lerp", input), tensors1, weight)
    return tuple([FUNCTIONS["lerp"](t, end, w) for t, end, w in rows])


@composite(method=False)
def _foreach_lerp_(input: Any, tensors1: Any, weight: Any) -> Any:
    """`Tensor.lerp_` of each tensor; weight: a number, or a list of numbers or tensors."""
    for t, end, w in weights("lerp_", listed("lerp_", input), tensors1, weight):
        METHODS["lerp_"](t, end, w)
    return input


@composite(method=False)
def _foreach_norm(input: Any, ord: Any = 2, dtype: Any = None) -> Any:
    """The vector norm of each tensor."""
    tensors = listed("norm", input)
    if ord == float("inf") and not all(t._meta.numel for t in tensors):
        fail(
            RuntimeError,
            "_foreach_norm cannot compute the infinity norm on an empty tensor because the operation does not have an "
            "identity",
        )
    norm: Any = FUNCTIONS["norm"]
    return tuple([norm(t, ord) if dtype is None else norm(t, ord, dtype=dtype) for t in tensors])


@composite(method=False)
def _foreach_powsum(input: Any, ord: Any = 2, dtype: Any = None) -> Any:
    """The sum of |x|**ord over each tensor."""
    given = [t if dtype is None else t.to(dtype) for t in listed("powsum", input)]  # type: ignore[attr-defined]
    return tuple([FUNCTIONS["sum"](FUNCTIONS["abs"](t) ** ord) for t in given])


@composite(method=False)
def _foreach_max(input: Any) -> Any:
    """The largest element of each tensor."""
    tensors = listed("max", input)
    if not all(t._meta.numel for t in tensors):
        fail(
            RuntimeError,
            "_foreach_max cannot compute the maximum of an empty tensor; max over zero elements is undefined.",
        )
    return tuple([FUNCTIONS["max"](t) for t in tensors])


@composite(method=False)
def _foreach_mm(input: Any, mat2: Any) -> Any:
    """The product of each matrix with the one at its place."""
    tensors = listed("mm", input)
    return tuple([FUNCTIONS["mm"](a, b) for a, b in zip(tensors, beside("mm", tensors, mat2, 2, "mat2"))])
