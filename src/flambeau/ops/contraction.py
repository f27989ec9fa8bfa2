"""Contraction: matrix products of every form. All lower to one prim, `contract`, over (batch, rows, k) and (batch, k, columns)."""

from __future__ import annotations

from typing import Any

from ..dtypes import float32
from ..errors import fail
from ..shapes import broadcast, contiguous_strides, numel, view_strides
from ..stream.graph import Val, cast, const, contiguous, expand, map_, opaque, reduce_, turned
from .elementwise import into
from .entry import FUNCTIONS, OT, N, T, composite, op


def contract(a: Val, b: Val) -> Val:
    """(batch or 1, m, k) by (batch or 1, k, n): the prim. Batches of both may be two dimensions; the result has one.

    Sums of single products and of one row by one column are products and reductions of elements."""
    lead = broadcast("contract", a.shape[:-2], b.shape[:-2])
    batch, (m, k), n = numel(lead), a.shape[-2:], b.shape[-1]
    if k == 0:
        return expand(const(0, a.dtype), (batch, m, n))
    if k == 1:
        return shaped(contiguous(map_("mul", a, b)), (batch, m, n))
    if m == 1 and n == 1:
        wide = float32 if a.dtype.is_floating_point and a.dtype.itemsize == 2 else a.dtype
        total = reduce_("add", map_("mul", cast(a, wide), cast(turned(b), wide)), (a.ndim - 1,))
        return shaped(cast(total, a.dtype), (batch, 1, 1))
    return opaque("contract", (a, b), [((batch, m, n), a.dtype)])[0]


def stacks(a: Val, b: Val, lead: tuple[int, ...]) -> tuple[Val, Val]:
    """Two stacks of matrices with one or two batch dimensions; copies only if the strides of the batches do not merge."""
    if numel(a.shape[:-2]) == 1 or numel(b.shape[:-2]) == 1 or 0 in lead:
        return three(a, lead), three(b, lead)
    a, b = expand(a, (*lead, *a.shape[-2:])), expand(b, (*lead, *b.shape[-2:]))
    groups: list[list[int]] = []  # extent, stride in a, stride in b
    for n, s, t in zip(lead, a.strides, b.strides):
        last = groups[-1] if groups else None
        if n != 1 and last and last[1] == s * n and last[2] == t * n:
            groups[-1] = [last[0] * n, s, t]
        elif n != 1:
            groups.append([n, s, t])
    if len(groups) != 2:
        return three(a, lead), three(b, lead)
    shape = tuple(g[0] for g in groups)
    x = a.view_as((*shape, *a.shape[-2:]), (*(g[1] for g in groups), *a.strides[-2:]), a.off)
    return x, b.view_as((*shape, *b.shape[-2:]), (*(g[2] for g in groups), *b.strides[-2:]), b.off)


def three(x: Val, lead: tuple[int, ...]) -> Val:
    """A stack of matrices as (batch, rows, columns); a copy only if the batch dimensions do not merge."""
    rows, cols = x.shape[-2:]
    if numel(x.shape[:-2]) == 1:
        return x.view_as((1, rows, cols), (0, *x.strides[-2:]), x.off)
    x = expand(x, (*lead, rows, cols))
    strides = view_strides(lead, x.strides[:-2], (numel(lead),))
    if strides is None:
        x = contiguous(x)
        strides = (rows * cols,)
    return x.view_as((numel(lead), rows, cols), (*strides, *x.strides[-2:]), x.off)


def same_dtype(name: str, *vals: Val) -> None:
    """RuntimeError unless all operands have one dtype."""
    if any(v.dtype is not vals[0].dtype for v in vals):
        kinds = {
            "float32": "float",
            "float64": "double",
            "int64": "long int",
            "int32": "int",
            "bfloat16": "c10::BFloat16",
        }
        first, other = vals[0], next(v for v in vals if v.dtype is not vals[0].dtype)
        fail(
            RuntimeError,
            f"{name}: expected m1 and m2 to have the same dtype, but got: {kinds.get(first.dtype.name, first.dtype.name)} != "
            f"{kinds.get(other.dtype.name, other.dtype.name)}",
        )


