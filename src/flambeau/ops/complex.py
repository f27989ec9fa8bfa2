"""Complex numbers and their parts: views as real numbers, conjugates, magnitudes and angles.

What every op does with complex operands is composed in stream/pairs.py; here is what has no meaning for real numbers
alone. Gradients are PyTorch's: the conjugate of the derivative of a real loss (see ops/backward.py).
"""

from __future__ import annotations

from typing import Any

from ..dtypes import bool_
from ..errors import fail
from ..stream import pairs
from ..stream.graph import Val, cast, const, map_, promote
from ..stream.value import LOCAL, PLAIN, Tensor, intern_meta
from . import record
from .entry import NONE, T, composite, op
from .registry import publish
from .rules import scalar_name
from .viewing import VIEWED, ViewBackward


def _real_geometry(name: str, meta: Any, off: int) -> Any:
    if not meta.dtype.is_complex:
        fail(RuntimeError, f"{name} is only supported for complex tensors")
    strides = (*[2 * s for s in meta.strides], 1)
    return (*meta.shape, 2), strides, meta.dtype.part, 2 * off


def _complex_geometry(name: str, meta: Any, off: int) -> Any:
    d = meta.dtype
    if d.to_complex() is d:
        fail(
            RuntimeError,
            f"{name} is only supported for half, float and double tensors, but got a tensor of scalar type: {scalar_name(d)}",
        )
    if not meta.ndim:
        fail(RuntimeError, "Input tensor must have one or more dimensions")
    if meta.shape[-1] != 2:
        fail(RuntimeError, "Tensor must have a last dimension of size 2")
    if meta.strides[-1] != 1:
        fail(RuntimeError, "Tensor must have a last dimension with stride 1")
    if any(s % 2 for s in meta.strides[:-1]):
        fail(RuntimeError, "Tensor must have a stride divisible by 2 for all but last dimension")
    if off % 2:
        fail(RuntimeError, "Tensor must have a storage_offset divisible by 2")
    return meta.shape[:-1], tuple([s // 2 for s in meta.strides[:-1]]), d.to_complex(), off // 2


def recast(name: str, geometry: Any, traced: Any, back: Any, doc: str) -> Any:
    """Declare a view that changes the dtype; traced: what it does with a traced value, back: the gradient."""
    title = "".join(w[:1].upper() + w[1:] for w in name.split("_")) + "Backward0"
    facts = {"__slots__": (), "rule": staticmethod(back), "__module__": "torch.autograd"}
    node_type = type(title, (ViewBackward,), facts)

    def made(input: Any) -> Any:
        S = LOCAL.s
        if S.depth or type(input) not in PLAIN:
            if type(input) is Val:
                return traced(input)
            if S.depth or not isinstance(input, Tensor) or hasattr(type(input), "__torch_function__"):
                from . import modes

                handled = modes.dispatch_view(S, name, made, input, ())
                if handled is not modes.NOT_HANDLED:
                    return handled
        meta = input._meta
        shape, strides, d, off = geometry(name, meta, input._off)
        out = intern_meta(tuple(shape), tuple(strides), d, meta.device)
        t = VIEWED[0](S, input, out, off, "")
        if input._rg and S.grad:
            node = node_type()
            node.edges, node.args, node.meta, node.out = (record.edge_of(input),), (), meta, out
            t._gf, t._rg = node, True
        return t

    made.__name__ = made.__qualname__ = name
    made.__doc__, made.__module__ = doc, "torch"
    publish(name, made, {"rule": geometry})
    return made


view_as_real: Any = recast(
    "view_as_real",
    _real_geometry,
    pairs.as_real,
    lambda grad, meta: view_as_complex(grad.contiguous()),
    "The same memory as real numbers: a last dimension holds (real, imaginary).",
)
view_as_complex: Any = recast(
    "view_as_complex",
    _complex_geometry,
    pairs.as_complex,
    lambda grad, meta: view_as_real(grad if grad.dtype.is_complex else grad.to(meta.dtype.to_complex())),
    "The same memory as complex numbers, whose parts the last dimension of two holds.",
)


@composite(method=False)
def real(input: Any) -> Any:
    """The real part: a view; of real numbers, the tensor itself."""
    if not input.dtype.is_complex:
        return input
    return pairs.parts(input)[0] if type(input) is Val else view_as_real(input).select(-1, 0)


@composite(method=False)
def imag(input: Any) -> Any:
    """The imaginary part: a view."""
    if not input.dtype.is_complex:
        fail(RuntimeError, "imag is not implemented for tensors with non-complex dtypes.")
    return pairs.parts(input)[1] if type(input) is Val else view_as_real(input).select(-1, 1)


@op(name="_conj", method=False, function=False, node="ConjBackward0", wirtinger=True, grad={"self": lambda grad: grad.conj()})  # fmt: skip
def _conj(self: T) -> Any:
    return pairs.pair(*pairs.conj(pairs.parts(self)), self.level)


@composite()
def conj(input: Any) -> Any:
    """The complex conjugate; of real numbers, the tensor itself."""
    return _conj(input) if input.dtype.is_complex else input


@op(inplace=True, wirtinger=True, grad={"self": lambda grad: grad.conj()})
def conj_physical(self: T) -> Any:
    """The complex conjugate, as new memory."""
    return _conj(self) if self.dtype.is_complex else map_("copy", self)


def _itself(name: str, doc: str) -> None:
    def identity(input: Any) -> Any:
        return input

    identity.__name__, identity.__doc__ = name, doc
    composite()(identity)


_itself("resolve_conj", "The tensor with its conjugation carried out: itself.")
_itself("resolve_neg", "The tensor with its negation carried out: itself.")


@op(grad=NONE)
def isreal(self: T) -> Any:
    """Whether the imaginary part is 0."""
    im = pairs.parts(self)[1] if self.dtype.is_complex else const(0, self.dtype)
    zero = map_("eq", im, const(0, im.dtype), out=bool_)
    return map_("or", zero, map_("and", map_("eq", self, self, out=bool_), const(False, bool_)))


def _both_parts(name: str, a: Val, b: Val) -> tuple[Val, Val]:
    floats = ("float16", "float32", "float64")
    if a.dtype.name not in floats or b.dtype.name not in floats:
        fail(
            RuntimeError,
            "Expected both inputs to be Half, Float or Double tensors but got "
            f"{scalar_name(a.dtype)} and {scalar_name(b.dtype)}",
        )
    if a.dtype is not b.dtype:
        fail(
            RuntimeError,
            f"Expected object of scalar type {scalar_name(a.dtype)} but got scalar type {scalar_name(b.dtype)} "
            "for second argument",
        )
    d = promote(a, b)
    return cast(a, d), cast(b, d)


@op(
    name="complex",
    method=False,
    wirtinger=True,
    grad={"real": lambda grad: grad.real, "imag": lambda grad: grad.imag},
)
def _complex(real: T, imag: T) -> Any:
    """real + imag * 1j."""
    return pairs.pair(*_both_parts("complex", real, imag))


def _polar_back(grad: Any, result: Any) -> Any:
    grad = grad.conj()
    turned = result * 1j
    return (grad * result.sgn()).real, (grad * turned).real


@op(method=False, wirtinger=True, grad={"abs, angle": _polar_back})
def polar(abs: T, angle: T) -> Any:
    """abs * (cos(angle) + 1j sin(angle))."""
    size, at = _both_parts("polar", abs, angle)
    return pairs.pair(map_("mul", size, map_("cos", at)), map_("mul", size, map_("sin", at)))