def product(a: Val, b: Val, name: str) -> Val:
    """Broadcast matrix product of operands with at least two dimensions."""
    same_dtype(name, a, b)
    if a.shape[-1] != b.shape[-2]:
        if name in ("mm", "addmm", "linear") or (a.ndim == 2 and b.ndim == 2):
            fail(
                RuntimeError,
                f"{name}: mat1 and mat2 shapes cannot be multiplied ({a.shape[-2]}x{a.shape[-1]} and {b.shape[-2]}x{b.shape[-1]}); the "
                "columns of the first must equal the rows of the second",
            )
        fail(
            RuntimeError,
            f"{name}: Expected size for first two dimensions of batch2 tensor to be: [{numel(a.shape[:-2])}, {a.shape[-1]}] but got: "
            f"[{numel(b.shape[:-2])}, {b.shape[-2]}].",
        )
    lead = broadcast(name, a.shape[:-2], b.shape[:-2])
    if numel(b.shape[:-2]) == 1 and a.ndim > 2 and numel(lead) > 1:
        flat = view_strides(a.shape[:-1], a.strides[:-1], (numel(a.shape[:-1]),))
        if flat is not None and tuple(lead) == tuple(a.shape[:-2]):
            rows = a.view_as((1, numel(a.shape[:-1]), a.shape[-1]), (0, *flat, a.strides[-1]), a.off)
            out = contract(rows, three(b, ()))
            return shaped(out, (*lead, a.shape[-2], b.shape[-1]))
    out = contract(*stacks(a, b, lead))
    return shaped(out, (*lead, a.shape[-2], b.shape[-1]))


def shaped(x: Val, shape: tuple[int, ...]) -> Val:
    """A dense result under another shape."""
    if 0 in x.strides and numel(x.shape):
        return expand(x.view_as((), (), x.off), shape)
    return x.view_as(shape, contiguous_strides(shape), x.off)


def _mt(x: Any) -> Any:
    return x.transpose(-2, -1)


@op(grad={"self": lambda grad, mat2: mm(grad, _mt(mat2)), "mat2": lambda grad, self: mm(_mt(self), grad)})
def mm(self: T, mat2: T) -> Any:
    """The product of two matrices."""
    if self.ndim != 2 or mat2.ndim != 2:
        which = ("self", self) if self.ndim != 2 else ("mat2", mat2)
        fail(
            RuntimeError,
            f"mm: {which[0]} must be a matrix; got a tensor of {which[1].ndim} dimensions; use matmul for stacks",
        )
    return product(self, mat2, "mm")


@op(grad={"self": lambda grad, mat2: bmm(grad, _mt(mat2)), "mat2": lambda grad, self: bmm(_mt(self), grad)})
def bmm(self: T, mat2: T) -> Any:
    """The products of two stacks of matrices (batch, n, k) and (batch, k, m)."""
    if self.ndim != 3 or mat2.ndim != 3:
        which = "batch1" if self.ndim != 3 else "batch2"
        fail(
            RuntimeError, f"bmm: {which} must be a 3D tensor; got {tuple(self.shape)} and {tuple(mat2.shape)}"
        )
    if self.shape[0] != mat2.shape[0]:
        fail(
            RuntimeError,
            f"bmm: Expected size for first two dimensions of batch2 tensor to be: [{self.shape[0]}, {self.shape[2]}] but got: "
            f"[{mat2.shape[0]}, {mat2.shape[1]}].",
        )
    return product(self, mat2, "bmm")


@op(
    grad={
        "self": lambda grad, beta: grad * beta,
        "mat1": lambda grad, mat2, alpha: mm(grad, _mt(mat2)) * alpha,
        "mat2": lambda grad, mat1, alpha: mm(_mt(mat1), grad) * alpha,
    },
    inplace=True,
)
def addmm(self: T, mat1: T, mat2: T, *, beta: N = 1, alpha: N = 1) -> Any:
    """beta * self + alpha * (mat1 @ mat2)."""
    if mat1.ndim != 2 or mat2.ndim != 2:
        fail(
            RuntimeError,
            f"addmm: mat1 and mat2 must be matrices; got {mat1.ndim}-D and {mat2.ndim}-D tensors",
        )
    out = product(mat1, mat2, "addmm")
    return expand(self, tuple(out.shape)) * cast(beta, self.dtype) + out * cast(alpha, out.dtype)


def _input_grad(grad: Any, weight: Any) -> Any:
    return matmul(grad, weight)


def _weight_grad(grad: Any, input: Any) -> Any:
    if grad.ndim == 1:
        return grad.unsqueeze(1) * input.unsqueeze(0)
    rows = numel(grad.shape[:-1])
    return mm(_mt(grad.reshape(rows, grad.shape[-1])), input.reshape(rows, input.shape[-1]))


@op(
    method=False,
    nn=True,
    node="AddmmBackward0",
    grad={  # the input is needed no more once the weight has its gradient
        "weight": _weight_grad,
        "bias": lambda grad: grad,
        "input": _input_grad,
    },
)
def linear(input: T, weight: T, bias: OT = None) -> Any:
    """input @ weight.T + bias, for input (*, in), weight (out, in) and bias (out)."""
    if input.ndim == 0 or weight.ndim not in (1, 2):
        fail(
            RuntimeError,
            f"linear: input and weight need dimensions; got {tuple(input.shape)} and {tuple(weight.shape)}",
        )
    if weight.ndim == 1:
        out = product(
            row(input), weight.view_as((weight.shape[0], 1), (weight.strides[0], 1), weight.off), "linear"
        )
        out = shaped(out, tuple(input.shape[:-1]))
    else:
        turned = weight.view_as(weight.shape[::-1], weight.strides[::-1], weight.off)
        out = product(row(input), turned, "linear")
        out = shaped(out, (*input.shape[:-1], weight.shape[0]))
    return out if bias is None else out + bias


def row(x: Val) -> Val:
    """A vector as a matrix of one row."""
    return x.view_as((1, *x.shape), (0, *x.strides), x.off) if x.ndim == 1 else x


@composite()
def matmul(input: Any, other: Any, *, out: Any = None) -> Any:
    """The matrix product, with PyTorch's rules for vectors and stacks."""
    if out is not None:
        return into(out, matmul(input, other))
    if not hasattr(other, "ndim"):
        return NotImplemented
    a, b = input.ndim, other.ndim
    if a == 0 or b == 0:
        fail(
            RuntimeError,
            f"matmul: both arguments to matmul need to be at least 1D, but they are {a}D and {b}D",
        )
    if a == 2 and b == 2:
        return mm(input, other)
    if a == 1 and b == 1:
        return dot(input, other)
    if a == 1:
        return _stacked(input.unsqueeze(0), other).squeeze(-2)
    if b == 1:
        return FUNCTIONS["mv"](input, other) if a == 2 else _stacked(input, other.unsqueeze(1)).squeeze(-1)
    return _stacked(input, other)


@op(
    method=False,
    function=False,
    node="UnsafeViewBackward0",
    grad={
        "self": lambda grad, other: _stacked(grad, _mt(other)),
        "other": lambda grad, self: _stacked(_mt(self), grad),
    },
)
def _stacked(self: T, other: T) -> Any:
    """The matrix product of stacks, broadcast."""
    return product(self, other, "matmul")


@op(
    method=False,
    function=False,
    node="UnsafeViewBackward0",
    grad={
        "self": lambda grad, weight: _stacked(grad, weight),
        "weight": lambda grad, self: _stacked(_mt(grad), self),
    },
)
def _stacked_linear(self: T, weight: T) -> Any:
    """self @ weight.T of stacks, broadcast: the gradient of a weight is laid out as the weight is."""
    return product(self, turned(weight), "linear")


@op(grad={"self": lambda grad, tensor: grad * tensor, "tensor": lambda grad, self: grad * self})
def dot(self: T, tensor: T) -> Any:
    """The sum of the products of two vectors."""
    if self.ndim != 1 or tensor.ndim != 1:
        fail(RuntimeError, f"dot: 1D tensors expected, but got {self.ndim}D and {tensor.ndim}D tensors")
    same_dtype("dot", self, tensor)
    if self.shape != tensor.shape:
        fail(
            RuntimeError,
            "dot: inconsistent tensor size, expected tensor ["
            + f"{self.shape[0]}] and src [{tensor.shape[0]}] to have the same number of "
            f"elements, but got {self.shape[0]} and {tensor.shape[0]} elements respectively",
        )
    a = self.view_as((1, 1, self.shape[0]), (0, 0, self.strides[0]), self.off)
    b = tensor.view_as((1, tensor.shape[0], 1), (0, tensor.strides[0], 0), tensor.off)
    return shaped(contract(a, b), ())
